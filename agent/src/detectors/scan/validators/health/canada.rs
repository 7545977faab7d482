//! Canada, numbers of provincial health cards. Sources: Ontario Ministry of Health, "Health number and card validation" (ten
//! digits); British Columbia, "Personal health number" (ten digits); Québec, RAMQ (four letters of the name, then the date of
//! birth, a month over 50 for women).

use super::super::{Text, Verdict, checksums::all_equal, labels};

/// Any of them, by its shape. Ontario's check digit is Luhn and British Columbia's mod 11, but a label does not say of which
/// province a card is, and those of others have none.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let letters = text.secret().iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let holds = match (letters, digits.len()) {
        (4, 8) => quebec(&digits),
        (0, 9 | 10) => true,
        _ => false,
    };
    let other =
        labels::named(text.before(), labels::OF_THINGS) || labels::named(text.before(), &["phone", "tel", "fax"]);
    Verdict::plausible_if(holds && !other && !all_equal(&digits))
}

fn quebec(digits: &[u8]) -> bool {
    let two = |at: usize| digits.get(at..at + 2).map_or(0, |pair| pair.iter().fold(0, |sum, digit| sum * 10 + digit));
    matches!(two(2), 1..=12 | 51..=62) && matches!(two(4), 1..=31)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn provinces() {
        for good in ["9876543217", "9987654324", "FAKE 9055 1912", "123456782"] {
            assert_eq!(verdict(validate, good), Verdict::Plausible, "{good}");
        }
        for bad in ["FAKE 9013 1912", "FAKE 9012 3212", "1111111111", "12345678", ""] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
