//! Violations that are told, and those that are not held against anybody.

use super::*;
use crate::exchange::{Dialect, Form, Reply, ToolArguments, Written, sample};

fn named(tool: Option<&str>, is_strict: bool, dialect: Dialect, schema: &Value) -> Schema {
    let text = schema.to_string();
    let digest = text.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    Schema { tool: tool.map(str::to_owned), is_strict, dialect, digest, text }
}

fn ticket(is_strict: bool) -> Schema {
    let ticket = json!({"type": "object", "required": ["id"], "additionalProperties": false,
        "properties": {"id": {"type": "integer"}, "kind": {"enum": ["a", "b"]}}});
    named(None, is_strict, Dialect::JsonSchema, &ticket)
}

fn said(text: &str, schema: &Schema) -> Exchange {
    let reply = Reply { form: Form::of(text), opening: String::new(), bytes: text.len() };
    let written = Written { replies: vec![reply], schemas: vec![schema.clone()], ..Written::default() };
    Exchange { written: Box::new(written), ..sample::exchange("openai", "gpt-4o") }
}

fn told(detector: &mut SchemaViolations, exchange: &Exchange) -> Vec<(String, String, Severity)> {
    let mut seen = Vec::new();
    detector.inspect(exchange, &mut |hit| match hit {
        Hit::Behaviour(hit) => {
            let fact =
                |wanted: &str| hit.facts.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
            let place = format!("{} {}", fact("schema.place").unwrap(), fact("schema.keyword").unwrap());
            seen.push((hit.title.clone(), place.replace('"', ""), hit.severity));
        }
        Hit::Leak(_) => panic!("this detector knows no leaks"),
    });
    seen
}

fn fresh() -> SchemaViolations {
    SchemaViolations::new(ModelChanges::new())
}

const GOOD: &str = r#"{"id": 7, "kind": "a"}"#;

#[test]
fn strict_mode_may_fail_once() {
    let mut detector = fresh();
    let strict = ticket(true);
    for (text, expected) in [
        (r#"{"id": "x"}"#, None), // the schema is seen for the first time
        (r#"{"id": "x"}"#, None), // once
        (GOOD, None),
        (r#"{"kind": "c"}"#, Some("2 of 3")),
        (GOOD, None),
        (r#"{"id": 1, "other": 2}"#, Some("3 of 5")),
    ] {
        let seen = told(&mut detector, &said(text, &strict));
        let start = seen.first().map(|(title, ..)| title.split(" answers").next().unwrap_or_default().to_owned());
        assert_eq!(start.as_deref(), expected, "{text}");
    }
}

#[test]
fn a_rate_is_told_with_the_place() {
    let mut detector = fresh();
    let loose = ticket(false);
    let mut seen = Vec::new();
    for number in 0..40 {
        let text = if number % 4 == 1 { r#"{"id": "seven"}"# } else { GOOD };
        seen.extend(told(&mut detector, &said(text, &loose)).into_iter().map(|hit| (number, hit)));
    }
    let title = "6 of 21 answers of `gpt-4o` break their JSON schema";
    assert_eq!(seen[0], (21, (title.to_owned(), "/id type".to_owned(), Severity::Medium)));
    assert_eq!(seen.len(), 5);
}

#[test]
fn the_tempting_ones_are_not_told() {
    let loose = ticket(false);
    let bad = r#"{"id": "x"}"#;
    let broken = |schema: &Value| named(None, true, Dialect::JsonSchema, schema);
    let cut = Exchange { finish_reasons: vec!["length".into()], ..said(bad, &ticket(true)) };
    let failed = Exchange { error: Some("x".into()), ..said(bad, &ticket(true)) };
    let cases = [
        ("cut off", cut),
        ("failed", failed),
        ("words", said("I think it is seven.", &ticket(true))),
        ("no JSON", said("{", &ticket(true))),
        ("all is well", said(GOOD, &ticket(true))),
        ("no schema", said(bad, &broken(&json!({"type": 5})))),
        ("elsewhere", said(bad, &broken(&json!({"$ref": "https://example.com/schema.json"})))),
        ("no file", said(bad, &broken(&json!({"$ref": "file:///etc/hosts"})))),
        (
            "a pattern that goes back and forth",
            said(bad, &broken(&json!({"properties": {"id": {"pattern": "(?=a)b"}}}))),
        ),
        ("itself", said(bad, &broken(&json!({"$ref": "#"})))),
    ];
    for (why, exchange) in cases {
        let mut detector = fresh();
        for _ in 0..50 {
            assert_eq!(told(&mut detector, &exchange), [], "{why}");
        }
    }
    let mut detector = fresh();
    for number in 0..1000 {
        let text = if number % 40 == 3 { bad } else { GOOD };
        assert_eq!(told(&mut detector, &said(text, &loose)), [], "one in forty");
    }
}

#[test]
fn a_schema_of_its_own_for_each_call_is_never_compiled() {
    let mut detector = fresh();
    for number in 0..1000 {
        let own = named(None, true, Dialect::JsonSchema, &json!({"const": number}));
        assert_eq!(told(&mut detector, &said("{}", &own)), []);
    }
    assert_eq!(detector.schemas.len(), MAX_SCHEMAS);
    assert!(detector.schemas.iter().all(|(_, compiled)| matches!(compiled, Compiled::Seen)));
}

#[test]
fn googles_schemas_are_translated() {
    let google = json!({"type": "OBJECT", "required": ["n"], "propertyOrdering": ["n", "list"], "properties": {
        "n": {"type": "INTEGER", "format": "int32", "nullable": true},
        "list": {"type": "ARRAY", "minItems": "1", "items": {"type": "STRING", "format": "enum", "enum": ["A", "B"]}},
        "either": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]}}});
    let schema = named(None, false, Dialect::OpenApi, &google);
    let validator = compile::compile(&schema).expect("a schema");
    for (value, is_valid) in [
        (json!({"n": 1, "list": ["A"], "either": "x"}), true),
        (json!({"n": null, "either": 2.5}), true),
        (json!({"n": "1"}), false),
        (json!({"list": ["A"]}), false),
        (json!({"n": 1, "list": []}), false),
        (json!({"n": 1, "list": ["C"]}), false),
        (json!({"n": 1, "either": true}), false),
        (json!([]), false),
    ] {
        assert_eq!(validator.is_valid(&value), is_valid, "{value}");
    }
}

#[test]
fn arguments_of_tools_are_checked_by_their_own_schema() {
    let mut detector = fresh();
    let save = named(Some("save"), true, Dialect::JsonSchema, &json!({"required": ["path"]}));
    let call = ToolArguments { tool: "save".into(), form: Form::Json(json!({"file": "x"})) };
    let other = ToolArguments { tool: "load".into(), form: Form::Json(json!({})) };
    let tool_arguments = vec![other, call.clone(), call];
    let written = Written { tool_arguments, schemas: vec![save.clone()], ..Written::default() };
    let exchange = Exchange { written: Box::new(written), ..said("", &save) };
    let seen: Vec<_> = (0..2).flat_map(|_| told(&mut detector, &exchange)).collect();
    assert_eq!(
        seen.first().map(|(title, place, _)| (title.as_str(), place.as_str())),
        Some((
            "3 of 3 arguments that `gpt-4o` gives to the tool `save` break their JSON schema, though strict mode promises to keep to it",
            " required"
        ))
    );
}

#[test]
fn what_was_counted_survives_a_restart_and_nonsense_does_not() {
    let mut detector = fresh();
    let strict = ticket(true);
    let mut kept = Vec::new();
    for _ in 0..2 {
        told(&mut detector, &said(r#"{"id": "x"}"#, &strict));
        detector.changes(&mut |change| kept.push((change.key.clone(), change.text().unwrap_or_default())));
    }
    let [(key, value)] = kept.as_slice() else { panic!("{kept:?}") };
    assert!(value.starts_with("[1,1,"), "{value}");
    let mut restarted = fresh();
    for (key, value) in [("", value.as_str()), (key, "{}"), (key, "[1,2,0]"), (key, "[4000000000,2,0]")] {
        restarted.restore(key, value);
        assert!(restarted.sites.is_empty(), "{value}");
    }
    restarted.restore(key, value);
    let hits: Vec<_> = (0..2).flat_map(|_| told(&mut restarted, &said(r#"{"id": "x"}"#, &strict))).collect();
    assert_eq!(hits.len(), 1, "the schema is new to it, what was counted is not");
}
