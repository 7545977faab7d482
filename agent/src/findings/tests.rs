//! Cases for the table of findings.

use std::sync::Arc;

use super::*;
use crate::{
    detectors::{Behaviour, Hit, Leak, Place, Side},
    exchange::{Cost, CostSource, Exchange, sample},
    rules::ScanRule,
    sources::Origin,
    units::{NanoUsd, Severity, Timestamp},
};

const SECOND_NS: u64 = 1_000_000_000;

fn at(second: u64) -> Timestamp {
    Timestamp(sample::MIDNIGHT.0 + second * SECOND_NS)
}

fn findings(capacity: usize) -> Findings {
    Findings::with_capacity(60 * SECOND_NS, capacity)
}

fn occurrence(hit: &Hit<'_>, at: Timestamp, cost: Option<&Cost>) -> Finding {
    Maker::new(FingerprintKey::new([7; 32])).occurrence(hit, at, cost)
}

fn email_rule() -> ScanRule {
    ScanRule {
        id: "pii.email".into(),
        group: "contact".into(),
        entity: "EMAIL_ADDRESS".into(),
        title: "E-mail address".into(),
        severity: Severity::Medium,
        confidence: 80,
        pattern: String::new(),
        remedy: "Remove it from the prompt.".into(),
        references: vec!["https://www.rfc-editor.org/rfc/rfc5321".into()],
    }
}

fn leak<'a>(rule: &'a ScanRule, exchange: &'a Exchange, text: &'a str, secret: &str, path: &'a str) -> Hit<'a> {
    let start = text.find(secret).expect(secret);
    Hit::Leak(Leak {
        rule,
        haystack: text.as_bytes(),
        span: start..start + secret.len(),
        others: &[],
        confidence: 85,
        place: Place::Exchange { exchange, side: Side::Request, path },
    })
}

fn behaviour<'a>(exchange: &'a Exchange, key: &str) -> Hit<'a> {
    Hit::Behaviour(Behaviour {
        rule: "model.unpinned",
        references: Vec::new(),
        key: key.into(),
        severity: Severity::Medium,
        confidence: 95,
        title: "it can change".into(),
        case: None,
        facts: vec![("model.requested", "x".repeat(1000).into())],
        exchange,
    })
}

#[test]
fn what_our_detectors_write_is_told_and_names_in_it_are_looked_at() {
    let exchange = sample::exchange("openai", "gpt-4o");
    let key = "sk-proj-a8Zk3LmQ9xT2vB7nR4cW";
    let reason = format!("`{key}` instead of `gpt-4o`, 12 times as many calls");
    let Hit::Behaviour(mut hit) = behaviour(&exchange, "") else { unreachable!() };
    hit.title = format!("shop spends $40.00 an hour: {reason}");
    hit.facts = vec![
        ("cost.reason", reason.as_str().into()),
        ("cost.learning", "learning (10 h/24 h)".into()),
        ("vendor.since", "2026-11-23T10:01:09.952Z".into()),
        ("tool.name", "call 2026-11-23T10:01:09.952Z".into()),
        ("budget.name", "all of the shop".into()),
        ("output.call_site", "0123456789012345".into()),
        ("schema.place", "".into()),
    ];
    let finding = occurrence(&Hit::Behaviour(hit), at(0), None);
    let fact = |name: &str| finding.attributes[name].as_str().unwrap().to_owned();
    assert_eq!(finding.title, "shop spends $40.00 an hour: `sk-proj-•••` instead of `gpt-4o`, 12 times as many calls");
    assert!(finding.title.ends_with(&fact("cost.reason")));
    assert_eq!(fact("cost.learning"), "learning (10 h/24 h)");
    assert_eq!(fact("vendor.since"), "2026-11-23T10:01:09.952Z");
    assert_eq!(fact("tool.name"), "•••", "a name that is none");
    assert_eq!(
        [fact("budget.name"), fact("output.call_site"), fact("schema.place")],
        ["all of the shop", "0123456789012345", ""]
    );
}

#[test]
fn names_from_the_wire_are_looked_at_in_lists_too() {
    let exchange = sample::exchange("openai", "gpt-4o");
    let Hit::Behaviour(mut hit) = behaviour(&exchange, "") else { unreachable!() };
    hit.title = "answers changed: `$.ada@fake.io` is missing, `$.price` is number or null instead of string".into();
    let breaks = serde_json::json!([
        {"kind": "missing", "path": "$.ada@fake.io", "new_paths": ["$.id", "$.415-736-2671"], "recent": [5, 6]},
        {"kind": "type", "path": "$.price", "from": "string", "to": "number or null"},
        {"kind": "missing", "path": "a member without a short name", "new_paths": []},
    ]);
    hit.facts = vec![
        ("structure.breaks", breaks),
        ("model.fallbacks", serde_json::json!(["gpt-4o-mini", "sk-proj-a8Zk3LmQ9xT2vB7nR4cW"])),
    ];
    let finding = occurrence(&Hit::Behaviour(hit), at(0), None);
    assert_eq!(finding.title, "answers changed: `$['…'].io` is missing, `$.price` is number or null instead of string");
    assert_eq!(finding.attributes["model.fallbacks"], serde_json::json!(["gpt-4o-mini", "sk-proj-•••"]));
    assert_eq!(
        finding.attributes["structure.breaks"],
        serde_json::json!([
            {"kind": "missing", "path": "$['…'].io", "new_paths": ["$.id", "$['…']"], "recent": [5, 6]},
            {"kind": "type", "path": "$.price", "from": "string", "to": "number or null"},
            {"kind": "missing", "path": "a member without a short name", "new_paths": []},
        ])
    );
}

#[test]
fn a_leak_becomes_a_finding_without_its_text() {
    let (rule, exchange) = (email_rule(), sample::exchange("openai", "gpt-4o"));
    let text = "write to jane.doe@example.com today";
    let cost = Cost { nano_usd: NanoUsd(5), source: CostSource::Catalogue, catalogue: "c".into() };
    let hit = leak(&rule, &exchange, text, "jane.doe@example.com", "$.messages[0].content");
    let finding = occurrence(&hit, at(0), Some(&cost));

    assert_eq!(finding.title, "E-mail address sent to api.openai.com");
    assert_eq!(finding.excerpt.as_ref().map(Excerpt::as_str), Some("write to j•••@•••.com today"));
    assert_eq!((finding.revision, finding.activity, finding.count), (1, Activity::Create, 1));
    assert_eq!(finding.record_id, format!("{}-1", finding.finding_id));
    let location = finding.location.as_ref().unwrap();
    assert_eq!((location.start, location.end, location.path.as_deref()), (9, 29, Some("$.messages[0].content")));
    assert_eq!((finding.cost_nano_usd, finding.cost_source), (Some(NanoUsd(5)), Some(CostSource::Catalogue)));
    assert_eq!(finding.coverage, Some(Coverage { scanned_bytes: 2000, total_bytes: 2000 }));
    let everything = serde_json::to_string(&finding).unwrap() + &format!("{finding:?}");
    assert!(!everything.contains("jane") && !everything.contains("example"), "{everything}");
}

#[test]
fn the_id_is_the_same_for_repeats_and_only_for_them() {
    let (rule, exchange) = (email_rule(), sample::exchange("openai", "gpt-4o"));
    let text = "jane.doe@example.com jack@example.com";
    let id = |exchange: &Exchange, secret: &str, path: &str, second: u64| {
        occurrence(&leak(&rule, exchange, text, secret, path), at(second), None).finding_id
    };
    let first = id(&exchange, "jane.doe@example.com", "$.messages[0].content", 0);
    // Checked with Python's hashlib and hmac. Written down so that a change of the recipe, which would break every receiver's grouping, is seen.
    assert_eq!(first, "ca998c6a9bb9ae4d8a5b1e1ca36f2af1");

    let elsewhere = Origin { pid: 1, process: "node".into(), ..(*exchange.origin).clone() };
    let other_process = Exchange { origin: Arc::new(elsewhere), ..exchange.clone() };
    assert_eq!(id(&other_process, "jane.doe@example.com", "$.messages[14].content", 999), first);

    let other_service = Origin { service: "billing".into(), ..(*exchange.origin).clone() };
    let others = [
        id(&exchange, "jack@example.com", "$.messages[0].content", 0),
        id(&exchange, "jane.doe@example.com", "$.system", 0),
        id(
            &Exchange { host: "api.anthropic.com".into(), ..exchange.clone() },
            "jane.doe@example.com",
            "$.messages[0].content",
            0,
        ),
        id(
            &Exchange { origin: Arc::new(other_service), ..exchange.clone() },
            "jane.doe@example.com",
            "$.messages[0].content",
            0,
        ),
    ];
    assert!(!others.contains(&first));
}

#[test]
fn repeats_count_and_are_told_once_an_interval() {
    let exchange = sample::exchange("openai", "gpt-4o");
    let mut findings = findings(8);
    let mut told = Vec::new();
    for second in 0..=150 {
        let call = Exchange { started_at: at(second), ..exchange.clone() };
        let cost = Cost { nano_usd: NanoUsd(10), source: CostSource::Catalogue, catalogue: String::new() };
        told.extend(findings.count(vec![occurrence(&behaviour(&call, "gpt-4o"), at(second), Some(&cost))], at(second)));
    }
    told.extend(findings.finish());
    let seen: Vec<_> = told.iter().map(|finding| (finding.revision, finding.activity, finding.count)).collect();
    let expected =
        [(1, Activity::Create, 1), (2, Activity::Update, 61), (3, Activity::Update, 121), (4, Activity::Update, 151)];
    assert_eq!(seen, expected);
    let last = told.last().unwrap();
    assert_eq!((last.cost_nano_usd, last.first_seen.as_str()), (Some(NanoUsd(1510)), "2026-11-23T00:00:00.000Z"));
    assert_eq!(last.last_seen, "2026-11-23T00:02:30.000Z");
    assert!(told.iter().all(|finding| finding.record_id == format!("{}-{}", finding.finding_id, finding.revision)));
    assert!(findings.finish().is_empty(), "the session is over");
}

#[test]
fn a_call_with_two_equal_leaks_is_paid_for_once() {
    let (rule, exchange) = (email_rule(), sample::exchange("openai", "gpt-4o"));
    let cost = Cost { nano_usd: NanoUsd(10), source: CostSource::Catalogue, catalogue: String::new() };
    let mut findings = findings(8);
    let paths = ["$.messages[0].content", "$.messages[2].content"];
    let seen = paths.map(|path| {
        let hit = leak(&rule, &exchange, "x jane.doe@example.com", "jane.doe@example.com", path);
        occurrence(&hit, at(0), Some(&cost))
    });
    assert_eq!(findings.count(seen.into(), at(0)).len(), 1, "a new finding is told at once");
    let last = findings.finish();
    assert_eq!(
        last.iter().map(|finding| (finding.count, finding.cost_nano_usd)).collect::<Vec<_>>(),
        [(2, Some(NanoUsd(10)))]
    );
}

#[test]
fn an_older_occurrence_counts_and_moves_nothing() {
    let exchange = sample::exchange("openai", "gpt-4o");
    let mut finding = occurrence(&behaviour(&exchange, "k"), at(5), None);
    let newest = Finding { count: 2, first_seen: at(3).rfc3339(), severity: Severity::Critical, ..finding.clone() };
    let mut older = occurrence(&behaviour(&exchange, "k"), at(3), None);
    older.title = "old".into();
    older.severity = Severity::Critical;
    finding.absorb(older, false);
    assert_eq!(finding, newest);
}

#[test]
fn the_table_has_a_bound_and_loses_no_count() {
    let exchange = sample::exchange("openai", "gpt-4o");
    let mut findings = findings(2);
    let mut told = Vec::new();
    for key in ["a", "a", "b", "c", "d", "d"] {
        told.extend(findings.count(vec![occurrence(&behaviour(&exchange, key), at(0), None)], at(0)));
    }
    assert_eq!(findings.len(), 2);
    // `a` was counted twice and told once; `b` has no news.
    let told: Vec<_> = told.iter().map(|finding| (finding.revision, finding.count)).collect();
    assert_eq!(told, [(1, 1), (1, 1), (1, 1), (2, 2), (1, 1)]);
    assert_eq!(findings.finish().len(), 1);
}

#[test]
fn what_a_peer_wrote_is_bounded_and_printable() {
    let mut exchange = sample::exchange("openai", "gpt-4o");
    exchange.request_model = Some("\u{1b}[2J".repeat(1000));
    exchange.host = "h".repeat(5000);
    let finding = occurrence(&behaviour(&exchange, "k"), at(0), None);
    let text = serde_json::to_string(&finding).unwrap();
    assert!(text.len() < 4000 && !text.contains("\\u001b"), "{text}");
    assert_eq!(finding.attributes.get("model.requested").and_then(|value| value.as_str()), Some("•••"));
}

#[test]
fn a_secret_in_a_path_is_masked_too() {
    let (rule, exchange) = (email_rule(), sample::exchange("openai", "gpt-4o"));
    let path = "$.metadata['jane.doe@example.com'][3].a[b][12]";
    let hit = leak(&rule, &exchange, "jane.doe@example.com", "jane.doe@example.com", path);
    let finding = occurrence(&hit, at(0), None);
    assert_eq!(finding.location.unwrap().path.as_deref(), Some("$.metadata['…'][3].a['…'][12]"));
}

#[test]
fn a_record_of_a_call_has_no_text() {
    let mut exchange = sample::exchange("openai", "gpt-4o");
    exchange.request_text.push("$.messages[0].content", "the prompt");
    exchange.response_text.push("$.choices[0].message.content", "the answer");
    exchange.error = Some("quotes the prompt".into());
    exchange.tool_calls = vec!["search".into(); 100];
    let record = serde_json::to_value(ExchangeRecord::new(&exchange, None)).unwrap();
    let text = record.to_string();
    assert!(!text.contains("the prompt") && !text.contains("the answer") && !text.contains("cost"), "{text}");
    assert_eq!(record["tools"].as_array().map(Vec::len), Some(32));
    assert_eq!((&record["duration_ns"], &record["error"]), (&1_250_000_000.into(), &true.into()));
}

#[test]
fn a_secret_in_the_place_of_a_name_reaches_no_output() {
    let key = "sk-proj-FAKEfakeT3BlbkFJfakeFAKEfake1234fakeFAKE";
    let mut exchange = sample::exchange("openai", key);
    exchange.response_model = Some("jane.doe@example.com".into());
    exchange.response_id = Some(key.into());
    exchange.finish_reasons = vec![key.into()];
    exchange.tool_calls = vec!["search".into(), key.into()];
    exchange.service_tier = Some(key.into());
    exchange.system_fingerprint = Some(key.into());
    exchange.path = format!("/v1/{key}/chat");
    exchange.host = format!("{key}.example.com");
    let record = serde_json::to_string(&ExchangeRecord::new(&exchange, None)).unwrap();
    let hit = Hit::Behaviour(Behaviour {
        title: format!("asked for `{key}`, answered by `jane.doe@example.com`"),
        facts: vec![
            ("model.requested", key.into()),
            ("model.resolved", "jane.doe@example.com".into()),
            ("model.note", "A note of ours, with spaces.".into()),
        ],
        ..match behaviour(&exchange, key) {
            Hit::Behaviour(behaviour) => behaviour,
            Hit::Leak(_) => unreachable!("made above"),
        }
    });
    let finding = occurrence(&hit, at(0), None);
    assert_eq!(finding.title, "asked for `sk-proj-•••`, answered by `•••`");
    assert_eq!(finding.attributes["model.note"], "A note of ours, with spaces.");
    let (rule, text) = (email_rule(), "x bob@example.org");
    let leak = occurrence(&leak(&rule, &exchange, text, "bob@example.org", "$.a"), at(0), None);
    for shown in [record, serde_json::to_string(&finding).unwrap(), serde_json::to_string(&leak).unwrap()] {
        assert!(!shown.contains("FAKE") && !shown.contains("T3Blbk") && !shown.contains("jane"), "{shown}");
    }
}
