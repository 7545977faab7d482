//! Beside the river: the command line, one file a command. Enters: arguments. Leaves: data on standard output, talk on
//! standard error, an exit code. The only room besides `xtask` that may use anyhow.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    config::Config,
    engine::Rules,
    findings::Policy,
    rules::{RuleSource, Selection},
};

#[cfg(feature = "tap")]
pub mod attacher;
pub mod budget;
#[cfg(feature = "tap")]
mod cgroup;
pub mod config;
#[cfg(feature = "tap")]
mod container;
pub mod doctor;
pub mod findings;
pub mod fleet;
pub mod health;
pub mod models;
pub mod output;
pub mod replay;
pub mod rules;
pub mod run;
pub mod scan;
mod shown;
mod since;
pub mod state;
mod stored;
#[cfg(feature = "tap")]
pub mod tap;
pub mod verify;

/// Shows what leaves this host for LLM vendors: leaked data, models that can change under you, money running away.
#[derive(Debug, Parser)]
#[command(name = "outflow", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "tap")]
    Tap(tap::Args),
    Run(run::Args),
    Scan(scan::Args),
    Replay(replay::Args),
    Findings(findings::Args),
    Budget(budget::Args),
    Fleet(fleet::Args),
    Rules(rules::Args),
    Models(models::Args),
    Config(config::Args),
    Doctor(doctor::Args),
    Verify(verify::Args),
    #[command(hide = true)]
    Health(health::Args),
    #[cfg(feature = "tap")]
    #[command(hide = true)]
    Attacher(attacher::Args),
}

/// How standard output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Jsonl,
}

/// Options that several commands share.
#[derive(Clone, Debug, clap::Args)]
pub struct RuleArgs {
    /// Folder laid out like the project's `rules/`, used instead of the built-in rules
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// File of rules of your own, or folder of such files, on top of the others (may be given more than once)
    #[arg(long, value_name = "PATH")]
    add_rules: Vec<PathBuf>,
    /// Config file whose section [rules] counts: rules to add, switch off or change, and what is allowed
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl RuleArgs {
    /// Where the rules come from; `--rules` beats the config.
    pub fn source(&self) -> anyhow::Result<RuleSource> {
        Ok(self.selection()?.source)
    }

    /// Which rules count, and how.
    pub fn selection(&self) -> anyhow::Result<Selection> {
        Ok(self.decided()?.0)
    }

    /// All rules, and what the user decided about findings; `hosts` are further hosts of vendors.
    pub fn load(&self, hosts: &[String]) -> anyhow::Result<Rules> {
        let (selection, policy) = self.decided()?;
        Ok(Rules::select(&selection, policy, hosts)?)
    }

    fn decided(&self) -> anyhow::Result<(Selection, Policy)> {
        let config = self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        let mut selection = config.rules.selection();
        if let Some(folder) = &self.rules {
            selection.source = RuleSource::Folder(folder.clone());
        }
        selection.added.extend(self.add_rules.iter().cloned());
        Ok((selection, config.rules.policy()))
    }
}

/// Exit codes, DESIGN section 9.
pub mod exit {
    /// Findings at or above `--fail-on`.
    pub const FINDINGS: u8 = 1;
    /// The chain of the store does not verify.
    pub const BROKEN: u8 = 1;
    /// Usage or configuration error.
    pub const USAGE: u8 = 2;
    /// Input was incomplete; wins over [`FINDINGS`].
    pub const INCOMPLETE: u8 = 3;
    /// Not permitted.
    pub const PERMISSION: u8 = 4;
}

/// Runs the command line and says how to exit.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        #[cfg(feature = "tap")]
        Command::Tap(args) => tap::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Scan(args) => scan::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Findings(args) => findings::run(&args),
        Command::Budget(args) => budget::run(&args),
        Command::Fleet(args) => fleet::run(&args),
        Command::Rules(args) => rules::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Health(args) => health::run(&args),
        #[cfg(feature = "tap")]
        Command::Attacher(args) => attacher::run(&args),
    };
    result.unwrap_or_else(|error| {
        anstream::eprintln!("outflow: {error:#}");
        ExitCode::from(exit::USAGE)
    })
}
