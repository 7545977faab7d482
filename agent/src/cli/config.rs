//! `outflow config`: checks a config file, and shows what it comes to. Enters: a file. Leaves: one line or the whole config on
//! standard output; errors on standard error and exit code 2. It starts nothing and connects to nothing.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use serde_json::json;

use super::{Format, exit, state};
use crate::config::{AbsolutePath, CloudName, Config, ConfigError, HostName};

/// Checks a config file, or shows what it comes to
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Reads a config file and tells everything that is wrong with it
    Check {
        /// The config file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// How to write standard output
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Prints a config as `outflow run` would use it; without a file, the defaults
    Show {
        /// With all defaults filled in
        #[arg(long, required = true)]
        effective: bool,
        /// The config file
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (text, code) = match &args.command {
        Command::Check { file, format } => match (Config::load(file), format) {
            (Ok(config), Format::Text) => (good(file, &config), ExitCode::SUCCESS),
            (Ok(_), Format::Jsonl) => (String::new(), ExitCode::SUCCESS),
            (Err(ConfigError::Invalid { file, problems }), Format::Jsonl) => {
                let line = |problem| format!("{}\n", json!({"file": file, "problem": problem}));
                (problems.iter().map(line).collect(), ExitCode::from(exit::USAGE))
            }
            (Err(error), _) => return Ok(refused(&error)),
        },
        Command::Show { file, .. } => match file.as_deref().map_or(Ok(Config::default()), Config::load) {
            Ok(config) => (effective(config).to_toml(), ExitCode::SUCCESS),
            Err(error) => return Ok(refused(&error)),
        },
    };
    match anstream::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is no error of ours.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(code),
        written => Ok(written.map(|()| code)?),
    }
}

/// The config with what the agent finds out for itself where the file does not say it.
pub fn effective(mut config: Config) -> Config {
    if config.state.directory.is_none() {
        config.state.directory = state::folder().and_then(AbsolutePath::from_found);
    }
    if config.sinks.host_name.is_none() {
        config.sinks.host_name = variable(HOST_NAME).and_then(|name| HostName::from_found(&name));
    }
    if let Some(cloud) = &mut config.sinks.cloud {
        let found = |name| variable(name).and_then(|name| CloudName::from_found(&name));
        cloud.region = cloud.region.take().or_else(|| found(CLOUD_REGION));
        cloud.zone = cloud.zone.take().or_else(|| found(CLOUD_ZONE));
    }
    config
}

/// Names this host where the system's own name says nothing, as in a pod.
const HOST_NAME: &str = "OUTFLOW_HOST_NAME";
/// The region of this host, where the config says which cloud it is in.
const CLOUD_REGION: &str = "OUTFLOW_CLOUD_REGION";
/// Its zone.
const CLOUD_ZONE: &str = "OUTFLOW_CLOUD_ZONE";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Each problem on a line of its own that begins with the file, as editors and people look for it.
pub(super) fn refused(error: &ConfigError) -> ExitCode {
    match error {
        ConfigError::Read { .. } => anstream::eprintln!("outflow: {error}"),
        ConfigError::Invalid { problems, .. } => {
            let count = problems.len();
            anstream::eprintln!("{error}\n{count} {}", if count == 1 { "error" } else { "errors" });
        }
    }
    ExitCode::from(exit::USAGE)
}

fn good(file: &std::path::Path, config: &Config) -> String {
    let tap = match config.tap.scope.filter(|_| config.tap.enabled) {
        None => "no tap",
        Some(crate::config::Scope::Cgroup) => "tap of control groups",
        Some(crate::config::Scope::Processes) => "tap of processes",
        Some(crate::config::Scope::Host) => "tap of the whole host",
    };
    let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let (groups, budgets) = (count(config.logs.files.len(), "group"), count(config.budget.len(), "budget"));
    let sinks = match config.sinks.count() {
        0 => String::new(),
        sinks => format!(", {}", count(sinks, "sink")),
    };
    let idle = if config.watches_nothing() { "; it watches nothing" } else { "" };
    let journal = if config.logs.journald.enabled { ", the journal" } else { "" };
    format!("{}: good: {tap}, {groups} of log files{journal}, {budgets}{sinks}{idle}\n", file.display())
}
