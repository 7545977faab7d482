//! Check characters of ISO/IEC 7064:2003 that several identifiers share: mod 11,10 (hybrid) and mod 11-2 (pure).

/// Mod 11,10, check digit last: Germany's and Croatia's tax numbers.
pub(super) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last() else { return false };
    let product = rest.iter().fold(10_u32, |product, digit| {
        let sum = (product + u32::from(*digit)) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (product + u32::from(*check)) % 10 == 1
}

/// Mod 11-2, check character last, `X` for ten.
pub(super) fn mod_11_2(signs: &[u8]) -> bool {
    let Some((last, rest)) = signs.split_last() else { return false };
    let check = match last {
        b'X' => 10,
        digit if digit.is_ascii_digit() => u32::from(digit - b'0'),
        _ => return false,
    };
    let sum = rest.iter().try_fold(0_u32, |sum, sign| Some((sum + char::from(*sign).to_digit(10)?) * 2 % 11));
    sum.is_some_and(|sum| (sum + check) % 11 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        // The standard's own examples: 0794 with check digit 5 (mod 11,10), 0794 with 0 (mod 11-2), 079 with X.
        assert!(mod_11_10(&[0, 7, 9, 4, 5]) && !mod_11_10(&[0, 7, 9, 4, 6]) && !mod_11_10(&[]));
        assert!(mod_11_2(b"07940") && mod_11_2(b"079X") && !mod_11_2(b"07941") && !mod_11_2(b"0A90"));
    }
}
