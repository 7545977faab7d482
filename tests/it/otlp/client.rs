//! Records, and somebody who hands them to a receiver. Enters: settings. Leaves: answers.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use outflow::{
    findings::{Activity, Finding},
    sinks::{
        Answer, ConnectError, Host, Receiver as _, Record, SinkNotice, Tell,
        otlp::{Compression, OtlpReceiver, OtlpSettings, Protocol},
    },
};
use serde_json::json;
use testbed::fake_collector::{FakeCollector, Wire};
use tokio::runtime::Runtime;

/// Both transports, and what the collector listens with for each.
pub(super) const BOTH: [(Protocol, Wire); 2] = [(Protocol::Grpc, Wire::Grpc), (Protocol::Http, Wire::Http)];

/// Longest wait for what must happen.
pub(super) const LIMIT: Duration = Duration::from_mins(1);

pub(super) fn settings(endpoint: String, protocol: Protocol) -> OtlpSettings {
    OtlpSettings {
        endpoint,
        adds_path: true,
        protocol,
        compression: Compression::None,
        headers: Vec::new(),
        timeout: Duration::from_secs(20),
        experimental_names: false,
        ca_file: None,
        cert_file: None,
        key_file: None,
    }
}

pub(super) fn host() -> Host {
    crate::ocsf::host()
}

/// Settings that stay as they are.
pub(super) fn fixed(settings: &OtlpSettings) -> impl Fn() -> Result<OtlpSettings, ConnectError> + Send + 'static {
    let settings = settings.clone();
    move || Ok(settings.clone())
}

/// Notices that nobody hears.
pub(super) fn to_nobody() -> Tell {
    Arc::new(|_| {})
}

/// Notices, and who hears them.
pub(super) fn heard() -> (Tell, mpsc::Receiver<SinkNotice>) {
    let (said, hears) = mpsc::channel();
    // The receiver may be gone when the test is over.
    let tell = move |notice| drop(said.send(notice));
    (Arc::new(tell), hears)
}

/// A record that no other one is like.
pub(super) fn record(seq: u64) -> Record {
    sized(seq, "E-mail address sent to api.openai.com")
}

/// The same with a title of one's own.
pub(super) fn sized(seq: u64, title: &str) -> Record {
    let id = format!("{seq:032x}");
    let finding: Finding = serde_json::from_value(json!({
        "schema_version": 1,
        "event_name": "outflow.finding",
        "finding_id": id,
        "record_id": format!("{id}-1"),
        "revision": 1,
        "activity": "create",
        "rule": { "id": "pii.email", "title": "E-mail address", "references": ["https://www.rfc-editor.org/rfc/rfc5321"] },
        "entity": "EMAIL_ADDRESS",
        "category": "leak",
        "severity": "medium",
        "confidence": 85,
        "title": title,
        "remedy": "Remove it from the prompt.",
        "fingerprint": { "value": "00112233445566778899aabbccddeeff", "key_id": "0123456789abcdef" },
        "excerpt": "write to j•••@•••.com today",
        "location": { "side": "request", "path": "$.messages[0].content", "start": 9, "end": 29 },
        "process": { "pid": 4242, "name": "python3.11", "service": format!("service-{}", seq % 3) },
        "destination": { "host": "api.openai.com", "vendor": "openai", "api": "chat_completions" },
        "model": { "requested": "gpt-4o", "resolved": "gpt-4o-2024-08-06" },
        "cost_nano_usd": 1234,
        "cost_source": "catalogue",
        "coverage": { "scanned_bytes": 2000, "total_bytes": 2000 },
        "count": 1,
        "first_seen": "2026-11-23T00:00:00.000Z",
        "last_seen": "2026-11-23T00:00:00.000Z",
        "attributes": { "model.pin_class": "alias", "model.days_left": 12 },
    }))
    .unwrap();
    let payload = serde_json::to_string(&finding).unwrap();
    Record { seq, record_id: finding.record_id.clone(), activity: Activity::Create, finding, payload }
}

pub(super) fn batch(seqs: impl IntoIterator<Item = u64>) -> Arc<[Record]> {
    seqs.into_iter().map(record).collect()
}

/// Record ids of these.
pub(super) fn ids(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.record_id.clone()).collect()
}

/// A receiver with a runtime around it.
pub(super) struct Client {
    receiver: OtlpReceiver,
    runtime: Runtime,
}

impl Client {
    pub(super) fn new(settings: OtlpSettings) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut client = Self { receiver: OtlpReceiver::new(move || Ok(settings.clone()), host()), runtime };
        client.connect();
        client
    }

    pub(super) fn to(collector: &FakeCollector, protocol: Protocol) -> Self {
        Self::new(settings(collector.endpoint(), protocol))
    }

    pub(super) fn connect(&mut self) {
        self.runtime.block_on(self.receiver.connect()).unwrap();
    }

    pub(super) fn send(&mut self, batch: &Arc<[Record]>) -> Answer {
        let answering = self.receiver.send(batch);
        self.runtime.block_on(answering)
    }

    /// Two batches at once.
    pub(super) fn send_both(&mut self, batches: [&Arc<[Record]>; 2]) -> [Answer; 2] {
        let [first, second] = batches.map(|batch| self.receiver.send(batch));
        let (first, second) = self.runtime.block_on(async { tokio::join!(first, second) });
        [first, second]
    }
}
