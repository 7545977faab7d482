//! Canada, social insurance number: nine digits, Luhn. Source: Employment and Social Development Canada, "Social Insurance
//! Number validation".

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module.
pub(super) fn sin(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[9]).is_some_and(|number| number.luhn()))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(sin, &["433526290", "111929394"], &["592377292", "544098609"]);
    }
}
