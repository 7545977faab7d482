//! Prices and behaviour detectors against facts of recorded calls that we did not make: `index.jsonl` of the exchange set.
//! `OUTFLOW_EXCHANGES` names its folder; without it the test skips, unless `OUTFLOW_REQUIRE_EXCHANGES=1`.

#![expect(clippy::unwrap_used, reason = "a helper of tests that fails is a failed test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use outflow::{
    detectors::{Detector, Hit, pinning::Pinning, resolved_model::ResolvedModel, untracked_spend::UntrackedSpend},
    exchange::{Api, Exchange, Prices, Usage, cost::Catalogue},
    rules::{ModelRules, RuleSource, VendorTable, models::Pin},
    units::NanoUsd,
};
use serde_json::Value;

use crate::schema::exchange;

/// What the price catalogue calls a vendor, as `rules/vendors` says; for one that it does not list, the name in the index.
fn priced_as(vendor: &str) -> Arc<str> {
    static TABLE: LazyLock<VendorTable> = LazyLock::new(|| VendorTable::load(&RuleSource::Embedded).unwrap());
    let listed = TABLE.vendors().iter().find(|listed| &*listed.id == vendor);
    listed.and_then(|listed| listed.prices.as_deref()).unwrap_or(vendor).into()
}

fn recorded() -> Option<Vec<Exchange>> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/exchanges");
    let folder = std::env::var_os("OUTFLOW_EXCHANGES").map_or(default, PathBuf::from);
    let index = folder.join("index.jsonl");
    match fs::read_to_string(&index) {
        Ok(text) => Some(text.lines().map(|line| from_facts(&serde_json::from_str(line).unwrap())).collect()),
        Err(error) => {
            let required = std::env::var_os("OUTFLOW_REQUIRE_EXCHANGES").is_some_and(|value| value == "1");
            assert!(!required, "{}: {error}", index.display());
            println!("skipped: {}: {error}", index.display());
            None
        }
    }
}

fn from_facts(facts: &Value) -> Exchange {
    let text = |name: &str| facts[name].as_str().map(str::to_owned);
    let number = |name: &str| facts[name].as_u64();
    let vendor = text("vendor").unwrap();
    Exchange {
        host: format!("{vendor}.example"),
        vendor: Some(vendor.as_str().into()),
        priced_as: Some(priced_as(&vendor)),
        api: match facts["api"].as_str().unwrap() {
            "chat" | "chat_completions" => Api::ChatCompletions,
            "responses" => Api::Responses,
            "messages" => Api::Messages,
            "count_tokens" => Api::CountTokens,
            "embeddings" => Api::Embeddings,
            _ => Api::Other,
        },
        status: number("status").and_then(|status| u16::try_from(status).ok()),
        request_model: text("request_model"),
        response_model: text("response_model"),
        streaming: facts["streaming"] == true,
        error: (facts["error"] == true).then(|| "error".to_owned()),
        service_tier: text("service_tier"),
        system_fingerprint: text("system_fingerprint"),
        usage: Usage {
            input_tokens: number("input_tokens_total"),
            output_tokens: number("output_tokens"),
            cache_read_tokens: number("cached_tokens"),
            cache_write_tokens: number("cache_write_tokens"),
            cache_write_1h_tokens: None,
            reasoning_tokens: number("reasoning_tokens"),
            ..Usage::default()
        },
        reported_cost: facts["vendor_reported_cost_usd"].as_f64().map(NanoUsd::from_usd),
        ..exchange("", "")
    }
}

#[test]
fn prices_cover_and_agree() {
    let Some(calls) = recorded() else { return };
    let prices = Catalogue::bundled();
    let (mut counted, mut unpriced) = (0, BTreeSet::new());
    let (mut reported, mut agree) = (0, 0);
    for call in calls {
        let ours = matches!(call.vendor.as_deref(), Some("openai" | "anthropic"));
        let has_usage = call.usage.input_tokens.is_some() && call.usage.output_tokens.is_some();
        if has_usage && ours && call.status == Some(200) && call.api != Api::CountTokens {
            counted += 1;
            if prices.price(&call).is_none() {
                unpriced.insert(call.response_model.clone().or(call.request_model.clone()));
            }
        }
        if let Some(cost) = call.reported_cost.filter(|cost| cost.0 > 0) {
            let computed = prices.price(&Exchange { reported_cost: None, ..call });
            reported += usize::from(computed.is_some());
            agree += usize::from(computed.is_some_and(|computed| computed.nano_usd.0.abs_diff(cost.0) * 50 <= cost.0));
        }
    }
    println!(
        "{counted} calls counted, without a price: {unpriced:?}; {agree} of {reported} agree with the vendor within 2 %"
    );
    assert!(counted > 0 && unpriced.len() * 50 <= counted, "{unpriced:?} of {counted}");
    assert!(agree * 10 >= reported * 6, "{agree} of {reported}");
}

#[test]
fn every_model_has_a_class() {
    let Some(calls) = recorded() else { return };
    let rules = ModelRules::load(&RuleSource::Embedded).unwrap();
    let mut classes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in &calls {
        let (Some(vendor), Some(model)) = (call.vendor.as_deref(), call.request_model.as_deref()) else { continue };
        if rules.extents().get(vendor).is_some_and(|known| known.patterns > 0) && call.status == Some(200) {
            let pin = rules.classify(vendor, model, call.started_at).pin;
            classes.entry(pin.as_str().to_owned()).or_default().insert(model.to_owned());
        }
    }
    // Another maker's model, recorded under OpenAI's shape.
    let unknown = BTreeSet::from(["muse-spark-1.1".to_owned()]);
    assert_eq!(classes.get(Pin::Unknown.as_str()), Some(&unknown));
    assert!(classes.len() >= 5, "the set has ids of every kind");
}

#[test]
fn detectors_are_calm_and_deterministic() {
    let Some(calls) = recorded() else { return };
    let run = || {
        let rules = Arc::new(ModelRules::load(&RuleSource::Embedded).unwrap());
        let (mut pinning, mut resolved) = (Pinning::new(rules), ResolvedModel::new());
        let prices = Catalogue::bundled();
        let mut told: Vec<String> = Vec::new();
        for call in &calls {
            let call = &Exchange { cost: prices.price(call), ..call.clone() };
            let mut tell = |hit: Hit<'_>| {
                if let Hit::Behaviour(hit) = hit {
                    told.push(format!("{} {} {}", hit.rule, call.vendor.as_deref().unwrap_or_default(), hit.title));
                }
            };
            pinning.inspect(call, &mut tell);
            resolved.inspect(call, &mut tell);
            UntrackedSpend.inspect(call, &mut tell);
        }
        told
    };
    let told = run();
    assert_eq!(told, run(), "the same calls in the same order give the same hits");
    let of = |rule: &str| -> BTreeSet<&str> {
        told.iter().filter_map(|hit| hit.strip_prefix(rule)).map(str::trim_start).collect()
    };
    // Seen by eye in the recordings: a router's fallback, and a gateway behind OpenAI's shape. Nothing else.
    let substituted = [
        "openai asked for `gpt-4.1-mini`, answered by `moonshotai/kimi-k2`",
        "openrouter asked for `google/gemini-2.0-flash-exp:free`, answered by `x-ai/grok-4`",
    ];
    assert_eq!(of("model.substituted"), BTreeSet::from(substituted));
    // The gateway's call is the only odd one, and it does not come again.
    assert_eq!(of("model.resolved_changed"), BTreeSet::new());
    assert_eq!(of("model.flapping"), BTreeSet::new());
    let untracked = of("cost.untracked");
    assert!(!untracked.iter().any(|hit| hit.starts_with("openai ") || hit.starts_with("anthropic ")), "{untracked:?}");
}
