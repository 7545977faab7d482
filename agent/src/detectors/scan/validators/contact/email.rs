//! E-mail addresses: of a person, at a domain that can exist. Sources: RFC 5321 §4.5.3.1 (lengths), RFC 2606 and RFC 6761
//! (reserved names); file endings that look like top-level domains are ours.

use super::super::{Text, Verdict};

/// Reserved names: `example.com` and everything below `.test`.
const RESERVED: &[&str] = &["example", "test", "invalid", "localhost", "local", "internal"];
/// Mailboxes that are nobody's.
const ROLES: &[&str] = &["noreply", "no-reply", "donotreply", "do-not-reply", "mailer-daemon", "postmaster", "git"];
/// `logo@2x.png`, `module@1.2.3.js`: a name at the end that is a file's.
const FILE_ENDINGS: &[&str] = &[
    "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "mjs", "ts", "tsx", "jsx", "json", "html", "htm",
    "xml", "yaml", "yml", "toml", "txt", "log", "lock", "map", "wasm", "jar", "gz", "zip", "exe", "dll", "so",
    "service", "timer",
];

/// The whole address is the secret.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let Ok(address) = std::str::from_utf8(text.secret()) else { return Verdict::Refused };
    let Some((mailbox, domain)) = address.rsplit_once('@') else { return Verdict::Refused };
    // `scheme://user:password@host` is a connection string, `git@host:path` a repository.
    if text.before().ends_with(b"//") || mailbox.starts_with('.') || mailbox.ends_with('.') || mailbox.contains("..") {
        return Verdict::Refused;
    }
    let lower = domain.to_ascii_lowercase();
    let labels: Vec<&str> = lower.split('.').collect();
    let sound =
        |label: &&str| !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-');
    if labels.len() < 2 || !labels.iter().all(sound) {
        return Verdict::Refused;
    }
    let top = labels.last().copied().unwrap_or_default();
    let second = labels.len().checked_sub(2).and_then(|index| labels.get(index)).copied().unwrap_or_default();
    let reserved = RESERVED.contains(&top) || second == "example" || lower.starts_with("your");
    let role = ROLES.iter().any(|role| mailbox.eq_ignore_ascii_case(role));
    let numeric = !top.bytes().all(|byte| byte.is_ascii_alphabetic());
    Verdict::plausible_if(!reserved && !role && !numeric && !FILE_ENDINGS.contains(&top))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn people_at_real_domains() {
        for good in ["ada.lovelace@analytical.engine.org", "a+b@c-d.io"] {
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
        ] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
