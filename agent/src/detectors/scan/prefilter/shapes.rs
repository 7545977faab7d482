//! Which rules a number fits by its shape: where its digits and marks stand, whatever the digits are. Enters: a run of number bytes
//! with the bytes beside it. Leaves: the rules whose pattern has a match of that shape. Logs write the same few shapes again and again, so what
//! was worked out is remembered; a rule set with a hundred kinds of numbers costs no more than one with ten.

use regex_automata::{
    Input, PatternSet,
    meta::{Cache, Regex},
};
use regex_syntax::hir::Hir;

use super::super::{
    piece::Piece,
    words::{WordSet, Words},
};

/// Bytes that a number may hold: digits, and these between them.
const MARKS: &[u8] = b" .-+()/";
/// Stands for any digit, any other word byte, any other byte.
const DIGIT: u8 = b'0';
const WORD: u8 = b'a';
const OTHER: u8 = b'~';

const KINDS: [u8; 256] = {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        let value = byte as u8;
        if value.is_ascii_digit() {
            table[byte] = DIGIT;
        } else if value.is_ascii_alphabetic() || value == b'_' {
            table[byte] = WORD;
        }
        byte += 1;
    }
    let mut mark = 0;
    while mark < MARKS.len() {
        table[MARKS[mark] as usize] = MARKS[mark];
        mark += 1;
    }
    table
};

/// What a byte is in a shape.
fn kind(byte: u8) -> u8 {
    KINDS.get(usize::from(byte)).copied().unwrap_or(OTHER)
}

/// The byte may stand in a number.
pub(crate) fn is_number_byte(byte: u8) -> bool {
    !matches!(kind(byte), WORD | OTHER)
}

/// Shapes up to this length, with the bytes beside them, are remembered.
const KEY_BYTES: usize = 64;
/// How many of them. A shape takes the place of another with the same slot.
const SLOTS: usize = 1024;
/// Bound of the compiled patterns, bytes.
const MAX_NFA_BYTES: usize = 8 * 1024 * 1024;

/// A rule that looks for numbers, and how far its match may reach beyond the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) rule: usize,
    pub(super) before: usize,
    pub(super) after: usize,
    /// Only with a context word near.
    bound: bool,
}

/// What fits a shape.
#[derive(Clone, Debug, Default)]
pub(super) struct Fit {
    /// Those that need nothing else.
    pub(super) free: Vec<Target>,
    /// Those that need a context word.
    pub(super) bound: Vec<Target>,
    /// The words of these, one of which must be near.
    pub(super) words: WordSet,
    /// The farthest reach of these.
    pub(super) before: usize,
    pub(super) after: usize,
}

#[derive(Clone, Debug)]
struct Slot {
    key: [u8; KEY_BYTES],
    fit: Fit,
}

/// A run as it was read.
pub(super) struct Number {
    pub(super) end: usize,
    pub(super) digits: usize,
    key: [u8; KEY_BYTES],
    /// The key is all of it.
    short: bool,
}

/// The shapes that rules look for.
#[derive(Clone, Debug)]
pub(super) struct Shapes {
    patterns: Regex,
    /// By pattern.
    targets: Vec<Target>,
    /// By rule.
    words: Vec<WordSet>,
    cache: Cache,
    fitting: PatternSet,
    slots: Vec<Option<Box<Slot>>>,
    /// Of the last long run.
    long: Fit,
}

/// Collects what [`Shapes`] are made of.
#[derive(Default)]
pub(super) struct Builder {
    targets: Vec<Target>,
    shapes: Vec<Hir>,
}

impl Builder {
    /// A rule with one of its pieces.
    pub(super) fn add(&mut self, rule: usize, bound: bool, piece: &Piece) {
        self.targets.push(Target { rule, before: piece.before, after: piece.after, bound });
        self.shapes.push(piece.shape(kind));
    }

    /// `None`: no rule looks for numbers.
    pub(super) fn build(self, words: &Words) -> Result<Option<Shapes>, String> {
        if self.targets.is_empty() {
            return Ok(None);
        }
        let patterns = Regex::builder()
            .configure(
                Regex::config()
                    .nfa_size_limit(Some(MAX_NFA_BYTES))
                    .match_kind(regex_automata::MatchKind::All)
                    .utf8_empty(false),
            )
            .build_many_from_hir(&self.shapes)
            .map_err(|error| error.to_string())?;
        let rules = self.targets.iter().map(|target| target.rule + 1).max().unwrap_or(0);
        Ok(Some(Shapes {
            cache: patterns.create_cache(),
            fitting: PatternSet::new(patterns.pattern_len()),
            patterns,
            targets: self.targets,
            words: (0..rules).map(|rule| words.of(rule).cloned().unwrap_or_default()).collect(),
            slots: vec![None; SLOTS],
            long: Fit::default(),
        }))
    }
}

/// Reads the run of number bytes that begins at `start`.
pub(super) fn read(block: &[u8], start: usize) -> Number {
    let mut key = [0; KEY_BYTES];
    let beside = |at: Option<usize>| at.and_then(|at| block.get(at)).map_or(OTHER, |byte| kind(*byte));
    let (mut end, mut digits) = (start, 0);
    let (first, rest) = key.split_at_mut(1);
    first.fill(beside(start.checked_sub(1)));
    let mut places = rest.iter_mut();
    for byte in block.get(start..).unwrap_or_default() {
        let kind = kind(*byte);
        if matches!(kind, WORD | OTHER) {
            break;
        }
        digits += usize::from(kind == DIGIT);
        end += 1;
        if let Some(place) = places.next() {
            *place = kind;
        }
    }
    let last = places.next();
    let short = last.is_some();
    if let Some(last) = last {
        *last = beside(Some(end));
    }
    Number { end, digits, key, short }
}

impl Shapes {
    /// What fits the run that begins at `start`.
    pub(super) fn fit(&mut self, block: &[u8], start: usize, number: &Number) -> &Fit {
        if !number.short {
            let from = start.saturating_sub(1);
            let text: Vec<u8> = block
                .get(from..number.end.saturating_add(1).min(block.len()))
                .unwrap_or_default()
                .iter()
                .map(|byte| kind(*byte))
                .collect();
            self.long = self.work_out(&text);
            return &self.long;
        }
        let index = slot(&number.key);
        let known = self.slots.get(index).and_then(Option::as_ref).is_some_and(|slot| slot.key == number.key);
        if !known {
            let length = number.end - start + 2;
            let fit = self.work_out(number.key.get(..length).unwrap_or_default());
            if let Some(place) = self.slots.get_mut(index) {
                *place = Some(Box::new(Slot { key: number.key, fit }));
            }
        }
        match self.slots.get(index) {
            Some(Some(slot)) => &slot.fit,
            _ => &self.long,
        }
    }

    fn work_out(&mut self, text: &[u8]) -> Fit {
        let Self { patterns, targets, words, cache, fitting, .. } = self;
        fitting.clear();
        patterns.which_overlapping_matches_with(cache, &Input::new(text), fitting);
        let mut fit = Fit::default();
        for target in fitting.iter().filter_map(|pattern| targets.get(pattern.as_usize())) {
            if target.bound {
                fit.bound.push(*target);
                fit.before = fit.before.max(target.before);
                fit.after = fit.after.max(target.after);
                if let Some(words) = words.get(target.rule) {
                    fit.words.join(words);
                }
            } else {
                fit.free.push(*target);
            }
        }
        fit
    }
}

fn slot(key: &[u8; KEY_BYTES]) -> usize {
    // FNV's idea on words; what matters is that like shapes part.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for word in key.as_chunks::<8>().0 {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    usize::try_from(hash % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::scan::{factor, piece};

    fn shapes(patterns: &[&str]) -> Shapes {
        let mut builder = Builder::default();
        for (rule, pattern) in patterns.iter().enumerate() {
            let hir = factor::parse(pattern).unwrap().0;
            let score = |piece: &Piece| piece.at_least(|byte| byte.is_ascii_digit());
            for piece in piece::pieces(&hir, is_number_byte, score).unwrap() {
                builder.add(rule, false, &piece);
            }
        }
        builder.build(&Words::default()).unwrap().unwrap()
    }

    #[test]
    fn a_number_fits_by_its_shape_and_its_neighbours() {
        let mut shapes = shapes(&[
            r"\b\d{9}\b",
            r"\b\d{3}-\d{2}-\d{4}\b",
            r"\b\d{8}[A-Z]\b",
            r"\b\d{6}[-+A]\d{3}[0-9A-Y]\b",
            r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
        ]);
        for (text, expected) in [
            ("123456789", &[0][..]),
            ("x123456789", &[]),
            ("1234567890", &[]),
            ("536-90-4399", &[1]),
            ("536-90-43990", &[]),
            ("12345678Z", &[2]),
            ("12345678 ", &[]),
            ("131052-308T", &[3]),
            ("131052A308T", &[3]),
            ("10.0.0.1", &[4]),
            ("1.10.0.0.1.2", &[4]),
            ("123456789 123456789 123456789 123456789 123456789 123456789 123456789", &[0]),
        ] {
            // Twice: worked out, and remembered.
            for _ in 0..2 {
                let start = usize::from(text.starts_with('x'));
                let number = read(text.as_bytes(), start);
                let fit: Vec<usize> =
                    shapes.fit(text.as_bytes(), start, &number).free.iter().map(|target| target.rule).collect();
                assert_eq!(fit, expected, "{text}");
            }
        }
    }

    #[test]
    fn a_run_ends_where_no_number_byte_follows() {
        for length in 1..140 {
            let text = format!("x{}y", "1".repeat(length));
            let number = read(text.as_bytes(), 1);
            assert_eq!((number.end, number.digits, number.short), (length + 1, length, length + 2 <= KEY_BYTES));
        }
    }
}
