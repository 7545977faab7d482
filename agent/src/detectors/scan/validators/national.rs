//! National identifiers with check digits. Sources: each function names its own.

use super::{
    Text, Verdict,
    checksums::{verhoeff, weighted},
};

fn all_equal(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| matches!(pair, [a, b] if a == b))
}

/// Brazil, CPF: two digits mod 11. Source: Receita Federal; algorithm as in Wikipedia, "CPF number".
pub(super) fn cpf(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let check = |count: u32| {
        let weights: Vec<u32> = (2..count + 2).rev().collect();
        let rest = weighted(&digits, &weights) * 10 % 11;
        digits.get(count as usize).map(|digit| u32::from(*digit)) == Some(rest % 10)
    };
    Verdict::proven_if(digits.len() == 11 && !all_equal(&digits) && check(9) && check(10))
}

/// India, Aadhaar: twelve digits, the first 2 to 9, Verhoeff. Source: UIDAI, "Aadhaar number" (UID numbering scheme, 2010).
pub(super) fn aadhaar(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    Verdict::plausible_if(
        digits.len() == 12
            && digits.first().is_some_and(|first| *first >= 2)
            && !all_equal(&digits)
            && verhoeff(&digits),
    )
}

/// United Kingdom, NHS number: weights 10 to 2, mod 11. Source: NHS Data Dictionary, "NHS NUMBER".
pub(super) fn nhs(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let check = 11 - weighted(&digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    let last = digits.get(9).map(|digit| u32::from(*digit));
    // A check digit of 10 is never issued; 11 is written 0.
    Verdict::plausible_if(digits.len() == 10 && !all_equal(&digits) && check != 10 && last == Some(check % 11))
}

/// United Kingdom, National Insurance number: letters that are not issued. Source: HMRC, NIM39110.
pub(super) fn nino(text: &Text<'_>) -> Verdict {
    const NOT_FIRST: &[u8] = b"DFIQUV";
    const NOT_SECOND: &[u8] = b"DFIOQUV";
    const NOT_TOGETHER: [&[u8; 2]; 7] = [b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"];
    let [first, second, ..] = text.secret() else { return Verdict::Refused };
    let refused = NOT_FIRST.contains(first)
        || NOT_SECOND.contains(second)
        || NOT_TOGETHER.iter().any(|pair| pair.as_slice() == [*first, *second]);
    Verdict::plausible_if(!refused)
}

/// United States, ABA routing number: weights 3-7-1 mod 10, first two digits assigned. Source: ABA Key to Routing Numbers.
pub(super) fn aba(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let [first, second, ..] = digits.as_slice() else { return Verdict::Refused };
    let district = first * 10 + second;
    let assigned = matches!(district, 1..=12 | 21..=32 | 61..=72 | 80);
    let sum = weighted(&digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]);
    Verdict::plausible_if(digits.len() == 9 && assigned && sum.is_multiple_of(10))
}

/// France, NIR: 97 minus the number mod 97; sex 1 or 2, month 1 to 12 (or 20 and more where it is unknown). Source: INSEE,
/// "Numéro d'inscription au répertoire".
pub(super) fn nir(text: &Text<'_>) -> Verdict {
    let digits = text.digits();
    let number = |range: std::ops::Range<usize>| {
        digits.get(range).unwrap_or_default().iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(*digit))
    };
    let month = number(3..5);
    let holds =
        digits.len() == 15 && matches!(month, 1..=12 | 20..=42 | 50..=99) && 97 - number(0..13) % 97 == number(13..15);
    Verdict::proven_if(holds && matches!(digits.first(), Some(1 | 2)))
}

#[cfg(test)]
mod tests {
    use super::{super::verdict, *};

    #[test]
    fn check_digits() {
        let cases: [(super::super::Validator, &str, &str); 6] = [
            (cpf, "529.982.247-25", "529.982.247-26"),
            (aadhaar, "2341 2341 2346", "2341 2341 2347"),
            (nhs, "943 476 5919", "943 476 5918"),
            (nino, "AB123456C", "GB123456C"),
            (aba, "021000021", "021000022"),
            (nir, "2 55 08 14 168 025 38", "2 55 08 14 168 025 39"),
        ];
        for (validator, good, bad) in cases {
            assert_ne!(verdict(validator, good), Verdict::Refused, "{good}");
            assert_eq!(verdict(validator, bad), Verdict::Refused, "{bad}");
        }
        assert_eq!(verdict(cpf, "111.111.111-11"), Verdict::Refused);
    }
}
