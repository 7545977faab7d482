//! What the behaviour detectors cost with ten thousand call sites in memory, and what they keep of a site. Enters: chat calls with a
//! tool's result and a reply in JSON, as the exchange room reads them, made into the calls of many services, one round a minute. Leaves:
//! processor time of the thread that records a call, quantiles over all calls of the last rounds, for calls in which nothing is found
//! and for calls with two findings each: of all detectors, and of the session, which makes the findings too; with nobody who keeps
//! anything, and with a store that keeps everything as the agent does it, and then what the store's thread takes for a call; each
//! detector alone; and the bytes of state that are stored.
//!
//! `cargo bench -p outflow --bench detectors`. Environment: `OUTFLOW_BENCH_SITES` (default 10,000), `OUTFLOW_BENCH_ROUNDS` (default 14, the
//! last three are measured).
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on is to say so and end")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};

use outflow::{
    cli::replay,
    clock,
    detectors::{Detector, Hit},
    engine::{Durable, Rules, Session, Sink, Told, behaviour_detectors},
    exchange::Exchange,
    findings::FingerprintKey,
    rules::{RuleSource, VendorTable},
    sources::{
        Origin, StreamId,
        replay::{Options, Record},
    },
    store::{Batch, Limits, Receipt, Store, WhenFull},
    units::Timestamp,
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 23 November 2026, 00:00 UTC.
const BEGIN_NS: u64 = 1_795_392_000_000_000_000;
const MINUTE_NS: u64 = 60_000_000_000;
/// Rounds that are measured.
const MEASURED: u64 = 3;

/// Calls that are made before they are recorded: few, for the agent has just read the call that it records.
const AT_ONCE: usize = 4;

/// A model in which there is nothing to find, and one that can change and is near its end: two findings a call.
const MODELS: [(&str, &str, &str); 2] =
    [("gpt-5.4-2026-03-05", "gpt-5.4-2026-03-05", "nothing found"), ("gpt-4o", "gpt-4o-2024-08-06", "two findings")];

/// How many call sites there are.
#[derive(Clone, Copy)]
struct Sites {
    all: u64,
    /// Each service asks at so many of them, with another system prompt each.
    of_a_service: u64,
}

/// A sink that keeps nothing.
struct Nobody;

impl Sink for Nobody {
    fn told(&mut self, _told: Told<'_>) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nanoseconds that calls took.
#[derive(Default)]
struct Times(Vec<u64>);

impl Times {
    /// `p50 1.0 us, p90 …`
    fn shown(&mut self) -> String {
        self.0.sort_unstable();
        let quantile =
            |share: usize| self.0.get(self.0.len() * share / 1000).copied().unwrap_or_default() as f64 / 1000.0;
        let [p50, p90, p99, last] = [500, 900, 990, 999].map(quantile);
        format!("p50 {p50:>5.1}, p90 {p90:>5.1}, p99 {p99:>5.1}, p99.9 {last:>6.1} us")
    }
}

fn main() {
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (sites, rounds) = (number("OUTFLOW_BENCH_SITES", 10_000), number("OUTFLOW_BENCH_ROUNDS", 14));
    let rules = Rules::load(&RuleSource::Embedded, &[]).expect("the rules load");
    for of_a_service in [20, 1] {
        let sites = Sites { all: sites, of_a_service };
        println!(
            "\n{} call sites, {of_a_service} a service, {rounds} rounds; reading the clock takes {:.1} us and is part of each figure",
            sites.all,
            clock_us()
        );
        for (asked, answered, what) in MODELS {
            let template = template(asked, answered);
            detected(&rules, &template, (sites, rounds), what);
            together(&rules, &template, (sites, rounds), what);
            alone(&rules, &template, (sites, rounds), what);
        }
    }
}

/// What reading the clock twice takes.
fn clock_us() -> f64 {
    let begun = clock::thread_cpu_ns();
    for _ in 0..10_000 {
        std::hint::black_box(clock::thread_cpu_ns());
    }
    (clock::thread_cpu_ns() - begun) as f64 / 10_000.0 / 1000.0
}

/// Processor time of all threads but this one. The kernel keeps the two clocks apart, so the difference of a moment may be less than nothing.
fn others_cpu_ns() -> u64 {
    process_cpu_ns().saturating_sub(clock::thread_cpu_ns())
}

/// Calls of a round, a few at a time, complete as a session makes them.
fn each_few(session: &Session, template: &Exchange, sites: Sites, round: u64, mut look: impl FnMut(&[Exchange])) {
    for site in (0..sites.all).step_by(AT_ONCE) {
        let some = site..sites.all.min(site + AT_ONCE as u64);
        let mut few: Vec<Exchange> = some.map(|site| call_of(template, site, sites, round)).collect();
        for call in &mut few {
            session.complete(call);
        }
        look(&few);
    }
}

/// All detectors on each call, as a session asks them. What they find is dropped: no finding is made of it.
fn detected(rules: &Rules, template: &Exchange, (sites, rounds): (Sites, u64), what: &str) {
    let session = Session::new(rules, FingerprintKey::new([7; 32]), Box::new(Nobody));
    let mut detectors = behaviour_detectors(rules);
    let (mut times, mut hits) = (Times::default(), 0_u64);
    for round in 0..rounds {
        each_few(&session, template, sites, round, |few| {
            for call in few {
                let begun = clock::thread_cpu_ns();
                let mut states = Vec::new();
                for detector in &mut detectors {
                    detector.inspect(call, &mut |hit: Hit<'_>| {
                        hits += 1;
                        drop(std::hint::black_box(hit));
                    });
                    detector.changes(&mut |change| states.push(change));
                }
                drop(std::hint::black_box(states));
                if round + MEASURED >= rounds {
                    times.0.push(clock::thread_cpu_ns() - begun);
                }
            }
        });
    }
    println!("\n{what}, the detectors of a call ({hits} hits in all)");
    println!("  no finding made   {}", times.shown());
}

/// All detectors, through a session.
fn together(rules: &Rules, template: &Exchange, (sites, rounds): (Sites, u64), what: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    // Room for a whole round: the session is not to wait for the disk, which is slower than calls are made here.
    let limits = Limits { queue: usize::try_from(sites.all).unwrap_or(usize::MAX), ..Limits::default() };
    let store = Arc::new(Store::open(&folder.path().join("bench.db"), limits).expect("a store"));
    let durable = Durable::new(Arc::clone(&store), WhenFull::Wait, 60 * MINUTE_NS);
    let session = |sink: Box<dyn Sink>| Session::new(rules, FingerprintKey::new([7; 32]), sink);
    let (mut behind_ns, mut calls) = (0, 0);
    let mut times_of = |session: &Session| {
        let mut times = Times::default();
        for round in 0..rounds {
            let is_measured = round + MEASURED >= rounds;
            let before = others_cpu_ns();
            each_few(session, template, sites, round, |few| {
                for call in few {
                    let begun = clock::thread_cpu_ns();
                    session.record(call, &[]);
                    if is_measured {
                        times.0.push(clock::thread_cpu_ns() - begun);
                    }
                }
            });
            store.submit(Batch::default()).and_then(Receipt::wait).expect("what is before it is kept as well");
            if is_measured {
                behind_ns += others_cpu_ns().saturating_sub(before);
                calls += sites.all;
            }
        }
        times
    };
    // One after the other: a store at work takes the caches from who is measured beside it.
    let mut plain_times = times_of(&session(Box::new(Nobody)));
    let kept = session(Box::new(durable));
    let mut kept_times = times_of(&kept);
    println!("\n{what}, a call as the session records it");
    println!("  nobody keeps it   {}", plain_times.shown());
    println!("  a store keeps it  {}", kept_times.shown());
    println!("  the store's thread, beside it: {:.1} us a call", 2.0 * behind_ns as f64 / calls.max(1) as f64 / 1000.0);
    kept.finish().expect("the store takes everything");
}

/// Each detector by itself: what it takes to look, and to hand its state on.
fn alone(rules: &Rules, template: &Exchange, (sites, rounds): (Sites, u64), what: &str) {
    let mut unnamed = ["pinning", "untracked_spend", "no_limit", "retries"].into_iter();
    let mut all: Vec<Alone> = behaviour_detectors(rules)
        .into_iter()
        .map(|detector| {
            let name = if detector.name().is_empty() { unnamed.next().unwrap_or("?") } else { detector.name() };
            Alone { detector, name, times: Times::default(), findings: 0, states: BTreeMap::new() }
        })
        .collect();
    let session = Session::new(rules, FingerprintKey::new([7; 32]), Box::new(Nobody));
    for round in 0..rounds {
        each_few(&session, template, sites, round, |few| {
            for alone in &mut all {
                alone.look(few, round + MEASURED >= rounds);
            }
        });
    }
    println!("{what}, each detector by itself");
    for Alone { name, mut times, findings, states, .. } in all {
        let bytes: usize = states.values().sum();
        let most = states.values().max().copied().unwrap_or_default();
        let state = if states.is_empty() {
            "no state".to_owned()
        } else {
            format!("{} states of {} bytes, at most {most}", states.len(), bytes / states.len())
        };
        println!("  {name:<20} {}, {findings} findings, {state}", times.shown());
    }
}

struct Alone {
    detector: Box<dyn Detector + Send>,
    name: &'static str,
    times: Times,
    findings: usize,
    states: BTreeMap<String, usize>,
}

impl Alone {
    fn look(&mut self, calls: &[Exchange], is_measured: bool) {
        let Self { detector, times, findings, states, .. } = self;
        let mut changes = HashMap::new();
        for call in calls {
            let mut hits = 0;
            let mut told = Vec::new();
            let begun = clock::thread_cpu_ns();
            detector.inspect(call, &mut |hit: Hit<'_>| {
                hits += 1;
                drop(std::hint::black_box(hit));
            });
            detector.changes(&mut |change| told.push(change));
            if is_measured {
                times.0.push(clock::thread_cpu_ns() - begun);
                *findings += hits;
            }
            // As a store has it that has not yet written: until a later call changes the same.
            changes.extend(told.into_iter().map(|change| (change.key.clone(), change)));
        }
        for change in changes.into_values() {
            match change.text() {
                Some(text) => states.insert(change.key, text.len()),
                None => states.remove(&change.key),
            };
        }
    }
}

/// Processor time of all threads so far.
fn process_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// One call, through rooms 2 and 3.
fn template(asked: &str, answered: &str) -> Exchange {
    let arguments = json!({"city": "Lisbon", "days": 3}).to_string();
    let body = json!({
        "model": asked, "max_tokens": 300,
        "response_format": {"type": "json_schema", "json_schema": {"name": "forecast", "schema":
            {"type": "object", "required": ["city", "days"], "properties": {"city": {"type": "string"}, "days": {"type": "array"}}}}},
        "messages": [
            {"role": "system", "content": "You are a forecaster. Answer in JSON and nothing else."},
            {"role": "user", "content": "What will the weather be like in Lisbon on the three days to come?"},
            {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function",
                "function": {"name": "forecast", "arguments": arguments}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny, 21; cloudy, 19; rain, 17"},
        ],
    });
    let reply = json!({"city": "Lisbon", "days": [{"sky": "sunny", "high": 21}, {"sky": "cloudy", "high": 19}]});
    let answer = json!({
        "id": "chatcmpl-1", "model": answered,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": reply.to_string()}}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 80, "total_tokens": 980},
    });
    let record = json!({
        "request": {"method": "POST", "url": "https://api.openai.com/v1/chat/completions", "headers": {"authorization": "Bearer sk-proj-FAKEfakeFAKEfakeFAKEfakeFAKE"},
            "body": body.to_string()},
        "response": {"status": 200, "headers": {"content-type": "application/json"}, "body": answer.to_string()},
    });
    let record = Record::parse(record.to_string().as_bytes()).expect("the record is one");
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).expect("the vendors load"));
    let inputs = record.inputs(StreamId(1), Timestamp(BEGIN_NS), Options::default());
    replay::exchanges(&inputs, &vendors).pop().expect("there is one call")
}

/// The same as a call of another site, a minute later each round.
fn call_of(template: &Exchange, site: u64, sites: Sites, round: u64) -> Exchange {
    let mut call = template.clone();
    let at = Timestamp(BEGIN_NS + round * MINUTE_NS + site * 1000);
    let service = format!("service-{}", site / sites.of_a_service);
    call.asking.system_digest = Some(site % sites.of_a_service);
    call.origin = Arc::new(Origin { service, process: "python3.11".into(), pid: 7, ..Origin::default() });
    call.stream = StreamId(site);
    (call.started_at, call.ended_at, call.first_token_at) = (at, Timestamp(at.0 + 900_000_000), None);
    call.usage.output_tokens = Some(70 + (site * 7 + round * 13) % 40);
    call
}
