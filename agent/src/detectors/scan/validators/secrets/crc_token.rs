//! Tokens that end in their own checksum: GitHub classic tokens and npm. The last six characters are the CRC-32 of the random
//! part (without the prefix) in base 62, digits first, then capitals, then small letters, padded with `0`. Sources: GitHub blog,
//! "Behind GitHub's new authentication token formats", 2021-04-05; GitHub blog, "Announcing npm's new access token format".

use super::super::{Text, Verdict};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECK_CHARACTERS: usize = 6;

fn base_62(mut number: u32) -> [u8; CHECK_CHARACTERS] {
    let mut out = [b'0'; CHECK_CHARACTERS];
    for place in out.iter_mut().rev() {
        *place = DIGITS.get((number % 62) as usize).copied().unwrap_or(b'0');
        number /= 62;
    }
    out
}

/// `ghp_…`, `npm_…`: a prefix up to the underscore, the random part, the checksum.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let Some(start) = secret.iter().position(|byte| *byte == b'_').map(|at| at + 1) else { return Verdict::Refused };
    let Some(body) = secret.get(start..) else { return Verdict::Refused };
    let Some((random, check)) = body.split_last_chunk::<CHECK_CHARACTERS>() else { return Verdict::Refused };
    Verdict::proven_if(!random.is_empty() && base_62(crc32fast::hash(random)) == *check)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn the_last_six_must_fit() {
        let random = "OutflowExampleTokenNotReal0001";
        let check = base_62(crc32fast::hash(random.as_bytes()));
        let check = std::str::from_utf8(&check).unwrap();
        assert_eq!(verdict(validate, &format!("ghp_{random}{check}")), Verdict::Proven);
        assert_eq!(verdict(validate, &format!("ghp_{random}000000")), Verdict::Refused);
        assert_eq!(verdict(validate, "ghp_1"), Verdict::Refused);
        assert_eq!(&base_62(0), b"000000");
        assert_eq!(&base_62(u32::MAX), b"4gfFC3");
    }
}
