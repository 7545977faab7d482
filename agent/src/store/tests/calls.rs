//! Calls that wait for streams: kept in order until each has them, bounded, and never under a number that was used before.

use super::*;
use crate::findings::Call;

fn call(number: usize) -> Call {
    let mut exchange = sample::exchange("openai", "gpt-4o");
    exchange.request_model = Some(format!("model-{number}"));
    Call::of(&exchange, None, None)
}

fn keeping(folder: &tempfile::TempDir, max_call_bytes: u64) -> Store {
    Store::open(&place(folder), Limits { max_call_bytes, ..Limits::default() }).unwrap()
}

fn add(store: &Store, numbers: std::ops::Range<usize>) {
    for number in numbers {
        keep(store, Batch { calls: vec![call(number)], ..Batch::default() });
    }
}

/// Numbers and models of what is kept.
fn kept(store: &Store) -> Vec<(u64, String)> {
    let rows = store.reader().unwrap().calls_after(0, 1000).unwrap();
    let model = |payload: &str| serde_json::from_str::<Call>(payload).unwrap().record.model.requested.unwrap();
    rows.iter().map(|row| (row.seq, model(&row.payload))).collect()
}

fn numbers(store: &Store) -> Vec<u64> {
    kept(store).into_iter().map(|(seq, _)| seq).collect()
}

#[test]
fn calls_are_kept_only_for_those_who_stream_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    assert!(!store.keeps_calls());
    keep(&store, Batch { calls: vec![call(0)], ..found(vec![finding("a", 0)]) });
    assert_eq!((kept(&store), store.reader().unwrap().newest_call().unwrap()), (Vec::new(), 0));
    drop(store);

    let store = keeping(&folder, 1 << 20);
    assert!(store.keeps_calls());
    store.stream_calls(vec!["k/calls".into(), "k/usage".into()]).unwrap();
    let mut newest = store.watch_calls();
    add(&store, 0..3);
    assert_eq!(*newest.borrow_and_update(), 3);
    let first = ["model-0", "model-1", "model-2"];
    assert_eq!(kept(&store), (1..).zip(first.map(str::to_owned)).collect::<Vec<_>>());
    // The slower of the two counts.
    store.deliver_calls("k/calls", 3, Vec::new()).unwrap();
    assert_eq!(numbers(&store), [1, 2, 3]);
    store.deliver_calls("k/usage", 2, Vec::new()).unwrap();
    assert_eq!((numbers(&store), store.stats().calls_waiting, store.stats().calls_dropped), (vec![3], 1, 0));
    let reader = store.reader().unwrap();
    assert_eq!(reader.call_cursors().unwrap(), [("k/calls".into(), 3), ("k/usage".into(), 2)]);
    assert_eq!(reader.cursors().unwrap(), [], "cursors of findings are others");
    let id = reader.store_id().unwrap();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    drop((reader, store));

    // Another program writes to the store meanwhile, and takes nothing away.
    let store = open(&folder);
    keep(&store, found(vec![finding("b", 0)]));
    assert_eq!(numbers(&store), [3]);
    drop(store);

    // One stream is taken out of the config: nobody waits for it any more. Numbers go on where they were, although no row is left.
    let store = keeping(&folder, 1 << 20);
    assert_eq!(store.stats().calls_waiting, 1);
    store.stream_calls(vec!["k/calls".into()]).unwrap();
    assert_eq!(numbers(&store), [0; 0]);
    drop(store);
    let store = keeping(&folder, 1 << 20);
    assert_eq!(*store.watch_calls().borrow(), 3);
    add(&store, 3..4);
    assert_eq!(numbers(&store), [4]);
    assert_eq!(store.reader().unwrap().store_id().unwrap(), id);
    // And without any, nothing is kept for the next.
    store.stream_calls(Vec::new()).unwrap();
    assert_eq!(numbers(&store), [0; 0]);
}

#[test]
fn beyond_the_bound_the_oldest_go_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let one = serde_json::to_string(&call(0)).unwrap().len() as u64;
    let store = keeping(&folder, 5 * one);
    store.stream_calls(vec!["slow".into()]).unwrap();
    add(&store, 0..5);
    assert_eq!((numbers(&store), store.stats().calls_dropped), (vec![1, 2, 3, 4, 5], 0));
    add(&store, 5..8);
    assert_eq!((numbers(&store), store.stats().calls_dropped), (vec![4, 5, 6, 7, 8], 3));
    // What was delivered and is forgotten makes room.
    store.deliver_calls("slow", 7, Vec::new()).unwrap();
    drop(store);
    let store = keeping(&folder, 5 * one);
    add(&store, 0..4);
    assert_eq!((numbers(&store), store.stats().calls_dropped), (vec![8, 9, 10, 11, 12], 0));
    // One batch alone may be more than the bound.
    keep(&store, Batch { calls: (0..9).map(call).collect(), ..Batch::default() });
    assert_eq!((numbers(&store), store.stats().calls_dropped), (vec![17, 18, 19, 20, 21], 9));
}

#[test]
fn a_call_commits_with_its_batch_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = keeping(&folder, 1 << 20);
    let mut broken = finding("a", 0);
    keep(&store, found(vec![broken.clone()]));
    // A stored finding that is no JSON makes a batch fail that counts it up.
    drop(store);
    let db = Connection::open(place(&folder)).unwrap();
    db.execute("UPDATE finding SET payload = 'no JSON'", []).unwrap();
    drop(db);
    let store = keeping(&folder, 1 << 20);
    broken.count = 1;
    let batch = Batch { calls: vec![call(0)], ..found(vec![broken]) };
    assert!(store.submit(batch).unwrap().wait().is_err());
    assert_eq!((numbers(&store), *store.watch_calls().borrow()), (vec![], 0));
    add(&store, 1..2);
    assert_eq!(kept(&store), [(1, "model-1".to_owned())]);
}
