//! `outflow budget`: how the budgets of a running agent stand, and lifting what one of them stops. Enters: the agent's socket. Leaves: text
//! for people or JSON. It starts nothing and reads no store.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::{
    Format, exit,
    findings::write,
    run::control::{Ask, BudgetRow, GroupRow, Say, SpendRow, short},
    shown, state,
};
use crate::{config::Config, units::NanoUsd};

/// The agent looks up from its work at least once a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any answer has.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Shows how the budgets of the running agent stand, and lifts what an exhausted one stops
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(List),
    Reset(Reset),
}

/// Which agent.
#[derive(Clone, Debug, clap::Args)]
struct Which {
    /// The config file that the agent runs with, when that names the state folder
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Shows which budgets stop calls to LLM vendors, where, and what was spent
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  outflow budget list\n  outflow budget list --format jsonl | jq 'select(.stops)'")]
struct List {
    /// How to write [default: text on a terminal, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    which: Which,
}

/// Lets through what an exhausted budget stops, until its period ends
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  outflow budget reset summarizer")]
struct Reset {
    /// The budget, as its `service` stands in the config
    budget: String,
    #[command(flatten)]
    which: Which,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (which, ask) = match &args.command {
        Command::List(list) => (&list.which, Ask::List),
        Command::Reset(reset) => (&reset.which, Ask::Reset { budget: reset.budget.clone() }),
    };
    let said = match which.ask(&ask) {
        Err(error)
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) =>
        {
            anstream::eprintln!("outflow: {error:#}");
            return Ok(ExitCode::from(exit::PERMISSION));
        }
        said => said?,
    };
    match (&args.command, said) {
        (Command::List(list), Say::Budgets { budgets, groups, spend }) => write(&match shown::format(list.format) {
            Format::Text => text(&budgets, &groups, &spend),
            Format::Jsonl => lines(&budgets, &groups, &spend)?,
        }),
        (Command::Reset(_), Say::Done { what }) => write(&(what + "\n")),
        (_, Say::Refused { why }) => bail!(why),
        _ => bail!("the agent answers something else: is it of another version?"),
    }
}

impl Which {
    fn ask(&self, ask: &Ask) -> anyhow::Result<Say> {
        let config = self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        let named = config.state.directory.map(|folder| folder.get().to_owned());
        let folder = named.or_else(state::folder).context("no state folder: give --config, or set STATE_DIRECTORY")?;
        let nobody = || format!("no agent with the state folder {} answers: does `outflow run` run?", folder.display());
        let mut stream =
            File::open(&folder).and_then(|opened| UnixStream::connect(short(&opened))).with_context(nobody)?;
        stream.set_read_timeout(Some(PATIENCE)).with_context(nobody)?;
        stream.set_write_timeout(Some(PATIENCE)).with_context(nobody)?;
        writeln!(stream, "{}", serde_json::to_string(ask)?).with_context(nobody)?;
        stream.shutdown(Shutdown::Write).with_context(nobody)?;
        let mut said = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut said).with_context(nobody)?;
        serde_json::from_str(&said).context("the agent answers something else: is it of another version?")
    }
}

fn lines(budgets: &[BudgetRow], groups: &[GroupRow], spend: &[SpendRow]) -> serde_json::Result<String> {
    let mut out = String::new();
    let mut add = |value: serde_json::Value| -> serde_json::Result<()> {
        out += &serde_json::to_string(&value)?;
        out.push('\n');
        Ok(())
    };
    for BudgetRow { budget, state, since, until } in budgets {
        add(json!({"kind": "budget", "budget": budget, "state": state, "since": since, "until": until}))?;
    }
    for GroupRow { cgroup, budgets, stops, counts } in groups {
        add(json!({"kind": "cgroup", "cgroup": cgroup, "budgets": budgets, "stops": stops, "counts": counts}))?;
    }
    for SpendRow { service, spent_nano_usd, limit_nano_usd } in spend {
        add(
            json!({"kind": "spend", "service": service, "spent_nano_usd": spent_nano_usd, "limit_nano_usd": limit_nano_usd}),
        )?;
    }
    Ok(out)
}

fn text(budgets: &[BudgetRow], groups: &[GroupRow], spend: &[SpendRow]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    for SpendRow { service, spent_nano_usd, limit_nano_usd } in spend {
        let (sum, limit) = (NanoUsd(*spent_nano_usd), NanoUsd(*limit_nano_usd));
        let _ = writeln!(out, "{service:<24} spent {sum} of {limit}");
    }
    if spend.is_empty() {
        out += "no service with a budget has spent anything in its window\n";
    }
    if budgets.is_empty() {
        out += "\nno budget stops anything: none has `enforce = true`\n";
        return out;
    }
    out.push('\n');
    for BudgetRow { budget, state, since, until } in budgets {
        let until = until.as_deref().unwrap_or_default();
        let _ = match (state.as_str(), since) {
            ("exhausted", Some(since)) => writeln!(out, "budget {budget}: EXHAUSTED since {since}, until {until}"),
            ("reset", _) => writeln!(out, "budget {budget}: reset, stops nothing until {until}"),
            _ => writeln!(out, "budget {budget}: good"),
        };
    }
    for GroupRow { cgroup, budgets, stops, counts } in groups {
        let what = if *stops { "STOPS calls to LLM vendors" } else { "lets all through" };
        let _ = writeln!(out, "\n{cgroup}\n  {what}; budgets: {}", budgets.join(", "));
        let _ = writeln!(
            out,
            "  so far: {} handshakes with vendors, {} unreadable; stopped: {} handshakes, {} packets, {} of QUIC, {} to listed networks",
            counts.vendor_handshakes,
            counts.unreadable_handshakes,
            counts.stopped_handshakes,
            counts.stopped_packets,
            counts.stopped_quic,
            counts.stopped_networks,
        );
    }
    out
}
