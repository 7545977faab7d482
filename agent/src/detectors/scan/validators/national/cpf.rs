//! Brazil, CPF: two digits mod 11. Source: Receita Federal; algorithm as in Wikipedia, "CPF number".

use super::super::{
    Text, Verdict,
    checksums::{all_equal, weighted},
};

/// See the module.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let check = |count: u32| {
        let weights: Vec<u32> = (2..count + 2).rev().collect();
        let rest = weighted(&digits, &weights) * 10 % 11;
        digits.get(count as usize).map(|digit| u32::from(*digit)) == Some(rest % 10)
    };
    Verdict::proven_if(digits.len() == 11 && !all_equal(&digits) && check(9) && check(10))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn check_digits() {
        assert_ne!(verdict(validate, "529.982.247-25"), Verdict::Refused);
        assert_eq!(verdict(validate, "529.982.247-26"), Verdict::Refused);
        assert_eq!(verdict(validate, "111.111.111-11"), Verdict::Refused);
    }
}
