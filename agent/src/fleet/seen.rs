//! Which calls a partition had already. Enters: ids of records with their offsets, rising. Leaves: whether one is a repeat. Pure.
//!
//! What is remembered depends on the partition alone: the ids of the last [`REMEMBERED`] offsets. So a reader that begins so far back knows the
//! same, and nothing of it has to be kept elsewhere.

use std::collections::{HashSet, VecDeque};

/// So many offsets back a repeat is known. An agent has at most some thousand records under way, and sends those again.
pub(super) const REMEMBERED: u64 = 100_000;

/// Name of a call among all: its store, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallId(u64, u64);

impl CallId {
    /// Reads what `usage_id` holds: 16 hexadecimal digits, and a number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (store, number) = text.split_once('-').filter(|(store, _)| store.len() == 16)?;
        let is_plain = |digits: &str, radix: u32| digits.chars().all(|digit| digit.is_digit(radix));
        if !is_plain(store, 16) || !is_plain(number, 10) {
            return None;
        }
        Some(Self(u64::from_str_radix(store, 16).ok()?, number.parse().ok()?))
    }
}

/// The ids of one partition.
#[derive(Debug, Default)]
pub(super) struct Seen {
    ids: HashSet<CallId>,
    order: VecDeque<(u64, CallId)>,
}

impl Seen {
    /// Remembers an id; false: it is a repeat.
    pub(super) fn add(&mut self, offset: u64, id: CallId) -> bool {
        while let Some((oldest, known)) = self.order.front().copied().filter(|(at, _)| at + REMEMBERED <= offset) {
            debug_assert!(oldest < offset);
            self.order.pop_front();
            self.ids.remove(&known);
        }
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back((offset, id));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_a_store_and_a_number() {
        for (text, good) in [
            ("0123456789abcdef-17", true),
            ("0123456789abcdef-", false),
            ("0123456789abcdef", false),
            ("0123456789abcdeg-1", false),
            ("+123456789abcdef-1", false),
            ("0123456789abcdef-+1", false),
            ("0123456789abcdef-99999999999999999999999", false),
            ("123-1", false),
            ("é-1", false),
        ] {
            assert_eq!(CallId::parse(text).is_some(), good, "{text}");
        }
    }

    #[test]
    fn a_reader_that_begins_later_knows_the_same() {
        let ids: Vec<CallId> = (0..REMEMBERED + 500).map(|number| CallId(number % 7, number)).collect();
        let (mut whole, mut late) = (Seen::default(), Seen::default());
        for (offset, id) in (0..).zip(&ids) {
            assert!(whole.add(offset, *id));
        }
        let from = ids.len() as u64 - REMEMBERED;
        for (offset, id) in (0..).zip(&ids).filter(|(offset, _)| *offset >= from) {
            assert!(late.add(offset, *id));
        }
        let next = ids.len() as u64;
        for (number, id) in (0..).zip([ids[400], ids[501], ids[700], *ids.last().unwrap()]) {
            assert_eq!(whole.add(next + number, id), late.add(next + number, id), "{id:?}");
        }
        assert!(!late.add(next + 9, *ids.last().unwrap()));
        assert!(whole.ids.len() as u64 <= REMEMBERED, "bounded");
    }
}
