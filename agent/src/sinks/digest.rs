//! What a sink is told of records that were too many to be sent one by one. Enters: those records. Leaves: one record in the form of a
//! finding, so that every format knows how to write it, made of nothing but what it tells of: the same records give the same bytes.

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    gate::Withheld,
    host::Host,
    receiver::{Record, Refused},
};
use crate::{
    findings::{Category, Finding, Process, Rule},
    units::{Severity, hex},
};

/// Id of the rule.
pub const DIGEST: &str = "delivery.digest";

/// Pairs of rule and service that are told apart.
const LINES_MAX: usize = 50;

/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 32;

/// Records to be told in one.
#[derive(Debug)]
pub(super) struct Digest {
    most: usize,
    lines: BTreeMap<(String, String), Line>,
    /// Records of further rules and services.
    others: u64,
    severity: Severity,
    first: Option<Edge>,
    newest: String,
    last_record: String,
    /// The last row that it stands for.
    pub(super) last: u64,
    pub(super) withheld: Withheld,
    /// Rows among these that nothing can be made of.
    pub(super) unreadable: Vec<Refused>,
}

/// Where it begins.
#[derive(Debug)]
struct Edge {
    seq: u64,
    record_id: String,
    oldest: String,
}

#[derive(Debug)]
struct Line {
    records: u64,
    severity: Severity,
}

impl Digest {
    /// Of nothing yet; `most` is the limit.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            lines: BTreeMap::new(),
            others: 0,
            severity: Severity::Info,
            first: None,
            newest: String::new(),
            last_record: String::new(),
            last: 0,
            withheld: Withheld::default(),
            unreadable: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, record: &Record) {
        let finding = &record.finding;
        self.withheld.digested += 1;
        self.severity = self.severity.max(finding.severity);
        let first = self.first.get_or_insert_with(|| Edge {
            seq: record.seq,
            record_id: record.record_id.clone(),
            oldest: finding.last_seen.clone(),
        });
        // RFC 3339 in UTC with a fixed number of digits sorts as text.
        if finding.last_seen < first.oldest {
            first.oldest.clone_from(&finding.last_seen);
        }
        if finding.last_seen > self.newest {
            self.newest.clone_from(&finding.last_seen);
        }
        self.last_record.clone_from(&record.record_id);
        let key = (finding.rule.id.clone(), finding.process.service.clone());
        let has_room = self.lines.len() < LINES_MAX;
        match self.lines.get_mut(&key) {
            Some(line) => {
                line.records += 1;
                line.severity = line.severity.max(finding.severity);
            }
            None if has_room => {
                self.lines.insert(key, Line { records: 1, severity: finding.severity });
            }
            None => self.others += 1,
        }
    }

    /// As a record, and the rows that are dead letters with it.
    pub(super) fn record(self, sink: &str, host: &Host) -> (Record, Vec<Refused>) {
        let records = self.withheld.digested;
        let (first_seq, first_record, oldest) =
            self.first.map(|first| (first.seq, first.record_id, first.oldest)).unwrap_or_default();
        let parts = [
            DIGEST,
            host.name.as_str(),
            host.id.as_deref().unwrap_or_default(),
            sink,
            first_record.as_str(),
            self.last_record.as_str(),
        ];
        let hash = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part).chain_update(b"\0"));
        let id = hex(&hash.finalize(), ID_DIGITS);

        let mut lines: Vec<_> = self.lines.into_iter().collect();
        lines.sort_by(|(left, a), (right, b)| b.records.cmp(&a.records).then_with(|| left.cmp(right)));
        let lines: Vec<_> = lines
            .into_iter()
            .map(|((rule, service), Line { records, severity })| {
                json!({"rule": rule, "service": service, "severity": severity, "records": records})
            })
            .collect();
        let (most, s) = (self.most, if records == 1 { "" } else { "s" });
        let finding = Finding {
            rule: Rule {
                id: DIGEST.to_owned(),
                title: "More than a sink is told one by one".to_owned(),
                references: Vec::new(),
            },
            severity: self.severity,
            title: format!("{records} record{s} more than {most} a minute, not sent one by one"),
            remedy: "Read them with `outflow findings list`. If this comes often, send this sink less with `only` and `except`, or \
                     raise `max_per_minute`."
                .to_owned(),
            count: records.max(1),
            attributes: BTreeMap::from([
                ("digest.sink".to_owned(), json!(sink)),
                ("digest.max_per_minute".to_owned(), json!(most)),
                ("digest.records".to_owned(), json!(records)),
                ("digest.first_seq".to_owned(), json!(first_seq)),
                ("digest.last_seq".to_owned(), json!(self.last)),
                ("digest.by_rule_and_service".to_owned(), json!(lines)),
                ("digest.other_records".to_owned(), json!(self.others)),
            ]),
            ..Finding::of_agent(id, Category::Coverage, Process::of_agent(), (oldest, self.newest))
        };
        let payload = serde_json::to_string(&finding).unwrap_or_default();
        let (record_id, activity) = (finding.record_id.clone(), finding.activity);
        (Record { seq: self.last, record_id, activity, finding, payload }, self.unreadable)
    }
}
