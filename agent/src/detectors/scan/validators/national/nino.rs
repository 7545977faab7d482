//! United Kingdom, National Insurance number: letters that are not issued. Source: HMRC, NIM39110.

use super::super::{Text, Verdict};

/// See the module.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    const NOT_FIRST: &[u8] = b"DFIQUV";
    const NOT_SECOND: &[u8] = b"DFIOQUV";
    const NOT_TOGETHER: [&[u8; 2]; 7] = [b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"];
    let [first, second, ..] = text.secret() else { return Verdict::Refused };
    let refused = NOT_FIRST.contains(first)
        || NOT_SECOND.contains(second)
        || NOT_TOGETHER.iter().any(|pair| pair.as_slice() == [*first, *second]);
    Verdict::plausible_if(!refused)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn check_digits() {
        assert_ne!(verdict(validate, "AB123456C"), Verdict::Refused);
        assert_eq!(verdict(validate, "GB123456C"), Verdict::Refused);
    }
}
