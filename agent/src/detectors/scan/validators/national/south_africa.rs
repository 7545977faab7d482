//! South Africa, identity number: birthday, serial, citizenship 0 to 2, Luhn. Source: Department of Home Affairs; Wikipedia,
//! "South African identity card".

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module.
pub(super) fn identity(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(
        Number::of(text, &[13]).is_some_and(|number| number.date_at(0, 2, 4) && number.at(10) <= 2 && number.luhn()),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(identity, &["7503305044089", "8201213103183", "8908099567188"], &["9761103216183", "5701146273083"]);
    }
}
