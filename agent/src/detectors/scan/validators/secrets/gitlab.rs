//! GitLab tokens. Enters: a token with its prefix. Leaves: for routable tokens whether their checksum holds, for the others
//! whether they look random. Source: GitLab, `lib/authn/token_field` (decoder and generator of routable tokens): behind the last
//! dot stand two characters with the payload's length and seven with the CRC-32 of all before, in base 36, padded with `0`.

use super::{
    super::{Text, Verdict},
    secret,
};

/// Characters of the checksum.
const CHECK_CHARACTERS: usize = 7;
/// Characters behind the last dot.
const TAIL_CHARACTERS: usize = CHECK_CHARACTERS + 2;

/// With a dot it is routable.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let token = text.secret();
    let Some(dot) = memchr::memrchr(b'.', token) else { return secret::token(text) };
    if token.len() - dot - 1 != TAIL_CHARACTERS {
        return Verdict::Refused;
    }
    let Some((before, check)) = token.split_last_chunk::<CHECK_CHARACTERS>() else { return Verdict::Refused };
    let number = std::str::from_utf8(check).ok().and_then(|check| u64::from_str_radix(check, 36).ok());
    Verdict::proven_if(number == Some(u64::from(crc32fast::hash(before))))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    fn base_36(mut number: u32) -> String {
        let mut out = Vec::new();
        while number > 0 || out.len() < CHECK_CHARACTERS {
            out.insert(0, b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]);
            number /= 36;
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn routable_tokens_carry_their_checksum() {
        for start in
            ["glpat-T3V0ZmxvdyBmYWtlIHRva2VuLCBub3QgcmVhbA.01.1a", "glrt-t3_T3V0ZmxvdyBmYWtlIHRva2VuLCBub3QgcmVhbA.1a"]
        {
            let check = crc32fast::hash(start.as_bytes());
            assert_eq!(verdict(validate, &format!("{start}{}", base_36(check))), Verdict::Proven, "{start}");
            assert_eq!(verdict(validate, &format!("{start}{}", base_36(check ^ 1))), Verdict::Refused, "{start}");
        }
        assert_eq!(verdict(validate, "glpat-OutflowFakeqW3rT9xZ"), Verdict::Plausible);
        assert_eq!(verdict(validate, "glpat-xxxxxxxxxxxxxxxxxxxx"), Verdict::Refused);
        assert_eq!(verdict(validate, "glpat-OutflowFake.short"), Verdict::Refused);
    }
}
