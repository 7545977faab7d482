//! Every finding that exists is a valid event of OCSF 1.8.0: checked offline against the schema itself, by the package ocsf-json-schema of
//! the Python index. And `docs/OCSF.md` says what events hold; `OUTFLOW_BLESS=1` writes its example and its table of kinds anew.

use std::{
    collections::BTreeSet,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use outflow::{
    findings::{FLEET_STALE, Finding, LOG_GAP, STORE_DAMAGED, STORE_FULL, UNKNOWN_TLS_STACK},
    sinks::{Cloud, Host, ocsf::encode},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::scenarios;

mod calls;
pub(crate) mod page;
mod recommended;
pub(crate) mod samples;

pub(crate) fn host() -> Host {
    Host {
        name: "node-17".into(),
        id: Some("0123456789abcdef0123456789abcdef".into()),
        cloud: Some(Cloud {
            provider: "aws".into(),
            region: Some("eu-central-1".into()),
            zone: Some("eu-central-1a".into()),
            account: Some("123456789012".into()),
        }),
    }
}

fn event(finding: &Finding) -> Value {
    serde_json::from_str(&encode(finding, &host()).unwrap()).unwrap()
}

/// The interpreter that has the schema; none when there is no network to get it by.
pub(crate) fn python() -> Option<PathBuf> {
    let programs = Path::new(env!("CARGO_BIN_EXE_outflow")).parent().unwrap();
    match testbed::python(programs.parent().unwrap()) {
        Ok(python) => Some(python),
        Err(error) => {
            let required = std::env::var_os("OUTFLOW_REQUIRE_EXCHANGES").is_some_and(|value| value == "1");
            assert!(!required, "no Python with ocsf-json-schema: {error:#}");
            println!("skipped: no Python with ocsf-json-schema: {error:#}");
            None
        }
    }
}

/// What the schema has against each event.
pub(crate) fn errors(python: &Path, events: &[String]) -> Vec<Vec<String>> {
    ask(python, &[], events)
}

/// What check.py says of each event.
fn ask<T: DeserializeOwned>(python: &Path, arguments: &[&str], events: &[String]) -> Vec<T> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/it/ocsf/check.py");
    let mut input = tempfile::tempfile().unwrap();
    for event in events {
        assert!(!event.contains('\n'), "an event is one line: {event}");
        writeln!(input, "{event}").unwrap();
    }
    input.rewind().unwrap();
    let mut command = Command::new(python);
    let output = command.arg(script).args(arguments).stdin(input).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "check.py failed with {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), events.len(), "an event was not checked");
    answers
}

/// The rules whose findings say with what they compare.
const COMPARE: [&str; 17] = [
    "agent.runaway",
    "cost.burn_rate",
    "cost.creep",
    "cost.rate_shift",
    "cost.request_outlier",
    "model.flapping",
    "model.resolved_changed",
    "output.filtered",
    "output.refusals",
    "output.truncated",
    "output.unparsable",
    "retrieval.chunks_changed",
    "retrieval.empty",
    "retrieval.old_documents",
    "tool.errors",
    "tool.slow",
    "vendor.slow",
];

#[test]
fn findings_of_every_kind_are_valid_events() {
    let samples = samples::all();
    let rules: BTreeSet<&str> = samples.iter().map(|(_, finding)| finding.rule.id.as_str()).collect();
    let expected = [
        "another.version",
        "cost.budget",
        "cost.burn_rate",
        "cost.untracked",
        FLEET_STALE,
        LOG_GAP,
        STORE_DAMAGED,
        STORE_FULL,
        UNKNOWN_TLS_STACK,
        "model.fallback",
        "model.flapping",
        "model.resolved_changed",
        "model.retired",
        "model.retiring",
        "model.substituted",
        "model.unpinnable",
        "model.unpinned",
        "model.unverifiable",
        "pii.credit-card",
        "pii.email",
        "secret.openai-api-key",
    ];
    assert_eq!(rules.into_iter().collect::<Vec<_>>(), expected);
    let samples: Vec<_> = samples.into_iter().chain(samples::not_simulated()).chain(scenarios::findings()).collect();
    assert_eq!(scenarios::without_finding(&samples), [""; 0], "rules of which no event was checked");
    let compare: BTreeSet<&str> = samples
        .iter()
        .filter(|(_, finding)| event(finding).get("anomaly_analyses").is_some())
        .map(|(_, finding)| finding.rule.id.as_str())
        .collect();
    assert_eq!(compare, COMPARE.into(), "rules that say what is usual");
    let Some(python) = python() else { return };
    // A host may have no id.
    let bare = Host { name: "node-17".into(), id: None, cloud: None };
    let hosts = [host(), bare];
    let events = |host| samples.iter().map(|(_, finding)| encode(finding, host).unwrap()).collect::<Vec<_>>();
    for host in &hosts {
        let events = events(host);
        for (((name, _), event), errors) in samples.iter().zip(&events).zip(errors(&python, &events)) {
            assert!(errors.is_empty(), "{name}: {errors:#?} in {event}");
        }
    }
    #[cfg(feature = "kafka")]
    {
        let short = |finding| encode(&samples::trimmed(finding), &host()).unwrap();
        let events: Vec<String> = samples.iter().map(|(_, finding)| short(finding)).collect();
        for (((name, _), event), errors) in samples.iter().zip(&events).zip(errors(&python, &events)) {
            assert!(errors.is_empty() && event.contains("record.trimmed"), "{name}, trimmed: {errors:#?} in {event}");
        }
    }
    refuses_what_is_wrong(&python, &samples);
    recommended::are_there(&python, &events(&hosts[0]), recommended::UNKNOWN);
}

/// The check itself: each of these must be found, at the place where it is wrong.
fn refuses_what_is_wrong(python: &Path, samples: &[samples::Sample]) {
    let find = |start: &str| event(&samples.iter().find(|(name, _)| name.starts_with(start)).expect(start).1);
    let (leak, cost) = (find("pii.email in a call"), find("cost.budget"));
    let with = |event: &Value, pointer: &str, name: &str, value: Value| {
        let mut event = event.clone();
        event.pointer_mut(pointer).expect(pointer)[name] = value;
        event.to_string()
    };
    let without = |name: &str| {
        let mut event = leak.clone();
        event.as_object_mut().unwrap().remove(name).expect(name);
        event.to_string()
    };
    let model = serde_json::json!({"name": "gpt-4o", "ai_provider": "openai"});
    let cases = [
        (without("finding_info"), "'finding_info' is a required property"),
        (with(&leak, "", "ai_model", model.clone()), "'ai_model' was unexpected"),
        (with(&cost, "", "ai_model", model), "'ai_model' was unexpected"),
        (with(&leak, "/metadata", "colour", "red".into()), "'colour' was unexpected"),
        (with(&leak, "/dst_endpoint", "port", "443".into()), "$.dst_endpoint.port"),
        (with(&leak, "", "severity", "Grave".into()), "$.severity_id: 2 is 'Low', not 'Grave'"),
        (with(&leak, "/data_security", "category", "Security".into()), "$.data_security.category_id"),
        (with(&leak, "", "type_uid", 200_602.into()), "$.type_uid: not of this class and activity"),
        (with(&leak, "", "device", Value::Null), "$.device: null"),
        (with(&cost, "/metadata", "profiles", serde_json::json!([])), "'actor', 'cloud' were unexpected"),
        (with(&cost, "/metadata", "profiles", serde_json::json!(["ai_operation", "host"])), "has no ai_operation"),
        (leak.to_string().replacen('{', "{\"count\":1,", 1), "twice in one object: count"),
    ];
    let events: Vec<String> = cases.iter().map(|(event, _)| event.clone()).collect();
    for ((_, expected), errors) in cases.iter().zip(errors(python, &events)) {
        assert!(errors.iter().any(|error| error.contains(expected)), "{expected} was not found: {errors:#?}");
    }
}

#[test]
fn no_event_holds_what_leaked() {
    for (name, finding) in samples::all() {
        let event = encode(&finding, &host()).unwrap();
        for leaked in ["jane", "outflow-fake.net", "4111 1111", "OutflowFake", "T3BlbkFJ"] {
            assert!(!event.contains(leaked), "{name}: {leaked} in {event}");
        }
    }
}
