//! Properties over the recorded exchanges: what is understood does not depend on where pieces end; with bytes lost nothing is
//! wrong, only missing; bytes that were tampered with end nothing and pass no bound. The recordings are not in this repository:
//! `OUTFLOW_EXCHANGES` names their folder; `OUTFLOW_REQUIRE_EXCHANGES=1` makes their absence a failure.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::{
    assembly::Limits,
    exchange::{
        Exchange, Leaves,
        fuzz::{assert_same, check, run},
    },
    rules::{RuleSource, VendorTable},
    sources::{
        Direction, Input, StreamEvent, StreamId,
        replay::{Answer, Options, Record, WireVersion},
    },
    units::Timestamp,
};

/// Every recording goes over each.
const WIRES: [WireVersion; 2] = [WireVersion::H1, WireVersion::H2];
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
    /// The file as it is, and what its base64 and gzip hold.
    raw: String,
}

impl Case {
    /// A session over a WebSocket: several exchanges, and never HTTP/2.
    fn is_session(&self) -> bool {
        matches!(self.record.answer, Answer::Session(_))
    }
}

fn cases() -> Vec<Case> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/exchanges");
    let folder = env::var_os("OUTFLOW_EXCHANGES").map_or(default, PathBuf::from);
    let (Ok(calls), Ok(sessions)) = (fs::read_dir(folder.join("data")), fs::read_dir(folder.join("realtime"))) else {
        let required = env::var_os("OUTFLOW_REQUIRE_EXCHANGES").is_some_and(|value| value == "1");
        assert!(!required, "no recorded exchanges in {}", folder.display());
        println!("skipped: no recorded exchanges in {} (set OUTFLOW_EXCHANGES)", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<_> = calls.chain(sessions).map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let case = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let record = Record::parse(text.as_bytes()).unwrap();
        let mut raw = text + &String::from_utf8_lossy(&record.request.body);
        if let Answer::Http(response) = &record.answer {
            raw += &String::from_utf8_lossy(&response.body);
            let mut plain = Vec::new();
            if MultiGzDecoder::new(response.body.as_slice()).read_to_end(&mut plain).is_ok() {
                raw += &String::from_utf8_lossy(&plain);
            }
        }
        Case { name: name(path), record, raw }
    };
    let cases: Vec<_> = paths.iter().map(case).collect();
    assert!(cases.len() >= 420, "only {} records found", cases.len());
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
        // A seed gives sessions other peers too, with other frames: the tests of sessions know what may differ.
        for wire in WIRES.into_iter().filter(|_| !case.is_session()) {
            let whole = [whole(case, wire, vendors)];
            check(&whole[0]);
            for seed in 0..SPLIT_SEEDS {
                let cut = run(&inputs(case, wire, Some(seed), None), Limits::default(), vendors).exchanges;
                assert_same(&whole, &cut);
            }
        }
        Vec::new()
    });
}

#[test]
fn every_protocol_gives_the_same_facts_and_text() {
    over_all("protocols", |case, vendors| {
        // The bytes of the bodies are the same; that of chunks and frames are no part of them.
        if !case.is_session() {
            assert_same(&[whole(case, WireVersion::H1, vendors)], &[whole(case, WireVersion::H2, vendors)]);
        }
        Vec::new()
    });
}

/// Recordings whose arguments are not all told: a call that is broken off by another message, one without arguments, and two whose
/// arguments come in Google's pieces.
const UNTOLD: [&str; 4] = ["0320", "0331", "0345", "0352"];

#[test]
fn every_tool_call_has_its_arguments() {
    over_all("arguments", |case, vendors| {
        if case.is_session() || UNTOLD.iter().any(|id| case.name.starts_with(id)) {
            return Vec::new();
        }
        let exchange = whole(case, WireVersion::H1, vendors);
        if !exchange.succeeded() || !crate::exchange::written::is_written(exchange.api) {
            return Vec::new();
        }
        // Items of OpenAI's own tools have their kind for a name, and arguments of a form of their own.
        let is_named = |name: &&str| !name.is_empty() && !name.ends_with("_call");
        let called: Vec<&str> = exchange.tool_calls.iter().map(String::as_str).filter(is_named).collect();
        let told = &exchange.written.tool_arguments;
        let names: Vec<&str> = told.iter().map(|call| call.tool.as_str()).collect();
        let mut wrong: Vec<String> =
            told.iter().filter(|call| call.form.json().is_none()).map(|call| format!("{call:?}")).collect();
        if names != called {
            wrong.push(format!("calls {called:?}, arguments of {names:?}"));
        }
        wrong
    });
}

#[test]
fn with_losses_no_fact_is_wrong() {
    over_all("losses", |case, vendors| {
        let mut wrong = Vec::new();
        // Which turn of a session is which after a loss, the tests of sessions know.
        for wire in WIRES.into_iter().filter(|_| !case.is_session()) {
            let whole = whole(case, wire, vendors);
            for seed in 0..DROP_SEEDS {
                for split in [None, Some(seed), Some(seed + 1000)] {
                    let lossy = run(&inputs(case, wire, split, Some(seed)), Limits::default(), vendors);
                    for exchange in &lossy.exchanges {
                        check(exchange);
                        let facts = wrong_facts(exchange, &whole, &case.raw);
                        let found = facts.into_iter().chain(wrong_text(exchange, &whole, &case.raw));
                        wrong.extend(found.map(|what| format!("{what} ({wire:?}, split {split:?}, drop {seed})")));
                    }
                }
            }
        }
        wrong
    });
}

/// Facts of a lossy run that are neither those of the whole run nor missing.
fn wrong_facts(lossy: &Exchange, whole: &Exchange, raw: &str) -> Vec<String> {
    // Some recorders laid several answers end to end, which no vendor does: the facts are those of the last one that was seen.
    let starts = |word: &str| raw.matches(word).count();
    if starts(r#"\"message_start\""#) > 1 || starts(r#"\"response.created\""#) > 1 {
        return Vec::new();
    }
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
    // A failed answer whose body was lost says no more than its status does.
    let is_status = lossy.status == whole.status && lossy.error == lossy.status.map(|status| format!("http_{status}"));
    if !is_status || whole.error.is_none() {
        compare("error", text(&lossy.error), text(&whole.error));
    }
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

/// Text of a lossy run that was not sent.
fn wrong_text(lossy: &Exchange, whole: &Exchange, raw: &str) -> Vec<String> {
    let request = invented(&lossy.request_text, &whole.request_text, raw);
    // A stream whose request was lost is of no known shape: all strings at one path are joined there, and words with them.
    let is_joined = lossy.streaming && lossy.api != whole.api;
    let response = if is_joined { Vec::new() } else { invented(&lossy.response_text, &whole.response_text, raw) };
    let side = |side: &'static str| move |what: String| format!("{side} {what}");
    request.into_iter().map(side("request")).chain(response.into_iter().map(side("response"))).collect()
}

/// Leaves with a word that stands neither in the leaf of the same path of the whole run, nor in its other text, nor in the
/// recording. What is opened when it is whole (JSON in a string) stands as it came when it is cut, with its keys and numbers.
fn invented(lossy: &Leaves, whole: &Leaves, raw: &str) -> Vec<String> {
    let texts: BTreeMap<&str, &str> = whole.iter().map(|(path, range)| (path, &whole.text()[range])).collect();
    let is_opened =
        |path: &str| texts.keys().any(|other| other.strip_prefix(path).is_some_and(|o| o.starts_with(".$")));
    let wrong = lossy.iter().filter_map(|(path, range)| {
        let text = &lossy.text()[range];
        if texts.get(path).is_some_and(|whole| whole.contains(text))
            || (text.starts_with(['{', '[']) && is_opened(path))
        {
            return None;
        }
        let is_sent = |word: &str| whole.text().contains(word) || raw.contains(word);
        let word = text.split(|c: char| !c.is_alphanumeric()).find(|word| !is_sent(word))?;
        Some(format!("text {path}: `{word:.60}` of `{text:.120}`"))
    });
    wrong.collect()
}

#[test]
fn tampered_bytes_end_nothing_and_pass_no_bound() {
    over_all("tampered", |case, vendors| {
        for (wire, seed) in WIRES.into_iter().flat_map(|wire| (0..MUTATIONS).map(move |seed| (wire, seed))) {
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
    for _ in 0..=inputs.len() / 50 {
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
            1 | 2 if owned.is_empty() => continue, // cut to nothing before
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
