//! What headers say besides the body. Enters: the headers of both messages, and the target of the request. Leaves: facts. A
//! value that is not what its field should hold is left out.

use super::{
    Api, CallerKey, HeaderFacts, bedrock_invoke,
    facts::{Facts, named_code, replace},
};
use crate::assembly::Headers;

/// Rate limits that are kept.
const MAX_RATE_LIMITS: usize = 16;
/// Longest value of a header that is kept.
const MAX_VALUE_BYTES: usize = 256;
/// Longest key of a caller; tokens of OAuth are longer than API keys.
const MAX_KEY_BYTES: usize = 4096;
/// Longest time that a header is believed to speak of: a week.
const MAX_NS: u64 = 7 * 24 * 3600 * 1_000_000_000;

/// Ids of the request at its vendor, by who sends them: OpenAI, Groq and others; Anthropic; Azure; Amazon; Mistral; OpenRouter;
/// Cohere; Hugging Face.
const REQUEST_IDS: [&str; 10] = [
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-amzn-requestid",
    "mistral-correlation-id",
    "x-generation-id",
    "x-debug-trace-id",
    "x-inference-request-id",
    "inference-id",
    "x-goog-request-id",
];
/// How long the vendor worked, in milliseconds: OpenAI, xAI, Amazon, and the proxies that several use.
const PROCESSING_MS: [&str; 5] = [
    "openai-processing-ms",
    "x-metrics-e2e-ms",
    "x-amzn-bedrock-invocation-latency",
    "x-envoy-upstream-service-time",
    "x-kong-upstream-latency",
];

/// Headers that know more than the body. Azure names the model behind an alias; OpenAI's embeddings have it there too.
pub(super) fn models(headers: &Headers, api: Api, facts: &mut Facts) {
    let find = |name| headers.find(name).filter(|value| !value.is_empty()).map(str::to_owned);
    replace(&mut facts.response_model, find("x-ms-served-model"));
    if facts.response_model.is_none() && api == Api::Embeddings {
        facts.response_model = find("openai-model");
    }
    if facts.usage_tier.is_none() && api == Api::GenerateContent {
        facts.usage_tier = find("x-gemini-service-tier");
    }
}

/// What AWS puts into headers: the kind of an error (`ThrottlingException`, behind a colon more of it), and the tokens of an
/// answer whose body does not count them.
pub(super) fn aws(headers: &Headers, api: Api, facts: &mut Facts) {
    if facts.error.is_none() {
        let kind = headers.find("x-amzn-errortype").and_then(|kind| kind.split(':').next());
        facts.error = kind.map(str::trim).filter(|kind| !kind.is_empty()).map(named_code);
    }
    if api == Api::InvokeModel {
        bedrock_invoke::counted_by(headers, facts);
    }
}

/// All other facts.
pub(super) fn facts(asked: &Headers, target: &str, answered: Option<&Headers>) -> HeaderFacts {
    let nothing = Headers::default();
    let answered = answered.unwrap_or(&nothing);
    HeaderFacts {
        request_id: REQUEST_IDS.iter().find_map(|name| value(answered, name)).map(str::to_owned),
        retry_count: retry_count(asked),
        retry_after_ns: retry_after(answered),
        processing_ns: PROCESSING_MS
            .iter()
            .find_map(|name| milliseconds(value(answered, name)?))
            .or_else(|| server_timing(answered)),
        first_token_ns: value(answered, "x-metrics-ttft-ms").and_then(milliseconds),
        rate_limits: answered
            .0
            .iter()
            .filter(|(name, value)| is_rate_limit(name) && (1..=MAX_VALUE_BYTES).contains(&value.len()))
            .take(MAX_RATE_LIMITS)
            .cloned()
            .collect(),
        traceparent: value(asked, "traceparent").filter(|value| is_traceparent(value)).map(str::to_owned),
        caller_key: caller_key(asked, target),
    }
}

fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.find(name).map(str::trim).filter(|value| (1..=MAX_VALUE_BYTES).contains(&value.len()))
}

/// Client libraries made by Stainless (OpenAI, Anthropic and others) count retries, Amazon's count tries.
fn retry_count(asked: &Headers) -> Option<u32> {
    if let Some(count) = value(asked, "x-stainless-retry-count") {
        return count.parse().ok();
    }
    let tries = value(asked, "amz-sdk-request")?.split(';').find_map(|part| part.trim().strip_prefix("attempt="))?;
    tries.parse::<u32>().ok()?.checked_sub(1)
}

/// Seconds, or a date (RFC 9110, section 10.2.3), which is measured against the answer's own; milliseconds where there are any.
fn retry_after(answered: &Headers) -> Option<u64> {
    if let Some(after) = value(answered, "retry-after-ms").and_then(milliseconds) {
        return Some(after);
    }
    let after = value(answered, "retry-after")?;
    if let Ok(seconds) = after.parse::<f64>() {
        return nanoseconds(seconds * 1e9);
    }
    let date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp());
    let wait = date(after)?.duration_since(date(value(answered, "date")?)?);
    u64::try_from(wait.as_nanos()).ok().filter(|wait| *wait <= MAX_NS)
}

/// Google's front end: `server-timing: gfet4t7; dur=1234`.
fn server_timing(answered: &Headers) -> Option<u64> {
    let timing = value(answered, "server-timing")?.split(',').find(|timing| timing.trim().starts_with("gfet4t7"))?;
    milliseconds(timing.split(';').find_map(|part| part.trim().strip_prefix("dur="))?)
}

fn milliseconds(text: &str) -> Option<u64> {
    nanoseconds(text.parse::<f64>().ok()? * 1e6)
}

fn nanoseconds(number: f64) -> Option<u64> {
    // The cast is safe between the bounds, and those refuse what is no number.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "checked")]
    (0.0..=MAX_NS as f64).contains(&number).then_some(number as u64)
}

fn is_rate_limit(name: &str) -> bool {
    ["x-ratelimit-", "anthropic-ratelimit-", "ratelimit"].iter().any(|start| name.starts_with(start))
}

/// `00-<32 hexadecimal digits>-<16>-<2>` (W3C Trace Context, section 3.2).
fn is_traceparent(value: &str) -> bool {
    let lengths = [2, 32, 16, 2];
    let mut parts = value.split('-');
    lengths.iter().all(|length| {
        parts.next().is_some_and(|part| part.len() == *length && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }) && (parts.next().is_none() || !value.starts_with("00"))
}

/// The key, wherever vendors take one. Of a signed request (Amazon) it is the id of the key: the secret never travels.
fn caller_key(asked: &Headers, target: &str) -> Option<CallerKey> {
    let header = |name: &str| asked.find(name).map(str::trim);
    let own = ["x-api-key", "api-key", "x-goog-api-key"].iter().find_map(|name| header(name));
    let key = own.or_else(|| {
        let credentials = header("authorization")?;
        if let Some(signed) = credentials.strip_prefix("AWS4-HMAC-SHA256 ") {
            let scope = signed.split(',').find_map(|part| part.trim().strip_prefix("Credential="))?;
            return scope.split('/').next();
        }
        // Some take the key alone, without a scheme.
        Some(credentials.split_once(' ').map_or(credentials, |(_, key)| key.trim()))
    });
    let key = key.or_else(|| {
        let (_, query) = target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix("key="))
    });
    key.filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len())).map(CallerKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        Headers(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn key(fields: &[(&str, &str)], target: &str) -> Option<String> {
        facts(&headers(fields), target, None).caller_key.map(|key| key.expose().to_owned())
    }

    #[test]
    fn keys_of_callers() {
        for (fields, target, expected) in [
            (&[("authorization", "Bearer sk-invented-1")][..], "/v1/x", Some("sk-invented-1")),
            (&[("authorization", "sk-invented-2")], "/v1/x", Some("sk-invented-2")),
            (&[("x-api-key", "k3"), ("authorization", "Bearer other")], "/", Some("k3")),
            (&[("api-key", "k4")], "/", Some("k4")),
            (&[("x-goog-api-key", "k5")], "/", Some("k5")),
            (&[], "/v1beta/models/m:generateContent?alt=sse&key=k6", Some("k6")),
            (
                &[(
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=AKIAINVENTED/20261125/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=00",
                )],
                "/",
                Some("AKIAINVENTED"),
            ),
            (&[("authorization", "")], "/?monkey=1", None),
            (&[], "/", None),
        ] {
            assert_eq!(key(fields, target).as_deref(), expected, "{fields:?} {target}");
        }
        let shown = format!("{:?}", facts(&headers(&[("api-key", "secret-invented")]), "/", None));
        assert!(!shown.contains("secret-invented"), "{shown}");
    }

    #[test]
    fn the_model_that_a_header_names_beats_the_one_of_the_body() {
        for (fields, api, body, expected) in [
            (
                &[("x-ms-served-model", "gpt-5.6-luna-2026-07-09")][..],
                Api::Responses,
                Some("gpt-5.6-luna"),
                "gpt-5.6-luna-2026-07-09",
            ),
            (&[("x-ms-served-model", "")], Api::Responses, Some("gpt-5.6-luna"), "gpt-5.6-luna"),
            (&[("openai-model", "text-embedding-ada-002-v2")], Api::Embeddings, None, "text-embedding-ada-002-v2"),
            (&[("openai-model", "other")], Api::Embeddings, Some("text-embedding-3-small"), "text-embedding-3-small"),
        ] {
            let mut found = Facts { response_model: body.map(str::to_owned), ..Facts::default() };
            models(&headers(fields), api, &mut found);
            assert_eq!(found.response_model.as_deref(), Some(expected), "{fields:?}");
        }
    }

    #[test]
    fn times_and_counts() {
        let second = 1_000_000_000;
        for (fields, after, processing, first) in [
            (&[("retry-after", "3"), ("openai-processing-ms", "150")][..], Some(3 * second), Some(150_000_000), None),
            (&[("retry-after-ms", "20.5"), ("retry-after", "3")], Some(20_500_000), None, None),
            (
                &[("date", "Wed, 25 Nov 2026 10:00:00 GMT"), ("retry-after", "Wed, 25 Nov 2026 10:00:30 GMT")],
                Some(30 * second),
                None,
                None,
            ),
            (&[("retry-after", "Wed, 25 Nov 2026 10:00:30 GMT")], None, None, None),
            (
                &[("date", "Wed, 25 Nov 2026 10:01:00 GMT"), ("retry-after", "Wed, 25 Nov 2026 10:00:30 GMT")],
                None,
                None,
                None,
            ),
            (&[("retry-after", "-1"), ("openai-processing-ms", "soon")], None, None, None),
            (&[("retry-after", "1e300"), ("x-metrics-ttft-ms", "NaN")], None, None, None),
            (&[("x-metrics-e2e-ms", "12.5"), ("x-metrics-ttft-ms", "4")], None, Some(12_500_000), Some(4_000_000)),
            (&[("server-timing", "other; dur=9, gfet4t7; dur=700")], None, Some(700_000_000), None),
        ] {
            let found = facts(&Headers::default(), "/", Some(&headers(fields)));
            assert_eq!(
                (found.retry_after_ns, found.processing_ns, found.first_token_ns),
                (after, processing, first),
                "{fields:?}"
            );
        }
        for (fields, count) in [
            (&[("x-stainless-retry-count", "2")][..], Some(2)),
            (&[("amz-sdk-request", "attempt=1; max=4")], Some(0)),
            (&[("amz-sdk-request", "attempt=0")], None),
            (&[("x-stainless-retry-count", "-1")], None),
        ] {
            assert_eq!(facts(&headers(fields), "/", None).retry_count, count, "{fields:?}");
        }
    }

    #[test]
    fn ids_limits_and_traces() {
        let answered = headers(&[
            ("date", "x"),
            ("request-id", "req_1"),
            ("anthropic-ratelimit-requests-remaining", "7"),
            ("x-ratelimit-limit-tokens", "1000"),
            ("x-rate-card", "no"),
        ]);
        let found = facts(&Headers::default(), "/", Some(&answered));
        assert_eq!(found.request_id.as_deref(), Some("req_1"));
        assert_eq!(found.rate_limits.len(), 2);
        let many: Vec<_> = (0..40).map(|count| (format!("x-ratelimit-{count}"), "1".to_owned())).collect();
        assert_eq!(facts(&Headers::default(), "/", Some(&Headers(many))).rate_limits.len(), MAX_RATE_LIMITS);
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (value, expected) in
            [(trace, true), ("00-xyz-1-01", false), (&trace[..50], false), (&format!("{trace}-1"), false)]
        {
            let found = facts(&headers(&[("traceparent", value)]), "/", None).traceparent;
            assert_eq!(found.is_some(), expected, "{value}");
        }
    }
}
