//! The hash chain over the outbox. Enters: the fields of a revision. Leaves: the hash that the next one carries. The chain runs
//! over the payload's hash, not over the payload: a revision whose payload was erased still verifies.
//!
//! It has no key: it shows damage and careless edits by itself, and any edit to somebody who noted an earlier head elsewhere.

use sha2::{Digest as _, Sha256};

/// Bytes of a hash.
pub(super) type Hash = [u8; 32];

/// What the first revision has before it.
pub(super) const ROOT: Hash = [0; 32];

/// The newest revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// 0: there is none yet.
    pub(super) seq: u64,
    /// Of that revision.
    pub(super) hash: Hash,
}

impl Head {
    /// Of an empty outbox.
    pub(super) const EMPTY: Self = Self { seq: 0, hash: ROOT };

    /// As `meta` keeps it: `17 9f86d081…`.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.seq, hex(&self.hash))
    }

    /// What [`text`](Self::text) wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (seq, digits) = text.split_once(' ')?;
        let mut hash = ROOT;
        if digits.len() != 2 * hash.len() {
            return None;
        }
        for (index, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self { seq: seq.parse().ok()?, hash })
    }
}

/// The hash of a payload.
pub(super) fn payload_hash(payload: &str) -> Hash {
    Sha256::digest(payload).into()
}

/// The hash of a revision. Texts go in with their length before them, so that no two revisions collide.
pub(super) fn link(previous: &Hash, seq: u64, finding_id: &str, revision: u64, activity: &str, payload: &Hash) -> Hash {
    let mut hash = Sha256::new().chain_update(b"outflow outbox v1\0").chain_update(previous);
    hash.update(seq.to_le_bytes());
    for text in [finding_id, activity] {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(text);
    }
    hash.chain_update(revision.to_le_bytes()).chain_update(payload).finalize().into()
}

/// In hexadecimal.
pub(super) fn hex(hash: &[u8]) -> String {
    crate::units::hex(hash, 2 * hash.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_what_is_written_here() {
        // Checked with Python's hashlib: every store in the field depends on this recipe.
        let hash = link(&ROOT, 1, "ab", 1, "create", &payload_hash("{}"));
        assert_eq!(hex(&hash), "1918fdf72aabde12eee9f684bd393465ff187769d545defad7ba89db5559d259");
        let other = [
            link(&[1; 32], 1, "ab", 1, "create", &payload_hash("{}")),
            link(&ROOT, 2, "ab", 1, "create", &payload_hash("{}")),
            link(&ROOT, 1, "abc", 1, "reate", &payload_hash("{}")),
            link(&ROOT, 1, "ab", 2, "create", &payload_hash("{}")),
            link(&ROOT, 1, "ab", 1, "update", &payload_hash("{}")),
            link(&ROOT, 1, "ab", 1, "create", &payload_hash("{ }")),
        ];
        assert!(!other.contains(&hash));
    }

    #[test]
    fn a_head_survives_its_text() {
        let head = Head { seq: 17, hash: payload_hash("x") };
        assert_eq!(Head::parse(&head.text()), Some(head));
        let digits = hex(&head.hash);
        let bad = [String::new(), "17".into(), format!("x {digits}"), "17 00".into(), format!("17 {}", "é".repeat(32))];
        for bad in bad {
            assert_eq!(Head::parse(&bad), None, "{bad}");
        }
    }
}
