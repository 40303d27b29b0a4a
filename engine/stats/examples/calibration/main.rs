//! How often each method is wrong, by simulation.
//!
//! Enters: nothing, `--quick`, `--seed NUMBER`, `--threads NUMBER` or `--into FILE`. Leaves: a Markdown table of
//! false-positive rates (A/A) and coverage (A/B) on standard output, or between the two calibration marks of a file; exit
//! status 1, with the rows, when a method breaches what it claims.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `study.rs` | what a study is, what may be claimed, the threads |
//! | `table.rs` | the Monte-Carlo bounds, and the table |
//! | `random.rs` | counter-based random numbers |
//! | `proportions.rs`, `means.rs`, `clusters.rs`, `adjusted.rs`, `sequential.rs`, `checks.rs` | the studies |
//!
//! Every test and interval is at 5 % (95 %). The quick run has fewer studies and fewer replicates, for continuous
//! integration: some 20 seconds on one core.
//!
//! ```text
//! cargo run --release -p sendlift-stats --example calibration -- --into docs/statistics.md
//! ```

mod adjusted;
mod checks;
mod clusters;
mod means;
mod proportions;
mod random;
mod sequential;
mod study;
mod table;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs, thread};

const START: &str = "<!-- calibration: start -->";
const END: &str = "<!-- calibration: end -->";

/// What was asked for.
struct Options {
    quick: bool,
    seed: u64,
    threads: usize,
    into: Option<String>,
}

impl Options {
    fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self { quick: false, seed: 1, threads, into: None };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--seed" => options.seed = value()?.parse()?,
                "--threads" => options.threads = value()?.parse()?,
                "--into" => options.into = Some(value()?),
                _ => return Err(format!("{argument} is none of --quick, --seed, --threads, --into").into()),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    match Options::from_arguments(env::args().skip(1)).and_then(|options| calibrate(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every method is as good as it claims.
fn calibrate(options: &Options) -> Result<bool, Box<dyn Error>> {
    let mut studies = proportions::studies(options.quick);
    studies.extend(means::studies(options.quick));
    studies.extend(clusters::studies(options.quick));
    studies.extend(adjusted::studies(options.quick));
    studies.extend(sequential::studies(options.quick)?);
    studies.extend(checks::studies(options.quick));

    let mut results = Vec::with_capacity(studies.len());
    for (study, place) in studies.into_iter().zip(0_u64..) {
        let started = Instant::now();
        let tallies = study.run(options.seed, place, options.threads)?;
        eprintln!("{:6.1} s  {}: {}", started.elapsed().as_secs_f64(), study.family, study.data);
        results.push((study, tallies));
    }
    let report = table::report(&results)?;
    match &options.into {
        Some(path) => {
            let text = fs::read_to_string(path)?;
            fs::write(path, replaced(&text, &report.markdown)?)?;
        }
        None => println!("{}", report.markdown),
    }
    if !report.breaches.is_empty() {
        eprintln!("outside of what is claimed, beyond what chance explains:");
        for row in &report.breaches {
            eprintln!("{row}");
        }
    }
    Ok(report.breaches.is_empty())
}

/// `text` with the table between its two marks.
fn replaced(text: &str, table: &str) -> Result<String, Box<dyn Error>> {
    let parts = text.split_once(START).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("the file lacks the marks {START} and {END}"))?;
    Ok(format!("{before}{START}\n{table}\n{END}{after}"))
}
