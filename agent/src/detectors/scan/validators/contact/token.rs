//! Tokens in addresses: random, and long enough to be one. Source: OWASP, "Session management cheat sheet" (at least 64 bits).

use super::super::{Text, Verdict};

/// Distinct characters that a random value of sixteen has, at the least.
const MIN_DISTINCT: usize = 8;
/// Values that say that there is none.
const NONE: &[&[u8]] =
    &[b"undefined", b"deleted", b"example", b"your", b"xxxx", b"redacted", b"placeholder", b"changeme"];

/// See the module.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let lower = secret.to_ascii_lowercase();
    let distinct = lower
        .iter()
        .enumerate()
        .filter(|(index, byte)| !lower.get(..*index).unwrap_or_default().contains(byte))
        .count();
    let digits = secret.iter().filter(|byte| byte.is_ascii_digit()).count();
    let none = NONE.iter().any(|word| memchr::memmem::find(&lower, word).is_some());
    Verdict::plausible_if(distinct >= MIN_DISTINCT && digits >= 2 && !none)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn random_values_alone() {
        for good in ["8f14e45fceea167a5a36dedd4bea2543", "s%3AOutflowFake3kd92mfLq.x81"] {
            assert_eq!(verdict(validate, good), Verdict::Plausible, "{good}");
        }
        for bad in ["00000000000000000000", "your-session-id-123456", "sessiontokenvalue", ""] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
