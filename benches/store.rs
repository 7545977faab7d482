//! Speed of the store, findings per second of wall time, each acknowledged when its transaction is on the disk. Enters: findings that
//! are made before the clock starts, none like another, and one that repeats. Leaves: one line a measurement, beside the same rows
//! written with bare rusqlite in the same run on the same disk.
//!
//! `cargo bench -p outflow --bench store`. Environment: `OUTFLOW_BENCH_DIR` names the folder to write in (default: the system's
//! temporary one), `OUTFLOW_BENCH_FINDINGS` how many findings a measurement has (default 20,000; batches of less than 100 have a tenth).
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{error::Error, path::Path, sync::Arc};

use outflow::{
    clock,
    detectors::{Behaviour, Hit},
    exchange::{Api, Exchange},
    findings::{Finding, FingerprintKey, Maker},
    sources::{Checkpoint, Origin, StreamId},
    store::{Batch, Limits, Receipt, Store},
    units::{Severity, Timestamp},
};
use rusqlite::{Connection, params};
use rustix::time::{ClockId, clock_gettime};

/// As the agent has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;

/// Batches that one thread has on their way.
const WINDOW: usize = 64;

/// What the store is to have of the bare loop's speed at least, with batches on their way.
const GATE: f64 = 0.6;

/// Findings per second of wall time, and microseconds of processor time a finding, of all threads.
type Measured = Result<(f64, f64), Box<dyn Error>>;

fn main() -> Result<(), Box<dyn Error>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let findings: usize = number("OUTFLOW_BENCH_FINDINGS").unwrap_or(20_000);
    let folder = std::env::var_os("OUTFLOW_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    println!("folder: {}, {findings} findings a measurement, best of {ROUNDS}", folder.display());
    let mut missed = 0;
    for batch in [1, 10, 100, 1000] {
        let total = if batch < 100 { findings.div_ceil(10) } else { findings };
        let new: Vec<Finding> = (0..total).map(|index| finding(&index.to_string())).collect();
        let same: Vec<Finding> = (0..total).map(|_| finding("the same")).collect();
        let bare = best(&folder, |path| bare(path, &new, batch))?;
        let show = |(speed, cpu): (f64, f64), what: &str| {
            println!(
                "batch {batch:>4}: {speed:8.0} findings/s  {:.2};  {cpu:6.1} us of CPU a finding  {:.2}  {what}",
                speed / bare.0,
                bare.1 / cpu
            );
        };
        show(bare, "bare rusqlite, the same two rows a finding");
        for (name, findings, window) in [
            ("new, each batch waited for", &new, 1),
            ("new, batches on their way", &new, WINDOW),
            ("repeats of one, batches on their way", &same, WINDOW),
        ] {
            let speed = best(&folder, |path| store(path, findings, batch, window))?;
            let is_below = window > 1 && speed.0 < bare.0 * GATE;
            missed += usize::from(is_below);
            show(speed, &if is_below { format!("{name}, BELOW the gate of {GATE}") } else { name.to_owned() });
        }
    }
    if missed > 0 { Err(format!("{missed} below the gate").into()) } else { Ok(()) }
}

/// The best of some rounds, each in a folder of its own.
fn best(folder: &Path, work: impl Fn(&Path) -> Measured) -> Measured {
    let mut best = (0.0_f64, f64::INFINITY);
    for _ in 0..ROUNDS {
        let own = tempfile::tempdir_in(folder)?;
        let (speed, cpu) = work(&own.path().join("bench.db"))?;
        best = (best.0.max(speed), best.1.min(cpu));
    }
    Ok(best)
}

fn store(path: &Path, findings: &[Finding], batch: usize, window: usize) -> Measured {
    let store = Store::open(path, Limits { queue: WINDOW, ..Limits::default() })?;
    let batches: Vec<Batch> = findings
        .chunks(batch)
        .zip(0_u64..)
        .map(|(chunk, number)| Batch {
            findings: chunk.to_vec(),
            checkpoints: vec![Checkpoint { key: "tail/1".to_owned(), value: number.to_string() }],
            ..Batch::default()
        })
        .collect();
    let clocks = Clocks::start();
    let mut waiting = std::collections::VecDeque::new();
    for batch in batches {
        waiting.push_back(store.submit(batch)?);
        if waiting.len() >= window {
            waiting.pop_front().map_or(Ok(()), Receipt::wait)?;
        }
    }
    waiting.into_iter().try_for_each(Receipt::wait)?;
    let measured = clocks.a_finding(findings.len());
    store.close()?;
    Ok(measured)
}

/// The least that any store has to do: the current state, the outbox and the checkpoint, with the same guarantees.
fn bare(path: &Path, findings: &[Finding], batch: usize) -> Measured {
    let rows: Vec<(&str, String)> = findings
        .iter()
        .map(|finding| Ok((finding.finding_id.as_str(), serde_json::to_string(finding)?)))
        .collect::<Result<_, serde_json::Error>>()?;
    let mut db = Connection::open(path)?;
    db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "full")?;
    db.execute_batch(
        "CREATE TABLE finding (id TEXT NOT NULL PRIMARY KEY, payload TEXT NOT NULL) STRICT;
         CREATE TABLE outbox (seq INTEGER NOT NULL PRIMARY KEY, id TEXT NOT NULL, payload TEXT NOT NULL) STRICT;
         CREATE TABLE checkpoint (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;",
    )?;
    let clocks = Clocks::start();
    for (chunk, number) in rows.chunks(batch).zip(0_u64..) {
        let change = db.transaction()?;
        for (id, payload) in chunk {
            change
                .prepare_cached("INSERT INTO finding (id, payload) VALUES (?1, ?2)")?
                .execute(params![id, payload])?;
            change.prepare_cached("INSERT INTO outbox (id, payload) VALUES (?1, ?2)")?.execute(params![id, payload])?;
        }
        change
            .prepare_cached("INSERT OR REPLACE INTO checkpoint (key, value) VALUES ('tail/1', ?1)")?
            .execute([number.to_string()])?;
        change.commit()?;
    }
    Ok(clocks.a_finding(findings.len()))
}

/// Both clocks since a start.
struct Clocks(std::time::Instant, f64);

impl Clocks {
    fn start() -> Self {
        Self(clock::instant(), cpu_micros())
    }

    fn a_finding(&self, findings: usize) -> (f64, f64) {
        (findings as f64 / self.0.elapsed().as_secs_f64(), (cpu_micros() - self.1) / findings as f64)
    }
}

fn cpu_micros() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// An occurrence; equal keys make the same finding.
fn finding(key: &str) -> Finding {
    let at = Timestamp(1_795_392_000_000_000_000);
    let exchange = Exchange {
        vendor: Some("openai".into()),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        api: Api::ChatCompletions,
        status: Some(200),
        request_model: Some("gpt-4o".into()),
        response_model: Some("gpt-4o-2024-08-06".into()),
        ..Exchange::unknown(
            StreamId(1),
            Arc::new(Origin {
                pid: 7,
                process: "python3".into(),
                service: "shop".into(),
                container: None,
                ..Origin::default()
            }),
            "api.openai.com",
            at,
        )
    };
    let hit = Hit::Behaviour(Behaviour {
        rule: "model.unpinned",
        references: vec!["https://developers.openai.com/api/docs/models".into()],
        key: key.into(),
        severity: Severity::Medium,
        confidence: 95,
        title: "`gpt-4o` is an alias that can move; it answered as `gpt-4o-2024-08-06`".into(),
        case: None,
        facts: vec![("model.pin_class", "alias".into())],
        exchange: &exchange,
    });
    Maker::new(FingerprintKey::new([7; 32])).occurrence(&hit, at, None)
}
