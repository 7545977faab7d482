//! Leaks in blocks of log lines: where they are said to stand, and that windows of one line tell each once.

use std::sync::{Arc, LazyLock};

use super::*;
use crate::{
    detectors::scan::{Backend, RuleSet},
    rules::RuleSource,
    sources::log::{CutLimits, LineCutter, LogFile, Position},
    units::Timestamp,
};

static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| RuleSet::load(&RuleSource::Embedded).unwrap());

fn detector() -> ScanDetector {
    ScanDetector::with_backend(Arc::clone(&RULES), Backend::Pure).unwrap()
}

/// The first example of a rule, without its line end.
fn example(id: &str) -> String {
    let loaded = RULES.loaded().find(|loaded| loaded.rule.id == id).unwrap();
    loaded.examples[0].trim_end().to_owned()
}

type Told = (String, u64, u64, Vec<u8>);

/// Rule, line, column and text of each leak in `input`, as a file of `limits` read in one piece.
fn told(detector: &mut ScanDetector, limits: CutLimits, input: &[u8]) -> Vec<Told> {
    let (mut cuts, mut told) = (Vec::new(), Vec::new());
    let mut cutter = LineCutter::new(limits, Position::default());
    cutter.push(input, &mut cuts);
    cutter.finish(&mut cuts);
    for cut in cuts {
        let block = cut.into_block(Arc::new(LogFile::default()), Timestamp(0), None);
        detector.inspect_log(&block, &mut |hit| {
            let Hit::Leak(leak) = hit else { panic!("a scan detector emits leaks") };
            let Place::Log { line, column, offset, .. } = leak.place else { panic!("a log was scanned") };
            assert!(input[offset as usize..].starts_with(&leak.haystack[leak.span.clone()]), "at {offset}");
            told.push((leak.rule.id.clone(), line, column, leak.haystack[leak.span.clone()].to_vec()));
        });
    }
    assert_eq!(detector.failed_blocks(), 0);
    told
}

fn short(told: &[Told]) -> Vec<(&str, u64, u64)> {
    told.iter().map(|(rule, line, column, _)| (rule.as_str(), *line, *column)).collect()
}

#[test]
fn lines_and_columns_are_bytes_of_the_file() {
    let token = example("secret.github-token");
    let at = token.find("ghp_").unwrap() as u64;
    let mut input = b"first\r\n\xff\xfe\x80 ".to_vec();
    input.extend_from_slice(token.as_bytes());
    input.extend_from_slice(
        "\r\n\r\n\u{e9}: ann@outflow-fake.org bob@outflow-fake.org\r\nlast eve@outflow-fake.org".as_bytes(),
    );
    let found = told(&mut detector(), CutLimits::default(), &input);
    let expected = [("secret.github-token", 2, 4 + at), ("pii.email", 4, 4), ("pii.email", 4, 25), ("pii.email", 5, 5)];
    assert_eq!(short(&found), expected);
    assert_eq!(found[0].3, &token.as_bytes()[at as usize..]);
}

#[test]
fn a_key_over_several_lines_is_one_leak() {
    let pem = example("secret.private-key");
    assert!(pem.lines().count() > 3);
    let input = format!("2026-11-24 INFO key: {pem}\nann@outflow-fake.org\n");
    let found = told(&mut detector(), CutLimits::default(), input.as_bytes());
    let after = 1 + pem.lines().count() as u64;
    assert_eq!(short(&found), [("secret.private-key", 1, 21), ("pii.email", after, 0)]);
    assert_eq!(found[0].3, pem.as_bytes());
}

#[test]
fn a_match_stays_in_its_line() {
    let input = b"Authorization: Basic\nc2hvcDpub3QtYS1yZWFsLXBhc3N3b3JkLTE=\n";
    assert_eq!(told(&mut detector(), CutLimits::default(), input), []);
}

/// Every place of a secret around the edges of windows: told once, whole, where it stands.
#[test]
fn windows_of_a_long_line_tell_each_leak_once() {
    let limits = CutLimits { block_bytes: 4096, line_bytes: 2048, overlap_bytes: 512 };
    let mut detector = detector();
    for secret in ["a.b@outflow-fake.co.uk".to_owned(), example("secret.github-token")] {
        let whole = told(&mut detector, CutLimits::default(), secret.as_bytes());
        let [(rule, _, offset, text)] = whole.as_slice() else { panic!("one leak in {secret}: {whole:?}") };
        // The first window ends at 2048 and the second begins at 1536.
        for at in (1400..2200).chain(3000..3700) {
            let mut line = vec![b'.'; 6000];
            line.splice(at - 1..=at + secret.len(), format!(" {secret} ").into_bytes());
            let input = [b"first\n".as_slice(), &line, b"\nlast\n"].concat();
            let found = told(&mut detector, limits, &input);
            assert_eq!(found, [(rule.clone(), 2, at as u64 + offset, text.clone())], "at {at}");
        }
    }
}

#[test]
fn the_line_after_a_window_is_counted_on() {
    let limits = CutLimits { block_bytes: 4096, line_bytes: 2048, overlap_bytes: 512 };
    let input = [[b'.'; 5000].as_slice(), b"\nann@outflow-fake.org\n"].concat();
    assert_eq!(short(&told(&mut detector(), limits, &input)), [("pii.email", 2, 0)]);
}

#[test]
fn a_secret_in_a_line_that_a_runtime_cut_is_found_where_it_stands() {
    let token = example("secret.github-token");
    let token = &token[token.find("ghp_").unwrap()..][..40];
    let (head, rest) = token.split_at(11);
    let time = "2026-11-26T15:04:05.123456789Z";
    let cri =
        format!("{time} stdout F a\n{time} stdout P token={head}\n{time} stderr F other\n{time} stdout F {rest} end\n");
    let log = |text: &str| format!("{{\"log\":\"{text}\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n");
    let docker = [log("a\\n"), log(&format!("token=\\\"{head}")), log(&format!("{rest}\\\" end\\n"))].concat();
    let utf16: Vec<u8> = format!("\u{feff}a\ntoken={token} end\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut detector = detector();
    for (input, line) in [(cri.as_bytes(), 2), (docker.as_bytes(), 2), (utf16.as_slice(), 2)] {
        // However it is read: at once, or as the lines are written.
        for pieces in [1, 7, 64, input.len()] {
            let (mut cuts, mut told) = (Vec::new(), Vec::new());
            let mut cutter = LineCutter::new(CutLimits::default(), Position::default());
            for piece in input.chunks(pieces) {
                cutter.push(piece, &mut cuts);
            }
            cutter.finish(&mut cuts);
            for cut in cuts {
                let block = cut.into_block(Arc::new(LogFile::default()), Timestamp(0), None);
                detector.inspect_log(&block, &mut |hit| {
                    let Hit::Leak(leak) = hit else { panic!("a scan detector emits leaks") };
                    let Place::Log { line, offset, .. } = leak.place else { panic!("a log was scanned") };
                    told.push((leak.rule.id.clone(), line, offset, leak.haystack[leak.span.clone()].to_vec()));
                });
            }
            let at = input
                .windows(3)
                .position(|window| window == b"ghp")
                .or_else(|| input.windows(6).position(|window| window == b"g\0h\0p\0"));
            let expected = ("secret.github-token".to_owned(), line, at.unwrap() as u64, token.as_bytes().to_vec());
            assert_eq!(told, [expected], "pieces of {pieces} bytes");
        }
    }
}

#[test]
fn pieces_without_end_are_told_once() {
    let token = example("secret.github-token");
    let token = &token[token.find("ghp_").unwrap()..][..40];
    let limits = CutLimits { block_bytes: 4096, line_bytes: 2048, overlap_bytes: 256 };
    let piece = |text: &str| format!("2026-11-26T15:04:05.123456789Z stdout P {text:.<300}\n");
    let mut input = String::new();
    for number in 0..40 {
        input += &piece(if number % 5 == 2 { token } else { "" });
    }
    // One more stands where a piece ends.
    let (head, rest) = token.split_at(20);
    let time = "2026-11-26T15:04:05.123456789Z";
    let cut = format!("{time} stdout P {:.<280}{head}\n{time} stdout F {rest}\n", "");
    input.push_str(&cut);
    let mut detector = detector();
    let (mut cuts, mut lines) = (Vec::new(), Vec::new());
    let mut cutter = LineCutter::new(limits, Position::default());
    cutter.push(input.as_bytes(), &mut cuts);
    cutter.finish(&mut cuts);
    assert!(cuts.len() > 3 && cuts.iter().any(|cut| cut.carry > 0));
    for cut in cuts {
        let block = cut.into_block(Arc::new(LogFile::default()), Timestamp(0), None);
        detector.inspect_log(&block, &mut |hit| {
            let Hit::Leak(Leak { place: Place::Log { line, .. }, .. }) = hit else { panic!("a leak in a log") };
            lines.push(line);
        });
    }
    assert_eq!(lines, [3, 8, 13, 18, 23, 28, 33, 38, 41]);
}
