//! Portugal, NIF: nine digits mod 11, the first says what the holder is (not 0 or 4; 45 are foreigners). Source: Decreto-Lei
//! 14/2013; Wikipedia, "Número de identificação fiscal".

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module.
pub(super) fn nif(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[9]).is_some_and(|number| {
        let kind = matches!(number.part(0..2), 10..=39 | 45 | 50..=99);
        kind && (11 - number.sum(&[9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11 % 10 == number.at(8)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(nif, &["185741304", "282853820"], &["412345678", "117251192", "139131740"]);
    }
}
