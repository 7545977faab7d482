//! Names of machines that only the own network knows. Sources: RFC 6762 appendix G (names in use inside), RFC 8375 (`home.arpa`),
//! ICANN, ".internal" (2024); Kubernetes, "DNS for services and pods"; AWS, "EC2 instance hostname types".

use super::super::{Text, Verdict};

/// Labels that are everybody's, or no name at all.
const DULL: &[&str] = &[
    "localhost",
    "example",
    "foo",
    "bar",
    "test",
    "www",
    "your",
    "my",
    "hostname",
    "this",
    "self",
    "window",
    "com",
    "org",
    "net",
    "java",
    "javax",
    "io",
    "sun",
    "android",
    "kotlin",
    "github",
    "web",
    "app",
    "config",
    "settings",
    "golang",
    "k8s",
];
/// Files and code end like names: `settings.local`, `obj.internal`.
const MIN_LABELS: usize = 2;

/// How far a password may stand from the host of a connection string.
const NEAR_BYTES: usize = 160;

/// A name below one of the suffixes; the pattern knows these.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let Ok(name) = std::str::from_utf8(text.secret()) else { return Verdict::Refused };
    let lower = name.to_ascii_lowercase();
    let labels: Vec<&str> = lower.split('.').collect();
    let sound = labels.iter().all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
    let dull = labels.first().is_some_and(|first| DULL.contains(first));
    // A mailbox, a path and a member of something are told elsewhere or not at all.
    let joined = matches!(text.before().last(), Some(b'@' | b'.' | b'-' | b'_' | b'$'))
        || matches!(text.after(), [b'.' | b'-', next, ..] if next.is_ascii_alphanumeric())
        || matches!(text.after().first(), Some(b'(' | b'_' | b'@'));
    let own_rule = in_connection_string(text);
    let tells = labels.len() > MIN_LABELS
        || labels.first().is_some_and(|first| first.contains('-') || first.bytes().any(|byte| byte.is_ascii_digit()));
    Verdict::plausible_if(sound && !dull && !joined && !own_rule && tells)
}

/// A connection string with its password is told as a whole, by a rule of its own.
fn in_connection_string(text: &Text<'_>) -> bool {
    let before = text.before();
    let near = before.get(before.len().saturating_sub(NEAR_BYTES)..).unwrap_or_default();
    let after = text.after().get(..NEAR_BYTES).unwrap_or(text.after());
    let holds = |part: &[u8]| {
        let lower = part.to_ascii_lowercase();
        [&b"password"[..], b"pwd="].iter().any(|word| memchr::memmem::find(&lower, word).is_some())
    };
    // `host:port:database:user:password`, `user/password@//host`.
    let port = after.strip_prefix(b":").map_or(0, |rest| rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
    before.ends_with(b"@//") || (port > 0 && after.get(port + 1) == Some(&b':')) || holds(near) || holds(after)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn names_that_tell_a_machine() {
        for good in ["db01.corp", "ip-10-0-3-17.ec2.internal", "vault.prod.svc.cluster.local", "gitlab.acme.lan"] {
            assert_eq!(verdict(validate, good), Verdict::Plausible, "{good}");
        }
        for bad in ["localhost.local", "settings.local", "a..corp", "-x.corp", "window.foo.internal"] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
        assert_eq!(validate(&Text { haystack: b"ada@mx1.corp", span: 4..12 }), Verdict::Refused);
        assert_eq!(validate(&Text { haystack: b"db01.corp:5432:app:svc:word", span: 0..9 }), Verdict::Refused);
        assert_eq!(validate(&Text { haystack: b"db01.corp;Password=word", span: 0..9 }), Verdict::Refused);
        assert_eq!(validate(&Text { haystack: b"db01.corp()", span: 0..9 }), Verdict::Refused);
    }
}
