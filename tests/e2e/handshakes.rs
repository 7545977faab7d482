//! Connections to a vendor that do not come about are told, with the reason where the client was told it.

use serde_json::Value;

use crate::{
    leaks::{of_kind, tap},
    support::bpf_or_skip,
};

/// The findings about handshakes that `outflow tap` made around the client in one of its cases.
/// The client waits for them where `waits`.
fn told(case: &str, times: &str, waits: bool) -> Vec<Value> {
    let arguments = [case, "--times", times, "--told"];
    let arguments = if waits { &arguments[..] } else { &arguments[..3] };
    let (records, status) = tap(&format!("handshake-{case}"), &[], "handshake_client.py", arguments);
    assert_eq!(status, Some(0), "the status is the command's own");
    let findings = of_kind(&records, "outflow.finding").into_iter();
    let told: Vec<Value> =
        findings.filter(|finding| finding["rule"]["id"] == "vendor.handshake_failed").cloned().collect();
    for finding in &told {
        assert_eq!(
            (&finding["category"], &finding["process"]["service"]),
            (&"vendor".into(), &"handshake_client.py".into())
        );
    }
    told
}

#[test]
fn a_certificate_that_the_client_does_not_take_is_told_with_the_reason() {
    if !bpf_or_skip() {
        return;
    }
    // The server sends its root along, as some do.
    for (case, host, number) in [("untrusting", "api.openai.com", 19), ("other-name", "api.mistral.ai", 62)] {
        let [finding] = &told(case, "1", true)[..] else { panic!("{case}: one finding") };
        assert_eq!(
            (&finding["destination"]["host"], &finding["severity"]),
            (&host.into(), &"high".into()),
            "{finding:#}"
        );
        assert_eq!(finding["attributes"]["tls.verify_result"], number, "{finding:#}");
    }
}

#[test]
fn connections_that_end_before_a_byte_are_told_when_they_go_on() {
    if !bpf_or_skip() {
        return;
    }
    assert_eq!(told("old", "4", false), [] as [Value; 0]);
    let [finding] = &told("old", "7", true)[..] else { panic!("one finding") };
    assert_eq!(finding["attributes"]["vendor.connections_failed"], 5, "told when it was sure: {finding:#}");
    assert_eq!((&finding["severity"], &finding["attributes"]["tls.verify_result"]), (&"medium".into(), &Value::Null));
}

#[test]
fn a_client_that_goes_on_without_looking_has_its_connection() {
    if !bpf_or_skip() {
        return;
    }
    assert_eq!(told("unverified", "6", false), [] as [Value; 0]);
}
