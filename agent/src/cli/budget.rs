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
use crate::{config::Config, detectors::budget::Unit};

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
pub(super) struct Which {
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
    /// Its state folder.
    pub(super) fn folder(&self) -> anyhow::Result<PathBuf> {
        let config = self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        let named = config.state.directory.map(|folder| folder.get().to_owned());
        named.or_else(state::folder).context("no state folder: give --config, or set STATE_DIRECTORY")
    }

    /// Asks it, and gives its answer.
    pub(super) fn ask(&self, ask: &Ask) -> anyhow::Result<Say> {
        let folder = self.folder()?;
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
    for SpendRow { budget, owner, unit, spent, fleet_spent, limit } in spend {
        let mut line = json!({"kind": "spend", "budget": budget, "owner": owner});
        let (of_spent, of_fleet, of_limit) = match unit {
            Unit::Usd => ("spent_nano_usd", "fleet_spent_nano_usd", "limit_nano_usd"),
            Unit::Tokens => ("spent_tokens", "fleet_spent_tokens", "limit_tokens"),
        };
        if let Some(fleet) = fleet_spent {
            line[of_fleet] = json!(fleet);
        }
        line[of_spent] = json!(spent);
        line[of_limit] = json!(limit);
        add(line)?;
    }
    Ok(out)
}

fn text(budgets: &[BudgetRow], groups: &[GroupRow], spend: &[SpendRow]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    for SpendRow { budget, owner, unit, spent, fleet_spent, limit } in spend {
        let whose = if owner.is_empty() || owner == budget { budget.clone() } else { format!("{budget}: {owner}") };
        let fleet = fleet_spent.map(|fleet| format!(", the whole fleet {}", unit.shown(fleet))).unwrap_or_default();
        let _ = writeln!(out, "{whose:<24} spent {} of {}{fleet}", unit.shown(*spent), unit.shown(*limit));
    }
    if spend.is_empty() {
        out += "nothing was spent of any budget in its window\n";
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::Counts;

    fn rows() -> (Vec<BudgetRow>, Vec<GroupRow>, Vec<SpendRow>) {
        let budget = |budget: &str, state: &str, since: Option<&str>, until: Option<&str>| BudgetRow {
            budget: budget.to_owned(),
            state: state.to_owned(),
            since: since.map(str::to_owned),
            until: until.map(str::to_owned),
        };
        let budgets = vec![
            budget("batch", "exhausted", Some("2026-11-26T12:09:41.107Z"), Some("2026-11-26T13:00:00.000Z")),
            budget("search", "reset", None, Some("2026-11-27T00:00:00.000Z")),
            budget("shop", "good", None, None),
        ];
        let counts = Counts { vendor_handshakes: 48, stopped_handshakes: 12, stopped_packets: 3, ..Counts::default() };
        let budgets_of = vec!["batch".to_owned(), "shop".to_owned()];
        let groups =
            vec![GroupRow { cgroup: "/sys/fs/cgroup/a.slice".to_owned(), budgets: budgets_of, stops: true, counts }];
        let spend = |owner: &str, unit, spent, limit| SpendRow {
            budget: "batch".to_owned(),
            owner: owner.to_owned(),
            unit,
            spent,
            fleet_spent: None,
            limit,
        };
        let spend = vec![
            spend("batch", Unit::Usd, 10_020_000_000, 10_000_000_000),
            SpendRow { fleet_spent: Some(900), ..spend("nightly", Unit::Tokens, 40, 1000) },
        ];
        (budgets, groups, spend)
    }

    #[test]
    fn people_read_what_stops_and_until_when() {
        let (budgets, groups, spend) = rows();
        let expected = "batch                    spent $10.02 of $10.00\n\
             batch: nightly           spent 40 tokens of 1000 tokens, the whole fleet 900 tokens\n\n\
             budget batch: EXHAUSTED since 2026-11-26T12:09:41.107Z, until 2026-11-26T13:00:00.000Z\n\
             budget search: reset, stops nothing until 2026-11-27T00:00:00.000Z\n\
             budget shop: good\n\n\
             /sys/fs/cgroup/a.slice\n  STOPS calls to LLM vendors; budgets: batch, shop\n  \
             so far: 48 handshakes with vendors, 0 unreadable; stopped: 12 handshakes, 3 packets, 0 of QUIC, 0 to listed networks\n";
        assert_eq!(text(&budgets, &groups, &spend), expected);
        assert!(text(&[], &[], &spend).ends_with("none has `enforce = true`\n"));
    }

    #[test]
    fn programs_read_a_line_each() {
        let (budgets, groups, spend) = rows();
        let lines = lines(&budgets, &groups, &spend).unwrap();
        let kinds: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kinds: Vec<&str> = kinds.iter().map(|line| line["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["budget", "budget", "budget", "cgroup", "spend", "spend"]);
    }

    #[test]
    fn nobody_to_ask_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("outflow.toml");
        std::fs::write(&config, format!("[state]\ndirectory = {:?}\n", folder.path())).unwrap();
        let error = Which { config: Some(config) }.ask(&Ask::List).unwrap_err();
        assert!(format!("{error:#}").contains("does `outflow run` run?"), "{error:#}");
    }
}
