//! Secrets without a checksum: is it random enough, and not a placeholder, a path or a word? Enters: a match and what stands around
//! it. Leaves: a verdict. Sources: the thresholds were set on our own generated texts (`tests/accuracy/`, seed `tune`).

use super::{
    super::{Text, Verdict},
    chance::reads_like_words,
};
pub(super) use super::{
    chance::entropy_bits,
    stand_in::{counts_up, distinct, is_placeholder, is_reference, stands_in},
};

/// The random part of a vendor's token: it only must not be a stand-in.
pub(super) fn token(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    // The prefix varies little and tells nothing; look at the last 20 characters.
    let tail = secret.get(secret.len().saturating_sub(20)..).unwrap_or_default();
    Verdict::plausible_if(distinct(tail) >= 7 && !stands_in(secret) && !counts_up(tail))
}

/// Tokens of these kinds have a rule of their own that knows their checksum: what that rule refuses is no secret of a general kind.
/// Sources: GitHub's and npm's token formats (36 characters behind the prefix), Atlassian's (`ATATT3`, `ATCTT3`, `ATBB`), Grafana's
/// (`glsa_`) and GitLab's routable ones (with a point); see `crc_token`, `crc_hex` and `gitlab`.
pub(super) fn has_checksum_of_its_own(secret: &[u8]) -> bool {
    match secret {
        [b'g', b'h', b'p' | b'o' | b'u' | b's' | b'r', b'_', rest @ ..] | [b'n', b'p', b'm', b'_', rest @ ..] => {
            rest.len() == 36 && rest.iter().all(u8::is_ascii_alphanumeric)
        }
        [b'A', b'T', b'A' | b'C', b'T', b'T', b'3', ..] => true,
        [b'A', b'T', b'B', b'B', rest @ ..] => rest.len() == 32,
        [b'g', b'l', b's', b'a', b'_', rest @ ..] => rest.len() == 41,
        [b'g', b'l', rest @ ..] => rest.contains(&b'-') && rest.contains(&b'.'),
        _ => false,
    }
}

/// A value behind a name such as `api_key`: random characters, no path, no identifier, no word.
pub(super) fn generic(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(is_random(text.secret()) && !is_code(text) && !names_something_else(text.before()))
}

/// As [`generic`], where the name only says that it is a key: caches and tables have keys too, in hexadecimal.
pub(super) fn mixed(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let has = |is: fn(&u8) -> bool| secret.iter().any(is);
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    if mixed && entropy_bits(secret) >= 3.6 { generic(text) } else { Verdict::Refused }
}

/// Random enough for a value that somebody calls a secret.
pub(super) fn is_random(secret: &[u8]) -> bool {
    /// From here on a value is long enough for its entropy to say something.
    const LONG: usize = 16;
    if is_placeholder(secret) || is_reference(secret) || counts_up(secret) || has_checksum_of_its_own(secret) {
        return false;
    }
    let count = |is: fn(&u8) -> bool| secret.iter().filter(|byte| is(byte)).count();
    let digits = count(u8::is_ascii_digit);
    let (upper, lower) = (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    if upper + lower == 0 || reads_like_words(secret) {
        return false;
    }
    // Letters alone are a word more often than a secret, unless they are many and of both cases.
    if digits == 0 && (secret.len() < 20 || upper < 4 || lower < 4) {
        return false;
    }
    // `user_profile_id_2`, `claude-3-opus`: words between separators, with hardly a digit.
    if wordy(secret) && digits <= 4 {
        return false;
    }
    let hex = secret.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    let enough = match (hex, secret.len() >= LONG) {
        (true, _) => 2.9,
        (false, true) => 3.4,
        // Shorter ones must have next to no character twice, and be no name with a number.
        (false, false) => 3.1,
    };
    let short_enough = secret.len() >= LONG || (digits >= 2 && digits_are_inside(secret));
    entropy_bits(secret) >= enough && short_enough
}

/// `abc1d2` and not `name12`.
fn digits_are_inside(secret: &[u8]) -> bool {
    let turns =
        secret.windows(2).filter(|two| matches!(two, [a, b] if a.is_ascii_digit() != b.is_ascii_digit())).count();
    turns >= 3
}

/// A call, a field access or a path is code, not a value.
fn is_code(text: &Text<'_>) -> bool {
    let secret = text.secret();
    let path = secret.first() == Some(&b'/') && memchr::memchr_iter(b'/', secret).count() >= 2;
    path || secret.iter().any(|byte| matches!(byte, b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>'))
        || matches!(text.after().first(), Some(b'(' | b'['))
}

/// The name before the value says that it is no secret: `"nextPageToken": "`, `continuation_token=`, a part of an ARN.
fn names_something_else(before: &[u8]) -> bool {
    const NEAR: usize = 90;
    const NAMES: [&[u8]; 9] = [
        b"pagetoken",
        b"nexttoken",
        b"continuationtoken",
        b"synctoken",
        b"tokencount",
        b"tokentype",
        b"publictoken",
        b"cachekey",
        b"idempotencykey",
    ];
    let near = before.get(before.len().saturating_sub(NEAR)..).unwrap_or_default();
    let word = near.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default();
    if memchr::memmem::find(word, b"arn:").is_some() {
        return true;
    }
    let name: Vec<u8> = near.iter().filter(|byte| !b"_-".contains(byte)).map(u8::to_ascii_lowercase).collect();
    let end = name.iter().rposition(u8::is_ascii_alphanumeric).map_or(0, |last| last + 1);
    let name = name.get(..end).unwrap_or_default();
    // The id of a key is public; that of an access key is half of a login, and some vendors' rules do not know it.
    let id = name.ends_with(b"keyid") && !name.ends_with(b"accesskeyid");
    id || NAMES.iter().any(|kind| name.ends_with(kind))
}

/// Two or more parts between separators, and each is a word of one case or a short number.
pub(super) fn wordy(text: &[u8]) -> bool {
    let mut parts = 0;
    let all = text.split(|byte| matches!(byte, b'_' | b'-' | b'.' | b'/' | b':')).all(|part| {
        parts += 1;
        let word = part.iter().all(u8::is_ascii_lowercase)
            || part.iter().all(u8::is_ascii_uppercase)
            || (part.first().is_some_and(u8::is_ascii_uppercase) && part.iter().skip(1).all(u8::is_ascii_lowercase));
        word || (part.len() <= 4 && part.iter().all(u8::is_ascii_alphanumeric))
    });
    all && parts >= 2
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn values_and_stand_ins() {
        for good in [
            "f3Kq9ZxT1mWv7RbY",
            "9f86d081884c7d659a2feaa0c55ad015",
            "q8-Zt4_Lm2Xv9Kd1",
            "kq3Zx9TmW2b7",
            "tQzKxWvbRpLmGhJdYcVb",
            "550e8400-e29b-41d4-a716-44665544fa6e",
        ] {
            assert_eq!(verdict(generic, good), Verdict::Plausible, "{good}");
        }
        for bad in [
            "YOUR_API_KEY_HERE1",
            "user_profile_id_2",
            "claude-3-opus-latest",
            "ctrl+shift+down",
            "${API_KEY_1}",
            "/etc/ssl/private/key1",
            "aaaaaaaaaaaaaaa1",
            "abcdefghijklmnop1",
            "os.environ['KEY1']",
            "12345678901234567890",
            "userProfileTokenProvider2",
            "AuthenticationManager",
            "ghp_OutflowFakeOutflowFakeOutflowFake123",
            "session2026a",
        ] {
            assert_eq!(verdict(generic, bad), Verdict::Refused, "{bad}");
        }
        assert_eq!(verdict(token, "gsk_kT9vQ2xLw7RzYb4NcJ1mHs8FdPg5EaUo"), Verdict::Plausible);
        assert_eq!(verdict(token, "gsk_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), Verdict::Refused);
    }

    #[test]
    fn the_name_in_front_counts() {
        for (text, expected) in [
            ("{\"nextPageToken\": \"f3Kq9ZxT1mWv7RbY", Verdict::Refused),
            ("arn:aws:secretsmanager:eu-west-1:1:secret:f3Kq9ZxT1mWv7RbY", Verdict::Refused),
            ("{\"private_key_id\": \"f3Kq9ZxT1mWv7RbY", Verdict::Refused),
            ("{\"token\": \"f3Kq9ZxT1mWv7RbY", Verdict::Plausible),
        ] {
            let start = text.len() - 16;
            assert_eq!(generic(&Text { haystack: text.as_bytes(), span: start..text.len() }), expected, "{text}");
        }
    }
}
