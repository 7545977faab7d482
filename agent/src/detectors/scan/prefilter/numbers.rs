//! Stage 1 for rules without a literal: numbers, IPv6 addresses, identifiers that begin with two capitals. Enters: a block.
//! Leaves: candidates. Such patterns must not go into the multi-pattern database: a single card pattern there costs a third of
//! its speed, eleven cost three quarters (measured; `docs/ARCHITECTURE.md`).

use super::{
    super::{compile::RuleSet, factor},
    Candidate,
};
use crate::rules::scan::Trigger;

/// Bytes that a number may hold between its digits.
pub(crate) fn is_number_byte(byte: u8) -> bool {
    matches!(KIND.get(usize::from(byte)), Some(kind) if *kind != 0)
}

const DIGIT: u8 = 1;
const DOT: u8 = 2;
const PLUS: u8 = 4;
const OTHER: u8 = 8;

const KIND: [u8; 256] = {
    let mut table = [0; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        table[digit as usize] = DIGIT;
        digit += 1;
    }
    table[b'.' as usize] = DOT;
    table[b'+' as usize] = PLUS;
    table[b' ' as usize] = OTHER;
    table[b'-' as usize] = OTHER;
    table[b'(' as usize] = OTHER;
    table[b')' as usize] = OTHER;
    table[b'/' as usize] = OTHER;
    table
};

/// What a run of number bytes must hold for a rule to be worth a look: lower bounds read off the pattern.
#[derive(Clone, Copy, Debug)]
struct Needs {
    rule: usize,
    digits: usize,
    dots: usize,
    pluses: usize,
    /// Digits without anything between: keeps addresses and dates away from rules for long numbers.
    group: usize,
}

/// The hand-written scanner.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    needs: Vec<Needs>,
    fewest_digits: usize,
    colons: Vec<(usize, usize)>,
    capitals: Vec<(usize, usize)>,
}

/// A rule with the trigger `digits` may match nothing but number bytes, and at least four digits.
pub(crate) fn fits_digits(hir: &regex_syntax::hir::Hir) -> Result<(), String> {
    if !factor::only(hir, is_number_byte) {
        return Err("a rule with the trigger `digits` may match digits and ` .-+()/` only".to_owned());
    }
    if factor::at_least(hir, |byte| byte.is_ascii_digit()) < FEWEST_DIGITS {
        return Err(format!("a rule with the trigger `digits` must match at least {FEWEST_DIGITS} digits"));
    }
    Ok(())
}

const FEWEST_DIGITS: usize = 4;
/// Four colons this close together, or two side by side, may be an IPv6 address: full ones have up to four digits between.
const COLON_GAP: usize = 5;
const COLONS_IN_A_ROW: usize = 4;

impl Numbers {
    /// For the rules of a set whose trigger is not a literal.
    pub(crate) fn new(rules: &RuleSet) -> Self {
        let mut numbers = Self { fewest_digits: usize::MAX, ..Self::default() };
        for (rule, compiled) in rules.compiled().iter().enumerate() {
            match compiled.loaded.trigger {
                Trigger::Literal => {}
                Trigger::Colons => numbers.colons.push((rule, compiled.longest)),
                Trigger::Capitals => numbers.capitals.push((rule, compiled.longest)),
                Trigger::Digits => {
                    let count = |kind: u8| {
                        factor::at_least(&compiled.hir, move |byte| KIND.get(usize::from(byte)) == Some(&kind))
                    };
                    let group = factor::longest_group(&compiled.hir, |byte| byte.is_ascii_digit());
                    let needs = Needs { rule, digits: count(DIGIT), dots: count(DOT), pluses: count(PLUS), group };
                    numbers.fewest_digits = numbers.fewest_digits.min(needs.digits);
                    numbers.needs.push(needs);
                }
            }
        }
        numbers
    }

    /// Reports every candidate of a block.
    pub(crate) fn candidates(&self, block: &[u8], found: &mut dyn FnMut(Candidate)) {
        if !self.needs.is_empty() || !self.capitals.is_empty() {
            self.runs(block, found);
        }
        if !self.colons.is_empty() {
            self.colons(block, found);
        }
    }

    fn runs(&self, block: &[u8], found: &mut dyn FnMut(Candidate)) {
        let mut at = 0; // everything before is done
        while let Some(digit) = next_digit(block, at) {
            // A run is as long as it can be, so the separators before its first digit belong to it; those of the run before
            // do not, because that one ended at a byte that is no number byte.
            let before = block.get(at..digit).unwrap_or_default();
            let start = digit - before.iter().rev().take_while(|byte| is_number_byte(**byte)).count();
            let (mut digits, mut dots, mut pluses, mut group, mut longest_group) =
                (0_usize, 0_usize, 0_usize, 0_usize, 0_usize);
            let mut end = start;
            for byte in block.get(start..).unwrap_or_default() {
                let kind = KIND.get(usize::from(*byte)).copied().unwrap_or_default();
                if kind == 0 {
                    break;
                }
                let digit = usize::from(kind & DIGIT);
                digits += digit;
                group = (group + 1) * digit;
                longest_group = longest_group.max(group);
                dots += usize::from(kind == DOT);
                pluses += usize::from(kind == PLUS);
                end += 1;
            }
            if digits >= self.fewest_digits {
                for needs in &self.needs {
                    if digits >= needs.digits
                        && dots >= needs.dots
                        && pluses >= needs.pluses
                        && longest_group >= needs.group
                    {
                        found(Candidate { rule: needs.rule, window: start..end, at: digit });
                    }
                }
            }
            if !self.capitals.is_empty() && start == digit && follows_two_capitals(block, digit) {
                for (rule, longest) in &self.capitals {
                    found(Candidate { rule: *rule, window: digit - 2..digit.saturating_add(*longest), at: digit });
                }
            }
            at = end;
        }
    }

    fn colons(&self, block: &[u8], found: &mut dyn FnMut(Candidate)) {
        let mut last: Option<usize> = None;
        let mut in_a_row = 1;
        for at in memchr::memchr_iter(b':', block) {
            let gap = last.map_or(usize::MAX, |last| at - last);
            in_a_row = if gap <= COLON_GAP { in_a_row + 1 } else { 1 };
            last = Some(at);
            if gap == 1 || in_a_row >= COLONS_IN_A_ROW {
                for (rule, longest) in &self.colons {
                    let window = at.saturating_sub(*longest)..at.saturating_add(*longest);
                    found(Candidate { rule: *rule, window, at });
                }
            }
        }
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
    for chunk in rest.chunks(CHUNK) {
        // PERF: without an early exit inside, this loop becomes vector instructions.
        let any = chunk.iter().fold(false, |any, byte| any | byte.is_ascii_digit());
        if any {
            return chunk.iter().position(u8::is_ascii_digit).map(|offset| at + offset);
        }
        at += chunk.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(numbers: &Numbers, text: &str) -> Vec<(usize, String)> {
        let mut out = Vec::new();
        numbers.candidates(text.as_bytes(), &mut |candidate| {
            let end = candidate.window.end.min(text.len());
            out.push((candidate.rule, text[candidate.window.start..end].to_owned()));
        });
        out
    }

    #[test]
    fn runs_colons_and_capitals() {
        let numbers = Numbers {
            needs: vec![
                Needs { rule: 0, digits: 9, dots: 0, pluses: 0, group: 4 },
                Needs { rule: 1, digits: 4, dots: 3, pluses: 0, group: 1 },
            ],
            fewest_digits: 4,
            colons: vec![(2, 6)],
            capitals: vec![(3, 8)],
        };
        let cases: &[(&str, &[(usize, &str)])] = &[
            ("id (415) 555-0199, x", &[(0, " (415) 555-0199")]),
            ("ip=8.8.4.4;", &[(1, "8.8.4.4")]),
            ("ip=8.8.4;", &[]),
            ("at 01:13:09 a::b", &[(2, ":09 a::b")]),
            ("a:b:c:d:e", &[(2, ":b:c:d:e")]),
            ("DE89 3704", &[(3, "DE89 3704")]),
            ("D89 E8 de89", &[]),
            ("12", &[]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let expected: Vec<(usize, String)> = expected.iter().map(|(rule, t)| (*rule, (*t).to_owned())).collect();
            assert_eq!(found(&numbers, text), expected, "{text}");
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
