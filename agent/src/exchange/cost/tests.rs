//! What calls cost, by hand.

use genai_prices::{Calculator, ErrorKind, PriceRequest};

use super::{catalogue::BUNDLED_CATALOGUE, *};
use crate::{
    exchange::{Api, Usage, sample},
    units::Timestamp,
};

fn usage(input: u64, output: u64, read: Option<u64>, write: Option<u64>, write_1h: Option<u64>) -> Usage {
    Usage {
        input_tokens: Some(input),
        output_tokens: Some(output),
        cache_read_tokens: read,
        cache_write_tokens: write,
        cache_write_1h_tokens: write_1h,
        reasoning_tokens: None,
        ..Usage::default()
    }
}

/// Prices by hand from the vendors' pages, USD per million tokens:
/// gpt-4o-mini 0.15 in, 0.075 cached, 0.60 out (developers.openai.com/api/docs/pricing);
/// Claude Sonnet 4.5 3 in, 0.30 read, 3.75 write 5 min, 6 write 1 h, 15 out (www.anthropic.com/pricing#api).
#[test]
fn prices_agree_with_prices_by_hand() {
    let cases = [
        ("openai", "gpt-4o-mini", usage(1000, 500, None, None, None), 150_000 + 300_000),
        // 1000 in, of which 400 cached: 600 × 0.15 + 400 × 0.075 + 500 × 0.60
        ("openai", "gpt-4o-mini-2024-07-18", usage(1000, 500, Some(400), None, None), 90_000 + 30_000 + 300_000),
        // 10,000 in: 1,000 plain, 6,000 read, 3,000 written; 200 out
        (
            "anthropic",
            "claude-sonnet-4-5-20250929",
            usage(10_000, 200, Some(6000), Some(3000), None),
            3_000_000 + 1_800_000 + 11_250_000 + 3_000_000,
        ),
        // The same with 1,000 of the writes kept for one hour.
        (
            "anthropic",
            "claude-sonnet-4-5-20250929",
            usage(10_000, 200, Some(6000), Some(3000), Some(1000)),
            3_000_000 + 1_800_000 + 7_500_000 + 6_000_000 + 3_000_000,
        ),
    ];
    for (vendor, model, usage, nano_usd) in cases {
        let mut exchange = sample::exchange(vendor, model);
        exchange.usage = usage;
        let cost = Catalogue::bundled().price(&exchange).expect(model);
        assert_eq!(cost.nano_usd, NanoUsd(nano_usd), "{model} {usage:?}");
        assert_eq!((cost.source, cost.catalogue.as_str()), (CostSource::Catalogue, BUNDLED_CATALOGUE));
    }
}

#[test]
fn the_resolved_model_is_priced_before_the_requested_one() {
    let mut exchange = sample::exchange("openai", "gpt-4o-mini");
    exchange.usage = usage(1_000_000, 0, None, None, None);
    exchange.response_model = Some("gpt-4o-2024-08-06".into());
    assert_eq!(Catalogue::bundled().price(&exchange).unwrap().nano_usd, NanoUsd(2_500_000_000));
    exchange.response_model = Some("nobody-knows-this".into());
    assert_eq!(Catalogue::bundled().price(&exchange).unwrap().nano_usd, NanoUsd(150_000_000));
}

#[test]
fn what_nobody_knows_has_no_cost() {
    let catalogue = Catalogue::bundled();
    let priced = sample::exchange("openai", "gpt-4o-mini");
    assert!(catalogue.price(&priced).is_some());

    let unknown_model = sample::exchange("openai", "my-own-model");
    let no_usage = Exchange { usage: Usage::default(), ..priced.clone() };
    let counting = Exchange { api: Api::CountTokens, ..sample::exchange("anthropic", "claude-sonnet-4-5") };
    let at_home = Exchange { vendor: None, priced_as: None, host: "llm.example.internal".into(), ..priced.clone() };
    // More read from the cache than came in: a contradiction is not priced.
    let contradiction = Exchange { usage: usage(10, 1, Some(11), None, None), ..priced };
    for exchange in [unknown_model, no_usage, counting, at_home, contradiction] {
        assert_eq!(catalogue.price(&exchange), None, "{} {:?}", exchange.host, exchange.usage);
    }
}

#[test]
fn the_vendor_knows_best_and_half_a_usage_is_an_estimate() {
    let prices = Catalogue::bundled();
    let mut exchange = sample::exchange("openai", "gpt-4o-mini");
    exchange.usage = Usage { input_tokens: Some(1000), ..Usage::default() };
    let cost = prices.price(&exchange).unwrap();
    assert_eq!((cost.nano_usd, cost.source), (NanoUsd(150_000), CostSource::Estimated));
    exchange.api = Api::Embeddings;
    exchange.request_model = Some("text-embedding-3-small".into());
    exchange.response_model = None;
    let cost = prices.price(&exchange).unwrap();
    assert_eq!((cost.nano_usd, cost.source), (NanoUsd(20_000), CostSource::Catalogue));
    exchange.reported_cost = Some(NanoUsd(7));
    let cost = prices.price(&exchange).unwrap();
    assert_eq!((cost.nano_usd, cost.source, cost.catalogue.as_str()), (NanoUsd(7), CostSource::Provider, ""));
}

#[test]
fn the_tier_of_the_answer_and_the_day_of_the_call_count() {
    let mut exchange = sample::exchange("openai", "gpt-4o-mini");
    exchange.usage = usage(1_000_000, 0, None, None, None);
    exchange.service_tier = Some("priority".into());
    // Priority rates are in the catalogue from 12 October 2026 on: 0.25 USD.
    exchange.started_at = Timestamp(1_795_392_000_000_000_000);
    assert_eq!(Catalogue::bundled().price(&exchange).unwrap().nano_usd, NanoUsd(250_000_000));
    exchange.started_at = Timestamp(1_767_225_600_000_000_000);
    assert_eq!(Catalogue::bundled().price(&exchange).unwrap().nano_usd, NanoUsd(150_000_000));
}

#[test]
fn the_vendor_files_name_providers_of_the_catalogue() {
    let vendors = crate::rules::VendorTable::load(&crate::rules::RuleSource::Embedded).unwrap();
    let usage = genai_prices::Usage::default();
    for provider in vendors.vendors().iter().filter_map(|vendor| vendor.prices.as_deref()) {
        let request = PriceRequest::new("no-such-model", &usage).with_provider_id(provider);
        let error = Calculator::bundled().calculate(&request).map(|price| price.total_price);
        assert!(!error.is_err_and(|error| error.kind() == ErrorKind::ProviderNotFound), "{provider}");
    }
    let mut exchange = sample::exchange("xai", "grok-3");
    exchange.host = "a-host-the-catalogue-does-not-know.example".into();
    exchange.priced_as = Some("an-id-of-our-own".into());
    assert_eq!(Catalogue::bundled().price(&exchange), None);
    exchange.priced_as = Some("x-ai".into());
    assert!(Catalogue::bundled().price(&exchange).is_some());
}

#[test]
fn the_host_names_the_provider_when_our_vendor_id_does_not() {
    let mut exchange = sample::exchange("openai", "gpt-4o-mini");
    exchange.usage = usage(1_000_000, 0, None, None, None);
    for vendor in [None, Some("an-id-of-our-own")] {
        exchange.priced_as = vendor.map(Into::into);
        assert_eq!(Catalogue::bundled().price(&exchange).unwrap().nano_usd, NanoUsd(150_000_000));
    }
}

#[test]
fn the_version_is_the_locked_one() {
    let (name, version) = BUNDLED_CATALOGUE.split_once(' ').unwrap();
    let lock = include_str!("../../../../Cargo.lock");
    assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")));
}
