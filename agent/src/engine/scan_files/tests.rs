//! Many files over several workers: told in order, counted, and over when nobody listens.

use std::{fmt::Write as _, fs, path::PathBuf, sync::LazyLock};

use super::*;
use crate::{
    findings::{MAX_OPEN, Policy},
    rules::Selection,
    sources::files::{WalkOptions, walk},
};

/// One rule is enough here, and its scanner is built in no time.
static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let mut selection = Selection::default();
    let ids = selection.all().unwrap().into_iter().map(|loaded| loaded.rule.id);
    selection.disabled = ids.filter(|id| id != "pii.email").collect();
    Rules::select(&selection, Policy::default(), &[]).unwrap()
});

fn scan(paths: Vec<PathBuf>, options: &ScanOptions, tell: &mut dyn FnMut(Scanned) -> bool) {
    let key = FingerprintKey::new([7; 32]);
    scan_files(&RULES, &key, walk(paths, WalkOptions::default()), options, tell).unwrap();
}

#[test]
fn findings_come_file_by_file_with_their_counts() {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..40 {
        // The first files are the longest, so that later ones are done before them.
        let mut text = "nothing here\n".repeat((40 - file) * 500);
        for _ in 0..=file {
            writeln!(text, "user{file}@outflow-fake.org and all@outflow-fake.org").unwrap();
        }
        fs::write(folder.path().join(format!("{file:02}.log")), text).unwrap();
    }
    let options = ScanOptions { workers: 3, ..ScanOptions::default() };
    let mut told = Vec::new();
    scan(vec![folder.path().to_owned()], &options, &mut |scanned| {
        told.push(match scanned {
            Scanned::Finding(finding) => {
                let location = finding.location.unwrap();
                assert!(finding.destination.is_none() && finding.model.is_none() && finding.coverage.is_none());
                let file = location.file.unwrap().rsplit('/').next().unwrap().to_owned();
                format!("{file}:{}:{} {}", location.line.unwrap(), location.start, finding.count)
            }
            Scanned::File { refused_blocks: 0, .. } => "end".to_owned(),
            other => panic!("{other:?}"),
        });
        true
    });
    let expected: Vec<String> = (0..40)
        .flat_map(|file| {
            let (line, count) = ((40 - file) * 500 + 1, file + 1);
            let second = format!("user{file}@outflow-fake.org and ").len();
            [
                format!("{file:02}.log:{line}:0 {count}"),
                format!("{file:02}.log:{line}:{second} {count}"),
                "end".to_owned(),
            ]
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn the_id_of_a_leak_is_its_rule_file_and_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let ids = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let mut ids = Vec::new();
        scan(vec![path], &ScanOptions::default(), &mut |scanned| {
            if let Scanned::Finding(finding) = scanned {
                ids.push(finding.finding_id);
            }
            true
        });
        ids
    };
    let first = ids("a.log", "ann@outflow-fake.org\n");
    assert_eq!(first, ids("a.log", "\n\nlater on another line: ann@outflow-fake.org"));
    assert_ne!(first, ids("a.log", "bob@outflow-fake.org\n"));
    assert_ne!(first, ids("b.log", "ann@outflow-fake.org\n"));
}

#[test]
fn a_file_with_more_findings_than_the_table_holds_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.log");
    let many = MAX_OPEN * 2 + 10;
    let mut text = String::new();
    for number in 0..many {
        writeln!(text, "u{number}@outflow-fake.org").unwrap();
    }
    fs::write(&path, text).unwrap();
    let mut lines = Vec::new();
    scan(vec![path], &ScanOptions::default(), &mut |scanned| {
        if let Scanned::Finding(finding) = scanned {
            lines.push(finding.location.unwrap().line.unwrap());
        }
        true
    });
    assert_eq!(lines, (1..=many as u64).collect::<Vec<_>>());
}

#[test]
fn nobody_listens_any_more() {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..200 {
        fs::write(folder.path().join(format!("{file}.log")), "ann@outflow-fake.org\n").unwrap();
    }
    let mut told = 0;
    scan(vec![folder.path().to_owned()], &ScanOptions { workers: 2, ..ScanOptions::default() }, &mut |_| {
        told += 1;
        false
    });
    assert_eq!(told, 1);
}

/// All that is told of a text, in a file of its own.
fn told_of(text: &[u8], options: &ScanOptions) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    let mut told = Vec::new();
    scan(vec![path], options, &mut |scanned| {
        told.push(match scanned {
            Scanned::Finding(finding) => {
                let Finding { rule, location, count, confidence, excerpt, .. } = *finding;
                let at = location.unwrap();
                format!("{} {:?}:{} {:?} {count} {confidence} {excerpt:?}", rule.id, at.line, at.start, at.byte_offset)
            }
            Scanned::File { bytes, refused_blocks, silenced } => format!("{bytes} {refused_blocks} {silenced:?}"),
            other => panic!("{other:?}"),
        });
        true
    });
    told
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 24, ..proptest::test_runner::Config::default() })]

    /// However many workers share the blocks of a file, the same is told in the same order.
    #[test]
    fn one_worker_tells_what_many_tell(
        lines in proptest::collection::vec((0_usize..9, 0_usize..40), 1..400),
        workers in 2_usize..6,
    ) {
        let mut text = String::new();
        for (kind, number) in lines {
            match kind {
                0 | 1 => writeln!(text, "mail from user{number}@outflow-fake.org"),
                2 => writeln!(text, "known{number}@outflow-fake.org # outflow:allow"),
                3 => writeln!(text, "model: gpt-4o # {number}"),
                4 => writeln!(text, "{} all@outflow-fake.org", "long ".repeat(number)),
                5 => writeln!(text, "-----BEGIN X-----\n{number}\n-----END X-----"),
                _ => writeln!(text, "nothing to see, {number}"),
            }
            .unwrap();
        }
        let limits = CutLimits { block_bytes: 512, line_bytes: 128, overlap_bytes: 48 };
        let one = ScanOptions { workers: 1, limits, ..ScanOptions::default() };
        let expected = told_of(text.as_bytes(), &one);
        proptest::prop_assert_eq!(told_of(text.as_bytes(), &ScanOptions { workers, ..one }), expected);
    }
}

#[test]
fn one_file_keeps_all_workers_busy() {
    let mut text = String::new();
    for number in 0..6000 {
        writeln!(text, "u{number}@outflow-fake.org and all@outflow-fake.org").unwrap();
    }
    let limits = CutLimits { block_bytes: 256 * 1024, ..CutLimits::default() };
    // Blocks with more findings than another worker may bring are in it.
    let expected = told_of(text.as_bytes(), &ScanOptions { workers: 1, limits, ..ScanOptions::default() });
    assert_eq!(expected.len(), 6002);
    let progress = Arc::<AtomicU64>::default();
    let options = ScanOptions { workers: 4, limits, progress_bytes: Arc::clone(&progress), ..ScanOptions::default() };
    assert_eq!(told_of(text.as_bytes(), &options), expected);
    assert_eq!(progress.load(std::sync::atomic::Ordering::Relaxed), text.len() as u64);
}

#[test]
fn model_ids_are_told_once_a_file_with_their_count() {
    let text = "model: gpt-4o\nfallback_model: gpt-4o\nmodel: gpt-4o-2024-08-06\nx: ann@outflow-fake.org\nmodel: mistral-large-latest # outflow:allow\n";
    let told = told_of(text.as_bytes(), &ScanOptions::default());
    let starts = ["model.unpinned Some(1):7 Some(7) 2 90 None", "pii.email Some(4):3 Some(", "116 0 {Inline: 1}"];
    assert_eq!(told.len(), starts.len(), "{told:?}");
    for (told, start) in told.iter().zip(starts) {
        assert!(told.starts_with(start) || start.starts_with("116"), "{told}");
    }
    assert!(told[2].ends_with("0 {Inline: 1}"), "{told:?}");
}
