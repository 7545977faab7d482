//! What the behaviour detectors cost: time a call with ten thousand call sites in memory, and what they keep of a site. Enters: one
//! chat call with a tool's result and a reply in JSON, as the exchange room reads it, made into the calls of many services. Leaves:
//! one line a measurement: quantiles of the time that a session takes for a call (all detectors, and the masking of what they find), with a
//! call of a service that is known in the place of a ratio to anything else; and the bytes of saved state a site.
//!
//! `cargo bench -p outflow --bench detectors`. Environment: `OUTFLOW_BENCH_SITES` (default 10,000), `OUTFLOW_BENCH_ROUNDS` (default 12).
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on is to say so and end")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
};

use outflow::{
    cli::replay,
    clock,
    engine::{Rules, Session, Sink, Told},
    exchange::Exchange,
    findings::FingerprintKey,
    rules::{RuleSource, VendorTable},
    sources::{
        Origin, StreamId,
        replay::{Options, Record},
    },
    units::Timestamp,
};
use serde_json::json;

/// 23 November 2026, 00:00 UTC.
const BEGIN_NS: u64 = 1_795_392_000_000_000_000;
const MINUTE_NS: u64 = 60_000_000_000;

/// State by detector and key, its newest bytes.
type States = Arc<Mutex<HashMap<(&'static str, String), usize>>>;

/// A sink that keeps how large state is.
struct Kept(States);

impl Sink for Kept {
    fn told(&mut self, told: Told<'_>) -> io::Result<()> {
        let Ok(mut states) = self.0.lock() else { return Ok(()) };
        for state in told.states {
            let bytes = state.value.as_ref().map_or(0, String::len);
            states.insert((state.detector, state.key), bytes);
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn main() {
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (sites, rounds) = (number("OUTFLOW_BENCH_SITES", 10_000), number("OUTFLOW_BENCH_ROUNDS", 12));
    let rules = Rules::load(&RuleSource::Embedded, &[]).expect("the rules load");
    let states = States::default();
    let session = Session::new(&rules, FingerprintKey::new([7; 32]), Box::new(Kept(Arc::clone(&states))));
    let template = template();
    let mut times = Vec::new();
    for round in 0..rounds {
        times = Vec::with_capacity(usize::try_from(sites).unwrap_or_default());
        for site in 0..sites {
            let mut call = call_of(&template, site, round);
            session.complete(&mut call);
            let begun = clock::instant();
            session.record(&call, &[]);
            times.push(begun.elapsed().as_nanos());
        }
    }
    times.sort_unstable();
    let quantile = |share: usize| times.get(times.len() * share / 1000).copied().unwrap_or_default() as f64 / 1000.0;
    println!(
        "{sites} call sites, round {rounds}: a call takes p50 {:.1} us, p90 {:.1} us, p99 {:.1} us, p99.9 {:.1} us",
        quantile(500),
        quantile(900),
        quantile(990),
        quantile(999)
    );
    let states = states.lock().expect("nothing panicked");
    let mut by_detector: HashMap<&str, (usize, usize, usize)> = HashMap::new();
    for ((detector, _), bytes) in states.iter() {
        let (keys, sum, most) = by_detector.entry(detector).or_default();
        (*keys, *sum, *most) = (*keys + 1, *sum + bytes, (*most).max(*bytes));
    }
    let mut rows: Vec<_> = by_detector.into_iter().collect();
    rows.sort_unstable();
    for (detector, (keys, sum, most)) in rows {
        println!("{detector:<18} {keys:>6} keys, {:>5} bytes a key, at most {most}", sum / keys.max(1));
    }
}

/// One call, through rooms 2 and 3.
fn template() -> Exchange {
    let arguments = json!({"city": "Lisbon", "days": 3}).to_string();
    let body = json!({
        "model": "gpt-4o", "max_tokens": 300,
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
        "id": "chatcmpl-1", "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": reply.to_string()}}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 80, "total_tokens": 980},
    });
    let record = json!({
        "request": {"method": "POST", "url": "https://api.openai.com/v1/chat/completions", "headers": {}, "body": body.to_string()},
        "response": {"status": 200, "headers": {"content-type": "application/json"}, "body": answer.to_string()},
    });
    let record = Record::parse(record.to_string().as_bytes()).expect("the record is one");
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).expect("the vendors load"));
    let inputs = record.inputs(StreamId(1), Timestamp(BEGIN_NS), Options::default());
    replay::exchanges(&inputs, &vendors).pop().expect("there is one call")
}

/// The same as a call of another service, a minute later each round.
fn call_of(template: &Exchange, site: u64, round: u64) -> Exchange {
    let mut call = template.clone();
    let at = Timestamp(BEGIN_NS + round * MINUTE_NS + site * 1000);
    let service = format!("service-{site}");
    call.origin = Arc::new(Origin { service, process: "python3.11".into(), pid: 7, ..Origin::default() });
    call.stream = StreamId(site);
    (call.started_at, call.ended_at, call.first_token_at) = (at, Timestamp(at.0 + 900_000_000), None);
    call.usage.output_tokens = Some(70 + (site * 7 + round * 13) % 40);
    call
}
