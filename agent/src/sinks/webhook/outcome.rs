//! What an answer means. Enters: status and header fields of an HTTP answer. Leaves: an [`Outcome`]. Pure, one table: what is the records' own
//! fault is theirs, everything else an operator can mend, and is waited for.

use std::time::Duration;

use crate::{
    sinks::{later::retry_after, words::Words},
    units::Timestamp,
};

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken.
    Taken,
    /// One of the records at least is at fault.
    Invalid(String),
    /// Fewer records at a time may pass.
    TooLarge(String),
    /// Later, perhaps.
    NotNow {
        /// In words.
        reason: String,
        /// What was asked for.
        after: Option<Duration>,
    },
    /// Later, with everything read anew.
    Broken(String),
}

/// What matters of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HttpAnswer<'a> {
    pub(super) status: u16,
    pub(super) content_type: Option<&'a str>,
    pub(super) retry_after: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// `now` is for a date in `retry-after`.
pub(super) fn of_http(answer: HttpAnswer<'_>, now: Timestamp, words: &Words) -> Outcome {
    let (whom, status) = (words.endpoint(), answer.status);
    let type_is = |wanted: &str| answer.content_type.is_some_and(|found| found.starts_with(wanted));
    // A page is not worth passing on, and is the word of a proxy rather than of one who has read the records.
    let is_page = type_is("text/html");
    let said = String::from_utf8_lossy(answer.body);
    let because = words.because(if is_page { "" } else { &said });
    let later = |what: &str| Outcome::NotNow {
        reason: format!("{whom} {what}{because}"),
        after: answer.retry_after.and_then(|text| retry_after(text, now)),
    };
    // Secret, headers and certificates are read again for the next connection: they may have been changed.
    let anew = |what: &str| Outcome::Broken(format!("{whom} {what}{because}"));
    match status {
        200..=299 => Outcome::Taken,
        300..=399 => later(&format!(
            "answers {status}, a redirect, which is not followed: put the address where it is into `url`"
        )),
        400 | 422 if !is_page => Outcome::Invalid(format!("{status}{because}")),
        413 => Outcome::TooLarge(format!("{status}{because}")),
        401 => anew("does not know us (401): check `secret` and `headers`"),
        403 => anew("refuses us (403): check `secret` and `headers`, and what they are allowed"),
        404 => anew("has nothing at this path (404): check `url`"),
        405 => anew("takes no POST at this path (405): check `url`"),
        410 => anew("is gone (410) and wants no more: put another `url`, or take the sink out of the config"),
        415 => anew("does not take this kind of body (415): check `body`"),
        429 => later("has no room (429)"),
        502..=504 => later(&format!("is unavailable ({status})")),
        _ => later(&format!("answers {status}")),
    }
}
