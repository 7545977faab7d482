//! Which rules a number fits by its shape: where its digits and marks stand, whatever the digits are. Enters: a run of number bytes
//! with the bytes beside it. Leaves: the rules whose pattern has a match of that shape. Logs write the same few shapes again and again, so what
//! was worked out is remembered; a rule set with a hundred kinds of numbers costs no more than one with ten.

use std::ops::Range;

use regex_automata::{
    Anchored, Input, PatternID, PatternSet,
    meta::{Cache, Regex},
};
use regex_syntax::hir::Hir;

use super::{
    super::{
        piece::Piece,
        validators::Validator,
        words::{WordSet, Words},
    },
    kinds,
};

/// Bytes that a number may hold: digits, and these between them.
const MARKS: &[u8] = b" .-+()/";
/// So many validators are asked before words are looked for.
pub(super) const FEW: usize = 2;

/// Stands for any digit, any capital, any other byte of a word, any byte that is none of these and not in a number, as [`kinds::shape`]
/// has them.
const DIGIT: u8 = b'0';
const CAPITAL: u8 = b'A';
const WORD: u8 = b'a';
const OTHER: u8 = b'~';
/// What may stand beside a run of digits alone.
const BESIDE: [u8; 3] = [OTHER, WORD, CAPITAL];

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
/// The same for shapes of one lane, which nearly all are.
const SHORT_SLOTS: usize = 4096;
/// Bound of the compiled patterns, bytes.
const MAX_NFA_BYTES: usize = 8 * 1024 * 1024;

/// A rule that looks for numbers, and how far its match may reach beyond the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) rule: usize,
    pattern: PatternID,
    pub(super) before: usize,
    pub(super) after: usize,
    /// Only with a context word near.
    bound: bool,
    /// Two digits that every match holds side by side in the run, when the pattern names some.
    literal: Option<[u8; 2]>,
    /// When the match is no more than the piece.
    validator: Option<Validator>,
    /// Where the only match lies that a run of this shape can have of the rule, from its first byte on.
    only: Option<(u8, u8)>,
}

impl Target {
    /// The only match of the rule that there can be in a run, and who tells whether it counts.
    #[inline]
    pub(super) fn only_match(&self, run: &Range<usize>) -> Option<(Validator, Range<usize>)> {
        let ((start, end), validator) = self.only.zip(self.validator)?;
        Some((validator, run.start + usize::from(start)..run.start + usize::from(end)))
    }

    /// The text of a run holds what every match does.
    #[inline]
    pub(super) fn holds_literal(&self, text: &[u8]) -> bool {
        self.literal.is_none_or(|literal| text.array_windows().any(|two| *two == literal))
    }
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

/// A shape of one lane. No shape is all zero.
#[derive(Clone, Debug, Default)]
struct Short {
    key: u128,
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
    short: Vec<Short>,
    /// Of the last long run.
    long: Fit,
    /// Runs of digits alone that fit nothing, by their length and by what stands before and behind them: most are parts of identifiers.
    plain: [[[bool; BESIDE.len()]; BESIDE.len()]; KEY_BYTES],
}

/// Collects what [`Shapes`] are made of.
#[derive(Default)]
pub(super) struct Builder {
    targets: Vec<Target>,
    shapes: Vec<Hir>,
}

impl Builder {
    /// A rule with one of its pieces.
    pub(super) fn add(&mut self, rule: usize, bound: bool, validator: Option<Validator>, piece: &Piece) {
        let literal = piece.literal();
        let Piece { before, after, .. } = *piece;
        let validator = validator.filter(|_| (before, after) == (0, 0));
        let pattern = PatternID::new_unchecked(self.targets.len());
        self.targets.push(Target { rule, pattern, before, after, bound, literal, validator, only: None });
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
            short: vec![Short::default(); SHORT_SLOTS],
            long: Fit::default(),
            plain: [[[false; BESIDE.len()]; BESIDE.len()]; KEY_BYTES],
        };
        for length in 1..KEY_BYTES {
            for (first, before) in BESIDE.iter().enumerate() {
                for (last, behind) in BESIDE.iter().enumerate() {
                    let digits = std::iter::repeat_n(DIGIT, length);
                    let text: Vec<u8> =
                        std::iter::once(*before).chain(digits).chain(std::iter::once(*behind)).collect();
                    let fit = shapes.work_out(&text);
                    if let Some(place) = shapes.plain_mut(length, first, last) {
                        *place = fit.free.is_empty() && fit.bound.is_empty();
                    }
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

/// As [`key`], for a run that fits into one lane with the bytes beside it, in the middle of a block.
#[inline]
fn short_key(block: &[u8], run: &Range<usize>) -> Option<u128> {
    let length = run.len() + 2;
    if length > LANE_BYTES {
        return None;
    }
    let lane: &[u8; LANE_BYTES] = block.get(run.start.checked_sub(1)?..)?.first_chunk()?;
    Some(u128::from_le_bytes(kinds::shape(*lane, length)))
}

impl Shapes {
    /// What fits a run of number bytes, and the words of every rule.
    #[inline]
    pub(super) fn fit(&mut self, block: &[u8], run: &Range<usize>) -> (&Fit, &[WordSet]) {
        let Some(key) = short_key(block, run) else { return self.fit_any(block, run) };
        let index = short_slot(key);
        if self.short.get(index).is_none_or(|short| short.key != key) {
            let fit = self.work_out(key.to_le_bytes().get(..run.len() + 2).unwrap_or_default());
            if let Some(place) = self.short.get_mut(index) {
                *place = Short { key, fit };
            }
        }
        (self.short.get(index).map_or(&self.long, |short| &short.fit), &self.words)
    }

    /// The same for a run of any length, anywhere.
    fn fit_any(&mut self, block: &[u8], run: &Range<usize>) -> (&Fit, &[WordSet]) {
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
    #[inline]
    pub(super) fn fits_no_plain(&self, block: &[u8], run: &Range<usize>) -> bool {
        let beside = |at: Option<usize>| match at.and_then(|at| block.get(at)) {
            Some(b'A'..=b'Z') => 2,
            Some(b'a'..=b'z' | b'_') => 1,
            _ => 0,
        };
        let (before, behind) = (beside(run.start.checked_sub(1)), beside(Some(run.end)));
        let plain: Option<&[bool; BESIDE.len()]> = self.plain.get(run.len()).and_then(|plain| plain.get(before));
        plain.and_then(|plain| plain.get(behind)).is_some_and(|nothing| *nothing)
    }

    fn plain_mut(&mut self, length: usize, before: usize, behind: usize) -> Option<&mut bool> {
        self.plain.get_mut(length)?.get_mut(before)?.get_mut(behind)
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
        let all: Vec<usize> = fit.free.iter().chain(&fit.bound).map(|target| target.rule).collect();
        // Many that need a word are not asked for before there is one.
        let bound = fit.bound.len() <= FEW;
        for target in fit.free.iter_mut().chain(fit.bound.iter_mut().filter(|_| bound)) {
            let is_alone = all.iter().filter(|rule| **rule == target.rule).count() == 1;
            if target.validator.is_some() && is_alone {
                target.only = only_match(patterns, cache, target.pattern, text);
            }
        }
        fit
    }
}

/// Where in a run, which the text of its shape holds with the bytes beside it, the only match of a pattern lies. `None`: there may be several.
fn only_match(patterns: &Regex, cache: &mut Cache, pattern: PatternID, text: &[u8]) -> Option<(u8, u8)> {
    let mut only = None;
    // What stands beside the run is no part of a match.
    for start in 1..text.len() {
        for end in start + 1..text.len() {
            let input = Input::new(text).range(start..end).anchored(Anchored::Pattern(pattern));
            let Some(end) = patterns.search_half_with(cache, &input).map(|half| half.offset()) else { continue };
            let one = (u8::try_from(start - 1).ok()?, u8::try_from(end - 1).ok()?);
            if only.is_some_and(|only| only != one) {
                return None;
            }
            only = Some(one);
        }
    }
    only
}

/// PERF: a comparison of slices is a call.
#[inline]
fn same(one: &[u8; KEY_BYTES], other: &[u8; KEY_BYTES]) -> bool {
    let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    words.fold(0, |all, (one, other)| all | (u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other))) == 0
}

#[inline]
fn short_slot(key: u128) -> usize {
    let (low, high) = (key as u64, (key >> 64) as u64);
    let hash = (low ^ high.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(hash >> 40).unwrap_or(0) % SHORT_SLOTS
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
    use crate::detectors::scan::{factor, piece, validators::Verdict};

    fn shapes(patterns: &[&str]) -> Shapes {
        let mut builder = Builder::default();
        for (rule, pattern) in patterns.iter().enumerate() {
            let hir = factor::parse(pattern).unwrap().0;
            let score = |piece: &Piece| piece.at_least(|byte| byte.is_ascii_digit());
            for piece in piece::pieces(&hir, is_number_byte, score).unwrap() {
                builder.add(rule, false, None, &piece);
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
            r"\b(?:BE|ES ?[A-Z]?)-?\d{7}\b",
            r"[a-z]\d{7}[A-Z]",
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
            ("X1234567", &[5, 5]),
            ("x1234567", &[]),
            ("x1234567A", &[6]),
            ("x1234567a", &[]),
            ("123456789 123456789 123456789 123456789 123456789 123456789 123456789", &[0]),
        ] {
            // Twice: worked out, and remembered.
            for _ in 0..2 {
                let start = usize::from(text.starts_with(['x', 'X']));
                let length = text[start..].bytes().take_while(|byte| is_number_byte(*byte)).count();
                let (fit, _) = shapes.fit(text.as_bytes(), &(start..start + length));
                let fit: Vec<usize> = fit.free.iter().map(|target| target.rule).collect();
                assert_eq!(fit, expected, "{text}");
            }
        }
    }

    #[test]
    fn the_only_match_that_there_can_be() {
        let mut builder = Builder::default();
        for (rule, pattern) in
            [r"\b(?:\d{1,3}\.){3}\d{1,3}\b", r"\b\d{4}(?:-\d\d)?\b", r"\b\d{4}[A-Z]?\b"].iter().enumerate()
        {
            let hir = factor::parse(pattern).unwrap().0;
            let score = |piece: &Piece| piece.at_least(|byte| byte.is_ascii_digit());
            for piece in piece::pieces(&hir, is_number_byte, score).unwrap() {
                builder.add(rule, false, Some(|_| Verdict::Refused), &piece);
            }
        }
        let mut shapes = builder.build(&Words::default()).unwrap().unwrap();
        for (text, expected) in [
            (" 10.1.2.3 - - ", &[(0, Some(1..9))][..]),
            (" 10.1.2.3.4 - ", &[(0, None)]),
            ("=1234;        ", &[(1, Some(0..4)), (2, None)]),
            ("=1234-56;     ", &[(1, None), (2, None)]),
        ] {
            let start = usize::from(text.starts_with('='));
            let length = text[start..].bytes().take_while(|byte| is_number_byte(*byte)).count();
            let run = start..start + length;
            let (fit, _) = shapes.fit(text.as_bytes(), &run);
            let only = |target: &Target| target.only_match(&run).map(|(_, span)| span.start - start..span.end - start);
            let found: Vec<(usize, Option<Range<usize>>)> =
                fit.free.iter().map(|target| (target.rule, only(target))).collect();
            assert_eq!(found, expected, "{text}");
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
