//! `outflow attacher`, hidden: the privileged half of the tap, which `outflow run` starts for itself. Enters: a socket as standard
//! input. Leaves: an exit code. Writes nothing to standard output.

use std::process::ExitCode;

use crate::sources::tap::attacher;

/// Holds the probes for another process of this program; not for people
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command until the other process hangs up.
pub fn run(_: &Args) -> anyhow::Result<ExitCode> {
    attacher::serve_standard_input()?;
    Ok(ExitCode::SUCCESS)
}
