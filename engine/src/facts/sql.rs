//! What a message's facts are, as one query over the logs for a range of send days (or for all of them).
//!
//! The rules are those of `docs/metrics.md`: status by rank and not by order of arrival; machine clicks flagged with the
//! first rule that applies; events without a message credited to the last message sent to that recipient within the window
//! (ties to the greater message id); events with a message belong to it, inside the window or not; a refund takes its value
//! back but stays a conversion.

use arrow::datatypes::DataType;

use super::touched::count_rows;
use crate::error::Result;
use crate::event::words::{FIRST_DELIVERED_RANK, FIRST_TERMINAL_RANK, rank_status_sql, status_rank_sql};
use crate::event::{INGESTED_AT, Log, SOURCE_FILE, SOURCE_ROW};
use crate::query::{QuerySession, quoted, text_literal};
use crate::settings::Settings;

/// The type of summed money: exact, six decimals.
pub(super) const MONEY_SUM: DataType = DataType::Decimal128(28, 6);

/// Columns of the sends log that the facts leave out: texts are long and few queries want them (`sends` keeps them), and
/// where a row came from is the log's business.
const LEFT_OUT: [&str; 8] =
    ["text", "raw_time", "source_preset", "encoding", "cost", INGESTED_AT, SOURCE_FILE, SOURCE_ROW];

/// The columns that the facts make themselves or handle apart.
const MADE: [&str; 6] = ["message_id", "recipient_id", "sent_at", "country", "region", "time_zone"];

/// Columns that both a send's attributes and its receipts may tell; the receipt's word counts where there is one.
const TOLD_TWICE: [&str; 2] = ["error_code", "carrier"];

/// Columns of the facts that no attribute of a send may take the name of: such an attribute is carried as `send_NAME`.
const TAKEN: [&str; 21] = [
    "status",
    "delivery",
    "receipts",
    "delivered_at",
    "local_hour",
    "local_weekday",
    "sent_date",
    "clicks",
    "machine_clicks",
    "first_click_at",
    "machine_click_reason",
    "conversions",
    "conversions_outside_window",
    "converted_at",
    "revenue",
    "margin",
    "revenue_currency",
    "revenue_other",
    "opt_outs",
    "opted_out_at",
    "replies",
];

/// Which message ids the sends log holds more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Corrections {
    /// None: every row of the log counts.
    None,
    /// Those in the table `send_corrections`.
    Table,
}

impl Corrections {
    /// Looks the whole sends log through for ids that it holds more than once, and registers them as `send_corrections`.
    pub(super) async fn look_up(session: &QuerySession) -> Result<Self> {
        let repeated = session.sql("SELECT message_id FROM sends GROUP BY message_id HAVING count(*) > 1").await?;
        let batches = repeated.collect().await?;
        if batches.iter().all(|batch| batch.num_rows() == 0) {
            return Ok(Self::None);
        }
        let schema = batches[0].schema();
        let table = datafusion::datasource::MemTable::try_new(schema, vec![batches])?;
        session.context().register_table(crate::store::CORRECTIONS, std::sync::Arc::new(table))?;
        Ok(Self::Table)
    }
}

/// What the query needs to know of its inputs.
pub(super) struct Inputs {
    settings: Settings,
    corrections: Corrections,
    /// Columns of the sends log that are carried over.
    carried: Vec<String>,
    /// Whether any recipient has a row, and any has several.
    contacts: Contacts,
    has_receipts: bool,
    has_clicks: bool,
    has_conversions: bool,
    has_replies: bool,
    has_opt_outs: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Contacts {
    None,
    OneRowEach,
    WithHistory,
}

impl Inputs {
    pub(super) async fn of(session: &QuerySession, corrections: Corrections) -> Result<Self> {
        let schema = session.schema(Log::Sends.name()).await?;
        let carried = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .filter(|name| !LEFT_OUT.contains(&name.as_str()) && !MADE.contains(&name.as_str()))
            .collect();
        let contacts = if count_rows(session, "SELECT 1 FROM recipients LIMIT 1").await? == 0 {
            Contacts::None
        } else if count_rows(
            session,
            "SELECT recipient_id FROM recipients GROUP BY recipient_id HAVING count(*) > 1 LIMIT 1",
        )
        .await?
            == 0
        {
            Contacts::OneRowEach
        } else {
            Contacts::WithHistory
        };
        let any = async |log: Log| -> Result<bool> {
            Ok(count_rows(session, &format!("SELECT 1 FROM {log} LIMIT 1")).await? > 0)
        };
        Ok(Self {
            settings: session.settings.clone(),
            corrections,
            carried,
            contacts,
            has_receipts: any(Log::Deliveries).await?,
            has_clicks: any(Log::Clicks).await?,
            has_conversions: any(Log::Conversions).await?,
            has_replies: any(Log::Replies).await?,
            has_opt_outs: any(Log::OptOuts).await?,
        })
    }
}

/// A range of moments, from inclusive to exclusive, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// A moment as SQL.
pub(crate) fn moment(microseconds: i64) -> String {
    format!("arrow_cast({microseconds}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
}

/// A moment column as microseconds since 1970: plain numbers compare and subtract faster than intervals do.
pub(super) fn micros(column: &str) -> String {
    format!("arrow_cast({column}, 'Int64')")
}

/// Whether a reply asks to stop: by its class, or where it has none by its whole text. The words are those of the FCC's
/// rule of 2024 (FR 2024-04587), of the carriers, and of Chinese routes.
const IS_STOP: &str = "coalesce(keyword_class = 'stop', upper(btrim(text)) IN \
    ('STOP', 'STOPALL', 'STOP ALL', 'UNSUBSCRIBE', 'CANCEL', 'END', 'QUIT', 'REVOKE', 'OPT OUT', 'OPTOUT', 'TD', 'T', 'N', 'R', \
    '退订', '拒收', '回复T', '退订T'), FALSE)";

/// Order by which the latest received of several rows comes first.
pub(crate) const LATEST_FIRST: &str = "ingested_at DESC, source_file DESC, source_row DESC";

/// The query of the facts of all messages, or of those sent in a range.
pub(super) fn facts_query(inputs: &Inputs, range: Option<Range>) -> String {
    let mut with: Vec<(&str, String)> = vec![("messages", messages(inputs, range))];
    let mut joins: Vec<Join> = Vec::new();
    let mut columns: Vec<String> = ["message_id", "recipient_id", "sent_at"].map(|name| format!("m.{name}")).into();
    columns.extend(inputs.carried.iter().filter(|name| !TOLD_TWICE.contains(&name.as_str())).map(|name| {
        if TAKEN.contains(&name.as_str()) {
            format!("m.{} AS {}", quoted(name), quoted(&format!("send_{name}")))
        } else {
            format!("m.{}", quoted(name))
        }
    }));

    let only = |log: &str| match range {
        // Only the range's own messages matter; the semi join keeps the other rows out of the aggregation.
        Some(_) => format!("{log} WHERE message_id IN (SELECT message_id FROM messages)"),
        None => format!("{log} WHERE message_id IS NOT NULL"),
    };

    let mut zone = "m.time_zone".to_owned();
    if inputs.contacts == Contacts::None {
        columns.extend(["country", "region", "time_zone"].map(|name| format!("m.{name}")));
    } else {
        with.push(("contacts", contacts(inputs.contacts)));
        let valid = if inputs.contacts == Contacts::WithHistory {
            " AND m.sent_at >= a.valid_from AND m.sent_at < a.valid_to"
        } else {
            ""
        };
        joins.push(Join { side: "contacts AS a", condition: format!("a.recipient_id = m.recipient_id{valid}") });
        for name in ["country", "region", "time_zone"] {
            columns.push(format!("coalesce(m.{name}, a.{name}) AS {name}"));
        }
        "coalesce(m.time_zone, a.time_zone)".clone_into(&mut zone);
    }
    columns.push(format!("arrow_cast(date_part('hour', local_time(m.sent_at, {zone})), 'Int64') AS local_hour"));
    // Monday is 1, Sunday 7 (ISO 8601).
    columns.push(format!("arrow_cast(date_part('isodow', local_time(m.sent_at, {zone})), 'Int64') AS local_weekday"));

    receipt_columns(inputs, &only("deliveries"), &mut with, &mut joins, &mut columns);
    click_columns(inputs, range.is_some(), &mut with, &mut joins, &mut columns);
    conversion_columns(inputs, range, &mut with, &mut joins, &mut columns);
    opt_out_columns(inputs, range, &mut with, &mut joins, &mut columns);
    reply_columns(inputs, range, &mut with, &mut joins, &mut columns);
    columns.push("arrow_cast(m.sent_at, 'Date32') AS sent_date".to_owned());

    let with: Vec<String> = with.into_iter().map(|(name, query)| format!("{name} AS (\n{query}\n)")).collect();
    // The wide rows of the messages stream past hash tables of the narrow ones: the left side of a join is the one that is
    // held in memory.
    let from = joins.iter().fold("messages AS m".to_owned(), |right, join| {
        format!("{} RIGHT JOIN ({right}) ON {}", join.side, join.condition)
    });
    format!("WITH {}\nSELECT {}\nFROM {from}", with.join(",\n"), columns.join(", "))
}

/// Something that is known of a message, joined to it.
struct Join {
    /// The table and its short name.
    side: &'static str,
    condition: String,
}

impl Join {
    fn on_message(side: &'static str) -> Self {
        let short = side.rsplit(' ').next().unwrap_or(side);
        Self { side, condition: format!("{short}.message_id = m.message_id") }
    }
}

/// The sends of the range, each message once: of several rows with one id the latest received.
fn messages(inputs: &Inputs, range: Option<Range>) -> String {
    let mut names: Vec<String> = MADE.map(str::to_owned).into();
    names.push("cost".to_owned());
    names.extend(inputs.carried.iter().map(|name| quoted(name)));
    let names = names.join(", ");
    let within = range.map_or(String::from("TRUE"), |range| {
        format!("sent_at >= {} AND sent_at < {}", moment(range.from), moment(range.to))
    });
    match inputs.corrections {
        Corrections::None => format!("SELECT {names} FROM sends WHERE {within}"),
        Corrections::Table => format!(
            "SELECT {names} FROM sends WHERE {within} AND message_id NOT IN (SELECT message_id FROM send_corrections)\n\
             UNION ALL\n\
             SELECT {names} FROM (\n  SELECT *, row_number() OVER (PARTITION BY message_id ORDER BY {LATEST_FIRST}) AS newest\n  \
             FROM sends WHERE message_id IN (SELECT message_id FROM send_corrections)\n) WHERE newest = 1 AND {within}"
        ),
    }
}

/// One row a recipient, or where the log has a history one row a period.
fn contacts(contacts: Contacts) -> String {
    if contacts == Contacts::OneRowEach {
        return "SELECT recipient_id, country, region, time_zone FROM recipients".to_owned();
    }
    contact_periods("country, region, time_zone")
}

/// Periods in which a recipient's row is valid: from its `updated_at` to that of the next; the first one reaches back to
/// the beginning. Of rows with one `updated_at` (or none) the latest received counts.
pub(crate) fn contact_periods(columns: &str) -> String {
    let beginning = moment(-62_135_596_800_000_000);
    let end = moment(253_402_300_799_000_000);
    format!(
        "SELECT recipient_id, {columns},\n  \
         CASE WHEN lag(updated_at) OVER timeline IS NULL AND row_number() OVER timeline = 1 THEN {beginning} ELSE updated_at END AS valid_from,\n  \
         coalesce(lead(updated_at) OVER timeline, {end}) AS valid_to\n\
         FROM (SELECT *, row_number() OVER (PARTITION BY recipient_id, updated_at ORDER BY {LATEST_FIRST}) AS newest\n  \
         FROM (SELECT recipient_id, {columns}, coalesce(updated_at, {beginning}) AS updated_at, ingested_at, source_file, source_row FROM recipients))\n\
         WHERE newest = 1 WINDOW timeline AS (PARTITION BY recipient_id ORDER BY updated_at)"
    )
}

fn receipt_columns(
    inputs: &Inputs,
    source: &str,
    with: &mut Vec<(&'static str, String)>,
    joins: &mut Vec<Join>,
    columns: &mut Vec<String>,
) {
    if inputs.has_receipts {
        let rank = status_rank_sql("status");
        with.push((
            "receipts",
            format!(
                "SELECT message_id, max(rank) AS rank, count(*) AS receipts,\n  \
                 min(at) FILTER (WHERE rank >= {FIRST_DELIVERED_RANK}) AS delivered_at,\n  \
                 max(error_code) FILTER (WHERE rank < {FIRST_DELIVERED_RANK}) AS error_code,\n  \
                 max(carrier) AS carrier, max(price) AS price, max(currency) AS currency\n\
                 FROM (SELECT message_id, {rank} AS rank, at, error_code, carrier, price, currency FROM {source})\n\
                 GROUP BY message_id"
            ),
        ));
        // A message in several parts is delivered when the worst of its parts is; receipts without a part speak for all.
        with.push((
            "parts",
            format!(
                "SELECT message_id, min(rank) FILTER (WHERE part_no IS NOT NULL) AS worst, max(rank) FILTER (WHERE part_no IS NULL) AS whole\n\
                 FROM (SELECT message_id, part_no, max({rank}) AS rank FROM {source}\n  \
                 AND message_id IN (SELECT message_id FROM deliveries WHERE part_no > 1) GROUP BY message_id, part_no)\n\
                 GROUP BY message_id"
            ),
        ));
        joins.push(Join::on_message("receipts AS r"));
        joins.push(Join::on_message("parts AS p"));
        let resolved = "coalesce(greatest(p.worst, p.whole), r.rank)";
        columns.push(format!("{} AS status", rank_status_sql(resolved)));
        columns.push(format!(
            "CASE WHEN {resolved} >= {FIRST_DELIVERED_RANK} THEN 'delivered' WHEN {resolved} >= {FIRST_TERMINAL_RANK} THEN 'failed' ELSE 'unknown' END AS delivery"
        ));
        columns.push("coalesce(r.receipts, 0) AS receipts".to_owned());
        columns.push(format!("CASE WHEN {resolved} >= {FIRST_DELIVERED_RANK} THEN r.delivered_at END AS delivered_at"));
        let told = format!("CASE WHEN {resolved} < {FIRST_DELIVERED_RANK} THEN r.error_code END");
        columns.push(told_twice(inputs, "error_code", Some(&told)));
        columns.push(told_twice(inputs, "carrier", Some("r.carrier")));
        columns.push(format!("arrow_cast(coalesce(m.cost, r.price), '{}') AS cost", money_type()));
        // Late prices come with the receipt; their currency counts only where the send had none.
        if let Some(currency) = columns.iter_mut().find(|column| *column == "m.\"currency\"") {
            "coalesce(m.currency, CASE WHEN m.cost IS NULL THEN r.currency END) AS currency".clone_into(currency);
        }
    } else {
        for (name, value) in [("status", "NULL"), ("delivery", "'unknown'")] {
            columns.push(format!("arrow_cast({value}, 'Utf8') AS {name}"));
        }
        columns.extend(TOLD_TWICE.map(|name| told_twice(inputs, name, None)));
        columns.push("arrow_cast(0, 'Int64') AS receipts".to_owned());
        columns.push(null_moment("delivered_at"));
        columns.push(format!("arrow_cast(m.cost, '{}') AS cost", money_type()));
    }
}

/// A column from the receipt, else from the send's attribute of that name, else nothing.
fn told_twice(inputs: &Inputs, name: &str, receipt: Option<&str>) -> String {
    let attribute = inputs.carried.iter().any(|carried| carried == name).then(|| format!("m.{name}"));
    let told: Vec<&str> = receipt.into_iter().chain(attribute.as_deref()).collect();
    match told.as_slice() {
        [] => format!("arrow_cast(NULL, 'Utf8') AS {name}"),
        [only] => format!("{only} AS {name}"),
        both => format!("coalesce({}) AS {name}", both.join(", ")),
    }
}

fn click_columns(
    inputs: &Inputs,
    ranged: bool,
    with: &mut Vec<(&'static str, String)>,
    joins: &mut Vec<Join>,
    columns: &mut Vec<String>,
) {
    if !inputs.has_clicks {
        columns.push("arrow_cast(0, 'Int64') AS clicks".to_owned());
        columns.push("arrow_cast(0, 'Int64') AS machine_clicks".to_owned());
        columns.push(null_moment("first_click_at"));
        columns.push("arrow_cast(NULL, 'Utf8') AS machine_click_reason".to_owned());
        return;
    }
    let rules = &inputs.settings.machine_clicks;
    let key = event_key(Log::Clicks);
    let of_messages = if ranged { " AND message_id IN (SELECT message_id FROM messages)" } else { "" };
    let candidates = if ranged {
        format!("{key} IN (SELECT {key} FROM clicks WHERE message_id IN (SELECT message_id FROM messages))")
    } else {
        "TRUE".to_owned()
    };
    with.push((
        "taps",
        format!(
            "SELECT * FROM (SELECT message_id, link, clicked_at, {} AS tapped, user_agent, method, ip_hash, bot_score, bot_reason,\n  \
             row_number() OVER (PARTITION BY {key} ORDER BY {LATEST_FIRST}) AS newest\n  \
             FROM clicks WHERE {candidates}) WHERE newest = 1 AND message_id IS NOT NULL{of_messages}",
            micros("clicked_at"),
        ),
    ));
    with.push((
        "bursts",
        format!(
            "SELECT message_id, min(first_tap) AS burst_start FROM\n  \
             (SELECT message_id, link, min(tapped) AS first_tap FROM taps GROUP BY message_id, link)\n  \
             GROUP BY message_id HAVING count(*) > 1 AND max(first_tap) - min(first_tap) <= {}",
            microseconds(rules.all_links_within_seconds),
        ),
    ));
    with.push((
        "crowds",
        format!(
            "SELECT ip_hash, date_trunc('hour', clicked_at) AS clicked_hour FROM clicks WHERE ip_hash IS NOT NULL\n  \
             GROUP BY ip_hash, date_trunc('hour', clicked_at) HAVING count(DISTINCT message_id) >= {}",
            rules.messages_per_address_and_hour,
        ),
    ));
    let after_delivery = if inputs.has_receipts {
        format!(
            "WHEN t.tapped - {0} >= 0 AND t.tapped - {0} < {1} THEN 'within seconds of delivery'\n  ",
            micros("r.delivered_at"),
            microseconds(rules.seconds_after_delivery),
        )
    } else {
        String::new()
    };
    let receipts = if inputs.has_receipts { "LEFT JOIN receipts AS r ON r.message_id = t.message_id " } else { "" };
    with.push((
        "judged_taps",
        format!(
            "SELECT t.message_id, t.clicked_at, CASE\n  \
             WHEN t.bot_score >= {} THEN coalesce(t.bot_reason, 'score of the source')\n  \
             WHEN regexp_like(t.user_agent, {}, 'i') THEN 'preview user agent'\n  \
             WHEN upper(t.method) = 'HEAD' THEN 'HEAD request'\n  \
             {after_delivery}\
             WHEN t.tapped - b.burst_start <= {} THEN 'every link within a second'\n  \
             WHEN c.ip_hash IS NOT NULL THEN 'many recipients behind one address'\n  \
             END AS machine_reason\n\
             FROM taps AS t {receipts}LEFT JOIN bursts AS b ON b.message_id = t.message_id\n\
             LEFT JOIN crowds AS c ON c.ip_hash = t.ip_hash AND c.clicked_hour = date_trunc('hour', t.clicked_at)",
            rules.bot_score,
            text_literal(&rules.user_agents),
            microseconds(rules.all_links_within_seconds),
        ),
    ));
    with.push((
        "clicked",
        "SELECT message_id, count(*) FILTER (WHERE machine_reason IS NULL) AS clicks,\n  \
         count(*) FILTER (WHERE machine_reason IS NOT NULL) AS machine_clicks,\n  \
         min(clicked_at) FILTER (WHERE machine_reason IS NULL) AS first_click_at,\n  \
         min(machine_reason) AS machine_click_reason FROM judged_taps GROUP BY message_id"
            .to_owned(),
    ));
    joins.push(Join::on_message("clicked AS k"));
    columns.push("coalesce(k.clicks, 0) AS clicks".to_owned());
    columns.push("coalesce(k.machine_clicks, 0) AS machine_clicks".to_owned());
    columns.push("k.first_click_at".to_owned());
    columns.push("k.machine_click_reason".to_owned());
}

/// Events of recipients without a message, credited to the last message sent to that recipient within the window.
///
/// `events` must have `event_key`, `message_id`, `recipient_id` and `happened_at`; the result has `event_key` and
/// `message_id`, each event at most once.
fn last_touch(inputs: &Inputs, range: Option<Range>, events: &str, same_channel: bool) -> String {
    let window = inputs.settings.attribution.window_microseconds();
    // A later message may take an event away from one in the range: the senders of the window after it compete too.
    let rivals = match (range, inputs.corrections) {
        (None, _) => "messages".to_owned(),
        (Some(range), corrections) => {
            let after = Range { from: range.from, to: range.to.saturating_add(window).saturating_add(1) };
            let bare = |extra: &str| {
                format!(
                    "SELECT message_id, recipient_id, sent_at, channel FROM sends WHERE sent_at >= {} AND sent_at < {}{extra}",
                    moment(after.from),
                    moment(after.to)
                )
            };
            if corrections == Corrections::None {
                format!("({})", bare(""))
            } else {
                format!(
                    "({} UNION ALL SELECT message_id, recipient_id, sent_at, channel FROM (SELECT message_id, recipient_id, sent_at, channel, \
                     row_number() OVER (PARTITION BY message_id ORDER BY {LATEST_FIRST}) AS newest FROM sends \
                     WHERE message_id IN (SELECT message_id FROM send_corrections)) WHERE newest = 1 AND sent_at >= {} AND sent_at < {})",
                    bare(" AND message_id NOT IN (SELECT message_id FROM send_corrections)"),
                    moment(after.from),
                    moment(after.to)
                )
            }
        }
    };
    let channel =
        if same_channel { " AND (e.channel IS NULL OR s.channel IS NULL OR e.channel = s.channel)" } else { "" };
    format!(
        "SELECT event_key, message_id FROM (SELECT e.event_key, s.message_id,\n  \
         row_number() OVER (PARTITION BY e.event_key ORDER BY s.sent_at DESC, s.message_id DESC) AS touch\n  \
         FROM {events} AS e JOIN {rivals} AS s ON s.recipient_id = e.recipient_id\n  \
         AND {sent} <= {happened} AND {happened} - {sent} <= {window}{channel}\n  \
         WHERE e.message_id IS NULL) WHERE touch = 1\n\
         UNION ALL SELECT event_key, message_id FROM {events} WHERE message_id IS NOT NULL",
        sent = micros("s.sent_at"),
        happened = micros("e.happened_at"),
    )
}

/// What makes two rows of a log one event, of which the latest received counts.
pub(super) fn event_key(log: Log) -> String {
    let time = micros(log.time_column());
    match log {
        Log::Conversions => "conversion_id".to_owned(),
        Log::Replies => format!("coalesce(reply_id, concat(coalesce(recipient_id, message_id), '|', {time}))"),
        Log::OptOuts => format!("coalesce(id, concat(recipient_id, '|', coalesce(channel, ''), '|', {time}))"),
        // A click without an id is told by its message, moment and link.
        _ => format!("coalesce(click_id, concat(message_id, '|', {time}, '|', coalesce(link, '')))"),
    }
}

/// A log's events, each once as its latest row has it, that can concern the range: they have a message, or happened in the
/// range or its window. The latest row is found before the range is looked at, for a correction may have moved the event.
fn latest_events(inputs: &Inputs, range: Option<Range>, log: Log) -> String {
    let (key, time) = (event_key(log), log.time_column());
    let (candidates, within) = match range {
        None => ("TRUE".to_owned(), "TRUE".to_owned()),
        Some(range) => {
            let to = range.to.saturating_add(inputs.settings.attribution.window_microseconds()).saturating_add(1);
            let within =
                format!("(message_id IS NOT NULL OR ({time} >= {} AND {time} < {}))", moment(range.from), moment(to));
            (format!("{key} IN (SELECT {key} FROM {log} WHERE {within})"), within)
        }
    };
    format!(
        "(SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY {LATEST_FIRST}) AS newest FROM {log} WHERE {candidates}) \
         WHERE newest = 1 AND {within})"
    )
}

/// The condition that an event counts as a conversion.
pub(crate) fn counted_events(settings: &Settings) -> String {
    let events: Vec<String> = settings.attribution.events.iter().map(|event| text_literal(event)).collect();
    if events.is_empty() { "TRUE".to_owned() } else { format!("event IN ({})", events.join(", ")) }
}

fn conversion_columns(
    inputs: &Inputs,
    range: Option<Range>,
    with: &mut Vec<(&'static str, String)>,
    joins: &mut Vec<Join>,
    columns: &mut Vec<String>,
) {
    let money = money_type();
    if !inputs.has_conversions {
        columns.push("arrow_cast(0, 'Int64') AS conversions".to_owned());
        columns.push("arrow_cast(0, 'Int64') AS conversions_outside_window".to_owned());
        columns.push(null_moment("converted_at"));
        columns.push(format!("arrow_cast(NULL, '{money}') AS revenue"));
        columns.push(format!("arrow_cast(NULL, '{money}') AS margin"));
        columns.push("arrow_cast(NULL, 'Utf8') AS revenue_currency".to_owned());
        columns.push("arrow_cast(NULL, 'Utf8') AS revenue_other".to_owned());
        return;
    }
    let window = inputs.settings.attribution.window_microseconds();
    with.push((
        "goals",
        format!(
            "SELECT conversion_id AS event_key, message_id, recipient_id, occurred_at AS happened_at, currency,\n  \
             CASE WHEN refunded_at IS NULL THEN value ELSE 0 END AS value, CASE WHEN refunded_at IS NULL THEN margin ELSE 0 END AS margin\n\
             FROM {} WHERE {}",
            latest_events(inputs, range, Log::Conversions),
            counted_events(&inputs.settings),
        ),
    ));
    with.push(("credits", last_touch(inputs, range, "goals", false)));
    with.push((
        "credited",
        format!(
            "SELECT c.message_id, g.currency, count(*) AS conversions, min(g.happened_at) AS converted_at,\n  \
             count(*) FILTER (WHERE {happened} < {sent} OR {happened} - {sent} > {window}) AS outside,\n  \
             sum(g.value) AS revenue, sum(g.margin) AS margin\n\
             FROM credits AS c JOIN goals AS g ON g.event_key = c.event_key JOIN messages AS m ON m.message_id = c.message_id\n\
             GROUP BY c.message_id, g.currency",
            happened = micros("g.happened_at"),
            sent = micros("m.sent_at"),
        ),
    ));
    // Currencies are never added up: a message's first one (by rows, then name) has a column, the others are listed.
    with.push((
        "converted",
        "SELECT message_id, sum(conversions) AS conversions, sum(outside) AS outside, min(converted_at) AS converted_at,\n  \
         max(revenue) FILTER (WHERE place = 1) AS revenue, max(margin) FILTER (WHERE place = 1) AS margin,\n  \
         max(currency) FILTER (WHERE place = 1) AS currency,\n  \
         string_agg(concat(coalesce(currency, ''), '=', arrow_cast(revenue, 'Utf8')), ';' ORDER BY currency) FILTER (WHERE place > 1 AND revenue IS NOT NULL) AS other\n\
         FROM (SELECT *, row_number() OVER (PARTITION BY message_id ORDER BY revenue IS NULL, conversions DESC, currency) AS place FROM credited)\n\
         GROUP BY message_id"
            .to_owned(),
    ));
    joins.push(Join::on_message("converted AS v"));
    columns.push("arrow_cast(coalesce(v.conversions, 0), 'Int64') AS conversions".to_owned());
    columns.push("arrow_cast(coalesce(v.outside, 0), 'Int64') AS conversions_outside_window".to_owned());
    columns.push("v.converted_at".to_owned());
    columns.push(format!("arrow_cast(v.revenue, '{money}') AS revenue"));
    columns.push(format!("arrow_cast(v.margin, '{money}') AS margin"));
    columns.push("v.currency AS revenue_currency".to_owned());
    columns.push("v.other AS revenue_other".to_owned());
}

fn opt_out_columns(
    inputs: &Inputs,
    range: Option<Range>,
    with: &mut Vec<(&'static str, String)>,
    joins: &mut Vec<Join>,
    columns: &mut Vec<String>,
) {
    if !inputs.has_opt_outs && !inputs.has_replies {
        columns.push("arrow_cast(0, 'Int64') AS opt_outs".to_owned());
        columns.push(null_moment("opted_out_at"));
        return;
    }
    // A reply that says stop is an opt-out, whether or not the provider also logs it as one; a recipient counts once.
    with.push((
        "refusals",
        format!(
            "SELECT concat('o', {opt_out_key}) AS event_key, message_id, recipient_id, channel, requested_at AS happened_at\n\
             FROM {opt_outs}\n\
             UNION ALL SELECT concat('r', {reply_key}) AS event_key, message_id, recipient_id, NULL, received_at\n\
             FROM {replies} WHERE {IS_STOP}",
            opt_out_key = event_key(Log::OptOuts),
            reply_key = event_key(Log::Replies),
            opt_outs = latest_events(inputs, range, Log::OptOuts),
            replies = latest_events(inputs, range, Log::Replies),
        ),
    ));
    with.push(("refusal_credits", last_touch(inputs, range, "refusals", true)));
    with.push((
        "refused",
        "SELECT c.message_id, min(e.happened_at) AS opted_out_at FROM refusal_credits AS c JOIN refusals AS e ON e.event_key = c.event_key GROUP BY c.message_id"
            .to_owned(),
    ));
    joins.push(Join::on_message("refused AS o"));
    columns.push(
        "CASE WHEN o.message_id IS NULL THEN arrow_cast(0, 'Int64') ELSE arrow_cast(1, 'Int64') END AS opt_outs"
            .to_owned(),
    );
    columns.push("o.opted_out_at".to_owned());
}

fn reply_columns(
    inputs: &Inputs,
    range: Option<Range>,
    with: &mut Vec<(&'static str, String)>,
    joins: &mut Vec<Join>,
    columns: &mut Vec<String>,
) {
    if !inputs.has_replies {
        columns.push("arrow_cast(0, 'Int64') AS replies".to_owned());
        return;
    }
    with.push((
        "answers",
        format!(
            "SELECT {} AS event_key, message_id, recipient_id, received_at AS happened_at\n\
             FROM {} WHERE NOT {IS_STOP}",
            event_key(Log::Replies),
            latest_events(inputs, range, Log::Replies),
        ),
    ));
    with.push(("answer_credits", last_touch(inputs, range, "answers", false)));
    with.push((
        "answered",
        "SELECT message_id, count(DISTINCT event_key) AS replies FROM answer_credits GROUP BY message_id".to_owned(),
    ));
    joins.push(Join::on_message("answered AS w"));
    columns.push("coalesce(w.replies, 0) AS replies".to_owned());
}

fn null_moment(name: &str) -> String {
    format!("arrow_cast(NULL, 'Timestamp(Microsecond, Some(\"UTC\"))') AS {name}")
}

fn money_type() -> String {
    match MONEY_SUM {
        DataType::Decimal128(precision, scale) => format!("Decimal128({precision}, {scale})"),
        _ => String::new(),
    }
}

#[allow(clippy::cast_possible_truncation)] // Settings are seconds, far inside the range.
fn microseconds(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}
