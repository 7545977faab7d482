//! Chile, RUT and RUN: number and check character mod 11, `K` for ten. Sources: Servicio de Impuestos Internos; Wikipedia, "Rol
//! Único Tributario".

use super::{
    super::{Text, Verdict},
    number::{is_sign_at, signs, stands_alone},
};

/// See the module.
pub(super) fn rut(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(stands_alone(text) && holds(text).unwrap_or_default())
}

fn holds(text: &Text<'_>) -> Option<bool> {
    let signs = signs(text)?;
    let (check, digits) = signs.split_last()?;
    let first = digits.first()?;
    let sum: u64 = digits
        .iter()
        .rev()
        .zip([2_u64, 3, 4, 5, 6, 7].iter().cycle())
        .map(|(digit, weight)| u64::from(digit.saturating_sub(b'0')) * weight)
        .sum();
    let all_equal = digits.iter().all(|digit| digit == first);
    Some(matches!(digits.len(), 7 | 8) && !all_equal && is_sign_at(b"0K987654321", sum % 11, Some(*check)))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(
            rut,
            &["12.345.678-5", "244518915", "102543815"],
            &["11.111.111-1", "12.345.678-K", "233439599", "14015715K"],
        );
    }
}
