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
    eprintln!("{} rules, pure DFA {} bytes", rules.len(), rules.pure_bytes().unwrap());
}

/// A small generator with a fixed start (SplitMix64), so that a failure can be repeated.
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
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// Text that is hard on scanners: pieces of every rule's examples, cut, doubled and glued, between prose and numbers.
fn hard_block(random: &mut Random, pieces: &[&[u8]], length: usize) -> Vec<u8> {
    const FILLER: [&[u8]; 12] = [
        b"the quick brown fox ",
        b"2026-11-23T01:13:09.123Z ",
        b"\n",
        b"10.0.0.1 - - ",
        b"key=\"",
        b"://",
        b"sk-",
        b"eyJ",
        b"@",
        b"::",
        b"4111 ",
        b"\\n\\\"",
    ];
    let mut block = Vec::new();
    while block.len() < length {
        let piece = pieces[random.below(pieces.len())];
        match random.below(8) {
            0 | 1 => block.extend_from_slice(piece),
            2 => block.extend_from_slice(&piece[..random.below(piece.len() + 1)]),
            3 => block.extend_from_slice(&piece[random.below(piece.len())..]),
            4 => block.extend((0..random.below(40)).map(|_| random.next() as u8)),
            _ => block.extend_from_slice(FILLER[random.below(FILLER.len())]),
        }
    }
    block
}

fn matches(scanner: &mut Scanner, block: &[u8], segments: &dyn Segments) -> (Vec<Match>, Vec<Range<usize>>) {
    let settled = scanner.scan(block, segments).unwrap();
    (settled.matches.clone(), settled.also.clone())
}

#[test]
fn all_backends_agree_with_the_exhaustive_one_at_every_alignment() {
    let rules = shipped();
    let texts: Vec<&str> = rules
        .loaded()
        .flat_map(|loaded| loaded.examples.iter().chain(&loaded.counter_examples))
        .map(String::as_str)
        .collect();
    let pieces: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    let mut truth = Scanner::new(Arc::clone(&rules), Backend::Exhaustive).unwrap();
    let mut scanners: Vec<Scanner> =
        Backend::all().iter().map(|backend| Scanner::new(Arc::clone(&rules), *backend).unwrap()).collect();
    let mut random = Random(20_261_123);
    let mut planted = 0;
    for round in 0..80 {
        let length = 200 + random.below(6_000);
        let block = hard_block(&mut random, &pieces, length);
        let segmentations: [&dyn Segments; 2] = [&Lines(&block), &Whole { length: block.len() }];
        for segments in segmentations {
            let expected = matches(&mut truth, &block, segments);
            planted += expected.0.len();
            for scanner in &mut scanners {
                let found = matches(scanner, &block, segments);
                assert_eq!(found, expected, "round {round}, {}", scanner.backend().name());
            }
        }
    }
    assert!(planted > 1_000, "only {planted} matches: the generator is too tame");
}

#[test]
fn a_match_is_found_at_every_offset_of_a_block() {
    let rules = shipped();
    for backend in Backend::all() {
        let mut scanner = Scanner::new(Arc::clone(&rules), *backend).unwrap();
        for loaded in rules.loaded() {
            let example = &loaded.examples[0];
            for offset in (0..70).chain([255, 256, 4_095, 16_383]) {
                let block = format!("{}\n{example}\n{}", ".".repeat(offset), ".".repeat(offset % 37));
                let (found, _) = matches(&mut scanner, block.as_bytes(), &Whole { length: block.len() });
                let ids: Vec<&str> = found.iter().map(|one| rules.rule(one.rule).unwrap().id.as_str()).collect();
                assert!(ids.contains(&loaded.rule.id.as_str()), "{} at {offset}: {ids:?}", loaded.rule.id);
            }
        }
    }
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
