//! Cases for the store, one at a time; `model.rs` plays random ones against a plain model. What needs another process or another file
//! system is in `tests/it/store.rs`.

use std::path::PathBuf;

use super::*;
use crate::{
    detectors::{Behaviour, Hit, StateChange},
    exchange::{Cost, CostSource, Exchange, sample},
    findings::{Finding, FingerprintKey, Maker},
    units::{NanoUsd, Severity},
};

mod calls;
mod damage;
mod files;
mod full;
mod migrate;
mod model;
mod prune;

const SECOND_NS: u64 = 1_000_000_000;

/// Long ago, so that the clock of any machine is past it.
fn at(second: u64) -> Timestamp {
    Timestamp((1_000_000_000 + second) * SECOND_NS)
}

/// An occurrence; equal keys make the same finding.
fn finding(key: &str, second: u64) -> Finding {
    let mut exchange = sample::exchange("openai", "gpt-4o");
    exchange.started_at = at(second);
    occurrence(&exchange, key, Severity::Medium, 10)
}

fn occurrence(exchange: &Exchange, key: &str, severity: Severity, nano_usd: u64) -> Finding {
    let hit = Hit::Behaviour(Behaviour {
        rule: "model.unpinned",
        references: vec!["https://example.com/models".into()],
        key: key.into(),
        severity,
        confidence: 95,
        title: format!("{key} can change"),
        case: None,
        facts: vec![("model.requested", key.into())],
        exchange,
    });
    let cost = Cost { nano_usd: NanoUsd(nano_usd), source: CostSource::Catalogue, catalogue: String::new() };
    let finding = Maker::new(FingerprintKey::new([7; 32])).occurrence(&hit, exchange.started_at, Some(&cost));
    // Tests of bounds count bytes, and the texts of the rule files may change.
    Finding { remedy: "Pin it.".to_owned(), ..finding }
}

fn found(findings: Vec<Finding>) -> Batch {
    Batch { findings, ..Batch::default() }
}

fn checkpoint(key: &str, value: &str) -> Checkpoint {
    Checkpoint { key: key.into(), value: value.into() }
}

fn place(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("state/outflow.db")
}

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(&place(folder), Limits::default()).unwrap()
}

fn keep(store: &Store, batch: Batch) {
    store.submit(batch).unwrap().wait().unwrap();
}

/// Seq, revision, activity and count of every revision; `None` for one that was erased.
fn outbox(reader: &StoreReader) -> Vec<(u64, u32, String, Option<u64>)> {
    let revisions = reader.outbox_after(0, 10_000).unwrap();
    let row = |row: Revision| (row.seq, row.revision, row.activity, row.finding.map(|finding| finding.count));
    revisions.into_iter().map(row).collect()
}

fn whole(reader: &StoreReader) -> Whole {
    match reader.verify().unwrap() {
        Verdict::Whole(whole) => whole,
        Verdict::Broken { seq, why } => panic!("broken at {seq}: {why}"),
    }
}

#[test]
fn what_is_over_is_told_once_and_what_comes_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let id = finding("a", 0).finding_id;
    let close =
        |second| Batch { closed: vec![(id.clone(), at(second)), ("nobody".into(), at(second))], ..Batch::default() };
    keep(&store, close(1));
    keep(&store, found(vec![finding("a", 1)]));
    keep(&store, found(vec![finding("a", 2)]));
    keep(&store, close(3));
    drop(store);
    let store = open(&folder);
    keep(&store, close(4));
    keep(&store, found(vec![finding("a", 5)]));
    keep(&store, Batch { findings: vec![finding("a", 6)], ..close(7) });
    let reader = store.reader().unwrap();
    let told = outbox(&reader).into_iter().map(|(_, revision, activity, count)| (revision, activity, count.unwrap()));
    let expected = [(1, "create", 1), (2, "close", 2), (3, "update", 3), (4, "close", 4)];
    assert_eq!(
        told.collect::<Vec<_>>(),
        expected.map(|(revision, activity, count)| (revision, activity.to_owned(), count))
    );
    whole(&reader);
}

#[test]
fn what_a_receipt_acknowledged_is_there_after_it_was_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let call = sample::exchange("openai", "gpt-4o");
    let state = |key: &str, value: Option<u8>| StateChange::new("resolved_model", key.into(), value.map(Arc::new));
    keep(
        &store,
        Batch {
            findings: vec![finding("a", 0), finding("b", 0), finding("a", 0)],
            usage: vec![UsageRow::of(&call, None), UsageRow::of(&call, None)],
            checkpoints: vec![checkpoint("tail/1", "{}"), checkpoint("tail/2", "{}"), checkpoint("other/1", "7")],
            forgotten: Vec::new(),
            states: vec![state("x", Some(1)), state("y", Some(2))],
            ..Batch::default()
        },
    );
    let second = Batch {
        forgotten: vec!["tail/1".into(), "tail/2".into()],
        checkpoints: vec![checkpoint("tail/2", "{\"offset\":9}")],
        states: vec![state("x", Some(3)), state("z", None)],
        ..Batch::default()
    };
    keep(&store, second);
    store.deliver("kafka", 2, Vec::new()).unwrap();
    drop(store);

    let store = open(&folder);
    let reader = store.reader().unwrap();
    let mut counts: Vec<_> = reader
        .findings(&Filter::default())
        .unwrap()
        .into_iter()
        .map(|finding| (finding.title, finding.count, finding.revision, finding.cost_nano_usd))
        .collect();
    counts.sort();
    let cost = Some(NanoUsd(10));
    // Twice in one call: counted twice, paid for once, and the second one was told when the store was closed.
    assert_eq!(counts, [("a can change".into(), 2, 2, cost), ("b can change".into(), 1, 1, cost)]);
    assert_eq!(store.checkpoints("tail/").unwrap(), [checkpoint("tail/2", "{\"offset\":9}")]);
    assert_eq!(store.checkpoints("").unwrap().len(), 2);
    let states: Vec<_> = store.states("resolved_model").unwrap();
    assert_eq!(states, [("y".into(), "2".into()), ("x".into(), "3".into())], "in the order of change");
    assert_eq!((reader.cursor("kafka").unwrap(), reader.cursor("otlp").unwrap()), (2, 0));
    let usage = reader.usage(0).unwrap();
    assert_eq!(usage.len(), 1);
    let row = UsageRow { calls: 2, input_tokens: 2000, output_tokens: 200, unpriced: 2, ..UsageRow::of(&call, None) };
    assert_eq!(usage.first(), Some(&row));
    assert_eq!(whole(&reader).revisions, 3);
    store.close().unwrap();
    assert!(matches!(store.submit(Batch::default()), Err(StoreError::Closed)));
    store.close().unwrap();
}

#[test]
fn a_revision_is_cut_at_once_then_once_an_interval_and_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let reader = store.reader().unwrap();
    keep(&store, found(vec![finding("a", 0)]));
    keep(&store, found(vec![finding("a", 1)]));
    assert_eq!(outbox(&reader).len(), 1);
    assert_eq!(store.cut_due(at(59)).unwrap(), 0, "the first one is not old enough");
    assert_eq!((store.cut_due(at(60)).unwrap(), store.cut_due(at(500)).unwrap()), (1, 0), "no news, no revision");
    keep(&store, found(vec![finding("a", 70)]));
    assert_eq!(store.cut_due(at(119)).unwrap(), 0);
    assert_eq!(store.cut_due(at(120)).unwrap(), 1);
    keep(&store, found(vec![finding("a", 130)]));
    // The clock was set back by an hour: nobody waits an hour for the next revision.
    assert_eq!(store.cut_due(at(10)).unwrap(), 1);
    keep(&store, found(vec![finding("a", 140), finding("b", 140)]));
    store.close().unwrap();
    let expected = [
        (1, 1, "create", 1),
        (2, 2, "update", 2),
        (3, 3, "update", 3),
        (4, 4, "update", 4),
        (5, 1, "create", 1),
        (6, 5, "update", 5),
    ];
    let expected = expected.map(|(seq, revision, activity, count)| (seq, revision, activity.to_owned(), Some(count)));
    assert_eq!(outbox(&reader), expected);
    let last = reader.outbox_after(5, 1).unwrap().pop().unwrap();
    let current = reader.finding(&last.finding_id).unwrap().unwrap();
    assert_eq!(last.finding.as_ref(), Some(&current), "the last revision is the current state");
    assert_eq!(current.record_id, format!("{}-5", current.finding_id));
}

#[test]
fn an_erased_finding_leaves_tombstones_and_goes_on_behind_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let secret = finding("marker-of-a", 0);
    keep(&store, found(vec![secret.clone(), finding("b", 0)]));
    keep(&store, found(vec![secret.clone()]));
    store.settle().unwrap();
    let head = whole(&store.reader().unwrap()).head;
    assert_eq!(store.erase(&secret.finding_id).unwrap(), 2);
    assert_eq!(store.erase(&secret.finding_id).unwrap(), 0);
    let reader = store.reader().unwrap();
    assert_eq!(whole(&reader), Whole { from: 1, revisions: 3, erased: 2, head });
    assert_eq!(reader.finding(&secret.finding_id).unwrap(), None);
    assert_eq!(reader.ids(&secret.finding_id[..8], 9).unwrap(), std::slice::from_ref(&secret.finding_id));
    for file in ["", "-wal"] {
        let bytes = std::fs::read(file::beside(&place(&folder), file)).unwrap();
        assert_eq!(memchr::memmem::find(&bytes, b"marker-of-a"), None, "what was erased is still in the file {file:?}");
    }
    // A record's id is never used twice.
    keep(&store, found(vec![secret.clone()]));
    let history = reader.history(&secret.finding_id).unwrap();
    let revisions: Vec<_> = history.iter().map(|row| (row.revision, row.finding.is_some())).collect();
    assert_eq!(revisions, [(1, false), (2, false), (3, true)]);
    assert_eq!(history.last().map(|row| row.activity.as_str()), Some("create"));
    whole(&reader);
}

#[test]
fn revisions_are_found_and_erased_though_the_state_of_their_finding_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (once, twice) = (finding("once", 0), finding("twice", 0));
    let store = open(&folder);
    keep(&store, found(vec![once.clone(), twice.clone()]));
    keep(&store, found(vec![twice.clone()]));
    store.settle().unwrap();
    drop(store);
    Connection::open(place(&folder)).unwrap().execute("DELETE FROM finding", []).unwrap();
    let store = open(&folder);
    let reader = store.reader().unwrap();
    for (finding, revisions) in [(&once, 1), (&twice, 2)] {
        let id = &finding.finding_id;
        assert_eq!(reader.ids(&id[..8], 9).unwrap(), std::slice::from_ref(id));
        assert_eq!(reader.history(id).unwrap().len(), revisions);
        assert_eq!(store.erase(id).unwrap(), revisions);
    }
    assert_eq!(whole(&reader).erased, 3);
}

#[test]
fn an_index_knows_the_revisions_that_come_later_alone_and_the_rest_is_found_through_the_state() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    let db = Connection::open(place(&folder)).unwrap();
    // As after the first finding that was kept long enough: no number is the first any more.
    db.execute("INSERT INTO meta (key, value) VALUES ('revision_floor', '7')", []).unwrap();
    let (once, twice) = (finding("once", 0), finding("twice", 0));
    let store = open(&folder);
    keep(&store, found(vec![once.clone(), twice.clone()]));
    keep(&store, found(vec![twice.clone()]));
    store.settle().unwrap();
    let reader = store.reader().unwrap();
    for (finding, expected) in [(&once, &[8][..]), (&twice, &[8, 9])] {
        let history = reader.history(&finding.finding_id).unwrap();
        assert_eq!(history.iter().map(|row| row.revision).collect::<Vec<_>>(), expected);
    }
    let indexed = "SELECT count(*) FROM outbox INDEXED BY outbox_later WHERE activity <> 'create'";
    assert_eq!(db.query_row(indexed, [], |row| row.get::<_, u64>(0)).unwrap(), 1);
}

#[test]
fn filters_let_through_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mut other = sample::exchange("openai", "gpt-4o");
    other.started_at = at(100);
    other.origin = Arc::new(crate::sources::Origin { service: "billing".into(), ..(*other.origin).clone() });
    let high = occurrence(&other, "h", Severity::High, 1);
    keep(&store, found(vec![finding("a", 0), finding("b", 50), high.clone()]));
    let reader = store.reader().unwrap();
    let titles = |filter: &Filter| -> Vec<String> {
        reader.findings(filter).unwrap().into_iter().map(|finding| finding.title).collect()
    };
    let filter = Filter::default;
    for (filter, expected) in [
        (filter(), &["h can change", "b can change", "a can change"][..]),
        (Filter { severity: Some(Severity::High), ..filter() }, &["h can change"]),
        (Filter { severity: Some(Severity::Medium), limit: Some(2), ..filter() }, &["h can change", "b can change"]),
        (Filter { severity: Some(Severity::Critical), ..filter() }, &[]),
        (Filter { service: Some("billing".into()), ..filter() }, &["h can change"]),
        (Filter { since: Some(at(50)), ..filter() }, &["h can change", "b can change"]),
        (
            Filter { rule: Some("model.*".into()), service: Some("checkout".into()), ..filter() },
            &["b can change", "a can change"],
        ),
        (Filter { rule: Some("model".into()), ..filter() }, &[]),
        (Filter { category: Some("leak".into()), ..filter() }, &[]),
    ] {
        assert_eq!(titles(&filter), expected, "{filter:?}");
        let all = reader.count(&Filter { limit: None, ..filter.clone() }).unwrap();
        assert!(filter.limit.is_some() || all == expected.len() as u64, "{filter:?}");
    }
}

#[test]
fn every_change_of_the_chain_is_seen_and_placed() {
    let tampered = |change: &str| {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        for second in 0..5 {
            keep(&store, found(vec![finding(&format!("f{second}"), second)]));
        }
        store.close().unwrap();
        let db = Connection::open(place(&folder)).unwrap();
        db.execute_batch("DROP TRIGGER outbox_keeps; DROP TRIGGER outbox_stays").unwrap();
        db.execute_batch(change).unwrap();
        match StoreReader::open(&place(&folder)).unwrap().verify().unwrap() {
            Verdict::Whole(whole) => Err(whole.erased),
            Verdict::Broken { seq, .. } => Ok(seq),
        }
    };
    for (change, seq) in [
        ("SELECT 1", Err(0)),
        ("UPDATE outbox SET payload = NULL WHERE seq = 2", Err(1)),
        ("UPDATE outbox SET payload = replace(payload, 'medium', 'low') WHERE seq = 3", Ok(3)),
        ("UPDATE outbox SET payload = '{}' WHERE seq = 5", Ok(5)),
        ("UPDATE outbox SET payload = NULL, payload_hash = zeroblob(32) WHERE seq = 2", Ok(2)),
        ("UPDATE outbox SET payload_hash = zeroblob(3) WHERE seq = 2", Ok(2)),
        ("UPDATE outbox SET revision = 9 WHERE seq = 4", Ok(4)),
        ("UPDATE outbox SET activity = 'close' WHERE seq = 1", Ok(1)),
        ("UPDATE outbox SET finding_id = 'x' WHERE seq = 5", Ok(5)),
        ("UPDATE outbox SET previous_hash = zeroblob(32) WHERE seq = 5", Ok(4)),
        ("UPDATE outbox SET previous_hash = x'01' WHERE seq = 1", Ok(1)),
        ("DELETE FROM outbox WHERE seq = 1", Ok(1)),
        ("DELETE FROM outbox WHERE seq = 3", Ok(3)),
        ("DELETE FROM outbox WHERE seq = 5", Ok(5)),
        ("DELETE FROM outbox", Ok(1)),
        ("UPDATE outbox SET seq = 9 WHERE seq = 5", Ok(5)),
        (
            "INSERT INTO outbox SELECT 6, 'x', 1, activity, payload, payload_hash, previous_hash FROM outbox WHERE seq = 5",
            Ok(5),
        ),
        ("UPDATE meta SET value = '4 00'", Ok(5)),
        ("DELETE FROM meta", Ok(1)),
    ] {
        assert_eq!(tampered(change), seq, "{change}");
    }
}

#[test]
fn the_outbox_cannot_be_edited_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    keep(&open(&folder), found(vec![finding("a", 0)]));
    let db = Connection::open(place(&folder)).unwrap();
    for edit in ["DELETE FROM outbox", "UPDATE outbox SET revision = 2", "UPDATE outbox SET payload = '{}'"] {
        let error = db.execute_batch(edit).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{edit}: {error}");
    }
}

#[test]
fn sums_that_do_not_fit_stop_at_the_top() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let row = UsageRow { input_tokens: u64::MAX, cost_nano_usd: NanoUsd(u64::MAX - 1), ..UsageRow::default() };
    keep(&store, Batch { usage: vec![row.clone(), row], ..Batch::default() });
    let mut much = finding("a", 0);
    much.count = u64::MAX;
    keep(&store, found(vec![much, finding("a", 1)]));
    let reader = store.reader().unwrap();
    let top = i64::MAX as u64;
    assert_eq!(reader.usage(0).unwrap().first().map(|row| (row.input_tokens, row.cost_nano_usd.0)), Some((top, top)));
    assert_eq!(reader.findings(&Filter::default()).unwrap().first().map(|finding| finding.count), Some(u64::MAX));
}

#[test]
fn one_batch_that_cannot_be_kept_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let bad = finding("bad", 0);
    keep(&open(&folder), found(vec![bad.clone()]));
    let db = Connection::open(place(&folder)).unwrap();
    db.execute("UPDATE finding SET payload = 'no JSON'", []).unwrap();
    drop(db);

    let store = open(&folder);
    let receipts: Vec<Receipt> = (0..30)
        .map(|index| {
            let key = index.to_string();
            let mut batch = found(vec![finding(&key, 0)]);
            if index % 10 == 5 {
                batch.findings.push(bad.clone());
            }
            batch.checkpoints = vec![checkpoint(&key, "1")];
            store.submit(batch).unwrap()
        })
        .collect();
    let kept: Vec<bool> = receipts.into_iter().map(|receipt| receipt.wait().is_ok()).collect();
    let expected: Vec<bool> = (0..30).map(|index| index % 10 != 5).collect();
    assert_eq!(kept, expected);
    assert_eq!(store.checkpoints("").unwrap().len(), 27, "nothing of a batch that was refused is kept");
    let db = Connection::open(place(&folder)).unwrap();
    let findings: u64 = db.query_row("SELECT count(*) FROM finding", [], |row| row.get(0)).unwrap();
    assert_eq!(findings, 28);
    whole(&store.reader().unwrap());
}

#[test]
fn many_writers_share_commits_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for step in 0..50 {
                    let mut batch = found(vec![finding("shared", step), finding(&format!("own {thread}"), step)]);
                    batch.checkpoints = vec![checkpoint(&thread.to_string(), &step.to_string())];
                    store.submit(batch).unwrap().wait().unwrap();
                }
            });
        }
    });
    let stats = store.stats();
    assert_eq!((stats.rows_written, stats.queued, stats.refused, stats.full_since), (1200, 0, 0, None));
    assert!(stats.commits <= 400 && stats.bytes > 0, "{stats:?}");
    let reader = store.reader().unwrap();
    let mut counts: Vec<u64> =
        reader.findings(&Filter::default()).unwrap().iter().map(|finding| finding.count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [50, 50, 50, 50, 50, 50, 50, 50, 400]);
    assert!(store.checkpoints("").unwrap().iter().all(|checkpoint| checkpoint.value == "49"));
}
