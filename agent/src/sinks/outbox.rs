//! The outbox as one sink reads it. Enters: a store, the sink's name. Leaves: batches of [`Record`]s in order, and the cursor. It waits for
//! nobody but the store's writer.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    receiver::{Appetite, Record, Refused},
    stats::SinkStats,
};
use crate::{
    clock,
    findings::{Activity, Finding},
    store::{DeadLetter, OutboxRow, Store, StoreError, StoreReader},
};

/// Longest reason of a dead letter that is kept, bytes: receivers choose these words.
const DETAIL_BYTES_MAX: usize = 512;

/// One sink's view of the outbox.
pub(super) struct Outbox {
    store: Arc<Store>,
    reader: StoreReader,
    sink: String,
    stats: Arc<SinkStats>,
    head: watch::Receiver<u64>,
    /// Which file of the store is read.
    generation: u64,
    /// What the store has.
    cursor: u64,
}

/// Some rows of the outbox.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// What is to be sent; erased revisions are not.
    pub(super) records: Vec<Record>,
    /// Rows that nothing can be made of.
    pub(super) unreadable: Vec<Refused>,
    /// The last row that was looked at; `None` when there is none behind.
    pub(super) last: Option<u64>,
}

impl Outbox {
    /// Goes on where the sink was.
    pub(super) fn open(store: Arc<Store>, sink: &str, stats: Arc<SinkStats>) -> Result<Self, StoreError> {
        let generation = store.generation();
        let reader = store.reader()?;
        let cursor = reader.cursor(sink)?;
        if cursor == 0 {
            // So that it is in the list of deliveries before it has delivered anything.
            match store.deliver(sink, 0, Vec::new()) {
                Err(error) if error.is_passing() => {}
                noted => noted?,
            }
        }
        stats.cursor(cursor);
        let head = store.watch_head();
        Ok(Self { store, reader, sink: sink.to_owned(), stats, head, generation, cursor })
    }

    /// Everything up to this row is delivered, or will never be.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The newest row.
    pub(super) fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// Waits until there is a row behind `after`. Never comes back when the store was closed.
    pub(super) async fn news(&mut self, after: u64) {
        if self.head.wait_for(|head| *head > after).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The rows behind `after`, as many as a batch may hold.
    pub(super) fn page(&mut self, after: u64, appetite: Appetite) -> Result<Page, StoreError> {
        let mut page = Page::default();
        let mut bytes = 0_usize;
        // Before the rows: whatever there was up to it is seen, or gone.
        let head = self.head();
        for row in self.rows(after, appetite.batch_records as u64)? {
            bytes = bytes.saturating_add(row.payload.as_ref().map_or(0, String::len));
            if page.last.is_some() && bytes > appetite.batch_bytes {
                break;
            }
            page.last = Some(row.seq);
            match record(row) {
                Ok(record) => page.records.extend(record),
                Err(refused) => page.unreadable.push(refused),
            }
        }
        if page.last.is_none() && head > after {
            // They went unsent: the store was full, or damaged. It has told so.
            page.last = Some(head);
        }
        Ok(page)
    }

    /// Rows of the store's file of now. One that is damaged is told to the store, which goes on with a new one.
    fn rows(&mut self, after: u64, limit: u64) -> Result<Vec<OutboxRow>, StoreError> {
        for _ in 0..2 {
            let generation = self.store.generation();
            if generation != self.generation {
                self.reader = self.store.reader()?;
                self.generation = generation;
            }
            match self.reader.outbox_rows_after(after, limit) {
                Err(error @ (StoreError::Corrupt { .. } | StoreError::Foreign(_))) => {
                    self.store.report_damage(generation, &error)?;
                }
                rows => return rows,
            }
        }
        self.reader.outbox_rows_after(after, limit)
    }

    /// Moves the cursor, past what will never be taken.
    pub(super) fn deliver(&mut self, seq: u64, refused: &[Refused]) -> Result<(), StoreError> {
        let at = clock::now().rfc3339();
        let dead = |refused: &Refused| DeadLetter {
            seq: refused.seq,
            record_id: refused.record_id.clone(),
            reason: refused.reason.to_owned(),
            detail: cut(&refused.detail),
            at: at.clone(),
        };
        self.store.deliver(&self.sink, seq, refused.iter().map(dead).collect())?;
        for refused in refused {
            self.stats.dead(refused.reason);
        }
        self.cursor = seq;
        self.stats.cursor(seq);
        Ok(())
    }
}

/// `None`: it was erased.
fn record(row: OutboxRow) -> Result<Option<Record>, Refused> {
    let record_id = row.record_id();
    let Some(payload) = row.payload else { return Ok(None) };
    match serde_json::from_str::<Finding>(&payload) {
        Ok(finding) => {
            let activity = match row.activity.as_str() {
                "create" => Activity::Create,
                "close" => Activity::Close,
                _ => Activity::Update,
            };
            Ok(Some(Record { seq: row.seq, record_id, activity, finding, payload }))
        }
        Err(error) => {
            let detail = format!("the outbox holds no finding here: {error}");
            Err(Refused { seq: row.seq, record_id, reason: "unreadable", detail })
        }
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(DETAIL_BYTES_MAX)).unwrap_or_default().to_owned()
}
