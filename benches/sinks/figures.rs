//! What is measured, and how it is said. Enters: times and counts. Leaves: medians, percentiles, lines. It starts nothing.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Instant,
};

use anyhow::{Context as _, Result};
use outflow::clock;
use rustix::time::{ClockId, clock_gettime};

/// Gates and targets that were missed so far: the benchmark goes on, and fails at its end.
pub(crate) static MISSED: AtomicUsize = AtomicUsize::new(0);

/// One run: how long a finding took, and what this process spent for it.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    wall_us: f64,
    cpu_us: f64,
}

/// A run under way.
pub(crate) struct Clock {
    start: Instant,
    cpu_s: f64,
}

impl Clock {
    /// Its beginning.
    pub(crate) fn start() -> Self {
        Self { start: clock::instant(), cpu_s: cpu_seconds() }
    }

    /// Its end, with so many findings since the beginning.
    pub(crate) fn stop(self, findings: usize) -> Run {
        let (wall_s, cpu_s) = (self.start.elapsed().as_secs_f64(), cpu_seconds() - self.cpu_s);
        Run { wall_us: wall_s * 1e6 / findings as f64, cpu_us: cpu_s * 1e6 / findings as f64 }
    }
}

/// A way of sending, with its runs so far.
pub(crate) struct Way {
    pub(crate) name: String,
    pub(crate) runs: Vec<Run>,
}

impl Way {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), runs: Vec::new() }
    }

    fn median(&self, pick: impl Fn(&Run) -> f64) -> f64 {
        let mut values: Vec<f64> = self.runs.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    }

    /// The slowest and the fastest run.
    fn range_us(&self) -> (f64, f64) {
        let all = self.runs.iter().map(|run| run.wall_us);
        all.fold((0.0, f64::INFINITY), |(most, least), each| (each.max(most), each.min(least)))
    }

    fn wall_us(&self) -> f64 {
        self.median(|run| run.wall_us)
    }
}

/// What the sink is to have of the bare loop's speed at least.
const GATE: f64 = 0.8;

/// A line for each way; the first one is what the others are compared to. Those `beside` have no gate.
pub(crate) fn compare(ways: &[Way], beside: &[Way]) {
    let Some(bare) = ways.first().map(Way::wall_us) else { return };
    for (index, way) in ways.iter().chain(beside).enumerate() {
        let share = bare / way.wall_us();
        let is_below = index < ways.len() && share < GATE;
        let below = if is_below { format!(", BELOW the gate of {GATE}") } else { String::new() };
        MISSED.fetch_add(usize::from(is_below), Relaxed);
        let (slowest, fastest) = way.range_us();
        println!(
            "{:8.0} findings/s ({:.0} to {:.0})  {share:.2}  {:5.1} µs of CPU a finding  {}{below}",
            1e6 / way.wall_us(),
            1e6 / slowest,
            1e6 / fastest,
            way.median(|run| run.cpu_us),
            way.name,
        );
    }
}

/// p50, p90 and p99 of delays. Gives the last, in milliseconds.
pub(crate) fn delays(name: &str, mut delays_ns: Vec<u64>) -> f64 {
    delays_ns.sort_unstable();
    let at = |share: usize| {
        let place = (delays_ns.len() * share / 100).min(delays_ns.len().saturating_sub(1));
        delays_ns.get(place).copied().unwrap_or_default() as f64 / 1e6
    };
    println!("p50 {:6.1} ms, p90 {:6.1}, p99 {:6.1}  {name}, {}", at(50), at(90), at(99), delays_ns.len());
    at(99)
}

/// What 99 of 100 findings are to be under, milliseconds.
const TARGET_MS: f64 = 250.0;

pub(crate) fn say_target(p99_ms: f64) {
    MISSED.fetch_add(usize::from(p99_ms >= TARGET_MS), Relaxed);
    let word = if p99_ms < TARGET_MS { "met" } else { "MISSED" };
    println!("target of {TARGET_MS:.0} ms for p99: {word}");
}

/// The clock by which two processes of this host can be compared.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident memory of a process now and at its highest, MiB.
pub(crate) fn memory_mib(pid: u32) -> Result<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
    };
    Ok((mib("VmRSS:").context("no VmRSS")?, mib("VmHWM:").context("no VmHWM")?))
}
