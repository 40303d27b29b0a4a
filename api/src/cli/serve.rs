//! `sendlift serve`: the HTTP API until ctrl-c or SIGTERM.

use std::time::Duration;

use sendlift_engine::query::Execution;

use super::Context;
use super::arguments::ServeArguments;
use crate::http::{AppState, ServeConfig, serve, shutdown_signal};

pub(super) async fn run(context: &Context, arguments: &ServeArguments) -> anyhow::Result<()> {
    let section = &context.config.serve;
    let mut config = ServeConfig { api_key_hashes: section.api_key_sha256.clone(), ..ServeConfig::default() };
    if let Some(listen) = arguments.listen.or(section.listen) {
        config.listen = listen;
    }
    if let Some(bytes) = section.max_body_bytes {
        config.max_body_bytes = bytes;
    }
    if let Some(seconds) = section.timeout_seconds {
        config.timeout = Duration::from_secs(seconds);
    }
    let execution = Execution::at(section.cluster.as_deref())?;
    let state = AppState::new(context.store()?, context.settings().clone(), context.hasher(None, None)?)
        .with_execution(execution)
        .with_rules(context.config.rules()?);
    config.check()?;
    eprintln!("sendlift serves {} on http://{} (pages: /docs; stop with ctrl-c)", context.store, config.listen);
    serve(state, &config, shutdown_signal()).await
}
