//! Ingest and search made by hand: what must be seen, and what looks like it and is none.

use std::sync::Arc;

use globset::Glob;

use super::{MaxAge, Retrieval};
use crate::{
    detectors::{
        Detector, Hit,
        chance::{Chance, whole},
    },
    exchange::{Api, Dates, Exchange, Purpose, RetrievalFacts, Vector, sample},
    sources::Origin,
    units::Timestamp,
};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// Day of [`sample::MIDNIGHT`] since 1970: 2026-11-23.
const TODAY: u32 = 20_780;

fn call(service: &str, pid: u32, second: u64, api: Api, facts: RetrievalFacts) -> Exchange {
    let mut call = sample::exchange("qdrant", "");
    call.origin = Arc::new(Origin { service: service.into(), pid, ..(*call.origin).clone() });
    call.host = "abc.cloud.qdrant.io".into();
    call.api = api;
    (call.request_model, call.response_model) = (None, None);
    call.started_at = Timestamp(sample::MIDNIGHT.0 + second * 1_000_000_000);
    call.ended_at = Timestamp(call.started_at.0 + 100_000_000);
    call.asking.body_digest = Some(second);
    call.retrieval = Some(Box::new(facts));
    call
}

fn vectors(digests: &[u64], dimensions: u32) -> Vec<Vector> {
    digests.iter().map(|digest| Vector { digest: *digest, dimensions }).collect()
}

fn embed(service: &str, second: u64, model: &str, digests: &[u64], dimensions: u32) -> Exchange {
    let items = digests.len() as u64;
    let facts = RetrievalFacts {
        items,
        input_bytes: items * 1000,
        vectors: vectors(digests, dimensions),
        ..Default::default()
    };
    let mut call = call(service, 1, second, Api::Embeddings, facts);
    call.vendor = Some("openai".into());
    call.host = "api.openai.com".into();
    call.request_model = Some(model.into());
    call
}

fn write(service: &str, second: u64, index: &str, digests: &[u64], dimensions: u32) -> Exchange {
    let facts = RetrievalFacts {
        index: Some(index.into()),
        items: digests.len() as u64,
        vectors: vectors(digests, dimensions),
        ..Default::default()
    };
    call(service, 1, second, Api::VectorUpsert, facts)
}

fn search(service: &str, second: u64, index: &str, digest: u64, dimensions: u32) -> Exchange {
    let facts = RetrievalFacts {
        index: Some(index.into()),
        vectors: vectors(&[digest], dimensions),
        matches: Some(3),
        matches_digest: Some(second),
        ..Default::default()
    };
    call(service, 1, second, Api::VectorQuery, facts)
}

fn told_by(detector: &mut Retrieval, calls: &[Exchange]) -> Vec<String> {
    let mut seen = Vec::new();
    for call in calls {
        detector.inspect(call, &mut |hit| match hit {
            Hit::Behaviour(hit) => {
                seen.push(format!("{} {} {}: {}", hit.rule, hit.severity, hit.confidence, hit.title));
            }
            Hit::Leak(_) => panic!("this detector knows no leaks"),
        });
    }
    seen
}

fn new() -> Retrieval {
    Retrieval::new(Arc::default())
}

fn told(calls: &[Exchange]) -> Vec<String> {
    told_by(&mut new(), calls)
}

/// Six documents that `model` made, written to `index` by a job of its own.
fn ingest(second: u64, index: &str, model: &str, dimensions: u32) -> Vec<Exchange> {
    let digests: Vec<u64> = (0..6).map(|number| second * 100 + number).collect();
    vec![
        embed("indexer", second, model, &digests, dimensions),
        write("indexer", second + 1, index, &digests, dimensions),
    ]
}

/// A question that `model` turned into a vector.
fn ask(second: u64, index: &str, model: &str, dimensions: u32) -> Vec<Exchange> {
    let digest = 1_000_000_000 + second;
    vec![embed("chat", second, model, &[digest], dimensions), search("chat", second + 1, index, digest, dimensions)]
}

fn flat(parts: &[Vec<Exchange>]) -> Vec<Exchange> {
    parts.concat()
}

const SMALL: &str = "text-embedding-3-small";
const ADA: &str = "text-embedding-ada-002";

#[test]
fn another_model_than_the_index_holds() {
    let mut calls =
        flat(&[ingest(0, "notes", ADA, 1536), ask(100, "notes", SMALL, 1536), ask(200, "notes", SMALL, 1536)]);
    let expected = [
        "retrieval.model_mismatch high 95: `notes` holds vectors of `text-embedding-ada-002` and is searched with vectors of `text-embedding-3-small`",
    ];
    assert_eq!(told(&calls), expected);
    // The indexer works through other models too, at the same time: the vectors themselves say whose they are.
    calls.insert(1, embed("indexer", 0, SMALL, &[77], 1536));
    calls.insert(0, embed("chat", 0, ADA, &[78], 1536));
    assert_eq!(told(&calls), expected);

    // Vectors that were not seen, of a process that asks one model: less sure, and only from twenty on.
    let unseen = |vectors: u64| {
        let digests: Vec<u64> = (0..vectors).collect();
        let mut store = write("indexer", 1, "notes", &digests, 1536);
        store.retrieval.as_mut().unwrap().vectors = super::tests::vectors(&[999], 1536);
        let asks = (1..4).flat_map(|turn| ask(turn * 100, "notes", SMALL, 1536)).collect();
        flat(&[vec![embed("indexer", 0, ADA, &[1], 1536), store], asks])
    };
    let seen = told(&unseen(20));
    assert!(seen.len() == 1 && seen[0].starts_with("retrieval.model_mismatch medium 60"), "{seen:?}");
    assert_eq!(told(&unseen(19)), [""; 0]);
    let mut twice = unseen(20);
    twice.truncate(6);
    assert_eq!(told(&twice), [""; 0], "a vector of old, once or twice");
}

#[test]
fn another_length_than_the_index_holds() {
    let mut refused = ask(100, "notes", SMALL, 512);
    refused[1].status = Some(400);
    refused[1].error = Some("http_400".into());
    refused[1].retrieval.as_mut().unwrap().matches = None;
    let seen = told(&flat(&[ingest(0, "notes", SMALL, 1536), refused.clone()]));
    let expected =
        "retrieval.model_mismatch high 90: `notes` holds vectors of 1536 numbers and is searched with one of 512";
    assert_eq!(seen, [expected]);
    // Another reason to refuse it.
    let mut wrong = ask(100, "notes", SMALL, 1536);
    wrong[1].status = Some(400);
    assert_eq!(told(&flat(&[ingest(0, "notes", SMALL, 1536), wrong])), [""; 0]);
    assert_eq!(told(&refused), [""; 0], "nobody knows what the index holds");
}

#[test]
fn models_that_fit() {
    let two = {
        let mut both = ingest(0, "notes", ADA, 1536);
        both.insert(1, embed("indexer", 0, SMALL, &[500, 501], 512));
        both[2].retrieval.as_mut().unwrap().vectors.extend(vectors(&[500, 501], 512));
        both
    };
    let pair = |model: &str| ask(100, "notes", model, 1024);
    let unknown = vec![write("indexer", 0, "notes", &[1, 2, 3, 4, 5, 6], 1536)];
    let few = {
        let mut one = ingest(0, "notes", ADA, 1536);
        one[1].retrieval.as_mut().unwrap().items = 1;
        one
    };
    let cases = [
        ("the same model", flat(&[ingest(0, "notes", SMALL, 1536), ask(100, "notes", SMALL, 1536)])),
        ("another index", flat(&[ingest(0, "notes", ADA, 1536), ask(100, "tickets", SMALL, 1536)])),
        ("two vectors a record", flat(&[two, ask(100, "notes", SMALL, 512), ask(200, "notes", ADA, 1536)])),
        (
            "a pair of models",
            flat(&[ingest(0, "notes", "solar-embedding-1-large-passage", 1024), pair("solar-embedding-1-large-query")]),
        ),
        ("a family with one space", flat(&[ingest(0, "notes", "voyage-4-large", 1024), pair("voyage-4-lite")])),
        ("vectors that nobody saw made", flat(&[unknown, ask(100, "notes", SMALL, 1536)])),
        ("too few of them", flat(&[few, ask(100, "notes", SMALL, 1536)])),
        (
            "searched by text",
            flat(&[
                ingest(0, "notes", ADA, 1536),
                vec![{
                    let mut text = search("chat", 100, "notes", 0, 0);
                    text.retrieval.as_mut().unwrap().vectors.clear();
                    text
                }],
            ]),
        ),
        // Written anew with another model, and searched with that.
        (
            "a move in place",
            flat(&[
                ingest(0, "notes", ADA, 1536),
                ask(100, "notes", ADA, 1536),
                ingest(5 * HOUR, "notes", SMALL, 1536),
                ask(6 * HOUR, "notes", SMALL, 1536),
            ]),
        ),
    ];
    for (name, calls) in cases {
        assert_eq!(told(&calls), [""; 0], "{name}");
    }
    // After the move, a service that was forgotten.
    let forgotten = flat(&[
        ingest(0, "notes", ADA, 1536),
        ingest(5 * HOUR, "notes", SMALL, 1536),
        ask(6 * HOUR, "notes", ADA, 1536),
    ]);
    assert_eq!(told(&forgotten).len(), 1);
    // A name that was moved to a new index cannot be told from a mistake: it is said with little confidence.
    let moved = flat(&[
        ingest(0, "notes", ADA, 1536),
        ingest(HOUR, "notes-2", SMALL, 1536),
        ask(2 * HOUR, "notes", SMALL, 1536),
    ]);
    let seen = told(&moved);
    assert!(seen.len() == 1 && seen[0].starts_with("retrieval.model_mismatch medium 50"), "{seen:?}");
}

/// Writes at these times, and a search every six hours from the last one on.
fn written_then_searched(writes: &[u64], until: u64) -> Vec<Exchange> {
    let last = *writes.last().unwrap();
    let mut calls: Vec<Exchange> =
        writes.iter().map(|second| write("indexer", *second, "notes", &[*second], 1536)).collect();
    calls.extend(
        (0..)
            .map(|step| last + step * 6 * HOUR)
            .take_while(|second| *second < until)
            .map(|second| search("chat", second, "notes", second, 1536)),
    );
    calls
}

#[test]
fn an_index_that_is_not_written_any_more() {
    let daily: Vec<u64> = (0..9).map(|day| day * DAY).collect();
    let seen = told(&written_then_searched(&daily, 11 * DAY));
    let expected = [
        "retrieval.stale medium 80: `notes` was last written 2 days ago and is searched; the longest pause before was 24 hours",
    ];
    assert_eq!(seen, expected);
    assert_eq!(told(&written_then_searched(&daily, 14 * DAY)).len(), 4, "told anew once a day");

    let weekly: Vec<u64> = (0..4).map(|week| week * 7 * DAY).collect();
    assert_eq!(told(&written_then_searched(&weekly, 24 * DAY)), [""; 0], "day three of a weekly job");
    assert_eq!(told(&written_then_searched(&weekly, 35 * DAY)), [""; 0], "one run was missed");
    assert_eq!(told(&written_then_searched(&weekly, 36 * DAY)).len(), 1);
}

#[test]
fn pauses_that_are_usual() {
    let weekdays: Vec<u64> = (0..20).map(|day| (day / 5 * 7 + day % 5) * DAY).collect();
    let hourly: Vec<u64> = (0..9).map(|hour| hour * HOUR).collect();
    let cases = [
        ("twice is no rhythm", written_then_searched(&[0, DAY], 60 * DAY)),
        ("the first night", written_then_searched(&hourly, DAY)),
        ("a weekend", written_then_searched(&weekdays, 25 * DAY + 23 * HOUR)),
        ("one load, never again", written_then_searched(&[0, 60, 120], 90 * DAY)),
        ("nobody searches", (0..9).map(|day| write("indexer", day * DAY, "notes", &[1], 8)).collect()),
        ("documents as they come", written_then_searched(&[0, HOUR, 3 * DAY, 3 * DAY + HOUR, 20 * DAY], 60 * DAY)),
    ];
    for (name, calls) in cases {
        assert_eq!(told(&calls), [""; 0], "{name}");
    }
}

#[test]
fn an_age_that_the_operator_allows() {
    let glob = |text: &str| Some(Glob::new(text).unwrap().compile_matcher());
    let age = |index: &str, max_age_ns: u64| MaxAge { index: glob(index), host: None, max_age_ns };
    let second = 1_000_000_000;
    let ages: Arc<[MaxAge]> = [age("other", second), age("note*", 7 * DAY * second)].into();
    let calls = written_then_searched(&[0], 8 * DAY);
    let seen = told_by(&mut Retrieval::new(Arc::clone(&ages)), &calls);
    let expected =
        ["retrieval.stale high 95: `notes` was last written 7 days ago and is searched; at most 7 days are allowed"];
    assert_eq!(seen, expected);
    // A daily job may pause as long.
    let daily: Vec<u64> = (0..9).map(|day| day * DAY).collect();
    assert_eq!(told_by(&mut Retrieval::new(ages), &written_then_searched(&daily, 14 * DAY)), [""; 0]);
}

fn searches(seconds: std::ops::Range<u64>, change: impl Fn(u64, &mut RetrievalFacts)) -> Vec<Exchange> {
    seconds
        .map(|second| {
            let mut call = search("chat", second, "notes", second, 1536);
            change(second, call.retrieval.as_mut().unwrap());
            call
        })
        .collect()
}

fn empty(facts: &mut RetrievalFacts) {
    (facts.matches, facts.matches_digest) = (Some(0), None);
}

#[test]
fn searches_that_find_nothing() {
    let nothing = |_, facts: &mut RetrievalFacts| empty(facts);
    let every = |part: u64| {
        move |second: u64, facts: &mut RetrievalFacts| {
            if second.is_multiple_of(part) {
                empty(facts);
            }
        }
    };
    let as_ever = |_, _: &mut RetrievalFacts| {};
    let seen = told(&flat(&[searches(0..200, as_ever), searches(200..260, nothing)]));
    assert_eq!(seen, ["retrieval.empty high 80: 20 of 20 searches of `notes` found nothing, usual are 0 %"]);
    let half = told(&flat(&[searches(0..200, every(20)), searches(200..260, every(2))]));
    assert_eq!(half, ["retrieval.empty medium 80: 10 of 20 searches of `notes` found nothing, usual are 5 %"]);

    let mut again = searches(200..260, nothing);
    for call in &mut again {
        call.asking.body_digest = Some(1);
    }
    let mut failed = searches(200..260, nothing);
    for call in &mut failed {
        call.status = Some(503);
    }
    let cases = [
        ("a new index", searches(0..300, nothing)),
        ("often empty, as ever", searches(0..600, every(2))),
        ("nineteen", flat(&[searches(0..200, as_ever), searches(200..219, nothing)])),
        ("a little more", flat(&[searches(0..200, every(20)), searches(200..600, every(6))])),
        (
            "one bad window",
            flat(&[searches(0..200, as_ever), searches(200..220, every(2)), searches(220..400, as_ever)]),
        ),
        ("one search again and again", flat(&[searches(0..200, as_ever), again])),
        ("the store is down", flat(&[searches(0..200, as_ever), failed])),
    ];
    for (name, calls) in cases {
        assert_eq!(told(&calls), [""; 0], "{name}");
    }
}

#[test]
fn searches_that_all_find_the_same() {
    let same = |_, facts: &mut RetrievalFacts| facts.matches_digest = Some(7);
    let as_ever = |_, _: &mut RetrievalFacts| {};
    let seen = told(&flat(&[searches(0..100, as_ever), searches(100..130, same)]));
    let expected =
        "retrieval.same_answers medium 60: 20 different searches of `notes` in a row found the same documents";
    assert_eq!(seen, [expected]);
    assert_eq!(told(&searches(0..500, same)), [""; 0], "an index of three documents");
    assert_eq!(told(&flat(&[searches(0..100, as_ever), searches(100..119, same)])), [""; 0]);
}

#[test]
fn documents_that_are_old() {
    let aged = |days: u32| {
        move |_, facts: &mut RetrievalFacts| {
            let day = TODAY - days;
            facts.dates = Some(Dates { oldest: day - 100, median: day - 10, newest: day });
        }
    };
    let seen = told(&flat(&[searches(0..100, aged(2)), searches(100..300, aged(90))]));
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(
        seen[0].starts_with("retrieval.old_documents low 50: the newest documents found in `notes` are "),
        "{seen:?}"
    );
    for (name, calls) in [
        ("old ones, as ever", searches(0..500, aged(900))),
        ("a little older", flat(&[searches(0..100, aged(2)), searches(100..400, aged(9))])),
        ("too few", flat(&[searches(0..20, aged(2)), searches(20..45, aged(90))])),
        ("now and then", searches(0..500, |second, facts| aged(if second % 10 == 0 { 90 } else { 2 })(second, facts))),
    ] {
        assert_eq!(told(&calls), [""; 0], "{name}");
    }
}

#[test]
fn pieces_of_another_length() {
    let of = |seconds: std::ops::Range<u64>, bytes: u64, change: fn(&mut Exchange)| -> Vec<Exchange> {
        seconds
            .map(|second| {
                let mut call = embed("indexer", second, SMALL, &[second, second + 1], 8);
                // A little apart, as pieces are.
                call.retrieval.as_mut().unwrap().input_bytes = 2 * bytes * (90 + second * 7 % 21) / 100;
                change(&mut call);
                call
            })
            .collect()
    };
    let seen = told(&flat(&[of(0..100, 1000, |_| {}), of(100..130, 3000, |_| {})]));
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(
        seen[0].starts_with("retrieval.chunks_changed low 40: texts embedded with `text-embedding-3-small`"),
        "{seen:?}"
    );
    let query = |call: &mut Exchange| call.retrieval.as_mut().unwrap().purpose = Some(Purpose::Query);
    for (name, calls) in [
        ("nine calls", flat(&[of(0..100, 1000, |_| {}), of(100..109, 3000, |_| {})])),
        ("not twice", flat(&[of(0..100, 1000, |_| {}), of(100..200, 1700, |_| {})])),
        ("questions", flat(&[of(0..100, 1000, |_| {}), of(100..200, 50, query)])),
        ("too few before", flat(&[of(0..30, 1000, |_| {}), of(30..49, 3000, |_| {})])),
    ] {
        assert_eq!(told(&calls), [""; 0], "{name}");
    }
}

#[test]
fn what_it_knows_survives_a_restart() {
    let mut stopped = new();
    let daily: Vec<u64> = (0..9).map(|day| day * DAY).collect();
    told_by(&mut stopped, &written_then_searched(&daily, 8 * DAY + 1));
    told_by(&mut stopped, &ingest(8 * DAY + 60, "tickets", ADA, 1536));
    let mut next = new();
    stopped.changes(&mut |change| {
        let value = change.text().unwrap_or_default();
        assert!(value.len() < 2048, "{value}");
        next.restore(&change.key, &value);
    });
    let seen = told_by(&mut next, &written_then_searched(&[9 * DAY], 9 * DAY + 1));
    assert_eq!(seen, [""; 0]);
    let seen = told_by(&mut next, &ask(9 * DAY, "tickets", SMALL, 1536));
    assert_eq!(seen.len(), 1, "{seen:?}");
    let searches: Vec<Exchange> =
        (0..4).map(|hour| search("chat", 12 * DAY + hour * HOUR, "notes", hour, 1536)).collect();
    assert_eq!(told_by(&mut next, &searches).len(), 1);
    for key in ["", "i", "izz", "i00", "c00", "x00", "ü"] {
        for value in ["", "null", "{}", "[]", r#"{"uses":[]}"#, r#"{"calls":4294967295,"mean":-1e300}"#] {
            next.restore(key, value);
        }
    }
}

/// Three weeks: an index that is written each night, one on weekdays, one with the memory of a chat; searches by day.
fn ordinary(seed: u64) -> Vec<Exchange> {
    let mut chance = Chance::new(seed);
    let mut calls = Vec::new();
    for minute in 0..21 * 24 * 60_u64 {
        let (second, hour, day) = (minute * 60, minute / 60 % 24, minute / (24 * 60));
        if hour == 2 && minute % 60 == 10 {
            calls.extend(ingest(second + whole(chance.unit() * 1800.0), "nightly", SMALL, 1536));
            if day % 7 < 5 {
                calls.extend(ingest(second + 2000, "weekdays", "voyage-4-large", 1024));
            }
        }
        let busy = if (8..20).contains(&hour) { 0.3 } else { 0.02 };
        for (index, model, dimensions, later) in
            [("nightly", SMALL, 1536, 0), ("weekdays", "voyage-4-lite", 1024, 10), ("memory", SMALL, 1536, 20)]
        {
            if chance.unit() > busy {
                continue;
            }
            let mut pair = ask(second + later, index, model, dimensions);
            let facts = pair[1].retrieval.as_mut().unwrap();
            // Few documents are found often; some questions have no answer; documents are some days old.
            facts.matches_digest = Some(whole(chance.unit().powi(3) * 40.0));
            if chance.unit() < 0.04 {
                empty(facts);
            }
            let newest = TODAY + day as u32 - whole((chance.normal().exp() * 10.0).min(400.0)) as u32;
            facts.dates = Some(Dates { oldest: newest - 50, median: newest - 20, newest });
            calls.extend(pair);
            if index == "memory" && chance.unit() < 0.5 {
                calls.extend(ingest(second + 30, "memory", SMALL, 1536));
            }
        }
    }
    calls.sort_by_key(|call| call.ended_at);
    calls
}

#[test]
fn weeks_of_ordinary_retrieval_are_calm() {
    for seed in 0..4 {
        assert_eq!(told(&ordinary(seed)), [""; 0], "seed {seed}");
    }
}
