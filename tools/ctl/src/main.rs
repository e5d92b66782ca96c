//! The `moorctl` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match ctl::run(std::env::args_os(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
