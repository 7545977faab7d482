//! Files that were read, and are gone. Enters: their records. Leaves: which of them an archive may hold. State, bounded: [`FINISHED_MAX`]
//! records, the oldest forgotten first; each is a checkpoint of about 300 bytes. It reads no file.

use std::collections::BTreeMap;

use super::{
    Mark,
    record::{FINISHED, Record, free_key},
};
use crate::{sources::Checkpoint, units::Timestamp};

/// Most that are remembered. An archive that turns up takes its record away, so this bounds those that nobody compressed.
const FINISHED_MAX: usize = 1000;

/// All of them, by the key of their checkpoint; keys sort by time.
#[derive(Debug)]
pub(super) struct Finished(BTreeMap<String, Record>);

impl Finished {
    /// What an earlier life remembered.
    pub(super) fn new(remembered: &[Checkpoint]) -> Self {
        let ours = remembered.iter().filter(|checkpoint| checkpoint.key.starts_with(FINISHED));
        Self(ours.filter_map(|checkpoint| Some((checkpoint.key.clone(), Record::read(checkpoint)?))).collect())
    }

    /// Remembers a file that is gone; `mark` says what to store and to forget for that.
    pub(super) fn add(&mut self, record: Record, now: Timestamp, mark: &mut Mark) {
        // Of a file of which nothing was read, or that is known, there is nothing to remember.
        if record.position.offset == 0 || self.0.values().any(|known| known.is_same(&record)) {
            return;
        }
        let free = free_key(&self.0, |number| format!("{FINISHED}{:016x}:{number:08x}", now.0));
        mark.checkpoints.push(record.checkpoint(free.clone()));
        self.0.insert(free, record);
        while self.0.len() > FINISHED_MAX {
            let Some((oldest, _)) = self.0.pop_first() else { return };
            mark.forgotten.push(oldest);
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Record)> {
        self.0.iter()
    }

    /// An archive holds it.
    pub(super) fn take(&mut self, key: &str) -> Option<Record> {
        self.0.remove(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::tail::record::Consumed;

    #[test]
    fn the_oldest_go_first_and_what_is_stored_is_what_is_known() {
        let mut finished = Finished::new(&[]);
        let mut stored = BTreeMap::new();
        let mut bytes = 0;
        for number in 0..FINISHED_MAX as u64 + 10 {
            let mut mark = Mark::at(Timestamp(number / 3));
            let mut consumed = Consumed::nothing();
            consumed.pass(format!("{number} is how it begins\n").repeat(100).as_bytes(), 0);
            let path = format!("/var/log/pods/shop_shop-7d4b9c6f5-x2x9p_0b1c/shop/0.log.{number}");
            let record = consumed.record(&path, "shop", 2000, Timestamp(1_700_000_000_000_000_000), true);
            finished.add(record.clone(), Timestamp(number / 3), &mut mark);
            finished.add(record, Timestamp(number / 3), &mut mark);
            mark.forgotten.iter().for_each(|key| drop(stored.remove(key)));
            for Checkpoint { key, value } in mark.checkpoints {
                bytes = key.len() + value.len();
                stored.insert(key, value);
            }
        }
        assert_eq!(stored.len(), FINISHED_MAX);
        assert!(bytes < 400, "{bytes}");
        let remembered: Vec<_> = stored.into_iter().map(|(key, value)| Checkpoint { key, value }).collect();
        let again = Finished::new(&remembered);
        assert!(again.iter().eq(finished.iter()));
        assert!(again.iter().next().unwrap().1.path.ends_with(".10"));
    }
}
