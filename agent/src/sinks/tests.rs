//! The pump against a receiver that answers as it is told, and a model of random answers. What is real is in `kafka/tests.rs`, `otlp/` and
//! `tests/e2e/sinks`.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use proptest::prelude::*;

use super::*;
use crate::{
    exchange::sample,
    findings::Finding,
    store::{Batch, Limits, StoreReader},
    units::Timestamp,
};

/// Longest that anything here may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Findings of their own each; `ids` may repeat.
pub(super) fn occurrence(key: &str) -> Finding {
    let call = sample::exchange("openai", "gpt-4o");
    let hit = crate::detectors::Hit::Behaviour(crate::detectors::Behaviour {
        rule: "model.unpinned",
        references: Vec::new(),
        key: key.to_owned(),
        severity: crate::units::Severity::Medium,
        confidence: 95,
        title: format!("{key} can change"),
        case: None,
        facts: Vec::new(),
        exchange: &call,
    });
    let maker = crate::findings::Maker::new(crate::findings::FingerprintKey::new([7; 32]));
    maker.occurrence(&hit, Timestamp(1_000_000_000_000_000_000), None)
}

/// A store in a folder that goes with the test.
pub(super) struct Place {
    pub(super) store: Arc<Store>,
    folder: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("s.db"), limits).unwrap());
        Self { store, folder }
    }

    /// Stores one new finding for each key.
    pub(super) fn find(&self, keys: impl IntoIterator<Item = String>) {
        self.keep(keys.into_iter().map(|key| occurrence(&key)).collect());
    }

    /// Stores findings.
    pub(super) fn keep(&self, findings: Vec<Finding>) {
        self.store.submit(Batch { findings, ..Batch::default() }).unwrap().wait().unwrap();
    }

    /// Record ids of the outbox, in order.
    pub(super) fn record_ids(&self) -> Vec<String> {
        let rows = self.reader().outbox_rows_after(0, 1_000_000).unwrap();
        rows.iter().map(crate::store::OutboxRow::record_id).collect()
    }

    /// Stores calls, each in a batch of its own.
    #[cfg(feature = "kafka")]
    pub(super) fn call(&self, calls: impl IntoIterator<Item = crate::findings::Call>) {
        for call in calls {
            self.store.submit(Batch { calls: vec![call], ..Batch::default() }).unwrap().wait().unwrap();
        }
    }

    pub(super) fn reader(&self) -> StoreReader {
        StoreReader::open(&self.path()).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("s.db")
    }
}

/// What the receiver says to the next batches; then it takes everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Take,
    /// Takes all but the first of the batch.
    Refuse,
    NotNow,
    /// The same, although it has it.
    NotNowButHas,
    Broken,
}

#[derive(Default)]
struct Told {
    says: VecDeque<Says>,
    /// Connections that fail before one is made.
    deaf: usize,
    connections: usize,
    /// What it has, in the order of arrival.
    has: Vec<(String, String)>,
    refused: Vec<String>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Told>>);

impl Fake {
    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver for Fake {
    fn appetite(&self) -> Appetite {
        Appetite { batch_records: 3, batch_bytes: 1 << 20, batches: 4 }
    }

    async fn connect(&mut self) -> Result<(), ConnectError> {
        let mut told = self.lock();
        if let Some(left) = told.deaf.checked_sub(1) {
            told.deaf = left;
            return Err(ConnectError("nobody listens".to_owned()));
        }
        told.connections += 1;
        Ok(())
    }

    fn send(&mut self, batch: &Arc<[Record]>) -> Answering {
        let mut told = self.lock();
        let says = told.says.pop_front().unwrap_or(Says::Take);
        let kept = if says == Says::Refuse { batch.get(1..).unwrap_or_default() } else { &batch[..] };
        if matches!(says, Says::Take | Says::Refuse | Says::NotNowButHas) {
            told.has.extend(kept.iter().map(|record| (record.record_id.clone(), record.payload.clone())));
        }
        let (fake, batch) = (self.clone(), Arc::clone(batch));
        Box::pin(async move {
            // Answers come later than the hand-over.
            tokio::task::yield_now().await;
            match says {
                Says::Take => Answer::Taken(Vec::new()),
                Says::Refuse => {
                    let refused = &batch[0];
                    fake.lock().refused.push(refused.record_id.clone());
                    Answer::Taken(vec![Refused {
                        seq: refused.seq,
                        record_id: refused.record_id.clone(),
                        reason: "too_large",
                        detail: "larger than it takes".to_owned(),
                    }])
                }
                Says::NotNow | Says::NotNowButHas => {
                    Answer::NotNow { reason: "busy".to_owned(), after: Some(Duration::ZERO) }
                }
                Says::Broken => Answer::Broken { reason: "hung up".to_owned() },
            }
        })
    }
}

fn start(place: &Place, fake: &Fake, tell: Tell) -> Sinks {
    let mut sinks = Sinks::new(&place.store, &Host::default(), tell);
    let fake = fake.clone();
    sinks.spawn("fake", move |_| fake).unwrap();
    sinks
}

fn silent() -> Tell {
    Arc::new(|_| {})
}

/// Waits until the sink has everything that the outbox has.
pub(super) fn drained(place: &Place, sinks: &Sinks) {
    let until = clock::instant() + LIMIT;
    let head = place.reader().head().unwrap();
    let name = sinks.stats().next().unwrap().0.to_owned();
    while place.reader().cursor(&name).unwrap() < head {
        assert!(clock::instant() < until && !sinks.has_ended(), "{:?}", sinks.stats().collect::<Vec<_>>());
        // A cursor has no event for other readers.
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn keys(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|number| format!("model-{number}"))
}

#[test]
fn everything_arrives_in_order_and_the_cursor_stays() {
    let (place, fake) = (Place::new(), Fake::default());
    place.find(keys(0..10));
    let sinks = start(&place, &fake, silent());
    drained(&place, &sinks);
    place.find(keys(10..14));
    sinks.finish(LIMIT).unwrap();
    let ids: Vec<_> = fake.lock().has.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, place.record_ids());
    assert_eq!(place.reader().cursor("fake").unwrap(), 14);

    // The next run goes on behind it.
    place.find(keys(14..15));
    start(&place, &fake, silent()).finish(LIMIT).unwrap();
    assert_eq!(fake.lock().has.len(), 15);
    assert_eq!(fake.lock().connections, 2);
}

#[test]
fn what_is_not_taken_is_sent_again_and_said_once() {
    let (place, fake) = (Place::new(), Fake::default());
    fake.lock().says.extend([Says::NotNow, Says::Take, Says::NotNow, Says::Broken, Says::NotNowButHas]);
    fake.lock().deaf = 1;
    place.find(keys(0..7));
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let sinks = start(&place, &fake, Arc::new(move |notice| heard.lock().unwrap().push(notice)));
    drained(&place, &sinks);
    let stats = Arc::clone(&sinks.threads[0].stats);
    sinks.finish(LIMIT).unwrap();
    assert!(stats.failures() >= 3 && stats.reconnects() == 1 && stats.waits_because().is_none(), "{stats:?}");
    let told = fake.lock();
    let sent: BTreeMap<_, _> = told.has.iter().cloned().collect();
    let mut ids = place.record_ids();
    ids.sort();
    assert_eq!(sent.into_keys().collect::<Vec<_>>(), ids);
    let said = said.lock().unwrap();
    assert!(matches!(&said[0], SinkNotice::Waits { reason, .. } if reason == "nobody listens"), "{said:?}");
    let waits = said.iter().filter(|notice| matches!(notice, SinkNotice::Waits { .. })).count();
    let goes_on = said.iter().filter(|notice| matches!(notice, SinkNotice::GoesOn { .. })).count();
    assert_eq!(waits, goes_on, "{said:?}");
}

#[test]
fn what_is_never_taken_becomes_a_dead_letter_and_holds_nothing_up() {
    let (place, fake) = (Place::new(), Fake::default());
    fake.lock().says.extend([Says::Take, Says::Refuse]);
    place.find(keys(0..6));
    // One that was erased is not sent, and one that is no finding neither.
    let erased = place.reader().outbox_rows_after(5, 1).unwrap().pop().unwrap();
    assert_eq!(place.store.erase(&erased.finding_id).unwrap(), 1);
    let sinks = start(&place, &fake, silent());
    drained(&place, &sinks);
    let stats = Arc::clone(&sinks.threads[0].stats);
    sinks.finish(LIMIT).unwrap();
    assert_eq!(stats.dead_letters(), BTreeMap::from([("too_large", 1)]));
    let letters = place.reader().dead_letters(10).unwrap();
    let [(sink, letter)] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((sink.as_str(), letter.seq, letter.reason.as_str()), ("fake", 4, "too_large"));
    let told = fake.lock();
    assert_eq!((told.has.len(), &told.refused[..]), (4, &[letter.record_id.clone()][..]));
}

#[test]
fn a_receiver_that_is_down_holds_no_end_up() {
    let (place, fake) = (Place::new(), Fake::default());
    fake.lock().deaf = usize::MAX;
    place.find(keys(0..1));
    let (waiting, waits) = mpsc::channel();
    let sinks = start(&place, &fake, Arc::new(move |notice| waiting.send(notice).unwrap_or_default()));
    waits.recv_timeout(LIMIT).unwrap();
    // It waits for a time that grows to half a minute; ending does not.
    let begun = clock::instant();
    sinks.finish(LIMIT).unwrap();
    assert!(begun.elapsed() < LIMIT / 2);
    assert_eq!(place.reader().cursor("fake").unwrap(), 0);
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![
        4 => Just(Says::Take),
        1 => Just(Says::Refuse),
        2 => Just(Says::NotNow),
        2 => Just(Says::NotNowButHas),
        1 => Just(Says::Broken),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a receiver answers, also when the agent ends in between: each record is there or a dead letter, and repeats are the
    /// same bytes.
    #[test]
    fn nothing_is_lost_whatever_is_answered(
        lives in prop::collection::vec((prop::collection::vec(says(), 0..12), 1..12_usize), 1..4),
    ) {
        let (place, fake) = (Place::new(), Fake::default());
        let mut found = 0;
        for (says, more) in lives {
            fake.lock().says = says.into();
            place.find(keys(found..found + more));
            found += more;
            start(&place, &fake, silent()).finish(Duration::ZERO).unwrap();
        }
        fake.lock().says.clear();
        let sinks = start(&place, &fake, silent());
        drained(&place, &sinks);
        sinks.finish(LIMIT).unwrap();

        let told = fake.lock();
        let mut sent: BTreeMap<&str, &str> = BTreeMap::new();
        for (id, payload) in &told.has {
            if let Some(before) = sent.insert(id, payload) {
                prop_assert_eq!(before, payload);
            }
        }
        let letters: Vec<_> = place.reader().dead_letters(1000).unwrap().into_iter().map(|(_, dead)| dead.record_id).collect();
        let ids = place.record_ids();
        for id in &ids {
            prop_assert!(sent.contains_key(id.as_str()) || letters.contains(id), "{} is lost", id);
        }
        prop_assert!(letters.iter().all(|id| told.refused.contains(id)));
        prop_assert!(sent.keys().all(|id| ids.iter().any(|known| known == id)));
    }
}
