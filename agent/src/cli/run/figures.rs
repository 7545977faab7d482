//! What the agent says of itself. Enters: figures of its parts, once a tick. Leaves: metrics and health. Labels are words of ours, never a
//! peer's.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{control::GroupRow, meters::Meters};
use crate::{
    cli::shown::anomaly,
    clock,
    config::Config,
    detectors::{
        budget::{BudgetWatch, Unit},
        output::{self, Flaw},
    },
    engine::{LogUnseen, LogWatch, LoggedSession, Session, Silenced, Sink, Told},
    exchange::{Exchange, Subject},
    findings::{Finding, Silence},
    sinks::Sinks,
    sources::{journal::JournalStats, tail::TailStats},
    store::{Pruned, Stats},
    telemetry::{Component, Health, Metric, Metrics, OTHER},
    units::Timestamp,
};

/// Metrics and health of an agent.
pub(super) struct Figures {
    metrics: Metrics,
    health: Health,
    store: Component,
    logs: Option<Component>,
    tap: Option<Component>,
}

impl Figures {
    /// All parts of the config are starting.
    pub(super) fn new(config: &Config) -> Self {
        let (metrics, health) = (Metrics::new(), Health::default());
        metrics.set(Metric::StartTime, &[], clock::now().0 / 1_000_000_000);
        Self {
            store: health.component("store"),
            logs: config.logs.are_followed().then(|| health.component("logs")),
            tap: config.tap.enabled.then(|| health.component("tap")),
            metrics,
            health,
        }
    }

    pub(super) fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    pub(super) fn health(&self) -> Health {
        self.health.clone()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.health.is_ready()
    }

    /// Counts findings of logs.
    pub(super) fn watch(&self) -> LogWatch {
        let metrics = self.metrics();
        Arc::new(move |findings: &[Finding]| count(&metrics, findings))
    }

    pub(super) fn store_opened(&self) {
        self.store.ready();
    }

    pub(super) fn store(&self, stats: &Stats) {
        match &stats.full_because {
            Some(why) => self.store.not_ready(format!("is full: {why}")),
            None => self.store.ready(),
        }
        let figures = [
            (Metric::StoreRows, stats.rows_written),
            (Metric::StoreCommits, stats.commits),
            (Metric::StoreBytes, stats.bytes),
            (Metric::StoreQueue, stats.queued as u64),
            (Metric::StoreDropped, stats.refused),
            (Metric::StoreDamages, stats.damages),
            (Metric::StoreDroppedCalls, stats.calls_dropped),
        ];
        for (metric, value) in figures {
            self.metrics.set(metric, &[], value);
        }
        for (metric, gone) in [(Metric::StorePruned, &stats.pruned), (Metric::StoreLost, &stats.dropped)] {
            let Pruned { revisions, findings, usage, dead_letters } = *gone;
            let kinds =
                [("records", revisions), ("findings", findings), ("usage", usage), ("dead_letters", dead_letters)];
            for (kind, rows) in kinds.into_iter().filter(|(_, rows)| *rows > 0) {
                self.metrics.set(metric, &[kind], rows);
            }
        }
    }

    pub(super) fn session(&self, session: &Session, in_logs: &Silenced, budgets: &BudgetWatch, now: Timestamp) {
        let outcome = session.outcome();
        for (kind, value) in outcome.anomalies {
            self.metrics.set(Metric::Anomalies, &[anomaly(kind)], value);
        }
        for silence in Silence::ALL {
            let count = |counts: &Silenced| counts.get(&silence).copied().unwrap_or_default();
            let sum = count(&outcome.silenced).saturating_add(count(in_logs));
            if sum > 0 {
                self.metrics.set(Metric::Suppressed, &[silence.as_str()], sum);
            }
        }
        // They come and go with the config. Tokens are no money.
        self.metrics.clear(Metric::BudgetSpend);
        self.metrics.clear(Metric::BudgetLimit);
        for spend in budgets.spend(now).into_iter().filter(|spend| spend.unit == Unit::Usd) {
            let labels = [spend.budget.as_str(), &spend.owner.label()];
            self.metrics.set(Metric::BudgetSpend, &labels, spend.spent);
            self.metrics.set(Metric::BudgetLimit, &labels, spend.limit);
        }
    }

    pub(super) fn logs(&self, stats: &TailStats, unseen: &LogUnseen) {
        let load = |figure: &AtomicU64| figure.load(Relaxed);
        if load(&stats.looks) > 0
            && let Some(logs) = &self.logs
        {
            logs.ready();
        }
        // Files come and go.
        self.metrics.clear(Metric::LogLag);
        let lagging = stats.lagging.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let told: u64 = lagging.iter().map(|(_, bytes)| bytes).sum();
        self.metrics.set(Metric::LogLag, &[OTHER], load(&stats.lag_bytes).saturating_sub(told));
        for (file, bytes) in lagging {
            self.metrics.set(Metric::LogLag, &[&file], bytes);
        }
        let figures = [
            (Metric::LogBytes, load(&stats.read_bytes)),
            (Metric::LogFiles, load(&stats.files)),
            (Metric::LogUnread, load(&stats.unread)),
            (Metric::LogGap, load(&stats.gap_bytes)),
            (Metric::LogCapped, load(&stats.capped_bytes)),
            (Metric::UnscannedBlocks, load(&unseen.refused_blocks)),
        ];
        for (metric, value) in figures {
            self.metrics.set(metric, &[], value);
        }
    }

    /// What logs told besides their lines.
    pub(super) fn logged(&self, calls: &LoggedSession, journal: Option<&JournalStats>) {
        for (outcome, count) in [("counted", &calls.counted), ("known", &calls.repeated)] {
            self.metrics.set(Metric::LoggedCalls, &[outcome], count.load(Relaxed));
        }
        if let Some(journal) = journal {
            self.metrics.set(Metric::JournalBytes, &[], journal.read_bytes.load(Relaxed));
            self.metrics.set(Metric::JournalStarts, &[], journal.starts.load(Relaxed));
        }
    }

    pub(super) fn sinks(&self, sinks: &Sinks) {
        // The page looks when it is asked; collectors get what stands here.
        self.metrics.ready(&self.health);
        for (sink, stats) in sinks.stats() {
            let figures = [
                (Metric::SinkRecords, stats.sent()),
                (Metric::SinkPending, stats.pending_records()),
                (Metric::SinkFailures, stats.failures()),
                (Metric::SinkReconnects, stats.reconnects()),
                (Metric::SinkDelivered, stats.delivered_at().unwrap_or_default().0 / 1_000_000_000),
            ];
            for (metric, value) in figures {
                self.metrics.set(metric, &[sink], value);
            }
            for (reason, count) in stats.withheld_records() {
                self.metrics.set(Metric::SinkWithheld, &[sink, reason], count);
            }
            if let Some(client) = stats.client_figures() {
                let figures = [
                    (Metric::KafkaQueue, client.queued_records),
                    (Metric::KafkaQueueBytes, client.queued_bytes),
                    (Metric::KafkaRoundTrip, client.round_trip_ns),
                    (Metric::KafkaErrors, client.errors),
                    (Metric::KafkaRetries, client.retries),
                    (Metric::KafkaTimeouts, client.timeouts),
                ];
                for (metric, value) in figures {
                    self.metrics.set(metric, &[sink], value);
                }
            }
            for (reason, count) in stats.dead_letters() {
                self.metrics.set(Metric::SinkDeadLetters, &[sink, reason], count);
            }
        }
    }

    /// The circuit breakers, by control group.
    pub(super) fn breakers(&self, groups: &[GroupRow]) {
        let mut sums = [0_u64; 4];
        for GroupRow { cgroup, stops, counts, .. } in groups {
            self.metrics.set(Metric::BreakerOpen, &[cgroup], u64::from(*stops));
            let of = [counts.stopped_handshakes, counts.stopped_packets, counts.stopped_quic, counts.stopped_networks];
            sums.iter_mut().zip(of).for_each(|(sum, count)| *sum = sum.saturating_add(count));
        }
        for (what, sum) in ["handshakes", "data", "quic", "networks"].iter().zip(sums).filter(|_| !groups.is_empty()) {
            self.metrics.set(Metric::BreakerStopped, &[what], sum);
        }
    }

    /// `attached`: every attaching process is there.
    pub(super) fn taps(&self, attached: bool, figures: &TapFigures) {
        if let Some(tap) = &self.tap {
            if attached { tap.ready() } else { tap.not_ready("has lost its attaching process") }
        }
        for (fate, calls) in &figures.calls {
            self.metrics.set(Metric::TapCalls, &[fate], *calls);
        }
        self.metrics.set(Metric::TapBytes, &[], figures.bytes);
        for (reason, (calls, bytes)) in &figures.lost {
            self.metrics.set(Metric::TapLostCalls, &[reason], *calls);
            self.metrics.set(Metric::TapLostBytes, &[reason], *bytes);
        }
    }
}

/// What became of the calls of all taps.
#[derive(Debug, Default)]
pub(super) struct TapFigures {
    /// Calls, by what became of them.
    pub calls: BTreeMap<&'static str, u64>,
    /// Plaintext that was copied, bytes.
    pub bytes: u64,
    /// Calls and bytes that were lost, by reason.
    pub lost: BTreeMap<&'static str, (u64, u64)>,
}

/// A sink that counts what it passes on.
pub(super) struct Counted {
    sink: Box<dyn Sink>,
    metrics: Metrics,
    meters: Arc<Meters>,
}

impl Counted {
    pub(super) fn new(sink: Box<dyn Sink>, metrics: Metrics, meters: Arc<Meters>) -> Self {
        Self { sink, metrics, meters }
    }
}

impl Sink for Counted {
    fn told(&mut self, told: Told<'_>) -> io::Result<()> {
        if let Subject::Exchange(exchange) = told.subject {
            // The id comes from our own table.
            self.metrics.add(Metric::Exchanges, &[exchange.vendor.as_deref().unwrap_or("none")], 1);
            count_flaws(&self.metrics, exchange);
            self.meters.exchange(exchange, told.cost);
        }
        count(&self.metrics, &told.findings);
        self.sink.told(told)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.sink.finish()
    }
}

fn count_flaws(metrics: &Metrics, exchange: &Exchange) {
    let Some(flaws) = output::flaws(exchange) else { return };
    metrics.add(Metric::Flaws, &["answers"], 1);
    for (flaw, _) in Flaw::ALL.iter().zip(flaws).filter(|(_, is)| *is == Some(true)) {
        metrics.add(Metric::Flaws, &[flaw.as_str()], 1);
    }
}

fn count(metrics: &Metrics, findings: &[Finding]) {
    for finding in findings {
        metrics.add(Metric::Findings, &[finding.severity.as_str(), finding.category.as_str()], 1);
    }
}
