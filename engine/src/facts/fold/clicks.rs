//! Human and machine clicks of each message. The first rule that applies names the reason.

use std::collections::HashSet;

use arrow::array::{Array as _, AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use regex::{Regex, RegexBuilder};

use super::ids::{Ids, NONE, Sparse, Texts, hashes};
use super::latest::{ByNumber, Latest, Orders};
use super::receipts::FoldedReceipts;
use crate::error::{EngineError, Result};
use crate::settings::MachineClicks;

/// After every device in the order of texts.
const NO_DEVICE: &str = "~";

const HOUR: i64 = 3_600_000_000;

/// The clicks of one message.
#[derive(Default)]
pub(super) struct Clicked {
    pub(super) clicks: i64,
    pub(super) machine_clicks: i64,
    pub(super) first_click_at: Option<i64>,
    /// Of the first click; of several at one moment the first in the order of texts.
    pub(super) first_click_device: Option<&'static str>,
    /// The first of the reasons in their order as texts.
    pub(super) reason: Option<Box<str>>,
}

/// One click.
struct Tap {
    number: u32,
    link: u32,
    tapped: i64,
    /// The user agent, or [`NONE`].
    agent: u32,
    /// What the click itself says of a machine, as a number of a text.
    reason: u32,
    /// The address and the hour, by hash; zero without an address.
    visit: u64,
    /// The message, sent or not, by 64 bits of its hash: that two fall together matters only where they are nearly a crowd.
    message: u64,
}

/// What a user agent says.
#[derive(Clone, Copy)]
struct Agent {
    is_preview: bool,
    device: &'static str,
}

/// The kind of device that a user agent names. Android and iOS say so themselves; their browsers also name the systems of
/// computers that they claim to be like, so they are asked for first.
fn device(agent: &str) -> &'static str {
    let agent = agent.to_ascii_lowercase();
    let names = |words: &[&str]| words.iter().any(|word| agent.contains(word));
    if names(&["iphone", "ipad", "ipod"]) {
        "ios"
    } else if names(&["android", "harmonyos"]) {
        "android"
    } else if names(&["windows nt", "macintosh", "x11"]) {
        "desktop"
    } else {
        "other"
    }
}

/// Reads the log of clicks.
pub(super) struct ClickReader<'a> {
    rules: &'a MachineClicks,
    preview: Regex,
    /// By number of the user agent, whether it is a machine's.
    agents: Vec<Agent>,
    agent_texts: Texts,
    links: Texts,
    reasons: Texts,
    taps: Latest<Tap>,
}

/// The clicks of all messages.
pub(super) type Clicks = Sparse<Clicked>;

impl<'a> ClickReader<'a> {
    /// For about so many rows.
    pub(super) fn new(rules: &'a MachineClicks, rows: usize) -> Result<Self> {
        let preview = RegexBuilder::new(&rules.user_agents).case_insensitive(true).build().map_err(|error| {
            EngineError::usage(format!("machine_clicks.user_agents is not a regular expression: {error}"))
        })?;
        Ok(Self {
            rules,
            preview,
            agents: Vec::new(),
            agent_texts: Texts::default(),
            links: Texts::default(),
            reasons: Texts::default(),
            taps: Latest::with_room(rows),
        })
    }

    /// Takes in rows of the columns of [`crate::facts::sql::taps`], texts plain.
    pub(super) fn add(&mut self, ids: &Ids, batch: &RecordBatch) -> Result<()> {
        let (keys, messages) = (hashes(batch.column(0))?, hashes(batch.column(1))?);
        let [links, agents, methods, reasons] = [2, 4, 5, 8].map(|column| batch.column(column).as_string::<i32>());
        let addresses = hashes(batch.column(6))?;
        let numbers = ids.numbers(&messages);
        let tapped = batch.column(3).as_primitive::<Int64Type>();
        let scores = batch.column(7).as_primitive::<Float64Type>();
        let orders = Orders::of(batch);
        for row in 0..batch.num_rows() {
            let cell = |column: &'_ StringArray| column.is_valid(row).then_some(row);
            let at = tapped.value(row);
            let visit = addresses[row].map_or(0, |address| visit(address, at.div_euclid(HOUR)));
            // Without a message it is nobody's visit.
            let visit = if messages[row].is_some() { visit } else { 0 };
            #[allow(clippy::cast_possible_truncation)] // Half of a good hash is a good hash.
            let message = messages[row].unwrap_or(0) as u64;
            let agent = cell(agents).map_or(NONE, |row| self.agent(agents.value(row)));
            let reason = if scores.is_valid(row) && scores.value(row) >= self.rules.bot_score {
                let told = cell(reasons).map_or("score of the source", |row| reasons.value(row));
                self.reasons.number(told)
            } else if self.agents.get(agent as usize).is_some_and(|agent| agent.is_preview) {
                self.reasons.number("preview user agent")
            } else if cell(methods).is_some_and(|row| methods.value(row).eq_ignore_ascii_case("HEAD")) {
                self.reasons.number("HEAD request")
            } else {
                NONE
            };
            let link = cell(links).map_or(NONE, |row| self.links.number(links.value(row)));
            let number = numbers[row];
            let Some(key) = keys[row] else { continue };
            // A click of a message that was not sent counts for nobody, but may replace an older row that does.
            self.taps.add(key, &orders, row, Tap { number, link, tapped: at, agent, reason, visit, message });
        }
        Ok(())
    }

    /// The number of a user agent.
    fn agent(&mut self, agent: &str) -> u32 {
        let number = self.agent_texts.number(agent);
        if number as usize == self.agents.len() {
            self.agents.push(Agent { is_preview: self.preview.is_match(agent), device: device(agent) });
        }
        number
    }

    /// Tells machines from people.
    pub(super) fn judge(self, ids: &Ids, receipts: Option<&FoldedReceipts>) -> Clicks {
        let mut taps = self.taps.into_rows();
        let crowds = crowds(&taps, self.rules.messages_per_address_and_hour);
        taps.retain(|tap| tap.number != NONE);
        let limit = microseconds(self.rules.all_links_within_seconds);
        let bursts = bursts(&taps, limit);
        let soon = microseconds(self.rules.seconds_after_delivery);
        let mut clicks = Clicks::new(ids.len());
        for tap in &taps {
            let is_soon = || {
                let delivered_at = receipts.and_then(|receipts| receipts.delivered_at(tap.number));
                delivered_at.is_some_and(|delivered| (0..soon).contains(&tap.tapped.saturating_sub(delivered)))
            };
            let reason = if tap.reason != NONE {
                self.reasons.text(tap.reason)
            } else if is_soon() {
                Some("within seconds of delivery")
            } else if bursts.get(&tap.number).is_some_and(|start| tap.tapped - start <= limit) {
                Some("every link within a second")
            } else if crowds.contains(&tap.visit) {
                Some("many recipients behind one address")
            } else {
                None
            };
            let device = self.agents.get(tap.agent as usize).map(|agent| agent.device);
            let clicked = clicks.entry(tap.number);
            match reason {
                None => {
                    clicked.clicks += 1;
                    let known = clicked.first_click_at.map(|at| (at, clicked.first_click_device.unwrap_or(NO_DEVICE)));
                    let this = (tap.tapped, device.unwrap_or(NO_DEVICE));
                    if known.is_none_or(|known| this < known) {
                        clicked.first_click_at = Some(tap.tapped);
                        clicked.first_click_device = device;
                    }
                }
                Some(reason) => {
                    clicked.machine_clicks += 1;
                    if clicked.reason.as_deref().is_none_or(|known| reason < known) {
                        clicked.reason = Some(reason.into());
                    }
                }
            }
        }
        clicks
    }
}

/// An address and an hour as a number, which is not zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Half of a good hash is a good hash.
fn visit(address: u128, hour: i64) -> u64 {
    (address as u64 ^ (hour as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1)
}

/// Addresses and hours with clicks of so many messages.
fn crowds(taps: &[Tap], messages: u32) -> HashSet<u64> {
    let visits = taps.iter().filter(|tap| tap.visit != 0);
    let mut visits: Vec<(u64, u64)> = visits.map(|tap| (tap.visit, tap.message)).collect();
    visits.sort_unstable();
    visits.dedup();
    let of_one_hour = visits.chunk_by(|one, other| one.0 == other.0);
    of_one_hour.filter(|visits| visits.len() >= messages as usize).map(|visits| visits[0].0).collect()
}

/// Messages whose links, several of them, were all first followed within the limit, with the first of these moments.
fn bursts(taps: &[Tap], limit: i64) -> ByNumber<i64> {
    let mut firsts: Vec<(u32, u32, i64)> = taps.iter().map(|tap| (tap.number, tap.link, tap.tapped)).collect();
    firsts.sort_unstable();
    firsts.dedup_by_key(|(number, link, _)| (*number, *link));
    let mut bursts = ByNumber::default();
    for links in firsts.chunk_by(|one, other| one.0 == other.0).filter(|links| links.len() > 1) {
        let times = links.iter().map(|(_, _, tapped)| *tapped);
        if let (Some(first), Some(last)) = (times.clone().min(), times.max())
            && last - first <= limit
        {
            bursts.insert(links[0].0, first);
        }
    }
    bursts
}

#[allow(clippy::cast_possible_truncation)] // Settings are seconds, far inside the range.
fn microseconds(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}
