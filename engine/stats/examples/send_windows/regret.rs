//! Ten campaigns, each sent as the ones before it suggest.
//!
//! Enters: how many senders. Leaves: what each rule loses against always sending in the best legal window.
//!
//! Every sender has a habit: most messages go out at ten o'clock. A click comes in the window of its message or one of
//! the next two, so that clicks by the hour are the habit's mirror. The naive rules look at clicks by the hour; the
//! last sends as it always did. The method of the crate keeps a part of every campaign for drawing windows at random.

use crate::studies::{best, fitted, mean};
use crate::world::{Random, World, even_over, random_effects, real, week};
use sendlift_stats::StatsError;
use sendlift_stats::send_windows::{WindowCell, WindowDecision, WindowOptions};

const CAMPAIGNS: usize = 10;
const WINDOWS: u64 = 8;
/// The window of eight in which ten o'clock lies.
const TEN_O_CLOCK: usize = 3;
/// Share of the habit's messages at ten o'clock.
const HABIT: f64 = 0.6;
/// Share of every campaign that is drawn evenly over the legal windows.
const EXPLORED: f64 = 0.2;
/// Shares of clicks that come in the window of the message, the next, and the one after.
const DELAYS: [f64; 3] = [0.6, 0.25, 0.15];

/// How the next campaign is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The recommendation of the fit, or the habit while it abstains; a part at random.
    Recommended,
    /// All in the legal window with most clicks so far, by the time of the click.
    MostClicks,
    /// Everybody in the window of the last click: the windows' shares of the last campaign's clicks.
    LastClick,
    /// All at ten o'clock.
    TenOClock,
}

impl Rule {
    pub const ALL: [Self; 4] = [Self::Recommended, Self::MostClicks, Self::LastClick, Self::TenOClock];

    pub fn name(self) -> &'static str {
        match self {
            Self::Recommended => "recommended windows, a fifth at random",
            Self::MostClicks => "hour with most clicks",
            Self::LastClick => "hour of the last click",
            Self::TenOClock => "always ten o'clock",
        }
    }

    /// The loss of each campaign against the best legal window, as a share of its rate, averaged over senders.
    pub fn regret(self, senders: u64) -> Result<Vec<f64>, StatsError> {
        let mut regrets = vec![0.0; CAMPAIGNS];
        for seed in 0..senders {
            let mut random = Random::new(seed, 5);
            let slots = week(1, WINDOWS);
            let effects = random_effects(&slots, 0.15, &mut random);
            let mut world = World::new(slots, effects, 0.1);
            world.sends = 50_000.0;
            let rates = world.rates(0, &[world.level]);
            let best = best(&rates, &world.legal());
            let mut sender = Sender { rule: self, habit: habit(&world), cells: Vec::new(), clicks: Vec::new(), seed };
            // What was sent before the first campaign.
            let (before, _) = world.campaign(usize::MAX, &sender.habit, &mut random);
            sender.see_clicks(&before, world.slots.len());
            for (campaign, regret) in regrets.iter_mut().enumerate() {
                let shares = sender.shares(&world)?;
                let expected: f64 = shares.iter().zip(&rates).map(|(share, rate)| share * rate).sum();
                *regret += (best - expected) / best / real(senders);
                let (cells, _) = world.campaign(campaign, &shares, &mut random);
                sender.see_clicks(&cells, world.slots.len());
                sender.cells.extend(cells);
            }
        }
        Ok(regrets)
    }
}

/// Ten o'clock for most, any legal window for the rest.
fn habit(world: &World) -> Vec<f64> {
    let mut shares: Vec<f64> =
        even_over(&world.legal(), world.slots.len()).iter().map(|share| share * (1.0 - HABIT)).collect();
    shares[TEN_O_CLOCK] += HABIT;
    shares
}

struct Sender {
    rule: Rule,
    habit: Vec<f64>,
    cells: Vec<WindowCell>,
    /// Clicks by the window of the click, of each campaign.
    clicks: Vec<Vec<f64>>,
    seed: u64,
}

impl Sender {
    fn see_clicks(&mut self, cells: &[WindowCell], slots: usize) {
        let mut clicks = vec![0.0; slots];
        for cell in cells {
            for (later, share) in DELAYS.iter().enumerate() {
                clicks[(cell.slot + later) % slots] += share * cell.sum;
            }
        }
        self.clicks.push(clicks);
    }

    /// Shares of the next campaign by slot.
    fn shares(&self, world: &World) -> Result<Vec<f64>, StatsError> {
        let slots = world.slots.len();
        let legal = world.legal();
        Ok(match self.rule {
            Rule::TenOClock => even_over(&[TEN_O_CLOCK], slots),
            Rule::MostClicks => {
                let total = |slot: usize| self.clicks.iter().map(|clicks| clicks[slot]).sum::<f64>();
                let most = legal.iter().copied().max_by(|&left, &right| total(left).total_cmp(&total(right)));
                even_over(most.as_slice(), slots)
            }
            Rule::LastClick => {
                let last = self.clicks.last().cloned().unwrap_or_default();
                let total: f64 = legal.iter().map(|&slot| last[slot]).sum();
                (0..slots).map(|slot| if world.slots[slot].legal { last[slot] / total } else { 0.0 }).collect()
            }
            Rule::Recommended => {
                let chosen = self.recommended(world)?;
                let even = even_over(&legal, slots);
                even.iter().zip(chosen).map(|(even, chosen)| EXPLORED * even + (1.0 - EXPLORED) * chosen).collect()
            }
        })
    }

    fn recommended(&self, world: &World) -> Result<Vec<f64>, StatsError> {
        let options = WindowOptions {
            practice: Some(self.habit.clone()),
            seed: self.seed,
            draws: 1_000,
            ..WindowOptions::default()
        };
        let windows = fitted(world, &self.cells, &options)?;
        Ok(match windows.map(|windows| windows.overall.decision) {
            Some(WindowDecision::Recommend(recommendation)) => even_over(&recommendation.slots, world.slots.len()),
            _ => self.habit.clone(),
        })
    }
}

/// The average over campaigns.
pub fn average(regrets: &[f64]) -> f64 {
    mean(regrets.iter().copied())
}
