//! The JSON schemas by which a request says what it wants back. Enters: the body of a request, where in it the members stand
//! that may hold one, and which tools the model called. Leaves: [`Schema`]s as text, that of the reply and those of the tools
//! that were called. The members are cut out of the body; what else is in it is not read. It compiles nothing.

use std::{borrow::Cow, ops::Range};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{facts::MAX_NAME_BYTES, tool_results::hash};

/// Members of a request that may hold a schema.
const MEMBERS: [&str; 10] = [
    "tools",
    "functions",
    "toolConfig",
    "response_format",
    "text",
    "output_format",
    "output_config",
    "generationConfig",
    "generation_config",
    "format",
];
/// Longest schema that is kept.
const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// Schemas that are kept of one request.
const MAX_SCHEMAS: usize = 16;

/// A schema that a request gives for what it wants back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The tool whose arguments it is for; `None`: the reply.
    pub tool: Option<String>,
    /// The vendor was asked to keep to it, and promises to (`strict`).
    pub is_strict: bool,
    /// In which language it is written.
    pub dialect: Dialect,
    /// Hash of its text. Stable across runs, no secret.
    pub digest: u64,
    /// The schema, as it stands in the request.
    pub text: String,
}

/// The language of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// JSON Schema.
    JsonSchema,
    /// Google's subset of OpenAPI 3.0: types in capitals, `nullable`.
    OpenApi,
}

/// Where the members stand in a body.
#[derive(Debug, Default)]
pub(super) struct Spans(Vec<(usize, Range<usize>)>);

impl Spans {
    /// A container begins that is a member of the document.
    pub(super) fn begin(&mut self, key: &str, at: usize) {
        if let Some(member) = MEMBERS.iter().position(|member| *member == key) {
            self.0.retain(|(known, _)| *known != member);
            self.0.push((member, at..at));
        }
    }

    /// The last one that began is whole.
    pub(super) fn end(&mut self, key: &str, at: usize) {
        let last = self.0.last_mut().filter(|(member, span)| MEMBERS.get(*member) == Some(&key) && span.is_empty());
        if let Some((_, span)) = last {
            span.end = at;
        }
    }

    fn find<'b>(&self, body: &'b [u8], key: &str) -> Option<&'b [u8]> {
        let (_, span) = self.0.iter().find(|(member, _)| MEMBERS.get(*member) == Some(&key))?;
        body.get(span.clone()).filter(|bytes| !bytes.is_empty())
    }
}

/// The schemas of a request whose answer called these tools.
pub(super) fn read(body: &[u8], spans: &Spans, called: &[String]) -> Vec<Schema> {
    let mut found = Vec::new();
    reply(body, spans, &mut found);
    if !called.is_empty() {
        for (list, tools) in [("tools", 0), ("functions", 0), ("toolConfig", 1)] {
            let Some(bytes) = spans.find(body, list) else { continue };
            let listed = if tools == 0 {
                serde_json::from_slice::<Vec<&RawValue>>(bytes).unwrap_or_default()
            } else {
                serde_json::from_slice::<ToolConfig<'_>>(bytes).map(|config| config.tools).unwrap_or_default()
            };
            listed.iter().for_each(|raw| tool(raw, called, &mut found));
        }
    }
    found
}

fn push(
    found: &mut Vec<Schema>,
    tool: Option<&str>,
    is_strict: bool,
    dialect: Dialect,
    schema: Option<&RawValue>,
) -> bool {
    let Some(text) = schema.map(RawValue::get).filter(|text| text.starts_with('{') && text.len() <= MAX_SCHEMA_BYTES)
    else {
        return false;
    };
    let tool = tool.map(str::to_owned);
    if found.len() < MAX_SCHEMAS && !found.iter().any(|known| known.tool == tool) {
        found.push(Schema { tool, is_strict, dialect, digest: hash(text.as_bytes()), text: text.to_owned() });
    }
    true
}

#[derive(Deserialize)]
struct ToolConfig<'a> {
    #[serde(borrow, default)]
    tools: Vec<&'a RawValue>,
}

/// A tool of any shape: OpenAI chat has it below `function`, Bedrock below `toolSpec`, Google several in one.
#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(default)]
    strict: Option<bool>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "parametersJsonSchema",
        alias = "parameters_json_schema",
        alias = "input_schema"
    )]
    json_schema: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "inputSchema")]
    wrapped: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "toolSpec")]
    function: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "functionDeclarations", alias = "function_declarations")]
    declarations: Option<Vec<&'a RawValue>>,
}

/// Bedrock's `inputSchema`.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    json: &'a RawValue,
}

fn tool(raw: &RawValue, called: &[String], found: &mut Vec<Schema>) {
    let Ok(outer) = serde_json::from_str::<Tool<'_>>(raw.get()) else { return };
    if let Some(declared) = &outer.declarations {
        declared.iter().for_each(|raw| one(raw, Dialect::OpenApi, called, found));
    } else if let Some(inner) = outer.function {
        one(inner, Dialect::JsonSchema, called, found);
    } else {
        known(&outer, Dialect::JsonSchema, called, found);
    }
}

fn one(raw: &RawValue, dialect: Dialect, called: &[String], found: &mut Vec<Schema>) {
    if let Ok(tool) = serde_json::from_str::<Tool<'_>>(raw.get()) {
        known(&tool, dialect, called, found);
    }
}

fn known(tool: &Tool<'_>, dialect: Dialect, called: &[String], found: &mut Vec<Schema>) {
    let Some(name) = tool.name.as_deref().filter(|name| name.len() <= MAX_NAME_BYTES) else { return };
    if !called.iter().any(|called| called == name) {
        return;
    }
    let is_strict = tool.strict == Some(true);
    let wrapped = tool.wrapped.and_then(|raw| serde_json::from_str::<Wrapped<'_>>(raw.get()).ok());
    let plain = tool.json_schema.or(wrapped.map(|wrapped| wrapped.json));
    if !push(found, Some(name), is_strict, Dialect::JsonSchema, plain) {
        push(found, Some(name), is_strict, dialect, tool.parameters);
    }
}

/// The format of a reply, of any shape.
#[derive(Deserialize)]
struct Format<'a> {
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    json_schema: Option<&'a RawValue>,
    #[serde(default)]
    strict: Option<bool>,
    #[serde(borrow, default)]
    format: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "responseSchema", alias = "response_schema")]
    open_api: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "responseJsonSchema", alias = "response_json_schema")]
    google: Option<&'a RawValue>,
}

fn reply(body: &[u8], spans: &Spans, found: &mut Vec<Schema>) {
    let member = |key: &str| spans.find(body, key).and_then(|bytes| serde_json::from_slice::<&RawValue>(bytes).ok());
    // OpenAI chat: `json_schema.schema`; Cohere: `json_schema` is the schema; others: `schema` beside the type.
    if let Some(raw) = member("response_format")
        && let Ok(outer) = serde_json::from_str::<Format<'_>>(raw.get())
    {
        let named = outer.json_schema.and_then(|raw| serde_json::from_str::<Format<'_>>(raw.get()).ok());
        let is_strict = named.as_ref().is_some_and(|named| named.strict == Some(true));
        let schema = named.and_then(|named| named.schema).or(outer.schema).or(outer.json_schema);
        push(found, None, is_strict, Dialect::JsonSchema, schema);
    }
    // Anthropic has no switch: its structured outputs always keep to the schema.
    for (key, promises) in [("text", false), ("output_config", true)] {
        if let Some(raw) = member(key)
            && let Ok(outer) = serde_json::from_str::<Format<'_>>(raw.get())
            && let Some(raw) = outer.format
            && let Ok(format) = serde_json::from_str::<Format<'_>>(raw.get())
        {
            push(found, None, format.strict.unwrap_or(promises), Dialect::JsonSchema, format.schema);
        }
    }
    if let Some(raw) = member("output_format")
        && let Ok(format) = serde_json::from_str::<Format<'_>>(raw.get())
    {
        push(found, None, true, Dialect::JsonSchema, format.schema);
    }
    for key in ["generationConfig", "generation_config"] {
        if let Some(raw) = member(key)
            && let Ok(config) = serde_json::from_str::<Format<'_>>(raw.get())
            && !push(found, None, false, Dialect::JsonSchema, config.google)
        {
            push(found, None, false, Dialect::OpenApi, config.open_api);
        }
    }
    // Ollama: the format is the schema.
    push(found, None, false, Dialect::JsonSchema, member("format"));
}
