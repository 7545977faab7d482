//! How the matches of a pattern begin: what each of their first bytes may be. Enters: an exact pattern. Leaves: an [`Opening`], which tells
//! where in a text a match may begin, at about a byte a nanosecond and without a branch; the pattern itself takes a hundred to start. Like factors
//! it never narrows.

use regex_syntax::hir::{Hir, HirKind, Look};

use super::factor::bytes_of;

/// Of so many bytes is known what they may be.
const BYTES: usize = 8;
/// So many forms of a pattern are told apart; a fifth is one with the first.
const FORMS: usize = 4;
/// The bits of the first byte of each form, and of the last.
const FIRST: u32 = 0x0101_0101;
const LAST: u32 = FIRST << (BYTES - 1);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    /// By byte: where in the opening of each form it may stand, a bit each.
    places: Box<[u32; 256]>,
    /// A match begins at a boundary of a word.
    at_boundary: bool,
}

impl Opening {
    pub(super) fn of(hir: &Hir) -> Self {
        let at_boundary = hir.properties().look_set_prefix().contains(Look::WordAscii);
        let mut opening = Self { places: Box::new([0; 256]), at_boundary };
        for (index, form) in forms(hir).iter().enumerate() {
            let shift = index % FORMS * BYTES;
            let ends = opening.add(form, 1, shift);
            // Behind the end of a short match stands anything.
            for place in (0..BYTES).filter(|place| ends & ((2 << place) - 1) != 0) {
                opening.places.iter_mut().for_each(|places| *places |= 1 << (shift + place));
            }
        }
        opening
    }

    /// Takes in an expression that begins at some of the places, a bit each. Leaves the places where it ends.
    fn add(&mut self, hir: &Hir, begins: u32, shift: usize) -> u32 {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => begins,
            HirKind::Literal(literal) => {
                literal.0.iter().fold(begins, |at, byte| self.add_byte(at, std::iter::once(*byte), shift))
            }
            HirKind::Class(class) => match bytes_of(class) {
                Some(bytes) => {
                    let bytes = bytes.ranges().iter().flat_map(|range| range.start()..=range.end());
                    self.add_byte(begins, bytes, shift)
                }
                None => self.add_byte(begins, 0..=255, shift),
            },
            HirKind::Capture(capture) => self.add(&capture.sub, begins, shift),
            HirKind::Concat(parts) => parts.iter().fold(begins, |at, part| self.add(part, at, shift)),
            HirKind::Alternation(branches) => {
                branches.iter().fold(0, |ends, branch| ends | self.add(branch, begins, shift))
            }
            HirKind::Repetition(repetition) => {
                let (mut at, mut ends, mut round) = (begins, 0, 0);
                loop {
                    if round >= repetition.min {
                        ends |= at;
                        // As many rounds as there are places, and all are reached that can be.
                        if round as usize > BYTES || repetition.max.is_some_and(|max| round >= max) {
                            break ends;
                        }
                    }
                    if at == 0 {
                        break ends;
                    }
                    at = self.add(&repetition.sub, at, shift);
                    round += 1;
                }
            }
        }
    }

    /// One of some bytes at each of some places. Leaves those behind them; what lies beyond the opening is left out.
    fn add_byte(&mut self, begins: u32, bytes: impl Iterator<Item = u8>, shift: usize) -> u32 {
        for byte in bytes {
            if let Some(places) = self.places.get_mut(usize::from(byte)) {
                *places |= begins << shift;
            }
        }
        (begins << 1) & ((1 << BYTES) - 1)
    }

    /// The first place in an extent of a text where a match may begin.
    pub(super) fn next(&self, text: &[u8], from: usize, to: usize) -> Option<usize> {
        // Which places of an opening could be here, given the bytes before: they all move on together.
        let mut state = 0;
        (from..to.saturating_add(BYTES - 1)).find_map(|at| {
            let places =
                text.get(at).map_or(u32::MAX, |byte| self.places.get(usize::from(*byte)).copied().unwrap_or(0));
            state = (state << 1 | FIRST) & places;
            let start = (at + 1).checked_sub(BYTES).filter(|_| state & LAST != 0)?;
            (!self.at_boundary || is_boundary(text, start)).then_some(start)
        })
    }
}

/// The forms of a pattern that begins with a choice.
fn forms(hir: &Hir) -> Vec<Hir> {
    match hir.kind() {
        HirKind::Alternation(branches) => branches.clone(),
        HirKind::Capture(capture) => forms(&capture.sub),
        HirKind::Concat(parts) => {
            let looks = parts.iter().take_while(|part| matches!(part.kind(), HirKind::Look(_))).count();
            let Some((first, rest)) = parts.get(looks..).and_then(<[Hir]>::split_first) else {
                return vec![hir.clone()];
            };
            let whole = |first| Hir::concat(std::iter::once(first).chain(rest.iter().cloned()).collect());
            forms(first).into_iter().map(whole).collect()
        }
        _ => vec![hir.clone()],
    }
}

fn is_boundary(text: &[u8], at: usize) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    is_word(at.checked_sub(1).and_then(|before| text.get(before))) != is_word(text.get(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::scan::factor::parse;

    #[test]
    fn where_a_match_may_begin() {
        for (pattern, text, expected) in [
            (r"(?i:secret|token|pwd)\s", "the secrecy of a TOKEN x", Some(17)),
            (r"(?:\+[1-9][0-9]{6,9}|00[1-9][0-9]{6,9})", "2001-10-03 +49301234567", Some(11)),
            (r"(?:\+[1-9][0-9]{6,9}|00[1-9][0-9]{6,9})", "2001-10-03 100 12345678", None),
            (r"\b[0-9]{4}\b", "x1234 _5678 9012", Some(12)),
            (r"(?:[a-z]?){0,9}[0-9]{4}", "--ab1234", Some(2)),
            (r"(?:[a-z]{3}[0-9]){12,40}", "ab1 abc1abc1", Some(4)),
            // What is behind a short match, or behind the text, may be anything.
            (r"[0-9]{4}", "ab123", Some(2)),
            (r"[0-9]{4}", "ab12cde", None),
            (r"[0-9]{9}", "ab1234", Some(2)),
        ] {
            let opening = Opening::of(&parse(pattern).unwrap().0);
            assert_eq!(opening.next(text.as_bytes(), 0, text.len()), expected, "{pattern} {text}");
        }
    }
}
