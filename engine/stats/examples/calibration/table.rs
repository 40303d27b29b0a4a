//! Which error rates are outside of what was claimed, and the table of all.
//!
//! Enters: the studies with how often each method was wrong. Leaves: a Markdown table, and the rows that breach a claim.
//!
//! A rate is outside when as many errors (or as few) have a probability below [`WRONG_ALARMS`] / (2 × rates in the table)
//! even if the true rate is the greatest (or the least) claimed: exact binomial tails, and Bonferroni's inequality over
//! both sides of every rate. So a run in which every method is as good as it claims reports a breach less than once in
//! 10,000 runs. The intervals in brackets are each rate's own, Wilson's at 99 %.

use crate::random::{Binomial, real};
use crate::study::{Claim, Study, Tally};
use sendlift_stats::StatsError;
use sendlift_stats::proportion::wilson_interval;

/// Probability, over a whole run, of an alarm without a cause.
const WRONG_ALARMS: f64 = 1e-4;

/// Error of the intervals in brackets.
const BRACKET_ALPHA: f64 = 0.01;

/// Where a rate stands against the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Within,
    TooOftenWrong,
    TooCautious,
}

/// The table, and what breaches a claim.
pub struct Report {
    pub markdown: String,
    pub breaches: Vec<String>,
}

/// Judges every rate and writes the table.
pub fn report(results: &[(Study, Vec<Tally>)]) -> Result<Report, StatsError> {
    let rates: u64 = results
        .iter()
        .flat_map(|(_, tallies)| tallies)
        .map(|tally| u64::from(tally.tests > 0) + u64::from(tally.intervals > 0))
        .sum();
    let tail = WRONG_ALARMS / (2.0 * real(rates.max(1)));
    let mut report = Report { markdown: String::new(), breaches: Vec::new() };
    let mut family = "";
    for (study, tallies) in results {
        if study.family != family {
            family = study.family;
            report.markdown.push_str(&format!(
                "\n### {family}\n\n| data | method | runs | false positives, % | coverage, % | |\n\
                 | --- | --- | ---: | ---: | ---: | --- |\n"
            ));
        }
        for (method, tally) in study.methods.iter().zip(tallies) {
            let standing = [
                standing(tally.false_positives, tally.tests, method.claim, tail),
                standing(tally.misses, tally.intervals, method.claim, tail),
            ];
            let remark = remark(standing, method.claim.binding);
            let row = format!(
                "| {data} | {name} | {runs} | {found} | {covered} | {remark} |",
                data = study.data,
                name = method.name,
                runs = study.replicates,
                found = percent(tally.false_positives, tally.tests)?,
                covered = percent(tally.intervals - tally.misses, tally.intervals)?,
            );
            let outside = standing.iter().any(|&standing| standing != Standing::Within);
            if outside && method.claim.binding {
                report.breaches.push(row.clone());
            }
            report.markdown.push_str(&row);
            report.markdown.push('\n');
        }
    }
    Ok(report)
}

/// Whether `errors` among `runs` fit a claim. Without runs there is nothing to say.
fn standing(errors: u64, runs: u64, claim: Claim, tail: f64) -> Standing {
    if runs == 0 {
        Standing::Within
    } else if Binomial::new(runs, claim.most).chance_of_at_least(errors) < tail {
        Standing::TooOftenWrong
    } else if Binomial::new(runs, claim.least).chance_of_at_most(errors) < tail {
        Standing::TooCautious
    } else {
        Standing::Within
    }
}

/// What the last column says of the test and of the interval.
fn remark(standing: [Standing; 2], binding: bool) -> String {
    let what = if standing.contains(&Standing::TooOftenWrong) {
        "too often wrong"
    } else if standing.contains(&Standing::TooCautious) {
        "too cautious"
    } else {
        return String::new();
    };
    if binding { format!("**outside: {what}**") } else { format!("known failure: {what}") }
}

/// A share in per cent with its interval; a dash without runs.
fn percent(part: u64, runs: u64) -> Result<String, StatsError> {
    if runs == 0 {
        return Ok("–".to_owned());
    }
    let bracket = wilson_interval(part, runs, BRACKET_ALPHA)?;
    let (low, high) = (100.0 * bracket.low.unwrap_or(0.0), 100.0 * bracket.high.unwrap_or(1.0));
    let share = 100.0 * real(part) / real(runs);
    Ok(format!("{share:.1} ({low:.1}–{high:.1})"))
}
