//! Brazil, CPF: two digits mod 11. Source: Receita Federal; algorithm as in Wikipedia, "CPF number".

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module.
pub(super) fn cpf(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[11]).is_some_and(|number| {
        number.sum(&[10, 9, 8, 7, 6, 5, 4, 3, 2]) * 10 % 11 % 10 == number.at(9)
            && number.sum(&[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) * 10 % 11 % 10 == number.at(10)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(
            cpf,
            &["529.982.247-25", "70216642493", "64334893112"],
            &["111.111.111-11", "64551758540", "95727956996"],
        );
    }
}
