//! `sendlift experiment plan`: the size, the power or the smallest detectable effect of an experiment; the test on a list.

use sendlift_engine::experiment::{
    ExperimentPlan, ListPlan, ListRequest, MetricKind, PastRates, PlanQuestion, PlanRequest, PlannedEffect,
    PlannedLooks, PlannedSize, parse_spending, past_rates, plan_experiment, plan_list,
};
use sendlift_engine::stats::sequential::Spending;
use sendlift_engine::{EngineError, Result};

use super::Context;
use super::output::{Cell, Format, Rows, grouped, percent, print_csv_of, print_json, say};
use super::plan_arguments::PlanArguments;

pub(super) async fn run(context: &Context, arguments: &PlanArguments) -> anyhow::Result<()> {
    let format = context.output()?;
    if let Some(list) = arguments.list {
        let plan = plan_list(&list_request(arguments, list)?).map_err(of_usage)?;
        return match format {
            Format::Json => print_json(&plan),
            Format::Csv => print_csv_of(&[plan]),
            Format::Table => print_list(&plan),
        };
    }
    refuse_options_of_lists(arguments)?;
    let past = match &arguments.from_logs {
        Some(metric) => {
            let session = context.session(None).await?;
            Some(past_rates(&session, metric, arguments.campaign.as_deref()).await?)
        }
        None => None,
    };
    let mut plan = plan_experiment(&request(arguments, past.as_ref())?).map_err(of_usage)?;
    plan.notes.extend(past.map(|past| past.words()));
    match format {
        Format::Json => print_json(&plan),
        Format::Csv => print_csv_of(&[plan]),
        Format::Table => print_plan(&plan),
    }
}

/// Options that would change nothing. (An argument that conflicts with others is none that the parser can require.)
fn refuse_options_of_lists(arguments: &PlanArguments) -> Result<()> {
    let of_lists = [
        ("--prior-sd", arguments.prior_sd.is_some()),
        ("--value", arguments.value.is_some()),
        ("--message-cost", !arguments.message_cost.is_empty()),
        ("--opt-out-cost", arguments.opt_out_cost.is_some()),
        ("--may-send-nothing", arguments.may_send_nothing),
    ];
    match of_lists.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(EngineError::usage(format!("{name} is for a plan with --list"))),
        None => Ok(()),
    }
}

/// Numbers that no plan can be made from are the caller's.
fn of_usage(error: EngineError) -> EngineError {
    match error {
        EngineError::Statistics(error) => EngineError::usage(error.to_string()),
        other => other,
    }
}

fn metric(arguments: &PlanArguments) -> Result<MetricKind> {
    match arguments.metric.as_deref() {
        None | Some("proportion") => Ok(MetricKind::Proportion),
        Some("mean") => Ok(MetricKind::Mean),
        Some(other) => Err(EngineError::usage(format!("--metric \"{other}\": use proportion or mean"))),
    }
}

fn request(arguments: &PlanArguments, past: Option<&PastRates>) -> Result<PlanRequest> {
    let spending = arguments.spending.as_deref().map_or(Ok(Spending::OBrienFleming), parse_spending)?;
    let looks = match (arguments.looks, arguments.sequential) {
        (Some(looks), _) => PlannedLooks::Group(looks, spending),
        (None, true) => PlannedLooks::AnyTime,
        (None, false) => PlannedLooks::AtTheEnd,
    };
    if arguments.days.is_some() && arguments.per_day.is_none() && past.is_none() {
        return Err(EngineError::usage(
            "--days takes the units that arrive in a day, too: give --per-day, or --from-logs",
        ));
    }
    let by_difference = arguments.difference.map(PlannedEffect::Difference);
    let by_units = arguments.n.map(PlannedSize::PerArm).or(arguments.units.map(PlannedSize::Total));
    Ok(PlanRequest {
        metric: past.map_or_else(|| metric(arguments), |past| Ok(past.kind))?,
        baseline: arguments.baseline.or(past.map(|past| past.baseline)),
        variance: arguments
            .variance
            .or(arguments.standard_deviation.map(|deviation| deviation * deviation))
            .or(past.filter(|past| past.kind == MetricKind::Mean).map(|past| past.variance)),
        effect: by_difference.or(arguments.lift.map(PlannedEffect::Lift)),
        size: by_units.or(arguments.days.map(PlannedSize::Days)),
        power: arguments.power,
        alpha: arguments.alpha,
        arms: arguments.arms,
        per_day: arguments.per_day.or(past.map(|past| past.per_day)),
        variance_removed: arguments.variance_removed,
        looks,
    })
}

fn list_request(arguments: &PlanArguments, list: u64) -> Result<ListRequest> {
    if metric(arguments)? == MetricKind::Mean && arguments.standard_deviation.is_none() {
        return Err(EngineError::usage("a mean needs its spread: give --standard-deviation"));
    }
    Ok(ListRequest {
        list,
        baseline: arguments.baseline,
        standard_deviation: arguments.standard_deviation,
        prior_deviation: arguments.prior_sd,
        value: arguments.value,
        message_cost: arguments.message_cost.clone(),
        opt_out_rate: arguments.opt_out_rate.clone(),
        opt_out_cost: arguments.opt_out_cost,
        may_send_nothing: arguments.may_send_nothing,
    })
}

fn print_plan(plan: &ExperimentPlan) -> anyhow::Result<()> {
    let question = match plan.question {
        PlanQuestion::Size => "how many units?",
        PlanQuestion::Power => "with what power?",
        PlanQuestion::Effect => "which effect can be seen?",
    };
    let own_units = |number: f64| match plan.metric {
        MetricKind::Proportion => format!("{:.3} pp", number * 100.0),
        _ => format!("{number:.4}"),
    };
    let effect = |difference: f64, lift: Option<f64>| match lift {
        Some(lift) => format!("{} ({})", own_units(difference), percent(lift)),
        None => own_units(difference),
    };
    let mut rows = Rows::new(&["plan", question], 2);
    let mut row = |name: &str, value: String| rows.push(vec![Cell::from(name), Cell::from(value)]);
    if let Some(baseline) = plan.baseline {
        let shown = if plan.metric == MetricKind::Proportion { percent(baseline) } else { format!("{baseline:.4}") };
        row("baseline", shown);
    }
    if let Some(difference) = plan.difference {
        row("effect", effect(difference, plan.lift));
    }
    row("units an arm", grouped(plan.n_per_arm));
    row("units in all", format!("{} in {} arms", grouped(plan.n_total), plan.arms));
    if let Some(days) = plan.days {
        row("days", grouped(days));
    }
    row("power", percent(plan.power));
    let smallest = plan.minimum_detectable_effect;
    let smallest = smallest.map_or_else(|| "none".to_owned(), |found| effect(found, plan.minimum_detectable_lift));
    row("detectable effect", smallest);
    let each = if plan.arms > 2 { format!(", {:.4} each", plan.comparison_alpha) } else { String::new() };
    row("alpha", format!("{}{each}", plan.alpha));
    if let Some(inflation) = plan.inflation {
        row("inflation by looks", format!("{inflation:.4}"));
    }
    rows.print(Format::Table)?;
    if !plan.looks.is_empty() {
        let mut looks = Rows::new(&["look", "units an arm", "stop at |z|", "p below"], 1);
        for (position, look) in plan.looks.iter().enumerate() {
            looks.push(vec![
                Cell::from((position + 1).to_string()),
                Cell::count(look.n_per_arm),
                Cell::from(look.critical_value.map(|critical| format!("{critical:.4}"))),
                Cell::from(format!("{:.6}", look.nominal_alpha)),
            ]);
        }
        looks.print(Format::Table)?;
    }
    print_notes(&plan.notes);
    Ok(())
}

fn print_list(plan: &ListPlan) -> anyhow::Result<()> {
    let mut rows = Rows::new(&["plan", "how many to test on?"], 2);
    let mut row = |name: &str, value: String| rows.push(vec![Cell::from(name), Cell::from(value)]);
    row("list", grouped(plan.list));
    row("test messages of each text", grouped(plan.n_per_arm));
    row("rest, sent the better text", grouped(plan.rest));
    row("deviation of a response", format!("{:.4}", plan.standard_deviation));
    row("deviation between texts", format!("{:.4}", plan.prior_deviation));
    for (name, amount) in [
        ("expected profit", plan.expected_profit),
        ("without a test", plan.profit_without_test),
        ("if the better were known", plan.profit_if_known),
    ] {
        if let Some(amount) = amount {
            row(name, format!("{amount:.2}"));
        }
    }
    rows.print(Format::Table)?;
    print_notes(&plan.notes);
    Ok(())
}

fn print_notes(notes: &[String]) {
    for note in notes {
        say!("note: {note}");
    }
}
