//! Properties over the recorded exchanges: what is understood does not depend on where pieces end; with bytes lost nothing is
//! wrong, only missing; bytes that were tampered with end nothing and pass no bound. The recordings are not in this repository:
//! `OUTFLOW_EXCHANGES` names their folder; `OUTFLOW_REQUIRE_EXCHANGES=1` makes their absence a failure.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Exchange, Leaves,
    fuzz::{assert_same, check, run},
};
use crate::{
    assembly::Limits,
    rules::{RuleSource, VendorTable},
    sources::{
        Direction, Input, StreamEvent, StreamId,
        replay::{
            Options, Record,
            WireVersion::{self, H1, H2},
        },
    },
    units::Timestamp,
};

/// Cuts of every recording.
const SPLIT_SEEDS: u64 = 3;
/// Losses of every recording.
const DROP_SEEDS: u64 = 10;
/// Ways to tamper with every recording.
const MUTATIONS: u64 = 8;

/// Bounds that a tampered recording may reach.
const TIGHT: Limits = Limits {
    connections: 8,
    buffered_bytes: 256 << 10,
    head_bytes: 16 << 10,
    body_bytes: 64 << 10,
    inflate_ratio: 200,
    outstanding: 8,
};

/// A recording's file name, and the recording.
struct Case {
    name: String,
    record: Record,
}

fn cases() -> Vec<Case> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/exchanges");
    let folder = env::var_os("OUTFLOW_EXCHANGES").map_or(default, PathBuf::from).join("data");
    let Ok(entries) = fs::read_dir(&folder) else {
        let required = env::var_os("OUTFLOW_REQUIRE_EXCHANGES").is_some_and(|value| value == "1");
        assert!(!required, "no recorded exchanges in {}", folder.display());
        println!("skipped: no recorded exchanges in {} (set OUTFLOW_EXCHANGES)", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let cases: Vec<_> =
        paths.iter().map(|path| Case { name: name(path), record: Record::read(path).unwrap() }).collect();
    assert!(cases.len() >= 400, "only {} records found", cases.len());
    cases
}

fn vendors() -> Arc<VendorTable> {
    Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap())
}

fn inputs(case: &Case, wire: WireVersion, split: Option<u64>, drop: Option<u64>) -> Vec<Input> {
    case.record.inputs(StreamId(1), Timestamp(1), Options { split, drop, wire })
}

/// Runs a check on every recording, on as many threads as there are processors, and fails with all that is wrong.
fn over_all(name: &str, check: impl Fn(&Case, &Arc<VendorTable>) -> Vec<String> + Sync) {
    let (cases, vendors) = (cases(), vendors());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let share = cases.len().div_ceil(threads).max(1);
        let (check, vendors) = (&check, &vendors);
        let workers: Vec<_> = cases
            .chunks(share)
            .map(|cases| {
                scope.spawn(move || {
                    let of = |case: &Case| {
                        let name = case.name.clone();
                        check(case, vendors).into_iter().map(move |line| format!("{name}: {line}"))
                    };
                    cases.iter().flat_map(of).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    println!("{name}: {} recordings, {} wrong", cases.len(), wrong.len());
    let shown = wrong.iter().take(40).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} wrong:\n{shown}", wrong.len());
}

/// A whole run of a recording: one exchange.
fn whole(case: &Case, wire: WireVersion, vendors: &Arc<VendorTable>) -> Exchange {
    let mut found = run(&inputs(case, wire, None, None), Limits::default(), vendors).exchanges;
    assert_eq!(found.len(), 1, "{}: exchanges", case.name);
    found.remove(0)
}

#[test]
fn any_cut_gives_the_same_facts_and_text() {
    over_all("cuts", |case, vendors| {
        for wire in [H1, H2] {
            let whole = [whole(case, wire, vendors)];
            check(&whole[0]);
            for seed in 0..SPLIT_SEEDS {
                assert_same(&whole, &run(&inputs(case, wire, Some(seed), None), Limits::default(), vendors).exchanges);
            }
        }
        Vec::new()
    });
}

#[test]
fn every_protocol_gives_the_same_facts_and_text() {
    over_all("protocols", |case, vendors| {
        // The bytes of the bodies are the same; that of chunks and frames are no part of them.
        assert_same(&[whole(case, H1, vendors)], &[whole(case, H2, vendors)]);
        Vec::new()
    });
}

#[test]
fn with_losses_no_fact_is_wrong() {
    over_all("losses", |case, vendors| {
        let whole = whole(case, H1, vendors);
        let mut wrong = Vec::new();
        for seed in 0..DROP_SEEDS {
            for (wire, split) in [H1, H2].into_iter().flat_map(|wire| [(wire, None), (wire, Some(seed))]) {
                let lossy = run(&inputs(case, wire, split, Some(seed)), Limits::default(), vendors);
                for exchange in &lossy.exchanges {
                    check(exchange);
                    let found = wrong_facts(exchange, &whole).into_iter().chain(wrong_text(exchange, &whole));
                    wrong.extend(found.map(|what| format!("{what} ({wire:?}, split {split:?}, drop {seed})")));
                }
            }
        }
        wrong
    });
}

/// Facts of a lossy run that are neither those of the whole run nor missing.
fn wrong_facts(lossy: &Exchange, whole: &Exchange) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |name: &str, lossy: Option<String>, whole: Option<String>| {
        if lossy.is_some() && lossy != whole {
            wrong.push(format!("{name}: {lossy:?}, not {whole:?}"));
        }
    };
    let text = |value: &Option<String>| value.clone();
    compare("request_model", text(&lossy.request_model), text(&whole.request_model));
    compare("response_model", text(&lossy.response_model), text(&whole.response_model));
    compare("response_id", text(&lossy.response_id), text(&whole.response_id));
    compare("service_tier", text(&lossy.service_tier), text(&whole.service_tier));
    compare("usage_tier", text(&lossy.usage_tier), text(&whole.usage_tier));
    compare("system_fingerprint", text(&lossy.system_fingerprint), text(&whole.system_fingerprint));
    compare("error", text(&lossy.error), text(&whole.error));
    compare("conversation", text(&lossy.conversation), text(&whole.conversation));
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    let (usage, all) = (&lossy.usage, &whole.usage);
    compare("input_tokens", number(usage.input_tokens), number(all.input_tokens));
    compare("output_tokens", number(usage.output_tokens), number(all.output_tokens));
    compare("cache_read_tokens", number(usage.cache_read_tokens), number(all.cache_read_tokens));
    compare("cache_write_tokens", number(usage.cache_write_tokens), number(all.cache_write_tokens));
    compare("cache_write_1h_tokens", number(usage.cache_write_1h_tokens), number(all.cache_write_1h_tokens));
    compare("reasoning_tokens", number(usage.reasoning_tokens), number(all.reasoning_tokens));
    let cost = |exchange: &Exchange| exchange.reported_cost.map(|cost| cost.0.to_string());
    compare("reported_cost", cost(lossy), cost(whole));
    compare("status", lossy.status.map(|status| status.to_string()), whole.status.map(|status| status.to_string()));
    let said = |is_true: bool| is_true.then(|| "true".to_owned());
    compare("streaming", said(lossy.streaming), said(whole.streaming));
    compare("vendor", lossy.vendor.as_deref().map(str::to_owned), whole.vendor.as_deref().map(str::to_owned));
    compare(
        "usage_requested",
        lossy.usage_requested.map(|is| is.to_string()),
        whole.usage_requested.map(|is| is.to_string()),
    );
    for (name, lossy, whole) in [
        ("finish_reasons", &lossy.finish_reasons, &whole.finish_reasons),
        ("tool_calls", &lossy.tool_calls, &whole.tool_calls),
        ("server_tool_calls", &lossy.server_tool_calls, &whole.server_tool_calls),
    ] {
        if !is_part(lossy, whole) {
            wrong.push(format!("{name}: {lossy:?}, not in {whole:?}"));
        }
    }
    if !lossy.tool_results.iter().all(|result| whole.tool_results.contains(result)) {
        wrong.push(format!("tool_results: {:?}, not in {:?}", lossy.tool_results, whole.tool_results));
    }
    if lossy.mcp.as_ref().is_some_and(|lossy| {
        let whole = whole.mcp.clone().unwrap_or_default();
        let is_new = |lossy: &Option<String>, whole: &Option<String>| lossy.is_some() && lossy != whole;
        is_new(&lossy.method, &whole.method)
            || is_new(&lossy.id, &whole.id)
            || is_new(&lossy.tool, &whole.tool)
            || is_new(&lossy.session, &whole.session)
            || is_new(&lossy.version, &whole.version)
            || (lossy.tool_failed && !whole.tool_failed)
    }) {
        wrong.push(format!("mcp: {:?}, not {:?}", lossy.mcp, whole.mcp));
    }
    wrong
}

/// Whether a list is another one with some of its entries missing.
fn is_part(part: &[String], whole: &[String]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|entry| rest.any(|other| other == entry))
}

/// Text of a lossy run that the whole run does not have.
fn wrong_text(lossy: &Exchange, whole: &Exchange) -> Vec<String> {
    let both = [
        ("request", &lossy.request_text, &whole.request_text),
        ("response", &lossy.response_text, &whole.response_text),
    ];
    both.into_iter()
        .flat_map(|(side, lossy, whole)| invented(lossy, whole).map(move |what| format!("{side} {what}")))
        .collect()
}

/// Leaves of which a longer stretch is in no leaf of the other text. Text that is opened when it is whole (JSON in a string, a
/// data URL) stands as it came when it is cut, so words are compared, not leaves: a word that was sent is in the whole text
/// too, unless it is cut itself.
fn invented<'a>(lossy: &'a Leaves, whole: &Leaves) -> impl Iterator<Item = String> + use<'a> {
    let mut texts: BTreeMap<&str, &str> = BTreeMap::new();
    for (path, range) in whole.iter() {
        texts.insert(path, &whole.text()[range]);
    }
    let words: BTreeSet<&str> = whole.text().split(|c: char| !c.is_alphanumeric()).collect();
    let all = whole.text();
    let is_known = |word: &str| words.contains(word) || all.contains(word);
    let wrong: Vec<String> = lossy
        .iter()
        .filter_map(|(path, range)| {
            let text = &lossy.text()[range];
            if texts.get(path).is_some_and(|whole| whole.contains(text)) {
                return None;
            }
            let word = text.split(|c: char| !c.is_alphanumeric()).find(|word| !is_known(word))?;
            Some(format!("text {path}: `{word:.60}` of `{text:.120}`"))
        })
        .collect();
    wrong.into_iter()
}

#[test]
fn tampered_bytes_end_nothing_and_pass_no_bound() {
    over_all("tampered", |case, vendors| {
        for seed in 0..MUTATIONS {
            let wire = if seed % 2 == 0 { H1 } else { H2 };
            for exchange in run(&tampered(inputs(case, wire, Some(seed), None), seed), TIGHT, vendors).exchanges {
                check(&exchange);
            }
        }
        Vec::new()
    });
}

/// The same inputs with bits turned, pieces shortened, repeated or swapped, and positions that jump.
fn tampered(mut inputs: Vec<Input>, seed: u64) -> Vec<Input> {
    let mut random = Random(seed);
    for _ in 0..1 + inputs.len() / 50 {
        let at = random.below(inputs.len());
        let other = random.below(inputs.len());
        let what = random.below(9);
        if what == 0 {
            inputs.swap(at, other);
            continue;
        }
        let copy = inputs[at].clone();
        let StreamEvent::Bytes { direction, offset, bytes } = &mut inputs[at].event else { continue };
        let mut owned = bytes.to_vec();
        let place = random.below(owned.len());
        match what {
            1 | 2 => owned[place] ^= 1 << random.below(8),
            3 => owned.truncate(place),
            4 => *offset = offset.saturating_sub(random.below(5000) as u64),
            5 => *offset = offset.saturating_add(random.below(5000) as u64),
            6 => *offset = u64::MAX - random.below(3) as u64,
            7 => *direction = if *direction == Direction::Sent { Direction::Received } else { Direction::Sent },
            _ => inputs.insert(other, copy),
        }
        if let (1..=3, StreamEvent::Bytes { bytes, .. }) = (what, &mut inputs[at].event) {
            *bytes = Bytes::from(owned);
        }
    }
    inputs
}

/// SplitMix64: the same seed, the same bytes.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}
