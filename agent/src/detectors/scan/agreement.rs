//! Backends against each other, and the same text cut in other ways: what is found must be the same.

use std::{ops::Range, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Backend, Lines, LogLines, Match, RuleSet, Scanner, Segments, Whole};
use crate::rules::RuleSource;

fn shipped() -> Arc<RuleSet> {
    RuleSet::load(&RuleSource::Embedded).unwrap()
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
    const FILLER: [&[u8]; 14] = [
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
        b"%40",
        b"\\u0040",
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

/// What is found, by position in the text.
fn ids(rules: &RuleSet, matches: &[Match], from: usize) -> Vec<(usize, usize, String)> {
    matches
        .iter()
        .map(|one| (from + one.span.start, from + one.span.end, rules.rule(one.rule).unwrap().id.clone()))
        .collect()
}

#[test]
fn findings_do_not_depend_on_how_the_text_was_cut() {
    let rules = shipped();
    let mut random = Random(7);
    // Whole lines of examples, as they stand and encoded, between lines of numbers and words.
    let mut text = Vec::new();
    for loaded in rules.loaded() {
        for example in loaded.examples.iter().chain(&loaded.counter_examples).filter(|example| !example.contains('\n'))
        {
            text.extend_from_slice(example.as_bytes());
            text.push(b'\n');
            if random.below(3) == 0 {
                text.extend_from_slice(format!("data={}\n", STANDARD.encode(example)).as_bytes());
                text.extend_from_slice(format!("{{\"m\":{}}}\n", serde_json::Value::from(example.as_str())).as_bytes());
            }
            text.extend_from_slice(format!("2026-11-23T01:13:09Z order {} of\n", random.next()).as_bytes());
        }
    }
    for backend in Backend::all() {
        let mut scanner = Scanner::new(Arc::clone(&rules), *backend).unwrap();
        let whole = ids(&rules, &scanner.scan(&text, &Lines(&text)).unwrap().matches, 0);
        assert!(whole.len() > 300, "{}", whole.len());
        let logs = ids(&rules, &scanner.scan(&text, &LogLines::new(&text)).unwrap().matches, 0);
        assert_eq!(logs, whole);
        // Blocks of whole lines, as every reader makes them of the pieces that it gets: 16 KB, 512 bytes, one line, random.
        for size in [16 * 1024, 512, 1, 0] {
            let (mut from, mut found) = (0, Vec::new());
            while from < text.len() {
                let aim = from + if size == 0 { 1 + random.below(3_000) } else { size };
                let end = text[aim.min(text.len())..].iter().position(|byte| *byte == b'\n');
                let end = end.map_or(text.len(), |length| aim.min(text.len()) + length + 1).min(text.len());
                let block = &text[from..end];
                found.extend(ids(&rules, &scanner.scan(block, &Lines(block)).unwrap().matches, from));
                from = end;
            }
            assert_eq!(found, whole, "{} in blocks of {size}", backend.name());
        }
    }
}

#[test]
fn encoded_text_is_found_once_with_the_extent_of_its_encoding() {
    let rules = shipped();
    for backend in Backend::all() {
        let mut scanner = Scanner::new(Arc::clone(&rules), *backend).unwrap();
        for (text, id, extent) in [
            ("GET /r?mail=ada%40outflow-fake.org&x=1", "pii.email", "ada%40outflow-fake.org"),
            (r#"{"mail":"ada\u0040outflow-fake.org"}"#, "pii.email", r"ada\u0040outflow-fake.org"),
            (r#"{"m":"one\nada@outflow-fake.org\ttwo"}"#, "pii.email", "ada@outflow-fake.org"),
        ] {
            let settled = scanner.scan(text.as_bytes(), &Whole { length: text.len() }).unwrap();
            let found: Vec<(&str, &str)> = settled
                .matches
                .iter()
                .map(|one| (rules.rule(one.rule).unwrap().id.as_str(), &text[one.span.clone()]))
                .collect();
            assert_eq!(found, [(id, extent)], "{text}");
        }
        // A shape of one issuer in base64: found, and its extent decodes to all of the secret.
        let mut proved = 0;
        for loaded in rules.loaded().filter(|loaded| loaded.rule.id.starts_with("secret.") && loaded.priority >= 50) {
            let example = &loaded.examples[0];
            let plain = scanner.scan(example.as_bytes(), &Whole { length: example.len() }).unwrap().matches.clone();
            let [one] = plain.as_slice() else { continue };
            let secret = &example[one.span.clone()];
            let text = format!("data: {}", STANDARD.encode(format!("a note to myself: {example} and so on")));
            let settled = scanner.scan(text.as_bytes(), &Whole { length: text.len() }).unwrap();
            for found in settled.matches.iter().filter(|found| found.rule == one.rule) {
                let decoded = STANDARD.decode(&text[found.span.clone()]).unwrap_or_default();
                proved += usize::from(String::from_utf8_lossy(&decoded).contains(secret));
            }
        }
        assert!(proved > 20, "{proved} on {}", backend.name());
    }
}
