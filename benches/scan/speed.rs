//! The scanner against the bare library in the same run. Enters: rules and a text. Leaves: a line a measurement, MB (10^6 bytes) per
//! CPU second, and the ratio to a scan that only asks Vectorscan for 88 patterns with a literal and does nothing with the answers.

use std::{error::Error, hint::black_box, ops::Range, sync::Arc};

use outflow::detectors::scan::{Backend, Lines, RuleSet, Scanner, Segments, Whole};
use rustix::time::{ClockId, clock_gettime};

/// As many as the measurement has that the gates come from.
#[cfg(feature = "vectorscan")]
const BARE_PATTERNS: usize = 88;
const BLOCK_BYTES: usize = 16 * 1024;
const ROUNDS: usize = 3;

/// 105 rules as the first measurement had them: credentials, and these of the others.
const MIXED_SECRETS: usize = 87;
const MIXED_PII: [&str; 18] = [
    "pii.br-cpf",
    "pii.ca-sin",
    "pii.credit-card",
    "pii.email",
    "pii.fr-nir",
    "pii.iban",
    "pii.in-aadhaar",
    "pii.ipv4-public",
    "pii.ipv6-public",
    "pii.phone-international",
    "pii.phone-us",
    "pii.uk-nhs",
    "pii.uk-nino",
    "pii.us-bank-routing",
    "pii.us-itin",
    "pii.us-ssn",
    "pii.mac-address",
    "pii.bitcoin-address",
];

/// How a block is looked at.
#[derive(Clone, Copy)]
enum Cut {
    /// It is one segment.
    Block,
    /// Its lines are segments.
    Lines,
    /// A call a line.
    Calls,
}

/// Measures all sets, backends and cuts on one text.
pub(crate) fn run(name: &str, rules: &Arc<RuleSet>, text: &[u8]) -> Result<(), Box<dyn Error>> {
    let blocks = blocks(text);
    let newlines = best(text.len(), || Ok(memchr::memchr_iter(b'\n', black_box(text)).count()))?;
    println!("{name}: {:8.0} MB/s         count newlines ({} lines)", newlines.0, newlines.1);
    let bare = bare(name, rules, text, &blocks)?;
    // Such as `vectorscan of all, blocks of lines`, or a part of it.
    let only = std::env::var("OUTFLOW_BENCH_ONLY").ok();
    let is_secret = |index: usize| rules.rule(index).is_some_and(|rule| rule.id.starts_with("secret."));
    let mut secrets = 0;
    let mixed: Vec<bool> = (0..rules.len())
        .map(|index| {
            secrets += usize::from(is_secret(index));
            let id = rules.rule(index).map_or("", |rule| rule.id.as_str());
            (is_secret(index) && secrets <= MIXED_SECRETS) || MIXED_PII.contains(&id)
        })
        .collect();
    let sets = [
        ("all", Arc::clone(rules)),
        ("credentials", rules.without(|index| !is_secret(index))),
        ("105", rules.without(|index| !mixed.get(index).copied().unwrap_or(false))),
    ];
    for (set, rules) in &sets {
        for backend in Backend::all() {
            let mut scanner = Scanner::new(Arc::clone(rules), *backend)?;
            for (cut, said) in [(Cut::Block, "blocks"), (Cut::Lines, "blocks of lines"), (Cut::Calls, "a call a line")]
            {
                let what = format!("{} of {set}, {said}", backend.name());
                if !only.as_ref().is_none_or(|only| what.contains(only.as_str())) {
                    continue;
                }
                let measured = best(text.len(), || scan_all(&mut scanner, text, &blocks, cut))?;
                println!(
                    "{name}: {:8.0} MB/s  {:.3}  {} of {set} ({} rules), {said}, {} matches",
                    measured.0,
                    measured.0 / bare,
                    backend.name(),
                    rules.len(),
                    measured.1,
                );
            }
        }
    }
    Ok(())
}

/// What the ratios are taken to.
#[cfg(feature = "vectorscan")]
fn bare(name: &str, rules: &Arc<RuleSet>, text: &[u8], blocks: &[Range<usize>]) -> Result<f64, Box<dyn Error>> {
    let mut bare = outflow::detectors::scan::prefilter::vectorscan::Bare::new(rules, BARE_PATTERNS)?;
    let measured = best(text.len(), || {
        let mut ends = 0;
        for block in blocks {
            ends += bare.count(black_box(text.get(block.clone()).unwrap_or_default()))?;
        }
        Ok(ends)
    })?;
    println!("{name}: {:8.0} MB/s  1.000  bare Vectorscan, {} patterns, {} ends", measured.0, bare.len(), measured.1);
    Ok(measured.0)
}

/// Without the library there is nothing to compare with.
#[cfg(not(feature = "vectorscan"))]
#[expect(clippy::unnecessary_wraps, reason = "as the other one")]
fn bare(_: &str, _: &Arc<RuleSet>, _: &[u8], _: &[Range<usize>]) -> Result<f64, Box<dyn Error>> {
    Ok(f64::NAN)
}

fn scan_all(scanner: &mut Scanner, text: &[u8], blocks: &[Range<usize>], cut: Cut) -> Result<usize, Box<dyn Error>> {
    let mut found = 0;
    for block in blocks {
        let block = text.get(block.clone()).unwrap_or_default();
        let (lines, whole) = (Lines(block), Whole { length: block.len() });
        let segments: &dyn Segments = match cut {
            Cut::Block => &whole,
            Cut::Lines => &lines,
            Cut::Calls => {
                for line in block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    found += scanner.scan(black_box(line), &Whole { length: line.len() })?.matches.len();
                }
                continue;
            }
        };
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
pub(crate) fn best(
    bytes: usize,
    mut work: impl FnMut() -> Result<usize, Box<dyn Error>>,
) -> Result<(f64, usize), Box<dyn Error>> {
    let mut best = (0.0_f64, 0);
    for _ in 0..ROUNDS {
        let before = cpu_seconds();
        let result = work()?;
        let speed = bytes as f64 / 1e6 / (cpu_seconds() - before);
        best = (best.0.max(speed), result);
    }
    Ok(best)
}

pub(crate) fn cpu_seconds() -> f64 {
    // Of the whole program: `outflow scan` has threads. Nothing else runs in it.
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
