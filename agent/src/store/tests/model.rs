//! Random batches, cuts, erasures, restarts and steps of the clock against a model that has no database, no group commit and no JSON.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;

const INTERVAL: u64 = 60;

#[derive(Clone, Debug)]
enum Step {
    /// Several at once, submitted before the first is waited for.
    Batches(Vec<Small>),
    CutDue,
    CutAll,
    Erase(u8),
    /// All is old enough.
    Prune,
    Reopen,
    /// Somebody sets the clock, by so many seconds.
    Clock(i64),
}

/// A batch in few numbers.
#[derive(Clone, Debug)]
struct Small {
    /// Which finding, how grave, what the call cost.
    findings: Vec<(u8, u8, u64)>,
    /// Which call site, calls.
    usage: Vec<(u8, u64)>,
    forgotten: Vec<u8>,
    checkpoints: Vec<(u8, u8)>,
    states: Vec<(u8, Option<u8>)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let batch = (
        vec((0..4_u8, 0..5_u8, 0..9_u64), 0..5),
        vec((0..3_u8, 1..9_u64), 0..3),
        vec(0..3_u8, 0..2),
        vec((0..3_u8, any::<u8>()), 0..3),
        vec((0..3_u8, any::<Option<u8>>()), 0..3),
    )
        .prop_map(|(findings, usage, forgotten, checkpoints, states)| Small {
            findings,
            usage,
            forgotten,
            checkpoints,
            states,
        });
    let step = prop_oneof![
        6 => vec(batch, 1..6).prop_map(Step::Batches),
        2 => Just(Step::CutDue),
        1 => Just(Step::CutAll),
        1 => (0..4_u8).prop_map(Step::Erase),
        1 => Just(Step::Prune),
        1 => Just(Step::Reopen),
        1 => (-5_000..5_000_i64).prop_map(Step::Clock),
    ];
    vec(step, 1..25)
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    count: u64,
    severity: u8,
    cost: u64,
    first: u64,
    last: u64,
    revision: u32,
    told_count: u64,
    /// Second; `None`: by the machine's own clock, later than anything here.
    told_at: Option<u64>,
}

#[derive(Debug, Default)]
struct Model {
    findings: BTreeMap<u8, Row>,
    /// Finding, revision, activity, count.
    outbox: Vec<(u8, u32, &'static str, Option<u64>)>,
    /// Revisions that left the outbox.
    pruned: u64,
    /// No revision of a finding of which nothing is kept is higher.
    floor: u32,
    usage: BTreeMap<u8, u64>,
    checkpoints: BTreeMap<u8, u8>,
    /// The one that changed last is last.
    states: Vec<(u8, u8)>,
}

impl Model {
    fn batch(&mut self, small: &Small, now: u64) {
        for (index, (key, severity, cost)) in small.findings.iter().enumerate() {
            let same_call = small.findings[..index].iter().any(|(earlier, ..)| earlier == key);
            if let Some(row) = self.findings.get_mut(key) {
                row.count += 1;
                row.severity = row.severity.max(*severity);
                row.cost += if same_call { 0 } else { *cost };
                row.first = row.first.min(now);
                row.last = row.last.max(now);
                continue;
            }
            let before = self.outbox.iter().filter(|(id, ..)| id == key).map(|(_, revision, ..)| *revision).max();
            let before = before.unwrap_or(0).max(self.floor);
            self.outbox.push((*key, before + 1, "create", Some(1)));
            let row = Row {
                count: 1,
                severity: *severity,
                cost: *cost,
                first: now,
                last: now,
                revision: before + 1,
                told_count: 1,
                told_at: Some(now),
            };
            self.findings.insert(*key, row);
        }
        for (site, calls) in &small.usage {
            *self.usage.entry(*site).or_default() += calls;
        }
        self.checkpoints.retain(|key, _| !small.forgotten.contains(key));
        self.checkpoints.extend(small.checkpoints.iter().copied());
        for (key, value) in &small.states {
            self.states.retain(|(known, _)| known != key);
            self.states.extend(value.map(|value| (*key, value)));
        }
    }

    /// Returns what was cut; the order within one cut is the store's own.
    fn cut(&mut self, now: Option<u64>, due: impl Fn(&Row) -> bool) -> Vec<(u8, u32, &'static str, Option<u64>)> {
        let mut cut = Vec::new();
        for (key, row) in self.findings.iter_mut().filter(|(_, row)| row.count > row.told_count && due(row)) {
            row.revision += 1;
            row.told_count = row.count;
            row.told_at = now;
            cut.push((*key, row.revision, "update", Some(row.count)));
        }
        cut
    }

    /// What was told goes, and what has no news.
    fn prune(&mut self) {
        self.usage.clear();
        self.pruned += self.outbox.len() as u64;
        for (key, revision, ..) in std::mem::take(&mut self.outbox) {
            self.floor = self.floor.max(if self.findings.contains_key(&key) { 0 } else { revision });
        }
        for (_, row) in self.findings.extract_if(.., |_, row| row.count == row.told_count) {
            self.floor = self.floor.max(row.revision);
        }
    }

    /// The newest revision.
    fn head(&self) -> u64 {
        self.pruned + self.outbox.len() as u64
    }

    fn erase(&mut self, key: u8) {
        let told = self.outbox.iter().any(|(id, ..)| *id == key);
        if let Some(row) = self.findings.remove(&key).filter(|_| !told) {
            self.floor = self.floor.max(row.revision);
        }
        for (.., count) in self.outbox.iter_mut().filter(|(id, ..)| *id == key) {
            *count = None;
        }
    }
}

fn make(small: &Small, now: u64) -> Batch {
    let mut exchange = sample::exchange("openai", "gpt-4o");
    exchange.started_at = at(now);
    let grave = [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    let site = |site: &u8, calls: &u64| UsageRow { model: site.to_string(), calls: *calls, ..UsageRow::default() };
    Batch {
        findings: small
            .findings
            .iter()
            .map(|(key, severity, cost)| occurrence(&exchange, &key.to_string(), grave[usize::from(*severity)], *cost))
            .collect(),
        usage: small.usage.iter().map(|(key, calls)| site(key, calls)).collect(),
        forgotten: small.forgotten.iter().map(u8::to_string).collect(),
        checkpoints: small
            .checkpoints
            .iter()
            .map(|(key, value)| checkpoint(&key.to_string(), &value.to_string()))
            .collect(),
        states: small
            .states
            .iter()
            .map(|(key, value)| StateChange::new("d", key.to_string(), value.map(Arc::new)))
            .collect(),
        ..Batch::default()
    }
}

fn id(key: u8) -> String {
    finding(&key.to_string(), 0).finding_id
}

/// Everything that can be read is what the model says.
fn compare(reader: &StoreReader, model: &Model) {
    whole(reader);
    let rank = |severity| u8::try_from(apply::rank(severity)).unwrap();
    let mut findings = BTreeMap::new();
    for finding in reader.findings(&Filter::default()).unwrap() {
        assert_eq!(finding.record_id, format!("{}-{}", finding.finding_id, finding.revision));
        let key: u8 = finding.attributes["model.requested"].as_str().unwrap().parse().unwrap();
        let cost = finding.cost_nano_usd.unwrap().0;
        let facts =
            (finding.count, rank(finding.severity), cost, finding.first_seen, finding.last_seen, finding.revision);
        findings.insert(key, facts);
    }
    let second = |second: u64| at(second).rfc3339();
    let expected: BTreeMap<_, _> = model
        .findings
        .iter()
        .map(|(key, row)| {
            (*key, (row.count, row.severity, row.cost, second(row.first), second(row.last), row.revision))
        })
        .collect();
    assert_eq!(findings, expected);

    let rows = reader.outbox_after(0, 10_000).unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            let key = (0..4).find(|key| id(*key) == row.finding_id).unwrap();
            (key, row.revision, row.activity.as_str(), row.finding.as_ref().map(|finding| finding.count))
        })
        .collect();
    assert_eq!(told, model.outbox);
    let usage: BTreeMap<u8, u64> =
        reader.usage(0).unwrap().into_iter().map(|row| (row.model.parse().unwrap(), row.calls)).collect();
    assert_eq!(usage, model.usage);
    let numbers = |text: &(String, String)| (text.0.parse::<u8>().unwrap(), text.1.parse::<u8>().unwrap());
    let checkpoints = reader.checkpoints("").unwrap().into_iter().map(|one| numbers(&(one.key, one.value))).collect();
    assert_eq!(model.checkpoints, checkpoints);
    assert_eq!(reader.states("d").unwrap().iter().map(numbers).collect::<Vec<_>>(), model.states);
}

/// The revisions that the store appended since the model was last equal, in the store's own order.
fn in_order_of(
    reader: &StoreReader,
    known: u64,
    mut cut: Vec<(u8, u32, &'static str, Option<u64>)>,
) -> Vec<(u8, u32, &'static str, Option<u64>)> {
    let order: Vec<String> = reader.outbox_after(known, 1000).unwrap().into_iter().map(|row| row.finding_id).collect();
    cut.sort_by_key(|(key, ..)| order.iter().position(|known| *known == id(*key)));
    cut
}

fn play(steps: &[Step]) {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { update_interval_ns: INTERVAL * SECOND_NS, commit_rows: 7, queue: 3, ..Limits::default() };
    let mut store = Store::open(&place(&folder), limits).unwrap();
    let retention = Retention { keep_ns: 0, sinks: Vec::new(), drop_oldest: false };
    store.keep(retention.clone()).unwrap();
    let (mut model, mut hours) = (Model::default(), 0);
    // Each step takes 25 seconds. The clock is never set back further than it has come here.
    let mut clock = 200_000_i64;
    for step in steps {
        clock += 25;
        let now = u64::try_from(clock).unwrap();
        match step {
            Step::Clock(by) => clock += by,
            Step::Batches(batches) => {
                let receipts: Vec<_> = batches.iter().map(|small| store.submit(make(small, now)).unwrap()).collect();
                for receipt in receipts {
                    receipt.wait().unwrap();
                }
                for small in batches {
                    model.batch(small, now);
                }
            }
            Step::CutDue => {
                // What was told in the future is told again: nobody waits until the clock has come there once more.
                let due = |row: &Row| row.told_at.is_none_or(|told| told + INTERVAL <= now || told > now);
                let cut = model.cut(Some(now), due);
                assert_eq!(store.cut_due(at(now)).unwrap(), cut.len());
                let cut = in_order_of(&store.reader().unwrap(), model.head(), cut);
                model.outbox.extend(cut);
            }
            Step::CutAll | Step::Reopen => {
                if matches!(step, Step::Reopen) {
                    drop(store);
                    store = Store::open(&place(&folder), limits).unwrap();
                    store.keep(retention.clone()).unwrap();
                } else {
                    store.settle().unwrap();
                }
                let cut = model.cut(None, |_| true);
                let cut = in_order_of(&store.reader().unwrap(), model.head(), cut);
                model.outbox.extend(cut);
            }
            Step::Prune => {
                hours += 2;
                store.prune(Timestamp(crate::clock::now().0 + hours * 3600 * SECOND_NS)).unwrap();
                model.prune();
            }
            Step::Erase(key) => {
                store.erase(&id(*key)).unwrap();
                model.erase(*key);
            }
        }
        compare(&store.reader().unwrap(), &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_what_the_model_says(steps in steps()) {
        play(&steps);
    }
}
