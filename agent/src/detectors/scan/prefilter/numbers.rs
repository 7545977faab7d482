//! Stage 1 for rules without a literal: numbers, identifiers of letters and digits, and by way of [`Marks`] addresses. Enters: a block.
//! Leaves: candidates. Such patterns must not go into the multi-pattern database: a single card pattern there costs a third of
//! its speed, eleven cost three quarters (measured; `docs/ARCHITECTURE.md`).
//!
//! Everything here hangs on digits: text is stepped over until the next one, and only what stands around it is looked at.

use regex_syntax::hir::Hir;

use super::{
    super::{
        compile::RuleSet,
        piece::{self, ByteSet, Piece},
    },
    Candidate, Near, ScanError,
    marks::Marks,
    shapes::{self, Shapes},
};
use crate::rules::scan::Trigger;

pub(crate) use super::shapes::is_number_byte;

/// What a run of letters and digits must be like for a rule to be worth a look.
#[derive(Clone, Copy, Debug)]
struct Run {
    rule: usize,
    shortest: usize,
    longest: usize,
    /// The bytes that it may hold, when they are known.
    bytes: Option<ByteSet>,
    letters: usize,
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
    runs: Vec<Run>,
    /// The shortest of `runs`.
    shortest_run: usize,
    capitals: Vec<Reach>,
    marks: Marks,
}

/// A rule with the trigger `digits` has at least so many in one run.
const FEWEST_DIGITS: usize = 4;
/// A run whose ends are not known is at least so long: shorter ones are in every line.
const SHORTEST_OPEN_RUN_BYTES: usize = 8;

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
        let mut numbers = Self { fewest_digits: usize::MAX, shortest_run: usize::MAX, ..Self::default() };
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
                        builder.add(rule, compiled.loaded.context_required, &piece);
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
        self.shortest_run = self.shortest_run.min(shortest);
        self.runs.push(Run {
            rule,
            shortest,
            longest,
            bytes: piece.bytes(),
            letters: piece.at_least(|byte| byte.is_ascii_alphabetic()),
            next: piece.next,
            before: piece.before,
            after: piece.after,
        });
    }

    /// Reports every candidate of a block.
    pub(crate) fn candidates(&mut self, block: &[u8], near: Near<'_>, found: &mut dyn FnMut(Candidate)) {
        if self.shapes.is_some() || !self.capitals.is_empty() || !self.runs.is_empty() {
            self.around_digits(block, near, found);
        }
        self.marks.candidates(block, found);
    }

    fn around_digits(&mut self, block: &[u8], near: Near<'_>, found: &mut dyn FnMut(Candidate)) {
        let mut at = 0; // everything before is done
        let mut run_end = 0; // so are runs of letters and digits up to here
        while let Some(digit) = next_digit(block, at) {
            // A run is as long as it can be, so the separators before its first digit belong to it; those of the run before
            // do not, because that one ended at a byte that is no number byte.
            let before = block.get(at..digit).unwrap_or_default();
            let start = digit - before.iter().rev().take_while(|byte| is_number_byte(**byte)).count();
            let end = self.number(block, start, digit, near, found);
            if !self.capitals.is_empty() && start == digit && follows_two_capitals(block, digit) {
                for reach in &self.capitals {
                    let window = digit.saturating_sub(reach.before)..digit.saturating_add(reach.after);
                    found(Candidate { rule: reach.rule, window, at: digit });
                }
            }
            if !self.runs.is_empty() {
                // Each run that holds a digit of the number, once.
                let mut at = digit;
                while at < end {
                    if at >= run_end && block.get(at).is_some_and(u8::is_ascii_digit) {
                        run_end = self.run(block, run_end, at, found);
                    }
                    at = run_end.max(at + 1);
                }
            }
            at = end;
        }
    }

    /// The run of number bytes from `start` on. Leaves its end.
    fn number(
        &mut self,
        block: &[u8],
        start: usize,
        digit: usize,
        near: Near<'_>,
        found: &mut dyn FnMut(Candidate),
    ) -> usize {
        let number = shapes::read(block, start);
        let end = number.end;
        let Some(shapes) = self.shapes.as_mut().filter(|_| number.digits >= self.fewest_digits) else { return end };
        let fit = shapes.fit(block, start, &number);
        let window = |before: usize, after: usize| start.saturating_sub(before)..end.saturating_add(after);
        for target in &fit.free {
            found(Candidate { rule: target.rule, window: window(target.before, target.after), at: digit });
        }
        if !fit.bound.is_empty() && near(digit, &window(fit.before, fit.after), &fit.words) {
            for target in &fit.bound {
                found(Candidate { rule: target.rule, window: window(target.before, target.after), at: digit });
            }
        }
        end
    }

    /// The run of letters and digits around a digit, which begins at `from` at the earliest. Leaves its end.
    fn run(&self, block: &[u8], from: usize, digit: usize, found: &mut dyn FnMut(Candidate)) -> usize {
        let before = block.get(from..digit).unwrap_or_default();
        let start = digit - before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let behind = block.get(digit..).unwrap_or_default();
        let end = digit + behind.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let length = end - start;
        if length >= self.shortest_run {
            let text = block.get(start..end).unwrap_or_default();
            for run in &self.runs {
                if length >= run.shortest
                    && length <= run.longest
                    && run.next.is_none_or(|next| run.longest == usize::MAX || block.get(end) == Some(&next))
                    && (run.letters == 0
                        || text.iter().filter(|byte| byte.is_ascii_alphabetic()).count() >= run.letters)
                    && run.bytes.is_none_or(|bytes| text.iter().all(|byte| bytes.holds(*byte)))
                {
                    let window = start.saturating_sub(run.before)..end.saturating_add(run.after);
                    found(Candidate { rule: run.rule, window, at: digit });
                }
            }
        }
        end
    }
}

/// `at` is the first digit of two, and two capitals stand before it.
fn follows_two_capitals(block: &[u8], at: usize) -> bool {
    let Some(from) = at.checked_sub(2) else { return false };
    matches!(block.get(from..at + 2), Some([a, b, c, d])
        if a.is_ascii_uppercase() && b.is_ascii_uppercase() && c.is_ascii_digit() && d.is_ascii_digit())
}

/// Position of the first digit at or after `from`. Steps over text without digits a chunk at a time.
fn next_digit(block: &[u8], from: usize) -> Option<usize> {
    const CHUNK: usize = 32;
    let rest = block.get(from..)?;
    let mut at = from;
    // PERF: numbers come in clusters, so the next is often near; eight bytes are asked at once.
    let (eights, _) = rest.get(..CHUNK.min(rest.len())).unwrap_or_default().as_chunks::<8>();
    for eight in eights {
        let digits = digits_of(u64::from_le_bytes(*eight));
        if digits != 0 {
            return Some(at + digits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    for chunk in block.get(at..)?.chunks(CHUNK) {
        // PERF: without an early exit inside, this loop becomes vector instructions.
        let any = chunk.iter().fold(false, |any, byte| any | byte.is_ascii_digit());
        if any {
            return chunk.iter().position(u8::is_ascii_digit).map(|offset| at + offset);
        }
        at += chunk.len();
    }
    None
}

/// The highest bit of each of eight bytes that is a digit.
fn digits_of(eight: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // Digits are 0x30 to 0x39: with that bit pattern taken away 0 to 9, and 0x76 more stays below 0x80. No byte carries into the next,
    // because its highest bit is left out of the sum.
    let rest = eight ^ 0x3030_3030_3030_3030;
    !(((rest & LOW) + 0x7676_7676_7676_7676) | rest) & !LOW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::scan::{factor, words::Words};

    fn found(numbers: &Numbers, text: &str) -> Vec<(usize, String)> {
        let mut out = Vec::new();
        numbers.clone().candidates(text.as_bytes(), &mut |_, _, _| true, &mut |candidate| {
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
                builder.add(rule, false, &piece);
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
        let mut numbers = Numbers { fewest_digits: usize::MAX, shortest_run: usize::MAX, ..Numbers::default() };
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
            ("vin=WDB12AB4321;", &[(0, "WDB12AB4321"), (1, "WDB12AB4321"), (2, "WDB12AB4321")]),
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

    #[test]
    fn every_byte_is_told_from_a_digit() {
        for byte in 0..=255_u8 {
            for place in 0..8 {
                let mut eight = [b'9'; 8];
                eight[place] = byte;
                let found = digits_of(u64::from_le_bytes(eight)) >> (8 * place + 7) & 1 == 1;
                assert_eq!(found, byte.is_ascii_digit(), "{byte} at {place}");
                let others = digits_of(u64::from_le_bytes(eight)).count_ones();
                assert_eq!(others, 7 + u32::from(byte.is_ascii_digit()));
            }
        }
    }

    #[test]
    fn a_digit_is_found_at_every_alignment() {
        for length in 0..80 {
            let mut text = vec![b'x'; 100];
            text[length] = b'7';
            for from in 0..=length {
                assert_eq!(next_digit(&text, from), Some(length));
            }
            assert_eq!(next_digit(&text, length + 1), None);
        }
    }
}
