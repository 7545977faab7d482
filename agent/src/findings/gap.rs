//! The finding about lines of a log that are lost. Enters: a [`Gap`]. Leaves: one occurrence of `coverage.log-gap`. Nothing of the
//! log's text is known here.

use std::collections::BTreeMap;

use super::{Category, Finding, Location, Maker, Policy, fingerprint::stable_id, mask, parties::process};
use crate::{
    sources::{
        log::LogFile,
        tail::{Gap, GapReason},
    },
    units::{Severity, Timestamp},
};

/// Id of the rule.
pub const LOG_GAP: &str = "coverage.log-gap";

/// Longest path, characters: PATH_MAX of linux/limits.h.
const MAX_PATH_CHARS: usize = 4096;

impl Maker {
    /// Lines of `file` are lost. Known bytes make it graver: without them it is only possible that there were any.
    pub fn gap(&self, file: &LogFile, gap: &Gap, at: Timestamp, policy: &Policy) -> Finding {
        let (reason, case, how) = match gap.reason {
            GapReason::Truncated => ("truncated", "truncated", "was truncated"),
            GapReason::Gone => ("gone", "gone", "disappeared while the agent was not running"),
            GapReason::RateCap => ("rate cap", "rate_cap", "has more than max_bytes_per_second lets through"),
            GapReason::Damaged => ("damaged", "damaged", "is compressed and damaged"),
            GapReason::Unreadable => ("unreadable", "unreadable", "cannot be read"),
            GapReason::TooMany => ("too many", "too_many", "is one file too many"),
        };
        let path = mask::bounded(&file.path, MAX_PATH_CHARS);
        let name = path.rsplit('/').next().unwrap_or_default();
        let at_least = match gap.known_bytes {
            _ if matches!(gap.reason, GapReason::Unreadable | GapReason::TooMany) => {
                "nobody looks at what is in it".to_owned()
            }
            0 if gap.reason == GapReason::Damaged => format!("what stands behind byte {} is lost", gap.offset),
            0 => "what was written just before is lost, if anything was".to_owned(),
            bytes if gap.reason == GapReason::RateCap => format!("{bytes} bytes were not scanned"),
            bytes => format!("at least {bytes} bytes are lost"),
        };
        let is_sure = gap.known_bytes > 0
            || matches!(gap.reason, GapReason::Damaged | GapReason::Unreadable | GapReason::TooMany);
        let id = stable_id(&[LOG_GAP, &file.origin.service, "log", &file.path, reason]);
        let time = |at: Timestamp| serde_json::Value::from(at.rfc3339());
        let seen = (at.rfc3339(), at.rfc3339());
        let mut finding = Finding {
            severity: if is_sure { Severity::Medium } else { Severity::Low },
            confidence: if is_sure { 100 } else { 50 },
            title: format!("{name} {how}: {at_least}"),
            location: Some(Location {
                side: None,
                path: None,
                file: Some(path),
                line: None,
                byte_offset: Some(gap.offset),
                start: gap.offset,
                end: gap.offset.saturating_add(gap.known_bytes),
            }),
            attributes: BTreeMap::from([
                ("gap.reason".to_owned(), reason.into()),
                ("gap.known_bytes".to_owned(), gap.known_bytes.into()),
                ("gap.from".to_owned(), time(gap.from)),
                ("gap.until".to_owned(), time(gap.until)),
            ]),
            ..Finding::of_agent(id, Category::Coverage, process(&file.origin), seen)
        };
        policy.describe(&mut finding, LOG_GAP, Some(case), &[]);
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::FingerprintKey;

    #[test]
    fn a_gap_names_file_bytes_and_time_and_repeats_are_one_finding() {
        let maker = Maker::new(FingerprintKey::new([1; 32]));
        let file = LogFile { path: "/var/log/app.log".to_owned(), ..LogFile::default() };
        let gap = |known_bytes, reason| {
            let gap = Gap { reason, offset: 10, known_bytes, from: Timestamp(1), until: Timestamp(2_000_000_000) };
            maker.gap(&file, &gap, Timestamp(2_000_000_000), &Policy::default())
        };
        let known = gap(5, GapReason::Truncated);
        assert_eq!(known.title, "app.log was truncated: at least 5 bytes are lost");
        assert_eq!((known.severity, known.category), (Severity::Medium, Category::Coverage));
        let location = known.location.clone().unwrap();
        assert_eq!((location.file.as_deref(), location.start, location.end), (Some("/var/log/app.log"), 10, 15));
        assert_eq!(known.attributes["gap.until"], "1970-01-01T00:00:02.000Z");
        let unknown = gap(0, GapReason::Truncated);
        assert_eq!(unknown.severity, Severity::Low);
        assert_eq!(unknown.finding_id, known.finding_id);
        assert_ne!(gap(0, GapReason::Gone).finding_id, known.finding_id);
        let says = |known_bytes, reason| gap(known_bytes, reason).title;
        let damaged = "app.log is compressed and damaged: what stands behind byte 10 is lost";
        assert_eq!(says(0, GapReason::Damaged), damaged);
        let capped = "app.log has more than max_bytes_per_second lets through: 7 bytes were not scanned";
        assert_eq!(says(7, GapReason::RateCap), capped);
        assert_eq!(says(0, GapReason::Unreadable), "app.log cannot be read: nobody looks at what is in it");
        assert_eq!(gap(0, GapReason::TooMany).severity, Severity::Medium);
        assert_eq!(gap(7, GapReason::RateCap).attributes["gap.reason"], "rate cap");
    }
}
