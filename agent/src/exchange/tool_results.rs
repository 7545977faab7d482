//! Results of tools that a request hands back. Enters: the elements of its lists. Leaves: [`ToolResult`]s, each with its call, as
//! far as the request repeats it, and with a digest of what the tool said. The digest is XXH64 with seed 0 over a canonical form, the same on every machine and in every run: it
//! tells repeats apart, it protects nothing.

use std::hash::Hasher as _;

use smallvec::SmallVec;
use twox_hash::XxHash64;

use super::{
    History, Said, ToolResult, arguments,
    facts::{MAX_LISTED, MAX_NAME_BYTES},
    history::{Answered, Reader},
    tape::Node,
};

/// Containers deeper than this are not told apart.
const MAX_DEPTH: usize = 64;
/// So many members of an object are sorted without an allocation.
const USUAL_MEMBERS: usize = 16;

/// The same bytes, the same number, in every run.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

/// Two numbers as one; the order counts.
pub(super) fn fold(known: u64, next: u64) -> u64 {
    known.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ next
}

/// What a digest is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// What a tool said.
    Result,
    /// What it was called with: without what differs from try to try.
    Arguments,
}

/// A text is a text, whether it stands alone or in a block of its own: clients write one result in both ways, and mark
/// blocks differently from call to call (`cache_control`).
pub(super) fn walk(node: Node<'_>, depth: usize, mode: Mode, hasher: &mut XxHash64) {
    if mode == Mode::Arguments
        && let Some((before, behind)) = node.as_str().and_then(arguments::around_temporary)
    {
        tagged(hasher, b's', hash(before.as_bytes()));
        tagged(hasher, b's', hash(behind.as_bytes()));
    } else if let Some(text) = node.as_str() {
        tagged(hasher, b's', hash(text.as_bytes()));
    } else if let Some(long) = node.long() {
        tagged(hasher, b's', long);
    } else if let Some(is) = node.as_bool() {
        hasher.write(if is { b"t" } else { b"f" });
    } else if let Some(number) = node.as_number() {
        tagged(hasher, b'd', hash(number.to_string().as_bytes()));
    } else if !node.is_array() && !node.is_object() {
        hasher.write(b"n");
    } else if depth >= MAX_DEPTH {
        hasher.write(b"~");
    } else if node.is_array() {
        if let Some(numbers) = node.numbers() {
            tagged(hasher, b'd', numbers);
        }
        let is_alone = mode == Mode::Result && node.numbers().is_none() && node.below().take(2).count() == 1;
        if !is_alone {
            hasher.write(b"[");
        }
        node.below().for_each(|element| walk(element, depth + 1, mode, hasher));
        if !is_alone {
            hasher.write(b"]");
        }
    } else {
        if let Some(text) = text_of_block(node).filter(|_| mode == Mode::Result) {
            return walk(text, depth + 1, mode, hasher);
        }
        hasher.write(b"{");
        // In the order of their names, and of several with one name the last.
        let mut members: SmallVec<[Node<'_>; USUAL_MEMBERS]> = node.below().collect();
        members.sort_by(|a, b| a.key().cmp(b.key()));
        for (index, member) in members.iter().enumerate() {
            let is_last = members.get(index + 1).is_none_or(|next| next.key() != member.key());
            let is_left_out = match mode {
                Mode::Result => member.key() == "cache_control",
                Mode::Arguments => arguments::is_fleeting(*member),
            };
            if is_last && !is_left_out {
                tagged(hasher, b'k', hash(member.key().as_bytes()));
                walk(*member, depth + 1, mode, hasher);
            }
        }
        hasher.write(b"}");
    }
}

/// The text of a block that is nothing else.
fn text_of_block(block: Node<'_>) -> Option<Node<'_>> {
    let text = block.get("text").filter(|text| text.as_str().is_some() || text.is_long() || text.is_null())?;
    let is_text = |kind: Node<'_>| kind.as_str().is_some_and(|kind| kind.ends_with("text"));
    block.get("type").is_none_or(is_text).then_some(text)
}

pub(super) fn tagged(hasher: &mut XxHash64, tag: u8, hash: u64) {
    hasher.write(&[tag]);
    hasher.write(&hash.to_le_bytes());
}

/// A string member that is not empty, and not so long that it cannot be a name.
pub(super) fn text(node: Node<'_>, key: &str) -> Option<String> {
    node.get(key)?.as_str().filter(|text| (1..=MAX_NAME_BYTES).contains(&text.len())).map(str::to_owned)
}

/// Elements of an array member; none when it is no array.
pub(super) fn elements<'t>(node: Node<'t>, key: &str) -> impl Iterator<Item = Node<'t>> {
    node.get(key).filter(|list| list.is_array()).into_iter().flat_map(Node::below)
}

/// Members of a request whose elements are or hold results, in the order in which they are told.
const LISTS: [&str; 5] = ["messages", "input", "contents", "chat_history", "tool_results"];

/// How the text of a tool begins that failed without saying so in any other way, in lower case.
const FAILURES: [&str; 9] = [
    "error",
    "traceback (most",
    "exception",
    "failed",
    "failure",
    "fatal:",
    "{\"error",
    "command failed",
    "tool error",
];
/// All that a tool says that found nothing.
const NOTHING: [&str; 10] =
    ["", "[]", "{}", "null", "none", "no results", "no matches", "no results found", "no matches found", "not found"];

/// What a text of a tool is.
pub(super) fn look(text: &str, is_error: bool) -> Said {
    let text = text.trim_ascii();
    let begins = |with: &&str| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let bare = text.trim_end_matches(['.', '!']);
    if is_error || FAILURES.iter().any(begins) {
        Said::Failure
    } else if NOTHING.iter().any(|nothing| bare.eq_ignore_ascii_case(nothing)) {
        Said::Nothing
    } else if text.len() > Said::MUCH_BYTES {
        Said::Much
    } else {
        Said::Little
    }
}

/// The text of a result that is one, or a single block with one.
fn said_text(told: Node<'_>) -> Option<&str> {
    if told.is_array() {
        let mut blocks = told.below();
        let (first, second) = (blocks.next()?, blocks.next());
        return if second.is_none() {
            first.get("text").or(Some(first))?.beginning().map(|(text, _)| text)
        } else {
            None
        };
    }
    let inner = || ["output", "result", "error"].iter().find_map(|key| told.get(key)?.beginning());
    told.beginning().or_else(inner).map(|(text, _)| text)
}

/// A result that is no text: an object, or several blocks.
fn look_of_values(told: Node<'_>) -> Said {
    match (told.below().next(), told.get("error").or_else(|| told.get("errors"))) {
        (_, Some(error)) if !error.is_null() => Said::Failure,
        (None, _) => {
            if told.is_array() || told.is_object() || told.is_null() {
                Said::Nothing
            } else {
                Said::Little
            }
        }
        (Some(_), _) => {
            if told.below().take(8).count() == 8 {
                Said::Much
            } else {
                Said::Little
            }
        }
    }
}

/// The results in a request of any shape that has them, at most [`MAX_LISTED`]. Which shape it is need not be known: each names
/// its results in its own way.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// With the place of their list in [`LISTS`].
    found: Vec<(usize, ToolResult)>,
    /// Whose results are being taken.
    list: usize,
    reader: Reader,
    /// Hash of what the tape does not hold of the present element: it makes the digests its own.
    rest: u64,
}

impl Results {
    /// A member of the document begins. One of the same name before it does not count.
    pub(super) fn begin(&mut self, key: &str) {
        if !self.found.is_empty() {
            self.found.retain(|(list, _)| LISTS.get(*list) != Some(&key));
        }
        if LISTS.iter().take(4).any(|list| *list == key) {
            self.reader.begin();
        }
    }

    /// Takes the results in an element of a list.
    pub(super) fn take(&mut self, list: &str, element: Node<'_>, rest: u64) {
        let Some(list) = LISTS.iter().position(|known| *known == list) else { return };
        (self.list, self.rest) = (list, rest);
        if list < 4 {
            self.reader.element(element);
        }
        match list {
            0 => self.message(element),
            1 => self.item(element),
            2 => elements(element, "parts").for_each(|part| self.part(part)),
            3 => elements(element, "tool_results").for_each(|result| self.cohere(result)),
            _ => self.cohere(element),
        }
    }

    /// All of them, and the conversation that they are of.
    pub(super) fn into_parts(mut self) -> (Vec<ToolResult>, History) {
        self.found.sort_by_key(|(list, _)| *list);
        // They answer the last turn, wherever they stand.
        let newest = self.reader.turns();
        for (_, result) in self.found.iter_mut().filter(|(list, _)| *list == 4) {
            result.turn = newest;
        }
        (self.found.into_iter().map(|(_, result)| result).collect(), self.reader.into_history())
    }

    /// Cohere, v1: the result has its call with it.
    fn cohere(&mut self, result: Node<'_>) {
        let call = result.get("call");
        let name = call.and_then(|call| text(call, "name"));
        self.push(result, "outputs", None, name, false);
        if let (Some((_, pushed)), Some(call)) = (self.found.last_mut(), call) {
            pushed.arguments = Some(arguments::digest(call.get("parameters")));
        }
    }

    fn push(&mut self, holder: Node<'_>, key: &str, call_id: Option<String>, name: Option<String>, is_error: bool) {
        if self.found.len() >= MAX_LISTED {
            return;
        }
        let mut hasher = XxHash64::with_seed(self.rest);
        let told = holder.get(key);
        match told {
            Some(told) => walk(told, 0, Mode::Result, &mut hasher),
            None => hasher.write(b"n"),
        }
        let Answered { name: called, arguments } = self.reader.answered(call_id.as_deref(), name.as_deref());
        let said = match told.and_then(said_text) {
            Some(text) => look(text, is_error),
            None if is_error => Said::Failure,
            None => told.map_or(Said::Nothing, look_of_values),
        };
        let (name, turn, digest) = (name.or(called), self.reader.turns(), hasher.finish());
        self.found.push((self.list, ToolResult { call_id, name, arguments, turn, is_error, said, digest }));
    }

    /// OpenAI chat, Cohere and Ollama have a role for it, Anthropic and Amazon blocks in a message.
    fn message(&mut self, message: Node<'_>) {
        let role = message.get("role").and_then(Node::as_str);
        if matches!(role, Some("tool" | "function")) {
            let name = text(message, "name").or_else(|| text(message, "tool_name"));
            return self.push(message, "content", text(message, "tool_call_id"), name, false);
        }
        for block in elements(message, "content") {
            if block.get("type").and_then(Node::as_str) == Some("tool_result") {
                let failed = block.get("is_error").and_then(Node::as_bool) == Some(true);
                self.push(block, "content", text(block, "tool_use_id"), None, failed);
            } else if let Some(result) = block.get("toolResult") {
                let failed = result.get("status").and_then(Node::as_str) == Some("error");
                self.push(result, "content", text(result, "toolUseId"), None, failed);
            }
        }
    }

    /// OpenAI responses.
    fn item(&mut self, item: Node<'_>) {
        let kind = item.get("type").and_then(Node::as_str);
        if kind.is_some_and(|kind| kind.ends_with("_call_output")) {
            let failed = matches!(item.get("status").and_then(Node::as_str), Some("failed" | "incomplete"));
            let id = text(item, "call_id").or_else(|| text(item, "id"));
            self.push(item, "output", id, None, failed);
        }
    }

    /// Google.
    fn part(&mut self, part: Node<'_>) {
        if let Some(result) = part.get("functionResponse") {
            let failed = result.get("response").is_some_and(|response| response.get("error").is_some());
            self.push(result, "response", text(result, "id"), text(result, "name"), failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::exchange::{body::FACT_BYTES, json as reader, quoted::Input, tape::Tape};

    fn results(request: &Value) -> Vec<ToolResult> {
        let request = request.to_string();
        let mut tape = Tape::new(FACT_BYTES);
        reader::tape(Input::Text(&request), "$", &mut tape, &mut |_: &str, _: &str, _: &str| {});
        tape.into_facts().tool_results
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
