//! What a user decides about a scan: rules of one's own, overrides, allow-lists, marks, baselines; and the formats that other programs
//! read. None of them tells a secret.

use std::{collections::BTreeMap, fs, path::Path};

use outflow::{
    detectors::scan::{Backend, LogLines, RuleSet, Scanner},
    rules::RuleSource,
};
use serde_json::{Value, json};

use crate::scan::{Ran, example, scan};

const RULE: &str = r#"[[rule]]
id = "custom.house-token"
entity = "HOUSE_TOKEN"
title = "Token of the house"
severity = "critical"
confidence = 90
pattern = '\bhousetok_[0-9a-z]{16}\b'
remedy = "Ask for a new one."
references = ["https://house.example/tokens"]
examples = ["housetok_0123456789abcdef", "x housetok_fedcba9876543210", "key=housetok_00ff00ff00ff00ff"]
counter_examples = ["housetok_short", "HOUSETOK_0123456789ABCDEF", "housetok-0123456789abcdef"]
"#;

fn records(ran: &Ran) -> (Vec<Value>, Value) {
    let mut records: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = records.pop().unwrap_or_else(|| panic!("{}", ran.stderr));
    (records, summary)
}

/// Rules of the findings, in order.
fn rules(ran: &Ran) -> Vec<String> {
    records(ran).0.iter().map(|finding| finding["rule"]["id"].as_str().unwrap().to_owned()).collect()
}

fn suppressed(ran: &Ran) -> Value {
    records(ran).1["suppressed"].clone()
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn rules_of_ones_own_are_added_and_others_changed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "house.toml", RULE);
    write(at, "app.log", "ann@outflow-fake.org housetok_0123456789abcdef\n");
    let config = format!(
        "[rules]\nadd = [\"{}\"]\n[[rules.override]]\nid = \"pii.email\"\nseverity = \"critical\"\nconfidence = 1\n\
         [[rules.override]]\nid = \"custom.house-token\"\nseverity = \"info\"\n",
        at.join("house.toml").display()
    );
    write(at, "outflow.toml", &config);
    let plain = scan(at, &["app.log"], b"");
    assert_eq!((rules(&plain), plain.code), (vec!["pii.email".to_owned()], 0));
    let added = scan(at, &["--add-rules", "house.toml", "app.log"], b"");
    assert_eq!((rules(&added), added.code), (vec!["pii.email".to_owned(), "custom.house-token".to_owned()], 1));
    assert_eq!(records(&added).0[1]["group"], "house");
    let changed = scan(at, &["--config", "outflow.toml", "app.log"], b"");
    let (findings, _) = records(&changed);
    let shown: Vec<(&str, &str)> = findings
        .iter()
        .map(|finding| (finding["rule"]["id"].as_str().unwrap(), finding["severity"].as_str().unwrap()))
        .collect();
    assert_eq!(shown, [("pii.email", "critical"), ("custom.house-token", "info")]);
    assert!(findings[0]["confidence"].as_u64() < records(&added).0[0]["confidence"].as_u64());
    // One that looks at every line is refused, before it slows the others down.
    let busy = RULE
        .lines()
        .map(|line| if line.starts_with("pattern") { r"pattern = '(?:the|and)[^\n]{1,200}'" } else { line });
    write(at, "busy.toml", &busy.map(|line| line.to_owned() + "\n").collect::<String>());
    let busy = scan(at, &["--add-rules", "busy.toml", "app.log"], b"");
    assert_eq!(busy.code, 2, "{}", busy.stderr);
    assert!(busy.stderr.starts_with("outflow: busy.toml:") && busy.stderr.contains("look twice at"), "{}", busy.stderr);
    write(at, "off.toml", "[rules]\ndisable = [\"pii.email\"]\n");
    assert_eq!(rules(&scan(at, &["--config", "off.toml", "app.log"], b"")), Vec::<String>::new());
    write(at, "bad.toml", "[[rules.override]]\nid = \"pii.emial\"\n[[rules.allow]]\npaths = [\"x\"]\n");
    let bad = scan(at, &["--config", "bad.toml", "app.log"], b"");
    assert_eq!(bad.code, 2);
    let meant = "bad.toml:2:6: rules.override[0].id: there is no rule \"pii.emial\"; did you mean \"pii.email\"?";
    let missing = "bad.toml:3:1: rules.allow[0].reason: this key is missing";
    assert_eq!(bad.stderr, format!("outflow: {meant}\n{missing}\n"));
}

#[test]
fn what_is_allowed_is_not_told_but_counted() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let token = example("secret.github-token");
    write(at, "src/app.py", &format!("a = 'ann@outflow-fake.org'\nb = '{token}'\n"));
    write(at, "tests/app.py", "a = 'bob@outflow-fake.org'\n");
    let all = scan(at, &["src", "tests"], b"");
    assert_eq!(rules(&all), ["pii.email", "secret.github-token", "pii.email"]);
    let print = records(&all).0[1]["fingerprint"]["value"].as_str().unwrap().to_owned();
    for (allow, left, count) in [
        ("paths = [\"tests/**\"]".to_owned(), vec!["pii.email", "secret.github-token"], 1),
        ("patterns = [\"^(ann|bob)@\"]".to_owned(), vec!["secret.github-token"], 2),
        ("patterns = [\"@\"]\npaths = [\"src/*\"]".to_owned(), vec!["secret.github-token", "pii.email"], 1),
        (format!("fingerprints = [\"{print}\"]"), vec!["pii.email", "pii.email"], 1),
        (
            format!("fingerprints = [\"{print}\"]\nrules = [\"pii.*\"]"),
            vec!["pii.email", "secret.github-token", "pii.email"],
            0,
        ),
        ("services = [\"*\"]\nrules = [\"secret.*\"]".to_owned(), vec!["pii.email", "pii.email"], 1),
    ] {
        write(at, "outflow.toml", &format!("[[rules.allow]]\nreason = \"a test\"\n{allow}\n"));
        let ran = scan(at, &["--config", "outflow.toml", "src", "tests"], b"");
        assert_eq!(rules(&ran), left, "{allow}");
        let expected = if count == 0 { Value::Null } else { json!([{"by": "allow-list", "occurrences": count}]) };
        assert_eq!(suppressed(&ran), expected, "{allow}");
    }
    for bad in ["rules = [\"pii.*\"]", "patterns = [\"(\"]", "fingerprints = [\"12\"]", ""] {
        write(at, "outflow.toml", &format!("[[rules.allow]]\nreason = \"a test\"\n{bad}\n"));
        assert_eq!(scan(at, &["--config", "outflow.toml", "src"], b"").code, 2, "{bad}");
    }
}

#[test]
fn a_mark_on_the_line_silences_its_rule() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(
        at,
        "app.py",
        "a = 'ann@outflow-fake.org'  # outflow:allow, invented\n\
         b = 'bob@outflow-fake.org'  # outflow:allow=pii.email\n\
         c = 'cat@outflow-fake.org'  # outflow:allow=secret.github-token\n",
    );
    let ran = scan(at, &["--format", "jsonl", "app.py"], b"");
    let (findings, _) = records(&ran);
    assert_eq!((findings.len(), findings[0]["location"]["line"].as_u64()), (1, Some(3)));
    assert_eq!(suppressed(&ran), json!([{"by": "outflow:allow", "occurrences": 2}]));
    let text = scan(at, &["--format", "text", "app.py"], b"");
    assert!(text.stdout.contains("not told") && text.stdout.contains("2 times"), "{}", text.stdout);
    write(at, "outflow.toml", "[rules]\ninline_allow = false\n");
    assert_eq!(rules(&scan(at, &["--config", "outflow.toml", "app.py"], b"")).len(), 3);
}

#[test]
fn a_baseline_knows_leaks_wherever_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let token = example("secret.github-token");
    write(at, "a.log", &format!("ann@outflow-fake.org {token}\n"));
    let first = scan(at, &["--write-baseline", "known.json", "a.log"], b"");
    assert_eq!((first.code, rules(&first).len()), (0, 2), "{}", first.stderr);
    assert_eq!(first.stderr, "outflow: wrote known.json: 2 known leaks\n");
    let text = fs::read_to_string(at.join("known.json")).unwrap();
    assert!(!text.contains("a.log") && !text.contains("ann@") && !text.contains("ghp_"), "{text}");

    // Another file, another line, and one that is new.
    fs::remove_file(at.join("a.log")).unwrap();
    write(at, "b/c.log", &format!("\n\n{token}\nmoved: ann@outflow-fake.org bob@outflow-fake.org\n"));
    let second = scan(at, &["--baseline", "known.json", "--fail-on", "low", "b"], b"");
    assert_eq!((second.code, rules(&second)), (1, vec!["pii.email".to_owned()]));
    assert_eq!(suppressed(&second), json!([{"by": "baseline", "occurrences": 2}]));

    write(at, "other.key", &"09".repeat(32));
    let other = scan(at, &["--baseline", "known.json", "--fingerprint-key", "other.key", "b"], b"");
    assert_eq!(other.code, 2);
    assert!(other.stderr.contains("known.json was written with the fingerprint key "), "{}", other.stderr);
    assert!(other.stderr.contains("--fingerprint-key FILE") && other.stdout.is_empty(), "{}", other.stderr);
    for (arguments, said) in [
        (&["--baseline", "none.json", "b"][..], "cannot read the baseline none.json"),
        (&["--baseline", "b/c.log", "b"], "b/c.log is no baseline"),
        (&["--write-baseline", "no/folder.json", "b"], "cannot write the baseline no/folder.json"),
        (&["--baseline", "known.json", "--write-baseline", "x.json", "b"], "cannot be used with"),
    ] {
        let ran = scan(at, arguments, b"");
        assert!(ran.code == 2 && ran.stderr.contains(said), "{arguments:?}: {} {}", ran.code, ran.stderr);
    }
    assert!(!at.join("x.json").exists());
}

/// The official schema, from the package of the crate `serde-sarif`.
fn sarif_schema() -> Value {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--manifest-path", manifest])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "serde-sarif").unwrap();
    let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
    let text = fs::read_to_string(folder.join("src/schema.json")).unwrap();
    // One pattern of the standard's schema is no regular expression (a bracket is closed that was never opened); it is about a
    // property that we do not write.
    serde_json::from_str(&text.replace("-[a-zA-Z]{2}]?$", "-[a-zA-Z]{2}$")).unwrap()
}

#[test]
fn sarif_is_valid_by_the_official_schema() {
    let schema = sarif_schema();
    assert!(schema["title"].as_str().unwrap().contains("Version 2.1.0"), "{}", schema["title"]);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let token = example("secret.github-token");
    write(at, "src/a b.py", &format!("x\né = 'ann@outflow-fake.org' + '{token}'\nann@outflow-fake.org\n"));
    write(at, "empty.log", "nothing\n");
    let sarif = |arguments: &[&str], code: i32| {
        let ran = scan(at, &[&["--format", "sarif"], arguments].concat(), b"");
        assert_eq!(ran.code, code, "{}", ran.stderr);
        let log: Value = serde_json::from_str(&ran.stdout).unwrap();
        let errors: Vec<String> = validator.iter_errors(&log).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new());
        log["runs"][0].clone()
    };
    let run = sarif(&["src", "empty.log"], 1);
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    let rule = |result: &Value| {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        let rule = run["tool"]["driver"]["rules"][index].clone();
        assert_eq!(rule["id"], result["ruleId"]);
        rule
    };
    let [email, key] = results.as_slice() else { panic!("{results:?}") };
    assert_eq!((rule(email)["id"].as_str(), email["level"].as_str()), (Some("pii.email"), Some("note")));
    assert_eq!(email["occurrenceCount"], 2);
    assert!(rule(key)["helpUri"].as_str().unwrap().starts_with("https://"), "{}", rule(key));
    assert_eq!(key["level"], "error");
    assert_eq!(key["partialFingerprints"]["outflow/v1"].as_str().unwrap().len(), 32);
    let place = &key["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "src/a%20b.py");
    let text = fs::read_to_string(at.join("src/a b.py")).unwrap();
    let from = text.find("ghp_").unwrap();
    assert_eq!(place["region"], json!({"startLine": 2, "byteOffset": from, "byteLength": 40}));

    assert_eq!(sarif(&["empty.log"], 0)["results"], json!([]));
    let failed = sarif(&["empty.log", "none.log"], 3);
    assert_eq!(failed["invocations"][0]["executionSuccessful"], false);
    let note = failed["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"].as_str().unwrap();
    assert!(note.starts_with("cannot read none.log"), "{note}");
}

#[test]
fn csv_has_a_row_a_finding() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(
        at,
        "=cmd.log",
        "a,\"b\" ann@outflow-fake.org # \"quoted\", with commas\nbob@outflow-fake.org # outflow:allow\n",
    );
    let ran = scan(at, &["--format", "csv", "--fail-on", "low", "=cmd.log"], b"");
    assert_eq!((ran.code, ran.stderr.as_str()), (1, "outflow: 1 not told, by outflow:allow\n"));
    let mut reader = csv::Reader::from_reader(ran.stdout.as_bytes());
    let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    let cell = |name: &str| rows[0].get(head.iter().position(|column| column == name).unwrap()).unwrap();
    assert_eq!((cell("rule"), cell("group"), cell("path")), ("pii.email", "contact", "'=cmd.log"));
    assert_eq!((cell("line"), cell("start"), cell("byte_offset"), cell("count")), ("1", "6", "6", "1"));
    assert!(cell("masked").contains("•••@•••.org") && cell("fingerprint").len() == 32, "{:?}", rows[0]);
    for row in &rows {
        assert!(row.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@'])), "{row:?}");
    }
}

#[test]
fn calls_heed_the_allow_list_and_no_mark() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let body =
        json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "ann@outflow-fake.org # outflow:allow"}]});
    let call = json!({
        "request": {"method": "POST", "url": "https://api.openai.com/v1/chat/completions",
            "headers": {"content-type": "application/json"}, "body": body.to_string()},
        "response": {"status": 200, "headers": {"content-type": "application/json"}, "body": "{\"model\":\"gpt-4o\"}"},
    });
    write(at, "call.json", &call.to_string());
    let replay = |config: &str| {
        write(at, "outflow.toml", config);
        crate::scan::outflow(at, "replay", &["--format", "jsonl", "--config", "outflow.toml", "call.json"], b"")
    };
    let found = |ran: &Ran| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let findings = records(ran).0.into_iter().filter(|record| record["event_name"] == "outflow.finding");
        findings
            .filter(|finding| finding["rule"]["id"] == "pii.email" || finding["rule"]["id"] == "model.unpinned")
            .map(|finding| (text(&finding["rule"]["id"]), text(&finding["severity"])))
            .collect()
    };
    let pair = |rule: &str, severity: &str| (rule.to_owned(), severity.to_owned());
    let plain = replay("");
    assert_eq!(found(&plain), [pair("pii.email", "low"), pair("model.unpinned", "medium")], "a prompt cannot silence");
    assert_eq!(suppressed(&plain), Value::Null);
    let allowed = replay("[[rules.allow]]\nreason = \"a test\"\npatterns = [\"@outflow-fake[.]org$\"]\n");
    assert_eq!(found(&allowed), [pair("model.unpinned", "medium")]);
    assert_eq!(suppressed(&allowed), json!([{"by": "allow-list", "occurrences": 1}]));
    let changed = replay("[[rules.override]]\nid = \"model.unpinned\"\nseverity = \"critical\"\n");
    assert_eq!(found(&changed), [pair("pii.email", "low"), pair("model.unpinned", "critical")]);
}

/// One value of every rule, and none of them in anything that a command writes.
#[test]
fn no_output_tells_what_was_planted() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let set = RuleSet::load(&RuleSource::Embedded).unwrap();
    let mut scanner = Scanner::new(std::sync::Arc::clone(&set), Backend::best()).unwrap();
    let lines: Vec<String> = set.loaded().flat_map(|loaded| loaded.examples.clone()).collect();
    let text = lines.join("\n");
    let mut planted: BTreeMap<&str, usize> = BTreeMap::new();
    let settled = scanner.scan(text.as_bytes(), &LogLines::new(text.as_bytes())).unwrap();
    for one in &settled.matches {
        *planted.entry(&text[one.span.clone()]).or_default() += 1;
    }
    // What is as short as a number of a page could stand anywhere; what stands somewhere without being found is nothing to hide.
    planted.retain(|secret, count| secret.len() >= 8 && text.matches(*secret).count() == *count);
    assert!(planted.len() > 150, "{}", planted.len());
    write(at, "app.log", &text);
    let ran = |command: &str, arguments: &[&str]| crate::scan::outflow(at, command, arguments, b"").stdout;
    // The same in a prompt and its answer.
    let request = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}).to_string();
    let answer =
        json!({"model": "gpt-4o-2024-08-06", "choices": [{"message": {"content": text}, "finish_reason": "stop"}]});
    let headers = json!({"content-type": "application/json"});
    let call = json!({
        "request": {"method": "POST", "url": "https://api.openai.com/v1/chat/completions", "headers": headers, "body": request},
        "response": {"status": 200, "headers": headers, "body": answer.to_string()},
    });
    write(at, "call.json", &call.to_string());
    let outputs = [
        ("text", scan(at, &["--format", "text", "app.log"], b"").stdout),
        ("jsonl", scan(at, &["--format", "jsonl", "app.log"], b"").stdout),
        ("sarif", scan(at, &["--format", "sarif", "app.log"], b"").stdout),
        ("csv", scan(at, &["--format", "csv", "app.log"], b"").stdout),
        ("baseline", {
            scan(at, &["--write-baseline", "known.json", "app.log"], b"");
            fs::read_to_string(at.join("known.json")).unwrap()
        }),
        ("rules test", ran("rules", &["test", "app.log"])),
        ("rules test, as JSON", ran("rules", &["test", "--format", "jsonl", "app.log"])),
        ("replay", ran("replay", &["--format", "text", "call.json"])),
        ("replay, as JSON", ran("replay", &["--format", "jsonl", "--store", "s.db", "call.json"])),
        ("the store", String::from_utf8_lossy(&fs::read(at.join("s.db")).unwrap()).into_owned()),
        ("findings", ran("findings", &["list", "--store", "s.db", "--limit", "0", "--format", "jsonl"])),
    ];
    for (what, output) in outputs {
        assert!(output.lines().count() > 50, "{what}: {output}");
        for secret in planted.keys() {
            assert!(!output.contains(secret), "{what} tells a secret of {} bytes", secret.len());
        }
    }
}
