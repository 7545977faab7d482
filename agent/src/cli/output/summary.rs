//! Figures of a session. Enters: calls and findings as they are printed. Leaves: a [`Summary`]. Its tables have bounds: what a
//! peer invents (model names) cannot grow them.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::{
    engine::Silenced,
    exchange::{Cost, Exchange, is_unpriced},
    findings::{ExchangeRecord, Finding, MAX_OPEN, mask},
    units::{NanoUsd, Severity},
};

/// Models that are counted apart; the rest is one line.
const MAX_MODELS: usize = 256;

/// Name of that line.
const OTHER_MODELS: &str = "(other models)";

/// Figures of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Always `outflow.summary`.
    pub event_name: &'static str,
    /// Calls seen.
    pub exchanges: u64,
    /// Of these, seen in part.
    pub partial_exchanges: u64,
    /// Bytes of bodies that were scanned.
    pub scanned_bytes: u64,
    /// Bytes of bodies.
    pub total_bytes: u64,
    /// By severity and rule, the gravest first.
    pub findings: Vec<FindingCount>,
    /// What was found and is not told, by reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<SuppressedFindings>,
    /// Sum of all known costs.
    pub cost_nano_usd: NanoUsd,
    /// Calls that answered and whose cost nobody knows.
    pub unpriced_exchanges: u64,
    /// By model, the dearest first.
    pub spend: Vec<ModelSpend>,
    /// What became of the calls of TLS libraries; absent when there was no tap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_calls: Option<TlsCalls>,
    /// What the source could not hand over.
    pub losses: Vec<Loss>,
    /// What was left alone, by verdict.
    pub not_copied: Vec<NotCopied>,
}

/// Figures of a scan of files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ScanSummary {
    /// Always `outflow.summary`.
    pub event_name: &'static str,
    /// Files that were read.
    pub files: u64,
    /// Their bytes, decompressed.
    pub bytes: u64,
    /// By severity and rule, the gravest first.
    pub findings: Vec<FindingCount>,
    /// What was found and is not told, by reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<SuppressedFindings>,
    /// Files that were left alone.
    pub skipped: Vec<SkippedFiles>,
    /// Files and folders that could not be read, or not in full.
    pub failed: u64,
    /// Blocks of files that the scanner refused.
    pub refused_blocks: u64,
}

/// What was found and is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuppressedFindings {
    /// Who wants it so: `allow-list`, `outflow:allow`, `baseline`.
    pub by: &'static str,
    /// How often it was found.
    pub occurrences: u64,
}

impl SuppressedFindings {
    /// One for each reason that occurred.
    pub fn list(silenced: &Silenced) -> Vec<Self> {
        silenced.iter().map(|(silence, count)| Self { by: silence.as_str(), occurrences: *count }).collect()
    }
}

/// Files that were left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkippedFiles {
    /// Why, a few words: `binary`.
    pub reason: String,
    /// How many.
    pub files: u64,
}

/// Findings of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingCount {
    /// How grave.
    pub severity: Severity,
    /// Rule id.
    pub rule: String,
    /// Different findings.
    pub findings: u64,
    /// How often they occurred.
    pub occurrences: u64,
}

/// Spend on one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelSpend {
    /// Vendor id, or the host when no file lists it.
    pub vendor: String,
    /// The model that answered, else the one that was asked for.
    pub model: String,
    /// Calls.
    pub exchanges: u64,
    /// Input tokens, as far as known.
    pub input_tokens: u64,
    /// Output tokens, as far as known.
    pub output_tokens: u64,
    /// Sum of the known costs; absent when none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_nano_usd: Option<NanoUsd>,
}

/// What a source has to say at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What became of the calls of TLS libraries; none without a tap.
    pub tls_calls: Option<TlsCalls>,
    /// What could not be handed over.
    pub losses: Vec<Loss>,
    /// What was left alone, by verdict.
    pub not_copied: Vec<NotCopied>,
    /// What was found and is not told.
    pub suppressed: Vec<SuppressedFindings>,
}

/// Calls of TLS libraries that moved data. Each is counted once: the first is the sum of the other four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TlsCalls {
    /// All.
    pub seen: u64,
    /// Handed over whole.
    pub whole: u64,
    /// Handed over with gaps.
    pub with_gaps: u64,
    /// Left alone: their host is not listed, or not known.
    pub left_alone: u64,
    /// Lost.
    pub lost: u64,
    /// Bytes that they carried.
    pub bytes: u64,
}

/// Bytes that the source could not hand over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Why, a few words: `ring full`.
    pub reason: String,
    /// Calls of the TLS library concerned.
    pub calls: u64,
    /// Bytes lost.
    pub bytes: u64,
}

/// Calls of the TLS library that were left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotCopied {
    /// Why, a few words: `host not listed`.
    pub verdict: String,
    /// How many calls.
    pub calls: u64,
    /// How many bytes they carried.
    pub bytes: u64,
}

/// Counts while the session runs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    exchanges: u64,
    partial_exchanges: u64,
    unpriced_exchanges: u64,
    scanned_bytes: u64,
    total_bytes: u64,
    cost: NanoUsd,
    /// By vendor and model.
    spend: BTreeMap<(String, String), ModelSpend>,
    /// By severity (gravest first) and rule: findings, occurrences.
    findings: BTreeMap<(std::cmp::Reverse<Severity>, String), (u64, u64)>,
    /// Occurrences told so far, by finding.
    told: HashMap<String, u64>,
}

impl Tally {
    pub(super) fn exchange(&mut self, exchange: &Exchange, cost: Option<&Cost>) {
        let record = ExchangeRecord::new(exchange, None);
        self.exchanges += 1;
        self.partial_exchanges += u64::from(!exchange.view.complete);
        self.scanned_bytes = self.scanned_bytes.saturating_add(record.coverage.scanned_bytes);
        self.total_bytes = self.total_bytes.saturating_add(record.coverage.total_bytes);
        self.unpriced_exchanges += u64::from(is_unpriced(exchange, cost));
        if let Some(cost) = cost {
            self.cost = NanoUsd(self.cost.0.saturating_add(cost.nano_usd.0));
        }
        let Some(model) = record.model.resolved.or(record.model.requested) else { return };
        let key = (record.destination.vendor.unwrap_or(record.destination.host), model);
        let full = self.spend.len() >= MAX_MODELS && !self.spend.contains_key(&key);
        let key = if full { (String::new(), OTHER_MODELS.to_owned()) } else { key };
        let spend = self.spend.entry(key).or_insert_with_key(|(vendor, model)| ModelSpend {
            vendor: vendor.clone(),
            model: model.clone(),
            exchanges: 0,
            input_tokens: 0,
            output_tokens: 0,
            cost_nano_usd: None,
        });
        spend.exchanges += 1;
        spend.input_tokens = spend.input_tokens.saturating_add(exchange.usage.input_tokens.unwrap_or(0));
        spend.output_tokens = spend.output_tokens.saturating_add(exchange.usage.output_tokens.unwrap_or(0));
        if let Some(cost) = cost {
            let before = spend.cost_nano_usd.unwrap_or_default();
            spend.cost_nano_usd = Some(NanoUsd(before.0.saturating_add(cost.nano_usd.0)));
        }
    }

    pub(super) fn finding(&mut self, finding: &Finding) {
        // Past the bound a finding counts once for each record of it.
        let room = self.told.len() < MAX_OPEN;
        let before = match self.told.get_mut(&finding.finding_id) {
            Some(told) => std::mem::replace(told, finding.count),
            None if room => {
                self.told.insert(finding.finding_id.clone(), finding.count);
                0
            }
            None => finding.count.saturating_sub(1),
        };
        let key = (std::cmp::Reverse(finding.severity), finding.rule.id.clone());
        let (findings, occurrences) = self.findings.entry(key).or_default();
        *findings += u64::from(finding.revision == 1);
        *occurrences += finding.count.saturating_sub(before);
    }

    /// By severity and rule, the gravest first.
    pub(super) fn findings(&self) -> Vec<FindingCount> {
        let count =
            |((severity, rule), (findings, occurrences)): (&(std::cmp::Reverse<Severity>, String), &(u64, u64))| {
                let rule = mask::bounded(rule, 64);
                FindingCount { severity: severity.0, rule, findings: *findings, occurrences: *occurrences }
            };
        self.findings.iter().map(count).collect()
    }

    pub(super) fn summary(&self, account: Account) -> Summary {
        let Account { tls_calls, losses, not_copied, suppressed } = account;
        let mut spend: Vec<ModelSpend> = self.spend.values().cloned().collect();
        spend.sort_by_key(|spend| std::cmp::Reverse(spend.cost_nano_usd));
        Summary {
            event_name: "outflow.summary",
            exchanges: self.exchanges,
            partial_exchanges: self.partial_exchanges,
            scanned_bytes: self.scanned_bytes,
            total_bytes: self.total_bytes,
            findings: self.findings(),
            suppressed,
            cost_nano_usd: self.cost,
            unpriced_exchanges: self.unpriced_exchanges,
            spend,
            tls_calls,
            losses,
            not_copied,
        }
    }
}
