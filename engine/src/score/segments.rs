//! Segments of recipients in sum: what their scores say of them together.

use std::collections::BTreeMap;

use itertools::Itertools as _;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::ALPHA;
use super::eligibility::Eligibility;
use crate::error::Result;
use crate::query::{QuerySession, RecipientRange};
use crate::report::{cell_number, cell_text};
use crate::segment::ContactColumns;
use crate::stats::distribution::normal::critical_value;
use crate::stats::uplift::by_prediction::EffectsByPrediction;
use crate::stats::{Estimate, Interval};

/// A segment in sum.
#[derive(Debug, Clone, Serialize)]
pub struct SegmentScore {
    /// Its values, by column.
    pub by: Map<String, Value>,
    /// Its recipients in the file: those who may be sent to, unless the others were asked for.
    pub recipients: u64,
    /// Their mean score.
    pub mean_score: f64,
    /// How many outcomes a planner has to expect: of a probability as many as the model says, with the interval of chance
    /// alone; of an uplift how many a message adds by what the experiment's own units with such predictions brought, with
    /// the interval of that.
    pub expected: Estimate,
}

/// What recipients are summed up by.
pub(super) struct ScoreSegments {
    by: Vec<String>,
    columns: ContactColumns,
}

impl ScoreSegments {
    /// Columns of the contacts, or `segment:NAME` of a saved one, as of a moment.
    pub(super) async fn of(session: &QuerySession, by: &[String], as_of: Timestamp) -> Result<Self> {
        Ok(Self { by: by.to_vec(), columns: ContactColumns::of(session, by, as_of.as_microsecond()).await? })
    }

    /// What a reader must know of saved segments.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> + '_ {
        self.columns.notes()
    }

    /// The segments of those of a table of scores who are in the file, a range of recipients at a time; with the effects by what
    /// was predicted where the scores are of an uplift.
    pub(super) async fn scores(
        &self,
        session: &QuerySession,
        table: &str,
        (eligibility, with_ineligible): (&Eligibility, bool),
        ranges: &[RecipientRange],
        effects: Option<&EffectsByPrediction>,
    ) -> Result<Vec<SegmentScore>> {
        let width = self.by.len();
        if width == 0 {
            return Ok(Vec::new());
        }
        // Of an uplift each part of what is predicted is counted by itself.
        let part = match effects {
            Some(effects) => {
                let steps = effects.parts.iter().skip(1);
                let steps = steps.map(|part| format!(" + CASE WHEN s.score >= {:?} THEN 1 ELSE 0 END", part.least));
                format!("0{}", steps.collect::<String>())
            }
            None => "0".to_owned(),
        };
        let keys =
            self.columns.values.iter().enumerate().map(|(place, value)| format!("{value} AS k{place}")).join(", ");
        let places = (1..=width + 1).join(", ");
        // Sums of decimals do not hang on the order of rows.
        let sum = |of: &str| format!("arrow_cast(sum(arrow_cast({of}, 'Decimal128(38, 15)')), 'Float64')");
        let mut found: BTreeMap<Vec<Option<String>>, BTreeMap<u64, PartSums>> = BTreeMap::new();
        for range in ranges {
            let query = format!(
                "SELECT {keys}, {part} AS part, count(*) * 1.0, {}, {} FROM {table} AS s \
                 LEFT JOIN {} AS k ON k.recipient_id = s.recipient_id{} WHERE {} AND {} GROUP BY {places} ORDER BY {places}",
                sum("s.score"),
                sum("s.score * (1 - s.score)"),
                self.columns.contacts,
                eligibility.joins(),
                range.condition("s.recipient_id"),
                if with_ineligible { "TRUE".to_owned() } else { format!("{} IS NULL", eligibility.reason()) },
            );
            for batch in range.within(session).await?.collect(&query).await? {
                for row in 0..batch.num_rows() {
                    let key = (0..width).map(|place| cell_text(&batch, place, row)).collect::<Result<Vec<_>>>()?;
                    let number =
                        |place: usize| -> Result<f64> { Ok(cell_number(&batch, width + place, row)?.unwrap_or(0.0)) };
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A small count.
                    let part = number(0)? as u64;
                    let sums = found.entry(key).or_default().entry(part).or_default();
                    sums.part = number(0)?;
                    sums.n += number(1)?;
                    sums.sum += number(2)?;
                    sums.variance += number(3)?;
                }
            }
        }
        let scored = found.into_iter().map(|(key, parts)| {
            let parts: Vec<PartSums> = parts.into_values().collect();
            self.score(key, &parts, effects)
        });
        Ok(scored.collect())
    }

    fn score(
        &self,
        key: Vec<Option<String>>,
        parts: &[PartSums],
        effects: Option<&EffectsByPrediction>,
    ) -> SegmentScore {
        let critical = critical_value(ALPHA);
        let n: f64 = parts.iter().map(|part| part.n).sum();
        let sum: f64 = parts.iter().map(|part| part.sum).sum();
        let expected = if let Some(effects) = effects {
            let mut like = effects.audience();
            for part in parts {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A small count.
                if let Some(least) = effects.parts.get(part.part as usize).map(|part| part.least) {
                    like.add_many(least, part.n);
                }
            }
            match like.mean_effect(critical) {
                Some(mean) => {
                    let times = |value: Option<f64>, other: f64| value.map_or(other, |value| value * n);
                    let interval =
                        Interval::from_ends(times(mean.low, f64::NEG_INFINITY), times(mean.high, f64::INFINITY));
                    Estimate::new(times(mean.estimate, 0.0), interval)
                }
                None => Estimate::undefined("nobody is in the segment"),
            }
        } else {
            let spread = critical * parts.iter().map(|part| part.variance).sum::<f64>().max(0.0).sqrt();
            Estimate::new(sum, Interval::from_ends((sum - spread).max(0.0), (sum + spread).min(n)))
        };
        let values = key.into_iter().map(|value| value.map_or(Value::Null, Value::String));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A count.
        SegmentScore {
            by: self.by.iter().cloned().zip(values).collect(),
            recipients: n as u64,
            mean_score: sum / n,
            expected,
        }
    }
}

/// The scores of one part of a segment in sum.
#[derive(Default)]
struct PartSums {
    part: f64,
    n: f64,
    sum: f64,
    variance: f64,
}
