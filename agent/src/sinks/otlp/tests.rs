//! Cases for what is pure: records as bytes, answers as outcomes, settings as header fields.

use std::{collections::BTreeMap, time::Duration};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
        trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    common::v1::{KeyValue, any_value::Value},
    logs::v1::SeverityNumber,
};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    Signal,
    collector::checked,
    encode::split_port,
    export::Export as _,
    names,
    outcome::{ANSWER_BYTES_MAX, HttpAnswer, Outcome, Packing, of_answer, of_http, of_status},
    *,
};
use crate::{
    detectors::{Behaviour, Hit, Leak, Place, Side},
    exchange::{Cost, CostSource, Exchange, sample},
    findings::{Finding, FingerprintKey, Maker},
    rules::ScanRule,
    sinks::{Cloud, Host, Record, later::AFTER_MAX},
    units::{NanoUsd, Severity, Timestamp},
};

/// 23 November 2026, 00:00 UTC.
const NOW: Timestamp = sample::MIDNIGHT;
const SECRET: &str = "Bearer FAKEfakeTOKEN1234";

fn settings() -> OtlpSettings {
    OtlpSettings {
        endpoint: "http://127.0.0.1:4317".into(),
        adds_path: true,
        protocol: Protocol::Grpc,
        compression: Compression::Gzip,
        headers: vec![("authorization".into(), SECRET.into())],
        timeout: Duration::from_secs(10),
        experimental_names: false,
        ca_file: None,
        cert_file: None,
        key_file: None,
    }
}

fn host() -> Host {
    Host {
        name: "node-17".into(),
        id: Some("0123456789abcdef0123456789abcdef".into()),
        cloud: Some(Cloud {
            provider: "aws".into(),
            region: Some("eu-central-1".into()),
            zone: Some("eu-central-1a".into()),
            account: Some("123456789012".into()),
        }),
    }
}

fn record(seq: u64, finding: Finding) -> Record {
    let payload = serde_json::to_string(&finding).unwrap();
    Record { seq, record_id: finding.record_id.clone(), activity: finding.activity, finding, payload }
}

fn occurrence(hit: &Hit<'_>) -> Finding {
    let cost = Cost { nano_usd: NanoUsd(1_234), source: CostSource::Catalogue, catalogue: "c".into() };
    Maker::new(FingerprintKey::new([7; 32])).occurrence(hit, NOW, Some(&cost))
}

fn leak(exchange: &Exchange) -> Finding {
    let rule = ScanRule {
        id: "pii.email".into(),
        group: "contact".into(),
        entity: "EMAIL_ADDRESS".into(),
        title: "E-mail address".into(),
        severity: Severity::High,
        confidence: 80,
        pattern: String::new(),
        remedy: "Remove it from the prompt.".into(),
        references: vec!["https://www.rfc-editor.org/rfc/rfc5321".into()],
    };
    let text = "write to jane.doe@example.com today";
    occurrence(&Hit::Leak(Leak {
        rule: &rule,
        haystack: text.as_bytes(),
        span: 9..29,
        others: &[],
        confidence: 85,
        place: Place::Exchange { exchange, side: Side::Request, path: "$.messages[0].content" },
    }))
}

fn behaviour(exchange: &Exchange) -> Finding {
    occurrence(&Hit::Behaviour(Behaviour {
        rule: "model.unpinned",
        references: Vec::new(),
        key: "gpt-4o".into(),
        severity: Severity::Medium,
        confidence: 95,
        title: "`gpt-4o` can change".into(),
        case: None,
        facts: vec![("model.pin_class", "alias".into()), ("model.days_left", 12.into()), ("model.gone", false.into())],
        exchange,
    }))
}

/// Attributes by name; a name twice is an error.
fn by_name(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let mut found = BTreeMap::new();
    for attribute in attributes {
        let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()).unwrap() {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            Value::BoolValue(value) => value.to_string(),
            Value::ArrayValue(list) => format!("{} values", list.values.len()),
            other => panic!("{other:?}"),
        };
        assert!(found.insert(attribute.key.as_str(), value).is_none(), "{} twice", attribute.key);
    }
    found
}

#[test]
fn a_leak_is_a_log_record_without_its_text() {
    let exchange = Exchange { host: "api.openai.com:8443".into(), ..sample::exchange("openai", "gpt-4o") };
    let record = record(7, leak(&exchange));
    let log = log_record(&record, false);
    assert_eq!((log.event_name.as_str(), log.severity_text.as_str()), ("outflow.finding", "high"));
    assert_eq!(log.severity_number, i32::from(SeverityNumber::Error));
    assert_eq!((log.time_unix_nano, log.observed_time_unix_nano), (NOW.0, NOW.0));
    let body = log.body.clone().and_then(|body| body.value);
    assert_eq!(body, Some(Value::StringValue("E-mail address sent to api.openai.com:8443".into())));
    let attributes = by_name(&log.attributes);
    for (name, value) in [
        (names::FINDING_ID, record.finding.finding_id.as_str()),
        (names::RECORD_ID, record.record_id.as_str()),
        (names::REVISION, "1"),
        (names::ACTIVITY, "create"),
        (names::RULE_ID, "pii.email"),
        (names::RULE_REFERENCES, "1 values"),
        (names::ENTITY, "EMAIL_ADDRESS"),
        (names::CATEGORY, "leak"),
        (names::CONFIDENCE, "85"),
        (names::COUNT, "1"),
        (names::LAST_SEEN, "2026-11-23T00:00:00.000Z"),
        (names::EXCERPT, "write to j•••@•••.com today"),
        (names::SIDE, "request"),
        (names::JSON_PATH, "$.messages[0].content"),
        (names::START, "9"),
        (names::END, "29"),
        (names::SCANNED, "2000"),
        (names::COST, "1234"),
        (names::COST_SOURCE, "catalogue"),
        (names::OPERATION, "chat"),
        (names::PROVIDER, "openai"),
        (names::REQUEST_MODEL, "gpt-4o"),
        (names::SERVER_ADDRESS, "api.openai.com"),
        (names::SERVER_PORT, "8443"),
        (names::PID, "4242"),
        (names::EXECUTABLE, "python3.11"),
    ] {
        assert_eq!(attributes.get(name).map(String::as_str), Some(value), "{name}");
    }
    for name in attributes.keys() {
        assert!(names::ALL.iter().any(|(known, _)| known == name), "{name} is in no table");
    }
    assert!(!format!("{log:?}").contains("jane"), "{log:?}");
}

#[test]
fn proposed_names_go_out_only_when_asked_for() {
    let record = record(7, leak(&sample::exchange("openai", "gpt-4o")));
    let (without, with) = (log_record(&record, false), log_record(&record, true));
    let (without, with) = (by_name(&without.attributes), by_name(&with.attributes));
    let more: BTreeMap<&str, &str> = with
        .iter()
        .filter(|(name, _)| !without.contains_key(*name))
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let expected = [
        ("gen_ai.security.external_finding_id", record.finding.finding_id.as_str()),
        ("gen_ai.security.policy.rule.id", "pii.email"),
        ("gen_ai.security.risk.category", "leak"),
    ];
    assert_eq!(more, expected.into());
    assert!(without.iter().all(|(name, value)| with.get(name) == Some(value)), "ours stay");
}

#[test]
fn facts_keep_their_names_and_types() {
    let exchange = sample::exchange("anthropic", "claude-3");
    let log = log_record(&record(1, behaviour(&exchange)), false);
    let attributes = by_name(&log.attributes);
    assert_eq!(attributes["outflow.fact.model.pin_class"], "alias");
    assert_eq!(attributes["outflow.fact.model.days_left"], "12");
    assert_eq!(attributes["outflow.fact.model.gone"], "false");
    assert_eq!(attributes[names::PROVIDER], "anthropic");
    assert!(!attributes.contains_key(names::EXCERPT) && !attributes.contains_key(names::SERVER_PORT));
}

#[test]
fn a_batch_is_grouped_by_service_and_always_the_same_bytes() {
    let mut records = Vec::new();
    for (seq, service) in (1..).zip(["checkout", "billing", "checkout", ""]) {
        let mut finding = behaviour(&sample::exchange("openai", "gpt-4o"));
        finding.process.service = service.into();
        finding.process.container = (service == "billing").then(|| "c0ffee".into());
        records.push(record(seq, finding));
    }
    let first = request(&records, &host(), false);
    let services: Vec<_> = first
        .resource_logs
        .iter()
        .map(|group| {
            let resource = by_name(&group.resource.as_ref().unwrap().attributes);
            assert_eq!((resource["host.name"].as_str(), resource["host.id"].len()), ("node-17", 32));
            let cloud = ["provider", "region", "availability_zone", "account.id"];
            let cloud = cloud.map(|name| resource[format!("cloud.{name}").as_str()].as_str());
            assert_eq!(cloud, ["aws", "eu-central-1", "eu-central-1a", "123456789012"]);
            assert!(!resource.contains_key(names::PID), "a process is no resource");
            let scope = &group.scope_logs[0];
            assert_eq!(scope.scope.as_ref().unwrap().name, "outflow");
            assert_eq!(scope.schema_url, names::SCHEMA_URL);
            (resource["service.name"].clone(), resource.get("container.id").cloned(), scope.log_records.len())
        })
        .collect();
    let service = |name: &str, container: Option<&str>, count| (name.to_owned(), container.map(str::to_owned), count);
    assert_eq!(
        services,
        [service("checkout", None, 2), service("billing", Some("c0ffee"), 1), service("unknown_service", None, 1)]
    );
    let again: Vec<Record> = records.iter().map(|old| Record { finding: read_back(old), ..old.clone() }).collect();
    assert_eq!(request(&again, &host(), false).encode_to_vec(), first.encode_to_vec());
}

/// The finding as it comes out of the outbox.
fn read_back(record: &Record) -> Finding {
    serde_json::from_str(&record.payload).unwrap()
}

#[test]
fn severities_keep_their_order() {
    let exchange = sample::exchange("openai", "gpt-4o");
    let mut last = 0;
    for severity in [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical] {
        let log = log_record(&record(1, Finding { severity, ..behaviour(&exchange) }), false);
        assert!(log.severity_number > last, "{severity}");
        let line = format!("| {severity} | {}, ", log.severity_number);
        assert!(reference().contains(&line), "docs/OTLP.md does not say {line}");
        last = log.severity_number;
    }
}

#[test]
fn names_are_told_apart() {
    let mut all: Vec<&str> = names::ALL.iter().map(|(name, _)| *name).collect();
    all.sort_unstable();
    for pair in all.windows(2) {
        assert!(pair[0] != pair[1], "{} twice", pair[0]);
        // A name must not be the room of another (OpenTelemetry, attribute naming).
        assert!(!pair[1].starts_with(&format!("{}.", pair[0])), "{} and {}", pair[0], pair[1]);
    }
}

#[test]
fn ports_are_split_off() {
    for (host, split) in [
        ("api.openai.com", ("api.openai.com", None)),
        ("api.openai.com:443", ("api.openai.com", Some(443))),
        ("[::1]:8080", ("[::1]", Some(8080))),
        ("::1", ("::1", None)),
        ("a:b", ("a:b", None)),
        ("a:99999", ("a:99999", None)),
    ] {
        assert_eq!(split_port(host), split, "{host}");
    }
}

fn words() -> Words {
    settings().words()
}

#[derive(Debug, PartialEq)]
enum Kind {
    Taken,
    Rejected,
    Invalid,
    TooLarge,
    Compressed,
    Suspect,
    NotNow,
    Broken,
}

fn kind(outcome: &Outcome) -> Kind {
    match outcome {
        Outcome::Taken => Kind::Taken,
        Outcome::Rejected { .. } => Kind::Rejected,
        Outcome::Invalid(_) => Kind::Invalid,
        Outcome::TooLarge(_) => Kind::TooLarge,
        Outcome::Compressed => Kind::Compressed,
        Outcome::Suspect => Kind::Suspect,
        Outcome::NotNow { .. } => Kind::NotNow,
        Outcome::Broken(_) => Kind::Broken,
    }
}

#[test]
fn a_success_is_read_to_the_end() {
    for (partial, expected) in [
        (None, Outcome::Taken),
        (Some((0, "")), Outcome::Taken),
        (Some((0, "a warning")), Outcome::Taken),
        (Some((3, "b\u{7}ad")), Outcome::Rejected { count: 3, detail: "b ad".into() }),
        (Some((-1, "")), Outcome::not_now("http://127.0.0.1:4317 says that it rejected fewer than none".to_owned())),
    ] {
        let partial_success = partial.map(|(rejected_log_records, message): (i64, &str)| ExportLogsPartialSuccess {
            rejected_log_records,
            error_message: message.to_owned(),
        });
        let said = ExportLogsServiceRequest::partial(ExportLogsServiceResponse { partial_success });
        assert_eq!(of_answer(&said, &words()), expected, "{partial:?}");
    }
}

#[test]
fn every_grpc_status_has_an_outcome() {
    for (code, packing, expected) in [
        (Code::Unimplemented, Packing::Understood, Kind::Compressed),
        (Code::Unimplemented, Packing::Untried, Kind::Compressed),
        (Code::InvalidArgument, Packing::Untried, Kind::Suspect),
        (Code::Internal, Packing::Untried, Kind::Suspect),
        (Code::Unavailable, Packing::Untried, Kind::NotNow),
        (Code::InvalidArgument, Packing::Understood, Kind::Invalid),
        (Code::Unimplemented, Packing::Plain, Kind::NotNow),
        (Code::InvalidArgument, Packing::Plain, Kind::Invalid),
        (Code::Unavailable, Packing::Plain, Kind::NotNow),
        (Code::ResourceExhausted, Packing::Plain, Kind::NotNow),
        (Code::Aborted, Packing::Plain, Kind::NotNow),
        (Code::Cancelled, Packing::Plain, Kind::NotNow),
        (Code::DeadlineExceeded, Packing::Plain, Kind::NotNow),
        (Code::OutOfRange, Packing::Plain, Kind::NotNow),
        (Code::DataLoss, Packing::Plain, Kind::NotNow),
        (Code::Unauthenticated, Packing::Plain, Kind::Broken),
        (Code::PermissionDenied, Packing::Plain, Kind::Broken),
        (Code::NotFound, Packing::Plain, Kind::NotNow),
        (Code::Internal, Packing::Plain, Kind::NotNow),
        (Code::Unknown, Packing::Plain, Kind::NotNow),
        (Code::FailedPrecondition, Packing::Plain, Kind::NotNow),
        (Code::AlreadyExists, Packing::Plain, Kind::NotNow),
    ] {
        let outcome = of_status(Signal::Logs, &Status::new(code, "why"), packing, &words());
        assert_eq!(kind(&outcome), expected, "{code:?}");
        if let Outcome::NotNow { reason, .. } = outcome {
            assert!(reason.contains("http://127.0.0.1:4317") && reason.ends_with(": why"), "{reason}");
        }
    }
    for (message, code, expected) in [
        ("grpc: received message larger than max (9 vs. 4)", Code::ResourceExhausted, Kind::TooLarge),
        (
            "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes",
            Code::OutOfRange,
            Kind::TooLarge,
        ),
    ] {
        assert_eq!(
            kind(&of_status(Signal::Logs, &Status::new(code, message), Packing::Plain, &words())),
            expected,
            "{message}"
        );
    }
    // The same words about an answer of theirs are no fault of our records.
    let ours =
        format!("Error, decoded message length too large: found 9 bytes, the limit is: {ANSWER_BYTES_MAX} bytes");
    assert_eq!(
        kind(&of_status(Signal::Logs, &Status::new(Code::OutOfRange, ours), Packing::Plain, &words())),
        Kind::NotNow
    );
}

#[test]
fn retry_info_is_kept_and_bounded() {
    for (asked_s, waited_s) in [(7, 7), (86_400, AFTER_MAX.as_secs())] {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(asked_s)));
        let status = Status::with_error_details(Code::ResourceExhausted, "slow down", details);
        let Outcome::NotNow { after, .. } = of_status(Signal::Logs, &status, Packing::Plain, &words()) else {
            panic!("{status:?}")
        };
        assert_eq!(after, Some(Duration::from_secs(waited_s)));
    }
}

#[test]
fn every_http_status_has_an_outcome() {
    const PROTOBUF: Option<&str> = Some("application/x-protobuf");
    const PAGE: Option<&str> = Some("text/html; charset=utf-8");
    let whole = ExportLogsServiceResponse::default().encode_to_vec();
    let some = ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess { rejected_log_records: 1, error_message: String::new() }),
    }
    .encode_to_vec();
    for (status, content_type, body, packing, expected) in [
        (200, PROTOBUF, whole.as_slice(), Packing::Plain, Kind::Taken),
        (200, None, b"".as_slice(), Packing::Plain, Kind::Taken),
        (204, None, b"", Packing::Plain, Kind::Taken),
        (200, PROTOBUF, some.as_slice(), Packing::Plain, Kind::Rejected),
        (202, Some("text/plain"), b"", Packing::Plain, Kind::Taken),
        (200, Some("application/json"), b"{}\n", Packing::Plain, Kind::Taken),
        (200, Some("application/json"), b"[1]", Packing::Plain, Kind::NotNow),
        (200, Some("application/json; charset=utf-8"), br#"{"status": "success"}"#, Packing::Plain, Kind::Taken),
        (200, Some("application/json"), br#"{"status": "failed"}"#, Packing::Plain, Kind::NotNow),
        (200, Some("application/json"), br#"{"error": "no such index"}"#, Packing::Plain, Kind::NotNow),
        (200, Some("application/json"), br#"{"message": "Unauthorized"}"#, Packing::Plain, Kind::NotNow),
        (200, Some("application/json"), br#"{"success": false}"#, Packing::Plain, Kind::NotNow),
        (200, Some("application/json"), br#"{"partialSuccess": {}}"#, Packing::Plain, Kind::Taken),
        (200, Some("application/json"), br#"{"partialSuccess": null}"#, Packing::Plain, Kind::Taken),
        (200, Some("application/json"), br#"{"partialSuccess": "no"}"#, Packing::Plain, Kind::NotNow),
        (
            200,
            Some("application/json"),
            br#"{"partialSuccess": {"rejectedLogRecords": null}}"#,
            Packing::Plain,
            Kind::Taken,
        ),
        (
            200,
            Some("application/json"),
            br#"{"partial_success": {"rejected_log_records": "2"}}"#,
            Packing::Plain,
            Kind::Rejected,
        ),
        (
            200,
            Some("application/json"),
            br#"{"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "full"}}"#,
            Packing::Plain,
            Kind::Rejected,
        ),
        (
            200,
            Some("application/json"),
            br#"{"partialSuccess": {"rejectedLogRecords": 1}}"#,
            Packing::Plain,
            Kind::Rejected,
        ),
        (
            200,
            Some("application/json"),
            br#"{"partialSuccess": {"rejectedLogRecords": "many"}}"#,
            Packing::Plain,
            Kind::NotNow,
        ),
        (200, PROTOBUF, b"\xff\xff\xff", Packing::Plain, Kind::NotNow),
        (200, PAGE, b"<html>hello</html>", Packing::Plain, Kind::NotNow),
        (200, PAGE, b"", Packing::Plain, Kind::NotNow),
        (301, None, b"", Packing::Plain, Kind::NotNow),
        (400, PROTOBUF, b"", Packing::Plain, Kind::Invalid),
        (400, Some("text/plain"), b"bad", Packing::Plain, Kind::Invalid),
        (400, PAGE, b"<html>plain HTTP to an HTTPS port</html>", Packing::Plain, Kind::NotNow),
        (401, None, b"", Packing::Plain, Kind::Broken),
        (403, None, b"", Packing::Plain, Kind::Broken),
        (404, PAGE, b"", Packing::Plain, Kind::NotNow),
        (413, None, b"", Packing::Plain, Kind::TooLarge),
        (415, None, b"", Packing::Understood, Kind::Compressed),
        (415, None, b"", Packing::Plain, Kind::NotNow),
        (422, None, b"", Packing::Plain, Kind::Invalid),
        (400, PAGE, b"", Packing::Untried, Kind::Suspect),
        (500, None, b"", Packing::Untried, Kind::Suspect),
        (400, None, b"", Packing::Understood, Kind::Invalid),
        (503, None, b"", Packing::Untried, Kind::NotNow),
        (429, None, b"", Packing::Plain, Kind::NotNow),
        (500, None, b"", Packing::Plain, Kind::NotNow),
        (502, None, b"", Packing::Plain, Kind::NotNow),
        (503, None, b"", Packing::Plain, Kind::NotNow),
        (504, None, b"", Packing::Plain, Kind::NotNow),
    ] {
        let answer = HttpAnswer { status, content_type, retry_after: None, body };
        assert_eq!(
            kind(&of_http::<ExportLogsServiceRequest>(answer, packing, NOW, &words())),
            expected,
            "{status} {content_type:?}"
        );
    }
}

#[test]
fn spans_are_counted_by_their_own_names() {
    let partial_success = Some(ExportTracePartialSuccess { rejected_spans: 2, error_message: "full".to_owned() });
    let protobuf = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let json = br#"{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "full"}}"#;
    for (content_type, body) in [("application/x-protobuf", protobuf.as_slice()), ("application/json", json)] {
        let answer = HttpAnswer { status: 200, content_type: Some(content_type), retry_after: None, body };
        let outcome = of_http::<ExportTraceServiceRequest>(answer, Packing::Plain, NOW, &words());
        assert_eq!(outcome, Outcome::Rejected { count: 2, detail: "full".to_owned() }, "{content_type}");
    }
    let nothing = HttpAnswer { status: 404, ..HttpAnswer::default() };
    let outcome = of_http::<ExportTraceServiceRequest>(nothing, Packing::Plain, NOW, &words());
    let Outcome::NotNow { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("its traces pipeline"), "{reason}");
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    for (text, wait_s) in [
        ("120", Some(120)),
        (" 5 ", Some(5)),
        ("999999999", Some(AFTER_MAX.as_secs())),
        ("Mon, 23 Nov 2026 00:01:30 GMT", Some(90)),
        ("Sun, 22 Nov 2026 00:00:00 GMT", Some(0)),
        ("soon", None),
        ("-1", None),
    ] {
        let answer = HttpAnswer { status: 429, retry_after: Some(text), ..HttpAnswer::default() };
        let Outcome::NotNow { after, .. } = of_http::<ExportLogsServiceRequest>(answer, Packing::Plain, NOW, &words())
        else {
            panic!("{text}")
        };
        assert_eq!(after, wait_s.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn a_token_is_never_said() {
    let said = format!("no such token: {SECRET}, that is FAKEfakeTOKEN1234");
    let by_status = of_status(Signal::Logs, &Status::unauthenticated(&said), Packing::Plain, &words());
    let answer =
        HttpAnswer { status: 401, content_type: Some("text/plain"), body: said.as_bytes(), ..HttpAnswer::default() };
    let by_http = of_http::<ExportLogsServiceRequest>(answer, Packing::Plain, NOW, &words());
    for text in
        [format!("{by_status:?}"), format!("{by_http:?}"), format!("{:?}", settings()), format!("{:?}", words())]
    {
        assert!(!text.contains("FAKE"), "{text}");
    }
    let Outcome::Broken(reason) = by_http else { panic!("{by_http:?}") };
    assert_eq!(
        reason,
        "http://127.0.0.1:4317 does not know us (401): check `headers`, and the certificate if it wants one: no such token: \
         •••, that is •••"
    );
}

#[test]
fn settings_that_cannot_work_are_refused_with_what_to_do() {
    let header =
        |name: &str, value: &str| OtlpSettings { headers: vec![(name.to_owned(), value.to_owned())], ..settings() };
    let endpoint = |endpoint: &str| OtlpSettings { endpoint: endpoint.to_owned(), ..settings() };
    for (settings, says) in [
        (endpoint("localhost"), "no address such as"),
        (endpoint("localhost:4317"), "begins with http:// or https://"),
        (endpoint("http://user:FAKEword@localhost"), "put the password into `headers`"),
        (endpoint("http://localhost:4317/v1/logs"), "has a path, and gRPC has none"),
        (endpoint("http://localhost:4317/?key=FAKE"), "nothing behind `?`"),
        (header("bad name", "FAKE"), "`bad name` is no name of a header"),
        (header("x-token", "FAKE\n"), "the value of the header `x-token`"),
        (header("Content-Type", "FAKE"), "`content-type` is not yours to set"),
    ] {
        let error = checked(&settings).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("FAKE"), "{error}");
    }
    let headers = checked(&settings()).unwrap();
    assert!(headers["authorization"].is_sensitive() && !format!("{headers:?}").contains("FAKE"));
}

#[test]
fn certificates_that_cannot_work_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    let https = OtlpSettings { endpoint: "https://localhost:4317".into(), ..settings() };
    for (settings, says) in [
        (OtlpSettings { ca_file: Some(empty.clone()), ..settings() }, "is not encrypted"),
        (OtlpSettings { ca_file: Some("/nowhere/ca.pem".into()), ..https.clone() }, "cannot read /nowhere/ca.pem"),
        (OtlpSettings { ca_file: Some(empty.clone()), ..https.clone() }, "holds no certificate in PEM"),
        (OtlpSettings { cert_file: Some(empty), ..https }, "go together"),
    ] {
        let error = tls::Tls::read(&settings.trust()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
