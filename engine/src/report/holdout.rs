//! What the messages earned, from a holdout: the margin of all recipients assigned to an experiment against that of
//! those held out of it.
//!
//! In: the messages of a report by group, and the logs of assignments, conversions and contacts. Out: for each group
//! and currency the moments of both sides' margins, from which [`Margins::add_to`] makes the incremental margin with
//! Welch's interval, and the return on investment. Intention to treat: whoever was assigned counts, sent to or not. A
//! group that the holdout has no counterpart of (an hour, a carrier) and one without an experiment of its own are left
//! out.
//!
//! Only recipients who bought go through the joins; all others are zeros, which the counts of the assigned add.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use datafusion::datasource::MemTable;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::contact_columns::ContactColumns;
use super::grouping::{Grouping, KeySource, contacts_have_history};
use super::money::Money;
use super::precise::moments;
use super::query::cell_text;
use super::row::ReportRow;
use crate::error::Result;
use crate::facts::{converted_recipients, counted_events, moment, owned_conversions};
use crate::query::{QuerySession, quoted, text_literal};
use crate::segment::SegmentColumn;
use crate::stats::mean::welch_interval_difference;
use crate::stats::{Estimate, Moments};

/// Columns that the facts take from the contacts where the sends have none of their own.
const SHARED_WITH_CONTACTS: [&str; 3] = ["country", "region", "time_zone"];

/// The beginning of the year 9999: after every row of the contacts, and before the end of its validity.
const LATEST_CONTACT: i64 = 253_370_764_800_000_000;

/// Between the columns that make up a segment.
const SEPARATOR: &str = "\u{1f}";

/// The margin of each recipient in the period of a report's row, on both sides, in major units of one currency.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Margins {
    #[serde(with = "moments")]
    assigned: Moments,
    #[serde(with = "moments")]
    held_out: Moments,
    /// From the first send, in microseconds since 1970.
    opens_at: i64,
    /// To the end of the last send's window, that moment included.
    closes_at: i64,
}

impl Margins {
    /// Gives a row with a cost its incremental margin and its return on investment.
    ///
    /// # Errors
    /// When alpha is not between 0 and 1.
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
    pub(crate) fn add_to(&self, row: &mut ReportRow, alpha: f64) -> Result<()> {
        let Some(cost) = row.cost.filter(|cost| *cost > 0.0) else { return Ok(()) };
        let recipients = self.assigned.n as f64;
        let difference = welch_interval_difference(&self.held_out, &self.assigned, alpha)?;
        let incremental = map(&difference, |margin| margin * recipients);
        row.roi = Some(map(&incremental, |margin| (margin - cost) / cost));
        row.incremental_margin = Some(incremental);
        row.notes.push(format!(
            "roi compares {} assigned with {} held out over {} to {} (UTC)",
            self.assigned.n,
            self.held_out.n,
            minute(self.opens_at),
            minute(self.closes_at)
        ));
        Ok(())
    }
}

/// An estimate and its ends under a change that keeps their order.
fn map(estimate: &Estimate, change: impl Fn(f64) -> f64) -> Estimate {
    Estimate {
        estimate: estimate.estimate.map(&change),
        low: estimate.low.map(&change),
        high: estimate.high.map(&change),
        note: estimate.note.clone(),
    }
}

fn minute(microseconds: i64) -> String {
    match Timestamp::from_microsecond(microseconds) {
        Ok(moment) => moment.strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => "?".to_owned(),
    }
}

/// Margins by group and currency; an amount without a currency stands under the empty name, as in [`Money`].
pub(crate) type HoldoutMargins = BTreeMap<Vec<Option<String>>, BTreeMap<String, Margins>>;

/// Compares the margins of the assigned and the held out, for every group of the report that allows it.
pub(crate) async fn margins(
    session: &QuerySession,
    base: &str,
    grouping: &Grouping,
    money: &Money,
) -> Result<HoldoutMargins> {
    let is_cost_known =
        money.values().flat_map(BTreeMap::values).any(|amounts| amounts.cost.is_some_and(|cost| cost > 0.0));
    if !is_cost_known || !session.has_rows("SELECT 1 FROM conversions WHERE margin IS NOT NULL LIMIT 1").await? {
        return Ok(HoldoutMargins::new());
    }
    let experiments = Experiments::of(session).await?;
    if experiments.with_holdout.is_empty() {
        return Ok(HoldoutMargins::new());
    }
    let Some(roles) = roles(session, grouping).await? else { return Ok(HoldoutMargins::new()) };
    let lines = lines(session, base, grouping, &roles, &experiments).await?;
    if lines.is_empty() {
        return Ok(HoldoutMargins::new());
    }
    let chooses_contacts = roles.iter().any(|role| matches!(role, Role::Contact(_) | Role::Segment(_)));
    let has_history = chooses_contacts && contacts_have_history(session).await?;
    Comparison { session, roles, has_history, lines }.margins().await
}

/// The experiments of the assignments log.
struct Experiments {
    with_holdout: BTreeSet<String>,
    /// The one that messages belong to where the sends name none: the only one there is.
    of_unnamed: Option<String>,
}

impl Experiments {
    async fn of(session: &QuerySession) -> Result<Self> {
        let query =
            "SELECT experiment_id, bool_or(coalesce(is_holdout, FALSE)) FROM assignments GROUP BY experiment_id";
        let mut all = Vec::new();
        let mut with_holdout = BTreeSet::new();
        for batch in session.collect(query).await? {
            let holds_out = batch.column(1).as_boolean();
            for row in 0..batch.num_rows() {
                let Some(experiment) = cell_text(&batch, 0, row)? else { continue };
                if holds_out.value(row) {
                    with_holdout.insert(experiment.clone());
                }
                all.push(experiment);
            }
        }
        let is_only_one = all.len() == 1 && !with_holdout.is_empty();
        let of_unnamed =
            if is_only_one && !session.has_rows("SELECT 1 FROM sends WHERE experiment_id IS NOT NULL LIMIT 1").await? {
                all.pop()
            } else {
                None
            };
        Ok(Self { with_holdout, of_unnamed })
    }
}

/// What a group column means for people who got no message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Role {
    /// It chooses among the messages, and so the period, but not among the people.
    Period,
    /// It is the arm: it chooses among the assigned, and the held out stand against each.
    Arm,
    /// It chooses among the contacts, on both sides alike.
    Contact(String),
    /// The same by a saved segment.
    Segment(SegmentColumn),
}

/// The role of every group column; `None` when one of them has no counterpart among the held out.
async fn roles(session: &QuerySession, grouping: &Grouping) -> Result<Option<Vec<Role>>> {
    let mut roles = Vec::new();
    for source in grouping.sources() {
        let role = match source {
            KeySource::Contacts(name) => Role::Contact(name.clone()),
            KeySource::Segment(segment) => Role::Segment(segment.clone()),
            KeySource::Facts(name) => match name.as_str() {
                "campaign_id" | "experiment_id" => Role::Period,
                "variant" => Role::Arm,
                shared if SHARED_WITH_CONTACTS.contains(&shared) => {
                    let of_sends = format!("SELECT 1 FROM sends WHERE {} IS NOT NULL LIMIT 1", quoted(shared));
                    if session.has_rows(&of_sends).await? {
                        return Ok(None);
                    }
                    Role::Contact(name.clone())
                }
                _ => return Ok(None),
            },
            KeySource::SendTime => return Ok(None),
        };
        roles.push(role);
    }
    Ok(Some(roles))
}

/// A row of the report before its money: who is compared, and when.
#[derive(Debug)]
struct Line {
    group: Vec<Option<String>>,
    experiment: String,
    /// The arm that is compared; none for all of them together.
    arm: Option<String>,
    /// The contacts that are compared, as [`Comparison::segment`] writes them.
    segment: String,
    opens_at: i64,
    closes_at: i64,
}

/// The rows of the report whose messages all belong to one experiment with a holdout.
async fn lines(
    session: &QuerySession,
    base: &str,
    grouping: &Grouping,
    roles: &[Role],
    experiments: &Experiments,
) -> Result<Vec<Line>> {
    let keys = grouping.keys();
    let list = keys.iter().map(|key| format!("{key}, ")).collect::<String>();
    let group_by = if keys.is_empty() { String::new() } else { format!(" GROUP BY {}", keys.join(", ")) };
    let query = format!(
        "WITH base AS ({base}) SELECT {list}arrow_cast(min(sent_at), 'Int64'), arrow_cast(max(sent_at), 'Int64'),\n  \
         min(experiment_id), max(experiment_id), count(experiment_id), count(*) FROM base{group_by}"
    );
    let window = session.settings.attribution.window_microseconds();
    let mut lines = Vec::new();
    for batch in session.collect(&query).await? {
        let number =
            |column: usize, row: usize| batch.column(keys.len() + column).as_primitive::<Int64Type>().value(row);
        for row in 0..batch.num_rows() {
            let (named, messages) = (number(4, row), number(5, row));
            let (first, last) = (cell_text(&batch, keys.len() + 2, row)?, cell_text(&batch, keys.len() + 3, row)?);
            let experiment = if messages > 0 && named == 0 {
                experiments.of_unnamed.clone()
            } else if named == messages && first == last {
                first
            } else {
                None
            };
            let Some(experiment) = experiment.filter(|id| experiments.with_holdout.contains(id)) else { continue };
            let group = (0..keys.len()).map(|key| cell_text(&batch, key, row)).collect::<Result<Vec<_>>>()?;
            let Some((arm, segment)) = compared(roles, &group) else { continue };
            let (opens_at, closes_at) = (number(0, row), number(1, row).saturating_add(window));
            lines.push(Line { group, experiment, arm, segment, opens_at, closes_at });
        }
    }
    Ok(lines)
}

/// The arm and the segment of a group; `None` when its messages carry no variant, so that no arm is theirs.
fn compared(roles: &[Role], group: &[Option<String>]) -> Option<(Option<String>, String)> {
    let mut arm = None;
    let mut segment = Vec::new();
    for (role, value) in roles.iter().zip(group) {
        match role {
            Role::Period => {}
            Role::Arm => arm = Some(value.clone()?),
            Role::Contact(_) | Role::Segment(_) => {
                segment.push(value.as_ref().map_or_else(|| "-".to_owned(), |text| format!("={text}")));
            }
        }
    }
    Some((arm, segment.join(SEPARATOR)))
}

/// Recipients assigned in one experiment and segment.
#[derive(Debug, Default)]
struct Units {
    held_out: u64,
    by_arm: BTreeMap<String, u64>,
}

impl Units {
    fn assigned(&self, arm: Option<&str>) -> u64 {
        match arm {
            Some(arm) => self.by_arm.get(arm).copied().unwrap_or(0),
            None => self.by_arm.values().sum(),
        }
    }
}

/// What those earned who bought in the period of a row, in one currency.
#[derive(Debug, Default)]
struct Buyers {
    conversions_with_margin: i64,
    assigned: Moments,
    held_out: Moments,
}

struct Comparison<'a> {
    session: &'a QuerySession,
    roles: Vec<Role>,
    has_history: bool,
    lines: Vec<Line>,
}

impl Comparison<'_> {
    async fn margins(&self) -> Result<HoldoutMargins> {
        let units = self.count_units().await?;
        let mut margins = HoldoutMargins::new();
        for ((position, currency), buyers) in self.buyers().await? {
            let Some(line) = self.lines.get(position) else { continue };
            let Some(units) = units.get(&(line.experiment.clone(), line.segment.clone())) else { continue };
            let assigned = with_the_others(buyers.assigned, units.assigned(line.arm.as_deref()))?;
            let held_out = with_the_others(buyers.held_out, units.held_out)?;
            if buyers.conversions_with_margin == 0 || assigned.n < 2 || held_out.n < 2 {
                continue;
            }
            let found = Margins { assigned, held_out, opens_at: line.opens_at, closes_at: line.closes_at };
            margins.entry(line.group.clone()).or_default().insert(currency, found);
        }
        Ok(margins)
    }

    /// Recipients by experiment and segment.
    async fn count_units(&self) -> Result<BTreeMap<(String, String), Units>> {
        let query = format!(
            "SELECT experiment_id, segment, arm, held_out, count(*) FROM ({}) AS units\n\
             GROUP BY experiment_id, segment, arm, held_out",
            self.units("")
        );
        let mut counted: BTreeMap<(String, String), Units> = BTreeMap::new();
        for batch in self.session.collect(&query).await? {
            let text = |column: usize, row: usize| -> Result<String> {
                Ok(cell_text(&batch, column, row)?.unwrap_or_default())
            };
            let is_held_out = batch.column(3).as_boolean();
            let count = batch.column(4).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let units = counted.entry((text(0, row)?, text(1, row)?)).or_default();
                let recipients = count.value(row).unsigned_abs();
                if is_held_out.value(row) {
                    units.held_out += recipients;
                } else {
                    *units.by_arm.entry(text(2, row)?).or_default() += recipients;
                }
            }
        }
        Ok(counted)
    }

    /// Those who bought, by the number of the line and the currency.
    async fn buyers(&self) -> Result<BTreeMap<(usize, String), Buyers>> {
        let context = self.session.context();
        // One report at a time reads this name; a table of another report must not be in the way.
        let table = format!("report_lines_{}", uuid::Uuid::new_v4().simple());
        context.register_table(table.as_str(), Arc::new(self.lines_table()?))?;
        let batches = match self.buyers_query(&table).await {
            Ok(query) => self.session.collect(&query).await,
            Err(error) => Err(error),
        };
        context.deregister_table(table.as_str())?;
        let mut found: BTreeMap<(usize, String), Buyers> = BTreeMap::new();
        for batch in batches? {
            let line = batch.column(0).as_primitive::<Int64Type>();
            let is_held_out = batch.column(1).as_boolean();
            let with_margin = batch.column(3).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let Ok(position) = usize::try_from(line.value(row)) else { continue };
                let currency = cell_text(&batch, 2, row)?.unwrap_or_default();
                let buyers = found.entry((position, currency)).or_default();
                buyers.conversions_with_margin += with_margin.value(row);
                let side = if is_held_out.value(row) { &mut buyers.held_out } else { &mut buyers.assigned };
                *side = side.merge(read_moments(&batch, row)?);
            }
        }
        Ok(found)
    }

    /// The lines as a table, for a join.
    fn lines_table(&self) -> Result<MemTable> {
        let texts = |of: fn(&Line) -> Option<&str>| -> ArrayRef {
            Arc::new(self.lines.iter().map(of).collect::<StringArray>())
        };
        let numbers =
            |of: fn(&Line) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(self.lines.iter().map(of))) };
        let positions: ArrayRef = Arc::new(Int64Array::from_iter_values((0..).take(self.lines.len())));
        let batch = RecordBatch::try_from_iter([
            ("line", positions),
            ("experiment_id", texts(|line| Some(line.experiment.as_str()))),
            ("arm", texts(|line| line.arm.as_deref())),
            ("segment", texts(|line| Some(line.segment.as_str()))),
            ("opens_at", numbers(|line| line.opens_at)),
            ("closes_at", numbers(|line| line.closes_at)),
        ])?;
        Ok(MemTable::try_new(batch.schema(), vec![vec![batch]])?)
    }

    /// One row a line, side and currency: conversions with a margin; then count, mean and sample variance of the
    /// margins of the recipients who bought.
    async fn buyers_query(&self, table: &str) -> Result<String> {
        let opens_at = self.lines.iter().map(|line| line.opens_at).min().unwrap_or(0);
        let closes_at = self.lines.iter().map(|line| line.closes_at).max().unwrap_or(0);
        let within = format!("occurred_at >= {} AND occurred_at <= {}", moment(opens_at), moment(closes_at));
        let bought = format!(" AND recipient_id IN ({})", converted_recipients(self.session, &within).await?);
        let columns = "conversion_id, event, occurred_at, currency, margin, refunded_at";
        Ok(format!(
            "WITH bought AS (\n\
             SELECT recipient_id, arrow_cast(occurred_at, 'Int64') AS bought_at,\n  \
             coalesce(currency, '') AS currency, margin, CASE WHEN refunded_at IS NULL THEN margin END AS kept\n\
             FROM {owned} AS owned\n\
             WHERE {within} AND {events}),\n\
             units AS ({units}),\n\
             earnings AS (\n\
             SELECT l.line, u.held_out, u.recipient_id, b.currency, count(b.margin) AS with_margin,\n  \
             coalesce(arrow_cast(sum(b.kept), 'Float64'), 0.0) AS earned\n\
             FROM bought AS b JOIN units AS u ON u.recipient_id = b.recipient_id\n  \
             JOIN {table} AS l ON l.experiment_id = u.experiment_id AND l.segment = u.segment\n\
             WHERE b.bought_at >= l.opens_at AND b.bought_at <= l.closes_at\n  \
             AND (u.assigned_at IS NULL OR b.bought_at >= u.assigned_at)\n  \
             AND (u.held_out OR l.arm IS NULL OR l.arm = u.arm)\n\
             GROUP BY l.line, u.held_out, u.recipient_id, b.currency)\n\
             SELECT line, held_out, currency, sum(with_margin), count(*), avg(earned), var_samp(earned)\n\
             FROM earnings GROUP BY line, held_out, currency",
            owned = owned_conversions(self.session, columns).await?,
            events = counted_events(&self.session.settings),
            units = self.units(&bought),
        ))
    }

    /// Recipients assigned to the lines' experiments, each once: `experiment_id`, `recipient_id`, `arm`, `held_out`,
    /// `assigned_at` (microseconds) and `segment`. Those seen in two arms, or both held out and not, are left out.
    fn units(&self, condition: &str) -> String {
        let experiments: BTreeSet<&str> = self.lines.iter().map(|line| line.experiment.as_str()).collect();
        // One experiment at a time: grouping by one column of texts takes a tenth of the time of grouping by two.
        let assigned: Vec<String> = experiments
            .into_iter()
            .map(|experiment| {
                let id = text_literal(experiment);
                format!(
                    "SELECT {id} AS experiment_id, recipient_id, min(arm) AS arm, max(arm) AS last_arm,\n  \
                     min(assigned_at) AS assigned_at, bool_or(coalesce(is_holdout, FALSE)) AS held_out,\n  \
                     bool_and(coalesce(is_holdout, FALSE)) AS always_held_out\n  \
                     FROM assignments WHERE experiment_id = {id}{condition} GROUP BY recipient_id"
                )
            })
            .collect();
        let mut contacts = ContactColumns::default();
        for role in &self.roles {
            match role {
                Role::Contact(name) => contacts.add(name),
                Role::Segment(segment) => contacts.add_segment(segment),
                Role::Period | Role::Arm => {}
            }
        }
        let assigned_at = format!("coalesce(s.assigned_at, {})", moment(LATEST_CONTACT));
        format!(
            "SELECT s.experiment_id, s.recipient_id, s.arm, s.held_out,\n  \
             arrow_cast(s.assigned_at, 'Int64') AS assigned_at, {segment} AS segment\n\
             FROM ({assigned}) AS s{join}\n\
             WHERE s.arm = s.last_arm AND s.held_out = s.always_held_out",
            segment = self.segment(),
            assigned = assigned.join("\n  UNION ALL "),
            join = contacts.join(self.has_history, "s.recipient_id", &assigned_at),
        )
    }

    /// The segment of a contact as one text, in which nothing differs from an empty text.
    fn segment(&self) -> String {
        let columns = self.roles.iter().filter_map(|role| match role {
            Role::Contact(name) => Some(format!("a.{}", quoted(name))),
            Role::Segment(segment) => Some(segment.value("a")),
            Role::Period | Role::Arm => None,
        });
        let parts: Vec<String> = columns
            .map(|column| {
                format!("CASE WHEN {column} IS NULL THEN '-' ELSE concat('=', arrow_cast({column}, 'Utf8')) END")
            })
            .collect();
        if parts.is_empty() {
            return "''".to_owned();
        }
        format!("concat({})", parts.join(&format!(", '{SEPARATOR}', ")))
    }
}

/// Count, mean and sample variance in the last three columns.
fn read_moments(batch: &RecordBatch, row: usize) -> Result<Moments> {
    let number = |column: usize| {
        let column = batch.column(column).as_primitive::<Float64Type>();
        if column.is_null(row) { 0.0 } else { column.value(row) }
    };
    let n = batch.column(4).as_primitive::<Int64Type>().value(row).unsigned_abs();
    Ok(Moments::from_n_mean_variance(n, number(5), number(6))?)
}

/// The moments of `n` recipients of whom some bought, and the others earned nothing.
fn with_the_others(buyers: Moments, n: u64) -> Result<Moments> {
    let others = Moments::from_n_mean_variance(n.saturating_sub(buyers.n), 0.0, 0.0)?;
    Ok(buyers.merge(others))
}
