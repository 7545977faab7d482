//! The finding about connections to a vendor that do not come about. Enters: a [`FailedHandshake`]. Leaves: one occurrence of
//! `vendor.handshake_failed`. No certificate is known here, only the number by which the client was told what is wrong with it.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Category, Destination, Finding, Maker, Policy, absorb::record_id, field, host, maker::blank};
use crate::{
    exchange::Subject,
    sources::handshake::{FailedHandshake, verify_error},
    units::Severity,
};

/// Id of the rule.
pub const HANDSHAKE_FAILED: &str = "vendor.handshake_failed";

impl Maker {
    /// Connections of a process to a vendor do not come about.
    pub fn handshake(&self, failed: &FailedHandshake, vendor: Option<&str>, policy: &Policy) -> Finding {
        let FailedHandshake { at, origin, refused, failed: count, since, .. } = failed;
        let name = host(&failed.host);
        let mut finding = blank(Subject::Handshake(failed), HANDSHAKE_FAILED, "", None);
        finding.record_id = record_id(&finding.finding_id, 1);
        finding.category = Category::of_behaviour(HANDSHAKE_FAILED);
        // Clients also open connections that they do not use, and give up on those that take too long.
        (finding.severity, finding.confidence) =
            if refused.is_some() { (Severity::High, 95) } else { (Severity::Medium, 60) };
        let service = [&origin.service, &origin.process].into_iter().find(|name| !name.is_empty());
        let service = service.map_or("a process", String::as_str);
        let reason = refused
            .map(|number| verify_error(number).map_or_else(|| format!("verification gave {number}"), str::to_owned));
        finding.title = field(&match &reason {
            Some(reason) => format!("{service} does not take the certificate of {name}: {reason}"),
            None => format!("{count} connections of {service} to {name} in a row ended before a byte went through"),
        });
        policy.describe(&mut finding, HANDSHAKE_FAILED, refused.map(|_| "certificate"), &[]);
        finding.destination =
            Some(Destination { host: name.clone(), vendor: vendor.map(field), api: "other".to_owned() });
        finding.first_seen = since.rfc3339();
        finding.last_seen = at.rfc3339();
        let mut facts =
            BTreeMap::from([("vendor.connections_failed", json!(count)), ("vendor.since", json!(since.rfc3339()))]);
        if let Some(vendor) = vendor {
            facts.insert("vendor.id", json!(field(vendor)));
        }
        if let (Some(number), Some(reason)) = (refused, reason) {
            facts.insert("tls.verify_result", json!(number));
            facts.insert("tls.verify_reason", json!(reason));
        }
        finding.attributes = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        finding
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{findings::FingerprintKey, sources::Origin, units::Timestamp};

    fn made(refused: Option<u32>, vendor: Option<&str>) -> Finding {
        let origin = Origin { pid: 7, process: "python3".into(), service: "cart".into(), ..Origin::default() };
        let failed = FailedHandshake {
            at: Timestamp(9_000_000_000),
            origin: Arc::new(origin),
            host: "api.openai.com".into(),
            refused,
            failed: 5,
            since: Timestamp(2_000_000_000),
        };
        Maker::new(FingerprintKey::new([1; 32])).handshake(&failed, vendor, &Policy::default())
    }

    #[test]
    fn it_says_what_is_wrong_as_far_as_the_client_was_told() {
        for (refused, title, severity) in [
            (Some(10), "cart does not take the certificate of api.openai.com: it has expired", Severity::High),
            (
                Some(9_999),
                "cart does not take the certificate of api.openai.com: verification gave 9999",
                Severity::High,
            ),
            (
                None,
                "5 connections of cart to api.openai.com in a row ended before a byte went through",
                Severity::Medium,
            ),
        ] {
            let finding = made(refused, Some("openai"));
            assert_eq!((finding.title.as_str(), finding.severity), (title, severity));
            assert_eq!(finding.category, Category::Vendor);
            assert!(!finding.remedy.is_empty() && finding.rule.id == HANDSHAKE_FAILED, "{finding:?}");
        }
        assert_ne!(made(None, None).remedy, made(Some(10), None).remedy);
    }

    #[test]
    fn it_carries_the_facts_and_repeats_are_one_finding() {
        let finding = made(Some(10), Some("openai"));
        let expected = json!({
            "vendor.connections_failed": 5,
            "vendor.id": "openai",
            "vendor.since": "1970-01-01T00:00:02.000Z",
            "tls.verify_result": 10,
            "tls.verify_reason": "it has expired",
        });
        assert_eq!(json!(finding.attributes), expected);
        assert_eq!(
            (finding.first_seen.as_str(), finding.last_seen.as_str()),
            ("1970-01-01T00:00:02.000Z", "1970-01-01T00:00:09.000Z")
        );
        assert_eq!(finding.destination.as_ref().map(|to| to.host.as_str()), Some("api.openai.com"));
        assert_eq!(made(None, None).finding_id, finding.finding_id);
    }
}
