//! A collector as a receiver of findings. Enters: batches. Leaves: an answer for each. A collector counts what it rejects and does not say which,
//! so a batch that it did not take whole is sent again in halves, down to the single record that is at fault: what was taken is taken twice then,
//! byte for byte the same. A batch of n records makes 2n - 1 requests at most,
//! twice that when it is not known yet whether the collector reads what is compressed. Nothing is kept between two batches.

use std::sync::{Arc, atomic::AtomicBool};

use super::{
    OtlpSettings, Signal,
    collector::{Collector, REQUEST_BYTES_MAX},
    encode::request,
    load::Load,
    outcome::Outcome,
};
use crate::sinks::{Answer, Answering, Appetite, ConnectError, Host, Receiver, Record, Refused};

/// Records of one request.
const BATCH_RECORDS: usize = 500;

/// Requests under way at a time; the collector's answer to one is on its way while it reads the next.
const BATCHES: usize = 2;

/// Why a record is refused with which a collector cannot do anything.
const INVALID: &str = "invalid";

/// Sends findings to one collector.
pub struct OtlpReceiver {
    /// Asked for whenever a connection is made: a header may be read from a file that changes.
    settings: Box<dyn Fn() -> Result<OtlpSettings, ConnectError> + Send>,
    host: Host,
    collector: Option<Arc<Collector>>,
    /// The collector took something once.
    proven: Arc<AtomicBool>,
}

impl OtlpReceiver {
    /// Nothing is read or asked before [`connect`](Receiver::connect).
    pub fn new(settings: impl Fn() -> Result<OtlpSettings, ConnectError> + Send + 'static, host: Host) -> Self {
        Self { settings: Box::new(settings), host, collector: None, proven: Arc::default() }
    }
}

impl Receiver for OtlpReceiver {
    fn appetite(&self) -> Appetite {
        Appetite { batch_records: BATCH_RECORDS, batch_bytes: REQUEST_BYTES_MAX, batches: BATCHES }
    }

    async fn connect(&mut self) -> Result<(), ConnectError> {
        self.collector = None;
        let settings = (self.settings)()?;
        self.collector = Some(Arc::new(Collector::new(&settings, Signal::Logs, Arc::clone(&self.proven))?));
        Ok(())
    }

    fn send(&mut self, batch: &Arc<[Record]>) -> Answering {
        let (collector, host, batch) = (self.collector.clone(), self.host.clone(), Arc::clone(batch));
        Box::pin(async move {
            match collector {
                Some(collector) => deliver(&collector, &host, &batch).await,
                None => Answer::Broken { reason: "there is no connection yet".to_owned() },
            }
        })
    }
}

/// Sends a batch, and what is left of it in halves, until it is known of each record whether the collector has it.
async fn deliver(collector: &Collector, host: &Host, batch: &[Record]) -> Answer {
    let mut refused = Vec::new();
    let mut left = vec![batch];
    while let Some(records) = left.pop() {
        let (reason, detail) = match collector.export(|| Load::Logs(request(records, host))).await {
            Outcome::Taken => continue,
            Outcome::Rejected { count, detail } => {
                if count >= records.len() as u64 {
                    refused.extend(records.iter().map(|record| refuse(record, "rejected", &detail)));
                    continue;
                }
                ("rejected", detail)
            }
            Outcome::Invalid(detail) => (INVALID, detail),
            Outcome::TooLarge(detail) => ("too_large", detail),
            Outcome::Compressed | Outcome::Suspect => {
                let reason = "the collector takes nothing compressed, and says so of what is not".to_owned();
                return Answer::NotNow { reason, after: None };
            }
            Outcome::NotNow { reason, after } => return Answer::NotNow { reason, after },
            Outcome::Broken(reason) => return Answer::Broken { reason },
        };
        match records {
            [] => {}
            [record] => refused.push(refuse(record, reason, &detail)),
            _ => {
                let (first, second) = records.split_at(records.len() / 2);
                left.extend([second, first]);
            }
        }
    }
    // Who finds fault with everything finds it with something else than the findings, most likely: none is given up for that. One alone is,
    // when the collector has taken others.
    if (batch.len() > 1 || !collector.is_proven())
        && refused.len() == batch.len()
        && let Some(first) = refused.iter().find(|refused| refused.reason == INVALID)
    {
        let endpoint = collector.endpoint();
        let reason = format!("{endpoint} refuses every record: check `endpoint` and `headers`: {}", first.detail);
        return Answer::NotNow { reason, after: None };
    }
    Answer::Taken(refused)
}

fn refuse(record: &Record, reason: &'static str, detail: &str) -> Refused {
    Refused { seq: record.seq, record_id: record.record_id.clone(), reason, detail: detail.to_owned() }
}
