//! Which place in a program makes a call, as far as the wire shows it. Enters: an exchange. Leaves: [`CallSite`], small enough to
//! be the key of a table of ten thousand. Two places that ask alike are one; it holds no text.

use serde::{Deserialize, Serialize};

use super::digest::Parts;
use crate::{exchange::Exchange, units::hex};

/// Hash of service, host, kind of call, requested model, format of the answer and beginning of the system prompt. The same in
/// every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallSite(u64);

impl CallSite {
    /// The place that makes this call.
    pub fn of(exchange: &Exchange) -> Self {
        let mut parts = coarse(exchange);
        let asking = &exchange.asking;
        parts.text(asking.answer_format.as_deref().unwrap_or_default());
        parts.number(asking.system_digest.unwrap_or_default());
        Self(parts.hash())
    }

    /// The same without prompt and format: all calls of a service to one model. For what is learned of every call even when each
    /// has a prompt of its own.
    pub fn without_prompt(exchange: &Exchange) -> Self {
        Self(coarse(exchange).hash())
    }

    /// The key under which state of this place is kept.
    pub fn key(self) -> String {
        hex(&self.0.to_be_bytes(), 16)
    }

    /// Reads a [`key`](Self::key).
    pub fn from_key(key: &str) -> Option<Self> {
        let is_hex = key.len() == 16 && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex { u64::from_str_radix(key, 16).ok().map(Self) } else { None }
    }
}

fn coarse(exchange: &Exchange) -> Parts {
    let mut parts = Parts::default();
    parts.text(&exchange.origin.service);
    parts.text(&exchange.host);
    parts.text(exchange.api.as_str());
    parts.text(exchange.request_model.as_deref().unwrap_or_default());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::sample;

    #[test]
    fn what_asks_alike_is_one_place() {
        let call = sample::exchange("openai", "gpt-4o");
        let mut later = call.clone();
        later.started_at.0 += 1;
        later.response_model = Some("gpt-4o-2024-08-06".into());
        assert_eq!(CallSite::of(&call), CallSite::of(&later));
        let mut prompted = call.clone();
        prompted.asking.system_digest = Some(7);
        let mut formatted = call.clone();
        formatted.asking.answer_format = Some("ticket".into());
        let other = sample::exchange("openai", "gpt-4o-mini");
        for changed in [&prompted, &formatted, &other] {
            assert_ne!(CallSite::of(&call), CallSite::of(changed));
        }
        assert_eq!(CallSite::without_prompt(&call), CallSite::without_prompt(&prompted));
        assert_ne!(CallSite::without_prompt(&call), CallSite::without_prompt(&other));
    }

    #[test]
    fn keys_are_read_back() {
        let site = CallSite::of(&sample::exchange("anthropic", "claude-opus-4-6"));
        assert_eq!(CallSite::from_key(&site.key()), Some(site));
        for key in ["", "+000000000000001", "00000000000000g1", "1"] {
            assert_eq!(CallSite::from_key(key), None, "{key}");
        }
    }
}
