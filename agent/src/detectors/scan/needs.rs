//! What every match of a pattern holds, whatever else it is: one of some marks, and a run of bytes of one kind. Enters: an exact pattern. Leaves:
//! [`Needs`], which tell of a text in some ten nanoseconds that no match can lie in it; the pattern would take hundreds. Like factors they
//! never narrow.

use regex_syntax::hir::{Hir, HirKind};

use super::{factor::bytes_of, piece::ByteSet};

/// Sets of more marks than these are in all text.
const MAX_MARKS: usize = 12;
/// So many sets are looked for.
const MAX_SETS: usize = 2;
/// Shorter runs are in all text.
const MIN_RUN_BYTES: usize = 6;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Needs {
    /// Of each of these sets a match holds a byte.
    marks: Vec<Marks>,
    /// And so many bytes of this set in a row.
    run: Option<(ByteSet, usize)>,
}

impl Needs {
    pub(super) fn of(hir: &Hir) -> Self {
        let mut marks = marks(hir);
        marks.sort_by_key(ByteSet::len);
        marks.dedup();
        marks.truncate(MAX_SETS);
        Self { marks: marks.iter().map(Marks::of).collect(), run: longest_run(hir) }
    }

    /// A match may lie in the text.
    pub(super) fn met(&self, text: &[u8]) -> bool {
        self.run.as_ref().is_none_or(|(bytes, shortest)| holds_run(text, bytes, *shortest))
            && self.marks.iter().all(|marks| marks.are_in(text))
    }
}

/// So many bytes of a set stand in a row. PERF: one that is none at the end of a place for them rules out all places that hold it.
fn holds_run(text: &[u8], bytes: &ByteSet, shortest: usize) -> bool {
    let mut from = 0;
    while let Some(place) = text.get(from..from + shortest) {
        match place.iter().rposition(|byte| !bytes.holds(*byte)) {
            Some(other) => from += other + 1,
            None => return true,
        }
    }
    false
}

/// Some marks, by how they are looked for. PERF: a few, or digits alone, are looked for in many bytes at once.
#[derive(Clone, Debug)]
enum Marks {
    One(u8),
    Two(u8, u8),
    Three(u8, u8, u8),
    Digits,
    Many(ByteSet),
}

impl Marks {
    fn of(set: &ByteSet) -> Self {
        let bytes: Vec<u8> = (0..=255).filter(|byte| set.holds(*byte)).collect();
        match bytes.as_slice() {
            [a] => Self::One(*a),
            [a, b] => Self::Two(*a, *b),
            [a, b, c] => Self::Three(*a, *b, *c),
            b"0123456789" => Self::Digits,
            _ => Self::Many(*set),
        }
    }

    fn are_in(&self, text: &[u8]) -> bool {
        match self {
            Self::One(a) => memchr::memchr(*a, text).is_some(),
            Self::Two(a, b) => memchr::memchr2(*a, *b, text).is_some(),
            Self::Three(a, b, c) => memchr::memchr3(*a, *b, *c, text).is_some(),
            Self::Digits => text.iter().fold(false, |any, byte| any | byte.is_ascii_digit()),
            Self::Many(set) => text.iter().any(|byte| set.holds(*byte)),
        }
    }
}

/// Sets of marks, of each of which a match holds a byte.
fn marks(hir: &Hir) -> Vec<ByteSet> {
    let is_mark = |byte: &u8| byte.is_ascii_punctuation() || byte.is_ascii_digit();
    match hir.kind() {
        HirKind::Literal(literal) => {
            literal.0.iter().find(|byte| is_mark(byte)).map(|byte| ByteSet::from_iter([*byte])).into_iter().collect()
        }
        HirKind::Class(class) => {
            let Some(bytes) = bytes_of(class) else { return Vec::new() };
            let all: Vec<u8> = bytes.iter().flat_map(|range| range.start()..=range.end()).take(MAX_MARKS + 1).collect();
            let few = !all.is_empty() && all.len() <= MAX_MARKS && all.iter().all(is_mark);
            few.then(|| all.into_iter().collect()).into_iter().collect()
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => marks(&repetition.sub),
        HirKind::Empty | HirKind::Look(_) | HirKind::Repetition(_) => Vec::new(),
        HirKind::Capture(capture) => marks(&capture.sub),
        HirKind::Concat(parts) => parts.iter().flat_map(marks).collect(),
        // One of the branches is taken, so of the best of each together.
        HirKind::Alternation(branches) => {
            let best: Option<Vec<ByteSet>> =
                branches.iter().map(|branch| marks(branch).into_iter().min_by_key(ByteSet::len)).collect();
            let all: ByteSet = (0..=255).filter(|byte| best.iter().flatten().any(|set| set.holds(*byte))).collect();
            (best.is_some() && all.len() <= MAX_MARKS).then_some(all).into_iter().collect()
        }
    }
}

/// The longest repetition of one class that no match does without.
fn longest_run(hir: &Hir) -> Option<(ByteSet, usize)> {
    match hir.kind() {
        HirKind::Capture(capture) => longest_run(&capture.sub),
        HirKind::Concat(parts) => parts.iter().filter_map(longest_run).max_by_key(|(_, shortest)| *shortest),
        HirKind::Repetition(repetition) => {
            let HirKind::Class(class) = repetition.sub.kind() else { return None };
            let shortest = usize::try_from(repetition.min).ok().filter(|shortest| *shortest >= MIN_RUN_BYTES)?;
            Some((bytes_of(class)?.iter().flat_map(|range| range.start()..=range.end()).collect(), shortest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::scan::factor::parse;

    #[test]
    fn what_a_match_must_hold() {
        for (pattern, text, expected) in [
            (r"(?i:token)\s{0,3}[:=](?P<capture>[0-9a-z]{12,40})", "the token is in the cache", false),
            (r"(?i:token)\s{0,3}[:=](?P<capture>[0-9a-z]{12,40})", "token: in the cache", false),
            (r"(?i:token)\s{0,3}[:=](?P<capture>[0-9a-z]{12,40})", "token: 0123456789ab", true),
            (r#"password\s['"][^'"]{4,9}['"]"#, "password and more", false),
            (r#"password\s['"][^'"]{4,9}['"]"#, "password 'abcd'", true),
            (r"(?:abc=|[0-9]{3}:)[a-z]{8}", "abc-abcdefgh", false),
            (r"(?:abc=|[0-9]{3}:)[a-z]{8}", "123:abcdefgh", true),
            (r"(?:abc=|[0-9]{3})[a-z]{8}", "123abcdefgh", true),
            (r"abcd[.]?[a-z]{2}", "abcdef", true),
            (r"(?:[0-9]{4}-){0,2}abcd", "abcd", true),
        ] {
            assert_eq!(Needs::of(&parse(pattern).unwrap().0).met(text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
