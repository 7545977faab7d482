//! What an agent knows of the fleet's totals. Enters: messages of the state topic, and the time. Leaves: totals that may be judged by, whether
//! they are fresh, and counts of what was no record. Pure.
//!
//! State: at most [`TOTALS_MAX`] totals, the one that was told least recently goes first; the progress of at most as many partitions as a record can name.

use std::collections::{BTreeMap, HashMap};

use super::record::{Identity, Refusal, StateKey, StateRecord, Total, WHOLE};
use crate::{detectors::budget::FleetTotal, lru::Lru, units::Timestamp};

/// Totals that are kept, those of windows that are over included.
const TOTALS_MAX: usize = 65_536;

/// A window that is over by so much is forgotten: no host's clock is further behind.
const KEPT_MS: u64 = 3_600_000;

const NS_IN_MS: u64 = 1_000_000;

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken.
    pub taken: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Overtaken by a newer one of the same key.
    pub overtaken: u64,
    /// Of an unknown version of the schema.
    pub unknown_version: u64,
    /// No records.
    pub invalid: u64,
    /// Totals that went because there were too many.
    pub evicted: u64,
}

/// How the totals stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They hold everything up to this time.
    Fresh(Timestamp),
    /// Too old; `None`: nobody ever told of any.
    Stale(Option<Timestamp>),
}

impl Standing {
    /// They may be judged by.
    pub fn is_fresh(self) -> bool {
        matches!(self, Self::Fresh(_))
    }
}

/// The newest of each key.
#[derive(Debug)]
pub struct View {
    totals: Lru<Identity, Total>,
    /// By partition: everything up to this time is counted, milliseconds since the Unix epoch.
    progress: BTreeMap<i32, u64>,
    counts: Counts,
}

impl Default for View {
    fn default() -> Self {
        Self { totals: Lru::new(TOTALS_MAX), progress: BTreeMap::new(), counts: Counts::default() }
    }
}

impl View {
    /// Takes a message.
    pub fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        match StateRecord::read(key, value) {
            Ok(StateRecord::Total(total)) => self.take_total(total),
            Ok(StateRecord::Progress(progress)) => {
                self.counts.taken += 1;
                self.progress.insert(progress.part, progress.as_of_ms);
            }
            Ok(StateRecord::Tombstone(key)) => {
                self.counts.tombstones += 1;
                match key {
                    StateKey::Total(identity) => drop(self.totals.remove(&identity)),
                    StateKey::Progress { progress } => drop(self.progress.remove(&progress)),
                }
            }
            Err(Refusal::UnknownVersion) => self.counts.unknown_version += 1,
            Err(Refusal::Invalid) => self.counts.invalid += 1,
        }
    }

    fn take_total(&mut self, total: Total) {
        let known = self.totals.peek(&total.identity);
        if known.is_some_and(|known| total.is_overtaken_by(known)) {
            self.counts.overtaken += 1;
            return;
        }
        self.counts.taken += 1;
        let evicted = self.totals.insert(total.identity.clone(), total);
        self.counts.evicted += u64::from(evicted.is_some());
    }

    /// Forgets windows that are over for long.
    pub fn prune(&mut self, now: Timestamp) {
        let now_ms = now.0 / NS_IN_MS;
        let over = |total: &&Total| total.period_end_ms().saturating_add(KEPT_MS) < now_ms;
        let gone: Vec<Identity> =
            self.totals.iter().map(|(_, total)| total).filter(over).map(|total| total.identity.clone()).collect();
        for identity in gone {
            self.totals.remove(&identity);
        }
    }

    /// What became of messages so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How the totals stand at `now`: those of partitions, or those of one who counts them all, whichever are better.
    pub fn standing(&self, now: Timestamp, stale_after_ns: u64) -> Standing {
        let of = |is_whole: bool| self.standing_of(is_whole, now, stale_after_ns);
        match (of(true), of(false)) {
            (Standing::Fresh(whole), Standing::Fresh(parts)) => Standing::Fresh(whole.max(parts)),
            (fresh @ Standing::Fresh(_), _) | (_, fresh @ Standing::Fresh(_)) => fresh,
            (Standing::Stale(whole), Standing::Stale(parts)) => Standing::Stale(whole.max(parts)),
        }
    }

    /// The oldest of the partitions counts: without one of them a total is not whole. What claims to be of the future is not believed.
    fn standing_of(&self, is_whole: bool, now: Timestamp, stale_after_ns: u64) -> Standing {
        let times = self.progress.iter().filter(|(part, _)| (**part == WHOLE) == is_whole).map(|(_, as_of)| *as_of);
        let known: Vec<u64> = times.map(|as_of| as_of.saturating_mul(NS_IN_MS)).collect();
        let is_fresh = |as_of: &u64| now.0.abs_diff(*as_of) <= stale_after_ns;
        match known.iter().min() {
            Some(oldest) if known.iter().all(is_fresh) => Standing::Fresh(Timestamp(*oldest)),
            oldest => Standing::Stale(oldest.copied().map(Timestamp)),
        }
    }

    /// The totals that may be judged by at `now`: none of those that are stale. Of partitions they are added up; where somebody counts all of
    /// them as well, the larger counts, never the sum.
    pub fn totals(&self, now: Timestamp, stale_after_ns: u64) -> Vec<FleetTotal> {
        let is_good = |is_whole| matches!(self.standing_of(is_whole, now, stale_after_ns), Standing::Fresh(_));
        let (whole_is_good, parts_are_good) = (is_good(true), is_good(false));
        let mut sums: HashMap<(Identity, u64), (u64, u64)> = HashMap::new();
        for (identity, total) in self.totals.iter() {
            let is_whole = identity.part == WHOLE;
            if (is_whole && !whole_is_good) || (!is_whole && !parts_are_good) {
                continue;
            }
            let of = Identity { part: WHOLE, ..identity.clone() };
            let (whole, parts) = sums.entry((of, total.period_ms)).or_default();
            let sum = if is_whole { whole } else { parts };
            *sum = sum.saturating_add(total.spent);
        }
        let total = |((identity, period_ms), (whole, parts)): ((Identity, u64), (u64, u64))| FleetTotal {
            owner: identity.owner(),
            unit: identity.unit,
            window_start: Timestamp(identity.period_start_ms.saturating_mul(NS_IN_MS)),
            window_ns: period_ms.saturating_mul(NS_IN_MS),
            spent: whole.max(parts),
            budget: identity.budget,
        };
        sums.into_iter().map(total).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::record::{PROGRESS_EVENT, Progress, STATE_SCHEMA_VERSION, tests::total},
        *,
    };

    const MINUTE: u64 = 60_000_000_000;
    const NOW: Timestamp = Timestamp(2 * 3_600_000 * NS_IN_MS - 1);

    fn tell(view: &mut View, record: &StateRecord) {
        view.take(Some(&serde_json::to_vec(&record.key()).unwrap()), record.value().unwrap().as_deref());
    }

    fn progress(view: &mut View, part: i32, age_ns: u64) {
        let as_of_ms = NOW.0.saturating_sub(age_ns) / NS_IN_MS;
        let event_name = PROGRESS_EVENT.to_owned();
        let (schema_version, next_offset) = (STATE_SCHEMA_VERSION, None);
        tell(view, &StateRecord::Progress(Progress { schema_version, event_name, part, as_of_ms, next_offset }));
    }

    fn spent(view: &View) -> Option<u64> {
        let totals = view.totals(NOW, MINUTE);
        assert!(totals.len() <= 1, "{totals:?}");
        totals.first().map(|total| total.spent)
    }

    #[test]
    fn partitions_add_up_and_are_stale_together() {
        let mut view = View::default();
        assert_eq!(view.standing(NOW, MINUTE), Standing::Stale(None));
        tell(&mut view, &StateRecord::Total(total("day", 0, 5, Some(1))));
        tell(&mut view, &StateRecord::Total(total("day", 1, 7, Some(1))));
        assert_eq!(spent(&view), None, "nobody says how old they are");
        progress(&mut view, 0, 1_000_000);
        progress(&mut view, 1, MINUTE / 2);
        assert_eq!(spent(&view), Some(12));
        assert!(matches!(view.standing(NOW, MINUTE), Standing::Fresh(at) if NOW.since_ns(at) >= MINUTE / 2));
        progress(&mut view, 1, 2 * MINUTE);
        assert_eq!((spent(&view), view.standing(NOW, MINUTE).is_fresh()), (None, false), "one of them stands still");
        tell(&mut view, &StateRecord::Tombstone(StateKey::Progress { progress: 1 }));
        assert!(view.standing(NOW, MINUTE).is_fresh());
    }

    #[test]
    fn two_who_count_are_never_added() {
        let mut view = View::default();
        progress(&mut view, 0, 0);
        progress(&mut view, WHOLE, 0);
        tell(&mut view, &StateRecord::Total(total("day", 0, 5, Some(1))));
        tell(&mut view, &StateRecord::Total(total("day", WHOLE, 7, None)));
        assert_eq!(spent(&view), Some(7));
        progress(&mut view, WHOLE, 2 * MINUTE);
        assert_eq!(spent(&view), Some(5), "what is stale does not count, and the other does");
        assert!(view.standing(NOW, MINUTE).is_fresh());
    }

    #[test]
    fn the_future_is_not_believed() {
        let mut view = View::default();
        let as_of_ms = (NOW.0 + 2 * MINUTE) / NS_IN_MS;
        let event_name = PROGRESS_EVENT.to_owned();
        let record = Progress { schema_version: 1, event_name, part: 0, as_of_ms, next_offset: None };
        tell(&mut view, &StateRecord::Progress(record));
        assert!(!view.standing(NOW, MINUTE).is_fresh());
        assert!(view.standing(NOW, 3 * MINUTE).is_fresh(), "clocks differ a little");
    }

    #[test]
    fn what_was_overtaken_changes_nothing_and_what_was_counted_anew_does() {
        let mut view = View::default();
        progress(&mut view, 0, 0);
        tell(&mut view, &StateRecord::Total(total("day", 0, 50, Some(9))));
        tell(&mut view, &StateRecord::Total(total("day", 0, 40, Some(7))));
        assert_eq!((spent(&view), view.counts().overtaken), (Some(50), 1));
        tell(&mut view, &StateRecord::Total(total("day", 0, 60, Some(3))));
        assert_eq!(spent(&view), Some(60), "the topic was made anew, its offsets begin again");
        let key = StateKey::Total(total("day", 0, 0, None).identity);
        tell(&mut view, &StateRecord::Tombstone(key));
        assert_eq!((spent(&view), view.counts().tombstones), (None, 1));
    }

    #[test]
    fn what_is_no_record_is_counted() {
        let mut view = View::default();
        let key = serde_json::to_vec(&StateKey::Progress { progress: 0 }).unwrap();
        view.take(Some(&key), Some(b"{\"schema_version\":9,\"event_name\":\"x\"}"));
        view.take(Some(&key), Some(b"\x00\x01garbage"));
        view.take(None, None);
        let counts = view.counts();
        assert_eq!((counts.unknown_version, counts.invalid, counts.taken), (1, 2, 0));
    }

    #[test]
    fn there_is_a_bound_and_what_is_over_goes() {
        let mut view = View::default();
        progress(&mut view, 0, 0);
        for number in 0..=TOTALS_MAX {
            let mut one = total("day", 0, 1, Some(1));
            one.identity.service = number.to_string();
            view.take_total(one);
        }
        assert_eq!((view.totals.len(), view.counts().evicted), (TOTALS_MAX, 1));
        view.prune(NOW);
        assert_eq!(view.totals.len(), TOTALS_MAX, "their window lasts");
        view.prune(Timestamp(NOW.0 + 61 * MINUTE));
        assert!(view.totals.is_empty());
    }
}
