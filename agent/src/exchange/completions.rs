//! Completions of a prompt: OpenAI's legacy call and all that are compatible with it, Anthropic's and IBM's older ones, Cohere's
//! `generate`. Enters: an answer, whole or as events. Leaves: facts, and the text of a streamed answer at the paths that the
//! whole answer would have (`$.choices[0].text`). Tools are unknown to this shape.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Usage,
    facts::{Facts, MAX_LISTED, Seen, count, elements, replace, text},
    path::Path,
    stream::Stream,
    text::{Joined, Mode},
    usage,
};

/// Reads a whole answer.
pub(super) fn answer(doc: &Value, facts: &mut Facts) {
    facts.envelope(doc);
    replace(&mut facts.response_model, text(doc, "model_id"));
    for choice in elements(doc, "choices").iter().take(MAX_LISTED) {
        facts.finish_reasons.extend(text(choice, "finish_reason"));
    }
    // IBM.
    for result in elements(doc, "results").iter().take(MAX_LISTED) {
        facts.finish_reasons.extend(text(result, "stop_reason"));
    }
    // Anthropic.
    facts.finish_reasons.extend(text(doc, "stop_reason"));
    counted(doc, facts);
}

fn counted(doc: &Value, facts: &mut Facts) {
    usage::take(facts, doc.get("usage"), usage::chat);
    // Cohere counts in the meta of a whole answer, and of the last event of a stream; what it bills is what it counts here.
    let last = doc.get("response").unwrap_or(doc);
    if let Some(units) = last.get("meta").and_then(|meta| meta.get("billed_units")).filter(|units| units.is_object()) {
        facts.usage = Usage {
            input_tokens: count(units, &["input_tokens"]),
            output_tokens: count(units, &["output_tokens"]),
            ..Usage::default()
        };
    }
    let results = elements(doc, "results");
    if let [result] = results {
        facts.usage = Usage {
            input_tokens: count(result, &["input_token_count"]),
            output_tokens: count(result, &["generated_token_count"]),
            ..Usage::default()
        };
    }
}

/// A streamed answer. State: one entry a choice, at most [`MAX_LISTED`], and the last event that counts.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    facts: Facts,
    last: Option<Value>,
    reasons: BTreeMap<u64, String>,
    done: bool,
}

impl Stream for Chunks {
    fn event(&mut self, _: &str, doc: &Value, joined: &mut Joined) {
        self.facts.envelope(doc);
        replace(&mut self.facts.response_model, text(doc, "model_id"));
        let counts = |key: &str| doc.get(key).is_some_and(Value::is_object);
        if ["usage", "meta", "response"].iter().any(|key| counts(key)) {
            self.last = Some(doc.clone());
        }
        if let Some(reason) = text(doc, "stop_reason") {
            self.reasons.insert(0, reason);
        }
        for (list, reason) in [("choices", "finish_reason"), ("results", "stop_reason")] {
            for (position, choice) in elements(doc, list).iter().enumerate() {
                let index = choice.get("index").and_then(Value::as_u64).unwrap_or(position as u64);
                if let Some(reason) = text(choice, reason)
                    && self.reasons.len() < MAX_LISTED
                    && reason != "not_finished"
                {
                    self.reasons.insert(index, reason);
                }
                let mut path = Path::new("$");
                path.key(list);
                path.index(usize::try_from(index).unwrap_or(usize::MAX));
                joined.walk(choice, &mut path, "", Mode::Append);
            }
        }
        let Some(map) = doc.as_object() else { return };
        for (key, value) in map.iter().filter(|(key, _)| !matches!(key.as_str(), "choices" | "results")) {
            let mut path = Path::new("$");
            path.key(key);
            let piece = matches!(key.as_str(), "text" | "completion");
            joined.walk(value, &mut path, key, if piece { Mode::Append } else { Mode::Set });
        }
    }

    fn done(&mut self) {
        self.done = true;
    }

    fn finish(mut self: Box<Self>, seen: Seen, _: &mut Joined) -> Facts {
        if (self.done || seen == Seen::Whole)
            && let Some(last) = &self.last
        {
            counted(last, &mut self.facts);
        }
        self.facts.finish_reasons = self.reasons.into_values().collect();
        self.facts
    }
}
