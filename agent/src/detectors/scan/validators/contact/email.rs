//! E-mail addresses: of a person, at a domain that can exist. Sources: RFC 5321 §4.5.3.1 (lengths), RFC 6531 (beyond ASCII), RFC
//! 2606 and RFC 6761 (reserved names), IANA's list of top-level domains (crate `tld`); file endings that look like such are ours.

use super::super::{Text, Verdict};

/// Reserved names: `example.com` and everything below `.test`. They are no top-level domains, or nobody's.
const RESERVED: &[&str] = &["example", "test", "invalid", "localhost", "local", "internal"];
/// Mailboxes that are nobody's.
const ROLES: &[&str] =
    &["noreply", "no-reply", "no_reply", "donotreply", "do-not-reply", "mailer-daemon", "postmaster", "git"];
/// Domains that documentation invents: `you@yourcompany.com`.
const PLACEHOLDERS: &[&str] =
    &["yourdomain", "yourcompany", "your-domain", "your-company", "mydomain", "yoursite", "yourorg", "domain", "email"];
/// Top-level domains that are far more often a file's ending or a member's name: `run@build.sh`, `x@v.py`.
const FILE_ENDINGS: &[&str] = &["zip", "sh", "py", "rs", "md", "so", "mov", "map", "pl", "cc", "ps", "ml"];

/// The whole address is the secret.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let Ok(address) = std::str::from_utf8(text.secret()) else { return Verdict::Refused };
    let Some((mailbox, domain)) = address.rsplit_once('@').or_else(|| address.rsplit_once("%40")) else {
        return Verdict::Refused;
    };
    // `scheme://user:password@host` is a connection string, `git@host:path` a repository, `pkg@1.2` a version.
    let quoted = mailbox.len() > 2 && mailbox.starts_with('"') && mailbox.ends_with('"');
    let dots = mailbox.starts_with('.') || mailbox.ends_with('.') || mailbox.contains("..");
    if text.before().ends_with(b"//") || in_user_part(text.before()) || (dots && !quoted) {
        return Verdict::Refused;
    }
    let lower = domain.to_lowercase();
    let labels: Vec<&str> = lower.split('.').collect();
    let sound =
        |label: &&str| !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-');
    if labels.len() < 2 || !labels.iter().all(sound) {
        return Verdict::Refused;
    }
    let top = labels.last().copied().unwrap_or_default();
    let second = labels.len().checked_sub(2).and_then(|index| labels.get(index)).copied().unwrap_or_default();
    let exists = tld::exist(top) || (!top.is_ascii() && top.chars().all(char::is_alphabetic));
    let placeholder = labels.len() == 2 && PLACEHOLDERS.contains(&second);
    // A service's account is nobody's mailbox.
    let service = lower.ends_with(".gserviceaccount.com");
    let reserved = service || RESERVED.contains(&top) || second == "example" || placeholder;
    let role = ROLES.iter().any(|role| mailbox.eq_ignore_ascii_case(role));
    let file = FILE_ENDINGS.contains(&top) && !mailto(text.before()) && !mailbox.contains('.');
    Verdict::plausible_if(exists && !reserved && !role && !file)
}

/// The address is announced as one.
fn mailto(before: &[u8]) -> bool {
    let tail = before.get(before.len().saturating_sub(16)..).unwrap_or_default().to_ascii_lowercase();
    memchr::memmem::find(&tail, b"mail").is_some() || tail.ends_with(b"<")
}

/// `scheme://name:` stands before: what follows is a password.
fn in_user_part(before: &[u8]) -> bool {
    let tail = before.get(before.len().saturating_sub(64)..).unwrap_or_default();
    let token = tail.rsplit(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'?' | b'&')).next();
    token.is_some_and(|token| {
        memchr::memmem::find(token, b"://").is_some_and(|at| {
            token
                .get(at + 3..)
                .is_some_and(|rest| rest.ends_with(b":") && !rest.contains(&b'/') && !rest.contains(&b'@'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn people_at_real_domains() {
        for good in [
            "ada.lovelace@analytical.engine.org",
            "a+b@c-d.io",
            "\"ada lovelace\"@engine.co.uk",
            "jürgen@müller-fake.de",
            "ada%40outflow-fake.org",
            "почта@пример-фейк.рф",
            "jan.kowalski@firma.pl",
        ] {
            assert_eq!(verdict(validate, good), Verdict::Plausible, "{good}");
        }
        for bad in [
            "a@example.com",
            "a@x.test",
            "noreply@acme.com",
            "logo@2x.png",
            "a..b@acme.com",
            "a@b",
            "git@github.com",
            "a@-b.com",
            "x@unit.service",
            "you@yourcompany.com",
            "run@build.sh",
            "user@db.prod.internal",
            "svc@fake-project.iam.gserviceaccount.com",
        ] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
        for (haystack, start, expected) in [
            ("postgres://svc:word@db.fake.io", 15, Verdict::Refused),
            ("see https://x.io/?mail=ada@fake.io", 23, Verdict::Plausible),
            ("mailto:jan@firma.pl", 7, Verdict::Plausible),
        ] {
            let text = Text { haystack: haystack.as_bytes(), span: start..haystack.len() };
            assert_eq!(validate(&text), expected, "{haystack}");
        }
    }
}
