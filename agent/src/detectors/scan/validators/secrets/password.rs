//! Passwords: people choose them, so entropy says little. Enters: a match and what stands around it. Leaves: a verdict: no placeholder,
//! no code, no prose. How much is asked of a value depends on how plainly the text says that it is one.

use super::{
    super::{Text, Verdict},
    chance::reads_like_words,
    secret::{has_checksum_of_its_own, wordy},
    stand_in::{counts_up, distinct, is_placeholder, is_reference},
};

/// Words with a digit that stand behind "password" in prose: `password is base64-encoded`.
const TERMS: &[&str] = &[
    "base64", "base32", "sha1", "sha-1", "sha256", "sha-256", "sha512", "sha-512", "md5", "utf8", "utf-8", "argon2",
    "oauth2", "pbkdf2", "bcrypt", "scrypt", "http2", "ipv4", "ipv6", "rfc", "pkcs",
];
/// Shortest value that may be a password where the text does not say so in so many words.
const MIN_BYTES: usize = 6;

/// How many of lower case, upper case, digits and the rest a value has.
fn kinds(secret: &[u8]) -> usize {
    [u8::is_ascii_lowercase as fn(&u8) -> bool, u8::is_ascii_uppercase, u8::is_ascii_digit, u8::is_ascii_punctuation]
        .iter()
        .filter(|kind| secret.iter().any(kind))
        .count()
}

/// `password=`, `"password": "…"`.
pub(super) fn assigned(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    Verdict::plausible_if(
        is_value(secret) && !is_code(text) && !is_bare_word(text) && !is_capitalised(secret) && kinds(secret) >= 2,
    )
}

/// Between quotes, behind an equals sign or a colon: what stands there is text and no code, but it may be a label of a form.
pub(super) fn quoted(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let label = reads_like_words(secret) && secret.iter().all(|byte| !byte.is_ascii_digit());
    let call = secret.ends_with(b"()") || secret.windows(2).any(|two| two == b"::");
    Verdict::plausible_if(is_value(secret) && !label && !call && !is_name(secret) && kinds(secret) >= 2)
}

/// Said in a sentence, or behind a blank alone: `my password is …`, `login x password …`.
pub(super) fn spoken(text: &Text<'_>) -> Verdict {
    let secret = trimmed(text.secret());
    // Most of what stands behind a password in prose is a word.
    if !secret.iter().any(u8::is_ascii_digit) || !secret.iter().any(u8::is_ascii_alphabetic) {
        return Verdict::Refused;
    }
    // "password is", "password:" or a language's word for it says it plainly; a mere blank does not.
    let plain =
        !matches!(text.before(), [.., b'd' | b'D' | b'e' | b'E' | b't' | b'T', b' ' | b'\t']) || says_so(text.before());
    let lower = secret.to_ascii_lowercase();
    let term = TERMS.iter().any(|term| lower.starts_with(term.as_bytes()));
    let enough = if plain { 2 } else { 3 };
    Verdict::plausible_if(is_value(secret) && !is_code(text) && !term && kinds(secret) >= enough)
}

/// In a connection string or a URI in front of a host. Everything is a password there but a stand-in: also a plain word.
pub(super) fn of_connection(text: &Text<'_>) -> Verdict {
    connects(text.secret(), text.before())
}

fn connects(secret: &[u8], before: &[u8]) -> Verdict {
    let lower = secret.to_ascii_lowercase();
    let names_itself = [b"pass".as_slice(), b"secret", b"user", b"pwd"]
        .iter()
        .any(|word| memchr::memmem::find(&lower, word).is_some() && kinds(secret) < 3);
    // `guest:guest@`
    let same_as_user = before
        .strip_suffix(b":")
        .is_some_and(|user| user.to_ascii_lowercase().ends_with(&lower) && user.len() >= lower.len());
    let plausible = !is_placeholder(secret)
        && !is_reference(secret)
        && !has_checksum_of_its_own(secret)
        && !names_itself
        && !same_as_user
        && distinct(secret) >= 4
        && !counts_up(secret)
        && !secret.ends_with(b"()")
        && !secret.iter().any(|byte| matches!(byte, b'{' | b'}' | b'<' | b'>'));
    Verdict::plausible_if(plausible)
}

/// `;Password=` in a connection string: the text before it must be one, and then everything but a stand-in is a password.
pub(super) fn of_database(text: &Text<'_>) -> Verdict {
    /// How far before the password the host or the user may stand, bytes.
    const NEAR: usize = 400;
    const KEYS: [&[u8]; 12] = [
        b"server=",
        b"host=",
        b"data source=",
        b"addr=",
        b"address=",
        b"uid=",
        b"user id=",
        b"username=",
        b"dsn=",
        b"jdbc:",
        b"user=",
        b"hostaddr=",
    ];
    let near = text.before().get(text.before().len().saturating_sub(NEAR)..).unwrap_or_default();
    let line = near.rsplit(|byte| *byte == b'\n').next().unwrap_or_default().to_ascii_lowercase();
    let known = KEYS.iter().any(|key| {
        memchr::memmem::find_iter(&line, key).any(|at| {
            let behind = line.get(at + key.len()).copied().unwrap_or(b';');
            !matches!(behind, b';' | b' ' | b'&' | b'\'' | b'"')
        })
    });
    if !known {
        return Verdict::Refused;
    }
    // ODBC's braces around a value; one that ends inside is written twice.
    if text.before().ends_with(b"{") && !text.secret().contains(&b'{') {
        let unbraced: Vec<u8> = text.secret().iter().copied().filter(|byte| *byte != b'}').collect();
        return connects(&unbraced, text.before());
    }
    of_connection(text)
}

/// Without the marks that end a sentence.
fn trimmed(secret: &[u8]) -> &[u8] {
    let end = secret.iter().rposition(|byte| !b".,?!:;".contains(byte)).map_or(0, |last| last + 1);
    secret.get(..end).unwrap_or_default()
}

/// It ends in a verb or a sign that introduces a value.
fn says_so(before: &[u8]) -> bool {
    let near = before.get(before.len().saturating_sub(10)..).unwrap_or_default().to_ascii_lowercase();
    [b" is ".as_slice(), b" ist ", b" est ", b" lautet ", b" es ", b" to ", b": ", b"= "]
        .iter()
        .any(|end| near.ends_with(end))
}

/// Long enough, varied enough, and neither a stand-in nor the name of the place where the password is.
fn is_value(secret: &[u8]) -> bool {
    let lower = secret.to_ascii_lowercase();
    let names_itself = [b"password".as_slice(), b"passwd", b"passphrase"]
        .iter()
        .any(|word| memchr::memmem::find(&lower, word).is_some() && (kinds(secret) < 3 || wordy(secret)));
    secret.len() >= MIN_BYTES
        && !is_placeholder(secret)
        && !is_reference(secret)
        && !names_itself
        && !counts_up(secret)
        && !has_checksum_of_its_own(secret)
        && distinct(secret) >= 5
        && secret.iter().any(u8::is_ascii_alphabetic)
}

/// A call, a type, a path.
fn is_code(text: &Text<'_>) -> bool {
    let secret = text.secret();
    secret.iter().any(|byte| matches!(byte, b'(' | b')' | b'<' | b'>' | b'{' | b'}'))
        || secret.windows(2).any(|two| two == b"::" || two == b"->")
        || matches!(secret, [b'/' | b'~' | b'.', ..])
        || matches!(text.after().first(), Some(b'(' | b'['))
        || is_name(secret)
}

/// `self.password`, `settings.DB_PASSWORD`, `status_t`: a name, not a value. People put dashes between the words of a passphrase,
/// programs underscores.
fn is_name(secret: &[u8]) -> bool {
    let digit = secret.iter().any(u8::is_ascii_digit);
    let dotted = secret.windows(2).any(|two| matches!(two, [a, b'.'] if a.is_ascii_alphabetic()));
    !digit && (dotted || (secret.contains(&b'_') && wordy(secret)))
}

/// `Passwort`, `Required`: one word as a label of a form has it.
fn is_capitalised(secret: &[u8]) -> bool {
    matches!(secret, [first, rest @ ..] if first.is_ascii_uppercase() && rest.iter().all(u8::is_ascii_lowercase))
}

/// Without quotes a word is a type, a variable or prose: `password: SecretStr`, `password = userInput`, `Password: Incorrect`.
fn is_bare_word(text: &Text<'_>) -> bool {
    // So it does between the tags of XML.
    if matches!(text.before().last(), Some(b'"' | b'\'' | b'\\' | b'`' | b'>')) {
        return false;
    }
    // `?` and `.` end a sentence; `Optional[str]` is a type.
    trimmed(text.secret()).iter().all(|byte| byte.is_ascii_alphabetic() || b"_[]|".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    fn check(validator: super::super::super::Validator, text: &str, expected: Verdict) {
        let start = text.find('»').unwrap();
        let bare = text.replace('»', "");
        let end = bare[start..].find('«').map_or(bare.len(), |at| start + at);
        let bare = bare.replace('«', "");
        let found = validator(&Text { haystack: bare.as_bytes(), span: start..end });
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn assigned_values_are_told_from_code() {
        for good in ["Tr0ub4dor&3", "s3cr3t-Winter", "correct7horse", "x9-fake", "pa$$w0rd-77-Moon"] {
            assert_eq!(verdict(assigned, good), Verdict::Plausible, "{good}");
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
            "userInput",
            "config.password1",
            "/run/secrets/db1",
            "vault:kv/db#pass1",
            "12:30:44",
        ] {
            assert_eq!(verdict(assigned, bad), Verdict::Refused, "{bad}");
        }
    }

    #[test]
    fn sentences_hold_few_passwords() {
        for good in ["my password is »Summer-2031x", "Passwort ist »4mb3r!740, oder", "login demo password »Gxp3A!kq"]
        {
            check(spoken, &good.replace(", oder", "«, oder"), Verdict::Plausible);
        }
        for bad in [
            "the password is »required.",
            "password is »base64-encoded",
            "password »authentication",
            "password »expires14",
            "the password is »12«, characters",
        ] {
            check(spoken, bad, Verdict::Refused);
        }
    }

    #[test]
    fn in_front_of_a_host_words_are_passwords_too() {
        for good in ["postgres://app:»lemonade«@db", "redis://:»Fake-9x«@db"] {
            check(of_connection, good, Verdict::Plausible);
        }
        for bad in [
            "amqp://guest:»guest«@mq",
            "amqp://tom:»tom«@mq",
            "mysql://u:»password«@db",
            "mysql://u:»mypassword«@db",
            "mysql://u:»${PASS}«@db",
            "x://a:»ghp_OutflowFakeOutflowFakeOutflowFake123«@github.com",
        ] {
            check(of_connection, bad, Verdict::Refused);
        }
    }

    #[test]
    fn a_label_of_a_form_is_no_password() {
        for good in ["Plain7-value", "Xk9#mQ2;vL", "a b".replace(' ', "-7x-").as_str()] {
            assert_eq!(verdict(quoted, good), Verdict::Plausible, "{good}");
        }
        for bad in ["Passwort", "Kennwort-vergessen", "getSecret()", "settings.db.password"] {
            assert_eq!(verdict(quoted, bad), Verdict::Refused, "{bad}");
        }
    }
}
