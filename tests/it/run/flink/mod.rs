//! The jobs of `deploy/flink` on a real Flink: what they make of the records of several hosts is compared with a sum, while a TaskManager is killed. Opt-in:
//! `cargo xtask fleet --long` fetches Flink and names its jars in OUTFLOW_FLINK.

mod cluster;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use outflow::{
    clock,
    findings::{Activity, Finding},
    sinks::{Host as Node, ocsf},
    units::Timestamp,
};
use rustix::process::Signal;
use serde_json::Value;
use testbed::Broker;

use self::cluster::Cluster;
use super::{
    fleet::{Host, broker},
    used::{make_topic, oracle, produce, produce_at, usage},
};
use crate::ocsf::samples;

/// Seconds until a job must have written what it was sent; it starts a JVM for each and is one of many.
const LIMIT_S: u64 = 240;

const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;

/// The newest value of each key.
fn newest(broker: &Broker, topic: &str) -> BTreeMap<String, Value> {
    let mut newest = BTreeMap::new();
    for message in broker.consume(topic).unwrap() {
        match &message.payload {
            Some(value) => drop(newest.insert(message.key_text(), serde_json::from_slice(value).unwrap())),
            None => drop(newest.remove(&message.key_text())),
        }
    }
    newest
}

/// Budget, owner, start of the period: spent and calls.
type Totals = BTreeMap<(String, String, u64), (u64, u64)>;

fn totals(broker: &Broker, topic: &str) -> Totals {
    let totals = newest(broker, topic).into_values().filter(|value| value["event_name"] == "outflow.fleet.total");
    let text = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    let number = |value: &Value, field: &str| value[field].as_u64().unwrap();
    totals
        .map(|value| {
            let owner = text(&value, "feature") + &text(&value, "model");
            let key = (text(&value, "budget"), owner, number(&value, "period_start_ms"));
            (key, (number(&value, "spent"), number(&value, "calls")))
        })
        .collect()
}

/// Rule and service: findings, occurrences, hosts, and the place among all.
type Leaks = BTreeMap<(String, String), [u64; 4]>;

/// Seen by hosts in turn, with a second revision on every third of them.
fn leaks(broker: &Broker, topic: &str) -> Leaks {
    let kinds: Vec<Finding> = samples::kinds().into_iter().map(|(_, finding)| finding).collect();
    let (mut messages, mut expected) = (Vec::new(), Leaks::new());
    let mut known = BTreeSet::new();
    for (number, finding) in kinds.iter().enumerate() {
        for host in 0..=number % 3 {
            let node = Node { name: format!("node-{host}"), id: Some(format!("{host:032x}")), cloud: None };
            let mut finding = finding.clone();
            for count in 1..=1 + host as u64 {
                finding.count = count;
                messages.push((Some(finding.finding_id.clone()), ocsf::encode(&finding, &node).unwrap()));
            }
            let event: Value = serde_json::from_str(&messages.last().unwrap().1).unwrap();
            if event["class_uid"] == 2006 && known.insert((finding.finding_id.clone(), host)) {
                let service = event["actor"]["app_name"].as_str().unwrap_or_default().to_owned();
                let [findings, occurrences, hosts, _] = expected.entry((finding.rule.id.clone(), service)).or_default();
                (*findings, *occurrences) = (*findings + 1, *occurrences + finding.count);
                *hosts = (*hosts).max(host as u64 + 1);
            }
        }
    }
    messages.push((None, "no JSON".to_owned()));
    produce(broker, topic, &messages);
    let mut order: Vec<_> = expected
        .iter()
        .map(|(key, [findings, occurrences, ..])| (Reverse((*occurrences, *findings)), key.clone()))
        .collect();
    order.sort();
    for (place, (_, key)) in (1..).zip(order) {
        expected.get_mut(&key).unwrap()[3] = place;
    }
    expected
}

#[test]
fn the_jobs_are_exact_also_when_a_task_manager_is_killed() {
    let Some(jars) = std::env::var_os("OUTFLOW_FLINK") else {
        println!("skipped: OUTFLOW_FLINK names no jars of Flink; cargo xtask fleet --long fetches them");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = broker(&folder) else { return };
    let topic = |name: &str| broker.topic(name);
    make_topic(&broker, &topic("fleet-usage"), 3);
    for name in ["fleet-state", "fleet-leaks", "fleet-rollouts", "fleet-found"] {
        make_topic(&broker, &topic(name), 1);
    }
    let mut cluster = Cluster::start(folder.path(), std::path::Path::new(&jars));
    let mut expected_leaks = leaks(&broker, &topic("fleet-found"));
    // One rule is behind the last place.
    let last = expected_leaks.len() as u64;
    expected_leaks.retain(|_, [.., place]| *place < last);
    let variables = [
        ("BROKERS", broker.address().to_owned()),
        ("USAGE_TOPIC", topic("fleet-usage")),
        ("STATE_TOPIC", topic("fleet-state")),
        ("FINDINGS_TOPIC", topic("fleet-found")),
        ("LEAKS_TOPIC", topic("fleet-leaks")),
        ("TOP_LEAKS", expected_leaks.len().to_string()),
        ("ROLLOUTS_TOPIC", topic("fleet-rollouts")),
    ];

    // Seven hosts; the last third of the calls is answered by another model under the same name, and every tenth call is of the day before.
    let now = clock::now();
    let records: Vec<_> = (0..60_000)
        .map(|id| {
            let mut record = usage(id, now);
            if id % 10 == 0 {
                record.at_ms -= DAY_MS;
                record.at = Timestamp(record.at_ms * 1_000_000).rfc3339();
            }
            if id >= 40_000 {
                record.model = record.model.map(|model| model + "-2026-11-20");
            }
            record
        })
        .collect();
    let send = |from: usize, to: usize| {
        // Some a second time, as an agent does that was killed.
        let messages = (from.saturating_sub(500)..to).filter(|id| *id >= from || id % 2 == 0);
        let messages: Vec<_> =
            messages.map(|id| (records[id].feature.clone(), serde_json::to_string(&records[id]).unwrap())).collect();
        produce(&broker, &topic("fleet-usage"), &messages);
    };
    let replayed = replay(&broker, &topic("fleet-usage"));
    for job in ["budgets.sql", "rollouts.sql", "leaks.sql"] {
        println!("{job}: {}", cluster.submit(job, &variables));
    }
    send(0, 30_000);
    let calls = |totals: &Totals| {
        totals
            .iter()
            .filter(|((budget, ..), _)| budget.starts_with("features"))
            .map(|(_, (_, calls))| calls)
            .sum::<u64>()
    };
    cluster.until("the first totals", LIMIT_S, || calls(&totals(&broker, &topic("fleet-state"))) > 0);
    cluster.kill_task_manager();
    send(30_000, 60_000);
    let killed_at = clock::now().0 / 1_000_000;
    let known = as_of_ms(&broker, &topic("fleet-state"));
    assert!(known > 0 && known < killed_at, "{known}: nobody adds up, so totals grow old");
    cluster.start_task_manager();
    cluster.until("all totals", LIMIT_S, || calls(&totals(&broker, &topic("fleet-state"))) >= 60_000);
    let made_up = || {
        let mut all = totals(&broker, &topic("fleet-state"));
        all.retain(|(_, owner, _), _| owner != REPLAYED);
        all
    };
    let found = expected_totals(&records);
    cluster.becomes("all totals of models", LIMIT_S, made_up, &found);
    let of_agents = || {
        let all = totals(&broker, &topic("fleet-state")).into_iter().filter(|((_, owner, _), _)| owner == REPLAYED);
        all.fold((0, 0), |(spent, calls), (_, (more, of))| (spent + more, calls + of))
    };
    cluster.becomes("the totals of the agents", LIMIT_S, of_agents, &replayed);
    println!("three agents: {} calls, {} nano-USD", replayed.1, replayed.0);
    // From a host whose clock is half an hour ahead, on each partition: that says nothing of how far the job is.
    let ahead = clock::now().0 / 1_000_000 + HOUR_MS / 2;
    let early: Vec<_> =
        (0..30).map(|id| (Some(id.to_string()), "{\"event_name\":\"outflow.usage\"}".to_owned())).collect();
    produce_at(&broker, &topic("fleet-usage"), &early, Some(ahead));
    let sent_at = clock::now().0 / 1_000_000;
    cluster.until("totals of now", LIMIT_S, || as_of_ms(&broker, &topic("fleet-state")) > sent_at);
    assert!(as_of_ms(&broker, &topic("fleet-state")) < sent_at + HOUR_MS / 4, "and not of a time to come");
    let by_feature: u64 =
        found.iter().filter(|((budget, ..), _)| budget.starts_with("features")).map(|(_, (spent, _))| spent).sum();
    let plain: u64 = oracle(&records)
        .iter()
        .filter(|((budget, unit, _), _)| budget == "features" && *unit == outflow::detectors::budget::Unit::Usd)
        .map(|(_, (spent, _))| spent)
        .sum();
    assert_eq!(by_feature, plain, "two ways to add up");
    println!("budgets: {} totals of {} calls of 7 hosts, each exact; {plain} nano-USD", found.len(), records.len());

    let expected = expected_rollouts(&records);
    let read = || {
        let mut all = rollouts(&broker, &topic("fleet-rollouts"));
        all.retain(|(asked, _), _| asked != REPLAYED);
        all
    };
    cluster.becomes("all roll-outs", LIMIT_S, read, &expected);
    for ((asked, answered), [hosts, calls]) in &expected {
        println!("roll-out: {asked} answered by {answered}: {hosts} hosts, {calls} calls");
    }
    let read = || top_leaks(&broker, &topic("fleet-leaks"));
    cluster.becomes("all leaks", LIMIT_S, read, &expected_leaks);
    for ((rule, service), [findings, occurrences, hosts, place]) in &expected_leaks {
        println!("leak {place}: {rule} in {service:?}: {findings} findings, {occurrences} occurrences, {hosts} hosts");
    }
    judged(&broker, &cluster);
}

/// A model that only the agents call.
const REPLAYED: &str = "gpt-4.1-nano";

/// Three agents, each with a log of 20 calls, which they tell the topic of; then they end. What their stores say that this cost, and how many calls it
/// were.
fn replay(broker: &Broker, usage_topic: &str) -> (u64, u64) {
    let brokers: Vec<_> = broker.address().split(',').collect();
    // The jars here have no zstd-jni: deploy/flink/README.md says what to do.
    let settings = "settings = { \"compression.type\" = \"gzip\" }";
    let mut sum = (0, 0);
    for number in 0..3 {
        let mut host = Host::new(&format!(
            "[sinks]\nhost_name = \"replay-{number}\"\n[[sinks.kafka]]\nbrokers = {brokers:?}\nusage_topic = {usage_topic:?}\n{settings}\n"
        ));
        for call in 1..=20 {
            host.calls_of(REPLAYED, number, 1000 * (number + call));
        }
        let mut agent = host.place.start();
        agent.until("all calls in the store", |_| host.used().1 == 20);
        // An end in order waits for the sinks.
        agent.terminate();
        let (spent, calls) = host.used();
        sum = (sum.0 + spent, sum.1 + calls);
    }
    assert!(sum.0 > 0 && sum.1 == 60, "{sum:?}");
    sum
}

/// Up to when the totals hold everything, by the newest progress; 0 without one.
fn as_of_ms(broker: &Broker, topic: &str) -> u64 {
    let progress = newest(broker, topic).into_values().find(|value| value["event_name"] == "outflow.fleet.progress");
    progress.and_then(|value| value["as_of_ms"].as_u64()).unwrap_or(0)
}

/// An agent judges by what Flink wrote, and hears when Flink stands still and when it goes on.
fn judged(broker: &Broker, cluster: &Cluster) {
    let brokers: Vec<_> = broker.address().split(',').collect();
    let (usage, state) = (broker.topic("other-usage"), broker.topic("fleet-state"));
    let mut host = Host::new(&format!(
        "[fleet]\nbrokers = {brokers:?}\nstate_topic = {state:?}\nusage_topic = {usage:?}\nstale_after = \"10s\"\n\
         [[sinks.kafka]]\nbrokers = {brokers:?}\nusage_topic = {usage:?}\n\
         [[budget]]\nname = \"models, whole fleet\"\nmodel = \"*\"\nfleet = true\nlimit_usd = 1\nwarn_at_percent = [100]\n"
    ));
    let mut agent = host.place.start().ready();
    agent.until("the totals", |agent| agent.get("/metrics").body.contains("outflow_fleet_state_age_seconds"));
    host.calls(1, 1);
    agent.until("a finding", |_| {
        // A call is judged by what is known then.
        host.calls(1, 1);
        std::thread::yield_now();
        !host.findings("cost.budget").is_empty()
    });
    let finding = host.findings("cost.budget").remove(0);
    println!("agent: {}", finding.title);
    assert!(finding.title.contains("fleet budget"), "{}", finding.title);
    let is_stale = |host: &Host| {
        let found = host.findings(outflow::findings::FLEET_STALE);
        found.iter().any(|finding| finding.activity != Activity::Close)
    };
    agent.until("fresh totals", |_| !is_stale(&host));
    cluster.signal_task_manager(Signal::STOP);
    agent.until("the finding of stale totals", |_| is_stale(&host));
    cluster.signal_task_manager(Signal::CONT);
    agent.until("its end", |_| !is_stale(&host));
    agent.terminate();
}

fn expected_totals(records: &[outflow::sinks::usage::UsageRecord]) -> Totals {
    let mut totals = Totals::new();
    for record in records {
        let cost = record.cost_nano_usd.unwrap().0;
        let tokens = record.input_tokens.unwrap() + record.output_tokens.unwrap();
        let mut add = |budget: &str, owner: &Option<String>, period_ms: u64, amount: u64| {
            let key = (budget.to_owned(), owner.clone().unwrap(), record.at_ms - record.at_ms % period_ms);
            let (spent, calls) = totals.entry(key).or_default();
            (*spent, *calls) = (*spent + amount, *calls + 1);
        };
        add("features, whole fleet", &record.feature, DAY_MS, cost);
        add("models, whole fleet", &record.requested_model, DAY_MS, cost);
        add("tokens of an hour, whole fleet", &record.feature, HOUR_MS, tokens);
    }
    totals
}

type Rollouts = BTreeMap<(String, String), [u64; 2]>;

fn expected_rollouts(records: &[outflow::sinks::usage::UsageRecord]) -> Rollouts {
    let mut hosts = BTreeMap::<(String, String), (BTreeSet<&str>, u64)>::new();
    for record in records {
        let key = (record.requested_model.clone().unwrap(), record.model.clone().unwrap());
        let (names, calls) = hosts.entry(key).or_default();
        names.insert(&record.host);
        *calls += 1;
    }
    hosts.into_iter().map(|(key, (names, calls))| (key, [names.len() as u64, calls])).collect()
}

fn rollouts(broker: &Broker, topic: &str) -> Rollouts {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |value: Value| {
        let key = (text(&value["requested_model"]), text(&value["answered_model"]));
        (key, [value["hosts"].as_u64().unwrap(), value["calls"].as_u64().unwrap()])
    };
    newest(broker, topic).into_values().map(of).collect()
}

fn top_leaks(broker: &Broker, topic: &str) -> Leaks {
    let of = |value: Value| {
        let text = |field: &str| value[field].as_str().unwrap().to_owned();
        let figures = ["findings", "occurrences", "hosts", "place"].map(|field| value[field].as_u64().unwrap());
        ((text("rule"), text("service")), figures)
    };
    newest(broker, topic).into_values().map(of).collect()
}
