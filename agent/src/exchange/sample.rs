//! Exchanges made by hand for the unit tests of the rooms that follow. Nothing enters; built for tests only.

use std::sync::Arc;

use super::{Api, Exchange, Usage, View};
use crate::{
    sources::{Origin, StreamId},
    units::Timestamp,
};

/// 23 November 2026, 00:00 UTC.
pub(crate) const MIDNIGHT: Timestamp = Timestamp(1_795_392_000_000_000_000);

/// A complete, successful call that asked for `model` and was answered by a model of the same name.
pub(crate) fn exchange(vendor: &str, model: &str) -> Exchange {
    let (host, path, api) = match vendor {
        "anthropic" => ("api.anthropic.com", "/v1/messages", Api::Messages),
        _ => ("api.openai.com", "/v1/chat/completions", Api::ChatCompletions),
    };
    Exchange {
        vendor: Some(vendor.into()),
        priced_as: Some(vendor.into()),
        method: "POST".into(),
        path: path.into(),
        api,
        status: Some(200),
        request_model: Some(model.into()),
        response_model: Some(model.into()),
        response_id: Some("resp-1".into()),
        usage: Usage { input_tokens: Some(1000), output_tokens: Some(100), ..Usage::default() },
        finish_reasons: vec!["stop".into()],
        first_token_at: Some(Timestamp(MIDNIGHT.0 + 300_000_000)),
        ended_at: Timestamp(MIDNIGHT.0 + 1_250_000_000),
        view: View { request_bytes: 800, response_bytes: 1200, complete: true, ..View::default() },
        ..Exchange::unknown(
            StreamId(1),
            Arc::new(Origin {
                pid: 4242,
                process: "python3.11".into(),
                service: "checkout".into(),
                container: None,
                ..Origin::default()
            }),
            host,
            MIDNIGHT,
        )
    }
}
