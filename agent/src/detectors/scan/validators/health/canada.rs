//! Canada, numbers of provincial health cards. Sources: Ontario Ministry of Health, "Health number and card validation" (ten digits,
//! Luhn); British Columbia, "Personal health number" (ten digits from 9, weights 2-4-8-5-10-9-7-3, mod 11); Québec, RAMQ (four
//! letters of the name, then the date of birth, a month over 50 for women).

use super::super::{
    Text, Verdict,
    checksums::{all_equal, luhn, weighted},
};

/// Any of them.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let letters = text.secret().iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let holds = match (letters, digits.len()) {
        (4, 8) => quebec(&digits),
        (0, 10) => luhn(&digits) || british_columbia(&digits),
        // Alberta, Manitoba, Saskatchewan: nine digits, no published check.
        (0, 9) => true,
        _ => false,
    };
    Verdict::plausible_if(holds && !all_equal(&digits))
}

fn quebec(digits: &[u8]) -> bool {
    let two = |at: usize| digits.get(at..at + 2).map_or(0, |pair| pair.iter().fold(0, |sum, digit| sum * 10 + digit));
    matches!(two(2), 1..=12 | 51..=62) && matches!(two(4), 1..=31)
}

fn british_columbia(digits: &[u8]) -> bool {
    let Some((9, rest)) = digits.split_first() else { return false };
    let check = 11 - weighted(rest, &[2, 4, 8, 5, 10, 9, 7, 3]) % 11;
    rest.last().is_some_and(|last| u32::from(*last) == check)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn provinces() {
        for good in ["9876543217", "9987654324", "FAKE 9055 1912", "123456782"] {
            assert_eq!(verdict(validate, good), Verdict::Plausible, "{good}");
        }
        for bad in ["9876543216", "FAKE 9013 1912", "FAKE 9012 3212", "1111111111", "12345678", ""] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
