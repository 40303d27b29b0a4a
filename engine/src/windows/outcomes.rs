//! What a message brought within the horizon, as SQL, for each objective; and which objectives the logs tell.

use super::request::{Objective, WindowsRequest};
use crate::error::{EngineError, Result};
use crate::facts::{DAY_MICROSECONDS, has_several_currencies};
use crate::query::QuerySession;

/// The SQL of what a message brought within the horizon, by objective, and of its clicks with the suspected ones.
pub(super) struct Outcomes {
    pub(super) sql: [String; 5],
    pub(super) known: Vec<Objective>,
    pub(super) notes: Vec<String>,
}

impl Outcomes {
    /// The weighted sum and the weighted sum of squares of each, as what is added up of a message: of yes and no they are
    /// the same, and of what the logs do not tell nothing is.
    pub(super) fn sums(&self, weight: &str) -> Vec<String> {
        let of = [
            Objective::Click,
            Objective::Conversion,
            Objective::Revenue,
            Objective::Profit,
            // Clicks with the suspected ones.
            Objective::Click,
        ];
        let sums = of.iter().zip(&self.sql).flat_map(|(objective, value)| {
            let sum = format!("({weight}) * ({value})");
            match objective {
                objective if !self.known.contains(objective) => ["0.0".to_owned(), "0.0".to_owned()],
                Objective::Click | Objective::Conversion => [sum.clone(), sum],
                Objective::Revenue | Objective::Profit => [sum.clone(), format!("{sum} * ({value})")],
            }
        });
        sums.collect()
    }
}

/// SQL for what a message brought within the horizon, of the objective asked for.
pub(crate) fn outcome_sql(session: &QuerySession, request: &WindowsRequest) -> String {
    let days = request.horizon_days.unwrap_or(session.settings.attribution.window_days);
    let [click, conversion, revenue, profit, _] = outcome_columns(request, i64::from(days) * DAY_MICROSECONDS);
    match request.objective {
        Objective::Click => click,
        Objective::Conversion => conversion,
        Objective::Revenue => revenue,
        Objective::Profit => profit,
    }
}

/// SQL for click, conversion, revenue, profit, and clicks with the suspected ones.
fn outcome_columns(request: &WindowsRequest, horizon: i64) -> [String; 5] {
    let within = |moment: &str| {
        let (at, sent) = (format!("arrow_cast(f.{moment}, 'Int64')"), "arrow_cast(f.sent_at, 'Int64')");
        // What came before the message is not its doing: a clock is wrong.
        format!("f.{moment} IS NOT NULL AND {at} >= {sent} AND {at} - {sent} <= {horizon}")
    };
    let yes_or_no = |condition: String| format!("CASE WHEN {condition} THEN 1.0 ELSE 0.0 END");
    let amount = |column: &str| {
        format!(
            "CASE WHEN {} THEN coalesce(arrow_cast(f.{column}, 'Float64'), 0.0) ELSE 0.0 END",
            within("converted_at")
        )
    };
    let cost = "coalesce(arrow_cast(f.cost, 'Float64'), 0.0)";
    let opt_out = yes_or_no(within("opted_out_at"));
    [
        yes_or_no(within("first_click_at")),
        yes_or_no(within("converted_at")),
        amount("revenue"),
        format!("({} - {cost} - {:?} * {opt_out})", amount("margin"), request.opt_out_cost),
        yes_or_no(format!("({}) OR f.machine_clicks > 0", within("first_click_at"))),
    ]
}

pub(super) async fn outcomes(session: &QuerySession, request: &WindowsRequest, horizon: i64) -> Result<Outcomes> {
    let any = async |condition: &str| {
        session.has_rows(&format!("SELECT 1 FROM message_facts WHERE {condition} LIMIT 1")).await
    };
    let (mut known, mut notes) = (Vec::new(), Vec::new());
    if any("clicks > 0 OR machine_clicks > 0").await? {
        known.push(Objective::Click);
    }
    if any("conversions > 0").await? {
        known.push(Objective::Conversion);
    }
    let whole = session.settings.attribution.window_days;
    let cut = request.horizon_days.is_some_and(|days| days < whole);
    let is_amount = matches!(request.objective, Objective::Revenue | Objective::Profit);
    if cut && is_amount {
        return Err(EngineError::usage(format!(
            "{} is known of the whole attribution window of {whole} days, not of a shorter horizon: leave --horizon out, or ask for \
             click or conversion",
            request.objective.name()
        )));
    }
    if cut {
        notes.push(format!(
            "revenue and profit are known of the whole attribution window of {whole} days alone: they are not looked at"
        ));
    }
    if request.objective != Objective::Click && request.horizon_days.is_some_and(|days| days > whole) {
        notes.push(format!(
            "conversions that name no message are credited within the attribution window of {whole} days: a longer --horizon finds \
             no more of them, only of those that name theirs"
        ));
    }
    let mixed = has_several_currencies(session, "revenue", "revenue_currency").await?;
    let mixed_costs = has_several_currencies(session, "cost", "currency").await?;
    if any("revenue IS NOT NULL").await? && !mixed && !cut {
        known.push(Objective::Revenue);
    }
    if any("margin IS NOT NULL").await? && !mixed && !mixed_costs && !cut {
        known.push(Objective::Profit);
    }
    if mixed {
        notes.push(
            "amounts are in several currencies, which are not added up: revenue and profit are not looked at"
                .to_owned(),
        );
    }
    if is_amount && (mixed || (request.objective == Objective::Profit && mixed_costs)) {
        return Err(EngineError::usage(format!(
            "amounts are in several currencies, which are not added up: there is no {} to compare windows by; ask for click or \
             conversion",
            request.objective.name()
        )));
    }
    if !known.contains(&request.objective) {
        // Nothing of it in the logs at all is not an error: there is just nothing to tell.
        known.push(request.objective);
    }
    let sql = outcome_columns(request, horizon);
    Ok(Outcomes { sql, known, notes })
}
