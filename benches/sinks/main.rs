//! Speed of the sinks, against a real broker (noida-db) and a real collector (rotel) on loopback. Enters: invented findings in a store,
//! invented log lines and calls. Leaves: findings a second beside the same client library in a bare loop, how long a leak takes from its
//! write to a consumer, and memory while nobody takes anything. It taps one client that it starts itself, in a control group of its own.
//!
//! `cargo xtask bench sinks`, or some parts: `cargo xtask bench sinks kafka otlp log tls memory`. Environment: `OUTFLOW_BENCH_DIR` names the
//! folder to write in (default: the system's temporary one), `OUTFLOW_BENCH_FINDINGS` how many findings a measurement has (default 20,000; Kafka: three times as many),
//! `OUTFLOW_BENCH_LINES` how many lines and calls are timed (default 300).
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod agent;
mod consumer;
mod figures;
mod kafka;
mod log;
mod memory;
mod otlp;
mod place;
mod tls;

use std::{path::PathBuf, sync::atomic::Ordering::Relaxed};

use anyhow::{Result, ensure};

/// As the agent has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What all parts go by.
struct Settings {
    folder: PathBuf,
    findings: usize,
    lines: usize,
}

type Part = fn(&Settings) -> Result<()>;

const PARTS: [(&str, Part); 5] =
    [("kafka", kafka::run), ("otlp", otlp::run), ("log", log::run), ("tls", tls::run), ("memory", memory::run)];

fn main() -> Result<()> {
    // `cargo test --benches` only asks whether it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let settings = Settings {
        folder: std::env::var_os("OUTFLOW_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into),
        findings: number("OUTFLOW_BENCH_FINDINGS").unwrap_or(20_000),
        lines: number("OUTFLOW_BENCH_LINES").unwrap_or(300),
    };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("{name}:");
            part(&settings)?;
        }
    }
    let missed = figures::MISSED.load(Relaxed);
    ensure!(missed == 0, "{missed} gates or targets were missed");
    Ok(())
}
