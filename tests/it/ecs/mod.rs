//! Documents of the Elastic Common Schema: every kind of finding uses fields that ECS has, with values of their types, and nothing else but
//! `outflow`. And `docs/ECS.md` says what documents hold; `OUTFLOW_BLESS=1` writes its table and its example anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use outflow::{findings::Finding, sinks::ecs::encode, units::Timestamp};
use serde_json::Value;

use crate::{
    ocsf::{host, page::replace, samples},
    scenarios,
};

/// The fields of ECS that documents use, and their types there. Read off `generated/ecs_flat.js` of the package @elastic/ecs 9.4.0 of the npm
/// registry (of `gen_ai.*`: `generated/gen_ai.ts`); `node -e 'console.log(require("./generated/ecs_flat.js").EcsFlat["event.kind"])'` shows one.
/// `[]` takes a list.
const FIELDS: [(&str, &str); 52] = [
    ("@timestamp", "date"),
    ("agent.type", "keyword"),
    ("agent.version", "keyword"),
    ("cloud.account.id", "keyword"),
    ("cloud.availability_zone", "keyword"),
    ("cloud.provider", "keyword"),
    ("cloud.region", "keyword"),
    ("container.id", "keyword"),
    ("container.name", "keyword"),
    ("destination.address", "keyword"),
    ("destination.domain", "keyword"),
    ("destination.ip", "ip"),
    ("destination.port", "long"),
    ("ecs.version", "keyword"),
    ("event.action", "keyword"),
    ("event.category", "keyword[]"),
    ("event.code", "keyword"),
    ("event.dataset", "keyword"),
    ("event.end", "date"),
    ("event.id", "keyword"),
    ("event.kind", "keyword"),
    ("event.module", "keyword"),
    ("event.provider", "keyword"),
    ("event.reason", "keyword"),
    ("event.sequence", "long"),
    ("event.severity", "long"),
    ("event.start", "date"),
    ("event.type", "keyword[]"),
    ("file.extension", "keyword"),
    ("file.name", "keyword"),
    ("file.path", "keyword"),
    ("file.type", "keyword"),
    ("gen_ai.operation.name", "keyword"),
    ("gen_ai.request.model", "keyword"),
    ("gen_ai.response.model", "keyword"),
    ("host.hostname", "keyword"),
    ("host.id", "keyword"),
    ("host.name", "keyword"),
    ("log.file.path", "keyword"),
    ("log.level", "keyword"),
    ("message", "match_only_text"),
    ("orchestrator.namespace", "keyword"),
    ("orchestrator.resource.id", "keyword"),
    ("orchestrator.resource.name", "keyword"),
    ("orchestrator.resource.type", "keyword"),
    ("orchestrator.type", "keyword"),
    ("process.name", "keyword"),
    ("process.pid", "long"),
    ("related.hash", "keyword[]"),
    ("related.hosts", "keyword[]"),
    ("related.ip", "ip[]"),
    ("service.name", "keyword"),
];

/// The rest of them; one list of this length is enough for a reader.
const MORE_FIELDS: [(&str, &str); 6] = [
    ("rule.category", "keyword"),
    ("rule.id", "keyword"),
    ("rule.name", "keyword"),
    ("rule.reference", "keyword"),
    ("rule.ruleset", "keyword"),
    ("service.target.name", "keyword"),
];

/// What is no field of ECS and is not ours: Filebeat's own name for a place in a log file.
const OFFSET: (&str, &str) = ("log.offset", "long");

/// Which types go with which categories: `expected_event_types` of `event.category`, as far as documents use them.
const TYPES: [(&str, &[&str]); 6] = [
    (
        "api",
        &["access", "admin", "allowed", "change", "creation", "deletion", "denied", "end", "info", "start", "user"],
    ),
    ("configuration", &["access", "change", "creation", "deletion", "info"]),
    ("file", &["access", "change", "creation", "deletion", "info"]),
    ("host", &["access", "change", "end", "info", "start"]),
    ("intrusion_detection", &["allowed", "denied", "info"]),
    ("network", &["access", "allowed", "connection", "denied", "end", "info", "protocol", "start"]),
];

fn document(finding: &Finding) -> Value {
    serde_json::from_str(&encode(finding, &host()).unwrap()).unwrap()
}

/// Findings of every kind, and some whose place is not that of the others.
fn all() -> Vec<(String, Finding)> {
    let mut all = samples::all();
    let (_, leak) = all.iter().find(|(name, _)| name == "pii.email in a call").cloned().unwrap();
    let mut add = |name: &str, change: &dyn Fn(&mut Finding)| {
        let mut finding = leak.clone();
        change(&mut finding);
        all.push((name.to_owned(), finding));
    };
    add("to an address", &|finding| finding.destination.as_mut().unwrap().host = "10.0.0.7:8443".into());
    all
}

/// Values by their names; those of `outflow.attributes` are one.
fn values<'a>(value: &'a Value, path: &str, out: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(map) if path != "outflow.attributes" => {
            for (name, inner) in map {
                let dot = if path.is_empty() { "" } else { "." };
                values(inner, &format!("{path}{dot}{name}"), out);
            }
        }
        _ => {
            out.insert(path.to_owned(), value);
        }
    }
}

fn fits(value: &Value, kind: &str) -> bool {
    if let Some(kind) = kind.strip_suffix("[]") {
        return value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|one| fits(one, kind)));
    }
    match kind {
        "date" => value.as_str().is_some_and(|text| Timestamp::parse(text).is_some()),
        "ip" => value.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
        "long" => value.as_i64().is_some(),
        // Elasticsearch does not index longer ones (`ignore_above`); text is not bounded.
        "keyword" => value.as_str().is_some_and(|text| (1..=1024).contains(&text.len())),
        _ => value.is_string(),
    }
}

/// What it has of ECS is of ECS's types; gives which fields these are. Whatever else it has is `outflow`.
pub(crate) fn check(name: &str, document: &Value) -> BTreeSet<String> {
    let fields: BTreeMap<_, _> = FIELDS.into_iter().chain(MORE_FIELDS).chain([OFFSET]).collect();
    let (mut found, mut used) = (BTreeMap::new(), BTreeSet::new());
    values(document, "", &mut found);
    for (field, value) in found.iter().filter(|(field, _)| !field.starts_with("outflow.")) {
        let kind = fields.get(field.as_str()).unwrap_or_else(|| panic!("{name}: ECS has no {field}"));
        assert!(fits(value, kind), "{name}: {field} is no {kind}: {value}");
        used.insert(field.clone());
    }
    assert!(!found.values().any(|value| value.is_null()), "{name}: {document:#}");
    let kind = document["event"]["type"][0].as_str().unwrap();
    for category in document["event"]["category"].as_array().unwrap() {
        let (_, allowed) = TYPES.iter().find(|(known, _)| category == known).expect("a category of ECS");
        assert!(allowed.contains(&kind), "{name}: {category} has no type {kind}");
    }
    used
}

#[test]
fn documents_use_fields_of_ecs_and_of_ours() {
    let fields: BTreeMap<_, _> = FIELDS.into_iter().chain(MORE_FIELDS).chain([OFFSET]).collect();
    assert_eq!(fields.len(), FIELDS.len() + MORE_FIELDS.len() + 1, "none twice");
    let mut used = BTreeSet::new();
    let samples: Vec<_> = all().into_iter().chain(samples::not_simulated()).chain(scenarios::findings()).collect();
    assert_eq!(scenarios::without_finding(&samples), [""; 0], "rules of which no document was checked");
    for (name, finding) in samples {
        #[cfg(feature = "kafka")]
        check(&name, &document(&samples::trimmed(&finding)));
        let document = document(&finding);
        used.extend(check(&name, &document));
        assert_eq!(
            (&document["event"]["kind"], &document["event"]["id"]),
            (&"alert".into(), &finding.record_id.as_str().into())
        );
    }
    let unused: Vec<_> = fields.keys().filter(|field| !used.contains(**field)).collect();
    assert!(unused.is_empty(), "no sample has {unused:?}");
}

#[test]
fn the_same_finding_is_the_same_line_and_holds_no_leak() {
    for (name, finding) in all() {
        let first = encode(&finding, &host()).unwrap();
        let read: Finding = serde_json::from_str(&serde_json::to_string(&finding).unwrap()).unwrap();
        assert_eq!(encode(&read, &host()).unwrap(), first, "{name}");
        assert!(!first.contains('\n'), "{name}");
        for leaked in ["jane", "outflow-fake.net", "4111 1111", "OutflowFake", "T3BlbkFJ"] {
            assert!(!first.contains(leaked), "{name}: {leaked} in {first}");
        }
    }
    let (_, mut finding) = all().remove(0);
    finding.last_seen = "yesterday".into();
    assert!(encode(&finding, &host()).unwrap_err().to_string().contains("is no time"));
}

#[test]
fn the_page_shows_what_documents_are() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/ECS.md");
    let committed = fs::read_to_string(&path).unwrap();
    let all = all();
    let (_, leak) = all.iter().find(|(name, _)| name == "pii.email in a call").unwrap();
    let mut example = document(leak);
    // A release does not change the page.
    example["agent"]["version"] = "…".into();
    let page = replace(&committed, "kinds", &kinds());
    let page = replace(&page, "example", &format!("```json\n{example:#}\n```\n"));
    if std::env::var_os("OUTFLOW_BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    } else {
        assert!(committed == page, "docs/ECS.md is out of date: run this test with OUTFLOW_BLESS=1");
    }

    let mut used = BTreeSet::new();
    for (_, finding) in &all {
        let document = document(finding);
        let mut found = BTreeMap::new();
        values(&document, "", &mut found);
        used.extend(found.into_keys());
    }
    let named = crate::ocsf::page::named(&page);
    let missing: Vec<_> = used.difference(&named).collect();
    assert!(missing.is_empty(), "docs/ECS.md does not say what these are: {missing:#?}");
    let stale: Vec<_> = named.difference(&used).collect();
    assert!(stale.is_empty(), "docs/ECS.md names what no document has: {stale:#?}");
}

fn kinds() -> String {
    let mut rows = BTreeSet::new();
    let all = samples::kinds().into_iter().chain(samples::not_simulated()).chain(scenarios::findings());
    for (_, finding) in all {
        let event = &document(&finding)["event"];
        let rule = match finding.rule.id.split_once('.') {
            Some((family @ ("pii" | "secret"), _)) => {
                format!("`{family}.*` in a {}", if finding.destination.is_some() { "call" } else { "log" })
            }
            _ => format!("`{}`", finding.rule.id),
        };
        let categories: Vec<&str> = event["category"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        rows.insert(format!("| {rule} | {} | {} |\n", categories.join(", "), event["type"][0].as_str().unwrap()));
    }
    let mut out = "| finding | `event.category` | `event.type` |\n| --- | --- | --- |\n".to_owned();
    out.extend(rows);
    out
}
