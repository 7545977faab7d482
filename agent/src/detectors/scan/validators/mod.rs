//! Validators: what a pattern cannot say. Enters: a match in its segment. Leaves: a [`Verdict`]. One kind of secret a file, each
//! with its source. Pure; they look at the segment and nothing else, never at the network: asking a vendor whether a key lives
//! would be a leak of its own.

use std::ops::Range;

mod checksums;
mod contact;
mod countries;
mod financial;
mod health;
mod labels;
mod national;
mod network;
mod secrets;

/// A match as validators see it.
#[derive(Clone, Debug)]
pub struct Text<'a> {
    /// The segment around the match.
    pub haystack: &'a [u8],
    /// Extent of the secret in it.
    pub span: Range<usize>,
}

impl<'a> Text<'a> {
    /// The secret itself.
    fn secret(&self) -> &'a [u8] {
        self.haystack.get(self.span.clone()).unwrap_or_default()
    }

    /// The text before it.
    fn before(&self) -> &'a [u8] {
        self.haystack.get(..self.span.start).unwrap_or_default()
    }

    /// The text behind it.
    fn after(&self) -> &'a [u8] {
        self.haystack.get(self.span.end..).unwrap_or_default()
    }

    /// The digits of the secret as numbers.
    fn digits(&self) -> Vec<u8> {
        self.secret().iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect()
    }
}

/// What a validator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not what the rule looks for.
    Refused,
    /// Nothing speaks against it.
    Plausible,
    /// A checksum or a structure that chance hardly produces holds.
    Proven,
    /// As `Proven`, and the secret ends here, earlier than the pattern thought; offset in the segment.
    ProvenUpTo(usize),
    /// As `Plausible`, and the secret ends here.
    PlausibleUpTo(usize),
}

impl Verdict {
    fn plausible_if(holds: bool) -> Self {
        if holds { Self::Plausible } else { Self::Refused }
    }

    fn proven_if(holds: bool) -> Self {
        if holds { Self::Proven } else { Self::Refused }
    }
}

/// A validator.
pub type Validator = fn(&Text<'_>) -> Verdict;

/// By group; each sorted by name.
const GROUPS: [&[(&str, Validator)]; 6] = [
    contact::VALIDATORS,
    financial::VALIDATORS,
    health::VALIDATORS,
    national::VALIDATORS,
    network::VALIDATORS,
    secrets::VALIDATORS,
];

fn all() -> impl Iterator<Item = &'static (&'static str, Validator)> {
    GROUPS.into_iter().flatten()
}

/// The validator of a name.
pub fn by_name(name: &str) -> Option<Validator> {
    all().find(|(known, _)| *known == name).map(|(_, validator)| *validator)
}

/// All names, by group.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().map(|(name, _)| *name)
}

/// For the tests of the validators: the whole text is the secret.
#[cfg(test)]
fn verdict(validator: Validator, secret: &str) -> Verdict {
    validator(&Text { haystack: secret.as_bytes(), span: 0..secret.len() })
}

/// For the tests of the validators: all of these hold, none of those.
#[cfg(test)]
fn check(validator: Validator, good: &[&str], bad: &[&str]) {
    for text in good {
        assert_ne!(verdict(validator, text), Verdict::Refused, "{text}");
    }
    for text in bad {
        assert_eq!(verdict(validator, text), Verdict::Refused, "{text}");
    }
}

/// As [`check`], and those that hold get this verdict.
#[cfg(test)]
fn check_as(validator: Validator, expected: Verdict, good: &[&str], bad: &[&str]) {
    check(validator, good, bad);
    for text in good {
        assert_eq!(verdict(validator, text), expected, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registries_are_sorted_and_no_validator_panics_on_odd_text() {
        for group in GROUPS {
            assert!(group.is_sorted_by(|(first, _), (second, _)| first < second));
        }
        let mut known: Vec<&str> = names().collect();
        known.sort_unstable();
        assert!(known.windows(2).all(|pair| pair[0] != pair[1]), "{known:?}");
        let long = "9".repeat(5000);
        let texts =
            ["", "0", "::", "\u{e4}\u{f6}", "-----", "AAAA", "....", "= =", &long, "a@b", "eyJ.eyJ.", "%%%%:%%%%"];
        for (name, validator) in all() {
            for text in texts {
                let haystack = text.as_bytes();
                for span in
                    [0..haystack.len(), 0..0, 0..haystack.len() / 2, haystack.len() / 2..haystack.len(), 7..90_000]
                {
                    let verdict = validator(&Text { haystack, span: span.clone() });
                    let end = match verdict {
                        Verdict::ProvenUpTo(end) | Verdict::PlausibleUpTo(end) => end,
                        _ => 0,
                    };
                    assert!(end <= haystack.len(), "{name} {span:?}");
                }
            }
        }
    }
}
