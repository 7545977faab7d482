//! AWS credentials. Sources: AWS IAM user guide, "IAM identifiers" (prefixes of unique ids); AWS security blog, "A safer way to
//! distribute AWS credentials to EC2" (the lengths 20 and 40). The account number that newer key ids hold is not checked: older
//! ids hold none, and refusing them would lose real keys.

use super::{
    super::{Text, Verdict},
    secret::{distinct, entropy_bits, is_placeholder},
};

/// `AKIA` and 16 characters of base 32.
pub(super) fn access_key(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let body = secret.get(4..).unwrap_or_default();
    Verdict::plausible_if(distinct(body) >= 7 && !is_placeholder(body))
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
        assert_eq!(verdict(access_key, "AKIAXXXXXXXXXXXXXXXX"), Verdict::Refused);
        assert_eq!(verdict(secret_key, "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"), Verdict::Plausible);
        for bad in ["da39a3ee5e6b4b0d3255bfef95601890afd80709", "src/main/java/com/acme/App1/service/Impl"] {
            assert_eq!(verdict(secret_key, bad), Verdict::Refused, "{bad}");
        }
    }
}
