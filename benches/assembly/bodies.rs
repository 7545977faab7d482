//! Invented bodies of LLM calls. Enters: a seed. Leaves: requests and answers as the vendors shape them, with prose, code,
//! escapes, tools with schemas and tool results. Never a real one.

use serde_json::{Value, json};

/// SplitMix64: the same seed, the same bodies.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }
}

/// So many of them are ASCII, as nearly all that was recorded is.
const ASCII_WORDS: usize = 31;
const WORDS: [&str; 34] = [
    "the",
    "model",
    "request",
    "we",
    "can",
    "cache",
    "of",
    "user",
    "to",
    "service",
    "answer",
    "token",
    "is",
    "in",
    "and",
    "order",
    "failed",
    "because",
    "a",
    "stream",
    "with",
    "retry",
    "function",
    "reset",
    "page",
    "for",
    "invoice",
    "summary",
    "please",
    "explain",
    "it",
    "größer",
    "“quoted”",
    "résumé",
];

fn word(random: &mut Random) -> &'static str {
    WORDS.get(random.below(WORDS.len())).copied().unwrap_or_default()
}

/// Sentences and paragraphs: a line feed every hundred words or so.
fn prose(random: &mut Random, words: usize) -> String {
    let mut out = String::new();
    for index in 0..words {
        if index > 0 {
            out.push_str(match random.below(100) {
                0 => ".\n\n",
                1..8 => ". ",
                8 => " \"so\" ",
                _ => " ",
            });
        }
        out.push_str(word(random));
    }
    out
}

/// Code, as agents send it: short lines, indentation, quotes.
fn code(random: &mut Random, lines: usize) -> String {
    let mut line = || {
        let (a, b) = (word(random), word(random));
        match random.below(4) {
            0 => format!("    let {a}_{b} = self.{b}(\"{a}\", {});\n", random.below(1000)),
            1 => format!("\tif {a}.is_empty() {{ return Err(\"no {b}\") }}\n"),
            2 => format!("        // {} {a}: {}\n", random.below(100), prose(random, 8)),
            _ => "\n".to_owned(),
        }
    };
    (0..lines).map(|_| line()).collect()
}

fn tools(random: &mut Random, count: usize) -> Vec<Value> {
    let tool = |index| {
        let member = |_| json!({"type": "string", "description": prose(random, 14)});
        let [path, pattern, mode] = [0, 1, 2].map(member);
        let properties = json!({
            "path": path, "pattern": pattern, "mode": mode,
            "limit": {"type": "integer", "minimum": 1, "maximum": 2000, "default": 100},
        });
        json!({"type": "function", "function": {
            "name": format!("tool_{index}"), "description": prose(random, 90), "strict": true,
            "parameters": {"type": "object", "properties": properties, "required": ["path", "pattern"],
                "additionalProperties": false},
        }})
    };
    (0..count).map(tool).collect()
}

/// A conversation of an agent, about `kilobytes` long.
pub(crate) fn request(random: &mut Random, kilobytes: usize, streams: bool) -> String {
    let mut messages = vec![json!({"role": "system", "content": prose(random, 1200)})];
    let tools = tools(random, 12);
    let mut bytes = 0;
    while bytes < kilobytes << 10 {
        let id = format!("call_{:016x}", random.next());
        let turn = match random.below(4) {
            0 => vec![json!({"role": "user", "content": [{"type": "text", "text": prose(random, 300)}]})],
            1 => {
                let rows: Vec<Value> = (0..20)
                    .map(|row| json!({"id": row, "name": prose(random, 2), "score": 0.25, "open": true, "note": prose(random, 9)}))
                    .collect();
                let arguments = json!({"path": "src/lib.rs", "pattern": prose(random, 3), "limit": 50}).to_string();
                vec![
                    json!({"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function",
                        "function": {"name": "tool_3", "arguments": arguments}}]}),
                    json!({"role": "tool", "tool_call_id": id, "content": json!({"rows": rows}).to_string()}),
                ]
            }
            2 => vec![json!({"role": "tool", "tool_call_id": id, "content": code(random, 120)})],
            _ => vec![json!({"role": "assistant", "content": prose(random, 250)})],
        };
        bytes += turn.iter().map(|message| message.to_string().len()).sum::<usize>();
        messages.extend(turn);
    }
    let mut body = json!({"model": "gpt-4o-mini-2024-07-18", "messages": messages, "tools": tools, "temperature": 0.2,
        "max_completion_tokens": 4096, "parallel_tool_calls": true, "user": "user-1"});
    if streams && let Some(body) = body.as_object_mut() {
        body.insert("stream".to_owned(), Value::Bool(true));
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    body.to_string()
}

/// A conversation as the recorded clients write it, about `kilobytes` long: their share of escapes, their values a kilobyte,
/// their length of strings.
pub(crate) fn usual_request(random: &mut Random, kilobytes: usize) -> String {
    let mut messages = vec![json!({"role": "system", "content": paragraphs(random, 90)})];
    let mut bytes = 0;
    while bytes < kilobytes << 10 {
        let id = format!("call_{:016x}", random.next());
        let words = 20 + random.below(80);
        let turn = match random.below(5) {
            0 => vec![json!({"role": "user", "content": [{"type": "text", "text": paragraphs(random, words)}]})],
            1 => vec![json!({"role": "user", "content": [{"type": "text", "text": plain(random, words)},
                {"type": "text", "text": plain(random, words), "cache_control": {"type": "ephemeral"}}]})],
            2 => vec![json!({"role": "user", "content": plain(random, words)})],
            3 => {
                let arguments = json!({"pattern": plain(random, 8)}).to_string();
                let call =
                    json!({"id": id, "type": "function", "function": {"name": "search", "arguments": arguments}});
                vec![
                    json!({"role": "assistant", "content": null, "tool_calls": [call]}),
                    json!({"role": "tool", "tool_call_id": id, "content": paragraphs(random, 2 * words)}),
                ]
            }
            _ => vec![json!({"role": "assistant", "content": plain(random, 2 * words)})],
        };
        bytes += turn.iter().map(|message| message.to_string().len()).sum::<usize>();
        messages.extend(turn);
    }
    json!({"model": "gpt-4o-mini-2024-07-18", "messages": messages, "tools": tools(random, 3), "temperature": 0.2,
        "max_completion_tokens": 4096, "user": "user-1"})
    .to_string()
}

/// Words without anything to be escaped.
fn plain(random: &mut Random, words: usize) -> String {
    let mut word = || WORDS.get(random.below(ASCII_WORDS)).copied().unwrap_or_default();
    (0..words).map(|_| word()).collect::<Vec<_>>().join(" ")
}

/// Paragraphs of them, some with quotes.
fn paragraphs(random: &mut Random, words: usize) -> String {
    let paragraphs: Vec<String> =
        (0..words.div_ceil(50)).map(|_| format!("{}, \"{}\".", plain(random, 40), plain(random, 10))).collect();
    paragraphs.join("\n\n")
}

/// An answer of chat completions, about `kilobytes` long, as the recorded ones are.
pub(crate) fn usual_answer(random: &mut Random, kilobytes: usize) -> String {
    let choice = |index| {
        let content = if index % 3 == 0 { paragraphs(random, 90) } else { plain(random, 60) };
        json!({"index": index, "message": {"role": "assistant", "content": content, "refusal": null}, "finish_reason": "stop"})
    };
    let choices: Vec<Value> = (0..(2 * kilobytes).max(1)).map(choice).collect();
    json!({"id": "chatcmpl-Fake0000000000000000000000", "object": "chat.completion", "created": 1_795_392_000,
        "model": "gpt-4o-mini-2024-07-18", "choices": choices, "usage": {"prompt_tokens": 1200,
        "completion_tokens": 800, "total_tokens": 2000, "prompt_tokens_details": {"cached_tokens": 1024}},
        "service_tier": "default", "system_fingerprint": "fp_fake000000"})
    .to_string()
}

/// A call for embeddings: the texts, and an answer of about `kilobytes` with their vectors.
pub(crate) fn embeddings(random: &mut Random, kilobytes: usize) -> (String, String) {
    let count = (kilobytes / 33).max(1);
    let input: Vec<String> = (0..count).map(|_| paragraphs(random, 90)).collect();
    let numbers = (kilobytes << 10) / count / 22;
    let mut vector = || (0..numbers).map(|_| (random.next() >> 11) as f64 / 1e18 - 0.005).collect::<Vec<f64>>();
    let data: Vec<Value> =
        (0..count).map(|index| json!({"object": "embedding", "index": index, "embedding": vector()})).collect();
    let asked = json!({"model": "text-embedding-3-small", "input": input, "encoding_format": "float"});
    let answered = json!({"object": "list", "data": data, "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 90 * count, "total_tokens": 90 * count}});
    (asked.to_string(), answered.to_string())
}

/// A whole answer of OpenAI chat completions.
pub(crate) fn answer(random: &mut Random, words: usize) -> String {
    json!({"id": "chatcmpl-Fake0000000000000000000000", "object": "chat.completion", "created": 1_795_392_000,
        "model": "gpt-4o-mini-2024-07-18", "choices": [{"index": 0, "message": {"role": "assistant",
        "content": format!("{}\n{}", prose(random, words), code(random, words / 20)), "refusal": null,
        "annotations": []}, "logprobs": null, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1200,
        "completion_tokens": 800, "total_tokens": 2000, "prompt_tokens_details": {"cached_tokens": 1024,
        "audio_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0}},
        "service_tier": "default", "system_fingerprint": "fp_fake000000"})
    .to_string()
}

/// Events of one streamed answer: name (may be empty) and payload.
pub(crate) type Events = Vec<(&'static str, String)>;

/// OpenAI chat completions: a word an event, padding included.
pub(crate) fn chat_events(random: &mut Random, words: usize) -> Events {
    let chunk = |delta: Value, reason: Value, usage: Value, padding: &str| {
        json!({"id": "chatcmpl-Fake0000000000000000000000", "object": "chat.completion.chunk", "created": 1_795_392_000,
            "model": "gpt-4o-mini-2024-07-18", "service_tier": "default", "system_fingerprint": "fp_fake000000",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}], "usage": usage,
            "obfuscation": padding})
        .to_string()
    };
    let mut events =
        vec![("", chunk(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null, Value::Null, "a"))];
    for _ in 0..words {
        let text = format!(" {}", prose(random, 1));
        let padding = "aB3dE5".get(random.below(5)..).unwrap_or_default();
        events.push(("", chunk(json!({"content": text}), Value::Null, Value::Null, padding)));
    }
    let usage = json!({"prompt_tokens": 1200, "completion_tokens": 800, "total_tokens": 2000});
    events.push(("", chunk(json!({}), json!("stop"), usage, "x")));
    events.push(("", "[DONE]".to_owned()));
    events
}

/// Anthropic messages: thinking, text, and a tool call in pieces of JSON.
pub(crate) fn message_events(random: &mut Random, words: usize) -> Events {
    let mut events = vec![
        (
            "message_start",
            json!({"type": "message_start", "message": {"model": "claude-sonnet-4-5-20250929", "id": "msg_fake", "type": "message",
                "role": "assistant", "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 472,
                "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 2, "service_tier": "standard"}}}),
        ),
        ("ping", json!({"type": "ping"})),
    ];
    let blocks = [
        (json!({"type": "thinking", "thinking": "", "signature": ""}), "thinking_delta", "thinking", words / 3),
        (json!({"type": "text", "text": ""}), "text_delta", "text", words / 2),
        (
            json!({"type": "tool_use", "id": "toolu_fake", "name": "edit", "input": {}}),
            "input_json_delta",
            "partial_json",
            words / 6,
        ),
    ];
    for (index, (block, kind, member, words)) in blocks.into_iter().enumerate() {
        let start = json!({"type": "content_block_start", "index": index, "content_block": block});
        events.push(("content_block_start", start));
        let mut delta = |text: String| {
            events.push((
                "content_block_delta",
                json!({"type": "content_block_delta", "index": index, "delta": {"type": kind, member: text}}),
            ));
        };
        if kind == "input_json_delta" {
            delta("{\"text\": \"".to_owned());
        }
        for _ in 0..words {
            delta(format!(" {}", word(random)));
        }
        if kind == "input_json_delta" {
            delta("\"}".to_owned());
        }
        events.push(("content_block_stop", json!({"type": "content_block_stop", "index": index})));
    }
    events.push((
        "message_delta",
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"input_tokens": 472, "output_tokens": 589}}),
    ));
    events.push(("message_stop", json!({"type": "message_stop"})));
    events.into_iter().map(|(name, doc)| (name, doc.to_string())).collect()
}

/// OpenAI responses: the request comes back in the first two events and in the last.
pub(crate) fn response_events(random: &mut Random, words: usize) -> Events {
    let (instructions, tools) = (prose(random, 300), tools(random, 3));
    let response = |status: &str, output: Value, usage: Value| {
        json!({"id": "resp_fake", "object": "response", "created_at": 1_795_392_000, "status": status, "error": null,
            "instructions": instructions, "model": "gpt-4.1-2025-04-14", "output": output, "tools": tools, "usage": usage,
            "parallel_tool_calls": true, "temperature": 1.0, "metadata": {}})
    };
    let mut number = 0;
    let mut events = Events::new();
    let mut add = |kind: &'static str, rest: Value| {
        let mut doc = json!({"type": kind, "sequence_number": number});
        if let (Some(doc), Value::Object(rest)) = (doc.as_object_mut(), rest) {
            doc.extend(rest);
        }
        number += 1;
        events.push((kind, doc.to_string()));
    };
    let item = |status: &str, content: Value| json!({"id": "msg_fake", "type": "message", "status": status, "content": content, "role": "assistant"});
    let place = |mut rest: Value| {
        if let Some(rest) = rest.as_object_mut() {
            rest.extend(
                [("item_id", json!("msg_fake")), ("output_index", json!(0)), ("content_index", json!(0))]
                    .map(|(key, value)| (key.to_owned(), value)),
            );
        }
        rest
    };
    for kind in ["response.created", "response.in_progress"] {
        add(kind, json!({"response": response("in_progress", json!([]), Value::Null)}));
    }
    add("response.output_item.added", json!({"output_index": 0, "item": item("in_progress", json!([]))}));
    let mut whole = String::new();
    for _ in 0..words {
        let delta = format!(" {}", word(random));
        whole.push_str(&delta);
        let padding = "aB3dE5fG7hI9".get(random.below(11)..).unwrap_or_default();
        add("response.output_text.delta", place(json!({"delta": delta, "logprobs": [], "obfuscation": padding})));
    }
    let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": whole});
    add("response.output_text.done", place(json!({"text": whole, "logprobs": []})));
    add("response.content_part.done", place(json!({"part": part})));
    add("response.output_item.done", json!({"output_index": 0, "item": item("completed", json!([part]))}));
    let usage = json!({"input_tokens": 900, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 400,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 1300});
    add(
        "response.completed",
        json!({"response": response("completed", json!([item("completed", json!([part]))]), usage)}),
    );
    events
}
