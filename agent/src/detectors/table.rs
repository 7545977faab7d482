//! What a detector knows of each place, in a table with a bound that is kept over a restart. Enters: keys and records. Leaves: the
//! record of a key, to be changed; and which records changed, each once, so that the store writes a record at the end of a batch
//! and not at each call. It writes nothing itself.
//!
//! A record is handed on as it is, without a copy. Should the place change again before the store has written it, the place gets a
//! copy of its own, and the store writes what was true for its batch.

use std::{collections::HashSet, hash::Hash, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::Equivalent;

use crate::lru::Lru;

/// Changes that are compared one by one; a call makes one or two.
const FEW: usize = 16;

/// A key, or what is looked up like one and becomes one where a record is new.
pub(super) trait Owned<K> {
    /// The key.
    fn own(&self) -> K;
}

impl<K: Clone> Owned<K> for K {
    fn own(&self) -> K {
        self.clone()
    }
}

/// The table. What was used least recently goes first.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    entries: Lru<K, Arc<V>>,
    /// Keys whose record is to be written, or went, the oldest change first. A key may be there twice until somebody asks.
    changed: Vec<K>,
    changed_max: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> Table<K, V> {
    /// An empty one.
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: Lru::new(capacity), changed: Vec::new(), changed_max: 2 * capacity.max(FEW) }
    }

    /// The record of a key, now the most recently used; a new one when there is none.
    pub(super) fn enter<Q>(&mut self, key: &Q, new: impl FnOnce() -> V) -> Option<&mut V>
    where
        Q: Hash + Equivalent<K> + Owned<K>,
    {
        self.bound();
        let (record, gone) = self.entries.enter(key, || (key.own(), Arc::new(new())));
        if let Some((gone, _)) = gone {
            self.changed.push(gone);
        }
        record.map(Arc::make_mut)
    }

    /// The record of a key is to be written.
    pub(super) fn mark(&mut self, key: K) {
        if self.changed.last() == Some(&key) {
            return;
        }
        self.bound();
        self.changed.push(key);
    }

    /// Makes room for a change. When nobody asked for long, what went first is given up.
    fn bound(&mut self) {
        if self.changed.len() >= self.changed_max {
            self.make_unique();
            let over = self.changed.len().saturating_sub(self.changed_max / 2);
            self.changed.drain(..over);
        }
    }

    /// Puts a record in that was kept. It is not to be written.
    pub(super) fn restore(&mut self, key: K, record: V) {
        self.entries.insert(key, Arc::new(record));
    }

    /// The records that changed since this was asked last, the oldest change first; none of a key that went.
    pub(super) fn changes(&mut self, mut each: impl FnMut(&K, Option<Arc<V>>)) {
        self.make_unique();
        for key in self.changed.drain(..) {
            each(&key, self.entries.peek(&key).cloned());
        }
    }

    /// Of a key that changed twice the newer change counts.
    fn make_unique(&mut self) {
        match self.changed.len() {
            0 | 1 => {}
            2..FEW => {
                let mut at = 0;
                while let Some(key) = self.changed.get(at) {
                    let again = self.changed.iter().skip(at + 1).any(|other| other == key);
                    if again {
                        self.changed.remove(at);
                    } else {
                        at += 1;
                    }
                }
            }
            _ => {
                let mut seen = HashSet::with_hasher(RandomState::default());
                let mut unique: Vec<K> = self.changed.drain(..).rev().filter(|key| seen.insert(key.clone())).collect();
                unique.reverse();
                self.changed = unique;
            }
        }
    }
}

#[cfg(test)]
impl<K: Clone + Eq + Hash, V: Clone> Table<K, V> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, record)| (key, &**record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(table: &mut Table<u32, u32>) -> Vec<(u32, Option<u32>)> {
        let mut changes = Vec::new();
        table.changes(|key, record| changes.push((*key, record.map(|record| *record))));
        changes
    }

    fn set(table: &mut Table<u32, u32>, key: u32, record: u32) {
        *table.enter(&key, || 0).unwrap() = record;
        table.mark(key);
    }

    #[test]
    fn a_change_is_told_once_in_the_order_of_the_newest_and_so_is_what_went() {
        let mut table = Table::new(2);
        for (key, record) in [(1, 10), (2, 20), (1, 11)] {
            set(&mut table, key, record);
        }
        assert_eq!(changes(&mut table), [(2, Some(20)), (1, Some(11))]);
        assert_eq!(changes(&mut table), []);
        table.restore(2, 21);
        assert_eq!(changes(&mut table), [], "it was kept already");
        set(&mut table, 3, 30);
        assert_eq!(changes(&mut table), [(1, None), (3, Some(30))]);
        set(&mut table, 1, 12);
        set(&mut table, 2, 22);
        assert_eq!(changes(&mut table), [(1, Some(12)), (3, None), (2, Some(22))], "it went and came back");
    }

    #[test]
    fn what_was_handed_on_stays_as_it_was() {
        let mut table = Table::new(1);
        set(&mut table, 1, 10);
        let mut kept = Vec::new();
        table.changes(|_, record| kept.extend(record));
        set(&mut table, 1, 11);
        table.changes(|_, record| kept.extend(record));
        assert_eq!(kept, [10.into(), 11.into()]);
    }

    #[test]
    fn nobody_who_asks_costs_no_memory_without_bound() {
        let mut table = Table::new(20);
        for key in 0..10_000 {
            set(&mut table, key, key);
            set(&mut table, key / 2, key);
        }
        assert!(table.changed.len() <= table.changed_max, "{}", table.changed.len());
        let mut known = changes(&mut table);
        assert_eq!(known.last(), Some(&(4999, Some(9999))));
        known.dedup_by_key(|(key, _)| *key);
        assert!(known.len() <= 40, "{}", known.len());
    }
}
