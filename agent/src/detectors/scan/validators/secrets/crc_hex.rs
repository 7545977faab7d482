//! Tokens that end in eight hexadecimal digits of CRC-32. Enters: a token. Leaves: whether the digits are the checksum of what
//! stands before them. Sources: Grafana, `pkg/components/satokengen` (little-endian, over prefix and secret); Datadog SDS
//! `atlassian_token_checksum` and CredSweeper `ValueAtlassianTokenCheck` (over all before, `=` included; Bitbucket's app passwords
//! are made alike); Cloudflare documents that a checksum is there, CredSweeper `ValueCloudFlareCheck` that it is this one.

use super::{
    super::{Text, Verdict},
    secret,
};

const CHECK_DIGITS: usize = 8;

/// What stands before the digits, and the number that they write.
fn split(token: &[u8]) -> Option<(&[u8], u32)> {
    let (before, digits) = token.split_last_chunk::<CHECK_DIGITS>()?;
    Some((before, u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?))
}

/// `ATATT3…=5BB1D3C5`, `ATBB…`: the digits count for the whole token before them.
pub(super) fn atlassian(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(split(text.secret()).is_some_and(|(before, check)| crc32fast::hash(before) == check))
}

/// `glsa_…_5c3d1b2a`: the underscore before the digits does not count, and the lowest byte comes first.
pub(super) fn grafana(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(split(text.secret()).is_some_and(|(before, check)| {
        before.strip_suffix(b"_").is_some_and(|token| crc32fast::hash(token) == check.swap_bytes())
    }))
}

/// `cfut_…`: over the forty characters behind the prefix. Cloudflare does not say so itself; so another number is no refusal.
pub(super) fn cloudflare(text: &Text<'_>) -> Verdict {
    let body = text.secret().splitn(2, |byte| *byte == b'_').nth(1).unwrap_or_default();
    if split(body).is_some_and(|(before, check)| crc32fast::hash(before) == check) {
        return Verdict::Proven;
    }
    secret::token(text)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn the_digits_are_the_checksum() {
        let atlassian_token = "ATATT3xFfGF0OutflowFakeTokenNotRealAtAll=";
        let check = crc32fast::hash(atlassian_token.as_bytes());
        assert_eq!(verdict(atlassian, &format!("{atlassian_token}{check:08X}")), Verdict::Proven);
        assert_eq!(verdict(atlassian, &format!("{atlassian_token}{:08X}", check ^ 1)), Verdict::Refused);
        let grafana_token = "glsa_OutflowFakeTokenNotRealAtAll0001";
        let check = crc32fast::hash(grafana_token.as_bytes()).swap_bytes();
        assert_eq!(verdict(grafana, &format!("{grafana_token}_{check:08x}")), Verdict::Proven);
        assert_eq!(verdict(grafana, &format!("{grafana_token}_{:08x}", check.swap_bytes())), Verdict::Refused);
        let body = "OutflowFakeTokenNotRealAtAllq7Zt4Lm2Xv9";
        let check = crc32fast::hash(body.as_bytes());
        assert_eq!(verdict(cloudflare, &format!("cfut_{body}{check:08x}")), Verdict::Proven);
        assert_eq!(verdict(cloudflare, &format!("cfut_{body}{:08x}", check ^ 1)), Verdict::Plausible);
        for odd in ["", "_", "glsa_", "12345678", "ATATT3xFfGF0=ZZZZZZZZ"] {
            assert_eq!(verdict(atlassian, odd), Verdict::Refused, "{odd}");
            assert_eq!(verdict(grafana, odd), Verdict::Refused, "{odd}");
        }
    }
}
