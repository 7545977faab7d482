//! Beside the river: a table with a bound. Enters: keys and values. Leaves: the value that was used least recently, when a
//! new one needs its place. It never grows past its capacity and never reads a clock: age is the order of use.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// A map that holds at most `capacity` entries and lets the least recently used one go.
#[derive(Clone, Debug)]
pub struct Lru<K, V> {
    capacity: usize,
    uses: u64,
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
}

impl<K: Clone + Eq + Hash, V> Lru<K, V> {
    /// An empty table. A capacity of zero is taken as one.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), uses: 0, entries: HashMap::new(), order: BTreeMap::new() }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (used, value) = self.entries.remove(key)?;
        self.order.remove(&used);
        Some(value)
    }

    /// The value of `key`, now the most recently used.
    pub fn touch(&mut self, key: &K) -> Option<&mut V> {
        let (used, value) = self.entries.get_mut(key)?;
        self.order.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.order.insert(self.uses, key.clone());
        Some(value)
    }

    /// Puts a value in, replacing the one of the same key. Returns the entry that had to go, if the table was full.
    pub fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        if let Some(kept) = self.touch(&key) {
            *kept = value;
            return None;
        }
        let evicted = if self.entries.len() >= self.capacity { self.pop() } else { None };
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        self.entries.insert(key, (self.uses, value));
        evicted
    }

    /// Takes out the least recently used entry.
    pub fn pop(&mut self) -> Option<(K, V)> {
        let (_, key) = self.order.pop_first()?;
        self.entries.remove(&key).map(|(_, value)| (key, value))
    }

    /// The value of `key`, whose age stays.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No entry at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut table = Lru::new(2);
        assert_eq!(table.insert("a", 1), None);
        assert_eq!(table.insert("b", 2), None);
        assert_eq!(table.touch(&"a"), Some(&mut 1));
        assert_eq!(table.insert("c", 3), Some(("b", 2)));
        assert_eq!(table.insert("c", 4), None, "replacing needs no place");
        assert_eq!(table.pop(), Some(("a", 1)));
        assert_eq!(table.pop(), Some(("c", 4)));
        assert_eq!(table.pop(), None);
        assert!(table.is_empty());
    }

    #[test]
    fn it_never_grows_past_its_capacity() {
        let mut table = Lru::new(7);
        for key in 0..1000u32 {
            table.insert(key, ());
            table.touch(&(key / 2));
            assert!(table.len() <= 7 && table.order.len() == table.len());
        }
    }
}
