//! Australia, business number (ABN) and company number (ACN). Sources: Australian Business Register, "Format of the ABN" (first
//! digit less one, weights, mod 89); ASIC, "Australian Company Number digit check" (weights 8 to 1, mod 10).

use super::super::{
    Text, Verdict,
    checksums::{all_equal, weighted},
};

/// Eleven digits.
pub(super) fn business(text: &Text<'_>) -> Verdict {
    let mut digits = text.digits();
    let Some(first @ 1..) = digits.first_mut() else { return Verdict::Refused };
    *first -= 1;
    let sum = weighted(&digits, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    Verdict::plausible_if(digits.len() == 11 && sum.is_multiple_of(89))
}

/// Nine digits.
pub(super) fn company(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let sum = weighted(&digits, &[8, 7, 6, 5, 4, 3, 2, 1, 1]);
    Verdict::plausible_if(digits.len() == 9 && !all_equal(&digits) && sum.is_multiple_of(10))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn check_digits() {
        assert_ne!(verdict(business, "51 824 753 556"), Verdict::Refused);
        assert_ne!(verdict(company, "004 085 616"), Verdict::Refused);
        for bad in ["51 824 753 557", "01 824 753 556", "51 824 753"] {
            assert_eq!(verdict(business, bad), Verdict::Refused, "{bad}");
        }
        for bad in ["004 085 617", "000 000 000", "004 085"] {
            assert_eq!(verdict(company, bad), Verdict::Refused, "{bad}");
        }
    }
}
