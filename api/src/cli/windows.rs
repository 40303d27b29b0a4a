//! `sendlift windows`: when to send, a schedule that learns, and what a schedule would have brought.

use sendlift_engine::permission::PermissionRules;
use sendlift_engine::stats::Estimate;
use sendlift_engine::windows::{
    DayGroups, EvaluationRequest, Objective, RecipientWindowsRequest, ScheduleRequest, WindowName, WindowOfWeek,
    WindowsAnswer, WindowsIdentification, WindowsLevel, WindowsRequest, analyze_windows, evaluate_schedule,
    schedule_list, write_recipient_windows,
};
use sendlift_engine::{EngineError, Result};
use serde::Serialize;

use super::Context;
use super::config::own_file;
use super::experiment::one_file;
use super::long_work::{Bar, unless_stopped};
use super::output::{Cell, Format, Rows, print_csv_of, print_json, say};
use super::windows_arguments::{
    WindowsArguments, WindowsCommand, WindowsEvaluateArguments, WindowsPlanArguments, WindowsQuestion,
    WindowsRecipientsArguments,
};

pub(super) async fn run(context: &Context, arguments: &WindowsArguments) -> anyhow::Result<()> {
    let question = match &arguments.command {
        None => None,
        Some(WindowsCommand::Plan(arguments)) => Some(&arguments.question),
        Some(WindowsCommand::Recipients(arguments)) => Some(&arguments.question),
        Some(WindowsCommand::Evaluate(arguments)) => Some(&arguments.question),
    };
    if question.is_some_and(|question| question.cluster.is_some()) {
        let why = "--cluster is for the question of windows: files are read and written on this machine";
        return Err(EngineError::usage(why).into());
    }
    match &arguments.command {
        None => analyze(context, &arguments.question).await,
        Some(WindowsCommand::Plan(arguments)) => plan(context, arguments).await,
        Some(WindowsCommand::Recipients(arguments)) => recipients(context, arguments).await,
        Some(WindowsCommand::Evaluate(arguments)) => evaluate(context, arguments).await,
    }
}

fn request(context: &Context, question: &WindowsQuestion) -> Result<WindowsRequest> {
    let request = WindowsRequest {
        campaign: question.campaign.clone(),
        by: question.by.clone(),
        objective: question.objective.parse::<Objective>()?,
        windows_a_day: question.slots,
        days: if question.each_day { DayGroups::Days } else { DayGroups::Week },
        horizon_days: question.horizon,
        opt_out_cost: question.opt_out_cost,
        legal_hours: question.legal_hours.as_deref().map(own_file).transpose()?,
        holidays: question.holidays.as_deref().map(own_file).transpose()?,
        seed: question.seed,
    };
    Ok(context.config.rules()?.over(request))
}

async fn analyze(context: &Context, question: &WindowsQuestion) -> anyhow::Result<()> {
    let request = request(context, question)?;
    let session = context.session_on(question.cluster.as_deref(), None).await?;
    let answers = analyze_windows(&session, &request).await?;
    match context.output()? {
        Format::Json if request.by.is_empty() => print_json(&answers.first()),
        Format::Json => print_json(&answers),
        Format::Csv => {
            let rows: Vec<_> = answers.iter().flat_map(csv_rows).collect();
            print_csv_of(&rows)
        }
        Format::Table => {
            for answer in &answers {
                print_answer(answer)?;
            }
            Ok(())
        }
    }
}

/// A row of the table of windows.
#[derive(Serialize)]
struct CsvRow<'a> {
    /// The columns of the segment.
    #[serde(flatten)]
    by: &'a serde_json::Map<String, serde_json::Value>,
    identification: WindowsIdentification,
    /// Nothing where hours cannot be compared.
    #[serde(flatten)]
    window: Option<&'a WindowOfWeek>,
    recommended: bool,
    /// Why nothing is recommended.
    why_none: Option<&'a str>,
}

/// The windows of an answer, or one row without a window.
fn csv_rows<'a>(answer: &'a WindowsAnswer) -> Vec<CsvRow<'a>> {
    let found = &answer.recommendation;
    let why_none = found.why.first().filter(|_| found.abstained).map(String::as_str);
    let is_recommended = |window: &WindowOfWeek| found.windows.contains(&window.name());
    let row = |window: Option<&'a WindowOfWeek>| CsvRow {
        by: &answer.by,
        identification: answer.identification,
        window,
        recommended: window.is_some_and(is_recommended),
        why_none,
    };
    answer.windows.iter().map(Some).chain(answer.windows.is_empty().then_some(None)).map(row).collect()
}

fn print_answer(answer: &WindowsAnswer) -> anyhow::Result<()> {
    let segment: Vec<String> =
        answer.by.iter().map(|(column, value)| format!("{column} = {}", value.as_str().unwrap_or("(none)"))).collect();
    let whom = if segment.is_empty() { "all recipients".to_owned() } else { segment.join(", ") };
    let identification = identification_name(answer.identification);
    say!(
        "windows for {} · {whom} · {} messages of {} campaigns · {identification}",
        answer.objective.name(),
        answer.sends,
        answer.campaigns
    );
    say!("  {}", answer.reason);
    let is_rate = matches!(answer.objective, Objective::Click | Objective::Conversion);
    let number = |number: Option<f64>| match number {
        Some(number) if is_rate => format!("{:.2}", number * 100.0),
        Some(number) => format!("{number:.4}"),
        None => "-".to_owned(),
    };
    let unit = if is_rate { " %" } else { "" };
    let estimate = |estimate: &Estimate| {
        format!("{}{unit} [{}, {}]", number(estimate.estimate), number(estimate.low), number(estimate.high))
    };
    print_windows(answer, &estimate, &number)?;
    if answer.recommendation.abstained {
        say!("recommendation: none");
    } else {
        say!("recommendation: {}", names(&answer.recommendation.windows));
        if let (Some(gain), Some(relative)) =
            (&answer.recommendation.expected_gain, &answer.recommendation.relative_gain)
        {
            let percent =
                |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{:+.1}", share * 100.0));
            say!(
                "  expected gain of the next campaign {}: {} % [{}, {}] of practice",
                estimate(gain),
                percent(relative.estimate),
                percent(relative.low),
                percent(relative.high)
            );
        }
    }
    for why in &answer.recommendation.why {
        say!("  - {why}");
    }
    print_others(answer)?;
    let left_out = &answer.left_out;
    for (n, why) in [
        (left_out.immature, "whose time to respond has not run out"),
        (left_out.without_time_zone, "of recipients without a known time zone"),
        (left_out.held_back, "that were held back after they were scheduled"),
        (left_out.without_propensity, "whose window was not drawn, of campaigns where those of the others were,"),
    ] {
        if n > 0 {
            say!("note: {n} messages {why} are left out");
        }
    }
    for note in &answer.notes {
        say!("note: {note}");
    }
    Ok(())
}

/// One row a window.
fn print_windows(
    answer: &WindowsAnswer,
    estimate: &impl Fn(&Estimate) -> String,
    number: &impl Fn(Option<f64>) -> String,
) -> anyhow::Result<()> {
    if answer.windows.is_empty() {
        return Ok(());
    }
    let columns = ["window", "messages", "brings", "against practice", "chance of best", "expected loss", ""];
    let mut rows = Rows::new(&columns, 1);
    for window in &answer.windows {
        let mark = if answer.recommendation.windows.contains(&window.name()) {
            "recommended"
        } else if !window.legal {
            "not legal"
        } else if !window.supported {
            "not supported"
        } else {
            ""
        };
        rows.push(vec![
            Cell::from(format!("{} {}–{}", window.weekday, window.start, window.end)),
            Cell::count(window.sends),
            Cell::from(estimate(&window.rate)),
            Cell::from(estimate(&window.difference)),
            Cell::from(window.chance_of_best.map(|chance| format!("{:.1} %", chance * 100.0))),
            Cell::from(window.expected_loss.map(|loss| number(Some(loss)))),
            Cell::from(mark),
        ]);
    }
    rows.print(Format::Table)?;
    Ok(())
}

/// What other objectives and other ways of counting say.
fn print_others(answer: &WindowsAnswer) -> anyhow::Result<()> {
    let other = |windows: &[WindowName]| if windows.is_empty() { "none".to_owned() } else { names(windows) };
    for found in &answer.objectives {
        let differs = if found.differs { " (other than above)" } else { "" };
        say!("for {}: {}{differs}", found.objective.name(), other(&found.windows));
    }
    if let Some(found) = answer.with_machine_clicks.as_ref().filter(|found| found.differs) {
        say!("with suspected clicks of machines: {}", other(&found.windows));
    }
    if let Some(timing) = &answer.sooner_or_more {
        let verdict = serde_json::to_value(timing.verdict)?;
        say!("sooner or more: {}", verdict.as_str().unwrap_or_default().replace('_', " "));
    }
    let is_rate = matches!(answer.objective, Objective::Click | Objective::Conversion);
    let scale = if is_rate { "on the log-odds scale" } else { "a message" };
    for day in &answer.days {
        let effect = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:+.3}"));
        say!(
            "{}: {} [{}, {}] {scale}",
            day.day,
            effect(day.effect.estimate),
            effect(day.effect.low),
            effect(day.effect.high)
        );
    }
    if let Some(plan) = &answer.plan {
        say!("plan: {}", plan.words);
        say!("  draw from {}", names(&plan.draw_from));
    }
    Ok(())
}

fn names(windows: &[WindowName]) -> String {
    let each = windows.iter().map(|window| format!("{} {}–{}", window.weekday, window.start, window.end));
    each.collect::<Vec<_>>().join(", ")
}

async fn plan(context: &Context, arguments: &WindowsPlanArguments) -> anyhow::Result<()> {
    for (name, share) in [("--floor", arguments.floor), ("--uniform", arguments.uniform)] {
        if !(0.0..=1.0).contains(&share) {
            return Err(EngineError::usage(format!("{name} {share} is not between 0 and 1")).into());
        }
    }
    let request = ScheduleRequest {
        list: one_file(&arguments.list)?,
        unit: arguments.unit.clone(),
        windows: request(context, &arguments.question)?,
        propensity_floor: arguments.floor,
        uniform_share: arguments.uniform,
        capacity: arguments.capacity,
        permission: PermissionRules {
            channel: arguments.channel.clone(),
            purpose: arguments.purpose.clone(),
            frequency_cap: arguments.at_most,
            frequency_days: arguments.in_days,
        },
        seed: arguments.question.seed,
    };
    let session = context.session(None).await?;
    let summary = schedule_list(&session, &request, &arguments.out).await?;
    let format = context.output()?;
    if format == Format::Json {
        return print_json(&summary);
    }
    let mut rows = Rows::new(&["window", "recipients"], 1);
    for load in &summary.windows {
        let window = &load.window;
        rows.push(vec![Cell::from(format!("{} {}–{}", window.weekday, window.start, window.end)), Cell::count(load.n)]);
    }
    rows.print(format)?;
    if format == Format::Table {
        say!("{} of {} recipients have a window", summary.scheduled, summary.recipients);
        for left_out in &summary.left_out {
            say!("note: {} without one: {}", left_out.n, left_out.reason);
        }
        for note in &summary.notes {
            say!("note: {note}");
        }
        say!("{}: log send_propensity with each send", arguments.out.display());
    }
    Ok(())
}

async fn recipients(context: &Context, arguments: &WindowsRecipientsArguments) -> anyhow::Result<()> {
    let asked = RecipientWindowsRequest {
        windows: request(context, &arguments.question)?,
        every_window: arguments.every_window,
    };
    let session = context.session(None).await?;
    let bar = Bar::new();
    let summary = unless_stopped(write_recipient_windows(&session, &asked, &arguments.out, &bar)).await?;
    drop(bar);
    let format = context.output()?;
    if format == Format::Json {
        return print_json(&summary);
    }
    let mut rows = Rows::new(&["answer", "recipients"], 1);
    for found in &summary.levels {
        rows.push(vec![Cell::from(format!("windows found for {}", level_name(found.level))), Cell::count(found.n)]);
    }
    for without in &summary.without {
        rows.push(vec![Cell::from(format!("none: {}", without.reason.replace('_', " "))), Cell::count(without.n)]);
    }
    rows.print(format)?;
    if format == Format::Table {
        say!("{}: {}", identification_name(summary.identification), summary.reason);
        if let Some(spread) = &summary.spread {
            say!(
                "recipients' own hours spread by a variance of {:.2e} (standard error {:.2e})",
                spread.variance,
                spread.standard_error
            );
        }
        for note in &summary.notes {
            say!("note: {note}");
        }
        say!("{}: {} recipients", arguments.out.display(), summary.recipients);
    }
    Ok(())
}

fn level_name(level: WindowsLevel) -> &'static str {
    match level {
        WindowsLevel::Recipient => "the recipient itself",
        WindowsLevel::Segment => "its segment",
        WindowsLevel::Country => "its country",
        WindowsLevel::All => "all",
    }
}

fn identification_name(identification: WindowsIdentification) -> &'static str {
    match identification {
        WindowsIdentification::Causal => "causal",
        WindowsIdentification::QuasiExperimental => "quasi-experimental",
        WindowsIdentification::NotIdentifiable => "not identifiable",
    }
}

async fn evaluate(context: &Context, arguments: &WindowsEvaluateArguments) -> anyhow::Result<()> {
    if !(arguments.alpha > 0.0 && arguments.alpha < 1.0) {
        return Err(EngineError::usage(format!("--alpha {} is not between 0 and 1", arguments.alpha)).into());
    }
    let request = EvaluationRequest {
        schedule: one_file(&arguments.schedule)?,
        windows: request(context, &arguments.question)?,
        alpha: arguments.alpha,
    };
    let session = context.session(None).await?;
    let found = evaluate_schedule(&session, &request).await?;
    let format = context.output()?;
    // A refusal is an answer in JSON, and in any format an exit status of its own.
    let refused = || match found.evaluation.refusals.as_slice() {
        [] => Ok(()),
        reasons => Err(EngineError::refused(reasons.join("; ")).into()),
    };
    if format == Format::Json {
        print_json(&found)?;
        return refused();
    }
    let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.5}"));
    let estimate =
        |found: &Estimate| format!("{} [{}, {}]", number(found.estimate), number(found.low), number(found.high));
    let mut rows = Rows::new(&["method", "value of a message", "against what was sent"], 1);
    for value in &found.evaluation.values {
        let method = serde_json::to_value(value.method)?;
        rows.push(vec![
            Cell::from(method.as_str().unwrap_or_default().replace('_', " ")),
            Cell::from(estimate(&value.value)),
            Cell::from(estimate(&value.gain)),
        ]);
    }
    rows.print(format)?;
    if format == Format::Table {
        say!("what was sent brought {}", estimate(&found.evaluation.logged));
        let overlap = &found.evaluation.overlap;
        say!(
            "{} sends of {} recipients; effective sample size {}",
            found.sends,
            overlap.recipients,
            overlap.effective_sends.map_or_else(|| "-".to_owned(), |size| format!("{size:.0}"))
        );
        for warning in &found.evaluation.warnings {
            say!("note: {warning}");
        }
    }
    refused()
}
