//! Where in a block of logs calls to LLMs may be told of. Enters: its text. Leaves: places, by position. It reads no line.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// One of these is in each line that says how many tokens a call took, or how it failed: `_tokens`, `Tokens`, `okenCount`, `token_count`.
///
/// PERF: each is looked for by itself. An automaton for all of them takes eight times as long, for their rare letters are not rare in logs.
static HINTS: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| ["Error code: ", "oken", "eval_count"].map(|hint| Finder::new(hint.as_bytes())));
/// What counts tokens names a model as well; a text that names none is asked for the first hint alone.
pub(super) static MODEL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"odel"));

/// The text is asked for one hint after the other in pieces of so many bytes, which stay in the nearest cache meanwhile.
pub(super) const PIECE_BYTES: usize = 16 * 1024;

/// Where the next of [`HINTS`] stands.
pub(super) struct Hints<'t> {
    text: &'t [u8],
    /// No piece before this place has any that was not told.
    at: usize,
    /// Those that were found, the last one first.
    here: Vec<usize>,
}

impl<'t> Hints<'t> {
    pub(super) fn of(text: &'t [u8]) -> Self {
        // PERF: in most logs there is no model at all, and then one pass over each piece is all.
        let mut errors = Vec::new();
        for at in (0..text.len()).step_by(PIECE_BYTES) {
            if MODEL.find(piece(text, at, &MODEL)).is_some() {
                return Self { text, at: 0, here: Vec::new() };
            }
            errors.extend(HINTS[0].find_iter(piece(text, at, &HINTS[0])).map(|place| at + place));
        }
        errors.reverse();
        Self { text, at: text.len(), here: errors }
    }

    /// The first one from a place on.
    pub(super) fn next_from(&mut self, from: usize) -> Option<usize> {
        loop {
            while let Some(hint) = self.here.pop() {
                if hint >= from {
                    // It may be asked for again.
                    self.here.push(hint);
                    return Some(hint);
                }
            }
            self.at = self.at.max(from);
            if self.at >= self.text.len() {
                return None;
            }
            for hint in HINTS.iter() {
                self.here.extend(hint.find_iter(piece(self.text, self.at, hint)).map(|place| self.at + place));
            }
            self.here.sort_unstable_by(|a, b| b.cmp(a));
            self.at += PIECE_BYTES;
        }
    }
}

/// The piece from a place on, with what a needle that begins in it needs.
fn piece<'t>(text: &'t [u8], at: usize, needle: &Finder<'_>) -> &'t [u8] {
    let end = at.saturating_add(PIECE_BYTES + needle.needle().len() - 1).min(text.len());
    text.get(at..end).unwrap_or_default()
}
