//! What a message's facts are: the queries that clean each log, and the one that makes the columns of `message_facts`.
//!
//! The rules are those of `docs/metrics.md`: status by rank and not by order of arrival; machine clicks flagged with the
//! first rule that applies; events without a message credited to the last message sent to that recipient within the window
//! (ties to the greater message id); events with a message belong to it, inside the window or not; a refund takes its value
//! back but stays a conversion. Queries here look at one log at a time; [`super::fold`] brings them together by message.

use arrow::datatypes::DataType;

use super::fold::column;
use super::touched::count_rows;
use crate::error::Result;
use crate::event::words::{FIRST_DELIVERED_RANK, FIRST_TERMINAL_RANK, rank_status_sql};
use crate::event::{ALL_CHANNELS, INGESTED_AT, Log, SOURCE_FILE, SOURCE_ROW};
use crate::query::{QuerySession, quoted, text_literal};
use crate::settings::{MachineClicks, Settings};

/// The type of summed money: exact, six decimals.
pub(super) const MONEY_SUM: DataType = DataType::Decimal128(28, 6);

/// The name of the table that [`super::fold`] makes.
pub(super) const FOLDED: &str = "folded_messages";

/// Columns of the sends log that the facts leave out: texts are long and few queries want them (`sends` keeps them), and
/// where a row came from is the log's business.
const LEFT_OUT: [&str; 8] =
    ["text", "raw_time", "source_preset", "encoding", "cost", INGESTED_AT, SOURCE_FILE, SOURCE_ROW];

/// The columns that the facts make themselves or handle apart.
const MADE: [&str; 6] = ["message_id", "recipient_id", "sent_at", "country", "region", "time_zone"];

/// Columns that both a send's attributes and its receipts may tell; the receipt's word counts where there is one.
const TOLD_TWICE: [&str; 2] = ["error_code", "carrier"];

/// Columns of the facts that tell what came of a message.
pub(crate) const OUTCOMES: [&str; 19] = [
    "status",
    "delivery",
    "receipts",
    "delivered_at",
    "clicks",
    "machine_clicks",
    "first_click_at",
    "first_click_device",
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
/// Columns of the facts that are made of the moment of sending.
const MADE_OF_THE_MOMENT: [&str; 3] = ["local_hour", "local_weekday", "sent_date"];

/// What the queries need to know of the logs.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    settings: Settings,
    /// Columns of the sends log that are carried over.
    carried: Vec<String>,
    contacts: Contacts,
    pub(super) has_receipts: bool,
    /// Whether any receipt names a price or a currency, so that costs may come late.
    has_prices: bool,
    pub(super) has_clicks: bool,
    has_conversions: bool,
    has_replies: bool,
    has_opt_outs: bool,
}

/// Whether any recipient has a row, and any has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contacts {
    None,
    OneRowEach,
    WithHistory,
}

impl Inputs {
    pub(super) async fn of(session: &QuerySession) -> Result<Self> {
        let schema = session.schema(Log::Sends.name()).await?;
        let carried = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .filter(|name| !LEFT_OUT.contains(&name.as_str()) && !MADE.contains(&name.as_str()))
            .collect();
        let any = async |query: &str| -> Result<bool> { Ok(count_rows(session, query).await? > 0) };
        let any_row = async |log: Log| any(&format!("SELECT 1 FROM {log} LIMIT 1")).await;
        // A contact without a moment has no history: its latest row counts.
        let contacts = if !any_row(Log::Recipients).await? {
            Contacts::None
        } else if any("SELECT recipient_id FROM recipients GROUP BY recipient_id HAVING count(*) > 1 LIMIT 1").await? {
            Contacts::WithHistory
        } else {
            Contacts::OneRowEach
        };
        Ok(Self {
            settings: session.settings.clone(),
            carried,
            contacts,
            has_receipts: any_row(Log::Deliveries).await?,
            has_prices: any("SELECT 1 FROM deliveries WHERE price IS NOT NULL OR currency IS NOT NULL LIMIT 1").await?,
            has_clicks: any_row(Log::Clicks).await?,
            has_conversions: any_row(Log::Conversions).await?,
            has_replies: any_row(Log::Replies).await?,
            has_opt_outs: any_row(Log::OptOuts).await?,
        })
    }

    /// The attribution window in microseconds.
    pub(super) fn window(&self) -> i64 {
        self.settings.attribution.window_microseconds()
    }

    /// The end of the window of a range's last message, exclusive.
    pub(super) fn end(&self, range: Range) -> i64 {
        range.to.saturating_add(self.window()).saturating_add(1)
    }

    pub(super) fn machine_clicks(&self) -> &MachineClicks {
        &self.settings.machine_clicks
    }

    pub(super) fn has_contacts(&self) -> bool {
        self.contacts != Contacts::None
    }
}

/// A range of moments, from inclusive to exclusive, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Range {
    /// The condition that a send is in the range.
    pub(super) fn condition(self) -> String {
        format!("sent_at >= {} AND sent_at < {}", moment(self.from), moment(self.to))
    }
}

/// A moment as SQL.
pub(crate) fn moment(microseconds: i64) -> String {
    format!("arrow_cast({microseconds}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
}

/// A moment column as microseconds since 1970: plain numbers compare and subtract faster than intervals do.
pub(super) fn micros(column: &str) -> String {
    format!("arrow_cast({column}, 'Int64')")
}

/// SQL for the text of a reply in plain capitals, without white space and punctuation around it.
macro_rules! plain_reply {
    () => {
        "regexp_replace(upper(translate(text, 'ＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ　', \
         'ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ ')), \
         '^[^\\p{L}\\p{N}]+|[^\\p{L}\\p{N}]+$', '', 'g')"
    };
}

/// Whether a reply asks to stop: by its class, or by its whole text, whatever class a provider gave it, whatever stands
/// around its letters and digits and full-width letters aside. A letter that routes in China end with (T, TD, N, R) counts only where nobody gave the
/// reply a class: it may as well be the answer to a question. The words are those of the FCC's rule of 2024 (FR 2024-04587), of the carriers, and of
/// Chinese routes.
pub(crate) const IS_STOP: &str = concat!(
    "(coalesce(keyword_class = 'stop', FALSE) OR coalesce(",
    plain_reply!(),
    " IN ('STOP', 'STOPALL', 'STOP ALL', 'UNSUBSCRIBE', 'CANCEL', 'END', 'QUIT', 'REVOKE', 'OPT OUT', 'OPT-OUT', 'OPTOUT', \
     'STOP STOP', 'STOP PLEASE', 'PLEASE STOP', '退订', '拒收', '取消订阅', '退訂', '取消訂閱', '停止', '回复T', '回复TD', '回复退订', '退订T', 'T退订', 'TD退订') OR (keyword_class IS NULL AND ",
    plain_reply!(),
    " IN ('TD', 'T', 'N', 'R')), FALSE))"
);

/// The columns of the order of reception.
const ORDER: &str = "ingested_at, source_file, source_row";

/// Order by which the latest received of several rows comes first.
pub(crate) const LATEST_FIRST: &str = "ingested_at DESC, source_file DESC, source_row DESC";

/// The query of the facts over `folded_messages`.
pub(super) fn facts_query(inputs: &Inputs) -> String {
    let made = |name: &str| format!("m.{}", quoted(name));
    let mut columns: Vec<String> = ["message_id", "recipient_id", "sent_at"].map(|name| format!("m.{name}")).into();
    for name in inputs.carried.iter().filter(|name| !TOLD_TWICE.contains(&name.as_str())) {
        columns.push(match name.as_str() {
            // Late prices come with the receipt; their currency counts only where the send had none.
            "currency" if inputs.has_prices => format!(
                "coalesce(m.currency, CASE WHEN m.cost IS NULL THEN {} END) AS currency",
                made(column::PRICE_CURRENCY)
            ),
            taken if OUTCOMES.contains(&taken) || MADE_OF_THE_MOMENT.contains(&taken) => {
                format!("m.{} AS {}", quoted(name), quoted(&format!("send_{name}")))
            }
            _ => format!("m.{}", quoted(name)),
        });
    }
    for (name, of_contact) in
        [("country", column::COUNTRY), ("region", column::REGION), ("time_zone", column::TIME_ZONE)]
    {
        columns.push(format!("coalesce(m.{name}, {}) AS {name}", made(of_contact)));
    }
    let local = format!("local_time(m.sent_at, coalesce(m.time_zone, {}))", made(column::TIME_ZONE));
    columns.push(format!("arrow_cast(date_part('hour', {local}), 'Int64') AS local_hour"));
    // Monday is 1, Sunday 7 (ISO 8601).
    columns.push(format!("arrow_cast(date_part('isodow', {local}), 'Int64') AS local_weekday"));

    let rank = made(column::RANK);
    let delivered = format!("{rank} >= {FIRST_DELIVERED_RANK}");
    columns.push(format!("{} AS status", rank_status_sql(&rank)));
    columns.push(format!(
        "CASE WHEN {delivered} THEN 'delivered' WHEN {rank} >= {FIRST_TERMINAL_RANK} THEN 'failed' ELSE 'unknown' END AS delivery"
    ));
    columns.push(format!("{} AS receipts", made(column::RECEIPTS)));
    columns.push(format!("CASE WHEN {delivered} THEN {} END AS delivered_at", made(column::DELIVERED_AT)));
    let error = format!("CASE WHEN {rank} < {FIRST_DELIVERED_RANK} THEN {} END", made(column::ERROR_CODE));
    // Nor is the code that the sends tell one of a message that arrived after all.
    let of_sends = format!("CASE WHEN {rank} IS NULL OR {rank} < {FIRST_DELIVERED_RANK} THEN m.error_code END");
    columns.push(told_twice(inputs, "error_code", &error, &of_sends));
    columns.push(told_twice(inputs, "carrier", &made(column::CARRIER), "m.carrier"));
    let cost =
        if inputs.has_prices { format!("coalesce(m.cost, {})", made(column::PRICE)) } else { "m.cost".to_owned() };
    columns.push(format!("arrow_cast({cost}, '{}') AS cost", money_type()));
    for (name, of_fold) in [
        ("clicks", column::CLICKS),
        ("machine_clicks", column::MACHINE_CLICKS),
        ("first_click_at", column::FIRST_CLICK_AT),
        ("first_click_device", column::FIRST_CLICK_DEVICE),
        ("machine_click_reason", column::MACHINE_CLICK_REASON),
        ("conversions", column::CONVERSIONS),
        ("conversions_outside_window", column::OUTSIDE),
        ("converted_at", column::CONVERTED_AT),
        ("revenue", column::REVENUE),
        ("margin", column::MARGIN),
        ("revenue_currency", column::REVENUE_CURRENCY),
        ("revenue_other", column::REVENUE_OTHER),
        ("opted_out_at", column::OPTED_OUT_AT),
        ("replies", column::REPLIES),
    ] {
        columns.push(format!("{} AS {name}", made(of_fold)));
    }
    columns.push(format!(
        "CASE WHEN {} IS NULL THEN arrow_cast(0, 'Int64') ELSE arrow_cast(1, 'Int64') END AS opt_outs",
        made(column::OPTED_OUT_AT)
    ));
    columns.push("arrow_cast(m.sent_at, 'Date32') AS sent_date".to_owned());
    format!("SELECT {} FROM {FOLDED} AS m", columns.join(", "))
}

/// A column from the receipt, else from the send's attribute of that name, else nothing.
fn told_twice(inputs: &Inputs, name: &str, receipt: &str, of_sends: &str) -> String {
    if inputs.carried.iter().any(|carried| carried == name) {
        format!("coalesce({receipt}, {of_sends}) AS {name}")
    } else {
        format!("{receipt} AS {name}")
    }
}

/// `recipient_id`, `country`, `region`, `time_zone`, and the period (microseconds) in which they are valid.
pub(super) fn contacts(inputs: &Inputs) -> String {
    if inputs.contacts == Contacts::WithHistory {
        return format!(
            "SELECT recipient_id, country, region, time_zone, {} AS valid_from, {} AS valid_to FROM ({})",
            micros("valid_from"),
            micros("valid_to"),
            contact_periods("country, region, time_zone")
        );
    }
    format!(
        "SELECT recipient_id, country, region, time_zone, {} AS valid_from, {} AS valid_to FROM recipients",
        i64::MIN,
        i64::MAX
    )
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

/// Each contact as it was last heard of, in some columns: of its rows that with the latest `updated_at`, of several of
/// these the latest received.
pub(crate) fn latest_contacts(columns: &str) -> String {
    latest_of("recipients", "recipient_id", &format!("updated_at DESC NULLS LAST, {LATEST_FIRST}"), columns)
}

/// The clicks: key, `message_id`, `link`, moment (microseconds), `user_agent`, `method`, `ip_hash`, `bot_score`, `bot_reason`
/// and the order of reception. All of them: a crowd behind one address is seen among those of messages of other days, too.
pub(super) fn taps() -> String {
    format!(
        "SELECT {} AS event_key, message_id, link, {} AS tapped, user_agent, method, ip_hash, bot_score, bot_reason, {ORDER} FROM clicks",
        event_key(Log::Clicks),
        micros("clicked_at"),
    )
}

/// What makes two rows of a log one event, of which the latest received counts.
pub(super) fn event_key(log: Log) -> String {
    let time = micros(log.time_column());
    match log {
        Log::Conversions => "conversion_id".to_owned(),
        Log::Replies => format!("coalesce(reply_id, concat(coalesce(recipient_id, message_id), '|', {time}))"),
        // At one moment somebody may agree to one purpose and withdraw from another.
        Log::OptOuts | Log::Consents => {
            let of = if log == Log::OptOuts { "scope" } else { "purpose" };
            format!(
                "coalesce(id, concat(recipient_id, '|', coalesce(channel, ''), '|', coalesce({of}, ''), '|', {time}))"
            )
        }
        // A click without an id is told by its message, moment and link.
        _ => format!("coalesce(click_id, concat(message_id, '|', {time}, '|', coalesce(link, '')))"),
    }
}

/// A log's events, each once as its latest received row has it, in some columns.
pub(crate) fn latest_rows(log: Log, columns: &str) -> String {
    latest_of(log.name(), &event_key(log), LATEST_FIRST, columns)
}

/// Whether an amount of the facts is there in several currencies, which are never added up.
pub(crate) async fn has_several_currencies(session: &QuerySession, amount: &str, currency: &str) -> Result<bool> {
    let several = format!(
        "SELECT 1 FROM (SELECT min({currency}) AS least, max({currency}) AS most FROM message_facts WHERE {amount} IS NOT NULL) \
         WHERE least < most"
    );
    session.has_rows(&several).await
}

/// Where each recipient is, who is a contact or was sent to: as the contact says, else as the messages do.
pub(crate) fn recipient_places() -> String {
    format!(
        "SELECT coalesce(k.recipient_id, f.recipient_id) AS recipient_id, coalesce(k.country, f.country) AS country, \
         coalesce(k.region, f.region) AS region, coalesce(k.time_zone, f.time_zone) AS time_zone \
         FROM {} AS k FULL JOIN (SELECT recipient_id, max(country) AS country, max(region) AS region, \
         max(time_zone) AS time_zone FROM message_facts GROUP BY recipient_id) AS f ON f.recipient_id = k.recipient_id",
        latest_contacts("recipient_id, country, region, time_zone")
    )
}

/// Whether some conversion names only a message.
async fn has_conversions_of_messages(session: &QuerySession) -> Result<bool> {
    session.has_rows("SELECT 1 FROM conversions WHERE recipient_id IS NULL AND message_id IS NOT NULL LIMIT 1").await
}

/// Recipients of conversions under a condition on the log, each as often as it comes: of one that names only a message, the
/// message's.
pub(crate) async fn converted_recipients(session: &QuerySession, condition: &str) -> Result<String> {
    let named = format!("SELECT recipient_id FROM conversions WHERE {condition}");
    if !has_conversions_of_messages(session).await? {
        return Ok(named);
    }
    Ok(format!(
        "{named} UNION ALL SELECT f.recipient_id FROM (SELECT message_id FROM conversions WHERE recipient_id IS NULL AND \
         {condition}) AS v INNER JOIN message_facts AS f ON f.message_id = v.message_id"
    ))
}

/// The conversions as they were last received, in some columns after `recipient_id`, which no row lacks: of one that names
/// only a message the recipient is the message's.
pub(crate) async fn owned_conversions(session: &QuerySession, columns: &str) -> Result<String> {
    if !has_conversions_of_messages(session).await? {
        let latest = latest_rows(Log::Conversions, &format!("recipient_id, {columns}"));
        return Ok(format!("(SELECT * FROM {latest} AS v WHERE recipient_id IS NOT NULL)"));
    }
    let columns: Vec<&str> = columns.split(',').map(str::trim).collect();
    let own = columns.iter().map(|column| format!(", v.{column}")).collect::<String>();
    let mut wanted = vec!["recipient_id", "message_id"];
    wanted.extend(columns.into_iter().filter(|column| *column != "message_id"));
    let latest = latest_rows(Log::Conversions, &wanted.join(", "));
    // Not coalesce(v.recipient_id, …) AS recipient_id: DataFusion 55 hands a filter of an outer join on that name down to the
    // scan, where those without a recipient are lost.
    Ok(format!(
        "(SELECT v.recipient_id{own} FROM {latest} AS v WHERE v.recipient_id IS NOT NULL\n  \
         UNION ALL SELECT f.recipient_id{own} FROM {latest} AS v INNER JOIN message_facts AS f ON f.message_id = v.message_id \
         WHERE v.recipient_id IS NULL)"
    ))
}

/// Of the rows of a table or subquery with the same key, which is never NULL, the first in an order. Keys with several rows
/// are rare: only these are put in order.
pub(crate) fn latest_of(rows: &str, key: &str, order: &str, columns: &str) -> String {
    let repeated = format!(
        "(SELECT repeated_key FROM (SELECT {key} AS repeated_key, count(*) AS times FROM {rows} AS again GROUP BY {key}) AS counted \
         WHERE times > 1)"
    );
    // The few repeated keys on the left: they are what a join keeps in memory.
    format!(
        "(SELECT {columns} FROM {repeated} AS repeated RIGHT ANTI JOIN {rows} AS own ON {key} = repeated_key\n  \
         UNION ALL SELECT {columns} FROM (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY {order}) AS newest\n  \
         FROM {repeated} AS repeated RIGHT SEMI JOIN {rows} AS own ON {key} = repeated_key) AS placed WHERE newest = 1)"
    )
}

/// The rows of a log's events that can concern the range: of those that have a message, or happened in the range or its
/// window. All rows of these events, for a correction may have moved one: the latest is found afterwards.
fn candidates(inputs: &Inputs, range: Option<Range>, log: Log) -> String {
    let Some(range) = range else { return log.to_string() };
    let (key, time) = (event_key(log), log.time_column());
    let (from, to) = (moment(range.from), moment(inputs.end(range)));
    format!(
        "{log} WHERE {key} IN (SELECT {key} FROM {log} WHERE message_id IS NOT NULL OR ({time} >= {from} AND {time} < {to}))"
    )
}

/// The condition that an event counts as a conversion.
pub(crate) fn counted_events(settings: &Settings) -> String {
    let events: Vec<String> = settings.attribution.events.iter().map(|event| text_literal(event)).collect();
    if events.is_empty() { "TRUE".to_owned() } else { format!("event IN ({})", events.join(", ")) }
}

/// Conversions; `None` when there are none. This query and the next two give key, `message_id`, `recipient_id`, moment
/// (microseconds), `channel`, `currency`, `value`, `margin`, what kind of event the row is, and the order of reception.
pub(super) fn goals(inputs: &Inputs, range: Option<Range>) -> Option<String> {
    let money = money_type();
    inputs.has_conversions.then(|| {
        format!(
            "SELECT {key} AS event_key, message_id, recipient_id, {at} AS happened, arrow_cast(NULL, 'Utf8') AS channel, currency,\n  \
             arrow_cast(CASE WHEN refunded_at IS NULL OR value IS NULL THEN value ELSE 0 END, '{money}') AS value,\n  \
             arrow_cast(CASE WHEN refunded_at IS NULL OR margin IS NULL THEN margin ELSE 0 END, '{money}') AS margin,\n  \
             coalesce({counted}, FALSE) AS counts, {ORDER}\nFROM {from}",
            key = event_key(Log::Conversions),
            at = micros("occurred_at"),
            counted = counted_events(&inputs.settings),
            from = candidates(inputs, range, Log::Conversions),
        )
    })
}

/// Opt-outs; one of all channels has none of its own.
pub(super) fn refusals(inputs: &Inputs, range: Option<Range>) -> Option<String> {
    inputs
        .has_opt_outs
        .then(|| of_event(inputs, range, Log::OptOuts, &format!("nullif(channel, '{ALL_CHANNELS}')"), "TRUE"))
}

/// Replies: those that say stop are opt-outs, whether or not the provider also logs them as such.
pub(super) fn replies(inputs: &Inputs, range: Option<Range>) -> Option<String> {
    inputs.has_replies.then(|| of_event(inputs, range, Log::Replies, "arrow_cast(NULL, 'Utf8')", IS_STOP))
}

fn of_event(inputs: &Inputs, range: Option<Range>, log: Log, channel: &str, counts: &str) -> String {
    let money = money_type();
    format!(
        "SELECT {key} AS event_key, message_id, recipient_id, {at} AS happened, {channel} AS channel, arrow_cast(NULL, 'Utf8') AS currency,\n  \
         arrow_cast(NULL, '{money}') AS value, arrow_cast(NULL, '{money}') AS margin, {counts} AS counts, {ORDER}\nFROM {from}",
        key = event_key(log),
        at = micros(log.time_column()),
        from = candidates(inputs, range, log),
    )
}

fn money_type() -> String {
    format!("{MONEY_SUM}")
}
