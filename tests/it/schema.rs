//! `docs/schema/finding-v1.json` is what the code makes, and what the code writes follows it. `OUTFLOW_BLESS=1` writes the file.

#![expect(clippy::unwrap_used, reason = "a helper of tests that fails is a failed test")]

use std::{fs, path::PathBuf, sync::Arc};

use bytes::Bytes;
use outflow::{
    detectors::{
        Detector, Hit, Leak, Place, Side, pinning::Pinning, resolved_model::ResolvedModel,
        untracked_spend::UntrackedSpend,
    },
    exchange::{Api, Exchange, Prices, Usage, View, cost::Catalogue},
    findings::{Finding, Findings, FingerprintKey, Maker, finding_schema},
    rules::{ModelRules, RuleSource, ScanRule},
    sources::{
        Origin, StreamId,
        log::{LogBlock, LogFile},
    },
    units::{Severity, Timestamp},
};

fn committed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/finding-v1.json")
}

#[test]
fn the_committed_schema_of_the_fleet_s_state_is_the_generated_one() {
    let file = committed().with_file_name("fleet-state-v1.json");
    let generated = serde_json::to_string_pretty(&outflow::fleet::state_schema()).unwrap() + "\n";
    if std::env::var_os("OUTFLOW_BLESS").is_some() {
        fs::write(&file, &generated).unwrap();
    }
    let committed = fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == generated,
        "docs/schema/fleet-state-v1.json is out of date: run this test with OUTFLOW_BLESS=1"
    );
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    let generated = serde_json::to_string_pretty(&finding_schema()).unwrap() + "\n";
    if std::env::var_os("OUTFLOW_BLESS").is_some() {
        fs::write(committed(), &generated).unwrap();
    }
    let committed = fs::read_to_string(committed()).unwrap();
    assert!(committed == generated, "docs/schema/finding-v1.json is out of date: run this test with OUTFLOW_BLESS=1");
}

pub(crate) fn exchange(requested: &str, resolved: &str) -> Exchange {
    let started_at = Timestamp(1_795_392_000_000_000_000);
    Exchange {
        vendor: Some("openai".into()),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        api: Api::ChatCompletions,
        status: Some(200),
        request_model: Some(requested.into()),
        response_model: Some(resolved.into()),
        usage: Usage { input_tokens: Some(100), output_tokens: Some(10), ..Usage::default() },
        view: View { request_bytes: 10, response_bytes: 10, complete: true, ..View::default() },
        ..Exchange::unknown(
            StreamId(1),
            Arc::new(Origin {
                pid: 7,
                process: "python3".into(),
                service: "shop".into(),
                container: Some("c0ffee".into()),
                ..Origin::default()
            }),
            "api.openai.com",
            started_at,
        )
    }
}

/// A call that another model answered, which the request named itself.
pub(crate) fn second_choice() -> Exchange {
    let mut call = exchange("acme-1", "gpt-4.1-2025-04-14");
    call.asking.fallback_models = vec!["gpt-4.1".into()];
    call
}

/// A call whose answer does not name its model.
pub(crate) fn unnamed() -> Exchange {
    let model = "us.amazon.nova-lite-v1:0";
    Exchange { vendor: Some("aws_bedrock".into()), api: Api::Converse, response_model: None, ..exchange(model, model) }
}

/// A finding of every rule that the detectors know, and of a leak; then their last revisions.
fn every_kind() -> Vec<Finding> {
    let prices = Catalogue::bundled();
    let rules = Arc::new(ModelRules::load(&RuleSource::Embedded).unwrap());
    let mut pinning = Pinning::new(rules);
    let mut resolved = ResolvedModel::new();
    let budget = outflow::config::Config::parse("x", "[[budget]]\nservice = \"*\"\nlimit_usd = 0.000000001\n").unwrap();
    let mut budgets = outflow::detectors::budget::BudgetWatch::new(budget.budgets());
    let stream = Exchange { streaming: true, usage: Usage::default(), ..exchange("gpt-4o", "gpt-4o") };
    let calls = [
        exchange("gpt-4", "gpt-4-0613"),
        exchange("gpt-4o", "gpt-4o-2024-08-06"),
        exchange("gpt-4o", "gpt-4o-2024-11-20"),
        exchange("gpt-4o", "gpt-4o-2024-11-20"),
        exchange("gpt-4o", "gpt-4o-2024-08-06"),
        exchange("gpt-4o", "gpt-4o-mini"),
        stream,
        exchange("text-embedding-3-small", "text-embedding-3-small"),
        second_choice(),
        unnamed(),
    ];
    let maker = Maker::new(FingerprintKey::new([1; 32]));
    let mut findings = Findings::new(60_000_000_000);
    let mut told = Vec::new();
    for call in &calls {
        let call = &Exchange { cost: prices.price(call), ..call.clone() };
        let mut seen = Vec::new();
        let mut record = |hit: Hit<'_>| seen.push(maker.occurrence(&hit, call.started_at, call.cost.as_ref()));
        pinning.inspect(call, &mut record);
        budgets.inspect(call, &mut record);
        resolved.inspect(call, &mut record);
        UntrackedSpend.inspect(call, &mut record);
        told.extend(findings.count(seen, call.started_at));
    }
    let rule = ScanRule {
        id: "pii.email".into(),
        group: "contact".into(),
        entity: "EMAIL_ADDRESS".into(),
        title: "E-mail address".into(),
        severity: Severity::Medium,
        confidence: 80,
        pattern: String::new(),
        remedy: "Remove it.".into(),
        references: Vec::new(),
    };
    let [call, ..] = &calls;
    for side in [Side::Request, Side::Response] {
        let leak = Leak {
            rule: &rule,
            haystack: b"to jane@example.com",
            span: 3..19,
            others: &[],
            confidence: 90,
            place: Place::Exchange { exchange: call, side, path: "$.input" },
        };
        let seen = maker.occurrence(&Hit::Leak(leak), call.started_at, prices.price(call).as_ref());
        told.extend(findings.count(vec![seen], call.started_at));
    }
    let file = LogFile { path: "/var/log/app.log".into(), origin: Arc::clone(&call.origin), ..LogFile::default() };
    let bytes = Bytes::from_static(b"one\nto jane@example.com\n");
    let block = LogBlock { first_line: 41, ..LogBlock::whole(Arc::new(file), bytes, call.started_at) };
    let leak = Leak {
        rule: &rule,
        haystack: b"to jane@example.com",
        span: 3..19,
        others: &[],
        confidence: 90,
        place: Place::Log { block: &block, origin: &block.file.origin, line: 42, column: 3, offset: 7 },
    };
    told.extend(findings.count(vec![maker.occurrence(&Hit::Leak(leak), block.at, None)], block.at));
    told.extend(findings.finish());
    told
}

#[test]
fn findings_of_every_kind_follow_the_schema() {
    // The committed schema is this one: the test above.
    let validator = jsonschema::validator_for(&finding_schema()).unwrap();
    let told = every_kind();
    for finding in &told {
        let value = serde_json::to_value(finding).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:?} in {value:#}");
        assert_eq!(&serde_json::from_value::<Finding>(value).unwrap(), finding, "what was written can be read");
    }
    let mut rules: Vec<&str> = told.iter().map(|finding| finding.rule.id.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let expected = [
        "cost.budget",
        "cost.untracked",
        "model.fallback",
        "model.flapping",
        "model.resolved_changed",
        "model.retired",
        "model.retiring",
        "model.substituted",
        "model.unpinnable",
        "model.unpinned",
        "model.unverifiable",
        "pii.email",
    ];
    assert_eq!(rules, expected);
    let disable = toml::Value::from(expected.to_vec());
    let config = outflow::config::Config::parse("x", &format!("[rules]\ndisable = {disable}\n")).unwrap();
    assert!(config.rules.is_disabled("cost.budget") && !config.rules.is_disabled("cost.burn_rate"));
    assert!(told.iter().any(|finding| finding.revision > 1), "no last revision was checked");
    let log = told.iter().find(|finding| finding.destination.is_none()).expect("no finding in a log was checked");
    let location = log.location.as_ref().unwrap();
    let place = (location.file.as_deref(), location.line, location.start, location.end);
    assert_eq!(place, (Some("/var/log/app.log"), Some(42), 3, 19));
    assert_eq!((log.title.as_str(), log.process.service.as_str()), ("E-mail address in app.log", "shop"));
}

#[test]
fn the_schema_refuses_what_is_no_finding() {
    let validator = jsonschema::validator_for(&finding_schema()).unwrap();
    let good = serde_json::to_value(every_kind().first().unwrap()).unwrap();
    assert!(validator.is_valid(&good));
    let cases = [
        ("severity", serde_json::json!("grave")),
        ("confidence", serde_json::json!(101)),
        ("event_name", serde_json::json!("outflow.exchange")),
        ("schema_version", serde_json::json!(2)),
        ("finding_id", serde_json::json!("x")),
        ("activity", serde_json::json!("delete")),
        ("count", serde_json::json!(0)),
        ("cost_nano_usd", serde_json::json!(-1)),
        ("excerpt", serde_json::json!("x".repeat(81))),
    ];
    for (field, value) in cases {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(!validator.is_valid(&bad), "{field} was not refused");
    }
    let mut missing = good;
    missing.as_object_mut().unwrap().remove("rule");
    assert!(!validator.is_valid(&missing));
}
