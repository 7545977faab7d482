//! Cases for the mapping. That events are valid is tested against the schema itself, in `tests/it/ocsf`.

use serde_json::{Value, json};

use super::{
    kind::{Caption, Class, Kind, confidence},
    objects::{Address, Endpoint},
    *,
};
use crate::{
    detectors::{Behaviour, Hit, Leak, Place, Side},
    exchange::{Cost, CostSource, sample},
    findings::{
        Activity, Category, Destination, FLEET_STALE, FingerprintKey, LOG_GAP, Maker, STORE_DAMAGED, STORE_FULL,
        UNKNOWN_TLS_STACK,
    },
    rules::{BehaviourRules, ScanRule},
    units::{NanoUsd, Severity},
};

fn host() -> Host {
    Host { name: "node-17".into(), id: Some("0123456789abcdef0123456789abcdef".into()), cloud: None }
}

fn event(finding: &Finding) -> Value {
    serde_json::from_str(&encode(finding, &host()).unwrap()).unwrap()
}

fn leak() -> Finding {
    let rule = ScanRule {
        id: "pii.email".into(),
        group: "contact".into(),
        entity: "EMAIL_ADDRESS".into(),
        title: "E-mail address".into(),
        severity: Severity::Medium,
        confidence: 80,
        pattern: String::new(),
        remedy: "Remove it from the prompt.".into(),
        references: vec!["https://www.rfc-editor.org/rfc/rfc5321".into()],
    };
    let exchange = sample::exchange("openai", "gpt-4o");
    let text = "write to jane.doe@example.com today";
    let place = Place::Exchange { exchange: &exchange, side: Side::Request, path: "$.messages[0].content" };
    let leak = Leak { rule: &rule, haystack: text.as_bytes(), span: 9..29, others: &[], confidence: 85, place };
    let cost = Cost { nano_usd: NanoUsd(2_500_000), source: CostSource::Catalogue, catalogue: String::new() };
    Maker::new(FingerprintKey::new([7; 32])).occurrence(&Hit::Leak(leak), sample::MIDNIGHT, Some(&cost))
}

fn behaviour(rule: &'static str, facts: Vec<(&'static str, Value)>) -> Finding {
    let exchange = sample::exchange("openai", "gpt-4o");
    let hit = Hit::Behaviour(Behaviour {
        rule,
        references: Vec::new(),
        key: "gpt-4o".into(),
        severity: Severity::High,
        confidence: 60,
        title: "`gpt-4o` did it".into(),
        case: None,
        facts,
        exchange: &exchange,
    });
    Maker::new(FingerprintKey::new([7; 32])).occurrence(&hit, sample::MIDNIGHT, None)
}

#[test]
fn each_kind_has_its_class() {
    let check = |finding: &Finding, kind, class: Class, analytic: &str| {
        assert_eq!(Kind::of(finding), kind, "{}", finding.rule.id);
        assert_eq!((kind.class(), kind.analytic().1), (class, analytic), "{kind:?}");
        assert!(class_uid(finding) == class.uid() && FINDING_CLASSES.contains(&class.uid()));
        assert_eq!(class == Class::Compliance, kind.control().is_some(), "{kind:?}: a check is a compliance finding");
        let event = event(finding);
        assert_eq!((&event["class_uid"], &event["class_name"]), (&class.uid().into(), &class.name().into()));
        let parts = ["compliance", "data_security", "evidences", "remediation"].map(|part| event.get(part).is_some());
        let expected = match class {
            Class::DataSecurity => [false, true, false, false],
            Class::Compliance => [true, false, true, true],
            Class::Detection => [false, false, true, true],
        };
        assert_eq!(parts, expected, "{kind:?}");
    };
    check(&leak(), Kind::Leak, Class::DataSecurity, "Regular Expressions");
    let cases = [
        ("model.unpinned", Kind::Unpinned, Class::Compliance, "Rule"),
        ("model.unpinnable", Kind::Unpinned, Class::Compliance, "Rule"),
        ("model.unverifiable", Kind::Unverifiable, Class::Detection, "Rule"),
        ("model.fallback", Kind::Substituted, Class::Detection, "Rule"),
        ("model.retiring", Kind::Retiring, Class::Compliance, "Rule"),
        ("model.retired", Kind::Retired, Class::Compliance, "Rule"),
        ("model.substituted", Kind::Substituted, Class::Detection, "Rule"),
        ("model.resolved_changed", Kind::ResolvedChanged, Class::Detection, "Behavioral"),
        ("model.structure_changed", Kind::Behaviour, Class::Detection, "Behavioral"),
        ("model.flapping", Kind::Flapping, Class::Detection, "Behavioral"),
        ("cost.untracked", Kind::UntrackedSpend, Class::Detection, "Rule"),
        ("cost.budget", Kind::Budget, Class::Detection, "Rule"),
        ("cost.burn_rate", Kind::BurnRate, Class::Detection, "Statistical"),
        ("cost.no_limit", Kind::CallLimit, Class::Detection, "Rule"),
        ("cost.request_limit", Kind::CallLimit, Class::Detection, "Rule"),
        ("cost.creep", Kind::SpendShift, Class::Detection, "Statistical"),
        ("cost.rate_shift", Kind::SpendShift, Class::Detection, "Statistical"),
        ("cost.request_outlier", Kind::SpendShift, Class::Detection, "Statistical"),
        ("model.of_another_version", Kind::Other, Class::Detection, "Rule"),
        ("cost.of_another_version", Kind::Other, Class::Detection, "Rule"),
    ];
    for (rule, kind, class, analytic) in cases {
        check(&behaviour(rule, Vec::new()), kind, class, analytic);
    }
    let mut gap = behaviour(LOG_GAP, Vec::new());
    gap.category = Category::Coverage;
    check(&gap, Kind::LogGap, Class::Detection, "Rule");
    gap.rule.id = UNKNOWN_TLS_STACK.into();
    check(&gap, Kind::UnknownTls, Class::Detection, "Rule");
    for rule in [STORE_FULL, STORE_DAMAGED] {
        gap.rule.id = rule.into();
        check(&gap, Kind::StoreLoss, Class::Detection, "Rule");
    }
    gap.rule.id = FLEET_STALE.into();
    check(&gap, Kind::FleetStale, Class::Detection, "Rule");
}

/// A rule that is new must be given its kind.
#[test]
fn every_rule_of_behaviour_has_a_kind() {
    for id in BehaviourRules::embedded().iter().map(|rule| rule.id.as_str()) {
        let mut finding = behaviour("model.unpinned", Vec::new());
        id.clone_into(&mut finding.rule.id);
        finding.category = match id.split_once('.') {
            Some(("cost", _)) => Category::Cost,
            Some(("coverage", _)) => Category::Coverage,
            _ => Category::of_behaviour(id),
        };
        assert_ne!(Kind::of(&finding), Kind::Other, "{id} has no kind");
    }
}

#[test]
fn the_same_finding_is_the_same_bytes() {
    let facts = vec![("z.last", json!({"b": [1, 2], "a": null})), ("a.first", json!(1.5)), ("m.none", json!(null))];
    for finding in [leak(), behaviour("model.unpinned", facts)] {
        let first = encode(&finding, &host()).unwrap();
        // As the outbox hands it over, after a restart.
        let read: Finding = serde_json::from_str(&serde_json::to_string(&finding).unwrap()).unwrap();
        assert_eq!(encode(&read, &host()).unwrap(), first);
        assert!(!first.contains('\n') && !first.contains("m.none"), "{first}");
    }
}

#[test]
fn revisions_keep_the_finding_and_change_the_record() {
    let mut finding = leak();
    let created = event(&finding);
    let ms = sample::MIDNIGHT.0 / 1_000_000;
    assert_eq!((&created["time"], &created["finding_info"]["created_time"]), (&json!(ms), &json!(ms)));
    let cases = [
        (Activity::Create, 1, "Data Security Finding: Create", true),
        (Activity::Update, 2, "Data Security Finding: Update", false),
        (Activity::Close, 3, "Data Security Finding: Close", false),
    ];
    for (activity, id, name, is_alert) in cases {
        finding.revise(id, activity);
        finding.count = u64::from(id);
        finding.last_seen = "2026-11-23T00:00:30.250Z".into();
        let event = event(&finding);
        assert_eq!(event["finding_info"]["uid"], created["finding_info"]["uid"]);
        assert_eq!(event["metadata"]["uid"], json!(format!("{}-{id}", finding.finding_id)));
        assert_eq!((&event["type_uid"], &event["type_name"]), (&json!(200_600 + id), &json!(name)));
        assert_eq!(
            (&event["activity_id"], &event["is_alert"], &event["count"]),
            (&json!(id), &json!(is_alert), &json!(id))
        );
        assert_eq!((&event["start_time"], &event["time"]), (&json!(ms), &json!(ms + 30_250)));
        assert_eq!(event["finding_info"]["first_seen_time"], json!(ms));
    }
    let mut unpinned = behaviour("model.unpinned", Vec::new());
    assert_eq!(event(&unpinned)["compliance"]["status"], "Fail");
    unpinned.rule.id = "model.retiring".into();
    assert_eq!(event(&unpinned)["compliance"]["status"], "Warning");
    unpinned.revise(2, Activity::Close);
    assert_eq!(event(&unpinned)["compliance"]["status"], "Pass");
}

#[test]
fn severity_and_confidence_have_the_steps_of_the_schema() {
    let mut finding = leak();
    let severities = [
        (Severity::Info, 1, "Informational"),
        (Severity::Low, 2, "Low"),
        (Severity::Medium, 3, "Medium"),
        (Severity::High, 4, "High"),
        (Severity::Critical, 5, "Critical"),
    ];
    for (severity, id, caption) in severities {
        finding.severity = severity;
        let event = event(&finding);
        assert_eq!((&event["severity_id"], &event["severity"]), (&json!(id), &json!(caption)));
    }
    let steps = [(0, "Low"), (49, "Low"), (50, "Medium"), (79, "Medium"), (80, "High"), (100, "High")];
    for (percent, caption) in steps {
        assert_eq!(confidence(percent).1, caption, "{percent}");
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut finding = leak();
    finding.process.container = Some("c0ffee".into());
    let known = event(&finding);
    assert_eq!(known["actor"]["process"], json!({"pid": 4242, "name": "python3.11", "container": {"uid": "c0ffee"}}));
    assert_eq!(known["metadata"]["profiles"], json!(["container", "data_classification", "host"]));

    finding.process.pid = 0;
    let no_process = event(&finding);
    assert_eq!(no_process["actor"], json!({"app_name": "checkout"}));
    assert_eq!(no_process["metadata"]["profiles"], json!(["container", "data_classification", "host"]));
    assert_eq!(no_process["device"]["container"], json!({"uid": "c0ffee"}));
    assert_eq!(no_process["unmapped"]["process.executable.name"], "python3.11");
    finding.process.kubernetes =
        Some(crate::findings::Kubernetes { namespace: "shop".into(), pod: "shop-1".into(), container: "app".into() });
    let named = json!({"uid": "c0ffee", "name": "app", "orchestrator": "Kubernetes"});
    assert_eq!(event(&finding)["device"]["container"], named);
    finding.process.kubernetes = None;
    finding.process.container = None;
    assert_eq!(event(&finding)["metadata"]["profiles"], json!(["data_classification", "host"]));

    finding.process.service.clear();
    finding.destination = None;
    let nothing = event(&finding);
    let absent = ["actor", "src_endpoint", "dst_endpoint", "observables", "file", "evidences"];
    assert!(absent.iter().all(|name| nothing.get(name).is_none()), "{nothing:#}");
}

#[test]
fn hosts_are_names_or_addresses() {
    let check = |host: &str, hostname: Option<&str>, ip: Option<&str>, port: Option<u16>| {
        let destination = Destination { host: host.into(), vendor: None, api: "other".into() };
        let endpoint = Endpoint::new(&destination);
        let found = endpoint.map(|endpoint| (endpoint.hostname, endpoint.ip.map(|ip| ip.to_string()), endpoint.port));
        let expected = (hostname.is_some() || ip.is_some()).then(|| (hostname, ip.map(str::to_owned), port));
        assert_eq!(found, expected, "{host}");
        let address = endpoint.map(|endpoint| match endpoint.address() {
            Address::Name(name) => name.to_owned(),
            Address::Ip(ip) => ip.to_string(),
        });
        assert_eq!(address.as_deref(), hostname.or(ip), "{host}");
    };
    check("api.openai.com", Some("api.openai.com"), None, None);
    check("llm.example.internal:8443", Some("llm.example.internal"), None, Some(8443));
    check("127.0.0.1", None, Some("127.0.0.1"), None);
    check("127.0.0.1:11434", None, Some("127.0.0.1"), Some(11434));
    check("2001:db8::7", None, Some("2001:db8::7"), None);
    check("[2001:db8::7]", None, Some("2001:db8::7"), None);
    check("[2001:db8::7]:443", None, Some("2001:db8::7"), Some(443));
    check("a:99999", Some("a:99999"), None, None);
    check("•••", Some("•••"), None, None);
    check("", None, None, None);
    check(":8080", None, None, None);
}

#[test]
fn data_has_the_category_of_its_rule() {
    let cases = [
        ("pii.email", "EMAIL_ADDRESS", Caption(1, "Personal")),
        ("pii.credit-card", "CREDIT_CARD", Caption(3, "Financial")),
        ("pii.iban", "IBAN_CODE", Caption(3, "Financial")),
        ("pii.us-bank-routing", "US_BANK_ROUTING", Caption(3, "Financial")),
        ("secret.openai-api-key", "OPENAI_API_KEY", Caption(6, "Security")),
        ("acme.project-name", "PROJECT", Caption(0, "Unknown")),
        ("acme", "PROJECT", Caption(0, "Unknown")),
    ];
    for (rule, entity, Caption(id, caption)) in cases {
        let mut finding = leak();
        finding.rule.id = rule.into();
        finding.entity = Some(entity.into());
        let event = event(&finding);
        for place in ["/data_security", "/metadata/data_classifications/0"] {
            let place = event.pointer(place).unwrap();
            assert_eq!((&place["category_id"], &place["category"]), (&json!(id), &json!(caption)), "{rule}");
        }
        assert_eq!(event["finding_info"]["types"], json!(["leak", entity]));
    }
}

#[test]
fn what_ocsf_has_no_place_for_is_unmapped() {
    let facts = vec![("model.pin_class", json!("alias")), ("model.requested", json!("gpt-4o"))];
    let mut unpinned = behaviour("model.unpinned", facts);
    unpinned.destination.as_mut().unwrap().vendor = Some("xai".into());
    let unmapped = &event(&unpinned)["unmapped"];
    let expected = json!({
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "x_ai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o",
        "outflow.coverage.scanned_bytes": 2000,
        "outflow.coverage.total_bytes": 2000,
        "outflow.destination.api": "chat_completions",
        "outflow.model.pin_class": "alias",
        "outflow.model.requested": "gpt-4o",
        "outflow.schema_version": 1,
        "server.address": "api.openai.com",
    });
    assert_eq!(unmapped, &expected);

    let finding = leak();
    let unmapped = &event(&finding)["unmapped"];
    assert_eq!(unmapped["outflow.cost_nano_usd"], 2_500_000);
    assert_eq!(unmapped["outflow.cost_source"], "catalogue");
    assert_eq!(unmapped["outflow.excerpt"], "write to j•••@•••.com today");
    assert_eq!(unmapped["outflow.fingerprint.value"], finding.fingerprint.unwrap().value);
    let location = ["side", "path", "start", "end"].map(|name| &unmapped[format!("outflow.location.{name}")]);
    assert_eq!(location, [&json!("request"), &json!("$.messages[0].content"), &json!(9), &json!(29)]);
    assert_eq!(unmapped["outflow.remedy"], "Remove it from the prompt.");
}

#[test]
fn findings_that_compare_say_with_what() {
    let changed = behaviour(
        "model.resolved_changed",
        vec![
            ("model.requested", json!("gpt-4o")),
            ("model.resolved_before", json!("gpt-4o-2024-08-06")),
            ("model.resolved", json!("gpt-4o-2024-11-20")),
            ("model.calls_before", json!(12)),
        ],
    );
    let analysis = &event(&changed)["anomaly_analyses"][0];
    assert_eq!(analysis["analysis_targets"], json!([{"name": "gpt-4o", "type": "model"}]));
    assert_eq!(analysis["anomalies"][0]["observations"], json!([{"value": "gpt-4o-2024-11-20"}]));
    assert_eq!(analysis["baselines"][0]["observations"], json!([{"value": "gpt-4o-2024-08-06", "count": 12}]));
    let facts = vec![("budget.limit_nano_usd", json!(10)), ("budget.projected_nano_usd", json!(25))];
    let analysis = &event(&behaviour("cost.burn_rate", facts))["anomaly_analyses"][0];
    assert_eq!(analysis["analysis_targets"][0]["name"], "checkout");
    assert_eq!(analysis["anomalies"][0]["observations"], json!([{"value": "25"}]));
    let facts = vec![("budget.limit_tokens", json!(100)), ("budget.projected_tokens", json!(250))];
    let analysis = &event(&behaviour("cost.burn_rate", facts))["anomaly_analyses"][0];
    assert_eq!(analysis["baselines"][0]["observations"], json!([{"value": "100"}]));
    let facts = vec![("output.recent", json!([18, 20])), ("output.baseline", json!([3, 400]))];
    let analysis = &event(&behaviour("output.refusals", facts))["anomaly_analyses"][0];
    assert_eq!(analysis["anomalies"][0]["observations"], json!([{"value": "18 of 20"}]));
    assert_eq!(analysis["baselines"][0]["observations"], json!([{"value": "3 of 400"}]));
    // Of two ways to tell a rule, the one whose facts are there.
    let facts =
        vec![("agent.turns", json!(9)), ("agent.input_tokens_before", json!(7)), ("agent.input_tokens", json!(8))];
    let analysis = &event(&behaviour("agent.runaway", facts))["anomaly_analyses"][0];
    assert_eq!(analysis["anomalies"][0]["observation_parameter"], "gen_ai.usage.input_tokens");
    // Without its facts a finding has no analysis, and the rest of it is told.
    assert!(event(&behaviour("model.flapping", Vec::new())).get("anomaly_analyses").is_none());
}

#[test]
fn numbers_fit_their_fields_and_times_are_times() {
    let mut finding = leak();
    finding.count = u64::MAX;
    finding.location.as_mut().unwrap().line = Some(u64::MAX);
    let event = event(&finding);
    assert_eq!(event["count"], i32::MAX);
    assert_eq!(event["data_security"]["discovery_details"][0]["occurrences"][0]["start_line"], i32::MAX);
    for no_time in ["", "yesterday"] {
        finding.last_seen = no_time.into();
        let error = encode(&finding, &host()).unwrap_err();
        assert!(error.to_string().contains("is no time"), "{error}");
    }
}
