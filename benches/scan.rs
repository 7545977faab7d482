//! Speed of the leak scanner, MB (10^6 bytes) per CPU second. Enters: a deterministic synthetic corpus (JSON
//! logs, access logs, chat bodies, streamed events, stack traces; one planted value in 16 KB). Leaves: one line a measurement.
//! The last lines are those of `outflow scan`: the same corpus as a file, against the bare scanner on the same blocks.
//!
//! `cargo bench -p outflow --bench scan`. Environment: `OUTFLOW_BENCH_MB` sets the corpus size (default 64).
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{error::Error, fmt::Write as _, fs, hint::black_box, ops::Range, sync::Arc};

use outflow::{
    detectors::scan::{Backend, Lines, LogLines, RuleSet, Scanner, Segments, Whole},
    engine::{Rules, ScanOptions, Scanned, scan_files},
    findings::FingerprintKey,
    rules::RuleSource,
    sources::{
        files::{Target, Walked},
        log::{CutLimits, LineCutter, Position},
    },
};
use rustix::time::{ClockId, clock_gettime};

const BLOCK_BYTES: usize = 16 * 1024;
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let megabytes: usize = std::env::var("OUTFLOW_BENCH_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    let rules = RuleSet::load(&RuleSource::Embedded)?;
    let values: Vec<String> = rules.loaded().flat_map(|loaded| loaded.examples.iter().take(1).cloned()).collect();
    let corpora = [
        ("mixed", corpus(megabytes * 1_000_000, &values, MIXED)),
        ("chat", corpus(megabytes * 1_000_000, &values, CHAT)),
    ];
    println!("machine: {}", machine());
    println!("rules: {}, pure DFA {} KB, blocks of {BLOCK_BYTES} bytes", rules.len(), rules.pure_bytes()? / 1000);
    for (name, text) in &corpora {
        let blocks = blocks(text);
        let baseline = best(text.len(), || Ok(memchr::memchr_iter(b'\n', black_box(text)).count()))?;
        println!("{name}: {:8.0} MB/s  1.00  count newlines ({} lines)", baseline.0, baseline.1);
        for backend in Backend::all() {
            for by_line in [false, true] {
                let mut scanner = Scanner::new(Arc::clone(&rules), *backend)?;
                let measured = best(text.len(), || scan_all(&mut scanner, text, &blocks, by_line))?;
                println!(
                    "{name}: {:8.0} MB/s  {:.3}  {} ({}, {} matches)",
                    measured.0,
                    measured.0 / baseline.0,
                    backend.name(),
                    if by_line { "lines are segments" } else { "a block is a segment" },
                    measured.1,
                );
            }
        }
    }
    let [(_, text), _] = &corpora;
    files(text)
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
    let bare = best(text.len(), || {
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
    let whole = best(text.len(), || {
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

fn scan_all(
    scanner: &mut Scanner,
    text: &[u8],
    blocks: &[Range<usize>],
    by_line: bool,
) -> Result<usize, Box<dyn Error>> {
    let mut found = 0;
    for block in blocks {
        let block = text.get(block.clone()).unwrap_or_default();
        let (lines, whole) = (Lines(block), Whole { length: block.len() });
        let segments: &dyn Segments = if by_line { &lines } else { &whole };
        found += scanner.scan(black_box(block), segments)?.matches.len();
    }
    Ok(found)
}

/// Blocks end at a line end, as the log reader cuts them.
fn blocks(text: &[u8]) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let aim = (start + BLOCK_BYTES).min(text.len());
        let end = text.get(start..aim).and_then(|part| memchr::memrchr(b'\n', part)).map_or(aim, |at| start + at + 1);
        out.push(start..end);
        start = end;
    }
    out
}

/// The best of some rounds: megabytes per CPU second, and what the last round returned.
fn best(bytes: usize, mut work: impl FnMut() -> Result<usize, Box<dyn Error>>) -> Result<(f64, usize), Box<dyn Error>> {
    let mut best = (0.0_f64, 0);
    for _ in 0..ROUNDS {
        let before = cpu_seconds();
        let result = work()?;
        let speed = bytes as f64 / 1e6 / (cpu_seconds() - before);
        best = (best.0.max(speed), result);
    }
    Ok(best)
}

fn cpu_seconds() -> f64 {
    // Of the whole program: `outflow scan` has threads. Nothing else runs in it.
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cpus} CPUs, {}", model.unwrap_or("unknown CPU"), std::env::consts::ARCH)
}

type Line = fn(&mut Random, &mut String);
const MIXED: &[Line] = &[json_log, access_log, chat, event, trace, json_log, access_log];
const CHAT: &[Line] = &[chat];

fn corpus(bytes: usize, values: &[String], lines: &[Line]) -> Vec<u8> {
    let mut random = Random(20_261_123);
    let mut text = String::with_capacity(bytes + BLOCK_BYTES);
    let (mut next_plant, mut planted) = (BLOCK_BYTES / 2, 0);
    while text.len() < bytes {
        if text.len() >= next_plant {
            text.push_str(values.get(planted % values.len()).map_or("", String::as_str));
            text.push('\n');
            planted += 1;
            next_plant += BLOCK_BYTES;
        }
        if let Some(line) = lines.get(random.below(lines.len())) {
            line(&mut random, &mut text);
        }
    }
    text.into_bytes()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }
}

const WORDS: [&str; 32] = [
    "the", "model", "request", "we", "can", "cache", "of", "user", "to", "service", "answer", "token", "is", "in",
    "and", "order", "failed", "because", "a", "stream", "with", "retry", "function", "password", "reset", "page",
    "for", "invoice", "summary", "please", "explain", "it",
];

fn prose(random: &mut Random, words: usize, out: &mut String) {
    for index in 0..words {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(WORDS.get(random.below(WORDS.len())).copied().unwrap_or(""));
    }
}

// Writing to a string cannot fail, so the results below are dropped.

fn json_log(random: &mut Random, out: &mut String) {
    let (second, millis, status) = (random.below(60), random.below(1000), 200 + random.below(5));
    let _ = write!(
        out,
        "{{\"timestamp\":\"2026-11-23T10:{:02}:{second:02}.{millis:03}Z\",\"level\":\"info\",\"service\":\"checkout\",\"trace_id\":\
         \"{:016x}{:016x}\",\"duration_ms\":{},\"status\":{status},\"msg\":\"",
        random.below(60),
        random.next(),
        random.next(),
        random.below(5000)
    );
    prose(random, 12, out);
    out.push_str("\"}\n");
}

fn access_log(random: &mut Random, out: &mut String) {
    let _ = writeln!(
        out,
        "10.{}.{}.{} - - [23/Nov/2026:10:{:02}:{:02} +0000] \"GET /api/v2/items/{} HTTP/1.1\" 200 {} \"https://shop.fake.invalid/cart\" \
         \"Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0.0.0 Safari/537.36\"",
        random.below(256),
        random.below(256),
        random.below(256),
        random.below(60),
        random.below(60),
        random.below(100_000),
        random.below(50_000)
    );
}

fn chat(random: &mut Random, out: &mut String) {
    out.push_str("{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"system\",\"content\":\"");
    prose(random, 40, out);
    out.push_str("\"},{\"role\":\"user\",\"content\":\"");
    prose(random, 120, out);
    let _ = writeln!(out, "\"}}],\"temperature\":0.{},\"max_tokens\":{}}}", random.below(10), 100 + random.below(4000));
}

fn event(random: &mut Random, out: &mut String) {
    let _ = write!(
        out,
        "data: {{\"id\":\"chatcmpl-{:016x}\",\"object\":\"chat.completion.chunk\",\"created\":17953{:05},\"choices\":[{{\"index\":0,\
         \"delta\":{{\"content\":\" ",
        random.next(),
        random.below(100_000)
    );
    prose(random, 1, out);
    out.push_str("\"},\"finish_reason\":null}]}\n\n");
}

fn trace(random: &mut Random, out: &mut String) {
    for depth in 0..8 {
        let _ = writeln!(
            out,
            "    at com.acme.orders.{}Service.handle{}({}Service.java:{}) ~[orders-2.{depth}.{}.jar:?]",
            ["Cart", "Billing", "Mail"].get(random.below(3)).copied().unwrap_or(""),
            random.below(100),
            ["Cart", "Billing", "Mail"].get(random.below(3)).copied().unwrap_or(""),
            random.below(900),
            random.below(40)
        );
    }
}
