//! What an analyst may set about attribution and about which clicks count as a machine's. The facts are made under one
//! setting, which their table remembers; another setting makes them anew.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Settings of the facts and of everything made from them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// To which message a conversion, an opt-out or a reply is credited.
    pub attribution: Attribution,
    /// Which clicks are a machine's.
    pub machine_clicks: MachineClicks,
}

/// Last touch: an event without a message goes to the latest message sent to that recipient within the window before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attribution {
    /// Days from the send within which a conversion, opt-out or reply is credited to it; a campaign is mature when the
    /// window of its last message has closed.
    pub window_days: u32,
    /// The events that count as conversions; all of them if the list is empty.
    pub events: Vec<String>,
}

impl Default for Attribution {
    fn default() -> Self {
        Self { window_days: 7, events: Vec::new() }
    }
}

impl Attribution {
    /// The window in microseconds.
    #[must_use]
    pub fn window_microseconds(&self) -> i64 {
        i64::from(self.window_days) * 86_400_000_000
    }
}

/// The rules that flag a click as a machine's. A flagged click is kept and counted apart, never deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MachineClicks {
    /// A click within this many seconds after the delivery receipt's moment.
    pub seconds_after_delivery: f64,
    /// Clicks on two or more links of one message within this many seconds.
    pub all_links_within_seconds: f64,
    /// An address behind which at least this many different messages were clicked within one hour.
    pub messages_per_address_and_hour: u32,
    /// The source's own bot score from which on a click counts as a machine's.
    pub bot_score: f64,
    /// Regular expression of user agents that fetch links for a preview or a security check; case does not matter.
    pub user_agents: String,
}

impl Default for MachineClicks {
    fn default() -> Self {
        Self {
            seconds_after_delivery: 3.0,
            all_links_within_seconds: 1.0,
            messages_per_address_and_hour: 30,
            bot_score: 0.5,
            user_agents:
                "google-pagerenderer|googlebot|bingbot|bingpreview|facebookexternalhit|facebot|twitterbot|slackbot\
                          |telegrambot|whatsapp/|skypeuripreview|linkedinbot|discordbot|applebot|yandexbot|baiduspider|\
                          petalbot|bytespider|headlesschrome|phantomjs|python-requests|python-urllib|curl/|wget/|\
                          go-http-client|okhttp|java/|barracuda|proofpoint|mimecast|safelinks|urldefense|\
                          link ?preview|preview ?bot|crawler|spider"
                    .to_owned(),
        }
    }
}

impl Settings {
    /// A number that differs, for all practical purposes, between different settings, and between versions of the rules
    /// by which facts are made: facts made under another number are made anew.
    #[must_use]
    pub fn fingerprint(&self) -> i64 {
        // Serialising plain numbers and texts cannot fail.
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.extend(crate::facts::RULES_VERSION.to_be_bytes());
        let digest = Sha256::digest(&text);
        let mut first = [0_u8; 8];
        first.copy_from_slice(&digest[..8]);
        // Application transactions want a version that is not negative.
        i64::from_be_bytes(first) & i64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_settings_have_another_fingerprint() {
        let mut other = Settings::default();
        other.attribution.window_days = 3;
        assert_ne!(other.fingerprint(), Settings::default().fingerprint());
        assert!(other.fingerprint() >= 0);
    }
}
