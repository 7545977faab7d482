//! What is said of a receiver that fails. Enters: errors of libraries, and texts that the collector wrote. Leaves: one line that says what
//! to do. A header's value stands in none: a receiver may quote it back.

use std::{error::Error, fmt, io};

use crate::findings::mask;

/// Longest text of a receiver that is passed on, characters.
const TEXT_CHARS_MAX: usize = 256;

/// What stands for a secret.
const MASK: &str = "•••";

/// Shorter values are no secrets, and would blank out words.
const SECRET_BYTES_MIN: usize = 4;

/// Knows who is talked to, and what must not be said.
#[derive(Clone)]
pub(super) struct Words {
    endpoint: String,
    secrets: Vec<String>,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Words {
    /// `hidden`: values that are never told.
    pub(super) fn new<'a>(endpoint: &str, hidden: impl IntoIterator<Item = &'a str>) -> Self {
        // `Bearer …`: the word before the token is no secret, the token alone is one.
        let values = hidden.into_iter().flat_map(|value| std::iter::once(value).chain(value.split_whitespace()));
        let mut secrets: Vec<String> =
            values.filter(|value| value.len() >= SECRET_BYTES_MIN).map(str::to_owned).collect();
        // The longest first, for it may hold a shorter one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { endpoint: endpoint.to_owned(), secrets }
    }

    /// Who is talked to.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A text of somebody else: bounded, printable, without secrets.
    pub(super) fn quoted(&self, text: &str) -> String {
        let text = self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASK));
        mask::bounded(text.trim(), TEXT_CHARS_MAX)
    }

    /// As [`quoted`](Self::quoted) behind a colon; nothing when there is nothing to say.
    pub(super) fn because(&self, text: &str) -> String {
        let text = self.quoted(text);
        if text.is_empty() { text } else { format!(": {text}") }
    }

    /// No connection was made to a collector.
    #[cfg(feature = "otlp")]
    pub(super) fn unreachable(&self, error: &(dyn Error + 'static)) -> String {
        format!("cannot reach {}{}", self.endpoint, self.because(&innermost(error)))
    }

    /// The connection to a collector is gone.
    #[cfg(feature = "otlp")]
    pub(super) fn lost(&self, error: &(dyn Error + 'static)) -> String {
        format!(
            "{} hung up{}; if it always does, check `endpoint`, `protocol` and the certificates",
            self.endpoint,
            self.because(&innermost(error))
        )
    }

    /// Somebody is there, who speaks something else than a collector.
    #[cfg(feature = "otlp")]
    pub(super) fn foreign(&self, tongue: &str, why: &str) -> String {
        let because = self.because(why);
        format!("{} does not answer as an {tongue} receiver: check `endpoint` and `protocol`{because}", self.endpoint)
    }
}

/// The error at the bottom says what happened; those above say where in the library.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let last = chain(error).last().map(ToString::to_string).unwrap_or_default();
    // `(os error 111)` says nothing that the words before it do not.
    last.split(" (os error").next().unwrap_or_default().to_owned()
}

/// The error and those behind it.
pub(super) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // An error of a library that names itself as its cause must not hold us up.
    const DEPTH_MAX: usize = 32;
    std::iter::successors(Some(error), |error| (*error).source()).take(DEPTH_MAX)
}

/// Whether the network, the system, TLS or somebody who hung up is behind it.
pub(super) fn is_transport(error: &(dyn Error + 'static)) -> bool {
    let is_end = |error: &hyper::Error| error.is_canceled() || error.is_closed() || error.is_incomplete_message();
    chain(error).any(|error| error.is::<io::Error>() || error.downcast_ref().is_some_and(is_end))
}

/// Whether it befell a connection that was there.
#[cfg(feature = "otlp")]
pub(super) fn is_later(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(<dyn Error>::is::<hyper::Error>)
}
