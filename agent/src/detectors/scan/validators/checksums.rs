//! Check-digit arithmetic that several identifiers share. Sources: ISO/IEC 7812-1 Annex B (Luhn); J. Verhoeff, "Error Detecting
//! Decimal Codes", 1969, tables as in Wikipedia, "Verhoeff algorithm"; ISO/IEC 7064 (mod 97-10).

/// Luhn: from the right every second digit is doubled, its digits added, and the sum is a multiple of ten.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let doubled = u32::from(*digit) << (index & 1);
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    !digits.is_empty() && sum.is_multiple_of(10)
}

/// `111.111.111-11`: check digits often hold for these, and nobody has one.
pub(super) fn all_equal(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| matches!(pair, [a, b] if a == b))
}

/// Verhoeff, check digit last.
pub(super) fn verhoeff(digits: &[u8]) -> bool {
    // The permutation, applied once per position from the right; position mod 8.
    const PERMUTATION: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let mut check = 0_u8;
    for (index, digit) in digits.iter().rev().enumerate() {
        let mut permuted = *digit % 10;
        for _ in 0..index % 8 {
            permuted = PERMUTATION.get(usize::from(permuted)).copied().unwrap_or_default();
        }
        check = dihedral(check, permuted);
    }
    !digits.is_empty() && check == 0
}

/// Product in the dihedral group of order ten: 0 to 4 are rotations, 5 to 9 reflections.
fn dihedral(a: u8, b: u8) -> u8 {
    match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b - 5) % 5,
        (false, true) => 5 + (a - 5 + 5 - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    }
}

/// Sum of the digits times their weights.
pub(super) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum()
}

/// Remainder by 97 of a text of digits and letters, letters counting 10 to 35. `None` on anything else.
pub(super) fn mod_97<'a>(text: impl Iterator<Item = &'a u8>) -> Option<u32> {
    text.copied().try_fold(0_u32, |rest, byte| {
        let value = char::from(byte).to_digit(36)?;
        Some((rest * if value > 9 { 100 } else { 10 } + value) % 97)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().map(|byte| byte - b'0').collect()
    }

    #[test]
    fn published_vectors() {
        assert!(luhn(&digits("79927398713")) && !luhn(&digits("79927398710")) && !luhn(&[]));
        assert!(
            verhoeff(&digits("2363")) && verhoeff(&digits("123451")) && !verhoeff(&digits("2364")) && !verhoeff(&[])
        );
        assert_eq!(mod_97(b"3214282912345698765432161182".iter()), Some(1));
        assert_eq!(mod_97(b"1-".iter()), None);
    }
}
