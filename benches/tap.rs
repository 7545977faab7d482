//! What the tap costs the tapped: nanoseconds that it adds to a TLS call, what it loses, and what it takes itself, on this machine.
//! Enters: nothing. Leaves: tables. The same load runs in five ways, in turns, in one run: without probes; with probes that do nothing, at
//! the functions' entries and at the places that the tap chooses; under a small capture in C (the yardstick); under `outflow tap`, which
//! puts everything together and scans it. All probes are on a private copy of libssl that only the load maps.
//!
//! `cargo xtask bench tap`, as root, or some parts: `cargo xtask bench tap calls rates`. `OUTFLOW_BENCH_ROUNDS` says how many turns (5).

#![expect(clippy::expect_used, reason = "a benchmark that cannot go on is to say so and end")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "tap/empty.rs"]
mod empty;
#[path = "tap/figures.rs"]
mod figures;
#[path = "tap/load.rs"]
mod load;
#[path = "tap/place.rs"]
mod place;
#[path = "../agent/src/sources/tap/placement.rs"]
#[expect(dead_code, reason = "the tap uses the rest")]
mod placement;
#[path = "tap/way.rs"]
mod way;

use self::{
    figures::{Figures, middle},
    load::{Flavour, Spec},
    place::Place,
    way::{Run, Way},
};

/// Payload of a write, and how many pairs of each are timed a run.
const SIZES: [(usize, usize); 5] = [(64, 20_000), (1024, 20_000), (4096, 10_000), (16_384, 4_000), (204_800, 400)];
/// Bursts hold this much, so that the ring takes one whole in both directions.
const BURST_BYTES: usize = 1 << 20;
/// And come so seldom that any scanner keeps up: what is measured is the call, not the ring.
const BURST_BYTES_PER_SECOND: usize = 40 << 20;
/// Calls a second, their size, and for how many seconds: the goals of the tap.
const RATES: [(usize, usize, usize); 2] = [(100_000, 1024, 5), (2_000, 204_800, 5)];
/// No worse than so many times the yardstick.
const GATE: f64 = 1.15;
const IDLE_GOAL_KIB: u64 = 64 << 10;

fn main() {
    // `cargo test --benches` only asks whether it builds.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("SKIP tap: needs root");
        return;
    }
    let parts: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with("--")).collect();
    let wants = |part: &str| parts.is_empty() || parts.contains(&part);
    let place = Place::make();
    match &place.yardstick {
        Ok(_) => {}
        Err(why) => println!("the yardstick is left out: {why}"),
    }
    let rounds = std::env::var("OUTFLOW_BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    if wants("calls") {
        calls(&place, Flavour::Plain, rounds);
    }
    if wants("ex") {
        calls(&place, Flavour::Ex, rounds);
    }
    if wants("rates") {
        rates(&place);
    }
    if wants("unpaced") {
        unpaced(&place);
    }
    if wants("idle") {
        idle(&place);
    }
}

/// Cost of a call, by size and way.
fn calls(place: &Place, flavour: Flavour, rounds: usize) {
    let specs: Vec<Spec> = SIZES
        .iter()
        .map(|&(size, pairs)| {
            let burst = (BURST_BYTES / size).clamp(1, 500);
            Spec { size, pairs, burst, period_us: burst * size * 1_000_000 / BURST_BYTES_PER_SECOND }
        })
        .collect();
    let ways: Vec<Way> = match flavour {
        Flavour::Plain => {
            Way::ALL.into_iter().filter(|way| *way != Way::Yardstick || place.yardstick.is_ok()).collect()
        }
        // The yardstick's places are those of the plain calls.
        Flavour::Ex => vec![Way::Plain, Way::EmptyNaive, Way::EmptyChosen, Way::Tap],
    };
    let mut figures = Figures::default();
    for round in 0..rounds {
        eprintln!("{} calls, round {} of {rounds}", flavour.name(), round + 1);
        for way in &ways {
            figures.take(*way, way::run(place, *way, flavour, &specs));
        }
    }
    println!("\n{} and {}: p50 of a pair, ns (added); medians of {rounds} rounds", flavour.write(), flavour.read());
    figures.print_calls(&ways, &SIZES.map(|(size, _)| size), GATE);
}

/// The rates that the tap is to stand without a loss.
fn rates(place: &Place) {
    println!("\nrates: a pair is two calls of the size and, at 200 KiB, twelve reads more");
    for (calls_per_second, size, seconds) in RATES {
        let pairs_per_second = calls_per_second / 2;
        let burst = (pairs_per_second / 1000).max(1);
        let period_us = burst * 1_000_000 / pairs_per_second;
        let spec = Spec { size, pairs: pairs_per_second * seconds, burst, period_us };
        for way in [Way::Plain, Way::Yardstick, Way::Tap] {
            if way == Way::Yardstick && place.yardstick.is_err() {
                continue;
            }
            let run = way::run(place, way, Flavour::Plain, &[spec]);
            println!("  {}", told(&run, way, &format!("{calls_per_second} calls/s of {size} bytes wanted")));
        }
    }
}

/// As fast as the load can, which no scanner of the same two processors follows for long: what is lost is counted.
fn unpaced(place: &Place) {
    println!("\nunpaced, each size by itself");
    for (size, pairs) in SIZES {
        let spec = Spec { size, pairs: pairs * 2, burst: pairs, period_us: 0 };
        for way in [Way::Yardstick, Way::Tap] {
            if way == Way::Yardstick && place.yardstick.is_err() {
                continue;
            }
            let run = way::run(place, way, Flavour::Plain, &[spec]);
            println!("  {}", told(&run, way, &format!("{size} bytes")));
        }
    }
}

fn told(run: &Run, way: Way, what: &str) -> String {
    let Some(line) = run.lines.first() else { return format!("{what}: nothing was measured") };
    let calls_per_second = line.pairs as f64 * 2.0 / line.seconds;
    let gigabytes = (line.pairs * line.size * 2) as f64 / 1e9;
    let mut text = format!(
        "{what}, {}: {calls_per_second:.0} calls/s, p50 {:.0} ns, p99 {:.0} ns",
        way.name(),
        line.p50_ns,
        line.p99_ns
    );
    if let Some(watcher) = &run.watcher {
        text += &format!(
            ", lost {} of {} ({:.2} %), {:.2} CPU-s per GB, RSS {} MiB",
            watcher.lost,
            watcher.seen,
            watcher.lost as f64 * 100.0 / watcher.seen.max(1) as f64,
            line.watcher_cpu_seconds / gigabytes,
            watcher.rss_kib >> 10,
        );
    }
    text
}

/// Memory of a tap that is attached and has nothing to do.
fn idle(place: &Place) {
    println!();
    for (split, name) in [(false, "one process"), (true, "reader of two processes")] {
        let figures: Vec<_> = (0..3).map(|_| way::idle(place, split)).collect();
        let of = |pick: fn(&way::Idle) -> u64| middle(figures.iter().map(pick));
        let (rss, ring) = (of(|idle| idle.rss), of(|idle| idle.ring));
        println!(
            "idle, attached, {name}: RSS {} MiB, {} MiB without the ring's two mappings; attacher {} MiB: {}",
            rss >> 10,
            (rss - ring) >> 10,
            of(|idle| idle.attacher) >> 10,
            if rss <= IDLE_GOAL_KIB { "PASS" } else { "FAIL" },
        );
    }
    println!("(goal: RSS of at most {} MiB)", IDLE_GOAL_KIB >> 10);
}
