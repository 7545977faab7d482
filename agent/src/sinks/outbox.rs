//! A stream of the store as one sink reads it: revisions of findings, or calls. Enters: a store, the sink's name. Leaves: batches of records in
//! order, and the cursor. It waits for nobody but the store's writer.

use std::{marker::PhantomData, sync::Arc};

use tokio::sync::watch;

use super::{
    gate::{Gate, Open, Passes},
    receiver::{Appetite, CallRecord, Record, Refused},
    stats::SinkStats,
};
use crate::{
    clock,
    findings::{Activity, Finding},
    store::{CallRow, DeadLetter, OutboxRow, Store, StoreError, StoreReader},
};

/// Longest reason of a dead letter that is kept, bytes: receivers choose these words.
const DETAIL_BYTES_MAX: usize = 512;

/// What the store keeps in order for sinks.
pub(super) trait Stream: Sized + Send {
    /// A row as it stands.
    type Row;

    /// Who says what of it is sent.
    type Gate: Passes<Self> + Send;

    /// Tells of the newest row.
    fn head(store: &Store) -> watch::Receiver<u64>;

    /// How far a sink is; 0: it has nothing.
    fn cursor(reader: &StoreReader, sink: &str) -> Result<u64, StoreError>;

    /// Rows behind `after`, at most `limit`.
    fn rows(reader: &StoreReader, after: u64, limit: u64) -> Result<Vec<Self::Row>, StoreError>;

    /// Its place, and bytes of its payload.
    fn extent(row: &Self::Row) -> (u64, usize);

    /// The record of a row; `None`: it was erased.
    fn record(row: Self::Row, store_id: &str) -> Result<Option<Self>, Refused>;

    /// Moves the cursor, past dead letters.
    fn deliver(store: &Store, sink: &str, seq: u64, dead: Vec<DeadLetter>) -> Result<(), StoreError>;
}

/// One sink's view of a stream.
pub(super) struct Outbox<T = Record> {
    store: Arc<Store>,
    reader: StoreReader,
    store_id: String,
    sink: String,
    stats: Arc<SinkStats>,
    head: watch::Receiver<u64>,
    /// Which file of the store is read.
    generation: u64,
    /// What the store has.
    cursor: u64,
    of: PhantomData<T>,
}

/// Some rows of a stream.
#[derive(Debug)]
pub(super) struct Page<T = Record> {
    /// What is to be sent; erased revisions are not.
    pub(super) records: Vec<T>,
    /// Rows that nothing can be made of.
    pub(super) unreadable: Vec<Refused>,
    /// The last row that was looked at; `None` when there is none behind.
    pub(super) last: Option<u64>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { records: Vec::new(), unreadable: Vec::new(), last: None }
    }
}

impl<T: Stream> Outbox<T> {
    /// Goes on where the sink was.
    pub(super) fn open(store: Arc<Store>, sink: &str, stats: Arc<SinkStats>) -> Result<Self, StoreError> {
        let generation = store.generation();
        let reader = store.reader()?;
        let cursor = T::cursor(&reader, sink)?;
        if cursor == 0 {
            // So that it is in the list of deliveries before it has delivered anything.
            match T::deliver(&store, sink, 0, Vec::new()) {
                Err(error) if error.is_passing() => {}
                noted => noted?,
            }
        }
        stats.cursor(cursor);
        let (head, store_id) = (T::head(&store), reader.store_id()?);
        Ok(Self { store, reader, store_id, sink: sink.to_owned(), stats, head, generation, cursor, of: PhantomData })
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
    pub(super) fn page(&mut self, after: u64, appetite: Appetite) -> Result<Page<T>, StoreError> {
        let mut page = Page::default();
        let mut bytes = 0_usize;
        // Before the rows: whatever there was up to it is seen, or gone.
        let head = self.head();
        for row in self.rows(after, appetite.batch_records as u64)? {
            let (seq, payload_bytes) = T::extent(&row);
            bytes = bytes.saturating_add(payload_bytes);
            if page.last.is_some() && bytes > appetite.batch_bytes {
                break;
            }
            page.last = Some(seq);
            match T::record(row, &self.store_id) {
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
    fn rows(&mut self, after: u64, limit: u64) -> Result<Vec<T::Row>, StoreError> {
        for _ in 0..2 {
            let generation = self.store.generation();
            if generation != self.generation {
                self.reader = self.store.reader()?;
                self.store_id = self.reader.store_id()?;
                self.generation = generation;
            }
            match T::rows(&self.reader, after, limit) {
                Err(error @ (StoreError::Corrupt { .. } | StoreError::Foreign(_))) => {
                    self.store.report_damage(generation, &error)?;
                }
                rows => return rows,
            }
        }
        T::rows(&self.reader, after, limit)
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
        T::deliver(&self.store, &self.sink, seq, refused.iter().map(dead).collect())?;
        for refused in refused {
            self.stats.dead(refused.reason);
        }
        self.cursor = seq;
        self.stats.cursor(seq);
        Ok(())
    }
}

impl Stream for Record {
    type Row = OutboxRow;
    type Gate = Gate;

    fn head(store: &Store) -> watch::Receiver<u64> {
        store.watch_head()
    }

    fn cursor(reader: &StoreReader, sink: &str) -> Result<u64, StoreError> {
        reader.cursor(sink)
    }

    fn rows(reader: &StoreReader, after: u64, limit: u64) -> Result<Vec<OutboxRow>, StoreError> {
        reader.outbox_rows_after(after, limit)
    }

    fn extent(row: &OutboxRow) -> (u64, usize) {
        (row.seq, row.payload.as_ref().map_or(0, String::len))
    }

    fn record(row: OutboxRow, _store_id: &str) -> Result<Option<Self>, Refused> {
        let record_id = row.record_id();
        if !row.is_as_written() {
            // Half of the receivers may have it as it was.
            let detail =
                "its payload is no longer what was written: `outflow verify` looks at the whole store".to_owned();
            return Err(Refused { seq: row.seq, record_id, reason: "damaged", detail });
        }
        let Some(payload) = row.payload else { return Ok(None) };
        match serde_json::from_str::<Finding>(&payload) {
            Ok(finding) => {
                let activity = match row.activity.as_str() {
                    "create" => Activity::Create,
                    "close" => Activity::Close,
                    _ => Activity::Update,
                };
                Ok(Some(Self { seq: row.seq, record_id, activity, finding, payload }))
            }
            Err(error) => {
                let detail = format!("the outbox holds no finding here: {error}");
                Err(Refused { seq: row.seq, record_id, reason: "unreadable", detail })
            }
        }
    }

    fn deliver(store: &Store, sink: &str, seq: u64, dead: Vec<DeadLetter>) -> Result<(), StoreError> {
        store.deliver(sink, seq, dead)
    }
}

impl Stream for CallRecord {
    type Row = CallRow;
    type Gate = Open;

    fn head(store: &Store) -> watch::Receiver<u64> {
        store.watch_calls()
    }

    fn cursor(reader: &StoreReader, sink: &str) -> Result<u64, StoreError> {
        reader.call_cursor(sink)
    }

    fn rows(reader: &StoreReader, after: u64, limit: u64) -> Result<Vec<CallRow>, StoreError> {
        reader.calls_after(after, limit)
    }

    fn extent(row: &CallRow) -> (u64, usize) {
        (row.seq, row.payload.len())
    }

    fn record(CallRow { seq, payload }: CallRow, store_id: &str) -> Result<Option<Self>, Refused> {
        let record_id = format!("{store_id}-{seq}");
        match serde_json::from_str(&payload) {
            Ok(call) => Ok(Some(Self { seq, record_id, call })),
            Err(error) => {
                let detail = format!("the store holds no call here: {error}");
                Err(Refused { seq, record_id, reason: "unreadable", detail })
            }
        }
    }

    fn deliver(store: &Store, sink: &str, seq: u64, dead: Vec<DeadLetter>) -> Result<(), StoreError> {
        store.deliver_calls(sink, seq, dead)
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(DETAIL_BYTES_MAX)).unwrap_or_default().to_owned()
}
