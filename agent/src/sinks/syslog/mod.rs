//! Findings as messages of syslog (RFC 5424), over TLS (RFC 5425), TCP (RFC 6587, octet counting) or a datagram socket of this machine. Enters:
//! batches of records. Leaves: messages, in order. Syslog has no acknowledgement: taken is what the system took for the connection. So the
//! newest messages are kept, and sent once more over the connection that replaces a broken one.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Host,
    receiver::{Answer, Answering, Appetite, ConnectError, Receiver, Record, Refused},
};
use crate::config::SyslogSink;

mod link;
mod message;
#[cfg(test)]
mod tests;

use self::{
    link::{Link, Sent},
    message::Messages,
};

/// Records of a batch.
const BATCH_RECORDS: usize = 100;

/// Bytes of a batch, as the outbox counts them.
const BATCH_BYTES: usize = 1 << 20;

/// A syslog server as a receiver.
pub(super) struct SyslogReceiver {
    sink: SyslogSink,
    messages: Messages,
    link: Option<Arc<tokio::sync::Mutex<Link>>>,
    newest: Arc<Newest>,
}

/// The newest messages that the system took.
pub(super) struct Newest {
    most: usize,
    messages: Mutex<VecDeque<Arc<[u8]>>>,
}

impl Newest {
    fn new(most: usize) -> Self {
        Self { most, messages: Mutex::default() }
    }

    fn add(&self, messages: &[Arc<[u8]>]) {
        let mut kept = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = messages.len().saturating_sub(self.most);
        kept.extend(messages.iter().skip(skipped).cloned());
        let over = kept.len().saturating_sub(self.most);
        kept.drain(..over);
    }

    fn all(&self) -> Vec<Arc<[u8]>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl SyslogReceiver {
    /// Connects to nobody yet.
    pub(super) fn new(sink: SyslogSink, host: Host) -> Self {
        let newest = Arc::new(Newest::new(sink.resend.get()));
        Self { messages: Messages::new(&sink, host), sink, link: None, newest }
    }
}

impl Receiver for SyslogReceiver {
    fn appetite(&self) -> Appetite {
        Appetite { batch_records: BATCH_RECORDS, batch_bytes: BATCH_BYTES, batches: 1 }
    }

    async fn connect(&mut self) -> Result<(), ConnectError> {
        self.link = None;
        let mut link = Link::new(&self.sink).await?;
        // What was under way when the last connection broke.
        let newest = self.newest.all();
        if !newest.is_empty() {
            link.send(&newest).await.map_err(ConnectError)?;
        }
        self.link = Some(Arc::new(tokio::sync::Mutex::new(link)));
        Ok(())
    }

    fn send(&mut self, batch: &Arc<[Record]>) -> Answering {
        let Some(link) = self.link.clone() else {
            return Box::pin(async { Answer::Broken { reason: "there is no connection".to_owned() } });
        };
        let (mut messages, mut owners, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for record in batch.iter() {
            match self.messages.encode(record) {
                Ok(message) => {
                    messages.push(Arc::from(message));
                    owners.push((record.seq, record.record_id.clone()));
                }
                Err(why) => refused.push(why),
            }
        }
        let newest = Arc::clone(&self.newest);
        Box::pin(async move {
            match link.lock().await.send(&messages).await {
                Ok(Sent { too_large, is_stream }) => {
                    if is_stream {
                        newest.add(&messages);
                    }
                    let refuse = |(index, detail): (usize, String)| {
                        let (seq, record_id) = owners.get(index).cloned()?;
                        Some(Refused { seq, record_id, reason: "too_large", detail })
                    };
                    refused.extend(too_large.into_iter().filter_map(refuse));
                    Answer::Taken(refused)
                }
                Err(reason) => Answer::Broken { reason },
            }
        })
    }
}
