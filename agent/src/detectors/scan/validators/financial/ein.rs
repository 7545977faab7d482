//! United States, employer identification number: two digits of a campus, seven more. Source: IRS, "How EINs are assigned and
//! valid EIN prefixes".

use super::super::{Text, Verdict, checksums::all_equal};

/// Prefixes that are not assigned.
const UNASSIGNED: [u8; 17] = [0, 7, 8, 9, 17, 18, 19, 28, 29, 49, 69, 70, 78, 79, 89, 96, 97];

/// See the module.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let [tens, ones, rest @ ..] = digits.as_slice() else { return Verdict::Refused };
    Verdict::plausible_if(rest.len() == 7 && !all_equal(rest) && !UNASSIGNED.contains(&(tens * 10 + ones)))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn prefixes() {
        assert_eq!(verdict(validate, "12-3456789"), Verdict::Plausible);
        for bad in ["07-3456789", "12-0000000", "12-345678", ""] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
