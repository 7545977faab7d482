//! A leak is found again, whatever wraps its log and wherever that went; and of nothing sensitive around it five characters are shown.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::{
    detectors::scan::ScanDetector,
    engine::Rules,
    findings::{Maker, Policy},
    rules::RuleSource,
    sources::log::{LogBlock, LogFile},
    units::Timestamp,
};

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::load(&RuleSource::Embedded, &[]).unwrap());

const LEAK: &str = "maria.keller@outflow-demo-shop.com";

/// Stand around the leak, and must not be shown. Each as a line says it, with what of it is sensitive.
const PLANTED: [(&str, &str); 7] = [
    ("charge card 4111 1111 1111 1111 for order 7", "4111 1111 1111 1111"),
    ("using sk-proj-Zk3vQ9xW2mT7pL5nB8cR4dF6gH1jK0sA3vQ9xW2mT7pT3BlbkFJ7pL5nB8cR4dF6gH1jK0s", "Zk3vQ9xW2mT7pL5nB8c"),
    ("db_password = Winter-Garten", "Winter-Garten"),
    ("copy to jonas.weber@outflow-demo-shop.com", "jonas.weber"),
    ("pay to DE89370400440532013000 now", "DE89370400440532013000"),
    ("the word Winter-Garten once more", "Winter-Garten"),
    ("\u{1b}[31mred\u{7} and \u{202e}back", "\u{1b}"),
];

/// Lines of a program: the planted ones around the leak.
fn program() -> String {
    let (before, behind) = PLANTED.split_at(4);
    let mut text = String::new();
    for number in 0..5000 {
        writeln!(text, "started worker {number} of many").unwrap();
    }
    for (line, _) in before {
        writeln!(text, "{line}").unwrap();
    }
    writeln!(text, "shipped, receipt to {LEAK} at once").unwrap();
    for (line, _) in behind {
        writeln!(text, "{line}").unwrap();
    }
    text + &"nothing more to say here\n".repeat(5000)
}

fn cri(text: &str) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        // Cut as a runtime cuts, only earlier.
        let middle = (0..=line.len() / 2).rev().find(|at| line.is_char_boundary(*at)).unwrap();
        let (first, last) = line.split_at(middle);
        writeln!(out, "2026-11-26T10:00:00.000000001Z stdout P {first}").unwrap();
        writeln!(out, "2026-11-26T10:00:00.000000002Z stdout F {last}").unwrap();
        out
    })
}

fn docker(text: &str) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        let log = serde_json::to_string(&format!("{line}\n")).unwrap();
        writeln!(out, "{{\"log\":{log},\"stream\":\"stdout\",\"time\":\"2026-11-26T10:00:00Z\"}}").unwrap();
        out
    })
}

fn utf16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

fn key() -> FingerprintKey {
    FingerprintKey::new([7; 32])
}

/// The finding of the leak, as the agent makes it.
fn found(path: &Path, content: &[u8], rule: &str, text: &str) -> Finding {
    let file = Arc::new(LogFile { path: path.to_str().unwrap().to_owned(), ..LogFile::default() });
    let block = LogBlock::whole(file, Bytes::copy_from_slice(content), Timestamp(0));
    let mut detector = ScanDetector::new(Arc::clone(&RULES.scan)).unwrap();
    let (maker, mut all) = (Maker::new(key()), Vec::new());
    detector
        .inspect_log(&block, &mut |hit| all.push(maker.tell(&hit, Timestamp(0), None, &Policy::default()).unwrap()));
    let entity = all.iter().find(|finding| finding.rule.id == rule).and_then(|finding| finding.entity.clone()).unwrap();
    let print = key().fingerprint(&entity, text.as_bytes());
    all.into_iter().find(|finding| finding.rule.id == rule && finding.fingerprint.as_ref() == Some(&print)).unwrap()
}

fn again(finding: &Finding, lines: usize) -> Again {
    let key = key();
    let mut looker = Looker::new(&RULES, &key, finding, lines).unwrap().unwrap();
    look_for(place(finding).unwrap(), &mut looker).unwrap()
}

/// All that leaves, as text and as JSON; nothing planted is in it.
fn checked(again: &Again) -> String {
    let shown = told(again) + &serde_json::to_string(again).unwrap();
    for secret in PLANTED.iter().map(|(_, secret)| *secret).chain([LEAK]) {
        let secret: Vec<char> = secret.chars().collect();
        for gram in secret.windows(5.min(secret.len())) {
            let gram: String = gram.iter().collect();
            assert!(!shown.contains(&gram), "{gram:?} in {shown}");
        }
    }
    assert!(!shown.contains(|c: char| c != '\n' && c.is_control()) && !shown.contains('\u{202e}'), "{shown}");
    shown
}

#[test]
fn the_lines_around_are_shown_masked_whatever_wraps_them() {
    let folder = tempfile::tempdir().unwrap();
    let text = program();
    for (name, content, lines_each) in [
        ("plain.log", text.clone().into_bytes(), 1),
        ("cri.log", cri(&text).into_bytes(), 2),
        ("docker.log", docker(&text).into_bytes(), 1),
        ("utf16.log", utf16(&text), 1),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, &content).unwrap();
        let again = again(&found(&path, &content, "pii.email", LEAK), 4);
        assert_eq!(again.whereabouts, Whereabouts::InPlace, "{name}: {again:?}");
        let shown = checked(&again);
        let lines: Vec<_> = again.lines.iter().map(|line| (line.number.div_ceil(lines_each), line.leak)).collect();
        let expected: Vec<_> = (5001..=5009).map(|line| (line, line == 5005)).collect();
        assert_eq!(lines, expected, "{name}");
        let own = again.lines.iter().find(|line| line.leak).unwrap();
        assert_eq!(own.text.as_str(), "shipped, receipt to m•••@•••.com at once", "{name}");
        for part in ["charge card •••", "using •••", "pay to •••", "the word •••", " [31mred and back"]
        {
            assert!(shown.contains(part), "{name}: {part:?} is not in {shown}");
        }
    }
}

#[test]
fn a_key_of_several_lines_is_one_and_its_lines_are_never_context() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.log");
    let body = (0..24).fold(String::new(), |body, row| body + &format!("MIIEpAIBAAKCAQEA{:048}\n", row * 7919));
    let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{body}wXyZ09ab==\n-----END RSA PRIVATE KEY-----\n");
    let text = format!("first line\n{key}between, to {LEAK}\n{}", "and more\n".repeat(9));
    fs::write(&path, &text).unwrap();
    let near = again(&found(&path, text.as_bytes(), "pii.email", LEAK), 3);
    let shown = checked(&near);
    assert!(!shown.contains("wXyZ0") && !shown.contains("MIIEp"), "{shown}");
    let rule = "secret.private-key";
    let file = Arc::new(LogFile { path: path.to_str().unwrap().to_owned(), ..LogFile::default() });
    let block = LogBlock::whole(file, Bytes::from(text.clone().into_bytes()), Timestamp(0));
    let mut detector = ScanDetector::new(Arc::clone(&RULES.scan)).unwrap();
    let (maker, mut all) = (Maker::new(self::key()), Vec::new());
    detector.inspect_log(&block, &mut |hit| all.push(maker.occurrence(&hit, Timestamp(0), None)));
    let finding = all.iter().find(|finding| finding.rule.id.starts_with(rule)).unwrap_or_else(|| panic!("{all:?}"));
    let own = again(finding, 1);
    assert_eq!((own.whereabouts, own.lines.len()), (Whereabouts::InPlace, 3), "{own:?}");
    let shown = checked(&own);
    assert!(!shown.contains("wXyZ0") && !shown.contains("MIIEp") && shown.contains("between, to •••"), "{shown}");
    // Far below, where the beginning of the key is out of reach.
    let filler = "x".repeat(60) + "\nab==\n";
    let far = format!("{}-----END RSA PRIVATE KEY-----\nto {LEAK}\n", filler.repeat(600));
    fs::write(&path, &far).unwrap();
    let far = again(&found(&path, far.as_bytes(), "pii.email", LEAK), 3);
    assert!(far.lines.iter().take(3).all(|line| line.text.as_str() == "•••"), "{far:?}");
}

#[test]
fn a_log_that_was_rotated_is_found_and_one_that_is_gone_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let (path, text) = (folder.path().join("app.log"), program());
    fs::write(&path, &text).unwrap();
    let finding = found(&path, text.as_bytes(), "pii.email", LEAK);

    // Another log by now; nothing beside it.
    fs::write(&path, "a new log\n").unwrap();
    let changed = again(&finding, 3);
    assert_eq!(changed.whereabouts, Whereabouts::Gone);
    assert!(changed.why.contains("has changed") && changed.why.contains("line 5005"), "{}", changed.why);
    assert!(changed.lines.is_empty() && changed.file.is_none());

    // Renamed; the new log has grown past the place.
    let rotated = folder.path().join("app.log.1");
    fs::write(&rotated, &text).unwrap();
    fs::write(&path, "another line of another log\n".repeat(20_000)).unwrap();
    let renamed = again(&finding, 2);
    assert_eq!((renamed.whereabouts, renamed.file.as_ref()), (Whereabouts::Rotated, Some(&rotated)));
    assert_eq!((renamed.line, renamed.lines.len()), (Some(5005), 5));
    checked(&renamed);

    // Compressed.
    fs::remove_file(&rotated).unwrap();
    let packed = folder.path().join("app.log.2.gz");
    let mut writer = GzEncoder::new(fs::File::create(&packed).unwrap(), Compression::fast());
    writer.write_all(text.as_bytes()).unwrap();
    writer.finish().unwrap();
    let unpacked = again(&finding, 2);
    assert_eq!((unpacked.whereabouts, unpacked.file.as_ref()), (Whereabouts::Rotated, Some(&packed)));
    assert_eq!(unpacked.lines, renamed.lines);

    // Somewhere else in the log.
    fs::remove_file(&packed).unwrap();
    fs::write(&path, format!("a line more\n{text}")).unwrap();
    let moved = again(&finding, 2);
    assert_eq!((moved.whereabouts, moved.line), (Whereabouts::Moved, Some(5006)));
    checked(&moved);

    // No file at all.
    fs::remove_file(&path).unwrap();
    let gone = again(&finding, 2);
    assert_eq!(gone.whereabouts, Whereabouts::Gone);
    assert!(gone.why.contains("is not there any more"), "{}", gone.why);
}

#[test]
fn another_text_at_the_same_place_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.log");
    let text = format!("to {LEAK} and so on\n");
    let finding = found(&path, text.as_bytes(), "pii.email", LEAK);
    fs::write(&path, text.replace("maria", "clara")).unwrap();
    assert_eq!(again(&finding, 3).whereabouts, Whereabouts::Gone);
    // A pipe in its place keeps nobody waiting.
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let pipe = again(&finding, 3);
    assert_eq!(pipe.whereabouts, Whereabouts::Gone);
    assert!(pipe.why.contains("no regular file"), "{}", pipe.why);
}

#[test]
fn what_was_in_no_file_has_nothing_to_read_again() {
    let path = Path::new("/nonexistent/app.log");
    let mut finding = found(path, format!("to {LEAK}\n").as_bytes(), "pii.email", LEAK);
    assert!(place(&finding).is_ok());
    let location = finding.location.as_mut().unwrap();
    location.file = Some("journal".to_owned());
    assert!(place(&finding).unwrap_err().contains("no file that can be read"));
    finding.location.as_mut().unwrap().file = None;
    assert!(place(&finding).unwrap_err().contains("in a call"));
}
