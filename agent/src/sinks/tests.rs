//! The pump against a receiver that answers as it is told, and a model of random answers. What is real is in `kafka/tests.rs`, `otlp/` and
//! `tests/e2e/sinks`.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use proptest::prelude::*;

use super::{gate::Passes as _, receiver::Account, *};
use crate::{
    exchange::sample,
    findings::{Activity, Finding},
    store::{Batch, Limits, StoreReader},
    units::{Severity, Timestamp},
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
        severity: Severity::Medium,
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

    pub(super) fn path(&self) -> PathBuf {
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
    /// Not before so long has passed.
    Later(Duration),
    /// The same as `NotNow`, although it has it.
    NotNowButHas,
    Broken,
}

#[derive(Default)]
struct Told {
    says: VecDeque<Says>,
    /// What it says of itself at a connection.
    account: Option<Account>,
    /// Called with each batch.
    look: Option<Box<dyn FnMut() + Send>>,
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
        let batches = if self.account() == Account::None { 4 } else { 1 };
        Appetite { batch_records: 3, batch_bytes: 1 << 20, batches }
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

    fn account(&self) -> Account {
        self.lock().account.unwrap_or(Account::None)
    }

    fn send(&mut self, batch: &Arc<[Record]>) -> Answering {
        let mut told = self.lock();
        if let Some(look) = &mut told.look {
            look();
        }
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
                Says::Later(wait) => Answer::NotNow { reason: "busy".to_owned(), after: Some(wait) },
                Says::Broken => Answer::Broken { reason: "hung up".to_owned() },
            }
        })
    }
}

fn start(place: &Place, fake: &Fake, tell: Tell) -> Sinks {
    start_with(place, fake, config::Flow::default(), tell)
}

fn start_with(place: &Place, fake: &Fake, flow: config::Flow, tell: Tell) -> Sinks {
    let mut sinks = Sinks::new(&place.store, &Host::default(), Silences::default(), tell);
    let fake = fake.clone();
    sinks.spawn("fake", flow, move |_| fake).unwrap();
    sinks
}

fn silent() -> Tell {
    Arc::new(|_| {})
}

/// Waits until the sink has everything that the outbox has.
pub(super) fn drained(place: &Place, sinks: &Sinks) {
    let head = place.reader().head().unwrap();
    let (name, stats) = sinks.stats().next().unwrap();
    assert!(stats.until(LIMIT, |_| place.reader().cursor(name).unwrap() >= head), "{stats:?}");
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
fn what_a_receiver_says_it_has_is_not_sent_again() {
    // What is ahead of the store is no account of it: the store was restored from a copy.
    for (account, sent_from) in
        [(Account::Empty, 0), (Account::Until(4), 4), (Account::Until(10), 10), (Account::Until(11), 0)]
    {
        let (place, fake) = (Place::new(), Fake::default());
        fake.lock().account = Some(account);
        place.find(keys(0..10));
        let sinks = start(&place, &fake, silent());
        drained(&place, &sinks);
        sinks.finish(LIMIT).unwrap();
        let has: Vec<_> = fake.lock().has.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(has, place.record_ids()[sent_from..], "{account:?}");
        assert_eq!(place.reader().cursor("fake").unwrap(), 10);
    }
}

#[test]
fn a_receiver_is_left_alone_for_as_long_as_it_asks() {
    // Longer than any first pause of ours.
    let wait = Duration::from_secs(2);
    let (place, fake) = (Place::new(), Fake::default());
    place.find(keys(0..3));
    fake.lock().says.extend([Says::Later(wait)]);
    let begun = clock::instant();
    let sinks = start(&place, &fake, silent());
    drained(&place, &sinks);
    assert!(clock::instant().duration_since(begun) >= wait);
    sinks.finish(LIMIT).unwrap();
    assert_eq!(fake.lock().has.len(), 3);
}

/// Else a kill between two batches would pass what was refused with the first, and nobody would ever hear of it.
#[test]
fn of_a_receiver_with_an_account_the_store_knows_each_batch_before_the_next_is_sent() {
    let (place, fake) = (Place::new(), Fake::default());
    place.find(keys(0..9));
    let (path, seen) = (place.path(), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&seen);
    let look = move || {
        let reader = StoreReader::open(&path).unwrap();
        let known = (reader.cursor("fake").unwrap(), reader.dead_letters(10).unwrap().len());
        noted.lock().unwrap().push(known);
    };
    fake.lock().account = Some(Account::Empty);
    fake.lock().says.extend([Says::Refuse, Says::Take, Says::Refuse]);
    fake.lock().look = Some(Box::new(look));
    let sinks = start(&place, &fake, silent());
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    assert_eq!(*seen.lock().unwrap(), [(0, 0), (3, 1), (6, 1)]);
    assert_eq!(place.reader().dead_letters(10).unwrap().len(), 2);
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

#[test]
fn what_a_full_store_dropped_unsent_holds_no_sink_up() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 1 << 20, ..Limits::default() };
    let store = Arc::new(Store::open(&folder.path().join("s.db"), limits).unwrap());
    let (place, fake) = (Place { store, folder }, Fake::default());
    let retention = crate::store::Retention { keep_ns: u64::MAX, sinks: vec!["fake".to_owned()], drop_oldest: true };
    place.store.keep(retention).unwrap();
    for batch in 0..40 {
        place.find(keys(batch * 50..(batch + 1) * 50));
    }
    assert!(place.store.stats().dropped.revisions > 100, "{:?}", place.store.stats());
    let sinks = start(&place, &fake, silent());
    drained(&place, &sinks);
    // And from under it.
    for batch in 40..80 {
        place.find(keys(batch * 50..(batch + 1) * 50));
    }
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    let told = fake.lock();
    let newest = place.record_ids().pop().unwrap();
    assert!(told.has.iter().any(|(id, _)| *id == newest), "the newest arrives");
}

#[test]
fn a_store_that_was_damaged_holds_no_sink_up() {
    let (place, fake) = (Place::new(), Fake::default());
    place.find(keys(0..10));
    let sinks = start(&place, &fake, silent());
    drained(&place, &sinks);
    let damage = StoreError::Corrupt { path: place.path(), reason: "a page is torn".to_owned() };
    place.store.report_damage(place.store.generation(), &damage).unwrap();
    assert_eq!(place.store.generation(), 1);
    place.find(keys(10..14));
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    // Those of before, what became of them, and those of after; no id twice.
    let ids: Vec<_> = fake.lock().has.iter().map(|(id, _)| id.clone()).collect();
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (15, 15));
    assert_eq!(ids[10..], place.record_ids());
}

fn flow(text: &str) -> config::Flow {
    let text = format!("[[sinks.file]]\npath = \"/f\"\n{text}");
    config::Config::parse("outflow.toml", &text).unwrap_or_else(|error| panic!("{error}")).sinks.file[0].flow()
}

#[test]
fn what_is_not_for_a_sink_passes_its_cursor_and_is_counted() {
    let (place, fake) = (Place::new(), Fake::default());
    let mut findings: Vec<_> = keys(0..12).map(|key| occurrence(&key)).collect();
    for (finding, severity) in
        findings.iter_mut().zip([Severity::Low, Severity::High, Severity::Critical].iter().cycle())
    {
        finding.severity = *severity;
    }
    findings[4].process.service = "load-test-7".to_owned();
    place.keep(findings);
    let only = "[[sinks.file.only]]\nseverity = \"high\"\nrules = [\"model.*\"]\n\
                [[sinks.file.except]]\nservices = [\"load-test-*\"]\n";
    let sinks = start_with(&place, &fake, flow(only), silent());
    drained(&place, &sinks);
    let stats = Arc::clone(&sinks.threads[0].stats);
    sinks.finish(LIMIT).unwrap();
    let wanted: Vec<_> = place.record_ids().into_iter().zip(0..).filter(|(_, at)| at % 3 > 0 && *at != 4).collect();
    let has: Vec<_> = fake.lock().has.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(has, wanted.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
    assert_eq!((stats.sent(), stats.withheld_records()), (7, [("routed", 5), ("silenced", 0), ("digested", 0)]));
    assert!(stats.dead_letters().is_empty() && place.reader().dead_letters(1).unwrap().is_empty());
}

fn silences(text: &str) -> Vec<config::Silence> {
    config::Config::parse("outflow.toml", text).unwrap_or_else(|error| panic!("{error}")).silence
}

#[test]
fn what_is_silenced_is_told_when_it_is_seen_after_the_silence() {
    let (place, fake) = (Place::new(), Fake::default());
    let mut sinks = Sinks::new(&place.store, &Host::default(), Silences::default(), silent());
    sinks.silence(silences(
        "[[silence]]\nreason = \"known, being mended\"\nuntil = \"2001-09-10T00:00:00Z\"\nrules = [\"model.*\"]\nservices = [\"quiet*\"]\n",
    ));
    let receiver = fake.clone();
    sinks.spawn("fake", config::Flow::default(), move |_| receiver).unwrap();
    // `occurrence` is seen on 9 September 2001.
    let mut quiet = occurrence("a");
    quiet.process.service = "quiet-shop".to_owned();
    place.keep(vec![quiet.clone(), occurrence("b")]);
    drained(&place, &sinks);
    // The same, two days later: its second revision.
    let later = Timestamp::parse("2001-09-11T00:00:00Z").unwrap().rfc3339();
    place.keep(vec![Finding { first_seen: later.clone(), last_seen: later, ..quiet.clone() }]);
    place.store.settle().unwrap();
    drained(&place, &sinks);
    // And a silence that came while the agent ran.
    sinks.silence(silences(&format!(
        "[[silence]]\nreason = \"x\"\nuntil = \"2100-01-01T00:00:00+01:00\"\nfindings = [\"{}\"]\n",
        occurrence("c").finding_id.to_uppercase()
    )));
    place.keep(vec![occurrence("c"), occurrence("d")]);
    drained(&place, &sinks);
    let stats = Arc::clone(&sinks.threads[0].stats);
    sinks.finish(LIMIT).unwrap();
    let ids = place.record_ids();
    let has: Vec<_> = fake.lock().has.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(has, [&ids[1], &ids[2], &ids[4]].map(Clone::clone), "{ids:?}");
    assert_eq!(stats.withheld_records(), [("routed", 0), ("silenced", 2), ("digested", 0)]);
    assert_eq!(place.reader().cursor("fake").unwrap(), 5);
}

#[test]
fn a_silence_means_what_all_its_keys_fit() {
    let mut leak = occurrence("a");
    leak.fingerprint = Some(crate::findings::Fingerprint {
        value: "0af1c2d3e4f5061728394a5b6c7d8e9f".to_owned(),
        key_id: String::new(),
    });
    let call = occurrence("b");
    for (keys, holds) in [
        ("fingerprints = [\"0AF1C2D3E4F5061728394A5B6C7D8E9F\"]", [true, false]),
        ("rules = [\"model.unpinned\"]", [true, true]),
        ("rules = [\"model.unpinned\"]\nservices = [\"other\"]", [false, false]),
        ("rules = [\"pii.*\", \"model.*\"]\nfingerprints = [\"0af1c2d3e4f5061728394a5b6c7d8e9f\"]", [true, false]),
    ] {
        let text = format!("[[silence]]\nreason = \"r\"\nuntil = \"2100-01-01T00:00:00Z\"\n{keys}\n");
        let silence = silences(&text).remove(0);
        let held = [&leak, &call].map(|finding| silence.holds(finding, Activity::Update));
        assert_eq!(held, holds, "{keys}");
        // That it is over is told to those who wait for it.
        assert!(!silence.holds(&leak, Activity::Close));
    }
    // What is seen at its very end is told.
    let text = format!("[[silence]]\nreason = \"r\"\nuntil = \"{}\"\nrules = [\"*\"]\n", call.last_seen);
    assert!(!silences(&text)[0].holds(&call, Activity::Create));
}

#[test]
fn entries_fit_when_all_their_keys_do() {
    let mut leak = occurrence("a");
    leak.category = crate::findings::Category::Leak;
    leak.group = Some("llm".to_owned());
    leak.rule.id = "secret.openai-api-key".to_owned();
    let call = occurrence("b");
    for (text, takes) in [
        ("", [true, true]),
        ("only = [{ categories = [\"leak\", \"cost\"] }]", [true, false]),
        ("only = [{ groups = [\"l*\"] }]", [true, false]),
        ("only = [{ groups = [\"cloud\"] }]", [false, false]),
        ("only = [{ rules = [\"model.unpinned\"] }, { rules = [\"secret.*\"] }]", [true, true]),
        ("only = [{ rules = [\"secret.*\"], severity = \"critical\" }]", [false, false]),
        ("except = [{ severity = \"info\" }]", [false, false]),
        ("only = [{ severity = \"medium\" }]\nexcept = [{ categories = [\"model\"] }]", [true, false]),
    ] {
        let flow = flow(text);
        assert_eq!([flow.takes(&leak), flow.takes(&call)], takes, "{text}");
    }
}

#[test]
fn what_is_too_much_for_a_minute_is_told_in_one() {
    let (place, fake) = (Place::new(), Fake::default());
    let mut findings: Vec<_> = keys(0..11).map(|key| occurrence(&key)).collect();
    findings[9].severity = Severity::High;
    findings[10].process.service = "billing".to_owned();
    place.keep(findings);
    // What fails and is sent again counts once.
    fake.lock().says.extend([Says::NotNow, Says::Broken, Says::Take, Says::NotNowButHas]);
    let sinks = start_with(&place, &fake, flow("max_per_minute = 4\n"), silent());
    let stats = Arc::clone(&sinks.threads[0].stats);
    // The end of the agent is the end of the minute.
    let is_there = stats.until(LIMIT, |_| place.reader().cursor("fake").unwrap() == 4);
    assert!(is_there, "it passed what waits for the digest, or never came to it");
    sinks.finish(LIMIT).unwrap();
    assert_eq!(place.reader().cursor("fake").unwrap(), 11);
    assert_eq!(stats.withheld_records(), [("routed", 0), ("silenced", 0), ("digested", 7)]);

    let told = fake.lock();
    let sent: BTreeMap<&str, &str> = told.has.iter().map(|(id, payload)| (id.as_str(), payload.as_str())).collect();
    let ids = place.record_ids();
    let (single, digests): (Vec<&str>, Vec<&str>) = sent.keys().partition(|id| ids.iter().any(|known| known == *id));
    let mut expected: Vec<&str> = ids[..4].iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!((single, digests.len()), (expected, 1));
    let digest: Finding = serde_json::from_str(sent[digests[0]]).unwrap();
    assert_eq!((digest.rule.id.as_str(), digest.severity, digest.count), (DIGEST, Severity::High, 7));
    assert_eq!(digest.title, "7 records more than 4 a minute, not sent one by one");
    let lines = &digest.attributes["digest.by_rule_and_service"];
    assert_eq!(lines[0]["records"], 6, "{lines}");
    assert_eq!((&lines[1]["service"], &lines[1]["records"]), (&"billing".into(), &1.into()), "{lines}");
    assert_eq!(
        (&digest.attributes["digest.first_seq"], &digest.attributes["digest.last_seq"]),
        (&5.into(), &11.into())
    );
    let schema = jsonschema::validator_for(&crate::findings::finding_schema()).unwrap();
    assert!(schema.is_valid(&serde_json::to_value(&digest).unwrap()));
    let event = ocsf::encode(&digest, &Host::default()).unwrap();
    assert!(event.contains("\"class_uid\":2004"), "{event}");
}

#[test]
fn a_minute_ends_with_its_digest_and_a_new_one_begins() {
    let second = Duration::from_secs(1);
    let now = clock::instant();
    let record = |seq: u64| {
        let finding = occurrence(&seq.to_string());
        let (record_id, activity) = (finding.record_id.clone(), finding.activity);
        Record { seq, record_id, activity, finding, payload: String::new() }
    };
    let unreadable = |seq| Refused { seq, record_id: "r".to_owned(), reason: "unreadable", detail: String::new() };
    let page = |range: std::ops::RangeInclusive<u64>| outbox::Page {
        last: Some(*range.end()),
        records: range.map(record).collect(),
        unreadable: Vec::new(),
    };
    let seqs = |sorted: &gate::Sorted| sorted.records.iter().map(|record| record.seq).collect::<Vec<_>>();
    let mut gate = Gate::new("fake", Host::default(), flow("max_per_minute = 3\n"), Silences::default(), 60 * second);

    let first = gate.sort(page(1..=2), now).unwrap();
    assert_eq!((seqs(&first), first.last, gate.due_in(now)), (vec![1, 2], 2, None));
    gate.confirm(first.window, 2);
    let torn = outbox::Page { unreadable: vec![unreadable(4), unreadable(7)], last: Some(7), ..page(3..=6) };
    let torn = outbox::Page { records: torn.records.into_iter().filter(|record| record.seq != 4).collect(), ..torn };
    let second_batch = gate.sort(torn, now + second).unwrap();
    assert_eq!((seqs(&second_batch), second_batch.last, second_batch.unreadable.len()), (vec![3], 4, 1));
    assert!(gate.sort(page(8..=9), now + 61 * second).is_none(), "the digest is still to come");
    assert_eq!(gate.due_in(now + 20 * second), Some(40 * second));
    assert_eq!(gate.due_in(now + 61 * second), Some(Duration::ZERO));

    // It failed: the digest is forgotten, and what was confirmed is not counted twice.
    gate.rewind();
    let again = gate.sort(page(3..=9), now + 30 * second).unwrap();
    assert_eq!((seqs(&again), again.last), (vec![3], 3));
    gate.confirm(again.window, 1);
    let digest = gate.cut().unwrap();
    assert_eq!((digest.last, digest.withheld.digested, digest.records[0].finding.count), (9, 6, 6));
    assert!(gate.cut().is_none() && !gate.has_digest());
    let next = gate.sort(page(10..=11), now + 61 * second).unwrap();
    assert_eq!((seqs(&next), next.last), (vec![10, 11], 11));
    // A late answer to what was sent in the last minute counts for that one.
    gate.confirm(again.window, 3);
    gate.rewind();
    assert_eq!(seqs(&gate.sort(page(12..=14), now + 62 * second).unwrap()), [12, 13, 14]);
}

#[test]
fn a_digest_of_many_services_has_a_bound() {
    let mut digest = digest::Digest::new(1);
    for seq in 1..=60 {
        let mut finding = occurrence("a");
        finding.process.service = format!("service-{seq}");
        let record_id = format!("r-{seq}");
        digest.add(&Record { seq, record_id, activity: finding.activity, finding, payload: String::new() });
    }
    let (record, _) = digest.record("fake", &Host::default());
    assert_eq!(record.finding.attributes["digest.by_rule_and_service"].as_array().unwrap().len(), 50);
    assert_eq!(record.finding.attributes["digest.other_records"], 10);
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
