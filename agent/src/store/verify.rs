//! Checks the hash chain of a store from its first revision that is still there to its head. Enters: a reader. Leaves: a [`Verdict`]. It holds no
//! transaction for long, so it may run beside a busy writer: revisions that come after it began are not its own.

use rusqlite::{Row, params};

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
    /// The first revision that is still there; more than 1 when older ones were kept long enough and went.
    pub from: u64,
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
        let ends = "SELECT (SELECT value FROM meta WHERE key = 'head'), (SELECT value FROM meta WHERE key = 'anchor'),
                (SELECT max(seq) FROM outbox), (SELECT min(seq) FROM outbox)";
        let text = |row: &Row<'_>, index| row.get::<_, Option<String>>(index);
        let ends = self.all(ends, params![], |row| {
            Ok((text(row, 0)?, text(row, 1)?, row.get::<_, Option<u64>>(2)?, row.get::<_, Option<u64>>(3)?))
        })?;
        let Some((head, anchor, newest, oldest)) = ends.into_iter().next() else {
            return Ok(broken(0, "its head cannot be read"));
        };
        let end = |text: Option<String>| text.map_or(Some(Head::EMPTY), |text| Head::parse(&text));
        let Some(anchor) = end(anchor) else { return Ok(broken(oldest.unwrap_or(0), "where it begins is no hash")) };
        let newest = newest.unwrap_or(anchor.seq);
        let Some(head) = end(head) else { return Ok(broken(newest, "the head of the chain is no head")) };
        if let Some(oldest) = oldest.filter(|oldest| *oldest <= anchor.seq) {
            return Ok(broken(oldest, "it stands before the beginning of the chain"));
        }
        let (mut before, mut erased, mut revisions) = (anchor, 0, 0);
        while before.seq < newest {
            let page = self.page(before.seq, newest)?;
            let next = page.first().map_or(newest.saturating_add(1), |row| row.seq);
            if next > before.seq.saturating_add(1)
                && let Some(moved) = self.anchor()?.filter(|moved| moved.seq > before.seq)
            {
                // They were kept long enough, and went while we looked.
                before = moved;
                continue;
            }
            if page.is_empty() {
                break;
            }
            for row in page {
                if let Some(broken) = row.flaw(&before, anchor.seq) {
                    return Ok(broken);
                }
                erased += u64::from(row.payload.is_none());
                revisions += 1;
                before = Head { seq: row.seq, hash: row.hash() };
            }
        }
        Ok(match () {
            // Everything that was to be looked at went meanwhile.
            () if before.seq > newest => whole(anchor, revisions, erased, &head),
            () if before.seq < head.seq => broken(before.seq.saturating_add(1), "it is missing"),
            () if before.seq > head.seq => broken(head.seq.saturating_add(1), "it was not written by outflow"),
            () if before.hash != head.hash => broken(before.seq, "it is not what the head of the chain says"),
            () => whole(anchor, revisions, erased, &head),
        })
    }

    fn anchor(&self) -> Result<Option<Head>, StoreError> {
        let text = self.all("SELECT value FROM meta WHERE key = 'anchor'", params![], |row| row.get::<_, String>(0))?;
        Ok(text.first().and_then(|text| Head::parse(text)))
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
    fn flaw(&self, before: &Head, beginning: u64) -> Option<Verdict> {
        if self.seq != before.seq.saturating_add(1) {
            return Some(broken(before.seq.saturating_add(1), "it is missing"));
        }
        if self.previous_hash != before.hash {
            // The link is between the two; before the first one there is nothing to look at.
            let seq = if before.seq == beginning { self.seq } else { before.seq };
            return Some(broken(seq, "it, or the link of the next one to it, was changed"));
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

fn whole(anchor: Head, revisions: u64, erased: u64, head: &Head) -> Verdict {
    Verdict::Whole(Whole { from: anchor.seq.saturating_add(1), revisions, erased, head: hex(&head.hash) })
}

fn broken(seq: u64, why: &'static str) -> Verdict {
    Verdict::Broken { seq, why }
}
