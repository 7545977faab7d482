//! Results of tools that a request hands back. Enters: the outline of a request, and while it was read the strings that the
//! outline does not hold. Leaves: [`ToolResult`]s, each with a digest of what the tool said. The digest is XXH64 with seed 0
//! over a canonical form, the same on every machine and in every run: it tells repeats apart, it protects nothing.

use std::{collections::HashMap, hash::Hasher as _};

use serde_json::Value;
use twox_hash::XxHash64;

use super::{
    ToolResult,
    facts::{MAX_LISTED, elements, text},
    path::Path,
};

/// Strings longer than this are not in the outline.
const OUTLINE_BYTES: usize = super::body::FACT_BYTES;
/// Places that are remembered of one request; what is past it makes every digest of the request its own.
const MAX_PLACES: usize = 65_536;
/// Containers deeper than this are not told apart.
const MAX_DEPTH: usize = 64;

/// Hashes of what the outline leaves out, by path: long strings, and numbers in arrays.
#[derive(Debug, Default)]
pub(super) struct Digests {
    places: HashMap<String, u64>,
    /// The array whose numbers are coming.
    open: Option<(String, u64)>,
    /// Of all that came past the bound.
    rest: u64,
}

/// The same bytes, the same number, in every run.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

fn fold(known: u64, next: u64) -> u64 {
    known.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ next
}

impl Digests {
    /// A string of the request.
    pub(super) fn string(&mut self, path: &str, text: &str) {
        if text.len() > OUTLINE_BYTES {
            self.put(path, hash(text.as_bytes()));
        }
    }

    /// A number in the array at `path`.
    pub(super) fn element(&mut self, path: &str, number: &str) {
        let next = hash(number.as_bytes());
        match &mut self.open {
            Some((open, known)) if open == path => *known = fold(*known, next),
            _ => {
                self.close();
                self.open = Some((path.to_owned(), next));
            }
        }
    }

    fn close(&mut self) {
        if let Some((path, hash)) = self.open.take() {
            self.put(&path, hash);
        }
    }

    fn put(&mut self, path: &str, hash: u64) {
        if let Some(known) = self.places.get_mut(path) {
            *known = fold(*known, hash); // a path that was too long to tell its members apart
        } else if self.places.len() < MAX_PLACES {
            self.places.insert(path.to_owned(), hash);
        } else {
            self.rest = fold(self.rest, hash);
        }
    }

    fn of(&self, value: &Value, path: &mut Path) -> u64 {
        let mut hasher = XxHash64::with_seed(self.rest);
        self.walk(value, path, 0, &mut hasher);
        hasher.finish()
    }

    /// A text is a text, whether it stands alone or in a block of its own: clients write one result in both ways, and mark
    /// blocks differently from call to call (`cache_control`).
    fn walk(&self, value: &Value, path: &mut Path, depth: usize, hasher: &mut XxHash64) {
        let known = || self.places.get(path.as_str()).copied();
        let length = path.len();
        match value {
            Value::String(text) => tagged(hasher, b's', hash(text.as_bytes())),
            Value::Null => match known() {
                Some(hash) => tagged(hasher, b's', hash),
                None => hasher.write(b"n"),
            },
            Value::Bool(value) => hasher.write(if *value { b"t" } else { b"f" }),
            Value::Number(number) => tagged(hasher, b'd', hash(number.to_string().as_bytes())),
            _ if depth >= MAX_DEPTH => hasher.write(b"~"),
            Value::Array(values) => {
                let numbers = known();
                if let Some(numbers) = numbers {
                    tagged(hasher, b'd', numbers);
                }
                let alone = values.len() == 1 && numbers.is_none();
                if !alone {
                    hasher.write(b"[");
                }
                for (index, value) in values.iter().enumerate() {
                    path.index(index);
                    self.walk(value, path, depth + 1, hasher);
                    path.truncate(length);
                }
                if !alone {
                    hasher.write(b"]");
                }
            }
            Value::Object(map) => {
                let is_text = map.get("text").is_some_and(|text| text.is_string() || text.is_null());
                if is_text
                    && map.get("type").is_none_or(|kind| kind.as_str().is_some_and(|kind| kind.ends_with("text")))
                {
                    path.key("text");
                    self.walk(map.get("text").unwrap_or(&Value::Null), path, depth + 1, hasher);
                    return path.truncate(length);
                }
                hasher.write(b"{");
                // Keys come sorted: the map is a tree.
                for (key, value) in map.iter().filter(|(key, _)| *key != "cache_control") {
                    tagged(hasher, b'k', hash(key.as_bytes()));
                    path.key(key);
                    self.walk(value, path, depth + 1, hasher);
                    path.truncate(length);
                }
                hasher.write(b"}");
            }
        }
    }
}

fn tagged(hasher: &mut XxHash64, tag: u8, hash: u64) {
    hasher.write(&[tag]);
    hasher.write(&hash.to_le_bytes());
}

/// The results in a request of any shape that has them, at most [`MAX_LISTED`]. Which shape it is need not be known: each names
/// its results in its own way.
pub(super) fn of(asked: &Value, mut digests: Digests) -> Vec<ToolResult> {
    digests.close();
    let mut found = Found { digests, results: Vec::new() };
    let mut path = Path::new("$.messages");
    let messages = elements(asked, "messages");
    found.each(messages, &mut path, Found::message);
    let (input, mut path) = (elements(asked, "input"), Path::new("$.input"));
    found.each(input, &mut path, Found::item);
    let (contents, mut path) = (elements(asked, "contents"), Path::new("$.contents"));
    found.each(contents, &mut path, |found, content, path| {
        path.key("parts");
        found.each(elements(content, "parts"), path, Found::part);
    });
    // Cohere, v1.
    let (results, mut path) = (elements(asked, "tool_results"), Path::new("$.tool_results"));
    found.each(results, &mut path, |found, result, path| {
        let name = result.get("call").and_then(|call| text(call, "name"));
        found.push(result, "outputs", path, None, name, false);
    });
    found.results
}

struct Found {
    digests: Digests,
    results: Vec<ToolResult>,
}

impl Found {
    fn each(&mut self, values: &[Value], path: &mut Path, take: impl Fn(&mut Self, &Value, &mut Path)) {
        let length = path.len();
        for (index, value) in values.iter().enumerate() {
            path.index(index);
            take(self, value, path);
            path.truncate(length);
        }
    }

    fn push(
        &mut self,
        holder: &Value,
        key: &str,
        path: &mut Path,
        call_id: Option<String>,
        name: Option<String>,
        is_error: bool,
    ) {
        if self.results.len() >= MAX_LISTED {
            return;
        }
        let length = path.len();
        path.key(key);
        let digest = self.digests.of(holder.get(key).unwrap_or(&Value::Null), path);
        path.truncate(length);
        self.results.push(ToolResult { call_id, name, is_error, digest });
    }

    /// OpenAI chat, Cohere and Ollama have a role for it, Anthropic and Amazon blocks in a message.
    fn message(&mut self, message: &Value, path: &mut Path) {
        let role = message.get("role").and_then(Value::as_str);
        if matches!(role, Some("tool" | "function")) {
            let name = text(message, "name").or_else(|| text(message, "tool_name"));
            return self.push(message, "content", path, text(message, "tool_call_id"), name, false);
        }
        path.key("content");
        self.each(elements(message, "content"), path, |found, block, path| {
            if block.get("type").and_then(Value::as_str) == Some("tool_result") {
                let failed = block.get("is_error").and_then(Value::as_bool) == Some(true);
                found.push(block, "content", path, text(block, "tool_use_id"), None, failed);
            } else if let Some(result) = block.get("toolResult") {
                let failed = result.get("status").and_then(Value::as_str) == Some("error");
                path.key("toolResult");
                found.push(result, "content", path, text(result, "toolUseId"), None, failed);
            }
        });
    }

    /// OpenAI responses.
    fn item(&mut self, item: &Value, path: &mut Path) {
        let kind = item.get("type").and_then(Value::as_str);
        if kind.is_some_and(|kind| kind.ends_with("_call_output")) {
            let failed = matches!(item.get("status").and_then(Value::as_str), Some("failed" | "incomplete"));
            let id = text(item, "call_id").or_else(|| text(item, "id"));
            self.push(item, "output", path, id, None, failed);
        }
    }

    /// Google.
    fn part(&mut self, part: &Value, path: &mut Path) {
        if let Some(result) = part.get("functionResponse") {
            let failed = result.get("response").is_some_and(|response| response.get("error").is_some());
            path.key("functionResponse");
            self.push(result, "response", path, text(result, "id"), text(result, "name"), failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::exchange::json::{self as reader, Strings};

    impl Strings for Digests {
        fn string(&mut self, path: &str, _: &str, text: &str) {
            Digests::string(self, path, text);
        }

        fn wants_elements(&self) -> bool {
            true
        }

        fn element(&mut self, path: &str, number: &str) {
            Digests::element(self, path, number);
        }
    }

    fn results(request: &Value) -> Vec<ToolResult> {
        let mut digests = Digests::default();
        let outline = reader::read(request.to_string().as_bytes(), "$", OUTLINE_BYTES, &mut digests);
        of(&outline.doc, digests)
    }

    fn short(result: &ToolResult) -> (Option<&str>, Option<&str>, bool) {
        (result.call_id.as_deref(), result.name.as_deref(), result.is_error)
    }

    #[test]
    fn every_shape_names_its_results() {
        for (request, expected) in [
            (
                json!({"messages":[{"role":"user","content":"a"},{"role":"tool","tool_call_id":"c1","content":"sunny"},
                    {"role":"function","name":"f","content":"sunny"},{"role":"tool","tool_name":"g","content":"sunny"}]}),
                vec![(Some("c1"), None, false), (None, Some("f"), false), (None, Some("g"), false)],
            ),
            (
                json!({"messages":[{"role":"user","content":[{"type":"text","text":"a"},
                    {"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"sunny"}]},
                    {"type":"tool_result","tool_use_id":"t2","is_error":true,"content":"sunny"}]}]}),
                vec![(Some("t1"), None, false), (Some("t2"), None, true)],
            ),
            (
                json!({"input":[{"type":"function_call","call_id":"x"},{"type":"function_call_output","call_id":"c1","output":"sunny"},
                    {"type":"apply_patch_call_output","call_id":"c2","status":"failed","output":"sunny"}]}),
                vec![(Some("c1"), None, false), (Some("c2"), None, true)],
            ),
            (
                json!({"messages":[{"role":"user","content":[
                    {"toolResult":{"toolUseId":"t1","status":"error","content":[{"text":"sunny"}]}}]}]}),
                vec![(Some("t1"), None, true)],
            ),
            (json!({"input":"a text","messages":"b","contents":[1]}), vec![]),
        ] {
            let found = results(&request);
            assert_eq!(found.iter().map(short).collect::<Vec<_>>(), expected, "{request}");
            assert!(found.iter().all(|result| result.digest == found[0].digest), "one text, one digest: {request}");
        }
        let request = json!({"contents":[{"parts":[{"text":"a"},
            {"functionResponse":{"id":"1","name":"f","response":{"error":"no"}}}]}],
            "tool_results":[{"call":{"name":"h"},"outputs":[{"a":1}]}]});
        let found = results(&request);
        let expected = [(Some("1"), Some("f"), true), (None, Some("h"), false)];
        assert_eq!(found.iter().map(short).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_a_tool_said_decides_the_digest() {
        let digest = |content: Value| results(&json!({"messages":[{"role":"tool","content":content}]}))[0].digest;
        let long = |end: &str| format!("{}{end}", "x".repeat(1000));
        let block = |text: &str| json!([{"type":"text","text":text,"cache_control":{"type":"ephemeral"}}]);
        assert_eq!(digest(json!(long("a"))), digest(json!(long("a"))));
        assert_eq!(digest(json!(long("a"))), digest(block(&long("a"))));
        assert_eq!(digest(json!({"a":[1,2],"b":"c"})), digest(json!({"b":"c","a":[1,2]})));
        let different = [
            json!(long("a")),
            json!(long("b")),
            json!("a"),
            json!(""),
            json!({"a":[1,2]}),
            json!({"a":[1,3]}),
            json!({"a":[2,1]}),
            json!({"a":1}),
            json!({"a":true}),
            json!([{"type":"image","data":"QUJD".repeat(300)}]),
            json!([{"type":"image","data":"QUJE".repeat(300)}]),
            Value::Null,
        ];
        let mut digests: Vec<_> = different.iter().map(|content| digest(content.clone())).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), different.len());
        assert_eq!(digest(json!("sunny")), 2_242_197_149_749_134_533, "the same in every run and on every machine");
    }
}
