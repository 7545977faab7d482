//! Huffman's code of HPACK (RFC 7541, section 5.2 and appendix B). Enters: a coded string, whole. Leaves: its bytes. Never gives
//! out more than its cap, and keeps nothing.
//!
//! The decoders that crates expose look every bit up in a hash map that they build anew (loona-hpack 0.4), or hide theirs (h2). The
//! code is canonical: within one length, codes ascend with their symbols. So the lengths alone say everything, and the tables
//! are made of them when this is compiled.

/// Length of each symbol's code in bits; the last one is the end of string. RFC 7541, appendix B.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];
const SYMBOLS: usize = 257;
const END_OF_STRING: u16 = 256;
/// Codes are at most so long.
const MAX_BITS: usize = 30;

/// Symbols in the order of their codes.
const BY_CODE: [u16; SYMBOLS] = by_code();
/// For each length: the first code, how many there are, and where their symbols begin in [`BY_CODE`].
const ROWS: [(u32, u32, u32); MAX_BITS + 1] = rows();
/// For the next eight bits: the symbol whose code they begin with, and its length; length zero when the code is longer.
const SHORT: [(u8, u8); 256] = short();

const fn by_code() -> [u16; SYMBOLS] {
    let mut table = [0; SYMBOLS];
    let (mut bits, mut next) = (0, 0);
    while bits <= MAX_BITS {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == bits {
                table[next] = symbol as u16;
                next += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    table
}

const fn rows() -> [(u32, u32, u32); MAX_BITS + 1] {
    let mut table = [(0, 0, 0); MAX_BITS + 1];
    let (mut bits, mut code, mut start) = (1, 0, 0);
    while bits <= MAX_BITS {
        code <<= 1;
        let (mut count, mut symbol) = (0, 0);
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == bits {
                count += 1;
            }
            symbol += 1;
        }
        table[bits] = (code, count, start);
        code += count;
        start += count;
        bits += 1;
    }
    table
}

const fn short() -> [(u8, u8); 256] {
    let mut table = [(0, 0); 256];
    let mut bits = 1;
    while bits <= 8 {
        let (first, count, start) = ROWS[bits];
        let mut nth = 0;
        while nth < count {
            let from = (first + nth) << (8 - bits);
            let mut fill = 0;
            while fill < 1 << (8 - bits) {
                // Codes of up to eight bits are those of ASCII.
                table[(from + fill) as usize] = (BY_CODE[(start + nth) as usize] as u8, bits as u8);
                fill += 1;
            }
            nth += 1;
        }
        bits += 1;
    }
    table
}

/// Decodes a string. `None`: it is not one, or it is longer than `cap`.
pub(super) fn decode(coded: &[u8], cap: usize) -> Option<Vec<u8>> {
    // A code is at least five bits long.
    let mut plain = Vec::with_capacity((coded.len() * 8 / 5).min(cap));
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut rest = coded.iter();
    loop {
        while count <= 56
            && let Some(byte) = rest.next()
        {
            bits = bits << 8 | u64::from(*byte);
            count += 8;
        }
        match symbol(bits, count) {
            Some((END_OF_STRING, _)) => return None,
            Some((symbol, length)) => {
                if plain.len() == cap {
                    return None;
                }
                plain.push(symbol as u8);
                count -= length;
            }
            None => break,
        }
    }
    // What is left is the start of the end of string: less than a byte of ones.
    let padding = (1 << count.min(8)) - 1;
    (count < 8 && bits & padding == padding).then_some(plain)
}

/// The symbol that the lowest `count` bits begin with, and the length of its code.
fn symbol(bits: u64, count: u32) -> Option<(u16, u32)> {
    let first_byte = if count >= 8 { bits >> (count - 8) } else { bits << (8 - count) } & 0xff;
    if let Some((symbol, length)) = SHORT.get(first_byte as usize)
        && *length > 0
    {
        let length = u32::from(*length);
        return (length <= count).then_some((u16::from(*symbol), length));
    }
    (9..=count.min(MAX_BITS as u32)).find_map(|length| {
        let (first, codes, start) = ROWS.get(length as usize)?;
        let code = (bits >> (count - length)) as u32 & ((1 << length) - 1);
        let nth = code.checked_sub(*first).filter(|nth| nth < codes)?;
        Some((*BY_CODE.get((start + nth) as usize)?, length))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Codes `plain` with the tables above.
    fn encode(plain: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in plain {
            let length = LENGTHS[usize::from(*byte)];
            let (first, _, start) = ROWS[usize::from(length)];
            let place = BY_CODE.iter().position(|symbol| *symbol == u16::from(*byte)).unwrap() as u32;
            let code = first + place - start;
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        bits.chunks(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | u8::from(*bit))).collect()
    }

    #[test]
    fn the_examples_of_the_rfc() {
        for (coded, plain) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], "www.example.com"), // C.4.1
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),                                     // C.4.2
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),                     // C.4.3
            (b"", ""),
        ] {
            assert_eq!(decode(coded, 99).as_deref(), Some(plain.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_string_is_refused() {
        assert_eq!(decode(b"\xff\xff\xff\xff", 99), None, "end of string");
        assert_eq!(decode(b"\x1f\xff", 99), None, "a whole byte of padding");
        assert_eq!(decode(b"\x18", 99), None, "padding of zeros");
        assert_eq!(decode(&encode(b"12345"), 4), None, "past the cap");
    }

    proptest! {
        #[test]
        fn every_string_comes_back(plain in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&plain), 200), Some(plain));
        }

        #[test]
        fn it_agrees_with_another_decoder(coded in prop::collection::vec(any::<u8>(), 0..60)) {
            let theirs = loona_hpack::huffman::HuffmanDecoder::new().decode(&coded).ok();
            prop_assert_eq!(decode(&coded, 1000), theirs);
        }
    }
}
