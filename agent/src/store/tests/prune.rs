//! What goes, in which order, and that the chain still verifies behind it.

use rusqlite::OptionalExtension as _;

use super::*;

const DAY: u64 = 24 * 3600;

fn retention(sinks: &[&str]) -> Retention {
    let sinks = sinks.iter().map(|sink| (*sink).to_owned()).collect();
    Retention { keep_ns: 30 * DAY * SECOND_NS, sinks, drop_oldest: false }
}

fn now(seconds: u64) -> Timestamp {
    Timestamp(crate::clock::now().0 + seconds * SECOND_NS)
}

/// An occurrence at this moment: the store's own clock is the machine's.
fn fresh(key: &str) -> Finding {
    let at = now(0).rfc3339();
    Finding { first_seen: at.clone(), last_seen: at, ..finding(key, 0) }
}

/// Until nothing more goes.
fn prune(store: &Store, at: Timestamp) -> usize {
    let mut rows = 0;
    // Findings are looked at in turn, so a round of nothing is not yet the end.
    let mut idle = 0;
    while idle < 20 {
        let gone = store.prune(at).unwrap();
        idle = if gone == 0 { idle + 1 } else { 0 };
        rows += gone;
    }
    rows
}

fn oldest(store: &Store) -> u64 {
    store.reader().unwrap().outbox_after(0, 1).unwrap().first().map_or(0, |row| row.seq)
}

#[test]
fn what_every_sink_has_goes_when_it_is_old_and_the_chain_verifies_from_there_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    keep(&store, found((0..2000).map(|index| fresh(&index.to_string())).collect()));
    let head = whole(&store.reader().unwrap()).head;
    assert_eq!(store.prune(now(1000 * DAY)).unwrap(), 0, "nobody said how long");
    store.keep(retention(&["kafka", "otlp"])).unwrap();
    store.prune(now(0)).unwrap();
    store.deliver("kafka", 2000, Vec::new()).unwrap();
    prune(&store, now(31 * DAY));
    assert_eq!(oldest(&store), 1, "one sink has not begun yet");
    store.deliver("otlp", 1500, Vec::new()).unwrap();
    assert_eq!(prune(&store, now(29 * DAY)), 0, "it is not old enough");
    prune(&store, now(31 * DAY));
    let reader = store.reader().unwrap();
    assert_eq!(whole(&reader), Whole { from: 1501, revisions: 500, erased: 0, head: head.clone() });
    assert_eq!((oldest(&store), reader.head().unwrap()), (1501, 2000));
    assert_eq!(store.stats().pruned.revisions, 1500);
    store.deliver("otlp", 2000, Vec::new()).unwrap();
    prune(&store, now(31 * DAY));
    let gone = Whole { from: 2001, revisions: 0, erased: 0, head };
    assert_eq!((whole(&store.reader().unwrap()), oldest(&store)), (gone, 0));
    assert_eq!(
        (store.reader().unwrap().head().unwrap(), store.reader().unwrap().cursor("otlp").unwrap()),
        (2000, 2000)
    );
    // It goes on behind what is gone, also after it was opened again.
    drop(store);
    let store = open(&folder);
    keep(&store, found(vec![fresh("new")]));
    let reader = store.reader().unwrap();
    assert_eq!((oldest(&store), whole(&reader).from, whole(&reader).revisions), (2001, 2001, 1));
}

#[test]
fn without_a_sink_age_alone_counts_and_what_is_seen_again_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.keep(retention(&[])).unwrap();
    let (old, open_one) = (finding("old", 0), fresh("open"));
    let usage = |minute| UsageRow { minute, calls: 1, ..UsageRow::default() };
    let this_minute = now(0).0 / 60_000_000_000;
    let batch = found(vec![old.clone(), open_one.clone()]);
    keep(&store, Batch { usage: vec![usage(5), usage(6), usage(this_minute)], ..batch });
    let letter = |seq, at: String| DeadLetter {
        seq,
        record_id: "x-1".into(),
        reason: "too_large".into(),
        detail: String::new(),
        at,
    };
    store.deliver("gone", 2, vec![letter(1, at(0).rfc3339()), letter(2, now(0).rfc3339())]).unwrap();
    // The first time it is noted what is there; the finding of long ago has not been seen since.
    prune(&store, now(0));
    let reader = store.reader().unwrap();
    assert_eq!(reader.finding(&old.finding_id).unwrap(), None);
    assert!(reader.finding(&open_one.finding_id).unwrap().is_some());
    assert_eq!(reader.outbox_after(0, 9).unwrap().len(), 2, "what was told lately stays, whatever it tells of");
    assert_eq!(reader.usage(0).unwrap().iter().map(|row| row.minute).collect::<Vec<_>>(), [this_minute]);
    assert_eq!(reader.dead_letters(9).unwrap().iter().map(|(_, dead)| dead.seq).collect::<Vec<_>>(), [2]);
    let pruned = store.stats().pruned;
    assert_eq!(pruned, Pruned { revisions: 0, findings: 1, usage: 2, dead_letters: 1 });
    prune(&store, now(31 * DAY));
    assert_eq!(store.reader().unwrap().outbox_after(0, 9).unwrap().len(), 0);
    assert_eq!(whole(&store.reader().unwrap()).from, 3);
}

#[test]
fn the_id_of_a_record_is_never_used_twice_however_much_was_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.keep(retention(&[])).unwrap();
    let mut used = std::collections::HashSet::new();
    for round in 0..4 {
        // Of long ago, so that its state goes as well.
        for second in 0..3 {
            keep(&store, found(vec![finding("again", second), finding(&format!("{round}"), 0)]));
            store.settle().unwrap();
        }
        if round == 2 {
            store.erase(&finding("again", 0).finding_id).unwrap();
        }
        let rows = store.reader().unwrap().outbox_rows_after(0, 100).unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            assert!(used.insert(row.record_id()), "round {round}: {}", row.record_id());
        }
        prune(&store, now(0));
        prune(&store, now(31 * DAY));
        let reader = store.reader().unwrap();
        assert_eq!((reader.count(&Filter::default()).unwrap(), reader.outbox_after(0, 9).unwrap().len()), (0, 0));
    }
}

#[test]
fn a_finding_that_is_erased_after_its_revisions_went_keeps_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.keep(retention(&[])).unwrap();
    // Seen all the time.
    let lasting = || Finding { last_seen: now(1000 * DAY).rfc3339(), ..fresh("lasting") };
    for _ in 0..3 {
        keep(&store, found(vec![lasting()]));
        store.settle().unwrap();
    }
    prune(&store, now(0));
    prune(&store, now(31 * DAY));
    let reader = store.reader().unwrap();
    assert_eq!((reader.count(&Filter::default()).unwrap(), reader.outbox_after(0, 9).unwrap().len()), (1, 0));
    assert_eq!(store.erase(&lasting().finding_id).unwrap(), 0);
    keep(&store, found(vec![lasting()]));
    assert_eq!(outbox(&reader), [(4, 4, "create".to_owned(), Some(1))]);
}

#[test]
fn a_finding_with_news_stays_until_they_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.keep(retention(&[])).unwrap();
    keep(&store, found(vec![finding("a", 0)]));
    keep(&store, found(vec![finding("a", 1)]));
    assert_eq!(prune(&store, now(0)), 0);
    store.settle().unwrap();
    assert_eq!(prune(&store, now(0)), 1);
}

#[test]
fn nothing_but_pruning_takes_a_revision_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    keep(&store, found((0..5).map(|index| fresh(&index.to_string())).collect()));
    store.keep(retention(&["s"])).unwrap();
    store.prune(now(0)).unwrap();
    store.deliver("s", 2, Vec::new()).unwrap();
    prune(&store, now(31 * DAY));
    let db = Connection::open(place(&folder)).unwrap();
    let hash = |seq: u64| -> Option<String> {
        let find = "SELECT lower(hex(previous_hash)) FROM outbox WHERE seq = ?1";
        db.query_row(find, [seq + 1], |row| row.get(0)).optional().unwrap()
    };
    let zero = "0".repeat(64);
    let (third, head) = (hash(3).unwrap(), whole(&store.reader().unwrap()).head);
    for edit in [
        "DELETE FROM outbox".to_owned(),
        "DELETE FROM outbox WHERE seq = 3".to_owned(),
        "DELETE FROM meta WHERE key = 'anchor'".to_owned(),
        "UPDATE meta SET value = '9 00' WHERE key = 'anchor'".to_owned(),
        "UPDATE meta SET key = 'anchor' WHERE key = 'head'".to_owned(),
        format!("INSERT OR REPLACE INTO meta VALUES ('anchor', '3 {zero}')"),
        format!("INSERT OR REPLACE INTO meta VALUES ('anchor', '5 {zero}')"),
        format!("INSERT OR REPLACE INTO meta VALUES ('anchor', '1 {third}')"),
        format!("INSERT OR REPLACE INTO meta VALUES ('anchor', '9 {head}')"),
        "INSERT OR REPLACE INTO meta VALUES ('anchor', '')".to_owned(),
    ] {
        let error = db.execute_batch(&edit).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{edit}: {error}");
    }
    assert_eq!(whole(&store.reader().unwrap()), Whole { from: 3, revisions: 3, erased: 0, head });
}

#[test]
fn changes_behind_the_anchor_are_seen_and_placed() {
    for (change, seq) in [
        ("UPDATE meta SET value = '2 00' WHERE key = 'anchor'", 3),
        ("UPDATE meta SET value = '1 ' || substr(value, 3) WHERE key = 'anchor'", 2),
        ("UPDATE meta SET value = '3 ' || substr(value, 3) WHERE key = 'anchor'", 3),
        ("DELETE FROM meta WHERE key = 'anchor'", 1),
        ("DELETE FROM outbox WHERE seq = 3", 3),
        ("UPDATE outbox SET previous_hash = zeroblob(32) WHERE seq = 3", 3),
        ("UPDATE outbox SET previous_hash = zeroblob(32) WHERE seq = 4", 3),
        ("UPDATE outbox SET activity = 'close' WHERE seq = 5", 5),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        keep(&store, found((0..5).map(|index| fresh(&index.to_string())).collect()));
        store.keep(retention(&["s"])).unwrap();
        store.prune(now(0)).unwrap();
        store.deliver("s", 2, Vec::new()).unwrap();
        prune(&store, now(31 * DAY));
        store.close().unwrap();
        let db = Connection::open(place(&folder)).unwrap();
        for trigger in ["outbox_keeps", "outbox_stays", "anchor_stays", "anchor_keeps"] {
            db.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
        }
        db.execute_batch(change).unwrap();
        match StoreReader::open(&place(&folder)).unwrap().verify().unwrap() {
            Verdict::Broken { seq: at, .. } => assert_eq!(at, seq, "{change}"),
            whole @ Verdict::Whole(_) => panic!("{change}: {whole:?}"),
        }
    }
}

#[test]
fn near_its_bound_the_store_loses_what_was_delivered_and_never_becomes_full() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 4 * 1024 * 1024, ..Limits::default() };
    let store = Store::open(&place(&folder), limits).unwrap();
    store.keep(retention(&["s"])).unwrap();
    keep(&store, found(vec![fresh("open")]));
    for batch in 0..40 {
        // Of long ago, so that their states go, and revisions fill the store.
        keep(&store, found((0..100).map(|index| finding(&format!("{batch} {index}"), 0)).collect()));
        store.deliver("s", store.reader().unwrap().head().unwrap(), Vec::new()).unwrap();
        store.prune(now(0)).unwrap();
        assert_eq!(store.stats().full_since, None);
    }
    let (stats, reader) = (store.stats(), store.reader().unwrap());
    assert!(stats.pruned.revisions >= 500, "{stats:?}");
    assert_eq!((stats.dropped, stats.refused), (Pruned::default(), 0));
    assert!(file::bytes(&place(&folder)).0 <= 4 * 1024 * 1024);
    assert!(reader.finding(&fresh("open").finding_id).unwrap().is_some(), "the current state stays");
    let whole = whole(&reader);
    assert_eq!((whole.from, whole.revisions), (stats.pruned.revisions + 1, 4001 - stats.pruned.revisions));
}

#[test]
fn space_is_given_back_to_the_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = place(&folder);
    let store = open(&folder);
    store.keep(retention(&[])).unwrap();
    for batch in 0..10 {
        keep(&store, found((0..500).map(|index| finding(&format!("{batch} {index}"), 0)).collect()));
    }
    store.prune(now(0)).unwrap();
    prune(&store, now(31 * DAY));
    for _ in 0..40 {
        store.prune(now(31 * DAY)).unwrap();
    }
    // The log is folded in when it is asked for.
    store.erase("nobody").unwrap();
    let after = file::bytes(&path).0;
    assert!(after < 1024 * 1024, "{after} bytes stay of twenty million");
    whole(&store.reader().unwrap());
    keep(&store, found(vec![finding("more", 0)]));
}

#[test]
fn a_file_that_could_not_give_space_back_learns_it_when_it_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let path = place(&folder);
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let vacuum = |db: &Connection| db.pragma_query_value(None, "auto_vacuum", |row| row.get::<_, u64>(0)).unwrap();
    // As releases before made it.
    let db = Connection::open(&path).unwrap();
    db.execute_batch(schema::STEPS[0]).unwrap();
    db.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    assert_eq!(vacuum(&db), 0);
    drop(db);
    let store = open(&folder);
    assert_eq!(vacuum(&store.reader().unwrap().db), 2);
    keep(&store, found(vec![finding("a", 0)]));
    whole(&store.reader().unwrap());
    let new = tempfile::tempdir().unwrap();
    assert_eq!(vacuum(&open(&new).reader().unwrap().db), 2);
}
