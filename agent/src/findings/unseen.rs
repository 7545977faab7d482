//! The finding about a process that talks to a vendor without being seen. Enters: an [`Unseen`]. Leaves: one occurrence of
//! `coverage.unknown_tls_stack`. Nothing of what the process says is known here.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Category, Destination, Finding, Maker, Policy, absorb::record_id, field, host, maker::blank, mask};
use crate::{
    exchange::Subject,
    sources::coverage::{How, KnownBy, Seen, Unseen},
    units::Severity,
};

/// Id of the rule.
pub const UNKNOWN_TLS_STACK: &str = "coverage.unknown_tls_stack";

/// Longest path, characters: PATH_MAX of linux/limits.h.
const MAX_PATH_CHARS: usize = 4096;
/// Hosts that a title names; the rest are counted.
const MAX_TITLE_HOSTS: usize = 2;

impl Maker {
    /// A process talks to a vendor, and nobody reads along. `vendor` is whose the first host is.
    pub fn unseen(&self, unseen: &Unseen, vendor: Option<&str>, policy: &Policy) -> Finding {
        let Unseen { at, look, hosts, to, known_by } = unseen;
        let hosts: Vec<String> = hosts.iter().map(|name| host(name)).collect();
        let seen = look.seen();
        let mut finding = blank(Subject::Unseen(unseen), UNKNOWN_TLS_STACK, &look.executable, None);
        finding.record_id = record_id(&finding.finding_id, 1);
        finding.category = Category::Coverage;
        finding.severity = Severity::Medium;
        finding.confidence = confidence(seen, *known_by);
        finding.title = field(&title(unseen, &hosts));
        policy.describe(&mut finding, UNKNOWN_TLS_STACK, (seen == Seen::Unknown).then_some("no_tls_library"), &[]);
        finding.destination = hosts.first().map(|first| Destination {
            host: first.clone(),
            vendor: vendor.map(field),
            api: "other".to_owned(),
        });
        finding.first_seen = at.rfc3339();
        finding.last_seen.clone_from(&finding.first_seen);
        let culprit = look.culprit();
        let mut facts = BTreeMap::from([
            ("coverage.seen", json!(seen)),
            ("coverage.executable", json!(mask::bounded(&look.executable, MAX_PATH_CHARS))),
            ("coverage.address", json!(to.to_string())),
            ("coverage.hosts", json!(hosts)),
            ("coverage.host_known_by", json!(known_by)),
        ]);
        if let Some(culprit) = culprit {
            facts.insert("coverage.file", json!(mask::bounded(&culprit.file, MAX_PATH_CHARS)));
            facts.insert("coverage.tls_stack", json!(field(culprit.how.stack())));
            if let How::Refused { why, .. } = &culprit.how {
                facts.insert("coverage.why", json!(field(why)));
            }
        }
        finding.attributes = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        finding
    }
}

/// An address may serve other hosts as well; so nothing here is certain.
fn confidence(seen: Seen, known_by: KnownBy) -> u8 {
    let stack: u8 = match seen {
        Seen::Refused | Seen::NotSeen => 85,
        // The connection may be one that bytes only pass through: a proxy, a health check.
        Seen::Unknown => 60,
        Seen::InPart | Seen::Attached => 50,
    };
    match known_by {
        KnownBy::HostsFile => stack,
        KnownBy::Resolver | KnownBy::Connection => stack - 15,
    }
}

fn title(unseen: &Unseen, hosts: &[String]) -> String {
    let origin = &unseen.look.origin;
    let names = [&origin.service, &origin.process];
    let name = names.into_iter().find(|name| !name.is_empty()).map_or("a process", String::as_str);
    let whom = match hosts.len().saturating_sub(MAX_TITLE_HOSTS) {
        0 => hosts.join(" or "),
        more => format!("{} or {more} more hosts", hosts.get(..MAX_TITLE_HOSTS).unwrap_or_default().join(", ")),
    };
    let how = match (unseen.look.seen(), unseen.look.culprit().map(|file| &file.how)) {
        (Seen::InPart, Some(how)) => format!("perhaps through {}, which is not tapped", how.stack()),
        (_, Some(How::Refused { stack, why })) => format!("through {stack} that cannot be tapped: {why}"),
        (_, Some(how)) => format!("through {}", how.stack()),
        (_, None) => "and no TLS library is known in it".to_owned(),
    };
    format!("{name} talks to {whom} {how}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        findings::FingerprintKey,
        sources::{
            Origin,
            coverage::{Look, TlsFile},
        },
        units::Timestamp,
    };

    fn unseen(files: Vec<How>, hosts: &[&str]) -> Unseen {
        let file = |how| TlsFile { file: "/opt/jdk/lib/server/libjvm.so".into(), how };
        Unseen {
            at: Timestamp(2_000_000_000),
            look: Look {
                origin: Origin {
                    pid: 7,
                    process: "java".into(),
                    service: "cart".into(),
                    container: None,
                    ..Origin::default()
                },
                executable: "/opt/jdk/bin/java".into(),
                inode: (1, 2),
                files: files.into_iter().map(file).collect(),
            },
            hosts: hosts.iter().map(ToString::to_string).collect(),
            to: "192.0.2.1:443".parse().unwrap(),
            known_by: KnownBy::HostsFile,
        }
    }

    fn made(files: Vec<How>, hosts: &[&str]) -> Finding {
        Maker::new(FingerprintKey::new([1; 32])).unseen(&unseen(files, hosts), Some("openai"), &Policy::default())
    }

    #[test]
    fn it_says_who_talks_to_whom_and_through_what() {
        let java = || How::NotSeen { stack: "Java (JSSE)".into() };
        let refused = || How::Refused { stack: "BoringSSL".into(), why: "two places match".into() };
        let attached = || How::Attached { stack: "OpenSSL".into() };
        let one = &["api.openai.com"][..];
        for (files, hosts, title, confidence) in [
            (vec![java()], one, "cart talks to api.openai.com through Java (JSSE)", 85),
            (
                vec![java(), refused()],
                one,
                "cart talks to api.openai.com through BoringSSL that cannot be tapped: two places match",
                85,
            ),
            (vec![], one, "cart talks to api.openai.com and no TLS library is known in it", 60),
            (
                vec![attached(), java()],
                &["a.example", "b.example"],
                "cart talks to a.example or b.example perhaps through Java (JSSE), which is not tapped",
                50,
            ),
            (
                vec![java()],
                &["a.example", "b.example", "c.example", "d.example"],
                "cart talks to a.example, b.example or 2 more hosts through Java (JSSE)",
                85,
            ),
        ] {
            let finding = made(files, hosts);
            assert_eq!((finding.title.as_str(), finding.confidence), (title, confidence));
            assert_eq!((finding.category, finding.severity), (Category::Coverage, Severity::Medium));
            assert_eq!(finding.destination.unwrap().host, hosts[0]);
        }
    }

    #[test]
    fn it_carries_the_facts_and_repeats_are_one_finding() {
        let refused = How::Refused { stack: "BoringSSL".into(), why: "two places match".into() };
        let finding = made(vec![refused], &["api.openai.com"]);
        let expected = json!({
            "coverage.seen": "refused",
            "coverage.executable": "/opt/jdk/bin/java",
            "coverage.address": "192.0.2.1:443",
            "coverage.hosts": ["api.openai.com"],
            "coverage.host_known_by": "hosts_file",
            "coverage.file": "/opt/jdk/lib/server/libjvm.so",
            "coverage.tls_stack": "BoringSSL",
            "coverage.why": "two places match",
        });
        assert_eq!(json!(finding.attributes), expected);
        assert_eq!((finding.process.pid, finding.process.service.as_str()), (7, "cart"));
        assert_eq!(finding.first_seen, "1970-01-01T00:00:02.000Z");
        let again = made(Vec::new(), &["api.openai.com"]);
        assert_eq!(again.finding_id, finding.finding_id, "how it is seen may change, what it is about does not");
        assert_ne!(made(Vec::new(), &["api.anthropic.com"]).finding_id, finding.finding_id);
    }
}
