//! Finds models that change under their name. Enters: exchanges, in order. Leaves: `model.substituted` (another model
//! answered than was asked), `model.resolved_changed` (the same id is answered by another model than before) and
//! `model.flapping` (it goes back and forth). It never alarms on `system_fingerprint`: one pinned snapshot had 39 values.
//!
//! State: for each (service, host, api, requested id) the ids that answered, in a table of [`MAX_TRACKED`] entries with at
//! most [`MAX_ANSWERS`] ids each; the least recently used entry goes first. The state survives a restart, a key an entry (`state.rs`).

use serde_json::json;

use super::{Behaviour, Detector, Hit, StateChange};
use crate::{
    exchange::{Api, Exchange},
    lru::Lru,
    units::{Severity, Timestamp},
};

mod identity;
mod state;

pub(super) use identity::plain_id;
use identity::{Identity, is_same_model};

/// Bound of the table.
const MAX_TRACKED: usize = 4096;

/// Bound of the ids that are remembered for one entry.
const MAX_ANSWERS: usize = 8;

/// Ids longer than this are not tracked: no vendor has such, and state must not grow with what a peer sends.
const MAX_ID_BYTES: usize = 256;

/// Going back to an earlier answer within this time is flapping (a rollout in progress), later it is a change of its own.
const FLAPPING_NS: u64 = 60 * 60 * 1_000_000_000;

/// The detector.
#[derive(Debug)]
pub struct ResolvedModel {
    tracked: Lru<Key, Track>,
    /// Keys whose entry changed, or went, since somebody asked. As bounded as the table.
    changed: Lru<Key, ()>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    service: String,
    host: String,
    api: Api,
    requested: String,
}

#[derive(Debug)]
struct Track {
    /// Ids that answered, the current one last.
    answers: Vec<Answer>,
    flapping: bool,
}

#[derive(Debug)]
struct Answer {
    id: String,
    calls: u64,
    last_at: Timestamp,
}

/// What an answer means, given those before it.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    None,
    Changed { from: String, calls: u64 },
    Flapping { from: String },
}

impl ResolvedModel {
    /// A detector that has seen nothing yet.
    pub fn new() -> Self {
        Self { tracked: Lru::new(MAX_TRACKED), changed: Lru::new(MAX_TRACKED) }
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
        let (Some(requested), Some(resolved)) = (exchange.request_model.as_deref(), exchange.response_model.as_deref())
        else {
            return;
        };
        if requested.len().max(resolved.len()) > MAX_ID_BYTES {
            return;
        }
        let (asked, answered) = (Identity::of(requested), Identity::of(resolved));
        if promises_a_model(exchange, &asked) && !is_same_model(&asked, &answered) {
            emit(Hit::Behaviour(substituted(exchange, requested, resolved)));
        }
        // An echo is no proof of anything: vendors answer with the alias on some calls and the snapshot on others.
        if answered.id == asked.id && !asked.is_snapshot() {
            return;
        }
        let key = Key {
            service: exchange.origin.service.clone(),
            host: exchange.host.clone(),
            api: exchange.api,
            requested: asked.id,
        };
        match self.track(key, answered.id, exchange.started_at) {
            Change::None => {}
            Change::Changed { from, calls } => {
                emit(Hit::Behaviour(changed(exchange, requested, &from, resolved, calls)));
            }
            Change::Flapping { from } => emit(Hit::Behaviour(flapping(exchange, requested, &from, resolved))),
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        while let Some((key, ())) = self.changed.pop() {
            let value = self.tracked.touch(&key).map(|track| state::value(track));
            emit(StateChange { detector: state::NAME, key: state::key(&key), value });
        }
    }

    fn restore(&mut self, key: &str, value: &str) {
        if let (Some(key), Some(track)) = (state::read_key(key), state::read_value(value)) {
            self.tracked.insert(key, track);
        }
    }
}

impl ResolvedModel {
    fn track(&mut self, key: Key, id: String, at: Timestamp) -> Change {
        self.changed.insert(key.clone(), ());
        let Some(track) = self.tracked.touch(&key) else {
            let answers = vec![Answer { id, calls: 1, last_at: at }];
            if let Some((gone, _)) = self.tracked.insert(key, Track { answers, flapping: false }) {
                self.changed.insert(gone, ());
            }
            return Change::None;
        };
        track.see(id, at)
    }
}

impl Track {
    fn see(&mut self, id: String, at: Timestamp) -> Change {
        let before = match self.answers.last_mut() {
            Some(current) if current.id == id => {
                current.calls += 1;
                current.last_at = at;
                return Change::None;
            }
            Some(current) => (current.id.clone(), current.calls),
            None => return Change::None,
        };
        let known = self.answers.iter().position(|answer| answer.id == id);
        let recently = known
            .and_then(|index| self.answers.get(index))
            .is_some_and(|answer| at.since_ns(answer.last_at) <= FLAPPING_NS);
        let calls = known.map_or(1, |index| self.answers.remove(index).calls + 1);
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.remove(0);
        }
        self.answers.push(Answer { id, calls, last_at: at });
        let (from, from_calls) = before;
        if !recently {
            self.flapping = false;
            return Change::Changed { from, calls: from_calls };
        }
        if std::mem::replace(&mut self.flapping, true) { Change::None } else { Change::Flapping { from } }
    }
}

/// A deployment, a router or a pointer to the newest promises no model, so none can be put in its place. So does a host that
/// no file lists: it may be a gateway with names of its own.
fn promises_a_model(exchange: &Exchange, asked: &Identity) -> bool {
    exchange.paid_vendor().is_some_and(|vendor| !vendor.starts_with("azure")) && asked.names_a_model()
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

        let changed = call("openai", "gpt-4o", "gpt-4o-2024-11-20", 3);
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
        let names: Vec<&str> = told.iter().filter_map(|hit| hit.split(':').next()).collect();
        assert_eq!(names, ["model.resolved_changed", "model.flapping"]);
        // A third model is news, and so is a return after the rollout is long over.
        let third = rules(&mut detector, &call("openai", "gpt-4o", "gpt-4o-2025-03-26", 41));
        assert_eq!(third.len(), 1);
        let back = rules(&mut detector, &call("openai", "gpt-4o", "gpt-4o-2024-08-06", 41 + 600));
        assert!(back.len() == 1 && back.iter().all(|hit| hit.starts_with("model.resolved_changed")), "{back:?}");
    }

    #[test]
    fn a_pinned_id_that_starts_to_answer_as_another_is_both() {
        let mut detector = ResolvedModel::new();
        assert_eq!(
            rules(&mut detector, &call("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20250929", 0)),
            [""; 0]
        );
        let seen = rules(&mut detector, &call("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-5-5", 1));
        assert_eq!(seen.len(), 2, "{seen:?}");
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
                call.origin = std::sync::Arc::new(crate::sources::Origin {
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
                kept.extend(change.value.map(|value| (change.key, value)));
            });
            detector.changes(&mut |change| panic!("told twice: {change:?}"));
        }
        assert_eq!((told, kept.len()), (expected, 2));
    }

    fn detector_name() -> &'static str {
        ResolvedModel::new().name()
    }

    #[test]
    fn an_entry_that_had_to_go_is_forgotten_and_nonsense_is_ignored() {
        let mut detector = ResolvedModel::new();
        detector.tracked = Lru::new(1);
        for model in ["a-1", "b-1"] {
            rules(&mut detector, &call("openai", model, &format!("{model}-2024-08-06"), 0));
        }
        let mut changes = Vec::new();
        detector.changes(&mut |change| changes.push((change.key.contains("a-1"), change.value.is_some())));
        assert_eq!(changes, [(false, true), (true, false)]);

        let key = r#"["s","h","chat_completions","m"]"#;
        let too_many = format!(r#"{{"answers":[{}],"flapping":false}}"#, [r#"["x",1,1]"#; MAX_ANSWERS + 1].join(","));
        for (key, value) in [
            ("no JSON", r#"{"answers":[["x",1,1]],"flapping":false}"#),
            (key, "{}"),
            (key, r#"{"answers":[],"flapping":false}"#),
            (key, too_many.as_str()),
        ] {
            detector.restore(key, value);
        }
        assert_eq!(detector.tracked.len(), 1);
    }
}
