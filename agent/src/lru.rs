//! Beside the river: a table with a bound. Enters: keys and values. Leaves: the value that was used least recently, when a
//! new one needs its place. It never grows past its capacity and never reads a clock: age is the order of use.
//!
//! Entries lie in one vector and are linked by their age, so that a use moves two links and no memory. The hash is seeded for each
//! table: no peer can choose keys that fall together.

use std::hash::{BuildHasher as _, Hash};

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashTable};

/// No entry.
const NONE: u32 = u32::MAX;

/// A map that holds at most `capacity` entries and lets the least recently used one go.
#[derive(Clone, Debug)]
pub struct Lru<K, V> {
    capacity: usize,
    seed: RandomState,
    index: HashTable<u32>,
    entries: Vec<Entry<K, V>>,
    newest: u32,
    oldest: u32,
}

#[derive(Clone, Debug)]
struct Entry<K, V> {
    hash: u64,
    newer: u32,
    older: u32,
    key: K,
    value: V,
}

impl<K: Eq + Hash, V> Lru<K, V> {
    /// An empty table. A capacity of zero is taken as one.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.clamp(1, NONE as usize),
            seed: RandomState::default(),
            index: HashTable::new(),
            entries: Vec::new(),
            newest: NONE,
            oldest: NONE,
        }
    }

    /// The value of `key`, now the most recently used.
    pub fn touch<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<&mut V> {
        let at = self.find(key)?;
        self.renew(at);
        self.get_mut(at).map(|entry| &mut entry.value)
    }

    /// The value of `key`, now the most recently used; a new one when there is none, and the entry that had to go for it.
    pub fn enter<Q: Hash + Equivalent<K> + ?Sized>(
        &mut self,
        key: &Q,
        new: impl FnOnce() -> (K, V),
    ) -> (Option<&mut V>, Option<(K, V)>) {
        let mut evicted = None;
        let at = if let Some(at) = self.find(key) {
            self.renew(at);
            at
        } else {
            let (key, value) = new();
            evicted = self.add(key, value);
            self.newest
        };
        (self.get_mut(at).map(|entry| &mut entry.value), evicted)
    }

    /// Puts a value in, replacing the one of the same key. Returns the entry that had to go, if the table was full.
    pub fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        if let Some(kept) = self.touch(&key) {
            *kept = value;
            return None;
        }
        self.add(key, value)
    }

    /// Puts in what is not there.
    fn add(&mut self, key: K, value: V) -> Option<(K, V)> {
        let evicted = if self.entries.len() >= self.capacity { self.pop() } else { None };
        let (hash, at) = (self.seed.hash_one(&key), self.entries.len() as u32);
        self.entries.push(Entry { hash, newer: NONE, older: NONE, key, value });
        self.link(at);
        let Self { index, entries, .. } = self;
        index.insert_unique(hash, at, |at| entries.get(*at as usize).map_or(0, |entry| entry.hash));
        evicted
    }

    /// Takes out the least recently used entry.
    pub fn pop(&mut self) -> Option<(K, V)> {
        self.take(self.oldest)
    }

    /// Takes an entry out.
    pub fn remove<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<V> {
        let at = self.find(key)?;
        self.take(at).map(|(_, value)| value)
    }

    fn take(&mut self, at: u32) -> Option<(K, V)> {
        let hash = self.get_mut(at)?.hash;
        self.unlink(at);
        if let Ok(known) = self.index.find_entry(hash, |known| *known == at) {
            known.remove();
        }
        let gone = self.entries.swap_remove(at as usize);
        self.moved(self.entries.len() as u32, at);
        Some((gone.key, gone.value))
    }

    /// The value of `key`, whose age stays.
    pub fn peek<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&V> {
        self.find(key).and_then(|at| self.entries.get(at as usize)).map(|entry| &entry.value)
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|entry| (&entry.key, &entry.value))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No entry at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<u32> {
        let is_it = |at: &u32| self.entries.get(*at as usize).is_some_and(|entry| key.equivalent(&entry.key));
        self.index.find(self.seed.hash_one(key), is_it).copied()
    }

    /// Makes it the newest.
    fn renew(&mut self, at: u32) {
        if self.newest != at {
            self.unlink(at);
            self.link(at);
        }
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut Entry<K, V>> {
        self.entries.get_mut(at as usize)
    }

    /// Makes one that has no links the newest.
    fn link(&mut self, at: u32) {
        let before = std::mem::replace(&mut self.newest, at);
        if let Some(entry) = self.get_mut(at) {
            (entry.newer, entry.older) = (NONE, before);
        }
        self.set_newer(before, at);
    }

    fn unlink(&mut self, at: u32) {
        let Some((newer, older)) = self.get_mut(at).map(|entry| (entry.newer, entry.older)) else { return };
        self.set_older(newer, older);
        self.set_newer(older, newer);
    }

    /// The entry at `from` lies at `to` now.
    fn moved(&mut self, from: u32, to: u32) {
        let Some((hash, newer, older)) = self.get_mut(to).map(|entry| (entry.hash, entry.newer, entry.older)) else {
            return; // it was the last one that went
        };
        if let Some(known) = self.index.find_mut(hash, |known| *known == from) {
            *known = to;
        }
        self.set_older(newer, to);
        self.set_newer(older, to);
    }

    fn set_newer(&mut self, at: u32, newer: u32) {
        match self.get_mut(at) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn set_older(&mut self, at: u32, older: u32) {
        match self.get_mut(at) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut table = Lru::new(2);
        assert_eq!(table.insert("a", 1), None);
        assert_eq!(table.insert("b", 2), None);
        assert_eq!(table.touch("a"), Some(&mut 1));
        assert_eq!(table.insert("c", 3), Some(("b", 2)));
        assert_eq!(table.insert("c", 4), None, "replacing needs no place");
        assert_eq!(table.pop(), Some(("a", 1)));
        assert_eq!(table.pop(), Some(("c", 4)));
        assert_eq!(table.pop(), None);
        assert!(table.is_empty());
        for (key, value) in [("a", 1), ("b", 2)] {
            table.insert(key, value);
        }
        assert_eq!((table.remove("b"), table.remove("b"), table.len()), (Some(2), None, 1));
        table.insert("d", 4);
        assert_eq!([table.pop(), table.pop()], [Some(("a", 1)), Some(("d", 4))]);
    }

    #[test]
    fn it_never_grows_past_its_capacity() {
        let mut table = Lru::new(7);
        for key in 0..1000u32 {
            table.insert(key, ());
            table.touch(&(key / 2));
            assert!(table.len() <= 7 && table.index.len() == table.len());
        }
    }

    proptest! {
        /// Against a list, the newest last.
        #[test]
        fn it_is_a_list_with_the_newest_last(
            capacity in 1..6usize,
            steps in prop::collection::vec((0..5u8, 0..9u8, any::<u8>()), 0..200),
        ) {
            let mut table = Lru::new(capacity);
            let mut list: Vec<(u8, u8)> = Vec::new();
            for (step, key, value) in steps {
                let place = list.iter().position(|(known, _)| *known == key);
                match step {
                    0 => {
                        let known = place.map(|at| list.remove(at));
                        let full = known.is_none() && list.len() == capacity;
                        let gone = full.then(|| list.remove(0));
                        list.push((key, value));
                        prop_assert_eq!(table.insert(key, value), gone);
                    }
                    1 => {
                        let known = place.map(|at| list.remove(at));
                        list.extend(known);
                        prop_assert_eq!(table.touch(&key).copied(), known.map(|(_, value)| value));
                    }
                    2 => {
                        let known = place.map(|at| list.remove(at));
                        let gone = (known.is_none() && list.len() == capacity).then(|| list.remove(0));
                        list.push((key, known.map_or(value, |(_, value)| value)));
                        let (entered, evicted) = table.enter(&key, || (key, value));
                        prop_assert_eq!((entered.copied(), evicted), (list.last().map(|(_, value)| *value), gone));
                    }
                    3 => prop_assert_eq!(table.peek(&key).copied(), place.map(|at| list[at].1)),
                    _ => prop_assert_eq!(table.pop(), if list.is_empty() { None } else { Some(list.remove(0)) }),
                }
                let mut all: Vec<_> = table.iter().map(|(key, value)| (*key, *value)).collect();
                all.sort_unstable();
                let mut expected = list.clone();
                expected.sort_unstable();
                prop_assert_eq!(all, expected);
            }
        }
    }
}
