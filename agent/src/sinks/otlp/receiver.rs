//! A collector as a receiver of findings. Enters: batches. Leaves: an answer for each. A collector counts what it rejects and does not say which,
//! so a batch that it did not take whole is sent again in halves, down to the single record that is at fault: what was taken is taken twice then,
//! byte for byte the same. A batch of n records makes 2n - 1 requests at most,
//! twice that when it is not known yet whether the collector reads what is compressed.
//!
//! Two requests that are under way at once arrive in any order, and one that is sent again in halves arrives late. So a batch with a later record of
//! a finding waits for the one with the earlier record.

use std::{
    collections::HashSet,
    panic::resume_unwind,
    sync::{Arc, atomic::AtomicBool},
};

use tokio::{sync::watch, task::JoinSet};

use super::{
    OtlpSettings, Signal,
    collector::{Collector, REQUEST_BYTES_MAX},
    encode::request,
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
    connected: Option<Arc<Connected>>,
    /// The collector took something once.
    proven: Arc<AtomicBool>,
    /// Batches that are not answered yet, as far as is known: [`BATCHES`] at most.
    under_way: Vec<UnderWay>,
}

/// A collector, and what goes along with every finding.
struct Connected {
    collector: Collector,
    host: Host,
    experimental_names: bool,
}

/// A batch whose answer is still to come.
struct UnderWay {
    batch: Arc<[Record]>,
    /// Whether it was taken; nothing before it is known, and gone when nobody waits for it any more.
    taken: watch::Receiver<Option<bool>>,
}

impl UnderWay {
    /// It may still arrive.
    fn is_open(&self) -> bool {
        self.taken.borrow().is_none() && self.taken.has_changed().is_ok()
    }

    /// Some finding is in both.
    fn shares_with(&self, findings: &HashSet<&str>) -> bool {
        self.batch.iter().any(|record| findings.contains(record.finding.finding_id.as_str()))
    }
}

/// Comes back when it is answered: true when it was taken.
async fn is_taken(mut earlier: watch::Receiver<Option<bool>>) -> bool {
    earlier.wait_for(Option::is_some).await.is_ok_and(|taken| *taken == Some(true))
}

impl OtlpReceiver {
    /// Nothing is read or asked before [`connect`](Receiver::connect).
    pub fn new(settings: impl Fn() -> Result<OtlpSettings, ConnectError> + Send + 'static, host: Host) -> Self {
        Self { settings: Box::new(settings), host, connected: None, proven: Arc::default(), under_way: Vec::new() }
    }
}

impl Receiver for OtlpReceiver {
    fn appetite(&self) -> Appetite {
        Appetite { batch_records: BATCH_RECORDS, batch_bytes: REQUEST_BYTES_MAX, batches: BATCHES }
    }

    async fn connect(&mut self) -> Result<(), ConnectError> {
        self.connected = None;
        self.under_way.clear();
        let settings = (self.settings)()?;
        let collector = Collector::new(&settings, Signal::Logs, Arc::clone(&self.proven))?;
        let experimental_names = settings.experimental_names;
        self.connected = Some(Arc::new(Connected { collector, host: self.host.clone(), experimental_names }));
        Ok(())
    }

    fn send(&mut self, batch: &Arc<[Record]>) -> Answering {
        self.under_way.retain(UnderWay::is_open);
        let findings: HashSet<&str> = batch.iter().map(|record| record.finding.finding_id.as_str()).collect();
        let earlier = self.under_way.iter().filter(|earlier| earlier.shares_with(&findings));
        let earlier: Vec<_> = earlier.map(|earlier| earlier.taken.clone()).collect();
        let (told, taken) = watch::channel(None);
        self.under_way.push(UnderWay { batch: Arc::clone(batch), taken });
        let (connected, batch) = (self.connected.clone(), Arc::clone(batch));
        let delivery = async move {
            for earlier in earlier {
                if !is_taken(earlier).await {
                    let reason = "the records before these were not taken".to_owned();
                    return Answer::NotNow { reason, after: None };
                }
            }
            match connected {
                Some(connected) => deliver(&connected, &batch).await,
                None => Answer::Broken { reason: "there is no connection yet".to_owned() },
            }
        };
        Box::pin(async move {
            // A task, so that it is written and sent while the next findings are read. It ends with the set.
            let mut tasks = JoinSet::new();
            tasks.spawn(delivery);
            let answer = match tasks.join_next().await {
                Some(Ok(answer)) => answer,
                Some(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
                _ => Answer::Broken { reason: "it was called off".to_owned() },
            };
            // Not by the task: the pump could hand over a later record before it hears that this batch was not taken.
            told.send_replace(Some(matches!(answer, Answer::Taken(_))));
            answer
        })
    }
}

/// Sends a batch, and what is left of it in halves, until it is known of each record whether the collector has it.
async fn deliver(connected: &Connected, batch: &[Record]) -> Answer {
    let Connected { collector, host, experimental_names } = connected;
    let mut refused = Vec::new();
    let mut left = vec![batch];
    while let Some(records) = left.pop() {
        let (reason, detail) = match collector.export(|| request(records, host, *experimental_names)).await {
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
