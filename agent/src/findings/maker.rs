//! Makes a finding of one hit. Enters: a [`Hit`], when it happened, what its call cost. Leaves: one occurrence, count 1 and
//! revision 1. It counts nothing and remembers nothing but the fingerprint key; matched text leaves masked, or not at all.

use std::{collections::BTreeMap, ops::Range};

use serde_json::Value;

use super::{
    Activity, Category, Excerpt, FINDING_EVENT, Finding, Fingerprint, FingerprintKey, Policy, Rule, SCHEMA_VERSION,
    Silence,
    absorb::record_id,
    field,
    fingerprint::stable_id,
    parties::Parties,
    place::{call_site, placed},
    shown::{identifier, json_path},
};
use crate::{
    detectors::{Behaviour, Hit, Leak, Place},
    exchange::{CallerKey, Cost, Subject},
    sources::journal,
    units::{Severity, Timestamp},
};

/// Facts in words that our rules and the operator write.
const OURS: [&str; 2] = ["model.note", "budget.name"];
/// Facts that are hashes of ours; with bad luck one is made of digits.
const DIGESTS: [&str; 4] = ["cost.call_site", "output.call_site", "structure.call_site", "schema.digest"];
/// Fields in a list of facts that hold a path of JSON, or words of ours in its place.
const PATHS: [&str; 2] = ["path", "new_paths"];
/// Fields in a list of facts that hold words of ours.
const WORDS: [&str; 3] = ["kind", "from", "to"];
/// Facts that our detectors write, in words, with names from the wire in backticks.
const SENTENCES: [&str; 2] = ["cost.reason", "cost.learning"];

/// Attribute of a leak in the journal: by this cursor `journalctl --cursor` finds the entry.
pub const JOURNAL_CURSOR: &str = "journal.cursor";

/// Which finding a hit belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Of the finding.
    pub(crate) finding_id: String,
    fingerprint: Option<Fingerprint>,
}

/// Makes findings with one fingerprint key.
#[derive(Clone, Debug)]
pub struct Maker {
    key: FingerprintKey,
}

impl Maker {
    /// Fingerprints are made with `key`.
    pub fn new(key: FingerprintKey) -> Self {
        Self { key }
    }

    /// As [`occurrence`](Self::occurrence), unless the user decided that it is not told.
    pub fn tell(&self, hit: &Hit<'_>, at: Timestamp, cost: Option<&Cost>, policy: &Policy) -> Result<Finding, Silence> {
        Ok(Self::told_as(hit, self.identify(hit, policy)?, at, cost, policy))
    }

    /// Which finding a hit belongs to, unless the user decided that it is not told. Much cheaper than the finding itself, of which ten thousand
    /// equal leaks in a block of a log need one.
    pub(crate) fn identify(&self, hit: &Hit<'_>, policy: &Policy) -> Result<Identity, Silence> {
        let identity = self.identity(hit);
        policy.silences(hit, identity.fingerprint.as_ref()).map_or(Ok(identity), Err)
    }

    /// One occurrence: count 1, revision 1, first and last seen at `at`. `cost` is what the whole call cost.
    pub fn occurrence(&self, hit: &Hit<'_>, at: Timestamp, cost: Option<&Cost>) -> Finding {
        Self::told_as(hit, self.identity(hit), at, cost, &Policy::default())
    }

    /// The occurrence that was [identified](Self::identify).
    pub(crate) fn told_as(
        hit: &Hit<'_>,
        identity: Identity,
        at: Timestamp,
        cost: Option<&Cost>,
        policy: &Policy,
    ) -> Finding {
        let mut finding = match hit {
            Hit::Leak(leak) => leaked(leak, identity),
            Hit::Behaviour(behaviour) => behaved(behaviour, identity, policy),
        };
        finding.record_id = record_id(&finding.finding_id, finding.revision);
        finding.first_seen = at.rfc3339();
        finding.last_seen.clone_from(&finding.first_seen);
        finding.cost_nano_usd = cost.map(|cost| cost.nano_usd);
        finding.cost_source = cost.map(|cost| cost.source);
        finding
    }

    fn identity(&self, hit: &Hit<'_>) -> Identity {
        match hit {
            Hit::Leak(leak) => {
                let fingerprint = self.key.fingerprint(&leak.rule.entity, secret(leak));
                let site = call_site(leak.place, secret(leak));
                let finding_id = finding_id(leak.place.subject(), &leak.rule.id, &site, Some(&fingerprint));
                Identity { finding_id, fingerprint: Some(fingerprint) }
            }
            Hit::Behaviour(Behaviour { exchange, rule, key, .. }) => {
                Identity { finding_id: finding_id(Subject::Exchange(exchange), rule, key, None), fingerprint: None }
            }
        }
    }

    pub(super) fn fingerprint(&self, entity: &str, text: &[u8]) -> Fingerprint {
        self.key.fingerprint(entity, text)
    }

    /// The fingerprint of which [`caller`](Self::caller) gave the value.
    pub(crate) fn known_caller(&self, value: &str) -> Fingerprint {
        Fingerprint { value: value.to_owned(), key_id: self.key.id().to_owned() }
    }

    /// What stands for a caller's key outside of this host.
    pub fn caller(&self, key: &CallerKey) -> Fingerprint {
        self.key.fingerprint("API_KEY", key.expose().as_bytes())
    }
}

/// The matched text.
fn secret<'a>(leak: &Leak<'a>) -> &'a [u8] {
    let span = clamped(leak);
    leak.haystack.get(span).unwrap_or_default()
}

fn clamped(leak: &Leak<'_>) -> Range<usize> {
    leak.span.start.min(leak.haystack.len())..leak.span.end.min(leak.haystack.len())
}

fn leaked(leak: &Leak<'_>, identity: Identity) -> Finding {
    let placed = placed(leak.place, leak.haystack, &clamped(leak));
    let mut finding = blank_as(leak.place.subject(), identity.finding_id);
    finding.rule =
        Rule { id: leak.rule.id.clone(), title: leak.rule.title.clone(), references: leak.rule.references.clone() };
    finding.category = Category::Leak;
    finding.entity = Some(leak.rule.entity.clone());
    finding.group = Some(leak.rule.group.clone());
    finding.severity = leak.rule.severity;
    finding.confidence = leak.confidence.min(100);
    finding.title = format!("{} {}", leak.rule.title, placed.way);
    finding.remedy.clone_from(&leak.rule.remedy);
    finding.excerpt = Some(Excerpt::new(&leak.rule.entity, leak.haystack, &leak.span, leak.others));
    finding.location = Some(placed.location);
    if let Place::Log { block, .. } = leak.place
        && block.file.path == journal::NAME
        && let Some(cursor) = journal::cursor(line_around(leak.haystack, leak.span.start))
        // As it is shown in a command.
        && cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=;_-.".contains(&byte))
    {
        finding.attributes.insert(JOURNAL_CURSOR.to_owned(), cursor.into());
    }
    finding.fingerprint = identity.fingerprint;
    finding
}

fn line_around(text: &[u8], at: usize) -> &[u8] {
    let start = memchr::memrchr(b'\n', text.get(..at).unwrap_or_default()).map_or(0, |end| end + 1);
    let rest = text.get(start..).unwrap_or_default();
    rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default()
}

fn behaved(behaviour: &Behaviour<'_>, identity: Identity, policy: &Policy) -> Finding {
    let mut finding = blank_as(Subject::Exchange(behaviour.exchange), identity.finding_id);
    finding.category = Category::of_behaviour(behaviour.rule);
    finding.severity = behaviour.severity;
    finding.confidence = behaviour.confidence.min(100);
    finding.title = field(&shown_title(behaviour));
    for (name, value) in &behaviour.facts {
        finding.attributes.insert((*name).to_owned(), shown_fact(name, value));
    }
    policy.describe(&mut finding, behaviour.rule, behaviour.case, &behaviour.references);
    finding
}

/// Neither time nor process id goes into it.
fn finding_id(subject: Subject<'_>, rule: &str, call_site: &str, fingerprint: Option<&Fingerprint>) -> String {
    let service = &subject.origin().service;
    let (fingerprint_value, key_id) =
        fingerprint.map_or(("", ""), |print| (print.value.as_str(), print.key_id.as_str()));
    match subject {
        Subject::Exchange(exchange) => {
            let (host, api) = (exchange.host.as_str(), exchange.api.as_str());
            stable_id(&[rule, service, host, api, call_site, fingerprint_value, key_id])
        }
        Subject::Log { .. } => stable_id(&[rule, service, "log", call_site, fingerprint_value, key_id]),
        Subject::Unseen(unseen) => stable_id(&[rule, service, &unseen.hosts.join(" "), call_site]),
        Subject::Handshake(failed) => stable_id(&[rule, service, &failed.host, call_site]),
    }
}

/// Everything that a finding takes from its subject, and its id.
pub(super) fn blank(subject: Subject<'_>, rule: &str, call_site: &str, fingerprint: Option<&Fingerprint>) -> Finding {
    blank_as(subject, finding_id(subject, rule, call_site, fingerprint))
}

fn blank_as(subject: Subject<'_>, id: String) -> Finding {
    let Parties { process, destination, model, coverage } = Parties::of(subject);
    Finding {
        schema_version: SCHEMA_VERSION,
        event_name: FINDING_EVENT.to_owned(),
        finding_id: id,
        record_id: String::new(),
        revision: 1,
        activity: Activity::Create,
        rule: Rule { id: String::new(), title: String::new(), references: Vec::new() },
        entity: None,
        group: None,
        category: Category::Leak,
        severity: Severity::Info,
        confidence: 0,
        title: String::new(),
        remedy: String::new(),
        fingerprint: None,
        excerpt: None,
        location: None,
        process,
        destination,
        model,
        cost_nano_usd: None,
        cost_source: None,
        coverage,
        count: 1,
        first_seen: String::new(),
        last_seen: String::new(),
        attributes: BTreeMap::new(),
    }
}

/// A fact; whatever the rules did not write is an identifier from the wire.
fn shown_fact(name: &str, value: &Value) -> Value {
    match value {
        Value::String(text) => shown_text(name, text).into(),
        Value::Array(values) => values.iter().map(|value| shown_fact(name, value)).collect(),
        // Of a list of ours: the keys are, the values can be anyone's.
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), shown_fact(key, value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn shown_text(name: &str, text: &str) -> String {
    let is_time = || Timestamp::parse(text).is_some_and(|time| time.rfc3339() == text);
    match name {
        _ if text.is_empty() => String::new(),
        _ if OURS.contains(&name) || DIGESTS.contains(&name) || WORDS.contains(&name) => field(text),
        _ if PATHS.contains(&name) => {
            if text.starts_with('$') {
                json_path(text)
            } else {
                field(text)
            }
        }
        _ if SENTENCES.contains(&name) => {
            let parts = text.split('`').enumerate();
            // Every second one stands in backticks.
            let shown = parts.map(|(at, part)| if at % 2 == 0 { part.to_owned() } else { identifier(part) });
            field(&shown.collect::<Vec<_>>().join("`"))
        }
        // Its digits are too many for a name.
        _ if is_time() => text.to_owned(),
        _ => identifier(text),
    }
}

/// A title repeats facts. Those that are not shown as they are must not be read there either; the longest goes first, for it may
/// hold a shorter one.
fn shown_title(behaviour: &Behaviour<'_>) -> String {
    let mut texts = Vec::new();
    for (name, value) in behaviour.facts.iter().filter(|(name, _)| !OURS.contains(name)) {
        texts_of(name, value, &mut texts);
    }
    texts.sort_unstable_by_key(|(_, text)| std::cmp::Reverse(text.len()));
    let hide = |title: String, (name, text): (&str, &str)| match shown_text(name, text) {
        shown if shown == text => title,
        shown => title.replace(text, &shown),
    };
    texts.into_iter().fold(behaviour.title.clone(), hide)
}

/// The texts of a fact, each with the name that says what it is.
fn texts_of<'a>(name: &'a str, value: &'a Value, texts: &mut Vec<(&'a str, &'a str)>) {
    match value {
        Value::String(text) if !text.is_empty() => texts.push((name, text)),
        Value::Array(values) => values.iter().for_each(|value| texts_of(name, value, texts)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| texts_of(key, value, texts)),
        _ => {}
    }
}
