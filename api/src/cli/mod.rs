//! The command line: arguments to engine calls, answers to the terminal or to JSON and CSV.
//!
//! Exit status: 0 done; 1 failed at run time; 2 wrong usage; 3 the data were refused. Errors go to standard error, what and
//! where first, then what to do.

mod analysis_details;
mod arguments;
mod care;
mod chart;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "cluster")]
mod cluster_arguments;
mod config;
mod demo;
mod experiment;
mod experiment_arguments;
mod generate;
mod ingest;
mod long_work;
mod output;
mod plan;
mod plan_arguments;
mod portfolio;
mod quarantine;
mod report;
mod score;
mod score_arguments;
mod segment;
mod segment_arguments;
mod serve;
mod sql;
mod windows;
mod windows_arguments;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use jiff::Timestamp;
use sendlift_engine::ingest::identity::IdentityHasher;
use sendlift_engine::query::{Execution, QuerySession, Source};
use sendlift_engine::settings::Settings;
use sendlift_engine::store::{At, Store};
use sendlift_engine::{EngineError, Result};

use arguments::{Arguments, Command};
use config::Config;
use output::Format;

/// Stack of each worker thread, in bytes.
const THREAD_STACK: usize = 32 << 20;

/// What every command gets: where the store is, how to print, what the configuration says, what time it is.
struct Context {
    store: String,
    /// Whether it was asked for, and is not the usual one.
    store_is_named: bool,
    /// `--format` as it was given: how to print, or for `generate` what to write.
    format: Option<String>,
    config: Config,
    now: Timestamp,
}

impl Context {
    fn store(&self) -> Result<Store> {
        Store::open(&self.store)
    }

    /// The store, which has to be there.
    fn existing_store(&self) -> Result<Store> {
        let store = self.store()?;
        if store.folder().is_some_and(|folder| !folder.exists()) {
            return Err(EngineError::usage(format!(
                "there is no store at {}: ingest logs into it first (sendlift ingest sends=sends.csv), or name another with --store",
                self.store
            )));
        }
        Ok(store)
    }

    /// How to print.
    fn output(&self) -> Result<Format> {
        self.format.as_deref().map_or(Ok(Format::Table), str::parse)
    }

    fn settings(&self) -> &Settings {
        &self.config.settings
    }

    async fn session(&self, at: Option<At>) -> Result<QuerySession> {
        self.session_on(None, at).await
    }

    /// A session whose queries run on the cluster that is named, or in this process.
    async fn session_on(&self, cluster: Option<&str>, at: Option<At>) -> Result<QuerySession> {
        let execution = Execution::at(cluster)?;
        let store = self.existing_store()?;
        QuerySession::open_on(&Source::Store(store, at), self.settings(), self.now, &execution).await
    }

    /// The key for phone numbers and addresses, from a file or the environment.
    fn hasher(&self, file: Option<&std::path::Path>, country: Option<&str>) -> Result<Option<IdentityHasher>> {
        let country = country.or(self.config.default_country.as_deref());
        // A country that is none is refused at once, also where no key would ever make use of it.
        if country.is_some() {
            IdentityHasher::new(&[b'0'; 32], country)?;
        }
        // Flag over environment over file.
        match (file, std::env::var("SENDLIFT_HASH_KEY"), self.config.hash_key_file.as_deref()) {
            (Some(file), _, _) | (None, Err(_), Some(file)) => IdentityHasher::from_file(file, country).map(Some),
            (None, Ok(key), _) => IdentityHasher::new(key.as_bytes(), country).map(Some),
            (None, Err(_), None) => Ok(None),
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for; anything else is wrong usage.
            let code = u8::from(error.use_stderr()) * 2;
            // A closed pipe leaves nobody to tell.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    start_logging(&arguments);
    keep_quiet_about_caught_panics();
    match run_command(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if is_closed_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            // The engine's errors tell their cause themselves.
            let told = match error.downcast_ref::<EngineError>() {
                Some(known) => known.to_string(),
                None => format!("{error:#}"),
            };
            // With RUST_BACKTRACE a library's error brings its backtrace along.
            let told = told.split("\n\nbacktrace:").next().unwrap_or_default();
            eprintln!("sendlift: {told}");
            if let Some(advice) = advice(told) {
                eprintln!("{advice}");
            }
            ExitCode::from(exit_status(&error))
        }
    }
}

/// What to do about a failure of the disk or of a file of the store, which the libraries below only name.
fn advice(told: &str) -> Option<&'static str> {
    const SIGNS: [(&[&str], &str); 3] = [
        (
            &["(os error 28)", "(os error 122)"],
            "The disk is full. Free some space and run the same command again: what was taken in before is not taken in twice.",
        ),
        (
            &["(os error 30)", "(os error 13)"],
            "The place cannot be written to. Reports need that, too, where facts must be brought up to date; make it \
             writable and run the same command again.",
        ),
        (
            &[
                "Invalid Parquet file",
                "Json error",
                "Failed to fetch metadata",
                "data file",
                "Failed to read delta log",
            ],
            "A file of the store is damaged or missing: `sendlift doctor` names it and says what to do.",
        ),
    ];
    SIGNS.iter().find(|(signs, _)| signs.iter().any(|sign| told.contains(sign))).map(|(_, advice)| *advice)
}

fn exit_status(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<EngineError>() {
        Some(EngineError::Usage(_) | EngineError::NotFound(_) | EngineError::Chart(_)) => 2,
        Some(EngineError::Refused(_)) => 3,
        _ => 1,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.to_string().contains("Broken pipe")
        || error.chain().any(|cause| {
            cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
        })
}

/// Delta gives a failed upload up in a way that panics once it has ended, and catches that: the error that made it fail is
/// told, and the panic is nobody's business.
fn keep_quiet_about_caught_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_caught = panic.payload_as_str() == Some("Already shut down")
            && panic.location().is_some_and(|place| place.file().contains("object_store"));
        if !is_caught {
            tell(panic);
        }
    }));
}

fn start_logging(arguments: &Arguments) {
    use tracing_subscriber::EnvFilter;
    let serving = matches!(arguments.command, Command::Serve(_) | Command::Cluster { .. });
    // What a command has to say, it says itself.
    let default = if serving { "warn,sendlift=info" } else { "off" };
    let filter = EnvFilter::try_from_env("SENDLIFT_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if serving { builder.json().init() } else { builder.without_time().init() }
}

fn run_command(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::load(arguments.config.as_deref())?;
    let named = arguments.store.or_else(|| config.store.clone());
    let store_is_named = named.is_some();
    let store = named.unwrap_or_else(|| "./sendlift-store".to_owned());
    let context = Context { store, store_is_named, format: arguments.format, config, now: Timestamp::now() };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Plans are trees that are walked by recursion; those of an experiment are deep. Only what is used is memory.
        .thread_stack_size(THREAD_STACK)
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(async {
        match arguments.command {
            Command::Demo(arguments) => demo::run(&context, &arguments).await,
            Command::Generate(arguments) => generate::run(&context, &arguments),
            Command::Ingest(arguments) => ingest::run(&context, &arguments).await,
            Command::Quarantine(arguments) => quarantine::run(&context, &arguments).await,
            Command::Report(arguments) => report::run(&context, &arguments).await,
            Command::Windows(arguments) => windows::run(&context, &arguments).await,
            Command::Score(arguments) => score::run(&context, &arguments).await,
            Command::Features(arguments) => score::features(&context, &arguments).await,
            Command::Models(arguments) => score::models(&context, &arguments).await,
            Command::Experiment(arguments) => experiment::run(&context, &arguments).await,
            Command::Segment(arguments) => segment::run(&context, &arguments).await,
            Command::Chart(arguments) => chart::run(&context, &arguments).await,
            Command::Sql(arguments) => sql::run(&context, &arguments).await,
            Command::Serve(arguments) => serve::run(&context, &arguments).await,
            #[cfg(feature = "cluster")]
            Command::Cluster(arguments) => cluster::run(&arguments).await,
            #[cfg(not(feature = "cluster"))]
            Command::Cluster { .. } => Err(EngineError::usage(sendlift_engine::query::NO_CLUSTERS).into()),
            Command::Compact => care::compact(&context).await,
            Command::Vacuum(arguments) => care::vacuum(&context, &arguments).await,
            Command::Forget(arguments) => care::forget(&context, &arguments).await,
            Command::Doctor(arguments) => care::doctor(&context, &arguments).await,
            Command::Presets => ingest::list_presets(&context),
            Command::Config => config::show(&context),
        }
    })
}
