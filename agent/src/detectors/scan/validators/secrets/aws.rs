//! AWS credentials. Sources: AWS IAM user guide, "IAM identifiers" (prefixes of unique ids); AWS security blog, "A safer way to
//! distribute AWS credentials to EC2" (the lengths 20 and 40); Aidan Steele, "AWS Access Key ID formats" and Tal Be'ery, "A short note
//! on AWS key ID" (newer ids hold the account number: 40 of the first 48 bits behind the prefix). Older ids hold none, so an
//! account number proves an id and its absence refuses none.

use super::{
    super::{Text, Verdict},
    secret::{distinct, entropy_bits, is_placeholder},
};

/// `AKIA` and 16 characters, of base 32 in all ids that AWS has issued; people who invent ids use the other digits too.
pub(super) fn access_key(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let body = secret.get(4..).unwrap_or_default();
    if distinct(body) < 7 || is_placeholder(body) {
        return Verdict::Refused;
    }
    if account(body).is_some() { Verdict::Proven } else { Verdict::Plausible }
}

/// The account number inside, when it is one of twelve digits.
fn account(body: &[u8]) -> Option<u64> {
    const MAX_ACCOUNT: u64 = 999_999_999_999;
    let mut bits: u64 = 0;
    for (place, byte) in body.iter().enumerate() {
        let five = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return None,
        };
        // Ten characters are more than 48 bits; the rest must only be base 32.
        if place < 10 {
            bits = bits << 5 | u64::from(five);
        }
    }
    // Fifty bits: the first belongs to the id, the next forty are the account, nine more are left.
    let account = bits >> 9 & 0xff_ffff_ffff;
    (1..=MAX_ACCOUNT).contains(&account).then_some(account)
}

/// Forty characters of base 64: not a git commit (hex), not a path, with the variety of random bytes.
pub(super) fn secret_key(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let has = |kind: fn(&u8) -> bool| secret.iter().any(kind);
    let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    // Base64 of random bytes holds one slash in 64 characters; a path holds many.
    let slashes = memchr::memchr_iter(b'/', secret).count();
    Verdict::plausible_if(mixed && slashes <= 5 && entropy_bits(secret) >= 4.0 && !is_placeholder(secret))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn variety_decides() {
        assert_eq!(verdict(access_key, "AKIAQZ3TOUTFLOWDEM05"), Verdict::Plausible);
        // 123456789012 behind one set bit, in base 32 by hand.
        assert_eq!(account(b"RZPUZDIKKVFAKE23"), Some(123_456_789_012));
        assert_eq!(verdict(access_key, "AKIARZPUZDIKKVFAKE23"), Verdict::Proven);
        assert_eq!(verdict(access_key, "AKIAXXXXXXXXXXXXXXXX"), Verdict::Refused);
        assert_eq!(verdict(secret_key, "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"), Verdict::Plausible);
        for bad in ["da39a3ee5e6b4b0d3255bfef95601890afd80709", "src/main/java/com/acme/App1/service/Impl"] {
            assert_eq!(verdict(secret_key, bad), Verdict::Refused, "{bad}");
        }
    }
}
