//! Nigeria, national identification number: eleven digits, Verhoeff. Source: NIMC; Presidio's description.

use super::{
    super::{Text, Verdict, checksums::verhoeff},
    number::Number,
};

/// See the module.
pub(super) fn identity(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[11]).is_some_and(|number| verhoeff(number.digits())))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(identity, &["25805001662", "58344637161"], &["84072697748", "50798041745"]);
    }
}
