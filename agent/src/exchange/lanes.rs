//! Many bytes at once. Enters: a word of sixteen. Leaves: a bit for each byte, the lowest for the first: whether it is what is
//! looked for. It knows no JSON beyond that; [`unescape`] knows escapes, [`utf8`] text.

use wide::u8x16;

pub(super) mod unescape;
pub(super) mod utf8;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Bytes of a word.
pub(super) const LANES: usize = 16;

/// Quotes and backslashes.
#[inline]
pub(super) fn quoted(word: &[u8; LANES]) -> u32 {
    let word = u8x16::new(*word);
    (word.simd_eq(u8x16::splat(b'"')) | word.simd_eq(u8x16::splat(b'\\'))).to_bitmask()
}

/// Bytes that can be those of a number.
#[inline]
pub(super) fn numeric(word: &[u8; LANES]) -> u32 {
    let word = u8x16::new(*word);
    let is = |byte| word.simd_eq(u8x16::splat(byte));
    let from_zero = word - u8x16::splat(b'0');
    let digits = from_zero.min(u8x16::splat(9)).simd_eq(from_zero);
    let exponents = (word | u8x16::splat(0x20)).simd_eq(u8x16::splat(b'e'));
    (digits | exponents | is(b'.') | is(b'-') | is(b'+')).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_in_every_lane() {
        for byte in 0..=u8::MAX {
            for lane in 0..LANES {
                let mut word = [b' '; LANES];
                word[lane] = byte;
                let expected = |is: bool| u32::from(is) << lane;
                assert_eq!(quoted(&word), expected(matches!(byte, b'"' | b'\\')), "{byte} in {lane}");
                let is_number = matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                assert_eq!(numeric(&word), expected(is_number), "{byte} in {lane}");
            }
        }
    }
}
