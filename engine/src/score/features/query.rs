//! The one query that counts the features of recipients as of a moment.
//!
//! In: the moment, and what a set of features needs to know of the store. Out: SQL with a row a recipient: `recipient_id`,
//! then every feature in the set's order. No row that the query reads tells of anything after the moment, but for the
//! attributes of contacts whose log has no history.

use super::catalogue::{FEATURES, Feature, FeatureRows, PRIOR_MESSAGES, TEXT_FEATURES};
use super::set::FeatureSet;
use crate::error::Result;
use crate::event::Log;
use crate::facts::{
    IS_STOP, LATEST_FIRST, contact_periods, counted_events, latest_of, latest_rows, moment, owned_conversions,
};
use crate::permission::GIVEN;
use crate::query::{QuerySession, quoted, text_literal};

const DAY: &str = "86400000000.0";

/// Which recipients are asked for.
#[derive(Debug, Clone)]
pub(crate) enum Recipients {
    /// Everybody known by the moment: the contacts and whoever was sent to.
    All,
    /// The `recipient_id` of a query, each once.
    Of(String),
}

impl FeatureSet {
    /// The query as of a moment, in microseconds since 1970.
    ///
    /// `drawn` is the condition on a column of ids that its recipient is asked for, besides.
    pub(crate) async fn query(
        &self,
        session: &QuerySession,
        at: i64,
        recipients: &Recipients,
        drawn: &(dyn Fn(&str) -> String + Sync),
    ) -> Result<String> {
        let only = format!(" AND {}", drawn("recipient_id"));
        let messages = self.messages(at, &format!(" AND {}", drawn("f.recipient_id")));
        let mut columns = Vec::new();
        for feature in self.counted() {
            let name = format!("{}.{}", alias(feature.rows), feature.name);
            columns.push(match feature.without {
                Some(without) => format!("coalesce({name}, {without})"),
                None => name,
            });
        }
        columns.extend(self.shrunk_rates());
        columns.push(if self.has_sign_up {
            format!("({at} - arrow_cast(k.signed_up_at, 'Int64')) / {DAY}")
        } else {
            "NULL".to_owned()
        });
        let mut columns: Vec<String> =
            columns.into_iter().map(|column| format!("arrow_cast({column}, 'Float64')")).collect();
        columns.extend(self.attributes.iter().map(|name| format!("k.{}", quoted(name))));
        let names = self.names();
        let columns: Vec<String> =
            columns.iter().zip(&names).map(|(sql, name)| format!("{sql} AS {}", quoted(name))).collect();
        let (whom, id) = match recipients {
            Recipients::All => (
                "contacts AS k FULL JOIN m ON m.recipient_id = k.recipient_id".to_owned(),
                "coalesce(k.recipient_id, m.recipient_id)",
            ),
            Recipients::Of(query) => (
                format!(
                    "(SELECT * FROM ({query}) WHERE {}) AS u LEFT JOIN m ON m.recipient_id = u.recipient_id \
                     LEFT JOIN contacts AS k ON k.recipient_id = u.recipient_id",
                    drawn("recipient_id")
                ),
                "u.recipient_id",
            ),
        };
        let joins: String = [FeatureRows::Conversions, FeatureRows::Replies, FeatureRows::Consents]
            .into_iter()
            .map(|rows| format!(" LEFT JOIN {0} ON {0}.recipient_id = {id}", alias(rows)))
            .collect();
        Ok(format!(
            "WITH m AS ({messages}),\n c AS ({}),\n r AS ({}),\n o AS ({}),\n contacts AS ({})\n\
             SELECT {id} AS recipient_id, {} FROM {whom}{joins}",
            self.conversions(session, at, &only).await?,
            self.aggregate(FeatureRows::Replies, &replies(at, &only)),
            self.aggregate(FeatureRows::Consents, &consents(at, &only)),
            self.contacts(at, &only),
            columns.join(", ")
        ))
    }

    /// The features that are aggregates, in their order.
    pub(super) fn counted(&self) -> impl Iterator<Item = &'static Feature> {
        FEATURES.iter().chain(TEXT_FEATURES.iter().filter(|_| self.has_texts))
    }

    fn aggregate(&self, rows: FeatureRows, from: &str) -> String {
        let columns: Vec<String> = self
            .counted()
            .filter(|feature| feature.rows == rows)
            .map(|feature| format!("{} AS {}", feature.sql, feature.name))
            .chain(self.counts_by_kind(rows))
            .collect();
        format!("SELECT recipient_id, {} FROM ({from}) GROUP BY recipient_id", columns.join(", "))
    }

    /// Messages and clicks by channel and type, which the shrunk rates are made of.
    fn counts_by_kind(&self, rows: FeatureRows) -> Vec<String> {
        if rows != FeatureRows::Messages {
            return Vec::new();
        }
        let kinds = self.rates.iter().filter_map(|rate| rate.kind.as_ref());
        kinds
            .flat_map(|(column, value)| {
                let condition = format!("{column} = {}", text_literal(value));
                [
                    format!("count(*) FILTER (WHERE {condition}) AS {}", quoted(&format!("n {column} {value}"))),
                    format!(
                        "count(*) FILTER (WHERE was_clicked AND {condition}) AS {}",
                        quoted(&format!("clicked {column} {value}"))
                    ),
                    format!(
                        "count(*) FILTER (WHERE was_converted AND {condition}) AS {}",
                        quoted(&format!("converted {column} {value}"))
                    ),
                ]
            })
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    fn shrunk_rates(&self) -> impl Iterator<Item = String> {
        self.rates.iter().map(|rate| {
            let (n, hits) = match &rate.kind {
                None => ("m.messages".to_owned(), format!("m.{}", rate.outcome.count())),
                Some((column, value)) => (
                    format!("m.{}", quoted(&format!("n {column} {value}"))),
                    format!("m.{}", quoted(&format!("{} {column} {value}", rate.outcome.word()))),
                ),
            };
            format!(
                "(coalesce({hits}, 0) + {:?}) / (coalesce({n}, 0) + {PRIOR_MESSAGES}.0)",
                f64::from(PRIOR_MESSAGES) * rate.base
            )
        })
    }

    fn messages(&self, at: i64, only: &str) -> String {
        let sent = "arrow_cast(f.sent_at, 'Int64')";
        let clicked = "arrow_cast(f.first_click_at, 'Int64')";
        let was_clicked = format!("(f.first_click_at IS NOT NULL AND {clicked} <= {at})");
        let texts = if self.has_texts {
            (
                ", t.text_characters, t.text_link, t.text_call_to_action, t.text_personalised",
                " LEFT JOIN message_texts AS t ON t.campaign_id = f.campaign_id AND t.variant IS NOT DISTINCT FROM f.variant",
            )
        } else {
            ("", "")
        };
        // First the columns that the condition is on, then the rest of the rows that remain.
        let rows = format!(
            "SELECT f.recipient_id, f.channel, f.message_type, f.parts, ({at} - {sent}) / {DAY} AS age,\n  \
             (f.delivery = 'delivered' AND arrow_cast(coalesce(f.delivered_at, f.sent_at), 'Int64') <= {at}) AS was_delivered,\n  \
             {was_clicked} AS was_clicked,\n  \
             (f.converted_at IS NOT NULL AND arrow_cast(f.converted_at, 'Int64') <= {at}) AS was_converted,\n  \
             CASE WHEN {was_clicked} THEN ({at} - {clicked}) / {DAY} END AS click_age,\n  \
             CASE WHEN {was_clicked} THEN {clicked} - {sent} END AS click_delay,\n  \
             CASE WHEN {was_clicked} THEN date_part('hour', local_time(f.first_click_at, f.time_zone)) END AS click_hour,\n  \
             CASE WHEN {was_clicked} THEN f.first_click_device END AS device{}\n \
             FROM message_facts AS f{} WHERE f.sent_at <= {}{}",
            texts.0,
            texts.1,
            moment(at),
            only,
        );
        self.aggregate(FeatureRows::Messages, &rows)
    }

    async fn conversions(&self, session: &QuerySession, at: i64, only: &str) -> Result<String> {
        let currency = match &self.currency {
            Some(currency) => format!("currency = {}", text_literal(currency)),
            None => "currency IS NULL".to_owned(),
        };
        let rows = format!(
            "SELECT recipient_id, ({at} - arrow_cast(occurred_at, 'Int64')) / {DAY} AS age,\n  \
             (refunded_at IS NOT NULL AND refunded_at <= {0}) AS was_refunded,\n  \
             CASE WHEN {currency} THEN CASE WHEN refunded_at IS NOT NULL AND refunded_at <= {0} \
             THEN arrow_cast(0, 'Decimal128(18, 6)') ELSE value END END AS net_value\n \
             FROM {1} WHERE occurred_at <= {0} AND {2}{only}",
            moment(at),
            owned_conversions(session, "occurred_at, refunded_at, value, currency, event").await?,
            counted_events(&session.settings),
        );
        Ok(self.aggregate(FeatureRows::Conversions, &rows))
    }

    fn contacts(&self, at: i64, only: &str) -> String {
        let mut columns: Vec<String> = self.attributes.iter().map(|name| quoted(name)).collect();
        if self.has_sign_up {
            columns.push("signed_up_at".to_owned());
        }
        let columns: String = columns.iter().map(|column| format!(", {column}")).collect();
        let known = if self.has_sign_up {
            format!("(signed_up_at IS NULL OR signed_up_at <= {})", moment(at))
        } else {
            "TRUE".to_owned()
        };
        if self.contacts_have_history {
            let names = columns.strip_prefix(", ").unwrap_or("country");
            let at = moment(at);
            return format!(
                "SELECT recipient_id{columns} FROM ({}) WHERE valid_from <= {at} AND {at} < valid_to AND {known}{only}",
                contact_periods(names)
            );
        }
        format!("SELECT recipient_id{columns} FROM recipients WHERE {known}{only}")
    }
}

fn alias(rows: FeatureRows) -> &'static str {
    match rows {
        FeatureRows::Messages => "m",
        FeatureRows::Conversions => "c",
        FeatureRows::Replies => "r",
        FeatureRows::Consents => "o",
    }
}

fn replies(at: i64, only: &str) -> String {
    format!(
        "SELECT recipient_id, ({at} - arrow_cast(received_at, 'Int64')) / {DAY} AS age FROM {} \
         WHERE recipient_id IS NOT NULL AND received_at <= {} AND NOT {IS_STOP}{only}",
        latest_rows(Log::Replies, "recipient_id, received_at, keyword_class, text"),
        moment(at)
    )
}

fn consents(at: i64, only: &str) -> String {
    // A consent that is withdrawn later keeps its id: only what had been captured by the moment is looked at.
    let known = format!("(SELECT * FROM consents WHERE captured_at <= {})", moment(at));
    let key = "coalesce(id, concat(recipient_id, '|', coalesce(channel, ''), '|', arrow_cast(captured_at, 'Utf8')))";
    format!(
        "SELECT recipient_id, ({at} - arrow_cast(captured_at, 'Int64')) / {DAY} AS age FROM {} \
         WHERE lower(btrim(status)) IN {GIVEN}{only}",
        latest_of(&known, key, LATEST_FIRST, "recipient_id, captured_at, status"),
    )
}
