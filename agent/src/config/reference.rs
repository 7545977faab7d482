//! `docs/CONFIG.md` from the code. Enters: nothing but the types of this room. Leaves: Markdown, the same in each run.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Admin, Attribution, Breaker, Budget, Config, FileSink, FindingMatch, Fleet, Journald, KafkaSink, LogFiles, Logs,
    OtlpSink, Price, Prices, Process, RetrievalAge, RuleAllow, RuleOverride, Rules, Silence, Sinks, State, Store,
    SyslogSink, Tap, WebhookSink,
};

/// What stands above the keys.
const HEAD: &str = "# Configuration

`outflow run --config outflow.toml` reads one TOML file. Every key has a default, so a file holds only what differs. A key that
is not in this list and a value that is out of its bounds are errors, and all errors of a file are told at once, each with line,
column and key. `outflow config check FILE` says whether a file is good, `outflow config show --effective FILE` prints it with
all defaults. [outflow.example.toml](outflow.example.toml) is a complete file.

This page is made from the code: run the tests with `OUTFLOW_BLESS=1` to write it anew.
";

/// The text of `docs/CONFIG.md`.
pub fn reference() -> String {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    let mut out = HEAD.to_owned();
    for (section, keys) in [
        ("[state]", keys::<State>()),
        ("[process]", keys::<Process>()),
        ("[tap]", keys::<Tap>()),
        ("[logs]", keys::<Logs>()),
        ("[[logs.files]]", keys::<LogFiles>()),
        ("[logs.journald]", keys::<Journald>()),
        ("[rules]", keys::<Rules>()),
        ("[[rules.override]]", keys::<RuleOverride>()),
        ("[[rules.allow]]", keys::<RuleAllow>()),
        ("[attribution]", keys::<Attribution>()),
        ("[[budget]]", keys::<Budget>()),
        ("[breaker]", keys::<Breaker>()),
        ("[fleet]", keys::<Fleet>()),
        ("[prices]", keys::<Prices>()),
        ("[[price]]", keys::<Price>()),
        ("[[retrieval]]", keys::<RetrievalAge>()),
        ("[store]", keys::<Store>()),
        ("[sinks]", keys::<Sinks>()),
        ("[[sinks.kafka]]", keys::<KafkaSink>()),
        ("[[sinks.kafka.only]]", keys::<FindingMatch>()),
        ("[[sinks.otlp]]", keys::<OtlpSink>()),
        ("[[sinks.file]]", keys::<FileSink>()),
        ("[[sinks.webhook]]", keys::<WebhookSink>()),
        ("[[sinks.syslog]]", keys::<SyslogSink>()),
        ("[[silence]]", keys::<Silence>()),
        ("[admin]", keys::<Admin>()),
    ] {
        let names: Vec<&str> = section.trim_matches(['[', ']']).split('.').collect();
        let mut node = &schema;
        let mut about = "";
        for name in &names {
            node = &node["properties"][*name];
            about = node["description"].as_str().unwrap_or_default();
            node = if node["items"].is_object() { &node["items"] } else { node };
        }
        // Writing to a string cannot fail.
        let _ = write!(out, "\n## `{section}`\n\n{}\n", unwrapped(about));
        let is_table = |key: &&String| {
            let node = &node["properties"][key.as_str()];
            node["properties"].is_object() || node["items"]["properties"].is_object()
        };
        for key in keys.iter().filter(|key| !is_table(key)) {
            let _ = write!(out, "\n{}", entry(&names, key, node));
        }
    }
    out
}

/// The keys of a table in the order of the code. serde names them when it refuses one.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    let refusal = toml::from_str::<T>("'?' = 0").err().map(|error| error.message().to_owned()).unwrap_or_default();
    refusal.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

fn entry(section: &[&str], key: &str, table: &Value) -> String {
    let node = &table["properties"][key];
    let is_required = table["required"].as_array().is_some_and(|names| names.iter().any(|name| name == key));
    let default = match &node["default"] {
        _ if is_required => "Required.".to_owned(),
        Value::Null => "No default.".to_owned(),
        value => format!("Default: `{}`.", shown(value)),
    };
    let about = unwrapped(node["description"].as_str().unwrap_or_default());
    format!("### `{}.{key}`\n\n{about}\n\n*{}.* {default}\n", section.join("."), capital(&form(node)))
}

/// What may stand there.
fn form(node: &Value) -> String {
    if let Some(form) = node["x-form"].as_str() {
        return code(form);
    }
    // An optional value is "this or null", and TOML knows no null.
    if let Some(choice) = node["anyOf"].as_array().and_then(|all| all.first()) {
        return form(choice);
    }
    let words = choices(node);
    if !words.is_empty() {
        return format!("one of {}", words.join(", "));
    }
    let is =
        |name: &str| node["type"] == name || node["type"].as_array().is_some_and(|all| all.iter().any(|t| t == name));
    if node["additionalProperties"].is_object() {
        format!("table; each value is {}", form(&node["additionalProperties"]))
    } else if is("array") {
        format!("array; each is {}", form(&node["items"]))
    } else if is("boolean") {
        "`true` or `false`".to_owned()
    } else if is("integer") {
        "a whole number".to_owned()
    } else {
        "text".to_owned()
    }
}

fn choices(node: &Value) -> Vec<String> {
    let documented = node["oneOf"].as_array().into_iter().flatten().filter_map(|choice| {
        let about = choice["description"].as_str().unwrap_or_default().trim_end_matches('.');
        Some(format!("`\"{}\"` ({})", choice["const"].as_str()?, unwrapped(about)))
    });
    let plain =
        node["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|word| format!("`\"{word}\"`"));
    documented.chain(plain).collect()
}

/// As TOML has it; only arrays, numbers, text and truth values are defaults of keys.
fn shown(value: &Value) -> String {
    value.to_string().replace(',', ", ")
}

/// What stands in quotes is what may be typed: it is shown as code, in which a `*` is no emphasis.
fn code(form: &str) -> String {
    let parts = form.split('"').enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { format!("`\"{part}\"`") } else { part.to_owned() }).collect()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// A doc comment without the line ends of the source.
fn unwrapped(text: &str) -> String {
    text.split('\n').map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}
