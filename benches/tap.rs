//! What the tap costs the tapped: nanoseconds that it adds to a TLS call, and what it loses, on this machine. Enters: nothing.
//! Leaves: a table. Three ways of the same load, in turns, in one run: not tapped; tapped, server not listed (nothing is
//! copied); tapped, server listed (everything is copied and assembled). It taps a private copy of libssl that only its own
//! load maps. Run by `cargo xtask bench tap`, as root.

#![allow(clippy::expect_used, reason = "a benchmark that cannot go on is to say so and end")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
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
    let (mut plain, mut unlisted, mut listed) = (Figures::new(), Figures::new(), Figures::new());
    let mut lost = 0;
    let mut rss_kib = 0;
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        take(&mut plain, run(folder.path(), &libraries, &load, LISTED, false).0);
        take(&mut unlisted, run(folder.path(), &libraries, &load, UNLISTED, true).0);
        let (figures, summary) = run(folder.path(), &libraries, &load, LISTED, true);
        take(&mut listed, figures);
        let summary = summary.expect("a tapped run has a summary");
        lost += summary.lost_calls;
        rss_kib = rss_kib.max(summary.rss_kib);
    }
    println!(
        "one pair = one SSL_write_ex and the SSL_read_ex calls that take it in; medians of {ROUNDS} runs of {PAIRS} pairs"
    );
    println!(
        "{:>6} {:>12} {:>22} {:>22} {:>8}",
        "bytes", "plain ns", "unlisted ns (added)", "listed ns (added)", "ratio"
    );
    for size in SIZES {
        let (base, drop, copy) = (median(&plain, size), median(&unlisted, size), median(&listed, size));
        println!(
            "{size:>6} {:>12.0} {:>22} {:>22} {:>8.2}",
            base.0,
            format!("{:.0} (+{:.0})", drop.0, drop.0 - base.0),
            format!("{:.0} (+{:.0})", copy.0, copy.0 - base.0),
            copy.0 / base.0,
        );
        println!("{:>6} {:>12.0} {:>22.0} {:>22.0}   p99", "", base.1, drop.1, copy.1);
    }
    println!("calls lost while listed: {lost}; agent's peak resident set: {} MiB", rss_kib / 1024);
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

struct Summary {
    lost_calls: u64,
    rss_kib: u64,
}

fn run(
    folder: &Path,
    libraries: &Path,
    load: &Path,
    host: &str,
    tapped: bool,
) -> (Vec<(usize, f64, f64)>, Option<Summary>) {
    let go = folder.join("go");
    let _ = fs::remove_file(&go);
    let data = folder.join("data.jsonl");
    let mut command = if tapped {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
        command.args(["tap", "--host", LISTED, "--output"]).arg(&data).arg("--").arg(load);
        command
    } else {
        Command::new(load)
    };
    command.arg(host).arg(&go).arg(PAIRS).args(SIZES.map(|size| size.to_string()));
    let mut child = command
        .env("LD_LIBRARY_PATH", libraries)
        .env("STATE_DIRECTORY", folder.join("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the load starts");
    // Both lines, in either order: the load is ready, and its library is tapped.
    let mut waiting = if tapped { 2 } else { 1 };
    let mut talk = BufReader::new(child.stderr.take().expect("piped")).lines();
    while waiting > 0 {
        let line = talk.next().expect("the load says READY before it ends").expect("text");
        waiting -= usize::from(line.starts_with("READY") || line.starts_with("outflow: tapping"));
    }
    fs::write(&go, "").expect("the go file");
    let rest = std::thread::spawn(move || talk.for_each(drop));
    let mut figures = Vec::new();
    let mut rss_kib = 0;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok) {
        rss_kib = peak_rss(&child);
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
        Summary { lost_calls, rss_kib }
    });
    (figures, summary)
}

fn peak_rss(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
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
