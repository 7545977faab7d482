//! Findings as lines of a file. Enters: batches of records. Leaves: lines on the disk, and an answer after `fdatasync`, so that the cursor
//! never stands behind what a power cut would take away. It makes no folder, follows no link, and writes to nothing but a regular file.
//!
//! `log` is the file that is written, `rotate` its older ones.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Host,
    format::line,
    receiver::{Answer, Answering, Appetite, ConnectError, Receiver, Record},
};
use crate::config::{FileSink, Period, RecordFormat};

mod log;
mod rotate;
#[cfg(test)]
mod tests;

use self::log::{Log, Settings};

/// Records of a batch: each batch is one wait for the disk.
const BATCH_RECORDS: usize = 500;

/// Bytes of a batch, as the outbox counts them.
const BATCH_BYTES: usize = 1 << 20;

/// A file as a receiver.
pub(super) struct FileReceiver {
    format: RecordFormat,
    host: Host,
    /// Used by one batch at a time, on a thread where waiting for a disk holds nobody up.
    log: Arc<Mutex<Log>>,
}

impl FileReceiver {
    /// Opens nothing yet.
    pub(super) fn new(sink: &FileSink, host: Host) -> Self {
        let settings = Settings {
            path: sink.path.get().to_owned(),
            max_bytes: sink.max_bytes.bytes(),
            max_age_ns: sink.max_age.map(Period::nanos),
            keep: sink.keep.get(),
            compression: sink.compression,
        };
        Self { format: sink.format, host, log: Arc::new(Mutex::new(Log::new(settings))) }
    }
}

impl Receiver for FileReceiver {
    fn appetite(&self) -> Appetite {
        Appetite { batch_records: BATCH_RECORDS, batch_bytes: BATCH_BYTES, batches: 1 }
    }

    async fn connect(&mut self) -> Result<(), ConnectError> {
        let log = Arc::clone(&self.log);
        let opening = move || log.lock().unwrap_or_else(PoisonError::into_inner).open();
        match tokio::task::spawn_blocking(opening).await {
            Ok(opened) => opened.map_err(|trouble| ConnectError(trouble.to_string())),
            Err(error) => Err(ConnectError(error.to_string())),
        }
    }

    fn send(&mut self, batch: &Arc<[Record]>) -> Answering {
        let (mut lines, mut refused) = (Vec::with_capacity(batch.len()), Vec::new());
        for record in batch.iter() {
            match line(record, &self.host, self.format) {
                Ok(line) => lines.push(line + "\n"),
                Err(why) => refused.push(why),
            }
        }
        let log = Arc::clone(&self.log);
        let writing = move || log.lock().unwrap_or_else(PoisonError::into_inner).append(&lines);
        Box::pin(async move {
            match tokio::task::spawn_blocking(writing).await {
                Ok(Ok(())) => Answer::Taken(refused),
                Ok(Err(trouble)) if trouble.is_room() => Answer::NotNow { reason: trouble.to_string(), after: None },
                Ok(Err(trouble)) => Answer::Broken { reason: trouble.to_string() },
                Err(error) => Answer::Broken { reason: error.to_string() },
            }
        })
    }
}
