//! The finding that what the fleet spent is not known. Enters: which topic, how old the totals are, why. Leaves: one occurrence of
//! `coverage.fleet-stale`, and the id by which it is closed again.

use std::collections::BTreeMap;

use super::{Category, Finding, Policy, Process, fingerprint::stable_id, mask};
use crate::units::{Severity, Timestamp};

/// Id of the rule.
pub const FLEET_STALE: &str = "coverage.fleet-stale";

/// Longest text of a library, characters.
const MAX_REASON_CHARS: usize = 256;

/// Budgets that are named at most.
const MAX_BUDGETS: usize = 32;

/// What is known of totals that are too old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetStale {
    /// The topic that they are read from.
    pub topic: String,
    /// Up to when they count; `None`: nobody ever told of any.
    pub as_of: Option<Timestamp>,
    /// How old they may be, seconds.
    pub stale_after_seconds: u64,
    /// Why nothing is heard, when it is known.
    pub reason: Option<String>,
    /// The budgets that count this host alone meanwhile.
    pub budgets: Vec<String>,
    /// One of them stops calls.
    pub enforces: bool,
}

/// The id of the finding about this topic.
pub fn fleet_stale_id(topic: &str) -> String {
    stable_id(&[FLEET_STALE, "outflow", "fleet", topic])
}

impl FleetStale {
    /// The finding, as it is at `at`.
    pub fn finding(&self, at: Timestamp, policy: &Policy) -> Finding {
        let mut attributes = BTreeMap::from([
            ("fleet.topic".to_owned(), self.topic.as_str().into()),
            ("fleet.stale_after_seconds".to_owned(), self.stale_after_seconds.into()),
            ("fleet.budgets".to_owned(), self.budgets.iter().take(MAX_BUDGETS).cloned().collect::<Vec<_>>().into()),
        ]);
        if let Some(as_of) = self.as_of {
            attributes.insert("fleet.as_of".to_owned(), as_of.rfc3339().into());
        }
        if let Some(reason) = &self.reason {
            attributes.insert("fleet.reason".to_owned(), mask::bounded(reason, MAX_REASON_CHARS).into());
        }
        let since = match self.as_of {
            Some(as_of) => format!("its totals end at {}", as_of.rfc3339()),
            None => "nobody has told of any totals".to_owned(),
        };
        let at = (at.rfc3339(), at.rfc3339());
        let mut finding = Finding {
            severity: if self.enforces { Severity::High } else { Severity::Medium },
            title: format!("What the fleet spends is not known, {since}: its budgets count this host alone"),
            attributes,
            ..Finding::of_agent(fleet_stale_id(&self.topic), Category::Coverage, Process::of_agent(), at)
        };
        policy.describe(&mut finding, FLEET_STALE, None, &[]);
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_topic_and_repeats_are_one_finding() {
        let stale = FleetStale {
            topic: "outflow.budgets".to_owned(),
            as_of: Some(Timestamp(1_000_000_000)),
            stale_after_seconds: 120,
            reason: Some("no broker can be reached".to_owned()),
            budgets: vec!["chat".to_owned()],
            enforces: true,
        };
        let finding = stale.finding(Timestamp(2), &Policy::default());
        assert_eq!((finding.severity, finding.category), (Severity::High, Category::Coverage));
        assert_eq!(finding.attributes["fleet.as_of"], "1970-01-01T00:00:01.000Z");
        assert!(finding.remedy.contains("outflow fleet"), "{}", finding.remedy);
        assert_eq!(finding.finding_id, fleet_stale_id("outflow.budgets"));
        let never = FleetStale { as_of: None, enforces: false, ..stale };
        let again = never.finding(Timestamp(9), &Policy::default());
        assert_eq!((again.finding_id, again.severity), (finding.finding_id, Severity::Medium));
        assert!(again.title.contains("nobody has told"), "{}", again.title);
    }
}
