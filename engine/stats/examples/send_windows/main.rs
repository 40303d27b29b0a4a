//! How well send windows are found, by simulation.
//!
//! Enters: nothing, or `--quick`. Leaves: Markdown tables on standard output: how often intervals hold the truth, how
//! often nothing is recommended where there is nothing, that confounded hours are refused, the same where regions see one
//! instant at different hours, that a segment with hours of its own is found, and what ten campaigns lose by the recommendation and by three naive rules. Exit status 1, with
//! the rows, where a figure lies outside of what is claimed by more than chance explains.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `world.rs` | a sender whose truth is known |
//! | `studies.rs` | intervals, abstention, refusal, segments |
//! | `regret.rs` | ten campaigns, each sent as the ones before suggest |
//!
//! ```text
//! cargo run --release -p sendlift-stats --example send_windows
//! ```

mod regret;
mod studies;
mod world;

use regret::Rule;
use sendlift_stats::StatsError;
use std::env;
use std::process::ExitCode;
use studies::{Row, Setting};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let quick = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--quick"] => true,
        _ => {
            eprintln!("the only argument is --quick");
            return ExitCode::from(2);
        }
    };
    match report(quick) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Prints the tables; whether every figure lies within its bounds.
fn report(quick: bool) -> Result<bool, StatsError> {
    let mut rows = rows(quick)?;
    println!("| data | seeds | claim | figure | within |  |\n| --- | ---: | --- | ---: | --- | --- |");
    for row in &rows {
        let bounds = row.bounds.map_or(String::new(), |(least, most)| format!("{least:.3} to {most:.3}"));
        let remark = if row.is_outside() { "**outside**" } else { "" };
        println!("| {} | {} | {} | {:.3} | {bounds} | {remark} |", row.study, row.seeds, row.what, row.figure);
    }
    println!("\nRegret: the share of clicks that is lost against the best legal window.\n");
    let (table, row) = regrets(if quick { 12 } else { 100 })?;
    println!("{table}");
    rows.push(row);
    let outside: Vec<&Row> = rows.iter().filter(|row| row.is_outside()).collect();
    for row in &outside {
        eprintln!("outside: {}, {}: {:.3}", row.study, row.what, row.figure);
    }
    Ok(outside.is_empty())
}

fn rows(quick: bool) -> Result<Vec<Row>, StatsError> {
    let day = Setting { days: 1, windows: 6, campaigns: 20, size: 0.1, between: 0.1 };
    let thin = Setting { campaigns: 10, size: 0.05, between: 0.15, ..day };
    let week = Setting { days: 7, ..day };
    let mut rows = Vec::new();
    for (setting, seeds, quick_seeds) in [(day, 500, 100), (thin, 500, 100), (week, 100, 10)] {
        let seeds = if quick { quick_seeds } else { seeds };
        rows.extend(studies::coverage(setting, seeds)?);
        rows.push(studies::abstention(setting, seeds)?);
    }
    rows.push(studies::refusal(if quick { 10 } else { 100 })?);
    for size in [0.1, 0.0] {
        rows.push(studies::one_instant(size, if quick { 100 } else { 500 })?);
    }
    rows.extend(studies::segment(if quick { 20 } else { 100 })?);
    Ok(rows)
}

/// The table of all rules, and the claim that the recommendation loses least.
fn regrets(senders: u64) -> Result<(String, Row), StatsError> {
    let mut table =
        "| rule | campaign 1 | 2 | 5 | 10 | average |\n| --- | ---: | ---: | ---: | ---: | ---: |\n".to_owned();
    let mut averages = Vec::new();
    for rule in Rule::ALL {
        let regrets = rule.regret(senders)?;
        let average = regret::average(&regrets);
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let cells: Vec<String> = [0, 1, 4, 9].iter().map(|&campaign| percent(regrets[campaign])).collect();
        table.push_str(&format!("| {} | {} | {} |\n", rule.name(), cells.join(" | "), percent(average)));
        averages.push(average);
    }
    let least_naive = averages[1..].iter().copied().fold(f64::INFINITY, f64::min);
    let row = Row {
        study: "ten campaigns".to_owned(),
        seeds: senders,
        what: "regret as a share of the best naive rule's",
        figure: averages[0] / least_naive,
        bounds: Some((0.0, 1.0)),
    };
    Ok((table, row))
}
