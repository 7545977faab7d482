//! What the model wrote, as data: for those who watch its form. Enters: an answer, whole or as the joined text of its events.
//! Leaves: [`Written`], with each reply and the arguments of each tool call read as JSON where they are JSON. It judges nothing,
//! and what is too long to be looked at is said to be unread.

use serde_json::Value;

use super::{
    Api,
    facts::{elements, text},
    text::Joined,
};

/// Longest reply, and longest arguments of one call, that are read.
pub(super) const MAX_READ_BYTES: usize = 256 << 10;
/// Longest answer that is read again, because its outline does not hold all of the arguments.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Replies (choices) of one answer.
const MAX_REPLIES: usize = 8;
/// Tool calls of one answer whose arguments are read.
const MAX_CALLS: usize = 32;
/// So much of a reply in words is kept to see how it begins.
const OPENING_BYTES: usize = 160;

/// What the model wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// The replies, one a choice, in order; a choice without text has none.
    pub replies: Vec<Reply>,
    /// Arguments of the tool calls that the client is to run, in order, for as long as their name is known.
    pub tool_arguments: Vec<ToolArguments>,
    /// The vendor marks the reply as a refusal (OpenAI's `refusal`).
    pub is_refused: bool,
    /// Why an answer is incomplete or blocked, where that stands beside the finish reason: `incomplete_details.reason` of
    /// OpenAI responses, `promptFeedback.blockReason` of Google.
    pub stopped_by: Option<String>,
}

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// How it looks.
    pub form: Form,
    /// How it begins, if it is in words.
    pub opening: String,
    /// How long its text is.
    pub bytes: usize,
}

/// Arguments of one tool call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolArguments {
    /// Name of the tool.
    pub tool: String,
    /// How they look.
    pub form: Form,
}

/// How a text looks to a program that reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// Words.
    Prose,
    /// An object or an array.
    Json(Value),
    /// The same in a Markdown fence, and nothing else.
    Fenced(Value),
    /// It begins as JSON does and is none.
    Broken,
    /// Longer than [`MAX_READ_BYTES`].
    Unread,
}

impl Form {
    /// The form of a reply.
    pub fn of(text: &str) -> Self {
        let text = text.trim();
        if text.len() > MAX_READ_BYTES {
            return Self::Unread;
        }
        if text.starts_with(['{', '[']) {
            return serde_json::from_str(text).map_or(Self::Broken, Self::Json);
        }
        let Some((info, rest)) = text.strip_prefix("```").and_then(|fenced| fenced.split_once('\n')) else {
            return Self::Prose;
        };
        let info = info.trim();
        let is_json = info.eq_ignore_ascii_case("json");
        let inner = rest.strip_suffix("```").unwrap_or(rest).trim();
        if !is_json && !(info.is_empty() && inner.starts_with(['{', '['])) {
            return Self::Prose;
        }
        match serde_json::from_str(inner) {
            Ok(value) => Self::Fenced(value),
            // A fence around the first of several things is a text with an example.
            Err(_) if inner.contains("```") => Self::Prose,
            Err(_) => Self::Broken,
        }
    }

    /// The JSON, fenced or not.
    pub fn json(&self) -> Option<&Value> {
        match self {
            Self::Json(value) | Self::Fenced(value) => Some(value),
            Self::Prose | Self::Broken | Self::Unread => None,
        }
    }
}

impl Written {
    pub(super) fn reply(&mut self, text: &str) {
        if self.replies.len() >= MAX_REPLIES || text.trim().is_empty() {
            return;
        }
        let form = Form::of(text);
        let opening = match form {
            Form::Prose => text.trim_start(),
            _ => "",
        };
        let opening = opening.get(..opening.floor_char_boundary(OPENING_BYTES)).unwrap_or_default().to_owned();
        self.replies.push(Reply { form, opening, bytes: text.len() });
    }

    /// Arguments that are JSON in a string. A tool without parameters may be called with an empty one.
    pub(super) fn call(&mut self, tool: &str, arguments: &str) {
        let form = match arguments.trim() {
            "" => Form::Json(Value::Object(serde_json::Map::new())),
            text if text.len() > MAX_READ_BYTES => Form::Unread,
            text => serde_json::from_str(text).map_or(Form::Broken, Form::Json),
        };
        self.push(tool, form);
    }

    /// Arguments that are JSON already.
    pub(super) fn called(&mut self, tool: &str, arguments: &Value) {
        match arguments {
            Value::String(text) => self.call(tool, text),
            Value::Null => self.call(tool, ""),
            other => self.push(tool, Form::Json(other.clone())),
        }
    }

    fn push(&mut self, tool: &str, form: Form) {
        if self.tool_arguments.len() < MAX_CALLS && !tool.is_empty() {
            self.tool_arguments.push(ToolArguments { tool: tool.to_owned(), form });
        }
    }
}

/// Whether a model writes the answers of such calls.
pub(super) fn is_written(api: Api) -> bool {
    matches!(
        api,
        Api::ChatCompletions
            | Api::CohereChat
            | Api::Converse
            | Api::GenerateContent
            | Api::InvokeModel
            | Api::Messages
            | Api::OllamaChat
            | Api::OllamaGenerate
            | Api::Responses
    )
}

/// The document to read [`whole`] from: an outline has all texts, but of arguments that are no text only a part.
pub(super) fn document(api: Api, has_calls: bool, outline: Value, body: &[u8]) -> Value {
    let are_objects = matches!(
        api,
        Api::Messages | Api::GenerateContent | Api::Converse | Api::InvokeModel | Api::OllamaChat | Api::CohereChat
    );
    if !(has_calls && are_objects) {
        return outline;
    }
    let again = if body.len() <= MAX_ANSWER_BYTES { serde_json::from_slice(body).ok() } else { None };
    again.unwrap_or(Value::Null)
}

/// Reads a whole answer of any shape: each has its text in a member of its own.
pub(super) fn whole(doc: &Value) -> Written {
    let mut written = Written::default();
    for choice in elements(doc, "choices").iter().take(MAX_REPLIES) {
        if let Some(message) = choice.get("message") {
            message_of(message, &mut written);
        }
    }
    let mut said = String::new();
    for item in elements(doc, "output") {
        match item.get("type").and_then(Value::as_str) {
            Some("message") => blocks(elements(item, "content"), &mut said, &mut written),
            Some("function_call") => called(item, "arguments", &mut written),
            _ => {}
        }
    }
    if let Some(message) = doc.get("output").and_then(|output| output.get("message")) {
        blocks(elements(message, "content"), &mut said, &mut written);
    }
    blocks(elements(doc, "content"), &mut said, &mut written);
    // Cohere, v1.
    elements(doc, "tool_calls").iter().for_each(|call| called(call, "parameters", &mut written));
    for key in ["response", "text", "generation"] {
        said.push_str(doc.get(key).and_then(Value::as_str).unwrap_or_default());
    }
    written.reply(&said);
    if let Some(message) = doc.get("message").filter(|message| message.is_object()) {
        message_of(message, &mut written);
    }
    for candidate in elements(doc, "candidates").iter().take(MAX_REPLIES) {
        let mut said = String::new();
        for part in candidate.get("content").map_or(&[][..], |content| elements(content, "parts")) {
            if part.get("thought").and_then(Value::as_bool) != Some(true) {
                said.push_str(part.get("text").and_then(Value::as_str).unwrap_or_default());
            }
            if let Some(call) = part.get("functionCall") {
                called(call, "args", &mut written);
            }
        }
        written.reply(&said);
    }
    written.stopped_by = stopped_by(doc);
    written
}

/// Why an answer stopped, beside its finish reason.
pub(super) fn stopped_by(doc: &Value) -> Option<String> {
    let incomplete = || text(doc.get("incomplete_details")?, "reason");
    incomplete().or_else(|| text(doc.get("promptFeedback")?, "blockReason"))
}

/// A message of OpenAI chat, of Ollama and of Cohere.
fn message_of(message: &Value, written: &mut Written) {
    let mut said = String::new();
    match message.get("content") {
        Some(Value::String(text)) => said.push_str(text),
        _ => blocks(elements(message, "content"), &mut said, written),
    }
    written.is_refused |= message.get("refusal").and_then(Value::as_str).is_some_and(|refusal| !refusal.is_empty());
    for call in elements(message, "tool_calls").iter().take(MAX_CALLS) {
        called(call.get("function").unwrap_or(call), "arguments", written);
    }
    if let Some(call) = message.get("function_call").filter(|call| call.get("name").is_some()) {
        called(call, "arguments", written);
    }
    written.reply(&said);
}

/// Blocks of Anthropic, Bedrock, Cohere and OpenAI responses.
fn blocks(blocks: &[Value], said: &mut String, written: &mut Written) {
    for block in blocks {
        let kind = block.get("type").and_then(Value::as_str);
        match kind {
            Some("tool_use") => called(block, "input", written),
            Some("refusal") => written.is_refused = true,
            None | Some("text" | "output_text") => {
                said.push_str(block.get("text").and_then(Value::as_str).unwrap_or_default());
                let call = block.get("toolUse").filter(|call| call.get("type").is_none());
                call.into_iter().for_each(|call| called(call, "input", written));
            }
            Some(_) => {}
        }
    }
}

fn called(call: &Value, key: &str, written: &mut Written) {
    if let Some(name) = call.get("name").and_then(Value::as_str) {
        written.called(name, call.get(key).unwrap_or(&Value::Null));
    }
}

/// What the texts of a stream say, at the paths that the whole answer would have. Google's parts are not among them: whether
/// one is a thought stands in no text.
pub(super) fn streamed(joined: &Joined, written: &mut Written) {
    let mut replies: Vec<(usize, String)> = Vec::new();
    for (path, said) in joined.parts() {
        let Some((place, reply)) = place(path) else { continue };
        let beside = |from: &str, name: &str| joined.at(&format!("{}{name}", path.strip_suffix(from).unwrap_or(path)));
        match place {
            Place::Text => {
                let kind = beside(".text", ".type");
                if !matches!(kind, None | Some("text" | "output_text" | "message")) {
                    continue;
                }
                if let Some((_, text)) = replies.iter_mut().find(|(known, _)| *known == reply) {
                    text.push_str(said);
                } else if replies.len() < MAX_REPLIES {
                    replies.push((reply, said.to_owned()));
                }
            }
            Place::Arguments => {
                // The vendor's own calls of its MCP servers have arguments too.
                let is_clients =
                    beside(".arguments", ".type").is_none_or(|kind| kind == "function_call" || kind == "function");
                if let Some(name) = beside(".arguments", ".name").filter(|_| is_clients) {
                    written.call(name, said);
                }
            }
            Place::Refusal => written.is_refused = true,
        }
    }
    replies.iter().for_each(|(_, said)| written.reply(said));
}

/// What stands at a path of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Text,
    Arguments,
    Refusal,
}

/// The paths, by shape, and of which choice they are: OpenAI chat, OpenAI responses, Anthropic, Bedrock, Ollama, Cohere.
fn place(path: &str) -> Option<(Place, usize)> {
    let rest = path.strip_prefix("$.")?;
    let (list, rest) = rest.split_once(['[', '.']).unwrap_or((rest, ""));
    let (index, rest) = if list == "choices" {
        let (index, rest) = rest.split_once("].")?;
        (index.parse().ok()?, rest)
    } else {
        (0, rest)
    };
    // Without the numbers of elements.
    let mut plain = String::with_capacity(rest.len());
    let mut is_index = matches!(list, "output" | "content") && rest.starts_with(|first: char| first.is_ascii_digit());
    for letter in rest.chars() {
        match letter {
            '[' => is_index = true,
            ']' => is_index = false,
            _ if is_index => {}
            _ => plain.push(letter),
        }
    }
    let place = match (list, plain.trim_start_matches('.')) {
        ("choices", "message.content" | "message.content.text")
        | ("output", "content.text" | "message.content.text")
        | ("content", "text")
        | ("message", "content" | "content.text")
        | ("response" | "text", "") => Place::Text,
        ("choices", "message.tool_calls.function.arguments" | "message.function_call.arguments")
        | ("output", "arguments")
        | ("message", "tool_calls.function.arguments") => Place::Arguments,
        ("choices", "message.refusal") | ("output", "content.refusal") => Place::Refusal,
        _ => return None,
    };
    Some((place, index))
}
