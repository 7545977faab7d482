//! What the behaviour detectors find in simulated traffic whose labels are known: precision, recall and time to detect. Enters:
//! `tests/scenarios/`. Leaves: tables, and a line for each label that was missed and each false alarm. It measures detectors, not speed.
//!
//! `cargo xtask bench scenarios`; `-- WORD`: only scenarios with it in their names; `-- --write`: tables go to `docs/BENCHMARKS.md`;
//! `-- --records FILE WORD`: the calls as exchange records, for `outflow replay`; `-- --exchanges FOLDER`: what is found in recorded
//! exchanges.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    fs,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Parser as _;
use outflow::{engine::Rules, rules::RuleSource};
use rooms::Way;
use simulator::{Scenario, Scored, Simulation, report};

mod recorded;
mod rooms;

/// Plays labelled scenarios and says what was found
#[derive(Debug, clap::Parser)]
struct Args {
    /// Only scenarios with this in their names
    #[arg(default_value = "")]
    name: String,
    /// Write the tables to docs/BENCHMARKS.md
    #[arg(long)]
    write: bool,
    /// Also look for leaks, as `outflow replay` does; takes ten times as long
    #[arg(long)]
    whole: bool,
    /// Write the calls of the scenarios to this file instead, as exchange records, one a line
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Look at recorded exchanges instead
    #[arg(long, value_name = "FOLDER")]
    exchanges: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut scenarios = simulator::load(&workspace.join("tests/scenarios"))?;
    scenarios.retain(|scenario| scenario.name.contains(&args.name));
    if let Some(path) = &args.records {
        return write_records(&scenarios, path);
    }
    let rules = Rules::load(&RuleSource::Embedded, &[])?;
    if let Some(folder) = args.exchanges {
        for (rule, titles) in recorded::findings(&[folder], &rules)? {
            println!("{rule}: {} findings, {} titles", titles.values().sum::<u64>(), titles.len());
            for (title, count) in titles {
                println!("  {count:4}  {title}");
            }
        }
        return Ok(());
    }
    ensure!(!scenarios.is_empty(), "no scenario has {:?} in its name", args.name);
    let way = if args.whole { Way::Whole } else { Way::WithoutScanner };
    let scored = play_all(&scenarios, &rules, way)?;
    print!("{}", report::wrongs(&scored));
    let tables = report::markdown(&scored);
    println!("\n{tables}");
    if args.write {
        let path = workspace.join("docs/BENCHMARKS.md");
        let document = fs::read_to_string(&path)?;
        fs::write(&path, report::replaced(&document, &tables)?)?;
    }
    Ok(())
}

/// Plays all, as many at once as there are processors.
fn play_all(scenarios: &[Scenario], rules: &Rules, way: Way) -> Result<Vec<Scored>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
            let scored = rooms::play(scenario, rules, way, |_| {});
            done.lock().unwrap_or_else(PoisonError::into_inner).push((scenario.name.as_str(), scored));
        }
    };
    let count = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..count).for_each(|_| _ = scope.spawn(work)));
    let mut done = done.into_inner().map_err(|_| anyhow!("a scenario panicked"))?;
    done.sort_by_key(|(name, _)| *name);
    done.into_iter().map(|(name, scored)| scored.with_context(|| format!("scenario {name}"))).collect()
}

fn write_records(scenarios: &[Scenario], path: &Path) -> Result<()> {
    let mut out = BufWriter::new(fs::File::create(path)?);
    let mut count = 0;
    for scenario in scenarios {
        let mut simulation = Simulation::new(scenario)?;
        while let Some(call) = simulation.next_call()? {
            count += 1;
            writeln!(out, "{}", call.record(&format!("{}-{count}", scenario.name)))?;
        }
    }
    out.flush()?;
    println!("{count} exchange records in {}", path.display());
    Ok(())
}
