//! Delivery receipts: a message and its fate in, receipt rows out, as untidy as real ones.
//!
//! A receipt has a moment at which something happened (`at`) and one at which we heard of it (`received_at`). Some
//! come late, some twice, some before the one they should follow; the late and the second ones stand at the end of a
//! batch, far from their message.

use super::calendar::{DAY, HOUR, SECOND, with_fraction};
use super::columns::Identifier;
use super::logs::Deliveries;
use super::random::Draws;
use super::simulation::{Message, Run};
use super::world::Fate;

/// Share of the final receipts that arrive hours or days late.
const LATE_SHARE: f64 = 0.01;
/// Share of the final receipts that arrive twice.
const DUPLICATE_SHARE: f64 = 0.005;
/// Share of the final receipts that arrive just before the one that says "sent".
const OUT_OF_ORDER_SHARE: f64 = 0.01;
/// Milliseconds between the receipts of two parts of one message.
const BETWEEN_PARTS: i64 = 40;

/// Ways in which a carrier gives up: provider's error code and status, with their shares.
const FAILURES: [(&str, &str); 5] = [
    ("30003", "undelivered"),
    ("30005", "undelivered"),
    ("30007", "undelivered"),
    ("30008", "undelivered"),
    ("30006", "failed"),
];
const FAILURE_SHARES: [f64; 5] = [0.35, 0.25, 0.20, 0.10, 0.10];

/// One row of the deliveries log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receipt {
    message_id: Identifier,
    part: i64,
    status: &'static str,
    at: i64,
    received_at: i64,
    error_code: Option<&'static str>,
    carrier: &'static str,
}

impl Receipt {
    /// Appends the row.
    pub(super) fn push_to(&self, rows: &mut Deliveries) {
        rows.message_id.push(self.message_id.as_str());
        rows.part_no.push(self.part);
        rows.status.push(self.status);
        rows.at.push(self.at);
        rows.received_at.push(self.received_at);
        rows.error_code.push_option(self.error_code);
        rows.carrier.push(self.carrier);
    }
}

impl Run<'_> {
    /// Writes the receipts of a message, and says when its first part reached the handset, if it did.
    pub(super) fn write_receipts(&mut self, message: &Message<'_>, draws: &mut Draws) -> Option<i64> {
        let submitted_at = message.sent_at + draws.milliseconds(150, SECOND);
        let (status, settled_at, error_code) = match message.fate {
            Fate::NoReceipt => {
                self.tally.counts.no_receipt += 1;
                return None;
            }
            Fate::Delivered => {
                let transit = draws.exponential_under(4_000.0, 55_000.0) as i64;
                ("delivered", submitted_at + SECOND + transit, None)
            }
            Fate::DeliveredAfterExpiry => {
                self.tally.counts.delivered_after_expiry += 1;
                ("delivered", submitted_at + draws.milliseconds(2 * HOUR, 9 * HOUR), None)
            }
            Fate::Undelivered => {
                self.tally.counts.undelivered += 1;
                let (code, status) = FAILURES[draws.weighted(&FAILURE_SHARES)];
                (status, submitted_at + draws.milliseconds(2 * SECOND, 120 * SECOND), Some(code))
            }
        };
        let is_late = draws.chance(LATE_SHARE);
        let is_doubled = draws.chance(DUPLICATE_SHARE);
        let is_out_of_order = !is_late && draws.chance(OUT_OF_ORDER_SHARE);
        self.tally.counts.late_receipts += u64::from(is_late);
        self.tally.counts.duplicate_receipts += u64::from(is_doubled);
        self.tally.counts.out_of_order_receipts += u64::from(is_out_of_order);
        let sent_heard_after = draws.milliseconds(100, 3 * SECOND);
        let settled_heard_after = if is_late {
            2 * HOUR + draws.exponential_under(20.0 * HOUR as f64, 4.0 * DAY as f64) as i64
        } else {
            draws.milliseconds(100, 3 * SECOND)
        };
        let heard_again_after = draws.milliseconds(SECOND, 60 * SECOND);

        let receipt = |part: i64, status: &'static str, at: i64, heard_after: i64| {
            let part_at = with_fraction(at + (part - 1) * BETWEEN_PARTS);
            Receipt {
                message_id: message.message_id,
                part,
                status,
                at: part_at,
                received_at: with_fraction(part_at + heard_after),
                error_code: None,
                carrier: message.carrier,
            }
        };
        for part in 1..=message.wording.parts {
            let sent = receipt(part, "sent", submitted_at, sent_heard_after);
            let settled = Receipt { error_code, ..receipt(part, status, settled_at, settled_heard_after) };
            let rows = &mut self.logs.deliveries.rows;
            if is_out_of_order {
                settled.push_to(rows);
            }
            sent.push_to(rows);
            if message.fate == Fate::DeliveredAfterExpiry {
                receipt(part, "expired", submitted_at + HOUR, sent_heard_after).push_to(rows);
            }
            if is_late {
                self.straggling_receipts.push(settled);
            } else if !is_out_of_order {
                settled.push_to(rows);
            }
            if is_doubled {
                let received_at = with_fraction(settled.received_at + heard_again_after);
                self.straggling_receipts.push(Receipt { received_at, ..settled });
            }
        }
        message.fate.is_delivered().then(|| with_fraction(settled_at))
    }

    /// Writes the receipts that came late or twice.
    pub(super) fn write_straggling_receipts(&mut self) {
        let rows = &mut self.logs.deliveries.rows;
        for receipt in self.straggling_receipts.drain(..) {
            receipt.push_to(rows);
        }
    }
}
