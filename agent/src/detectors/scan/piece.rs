//! Derives what a hand-written trigger may demand. Enters: an exact pattern. Leaves: [`Piece`]s, of which every match holds one,
//! with how far the match can reach to both sides of it. Like factors they never narrow: what is demanded of a piece is a lower
//! bound, and where nothing can be demanded there is no piece.

use std::ops::Range;

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, HirKind, Look};

use super::factor::{at_least, bytes_of, longest_group, only};

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByteSet([u64; 4]);

impl FromIterator<u8> for ByteSet {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        let mut set = Self::default();
        bytes.into_iter().for_each(|byte| set.add(byte));
        set
    }
}

impl ByteSet {
    /// How many bytes it holds.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn add(&mut self, byte: u8) {
        if let Some(word) = self.0.get_mut(usize::from(byte >> 6)) {
            *word |= 1 << (byte & 63);
        }
    }

    /// The byte is one of the set.
    pub(super) fn holds(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte >> 6)).is_some_and(|word| word >> (byte & 63) & 1 == 1)
    }

    /// All bytes that a match of an expression may hold.
    fn of(hir: &Hir) -> Self {
        let mut set = Self::default();
        set.collect(hir);
        set
    }

    fn collect(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => literal.0.iter().for_each(|byte| self.add(*byte)),
            HirKind::Class(class) => {
                if let Some(bytes) = bytes_of(class) {
                    bytes.iter().flat_map(|range| range.start()..=range.end()).for_each(|byte| self.add(byte));
                }
            }
            HirKind::Repetition(repetition) => self.collect(&repetition.sub),
            HirKind::Capture(capture) => self.collect(&capture.sub),
            HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().for_each(|part| self.collect(part)),
        }
    }
}

/// A part of a pattern that matches bytes of one kind only.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    hir: Hir,
    /// Longest text of a match before it, and behind it.
    pub(super) before: usize,
    pub(super) after: usize,
    /// No byte of the kind can stand directly before and behind it, so it is a whole run of them.
    whole: bool,
    /// The byte that always stands directly behind it.
    pub(super) next: Option<u8>,
    /// What stands directly before and behind it, one byte or a boundary.
    left: Hir,
    right: Hir,
}

impl Piece {
    /// Itself and one byte to both sides, over the bytes that `kind` leaves.
    pub(super) fn shape(&self, kind: impl Fn(u8) -> u8 + Copy) -> Hir {
        Hir::concat(vec![shape(&self.left, kind), shape(&self.hir, kind), shape(&self.right, kind)])
    }

    /// Two bytes that every match holds side by side.
    pub(super) fn literal(&self) -> Option<[u8; 2]> {
        let parts = match self.hir.kind() {
            HirKind::Concat(parts) => parts.as_slice(),
            _ => std::slice::from_ref(&self.hir),
        };
        parts.iter().find_map(|part| match part.kind() {
            HirKind::Literal(literal) => literal.0.first_chunk().copied(),
            _ => None,
        })
    }

    /// How many bytes of a kind it holds at least.
    pub(super) fn at_least(&self, counted: impl Fn(u8) -> bool + Copy) -> usize {
        at_least(&self.hir, counted)
    }

    /// The longest unbroken sequence of such bytes, at least.
    pub(super) fn longest_group(&self, counted: impl Fn(u8) -> bool + Copy) -> usize {
        longest_group(&self.hir, counted)
    }

    /// The lengths that the run around it may have.
    pub(super) fn lengths(&self) -> (usize, usize) {
        let properties = self.hir.properties();
        let longest = if self.whole { properties.maximum_len().unwrap_or(usize::MAX) } else { usize::MAX };
        (properties.minimum_len().unwrap_or(0), longest)
    }

    /// The bytes that the run around it may hold, when it is known to hold no others.
    pub(super) fn bytes(&self) -> Option<ByteSet> {
        self.whole.then(|| ByteSet::of(&self.hir))
    }
}

/// An expression over the bytes that `kind` leaves: it matches the shape of whatever the expression matches. Boundaries of words
/// stay, so `kind` must leave word bytes word bytes, and others others.
fn shape(hir: &Hir, kind: impl Fn(u8) -> u8 + Copy) -> Hir {
    match hir.kind() {
        HirKind::Look(
            Look::WordAscii
            | Look::WordAsciiNegate
            | Look::WordStartAscii
            | Look::WordEndAscii
            | Look::WordStartHalfAscii
            | Look::WordEndHalfAscii,
        ) => hir.clone(),
        HirKind::Empty | HirKind::Look(_) => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0.iter().map(|byte| kind(*byte)).collect::<Vec<u8>>()),
        HirKind::Class(class) => {
            let bytes = bytes_of(class).unwrap_or_else(ClassBytes::empty);
            let kinds = bytes.iter().flat_map(|range| range.start()..=range.end()).map(kind);
            Hir::class(Class::Bytes(ClassBytes::new(kinds.map(|kind| ClassBytesRange::new(kind, kind)))))
        }
        HirKind::Repetition(repetition) => Hir::repetition(repetition.with(shape(&repetition.sub, kind))),
        HirKind::Capture(capture) => shape(&capture.sub, kind),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(|part| shape(part, kind)).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(|part| shape(part, kind)).collect()),
    }
}

/// The boundary or the one byte at an edge of the parts, which are given from the edge on; `beyond` where they may hold none.
fn guard(parts: &[&Hir], side: Edge, beyond: &Hir) -> Hir {
    let Some((part, rest)) = parts.split_first() else { return beyond.clone() };
    let behind = || guard(rest, side, beyond);
    match part.kind() {
        HirKind::Empty => behind(),
        HirKind::Look(_) | HirKind::Class(_) => (*part).clone(),
        HirKind::Literal(literal) => {
            let byte = match side {
                Edge::First => literal.0.first(),
                Edge::Last => literal.0.last(),
            };
            byte.map_or_else(Hir::empty, |byte| Hir::literal([*byte]))
        }
        HirKind::Capture(capture) => guard(&[&capture.sub], side, &behind()),
        HirKind::Repetition(repetition) if repetition.min > 0 => guard(&[&repetition.sub], side, &Hir::empty()),
        HirKind::Repetition(repetition) => one_of(vec![guard(&[&repetition.sub], side, &Hir::empty()), behind()]),
        HirKind::Concat(inner) => {
            let mut inner: Vec<&Hir> = inner.iter().collect();
            if matches!(side, Edge::Last) {
                inner.reverse();
            }
            guard(&inner, side, &behind())
        }
        HirKind::Alternation(branches) => {
            let behind = behind();
            one_of(branches.iter().map(|branch| guard(&[branch], side, &behind)).collect())
        }
    }
}

/// Nothing is known where nothing is known of one of them.
fn one_of(guards: Vec<Hir>) -> Hir {
    if guards.iter().any(|guard| matches!(guard.kind(), HirKind::Empty)) {
        Hir::empty()
    } else {
        Hir::alternation(guards)
    }
}

/// What stands around a part.
#[derive(Clone)]
struct Around {
    before: usize,
    after: usize,
    ends_left: bool,
    ends_right: bool,
    next: Option<u8>,
    left: Hir,
    right: Hir,
}

impl Around {
    /// Nothing is known but how far a match may reach.
    fn reach(before: usize, after: usize) -> Self {
        Self { before, after, ends_left: false, ends_right: false, next: None, left: Hir::empty(), right: Hir::empty() }
    }
}

/// The pieces of a pattern that hold nothing but bytes for which `fits`: every match holds one of them. Where a sequence has
/// several, the one with the highest `score` is taken; with 0 it is none. `None`: some match may do without.
pub(super) fn pieces(
    hir: &Hir,
    fits: impl Fn(u8) -> bool + Copy,
    score: impl Fn(&Piece) -> usize + Copy,
) -> Option<Vec<Piece>> {
    let mut found = Vec::new();
    collect(hir, &Around::reach(0, 0), fits, score, &mut found)?;
    Some(found)
}

/// Bound of the ways through a pattern that are looked at one by one.
const MAX_WAYS: usize = 32;

/// The ways through a pattern: its choices multiplied out, as far as the bound allows, because the parser joins what branches
/// have in common, and a piece may reach from there into the branches. Captures are dissolved.
fn ways(hir: &Hir) -> Vec<Vec<Hir>> {
    let mut ways = vec![Vec::new()];
    let mut parts = vec![hir];
    while let Some(part) = parts.pop() {
        match part.kind() {
            HirKind::Capture(capture) => parts.push(&capture.sub),
            HirKind::Concat(inner) => parts.extend(inner.iter().rev()),
            HirKind::Alternation(branches) => {
                let branches: Vec<Vec<Hir>> = branches.iter().flat_map(self::ways).collect();
                if ways.len().saturating_mul(branches.len()) <= MAX_WAYS {
                    ways = ways
                        .iter()
                        .flat_map(|way| branches.iter().map(move |branch| [way.as_slice(), branch].concat()))
                        .collect();
                } else {
                    for way in &mut ways {
                        way.push(part.clone());
                    }
                }
            }
            _ => ways.iter_mut().for_each(|way| way.push(part.clone())),
        }
    }
    ways
}

fn collect(
    hir: &Hir,
    around: &Around,
    fits: impl Fn(u8) -> bool + Copy,
    score: impl Fn(&Piece) -> usize + Copy,
    found: &mut Vec<Piece>,
) -> Option<usize> {
    let mut worst = usize::MAX;
    for way in ways(hir) {
        worst = worst.min(sequence(&way, around, fits, score, found)?);
    }
    Some(worst)
}

/// The pieces of a part that also matches other bytes.
fn inside(
    part: &Hir,
    around: &Around,
    fits: impl Fn(u8) -> bool + Copy,
    score: impl Fn(&Piece) -> usize + Copy,
    found: &mut Vec<Piece>,
) -> Option<usize> {
    match part.kind() {
        HirKind::Alternation(branches) => {
            let mut worst = usize::MAX;
            for branch in branches {
                worst = worst.min(collect(branch, around, fits, score, found)?);
            }
            Some(worst)
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            // Any of the copies.
            let more = longest(std::slice::from_ref(part));
            let around = Around::reach(around.before.saturating_add(more), around.after.saturating_add(more));
            collect(&repetition.sub, &around, fits, score, found)
        }
        _ => None,
    }
}

fn sequence(
    parts: &[Hir],
    around: &Around,
    fits: impl Fn(u8) -> bool + Copy,
    score: impl Fn(&Piece) -> usize + Copy,
    found: &mut Vec<Piece>,
) -> Option<usize> {
    let mut best: Option<(usize, Vec<Piece>)> = None;
    for span in spans(parts, fits) {
        let (Some(left), Some(inner), Some(right)) =
            (parts.get(..span.start), parts.get(span.clone()), parts.get(span.end..))
        else {
            continue;
        };
        let beside = Around {
            before: around.before.saturating_add(longest(left)),
            after: around.after.saturating_add(longest(right)),
            ends_left: edge(left.iter().rev(), fits, Edge::Last).unwrap_or(around.ends_left),
            ends_right: edge(right.iter(), fits, Edge::First).unwrap_or(around.ends_right),
            next: match right.iter().find(|part| !matches!(part.kind(), HirKind::Look(_))) {
                Some(part) => first_byte(part),
                None => around.next,
            },
            left: guard(&left.iter().rev().collect::<Vec<_>>(), Edge::Last, &around.left),
            right: guard(&right.iter().collect::<Vec<_>>(), Edge::First, &around.right),
        };
        let mut pieces = Vec::new();
        let score = match inner {
            [one] if !only(one, fits) => inside(one, &beside, fits, score, &mut pieces),
            _ => {
                let piece = Piece {
                    hir: Hir::concat(inner.to_vec()),
                    before: beside.before,
                    after: beside.after,
                    whole: beside.ends_left && beside.ends_right,
                    next: beside.next,
                    left: beside.left,
                    right: beside.right,
                };
                let score = score(&piece);
                pieces.push(piece);
                (score > 0).then_some(score)
            }
        };
        if let Some(score) = score
            && best.as_ref().is_none_or(|(best, _)| score > *best)
        {
            best = Some((score, pieces));
        }
    }
    let (score, pieces) = best?;
    found.extend(pieces);
    Some(score)
}

/// The parts that belong together: as many in a row as hold nothing but such bytes; any other part is one of its own.
fn spans(parts: &[Hir], fits: impl Fn(u8) -> bool + Copy) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    let mut joins = false;
    for (index, part) in parts.iter().enumerate() {
        if matches!(part.kind(), HirKind::Look(_)) {
            joins = false;
            continue;
        }
        let fits = only(part, fits);
        match spans.last_mut() {
            Some(span) if joins && fits => span.end = index + 1,
            _ => spans.push(index..index + 1),
        }
        joins = fits;
    }
    spans
}

fn longest(parts: &[Hir]) -> usize {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.properties().maximum_len().unwrap_or(usize::MAX)))
}

#[derive(Clone, Copy)]
enum Edge {
    First,
    Last,
}

/// No byte that `fits` can stand at this edge of the parts, which are given from the edge on. `None`: there is nothing.
fn edge<'h>(parts: impl Iterator<Item = &'h Hir>, fits: impl Fn(u8) -> bool + Copy, side: Edge) -> Option<bool> {
    for part in parts {
        match part.kind() {
            HirKind::Empty => {}
            _ => return Some(ends(part, fits, side)),
        }
    }
    None
}

fn ends(part: &Hir, fits: impl Fn(u8) -> bool + Copy, side: Edge) -> bool {
    match part.kind() {
        HirKind::Empty => false,
        // Beside a word byte, which the callers' kinds are, all of these say that no word byte follows.
        HirKind::Look(look) => match look {
            Look::WordAscii
            | Look::Start
            | Look::End
            | Look::StartLF
            | Look::EndLF
            | Look::StartCRLF
            | Look::EndCRLF => true,
            Look::WordStartAscii | Look::WordStartHalfAscii => matches!(side, Edge::Last),
            Look::WordEndAscii | Look::WordEndHalfAscii => matches!(side, Edge::First),
            _ => false,
        },
        HirKind::Literal(literal) => {
            let byte = match side {
                Edge::First => literal.0.first(),
                Edge::Last => literal.0.last(),
            };
            byte.is_some_and(|byte| !fits(*byte))
        }
        HirKind::Class(_) => only(part, |byte| !fits(byte)),
        HirKind::Capture(capture) => ends(&capture.sub, fits, side),
        HirKind::Repetition(repetition) => repetition.min > 0 && ends(&repetition.sub, fits, side),
        HirKind::Concat(parts) => match side {
            Edge::First => edge(parts.iter(), fits, side),
            Edge::Last => edge(parts.iter().rev(), fits, side),
        }
        .unwrap_or(false),
        HirKind::Alternation(branches) => branches.iter().all(|branch| ends(branch, fits, side)),
    }
}

/// The byte that every match begins with.
fn first_byte(hir: &Hir) -> Option<u8> {
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.first().copied(),
        HirKind::Capture(capture) => first_byte(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => first_byte(&repetition.sub),
        HirKind::Concat(parts) => {
            parts.iter().find(|part| !matches!(part.kind(), HirKind::Look(_))).and_then(first_byte)
        }
        _ => None,
    }
}

/// The reach of every match to both sides of a place where two capitals end and two digits begin. `None`: some match has no
/// such place.
pub(super) fn capitals(hir: &Hir) -> Option<(usize, usize)> {
    let upper = |byte: u8| byte.is_ascii_uppercase();
    let digit = |byte: u8| byte.is_ascii_digit();
    let mut reach = (0, 0);
    for way in ways(hir) {
        let parts: Vec<Hir> = way.iter().flat_map(spell).collect();
        let (left, right) = (1..parts.len())
            .map(|index| parts.split_at(index))
            .find(|(left, right)| guaranteed(left.iter().rev(), upper, 2) && guaranteed(right.iter(), digit, 2))?;
        reach = (longest(left).max(reach.0), longest(right).max(reach.1));
    }
    Some(reach)
}

/// A literal byte by byte; no look-arounds.
fn spell(part: &Hir) -> Vec<Hir> {
    match part.kind() {
        HirKind::Empty | HirKind::Look(_) => Vec::new(),
        HirKind::Literal(literal) => literal.0.iter().map(|byte| Hir::literal([*byte])).collect(),
        _ => vec![part.clone()],
    }
}

/// The first bytes of the parts are of a kind, at least so many.
fn guaranteed<'h>(parts: impl Iterator<Item = &'h Hir>, kind: impl Fn(u8) -> bool + Copy, mut count: usize) -> bool {
    for part in parts {
        if count == 0 {
            break;
        }
        if !only(part, kind) {
            return false;
        }
        count = count.saturating_sub(at_least(part, kind));
    }
    count == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::scan::factor::parse;

    fn is_alphanumeric(byte: u8) -> bool {
        byte.is_ascii_alphanumeric()
    }

    #[test]
    fn pieces_are_found_with_their_reach() {
        let number = |byte: u8| byte.is_ascii_digit() || b" .-".contains(&byte);
        let digits = |piece: &Piece| piece.at_least(|byte| byte.is_ascii_digit());
        for (pattern, expected) in [
            (r"\b\d{8}-?[A-Z]\b", Some(vec![(8, 0, 1)])),
            (r"\b\d{6}[-+A]\d{3}[0-9A-Y]\b", Some(vec![(6, 0, 5)])),
            (r"\b[STFG]\d{7}[A-Z]\b", Some(vec![(7, 1, 1)])),
            (r"\b[12] ?\d{4} ?(?:\d{2}|2[AB]) ?\d{8}\b", Some(vec![(15, 0, 0), (8, 9, 0)])),
            (r"\b(?:\d{8}[A-Z]|[XYZ]\d{7}[A-Z])\b", Some(vec![(8, 0, 1), (7, 1, 1)])),
            (r"\b(?:\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4})\b", Some(vec![(9, 0, 0), (9, 0, 0)])),
            (r"id: (?P<capture>\d{9})x", Some(vec![(9, 4, 1)])),
            (r"(?:[A-Z]\d{5}){2}", Some(vec![(5, 13, 12)])),
            (r"[A-Z]{5}\d?", None),
            (r"(?:\d{8}|[A-Z]{9})", None),
        ] {
            let found = pieces(&parse(pattern).unwrap().0, number, digits);
            let found = found
                .map(|found| found.iter().map(|piece| (digits(piece), piece.before, piece.after)).collect::<Vec<_>>());
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn shapes_keep_boundaries_and_one_byte_beside() {
        let kind = |byte: u8| match byte {
            b'0'..=b'9' => b'0',
            b'a'..=b'z' | b'A'..=b'Z' => b'a',
            b'-' => b'-',
            _ => b'~',
        };
        for (pattern, expected) in [
            (r"\b[2-9]\d{7}-?[A-Z]\b", r"(?-u:\b)0(?:0{7})\-?a"),
            (r"\b[A-F]{2}\d{6}[-+A]", r"a(?:0{6})[\-a~]"),
            (r"(?:DE|ES ?[A-Z]?)-?\d{6}", r"a\-?0{6}"),
            (r"x?\d{6}(?:ab)?", r"0{6}"),
        ] {
            let number = |byte: u8| byte.is_ascii_digit() || byte == b'-';
            let found = pieces(&parse(pattern).unwrap().0, number, |piece| piece.at_least(number)).unwrap();
            assert_eq!(
                found[0].shape(kind),
                parse(&format!("(?:{expected}){{1}}")).unwrap_or_else(|_| panic!()).0,
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_piece_between_boundaries_is_a_whole_run() {
        let score = |piece: &Piece| piece.at_least(|byte| byte.is_ascii_digit());
        for (pattern, lengths, next) in [
            (r"\b[13][1-9A-HJ-NP-Za-km-z]{25,34}\b", (26, 35), None),
            (r"[13][1-9A-HJ-NP-Za-km-z]{25,34}\b", (26, usize::MAX), None),
            (r"\b\d[A-Z]{3}-[A-Z]{3}-[A-Z]{4}\b", (4, 4), Some(b'-')),
            (r"\b\d[A-Z]{3}-?[A-Z]{3}", (4, usize::MAX), None),
            (r#""(?P<capture>[0-9]{4}[A-Z]{4})""#, (8, 8), Some(b'"')),
            (r"(?:^|[^0-9A-Za-z])[0-9]{4}[A-Z]{4}(?:$|[^0-9A-Za-z])", (8, 8), None),
        ] {
            let found = pieces(&parse(pattern).unwrap().0, is_alphanumeric, score).unwrap();
            assert_eq!((found[0].lengths(), found[0].next), (lengths, next), "{pattern}");
            assert_eq!(found[0].bytes().is_some(), lengths.1 < usize::MAX, "{pattern}");
        }
        let found = pieces(&parse(r"\b[1-9][A-H]{9}\b").unwrap().0, is_alphanumeric, score).unwrap();
        let bytes = found[0].bytes().unwrap();
        assert!(bytes.holds(b'H') && bytes.holds(b'9') && !bytes.holds(b'I') && !bytes.holds(b'0'));
    }

    #[test]
    fn capitals_before_digits_are_found_with_their_reach() {
        for (pattern, expected) in [
            (r"\b[A-Z]{2}\d{2}(?: ?[0-9A-Z]{4}){2,7}\b", Some((2, 37))),
            (r"\b[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]\b", Some((5, 5))),
            (r"\b\d{2}[A-Z]{5}\d{4}[A-Z][1-9A-Z]Z[0-9A-Z]\b", Some((7, 8))),
            (r"\b(?:ATU\d{8}|DE\d{9})\b", Some((3, 9))),
            (r"\bDE12[A-Z]{4}", Some((2, 6))),
            (r"\b[A-Z][a-z]\d{8}\b", None),
            (r"\b(?:DE\d{9}|FR[0-9A-Z]{2}\d{9})\b", None),
            (r"\b[A-Z]{2} ?\d{2}", None),
        ] {
            assert_eq!(capitals(&parse(pattern).unwrap().0), expected, "{pattern}");
        }
    }
}
