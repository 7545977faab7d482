//! Whether bytes are text. Enters: bytes. Leaves: the same as text, if they are UTF-8 (RFC 3629). Every text of every body is
//! checked once, most of them short, so what searches with wide registers must not take long to begin. It mends nothing.

#[cfg(target_arch = "x86_64")]
use super::x86;

/// What simdutf8 needs to begin takes longer than to read a name.
const SHORT_BYTES: usize = 64;

/// Bytes as text.
#[inline]
pub(in super::super) fn utf8(bytes: &[u8]) -> Option<&str> {
    #[cfg(target_arch = "x86_64")]
    return x86::utf8(bytes, narrow);
    #[cfg(not(target_arch = "x86_64"))]
    narrow(bytes)
}

fn narrow(bytes: &[u8]) -> Option<&str> {
    if bytes.len() < SHORT_BYTES { std::str::from_utf8(bytes).ok() } else { simdutf8::basic::from_utf8(bytes).ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(bytes: &[u8]) {
        let expected = std::str::from_utf8(bytes).ok();
        assert_eq!((utf8(bytes), narrow(bytes)), (expected, expected), "{bytes:02x?}");
    }

    /// Behind nothing, across the border of two registers, and at the end.
    fn check_everywhere(bytes: &[u8]) {
        for before in [0, 1, 60, 61, 62, 63, 64, 126] {
            for behind in [0, 1, 3, 64] {
                check(&[vec![b'a'; before].as_slice(), bytes, &vec![b'b'; behind]].concat());
            }
        }
    }

    #[test]
    fn all_characters_of_two_and_three_bytes_and_all_that_are_none() {
        for first in 0x80..=0xff {
            for second in 0..=0xff {
                check(&[first, second]);
                for third in [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff] {
                    check(&[first, second, third]);
                    if first >= 0xe0 {
                        for fourth in [b'a', 0x80, 0xbf, 0xc0] {
                            check(&[first, second, third, fourth]);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn wherever_they_stand() {
        for bytes in [
            &b"\xc3\xa9"[..],
            b"\xe2\x82\xac",
            b"\xf0\x9f\x98\x80",
            b"\xf4\x8f\xbf\xbf",
            b"\xed\x9f\xbf",
            b"\xee\x80\x80",
            b"\xc3",
            b"\xe2\x82",
            b"\xf0\x9f\x98",
            b"\xe2",
            b"\xf0\x9f",
            b"\xf0",
            b"\x80",
            b"\xc0\x80",
            b"\xc1\xbf",
            b"\xe0\x80\x80",
            b"\xe0\x9f\xbf",
            b"\xf0\x80\x80\x80",
            b"\xf0\x8f\xbf\xbf",
            b"\xed\xa0\x80",
            b"\xed\xbf\xbf",
            b"\xf4\x90\x80\x80",
            b"\xf5\x80\x80\x80",
            b"\xff",
            b"\xfe",
            b"\xc3\xa9\x80",
            b"\xe2\x82\xac\xac",
            b"\xf0\x9f\x98\x80\x80",
            b"\xc3\xc3\xa9",
            b"\xf0\x9f\x98\xe2\x82\xac",
        ] {
            check_everywhere(bytes);
        }
    }

    proptest! {
        #[test]
        fn texts(text in ".{0,200}", at in any::<usize>(), wrong in any::<u8>()) {
            check(text.as_bytes());
            let mut bytes = text.into_bytes();
            if !bytes.is_empty() {
                let at = at % bytes.len();
                bytes[at] = wrong;
                check(&bytes);
                check(&bytes[..at]);
                check(&bytes[at..]);
            }
        }

        #[test]
        fn bytes(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80..=0xff_u8, Just(0xe2), Just(0xf0)], 0..200)) {
            check(&bytes);
        }
    }
}
