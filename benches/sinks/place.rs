//! A store that is full of findings before any clock starts. Enters: a folder, a count. Leaves: runs of a sink over all of it, from its
//! start to the cursor at the head, and the records for a bare loop. Every other finding is a leak, the rest unpinned models.

use std::{path::Path, sync::Arc, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use outflow::{
    clock,
    config::Config,
    detectors::{Behaviour, Hit, Leak, Place as Spot, Side},
    exchange::{Api, Exchange},
    findings::{Activity, Finding, FingerprintKey, Maker},
    rules::ScanRule,
    sinks::{Host, Record, Sinks},
    sources::{Origin, StreamId},
    store::{Batch, Limits, Store},
    units::{Severity, Timestamp},
};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::figures::{Clock, Run};

/// Longest that one run may take.
const LIMIT: Duration = Duration::from_mins(5);

/// Pause between two looks at a count; what is measured is no finer.
const LOOK: Duration = Duration::from_millis(1);

/// The store in its folder.
const FILE: &str = "bench.db";

/// Findings of one batch, when the store is filled.
const BATCH: usize = 500;

/// A store, and what is in it.
pub(crate) struct Place {
    store: Arc<Store>,
    pub(crate) host: Host,
    pub(crate) findings: usize,
    dir: TempDir,
}

impl Place {
    /// Makes the findings and stores them.
    pub(crate) fn fill(folder: &Path, findings: usize) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("outflow-bench").tempdir_in(folder)?;
        let store = Arc::new(Store::open(&dir.path().join(FILE), Limits::default())?);
        let maker = Maker::new(FingerprintKey::new([7; 32]));
        let made: Vec<Finding> = (0..findings).map(|number| finding(&maker, number)).collect();
        for chunk in made.chunks(BATCH) {
            store.submit(Batch { findings: chunk.to_vec(), ..Batch::default() })?.wait()?;
        }
        let host = Host {
            name: "bench-host".to_owned(),
            id: Some("0123456789abcdef0123456789abcdef".to_owned()),
            cloud: None,
        };
        Ok(Self { store, host, findings, dir })
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Delivers everything through the one sink of this config, under a name that has no cursor yet. The clock starts when `warm` findings are
    /// there: so connections are made before.
    pub(crate) fn deliver(&self, config: &str, warm: usize) -> Result<Run> {
        let config = Config::parse("bench", config)?.sinks;
        let mut started = (warm == 0).then(|| (Clock::start(), 0));
        let sinks = Sinks::start(&config, &self.store, &self.host, Arc::new(|_| {}))?;
        let (_, stats) = sinks.stats().next().context("the config has a sink")?;
        let until = clock::instant() + LIMIT;
        while stats.pending_records() > 0 {
            ensure!(clock::instant() < until && !sinks.has_ended(), "not delivered: {stats:?}");
            if started.is_none() && stats.sent() >= warm as u64 {
                started = Some((Clock::start(), usize::try_from(stats.sent())?));
            }
            sleep(LOOK);
        }
        let (clock, before) = started.context("all was there at once: more findings are needed")?;
        let run = clock.stop(self.findings - before);
        let is_clean = stats.sent() == self.findings as u64 && stats.failures() == 0;
        ensure!(is_clean, "a run with failures is no measurement: {stats:?}");
        sinks.finish(LIMIT)?;
        Ok(run)
    }

    /// The payloads of all rows, as anybody can read them.
    pub(crate) fn rows<T>(
        &self,
        work: impl FnOnce(&mut dyn Iterator<Item = Result<String>>) -> Result<T>,
    ) -> Result<T> {
        let db = Connection::open_with_flags(self.dir.path().join(FILE), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut select = db.prepare("SELECT payload FROM outbox ORDER BY seq")?;
        let rows = select.query_map([], |row| row.get(0))?;
        work(&mut rows.map(|row| Ok(row?)))
    }

    /// All that a sink would be handed.
    pub(crate) fn records(&self) -> Result<Vec<Record>> {
        let rows = self.store.reader()?.outbox_rows_after(0, self.findings as u64)?;
        let record = |row: outflow::store::OutboxRow| {
            let record_id = row.record_id();
            let payload = row.payload.context("nothing was erased")?;
            let finding = serde_json::from_str(&payload)?;
            Ok(Record { seq: row.seq, record_id, activity: Activity::Create, finding, payload })
        };
        rows.into_iter().map(record).collect()
    }
}

/// None like another.
fn finding(maker: &Maker, number: usize) -> Finding {
    let (exchange, rule) = (exchange(), rule());
    let text = format!("please refund person-{number}@outflow-bench-shop.com for the order of last week");
    let span = 14..text.find(" for").unwrap_or(text.len());
    let hit = if number.is_multiple_of(2) {
        Hit::Leak(Leak {
            rule: &rule,
            haystack: text.as_bytes(),
            span: span.clone(),
            others: std::slice::from_ref(&span),
            confidence: 85,
            place: Spot::Exchange { exchange: &exchange, side: Side::Request, path: "$.messages[0].content" },
        })
    } else {
        Hit::Behaviour(Behaviour {
            rule: "model.unpinned",
            references: vec!["https://developers.openai.com/api/docs/models".to_owned()],
            key: number.to_string(),
            severity: Severity::Medium,
            confidence: 95,
            title: "`gpt-4o` is an alias that can move; it answered as `gpt-4o-2024-08-06`".to_owned(),
            case: None,
            facts: vec![("model.pin_class", "alias".into())],
            exchange: &exchange,
        })
    };
    maker.occurrence(&hit, exchange.started_at, None)
}

fn rule() -> ScanRule {
    ScanRule {
        id: "pii.email".to_owned(),
        group: "contact".to_owned(),
        entity: "EMAIL_ADDRESS".to_owned(),
        title: "E-mail address".to_owned(),
        severity: Severity::Medium,
        confidence: 80,
        pattern: String::new(),
        remedy: "Remove it from the prompt, or mask it before it is sent.".to_owned(),
        references: vec!["https://www.rfc-editor.org/rfc/rfc5321".to_owned()],
    }
}

fn exchange() -> Exchange {
    let at = Timestamp(1_795_392_000_000_000_000);
    Exchange {
        vendor: Some("openai".into()),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        api: Api::ChatCompletions,
        status: Some(200),
        request_model: Some("gpt-4o".into()),
        response_model: Some("gpt-4o-2024-08-06".into()),
        ..Exchange::unknown(
            StreamId(1),
            Arc::new(Origin {
                pid: 7,
                process: "python3".into(),
                service: "shop".into(),
                container: None,
                ..Origin::default()
            }),
            "api.openai.com",
            at,
        )
    }
}
