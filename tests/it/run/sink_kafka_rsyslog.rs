//! The topic as rsyslog reads it, by its own module for Kafka: a second reader that we did not write, also after it was killed.

use std::{collections::BTreeSet, fs, path::Path};

use testbed::Broker;

use super::{
    collector::outbox,
    log::Log,
    place::Place,
    sink_syslog::{Rsyslog, missing_module},
};

/// Ids of the OCSF events that it wrote down.
fn ids(folder: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(folder.join("out.jsonl")).unwrap_or_default();
    // The last line may be under way.
    let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    events.map(|event| event["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn rsyslog_reads_the_topic_also_after_it_was_killed() {
    let missing = testbed::missing_for_broker().or_else(|| missing_module("imkafka"));
    if let Some(missing) = missing {
        assert!(std::env::var_os("OUTFLOW_REQUIRE_BPF").is_none(), "{missing}");
        println!("skipped: {missing}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).unwrap();
    let (topic, group) = (broker.topic("for-rsyslog"), broker.topic("rsyslog"));
    let brokers: Vec<_> = broker.address().split(',').collect();
    // It is the same member when it comes again: noida-db 0.2.3 waits for one that was killed for ever.
    let out = folder.path().join("out.jsonl").display().to_string();
    let config = format!(
        "global(workDirectory=\"{}\" maxMessageSize=\"1m\")\n\
         module(load=\"imkafka\")\n\
         template(name=\"raw\" type=\"string\" string=\"%rawmsg%\\n\")\n\
         ruleset(name=\"in\") {{ action(type=\"omfile\" file=\"{out}\" template=\"raw\") }}\n\
         input(type=\"imkafka\" topic=\"{topic}\" broker={brokers:?} consumergroup=\"{group}\" ruleset=\"in\"\n\
               confParam=[\"auto.offset.reset=earliest\",\"group.instance.id=one\"])\n",
        folder.path().display()
    );
    let place = Place::new();
    place.configure(&format!("[[sinks.kafka]]\nbrokers = {brokers:?}\ntopic = {topic:?}\n"));
    let mut log = Log::new(&place.logs());
    let mut agent = place.start().ready();
    log.lines(200);
    agent.until("something in the topic", |_| !broker.consume(&topic).unwrap().is_empty());
    let server = Rsyslog::run(folder.path(), &config);
    agent.until("all read", |_| ids(folder.path()).len() >= 200);
    drop(server);
    log.lines(50);
    agent.until("all stored", |_| place.stored() >= 250);
    let _server = Rsyslog::run(folder.path(), &config);
    agent.until("the rest read", |_| ids(folder.path()).len() >= 250);
    agent.terminate();
    assert_eq!(ids(folder.path()), outbox(&place));
}
