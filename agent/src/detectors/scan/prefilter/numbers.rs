//! Stage 1 for rules without a literal: numbers, identifiers of letters and digits, and by way of [`Marks`] addresses. Enters: a block.
//! Leaves: candidates. Such patterns must not go into the multi-pattern database: a single card pattern there costs a third of
//! its speed, eleven cost three quarters (measured; `docs/ARCHITECTURE.md`).
//!
//! Where a number, an identifier or an address may stand is worked out for sixty-four bytes at once ([`Kinds`]); only what stands there
//! is looked at.

use regex_syntax::hir::Hir;

use super::{
    super::{
        compile::RuleSet,
        piece::{self, ByteSet, Piece},
        validators::{Text, Verdict},
    },
    Candidate, Context, Near, ScanError,
    kinds::{self, Around, Holding, Kind, Kinds},
    marks::Marks,
    shapes::{self, FEW, Shapes, Target},
};
use crate::rules::scan::Trigger;

pub(crate) use super::shapes::is_number_byte;

/// What a run of letters and digits must be like for a rule to be worth a look.
#[derive(Clone, Copy, Debug)]
struct Run {
    rule: usize,
    /// No longer one fits.
    closed: bool,
    /// The bytes that it may hold, when they are known.
    bytes: Option<ByteSet>,
    /// It may hold small letters, and capitals.
    small: bool,
    capital: bool,
    /// It holds at least so many.
    digits: usize,
    letters: usize,
    capitals: usize,
    next: Option<u8>,
    before: usize,
    after: usize,
}

/// A rule, and how far its match reaches to both sides of a place.
#[derive(Clone, Copy, Debug)]
struct Reach {
    rule: usize,
    before: usize,
    after: usize,
}

/// The hand-written scanner.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    shapes: Option<Shapes>,
    fewest_digits: usize,
    /// By length: which runs may be what a rule looks for; the last is for all that are longer.
    runs: Vec<Vec<Run>>,
    capitals: Vec<Reach>,
    marks: Marks,
    /// Of the block in work.
    kinds: Kinds,
}

/// A rule with the trigger `digits` has at least so many in one run.
const FEWEST_DIGITS: usize = kinds::SHORTEST_RUN as usize;
/// A run whose ends are not known is at least so long: shorter ones are in every line.
const SHORTEST_OPEN_RUN_BYTES: usize = 8;

/// Lengths of runs that are told apart.
const RUN_LENGTHS: usize = 128;

/// Why a rule cannot have its trigger.
pub(crate) fn fits(trigger: Trigger, hir: &Hir) -> Result<(), String> {
    match trigger {
        Trigger::Literal | Trigger::Colons | Trigger::Pairs => Ok(()),
        Trigger::Digits => {
            let found = digit_runs(hir).is_some_and(|found| found.iter().all(|piece| digits(piece) >= FEWEST_DIGITS));
            found.then_some(()).ok_or_else(|| {
                format!(
                    "a rule with the trigger `digits` must match at least {FEWEST_DIGITS} digits with nothing but \
                     ` .-+()/` among them; write forms that differ as alternatives"
                )
            })
        }
        Trigger::Runs => {
            let found = alphanumeric_runs(hir).is_some_and(|found| {
                found.iter().all(|piece| {
                    let (shortest, longest) = piece.lengths();
                    shortest >= if longest == usize::MAX { SHORTEST_OPEN_RUN_BYTES } else { FEWEST_DIGITS }
                })
            });
            found.then_some(()).ok_or_else(|| {
                format!(
                    "a rule with the trigger `runs` must match {FEWEST_DIGITS} or more letters and digits in a row \
                     that hold a digit, between `\\b` or other bytes, else {SHORTEST_OPEN_RUN_BYTES} or more; write \
                     forms that differ (with and without `-`) as alternatives"
                )
            })
        }
        Trigger::Capitals => piece::capitals(hir).map(|_| ()).ok_or_else(|| {
            "a rule with the trigger `capitals` must match two capital letters followed directly by two digits"
                .to_owned()
        }),
    }
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

fn digits(piece: &Piece) -> usize {
    piece.at_least(is_digit)
}

/// Of several runs in a match the one with most digits, of these the one with the longest group.
fn digit_runs(hir: &Hir) -> Option<Vec<Piece>> {
    piece::pieces(hir, is_number_byte, |piece| match digits(piece) {
        0 => 0,
        digits => digits * 64 + piece.longest_group(is_digit).min(63),
    })
}

/// Of several runs in a match the longest that holds a digit.
fn alphanumeric_runs(hir: &Hir) -> Option<Vec<Piece>> {
    piece::pieces(
        hir,
        |byte| byte.is_ascii_alphanumeric(),
        |piece| if digits(piece) == 0 { 0 } else { piece.lengths().0 },
    )
}

impl Numbers {
    /// For the rules of a set whose trigger is not a literal.
    pub(crate) fn new(rules: &RuleSet) -> Result<Self, ScanError> {
        let mut numbers = Self { fewest_digits: usize::MAX, ..Self::default() };
        let mut builder = shapes::Builder::default();
        for (rule, compiled) in rules.compiled().iter().enumerate() {
            let hir = &compiled.hir;
            match compiled.loaded.trigger {
                Trigger::Literal => {}
                Trigger::Colons => numbers.marks.add_colons(rule, compiled.longest),
                Trigger::Pairs => numbers.marks.add_pairs(rule, compiled.longest),
                Trigger::Capitals => {
                    numbers.capitals.extend(piece::capitals(hir).map(|(before, after)| Reach { rule, before, after }));
                }
                Trigger::Digits => {
                    for piece in digit_runs(hir).unwrap_or_default() {
                        numbers.fewest_digits = numbers.fewest_digits.min(digits(&piece));
                        builder.add(rule, compiled.loaded.context_required, compiled.validator, &piece);
                    }
                }
                Trigger::Runs => {
                    for piece in alphanumeric_runs(hir).unwrap_or_default() {
                        numbers.add_run(rule, &piece);
                    }
                }
            }
        }
        numbers.shapes =
            builder.build(rules.words()).map_err(|message| ScanError::Backend { backend: "numbers", message })?;
        Ok(numbers)
    }

    fn add_run(&mut self, rule: usize, piece: &Piece) {
        let (shortest, longest) = piece.lengths();
        let bytes = piece.bytes();
        let may_hold =
            |mut kind: std::ops::RangeInclusive<u8>| bytes.is_none_or(|bytes| kind.any(|byte| bytes.holds(byte)));
        let run = Run {
            rule,
            closed: longest != usize::MAX,
            bytes,
            small: may_hold(b'a'..=b'z'),
            capital: may_hold(b'A'..=b'Z'),
            digits: digits(piece),
            letters: piece.at_least(|byte| byte.is_ascii_alphabetic()),
            capitals: piece.at_least(|byte| byte.is_ascii_uppercase()),
            next: piece.next,
            before: piece.before,
            after: piece.after,
        };
        self.runs.resize(RUN_LENGTHS, Vec::new());
        let last = longest.min(RUN_LENGTHS - 1);
        self.runs.iter_mut().take(last + 1).skip(shortest.min(last)).for_each(|runs| runs.push(run));
    }

    /// Reports every candidate of a block.
    pub(crate) fn candidates(&mut self, block: &[u8], near: Near<'_>, found: &mut dyn FnMut(Candidate)) {
        let mut kinds = std::mem::take(&mut self.kinds);
        kinds.fill(block);
        if let Some(shapes) = &mut self.shapes {
            numbers(shapes, self.fewest_digits, block, &kinds, near, found);
        }
        if !self.capitals.is_empty() {
            kinds.each(Holding::Digits, two_capitals_and_two_digits, |at| {
                for reach in &self.capitals {
                    let window = at.saturating_sub(reach.before)..at.saturating_add(reach.after);
                    found(Candidate { rule: reach.rule, window, at, starts: 0..0 });
                }
            });
        }
        if !self.runs.is_empty() {
            self.runs(block, &kinds, found);
        }
        self.marks.candidates(block, &kinds, found);
        self.kinds = kinds;
    }

    /// Each run of letters and digits that holds a digit.
    fn runs(&self, block: &[u8], kinds: &Kinds, found: &mut dyn FnMut(Candidate)) {
        let (is_any, is_digit): (Kind, Kind) = (|word| word.alphanumeric, |word| word.digits);
        kinds.runs(is_any, |run| {
            // PERF: most runs are shorter than anything that is looked for.
            let Some(rules) = self.runs.get(run.len().min(RUN_LENGTHS - 1)).filter(|rules| !rules.is_empty()) else {
                return;
            };
            let (digits, capitals) = (kinds.count(&run, is_digit), kinds.count(&run, |word| word.capitals));
            let letters = run.len() - digits;
            let text = block.get(run.clone()).unwrap_or_default();
            for rule in rules {
                // PERF: what is known of the run without looking at it rules most out.
                let counts = digits >= rule.digits
                    && letters >= rule.letters
                    && capitals >= rule.capitals
                    && (rule.small || letters == capitals)
                    && (rule.capital || capitals == 0);
                if counts
                    && rule.next.is_none_or(|byte| !rule.closed || block.get(run.end) == Some(&byte))
                    && rule.bytes.is_none_or(|bytes| text.iter().all(|byte| bytes.holds(*byte)))
                {
                    let Some(at) = kinds.first(&run, is_digit) else { return };
                    let window = run.start.saturating_sub(rule.before)..run.end.saturating_add(rule.after);
                    found(Candidate { rule: rule.rule, window, at, starts: 0..0 });
                }
            }
        });
    }
}

/// Each run of number bytes with digits enough. It is as long as it can be.
fn numbers(
    shapes: &mut Shapes,
    fewest_digits: usize,
    block: &[u8],
    kinds: &Kinds,
    near: Near<'_>,
    found: &mut dyn FnMut(Candidate),
) {
    let (is_number, is_digit): (Kind, Kind) = (|word| word.number, |word| word.digits);
    let mut words = Vec::new();
    kinds.runs(is_number, |run| {
        let digits = kinds.count(&run, is_digit);
        if digits < fewest_digits || (digits == run.len() && shapes.fits_no_plain(block, &run)) {
            return;
        }
        let Some(at) = kinds.first(&run, is_digit) else { return };
        let (fit, words_of) = shapes.fit(block, &run);
        let window = |before: usize, after: usize| run.start.saturating_sub(before)..run.end.saturating_add(after);
        let text = block.get(run.clone()).unwrap_or_default();
        // Asked where nothing but the validator is left to ask, and where it is cheaper than to look for words.
        let is_refused = |target: &Target, near: &mut dyn Context| {
            let Some((validator, span)) = target.only_match(&run) else { return false };
            let Some(segment) =
                near.segment(at).filter(|segment| segment.start <= span.start && span.end <= segment.end)
            else {
                return false;
            };
            let span = span.start - segment.start..span.end - segment.start;
            let haystack = block.get(segment).unwrap_or_default();
            matches!(validator(&Text { haystack, span }), Verdict::Refused)
        };
        let mut tell = |target: &Target| {
            let window = window(target.before, target.after);
            found(Candidate { rule: target.rule, window, at, starts: 0..0 });
        };
        let free = fit.free.iter().filter(|target| target.holds_literal(text) && !is_refused(target, near));
        free.for_each(&mut tell);
        if fit.bound.is_empty() || (fit.bound.len() <= FEW && fit.bound.iter().all(|target| is_refused(target, near))) {
            return;
        }
        words.clear();
        near.words(at, &window(fit.before, fit.after), &fit.words, &mut words);
        if !words.is_empty() {
            let asks = |target: &&Target| {
                words_of.get(target.rule).is_some_and(|set| words.iter().any(|word| set.holds(*word)))
            };
            let bound = fit.bound.iter().filter(asks);
            bound.filter(|target| target.holds_literal(text) && !is_refused(target, near)).for_each(&mut tell);
        }
    });
}

/// The first digit of each.
fn two_capitals_and_two_digits(around: &Around<'_>) -> u64 {
    let (is_capital, is_digit): (Kind, Kind) = (|word| word.capitals, |word| word.digits);
    around.here.digits & around.ahead(is_digit, 1) & around.back(is_capital, 1) & around.back(is_capital, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    use crate::detectors::scan::{
        factor,
        words::{WordSet, Words},
    };

    /// No words, no segments.
    struct Nothing;

    impl Context for Nothing {
        fn words(&mut self, _: usize, _: &Range<usize>, _: &WordSet, _: &mut Vec<usize>) {}

        fn segment(&mut self, _: usize) -> Option<Range<usize>> {
            None
        }
    }

    fn found(numbers: &Numbers, text: &str) -> Vec<(usize, String)> {
        let mut out = Vec::new();
        numbers.clone().candidates(text.as_bytes(), &mut Nothing, &mut |candidate| {
            let end = candidate.window.end.min(text.len());
            out.push((candidate.rule, text[candidate.window.start..end].to_owned()));
        });
        out
    }

    #[test]
    fn numbers_and_capitals() {
        let mut builder = shapes::Builder::default();
        for (rule, pattern) in [
            r"\b\d{9}\b|(?:\(\d{3}\) ?|\b\d{3}[.-])\d{3}[.-]\d{4}\b",
            r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
            r"[A-Z]\d{8}[A-Z].",
        ]
        .iter()
        .enumerate()
        {
            for piece in digit_runs(&factor::parse(pattern).unwrap().0).unwrap() {
                builder.add(rule, false, None, &piece);
            }
        }
        let numbers = Numbers {
            shapes: builder.build(&Words::default()).unwrap(),
            fewest_digits: 4,
            capitals: vec![Reach { rule: 3, before: 3, after: 6 }],
            ..Numbers::default()
        };
        let cases: &[(&str, &[(usize, &str)])] = &[
            ("id (415) 555-0199, x", &[(0, " (415) 555-0199")]),
            ("ip=8.8.4.4;", &[(1, "8.8.4.4")]),
            ("ip=8.8.4;", &[]),
            ("dni=X12345678Z!.", &[(2, "X12345678Z!")]),
            (" DE89 3704", &[(3, " DE89 370")]),
            ("D89 E8 de89", &[]),
            ("12", &[]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let expected: Vec<(usize, String)> = expected.iter().map(|(rule, t)| (*rule, (*t).to_owned())).collect();
            assert_eq!(found(&numbers, text), expected, "{text}");
        }
    }

    fn runs(patterns: &[&str]) -> Numbers {
        let mut numbers = Numbers { fewest_digits: usize::MAX, ..Numbers::default() };
        for (rule, pattern) in patterns.iter().enumerate() {
            let hir = factor::parse(pattern).unwrap().0;
            fits(Trigger::Runs, &hir).unwrap();
            for piece in alphanumeric_runs(&hir).unwrap() {
                numbers.add_run(rule, &piece);
            }
        }
        numbers
    }

    #[test]
    fn runs_of_letters_and_digits() {
        let numbers = runs(&[
            r"\b[13][1-9A-HJ-NP-Za-km-z]{9,11}\b",
            r"\b[A-HJ-NPR-Z0-9]{7}\d{4}\b",
            r"\b(?:[1-9][A-Z]\d{9}|[1-9][A-Z]\d\d-[A-Z]{3})\b",
        ]);
        let cases: &[(&str, &[(usize, &str)])] = &[
            ("to 1AbCdEfGhJk, x", &[(0, "1AbCdEfGhJk")]),
            ("to 1AbCdEfGhJ0k", &[]),
            ("to 1AbCdEfGhJkkkk", &[]),
            ("vin=WDB12AB4321;", &[(0, "WDB12AB4321"), (1, "WDB12AB4321")]),
            ("vin=wdb12ab4321;", &[(0, "wdb12ab4321")]),
            ("mbi 1E34567890123", &[]),
            ("mbi 1E345678901", &[(1, "1E345678901"), (2, "1E345678901")]),
            ("_1E345678901_", &[(1, "1E345678901"), (2, "1E345678901")]),
            ("1E34-TEX 1E34.TEX 1e34-TEX", &[(2, "1E34-TEX")]),
            ("12-34-1AbCdEfGhJk", &[(0, "1AbCdEfGhJk")]),
            ("abcdefghijk", &[]),
        ];
        for (text, expected) in cases {
            let expected: Vec<(usize, String)> = expected.iter().map(|(rule, t)| (*rule, (*t).to_owned())).collect();
            assert_eq!(found(&numbers, text), expected, "{text}");
        }
        let open = runs(&[r"AB\d{6}[a-z]"]);
        assert_eq!(found(&open, "xAB123456cccc 123456789 AB12c"), [(0, "xAB123456cccc".to_owned())]);
    }

    #[test]
    fn patterns_that_have_not_what_the_trigger_needs_are_refused() {
        for (trigger, pattern, fine) in [
            (Trigger::Digits, r"\b\d{8}[A-Z]\b", true),
            (Trigger::Digits, r"\b\d{3}[A-Z]\b", false),
            (Trigger::Digits, r"\b\d{2}-\d{2}\b", true),
            (Trigger::Digits, r"\b(?:\d{9}|[A-Z]{9})\b", false),
            (Trigger::Runs, r"\b4[0-9A-Za-z]{94}\b", true),
            (Trigger::Runs, r"\b[0-9A-Za-z]{34}\b", false),
            (Trigger::Runs, r"\b\d[A-Z]{3}-?[A-Z]{4}\b", false),
            (Trigger::Capitals, r"\b[A-Z]{2}\d{7}\b", true),
            (Trigger::Capitals, r"\b[A-Z]\d{7}\b", false),
        ] {
            assert_eq!(fits(trigger, &factor::parse(pattern).unwrap().0).is_ok(), fine, "{trigger:?} {pattern}");
        }
    }
}
