//! What each receiver must have in the end. Enters: the lines that were written, the store, and what was received. Leaves: nothing, or what is
//! wrong: a record that is missing, one that nobody made, a repeat that is another, an order that is none, a bound that did not hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use outflow::{
    findings::FingerprintKey,
    store::{Filter, Verdict},
};

use testbed::fake_collector::Taken;

use super::{
    COMMIT_BYTES, PEAK_KIB, STORE_BYTES, WAL_BYTES, World,
    receivers::{self, REJECTED},
};
use crate::run::{collector::dead_letters, place::Place};

/// Seconds until what a broker confirmed can be read from it.
const READABLE_S: u64 = 30;

/// One record as it was received, as often as it was.
struct Received {
    id: String,
    bytes: Vec<u8>,
    /// How and when it came, for who reads of a failure.
    way: String,
}

pub(super) fn check(mut world: World) {
    let (is_once, said) = (world.is_once, world.end());
    let [file, log] = world.peak_store;
    assert!(
        file <= STORE_BYTES && log > 0 && log <= WAL_BYTES + COMMIT_BYTES,
        "a store of {file} bytes, its log {log}"
    );
    assert!(world.peak_kib < PEAK_KIB, "an agent took {} KiB", world.peak_kib);
    assert!(!said.iter().any(|line| line.contains("panicked")), "{said:#?}");
    let expected = records(&world);
    // A full disk took away what everybody has, so the chain does not begin with the first record.
    let verdict = world.place.reader().verify().unwrap();
    assert!(matches!(verdict, Verdict::Whole(_)), "{verdict:?}");

    let has_all = |messages: &[testbed::Message]| {
        let ids: BTreeSet<_> = messages.iter().filter_map(|message| message.header("ce_id")).collect();
        ids.len() >= expected.len()
    };
    let messages = world.broker.consume_until(&world.topic, READABLE_S, has_all).unwrap();
    let kafka = messages.iter().map(|message| {
        let bytes = format!("{:?}", (&message.key, &message.headers, &message.payload, message.timestamp_ms));
        Received { id: message.header("ce_id").unwrap(), bytes: bytes.into_bytes(), way: String::new() }
    });
    let text = fs::read_to_string(receivers::file(&world.place)).unwrap();
    let file = text.lines().map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = record["record_id"].as_str().unwrap().to_owned();
        Received { id, bytes: line.into(), way: String::new() }
    });
    let mut all = vec![("kafka", kafka.collect::<Vec<_>>()), ("file", file.collect())];
    for otlp in world.otlp {
        let name = otlp.name;
        let received = otlp.end().into_iter().map(|Taken { record_id: id, bytes, port, at }| {
            let way = format!("from port {port} at {}", humantime::format_rfc3339_millis(at));
            Received { id, bytes, way }
        });
        all.push((name, received.collect()));
    }

    let dead = dead_letters(&world.place);
    let rejected: BTreeSet<String> = expected.iter().filter(|id| id.starts_with(REJECTED)).cloned().collect();
    let strange: Vec<_> = dead.iter().filter(|(id, why)| !rejected.contains(*id) || *why != "http: rejected").collect();
    assert!(strange.is_empty(), "dead letters that nobody refused: {strange:#?}");
    let missing: Vec<_> = rejected.iter().filter(|id| !dead.contains_key(*id)).collect();
    assert!(missing.is_empty(), "refused, and no dead letters: {missing:#?}");
    for (sink, received) in all {
        let left: BTreeSet<&String> = expected.iter().filter(|id| sink != "http" || !rejected.contains(*id)).collect();
        let arrived: BTreeSet<&String> = received.iter().map(|record| &record.id).collect();
        let (missed, strange) = (left.difference(&arrived), arrived.difference(&left));
        let (missed, strange): (Vec<_>, Vec<_>) = (missed.collect(), strange.collect());
        if sink == "kafka" && !missed.is_empty() {
            let all = world.broker.consume_uncommitted(&world.topic).unwrap();
            println!("{} records can be read, {} with those that were not committed", received.len(), all.len());
        }
        assert!(missed.is_empty() && strange.is_empty(), "{sink}: {}", told(&world.place, &missed, &strange));
        let repeats = received.len() - arrived.len();
        println!("{sink}: {} records, {repeats} repeats", arrived.len());
        assert!(repeats == 0 || sink != "kafka" || !is_once, "{sink}: repeats in transactions");
        check_repeats(sink, &received);
        check_order(sink, &received);
    }
    let (lines, [file, log]) = (world.log.written.len(), world.peak_store);
    println!("{lines} lines, {} again, peak {} KiB, store {file} bytes, its log {log}", world.repeated, world.peak_kib);
}

/// What is wrong with a sink, with where the records were in the outbox, as far as they still are.
fn told(place: &Place, missed: &[&&String], strange: &[&&String]) -> String {
    const SOME: usize = 20;
    let rows = place.reader().outbox_after(0, u64::MAX).unwrap();
    let seqs: BTreeMap<String, u64> =
        rows.into_iter().map(|row| (format!("{}-{}", row.finding_id, row.revision), row.seq)).collect();
    let at =
        |id: &&&String| seqs.get(id.as_str()).map_or_else(|| format!("{id} (pruned)"), |seq| format!("{id} ({seq})"));
    let list = |ids: &[&&String]| ids.iter().take(SOME).map(at).collect::<Vec<_>>();
    let (missing, more) = (list(missed), list(strange));
    format!("{} missed: {missing:#?}\n{} of nobody: {more:#?}", missed.len(), strange.len())
}

/// Ids of all records that there are: each finding is a line's, each line has one, each occurrence counts once, and revisions have no gap.
fn records(world: &World) -> BTreeSet<String> {
    let key = fs::read_to_string(world.place.state().join("fingerprint.key")).unwrap();
    let key = FingerprintKey::parse(&key).unwrap();
    let mut lines: BTreeSet<String> =
        world.log.written.iter().map(|line| key.fingerprint("EMAIL_ADDRESS", line.secret.as_bytes()).value).collect();
    let (mut ids, mut count) = (BTreeSet::new(), 0);
    for finding in world.place.reader().findings(&Filter::default()).unwrap() {
        let is_line = finding.fingerprint.as_ref().is_some_and(|print| lines.remove(&print.value));
        assert!(is_line, "no line of ours, or one twice: {finding:?}");
        count += finding.count;
        ids.extend((1..=finding.revision).map(|revision| format!("{}-{revision}", finding.finding_id)));
    }
    assert!(lines.is_empty(), "{} lines are no finding", lines.len());
    assert_eq!(count, world.log.written.len() as u64 + world.repeated, "each occurrence counts once");
    assert!(ids.len() > world.log.written.len(), "no finding was told again, so order says nothing");
    ids
}

/// The same id is the same bytes.
fn check_repeats(sink: &str, received: &[Received]) {
    let mut first: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for Received { id, bytes, .. } in received {
        let known = first.entry(id).or_insert(bytes);
        let text = String::from_utf8_lossy;
        assert!(*known == bytes.as_slice(), "{sink}: {id} came as\n{}\nand as\n{}", text(known), text(bytes));
    }
}

/// Whoever lets a later record of a finding replace an earlier one has the newest in the end: of each, the last time that it came is behind the
/// last time of the one before.
fn check_order(sink: &str, received: &[Received]) {
    let mut last: BTreeMap<(&str, u32), usize> = BTreeMap::new();
    for (place, Received { id, .. }) in received.iter().enumerate() {
        let (finding, revision) = id.rsplit_once('-').unwrap();
        last.insert((finding, revision.parse().unwrap()), place);
    }
    for ((finding, revision), place) in &last {
        let before = last.get(&(*finding, revision - 1));
        let all = || {
            let ids = [format!("{finding}-{}", revision - 1), format!("{finding}-{revision}")];
            let of_both = received.iter().enumerate().filter(|(_, one)| ids.contains(&one.id));
            of_both.map(|(place, one)| format!("{place}: {} {}", one.id, one.way)).collect::<Vec<_>>().join("\n")
        };
        assert!(
            before.is_none_or(|before| before < place),
            "{sink}: {finding}-{revision} came before the one before it:\n{}",
            all()
        );
    }
}
