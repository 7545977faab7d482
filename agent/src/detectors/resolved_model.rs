//! Finds models that change under their name. Enters: exchanges, in order. Leaves: `model.substituted` (another model
//! answered than was asked), `model.fallback` (the request itself named it as a second choice), `model.resolved_changed` (the same id is answered by another model than before), `model.flapping` (it goes
//! back and forth) and `model.unverifiable` (this API's answers never name their model, so nobody can tell). It never alarms on
//! `system_fingerprint`: one pinned snapshot had 39 values.
//!
//! A change is told when the new id answers twice in a row, or after an hour of silence at once: a vendor's rollout sends single calls to
//! the new model, and comes back, which is `model.flapping`, told once. [`ModelChanges`] has the change from its first answer on.
//!
//! State: for each (service, host, api, requested id) the ids that answered, in a table of [`MAX_TRACKED`] entries with at
//! most [`MAX_ANSWERS`] ids each, and the last change; 2 KB an entry. The least recently used entry goes first. The state survives a
//! restart, a key an entry (`state.rs`).

use std::sync::Arc;

use hashbrown::Equivalent;
use serde_json::json;

use super::{
    Behaviour, Detector, Hit, StateChange, model_changes, pinning,
    table::{Owned, Table},
};
use crate::{
    detectors::model_changes::ModelChanges,
    exchange::{Api, Exchange},
    lru::Lru,
    units::{Severity, Timestamp},
};

mod identity;
mod state;

pub(super) use identity::plain_id;
use identity::{Identity, is_same_model, names_the_snapshot_of};

/// Bound of the table.
const MAX_TRACKED: usize = 10_000;

/// Bound of the ids of which it is remembered what they say.
const MAX_IDENTITIES: usize = 512;

/// Bound of the ids that are remembered for one entry.
const MAX_ANSWERS: usize = 8;

/// Ids longer than this are not tracked: no vendor has such, and state must not grow with what a peer sends.
const MAX_ID_BYTES: usize = 160;

/// Going back to an earlier answer within this time is flapping (a rollout in progress), later it is a change of its own.
const FLAPPING_NS: u64 = 60 * 60 * 1_000_000_000;

/// Vendors whose users name what they call: a deployment, a route, an endpoint. Such a name promises no model.
const OWN_NAMES: [&str; 7] =
    ["azure", "cloudflare_gateway", "databricks", "helicone", "portkey", "pydantic_gateway", "sagemaker"];

/// The detector.
#[derive(Debug)]
pub struct ResolvedModel {
    tracked: Table<Key, Track>,
    /// What ids say, as they are written. The same few are asked for and answer all day.
    identities: Lru<String, Arc<Identity>>,
    changes: ModelChanges,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    service: String,
    host: String,
    api: Api,
    requested: String,
}

/// The same, borrowed; its members in the same order, so that it has the same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct KeyRef<'a> {
    service: &'a str,
    host: &'a str,
    api: Api,
    requested: &'a str,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        let Key { service, host, api, requested } = key;
        *self == KeyRef { service, host, api: *api, requested }
    }
}

impl Owned<Key> for KeyRef<'_> {
    fn own(&self) -> Key {
        Key {
            service: self.service.to_owned(),
            host: self.host.to_owned(),
            api: self.api,
            requested: self.requested.to_owned(),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Track {
    /// Ids that answered, the current one last.
    answers: Vec<Answer>,
    flapping: bool,
    /// What answered before the current one, and in how many calls: not told yet, the current one answered once.
    unconfirmed: Option<(String, u64)>,
    /// The last change, for [`ModelChanges`] after a restart.
    last_change: Option<model_changes::Change>,
}

#[derive(Clone, Debug)]
struct Answer {
    id: String,
    calls: u64,
    last_at: Timestamp,
}

/// What an answer means, given those before it.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    None,
    /// Another id than before, for the first time: told when it answers again.
    Suspected {
        from: String,
    },
    Changed {
        from: String,
        calls: u64,
    },
    Flapping {
        from: String,
    },
}

impl ResolvedModel {
    /// A detector that has seen nothing yet.
    pub fn new() -> Self {
        Self { tracked: Table::new(MAX_TRACKED), identities: Lru::new(MAX_IDENTITIES), changes: ModelChanges::new() }
    }

    /// The changes that it sees, for other detectors.
    pub fn model_changes(&self) -> ModelChanges {
        self.changes.clone()
    }
}

impl Default for ResolvedModel {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector for ResolvedModel {
    fn name(&self) -> &'static str {
        state::NAME
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        // An error names no model that worked, and a view with holes may name half of one.
        if !exchange.succeeded() || !exchange.view.complete {
            return;
        }
        let Some((requested, _)) = pinning::requested(exchange) else { return };
        let Some(resolved) = exchange.response_model.as_deref() else {
            if never_names_its_model(exchange) {
                emit(Hit::Behaviour(unverifiable(exchange, requested)));
            }
            return;
        };
        if requested.len().max(resolved.len()) > MAX_ID_BYTES {
            return;
        }
        let (asked, answered) = (self.identity(requested), self.identity(resolved));
        if !is_same_model(&asked, &answered) {
            let fallbacks = &exchange.asking.fallback_models;
            if fallbacks.iter().any(|model| is_same_model(&Identity::of(model), &answered)) {
                // Asked for, in the second place. The model behind the first one has not changed.
                emit(Hit::Behaviour(fallback(exchange, requested, resolved)));
                return;
            }
            if promises_a_model(exchange, &asked) {
                emit(Hit::Behaviour(substituted(exchange, requested, resolved)));
            }
        }
        // An echo is no proof of anything: vendors answer with the alias on some calls and the snapshot on others.
        if answered.id == asked.id && !asked.is_snapshot() {
            return;
        }
        let key =
            KeyRef { service: &exchange.origin.service, host: &exchange.host, api: exchange.api, requested: &asked.id };
        match self.track(key, &answered.id, exchange.started_at) {
            Change::None | Change::Suspected { .. } => {}
            Change::Changed { from, calls } => {
                emit(Hit::Behaviour(changed(exchange, requested, &from, resolved, calls)));
            }
            Change::Flapping { from } => emit(Hit::Behaviour(flapping(exchange, requested, &from, resolved))),
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        self.tracked.changes(|key, track| emit(StateChange::new(state::NAME, state::key(key), track)));
    }

    fn restore(&mut self, key: &str, value: &str) {
        if let (Some(key), Some(track)) = (state::read_key(key), state::read_value(value)) {
            if let Some(change) = &track.last_change {
                self.note(&key, change);
            }
            self.tracked.restore(key, track);
        }
    }
}

impl ResolvedModel {
    /// What an id says.
    fn identity(&mut self, id: &str) -> Arc<Identity> {
        if let Some(known) = self.identities.touch(id) {
            return Arc::clone(known);
        }
        let identity = Arc::new(Identity::of(id));
        self.identities.insert(id.to_owned(), Arc::clone(&identity));
        identity
    }

    fn track(&mut self, key: KeyRef<'_>, id: &str, at: Timestamp) -> Change {
        let Some(track) = self.tracked.enter(&key, Track::default) else { return Change::None };
        let change = track.see(id, at);
        let noted = match &change {
            Change::Suspected { .. } | Change::Changed { .. } => track.last_change.clone(),
            Change::None | Change::Flapping { .. } => None,
        };
        self.tracked.mark(key.own());
        if let Some(noted) = noted {
            self.note(&key.own(), &noted);
        }
        change
    }

    fn note(&self, key: &Key, change: &model_changes::Change) {
        let model_changes::Change { from, to, at } = change;
        self.changes.note(&key.service, &key.host, key.api, &key.requested, from, to, *at);
    }
}

impl Answer {
    /// It is that id, or the same with or without its snapshot.
    fn is(&self, id: &str) -> bool {
        self.id == id || names_the_snapshot_of(id, &self.id) || names_the_snapshot_of(&self.id, id)
    }
}

impl Track {
    fn see(&mut self, id: &str, at: Timestamp) -> Change {
        let (from, calls, silence_ns) = match self.answers.last_mut() {
            Some(current) if current.is(id) => {
                if names_the_snapshot_of(id, &current.id) {
                    id.clone_into(&mut current.id);
                }
                current.calls = current.calls.saturating_add(1);
                current.last_at = at;
                let confirmed = self.unconfirmed.take();
                return confirmed.map_or(Change::None, |(from, calls)| Change::Changed { from, calls });
            }
            Some(current) => (current.id.clone(), current.calls, at.since_ns(current.last_at)),
            None => {
                self.answers.push(Answer { id: id.to_owned(), calls: 1, last_at: at });
                return Change::None;
            }
        };
        let known = self.answers.iter().position(|answer| answer.is(id));
        let recently = known
            .and_then(|index| self.answers.get(index))
            .is_some_and(|answer| at.since_ns(answer.last_at) <= FLAPPING_NS);
        let before = known.map_or(0, |index| self.answers.remove(index).calls);
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.remove(0);
        }
        self.answers.push(Answer { id: id.to_owned(), calls: before.saturating_add(1), last_at: at });
        // What answered once in between was no rule that could change.
        let (from, calls) = self.unconfirmed.take().unwrap_or((from, calls));
        if recently {
            return if std::mem::replace(&mut self.flapping, true) {
                Change::None
            } else {
                Change::Flapping { from: self.previous(from) }
            };
        }
        self.flapping = false;
        self.last_change = Some(model_changes::Change { from: from.clone(), to: id.to_owned(), at });
        if silence_ns > FLAPPING_NS {
            return Change::Changed { from, calls };
        }
        self.unconfirmed = Some((from.clone(), calls));
        Change::Suspected { from }
    }

    /// The id that answered before the current one.
    fn previous(&self, otherwise: String) -> String {
        self.answers.iter().rev().nth(1).map_or(otherwise, |answer| answer.id.clone())
    }
}

/// Answers of these APIs never say which model they are from: Bedrock's Converse (0 of 320 recorded calls) and InvokeModel of most
/// makers, all of Cohere's, Google's embeddings.
fn never_names_its_model(exchange: &Exchange) -> bool {
    match exchange.paid_vendor() {
        Some("aws_bedrock") => matches!(exchange.api, Api::Converse | Api::InvokeModel),
        Some("cohere") => matches!(exchange.api, Api::CohereChat | Api::Completions | Api::Embeddings | Api::Rerank),
        Some("gemini" | "vertex_ai") => exchange.api == Api::Embeddings,
        _ => false,
    }
}

fn unverifiable<'a>(exchange: &'a Exchange, requested: &str) -> Behaviour<'a> {
    Behaviour {
        rule: "model.unverifiable",
        rule_title: "Answers do not say which model they are from",
        references: Vec::new(),
        key: requested.to_lowercase(),
        severity: Severity::Info,
        confidence: 100,
        title: format!(
            "nobody can see whether the model behind `{requested}` changes: answers of this API do not name it"
        ),
        remedy: "Watch the shape and the quality of the answers instead: they are all that a silent change would show in.",
        facts: vec![("model.requested", json!(requested))],
        exchange,
    }
}

/// The id as it is compared with another: without case, path, region and routing suffix.
pub fn compared_as(id: &str) -> String {
    plain_id(id)
}

/// A deployment, a router or a pointer to the newest promises no model, so none can be put in its place. So does a host that
/// no file lists: it may be a gateway with names of its own.
fn promises_a_model(exchange: &Exchange, asked: &Identity) -> bool {
    exchange.paid_vendor().is_some_and(|vendor| !OWN_NAMES.contains(&vendor)) && asked.names_a_model()
}

fn substituted<'a>(exchange: &'a Exchange, requested: &str, resolved: &str) -> Behaviour<'a> {
    Behaviour {
        rule: "model.substituted",
        rule_title: "Another model answered than was asked",
        references: Vec::new(),
        key: format!("{requested} {resolved}").to_lowercase(),
        severity: Severity::High,
        confidence: 80,
        title: format!("asked for `{requested}`, answered by `{resolved}`"),
        remedy: "Check the vendor's notices and your gateway's routing; test with the model that answers, or pin another one.",
        facts: vec![("model.requested", json!(requested)), ("model.resolved", json!(resolved))],
        exchange,
    }
}

fn fallback<'a>(exchange: &'a Exchange, requested: &str, resolved: &str) -> Behaviour<'a> {
    Behaviour {
        rule: "model.fallback",
        rule_title: "A fallback answered",
        references: vec!["https://openrouter.ai/docs/features/model-routing".to_owned()],
        key: format!("{requested} {resolved}").to_lowercase(),
        severity: Severity::Low,
        confidence: 95,
        title: format!("asked for `{requested}`, answered by its fallback `{resolved}`"),
        remedy: "See why the first choice does not answer; test the fallback as you tested the first choice, or leave it out of `models`.",
        facts: vec![
            ("model.requested", json!(requested)),
            ("model.resolved", json!(resolved)),
            ("model.fallbacks", json!(exchange.asking.fallback_models)),
        ],
        exchange,
    }
}

fn changed<'a>(exchange: &'a Exchange, requested: &str, from: &str, to: &str, calls: u64) -> Behaviour<'a> {
    let unit = if calls == 1 { "call" } else { "calls" };
    Behaviour {
        rule: "model.resolved_changed",
        rule_title: "The model behind a name changed",
        references: Vec::new(),
        key: format!("{requested} {from} {to}").to_lowercase(),
        severity: Severity::High,
        // One call may have been the odd one out; ten were the rule.
        confidence: match calls {
            1 => 60,
            2..10 => 80,
            _ => 95,
        },
        title: format!("`{requested}` was `{from}` for {calls} {unit}, now it is `{to}`"),
        remedy: "Compare answers from before and after; ask for the dated id that you tested with.",
        facts: vec![
            ("model.requested", json!(requested)),
            ("model.resolved_before", json!(from)),
            ("model.resolved", json!(to)),
            ("model.calls_before", json!(calls)),
        ],
        exchange,
    }
}

fn flapping<'a>(exchange: &'a Exchange, requested: &str, from: &str, to: &str) -> Behaviour<'a> {
    Behaviour {
        rule: "model.flapping",
        rule_title: "A name is answered by several models in turn",
        references: Vec::new(),
        key: requested.to_lowercase(),
        severity: Severity::Medium,
        confidence: 80,
        title: format!("`{requested}` goes back and forth between `{from}` and `{to}`"),
        remedy: "A rollout is under way: ask for a dated id until it is over.",
        facts: vec![
            ("model.requested", json!(requested)),
            ("model.resolved_before", json!(from)),
            ("model.resolved", json!(to)),
        ],
        exchange,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::sample;

    fn call(vendor: &str, requested: &str, resolved: &str, minute: u64) -> Exchange {
        let mut exchange = sample::exchange(vendor, requested);
        exchange.response_model = Some(resolved.into());
        exchange.started_at = Timestamp(sample::MIDNIGHT.0 + minute * 60_000_000_000);
        exchange
    }

    fn rules(detector: &mut ResolvedModel, exchange: &Exchange) -> Vec<String> {
        let mut seen = Vec::new();
        detector.inspect(exchange, &mut |hit| match hit {
            Hit::Behaviour(hit) => seen.push(format!("{}: {}", hit.rule, hit.title)),
            Hit::Leak(_) => panic!("this detector knows no leaks"),
        });
        seen
    }

    #[test]
    fn aliases_resolve_without_alarm() {
        // Pairs seen in recorded traffic (anchors-llm §2.2, §2.3) and spellings of one model.
        let cases = [
            ("openai", "gpt-4o", "gpt-4o-2024-08-06"),
            ("openai", "gpt-5.6", "gpt-5.6-sol"),
            ("openai", "gpt-4-0613", "gpt-4-0613"),
            ("openai", "davinci-002", "davinci:2023-07-21-v2"),
            ("openai", "text-embedding-ada-002", "text-embedding-ada-002-v2"),
            ("openai", "gpt-35-turbo", "gpt-3.5-turbo-0125"),
            ("openai", "chatgpt-4o-latest", "gpt-4o-2024-11-20"),
            ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x", "ft:gpt-4o-mini-2024-07-18:acme::x"),
            ("anthropic", "claude-3-5-haiku-latest", "claude-3-5-haiku-20241022"),
            ("anthropic", "claude-sonnet-4-0", "claude-sonnet-4-20250514"),
            ("anthropic", "claude-opus-4", "claude-opus-4-20250514"),
            ("cerebras", "llama3.3-70b", "llama-3.3-70b"),
            ("xai", "grok-4-fast", "grok-4-fast-reasoning"),
            ("gemini", "models/gemini-flash-latest", "gemini-2.5-flash"),
            ("gemini", "gemini-3-pro-preview", "gemini-3.1-pro-preview"),
            ("gemini", "gemini-2.5-pro-preview-03-25", "gemini-2.5-pro"),
            ("openrouter", "anthropic/claude-sonnet-4.6", "anthropic/claude-4.6-sonnet-20260217"),
            ("openrouter", "openrouter/auto", "x-ai/grok-4"),
            ("bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
            ("vertex", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929"),
            ("deepseek", "deepseek-chat", "deepseek-v4-flash"),
            ("azure.openai", "my-deployment", "gpt-4.1-mini-2025-04-14"),
        ];
        for (vendor, requested, resolved) in cases {
            assert_eq!(rules(&mut ResolvedModel::new(), &call(vendor, requested, resolved, 0)), [""; 0], "{requested}");
        }
        let gateway = Exchange { vendor: None, ..call("openai", "fast-model-1", "gpt-4o-mini-2024-07-18", 0) };
        assert_eq!(rules(&mut ResolvedModel::new(), &gateway), [""; 0]);
    }

    #[test]
    fn another_model_is_a_substitution() {
        let cases = [
            ("mistral", "pixtral-12b", "ministral-14b-latest"),
            ("openai", "gpt-4o", "gpt-4o-mini-2024-07-18"),
            ("openai", "gpt-5", "gpt-4o-2024-08-06"),
            ("openai", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20"),
            ("anthropic", "claude-sonnet-4-5", "claude-haiku-4-5-20251001"),
            ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-6"),
            ("anthropic", "claude-opus-5", "claude-sonnet-5"),
            ("openrouter", "google/gemini-2.0-flash-exp:free", "x-ai/grok-4"),
        ];
        for (vendor, requested, resolved) in cases {
            let seen = rules(&mut ResolvedModel::new(), &call(vendor, requested, resolved, 0));
            assert_eq!(seen, [format!("model.substituted: asked for `{requested}`, answered by `{resolved}`")]);
        }
    }

    #[test]
    fn a_change_is_told_once_with_the_calls_before_it() {
        let mut detector = ResolvedModel::new();
        for minute in 0..3 {
            assert_eq!(rules(&mut detector, &call("openai", "gpt-4o", "gpt-4o-2024-08-06", minute)), [""; 0]);
            // The echo between them says nothing.
            assert_eq!(rules(&mut detector, &call("openai", "gpt-4o", "gpt-4o", minute)), [""; 0]);
        }
        // Another service, host or api is another story.
        let mut other = call("openai", "gpt-4o", "gpt-4o-2024-11-20", 3);
        other.api = Api::Responses;
        assert_eq!(rules(&mut detector, &other), [""; 0]);

        // One answer may be the odd one out; other detectors can ask for it already.
        let changed = call("openai", "gpt-4o", "gpt-4o-2024-11-20", 3);
        let noted = detector.model_changes();
        let known =
            || noted.within("checkout", "api.openai.com", Api::ChatCompletions, "GPT-4o", changed.started_at, 0);
        assert_eq!(known(), None);
        assert_eq!(rules(&mut detector, &changed), [""; 0]);
        let change = known().expect("the change is noted");
        assert_eq!((change.from.as_str(), change.to.as_str()), ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20"));
        let expected =
            "model.resolved_changed: `gpt-4o` was `gpt-4o-2024-08-06` for 3 calls, now it is `gpt-4o-2024-11-20`";
        assert_eq!(rules(&mut detector, &changed), [expected]);
        assert_eq!(rules(&mut detector, &changed), [""; 0]);
    }

    #[test]
    fn flapping_is_told_once() {
        let mut detector = ResolvedModel::new();
        let mut told = Vec::new();
        for minute in 0..40 {
            let resolved = if minute % 2 == 0 { "gpt-4o-2024-08-06" } else { "gpt-4o-2024-11-20" };
            told.extend(rules(&mut detector, &call("openai", "gpt-4o", resolved, minute)));
        }
        let expected =
            "model.flapping: `gpt-4o` goes back and forth between `gpt-4o-2024-11-20` and `gpt-4o-2024-08-06`";
        assert_eq!(told, [expected]);
        // A third model is news, and so is a return after the rollout is long over.
        let third: Vec<_> = (41..43)
            .map(|minute| rules(&mut detector, &call("openai", "gpt-4o", "gpt-4o-2025-03-26", minute)))
            .collect();
        assert!(third[0].is_empty() && third[1].len() == 1, "{third:?}");
        let back = rules(&mut detector, &call("openai", "gpt-4o", "gpt-4o-2024-08-06", 41 + 600));
        assert!(back.len() == 1 && back.iter().all(|hit| hit.starts_with("model.resolved_changed")), "{back:?}");
    }

    #[test]
    fn a_rollout_of_single_calls_is_told_once_and_not_as_a_change() {
        // One call in ten goes to the new model, then all of them: told when it starts and not again.
        let mut detector = ResolvedModel::new();
        let mut told = Vec::new();
        for minute in 0..120 {
            let is_new = minute > 60 || minute % 10 == 5;
            let resolved = if is_new { "gpt-4o-2024-11-20" } else { "gpt-4o-2024-08-06" };
            told.extend(rules(&mut detector, &call("openai", "gpt-4o", resolved, minute)));
        }
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("model.flapping"), "{told:?}");
    }

    #[test]
    fn the_same_model_with_and_without_its_snapshot_is_no_change() {
        // Recorded at Azure: one deployment answered ten times each way (anchors-llm §2.3).
        let mut detector = ResolvedModel::new();
        for minute in 0..20 {
            let resolved = if minute % 2 == 0 { "gpt-5-mini" } else { "gpt-5-mini-2025-08-07" };
            assert_eq!(rules(&mut detector, &call("azure", "my-deployment", resolved, minute)), [""; 0]);
        }
        let newer = |minute| call("azure", "my-deployment", "gpt-5-mini-2026-02-02", minute);
        assert_eq!(rules(&mut detector, &newer(20)), [""; 0]);
        let expected = "model.resolved_changed: `my-deployment` was `gpt-5-mini-2025-08-07` for 20 calls, now it is `gpt-5-mini-2026-02-02`";
        assert_eq!(rules(&mut detector, &newer(21)), [expected]);
    }

    #[test]
    fn where_calls_are_rare_one_answer_is_enough() {
        let mut detector = ResolvedModel::new();
        assert_eq!(rules(&mut detector, &call("openai", "gpt-4o", "gpt-4o-2024-08-06", 0)), [""; 0]);
        let expected =
            "model.resolved_changed: `gpt-4o` was `gpt-4o-2024-08-06` for 1 call, now it is `gpt-4o-2024-11-20`";
        assert_eq!(rules(&mut detector, &call("openai", "gpt-4o", "gpt-4o-2024-11-20", 24 * 60)), [expected]);
        assert_eq!(rules(&mut detector, &call("openai", "gpt-4o", "gpt-4o-2024-11-20", 48 * 60)), [""; 0]);
    }

    #[test]
    fn a_fallback_that_the_request_names_is_no_substitution_and_no_change() {
        let mut detector = ResolvedModel::new();
        let asked = |resolved: &str, minute| {
            let mut exchange = call("openrouter", "google/gemini-2.0-flash-exp:free", resolved, minute);
            exchange.asking.fallback_models = vec!["mistralai/mistral-small".into(), "x-ai/grok-4".into()];
            exchange
        };
        let told =
            "model.fallback: asked for `google/gemini-2.0-flash-exp:free`, answered by its fallback `x-ai/grok-4`";
        for (resolved, minute, expected) in [
            ("google/gemini-2.0-flash-001", 0, None),
            ("x-ai/grok-4", 1, Some(told)),
            ("x-ai/grok-4", 2, Some(told)),
            ("google/gemini-2.0-flash-001", 3, None),
            (
                "meta-llama/llama-3.2-3b-instruct",
                4,
                Some(
                    "model.substituted: asked for `google/gemini-2.0-flash-exp:free`, answered by `meta-llama/llama-3.2-3b-instruct`",
                ),
            ),
        ] {
            assert_eq!(
                rules(&mut detector, &asked(resolved, minute)).first().map(String::as_str),
                expected,
                "{minute}"
            );
        }
        // Without a first choice of its own the first of the list is it.
        let unnamed = Exchange { request_model: None, ..asked("x-ai/grok-4", 5) };
        assert_eq!(
            rules(&mut detector, &unnamed),
            ["model.fallback: asked for `mistralai/mistral-small`, answered by its fallback `x-ai/grok-4`"]
        );
    }

    #[test]
    fn where_nobody_can_tell_that_is_said() {
        let silent = |vendor: &str, model: &str, api| {
            let exchange = Exchange { api, response_model: None, ..call(vendor, model, model, 0) };
            rules(&mut ResolvedModel::new(), &exchange)
        };
        let model = "us.amazon.nova-lite-v1:0";
        let expected = format!(
            "model.unverifiable: nobody can see whether the model behind `{model}` changes: answers of this API do not name it"
        );
        assert_eq!(silent("aws_bedrock", model, Api::Converse), [expected]);
        for (vendor, api, told) in [
            ("aws_bedrock", Api::InvokeModel, 1),
            ("cohere", Api::CohereChat, 1),
            ("cohere", Api::Embeddings, 1),
            ("gemini", Api::Embeddings, 1),
            ("gemini", Api::GenerateContent, 0),
            ("aws_bedrock", Api::CountTokens, 0),
            ("openai", Api::ChatCompletions, 0),
        ] {
            assert_eq!(silent(vendor, "m", api).len(), told, "{vendor} {api:?}");
        }
    }

    #[test]
    fn names_of_ones_own_promise_no_model() {
        let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";
        for (vendor, requested, resolved) in [
            ("azure", "gpt-4o-fast", "gpt-4.1-mini-2025-04-14"),
            ("aws_bedrock", arn, "claude-sonnet-4-5-20250929"),
            ("databricks", "my-endpoint-2", "claude-sonnet-4-5-20250929"),
        ] {
            assert_eq!(rules(&mut ResolvedModel::new(), &call(vendor, requested, resolved, 0)), [""; 0], "{requested}");
        }
        let profile =
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0";
        let seen = |resolved| rules(&mut ResolvedModel::new(), &call("aws_bedrock", profile, resolved, 0)).len();
        assert_eq!((seen("claude-sonnet-4-5-20250929"), seen("claude-haiku-4-5-20251001")), (0, 1));
    }

    #[test]
    fn an_entry_of_the_longest_ids_is_bounded() {
        let mut detector = ResolvedModel::new();
        for number in 0..40 {
            let (requested, resolved) = ("r".repeat(MAX_ID_BYTES), format!("{number:0>MAX_ID_BYTES$}"));
            for _ in 0..2 {
                rules(&mut detector, &call("openai", &requested, &resolved, number));
            }
        }
        let mut sizes = Vec::new();
        detector.changes(&mut |change| sizes.push(change.key.len() + change.text().unwrap_or_default().len()));
        assert!(matches!(sizes[..], [1..=2500]), "{sizes:?}");
    }

    #[test]
    fn a_pinned_id_that_starts_to_answer_as_another_is_both() {
        let mut detector = ResolvedModel::new();
        assert_eq!(
            rules(&mut detector, &call("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20250929", 0)),
            [""; 0]
        );
        let mut seen = |minute| {
            let call = call("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-5-5", minute);
            rules(&mut detector, &call).len()
        };
        assert_eq!((seen(1), seen(2)), (1, 2));
    }

    #[test]
    fn errors_holes_and_fingerprints_say_nothing() {
        let mut detector = ResolvedModel::new();
        let first = call("openai", "gpt-4o", "gpt-4o-2024-08-06", 0);
        assert_eq!(rules(&mut detector, &first), [""; 0]);
        let other = call("openai", "gpt-4o", "claude-3", 1);
        let mut hole = other.clone();
        hole.view.complete = false;
        let cases = [
            Exchange { status: Some(500), ..other.clone() },
            Exchange { status: None, ..other.clone() },
            Exchange { error: Some("overloaded".into()), ..other.clone() },
            Exchange { response_model: None, ..other.clone() },
            Exchange { response_model: Some("x".repeat(MAX_ID_BYTES + 1)), ..other },
            hole,
            Exchange { system_fingerprint: Some("fp_1".into()), ..first.clone() },
            Exchange { system_fingerprint: Some("fp_2".into()), ..first },
        ];
        for exchange in cases {
            assert_eq!(rules(&mut detector, &exchange), [""; 0]);
        }
    }

    #[test]
    fn what_it_knows_survives_a_restart() {
        let calls: Vec<Exchange> = (0..40)
            .map(|minute| {
                let resolved = ["gpt-4o-2024-08-06", "gpt-4o-2024-11-20", "gpt-4o-2024-08-06"][minute as usize / 5 % 3];
                let mut call = call("openai", "gpt-4o", resolved, minute * 7);
                call.origin = Arc::new(crate::sources::Origin {
                    service: format!("\"{}\" ü", minute % 2),
                    ..(*call.origin).clone()
                });
                call
            })
            .collect();
        let mut never_stopped = ResolvedModel::new();
        let expected: Vec<_> = calls.iter().map(|call| rules(&mut never_stopped, call)).collect();
        assert!(expected.iter().flatten().any(|hit| hit.starts_with("model.flapping")), "{expected:?}");

        // Stopped after every call: only what it emitted is known afterwards.
        let mut kept: Vec<(String, String)> = Vec::new();
        let mut told = Vec::new();
        for call in &calls {
            let mut detector = ResolvedModel::new();
            for (key, value) in &kept {
                detector.restore(key, value);
            }
            told.push(rules(&mut detector, call));
            detector.changes(&mut |change| {
                assert_eq!(change.detector, detector_name());
                kept.retain(|(key, _)| *key != change.key);
                kept.extend(change.text().map(|value| (change.key, value)));
            });
            detector.changes(&mut |change| panic!("told twice: {change:?}"));
        }
        assert_eq!((told, kept.len()), (expected, 2));

        let mut woken = ResolvedModel::new();
        for (key, value) in &kept {
            woken.restore(key, value);
        }
        let at = calls.last().unwrap().started_at;
        let known = |detector: &ResolvedModel| {
            let changes = detector.model_changes();
            changes.within("\"1\" ü", "api.openai.com", Api::ChatCompletions, "gpt-4o", at, u64::MAX)
        };
        assert_eq!(known(&woken), known(&never_stopped));
        assert!(known(&woken).is_some());
    }

    fn detector_name() -> &'static str {
        ResolvedModel::new().name()
    }

    #[test]
    fn an_entry_that_had_to_go_is_forgotten_and_nonsense_is_ignored() {
        let mut detector = ResolvedModel::new();
        detector.tracked = Table::new(1);
        for model in ["a-1", "b-1"] {
            rules(&mut detector, &call("openai", model, &format!("{model}-2024-08-06"), 0));
        }
        let mut changes = Vec::new();
        detector.changes(&mut |change| changes.push((change.key.contains("a-1"), change.record.is_some())));
        assert_eq!(changes, [(true, false), (false, true)]);

        let key = r#"["s","h","chat_completions","m"]"#;
        let too_many = format!(r#"{{"answers":[{}],"flapping":false}}"#, [r#"["x",1,1]"#; MAX_ANSWERS + 1].join(","));
        let long = "x".repeat(MAX_ID_BYTES + 1);
        let too_long = format!(r#"{{"answers":[["x",1,1]],"flapping":false,"last_change":["a","{long}",1]}}"#);
        for (key, value) in [
            ("no JSON", r#"{"answers":[["x",1,1]],"flapping":false}"#),
            (key, "{}"),
            (key, r#"{"answers":[],"flapping":false}"#),
            (key, too_many.as_str()),
            (key, too_long.as_str()),
        ] {
            detector.restore(key, value);
        }
        assert_eq!(detector.tracked.len(), 1);
        // What the version before this one wrote.
        detector.tracked = Table::new(2);
        detector.restore(key, r#"{"answers":[["x",1,1]],"flapping":false}"#);
        assert_eq!(detector.tracked.len(), 1);
    }
}
