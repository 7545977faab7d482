//! Finds answers that get worse: `output.refusals`, `output.filtered`, `output.truncated`, `output.unparsable`, when at one call site more
//! of them than before are refused, filtered, cut off at the token limit, or are no JSON though JSON was asked for. Enters: exchanges, in
//! order. Leaves: a finding on a jump of such a rate (`jump.rs`), at five percent or more; a rate that is always high is a
//! figure (`outflow_output_total`), no finding. Calls that failed or were not seen whole do not count.
//!
//! State: four rates for each call site, in a table of [`MAX_SITES`] entries of some 100 bytes; the least recently used goes first. It
//! survives a restart, a key an entry, written at most once in [`SAVED_EVERY`] answers and at each bad one.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Behaviour, Detector, Hit, StateChange,
    call_site::CallSite,
    jump::{Jump, Limits, Rate, Verdict},
    table::Table,
};
use crate::{
    exchange::{Exchange, Form, Reply},
    units::{Severity, Timestamp},
};

/// Bound of the table.
const MAX_SITES: usize = 10_000;
/// State is written once in so many answers, and at each that is bad.
const SAVED_EVERY: u32 = 10;
const NAME: &str = "output";

/// What counts as a jump.
const LIMITS: Limits = Limits { baseline: 100, block: 100, events: 5, percent: 5, prior: 20 };

/// A reply longer than this is no refusal, however it begins.
const REFUSAL_BYTES: usize = 600;

/// How refusals begin, in lower case and with plain apostrophes.
const REFUSALS: [&str; 18] = [
    "i can't assist",
    "i can't help",
    "i can't comply",
    "i can't provide",
    "i cannot assist",
    "i cannot comply",
    "i cannot help",
    "i cannot provide",
    "i'm not able to help",
    "i'm not able to assist",
    "i'm sorry, but i can",
    "i'm sorry, i can",
    "i am sorry, but i can",
    "i'm unable to",
    "i am unable to",
    "i won't be able to",
    "sorry, but i can",
    "sorry, i can",
];

/// What may be wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// The model refused.
    Refused,
    /// The vendor's filter took it.
    Filtered,
    /// It ends at the token limit.
    Truncated,
    /// JSON was asked for and it is none.
    Unparsable,
}

impl Flaw {
    /// All of them, in the order in which they are kept.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Filtered, Self::Truncated, Self::Unparsable];

    /// The word of metrics and of rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refusals",
            Self::Filtered => "filtered",
            Self::Truncated => "truncated",
            Self::Unparsable => "unparsable",
        }
    }

    fn rule(self) -> (&'static str, &'static str) {
        match self {
            Self::Refused => ("output.refusals", "are refusals"),
            Self::Filtered => ("output.filtered", "are taken by the vendor's content filter"),
            Self::Truncated => ("output.truncated", "are cut off at the token limit"),
            Self::Unparsable => ("output.unparsable", "are no JSON, though JSON was asked for"),
        }
    }
}

/// What each of the flaws of an answer is: there or not; `None` where it says nothing.
pub fn flaws(exchange: &Exchange) -> Option<[Option<bool>; 4]> {
    let written = &exchange.written;
    let is_filter_error = exchange.error.as_deref().is_some_and(is_filter);
    let is_answer = exchange.succeeded()
        && !(exchange.finish_reasons.is_empty() && written.replies.is_empty() && written.stopped_by.is_none());
    if !exchange.view.complete || !(is_answer || is_filter_error) {
        return None;
    }
    let filtered = is_filter_error || reasons(exchange).any(is_filter);
    let truncated = !filtered && reasons(exchange).any(is_limit);
    let refused = !filtered && (is_marked_refusal(exchange) || written.replies.iter().any(begins_as_refusal));
    let is_asked = exchange.asking.answer_format.is_some() && written.tool_arguments.is_empty();
    let said = written.replies.first().filter(|_| is_asked && !filtered && !truncated && !refused);
    let unparsable = said.map(|reply| !matches!(reply.form, Form::Json(_) | Form::Unread));
    Some([Some(refused), Some(filtered), Some(truncated), unparsable])
}

/// The answer is not what the model had to say: it was cut off, filtered or refused.
pub(super) fn stopped_early(exchange: &Exchange) -> bool {
    is_marked_refusal(exchange) || reasons(exchange).any(|reason| is_limit(reason) || is_filter(reason))
}

fn reasons(exchange: &Exchange) -> impl Iterator<Item = &str> {
    exchange.finish_reasons.iter().chain(&exchange.written.stopped_by).map(String::as_str)
}

/// The token limit, in the words of: OpenAI chat and Ollama, Anthropic, OpenAI responses, Google (also as the number of its enum) and
/// Cohere.
fn is_limit(reason: &str) -> bool {
    ["length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "2"]
        .iter()
        .any(|known| reason.eq_ignore_ascii_case(known))
}

/// A filter, in the words of: OpenAI and Azure, Bedrock, Google (`Candidate.FinishReason`, `BlockedReason`), Cohere.
fn is_filter(reason: &str) -> bool {
    const FILTERS: [&str; 15] = [
        "content_filter",
        "content_filtered",
        "content_policy_violation",
        "guardrail_intervened",
        "safety",
        "blocklist",
        "prohibited_content",
        "spii",
        "recitation",
        "image_safety",
        "error_toxic",
        "3",
        "4",
        "7",
        "8",
    ];
    FILTERS.iter().any(|known| reason.eq_ignore_ascii_case(known))
}

fn is_marked_refusal(exchange: &Exchange) -> bool {
    exchange.written.is_refused || exchange.finish_reasons.iter().any(|reason| reason == "refusal")
}

fn begins_as_refusal(reply: &Reply) -> bool {
    if reply.bytes > REFUSAL_BYTES || reply.form != Form::Prose {
        return false;
    }
    let opening = reply.opening.to_lowercase().replace('\u{2019}', "'");
    REFUSALS.iter().any(|refusal| opening.starts_with(refusal))
}

/// The detector.
#[derive(Debug)]
pub struct Output {
    sites: Table<CallSite, Site>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Site {
    answers: u32,
    rates: [Rate; 4],
    /// When the first of the present ones came, nanoseconds since 1970; zero: there is none.
    since_ns: [u64; 4],
}

impl Output {
    /// A detector that has seen nothing yet.
    pub fn new() -> Self {
        Self { sites: Table::new(MAX_SITES) }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector for Output {
    fn name(&self) -> &'static str {
        NAME
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let Some(flaws) = flaws(exchange) else { return };
        let key = CallSite::of(exchange);
        let Some(site) = self.sites.enter(&key, Site::default) else { return };
        site.answers = site.answers.saturating_add(1);
        let is_to_be_saved = site.answers.is_multiple_of(SAVED_EVERY) || flaws.contains(&Some(true));
        let kept = site.rates.iter_mut().zip(&mut site.since_ns);
        for ((flaw, is), (rate, since)) in Flaw::ALL.into_iter().zip(flaws).zip(kept) {
            let Some(is) = is else { continue };
            let verdict = rate.see(is, &LIMITS);
            if rate.is_calm() {
                *since = 0;
            } else if is && *since == 0 {
                *since = exchange.started_at.0;
            }
            if let (Verdict::Jumped(jump), true) = (verdict, is) {
                emit(Hit::Behaviour(jumped(exchange, key, flaw, jump, Timestamp(*since))));
            }
        }
        if is_to_be_saved {
            self.sites.mark(key);
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        self.sites.changes(|key, site| emit(StateChange::new(NAME, key.key(), site)));
    }

    fn restore(&mut self, key: &str, value: &str) {
        let site = serde_json::from_str::<Site>(value).ok().filter(|site| site.rates.iter().all(Rate::is_sane));
        if let (Some(key), Some(site)) = (CallSite::from_key(key), site) {
            self.sites.restore(key, site);
        }
    }
}

fn jumped(exchange: &Exchange, site: CallSite, flaw: Flaw, jump: Jump, since: Timestamp) -> Behaviour<'_> {
    let (rule, what) = flaw.rule();
    let model = exchange.request_model.as_deref().unwrap_or("unknown");
    let Jump { before, now } = jump;
    // Words may be a quotation; marks of the vendor are none.
    let is_guess = flaw == Flaw::Refused && !is_marked_refusal(exchange);
    Behaviour {
        rule,
        references: Vec::new(),
        key: site.key(),
        severity: Severity::Medium,
        confidence: if is_guess { 50 } else { 85 },
        title: format!(
            "{} of the last {} answers of `{model}` {what} (before: {} of {})",
            now.events, now.of, before.events, before.of
        ),
        case: None,
        facts: vec![
            ("model.requested", json!(exchange.request_model)),
            ("model.resolved", json!(exchange.response_model)),
            ("output.call_site", json!(site.key())),
            ("output.since", json!(since.rfc3339())),
            ("output.recent", json!([now.events, now.of])),
            ("output.baseline", json!([before.events, before.of])),
            ("output.max_tokens", json!(exchange.asking.max_output_tokens)),
        ],
        exchange,
    }
}

#[cfg(test)]
mod tests;
