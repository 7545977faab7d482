//! The logs of a node, from what containers write to what sinks receive: `outflow run` with the globs of the DaemonSet (`deploy/`), pods that come
//! and go below a temporary root, and with the features that it takes a real broker and a real collector. Every planted leak must be in the
//! store and in each sink once, with its place and its owner; every logged call must be counted once.

mod kubelet;
#[cfg(any(feature = "kafka", feature = "otlp"))]
mod sinks;

use std::{collections::BTreeMap, fs, path::Path};

use outflow::{
    findings::{Category, Finding, FingerprintKey},
    store::Filter,
};

use self::kubelet::{Container, Node, Owner, Planted, Usage};
use super::{agent::Agent, oracle, place::Place};

/// Besides those that each place has.
const RULES: [(&str, &str); 1] = [("secrets/generic.toml", "secret.private-key")];

/// The section of the config, as deploy/daemonset.yaml has it, and the logs under their own names besides: they are the same files.
fn files(root: &Path) -> String {
    let root = root.display();
    format!(
        "globs = [\"{root}/var/log/containers/*.log\", \"{root}/var/log/pods/*/*/*.log\", \"{root}/var/log/pods/*/*/*.log.2*\"]\n\
         exclude = [\"{root}/var/log/pods/**/*.gz\", \"{root}/var/log/pods/**/*.tmp\"]\n"
    )
}

/// Waits until the agent has stored all that was written: then the kubelet may take it away.
fn until_stored(agent: &mut Agent, place: &Place, node: &Node) {
    let (all, calls) = (node.planted.len() as u64, node.usage.calls);
    agent.until("all that was planted", |_| {
        let leaks = Filter { category: Some("leak".to_owned()), ..Filter::default() };
        place.reader().count(&leaks).unwrap() >= all && usage(place).calls >= calls
    });
}

fn usage(place: &Place) -> Usage {
    let mut sum = Usage::default();
    for row in place.reader().usage(0).unwrap() {
        sum.calls += row.calls;
        sum.input_tokens += row.input_tokens;
        sum.output_tokens += row.output_tokens;
    }
    sum
}

/// Days of a node, shortened.
fn live(node: &mut Node, agent: &mut Agent, place: &Place) {
    let start = |node: &mut Node, number: u64| -> Vec<Container> {
        let hash = ["5b6d7f8c9", "6c7d8f9b4", "7d9f8b6c5", "8f9b4c6d7"][usize::try_from(number % 4).unwrap()];
        vec![
            node.start("shop", &format!("checkout-{hash}-x2x4z"), "app", "checkout"),
            node.start("shop", &format!("checkout-{hash}-b7d9f"), "app", "checkout"),
            node.start("data", &format!("vectors-{number}"), "db", "vectors"),
            node.start("kube-system", "agent-c4x5z", "exporter", "agent"),
            node.start("default", "debug", "shell", "shell"),
        ]
    };
    let mut running = start(node, 0);
    for day in 1..=4 {
        for container in &mut running {
            node.log(container);
        }
        // Between two of these the agent has seen every file, as it has on a node that does not rotate faster than once in its interval.
        until_stored(agent, place, node);
        for container in &mut running {
            node.rotate(container);
            node.log(container);
        }
        until_stored(agent, place, node);
        if day == 2 {
            node.restart(&mut running[0]);
            node.log(&mut running[0]);
            until_stored(agent, place, node);
        }
        if day % 2 == 0 {
            let new = start(node, day);
            for gone in std::mem::replace(&mut running, new) {
                gone.delete();
            }
        }
    }
}

/// Each planted leak, once, with its place and its owner; and no other leak, nor a gap. What is said of the calls is not looked at.
fn check(place: &Place, node: &Node) -> BTreeMap<String, Planted> {
    let key = FingerprintKey::parse(&fs::read_to_string(place.state().join("fingerprint.key")).unwrap()).unwrap();
    let print = |planted: &Planted| key.fingerprint(planted.entity, planted.text.as_bytes()).value;
    let mut missed: BTreeMap<String, &Planted> = node.planted.iter().map(|planted| (print(planted), planted)).collect();
    assert_eq!(missed.len(), node.planted.len());
    let mut arrived = BTreeMap::new();
    let told = |finding: &Finding| matches!(finding.category, Category::Leak | Category::Coverage);
    for finding in place.reader().findings(&Filter::default()).unwrap().into_iter().filter(told) {
        let planted = finding.fingerprint.as_ref().and_then(|print| missed.remove(&print.value));
        let planted = planted.unwrap_or_else(|| panic!("nothing of ours, or twice: {finding:#?}"));
        assert_eq!(finding.count, 1, "{planted:?} {finding:#?}");
        assert_eq!((finding.rule.id.as_str(), owner(&finding)), (planted.rule, planted.owner.clone()), "{finding:#?}");
        let location = finding.location.as_ref().unwrap();
        assert_eq!(location.line, Some(planted.line), "{planted:?} {location:?}");
        assert!(is_name(planted, location.file.as_deref().unwrap()), "{planted:?} {location:?}");
        arrived.insert(finding.finding_id, planted.clone());
    }
    assert!(missed.is_empty(), "missed: {missed:#?}");
    arrived
}

/// Is it one of the two names, or that of the file after its rotation?
fn is_name(planted: &Planted, name: &str) -> bool {
    let [link, log] = planted.names.each_ref().map(|path| path.to_str().unwrap());
    name == link || name == log || name.strip_prefix(log).is_some_and(|rest| rest.starts_with(".2026"))
}

fn owner(finding: &Finding) -> Owner {
    let process = &finding.process;
    let kubernetes = process.kubernetes.as_ref().unwrap_or_else(|| panic!("{finding:#?}"));
    Owner {
        namespace: kubernetes.namespace.clone(),
        pod: kubernetes.pod.clone(),
        uid: process.pod.clone().unwrap_or_default(),
        container: kubernetes.container.clone(),
        service: process.service.clone(),
    }
}

#[test]
fn what_a_node_logs_is_in_the_store_and_in_each_sink_once() {
    let place = Place::with(&RULES);
    let root = place.logs();
    #[cfg(any(feature = "kafka", feature = "otlp"))]
    let sinks = sinks::Sinks::start();
    #[cfg(any(feature = "kafka", feature = "otlp"))]
    let config = sinks.config();
    #[cfg(not(any(feature = "kafka", feature = "otlp")))]
    let config = String::new();
    place.follow(&files(&root), &config);
    let mut node = Node::new(&root);
    let mut agent = place.start().ready();
    live(&mut node, &mut agent, &place);

    let arrived = check(&place, &node);
    assert_eq!(usage(&place), node.usage);
    #[cfg(any(feature = "kafka", feature = "otlp"))]
    sinks.check(&arrived);
    agent.terminate();
    // What was deleted may have become a gap, and what was read twice a count: neither did.
    assert_eq!(check(&place, &node).len(), arrived.len());
    assert_eq!(usage(&place), node.usage);
    oracle::verify(&place);
    println!("{} leaks and {} calls in {} logs", arrived.len(), node.usage.calls, node.logs);
}
