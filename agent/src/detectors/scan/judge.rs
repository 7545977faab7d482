//! Whether a match of a pattern counts. Enters: the match in its segment. Leaves: the secret and how sure it is, or why it does not
//! count: the validator, the allow-list and the context words decide. Pure, and the same for a scan and for `outflow rules test`.

use std::ops::Range;

use super::{
    compile::Compiled,
    validators::{Text, Verdict},
};

/// Added to a rule's confidence when one of its context words stands near.
const CONTEXT_BOOST: u8 = 20;
/// A checksum or a structure that chance does not produce makes a match at least this sure.
pub(super) const SURE: u8 = 95;

/// A match that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged<'w> {
    /// Extent of the secret, which the validator may have shortened.
    pub(super) secret: Range<usize>,
    /// 0 to 100.
    pub(super) confidence: u8,
    /// What the validator said; [`Verdict::Plausible`] where there is none.
    pub(super) verdict: Verdict,
    /// The context word that stands near.
    pub(super) word: Option<&'w str>,
}

/// Why a match does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The validator refused it.
    Validator,
    /// It stands in the rule's `allow`, or a pattern of `allow_patterns` is in it.
    Allowed,
    /// A context word is required, and none stands near.
    NoContext,
    /// Nothing is left of it.
    Empty,
}

impl Compiled {
    /// Validator, allow-list and context. `near` gives the context word near the secret, if there is one.
    pub(super) fn judge<'w>(
        &self,
        haystack: &[u8],
        mut secret: Range<usize>,
        near: impl FnOnce(&Range<usize>) -> Option<&'w str>,
    ) -> Result<Judged<'w>, Refusal> {
        let verdict = match self.validator {
            Some(validator) => validator(&Text { haystack, span: secret.clone() }),
            None => Verdict::Plausible,
        };
        let mut confidence = self.loaded.rule.confidence;
        match verdict {
            Verdict::Refused => return Err(Refusal::Validator),
            Verdict::Plausible => {}
            Verdict::PlausibleUpTo(end) => secret.end = end.min(secret.end),
            Verdict::Proven => confidence = confidence.max(SURE),
            Verdict::ProvenUpTo(end) => {
                secret.end = end.min(secret.end);
                confidence = confidence.max(SURE);
            }
        }
        let text = haystack.get(secret.clone()).filter(|text| !text.is_empty()).ok_or(Refusal::Empty)?;
        let allowed = self.loaded.allow.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(text))
            || self.allow.as_ref().is_some_and(|patterns| patterns.is_match(text));
        if allowed {
            return Err(Refusal::Allowed);
        }
        let mut word = None;
        if !self.loaded.context.is_empty() {
            word = near(&secret);
            if self.loaded.context_required && word.is_none() {
                return Err(Refusal::NoContext);
            }
            if word.is_some() && !self.loaded.context_required {
                confidence = confidence.saturating_add(CONTEXT_BOOST).min(100);
            }
        }
        Ok(Judged { secret, confidence, verdict, word })
    }
}
