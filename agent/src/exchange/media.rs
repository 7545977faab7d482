//! Images, speech and transcription (OpenAI's shapes). Enters: an answer, whole or as events; one that is an image or a sound
//! has no facts. Leaves: facts, and the text of a streamed transcription at the path that the whole answer would have
//! (`$.text`). What is billed by the second or by the image has no tokens, and none are made up for it.

use serde_json::Value;

use super::{
    facts::{Facts, Seen},
    path::Path,
    stream::Stream,
    text::{Joined, Mode},
    usage,
};

/// Reads a whole answer.
pub(super) fn answer(doc: &Value, facts: &mut Facts) {
    facts.envelope(doc);
    // Those that count tokens do it as responses do; Whisper and its like count seconds (`"type":"duration"`).
    usage::take(facts, doc.get("usage"), usage::responses);
}

/// A streamed answer. No state but the facts: `image_generation.completed`, `speech.audio.done` and `transcript.text.done` carry
/// the usage, once, and end the stream.
#[derive(Debug, Default)]
pub(super) struct Events {
    facts: Facts,
}

impl Stream for Events {
    fn event(&mut self, name: &str, doc: &Value, joined: &mut Joined) {
        answer(doc, &mut self.facts);
        let kind = doc.get("type").and_then(Value::as_str).unwrap_or(name);
        let Some(map) = doc.as_object() else { return };
        for (key, value) in map.iter().filter(|(key, _)| *key != "type") {
            let is_piece = kind == "transcript.text.delta" && key == "delta";
            let mut path = Path::new("$");
            path.key(if is_piece { "text" } else { key });
            joined.walk(value, &mut path, key, if is_piece { Mode::Append } else { Mode::Set });
        }
    }

    fn finish(self: Box<Self>, _: Seen, _: &mut Joined) -> Facts {
        self.facts
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::exchange::Usage;

    #[test]
    fn tokens_are_counted_and_seconds_are_not() {
        for (doc, expected) in [
            (
                json!({"usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59,
                    "input_token_details":{"audio_tokens":14}}}),
                Usage { input_tokens: Some(14), output_tokens: Some(45), ..Usage::default() },
            ),
            (json!({"text":"hi","usage":{"type":"duration","seconds":3}}), Usage::default()),
            (json!({"text":"hi"}), Usage::default()),
        ] {
            let mut facts = Facts::default();
            answer(&doc, &mut facts);
            assert_eq!(facts.usage, expected, "{doc}");
        }
    }
}
