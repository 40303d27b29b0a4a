//! What is checked, over many seeds.
//!
//! Enters: how many seeds. Leaves: a row a claim, with the figure and the bounds that it has to lie in.

use crate::world::{Random, World, random_effects, real, timings, week};
use sendlift_stats::StatsError;
use sendlift_stats::send_windows::{
    AnswerLevel, Identification, PlannedResponse, RandomisationRequest, SendWindows, WindowAssignment, WindowCell,
    WindowDecision, WindowOptions, fit, identify,
};

/// Standard errors that chance may explain: less than one wrong alarm in ten thousand runs.
const STANDARD_ERRORS: f64 = 4.0;

/// Size of effects from which on what a recommendation promises is held to the truth.
const CLEAR_SIZE: f64 = 0.1;

/// One claim and what was seen.
pub struct Row {
    pub study: String,
    pub seeds: u64,
    pub what: &'static str,
    pub figure: f64,
    /// The least and the most that are within the claim; none where the row is for information.
    pub bounds: Option<(f64, f64)>,
}

impl Row {
    pub fn is_outside(&self) -> bool {
        // Written so that a NaN is outside.
        self.bounds.is_some_and(|(least, most)| !(self.figure >= least && self.figure <= most))
    }
}

pub fn request() -> RandomisationRequest {
    RandomisationRequest::usual(PlannedResponse::Rate { rate: 0.08 })
}

/// The fit of campaigns whose windows were drawn; none where hours cannot be compared.
pub fn fitted(world: &World, cells: &[WindowCell], options: &WindowOptions) -> Result<Option<SendWindows>, StatsError> {
    let identification = identify(&world.slots, &timings(cells, WindowAssignment::Randomised), &request())?;
    identification.timing().map(|timing| fit(timing, &world.slots, cells, options)).transpose()
}

/// A simulation of one effect size: windows of a day × days, campaigns, size of the effects, τ.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub days: u64,
    pub windows: u64,
    pub campaigns: usize,
    pub size: f64,
    pub between: f64,
}

impl Setting {
    fn name(self) -> String {
        format!(
            "{} windows, {} campaigns of 20,000, σ about {}, τ {}",
            self.days * self.windows,
            self.campaigns,
            self.size,
            self.between
        )
    }
}

/// The share of intervals that hold the truth, averaged over the legal slots of each seed.
pub fn coverage(setting: Setting, seeds: u64) -> Result<Vec<Row>, StatsError> {
    let (mut differences, mut responses, mut regrets, mut gains) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for seed in 0..seeds {
        let mut random = Random::new(seed, 1);
        let slots = week(setting.days, setting.windows);
        let effects = random_effects(&slots, setting.size, &mut random);
        let world = World::new(slots, effects, setting.between);
        let (cells, levels) = world.history(setting.campaigns, &mut random);
        let options = WindowOptions { seed, ..WindowOptions::default() };
        let Some(windows) = fitted(&world, &cells, &options)? else { continue };
        let rates = world.rates(0, &levels);
        let legal = world.legal();
        let practice = mean(legal.iter().map(|&slot| rates[slot]));
        let outlook = |slot: usize| &windows.overall.slots[slot];
        differences
            .push(mean(legal.iter().map(|&slot| yes(outlook(slot).difference.contains(rates[slot] - practice)))));
        responses.push(mean(legal.iter().map(|&slot| yes(outlook(slot).response.contains(rates[slot])))));
        if let WindowDecision::Recommend(recommendation) = &windows.overall.decision {
            let value = mean(recommendation.slots.iter().map(|&slot| rates[slot]));
            gains.push(recommendation.gain.estimate.unwrap_or(f64::NAN) / practice - (value / practice - 1.0));
            regrets.push((best(&rates, &legal) - value) / practice);
        }
    }
    let row = |what: &'static str, values: &[f64], bounds: Option<(f64, f64)>| Row {
        study: setting.name(),
        seeds,
        what,
        figure: mean(values.iter().copied()),
        bounds,
    };
    // Where windows matter little and data are thin, only what looks large is recommended, and a prior that allows for
    // larger effects promises too much on average: shown, and not claimed.
    let promise = (setting.size >= CLEAR_SIZE).then(|| around(0.0, 0.01, &gains));
    Ok(vec![
        row("90 % intervals of the difference hold it", &differences, Some(around(0.9, 0.02, &differences))),
        row("90 % intervals of the rate hold it", &responses, Some(around(0.9, 0.03, &responses))),
        row("promised less true relative gain, where recommended", &gains, promise),
        row("regret of what is recommended, share of practice", &regrets, None),
    ])
}

/// How often nothing is recommended where the hour makes no difference.
pub fn abstention(setting: Setting, seeds: u64) -> Result<Row, StatsError> {
    let setting = Setting { size: 0.0, ..setting };
    let mut abstained = Vec::new();
    for seed in 0..seeds {
        let mut random = Random::new(seed, 2);
        let slots = week(setting.days, setting.windows);
        let effects = vec![0.0; slots.len()];
        let world = World::new(slots, effects, setting.between);
        let (cells, _) = world.history(setting.campaigns, &mut random);
        let options = WindowOptions { seed, ..WindowOptions::default() };
        let windows = fitted(&world, &cells, &options)?;
        abstained.push(yes(
            windows.is_some_and(|windows| matches!(windows.overall.decision, WindowDecision::Abstain { .. }))
        ));
    }
    let figure = mean(abstained.iter().copied());
    let least = 0.9 - STANDARD_ERRORS * (0.9 * 0.1 / real(seeds)).sqrt();
    Ok(Row { study: setting.name(), seeds, what: "abstains", figure, bounds: Some((least, 1.0)) })
}

/// How often hours that were not drawn are refused a ranking: one window a campaign, the best campaigns in the evening.
pub fn refusal(seeds: u64) -> Result<Row, StatsError> {
    let mut refused = Vec::new();
    for seed in 0..seeds {
        let mut random = Random::new(seed, 3);
        let slots = week(1, 6);
        let mut world = World::new(slots, vec![0.0; 6], 0.1);
        let mut cells = Vec::new();
        for campaign in 0..12 {
            let slot = 1 + campaign % 5;
            world.level = -2.44 + 0.1 * real(slot as u64);
            let shares = crate::world::even_over(&[slot], 6);
            cells.extend(world.campaign(campaign, &shares, &mut random).0);
        }
        for assignment in [WindowAssignment::Chosen, WindowAssignment::OneInstant, WindowAssignment::Randomised] {
            let identification = identify(&world.slots, &timings(&cells, assignment), &request())?;
            refused.push(yes(matches!(identification, Identification::NotIdentifiable { plan: Some(_), .. })));
        }
    }
    let figure = mean(refused.iter().copied());
    let study = "one window a campaign, 12 campaigns".to_owned();
    Ok(Row { study, seeds, what: "is refused a ranking, and gets a plan", figure, bounds: Some((1.0, 1.0)) })
}

/// Campaigns at one instant each, which six regions see at different local hours. Regions respond differently throughout, by
/// as much as campaigns do: without hours drawn at random their contrasts are what is left, less what regions differ by.
pub fn one_instant(size: f64, seeds: u64) -> Result<Row, StatsError> {
    const REGIONS: usize = 6;
    const CAMPAIGNS: usize = 24;
    let (mut held, mut abstained) = (Vec::new(), Vec::new());
    for seed in 0..seeds {
        let mut random = Random::new(seed, 5);
        let slots = week(1, 6);
        let effects = if size > 0.0 { random_effects(&slots, size, &mut random) } else { vec![0.0; slots.len()] };
        let mut world = World::new(slots, effects, 0.1);
        world.sends /= real(REGIONS as u64);
        let regions: Vec<f64> = (0..REGIONS).map(|_| 0.4 * random.normal()).collect();
        let (mut cells, mut levels) = (Vec::new(), Vec::new());
        for campaign in 0..CAMPAIGNS {
            let level = -2.44 + 0.4 * random.normal();
            let own: Vec<f64> = world.slots.iter().map(|_| world.between * random.normal()).collect();
            for (stratum, region) in regions.iter().enumerate() {
                let slot = (campaign + stratum) % world.slots.len();
                cells.push(world.cell((campaign, stratum, slot), level + region + own[slot], &mut random));
                levels.push(level + region);
            }
        }
        let timings = timings(&cells, WindowAssignment::OneInstant);
        let Identification::QuasiExperimental { timing, .. } = identify(&world.slots, &timings, &request())? else {
            held.push(0.0);
            abstained.push(0.0);
            continue;
        };
        let practice = Some(vec![1.0; world.slots.len()]);
        let options = WindowOptions { seed, practice, ..WindowOptions::default() };
        let windows = fit(&timing, &world.slots, &cells, &options)?;
        let (rates, legal) = (world.rates(0, &levels), world.legal());
        let truth = |slot: usize| rates[slot] - mean(legal.iter().map(|&slot| rates[slot]));
        let holds = |slot: usize| windows.overall.slots[slot].difference.contains(truth(slot));
        held.push(mean(legal.iter().map(|&slot| yes(holds(slot)))));
        abstained.push(yes(matches!(windows.overall.decision, WindowDecision::Abstain { .. })));
    }
    let study = format!("one instant in six regions, {CAMPAIGNS} campaigns of 20,000, σ about {size}, τ 0.1");
    Ok(if size > 0.0 {
        let (what, bounds) = ("90 % intervals of the difference hold it", around(0.9, 0.02, &held));
        Row { study, seeds, what, figure: mean(held.into_iter()), bounds: Some(bounds) }
    } else {
        let least = 0.9 - STANDARD_ERRORS * (0.9 * 0.1 / real(seeds)).sqrt();
        Row { study, seeds, what: "abstains", figure: mean(abstained.into_iter()), bounds: Some((least, 1.0)) }
    })
}

/// Whether the one segment of four that prefers the opposite hours is found, and the others left alone.
pub fn segment(seeds: u64) -> Result<Vec<Row>, StatsError> {
    const LATE: [f64; 6] = [0.0, -0.25, -0.1, 0.0, 0.1, 0.3];
    const EARLY: [f64; 6] = [0.0, 0.3, 0.1, 0.0, -0.1, -0.25];
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for seed in 0..seeds {
        let mut random = Random::new(seed, 4);
        let mut world = World::new(week(1, 6), LATE.to_vec(), 0.1);
        world.effects = vec![LATE.to_vec(), EARLY.to_vec(), LATE.to_vec(), LATE.to_vec()];
        let (cells, _) = world.history(15, &mut random);
        let options = WindowOptions { seed, ..WindowOptions::default() };
        let Some(windows) = fitted(&world, &cells, &options)? else { continue };
        for segment in &windows.segments {
            let slots = match &segment.outlook.decision {
                WindowDecision::Recommend(recommendation) => recommendation.slots.as_slice(),
                WindowDecision::Abstain { .. } => &[],
            };
            let own = segment.level == AnswerLevel::Segment;
            if segment.segment == 1 {
                found.push(yes(own && slots == [1]));
            } else {
                others.push(yes(slots == [5]));
            }
        }
    }
    let row = |what: &'static str, values: &[f64], least: f64| Row {
        study: "one segment of four prefers mornings, 15 campaigns".to_owned(),
        seeds,
        what,
        figure: mean(values.iter().copied()),
        bounds: Some((least, 1.0)),
    };
    Ok(vec![
        row("it gets its own window, and the right one", &found, 0.7),
        row("the others get the evening", &others, 0.7),
    ])
}

/// Bounds about a claim that values scatter about, with an allowance for approximations.
fn around(claim: f64, allowance: f64, values: &[f64]) -> (f64, f64) {
    let centre = mean(values.iter().copied());
    let variance = mean(values.iter().map(|value| (value - centre).powi(2)));
    let error = STANDARD_ERRORS * (variance / real(values.len().max(1) as u64)).sqrt() + allowance;
    (claim - error, claim + error)
}

pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), value| (sum + value, n + 1));
    sum / real(n)
}

pub fn best(rates: &[f64], legal: &[usize]) -> f64 {
    legal.iter().map(|&slot| rates[slot]).fold(f64::NEG_INFINITY, f64::max)
}

fn yes(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}
