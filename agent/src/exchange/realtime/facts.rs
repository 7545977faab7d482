//! What is known of a whole session, under the names that the index of recorded sessions uses. Enters: the exchanges of one
//! session. Leaves: JSON. A number that a hole may have changed is `null`.

use serde_json::{Value, json};

use super::super::{Exchange, RealtimeShape};

/// The facts of a session, from its exchanges in order.
///
/// The index adds up `response.usage` of each `response.done` and nothing else: a session without any has 0, as Gemini's
/// have, and so have xAI's, which leave that object empty and report beside it. What the vendors did report stands under
/// `input_tokens_total`, `output_tokens` and `cached_tokens`, as for every other exchange.
pub fn facts_of_session(exchanges: &[Exchange]) -> Value {
    let turns = || exchanges.iter().filter_map(|exchange| exchange.realtime.as_ref().map(|turn| (exchange, turn)));
    let is_whole = turns().next().is_some() && turns().all(|(exchange, _)| exchange.view.complete);
    let shape = turns().find_map(|(_, turn)| turn.shape);
    let first = exchanges.first();
    let certain = |value: u64| is_whole.then_some(value);
    let reported = |path: &[&str]| {
        let of = |turn: &Value| path.iter().try_fold(turn, |value, key| value.get(key)).and_then(Value::as_u64);
        let reports = turns().filter(|(_, turn)| turn.shape == Some(RealtimeShape::Openai));
        let sum = reports.filter_map(|(_, turn)| of(turn.reported.as_ref()?)).fold(0, u64::saturating_add);
        certain(sum)
    };
    // `null`: no turn said.
    let total = |of: fn(&Exchange) -> Option<u64>| {
        exchanges.iter().filter_map(of).reduce(u64::saturating_add).filter(|_| is_whole)
    };
    let sum = |of: fn(&Exchange) -> u64| certain(exchanges.iter().map(of).fold(0, u64::saturating_add));
    let last = |of: fn(&Exchange) -> Option<&String>| exchanges.iter().rev().find_map(of);
    let usage_messages = turns().map(|(_, turn)| turn.usage_reports).sum::<u64>();
    let is_gemini = shape == Some(RealtimeShape::Gemini) && is_whole && usage_messages > 0;
    let turn_of = |exchange: &Exchange| exchange.realtime.clone().unwrap_or_default();
    json!({
        "vendor": first.and_then(|exchange| exchange.vendor.as_deref()),
        "api": first.map(|exchange| exchange.api),
        "host": first.map(|exchange| &exchange.host),
        "path": first.map(|exchange| &exchange.path),
        "request_model": last(|exchange| exchange.request_model.as_ref()),
        "response_model": last(|exchange| exchange.response_model.as_ref()),
        "frames": sum(|exchange| exchange.realtime.as_ref().map_or(0, |turn| turn.frames)),
        "responses": sum(|exchange| exchange.realtime.as_ref().map_or(0, |turn| turn.responses)),
        "input_tokens_sum": reported(&["input_tokens"]),
        "output_tokens_sum": reported(&["output_tokens"]),
        "cached_tokens_sum": reported(&["input_token_details", "cached_tokens"]),
        "tool_calls": sum(|exchange| exchange.tool_calls.len() as u64),
        "errors": sum(|exchange| exchange.realtime.as_ref().map_or(0, |turn| turn.errors)),
        "gemini_usage_messages": is_gemini.then_some(usage_messages),
        "gemini_usage_last": exchanges.iter().rev().filter(|_| is_gemini).find_map(|turn| turn_of(turn).reported),
        "input_tokens_total": total(|exchange| exchange.usage.input_tokens),
        "output_tokens": total(|exchange| exchange.usage.output_tokens),
        "cached_tokens": total(|exchange| exchange.usage.cache_read_tokens),
        "reasoning_tokens": total(|exchange| exchange.usage.reasoning_tokens),
        "turns": certain(exchanges.len() as u64),
        "complete": is_whole,
        "missing_bytes": exchanges
            .iter()
            .map(|exchange| exchange.view.request_missing_bytes + exchange.view.response_missing_bytes)
            .sum::<u64>(),
    })
}
