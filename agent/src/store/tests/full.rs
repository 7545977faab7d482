//! When there is no room: who waits, who is refused, and that it goes on by itself.

use super::*;
use crate::findings::STORE_FULL;

/// Puts findings in until the store is full; gives the ids of those that are kept and the receipt of the batch that waits.
fn fill(store: &Store) -> (Vec<String>, Receipt) {
    let mut ids = Vec::new();
    loop {
        let some: Vec<Finding> = (0..10).map(|index| finding(&format!("{} {index}", ids.len()), 0)).collect();
        let new: Vec<String> = some.iter().map(|finding| finding.finding_id.clone()).collect();
        let receipt = store.submit(found(some)).unwrap();
        loop {
            if let Some(result) = receipt.try_wait() {
                result.unwrap();
                break;
            }
            if store.stats().full_since.is_some() {
                return (ids, receipt);
            }
            std::thread::yield_now();
        }
        ids.extend(new);
    }
}

fn small() -> Limits {
    Limits { max_bytes: 1024 * 1024, queue: 2, ..Limits::default() }
}

#[test]
fn a_full_store_makes_files_wait_refuses_live_sources_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = place(&folder);
    let store = Store::open(&path, small()).unwrap();
    let (kept, waiting) = fill(&store);
    assert!(kept.len() > 100, "{}", kept.len());
    let stats = store.stats();
    assert!(stats.full_because.is_some_and(|why| why.contains("no room")), "it says why");
    assert!(file::bytes(&path).0 <= 1024 * 1024, "{:?}", file::bytes(&path));

    // Live: some lie in the queue until the writer comes to them, the others are refused at once; none is lost without a count.
    let live: Vec<_> =
        (0..5).map(|index| store.try_submit(found(vec![finding(&format!("live {index}"), 0)]))).collect();
    assert!(live.iter().any(|result| matches!(result, Err(StoreError::Busy))), "{live:?}");
    assert!(waiting.try_wait().is_none());
    assert_eq!(store.reader().unwrap().count(&Filter::default()).unwrap(), kept.len() as u64);
    assert!(store.cut_due(at(1000)).is_ok_and(|cut| cut == 0));

    for id in kept.iter().take(60) {
        assert_eq!(store.erase(id).unwrap(), 1);
    }
    waiting.wait().unwrap();
    let live_kept = live.into_iter().flatten().filter_map(|receipt| receipt.wait().ok()).count();
    // What came while only a few were erased may have found no room yet.
    keep(&store, found(vec![finding("last", 0)]));
    // Who tries again has lost nothing. The finding is told where revisions are cut.
    store.offer(found(vec![finding("last", 0)])).unwrap().wait().unwrap();
    store.settle().unwrap();
    let stats = store.stats();
    assert_eq!((stats.full_since, stats.full_because), (None, None));
    assert_eq!(stats.refused, 5 - live_kept as u64);
    let reader = store.reader().unwrap();
    assert_eq!(reader.count(&Filter::default()).unwrap(), (kept.len() - 60 + 10 + live_kept + 1 + 1) as u64);
    // The one that nobody submitted tells how many are missing.
    let all = reader.findings(&Filter::default()).unwrap();
    let [told] = &all.iter().filter(|finding| finding.rule.id == STORE_FULL).collect::<Vec<_>>()[..] else {
        panic!("{all:?}")
    };
    assert_eq!(told.count, stats.refused);
    assert!(told.title.contains("tap"), "{}", told.title);
    assert_eq!(whole(&reader).erased, 60);
}

#[test]
fn closing_a_full_store_waits_for_nothing_and_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&place(&folder), small()).unwrap();
    let (kept, waiting) = fill(&store);
    store.close().unwrap();
    assert!(matches!(waiting.wait(), Err(StoreError::Full { .. })));
    assert_eq!(store.stats().refused, 0, "a source that waits has lost nothing: it reads it again");
    // With more room it goes on where it was.
    let store = open(&folder);
    keep(&store, found(vec![finding("more", 0)]));
    let reader = store.reader().unwrap();
    assert_eq!(reader.count(&Filter::default()).unwrap(), kept.len() as u64 + 1);
    whole(&reader);
}

#[test]
fn a_reader_that_stays_cannot_fill_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = place(&folder);
    let store = Store::open(&path, Limits { log_bytes: 256 * 1024, ..Limits::default() }).unwrap();
    keep(&store, found(vec![finding("first", 0)]));
    let reader = store.reader().unwrap();
    let old_state = reader.db.unchecked_transaction().unwrap();
    assert_eq!(reader.count(&Filter::default()).unwrap(), 1);
    let (kept, waiting) = fill(&store);
    assert!(store.stats().full_because.is_some_and(|why| why.contains("old state")));
    assert!(file::bytes(&path).1 < 1024 * 1024, "{:?}", file::bytes(&path));
    assert_eq!(reader.count(&Filter::default()).unwrap(), 1, "it still reads the old state");
    drop(old_state);
    waiting.wait().unwrap();
    assert_eq!(reader.count(&Filter::default()).unwrap(), kept.len() as u64 + 11);
}

fn until_full(sinks: &[&str], drop_oldest: bool) -> Retention {
    let sinks = sinks.iter().map(|sink| (*sink).to_owned()).collect();
    Retention { keep_ns: u64::MAX, sinks, drop_oldest }
}

/// The finding about what was dropped.
fn told_of_drops(store: &Store) -> Option<Finding> {
    let filter = Filter { rule: Some("coverage.store-full".into()), ..Filter::default() };
    store.reader().unwrap().findings(&filter).unwrap().pop()
}

#[test]
fn what_was_delivered_makes_room_before_anybody_waits_or_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&place(&folder), small()).unwrap();
    store.keep(until_full(&["s"], false)).unwrap();
    let (kept, waiting) = fill(&store);
    assert!(waiting.try_wait().is_none(), "nothing is delivered, so it waits");
    store.deliver("s", 200, Vec::new()).unwrap();
    waiting.wait().unwrap();
    let stats = store.stats();
    assert_eq!((stats.full_since, stats.dropped), (None, Pruned::default()));
    assert!(stats.pruned.revisions > 0 && stats.pruned.revisions <= 200, "{stats:?}");
    let reader = store.reader().unwrap();
    assert_eq!(reader.count(&Filter::default()).unwrap(), kept.len() as u64 + 10, "current states stay");
    assert_eq!(whole(&reader).from, stats.pruned.revisions + 1);
    assert_eq!(told_of_drops(&store), None);
}

#[test]
fn with_drop_oldest_new_findings_are_always_kept_and_what_went_is_counted_and_told() {
    for sinks in [&[][..], &["s"]] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&place(&folder), small()).unwrap();
        store.keep(until_full(sinks, true)).unwrap();
        keep(&store, found((0..100).map(|index| finding(&format!("first {index}"), 0)).collect()));
        store.deliver("s", 40, Vec::new()).unwrap();
        for batch in 0..100 {
            let some = (0..20).map(|index| finding(&format!("{batch} {index}"), 0)).collect();
            // A live source is not refused either.
            store.try_submit(found(some)).unwrap().wait().unwrap();
        }
        let (stats, reader) = (store.stats(), store.reader().unwrap());
        assert_eq!((stats.refused, stats.full_since), (0, None));
        let gone = whole(&reader).from - 1;
        let delivered = if sinks.is_empty() { 0 } else { 40 };
        assert!(gone > 1000, "{stats:?}");
        assert_eq!((stats.pruned.revisions, stats.dropped.revisions), (delivered, gone - delivered));
        let told = told_of_drops(&store).unwrap();
        assert_eq!(told.count, stats.dropped.revisions + stats.dropped.findings);
        assert!(reader.finding(&finding("99 19", 0).finding_id).unwrap().is_some(), "the newest is there");
        assert!(file::bytes(&place(&folder)).0 <= 1024 * 1024);
    }
}

#[test]
fn a_reader_that_stays_is_no_reason_to_drop_anything() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&place(&folder), Limits { log_bytes: 256 * 1024, ..Limits::default() }).unwrap();
    store.keep(until_full(&[], true)).unwrap();
    keep(&store, found(vec![finding("first", 0)]));
    let reader = store.reader().unwrap();
    let old_state = reader.db.unchecked_transaction().unwrap();
    assert_eq!(reader.count(&Filter::default()).unwrap(), 1);
    let (_, waiting) = fill(&store);
    assert_eq!((store.stats().dropped, store.stats().pruned), (Pruned::default(), Pruned::default()));
    drop(old_state);
    waiting.wait().unwrap();
}
