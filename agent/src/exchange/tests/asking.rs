//! How requests of every shape ask, through assembly and correlation.

use serde_json::{Value, json};

use super::*;

fn asked(url: &str, body: &Value) -> Asking {
    let record =
        json!({"request": {"method": "POST", "url": url, "headers": {}, "body": body.to_string()}, "response": null});
    let record = Record::parse(record.to_string().as_bytes()).unwrap();
    let inputs = record.inputs(StreamId(1), Timestamp(1), Options::default());
    let exchanges = crate::cli::replay::exchanges(&inputs, &vendors());
    assert_eq!(exchanges.len(), 1);
    exchanges[0].asking.clone()
}

const CHAT: &str = "https://api.openai.com/v1/chat/completions";
const GEMINI: &str = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent";
const CONVERSE: &str = "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/converse";

#[test]
fn bounds_of_the_answer_formats_and_lengths() {
    let user = json!({"role": "user", "content": "sort this"});
    let cases = [
        (CHAT, json!({"model": "m", "max_completion_tokens": 64, "messages": [user, user]}), Some(64), None, Some(2)),
        (
            CHAT,
            json!({"model": "m", "max_tokens": 9, "messages": [user], "response_format":
                {"type": "json_schema", "json_schema": {"name": "ticket", "schema": {}}}}),
            Some(9),
            Some("ticket"),
            Some(1),
        ),
        (
            CHAT,
            json!({"model": "m", "messages": [], "response_format": {"type": "json_object"}}),
            None,
            Some("json_object"),
            None,
        ),
        (
            "https://api.openai.com/v1/responses",
            json!({"model": "m", "input": "a", "text": {"format": {"type": "json_schema", "name": "t"}}}),
            None,
            Some("t"),
            Some(1),
        ),
        (
            GEMINI,
            json!({"contents": [{"parts": [{"text": "a"}]}], "generationConfig":
                {"maxOutputTokens": 5, "responseMimeType": "application/json"}}),
            Some(5),
            Some("json_object"),
            Some(1),
        ),
        (
            CONVERSE,
            json!({"messages": [user, user, user], "inferenceConfig": {"maxTokens": 7}}),
            Some(7),
            None,
            Some(3),
        ),
        (
            "https://api.openai.com/v1/embeddings",
            json!({"model": "m", "input": ["a", "b", "c"], "dimensions": 256}),
            None,
            None,
            Some(3),
        ),
    ];
    for (url, body, bound, format, items) in cases {
        let asking = asked(url, &body);
        let seen = (asking.max_output_tokens, asking.answer_format.as_deref(), asking.items, asking.is_known);
        assert_eq!(seen, (bound, format, items, true), "{url} {body}");
    }
    let embeddings =
        asked("https://api.openai.com/v1/embeddings", &json!({"model": "m", "input": [], "dimensions": 256}));
    assert_eq!(embeddings.dimensions, Some(256));
}

#[test]
fn system_prompts_are_told_apart_by_their_beginning() {
    let long = |end: &str| format!("{}{end}", "You answer questions about trains. ".repeat(8));
    let chat = |text: &str| {
        asked(CHAT, &json!({"messages": [{"role": "system", "content": text}, {"role": "user", "content": "a b c"}]}))
    };
    let one = chat(&long("Today is Monday.")).system_digest;
    assert!(one.is_some());
    assert_eq!(one, chat(&long("Today is Tuesday.")).system_digest, "what comes late is not looked at");
    assert_ne!(one, chat("You sort letters.").system_digest);
    let blocks = json!([{"type": "text", "text": long("x")}]);
    let others = [
        asked(CHAT, &json!({"messages": [{"role": "developer", "content": blocks}]})),
        asked("https://api.anthropic.com/v1/messages", &json!({"max_tokens": 1, "system": long("x"), "messages": []})),
        asked("https://api.anthropic.com/v1/messages", &json!({"max_tokens": 1, "system": blocks, "messages": []})),
        asked("https://api.openai.com/v1/responses", &json!({"instructions": long("x"), "input": "a"})),
        asked(GEMINI, &json!({"systemInstruction": {"parts": [{"text": long("x")}]}, "contents": []})),
        asked(CONVERSE, &json!({"system": [{"text": long("x")}], "messages": []})),
    ];
    for (number, other) in others.iter().enumerate() {
        assert_eq!(other.system_digest, one, "{number}");
    }
    let none = asked(CHAT, &json!({"messages": [{"role": "user", "content": "You answer questions."}]}));
    assert_eq!(none.system_digest, None);
}

#[test]
fn fallbacks_users_and_repeats() {
    let body = json!({"model": "a/b", "models": ["c/d", "e/f-1"], "user": "tenant-7", "messages": []});
    let asking = asked("https://openrouter.ai/api/v1/chat/completions", &body);
    assert_eq!(asking.fallback_models, ["c/d", "e/f-1"]);
    assert_eq!(asking.user.as_deref(), Some("tenant-7"));
    assert_eq!(asking.body_digest, asked("https://openrouter.ai/api/v1/chat/completions", &body).body_digest);
    assert_ne!(asking.body_digest, asked(CHAT, &json!({"model": "a/b", "messages": []})).body_digest);
    let unread = asked("https://api.openai.com/v1/something", &json!({"max_tokens": 3}));
    assert_eq!(
        (unread.max_output_tokens, unread.is_known),
        (None, false),
        "a call that is not understood says nothing"
    );
}
