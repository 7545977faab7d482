//! Secrets without a checksum: is it random enough, and not a placeholder, a path or a word? Sources: the shapes of placeholders
//! are those that documentation uses; the thresholds were set on our own examples (Shannon entropy of the characters, which a
//! short text cannot push far: 16 random characters of base 62 have about 3.8 bits each).

use super::super::{Text, Verdict};

/// Words that mark a value as a stand-in. Compared without case and without `_`, `-` and spaces.
const PLACEHOLDERS: &[&str] = &[
    "example",
    "changeme",
    "placeholder",
    "yourpassword",
    "yourapikey",
    "yourtoken",
    "yoursecret",
    "yourkey",
    "redacted",
    "insert",
    "replaceme",
    "dummy",
    "notarealkey",
    "xxxx",
    "0000000",
    "1111111",
    "****",
    "....",
    "<your",
    "todo",
    "fixme",
    "undefined",
    "sample",
];
/// Values that are no secret when they stand alone.
const WORDS: &[&str] = &[
    "password", "passwd", "secret", "token", "none", "null", "true", "false", "test", "admin", "root", "user", "pass",
    "string", "changeit", "guest", "default", "required", "optional", "hidden", "empty", "nil", "required", "foobar",
    "hunter2",
];

/// Shannon entropy of the bytes, bits a byte.
pub(super) fn entropy_bits(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text {
        counts[usize::from(*byte)] += 1;
    }
    let length = text.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / length;
            -share * share.log2()
        })
        .sum()
}

/// Number of different bytes.
pub(super) fn distinct(text: &[u8]) -> usize {
    let mut seen = [false; 256];
    for byte in text {
        seen[usize::from(*byte)] = true;
    }
    seen.iter().filter(|seen| **seen).count()
}

/// A stand-in: `YOUR_API_KEY`, `<token>`, `${SECRET}`, `xxxxxxxx`.
pub(super) fn is_placeholder(text: &[u8]) -> bool {
    let bare: Vec<u8> = text.iter().filter(|byte| !b"_- ".contains(byte)).map(u8::to_ascii_lowercase).collect();
    if WORDS.iter().any(|word| word.as_bytes() == bare) || distinct(&bare) < 3 {
        return true;
    }
    let template = matches!(text, [b'$' | b'%' | b'<' | b'{' | b'[', ..])
        || text.windows(2).any(|two| two == b"{{" || two == b"${");
    template || PLACEHOLDERS.iter().any(|word| memchr::memmem::find(&bare, word.as_bytes()).is_some())
}

/// The random part of a vendor's token: it only must not be a stand-in.
pub(super) fn token(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    // The prefix varies little and tells nothing; look at the last 20 characters.
    let tail = secret.get(secret.len().saturating_sub(20)..).unwrap_or_default();
    Verdict::plausible_if(distinct(tail) >= 7 && !stands_in(secret) && !counts_up(tail))
}

/// For long random text only the plain marks count: a random token may well hold `todo` somewhere.
pub(super) fn stands_in(text: &[u8]) -> bool {
    const MARKS: &[&str] =
        &["xxxxxx", "000000", "your", "replace", "placeholder", "redacted", "......", "******", "12345678901"];
    let lower = text.to_ascii_lowercase();
    MARKS.iter().any(|mark| memchr::memmem::find(&lower, mark.as_bytes()).is_some())
}

/// `abcdefghij`, `0123456789`: most neighbours are successors.
pub(super) fn counts_up(text: &[u8]) -> bool {
    let steps = text.windows(2).filter(|two| matches!(two, [a, b] if a.wrapping_add(1) == *b)).count();
    steps * 2 > text.len()
}

/// A value behind a name such as `api_key`: random characters with a digit, no path, no identifier, no word.
pub(super) fn generic(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    if is_placeholder(secret) || counts_up(secret) || is_page_token(text.before()) {
        return Verdict::Refused;
    }
    let digits = secret.iter().filter(|byte| byte.is_ascii_digit()).count();
    let upper = secret.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    let lower = secret.iter().filter(|byte| byte.is_ascii_lowercase()).count();
    if digits == 0 || upper + lower == 0 {
        return Verdict::Refused;
    }
    let hex = secret.iter().all(u8::is_ascii_hexdigit);
    let enough = if hex { 2.9 } else { 3.4 };
    // `user_profile_id_2`, `claude-3-opus`: words between separators, with hardly a digit.
    let wordy = wordy(secret) && digits <= 4;
    // A call, a field access or a path is code, not a value.
    let code = secret.iter().any(|byte| matches!(byte, b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>'))
        || secret.windows(3).any(|three| three == b"://")
        || secret.first() == Some(&b'/');
    Verdict::plausible_if(entropy_bits(secret) >= enough && !wordy && !code)
}

/// `"nextPageToken": "`, `continuation_token=`: where a listing goes on is no secret.
fn is_page_token(before: &[u8]) -> bool {
    const NEAR: usize = 40;
    let near = before.get(before.len().saturating_sub(NEAR)..).unwrap_or_default();
    let name: Vec<u8> = near.iter().filter(|byte| !b"_-".contains(byte)).map(u8::to_ascii_lowercase).collect();
    let end = name.iter().rposition(u8::is_ascii_alphanumeric).map_or(0, |last| last + 1);
    let name = name.get(..end).unwrap_or_default();
    [b"pagetoken".as_slice(), b"nexttoken", b"continuationtoken"].iter().any(|kind| name.ends_with(kind))
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

/// A password: people choose them, so entropy says little. No placeholder, no code, no prose.
pub(super) fn password(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let code = secret.iter().any(|byte| matches!(byte, b'(' | b')' | b'<' | b'>' | b'{' | b'}'))
        || secret.contains(&b' ')
        || secret.windows(2).any(|two| two == b"::")
        || matches!(secret, [b'/' | b'~' | b'.', ..]);
    let kinds = [
        u8::is_ascii_lowercase as fn(&u8) -> bool,
        u8::is_ascii_uppercase,
        u8::is_ascii_digit,
        u8::is_ascii_punctuation,
    ]
    .iter()
    .filter(|kind| secret.iter().any(kind))
    .count();
    // `self.password`, `settings.DB_PASSWORD`: a name, not a value.
    let name = secret.windows(2).any(|two| matches!(two, [a, b'.'] if a.is_ascii_alphabetic()))
        && !secret.iter().any(u8::is_ascii_digit);
    // So is `status_t`. People put dashes between the words of a passphrase, programs underscores.
    let name = name || (secret.contains(&b'_') && wordy(secret) && !secret.iter().any(u8::is_ascii_digit));
    let name = name || is_bare_word(text);
    let lower = secret.to_ascii_lowercase();
    let names_itself =
        [b"password".as_slice(), b"passwd"].iter().any(|word| memchr::memmem::find(&lower, word).is_some())
            && kinds < 3;
    Verdict::plausible_if(
        !is_placeholder(secret) && !code && !name && !names_itself && kinds >= 2 && distinct(secret) >= 5,
    )
}

/// Without quotes a word is a type, a variable or prose: `password: SecretStr`, `password = userInput`, `Password: Incorrect`.
/// In front of a host (`://user:word@host`) there are no quotes and it is a password all the same.
fn is_bare_word(text: &Text<'_>) -> bool {
    let quoted = matches!(text.before().last(), Some(b'"' | b'\'' | b'\\'));
    if quoted || text.after().first() == Some(&b'@') {
        return false;
    }
    let secret = text.secret();
    // `?` and `.` end a sentence; `Optional[str]` is a type.
    let end = secret.iter().rposition(|byte| !b".,?!:".contains(byte)).map_or(0, |last| last + 1);
    secret.iter().take(end).all(|byte| byte.is_ascii_alphabetic() || b"_[]".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn values_and_stand_ins() {
        for good in ["f3Kq9ZxT1mWv7RbY", "9f86d081884c7d659a2feaa0c55ad015", "q8-Zt4_Lm2Xv9Kd1"] {
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
        ] {
            assert_eq!(verdict(generic, bad), Verdict::Refused, "{bad}");
        }
        for good in ["Tr0ub4dor&3", "s3cr3t-Winter", "correct7horse"] {
            assert_eq!(verdict(password, good), Verdict::Plausible, "{good}");
        }
        for bad in [
            "password",
            "changeme",
            "${DB_PASSWORD}",
            "status_t",
            "mem::MaybeUninit",
            "self.password",
            "xxxxxxxx",
            "getPassword()",
            "********",
            "hunter2",
        ] {
            assert_eq!(verdict(password, bad), Verdict::Refused, "{bad}");
        }
        assert_eq!(verdict(token, "gsk_kT9vQ2xLw7RzYb4NcJ1mHs8FdPg5EaUo"), Verdict::Plausible);
        assert_eq!(verdict(token, "gsk_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), Verdict::Refused);
    }
}
