//! Checks the hash chain of a store from its first revision to its head. Enters: a reader. Leaves: a [`Verdict`]. It holds no
//! transaction for long, so it may run beside a busy writer: revisions that come after it began are not its own.

use rusqlite::params;

use super::{
    StoreError, StoreReader,
    chain::{Hash, Head, ROOT, hex, link, payload_hash},
};

/// Revisions that are read at a time.
const PAGE_ROWS: u64 = 1000;

/// How a chain stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every revision is what it was when it was written, or erased.
    Whole(Whole),
    /// It is not.
    Broken {
        /// The first revision that is not what it was.
        seq: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Figures of a chain that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Revisions.
    pub revisions: u64,
    /// Of these, erased: only their hash is left.
    pub erased: u64,
    /// The hash of the newest one, in hexadecimal. Whoever notes it elsewhere can show later that nothing before it was changed.
    pub head: String,
}

/// A row as the chain sees it.
struct Link {
    seq: u64,
    finding_id: String,
    revision: u64,
    activity: String,
    payload: Option<String>,
    payload_hash: Vec<u8>,
    previous_hash: Vec<u8>,
}

impl StoreReader {
    /// Checks the whole chain.
    pub fn verify(&self) -> Result<Verdict, StoreError> {
        let ends = "SELECT (SELECT value FROM meta WHERE key = 'head'), (SELECT coalesce(max(seq), 0) FROM outbox)";
        let ends = self.all(ends, params![], |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, u64>(1)?)))?;
        let Some((head, newest)) = ends.into_iter().next() else { return Ok(broken(0, "its head cannot be read")) };
        let Some(head) = head.map_or(Some(Head::EMPTY), |text| Head::parse(&text)) else {
            return Ok(broken(newest, "the head of the chain is no head"));
        };
        let (mut before, mut erased) = (Head::EMPTY, 0);
        loop {
            let page = self.page(before.seq, newest)?;
            if page.is_empty() {
                break;
            }
            for row in page {
                if let Some(broken) = row.flaw(&before) {
                    return Ok(broken);
                }
                erased += u64::from(row.payload.is_none());
                before = Head { seq: row.seq, hash: row.hash() };
            }
        }
        Ok(match () {
            () if before.seq < head.seq => broken(before.seq.saturating_add(1), "it is missing"),
            () if before.seq > head.seq => broken(head.seq.saturating_add(1), "it was not written by outflow"),
            () if before.hash != head.hash => broken(before.seq, "it is not what the head of the chain says"),
            () => Verdict::Whole(Whole { revisions: head.seq, erased, head: hex(&head.hash) }),
        })
    }

    fn page(&self, after: u64, last: u64) -> Result<Vec<Link>, StoreError> {
        self.all(
            "SELECT seq, finding_id, revision, activity, payload, payload_hash, previous_hash FROM outbox
             WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
            params![after, last, PAGE_ROWS],
            |row| {
                Ok(Link {
                    seq: row.get(0)?,
                    finding_id: row.get(1)?,
                    revision: row.get(2)?,
                    activity: row.get(3)?,
                    payload: row.get(4)?,
                    payload_hash: row.get(5)?,
                    previous_hash: row.get(6)?,
                })
            },
        )
    }
}

impl Link {
    /// What is wrong with this row, given the one before it.
    fn flaw(&self, before: &Head) -> Option<Verdict> {
        if self.seq != before.seq.saturating_add(1) {
            return Some(broken(before.seq.saturating_add(1), "it is missing"));
        }
        if self.previous_hash != before.hash {
            // The link is between the two; of the first one nothing but the root is known.
            return Some(broken(before.seq.max(1), "it, or the link of the next one to it, was changed"));
        }
        let payload = self.payload.as_deref().map(payload_hash);
        if payload.is_some_and(|hash| self.payload_hash != hash) {
            return Some(broken(self.seq, "its payload was changed"));
        }
        None
    }

    fn hash(&self) -> Hash {
        let payload = Hash::try_from(self.payload_hash.as_slice()).unwrap_or(ROOT);
        let previous = Hash::try_from(self.previous_hash.as_slice()).unwrap_or(ROOT);
        link(&previous, self.seq, &self.finding_id, self.revision, &self.activity, &payload)
    }
}

fn broken(seq: u64, why: &'static str) -> Verdict {
    Verdict::Broken { seq, why }
}
