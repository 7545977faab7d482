//! What models answer. Enters: the traffic and chance. Leaves: text or JSON, why the model stopped, tokens; and the JSON schema of
//! a list of members.
//!
//! Members are written `"id:integer"`, `"customer.name:string"`, `"tags:[string]"`, `"note?:string"` (there in half of the answers).

use serde_json::{Map, Value, json};

use super::Job;
use crate::{
    random::Random,
    span::whole,
    talk::{Finish, Reply, Tokens},
    traffic::{ReportedCost, Traffic, Vendor},
    words,
};

const REFUSAL: &str = "I'm sorry, but I can't help with that request.";

/// The schema of some members.
pub(super) fn schema(members: &[String]) -> Value {
    let mut root = object();
    for member in members {
        let (path, kind, is_required) = parts(member);
        let mut place = &mut root;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            if is_required
                && let Some(required) = place["required"].as_array_mut()
                && !required.iter().any(|it| it == name)
            {
                required.push(name.into());
            }
            let properties = &mut place["properties"];
            if names.peek().is_none() {
                properties[name] = match kind.strip_prefix('[') {
                    Some(items) => json!({"type": "array", "items": {"type": items.trim_end_matches(']')}}),
                    None => json!({"type": kind}),
                };
            } else if properties[name].is_null() {
                properties[name] = object();
            }
            place = &mut place["properties"][name];
        }
    }
    root
}

fn object() -> Value {
    json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false})
}

/// Path, type, whether it is always there.
fn parts(member: &str) -> (&str, &str, bool) {
    let (path, kind) = member.split_once(':').unwrap_or((member, "string"));
    path.strip_suffix('?').map_or((path, kind, true), |path| (path, kind, false))
}

fn example(random: &mut Random, members: &[String]) -> Value {
    let mut root = Map::new();
    for member in members {
        let (path, kind, is_required) = parts(member);
        if !is_required && random.chance(0.5) {
            continue;
        }
        let mut value = match kind.strip_prefix('[') {
            Some(items) => {
                let count = 1 + random.below(3);
                (0..count).map(|_| scalar(random, items.trim_end_matches(']'))).collect()
            }
            None => scalar(random, kind),
        };
        let (path, name) = path.rsplit_once('.').unwrap_or(("", path));
        let mut place = &mut root;
        for outer in path.split('.').filter(|outer| !outer.is_empty()) {
            let inner = place.entry(outer).or_insert_with(|| json!({}));
            let Value::Object(inner) = inner else { return Value::Null };
            place = inner;
        }
        place.insert(name.to_owned(), value.take());
    }
    Value::Object(root)
}

fn scalar(random: &mut Random, kind: &str) -> Value {
    match kind {
        "integer" => random.below(1000).into(),
        "number" => ((random.unit() * 1000.0).round() / 10.0 + 0.05).into(),
        "boolean" => random.chance(0.5).into(),
        _ => words::text(random, 4).into(),
    }
}

/// The answer of a chat.
pub(super) fn reply(job: &mut Job<'_>) -> Reply {
    let traffic = std::rc::Rc::clone(&job.traffic);
    let random = &mut *job.random;
    let mut output = random.size(traffic.output_tokens, traffic.spread);
    let json = (!traffic.fields.is_empty()).then(|| example(random, &traffic.fields).to_string());
    let mut text = match json {
        Some(_) if random.chance(traffic.prose) => format!("Here is what I found: {}", words::text(random, 20)),
        Some(json) if random.chance(traffic.fenced) => format!("```json\n{json}\n```"),
        Some(json) => json,
        None => words::of_tokens(random, output),
    };
    let mut finish = Finish::Stop;
    if random.chance(traffic.truncated) {
        finish = Finish::Length;
        output = traffic.max_tokens.max(output);
        text.truncate(text.len() * 2 / 3);
    } else if random.chance(traffic.filtered) {
        finish = Finish::Filter;
        text = if traffic.vendor == Vendor::Gemini { String::new() } else { words::text(random, 5) };
    } else if random.chance(traffic.refused) {
        // Chat completions has a member for it; other models just say so.
        let says_so = matches!(traffic.vendor, Vendor::Openai | Vendor::OpenaiResponses | Vendor::Anthropic);
        finish = if says_so { Finish::Refusal } else { Finish::Stop };
        REFUSAL.clone_into(&mut text);
    }
    // Reported output is never less than what can be read.
    let output = output.min(traffic.max_tokens.max(1)).max(text.len() as u64 / 6).max(1);
    let output = if traffic.max_tokens == 0 { random.size(traffic.output_tokens, traffic.spread) } else { output };
    let input = random.size(traffic.prompt_tokens, traffic.spread);
    Reply { text, finish, ..bare(&traffic, random, input, output) }
}

/// An answer that says nothing yet.
pub(super) fn bare(traffic: &Traffic, random: &mut Random, input: u64, output: u64) -> Reply {
    let prefix = match traffic.vendor {
        Vendor::Anthropic => "msg_",
        Vendor::OpenaiResponses => "resp_",
        Vendor::Openrouter => "gen-",
        Vendor::Gemini | Vendor::Bedrock => "",
        _ => "chatcmpl-",
    };
    let model = traffic.resolved.clone().unwrap_or_else(|| traffic.model.clone());
    let cost_usd = traffic.reported_cost.map(|kind| match kind {
        ReportedCost::Zero => 0.0,
        ReportedCost::Real => (input as f64 * 2.0 + output as f64 * 8.0) / 1e6,
    });
    Reply {
        id: format!("{prefix}{}", random.id(24)),
        model: (!model.is_empty()).then_some(model),
        tokens: Tokens { input, cached: share(input, traffic.cached), output },
        fingerprint: format!("fp_{:010x}", random.below(6)),
        tier: traffic.tier.clone(),
        cost_usd,
        ..Reply::default()
    }
}

fn share(of: u64, share: f64) -> u64 {
    whole(of as f64 * share).min(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_become_a_schema_and_examples_of_it() {
        let members = ["id:integer", "customer.name:string", "tags:[string]", "note?:string"].map(str::to_owned);
        let expected = json!({
            "type": "object",
            "properties": {
                "id": {"type": "integer"},
                "customer": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                    "additionalProperties": false,
                },
                "tags": {"type": "array", "items": {"type": "string"}},
                "note": {"type": "string"},
            },
            "required": ["id", "customer", "tags"],
            "additionalProperties": false,
        });
        assert_eq!(schema(&members), expected);
        let mut random = Random::new(1, "");
        let examples: Vec<Value> = (0..20).map(|_| example(&mut random, &members)).collect();
        assert!(examples.iter().all(|it| it["id"].is_u64() && it["customer"]["name"].is_string()), "{examples:?}");
        let noted = examples.iter().filter(|it| it["note"].is_string()).count();
        assert!((1..20).contains(&noted), "{noted} of 20 have a note");
    }
}
