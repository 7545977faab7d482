//! Hashes of several texts and numbers. Enters: parts. Leaves: one number, the same in every run of the agent. Each text counts with
//! its length, so that two cannot be mistaken for two others.

use smallvec::SmallVec;
use twox_hash::XxHash64;

/// Parts, one behind the other: hashing them at once is faster than part by part, and gives the same.
#[derive(Default)]
pub(super) struct Parts(SmallVec<[u8; 256]>);

impl Parts {
    /// Adds a text.
    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Adds a number.
    pub(super) fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_ne_bytes());
    }

    /// The hash of all parts so far.
    pub(super) fn hash(&self) -> u64 {
        XxHash64::oneshot(0, &self.0)
    }
}

/// Hash of some names.
pub(super) fn digest(names: &[&str]) -> u64 {
    let mut parts = Parts::default();
    for name in names {
        parts.text(name);
    }
    parts.hash()
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher as _;

    use super::*;

    #[test]
    fn it_is_the_hash_of_the_parts_one_by_one() {
        let mut hasher = XxHash64::with_seed(0);
        for text in ["checkout", ""] {
            hasher.write_u64(text.len() as u64);
            hasher.write(text.as_bytes());
        }
        assert_eq!(digest(&["checkout", ""]), hasher.finish());
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}
