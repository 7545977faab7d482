//! What LLM calls used, took and cost, under the names of the conventions for generative AI. Enters: an exchange and its cost. Leaves:
//! measurements. A name that a peer wrote passes `findings` first, and what goes beyond [`SERIES_MAX`] combinations is counted together.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
};

use super::{encode::split_port, names};
use crate::{
    exchange::{Api, Cost, Exchange},
    findings,
    sinks::gen_ai,
};

/// Combinations of attributes that one metric has at most; the SDK counts all others under `otel.metric.overflow`.
pub(super) const SERIES_MAX: usize = 1000;

/// Buckets of tokens, as the conventions have them.
const TOKEN_BUCKETS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Buckets of time, seconds: 0.01 doubled, as the conventions have them.
const SECOND_BUCKETS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// A vendor or a kind of failure that has no name.
const OTHER: &str = "_OTHER";

/// Name, unit, attributes and meaning of each metric here, for docs/OTLP.md.
pub(super) const ABOUT: [(&str, &str, &str, &str); 3] = [
    (
        "gen_ai.client.token.usage",
        "{token}",
        "those of a call, `gen_ai.token.type`",
        "Tokens of a call as its vendor reported them, input and output apart; a count of tokens alone is not billed and not in it",
    ),
    (
        "gen_ai.client.operation.duration",
        "s",
        "those of a call, `error.type`",
        "From the first byte of the request to the last one of the answer",
    ),
    (
        "outflow.cost",
        "{USD}",
        "those of a call, `outflow.cost.source`",
        "What calls cost; a call without a known price adds nothing",
    ),
];

/// The instruments.
#[derive(Debug)]
pub(super) struct GenAi {
    tokens: Histogram<u64>,
    seconds: Histogram<f64>,
    cost: Counter<f64>,
}

impl GenAi {
    pub(super) fn new(meter: &Meter) -> Self {
        let [tokens, seconds, cost] = ABOUT;
        Self {
            tokens: meter
                .u64_histogram(tokens.0)
                .with_unit(tokens.1)
                .with_description(tokens.3)
                .with_boundaries(TOKEN_BUCKETS.to_vec())
                .build(),
            seconds: meter
                .f64_histogram(seconds.0)
                .with_unit(seconds.1)
                .with_description(seconds.3)
                .with_boundaries(SECOND_BUCKETS.to_vec())
                .build(),
            cost: meter.f64_counter(cost.0).with_unit(cost.1).with_description(cost.3).build(),
        }
    }

    pub(super) fn record(&self, exchange: &Exchange, cost: Option<&Cost>) {
        let call = call(exchange);
        let with = |name: &'static str, value: &str| {
            let mut all = call.clone();
            all.push(KeyValue::new(name, value.to_owned()));
            all
        };
        if exchange.api != Api::CountTokens {
            for (kind, tokens) in [("input", exchange.usage.input_tokens), ("output", exchange.usage.output_tokens)] {
                if let Some(tokens) = tokens {
                    self.tokens.record(tokens, &with("gen_ai.token.type", kind));
                }
            }
        }
        let seconds = exchange.ended_at.since_ns(exchange.started_at) as f64 / 1e9;
        match failure(exchange) {
            Some(error) => self.seconds.record(seconds, &with(names::ERROR, &error)),
            None => self.seconds.record(seconds, &call),
        }
        if let Some(cost) = cost {
            self.cost.add(cost.nano_usd.0 as f64 / 1e9, &with(names::COST_SOURCE, cost.source.as_str()));
        }
    }
}

/// What is the same in all measurements of a call. Neither process nor id: each would make a series of its own.
fn call(exchange: &Exchange) -> Vec<KeyValue> {
    let host = findings::host(&exchange.host);
    let (address, port) = split_port(&host);
    let provider = exchange.vendor.as_deref().map_or(OTHER, gen_ai::provider_name);
    let mut call = vec![
        KeyValue::new(names::PROVIDER, provider.to_owned()),
        KeyValue::new(names::SERVER_ADDRESS, address.to_owned()),
        KeyValue::new(names::CALLER, exchange.origin.service.clone()),
    ];
    let operation = gen_ai::operation_name(exchange.api.as_str()).unwrap_or(OTHER);
    call.push(KeyValue::new(names::OPERATION, operation));
    if let Some(port) = port {
        call.push(KeyValue::new(names::SERVER_PORT, i64::from(port)));
    }
    let models = [(names::REQUEST_MODEL, &exchange.request_model), (names::RESPONSE_MODEL, &exchange.response_model)];
    for (name, model) in models {
        if let Some(model) = model {
            call.push(KeyValue::new(name, findings::identifier(model)));
        }
    }
    call
}

/// Why a call failed: the vendor's code, or the status; `None` when it did not.
pub(super) fn failure(exchange: &Exchange) -> Option<String> {
    match (&exchange.error, exchange.status) {
        (Some(code), _) => Some(findings::identifier(code)),
        (None, Some(status)) if status >= 400 => Some(status.to_string()),
        (None, Some(_)) => None,
        (None, None) => Some("no_answer".to_owned()),
    }
}
