//! What people and programs read, as snapshots in `tests/it/snapshots`.

use std::sync::Arc;

use super::*;
use crate::{
    detectors::{Behaviour, Hit, Leak, Place, Side},
    exchange::{Api, CostSource, Usage, sample},
    findings::{Findings, FingerprintKey, Location, Maker},
    rules::ScanRule,
    sources::Origin,
    units::{NanoUsd, Severity, Timestamp},
};

fn cost(nano_usd: u64, source: CostSource) -> Cost {
    Cost { nano_usd: NanoUsd(nano_usd), source, catalogue: "genai-prices 0.2.1".into() }
}

/// A session with everything that can be shown.
fn session(printer: &mut Printer<impl Write>) -> io::Result<()> {
    let maker = Maker::new(FingerprintKey::new([7; 32]));
    let mut findings = Findings::new(60_000_000_000);
    let rule = ScanRule {
        id: "secret.openai-api-key".into(),
        group: "llm".into(),
        entity: "OPENAI_API_KEY".into(),
        title: "OpenAI API key".into(),
        severity: Severity::Critical,
        confidence: 95,
        pattern: String::new(),
        remedy: "Revoke the key at platform.openai.com, make a new one, and keep it out of prompts: whoever reads the \
                 vendor's logs can use it."
            .into(),
        references: vec!["https://platform.openai.com/docs/api-reference/authentication".into()],
    };

    let mut alias = sample::exchange("openai", "gpt-4o-mini");
    alias.response_model = Some("gpt-4o-mini-2024-07-18".into());
    alias.tool_calls = vec!["search".into()];
    let price = cost(210_000, CostSource::Catalogue);
    printer.exchange(&alias, Some(&price), None)?;
    let text = "export OPENAI_API_KEY=sk-proj-FAKEfakeFAKEfakeFAKEfake # for jane@example.com";
    let address = 61..77;
    let leak = Hit::Leak(Leak {
        rule: &rule,
        haystack: text.as_bytes(),
        span: 22..54,
        others: std::slice::from_ref(&address),
        confidence: 99,
        place: Place::Exchange { exchange: &alias, side: Side::Request, path: "$.messages[1].content[0].text" },
    });
    let unpinned = Hit::Behaviour(Behaviour {
        rule: "model.unpinned",
        references: vec!["https://developers.openai.com/api/docs/models".into()],
        key: "gpt-4o-mini".into(),
        severity: Severity::Medium,
        confidence: 95,
        title: "`gpt-4o-mini` is an alias that can move; it answered as `gpt-4o-mini-2024-07-18`".into(),
        case: None,
        facts: vec![("model.pin_class", "alias".into())],
        exchange: &alias,
    });
    let seen = [&leak, &unpinned, &leak].map(|hit| maker.occurrence(hit, alias.started_at, Some(&price)));
    for finding in findings.count(seen.into(), alias.started_at) {
        printer.finding(&finding)?;
    }

    let mut partial = sample::exchange("anthropic", "claude-sonnet-4-5");
    partial.response_model = Some("claude-haiku-4-5-20251001".into());
    partial.view.request_missing_bytes = 300;
    partial.view.complete = false;
    partial.usage = Usage { input_tokens: Some(123_456), ..Usage::default() };
    partial.ended_at = Timestamp(partial.started_at.0 + 83_000_000_000);
    printer.exchange(&partial, Some(&cost(370_368_000, CostSource::Estimated)), None)?;

    let mut hostile =
        sample::exchange("openai", "\u{1b}[2Ja-very-long-model-name-that-somebody-made-up-to-break-the-table");
    hostile.origin =
        Arc::new(Origin { pid: 4_194_304, service: "a-service-with-a-long-name".into(), ..Origin::default() });
    hostile.vendor = None;
    hostile.host = "llm-gateway.corp.example.internal".into();
    hostile.api = Api::Other;
    hostile.status = Some(200);
    hostile.error = Some("overloaded".into());
    hostile.usage = Usage::default();
    printer.exchange(&hostile, None, None)?;

    let lost = Exchange { status: None, request_model: None, response_model: None, usage: Usage::default(), ..partial };
    printer.exchange(&lost, None, None)?;

    for finding in findings.finish() {
        printer.finding(&finding)?;
    }
    let losses = vec![
        Loss { reason: "ring full".into(), calls: 2, bytes: 12_345 },
        Loss { reason: "page not resident".into(), calls: 1, bytes: 1 },
    ];
    let not_copied = vec![NotCopied { verdict: "host not listed".into(), calls: 12, bytes: 4800 }];
    let tls_calls = TlsCalls { seen: 1_042, whole: 1_026, with_gaps: 1, left_alone: 12, lost: 3, bytes: 1_234_567 };
    let suppressed = vec![SuppressedFindings { by: "allow-list", occurrences: 3 }];
    printer.summary(Account { tls_calls: Some(tls_calls), losses, not_copied, suppressed })
}

fn printed(format: Format, colour: bool) -> String {
    let mut printer = Printer::new(Vec::new(), format, colour);
    session(&mut printer).unwrap();
    assert!(!printer.is_closed());
    String::from_utf8(printer.into_inner()).unwrap()
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../../tests/it/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn text() {
    let text = printed(Format::Text, false);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains("FAKE"), "{text}");
    snapshot("output_text", &text);
}

#[test]
fn colour_adds_nothing_but_colour() {
    let colourful = printed(Format::Text, true);
    assert!(colourful.contains("\u{1b}["));
    assert_eq!(anstream::adapter::strip_str(&colourful).to_string(), printed(Format::Text, false));
}

#[test]
fn jsonl() {
    let text = printed(Format::Jsonl, true);
    let events: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().filter_map(|event| event["event_name"].as_str()).collect();
    let (call, found, end) = ("outflow.exchange", "outflow.finding", "outflow.summary");
    assert_eq!(names, [call, found, found, call, call, call, found, end]);
    assert!(!text.contains("FAKE") && !text.contains("jane"), "{text}");
    snapshot("output_jsonl", &text);
}

#[test]
fn a_place_in_a_file_keeps_its_line_and_the_end_of_its_name() {
    let file = format!("/srv/{}\u{1b}app.log", "deep/".repeat(40));
    let location =
        Location { side: None, path: None, file: Some(file), line: Some(1234), byte_offset: None, start: 7, end: 9 };
    let shown = text::place(&location, 40);
    assert_eq!(shown.chars().count(), 40);
    assert!(shown.starts_with('…') && shown.ends_with("deep/ app.log:1234:8"), "{shown}");
    let short = Location { file: Some("a.log".into()), ..location };
    assert_eq!(text::place(&short, 40), "a.log:1234:8");
}

#[test]
fn an_empty_session_has_a_summary() {
    let mut printer = Printer::new(Vec::new(), Format::Text, false);
    printer.summary(Account::default()).unwrap();
    snapshot("output_empty", &String::from_utf8(printer.into_inner()).unwrap());
}

/// A pipe whose reader went away after some writes.
struct Pipe {
    writes_left: usize,
    after: io::ErrorKind,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.writes_left == 0 {
            return Err(self.after.into());
        }
        self.writes_left -= 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broken_pipe_ends_quietly_and_a_full_disk_does_not() {
    for writes_left in 0..4 {
        let mut printer = Printer::new(Pipe { writes_left, after: io::ErrorKind::BrokenPipe }, Format::Jsonl, false);
        session(&mut printer).unwrap();
        assert!(printer.is_closed());
        let mut printer = Printer::new(Pipe { writes_left, after: io::ErrorKind::StorageFull }, Format::Text, false);
        assert_eq!(session(&mut printer).map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    }
}
