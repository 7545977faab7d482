//! Enters: a vendor's request body. Leaves: what every answer needs to know about it. Unknown fields are ignored, as the
//! vendors' own servers do for the fields that they do not know yet.

use serde_json::{Map, Value, json};

use crate::models;

/// A tool that the caller offers: its name and the JSON schema of its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    schema: Value,
}

impl Tool {
    /// Arguments that fit the schema's properties, so that the caller's parser is content.
    pub(crate) fn arguments(&self) -> Value {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        let example = |schema: &Value| match schema.get("type").and_then(Value::as_str) {
            Some("integer" | "number") => json!(7),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!("example"),
        };
        let arguments: Map<String, Value> =
            properties.into_iter().flatten().map(|(name, schema)| (name.clone(), example(schema))).collect();
        Value::Object(arguments)
    }
}

/// What was asked, over all shapes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ask {
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// OpenAI chat only: `stream_options.include_usage`.
    pub(crate) include_usage: bool,
    /// Tokens of the prompt by our simple rule: text, four for each message, and the tools as JSON.
    pub(crate) prompt_tokens: u64,
    pub(crate) prompt_chars: usize,
    pub(crate) messages: usize,
    /// The tool that the answer must call: the first one offered, unless its result is already in the last message.
    pub(crate) call: Option<Tool>,
    pub(crate) body: Value,
}

impl Ask {
    /// Reads a body; the error is the vendor's sentence for a bad request.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        let body: Value =
            serde_json::from_slice(body).map_err(|error| format!("We could not parse the JSON body: {error}"))?;
        let model = body.get("model").and_then(Value::as_str).ok_or("you must provide a model parameter")?.to_owned();
        let turns = ["messages", "input"].iter().find_map(|key| body.get(key));
        let messages = turns.and_then(Value::as_array).map_or(1, Vec::len);
        let mut texts = Vec::new();
        for key in ["system", "instructions", "messages", "input"] {
            collect_text(body.get(key).unwrap_or(&Value::Null), &mut texts);
        }
        let tools = body.get("tools").filter(|tools| tools.is_array());
        let tools_tokens = tools.map_or(0, |tools| models::tokens(&tools.to_string()));
        let last = turns.and_then(Value::as_array).and_then(|turns| turns.last());
        let call = if last.is_some_and(is_tool_result) { None } else { tools.and_then(first_tool) };
        Ok(Self {
            stream: body.get("stream") == Some(&Value::Bool(true)),
            include_usage: body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true)),
            prompt_tokens: texts.iter().map(|text| models::tokens(text)).sum::<u64>()
                + 4 * messages as u64
                + tools_tokens,
            prompt_chars: texts.iter().map(|text| text.chars().count()).sum(),
            messages,
            call,
            model,
            body,
        })
    }
}

/// Every string that a person or a tool wrote: plain contents and the text of content parts.
fn collect_text<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect_text(item, texts)),
        Value::Object(fields) => {
            for key in ["content", "text", "output", "arguments"] {
                collect_text(fields.get(key).unwrap_or(&Value::Null), texts);
            }
        }
        _ => {}
    }
}

/// OpenAI chat: role `tool`; Responses: `function_call_output`; Anthropic: a content block `tool_result`.
fn is_tool_result(message: &Value) -> bool {
    let kind = |value: &Value, key: &str, wanted: &str| value.get(key).and_then(Value::as_str) == Some(wanted);
    let blocks = message.get("content").and_then(Value::as_array);
    kind(message, "role", "tool")
        || kind(message, "type", "function_call_output")
        || blocks.is_some_and(|blocks| blocks.iter().any(|block| kind(block, "type", "tool_result")))
}

/// The first tool; its fields stand at the top (Responses, Anthropic) or under `function` (chat).
fn first_tool(tools: &Value) -> Option<Tool> {
    let tool = tools.get(0)?;
    let tool = tool.get("function").unwrap_or(tool);
    let schema = ["parameters", "input_schema"].iter().find_map(|key| tool.get(key));
    Some(Tool { name: tool.get("name")?.as_str()?.to_owned(), schema: schema.cloned().unwrap_or(Value::Null) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &Value) -> Ask {
        Ask::parse(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn prompt_tokens_follow_the_text_in_every_shape() {
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": "12345678"}]});
        let parts =
            json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "12345678"}]}]});
        let responses = json!({"model": "m", "input": "12345678"});
        let messages = json!({"model": "m", "system": "1234", "messages": [{"role": "user", "content": "5678"}]});
        for body in [chat, parts, responses, messages] {
            let ask = ask(&body);
            assert_eq!((ask.prompt_tokens, ask.prompt_chars, ask.messages), (6, 8, 1), "{body}");
        }
    }

    #[test]
    fn a_tool_is_called_once_and_then_answered() {
        let tools = json!([{"type": "function", "function": {"name": "look_up", "parameters":
            {"type": "object", "properties": {"order": {"type": "integer"}, "why": {"type": "string"}}}}}]);
        let first = ask(&json!({"model": "m", "tools": tools, "messages": [{"role": "user", "content": "x"}]}));
        let tool = first.call.unwrap();
        assert_eq!((tool.name.as_str(), tool.arguments()), ("look_up", json!({"order": 7, "why": "example"})));
        for last in [
            json!({"role": "tool", "tool_call_id": "1", "content": "done"}),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "done"}]}),
        ] {
            assert_eq!(ask(&json!({"model": "m", "tools": tools, "messages": [last]})).call, None);
        }
    }

    #[test]
    fn a_bad_body_is_an_answerable_error() {
        for body in ["", "[]", "{", "{\"messages\": []}", "{\"model\": 3}"] {
            assert!(Ask::parse(body.as_bytes()).is_err(), "{body} passed");
        }
    }
}
