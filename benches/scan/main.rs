//! Speed of the leak scanner, MB (10^6 bytes) per CPU second. Enters: a deterministic synthetic corpus (JSON
//! logs, access logs, chat bodies, streamed events, stack traces; one planted value in 16 KB). Leaves: one line a measurement.
//! The last lines are those of `outflow scan`: the same corpus as a file, against the bare scanner on the same blocks.
//!
//! `cargo bench -p outflow --bench scan`. Environment: `OUTFLOW_BENCH_MB` sets the corpus size (default 64);
//! `OUTFLOW_BENCH_ONLY` leaves out the measurements whose name does not hold it, and the files.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{error::Error, fs, hint::black_box, sync::Arc};

use outflow::{
    detectors::scan::{Backend, LogLines, RuleSet, Scanner},
    engine::{Rules, ScanOptions, Scanned, scan_files},
    findings::FingerprintKey,
    rules::RuleSource,
    sources::{
        files::{Target, Walked},
        log::{CutLimits, LineCutter, Position},
    },
};

mod corpus;
mod speed;

fn main() -> Result<(), Box<dyn Error>> {
    let megabytes: usize = std::env::var("OUTFLOW_BENCH_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    let started = speed::cpu_seconds();
    let rules = RuleSet::load(&RuleSource::Embedded)?;
    let loaded = speed::cpu_seconds();
    println!("machine: {}", machine());
    println!("rules: {}, {:.0} ms to load", rules.len(), (loaded - started) * 1e3);
    for backend in Backend::all() {
        let started = speed::cpu_seconds();
        Scanner::new(Arc::clone(&rules), *backend)?;
        println!("start of {}: {:.0} ms, self-test included", backend.name(), (speed::cpu_seconds() - started) * 1e3);
    }
    println!("pure DFA {} KB", rules.pure_bytes()? / 1000);
    let values: Vec<String> = rules.loaded().flat_map(|loaded| loaded.examples.iter().take(1).cloned()).collect();
    let mixed = corpus::corpus(megabytes * 1_000_000, &values, corpus::MIXED);
    speed::run("mixed", &rules, &mixed)?;
    speed::run("chat", &rules, &corpus::corpus(megabytes * 1_000_000, &values, corpus::CHAT))?;
    if std::env::var_os("OUTFLOW_BENCH_ONLY").is_some() {
        return Ok(());
    }
    files(&mixed)
}

/// `outflow scan` of one file, with one worker: reading, cutting, scanning, masking, fingerprints, counting.
fn files(text: &[u8]) -> Result<(), Box<dyn Error>> {
    // Memory, so that no disk is measured.
    let folder = tempfile::Builder::new().prefix("outflow-bench").tempdir_in("/dev/shm")?;
    let path = folder.path().join("app.log");
    fs::write(&path, text)?;
    let rules = Rules::load(&RuleSource::Embedded, &[])?;
    let (mut cutter, mut cuts) = (LineCutter::new(CutLimits::default(), Position::default()), Vec::new());
    cutter.push(text, &mut cuts);
    cutter.finish(&mut cuts);
    let mut scanner = Scanner::new(Arc::clone(&rules.scan), Backend::best())?;
    let bare = speed::best(text.len(), || {
        let mut found = 0;
        for cut in &cuts {
            found += scanner.scan(black_box(&cut.bytes), &LogLines::new(&cut.bytes))?.matches.len();
        }
        Ok(found)
    })?;
    println!(
        "files: {:8.0} MB/s  1.000  {} over {} blocks, {} matches",
        bare.0,
        Backend::best().name(),
        cuts.len(),
        bare.1
    );
    let key = FingerprintKey::new([7; 32]);
    let options = ScanOptions { workers: 1, ..ScanOptions::default() };
    let whole = speed::best(text.len(), || {
        let walk = [Walked::Target(Target::Path(path.clone()))];
        let mut seen = 0;
        scan_files(&rules, &key, walk, &options, &mut |scanned| {
            if let Scanned::Finding(finding) = scanned {
                seen += usize::try_from(finding.count).unwrap_or(0);
            }
            true
        })?;
        Ok(seen)
    })?;
    println!("files: {:8.0} MB/s  {:.3}  outflow scan, {} leaks", whole.0, whole.0 / bare.0, whole.1);
    Ok(())
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cpus} CPUs, {}", model.unwrap_or("unknown CPU"), std::env::consts::ARCH)
}
