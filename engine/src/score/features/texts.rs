//! What the texts of a campaign and variant are like: length, link, call to action, personalised.
//!
//! In: the texts of the sends log up to a moment. Out: a small table `message_texts`, a row a campaign and variant, that the
//! query of the features joins. A text counts as that of its campaign and variant: most differ by a name or a link alone.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;

use crate::error::Result;
use crate::event::Log;
use crate::facts::moment;
use crate::query::{QuerySession, has_column};

/// Where the table is registered.
const TABLE: &str = "message_texts";

/// Texts of a campaign and variant that are looked at: the first so many.
const FIRST_TEXTS: u32 = 100;

/// A link: with a scheme, or a name with a path, as shorteners write it.
const LINK: &str = r"https?://|www\.|[a-z0-9-]+\.[a-z]{2,}/[a-z0-9]";

/// Words that ask to do something, in English and Chinese, French, German, Greek.
const CALL_TO_ACTION: &str = r"\b(shop|buy|order|book|claim|get|save|redeem|click|tap|visit|reply|call|join|try|start|use|see|discover|download|register|sign up)\b|点击|立即|马上|抢购|购买|领取|查看|下单|回复|注册|下载|commandez|profitez|cliquez|jetzt|bestellen|klicken|αγοράστε|πατήστε";

/// The texts of a session.
pub(crate) struct TextFeatures;

impl TextFeatures {
    /// Registers the table of the texts sent by a moment. `None` where no send has a text.
    pub(crate) async fn count(session: &QuerySession, at: i64) -> Result<Option<usize>> {
        let schema = session.schema(Log::Sends.name()).await?;
        session.context().deregister_table(TABLE)?;
        if !has_column(&schema, "text") {
            return Self::register_none(session);
        }
        let until = moment(at);
        let any = format!("SELECT 1 FROM sends WHERE text IS NOT NULL AND sent_at <= {until} LIMIT 1");
        if !session.has_rows(&any).await? {
            return Self::register_none(session);
        }
        let variant = if has_column(&schema, "variant") { "variant" } else { "arrow_cast(NULL, 'Utf8')" };
        let texts = format!(
            "(SELECT campaign_id, {variant} AS variant, sent_at, message_id, text FROM sends WHERE text IS NOT NULL AND sent_at <= {until})"
        );
        // The minute that has the last of the first texts: what comes after it is not put in order, however much it is.
        let last_minutes = format!(
            "(SELECT campaign_id, variant, max(minute) AS last FROM (SELECT campaign_id, variant, minute,\n  \
             coalesce(sum(n) OVER (PARTITION BY campaign_id, variant ORDER BY minute ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before\n  \
             FROM (SELECT campaign_id, variant, date_trunc('minute', sent_at) AS minute, count(*) AS n FROM {texts} GROUP BY 1, 2, 3))\n  \
             WHERE before < {FIRST_TEXTS} GROUP BY campaign_id, variant)"
        );
        // Without the limit, which nothing reaches, the join's larger side would be put in order, and not what is left of it.
        let early = format!(
            "(SELECT s.* FROM {last_minutes} AS l INNER JOIN {texts} AS s ON (s.campaign_id IS NOT DISTINCT FROM l.campaign_id)\n  \
             AND (s.variant IS NOT DISTINCT FROM l.variant) WHERE date_trunc('minute', s.sent_at) <= l.last LIMIT {})",
            i64::MAX
        );
        // Averages are decimals, whose sums do not depend on the order of rows. Texts without their links (which are
        // ASCII, and stand in Chinese without spaces around them) tell whether a campaign's texts differ by more than those.
        let frame = session
            .sql(&format!(
                "SELECT campaign_id, variant, arrow_cast(avg(character_length(text)), 'Decimal128(18, 6)') AS text_characters,\n  \
                 arrow_cast(avg(CASE WHEN text ~* '{LINK}' THEN 1.0 ELSE 0.0 END), 'Decimal128(18, 6)') AS text_link,\n  \
                 arrow_cast(avg(CASE WHEN text ~* '{CALL_TO_ACTION}' THEN 1.0 ELSE 0.0 END), 'Decimal128(18, 6)') AS text_call_to_action,\n  \
                 CASE WHEN count(DISTINCT regexp_replace(text, '[!-~]*/[!-~]*', '', 'g')) > 1 THEN arrow_cast(1, 'Decimal128(18, 6)') ELSE arrow_cast(0, 'Decimal128(18, 6)') END AS text_personalised\n \
                 FROM (SELECT campaign_id, variant, text,\n  \
                 row_number() OVER (PARTITION BY campaign_id, variant ORDER BY sent_at, message_id) AS place\n  \
                 FROM {early} AS early\n \
                 ) WHERE place <= {FIRST_TEXTS} GROUP BY campaign_id, variant"
            ))
            .await?;
        let batches = frame.collect().await?;
        let Some(schema) = batches.first().map(arrow::array::RecordBatch::schema) else {
            return Self::register_none(session);
        };
        let rows = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
        session.context().register_table(TABLE, Arc::new(MemTable::try_new(schema, vec![batches])?))?;
        Ok(Some(rows))
    }

    /// A table without rows: a model that looks at texts may be asked of a moment before any.
    fn register_none(session: &QuerySession) -> Result<Option<usize>> {
        let number = |name: &str| Field::new(name, DataType::Decimal128(18, 6), true);
        let schema = Arc::new(Schema::new(vec![
            Field::new("campaign_id", DataType::Utf8, true),
            Field::new("variant", DataType::Utf8, true),
            number("text_characters"),
            number("text_link"),
            number("text_call_to_action"),
            number("text_personalised"),
        ]));
        session.context().register_table(TABLE, Arc::new(MemTable::try_new(schema, vec![vec![]])?))?;
        Ok(None)
    }
}
