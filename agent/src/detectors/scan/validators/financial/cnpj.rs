//! Brazil, CNPJ: twelve characters and two check digits, mod 11 twice. From July 2026 on the twelve may hold capitals, which
//! count as their ASCII code less 48. Source: Receita Federal, Instrução Normativa RFB 2.229/2024.

use super::super::{Text, Verdict};

const WEIGHTS: [u32; 13] = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];

/// See the module.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let values: Vec<u32> = text
        .secret()
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(|byte| u32::from(byte.to_ascii_uppercase() - b'0'))
        .collect();
    let same = values.windows(2).all(|pair| matches!(pair, [a, b] if a == b));
    let holds = |at: usize| {
        let weights = WEIGHTS.get(WEIGHTS.len() - at..).unwrap_or_default();
        let rest = values.iter().zip(weights).map(|(value, weight)| value * weight).sum::<u32>() % 11;
        values.get(at) == Some(&if rest < 2 { 0 } else { 11 - rest })
    };
    Verdict::proven_if(values.len() == 14 && !same && holds(12) && holds(13))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn check_digits() {
        for good in ["11.222.333/0001-81", "12.ABC.345/01DE-35", "11222333000181"] {
            assert_eq!(verdict(validate, good), Verdict::Proven, "{good}");
        }
        for bad in ["11.222.333/0001-82", "12.ABC.345/01DE-36", "00.000.000/0000-00", "11.222.333"] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
