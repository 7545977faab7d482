//! Finds calls that ask for a model which can change, or which is at its end. Enters: an exchange. Leaves: `model.unpinned`,
//! `model.retiring`, `model.retired`. It holds no state, looks at no text, and knows no id: the rules do.

use std::sync::Arc;

use serde_json::json;

use super::{Behaviour, Detector, Hit};
use crate::{
    exchange::Exchange,
    rules::{
        ModelRules,
        models::{Class, End, Pin},
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
        let (Some(vendor), Some(model)) = (exchange.paid_vendor(), exchange.request_model.as_deref()) else {
            return;
        };
        let class = self.rules.classify(vendor, model, exchange.started_at);
        // An id that the vendor refused may be a slip of the pen: nothing will change under anybody.
        let refused = matches!(exchange.status, Some(400 | 404 | 422));
        if !refused && matches!(class.pin, Pin::Alias | Pin::Latest | Pin::Preview) {
            emit(Hit::Behaviour(unpinned(exchange, model, &class)));
        }
        if let Some(end) = &class.end {
            emit(Hit::Behaviour(ending(exchange, model, end)));
        }
    }
}

fn unpinned<'a>(exchange: &'a Exchange, model: &str, class: &Class<'_>) -> Behaviour<'a> {
    let what = match class.pin {
        Pin::Latest => "follows the newest model",
        Pin::Preview => "is a preview",
        _ => "is an alias that can move",
    };
    let mut facts = vec![
        ("model.requested", json!(model)),
        ("model.pin_class", json!(class.pin.as_str())),
        ("model.note", json!(class.note)),
    ];
    let title = match suggestion(exchange, model) {
        Some(dated) => {
            facts.push(("model.suggested", json!(dated)));
            format!("`{model}` {what}; it answered as `{dated}`")
        }
        None => format!("`{model}` {what}"),
    };
    Behaviour {
        rule: "model.unpinned",
        rule_title: "Model identifier that can change",
        references: class.references.to_vec(),
        key: model.to_lowercase(),
        severity: class.severity,
        confidence: 95,
        title,
        remedy: "Ask for a dated model id and move to the next one on purpose, after your own tests.",
        facts,
        exchange,
    }
}

/// The id that answered, when asking for it would pin the call: it goes on from the requested one with a date.
fn suggestion<'a>(exchange: &'a Exchange, requested: &str) -> Option<&'a str> {
    let resolved = exchange.response_model.as_deref()?;
    let digits =
        resolved.bytes().rev().take_while(|byte| byte.is_ascii_digit() || *byte == b'-').filter(u8::is_ascii_digit);
    (!resolved.eq_ignore_ascii_case(requested) && digits.count() >= 4).then_some(resolved)
}

fn ending<'a>(exchange: &'a Exchange, model: &str, end: &End<'_>) -> Behaviour<'a> {
    let date = &end.shutdown.date;
    let (rule, rule_title, title) = if end.is_past() {
        ("model.retired", "Model past its shut-down date", format!("`{model}` was to be shut down on {date}"))
    } else {
        let days = end.days_left;
        let unit = if days == 1 { "day" } else { "days" };
        (
            "model.retiring",
            "Model near its shut-down date",
            format!("`{model}` will be shut down on {date}, in {days} {unit}"),
        )
    };
    let answered = exchange.succeeded();
    let mut facts = vec![
        ("model.requested", json!(model)),
        ("model.shutdown_date", json!(date)),
        ("model.days_left", json!(end.days_left)),
        ("model.still_answers", json!(answered)),
    ];
    if let Some(replacement) = &end.shutdown.replacement {
        facts.push(("model.replacement", json!(replacement)));
    }
    // A vendor can put a date off. An answer after the date says that this one did; the calls are safe for now.
    let put_off = end.is_past() && answered;
    Behaviour {
        rule,
        rule_title,
        references: end.shutdown.references.clone(),
        key: model.to_lowercase(),
        severity: if put_off { end.severity.min(Severity::High) } else { end.severity },
        confidence: if put_off { 60 } else { 90 },
        title,
        remedy: "Move to the replacement that the vendor names, or to another dated model id, before calls fail.",
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
                vec![("model.unpinned", Severity::High, "`gpt-5-chat-latest` follows the newest model")],
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
        // "No date in the id" is not "unpinned"; one-version ids and unknown ids are no news.
        let cases = [
            ("openai", "gpt-5.4-2026-03-05"),
            ("openai", "ft:gpt-5.4-2026-03-05:acme::x"),
            ("openai", "text-embedding-3-small"),
            ("openai", "acme-private-model"),
            ("anthropic", "claude-sonnet-4-6"),
            ("anthropic", "claude-opus-5-5"),
            ("nobody", "gpt-4o"),
        ];
        for (vendor, model) in cases {
            assert_eq!(seen(&sample::exchange(vendor, model)), [], "{vendor} {model}");
        }
        let unlisted = Exchange { vendor: None, ..sample::exchange("openai", "gpt-4o") };
        let unread = Exchange { request_model: None, ..sample::exchange("openai", "gpt-4o") };
        assert_eq!((seen(&unlisted), seen(&unread)), (vec![], vec![]));
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
