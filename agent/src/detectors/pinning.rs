//! Finds calls that ask for a model which can change, or which is at its end. Enters: an exchange. Leaves: `model.unpinned`,
//! `model.unpinnable`, `model.retiring`, `model.retired`. It holds no state, looks at no text, and knows no id: the rules do. An id
//! that no rule knows is not told: it says nothing about the call.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Behaviour, Detector, Hit};
use crate::{
    exchange::{Api, Exchange},
    rules::{
        ModelRules,
        models::{Class, End, Pin, Shutdown},
    },
    units::Severity,
};

/// The detector.
#[derive(Clone, Debug)]
pub struct Pinning {
    rules: Arc<ModelRules>,
}

impl Pinning {
    /// A detector that judges by `rules`.
    pub fn new(rules: Arc<ModelRules>) -> Self {
        Self { rules }
    }
}

impl Detector for Pinning {
    fn reload(&mut self, models: &Arc<ModelRules>) {
        self.rules = Arc::clone(models);
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let (Some(vendor), Some((model, _))) = (exchange.paid_vendor(), requested(exchange)) else {
            return;
        };
        // Counting tokens makes no answer that could change; the call that is counted for will be seen.
        if exchange.api == Api::CountTokens {
            return;
        }
        let class = self.rules.classify(vendor, model, exchange.started_at);
        // The id that answers is the only thing to be known about a name that hides the model.
        let resolved = exchange.response_model.as_deref().filter(|_| class.pin == Pin::Opaque);
        let behind = resolved.and_then(|id| Some((id, self.rules.behind(vendor, id, exchange.started_at)?)));
        // An id that the vendor refused may be a slip of the pen: nothing will change under anybody.
        if !matches!(exchange.status, Some(400 | 404 | 422)) {
            match class.pin {
                Pin::Alias | Pin::Latest | Pin::Preview => {
                    emit(Hit::Behaviour(self.unpinned(exchange, vendor, model, &class)));
                }
                // A call that failed says nothing about what is behind the name; those that answer will.
                Pin::Opaque if !exchange.succeeded() && resolved.is_none() => {}
                Pin::Opaque => emit(Hit::Behaviour(hidden(exchange, model, &class, behind.as_ref()))),
                Pin::Unpinnable => emit(Hit::Behaviour(unpinnable(exchange, model, &class))),
                Pin::Pinned | Pin::Unknown => {}
            }
        }
        match (&class.end, &behind) {
            (Some(end), _) => emit(Hit::Behaviour(ending(exchange, model, model, end))),
            (None, Some((id, Class { end: Some(end), .. }))) => emit(Hit::Behaviour(ending(exchange, model, id, end))),
            _ => {}
        }
    }
}

/// The model that a call asks for, and whether it is but the first of a list (`models` of OpenRouter).
pub(super) fn requested(exchange: &Exchange) -> Option<(&str, bool)> {
    let first = || exchange.asking.fallback_models.first().map(|model| (model.as_str(), true));
    exchange.request_model.as_deref().map(|model| (model, false)).or_else(first)
}

impl Pinning {
    fn unpinned<'a>(&self, exchange: &'a Exchange, vendor: &str, model: &str, class: &Class<'_>) -> Behaviour<'a> {
        let what = match class.pin {
            Pin::Latest => "follows the newest model",
            Pin::Preview => "is a preview",
            _ => "is an alias that can move",
        };
        let mut facts = facts(exchange, model, class);
        // With fallbacks it may have been one of them that answered.
        let resolved = exchange.response_model.as_deref().filter(|_| exchange.asking.fallback_models.is_empty());
        let resolved = resolved.filter(|id| !id.eq_ignore_ascii_case(model));
        let title = match resolved {
            Some(id) => {
                facts.push(("model.resolved", json!(id)));
                // Asking for it would pin the call: its vendor says so.
                if self.rules.classify(vendor, id, exchange.started_at).pin == Pin::Pinned {
                    facts.push(("model.suggested", json!(id)));
                }
                format!("`{model}` {what}; it answered as `{id}`")
            }
            None => format!("`{model}` {what}"),
        };
        Behaviour {
            rule: "model.unpinned",
            references: class.references.to_vec(),
            key: model.to_lowercase(),
            severity: class.severity,
            confidence: 95,
            title,
            case: None,
            facts,
            exchange,
        }
    }
}

fn facts(exchange: &Exchange, model: &str, class: &Class<'_>) -> Vec<(&'static str, Value)> {
    let mut facts = vec![
        ("model.requested", json!(model)),
        ("model.pin_class", json!(class.pin.as_str())),
        ("model.note", json!(class.note)),
    ];
    if requested(exchange).is_some_and(|(_, from_list)| from_list) {
        facts.push(("model.from_fallbacks", json!(true)));
    }
    facts
}

/// A name of somebody's own. A snapshot that answers says which model it is, and the name can be pointed elsewhere all the same: less
/// grave, not nothing. An id that answers and can move itself is as grave as that id.
fn hidden<'a>(
    exchange: &'a Exchange,
    model: &str,
    class: &Class<'_>,
    behind: Option<&(&str, Class<'_>)>,
) -> Behaviour<'a> {
    let mut facts = facts(exchange, model, class);
    let (severity, title) = match behind {
        None => (class.severity, format!("`{model}` hides which model answers")),
        Some((id, behind)) => {
            facts.push(("model.resolved", json!(id)));
            facts.push(("model.resolved_pin_class", json!(behind.pin.as_str())));
            let severity = match behind.pin {
                Pin::Pinned | Pin::Unpinnable => class.severity.min(Severity::Low),
                _ => class.severity.max(behind.severity),
            };
            (severity, format!("`{model}` is a name that can be pointed at another model; it answered as `{id}`"))
        }
    };
    Behaviour {
        rule: "model.unpinned",
        references: class.references.to_vec(),
        key: model.to_lowercase(),
        severity,
        confidence: 90,
        title,
        case: Some("deployment"),
        facts,
        exchange,
    }
}

/// Told once a service: no other id of this vendor would be better.
fn unpinnable<'a>(exchange: &'a Exchange, model: &str, class: &Class<'_>) -> Behaviour<'a> {
    Behaviour {
        rule: "model.unpinnable",
        references: class.references.to_vec(),
        key: String::new(),
        severity: class.severity,
        confidence: 90,
        title: format!("`{model}` may change: its vendor has no id for it that stays the same"),
        case: None,
        facts: facts(exchange, model, class),
        exchange,
    }
}

/// `requested` was asked for; `id`, the same or what answered for it, is the one that ends.
fn ending<'a>(exchange: &'a Exchange, requested: &str, id: &str, end: &End<'_>) -> Behaviour<'a> {
    let Shutdown { date, is_listed, .. } = end.shutdown;
    let whom = if id == requested { format!("`{id}`") } else { format!("`{id}`, which answers for `{requested}`,") };
    let (rule, title) = if end.is_past() {
        let what = if *is_listed { "is listed as shut down on" } else { "was to be shut down on" };
        ("model.retired", format!("{whom} {what} {date}"))
    } else {
        let days = end.days_left;
        let unit = if days == 1 { "day" } else { "days" };
        let what = if *is_listed { "is listed to be shut down on" } else { "will be shut down on" };
        ("model.retiring", format!("{whom} {what} {date}, in {days} {unit}"))
    };
    let answered = exchange.succeeded();
    let mut facts = vec![
        ("model.requested", json!(requested)),
        ("model.shutdown_date", json!(date)),
        ("model.shutdown_source", json!(if *is_listed { "list" } else { "vendor" })),
        ("model.days_left", json!(end.days_left)),
        ("model.still_answers", json!(answered)),
    ];
    if id != requested {
        facts.push(("model.resolved", json!(id)));
    }
    if let Some(replacement) = &end.shutdown.replacement {
        facts.push(("model.replacement", json!(replacement)));
    }
    // A vendor can put a date off. An answer after the date says that this one did; the calls are safe for now. A listed date that
    // is past may have been the first possible one.
    let put_off = end.is_past() && answered;
    let (severity, confidence) = match (put_off, *is_listed) {
        (true, true) => (end.severity.min(Severity::Low), 30),
        (true, false) => (end.severity.min(Severity::High), 60),
        (false, true) => (end.severity, 60),
        (false, false) => (end.severity, 90),
    };
    Behaviour {
        rule,
        references: end.shutdown.references.clone(),
        key: requested.to_lowercase(),
        severity,
        confidence,
        title,
        case: is_listed.then_some("listed"),
        facts,
        exchange,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exchange::sample, rules::RuleSource};

    fn detector() -> Pinning {
        Pinning::new(Arc::new(ModelRules::load(&RuleSource::Embedded).unwrap()))
    }

    fn seen(exchange: &Exchange) -> Vec<(&'static str, Severity, String)> {
        let mut detector = detector();
        let mut seen = Vec::new();
        detector.inspect(exchange, &mut |hit| match hit {
            Hit::Behaviour(hit) => seen.push((hit.rule, hit.severity, hit.title)),
            Hit::Leak(_) => panic!("this detector knows no leaks"),
        });
        seen
    }

    #[test]
    fn models_that_can_change_are_reported() {
        let cases = [
            (
                "openai",
                "gpt-5.6-sol",
                "gpt-5.6-sol",
                vec![("model.unpinned", Severity::Medium, "`gpt-5.6-sol` is an alias that can move")],
            ),
            (
                "openai",
                "gpt-4o",
                "gpt-4o-2024-08-06",
                vec![
                    (
                        "model.unpinned",
                        Severity::Medium,
                        "`gpt-4o` is an alias that can move; it answered as `gpt-4o-2024-08-06`",
                    ),
                    ("model.retiring", Severity::Medium, "`gpt-4o` will be shut down on 2027-01-14, in 52 days"),
                ],
            ),
            (
                "openai",
                "gpt-4-turbo",
                "gpt-4-turbo-2024-04-09",
                vec![
                    (
                        "model.unpinned",
                        Severity::Medium,
                        "`gpt-4-turbo` is an alias that can move; it answered as `gpt-4-turbo-2024-04-09`",
                    ),
                    ("model.retired", Severity::High, "`gpt-4-turbo` was to be shut down on 2026-10-23"),
                ],
            ),
            (
                "openai",
                "gpt-5-chat-latest",
                "gpt-5-chat-latest",
                vec![
                    ("model.unpinned", Severity::High, "`gpt-5-chat-latest` follows the newest model"),
                    // The list's date is past and it still answers: the list may be wrong.
                    ("model.retired", Severity::Low, "`gpt-5-chat-latest` is listed as shut down on 2026-07-23"),
                ],
            ),
            (
                "anthropic",
                "claude-haiku-4-5",
                "claude-haiku-4-5-20251001",
                vec![(
                    "model.unpinned",
                    Severity::Medium,
                    "`claude-haiku-4-5` is an alias that can move; it answered as `claude-haiku-4-5-20251001`",
                )],
            ),
            (
                "azure",
                "my-deployment",
                "gpt-4.1-mini-2025-04-14",
                vec![(
                    "model.unpinned",
                    Severity::Low,
                    "`my-deployment` is a name that can be pointed at another model; it answered as `gpt-4.1-mini-2025-04-14`",
                )],
            ),
            (
                "azure",
                "gpt-5-mini",
                "gpt-5-mini",
                vec![(
                    "model.unpinned",
                    Severity::Medium,
                    "`gpt-5-mini` is a name that can be pointed at another model; it answered as `gpt-5-mini`",
                )],
            ),
            (
                "azure",
                "my-deployment",
                "nobody-knows-this",
                vec![("model.unpinned", Severity::Medium, "`my-deployment` hides which model answers")],
            ),
            (
                "azure",
                "my-deployment",
                "o3-mini-2025-01-31",
                vec![
                    (
                        "model.unpinned",
                        Severity::Low,
                        "`my-deployment` is a name that can be pointed at another model; it answered as `o3-mini-2025-01-31`",
                    ),
                    (
                        "model.retired",
                        Severity::Low,
                        "`o3-mini-2025-01-31`, which answers for `my-deployment`, is listed as shut down on 2026-11-19",
                    ),
                ],
            ),
            (
                "deepseek",
                "deepseek-v4-flash",
                "deepseek-v4-flash",
                vec![(
                    "model.unpinnable",
                    Severity::Info,
                    "`deepseek-v4-flash` may change: its vendor has no id for it that stays the same",
                )],
            ),
            (
                "openai",
                "gpt-image-1.5",
                "gpt-image-1.5",
                vec![
                    ("model.unpinned", Severity::Medium, "`gpt-image-1.5` is an alias that can move"),
                    (
                        "model.retiring",
                        Severity::Medium,
                        "`gpt-image-1.5` is listed to be shut down on 2026-12-01, in 8 days",
                    ),
                ],
            ),
        ];
        for (vendor, requested, resolved, expected) in cases {
            let mut exchange = sample::exchange(vendor, requested);
            exchange.response_model = Some(resolved.into());
            let seen = seen(&exchange);
            let seen: Vec<_> = seen.iter().map(|(rule, severity, title)| (*rule, *severity, title.as_str())).collect();
            assert_eq!(seen, expected, "{requested}");
        }
    }

    #[test]
    fn what_cannot_change_is_not_reported() {
        // "No date in the id" is not "unpinned"; unknown ids are no news.
        let cases = [
            ("openai", "gpt-5.4-2026-03-05"),
            ("openai", "ft:gpt-5.4-2026-03-05:acme::x"),
            ("openai", "acme-private-model"),
            ("anthropic", "claude-sonnet-4-6"),
            ("anthropic", "claude-opus-5-5"),
            ("nobody", "gpt-4o"),
            ("gemini", "gemini-3.5-flash"),
            ("aws_bedrock", "us.anthropic.claude-opus-4-8"),
            ("aws_bedrock", "us.amazon.nova-2-lite-v1:0"),
            ("mistral", "mistral-large-2512"),
            ("cohere", "command-a-03-2025"),
            ("xai", "grok-4.3"),
            ("groq", "moonshotai/kimi-k2-instruct-0905"),
        ];
        for (vendor, model) in cases {
            assert_eq!(seen(&sample::exchange(vendor, model)), [], "{vendor} {model}");
        }
        let unlisted = Exchange { vendor: None, ..sample::exchange("openai", "gpt-4o") };
        let unread = Exchange { request_model: None, ..sample::exchange("openai", "gpt-4o") };
        // A server of one's own serves what its owner pulled.
        let at_home = Exchange { host: "localhost".into(), ..sample::exchange("ollama", "llama3:latest") };
        let busy = Exchange { status: Some(429), response_model: None, ..sample::exchange("azure", "my-deployment") };
        let counting = Exchange { api: Api::CountTokens, ..sample::exchange("anthropic", "claude-sonnet-4-5") };
        for exchange in [unlisted, unread, at_home, counting, busy] {
            assert_eq!(seen(&exchange), []);
        }
    }

    #[test]
    fn what_cannot_be_pinned_is_one_finding_a_service_and_api() {
        let keys = |model: &str| {
            let (mut detector, exchange) = (detector(), sample::exchange("groq", model));
            let mut keys = Vec::new();
            detector.inspect(&exchange, &mut |hit| match hit {
                Hit::Behaviour(hit) => keys.push((hit.rule, hit.key)),
                Hit::Leak(_) => panic!("this detector knows no leaks"),
            });
            keys
        };
        let one = [("model.unpinnable", String::new())];
        assert_eq!((keys("openai/gpt-oss-120b"), keys("llama-3.3-70b-versatile")), (one.to_vec(), one.to_vec()));
    }

    #[test]
    fn what_to_ask_for_instead_is_only_said_where_it_would_pin_and_a_list_without_a_first_choice_is_read() {
        let facts = |exchange: &Exchange| {
            let (mut detector, mut facts) = (detector(), Vec::new());
            detector.inspect(exchange, &mut |hit| match hit {
                Hit::Behaviour(hit) => {
                    facts.extend(hit.facts.into_iter().map(|(name, value)| (name, value.to_string())));
                }
                Hit::Leak(_) => panic!("this detector knows no leaks"),
            });
            facts
                .into_iter()
                .filter(|(name, _)| ["model.suggested", "model.from_fallbacks"].contains(name))
                .collect::<Vec<_>>()
        };
        let answered = |vendor, requested, resolved: &str| Exchange {
            response_model: Some(resolved.to_owned()),
            ..sample::exchange(vendor, requested)
        };
        let pinned: Vec<(&str, String)> = vec![("model.suggested", "\"gpt-5.4-2026-03-05\"".into())];
        assert_eq!(facts(&answered("openai", "gpt-5.4", "gpt-5.4-2026-03-05")), pinned);
        assert_eq!(facts(&answered("openrouter", "openai/gpt-5-mini", "openai/gpt-5-mini-2025-08-07")), []);
        let mut unnamed = Exchange { request_model: None, ..sample::exchange("openrouter", "x") };
        unnamed.asking.fallback_models = vec!["openai/gpt-5-mini".into(), "x-ai/grok-4".into()];
        assert_eq!(facts(&unnamed), [("model.from_fallbacks", "true".to_owned())]);
    }

    #[test]
    fn a_refused_model_is_only_reported_when_it_is_retired() {
        let refused = |model| Exchange {
            status: Some(404),
            error: Some("model_not_found".into()),
            ..sample::exchange("openai", model)
        };
        assert_eq!(seen(&refused("gpt-7-latest")), []);
        let expected = ("model.retired", Severity::Critical, "`gpt-4` was to be shut down on 2026-10-23".to_owned());
        assert_eq!(seen(&refused("gpt-4")), [expected]);
        let busy = Exchange { status: Some(429), ..sample::exchange("openai", "gpt-5.6-sol") };
        assert_eq!(seen(&busy).len(), 1, "a busy vendor does not pin the model");
    }
}
