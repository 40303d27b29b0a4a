//! `sendlift experiment portfolio`: all experiments at once.

use sendlift_engine::EngineError;
use sendlift_engine::experiment::{PortfolioRequest, experiment_portfolio};
use sendlift_engine::stats::Estimate;

use super::Context;
use super::output::{Cell, Format, Rows, print_json, say};

/// Looks at all experiments of the store.
pub(super) async fn run(context: &Context, request: &PortfolioRequest) -> anyhow::Result<()> {
    if !(request.alpha > 0.0 && request.alpha < 1.0 && request.minimum_effect >= 0.0) {
        return Err(EngineError::usage("--alpha lies between 0 and 1, --minimum-effect is not below zero").into());
    }
    let format = context.output()?;
    let found = experiment_portfolio(&context.session(None).await?, request).await?;
    if format == Format::Json {
        return print_json(&found);
    }
    let mut rows = Rows::new(&["experiment", "arm", "against", "found", "shrunk", "chance above 0", "winner"], 3);
    let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:+.4}"));
    let ends = |estimate: &Estimate| {
        format!("{} [{}, {}]", number(estimate.estimate), number(estimate.low), number(estimate.high))
    };
    for named in &found.effects {
        rows.push(vec![
            Cell::from(named.experiment.as_str()),
            Cell::from(named.arm.as_str()),
            Cell::from(named.control.as_str()),
            Cell::from(ends(&named.effect.naive)),
            Cell::from(ends(&named.effect.shrunk)),
            Cell::from(named.effect.chance_above_zero.map(|chance| format!("{:.1} %", chance * 100.0))),
            Cell::from(if named.effect.declared_winner { "yes" } else { "no" }),
        ]);
    }
    rows.print(format)?;
    if format == Format::Table {
        let plain = |number: Option<f64>| number.map_or_else(|| "?".to_owned(), |number| format!("{number:.2}"));
        let declared = &found.declared;
        say!(
            "{}: an experiment here brings {}, spread {}",
            found.metric,
            ends(&found.prior_mean),
            ends(&found.prior_spread)
        );
        say!(
            "effects above zero to expect, however small (half of them where nothing works): {} of {}",
            plain(found.expected_true_wins),
            found.effects.len()
        );
        say!(
            "declared winners: {}, of which {} are expected to be true; together {:+.4} as found, {} to expect",
            declared.count,
            plain(declared.expected_true),
            declared.naive_total,
            number(declared.expected_total.estimate)
        );
        for pair in &found.overlaps {
            let share = pair.share_of_smaller * 100.0;
            say!(
                "{} and {} share {} recipients, {share:.0} % of the smaller: {}",
                pair.first,
                pair.second,
                pair.shared,
                pair.note
            );
        }
        for reason in found.left_out.iter().chain(&found.note) {
            say!("note: {reason}");
        }
    }
    Ok(())
}
