//! The scanner as a whole: the shipped rules on their own examples, backends against each other, leaves and masks.

use std::sync::Arc;

use super::*;
use crate::rules::RuleSource;

fn shipped() -> Arc<RuleSet> {
    RuleSet::load(&RuleSource::Embedded).unwrap()
}

#[test]
fn every_shipped_rule_proves_itself_on_every_backend() {
    let rules = shipped();
    assert!(rules.len() >= 40, "{}", rules.len());
    for backend in Backend::all().iter().chain(&[Backend::Exhaustive]) {
        let flaws = check::check(&rules, *backend).unwrap();
        let text: Vec<String> =
            flaws.iter().map(|f| format!("{}:{}: {}: {}: {}", f.file, f.line, f.key, f.rule, f.message)).collect();
        assert!(flaws.is_empty(), "{}", text.join("\n"));
    }
    eprintln!("{} rules, pure automaton {} bytes", rules.len(), rules.pure_bytes().unwrap());
}

fn leaks(leaves: &[(&str, &str)]) -> Vec<(String, String, String, Vec<String>)> {
    let mut exchange = exchange();
    for (path, text) in leaves {
        exchange.request_text.push(*path, text);
    }
    exchange.response_text.push("$.answer", "mail to ada@outflow-fake.org");
    let mut detector = ScanDetector::with_backend(shipped(), Backend::Pure).unwrap();
    let mut seen = Vec::new();
    detector.inspect(&exchange, &mut |hit| {
        let Hit::Leak(leak) = hit else { panic!("a scan detector emits leaks") };
        let text = |span: &Range<usize>| String::from_utf8(leak.haystack[span.clone()].to_vec()).unwrap();
        let Place::Exchange { side, path, .. } = leak.place else { panic!("no log was scanned") };
        if side == Side::Request {
            let mut others: Vec<String> = leak.others.iter().map(text).collect();
            others.sort();
            seen.push((leak.rule.id.clone(), path.to_owned(), text(&leak.span), others));
        } else {
            assert_eq!((path, text(&leak.span).as_str()), ("$.answer", "ada@outflow-fake.org"));
        }
    });
    assert_eq!(detector.failed_blocks(), 0);
    seen
}

#[test]
fn hits_name_leaf_and_span_and_what_else_to_hide() {
    let seen = leaks(&[
        ("$.messages[0].content", "ask bob@outflow-fake.org or eve@outflow-fake.org, SSN 536-90-4399"),
        ("$.messages[1].content", "nothing here"),
        ("$.input.iban", "GB82 WEST 1234 5698 7654 32"),
    ]);
    let short: Vec<(&str, &str, &str)> =
        seen.iter().map(|(id, path, text, _)| (id.as_str(), path.as_str(), text.as_str())).collect();
    assert_eq!(
        short,
        [
            ("pii.email", "$.messages[0].content", "bob@outflow-fake.org"),
            ("pii.email", "$.messages[0].content", "eve@outflow-fake.org"),
            ("pii.us-ssn", "$.messages[0].content", "536-90-4399"),
            ("pii.iban", "$.input.iban", "GB82 WEST 1234 5698 7654 32"),
        ]
    );
    assert_eq!(seen[1].3, ["536-90-4399", "bob@outflow-fake.org", "eve@outflow-fake.org"]);
    assert_eq!(seen[3].3, ["GB82 WEST 1234 5698 7654 32"]);
}

#[test]
fn what_hits_look_at_grows_with_the_text_alone() {
    const MATCHES: usize = 50_000;
    let text = (0..MATCHES).map(|number| format!("u{number}@outflow-fake.org")).collect::<Vec<_>>().join(" ") + " ";
    let mut exchange = exchange();
    exchange.request_text.push("$.messages[0].content", &text);
    let mut detector = ScanDetector::with_backend(shipped(), Backend::Pure).unwrap();
    let (mut hits, mut looked_at) = (0, 0);
    detector.inspect(&exchange, &mut |hit| {
        let Hit::Leak(leak) = hit else { panic!("a scan detector emits leaks") };
        hits += 1;
        looked_at += leak.others.len();
        let near = leak.span.start.saturating_sub(NEAR_BYTES)..leak.span.end + NEAR_BYTES;
        assert!(leak.others.iter().all(|other| other.end > near.start && other.start < near.end));
        assert!(leak.others.is_sorted_by_key(|other| other.start) && leak.others.contains(&leak.span));
    });
    assert_eq!(hits, MATCHES);
    // The shortest address has 19 bytes with its space: 16 or 17 of them on each side.
    assert!((20 * MATCHES..40 * MATCHES).contains(&looked_at), "{looked_at}");
}

#[test]
fn no_match_crosses_a_leaf() {
    // Together they would be a card number; a label is context, and context is not the text.
    assert!(leaks(&[("$.a", "4111 1111"), ("$.b", "1111 1111")]).is_empty());
    assert_eq!(leaks(&[("$.b.ssn", "536904399")]).len(), 1);
    assert!(leaks(&[("$.b.order", "536904399")]).is_empty());
}

fn exchange() -> Exchange {
    Exchange {
        request_text: Leaves::default(),
        response_text: Leaves::default(),
        ..crate::exchange::sample::exchange("openai", "gpt-4o-mini")
    }
}

#[test]
fn hostile_text_neither_panics_nor_stalls() {
    let rules = shipped();
    let mut scanner = Scanner::new(rules, Backend::Pure).unwrap();
    let texts = [
        "1".repeat(200_000),
        "a@".repeat(100_000),
        "://".repeat(70_000),
        "eyJa.eyJ".repeat(25_000),
        "password=".repeat(25_000),
        "-----BEGIN PRIVATE KEY-----".repeat(4_000),
        "1:".repeat(100_000),
        "DE89 ".repeat(40_000),
        "sk-proj-".repeat(25_000),
        "token=".repeat(30_000),
        "+1 (".repeat(50_000),
    ];
    for text in &texts {
        let found = scanner.scan(text.as_bytes(), &Whole { length: text.len() }).unwrap();
        assert!(found.matches.len() < text.len() / 7);
    }
}
