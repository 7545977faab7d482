//! Receivers that we did not write, for the node: those of them that this build has a sink for and this machine can start. Leaves: their sections
//! of the config, and whether every leak arrived in each, once, with its place and its owner.

use std::collections::BTreeMap;

use super::{Planted, is_name};

/// Seconds until what is in the store must have arrived.
const ARRIVED_S: u64 = 120;

/// The receivers.
pub(super) struct Sinks {
    #[cfg(feature = "kafka")]
    broker: Option<(testbed::Broker, String)>,
    #[cfg(feature = "otlp")]
    collector: Option<testbed::Collector>,
    _folder: tempfile::TempDir,
}

/// Whether nothing is missing; else says what, and fails when everything was promised.
fn is_there(missing: Option<String>) -> bool {
    let Some(missing) = missing else { return true };
    assert!(std::env::var_os("OUTFLOW_REQUIRE_BPF").is_none(), "{missing}");
    println!("without a receiver: {missing}");
    false
}

impl Sinks {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            #[cfg(feature = "kafka")]
            broker: is_there(testbed::missing_for_broker()).then(|| {
                let dir = folder.path().join("broker");
                std::fs::create_dir(&dir).unwrap();
                let broker = testbed::Broker::start(&dir).unwrap();
                let topic = broker.topic("node");
                (broker, topic)
            }),
            #[cfg(feature = "otlp")]
            collector: is_there(testbed::missing_for_collector()).then(|| {
                let dir = folder.path().join("collector");
                std::fs::create_dir(&dir).unwrap();
                testbed::Collector::start(&dir).unwrap()
            }),
            _folder: folder,
        }
    }

    pub(super) fn config(&self) -> String {
        let mut text = String::new();
        #[cfg(feature = "kafka")]
        if let Some((broker, topic)) = &self.broker {
            let brokers: Vec<_> = broker.address().split(',').collect();
            let sink = format!("[[sinks.kafka]]\nname = \"kafka\"\nbrokers = {brokers:?}\ntopic = {topic:?}\n");
            text.push_str(&sink);
        }
        #[cfg(feature = "otlp")]
        if let Some(collector) = &self.collector {
            let endpoint = collector.grpc_endpoint();
            let sink = format!("[[sinks.otlp]]\nname = \"fleet\"\nendpoint = {endpoint:?}\nprotocol = \"grpc\"\n");
            text.push_str(&sink);
        }
        text
    }

    /// All of `leaks`, by the id of their finding, are in each of them, once.
    pub(super) fn check(&self, leaks: &BTreeMap<String, Planted>) {
        #[cfg(feature = "kafka")]
        if let Some((broker, topic)) = &self.broker {
            let told = |messages: &[testbed::Message]| messages.iter().filter_map(kafka).collect::<Vec<_>>();
            let all = |messages: &[testbed::Message]| told(messages).len() >= leaks.len();
            compare("Kafka", told(&broker.consume_until(topic, ARRIVED_S, all).unwrap()), leaks);
        }
        #[cfg(feature = "otlp")]
        if let Some(collector) = self.collector.as_ref().filter(|collector| collector.is_ours()) {
            let told = |records: &[testbed::Record]| records.iter().filter_map(otlp).collect::<Vec<_>>();
            let all = |records: &[testbed::Record]| told(records).len() >= leaks.len();
            compare("OTLP", told(&collector.records_until(ARRIVED_S, all).unwrap()), leaks);
        }
    }
}

/// What a receiver knows of a leak.
#[derive(Debug)]
struct Arrived {
    file: String,
    line: u64,
    /// Service, namespace, pod, container; empty where a format has no place for it.
    owner: [String; 4],
}

fn compare(sink: &str, arrived: Vec<(String, Arrived)>, leaks: &BTreeMap<String, Planted>) {
    assert_eq!(arrived.len(), leaks.len(), "{sink}: as many records as leaks");
    let mut open = leaks.clone();
    for (id, arrived) in arrived {
        let planted = open.remove(&id).unwrap_or_else(|| panic!("{sink}: {id} is no leak of ours, or came twice"));
        assert!(is_name(&planted, &arrived.file), "{sink}: {arrived:?} {planted:?}");
        let owner = &planted.owner;
        let expected = [&owner.service, &owner.namespace, &owner.pod, &owner.container].map(String::as_str);
        for (told, expected) in arrived.owner.iter().zip(expected) {
            assert_eq!(told, expected, "{sink}: {arrived:?} {planted:?}");
        }
        assert_eq!(arrived.line, planted.line, "{sink}: {arrived:?} {planted:?}");
    }
    println!("{sink}: {} leaks", leaks.len());
}

/// What OCSF says of a leak, behind the id of its finding; none of what is no leak (class 2006).
#[cfg(feature = "kafka")]
fn kafka(message: &testbed::Message) -> Option<(String, Arrived)> {
    let event: serde_json::Value = serde_json::from_slice(message.payload.as_deref()?).ok()?;
    if event["class_uid"] != 2006 {
        return None;
    }
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let unmapped = &event["unmapped"];
    let kubernetes = &unmapped["outflow.process.kubernetes"];
    let names = ["namespace", "pod", "container"].map(|name| text(&kubernetes[name]));
    let [namespace, pod, container] = names;
    let arrived = Arrived {
        file: text(&unmapped["outflow.location.file"]),
        line: unmapped["outflow.location.line"].as_u64().unwrap_or_default(),
        owner: [text(&event["actor"]["app_name"]), namespace, pod, container],
    };
    Some((message.key_text(), arrived))
}

/// What a log record says of a leak, behind the id of its finding; none of what is no leak.
#[cfg(feature = "otlp")]
fn otlp(record: &testbed::Record) -> Option<(String, Arrived)> {
    let text = |name: &str| {
        let value = record.attributes.get(name).or_else(|| record.resource.get(name));
        value.and_then(testbed::Value::text).unwrap_or_default().to_owned()
    };
    let line = match record.attributes.get("outflow.location.line") {
        Some(testbed::Value::Int(line)) => u64::try_from(*line).unwrap(),
        _ => 0,
    };
    if text("outflow.finding.category") != "leak" {
        return None;
    }
    let owner = ["service.name", "k8s.namespace.name", "k8s.pod.name", "k8s.container.name"].map(text);
    Some((text("outflow.finding.id"), Arrived { file: text("log.file.path"), line, owner }))
}
