//! Where the secret is in a match, for patterns that end in it. Enters: an exact pattern, and the text of a match. Leaves: where the secret
//! begins, or that only the pattern can tell. PERF: the groups of a pattern take it microseconds, its extent alone a tenth.

use regex_syntax::hir::{Hir, HirKind};

use super::{factor::bytes_of, piece::ByteSet};

/// A pattern that ends in its group, which is one class again and again.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// What the secret holds.
    secret: ByteSet,
    /// What may stand directly before it.
    before: ByteSet,
}

impl Tail {
    pub(super) fn of(hir: &Hir) -> Option<Self> {
        let HirKind::Concat(parts) = hir.kind() else { return None };
        let (last, before) = parts.split_last()?;
        let HirKind::Capture(capture) = last.kind() else { return None };
        let HirKind::Repetition(repetition) = capture.sub.kind() else { return None };
        let HirKind::Class(class) = repetition.sub.kind() else { return None };
        let mut last = ByteSet::default();
        let ends = before.iter().rev().any(|part| !add_last(part, &mut last));
        ends.then_some(Self { secret: set_of(class)?, before: last })
    }

    /// Where the secret begins in the text of a match. The bytes before it that could be part of it would be the end of what stands before it;
    /// none of them can be, so it begins where bytes of its kind do.
    pub(super) fn start(&self, text: &[u8]) -> Option<usize> {
        let start = text.iter().rposition(|byte| !self.secret.holds(*byte))? + 1;
        let secret = text.get(start..)?;
        secret.iter().all(|byte| !self.before.holds(*byte)).then_some(start)
    }
}

fn set_of(class: &regex_syntax::hir::Class) -> Option<ByteSet> {
    Some(bytes_of(class)?.iter().flat_map(|range| range.start()..=range.end()).collect())
}

/// Takes in the bytes that an expression may end with. Leaves whether it may be empty, so that what stands before it ends it too.
fn add_last(hir: &Hir, set: &mut ByteSet) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => return true,
        HirKind::Literal(literal) => literal.0.last().into_iter().for_each(|byte| set.add(*byte)),
        HirKind::Class(class) => match bytes_of(class) {
            Some(bytes) => bytes.iter().flat_map(|range| range.start()..=range.end()).for_each(|byte| set.add(byte)),
            None => (0..=255).for_each(|byte| set.add(byte)),
        },
        HirKind::Capture(capture) => return add_last(&capture.sub, set),
        HirKind::Repetition(repetition) => return add_last(&repetition.sub, set) || repetition.min == 0,
        HirKind::Concat(parts) => return parts.iter().rev().all(|part| add_last(part, set)),
        HirKind::Alternation(branches) => {
            let mut empty = false;
            // All of them, whatever the first says.
            for branch in branches {
                empty |= add_last(branch, set);
            }
            return empty;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::scan::factor::parse;

    #[test]
    fn the_secret_begins_where_its_bytes_do() {
        for (pattern, text, expected) in [
            (r#"key[:= ]{1,3}["']{0,2}(?P<capture>[0-9a-z=]{6,20})"#, "key: 'abcdef", Some(6)),
            // The equals sign may be of the key or of the secret.
            (r#"key[:= ]{1,3}["']{0,2}(?P<capture>[0-9a-z=]{6,20})"#, "key=abcdef", None),
            (r"key[:= ]{1,3}(?:x|)(?P<capture>[0-9a-z]{6,20})", "key: xabcdef", None),
            (r"key[:= ]{1,3}(?:x|)(?P<capture>[0-9a-z]{6,20})", "key: abcdef", Some(5)),
        ] {
            let tail = Tail::of(&parse(pattern).unwrap().0).unwrap();
            assert_eq!(tail.start(text.as_bytes()), expected, "{pattern} {text}");
        }
        for pattern in
            ["key(?P<capture>[a-z]{6,9}|x[0-9]{9})", "key(?P<capture>[a-z]{6,9})z", "(?P<capture>[a-z]{6,9})"]
        {
            assert!(Tail::of(&parse(pattern).unwrap().0).is_none(), "{pattern}");
        }
    }
}
