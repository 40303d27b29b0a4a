//! Was the draw carried out? What was sent to whom against what was drawn, when each arm was drawn, and whether the arms have
//! had the same time.

use std::collections::BTreeMap;

use super::StoreExperiment;
use crate::error::Result;
use crate::experiment::balance::DAY_OF_ASSIGNMENT;
use crate::experiment::checks::{Check, MISMATCH, Verdict, shown};
use crate::experiment::sample::ExperimentSample;
use crate::experiment::unit_columns::count_at;
use crate::query::text_literal;
use crate::report::cell_text;
use crate::stats::sample_ratio_test;

/// The share of units that may be treated otherwise than drawn, by a resend or a race, before nothing is to be trusted.
const MOST_AMISS: f64 = 0.01;
/// Days of assignment that are looked at one by one; with more, months are.
const MOST_DAYS: usize = 60;

/// Of an arm: its name, the units that were sent to, and those of them whose window is still open.
pub(super) type OpenWindows = (String, u64, u64);

impl StoreExperiment<'_> {
    /// Whether those held out were left alone, and the others were sent the arm that they were drawn for. Nothing where the
    /// arms are read from the messages themselves.
    pub(super) async fn draw_checks(&self, table: &str, sample: &ExperimentSample) -> Result<Vec<Check>> {
        if self.source != "assignments" {
            return Ok(Vec::new());
        }
        // Variants that go by other names than arms tell nothing of the arm.
        let arms: Vec<String> =
            sample.arms.iter().chain(&sample.kept_apart).map(|(arm, _)| text_literal(arm)).collect();
        let names = if arms.is_empty() { "NULL".to_owned() } else { arms.join(", ") };
        let query = format!(
            "SELECT count(*) FILTER (WHERE apart), count(*) FILTER (WHERE apart AND stage_sent = 1), \
             count(*) FILTER (WHERE NOT apart AND sent_variant IN ({names})), \
             count(*) FILTER (WHERE NOT apart AND sent_variant IN ({names}) AND (sent_variants > 1 OR sent_variant <> arm)) \
             FROM {table} WHERE arms = 1 AND arm IS NOT NULL"
        );
        let found = self.session.collect(&query).await?;
        let Some(batch) = found.iter().find(|batch| batch.num_rows() > 0) else { return Ok(Vec::new()) };
        let count = |column: usize| count_at(batch, column, 0);
        let mut checks = Vec::new();
        if count(0) > 0 {
            let (held_out, sent_to) = (count(0), count(1));
            let so = if sent_to > 0 { ": what messages bring is measured against people who got none" } else { "" };
            checks.push(amiss(
                "holdout_unsent",
                sent_to,
                held_out,
                format!("{sent_to} of the {held_out} held out were sent messages of the experiment{so}"),
            ));
        }
        if count(2) > 0 {
            let (known, other) = (count(2), count(3));
            let so = if other > 0 {
                ": their arm is what was drawn, and the effect of what was sent is watered down"
            } else {
                ""
            };
            checks.push(amiss(
                "sent_as_assigned",
                other,
                known,
                format!("{other} of the {known} sent to got another arm's message, or several arms'{so}"),
            ));
        }
        Ok(checks)
    }

    /// How the arms are made up by the day of the assignment: an arm that was drawn later met other days.
    pub(super) async fn read_days_of_assignment(&self, counted: &str, sample: &mut ExperimentSample) -> Result<()> {
        for day in ["assigned_day", "substr(assigned_day, 1, 7)"] {
            let query = format!(
                "SELECT arm, {day} AS drawn_on, count(*) FROM {counted} AND assigned_day IS NOT NULL GROUP BY 1, 2"
            );
            let mut days: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            for batch in self.session.collect(&query).await? {
                for row in 0..batch.num_rows() {
                    let (arm, day) = (cell_text(&batch, 0, row)?, cell_text(&batch, 1, row)?.unwrap_or_default());
                    let Some(arm) = sample.arms.iter().position(|(name, _)| Some(name) == arm.as_ref()) else {
                        continue;
                    };
                    let counts = days.entry(day).or_insert_with(|| vec![0; sample.arms.len()]);
                    counts[arm] += count_at(&batch, 2, row);
                }
            }
            if days.len() <= MOST_DAYS {
                if days.len() > 1 {
                    sample.contact_columns.push((DAY_OF_ASSIGNMENT.to_owned(), days.into_values().collect()));
                }
                return Ok(());
            }
        }
        Ok(())
    }
}

fn amiss(name: &'static str, wrong: u64, of: u64, detail: String) -> Check {
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
    let share = wrong as f64 / of as f64;
    let verdict = match wrong {
        0 => Verdict::Ok,
        _ if share > MOST_AMISS => Verdict::Fail,
        _ => Verdict::Warn,
    };
    Check::new(name, verdict, detail)
}

/// Whether the windows of conversions have closed, and if not, whether they are open alike in all arms that were sent to.
pub(super) fn maturity(arms: &[OpenWindows], units: u64) -> Result<Check> {
    let open: u64 = arms.iter().map(|(.., open)| open).sum();
    if open == 0 {
        return Ok(Check::new("maturity", Verdict::Ok, "every recipient's window has closed".to_owned()));
    }
    let sent_to: Vec<&OpenWindows> = arms.iter().filter(|(_, sent, _)| *sent > 0).collect();
    let counts: Vec<u64> = sent_to.iter().map(|(.., open)| *open).collect();
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
    let weights: Vec<f64> = sent_to.iter().map(|(_, sent, _)| *sent as f64).collect();
    let p_value = if counts.len() > 1 { Some(sample_ratio_test(&counts, &weights)?.p_value) } else { None };
    if p_value.is_some_and(|p_value| p_value < MISMATCH) {
        let shown = shown(sent_to.iter().map(|(arm, _, open)| (arm, *open)));
        let detail = format!(
            "the windows still open are {shown}: one arm has had less time than another, and what is counted of them cannot be compared \
             until all have closed"
        );
        let mut check = Check::new("maturity", Verdict::Fail, detail);
        check.p_value = p_value;
        return Ok(check);
    }
    let detail =
        format!("the window of {open} of {units} recipients is still open: their conversions are not complete");
    Ok(Check::new("maturity", Verdict::Warn, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_that_had_less_time_are_not_compared() {
        let arms = |open: [u64; 2]| {
            ["A", "B"].iter().zip(open).map(|(arm, open)| ((*arm).to_owned(), 4_000, open)).collect::<Vec<_>>()
        };
        assert_eq!(maturity(&arms([0, 0]), 8_000).unwrap().verdict, Verdict::Ok);
        assert_eq!(maturity(&arms([500, 520]), 8_000).unwrap().verdict, Verdict::Warn);
        let check = maturity(&arms([0, 4_000]), 8_000).unwrap();
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.detail.contains("A 0, B 4000"), "{}", check.detail);
        // Who is sent nothing has no window of its own.
        let mut arms = arms([0, 300]);
        arms[0].1 = 0;
        assert_eq!(maturity(&arms, 8_000).unwrap().verdict, Verdict::Warn);
    }
}
