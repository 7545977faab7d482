//! Which rules a number fits by its shape: where its digits and marks stand, whatever the digits are. Enters: a run of number bytes
//! with the bytes beside it. Leaves: the rules whose pattern has a match of that shape. Logs write the same few shapes again and again, so what
//! was worked out is remembered; a rule set with a hundred kinds of numbers costs no more than one with ten.

use std::ops::Range;

use regex_automata::{
    Input, PatternSet,
    meta::{Cache, Regex},
};
use regex_syntax::hir::Hir;

use super::{
    super::{
        piece::Piece,
        words::{WordSet, Words},
    },
    kinds,
};

/// Bytes that a number may hold: digits, and these between them.
const MARKS: &[u8] = b" .-+()/";
/// Stands for any digit, any other byte of a word, any byte that is neither and not in a number, as [`kinds::shape`] has them.
const DIGIT: u8 = b'0';
const WORD: u8 = b'a';
const OTHER: u8 = b'~';

/// What a byte is in a shape.
fn kind(byte: u8) -> u8 {
    let [kind, ..] = kinds::shape([byte; LANE_BYTES], 1);
    kind
}

/// The byte may stand in a number.
pub(crate) fn is_number_byte(byte: u8) -> bool {
    byte.is_ascii_digit() || MARKS.contains(&byte)
}

const LANE_BYTES: usize = 16;
/// Shapes up to this length, with the bytes beside them, are remembered.
const KEY_BYTES: usize = 64;
/// How many of them. A shape takes the place of another with the same slot.
const SLOTS: usize = 4096;
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
    /// Runs of digits alone that fit nothing, by their length and whether a word goes on before and behind them: most are parts of
    /// identifiers.
    plain: [[[bool; 2]; 2]; KEY_BYTES],
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
        let mut shapes = Shapes {
            cache: patterns.create_cache(),
            fitting: PatternSet::new(patterns.pattern_len()),
            patterns,
            targets: self.targets,
            words: (0..rules).map(|rule| words.of(rule).cloned().unwrap_or_default()).collect(),
            slots: vec![None; SLOTS],
            long: Fit::default(),
            plain: [[[false; 2]; 2]; KEY_BYTES],
        };
        for length in 1..KEY_BYTES {
            for (before, behind) in [(false, false), (false, true), (true, false), (true, true)] {
                let beside = |word: bool| if word { WORD } else { OTHER };
                let mut text = vec![DIGIT; length + 2];
                text.first_mut().into_iter().for_each(|first| *first = beside(before));
                text.last_mut().into_iter().for_each(|last| *last = beside(behind));
                let fit = shapes.work_out(&text);
                if let Some(place) = shapes.plain_mut(length, before, behind) {
                    *place = fit.free.is_empty() && fit.bound.is_empty();
                }
            }
        }
        Ok(Some(shapes))
    }
}

/// A run with the bytes beside it, as what they are to a number; those behind them are zero. `None` when it is too long.
fn key(block: &[u8], run: &Range<usize>) -> Option<[u8; KEY_BYTES]> {
    let length = run.len() + 2;
    if length > KEY_BYTES {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (index, to) in key.as_chunks_mut::<LANE_BYTES>().0.iter_mut().enumerate() {
        let done = index * LANE_BYTES;
        if done >= length {
            break;
        }
        // One before the run; where there is nothing, a byte that no number holds.
        let at = (run.start + done).checked_sub(1);
        let lane = at.and_then(|at| block.get(at..)?.first_chunk()).copied().unwrap_or_else(|| {
            let mut lane = [0; LANE_BYTES];
            let empty = usize::from(at.is_none());
            let from = block.get(at.unwrap_or(0)..).unwrap_or_default();
            lane.iter_mut().skip(empty).zip(from).for_each(|(to, from)| *to = *from);
            lane
        });
        *to = kinds::shape(lane, length - done);
    }
    Some(key)
}

impl Shapes {
    /// What fits a run of number bytes, and the words of every rule.
    pub(super) fn fit(&mut self, block: &[u8], run: &Range<usize>) -> (&Fit, &[WordSet]) {
        let Some(key) = key(block, run) else {
            let mut text: Vec<u8> = block.get(run.clone()).unwrap_or_default().iter().map(|byte| kind(*byte)).collect();
            text.insert(0, run.start.checked_sub(1).and_then(|at| block.get(at)).map_or(OTHER, |byte| kind(*byte)));
            text.push(block.get(run.end).map_or(OTHER, |byte| kind(*byte)));
            self.long = self.work_out(&text);
            return (&self.long, &self.words);
        };
        let index = slot(&key);
        let known = self.slots.get(index).and_then(Option::as_ref).is_some_and(|slot| same(&slot.key, &key));
        if !known {
            let fit = self.work_out(key.get(..run.len() + 2).unwrap_or_default());
            if let Some(place) = self.slots.get_mut(index) {
                *place = Some(Box::new(Slot { key, fit }));
            }
        }
        let fit = match self.slots.get(index) {
            Some(Some(slot)) => &slot.fit,
            _ => &self.long,
        };
        (fit, &self.words)
    }

    /// The run is of digits alone and fits nothing.
    pub(super) fn fits_no_plain(&self, block: &[u8], run: &Range<usize>) -> bool {
        let is_word = |at: Option<usize>| {
            at.and_then(|at| block.get(at)).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        };
        let (before, behind) = (is_word(run.start.checked_sub(1)), is_word(Some(run.end)));
        let plain = self.plain.get(run.len()).and_then(|plain| plain.get(usize::from(before)));
        plain.and_then(|plain| plain.get(usize::from(behind))).is_some_and(|nothing| *nothing)
    }

    fn plain_mut(&mut self, length: usize, before: bool, behind: bool) -> Option<&mut bool> {
        self.plain.get_mut(length)?.get_mut(usize::from(before))?.get_mut(usize::from(behind))
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

/// PERF: a comparison of slices is a call.
#[inline]
fn same(one: &[u8; KEY_BYTES], other: &[u8; KEY_BYTES]) -> bool {
    let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    words.fold(0, |all, (one, other)| all | (u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other))) == 0
}

fn slot(key: &[u8; KEY_BYTES]) -> usize {
    // FNV's idea on words; what matters is that like shapes part. Most end before the second half.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let (words, _) = key.as_chunks::<8>();
    let half = words.len() / 2;
    let used = if words.get(half).is_some_and(|word| *word == [0; 8]) { half } else { words.len() };
    for word in words.iter().take(used) {
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
                let length = text[start..].bytes().take_while(|byte| is_number_byte(*byte)).count();
                let (fit, _) = shapes.fit(text.as_bytes(), &(start..start + length));
                let fit: Vec<usize> = fit.free.iter().map(|target| target.rule).collect();
                assert_eq!(fit, expected, "{text}");
            }
        }
    }

    #[test]
    fn a_key_is_the_run_with_what_stands_beside_it() {
        for length in 1..70 {
            for (before, behind) in [("", ""), ("x", "y"), ("..x", "y----------------------------------------------")] {
                let text = format!("{before}{}{behind}", "1".repeat(length));
                let run = before.len()..before.len() + length;
                let beside = |text: &str| if text.is_empty() { "~" } else { "a" };
                let expected = format!("{}{}{}", beside(before), "0".repeat(length), beside(behind)).into_bytes();
                let key = key(text.as_bytes(), &run);
                assert_eq!(key.is_none(), length + 2 > KEY_BYTES);
                let Some(key) = key else { continue };
                assert_eq!(key[..length + 2], expected);
                assert!(key[length + 2..].iter().all(|byte| *byte == 0));
            }
        }
    }
}
