//! The arms of an experiment that an uplift is learnt from: who was drawn into which, with what probability, and what they
//! were sent.

use arrow::array::{Array as _, AsArray as _};

use super::request::ScoreRequest;
use crate::error::{EngineError, Result};
use crate::facts::{DAY_MICROSECONDS, LATEST_FIRST};
use crate::query::{QuerySession, text_literal};
use crate::report::{cell_number, cell_text};
use crate::stats::sample_ratio::sample_ratio_test;

/// Arms whose sizes are so unlikely as drawn were not drawn as planned: the limit of the sample ratio in `experiment`.
const MISMATCH: f64 = 0.001;

/// The two sides that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) treatment: String,
    pub(super) control: String,
}

/// The arms of an experiment.
pub(super) struct Arms {
    /// A query of `recipient_id`, `treated`, `assigned` (microseconds) and `probability` (of the treatment, for this unit),
    /// crossed recipients left out.
    pub(super) query: String,
    pub(super) sides: Sides,
    pub(super) units: u64,
    /// The first and the last assignment (microseconds since 1970).
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) notes: Vec<String>,
}

impl Arms {
    /// The arms of an experiment of the log of assignments: the treatment that is asked for or all there are, against the
    /// control that is asked for or those held out.
    ///
    /// # Errors
    /// When there is no such arm, nobody to compare with, or the sizes are not those that were planned.
    pub(super) async fn of(session: &QuerySession, experiment: &str, request: &ScoreRequest) -> Result<Self> {
        let (control, treatment) = (request.control.as_deref(), request.treatment.as_deref());
        let latest = format!(
            "SELECT recipient_id, min(arm) AS arm, bool_or(coalesce(is_holdout, FALSE)) AS held_out, \
             min(arrow_cast(assigned_at, 'Int64')) AS assigned, min(propensity) AS propensity FROM (\
             SELECT *, row_number() OVER (PARTITION BY recipient_id, arm ORDER BY {LATEST_FIRST}) AS newest FROM assignments \
             WHERE experiment_id = {}) WHERE newest = 1 AND arm IS NOT NULL GROUP BY recipient_id HAVING count(*) = 1",
            text_literal(experiment)
        );
        let arms = read_arms(session, &latest).await?;
        let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
        let is_control = |arm: &Arm| match control {
            Some(control) => arm.name == control,
            None => arm.held_out,
        };
        let unknown = [control, treatment].into_iter().flatten().find(|name| !names.contains(name));
        if let Some(unknown) = unknown {
            let names = names.join(", ");
            return Err(EngineError::usage(format!("\"{experiment}\" has no arm \"{unknown}\"; it has {names}")));
        }
        let is_treatment =
            |arm: &Arm| !is_control(arm) && !arm.held_out && treatment.is_none_or(|treatment| arm.name == treatment);
        let (controls, treatments): (Vec<&Arm>, Vec<&Arm>) = (
            arms.iter().filter(|arm| is_control(arm)).collect(),
            arms.iter().filter(|arm| is_treatment(arm)).collect(),
        );
        if controls.is_empty() {
            return Err(EngineError::refused(format!(
                "nobody of \"{experiment}\" was held back at random (its arms: {}): what a message adds cannot be told from \
                 those who got it alone. Keep a holdout in the next experiment, or compare two variants with --control ARM",
                names.join(", ")
            )));
        }
        if treatments.is_empty() {
            return Err(match treatment {
                Some(treatment) => EngineError::usage(format!(
                    "\"{treatment}\" is what the others are compared with, and cannot be the treatment as well"
                )),
                None => EngineError::refused(format!("\"{experiment}\" has no arm but its control")),
            });
        }
        let list = |arms: &[&Arm]| arms.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>().join(", ");
        let sum = |arms: &[&Arm]| arms.iter().map(|arm| arm.n).sum::<f64>();
        let planned = |arms: &[&Arm]| arms.iter().map(|arm| arm.propensity).sum::<Option<f64>>();
        let mut notes = left_out(session, experiment).await?;
        if treatments.len() > 1 {
            notes.push(format!(
                "the arms {} are taken together: which of them is better for whom is not told; --treatment ARM takes one",
                list(&treatments)
            ));
        }
        let differ = controls.iter().chain(&treatments).all(|arm| arm.differing);
        if differ && arms.len() > 2 {
            return Err(EngineError::refused(format!(
                "the units of \"{experiment}\" were drawn with probabilities that differ from unit to unit, into {} arms: what \
                 the others' probabilities were is not in the log, without which two of the arms cannot be compared",
                arms.len()
            )));
        }
        let probability = match (planned(&treatments), planned(&controls)) {
            (Some(treated), Some(control)) if treated > 0.0 && control > 0.0 => {
                format!("{:?}", treated / (treated + control))
            }
            // Of two arms who was not drawn into one was drawn into the other.
            _ if differ => "CASE WHEN treated THEN propensity ELSE 1 - propensity END".to_owned(),
            _ => {
                notes.push(
                    "the log of assignments has no probability that is the same throughout an arm: the share of the units in \
                     the arm stands for it"
                        .to_owned(),
                );
                format!("{:?}", sum(&treatments) / (sum(&treatments) + sum(&controls)))
            }
        };
        let all: Vec<&Arm> = controls.iter().chain(&treatments).copied().collect();
        check_sizes(experiment, &all)?;
        let both = || controls.iter().chain(&treatments);
        let first = both().map(|arm| arm.assigned.0).fold(f64::INFINITY, f64::min);
        let last = both().map(|arm| arm.assigned.1).fold(f64::NEG_INFINITY, f64::max);
        #[allow(clippy::cast_precision_loss)] // Microseconds of a day.
        if last - first > DAY_MICROSECONDS as f64 {
            notes.push("features are those of the first assignment; some units were assigned days later".to_owned());
        }
        let in_arms = |arms: &[&Arm]| arms.iter().map(|arm| text_literal(&arm.name)).collect::<Vec<_>>().join(", ");
        let query = format!(
            "SELECT recipient_id, assigned, treated, arrow_cast({probability}, 'Float64') AS probability FROM (\
             SELECT *, arm IN ({}) AS treated FROM ({latest}) WHERE arm IN ({}, {}))",
            in_arms(&treatments),
            in_arms(&treatments),
            in_arms(&controls)
        );
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Counts, and microseconds far below 2^53.
        Ok(Self {
            query,
            sides: Sides { treatment: list(&treatments), control: list(&controls) },
            units: (sum(&treatments) + sum(&controls)) as u64,
            first: first as i64,
            last: last as i64,
            notes,
        })
    }

    /// How many messages a unit of the treatment got within the horizon beyond those of the control.
    pub(super) async fn messages(&self, session: &QuerySession, horizon: i64) -> Result<f64> {
        // Sums of decimals do not hang on the order of rows, so that the same logs give the same model.
        let mean = |of: &str| {
            let sum = |what: &str| {
                format!("arrow_cast(sum(arrow_cast({what}, 'Decimal128(38, 12)')) FILTER (WHERE {of}), 'Float64')")
            };
            format!("{} / {}", sum("w * n"), sum("w"))
        };
        let query = format!(
            "SELECT {} - {} FROM (\
             SELECT a.recipient_id, a.treated, count(f.message_id) * 1.0 AS n, \
             min(CASE WHEN a.treated THEN 1 / a.probability ELSE 1 / (1 - a.probability) END) AS w FROM ({}) AS a \
             LEFT JOIN message_facts AS f ON f.recipient_id = a.recipient_id AND arrow_cast(f.sent_at, 'Int64') >= a.assigned \
             AND arrow_cast(f.sent_at, 'Int64') <= a.assigned + {horizon} GROUP BY a.recipient_id, a.treated)",
            mean("treated"),
            mean("NOT treated"),
            self.query
        );
        let found = session.collect(&query).await?;
        let Some(batch) = found.iter().find(|batch| batch.num_rows() > 0) else { return Ok(0.0) };
        Ok(cell_number(batch, 0, 0)?.unwrap_or(0.0))
    }
}

/// Refuses arms whose sizes are not those that they were drawn for.
fn check_sizes(experiment: &str, arms: &[&Arm]) -> Result<()> {
    let Some(planned) = arms.iter().map(|arm| arm.propensity).collect::<Option<Vec<f64>>>() else { return Ok(()) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Counts.
    let counts: Vec<u64> = arms.iter().map(|arm| arm.n as u64).collect();
    let Ok(ratio) = sample_ratio_test(&counts, &planned) else { return Ok(()) };
    if ratio.p_value < MISMATCH {
        let sizes = arms.iter().map(|arm| format!("\"{}\" {}", arm.name, arm.n)).collect::<Vec<_>>().join(", ");
        let shares = planned.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(EngineError::refused(format!(
            "the arms of \"{experiment}\" have {sizes} recipients, where probabilities of {shares} were logged (p {:.1e}): some \
             are missing or were not drawn so, and what a message adds cannot be learnt from the rest; `experiment analyze` \
             shows where they were lost",
            ratio.p_value
        )));
    }
    Ok(())
}

/// An arm as it was assigned.
struct Arm {
    name: String,
    held_out: bool,
    n: f64,
    /// The first and the last moment.
    assigned: (f64, f64),
    /// With which its units were drawn into it, where that is the same for all.
    propensity: Option<f64>,
    /// Whether it is known of all of them, and differs.
    differing: bool,
}

/// Who was assigned and is not compared, in words.
async fn left_out(session: &QuerySession, experiment: &str) -> Result<Vec<String>> {
    let query = format!(
        "SELECT count(*) FILTER (WHERE arms > 1) * 1.0, count(*) FILTER (WHERE arms = 0) * 1.0 FROM (\
         SELECT recipient_id, count(DISTINCT arm) AS arms FROM assignments WHERE experiment_id = {} GROUP BY recipient_id)",
        text_literal(experiment)
    );
    let found = session.collect(&query).await?;
    let Some(batch) = found.iter().find(|batch| batch.num_rows() > 0) else { return Ok(Vec::new()) };
    let mut notes = Vec::new();
    for (column, what) in [(0, "are in several arms"), (1, "have no arm")] {
        if let Some(n) = cell_number(batch, column, 0)?.filter(|n| *n > 0.0) {
            notes.push(format!("{n} recipients of \"{experiment}\" {what} and are left out"));
        }
    }
    Ok(notes)
}

async fn read_arms(session: &QuerySession, assignments: &str) -> Result<Vec<Arm>> {
    let query = format!(
        "SELECT arm, bool_or(held_out), count(*) * 1.0, min(assigned) * 1.0, max(assigned) * 1.0, min(propensity), \
         max(propensity), count(*) FILTER (WHERE propensity > 0 AND propensity < 1) = count(*) FROM ({assignments}) GROUP BY arm ORDER BY arm"
    );
    let mut arms = Vec::new();
    for batch in session.collect(&query).await? {
        for row in 0..batch.num_rows() {
            let number = |column: usize| cell_number(&batch, column, row);
            let (held_out, all_known) = (batch.column(1).as_boolean(), batch.column(7).as_boolean().value(row));
            let ends = number(5)?.zip(number(6)?);
            let is_one = |(least, most): &(f64, f64)| most - least < 1e-9;
            arms.push(Arm {
                name: cell_text(&batch, 0, row)?.unwrap_or_default(),
                held_out: held_out.is_valid(row) && held_out.value(row),
                n: number(2)?.unwrap_or(0.0),
                assigned: (number(3)?.unwrap_or(0.0), number(4)?.unwrap_or(0.0)),
                propensity: ends.filter(is_one).map(|(least, _)| least),
                differing: all_known && ends.is_some_and(|ends| !is_one(&ends)),
            });
        }
    }
    Ok(arms)
}

/// The experiment that is asked for, or the only one there is.
pub(super) async fn chosen_experiment(session: &QuerySession, asked: Option<&str>) -> Result<String> {
    let query = "SELECT experiment_id FROM assignments WHERE experiment_id IS NOT NULL GROUP BY experiment_id ORDER BY experiment_id";
    let mut known = Vec::new();
    for batch in session.collect(query).await? {
        for row in 0..batch.num_rows() {
            known.extend(cell_text(&batch, 0, row)?);
        }
    }
    match (asked, known.as_slice()) {
        (_, []) => Err(EngineError::refused(
            "there are no assignments: what a message adds is learnt from recipients of whom some were held back at random. \
             `sendlift experiment assign` draws them; the log of assignments brings them in",
        )),
        (Some(asked), _) if known.iter().any(|known| known == asked) => Ok(asked.to_owned()),
        (Some(asked), _) => Err(EngineError::NotFound(format!(
            "there is no experiment \"{asked}\" in the log of assignments; there are {}",
            known.join(", ")
        ))),
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(EngineError::usage(format!(
            "there are several experiments ({}): name one with --experiment",
            known.join(", ")
        ))),
    }
}
