//! The binary `sendlift`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sendlift::cli::run()
}
