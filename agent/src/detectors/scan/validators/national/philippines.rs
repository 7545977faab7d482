//! Philippines, taxpayer identification number: nine digits, then perhaps three to five of the branch. No check digit is
//! published. Source: Bureau of Internal Revenue; Presidio's description of `PH_TIN`.

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module.
pub(super) fn tin(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[9, 12, 13, 14]).is_some_and(|number| number.part(0..9) > 99_999))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(tin, &["123-456-780", "123456780000", "123456780-00000"], &["000-000-000", "12345678"]);
    }
}
