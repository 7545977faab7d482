//! Speed of assembly and exchange: from pieces of a connection to the facts and the text of calls. Enters: invented bodies
//! (`bodies.rs`) and, when they are there, the recorded exchanges. Leaves: a line a measurement: MB (10^6 bytes of decoded
//! bodies) per CPU second of one core, and the same bodies read by `serde_json` to `IgnoredAny`. It fails when a gate of the
//! ratios is not met. What it takes in memory is measured by `assembly-memory`: counting allocations costs time.
//!
//! `cargo xtask bench assembly`. `OUTFLOW_BENCH_ROUNDS` (default 15), `OUTFLOW_BENCH_ONLY` (a name).
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{hint::black_box, sync::Arc};

use outflow::rules::{RuleSource, VendorTable};
use rustix::time::{ClockId, clock_gettime};
use serde::de::IgnoredAny;

/// As the agent: a small string costs what it costs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod bodies;
mod calls;

use calls::{Case, Failure, understand};

fn main() -> Result<(), Failure> {
    let rounds = std::env::var("OUTFLOW_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15_usize);
    let only = std::env::var("OUTFLOW_BENCH_ONLY").ok();
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded)?);
    let mut missed = Vec::new();
    println!("{:16} {:>9} {:>10} {:>7} {:>7}", "", "MB/s", "serde_json", "ratio", "calls");
    for case in calls::all()?.iter().filter(|case| only.as_ref().is_none_or(|only| only == case.name)) {
        let ratio = measure(case, &vendors, rounds)?;
        missed.extend(case.gate.filter(|gate| ratio < *gate).map(|gate| format!("{}: {ratio:.2} < {gate}", case.name)));
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("gates missed: {}", missed.join("; ")).into()) }
}

/// Takes turns, so that what else the machine does meets both; the median of the rounds' ratios.
fn measure(case: &Case, vendors: &Arc<VendorTable>, rounds: usize) -> Result<f64, Failure> {
    let calls = understand(&case.inputs, vendors);
    if calls != case.calls {
        return Err(format!("{}: {calls} exchanges of {}", case.name, case.calls).into());
    }
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = cpu_seconds();
        black_box(understand(black_box(&case.inputs), vendors));
        let between = cpu_seconds();
        for document in black_box(&case.documents) {
            // Some recorded documents are none; what can be read of them is.
            let _ = black_box(serde_json::from_slice::<IgnoredAny>(document));
        }
        let end = cpu_seconds();
        let (our, their) = (between - start, end - between);
        ours.push(case.bytes as f64 / 1e6 / our);
        theirs.push(case.bytes as f64 / 1e6 / their);
        ratios.push(their / our);
    }
    let ratio = median(ratios);
    println!("{:16} {:9.0} {:10.0} {ratio:7.3} {calls:7}", case.name, median(ours), median(theirs));
    Ok(ratio)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
