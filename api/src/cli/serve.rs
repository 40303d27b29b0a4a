//! `sendlift serve`: the HTTP API.

use super::Context;
use super::arguments::ServeArguments;

pub(super) async fn run(_: &Context, _: &ServeArguments) -> anyhow::Result<()> {
    Ok(())
}
