//! How a call ended, from the point of view of the vendor's health. Enters: an exchange. Leaves: an [`Outcome`]. What the caller did
//! wrong itself is no failure of the vendor.

use crate::exchange::Exchange;

/// Words in the code of an error that speak of the vendor's own trouble. Anthropic: `overloaded_error`, `api_error`,
/// `timeout_error`; OpenAI: `server_error`, `internal_error`; Google: `UNAVAILABLE`, `INTERNAL`, `DEADLINE_EXCEEDED`; Bedrock:
/// `ServiceUnavailableException`, `InternalServerException`, `ModelTimeoutException`.
const TROUBLE: [&str; 7] =
    ["overload", "server_error", "internal", "unavailable", "timeout", "api_error", "deadline_exceeded"];
/// Words that speak of limits: `rate_limit_exceeded`, `RESOURCE_EXHAUSTED`, `ThrottlingException`, `too_many_requests`.
const LIMITS: [&str; 5] = ["rate_limit", "resource_exhausted", "throttl", "too_many_requests", "http_429"];

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The vendor did what it should, or said rightly that the request is wrong.
    Answered,
    /// The vendor says that the caller asks too much.
    Limited,
    /// The vendor says that it failed.
    Failed,
    /// No answer came: a time-out, a reset; or the caller gave up.
    Unanswered,
}

/// `None`: nobody can know.
pub(super) fn outcome(exchange: &Exchange) -> Option<Outcome> {
    let Some(status) = exchange.status else {
        // With a hole in it, what is missing may be the answer.
        let is_known = exchange.view.request_missing_bytes == 0 && exchange.view.response_bytes == 0;
        return is_known.then_some(Outcome::Unanswered);
    };
    let error = exchange.error.as_deref().unwrap_or_default().to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| error.contains(word));
    Some(match status {
        429 => Outcome::Limited,
        // The client asks for what does not exist.
        501 | 505 => Outcome::Answered,
        408 | 500..=599 => Outcome::Failed,
        // Errors in answers that begin well: OpenRouter, Groq, Anthropic's streams.
        100..=399 if says(&LIMITS) => Outcome::Limited,
        100..=399 if says(&TROUBLE) => Outcome::Failed,
        _ => Outcome::Answered,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{View, sample};

    #[test]
    fn whose_fault_it_is() {
        let call = |status: Option<u16>, error: Option<&str>| {
            outcome(&Exchange {
                status,
                error: error.map(str::to_owned),
                view: View::default(),
                ..sample::exchange("openai", "gpt-4o")
            })
        };
        for (status, error, expected) in [
            (200, None, Outcome::Answered),
            (200, Some("content_filter"), Outcome::Answered),
            (200, Some("overloaded_error"), Outcome::Failed),
            (200, Some("rate_limit_exceeded"), Outcome::Limited),
            (400, Some("invalid_request_error"), Outcome::Answered),
            (400, Some("internal"), Outcome::Answered),
            (401, Some("invalid_api_key"), Outcome::Answered),
            (404, Some("http_404"), Outcome::Answered),
            (408, None, Outcome::Failed),
            (429, Some("rate_limit_error"), Outcome::Limited),
            (500, None, Outcome::Failed),
            (501, None, Outcome::Answered),
            (503, Some("UNAVAILABLE"), Outcome::Failed),
            (529, Some("overloaded_error"), Outcome::Failed),
        ] {
            assert_eq!(call(Some(status), error), Some(expected), "{status} {error:?}");
        }
        assert_eq!(call(None, None), Some(Outcome::Unanswered));
        let mut hole = Exchange { status: None, ..sample::exchange("openai", "gpt-4o") };
        hole.view.request_missing_bytes = 1;
        assert_eq!(outcome(&hole), None);
    }
}
