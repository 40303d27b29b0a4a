//! Planning for a finite list: test two texts on part of it, send the better one to the rest (Feit and Berman 2019).
//!
//! Enters: the size of the list, how far a response varies and how far texts differ, what a message and an opt-out cost.
//! Leaves: how many to test on, and what that earns against no test and against knowing the better text beforehand.

use serde::Serialize;

use crate::error::{EngineError, Result};
use crate::stats::plan_campaign::TestThenRoll;

/// How far the true responses of texts are taken to scatter, relative to their mean, where nobody says it.
const CUSTOMARY_SCATTER: f64 = 0.1;

/// A list that is to be tested on and sent to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListRequest {
    /// Recipients on the list.
    pub list: u64,
    /// The mean response to a message: a share for conversions.
    pub baseline: Option<f64>,
    /// The standard deviation of a single response; that of a share with this baseline where it is not given.
    pub standard_deviation: Option<f64>,
    /// The standard deviation of true mean responses between texts; a tenth of the baseline where it is not given.
    pub prior_deviation: Option<f64>,
    /// What one unit of response is worth, in the currency; 1 where it is not given.
    pub value: Option<f64>,
    /// Cost of a message, of both texts or of each, in the currency.
    pub message_cost: Vec<f64>,
    /// Share of recipients that opt out on a message, of both texts or of each, 0 to 1.
    pub opt_out_rate: Vec<f64>,
    /// What an opt-out costs, in the currency.
    pub opt_out_cost: Option<f64>,
    /// Whether the rest may be sent nothing when both texts lose money.
    pub may_send_nothing: bool,
}

/// How to test on a list.
#[derive(Debug, Clone, Serialize)]
pub struct ListPlan {
    /// Recipients on the list.
    pub list: u64,
    /// Messages of each text in the test; zero where testing does not pay.
    pub n_per_arm: u64,
    /// Messages in the test.
    pub n_total: u64,
    /// Recipients left, who get the better text.
    pub rest: u64,
    /// The standard deviation of a single response that was planned with.
    pub standard_deviation: f64,
    /// The standard deviation between texts that was planned with.
    pub prior_deviation: f64,
    /// Expected profit of the whole list with the test, in the currency, where the baseline is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_profit: Option<f64>,
    /// Expected profit without a test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profit_without_test: Option<f64>,
    /// Expected profit if the better text were known beforehand: no test can have more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profit_if_known: Option<f64>,
    /// What the plan takes for granted.
    pub notes: Vec<String>,
}

/// Plans a test on a finite list.
///
/// # Errors
/// When what is given is too little, or cannot be.
pub fn plan_list(request: &ListRequest) -> Result<ListPlan> {
    let mut notes = Vec::new();
    let has_costs = !request.message_cost.is_empty() || request.opt_out_cost.is_some() || request.may_send_nothing;
    if request.baseline.is_none() && (has_costs || request.value.is_some()) {
        return Err(EngineError::usage(
            "the baseline is missing: costs are held against what a message is expected to bring",
        ));
    }
    if request.opt_out_cost.is_some() == request.opt_out_rate.is_empty() {
        return Err(EngineError::usage("opt-outs need both: the share of recipients that opt out, and what one costs"));
    }
    let standard_deviation = response_deviation(request)?;
    let prior_deviation = match (request.prior_deviation, request.baseline) {
        (Some(deviation), _) => deviation,
        (None, Some(baseline)) if baseline != 0.0 => {
            notes.push(
                "true responses of texts are taken to scatter by a tenth of the baseline; past campaigns tell it better"
                    .to_owned(),
            );
            CUSTOMARY_SCATTER * baseline.abs()
        }
        _ => {
            return Err(EngineError::usage(
                "how far texts differ is missing: give the standard deviation of their true responses, or a baseline",
            ));
        }
    };
    let campaign = TestThenRoll {
        list_size: request.list,
        prior_mean: request.baseline.unwrap_or(0.0),
        prior_deviation,
        response_deviation: standard_deviation,
        value_per_response: request.value.unwrap_or(1.0),
        message_cost: of_each_text("the cost of a message", &request.message_cost)?,
        opt_out_rate: of_each_text("the share that opts out", &request.opt_out_rate)?,
        opt_out_cost: request.opt_out_cost.unwrap_or(0.0),
        may_send_nothing: request.may_send_nothing,
    };
    let test = campaign.best_test()?;
    if test.per_arm == 0 {
        notes.push("no test pays: send the text that costs less, or nothing if it loses money".to_owned());
    }
    // Without a baseline profits have no zero: only the size of the test stands.
    let profit = |amount: f64| request.baseline.is_some().then_some(amount);
    let n_total = test.per_arm.saturating_mul(2);
    Ok(ListPlan {
        list: request.list,
        n_per_arm: test.per_arm,
        n_total,
        rest: request.list.saturating_sub(n_total),
        standard_deviation,
        prior_deviation,
        expected_profit: profit(test.expected_profit),
        profit_without_test: profit(test.profit_without_test),
        profit_if_known: profit(test.profit_if_known),
        notes,
    })
}

fn response_deviation(request: &ListRequest) -> Result<f64> {
    match (request.standard_deviation, request.baseline) {
        (Some(deviation), _) => Ok(deviation),
        (None, Some(share)) if share > 0.0 && share < 1.0 => Ok((share * (1.0 - share)).sqrt()),
        (None, _) => Err(EngineError::usage(
            "the standard deviation of a response is missing: give it, or a share between 0 and 1 as the baseline",
        )),
    }
}

/// One number for both texts, or one for each.
fn of_each_text(what: &str, numbers: &[f64]) -> Result<(f64, f64)> {
    match numbers {
        [] => Ok((0.0, 0.0)),
        [both] => Ok((*both, *both)),
        [first, second] => Ok((*first, *second)),
        more => Err(EngineError::usage(format!("{what}: {} numbers for two texts; give one or two", more.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feit_and_bermans_list() {
        // Feit and Berman (2019), the website example: a list of 100,000, mean .68, standard deviation .03: 2,284 each.
        let request = ListRequest {
            list: 100_000,
            standard_deviation: Some((0.68_f64 * 0.32).sqrt()),
            prior_deviation: Some(0.03),
            ..ListRequest::default()
        };
        let plan = plan_list(&request).unwrap();
        assert_eq!((plan.n_per_arm, plan.n_total, plan.rest), (2284, 4568, 95_432));
        assert!(plan.expected_profit.is_none());
        // Their profit formula by SciPy's quadrature (stats/tests/oracle/plan_campaign.py).
        let with_mean = plan_list(&ListRequest { baseline: Some(0.68), standard_deviation: None, ..request }).unwrap();
        assert_eq!(with_mean.n_per_arm, 2284);
        assert!((with_mean.expected_profit.unwrap() - 69_535.998_618).abs() < 1e-5);
    }

    #[test]
    fn costs_count() {
        // stats/tests/oracle/plan_campaign.py: SciPy's quadrature and a search over every size.
        let request = ListRequest {
            list: 20_000,
            baseline: Some(0.02),
            standard_deviation: Some(0.14),
            prior_deviation: Some(0.006),
            value: Some(4.0),
            message_cost: vec![0.06],
            opt_out_rate: vec![0.01],
            opt_out_cost: Some(2.5),
            may_send_nothing: true,
        };
        let plan = plan_list(&request).unwrap();
        assert_eq!(plan.n_per_arm, 1205);
        assert!((plan.expected_profit.unwrap() - 165.270_152).abs() < 1e-5);
        let longer = ListRequest { message_cost: vec![0.06, 0.09], may_send_nothing: false, ..request.clone() };
        assert_eq!(plan_list(&longer).unwrap().n_per_arm, 635);
        let assumed = plan_list(&ListRequest { prior_deviation: None, ..request }).unwrap();
        assert!((assumed.prior_deviation - 0.002).abs() < 1e-12 && assumed.notes[0].contains("a tenth"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let list = ListRequest { list: 1_000, ..ListRequest::default() };
        for (request, expected) in [
            (list.clone(), "standard deviation of a response"),
            (ListRequest { standard_deviation: Some(1.0), ..list.clone() }, "how far texts differ"),
            (ListRequest { message_cost: vec![0.1], ..list.clone() }, "baseline is missing"),
            (ListRequest { opt_out_cost: Some(1.0), baseline: Some(0.1), ..list.clone() }, "opt-outs need both"),
            (ListRequest { baseline: Some(0.1), message_cost: vec![0.1; 3], ..list }, "3 numbers for two texts"),
        ] {
            let error = plan_list(&request).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
