//! Sooner or more: does a send window bring clicks that would not have come, or the same clicks earlier?
//!
//! Enters: for two groups (a window and the others, treatment and control) and for each interval since the send, the
//! recipients at risk at its start, those who clicked first in it and those who opted out. Leaves: the share who have
//! clicked by the horizon and its difference (**more**), the mean and median time to the click of those who did and its
//! difference (**sooner**), and a verdict.
//!
//! *At risk* in an interval are those who have neither clicked nor opted out before it *and whose sends are old enough
//! for the whole interval to have passed*: younger ones are censored there, not counted as silent. Opt-outs compete:
//! who opted out will not click, and is no censored recipient whose click is yet to come. The cumulative incidence of
//! clicks is Aalen and Johansen's (1978, Scandinavian Journal of Statistics 5) in discrete time; variances by the delta
//! method over the multinomial hazards, Greenwood's when nothing competes (Kalbfleisch and Prentice 2002, The
//! Statistical Analysis of Failure Time Data, chapter 8).
//!
//! The rule of the verdict, both questions sharing alpha (each interval is at confidence 1 − alpha / 2):
//!
//! | verdict | interval of the difference in share | interval of the difference in mean time |
//! | --- | --- | --- |
//! | `more` | above zero | any |
//! | `fewer` | below zero | any |
//! | `sooner_only` | holds zero, within ± share margin | below zero |
//! | `neither` | holds zero, within ± share margin | not below zero, nor reaching below − time margin |
//! | `cannot_tell` | anything else, or fewer than ten clicks in a group | |
//!
//! Times are compared among those who clicked, who are other people in the two groups once the groups differ in share:
//! after `more` or `fewer` the times describe and prove nothing.

mod incidence;
mod report;

pub use report::{ClickInterval, IntervalCounts, TimingComparison, TimingGroup, TimingOptions, TimingVerdict};

use crate::distribution::normal;
use crate::error::{StatsError, check_alpha, check_finite, check_not_negative};
use crate::interval::{Estimate, Interval};
use crate::numeric::length;
use incidence::Hazards;

/// Clicks that each group needs for a verdict.
pub const FEWEST_CLICKS: u64 = 10;

const NOBODY: &str = "nobody at risk";
const NO_CLICKS: &str = "a group without clicks has no time to them";

/// Compares a window with the others. All intervals of the result are at confidence 1 − alpha / 2.
///
/// ```
/// use sendlift_stats::time_to_click::{
///     ClickInterval, IntervalCounts, TimingOptions, TimingVerdict, compare_timing,
/// };
///
/// let hours = [(0.0, 1.0), (1.0, 24.0)].map(|(start, end)| ClickInterval { start, end });
/// let group = |first, second| [
///     IntervalCounts { at_risk: 20_000, clicks: first, opt_outs: 0 },
///     IntervalCounts { at_risk: 20_000 - first, clicks: second, opt_outs: 0 },
/// ];
/// let options = TimingOptions { alpha: 0.05, share_margin: 0.01, time_margin: 0.5 };
/// let comparison = compare_timing(&hours, &group(400, 1_200), &group(800, 800), options)?;
/// assert_eq!(comparison.verdict, TimingVerdict::SoonerOnly);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::LengthsDiffer`] where a group has not one entry an interval;
/// [`StatsError::SuccessesExceedUnits`] for more events than recipients at risk, or more at risk than are left;
/// [`StatsError::NotFinite`] or [`StatsError::Negative`] for a time or a margin, or intervals that do not follow one
/// another.
pub fn compare_timing(
    intervals: &[ClickInterval],
    others: &[IntervalCounts],
    window: &[IntervalCounts],
    options: TimingOptions,
) -> Result<TimingComparison, StatsError> {
    check_alpha(options.alpha)?;
    check_not_negative("the share margin", options.share_margin)?;
    check_not_negative("the time margin", options.time_margin)?;
    check_intervals(intervals)?;
    for group in [others, window] {
        check_group(intervals, group)?;
    }
    let reached = |group| Hazards::of(group, intervals).intervals();
    // Beyond where one group ends the other has nothing to be held against.
    let common = reached(others).min(reached(window));
    let (intervals, others, window) = (&intervals[..common], &others[..common], &window[..common]);
    let critical = normal::critical_value(options.alpha / 2.0);
    let first = Group::of(others, intervals);
    let second = Group::of(window, intervals);
    let between = |part: fn(&Group) -> Option<Value>, missing: &str| match (part(&first), part(&second)) {
        (Some(first), Some(second)) => {
            Value { value: second.value - first.value, variance: first.variance + second.variance }.estimate(critical)
        }
        _ => Estimate::undefined(missing),
    };
    let more = between(|group| group.clicked, NOBODY);
    let sooner = between(|group| group.mean_time, NO_CLICKS);
    let opt_outs = between(|group| group.opted_out, NOBODY);
    let clicks = |group: &[IntervalCounts]| group.iter().fold(0_u64, |sum, counts| sum.saturating_add(counts.clicks));
    let fewest = clicks(others).min(clicks(window));
    let (verdict, note) = verdict(&more, &sooner, fewest, options);
    let median_difference =
        second.hazards.median_time().zip(first.hazards.median_time()).map(|(second, first)| second - first);
    Ok(TimingComparison {
        verdict,
        note: note.map(str::to_owned),
        horizon: intervals.last().map(|interval| interval.end),
        others: first.presented(critical),
        window: second.presented(critical),
        more,
        sooner,
        median_difference,
        opt_outs,
    })
}

/// The rule of the module.
fn verdict(
    more: &Estimate,
    sooner: &Estimate,
    fewest_clicks: u64,
    options: TimingOptions,
) -> (TimingVerdict, Option<&'static str>) {
    let (Some(low), Some(high)) = (more.low, more.high) else {
        return (TimingVerdict::CannotTell, Some(NOBODY));
    };
    if fewest_clicks < FEWEST_CLICKS {
        return (TimingVerdict::CannotTell, Some("fewer than ten clicks in a group"));
    }
    if low > 0.0 {
        return (TimingVerdict::More, None);
    }
    if high < 0.0 {
        return (TimingVerdict::Fewer, None);
    }
    let (Some(earliest), Some(latest)) = (sooner.low, sooner.high) else {
        return (TimingVerdict::CannotTell, Some(NO_CLICKS));
    };
    let about_as_many = -options.share_margin <= low && high <= options.share_margin;
    match (about_as_many, latest < 0.0) {
        (true, true) => (TimingVerdict::SoonerOnly, None),
        (true, false) if earliest >= -options.time_margin => (TimingVerdict::Neither, None),
        (true, false) => (TimingVerdict::CannotTell, Some("about as many click; whether sooner is open")),
        (false, true) => (TimingVerdict::CannotTell, Some("clicks come sooner; whether they are more is open")),
        (false, false) => (TimingVerdict::CannotTell, Some("whether clicks are more is open")),
    }
}

fn check_intervals(intervals: &[ClickInterval]) -> Result<(), StatsError> {
    let mut before: Option<f64> = None;
    for interval in intervals {
        check_finite("the start of an interval", interval.start)?;
        check_finite("the end of an interval", interval.end)?;
        crate::error::check_positive("the length of an interval", interval.end - interval.start)?;
        if let Some(end) = before {
            check_not_negative("the gap between an interval and the one before", interval.start - end)?;
        }
        before = Some(interval.end);
    }
    Ok(())
}

fn check_group(intervals: &[ClickInterval], group: &[IntervalCounts]) -> Result<(), StatsError> {
    if group.len() != intervals.len() {
        return Err(StatsError::LengthsDiffer { counts: group.len(), weights: intervals.len() });
    }
    let mut left = u64::MAX;
    for counts in group {
        let events = counts.clicks.saturating_add(counts.opt_outs);
        for (part, whole) in [(events, counts.at_risk), (counts.at_risk, left)] {
            if part > whole {
                return Err(StatsError::SuccessesExceedUnits { successes: part, n: whole });
            }
        }
        left = counts.at_risk - events;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
struct Value {
    value: f64,
    variance: f64,
}

impl Value {
    fn estimate(self, critical: f64) -> Estimate {
        let half_width = critical * self.variance.max(0.0).sqrt();
        Estimate::new(self.value, Interval::from_ends(self.value - half_width, self.value + half_width))
    }
}

struct Group {
    hazards: Hazards,
    clicked: Option<Value>,
    opted_out: Option<Value>,
    mean_time: Option<Value>,
}

impl Group {
    fn of(counts: &[IntervalCounts], intervals: &[ClickInterval]) -> Self {
        let hazards = Hazards::of(counts, intervals);
        let (clicks, opt_outs, times) = (hazards.clicks(), hazards.opt_outs(), hazards.times());
        let has_rows = length(hazards.intervals()) > 0.0;
        let value = |total: &incidence::Total| {
            has_rows.then(|| Value { value: total.value, variance: hazards.covariance(total, total) })
        };
        // The mean time is a ratio: sum of times over share of clickers.
        let mean_time = (clicks.value > 0.0).then(|| {
            let mean = times.value / clicks.value;
            let variance = hazards.covariance(&times, &times) - 2.0 * mean * hazards.covariance(&times, &clicks)
                + mean * mean * hazards.covariance(&clicks, &clicks);
            Value { value: mean, variance: variance / (clicks.value * clicks.value) }
        });
        Self { clicked: value(&clicks), opted_out: value(&opt_outs), mean_time, hazards }
    }

    fn presented(&self, critical: f64) -> TimingGroup {
        let show = |value: Option<Value>, missing: &str| {
            value.map_or_else(|| Estimate::undefined(missing), |value| value.estimate(critical))
        };
        let share = |value: Option<Value>| {
            let mut estimate = show(value, NOBODY);
            estimate.low = estimate.low.map(|end| end.max(0.0));
            estimate.high = estimate.high.map(|end| end.min(1.0));
            estimate
        };
        TimingGroup {
            clicked: share(self.clicked),
            opted_out: share(self.opted_out),
            mean_time: show(self.mean_time, NO_CLICKS),
            median_time: self.hazards.median_time(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::{assert_close, count};

    const OPTIONS: TimingOptions = TimingOptions { alpha: 0.05, share_margin: 0.01, time_margin: 0.5 };

    fn hours(ends: &[f64]) -> Vec<ClickInterval> {
        let starts = std::iter::once(&0.0).chain(ends);
        starts.zip(ends).map(|(&start, &end)| ClickInterval { start, end }).collect()
    }

    /// A group that nobody is censored in.
    fn group(n: u64, events: &[(u64, u64)]) -> Vec<IntervalCounts> {
        let mut at_risk = n;
        let mut rows = Vec::new();
        for &(clicks, opt_outs) in events {
            rows.push(IntervalCounts { at_risk, clicks, opt_outs });
            at_risk -= clicks + opt_outs;
        }
        rows
    }

    #[test]
    fn without_censoring_shares_are_plain_shares() {
        let events = [(120, 10), (60, 5), (30, 20)];
        let own = group(2_000, &events);
        let comparison = compare_timing(&hours(&[1.0, 6.0, 24.0]), &own, &own, OPTIONS).unwrap();
        let critical = normal::critical_value(0.025);
        let clicked = &comparison.others.clicked;
        let share = 210.0 / 2_000.0;
        assert_close(clicked.estimate.unwrap(), share, 1e-12);
        let error = (clicked.high.unwrap() - share) / critical;
        assert_close(error, (share * (1.0 - share) / 2_000.0_f64).sqrt(), 1e-10);
        assert_close(comparison.others.opted_out.estimate.unwrap(), 35.0 / 2_000.0, 1e-12);
        // The mean of 210 times, with their variance (divided by n) over n.
        let times = [(0.5, 120.0), (3.5, 60.0), (15.0, 30.0)];
        let mean: f64 = times.iter().map(|(time, clicks)| time * clicks / 210.0).sum();
        let variance: f64 = times.iter().map(|(time, clicks)| (time - mean) * (time - mean) * clicks / 210.0).sum();
        let seen = &comparison.others.mean_time;
        assert_close(seen.estimate.unwrap(), mean, 1e-12);
        assert_close((seen.high.unwrap() - mean) / critical, (variance / 210.0).sqrt(), 1e-10);
        // 105 of 120 clicks of the first hour.
        assert_close(comparison.others.median_time.unwrap(), 105.0 / 120.0, 1e-12);
        assert_close(comparison.more.estimate.unwrap(), 0.0, 0.0);
    }

    #[test]
    fn each_verdict_has_its_data() {
        let hours = hours(&[1.0, 24.0]);
        let base = group(40_000, &[(800, 0), (2_400, 0)]);
        for (window, verdict) in [
            (group(40_000, &[(1_200, 0), (2_400, 0)]), TimingVerdict::More),
            (group(40_000, &[(800, 0), (2_000, 0)]), TimingVerdict::Fewer),
            (group(40_000, &[(1_600, 0), (1_600, 0)]), TimingVerdict::SoonerOnly),
            (group(40_000, &[(810, 0), (2_390, 0)]), TimingVerdict::Neither),
            (group(400, &[(8, 0), (24, 0)]), TimingVerdict::CannotTell),
        ] {
            let options = TimingOptions { time_margin: 1.0, ..OPTIONS };
            let comparison = compare_timing(&hours, &base, &window, options).unwrap();
            assert_eq!(comparison.verdict, verdict, "{comparison:?}");
        }
        let few = compare_timing(&hours, &base, &group(40_000, &[(5, 0), (4, 0)]), OPTIONS).unwrap();
        assert_eq!(
            (few.verdict, few.note.as_deref()),
            (TimingVerdict::CannotTell, Some("fewer than ten clicks in a group"))
        );
    }

    #[test]
    fn censored_recipients_are_not_silent_ones() {
        // Half of the sends are too young for the second interval; the hazard there is of the other half.
        let young = vec![
            IntervalCounts { at_risk: 10_000, clicks: 500, opt_outs: 0 },
            IntervalCounts { at_risk: 4_750, clicks: 475, opt_outs: 0 },
        ];
        let comparison = compare_timing(&hours(&[1.0, 24.0]), &young, &young, OPTIONS).unwrap();
        assert_close(comparison.window.clicked.estimate.unwrap(), 0.05 + 0.95 * 0.1, 1e-12);
        // Greenwood's formula where nothing competes.
        let survival = 0.95 * 0.9;
        let greenwood = survival * survival * (500.0 / (10_000.0 * 9_500.0) + 475.0 / (4_750.0 * 4_275.0));
        let reach = comparison.window.clicked.high.unwrap() - comparison.window.clicked.estimate.unwrap();
        assert_close(reach / normal::critical_value(0.025), f64::sqrt(greenwood), 1e-10);
    }

    #[test]
    fn the_horizon_is_where_both_have_anyone() {
        let short = [IntervalCounts { at_risk: 100, clicks: 20, opt_outs: 0 }, IntervalCounts::default()];
        let long = group(100, &[(20, 0), (30, 0)]);
        let comparison = compare_timing(&hours(&[1.0, 24.0]), &short, &long, OPTIONS).unwrap();
        assert_close(comparison.horizon.unwrap(), 1.0, 0.0);
        assert_close(comparison.more.estimate.unwrap(), 0.0, 1e-12);
        let empty = compare_timing(&hours(&[1.0]), &[IntervalCounts::default()], &long[..1], OPTIONS).unwrap();
        assert_eq!((empty.verdict, empty.horizon), (TimingVerdict::CannotTell, None));
        let none = compare_timing(&[], &[], &[], OPTIONS).unwrap();
        assert_eq!(none.verdict, TimingVerdict::CannotTell);
    }

    #[test]
    fn the_ends_are_handled() {
        let hours = hours(&[1.0, 2.0]);
        let all = group(50, &[(50, 0), (0, 0)]);
        let silent = group(50, &[(0, 0), (0, 0)]);
        let comparison = compare_timing(&hours, &silent, &all, OPTIONS).unwrap();
        assert_close(comparison.more.estimate.unwrap(), 1.0, 0.0);
        assert_eq!((comparison.sooner.estimate, comparison.median_difference), (None, None));
        assert_eq!(comparison.verdict, TimingVerdict::CannotTell);
        let huge = group(u64::MAX / 2, &[(u64::MAX / 4, 0), (1, 1)]);
        let comparison = compare_timing(&hours, &huge, &huge, OPTIONS).unwrap();
        assert!(comparison.others.clicked.estimate.unwrap() <= 1.0 && count(huge[0].clicks) > 0.0);
    }

    #[test]
    fn impossible_input_is_refused() {
        let one = hours(&[1.0]);
        let refused = |intervals: &[ClickInterval], counts: &[(u64, u64, u64)]| {
            let rows: Vec<IntervalCounts> = counts
                .iter()
                .map(|&(at_risk, clicks, opt_outs)| IntervalCounts { at_risk, clicks, opt_outs })
                .collect();
            compare_timing(intervals, &rows, &rows, OPTIONS).is_err()
        };
        assert!(refused(&one, &[(10, 8, 3)]));
        assert!(refused(&one, &[]));
        assert!(refused(&hours(&[1.0, 2.0]), &[(10, 5, 0), (6, 1, 0)]));
        assert!(refused(&[ClickInterval { start: 1.0, end: 1.0 }], &[(1, 0, 0)]));
        assert!(refused(&[ClickInterval { start: f64::NAN, end: 1.0 }], &[(1, 0, 0)]));
        let overlapping = [ClickInterval { start: 0.0, end: 2.0 }, ClickInterval { start: 1.0, end: 3.0 }];
        assert!(refused(&overlapping, &[(2, 0, 0), (2, 0, 0)]));
        let rows = [IntervalCounts { at_risk: 2, clicks: 1, opt_outs: 0 }];
        assert!(compare_timing(&one, &rows, &rows, TimingOptions { alpha: 0.0, ..OPTIONS }).is_err());
        assert!(compare_timing(&one, &rows, &rows, TimingOptions { share_margin: -0.1, ..OPTIONS }).is_err());
        assert!(compare_timing(&one, &rows, &rows, TimingOptions { time_margin: f64::NAN, ..OPTIONS }).is_err());
    }
}
