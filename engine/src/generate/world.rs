//! The fixed side of a run: options in; population, behaviour, calendar and texts out, and who is sent what.
//!
//! Everything here is read-only once made. What happens to a message up to its delivery is drawn here too, because a
//! later campaign must be able to ask whether a recipient opted out of an earlier one without any memory of it.

use super::behaviour::{Behaviour, DELIVERED_AFTER_EXPIRY_SHARE, NO_RECEIPT_SHARE, opt_out_probability};
use super::calendar::{CAMPAIGN_DAYS, Calendar, HOUR, HOURS, SECOND, campaign_count, week_number, with_fraction};
use super::error::GenerateError;
use super::options::{GenerateOptions, Scenario};
use super::places::Country;
use super::population::{Arm, Population, Recipient};
use super::random::{Draws, Stream};
use super::texts::Wordings;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// On the handset within a minute.
    Delivered,
    /// Called expired, and on the handset hours later all the same.
    DeliveredAfterExpiry,
    /// Given up by the carrier.
    Undelivered,
    /// Never heard of again.
    NoReceipt,
}

impl Fate {
    fn draw(draws: &mut Draws, undelivered: f64) -> Self {
        let draw = draws.unit();
        if draw < undelivered {
            Self::Undelivered
        } else if draw < undelivered + NO_RECEIPT_SHARE {
            Self::NoReceipt
        } else if draw < undelivered + NO_RECEIPT_SHARE + DELIVERED_AFTER_EXPIRY_SHARE {
            Self::DeliveredAfterExpiry
        } else {
            Self::Delivered
        }
    }

    /// Whether the recipient can read the message.
    pub(super) const fn is_delivered(self) -> bool {
        matches!(self, Self::Delivered | Self::DeliveredAfterExpiry)
    }
}

/// A message up to its delivery, and whether it makes the recipient opt out.
#[derive(Debug)]
pub(super) struct Attempt {
    day: usize,
    /// Local hour of the send, from 0.
    pub(super) hour: usize,
    into_hour: i64,
    /// What becomes of the message.
    pub(super) fate: Fate,
    /// Whether the recipient asks not to be written to again.
    pub(super) opts_out: bool,
    /// The draws that follow, for all the rest about this message.
    pub(super) draws: Draws,
}

/// The fixed side of a run.
pub(super) struct World {
    pub(super) options: GenerateOptions,
    pub(super) population: Population,
    pub(super) behaviour: Behaviour,
    pub(super) calendar: Calendar,
    /// The campaigns, in order of time.
    pub(super) campaigns: Vec<Wordings>,
    /// Number of recipients, the holdout included.
    pub(super) recipients: u64,
    /// Campaigns that reach the last recipient, so that the sends are exactly as many as asked for.
    last_recipient_campaigns: usize,
}

impl World {
    /// Sets up the run.
    ///
    /// # Errors
    /// A time zone that the bundled database lacks.
    pub(super) fn new(options: &GenerateOptions) -> Result<Self, GenerateError> {
        let campaigns = campaign_count(options.scenario);
        let mut world = Self {
            options: options.clone(),
            population: Population::new(options),
            behaviour: Behaviour::new(options.scenario),
            calendar: Calendar::new(campaigns)?,
            campaigns: (0..campaigns)
                .map(|campaign| Wordings::new(options.scenario, options.language, week_number(campaign)))
                .collect(),
            recipients: u64::MAX,
            last_recipient_campaigns: campaigns,
        };
        world.size_population();
        Ok(world)
    }

    /// The experiment that runs over all campaigns.
    pub(super) const fn experiment_id(&self) -> &'static str {
        match self.options.scenario {
            Scenario::Retail => "flash-sale-copy",
            Scenario::Bank => "reminder-tone",
        }
    }

    /// The message of a campaign to a recipient in that country, up to its delivery.
    pub(super) fn attempt(&self, recipient: u64, country: &Country, campaign: usize) -> Attempt {
        let mut draws = Draws::new(self.options.seed, Stream::Message, recipient, campaign);
        let slot = draws.below(CAMPAIGN_DAYS * HOURS);
        let into_hour = draws.milliseconds(0, HOUR);
        let fate = Fate::draw(&mut draws, country.undelivered);
        let hour = slot % HOURS;
        let annoyed = draws.chance(opt_out_probability(hour));
        Attempt { day: slot / HOURS, hour, into_hour, fate, opts_out: annoyed && fate.is_delivered(), draws }
    }

    /// When an attempt was scheduled (a whole second) and when it left, both within its local hour.
    pub(super) fn moments(&self, recipient: &Recipient, campaign: usize, attempt: &mut Attempt) -> (i64, i64) {
        let hour_start = self.calendar.hour_start(recipient.place.zone, campaign, attempt.day, attempt.hour);
        let sent_at = with_fraction(hour_start + attempt.into_hour);
        let queued_for = attempt.draws.milliseconds(SECOND, 30 * SECOND);
        let scheduled_at = (sent_at - queued_for).max(hour_start);
        (scheduled_at - scheduled_at.rem_euclid(SECOND), sent_at)
    }

    /// How many campaigns reach a recipient who is not in the holdout: all up to the one that makes them opt out.
    pub(super) fn campaigns_received(&self, recipient: u64, country: &Country) -> usize {
        let limit = self.campaign_limit(recipient);
        (0..limit)
            .find(|campaign| self.attempt(recipient, country, *campaign).opts_out)
            .map_or(limit, |campaign| campaign + 1)
    }

    /// Whether the campaign sends to the recipient: not to the holdout, and not after an opt-out.
    pub(super) fn is_sent(&self, recipient: &Recipient, campaign: usize) -> bool {
        let country = recipient.place.country();
        recipient.arm != Arm::Holdout
            && campaign < self.campaign_limit(recipient.index)
            && (0..campaign).all(|earlier| !self.attempt(recipient.index, country, earlier).opts_out)
    }

    fn campaign_limit(&self, recipient: u64) -> usize {
        if recipient + 1 == self.recipients { self.last_recipient_campaigns } else { self.campaigns.len() }
    }

    /// Finds how many recipients it takes to send exactly the messages asked for: one quick pass that keeps nothing.
    fn size_population(&mut self) {
        let messages = self.options.messages;
        let mut sent = 0;
        let mut recipient = 0;
        loop {
            if self.population.arm(recipient) != Arm::Holdout {
                let country = self.population.place(recipient).country();
                let received = self.campaigns_received(recipient, country) as u64;
                if sent + received >= messages {
                    self.recipients = recipient + 1;
                    self.last_recipient_campaigns = (messages - sent) as usize;
                    return;
                }
                sent += received;
            }
            recipient += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sends(world: &World) -> u64 {
        let mut sends = 0;
        for index in 0..world.recipients {
            let recipient = world.population.recipient(index);
            let campaigns = (0..world.campaigns.len()).filter(|campaign| world.is_sent(&recipient, *campaign)).count();
            if recipient.arm != Arm::Holdout {
                assert_eq!(campaigns, world.campaigns_received(index, recipient.place.country()));
            }
            sends += campaigns as u64;
        }
        sends
    }

    #[test]
    fn exactly_the_messages_asked_for_are_sent() {
        for messages in [0, 1, 5, 6, 7, 4_001] {
            for scenario in [Scenario::Retail, Scenario::Bank] {
                let options = GenerateOptions { messages, scenario, ..GenerateOptions::default() };
                let world = World::new(&options).unwrap();
                assert_eq!(sends(&world), messages);
            }
        }
    }

    #[test]
    fn sends_of_one_recipient_are_twelve_days_apart() {
        let world = World::new(&GenerateOptions { messages: 600, ..GenerateOptions::default() }).unwrap();
        for index in 0..world.recipients {
            let recipient = world.population.recipient(index);
            let sent: Vec<i64> = (0..world.campaigns.len())
                .map(|campaign| {
                    let mut attempt = world.attempt(index, recipient.place.country(), campaign);
                    let (scheduled_at, sent_at) = world.moments(&recipient, campaign, &mut attempt);
                    assert!(scheduled_at <= sent_at);
                    sent_at
                })
                .collect();
            assert!(sent.windows(2).all(|pair| pair[1] - pair[0] > 12 * super::super::calendar::DAY));
        }
    }
}
