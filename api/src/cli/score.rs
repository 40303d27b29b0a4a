//! `sendlift score`, `features` and `models`: whom to reach, from what is known of them, by which model.

use std::path::Path;

use jiff::Timestamp;
use sendlift_engine::score::{
    Drift, Economics, EligibilityRules, ModelChoice, ModelSummary, ScoreModel, ScoreRequest, ScoreSummary, Scorer,
    Target, UnitScoreRequest, known_features, score, score_units, write_features,
};
use sendlift_engine::stats::Estimate;
use sendlift_engine::stats::population_stability::StabilityVerdict;
use sendlift_engine::stats::prediction_quality::PredictionQuality;
use sendlift_engine::store::At;
use sendlift_engine::{EngineError, Result};

use super::Context;
use super::config::own_file;
use super::experiment::one_file;
use super::long_work::{Bar, unless_stopped};
use super::output::{Cell, Format, Rows, print_csv_of, print_json, say};
use super::score_arguments::{FeaturesArguments, ModelsArguments, ModelsCommand, ScoreArguments};

fn moment(text: Option<&str>) -> Result<Option<Timestamp>> {
    match text.map(str::parse::<At>).transpose()? {
        None => Ok(None),
        Some(At::Time(moment)) => Ok(Some(moment)),
        Some(At::Version(_)) => {
            Err(EngineError::usage("--as-of is a moment, such as 2026-05-20 or 2026-05-20T12:00:00Z"))
        }
    }
}

pub(super) async fn run(context: &Context, arguments: &ScoreArguments) -> anyhow::Result<()> {
    if let Some(units) = &arguments.units {
        return run_units(context, arguments, units).await;
    }
    let is_saved = !["propensity", "uplift"].contains(&arguments.model.as_str());
    if is_saved && (arguments.target.is_some() || arguments.horizon.is_some()) {
        return Err(EngineError::usage(
            "a model that is kept has its own target and horizon (`sendlift models show ID`): leave --target and --horizon out",
        )
        .into());
    }
    if arguments.experiment.is_some() && arguments.model != "uplift" {
        return Err(EngineError::usage(
            "--experiment is what an uplift is learnt from: ask for --model uplift, or leave it out",
        )
        .into());
    }
    let request = ScoreRequest {
        model: match arguments.model.as_str() {
            "propensity" => ModelChoice::Propensity,
            "uplift" => ModelChoice::Uplift { experiment: arguments.experiment.clone() },
            id => ModelChoice::Saved(id.to_owned()),
        },
        control: arguments.control.clone(),
        treatment: arguments.treatment.clone(),
        target: arguments.target.as_deref().unwrap_or("conversion").parse::<Target>()?,
        horizon_days: arguments.horizon.unwrap_or(30),
        as_of: moment(arguments.as_of.as_deref())?,
        filter: arguments.filter.clone(),
        by: arguments.by.clone(),
        economics: Economics {
            margin: arguments.margin,
            part_cost: arguments.part_cost,
            opt_out_value: arguments.opt_out_value,
        },
        text: arguments.text.clone(),
        budget: arguments.budget,
        max_recipients: arguments.max_recipients,
        eligibility: EligibilityRules {
            channel: arguments.channel.clone(),
            purpose: arguments.purpose.clone(),
            frequency_cap: arguments.at_most,
            frequency_days: arguments.in_days,
            legal_hours: match &arguments.legal_hours {
                Some(path) => Some(own_file(path)?),
                None => context.config.rules()?.legal_hours,
            },
        },
        include_ineligible: arguments.include_ineligible,
        seed: arguments.seed,
    };
    // Before any work is done.
    request.check()?;
    let session = context.session(None).await?;
    let summary = {
        let bar = Bar::new();
        unless_stopped(score(&session, &request, &arguments.out, &bar)).await?
    };
    match context.output()? {
        Format::Json => print_json(&summary),
        Format::Csv => {
            for left_out in &summary.ineligible {
                eprintln!("may not be sent to: {} {}", left_out.n, left_out.reason);
            }
            for note in &summary.notes {
                eprintln!("note: {note}");
            }
            // Segments are what was asked for where they were; else it is the model.
            if summary.segments.is_empty() { print_csv_of(&[&summary.model]) } else { print_csv_of(&summary.segments) }
        }
        Format::Table => print_summary(&session_model(context, &summary.model).await?, &summary, &arguments.out),
    }
}

async fn session_model(context: &Context, model: &ModelSummary) -> Result<ScoreModel> {
    ScoreModel::of(&context.store()?, &model.id).await
}

async fn run_units(context: &Context, arguments: &ScoreArguments, units: &str) -> anyhow::Result<()> {
    let store = context.store()?;
    // A table needs no store; where one is there it keeps the model.
    let store = (context.store_is_named || store.folder().is_none_or(|folder| folder.exists())).then_some(store);
    let wants_uplift = arguments.model == "uplift" || arguments.arm.is_some();
    if wants_uplift && arguments.arm.is_none() {
        return Err(EngineError::usage(
            "an uplift from a table of units needs its column of arms: --arm COLUMN --control VALUE",
        )
        .into());
    }
    if (arguments.control.is_some() || arguments.treatment.is_some()) && arguments.arm.is_none() {
        return Err(EngineError::usage("--control and --treatment are arms: name the column of arms with --arm").into());
    }
    let is_saved = !["propensity", "uplift"].contains(&arguments.model.as_str());
    let target = match &arguments.target {
        Some(_) if is_saved => {
            return Err(EngineError::usage("a model that is kept has its own target: leave --target out").into());
        }
        Some(target) => target.clone(),
        None if is_saved => String::new(),
        None => return Err(EngineError::usage("--units needs --target, the column of the outcome").into()),
    };
    let request = UnitScoreRequest {
        units: one_file(units)?,
        unit: arguments.unit.clone().unwrap_or_default(),
        target,
        arm: arguments.arm.clone().zip(arguments.control.clone()),
        treatment: arguments.treatment.clone(),
        exclude: arguments.exclude.clone(),
        apply: arguments.apply.as_deref().map(one_file).transpose()?,
        model: (!["propensity", "uplift"].contains(&arguments.model.as_str())).then(|| arguments.model.clone()),
        seed: arguments.seed,
    };
    let (summary, model) = {
        let bar = Bar::new();
        unless_stopped(score_units(&request, store.as_ref(), &arguments.out, &bar)).await?
    };
    match context.output()? {
        Format::Json => print_json(&serde_json::json!({ "summary": summary, "quality": model.details()?.quality })),
        Format::Csv => print_csv_of(&[&summary.model]),
        Format::Table => {
            print_model(&model)?;
            say!("{}: {} units{}", arguments.out.display(), summary.units, mean(summary.mean_score));
            print_drift(&summary.drift);
            print_notes(&summary.notes);
            if store.is_none() {
                say!("note: there is no store to keep the model in: name one with --store to use it again");
            }
            Ok(())
        }
    }
}

fn mean(score: Option<f64>) -> String {
    score.map_or_else(String::new, |score| format!(", mean score {score:.5}"))
}

fn print_notes(notes: &[String]) {
    for note in notes {
        say!("note: {note}");
    }
}

fn print_summary(model: &ScoreModel, summary: &ScoreSummary, out: &Path) -> anyhow::Result<()> {
    print_model(model)?;
    say!(
        "{}: {} of {} recipients as of {}{}",
        out.display(),
        summary.written,
        summary.recipients,
        summary.as_of,
        mean(summary.mean_score)
    );
    let eligible = summary.recipients - summary.ineligible.iter().map(|left_out| left_out.n).sum::<u64>();
    if summary.written > eligible {
        say!("  the mean is of the {eligible} who may be sent to; the file has the others, too, marked as such");
    }
    for left_out in &summary.ineligible {
        say!("  may not be sent to: {} {}", left_out.n, left_out.reason);
    }
    if let Some(audience) = &summary.audience {
        say!("audience: {} recipients, {:.2} for messages", audience.recipients, audience.cost);
        if let Some(profit) = &audience.by_experiment {
            say!(
                "  profit beyond that, by the experiment's own units: {} a recipient, {} in all",
                amount(&profit.per_recipient, 4),
                amount(&profit.total, 2)
            );
        }
        say!("  by the scores themselves, which flatter whom they chose: {:.2}", audience.expected_profit);
        print_notes(&audience.notes);
    }
    if !summary.segments.is_empty() {
        let columns: Vec<&str> = summary.segments[0].by.keys().map(String::as_str).collect();
        let mut header = columns.clone();
        header.extend(["recipients", "mean score", "expected"]);
        let mut rows = Rows::new(&header, columns.len());
        for segment in &summary.segments {
            let mut cells: Vec<Cell> =
                segment.by.values().map(|value| Cell::from(value.as_str().unwrap_or("(none)"))).collect();
            cells.extend([
                Cell::count(segment.recipients),
                Cell::from(format!("{:.5}", segment.mean_score)),
                Cell::from(amount(&segment.expected, 1)),
            ]);
            rows.push(cells);
        }
        rows.print(Format::Table)?;
    }
    print_drift(&summary.drift);
    print_notes(&summary.notes);
    Ok(())
}

fn amount(estimate: &Estimate, digits: usize) -> String {
    let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"));
    format!("{} [{}, {}]", number(estimate.estimate), number(estimate.low), number(estimate.high))
}

fn print_drift(drift: &Drift) {
    let moved: Vec<String> = std::iter::once(&drift.score)
        .chain(&drift.features)
        .filter(|feature| matches!(feature.verdict, StabilityVerdict::Moderate | StabilityVerdict::Shifted))
        .map(|feature| format!("{} {:.2}", feature.name, feature.index.unwrap_or(0.0)))
        .collect();
    if !moved.is_empty() {
        say!("drift since training (population stability index): {}", moved.join(", "));
    }
}

fn print_quality(learner: &str, quality: &PredictionQuality, rows: &mut Rows) {
    rows.push(vec![
        Cell::from(learner),
        Cell::from(amount(&quality.area_under_curve, 4)),
        Cell::from(amount(&quality.log_loss.mean, 5)),
        Cell::from(amount(&quality.brier_score.mean, 5)),
        Cell::from(amount(&quality.reliability.calibration_slope, 2)),
    ]);
}

/// What was predicted and what came, by tenths of the units that a model was judged on.
fn print_tenths(quality: &PredictionQuality) -> anyhow::Result<()> {
    let mut rows = Rows::new(&["tenth of the score", "units", "predicted", "came true", "lift", "of all outcomes"], 1);
    for tenth in &quality.lift {
        rows.push(vec![
            Cell::from(tenth.decile.to_string()),
            Cell::count(tenth.units),
            Cell::from(format!("{:.4}", tenth.mean_predicted)),
            Cell::from(amount(&tenth.observed, 4)),
            Cell::from(amount(&tenth.lift, 2)),
            Cell::from(tenth.captured.map(|share| format!("{:.1} %", share * 100.0))),
        ]);
    }
    rows.print(Format::Table)
}

fn print_model(model: &ScoreModel) -> anyhow::Result<()> {
    let training = &model.training;
    say!("model {} · {} · {} units, {} with the outcome", model.id, model.method(), training.units, training.outcomes);
    if let (Some(from), Some(until)) = (training.features_at, training.outcomes_until) {
        say!("  learnt from features as of {from} and outcomes until {until}");
    }
    match &model.scorer {
        Scorer::Propensity(scorer) => {
            match training.judged_until {
                Some(until) => say!("  judged by outcomes until {until}, on {} units:", scorer.quality.units),
                None => say!("  judged on {} units that were not learnt from:", scorer.quality.units),
            }
            let mut rows =
                Rows::new(&["model", "area under the curve", "log loss", "Brier score", "calibration slope"], 1);
            print_quality(scorer.classifier.name(), &scorer.quality, &mut rows);
            if let Some(other) = &scorer.other {
                print_quality(&format!("{} (not chosen)", other.learner.name()), &other.quality, &mut rows);
            }
            rows.print(Format::Table)?;
            print_tenths(&scorer.quality)?;
        }
        Scorer::Uplift(scorer) => {
            say!(
                "  {} against {}, judged on units that the judged models had not seen:",
                scorer.treatment,
                scorer.control
            );
            let mut rows = Rows::new(&["model", "Qini coefficient", "area under the uplift curve"], 1);
            let chosen = model.method();
            let others = scorer.others.iter().map(|other| {
                let method = serde_json::to_value(other.method).unwrap_or_default();
                let method = method.as_str().unwrap_or_default().to_owned();
                (format!("{method} of {} (not chosen)", other.learner.name()), &other.quality)
            });
            for (name, quality) in std::iter::once((chosen, &scorer.quality)).chain(others) {
                rows.push(vec![
                    Cell::from(name),
                    Cell::from(amount(&quality.qini.value, 5)),
                    Cell::from(amount(&quality.area_under_uplift_curve.value, 5)),
                ]);
            }
            rows.print(Format::Table)?;
            say!("  average effect {}", amount(&scorer.quality.average_effect.value, 5));
            let linear = &scorer.best_linear_predictor.heterogeneity;
            say!("  effects differ as predicted by {} (0: not at all, 1: just as predicted)", amount(&linear.value, 2));
            let groups: Vec<String> =
                scorer.group_effects.groups.iter().map(|group| amount(&group.effect.value, 4)).collect();
            say!("  effects by fifth of what is predicted, least first: {}", groups.join("; "));
        }
    }
    Ok(())
}

pub(super) async fn features(context: &Context, arguments: &FeaturesArguments) -> anyhow::Result<()> {
    let as_of = moment(arguments.as_of.as_deref())?;
    let session = context.session(None).await?;
    let format = context.output()?;
    let Some(out) = &arguments.out else {
        let features = known_features(&session, as_of).await?;
        return match format {
            Format::Json => print_json(&features),
            Format::Csv => print_csv_of(&features),
            Format::Table => {
                let mut rows = Rows::new(&["feature", "what it is"], 2);
                for feature in &features {
                    rows.push(vec![Cell::from(feature.name.as_str()), Cell::from(feature.meaning)]);
                }
                rows.print(format)
            }
        };
    };
    let table = {
        let bar = Bar::new();
        write_features(&session, as_of, out, &bar).await?
    };
    match format {
        Format::Json => print_json(&table),
        Format::Csv => print_csv_of(&table.features),
        Format::Table => {
            say!(
                "{}: {} features of {} recipients as of {}",
                out.display(),
                table.features.len(),
                table.recipients,
                table.as_of
            );
            Ok(())
        }
    }
}

pub(super) async fn models(context: &Context, arguments: &ModelsArguments) -> anyhow::Result<()> {
    let store = context.existing_store()?;
    match &arguments.command {
        ModelsCommand::List => list(context, &ScoreModel::list(&store).await?),
        ModelsCommand::Show { id } => {
            let model = ScoreModel::of(&store, id).await?;
            match context.output()? {
                Format::Json => print_json(&model.details()?),
                Format::Csv => print_csv_of(&[model.summary()]),
                Format::Table => {
                    print_model(&model)?;
                    say!("  features: {}", model.summary().features.join(", "));
                    say!("  made by sendlift {} from tables {}", model.training.software, versions(&model));
                    print_notes(&model.notes);
                    Ok(())
                }
            }
        }
        ModelsCommand::Compare { first, second } => {
            let models = [ScoreModel::of(&store, first).await?, ScoreModel::of(&store, second).await?];
            let summaries: Vec<ModelSummary> = models.iter().map(ScoreModel::summary).collect();
            match context.output()? {
                Format::Json => print_json(&summaries),
                Format::Csv => print_csv_of(&summaries),
                Format::Table => {
                    models.iter().try_for_each(print_model)?;
                    let only = |one: &ModelSummary, other: &ModelSummary| -> Vec<String> {
                        one.features.iter().filter(|name| !other.features.contains(name)).cloned().collect()
                    };
                    for (one, other) in [(0, 1), (1, 0)] {
                        let features = only(&summaries[one], &summaries[other]);
                        if !features.is_empty() {
                            say!("only {} has {}", summaries[one].id, features.join(", "));
                        }
                    }
                    if models[0].target != models[1].target || models[0].horizon_days != models[1].horizon_days {
                        say!("note: the two predict different things; their figures do not compare");
                    } else if models[0].training.judged_until != models[1].training.judged_until {
                        say!("note: the two were judged by different periods");
                    }
                    Ok(())
                }
            }
        }
    }
}

fn versions(model: &ScoreModel) -> String {
    let versions = model.training.table_versions.iter().map(|(table, version)| format!("{table} {version}"));
    versions.collect::<Vec<_>>().join(", ")
}

fn list(context: &Context, models: &std::collections::BTreeMap<String, Result<ScoreModel>>) -> anyhow::Result<()> {
    let known: Vec<ModelSummary> = models.values().flatten().map(ScoreModel::summary).collect();
    let format = context.output()?;
    match format {
        Format::Json => return print_json(&known),
        Format::Csv => return print_csv_of(&known),
        Format::Table => {}
    }
    let mut rows = Rows::new(&["model", "method", "horizon", "units", "area or Qini", "learnt until"], 2);
    for model in &known {
        rows.push(vec![
            Cell::from(model.id.as_str()),
            Cell::from(model.method.as_str()),
            Cell::from(format!("{} days", model.horizon_days)),
            Cell::count(model.training.units),
            Cell::from(amount(&model.quality, 4)),
            Cell::from(model.training.outcomes_until.map(|until| until.to_string())),
        ]);
    }
    rows.print(format)?;
    for (id, model) in models {
        if let Err(error) = model {
            say!("note: {id}: {error}");
        }
    }
    Ok(())
}
