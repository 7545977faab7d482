//! A schema of a request becomes one that can be checked. Enters: its text and its dialect. Leaves: a validator, or nothing when it is no
//! schema or names others that stand elsewhere. It never loads anything, and patterns are matched in linear time.

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value, json};

use crate::exchange::{Dialect, Schema};

/// Most memory of one pattern.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// Deeper than this a schema of Google's is not translated.
const MAX_DEPTH: usize = 32;

/// The validator.
pub(super) fn compile(schema: &Schema) -> Option<Validator> {
    let parsed: Value = serde_json::from_str(&schema.text).ok()?;
    let parsed = match schema.dialect {
        Dialect::JsonSchema => parsed,
        Dialect::OpenApi => translated(&parsed, 0)?,
    };
    // The crate is built without its resolvers: a reference to another document is an error here.
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN_BYTES);
    jsonschema::options().with_pattern_options(patterns).build(&parsed).ok()
}

/// Google's schema (ai.google.dev/api/caching#Schema) as JSON Schema: types in lower case, `nullable` as a type, numbers that it writes as
/// strings, and without what says nothing about the form.
fn translated(schema: &Value, depth: usize) -> Option<Value> {
    let map = schema.as_object()?;
    if depth >= MAX_DEPTH {
        return None;
    }
    let mut out = Map::new();
    let is_nullable = map.get("nullable").and_then(Value::as_bool) == Some(true);
    for (key, value) in map {
        let value = match key.as_str() {
            "type" => match value.as_str()?.to_ascii_lowercase() {
                kind if kind == "type_unspecified" => continue,
                kind if is_nullable => json!([kind, "null"]),
                kind => Value::String(kind),
            },
            "enum" => {
                let mut values = value.as_array()?.clone();
                values.extend(is_nullable.then_some(Value::Null));
                Value::Array(values)
            }
            "properties" => {
                let members = value.as_object()?.iter();
                let members = members.map(|(name, member)| Some((name.clone(), translated(member, depth + 1)?)));
                Value::Object(members.collect::<Option<_>>()?)
            }
            "items" => translated(value, depth + 1)?,
            "anyOf" => {
                let mut any: Vec<Value> =
                    value.as_array()?.iter().map(|one| translated(one, depth + 1)).collect::<Option<_>>()?;
                any.extend(is_nullable.then(|| json!({"type": "null"})));
                Value::Array(any)
            }
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
                json!(number)
            }
            "required" | "minimum" | "maximum" | "pattern" => value.clone(),
            _ => continue,
        };
        out.insert(key.clone(), value);
    }
    Some(Value::Object(out))
}
