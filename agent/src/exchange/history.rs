//! The conversation that a request repeats. Enters: the elements of its lists, in order. Leaves: [`History`] (how many turns of
//! the model, what marks the conversation, how the newest answers look), and for each result of a tool the call that it answers.
//! It keeps no text but the beginnings of a few answers, and those only while the request is read.
//!
//! State: the newest [`MAX_CALLS`] calls of the request, and the beginnings of the newest [`MAX_TEXTS`] answers.

use std::collections::VecDeque;

use super::{
    arguments,
    facts::MAX_NAME_BYTES,
    simhash::simhash,
    tape::Node,
    tool_results::{elements, fold, hash, text},
};

/// Calls whose results may still come. More than a model makes side by side.
const MAX_CALLS: usize = 128;
/// Answers whose look is told.
const MAX_TEXTS: usize = 8;
/// Shorter answers look alike by chance: "Done.", "Let me check that."
const MIN_TEXT_BYTES: usize = 80;
/// So much of an answer is looked at.
const TEXT_BYTES: usize = 1024;

/// What a request tells of the conversation before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Turns of the model in it: what it said or called before somebody else spoke is one.
    pub turns: u32,
    /// Of these, the ones since a person last said something, as far as roles show that.
    pub turns_alone: u32,
    /// Hash of what was said before the model's first turn. Stable across runs, no secret.
    pub prompt: Option<u64>,
    /// Hash of that and of the model's first turn: all requests of a conversation have it in common, and as good as no others.
    pub opening: Option<u64>,
    /// The newest longer answers of the model, the oldest first, at most eight.
    pub texts: Vec<AssistantText>,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssistantText {
    /// Which turn it was in: 1 is the first.
    pub turn: u32,
    /// SimHash of its first kilobyte: of two that are nearly the same, most bits are.
    pub simhash: u64,
}

/// Reads a conversation as it goes by.
#[derive(Debug, Default)]
pub(super) struct Reader {
    turns: u32,
    /// The turn in which a person last said something.
    heard: u32,
    /// The last element was the model's.
    is_in_turn: bool,
    prompt: Option<u64>,
    opening: Option<u64>,
    calls: VecDeque<Call>,
    texts: VecDeque<(u32, String)>,
}

#[derive(Debug)]
struct Call {
    id: Option<u64>,
    name: Option<String>,
    arguments: u64,
    turn: u32,
    is_answered: bool,
}

/// A call, as its result needs it.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) name: Option<String>,
    pub(super) arguments: Option<u64>,
}

/// Whose an element is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Model,
    /// A person, or whoever speaks to the model in its place.
    Person,
    /// A tool, the system, the developer.
    Other,
}

impl Reader {
    /// The list that is read begins, perhaps again.
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    /// The model's turns so far.
    pub(super) fn turns(&self) -> u32 {
        self.turns
    }

    /// Takes an element of a list in, before the results in it are asked for.
    pub(super) fn element(&mut self, element: Node<'_>) {
        let speaker = speaker(element);
        let said = first_text(element);
        if speaker != Speaker::Model {
            self.is_in_turn = false;
            if self.turns == 0 {
                let role = element.get("role").and_then(Node::as_str).unwrap_or_default();
                let print = fold(hash(role.as_bytes()), text_hash(said));
                self.prompt = Some(fold(self.prompt.unwrap_or_default(), print));
            }
            if speaker == Speaker::Person {
                self.heard = self.turns;
            }
            return;
        }
        if !self.is_in_turn {
            self.turns = self.turns.saturating_add(1);
            self.is_in_turn = true;
        }
        self.opens(text_hash(said));
        self.says(said);
        self.calls_in(element);
    }

    /// The call that a result answers: by its id, else the first of that name in this turn that has no result yet.
    pub(super) fn answered(&mut self, id: Option<&str>, name: Option<&str>) -> Answered {
        let turn = self.turns;
        let found = match id.map(|id| hash(id.as_bytes())) {
            Some(id) => self.calls.iter_mut().rev().find(|call| call.id == Some(id)),
            None => self.calls.iter_mut().find(|call| {
                let is_named = name.is_none_or(|name| call.name.as_deref() == Some(name));
                call.turn == turn && !call.is_answered && is_named
            }),
        };
        let Some(call) = found else { return Answered::default() };
        call.is_answered = true;
        Answered { name: call.name.clone(), arguments: Some(call.arguments) }
    }

    /// All of it.
    pub(super) fn into_history(self) -> History {
        let texts = self.texts.iter().map(|(turn, text)| AssistantText { turn: *turn, simhash: simhash(text) });
        History {
            turns: self.turns,
            turns_alone: self.turns.saturating_sub(self.heard),
            prompt: self.prompt,
            opening: self.opening,
            texts: texts.collect(),
        }
    }

    /// What is in the first turn marks the conversation.
    fn opens(&mut self, print: u64) {
        if self.turns == 1 {
            let before = self.opening.or(self.prompt).unwrap_or_default();
            self.opening = Some(fold(before, print));
        }
    }

    fn says(&mut self, said: Option<&str>) {
        let Some(said) = said.filter(|said| said.len() >= MIN_TEXT_BYTES) else { return };
        // The room of the oldest one serves the newest.
        let mut room = if self.texts.len() >= MAX_TEXTS { self.texts.pop_front() } else { None }.unwrap_or_default().1;
        room.clear();
        room.push_str(said.get(..said.floor_char_boundary(TEXT_BYTES)).unwrap_or_default());
        self.texts.push_back((self.turns, room));
    }

    fn call(&mut self, id: Option<Node<'_>>, name: Option<String>, arguments: Option<Node<'_>>) {
        let id = id.and_then(Node::as_str).filter(|id| (1..=MAX_NAME_BYTES).contains(&id.len()));
        let id = id.map(|id| hash(id.as_bytes()));
        let arguments = arguments::digest(arguments);
        self.opens(id.unwrap_or(arguments));
        if self.calls.len() >= MAX_CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back(Call { id, name, arguments, turn: self.turns, is_answered: false });
    }

    fn calls_in(&mut self, element: Node<'_>) {
        // OpenAI chat and what is compatible with it, Cohere, Ollama.
        for call in elements(element, "tool_calls") {
            let function = call.get("function").or_else(|| call.get("custom")).unwrap_or(call);
            self.call(call.get("id"), text(function, "name"), arguments_of(function));
        }
        // The legacy form.
        if let Some(function) = element.get("function_call").filter(|function| function.is_object()) {
            self.call(None, text(function, "name"), arguments_of(function));
        }
        for block in elements(element, "content") {
            if block.get("type").and_then(Node::as_str) == Some("tool_use") {
                self.call(block.get("id"), text(block, "name"), block.get("input"));
            } else if let Some(call) = block.get("toolUse") {
                self.call(call.get("toolUseId"), text(call, "name"), call.get("input"));
            }
        }
        for part in elements(element, "parts") {
            if let Some(call) = part.get("functionCall") {
                self.call(call.get("id"), text(call, "name"), call.get("args"));
            }
        }
        // OpenAI responses. What the vendor runs itself has its result in it.
        if let Some(kind) = item_kind(element)
            && kind.ends_with("_call")
            && let Some(id) = element.get("call_id")
        {
            let name = text(element, "name").unwrap_or_else(|| kind.to_owned());
            self.call(Some(id), Some(name), arguments_of(element));
        }
    }
}

/// By shape: OpenAI's text, custom tools, Cohere v1, and what OpenAI's own tools are told.
fn arguments_of(call: Node<'_>) -> Option<Node<'_>> {
    ["arguments", "input", "parameters", "action", "operation"].iter().find_map(|key| call.get(key))
}

/// `function_call`, of an item of OpenAI responses.
fn item_kind(element: Node<'_>) -> Option<&str> {
    element.get("type").and_then(Node::as_str)
}

fn speaker(element: Node<'_>) -> Speaker {
    match element.get("role").and_then(Node::as_str) {
        Some("assistant" | "model" | "CHATBOT" | "Chatbot" | "chatbot") => Speaker::Model,
        Some("user" | "USER" | "User") if !hands_back(element) => Speaker::Person,
        Some(_) => Speaker::Other,
        None => match item_kind(element) {
            Some(kind) if kind.ends_with("_call") || kind == "reasoning" => Speaker::Model,
            _ => Speaker::Other,
        },
    }
}

/// Whether a message of the user is a tool's: at Anthropic, Amazon and Google it has that role.
fn hands_back(element: Node<'_>) -> bool {
    elements(element, "content").any(|block| {
        block.get("type").and_then(Node::as_str) == Some("tool_result") || block.get("toolResult").is_some()
    }) || elements(element, "parts").any(|part| part.get("functionResponse").is_some())
}

/// How the first text of an element begins.
fn first_text<'t>(element: Node<'t>) -> Option<&'t str> {
    let beginning = |node: Node<'t>| node.beginning().map(|(text, _)| text);
    let in_blocks = |key| elements(element, key).find_map(|block| beginning(block.get("text")?));
    let content = element.get("content").or_else(|| element.get("message"));
    content.and_then(beginning).or_else(|| in_blocks("content")).or_else(|| in_blocks("parts"))
}

fn text_hash(text: Option<&str>) -> u64 {
    text.map_or(0, |text| hash(text.as_bytes().get(..TEXT_BYTES).unwrap_or(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::exchange::{Said, ToolResult, body::FACT_BYTES, json as reader, quoted::Input, tape::Tape};

    fn read(request: &Value) -> (Vec<ToolResult>, History) {
        let request = request.to_string();
        let mut tape = Tape::new(FACT_BYTES);
        reader::tape(Input::Text(&request), "$", &mut tape, &mut |_: &str, _: &str, _: &str| {});
        let facts = tape.into_facts();
        (facts.tool_results, facts.history)
    }

    /// A conversation of each shape: a call alone with `{"q":"x"}`, then the same one beside another one.
    fn shapes() -> Vec<(&'static str, Value)> {
        let asked = json!("{\"q\": \"x\"}");
        let chat = |id: &str, q: &str| json!({"id":id,"type":"function","function":{"name":"look_up","arguments":format!("{{\"q\":\"{q}\"}}")}});
        let anthropic = |id: &str, q: &str| json!({"type":"tool_use","id":id,"name":"look_up","input":{"q":q}});
        let amazon = |id: &str, q: &str| json!({"toolUse":{"toolUseId":id,"name":"look_up","input":{"q":q}}});
        let google = |q: &str| json!({"functionCall":{"name":"look_up","args":{"q":q}}});
        let ollama = |q: &str| json!({"function":{"name":"look_up","arguments":{"q":q}}});
        let cohere = |q: &str| json!({"name":"look_up","parameters":{"q":q}});
        let item = |id: &str, q: &str| json!({"type":"function_call","call_id":id,"name":"look_up","arguments":format!("{{\"q\":\"{q}\"}}")});
        let said = |id: &str| json!({"role":"tool","tool_call_id":id,"content":"sunny"});
        let block = |id: &str| json!({"type":"tool_result","tool_use_id":id,"content":"sunny"});
        let result = |id: &str| json!({"toolResult":{"toolUseId":id,"content":[{"text":"sunny"}]}});
        let response = json!({"functionResponse":{"name":"look_up","response":{"result":"sunny"}}});
        let output = |id: &str| json!({"type":"function_call_output","call_id":id,"output":"sunny"});
        let plain = json!({"role":"tool","tool_name":"look_up","content":"sunny"});
        let outputs = |q: &str| json!({"call":cohere(q),"outputs":[{"text":"sunny"}]});
        vec![
            (
                "openai chat",
                json!({"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[chat("a","x")]},said("a"),
                {"role":"assistant","content":null,"tool_calls":[chat("b","x"),chat("c","y")]},said("b"),said("c")]}),
            ),
            (
                "legacy",
                json!({"messages":[{"role":"user","content":"hi"},
                {"role":"assistant","function_call":{"name":"look_up","arguments":asked}},{"role":"function","name":"look_up","content":"sunny"},
                {"role":"assistant","tool_calls":[chat("b","x"),chat("c","y")]},said("b"),said("c")]}),
            ),
            (
                "anthropic",
                json!({"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"text","text":"t"},anthropic("a","x")]},
                {"role":"user","content":[block("a")]},{"role":"assistant","content":[anthropic("b","x"),anthropic("c","y")]},
                {"role":"user","content":[block("b"),block("c")]}]}),
            ),
            (
                "bedrock",
                json!({"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[amazon("a","x")]},
                {"role":"user","content":[result("a")]},{"role":"assistant","content":[amazon("b","x"),amazon("c","y")]},
                {"role":"user","content":[result("b"),result("c")]}]}),
            ),
            (
                "gemini",
                json!({"contents":[{"role":"user","parts":[{"text":"hi"}]},{"parts":[google("x")],"role":"model"},
                {"role":"user","parts":[response]},{"parts":[google("x"),google("y")],"role":"model"},{"role":"user","parts":[response,response]}]}),
            ),
            (
                "ollama",
                json!({"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[ollama("x")]},plain,
                {"role":"assistant","tool_calls":[ollama("x"),ollama("y")]},plain,plain]}),
            ),
            (
                "responses",
                json!({"input":[{"role":"user","content":"hi"},{"type":"reasoning","id":"r"},item("a","x"),output("a"),
                item("b","x"),item("c","y"),output("b"),output("c")]}),
            ),
            (
                "cohere v1",
                json!({"chat_history":[{"role":"USER","message":"hi"},{"role":"CHATBOT","message":"","tool_calls":[cohere("x")]},
                {"role":"TOOL","tool_results":[outputs("x")]},{"role":"CHATBOT","message":"","tool_calls":[cohere("x"),cohere("y")]}],
                "tool_results":[outputs("x"),outputs("y")]}),
            ),
        ]
    }

    #[test]
    fn every_shape_tells_calls_from_turns() {
        let mut digests = Vec::new();
        for (shape, request) in shapes() {
            let (results, history) = read(&request);
            let turns: Vec<u32> = results.iter().map(|result| result.turn).collect();
            assert_eq!(turns, [1, 2, 2], "{shape}");
            assert!(results.iter().all(|result| result.name.as_deref() == Some("look_up")), "{shape}: {results:?}");
            assert!(results.iter().all(|result| result.said == Said::Little), "{shape}: {results:?}");
            let [first, again, other] = [0, 1, 2].map(|index| results[index].arguments);
            assert!(first.is_some() && first == again && other.is_some() && other != first, "{shape}: {results:?}");
            digests.push(first);
            assert_eq!((history.turns, history.turns_alone), (2, 2), "{shape}");
            assert!(history.prompt.is_some() && history.opening.is_some(), "{shape}");
        }
        digests.dedup();
        assert_eq!(digests.len(), 1, "what is called alike has one digest in every shape");
    }

    #[test]
    fn a_conversation_keeps_its_opening_and_others_have_another_one() {
        let turn = |role: &str, text: &str| json!({"role":role,"content":text});
        let opening = |messages: &[Value]| read(&json!({"messages":messages})).1.opening;
        let begun = vec![turn("system", "be kind"), turn("user", "hi"), turn("assistant", "hello")];
        let mut later = begun.clone();
        later.extend([turn("user", "and?"), turn("assistant", "that is all")]);
        assert!(opening(&begun).is_some() && opening(&begun) == opening(&later));
        for (index, other) in [(1, turn("user", "ho")), (2, turn("assistant", "hullo"))] {
            let mut changed = begun.clone();
            changed[index] = other;
            assert_ne!(opening(&begun), opening(&changed));
        }
        let (_, unanswered) = read(&json!({"messages":&begun[..2]}));
        assert_eq!((unanswered.turns, unanswered.opening), (0, None));
        assert_eq!(unanswered.prompt, read(&json!({"messages":begun})).1.prompt);
    }

    #[test]
    fn a_person_who_speaks_is_counted_from() {
        let turn = |role: &str, text: &str| json!({"role":role,"content":text});
        let messages = [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")];
        let (_, history) = read(&json!({"messages":messages}));
        assert_eq!((history.turns, history.turns_alone), (2, 1));
    }

    #[test]
    fn long_answers_are_compared_and_short_ones_are_not() {
        let long =
            "The invoice could not be sent, because the \"billing\" service did not answer; I will try once more. "
                .repeat(20);
        let mut messages = vec![json!({"role":"user","content":"hi"})];
        for _ in 0..12 {
            messages.push(json!({"role":"assistant","content":[{"type":"text","text":long}]}));
            messages.push(json!({"role":"user","content":"go on"}));
            messages.push(json!({"role":"assistant","content":"Done."}));
            messages.push(json!({"role":"user","content":"go on"}));
        }
        let (_, history) = read(&json!({"messages":messages}));
        let turns: Vec<u32> = history.texts.iter().map(|text| text.turn).collect();
        assert_eq!(turns, [9, 11, 13, 15, 17, 19, 21, 23]);
        assert!(history.texts.iter().all(|text| text.simhash == history.texts[0].simhash && text.simhash != 0));
    }

    #[test]
    fn results_without_a_call_and_calls_without_a_result() {
        let (results, history) = read(&json!({"messages":[{"role":"tool","tool_call_id":"lost","content":"sunny"}]}));
        assert_eq!((results[0].arguments, results[0].turn, history.turns), (None, 0, 0));
        let calls: Vec<Value> =
            (0..500).map(|id| json!({"id":format!("c{id}"),"function":{"name":"f","arguments":"{}"}})).collect();
        let (results, history) = read(&json!({"messages":[{"role":"assistant","tool_calls":calls},
            {"role":"tool","tool_call_id":"c0","content":"sunny"},{"role":"tool","tool_call_id":"c499","content":"sunny"}]}));
        assert_eq!(results.iter().map(|result| result.name.as_deref()).collect::<Vec<_>>(), [None, Some("f")]);
        assert_eq!(history.turns, 1);
    }
}
