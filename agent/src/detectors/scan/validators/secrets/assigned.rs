//! A value that stands behind the name of a service: `HEROKU_API_KEY=…`. Its pattern has said service, length and characters.
//! Enters: the match. Leaves: whether it looks random, and whether the name in front of it speaks of a secret or of something
//! that looks alike: a hash, a commit, an id. Source: the shapes of such names in package locks, logs and our own counter-examples.

use super::{
    super::{Text, Verdict},
    chance::{entropy_bits, reads_like_words},
    secret::{has_checksum_of_its_own, wordy},
    stand_in::{counts_up, distinct, stands_in},
};

/// How far before the value its name may begin, bytes.
const NAME_BYTES: usize = 48;
/// Words of a name that speak for a secret.
const SECRET_WORDS: &[&str] = &[
    "key",
    "keys",
    "apikey",
    "token",
    "tokens",
    "secret",
    "secrets",
    "password",
    "passwd",
    "pass",
    "pwd",
    "auth",
    "authorization",
    "credential",
    "credentials",
    "cred",
    "creds",
    "access",
    "pat",
    "bearer",
    "login",
    "api",
    "client",
    "oauth",
    "license",
    "consumer",
    "private",
    "reporter",
    "signing",
    "webhook",
    "appid",
];
/// Words that speak for something else.
const OTHER_WORDS: &[&str] = &[
    "sha",
    "sha1",
    "sha256",
    "sha512",
    "md5",
    "hash",
    "digest",
    "checksum",
    "sum",
    "commit",
    "etag",
    "revision",
    "rev",
    "ref",
    "integrity",
    "fingerprint",
    "blob",
    "tree",
    "trace",
    "traceid",
    "span",
    "spanid",
    "request",
    "requestid",
    "correlation",
    "version",
    "image",
    "layer",
    "container",
    "build",
    "run",
    "job",
    "pipeline",
    "deployment",
    "session",
    "event",
    "message",
    "channel",
    "user",
    "account",
    "project",
    "org",
    "organization",
    "team",
    "tenant",
    "workspace",
    "zone",
    "instance",
    "node",
    "file",
    "url",
    "uri",
    "path",
    "host",
    "domain",
    "name",
    "email",
    "page",
    "cursor",
    "number",
    "uuid",
    "guid",
    "release",
    "slug",
    "distinct",
    "anonymous",
    "device",
    "customer",
    "order",
    "item",
    "transaction",
    "issue",
    "ticket",
    "record",
    "object",
    "index",
    "cluster",
    "service",
    "site",
    "deploy",
    "stack",
    "model",
    "dashboard",
    "database",
    "bucket",
    "queue",
    "topic",
    "region",
    "salt",
];

/// The verdict of a name.
#[derive(PartialEq)]
enum Name {
    Secret,
    Other,
    Silent,
}

pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let hex = secret.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    let digits = secret.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = secret.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let enough = if hex { 2.8 } else { 3.0 };
    let upper = secret.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    // One random text of twenty characters in thirty has no digit; then both cases must be there.
    let random = (digits >= 1 || (secret.len() >= 20 && upper >= 4 && letters - upper >= 4))
        && letters >= 2
        && distinct(secret) >= 7
        && entropy_bits(secret) >= enough
        && !stands_in(secret)
        && !counts_up(secret)
        && !has_checksum_of_its_own(secret)
        && (hex || !((reads_like_words(secret) && digits <= 1) || (wordy(secret) && digits <= 4)));
    // Part of a path, a host or a file name.
    let within = matches!(text.before().last(), Some(b'/' | b'@' | b'#' | b'.' | b'-' | b'_' | b'%' | b'|'))
        || matches!(text.after(), [b'/' | b'@', ..])
        || matches!(text.after(), [b'.', next, ..] if next.is_ascii_alphanumeric());
    if !random || within {
        return Verdict::Refused;
    }
    let (name, assigned) = name(text.before());
    // What is no assignment is prose, and a UUID is most often an id: both need a word for it.
    Verdict::plausible_if(match name {
        Name::Secret => true,
        Name::Other => false,
        Name::Silent => assigned && !is_uuid(secret),
    })
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36 && memchr::memchr_iter(b'-', text).count() == 4
}

/// What the last telling word in front of the value says, and whether anything but spaces stands between them.
fn name(before: &[u8]) -> (Name, bool) {
    let near = before.get(before.len().saturating_sub(NAME_BYTES)..).unwrap_or_default();
    let end = near.iter().rposition(u8::is_ascii_alphanumeric).map_or(0, |last| last + 1);
    let (near, between) = near.split_at(end);
    let assigned = between.iter().any(|byte| !byte.is_ascii_whitespace());
    let mut last_is_id = false;
    for word in words(near).rev() {
        let lower = word.to_ascii_lowercase();
        let is_in = |list: &[&str]| list.iter().any(|known| known.as_bytes() == lower);
        // `client_id` and `access_key_id` belong to a credential, `zone_id` and `_id` do not.
        if is_in(SECRET_WORDS) {
            return (Name::Secret, assigned);
        }
        if last_is_id || is_in(OTHER_WORDS) {
            return (Name::Other, assigned);
        }
        last_is_id = lower == b"id";
    }
    (if last_is_id { Name::Other } else { Name::Silent }, assigned)
}

/// Words, parted by anything but letters and digits and before a capital that follows a small letter.
fn words(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let mut starts = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| text.get(before)).copied().unwrap_or_default();
        let hump = byte.is_ascii_uppercase() && before.is_ascii_lowercase();
        if byte.is_ascii_alphanumeric() && (hump || !before.is_ascii_alphanumeric()) {
            starts.push(at);
        }
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]).collect::<Vec<_>>();
    starts.into_iter().zip(ends).map(|(start, end)| {
        let word = text.get(start..end).unwrap_or_default();
        let length = word.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(word.len());
        word.get(..length).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str, after: &str) -> Verdict {
        let text = format!("{name}{value}{after}");
        validate(&Text { haystack: text.as_bytes(), span: name.len()..name.len() + value.len() })
    }

    #[test]
    fn names_decide() {
        const HEX: &str = "9b1d4c07e2a85f6390cb7e15d8a24f36";
        const UUID: &str = "5f0c9a1e-7b3d-4e28-9c64-1a2b8d7f3e50";
        for (name, value, expected) in [
            ("DATADOG_API_KEY=", HEX, Verdict::Plausible),
            ("datadogApiKey: '", HEX, Verdict::Plausible),
            ("adobe_client_id = ", HEX, Verdict::Plausible),
            ("\"facebook\": \"", HEX, Verdict::Plausible),
            ("my datadog key is ", HEX, Verdict::Plausible),
            ("heroku_api_key: ", UUID, Verdict::Plausible),
            ("dropbox sha256: ", HEX, Verdict::Refused),
            ("datadog.trace_id=", HEX, Verdict::Refused),
            ("datadogTraceId=", HEX, Verdict::Refused),
            ("adobe file ", HEX, Verdict::Refused),
            ("datadog version ", HEX, Verdict::Refused),
            ("\"algolia\", \"id\": \"", HEX, Verdict::Refused),
            ("heroku_app_id: ", UUID, Verdict::Refused),
            ("heroku: ", UUID, Verdict::Refused),
            ("heroku_pipeline_id: ", UUID, Verdict::Refused),
            ("heroku_key: ", "00000000-0000-0000-0000-000000000000", Verdict::Refused),
            ("datadog_key: ", "ffffffffffffffffffffffffffffffff", Verdict::Refused),
            ("datadog_key: ", "abcdefghijklmnopqrstuvwxyz123456", Verdict::Refused),
            ("datadog_key: ", "some-name-of-a-thing-in-the-code", Verdict::Refused),
            ("heroku key https://fake.invalid/", UUID, Verdict::Refused),
            ("sentry_release=", HEX, Verdict::Refused),
            ("auth0|", HEX, Verdict::Refused),
            ("github token ", "ghp_OutflowFakeWrongChecksumx1x2x3x4x5x6", Verdict::Refused),
        ] {
            assert_eq!(check(name, value, "\n"), expected, "{name}{value}");
        }
        assert_eq!(check("datadog_key: ", HEX, ".js"), Verdict::Refused);
        assert_eq!(check("datadog_key: ", HEX, "."), Verdict::Plausible);
    }

    #[test]
    fn words_part_at_humps() {
        let found: Vec<&[u8]> = words(b"__datadogApiKEY-2x ").collect();
        assert_eq!(found, [b"datadog".as_slice(), b"Api", b"KEY", b"2x"]);
        assert_eq!(words(b"").count(), 0);
    }
}
