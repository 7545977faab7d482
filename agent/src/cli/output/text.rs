//! Text for people, made for 100 columns. Enters: calls, findings, a summary. Leaves: whole lines. Colour says nothing that the
//! words do not; every text of a peer is cut to its column and loses its control characters.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::summary::{FindingCount, ScanSummary, Summary, SuppressedFindings, TlsCalls};
use crate::{
    exchange::{Api, Cost, CostSource, Exchange},
    findings::{Finding, Location, host, identifier, mask::bounded},
    units::{NanoUsd, Severity},
};

const WIDTH: usize = 100;

// Columns of a call, in characters; with a space between them they fill the width.
const WHO: usize = 15;
const VENDOR: usize = 9;
const MODEL: usize = 27;

/// Columns before the text of a finding: two, the severity, one.
const FINDING_INDENT: usize = 11;

/// Columns before the text of a summary line.
const SUMMARY_INDENT: usize = 13;

/// Most models that the summary lists.
const MAX_SPEND_LINES: usize = 12;

/// Writes lines; knows whether the head of the table was written.
#[derive(Debug)]
pub(super) struct Text {
    colour: bool,
    head_written: bool,
}

impl Text {
    pub(super) fn new(colour: bool) -> Self {
        Self { colour, head_written: false }
    }

    pub(super) fn exchange(&mut self, exchange: &Exchange, cost: Option<&Cost>) -> String {
        let mut out = String::new();
        if !self.head_written {
            self.head_written = true;
            let head = Row {
                time: "time",
                who: "service/pid",
                vendor: "vendor",
                api: "api",
                model: "model → resolved",
                status: "http",
                tokens: "in/out",
                cost: "cost",
                took: "took",
            };
            self.styled(&mut out, Style::new().bold(), &head.line());
            out.push('\n');
        }
        let time = exchange.started_at.rfc3339();
        let failed = exchange.error.is_some() || exchange.status.is_none_or(|status| status >= 400);
        let row = Row {
            time: time.get(11..19).unwrap_or_default(),
            who: &who(exchange),
            vendor: &exchange.vendor.as_deref().map_or_else(|| host(&exchange.host), str::to_owned),
            api: api(exchange.api),
            model: &model(exchange),
            status: &status(exchange),
            tokens: &format!("{}/{}", count(exchange.usage.input_tokens), count(exchange.usage.output_tokens)),
            cost: &price(cost),
            took: &duration(exchange.ended_at.since_ns(exchange.started_at)),
        };
        let style = if failed { AnsiColor::Red.on_default() } else { Style::new() };
        self.styled(&mut out, style, &row.line());
        out.push('\n');
        if !exchange.view.complete {
            let view = &exchange.view;
            let total = view.request_bytes.saturating_add(view.response_bytes);
            let missing = view.request_missing_bytes.saturating_add(view.response_missing_bytes);
            let seen = grouped(total.saturating_sub(missing));
            let _ = writeln!(out, "  partial  {seen} of {} bytes seen", grouped(total));
        }
        out
    }

    pub(super) fn finding(&self, finding: &Finding) -> String {
        let mut out = String::from("  ");
        self.styled(&mut out, severity_style(finding.severity), &format!("{:8}", finding.severity));
        out.push(' ');
        for (index, line) in wrapped(&finding.title, WIDTH - FINDING_INDENT).iter().enumerate() {
            let indent = if index == 0 { 0 } else { FINDING_INDENT };
            let _ = writeln!(out, "{:indent$}{line}", "");
        }
        let rule = &finding.rule.id;
        let seen = if finding.count > 1 { format!(", {} times", grouped(finding.count)) } else { String::new() };
        let room = (WIDTH - FINDING_INDENT).saturating_sub(rule.chars().count() + 2 + seen.len());
        let place = finding.location.as_ref().map(|location| place(location, room)).unwrap_or_default();
        let detail = format!("{rule}  {place}{seen}");
        self.detail(&mut out, Style::new().dimmed(), detail.trim_end());
        if let Some(excerpt) = &finding.excerpt {
            self.detail(&mut out, Style::new(), &format!("“{excerpt}”"));
        }
        // What was found stands out from what to do about it, which repeats.
        for line in wrapped(&finding.remedy, WIDTH - FINDING_INDENT) {
            self.detail(&mut out, Style::new().dimmed(), &line);
        }
        out
    }

    pub(super) fn summary(&self, summary: &Summary) -> String {
        let mut out = String::from("\n");
        let mut block = Block { text: self, out: &mut out };
        let partial = match summary.partial_exchanges {
            0 => String::new(),
            partial => format!(", {} seen in part", grouped(partial)),
        };
        block.line("calls", &format!("{}{partial}", grouped(summary.exchanges)));
        block.line("scanned", &scanned(summary.scanned_bytes, summary.total_bytes));
        block.line("spend", &spend(summary));
        for spend in summary.spend.iter().take(MAX_SPEND_LINES) {
            block.line("", &spend_line(spend));
        }
        if summary.spend.len() > MAX_SPEND_LINES {
            block.line("", &format!("and {} more", plural((summary.spend.len() - MAX_SPEND_LINES) as u64, "model")));
        }
        block.findings(&summary.findings);
        block.suppressed(&summary.suppressed);
        if let Some(calls) = &summary.tls_calls {
            block.line("TLS calls", &tls_calls(calls));
        }
        for (index, loss) in summary.losses.iter().enumerate() {
            let calls = plural(loss.calls, "call");
            let line = format!("{}  {calls}, {}", padded(&loss.reason, 36), plural(loss.bytes, "byte"));
            block.line(if index == 0 { "lost" } else { "" }, &line);
        }
        for (index, left) in summary.not_copied.iter().enumerate() {
            let calls = plural(left.calls, "call");
            let line = format!("{}  {calls}, {}", padded(&left.verdict, 36), plural(left.bytes, "byte"));
            block.line(if index == 0 { "not copied" } else { "" }, &line);
        }
        if let Some(hint) = hint(summary) {
            block.line("hint", hint);
        }
        out
    }

    pub(super) fn scan_summary(&self, summary: &ScanSummary) -> String {
        let mut out = String::from("\n");
        let mut block = Block { text: self, out: &mut out };
        block.line("files", &grouped(summary.files));
        block.line("scanned", &plural(summary.bytes, "byte"));
        for (index, skipped) in summary.skipped.iter().enumerate() {
            let line = format!("{}  {}", padded(&skipped.reason, 36), plural(skipped.files, "file"));
            block.line(if index == 0 { "left alone" } else { "" }, &line);
        }
        block.findings(&summary.findings);
        block.suppressed(&summary.suppressed);
        if summary.failed > 0 {
            block.line("incomplete", &format!("{} could not be read, or not in full", grouped(summary.failed)));
        }
        if summary.refused_blocks > 0 {
            block.line("incomplete", &format!("{} refused by the scanner", plural(summary.refused_blocks, "block")));
        }
        out
    }

    /// A line under a finding.
    fn detail(&self, out: &mut String, style: Style, text: &str) {
        let _ = write!(out, "{:FINDING_INDENT$}", "");
        self.styled(out, style, &bounded(text, WIDTH - FINDING_INDENT));
        out.push('\n');
    }

    fn styled(&self, out: &mut String, style: Style, text: &str) {
        if self.colour {
            let _ = write!(out, "{style}{text}{style:#}");
        } else {
            out.push_str(text);
        }
    }
}

/// The cells of one call.
struct Row<'a> {
    time: &'a str,
    who: &'a str,
    vendor: &'a str,
    api: &'a str,
    model: &'a str,
    status: &'a str,
    tokens: &'a str,
    cost: &'a str,
    took: &'a str,
}

impl Row<'_> {
    fn line(&self) -> String {
        format!(
            "{:8} {} {} {:5} {} {:4} {:>9} {:>10} {:>5}",
            self.time,
            padded(self.who, WHO),
            padded(self.vendor, VENDOR),
            self.api,
            padded(self.model, MODEL),
            self.status,
            self.tokens,
            self.cost,
            self.took,
        )
    }
}

/// The lines of the summary: a word, then figures.
struct Block<'a> {
    text: &'a Text,
    out: &'a mut String,
}

impl Block<'_> {
    fn line(&mut self, word: &str, figures: &str) {
        self.text.styled(self.out, Style::new().bold(), &format!("{word:SUMMARY_INDENT$}"));
        let _ = writeln!(self.out, "{}", bounded(figures, WIDTH - SUMMARY_INDENT));
    }

    fn findings(&mut self, counts: &[FindingCount]) {
        let found: u64 = counts.iter().map(|count| count.findings).sum();
        self.line("findings", &if found == 0 { "none".to_owned() } else { grouped(found) });
        for count in counts {
            let seen = format!("{}, seen {}", grouped(count.findings), plural(count.occurrences, "time"));
            self.severity(count.severity, &format!("{}  {seen}", padded(&count.rule, 32)));
        }
    }

    fn suppressed(&mut self, counts: &[SuppressedFindings]) {
        for (index, count) in counts.iter().enumerate() {
            let line = format!("{}  {}", padded(count.by, 36), plural(count.occurrences, "time"));
            self.line(if index == 0 { "not told" } else { "" }, &line);
        }
    }

    fn severity(&mut self, severity: Severity, figures: &str) {
        let _ = write!(self.out, "{:SUMMARY_INDENT$}", "");
        self.text.styled(self.out, severity_style(severity), &format!("{severity:8}"));
        let _ = writeln!(self.out, "  {}", bounded(figures, WIDTH - SUMMARY_INDENT - 10));
    }
}

/// A JSON path, or `file:line:column` with the column counted from 1 as editors do. Of a long file name the end stays: it tells
/// more, and so does the line.
pub(super) fn place(location: &Location, room: usize) -> String {
    match (&location.file, &location.path) {
        (Some(file), _) => {
            let line = location.line.unwrap_or_default();
            let at = format!(":{line}:{}", location.start.saturating_add(1));
            let (room, length) = (room.saturating_sub(at.len()).max(1), file.chars().count());
            if length <= room {
                return bounded(file, room) + &at;
            }
            let end: String = file.chars().skip(length - room + 1).collect();
            format!("…{}{at}", bounded(&end, room))
        }
        (None, Some(path)) => path.clone(),
        (None, None) => String::new(),
    }
}

fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Critical => AnsiColor::Red.on_default().bold().invert(),
        Severity::High => AnsiColor::Red.on_default().bold(),
        Severity::Medium => AnsiColor::Yellow.on_default(),
        Severity::Low => AnsiColor::Cyan.on_default(),
        Severity::Info => Style::new().dimmed(),
    }
}

fn who(exchange: &Exchange) -> String {
    let pid = match exchange.origin.pid {
        0 => String::new(),
        pid => format!("/{pid}"),
    };
    let name = if exchange.origin.service.is_empty() { &exchange.origin.process } else { &exchange.origin.service };
    format!("{}{pid}", bounded(name, WHO.saturating_sub(pid.len())))
}

fn api(api: Api) -> &'static str {
    match api {
        Api::ChatCompletions | Api::CohereChat | Api::OllamaChat => "chat",
        Api::Completions | Api::OllamaGenerate => "compl",
        Api::Responses | Api::ResponsesCompact => "resp",
        Api::Messages => "msgs",
        Api::CountTokens => "count",
        Api::GenerateContent => "gen",
        Api::Converse => "conv",
        Api::InvokeModel => "invk",
        Api::Embeddings => "embed",
        Api::Rerank => "rank",
        Api::Images => "image",
        Api::Speech => "tts",
        Api::Transcription => "stt",
        Api::Moderations => "moder",
        Api::Batches => "batch",
        Api::Realtime => "rt",
        Api::McpStreamableHttp => "mcp",
        Api::VectorUpsert | Api::VectorQuery => "vect",
        Api::Other => "other",
    }
}

/// `gpt-4o`, or `gpt-4o → …-2024-08-06` when the answer goes on from what was asked.
fn model(exchange: &Exchange) -> String {
    match (exchange.request_model.as_deref().map(identifier), exchange.response_model.as_deref().map(identifier)) {
        (None, None) => "-".to_owned(),
        (Some(one), None) | (None, Some(one)) => bounded(&one, MODEL),
        (Some(asked), Some(answered)) if asked == answered => bounded(&asked, MODEL),
        (Some(asked), Some(answered)) => pair(&asked, &answered),
    }
}

fn pair(asked: &str, answered: &str) -> String {
    if let Some(rest) = answered.strip_prefix(asked) {
        return format!("{} → …{}", bounded(asked, MODEL), bounded(rest, MODEL));
    }
    // Both names matter: each gets half of the column, and what it leaves goes to the other.
    let room = MODEL - 3;
    let half = asked.chars().count().min(room / 2);
    let asked = bounded(asked, half.max(room.saturating_sub(answered.chars().count())));
    let rest = room.saturating_sub(asked.chars().count());
    format!("{asked} → {}", bounded(answered, rest))
}

fn status(exchange: &Exchange) -> String {
    match exchange.status {
        None => "-".to_owned(),
        Some(status) if status < 400 && exchange.error.is_some() => format!("{status}!"),
        Some(status) => status.to_string(),
    }
}

/// At most four characters: `987`, `1.2k`, `12k`, `3.4M`.
fn count(tokens: Option<u64>) -> String {
    match tokens {
        None => "-".to_owned(),
        Some(tokens @ ..1000) => tokens.to_string(),
        Some(tokens @ ..10_000) => format!("{}.{}k", tokens / 1000, tokens / 100 % 10),
        Some(tokens @ ..1_000_000) => format!("{}k", tokens / 1000),
        Some(tokens @ ..10_000_000) => format!("{}.{}M", tokens / 1_000_000, tokens / 100_000 % 10),
        Some(tokens @ ..1_000_000_000) => format!("{}M", tokens / 1_000_000),
        Some(_) => ">1G".to_owned(),
    }
}

/// `-` when nobody knows; `~` before an estimate.
fn price(cost: Option<&Cost>) -> String {
    match cost {
        None => "-".to_owned(),
        Some(cost) if cost.source == CostSource::Estimated => format!("~{}", cost.nano_usd),
        Some(cost) => cost.nano_usd.to_string(),
    }
}

/// At most five characters: `850ms`, `1.2s`, `12s`, `34m`.
fn duration(ns: u64) -> String {
    let ms = ns / 1_000_000;
    match ms {
        ..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}.{}s", ms / 1000, ms / 100 % 10),
        60_000..6_000_000 => format!("{}s", ms / 1000),
        6_000_000..600_000_000 => format!("{}m", ms / 60_000),
        _ => ">7d".to_owned(),
    }
}

fn scanned(scanned: u64, total: u64) -> String {
    let share = match total {
        0 => String::new(),
        // Rounded down: 100 % means all.
        total => {
            let tenths = u128::from(scanned) * 1000 / u128::from(total);
            format!(" ({}.{} %)", tenths / 10, tenths % 10)
        }
    };
    format!("{} of {}{share}", grouped(scanned), plural(total, "byte"))
}

/// An equation, so that everybody sees that nothing is missing.
fn tls_calls(calls: &TlsCalls) -> String {
    let parts = [
        (calls.whole, "whole"),
        (calls.with_gaps, "with gaps"),
        (calls.left_alone, "not copied"),
        (calls.lost, "lost"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{} {what}", grouped(*count)));
    let parts = parts.collect::<Vec<_>>().join(" + ");
    let is = if parts.is_empty() { "" } else { " = " };
    format!("{} seen{is}{parts}, {}", grouped(calls.seen), plural(calls.bytes, "byte"))
}

/// What to look at when a tap has nothing to show.
fn hint(summary: &Summary) -> Option<&'static str> {
    let calls = summary.tls_calls.filter(|_| summary.exchanges == 0 && summary.findings.is_empty())?;
    Some(match (calls.seen, calls.left_alone) {
        (0, _) => "no TLS was seen; `outflow doctor --pid PID` says how a process is seen, and why not",
        (_, 1..) => "no call went to a listed host; --host adds a gateway or a host of your own",
        _ => return None,
    })
}

fn spend(summary: &Summary) -> String {
    let unknown = match summary.unpriced_exchanges {
        0 => String::new(),
        calls => format!(", and {} whose cost is not known", plural(calls, "call")),
    };
    format!("{}{unknown}", summary.cost_nano_usd)
}

fn spend_line(spend: &super::ModelSpend) -> String {
    let cost = spend.cost_nano_usd.map_or_else(|| "-".to_owned(), |cost: NanoUsd| cost.to_string());
    let tokens = format!("{} in, {} out", grouped(spend.input_tokens), grouped(spend.output_tokens));
    let model = format!("{} {}", spend.vendor, spend.model);
    format!("{cost:>10}  {}  {}, {tokens}", padded(model.trim_start(), 36), plural(spend.exchanges, "call"))
}

/// Cut or filled to exactly `width` characters.
fn padded(text: &str, width: usize) -> String {
    format!("{:width$}", bounded(text, width))
}

fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// `1,234,567`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Breaks at spaces; a word longer than the width is cut. At most four lines.
pub(in crate::cli) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let text = bounded(text, 4 * width - 4);
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let word = bounded(word, width);
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}
