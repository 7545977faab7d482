//! When there is no room: who waits, who is refused, and that it goes on by itself.

use super::*;

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
    let stats = store.stats();
    assert_eq!((stats.full_since, stats.full_because), (None, None));
    assert_eq!(stats.refused, 5 - live_kept as u64);
    let reader = store.reader().unwrap();
    assert_eq!(reader.count(&Filter::default()).unwrap(), (kept.len() - 60 + 10 + live_kept) as u64);
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
