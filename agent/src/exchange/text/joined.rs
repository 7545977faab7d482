//! Text that comes in parts. Enters: the strings of the events of a stream, each with its path. Leaves: the same as if they had come
//! whole: parts of a text are put together, what replaces another text does not hide it. Never more paths than there are leaves.

use std::collections::HashMap;

use serde_json::{Number, Value};

use super::{
    super::{
        Leaves, json,
        key::{is_key_text, is_time},
        path::Path,
        tree::Node,
    },
    MAX_LEAVES, Whole,
};

/// How a streamed string changes what stands at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exchange) enum Mode {
    /// It continues it.
    Append,
    /// It replaces it.
    Set,
}

/// Keys whose streamed strings are never parts of a longer text: they come whole, and some vendors repeat them in each event.
const WHOLE_KEYS: [&str; 12] = [
    "role",
    "type",
    "id",
    "name",
    "index",
    "format",
    "status",
    "object",
    "model",
    "finish_reason",
    "provider",
    "service_tier",
];

/// Numbers below this have fewer digits than [`json::is_number_text`] asks for.
const SHORT_NUMBERS: u64 = 100_000_000;
/// Longest such string that may be replaced without a trace.
const WORD_BYTES: usize = 64;

/// Text that comes in parts, joined by path.
#[derive(Debug, Default)]
pub(in crate::exchange) struct Joined {
    parts: Vec<Part>,
    by_path: HashMap<String, usize>,
    /// The part that was put last.
    last: usize,
    rest: String,
    /// Room for a path, kept from one event to the next.
    room: String,
}

#[derive(Debug)]
struct Part {
    path: String,
    key: String,
    text: String,
    is_word: bool,
    /// The part that came after this one the last time. Events of a stream are alike, so it is nearly always the next one
    /// again, and comparing its path is all that it takes to find it.
    then: usize,
}

impl Joined {
    /// A path to walk with, which is best given back with [`Joined::give_back`].
    pub(in crate::exchange) fn path(&mut self, root: &str) -> Path {
        Path::within(std::mem::take(&mut self.room), root)
    }

    /// The room of a path that is not needed any more.
    pub(in crate::exchange) fn give_back(&mut self, path: Path) {
        self.room = path.into_room();
    }

    fn find(&mut self, path: &str) -> Option<usize> {
        let then = self.parts.get(self.last).map_or(0, |last| last.then);
        if self.parts.get(then).is_some_and(|part| part.path == path) {
            self.last = then;
            return Some(then);
        }
        let index = *self.by_path.get(path)?;
        self.went_to(index);
        Some(index)
    }

    fn went_to(&mut self, index: usize) {
        if let Some(last) = self.parts.get_mut(self.last) {
            last.then = index;
        }
        self.last = index;
    }

    /// Takes a string at a path.
    pub(in crate::exchange) fn put(&mut self, path: &str, key: &str, text: &str, mode: Mode) {
        if text.is_empty() {
            return;
        }
        if key == "obfuscation" {
            return; // padding against traffic analysis: random, never the same
        }
        let is_room = self.parts.len() < MAX_LEAVES;
        match self.find(path).and_then(|index| self.parts.get_mut(index)) {
            Some(part) => {
                // The same path may have another key: an answer to a path that could not be told apart any more.
                let is_word = if part.key == key { part.is_word } else { WHOLE_KEYS.contains(&key) };
                if mode == Mode::Append && !is_word {
                    part.text.push_str(text);
                } else if part.text != text {
                    // What is replaced was sent all the same: unless the new text repeats it, it is scanned too.
                    if !text.starts_with(&part.text) && (!is_word || part.text.len() > WORD_BYTES) {
                        self.rest.push_str(&part.text);
                        self.rest.push('\n');
                    }
                    text.clone_into(&mut part.text);
                }
            }
            None if is_room => {
                let index = self.parts.len();
                self.by_path.insert(path.to_owned(), index);
                self.parts.push(Part {
                    path: path.to_owned(),
                    key: key.to_owned(),
                    text: text.to_owned(),
                    is_word: WHOLE_KEYS.contains(&key),
                    then: index + 1,
                });
                self.went_to(index);
            }
            None => {
                self.rest.push_str(text);
                self.rest.push('\n');
            }
        }
    }

    /// Takes all strings below a node, as [`Joined::walk`] does below a value.
    pub(in crate::exchange) fn walk_node(&mut self, node: Node<'_>, path: &mut Path, key: &str, mode: Mode) {
        let length = path.len();
        if let Some(text) = node.as_str() {
            self.put(path.as_str(), key, text, mode);
        } else if node.is_array() {
            for (position, element) in node.below().enumerate() {
                let own = element.get("index").and_then(Node::as_u64).filter(|_| mode == Mode::Append);
                path.index(own.and_then(|index| usize::try_from(index).ok()).unwrap_or(position));
                self.walk_node(element, path, "", mode);
                path.truncate(length);
            }
        } else if node.is_object() {
            for member in node.below() {
                path.key(member.key());
                if is_key_text(member.key()) {
                    self.put_name(path, member.key());
                }
                self.walk_node(member, path, member.key(), mode);
                path.truncate(length);
            }
        } else if let Some(number) = node.as_number() {
            self.put_number(path, key, number);
        }
    }

    fn put_name(&mut self, path: &mut Path, key: &str) {
        let length = path.len();
        path.name();
        self.put(path.as_str(), "", key, Mode::Set);
        path.truncate(length);
    }

    fn put_number(&mut self, path: &Path, key: &str, number: &Number) {
        if number.as_u64().is_some_and(|number| number < SHORT_NUMBERS) {
            return; // too short to be an identifier
        }
        let number = number.to_string();
        if json::is_number_text(&number) && !is_time(key) {
            self.put(path.as_str(), key, &number, Mode::Set);
        }
    }

    /// Takes all strings below a value. Elements that carry their own `index` stand there (streamed tool calls do).
    pub(in crate::exchange) fn walk(&mut self, value: &Value, path: &mut Path, key: &str, mode: Mode) {
        let length = path.len();
        match value {
            Value::String(text) => self.put(path.as_str(), key, text, mode),
            Value::Array(values) => {
                for (position, value) in values.iter().enumerate() {
                    let own = value.get("index").and_then(Value::as_u64).filter(|_| mode == Mode::Append);
                    path.index(own.and_then(|index| usize::try_from(index).ok()).unwrap_or(position));
                    self.walk(value, path, "", mode);
                    path.truncate(length);
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    path.key(key);
                    if is_key_text(key) {
                        self.put_name(path, key);
                    }
                    self.walk(value, path, key, mode);
                    path.truncate(length);
                }
            }
            Value::Number(number) => self.put_number(path, key, number),
            _ => {}
        }
    }

    /// The texts so far with their paths, in the order in which paths were first seen.
    pub(in crate::exchange) fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parts.iter().map(|part| (part.path.as_str(), part.text.as_str()))
    }

    /// The text at a path.
    pub(in crate::exchange) fn at(&self, path: &str) -> Option<&str> {
        self.by_path.get(path).and_then(|index| self.parts.get(*index)).map(|part| part.text.as_str())
    }

    /// Takes the text away from a path, to be read as something else.
    pub(in crate::exchange) fn take(&mut self, path: &str) -> Option<String> {
        let index = self.by_path.get(path)?;
        self.parts.get_mut(*index).map(|part| std::mem::take(&mut part.text)).filter(|text| !text.is_empty())
    }

    /// All of it, in the order in which paths were first seen.
    pub(in crate::exchange) fn finish(self) -> Leaves {
        let mut whole = Whole::default();
        for part in &self.parts {
            whole.add(&part.path, &part.key, &part.text);
        }
        whole.rest.push_str(&self.rest);
        whole.finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::REST_PATH, *};

    #[test]
    fn parts_are_joined_by_path() {
        let mut joined = Joined::default();
        for delta in [
            json!({"role":"assistant","content":"AK"}),
            json!({"role":"assistant","content":"IA"}),
            json!({"tool_calls":[{"index":1,"function":{"name":"f","arguments":"{\"a\":"}}]}),
            json!({"tool_calls":[{"index":1,"function":{"arguments":"1}"}}]}),
        ] {
            joined.walk(&delta, &mut Path::new("$.m"), "", Mode::Append);
        }
        let leaves = joined.finish();
        let mut found: Vec<_> = leaves.iter().map(|(path, range)| (path.to_owned(), &leaves.text()[range])).collect();
        found.sort();
        assert_eq!(
            found,
            [
                ("$.m.content".to_owned(), "AKIA"),
                ("$.m.role".to_owned(), "assistant"),
                ("$.m.tool_calls[1].function.arguments".to_owned(), "{\"a\":1}"),
                ("$.m.tool_calls[1].function.name".to_owned(), "f"),
            ]
        );
    }

    #[test]
    fn what_is_replaced_is_still_text() {
        let mut joined = Joined::default();
        for text in ["sec", "secret", "nothing"] {
            joined.put("$.a", "text", text, Mode::Set);
        }
        let leaves = joined.finish();
        let found: Vec<_> = leaves.iter().map(|(path, range)| (path, &leaves.text()[range])).collect();
        assert_eq!(found, [("$.a", "nothing"), (REST_PATH, "secret\n")]);
    }
}
