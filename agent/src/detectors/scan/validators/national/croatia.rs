//! Croatia, OIB: eleven digits, ISO 7064 mod 11,10. Sources: Zakon o osobnom identifikacijskom broju; Porezna uprava.

use super::{
    super::{Text, Verdict},
    iso7064::mod_11_10,
    number::Number,
};

/// See the module.
pub(super) fn oib(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[11]).is_some_and(|number| mod_11_10(number.digits())))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(oib, &["77535895067", "92679631878"], &["75618164561", "90299451874", "792679631878"]);
    }
}
