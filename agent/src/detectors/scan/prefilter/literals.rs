//! Factors as Vectorscan likes them: literals. Enters: a factor. Leaves: expressions, of which one matches wherever the factor does, and
//! what bytes follow. It drops nothing of the factor.
//!
//! One class behind a literal of two bytes made the whole scan a third slower, and so did one choice of a hundred words (measured).

use regex_syntax::hir::{Hir, HirKind};

use super::super::{
    factor::{bytes_of, one_letter, spelled},
    piece::ByteSet,
};

/// A choice of more branches is not taken for literals, and then costs a step a byte.
const MAX_CHOICE: usize = 60;

/// A part of a factor that is little but a literal.
#[derive(Debug)]
pub(super) struct Literal {
    pub(super) hir: Hir,
    /// Of these bytes so many must follow.
    pub(super) follow: (ByteSet, usize),
}

/// A factor as literals. A word in either case stays as it is: it is seen often, and more than a class follows.
pub(super) fn literals(factor: &Hir) -> Vec<Literal> {
    let whole = |hir: Hir| vec![Literal { hir, follow: (ByteSet::default(), 0) }];
    if caseless(factor) {
        return whole(factor.clone());
    }
    let parts = match factor.kind() {
        HirKind::Alternation(branches) if !spelled(factor) => return branches.iter().flat_map(literals).collect(),
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(factor),
    };
    // What is left holds the literal, because a class is none.
    if let Some((last, rest)) = parts.split_last()
        && !rest.is_empty()
        && let HirKind::Repetition(repetition) = last.kind()
        && repetition.max == Some(repetition.min)
        && let HirKind::Class(class) = repetition.sub.kind()
        && let Some(bytes) = bytes_of(class)
        && let Ok(count) = usize::try_from(repetition.min)
    {
        let bytes = bytes.iter().flat_map(|range| range.start()..=range.end()).collect();
        return vec![Literal { hir: Hir::concat(rest.to_vec()), follow: (bytes, count) }];
    }
    let long = parts.iter().enumerate().find_map(|(index, part)| match part.kind() {
        HirKind::Alternation(branches) if branches.len() > MAX_CHOICE => Some((index, branches)),
        _ => None,
    });
    let Some((index, branches)) = long else { return whole(factor.clone()) };
    let some = branches.chunks(MAX_CHOICE).map(|some| {
        let mut parts = parts.to_vec();
        if let Some(part) = parts.get_mut(index) {
            *part = Hir::alternation(some.to_vec());
        }
        Hir::concat(parts)
    });
    some.flat_map(whole).collect()
}

/// Holds a word in either case.
fn caseless(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(class) => one_letter(class).is_some(),
        HirKind::Repetition(repetition) => caseless(&repetition.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(caseless),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::scan::factor::{parse, print};

    #[test]
    fn what_follows_a_literal_is_kept_apart() {
        for (factor, expected) in [
            ("ghp_[0-9a-f]{8}", &[("ghp\\x5f", 8)][..]),
            ("SK[0-9a-f]{8}", &[("SK", 8)]),
            ("(?:abcd[0-9]{8}|efgh)", &[("abcd", 8), ("efgh", 0)]),
            ("(?i:abc)[0-9]{8}", &[("[Aa][Bb][Cc](?:[0-9]){8,8}", 0)]),
            ("abcd[0-9]{2,3}", &[("abcd(?:[0-9]){2,3}", 0)]),
            ("(?:one|four)x", &[("(?:one|four)x", 0)]),
        ] {
            let found = literals(&parse(factor).unwrap().0);
            let found: Vec<(String, usize)> =
                found.into_iter().map(|literal| (print(&literal.hir).unwrap(), literal.follow.1)).collect();
            let expected: Vec<(String, usize)> =
                expected.iter().map(|(text, count)| ((*text).to_owned(), *count)).collect();
            assert_eq!(found, expected, "{factor}");
        }
    }

    #[test]
    fn a_long_choice_is_parted() {
        let words: Vec<String> = (0..150_u8).map(|word| format!("{}{}x", char::from(65 + word / 10), word)).collect();
        let found = literals(&parse(&format!(" (?:{})", words.join("|"))).unwrap().0);
        let printed: String = found.iter().map(|literal| print(&literal.hir).unwrap()).collect();
        assert!(found.len() > 1 && words.iter().all(|word| printed.contains(&word[1..])), "{printed}");
    }
}
