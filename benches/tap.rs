//! What the tap costs the tapped: nanoseconds that it adds to a TLS call, and what it loses, on this machine. Enters: nothing.
//! Leaves: a table. Four ways of the same load, in turns, in one run: not tapped; tapped, server not listed (nothing is
//! copied); tapped, server listed (everything is copied and assembled); the same with the probes in a process of their own. It taps a private copy of libssl that only its own
//! load maps. Run by `cargo xtask bench tap`, as root.

#![allow(clippy::expect_used, reason = "a benchmark that cannot go on is to say so and end")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use outflow::{
    rules::{RuleSource, VendorTable},
    sources::tap::{Attacher, Scope, Settings, Tap},
};

const ROUNDS: usize = 5;
const PAIRS: &str = "20000";
const SIZES: [usize; 4] = [64, 1024, 4096, 16384];
const LISTED: &str = "bench.outflow.test";
const UNLISTED: &str = "www.example.test";

/// Median and 99th percentile, nanoseconds a pair, by size.
type Figures = BTreeMap<usize, Vec<(f64, f64)>>;

fn main() {
    // `cargo test --benches` only asks whether it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("SKIP tap: needs root");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let load = build_load(folder.path());
    let libraries = private_libraries(folder.path(), &load);
    println!("{}", machine());
    let (mut plain, mut unlisted, mut listed, mut split) =
        (Figures::new(), Figures::new(), Figures::new(), Figures::new());
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        take(&mut plain, run(folder.path(), &libraries, &load, LISTED, Way::Plain).0);
        take(&mut unlisted, run(folder.path(), &libraries, &load, UNLISTED, Way::OneProcess).0);
        for (way, into, summaries) in
            [(Way::OneProcess, &mut listed, &mut one), (Way::TwoProcesses, &mut split, &mut two)]
        {
            let (figures, summary) = run(folder.path(), &libraries, &load, LISTED, way);
            take(into, figures);
            summaries.push(summary.expect("a tapped run has a summary"));
        }
    }
    println!(
        "one pair = one SSL_write_ex and the SSL_read_ex calls that take it in; medians of {ROUNDS} runs of {PAIRS} pairs"
    );
    println!(
        "{:>6} {:>12} {:>22} {:>22} {:>8} {:>24} {:>9}",
        "bytes", "plain ns", "unlisted ns (added)", "listed ns (added)", "ratio", "two processes (added)", "two / one"
    );
    for size in SIZES {
        let (base, drop, copy) = (median(&plain, size), median(&unlisted, size), median(&listed, size));
        let apart = median(&split, size);
        println!(
            "{size:>6} {:>12.0} {:>22} {:>22} {:>8.2} {:>24} {:>9.2}",
            base.0,
            format!("{:.0} (+{:.0})", drop.0, drop.0 - base.0),
            format!("{:.0} (+{:.0})", copy.0, copy.0 - base.0),
            copy.0 / base.0,
            format!("{:.0} (+{:.0})", apart.0, apart.0 - base.0),
            apart.0 / copy.0,
        );
        println!("{:>6} {:>12.0} {:>22.0} {:>22.0} {:>8} {:>24.0}   p99", "", base.1, drop.1, copy.1, "", apart.1);
    }
    let (one_ms, two_ms) = starts(&libraries);
    println!("the tap alone, from nothing to a probed library: one process {one_ms} ms, two processes {two_ms} ms");
    for (name, summaries) in [("one process", &one), ("two processes", &two)] {
        let lost: u64 = summaries.iter().map(|summary| summary.lost_calls).sum();
        println!("{name}: calls lost while listed {lost}; medians of {ROUNDS} runs:");
        println!("  start to tapped {} ms", middle(summaries.iter().map(|summary| summary.start_ms)));
        for (part, pick) in
            [("reader", Summary::of_reader as fn(&Summary) -> Memory), ("attacher", Summary::of_attacher)]
        {
            println!(
                "  {part}: RSS {} KiB, PSS {} KiB, peak RSS {} KiB",
                middle(summaries.iter().map(|summary| pick(summary).rss)),
                middle(summaries.iter().map(|summary| pick(summary).pss)),
                middle(summaries.iter().map(|summary| pick(summary).peak)),
            );
        }
    }
}

/// From nothing to a probed library, without the rest of the agent: milliseconds in this process, and in two.
fn starts(libraries: &Path) -> (u64, u64) {
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).expect("the built-in rules"));
    let known = [libraries.join("libssl.so.3")];
    let settings = Settings::default();
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begin_ms = now_ms();
        let tap = Tap::start(&Scope::Children, &known, settings, &vendors, |_| true, |_| {}).expect("a tap");
        one.push(now_ms() - begin_ms);
        tap.stop().expect("its end");
        let begin_ms = now_ms();
        let attacher = Attacher::spawn_program(Path::new(env!("CARGO_BIN_EXE_outflow"))).expect("an attacher");
        let tap = Tap::start_apart(attacher, &Scope::Children, &known, settings, &vendors, |_| true, |_| {});
        two.push(now_ms() - begin_ms);
        tap.expect("a tap").stop().expect("its end");
    }
    (middle(one), middle(two))
}

fn middle(values: impl IntoIterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.into_iter().collect();
    values.sort_unstable();
    values[values.len() / 2]
}

fn build_load(folder: &Path) -> PathBuf {
    let out = folder.join("tls_load");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/tap/tls_load.c");
    let status = Command::new("cc").args(["-O2", "-o"]).arg(&out).arg(source).args(["-lssl", "-lcrypto"]).status();
    assert!(status.is_ok_and(|status| status.success()), "cc failed: apt-get install gcc libssl-dev");
    out
}

/// Copies of libssl and libcrypto that nothing else on this machine maps.
fn private_libraries(folder: &Path, load: &Path) -> PathBuf {
    let listing = Command::new("ldd").arg(load).output().expect("ldd");
    let private = folder.join("lib");
    fs::create_dir(&private).expect("a folder");
    for line in String::from_utf8_lossy(&listing.stdout).lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some("=>"), Some(path)) = (words.next(), words.next(), words.next())
            && (name.starts_with("libssl") || name.starts_with("libcrypto"))
        {
            fs::copy(path, private.join(name)).expect("a private copy");
        }
    }
    private
}

/// How the load is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    OneProcess,
    TwoProcesses,
}

/// Of one process, at the end of the load; KiB.
#[derive(Clone, Copy, Default)]
struct Memory {
    rss: u64,
    pss: u64,
    peak: u64,
}

struct Summary {
    lost_calls: u64,
    start_ms: u64,
    reader: Memory,
    attacher: Memory,
}

impl Summary {
    fn of_reader(&self) -> Memory {
        self.reader
    }

    fn of_attacher(&self) -> Memory {
        self.attacher
    }
}

fn run(
    folder: &Path,
    libraries: &Path,
    load: &Path,
    host: &str,
    way: Way,
) -> (Vec<(usize, f64, f64)>, Option<Summary>) {
    let tapped = way != Way::Plain;
    let go = folder.join("go");
    let _ = fs::remove_file(&go);
    let data = folder.join("data.jsonl");
    let mut command = if tapped {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
        command.args(["tap", "--host", LISTED]);
        if way == Way::TwoProcesses {
            command.arg("--split");
        }
        command.arg("--output").arg(&data).arg("--").arg(load);
        command
    } else {
        Command::new(load)
    };
    command.arg(host).arg(&go).arg(PAIRS).args(SIZES.map(|size| size.to_string()));
    let begin_ms = now_ms();
    let mut child = command
        .env("LD_LIBRARY_PATH", libraries)
        .env("STATE_DIRECTORY", folder.join("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the load starts");
    // Both lines, in either order: the load is ready, and its library is tapped.
    let mut waiting = if tapped { 2 } else { 1 };
    let mut start_ms = 0;
    let mut talk = BufReader::new(child.stderr.take().expect("piped")).lines();
    while waiting > 0 {
        let line = talk.next().expect("the load says READY before it ends").expect("text");
        let tapping = line.starts_with("outflow: tapping");
        if tapping {
            start_ms = now_ms() - begin_ms;
        }
        waiting -= usize::from(line.starts_with("READY") || tapping);
    }
    fs::write(&go, "").expect("the go file");
    let rest = std::thread::spawn(move || talk.for_each(drop));
    let mut figures = Vec::new();
    let (mut reader, mut attacher) = (Memory::default(), Memory::default());
    for line in BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok) {
        (reader, attacher) = (memory(child.id()), attacher_of(&child).map(memory).unwrap_or_default());
        let words: Vec<&str> = line.split(' ').collect();
        if let [size, _, median, p99] = words[..] {
            let number = |word: &str| word.parse::<f64>().expect("a number");
            figures.push((size.parse().expect("a size"), number(median), number(p99)));
        }
    }
    assert!(child.wait().expect("an exit status").success(), "the load failed");
    rest.join().expect("the talk ends");
    let summary = tapped.then(|| {
        let text = fs::read_to_string(&data).expect("the data file");
        let last: serde_json::Value = serde_json::from_str(text.lines().last().expect("a summary")).expect("JSON");
        // The load's bytes are no HTTP: the summary says so too, but without bytes, since none were lost.
        let losses = last["losses"].as_array().into_iter().flatten();
        let lost_calls = losses.filter(|loss| loss["bytes"] != 0).filter_map(|loss| loss["calls"].as_u64()).sum();
        Summary { lost_calls, start_ms, reader, attacher }
    });
    (figures, summary)
}

fn memory(pid: u32) -> Memory {
    let read = |file: &str, name: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    Memory { rss: read("smaps_rollup", "Rss"), pss: read("smaps_rollup", "Pss"), peak: read("status", "VmHWM") }
}

/// The attaching process: the child that is not the load.
fn attacher_of(child: &Child) -> Option<u32> {
    let pid = child.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let is_attacher =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "outflow-attach\n");
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_attacher)
}

fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

fn take(into: &mut Figures, figures: Vec<(usize, f64, f64)>) {
    for (size, median, p99) in figures {
        into.entry(size).or_default().push((median, p99));
    }
}

fn median(figures: &Figures, size: usize) -> (f64, f64) {
    let of = |pick: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = figures[&size].iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (of(|pair| pair.0), of(|pair| pair.1))
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_start_matches(['\t', ':', ' ']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {} cores, Linux {}", std::thread::available_parallelism().map_or(0, usize::from), kernel.trim())
}
