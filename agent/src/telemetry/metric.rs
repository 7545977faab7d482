//! The one list of metrics. Enters: nothing. Leaves: name, help, kind, unit and labels of each, for the page, for
//! `docs/METRICS.md` and for whoever counts. Names follow prometheus.io/docs/practices/naming: a unit in base units, `_total` on
//! counters.

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Version of the running program.
    BuildInfo,
    /// When the agent started.
    StartTime,
    /// Whether each part is ready.
    Ready,
    /// LLM calls seen.
    Exchanges,
    /// Answers with something wrong.
    Flaws,
    /// Findings seen.
    Findings,
    /// Findings that the user wants not to be told.
    Suppressed,
    /// Streams that did what is no message.
    Anomalies,
    /// Blocks that the scanner refused.
    UnscannedBlocks,
    /// Calls of TLS libraries, by what became of them.
    TapCalls,
    /// Bytes that the tap copied.
    TapBytes,
    /// Calls that the tap lost.
    TapLostCalls,
    /// Bytes that the tap lost.
    TapLostBytes,
    /// Bytes read of log files.
    LogBytes,
    /// Log files that are followed.
    LogFiles,
    /// What the globs fit and nobody can read.
    LogUnread,
    /// Bytes of log files that wait to be read.
    LogLag,
    /// Bytes of log files that are gone unread.
    LogGap,
    /// Bytes of entries of the journal.
    JournalBytes,
    /// Starts of journalctl.
    JournalStarts,
    /// Calls that logs told of.
    LoggedCalls,
    /// Bytes of log files that were not scanned.
    LogCapped,
    /// Rows of the store.
    StoreRows,
    /// Commits of the store.
    StoreCommits,
    /// Size of the store.
    StoreBytes,
    /// What waits for the store.
    StoreQueue,
    /// What was dropped because the store was full.
    StoreDropped,
    /// What was kept long enough.
    StorePruned,
    /// What went although somebody misses it.
    StoreLost,
    /// Damaged files of the store.
    StoreDamages,
    /// Calls that were dropped because too many waited for sinks.
    StoreDroppedCalls,
    /// Records that a receiver confirmed.
    SinkRecords,
    /// Revisions that wait for a receiver.
    SinkPending,
    /// Records that a receiver will never take.
    SinkDeadLetters,
    /// Spans of calls.
    SinkSpans,
    /// Records that are not for a receiver.
    SinkWithheld,
    /// Batches and connections that failed.
    SinkFailures,
    /// Connections in place of broken ones.
    SinkReconnects,
    /// When a receiver last took something.
    SinkDelivered,
    /// Records that librdkafka holds.
    KafkaQueue,
    /// Bytes of these.
    KafkaQueueBytes,
    /// How long a broker takes to answer.
    KafkaRoundTrip,
    /// Requests that failed.
    KafkaErrors,
    /// Requests that were sent again.
    KafkaRetries,
    /// Requests that were not answered in time.
    KafkaTimeouts,
    /// Reloads of the config.
    ConfigReloads,
    /// Spend of a service in the running window.
    BudgetSpend,
    /// Limit of a service.
    BudgetLimit,
    /// Whether a circuit breaker stops calls.
    BreakerOpen,
    /// What circuit breakers stopped.
    BreakerStopped,
    /// Records of what the fleet spent.
    FleetRecords,
    /// How old the fleet's totals are.
    FleetAge,
}

/// How a value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up, from zero at start.
    Counter,
    /// Up and down.
    Gauge,
}

/// What one stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain count.
    None,
    /// Bytes.
    Bytes,
    /// Seconds since 1970-01-01T00:00:00Z, or a span of time.
    Seconds,
    /// A span of time; counted in nanoseconds and shown in seconds as a decimal.
    Span,
    /// US dollars; counted in nano-USD and shown as a decimal.
    Usd,
}

impl Unit {
    /// Suffix in the metric's name.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Bytes => Some("bytes"),
            Self::Seconds | Self::Span => Some("seconds"),
            Self::Usd => Some("usd"),
        }
    }
}

/// What there is to say about a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Name without unit and suffix.
    pub stem: &'static str,
    /// One sentence without its full stop, which the format adds.
    pub help: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What one stands for.
    pub unit: Unit,
    /// Names of its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
}

impl About {
    /// The whole name, as a query has it.
    pub fn name(&self) -> String {
        let unit = self.unit.as_str().map(|unit| format!("_{unit}")).unwrap_or_default();
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.stem)
    }
}

const fn counter(stem: &'static str, unit: Unit, labels: &'static [&'static str], help: &'static str) -> About {
    About { stem, help, kind: Kind::Counter, unit, labels }
}

const fn gauge(stem: &'static str, unit: Unit, labels: &'static [&'static str], help: &'static str) -> About {
    About { stem, help, kind: Kind::Gauge, unit, labels }
}

const LOGGED_CALLS: &str =
    "LLM calls that lines of logs told of; outcome `counted`, or `known`: the tap or another line told of it before";

impl Metric {
    /// All of them, in the order of the page.
    pub const ALL: [Self; 52] = [
        Self::BuildInfo,
        Self::StartTime,
        Self::Ready,
        Self::Exchanges,
        Self::Flaws,
        Self::Findings,
        Self::Suppressed,
        Self::Anomalies,
        Self::UnscannedBlocks,
        Self::TapCalls,
        Self::TapBytes,
        Self::TapLostCalls,
        Self::TapLostBytes,
        Self::LogBytes,
        Self::LogFiles,
        Self::LogUnread,
        Self::LogLag,
        Self::LogGap,
        Self::JournalBytes,
        Self::JournalStarts,
        Self::LoggedCalls,
        Self::LogCapped,
        Self::StoreRows,
        Self::StoreCommits,
        Self::StoreBytes,
        Self::StoreQueue,
        Self::StoreDropped,
        Self::StorePruned,
        Self::StoreLost,
        Self::StoreDamages,
        Self::StoreDroppedCalls,
        Self::SinkRecords,
        Self::SinkPending,
        Self::SinkDeadLetters,
        Self::SinkSpans,
        Self::SinkWithheld,
        Self::SinkFailures,
        Self::SinkReconnects,
        Self::SinkDelivered,
        Self::KafkaQueue,
        Self::KafkaQueueBytes,
        Self::KafkaRoundTrip,
        Self::KafkaErrors,
        Self::KafkaRetries,
        Self::KafkaTimeouts,
        Self::ConfigReloads,
        Self::BudgetSpend,
        Self::BudgetLimit,
        Self::BreakerOpen,
        Self::BreakerStopped,
        Self::FleetRecords,
        Self::FleetAge,
    ];

    /// What there is to say about it.
    pub const fn about(self) -> About {
        use Unit::{Bytes, None, Seconds, Span};
        match self {
            Self::BuildInfo => gauge("outflow_build_info", None, &["version"], "Always 1; the version is the label"),
            Self::StartTime => {
                gauge("outflow_start_time", Seconds, &[], "When the agent started, since the Unix epoch")
            }
            Self::Ready => gauge("outflow_ready", None, &["component"], "1 when this part is ready, else 0"),
            Self::Exchanges => {
                counter("outflow_exchanges", None, &["vendor"], "LLM calls seen; vendor `none` is an unlisted host")
            }
            Self::Flaws => counter(
                "outflow_output",
                None,
                &["kind"],
                "Answers of models that were seen whole: all (`answers`), and those that are `refusals`, `filtered`, `truncated` or `unparsable`",
            ),
            Self::Findings => counter(
                "outflow_findings",
                None,
                &["severity", "category"],
                "Occurrences of findings; categories are those of the finding schema",
            ),
            Self::Suppressed => counter(
                "outflow_suppressed_findings",
                None,
                &["by"],
                "Occurrences that were found and are not told: by an entry of the `allow-list`, or by `outflow:allow` on their line",
            ),
            Self::Anomalies => counter("outflow_anomalies", None, &["kind"], "What streams did that is no message"),
            Self::UnscannedBlocks => {
                counter("outflow_unscanned_blocks", None, &[], "Blocks that the scanner refused to look at")
            }
            Self::TapCalls => counter(
                "outflow_tap_calls",
                None,
                &["fate"],
                "Calls of TLS libraries that moved data: handed over `whole` or with `gaps`, `refused` by scope, or `lost`",
            ),
            Self::TapBytes => counter("outflow_tap", Bytes, &[], "Plaintext that was copied"),
            Self::TapLostCalls => {
                counter("outflow_tap_lost_calls", None, &["reason"], "Calls of the TLS library that were lost")
            }
            Self::TapLostBytes => counter("outflow_tap_lost", Bytes, &["reason"], "Plaintext that was lost"),
            Self::LogBytes
            | Self::LogFiles
            | Self::LogUnread
            | Self::LogLag
            | Self::JournalBytes
            | Self::JournalStarts
            | Self::LoggedCalls
            | Self::LogGap
            | Self::LogCapped => self.about_logs(),
            Self::StoreRows
            | Self::StoreCommits
            | Self::StoreBytes
            | Self::StoreQueue
            | Self::StoreDropped
            | Self::StoreDroppedCalls
            | Self::StorePruned
            | Self::StoreLost
            | Self::StoreDamages => self.about_store(),
            Self::SinkRecords
            | Self::SinkPending
            | Self::SinkDeadLetters
            | Self::SinkSpans
            | Self::SinkWithheld
            | Self::SinkFailures
            | Self::SinkReconnects
            | Self::SinkDelivered => self.about_sink(),
            Self::KafkaQueue
            | Self::KafkaQueueBytes
            | Self::KafkaRoundTrip
            | Self::KafkaErrors
            | Self::KafkaRetries
            | Self::KafkaTimeouts => self.about_kafka(),
            Self::ConfigReloads => counter(
                "outflow_config_reloads",
                None,
                &["result"],
                "Reloads of the config; result is `ok` or `failed`",
            ),
            Self::BudgetSpend | Self::BudgetLimit | Self::BreakerOpen | Self::BreakerStopped => self.about_budget(),
            Self::FleetRecords => counter(
                "outflow_fleet_records",
                None,
                &["outcome"],
                "Records of the topic of budget state: `taken`, `tombstone`, `overtaken` by a newer one, of an `unknown_version`, \
                 `invalid`, or `evicted` because there were too many",
            ),
            Self::FleetAge => gauge(
                "outflow_fleet_state_age",
                Span,
                &[],
                "How long ago the totals of the fleet held everything; absent while nobody has told of any",
            ),
        }
    }

    /// What there is to say about a metric of budgets and of what they stop.
    const fn about_budget(self) -> About {
        use Unit::{None, Usd};
        match self {
            Self::BudgetSpend => gauge(
                "outflow_budget_spend",
                Usd,
                &["budget", "owner"],
                "What was spent of a budget in its running window, by whom it is for",
            ),
            Self::BudgetLimit => {
                gauge("outflow_budget_limit", Usd, &["budget", "owner"], "What may be spent of a budget in a window")
            }
            Self::BreakerOpen => gauge(
                "outflow_breaker_open",
                None,
                &["cgroup"],
                "1 while calls to LLM vendors are stopped in this control group, else 0",
            ),
            _ => counter(
                "outflow_breaker_stopped_packets",
                None,
                &["what"],
                "Packets that circuit breakers stopped: `handshakes`, `data` of known connections, `quic`, `networks`",
            ),
        }
    }

    /// What there is to say about a metric of logs.
    const fn about_logs(self) -> About {
        use Unit::{Bytes, None};
        match self {
            Self::LogBytes => counter("outflow_log_read", Bytes, &[], "Bytes that were read of log files"),
            Self::LogFiles => gauge("outflow_log_files", None, &[], "Log files that are followed"),
            Self::LogUnread => gauge(
                "outflow_log_unread_files",
                None,
                &[],
                "Files and folders that the globs fit and that could not be read at the last look, or were too many; at most 4,096",
            ),
            Self::LogLag => gauge(
                "outflow_log_lag",
                Bytes,
                &["file"],
                "Bytes of followed log files that are not read yet; file `other` is all but the 100 that lag most",
            ),
            Self::JournalBytes => {
                counter("outflow_journal_read", Bytes, &[], "Bytes of entries that were read of the journal")
            }
            Self::JournalStarts => counter(
                "outflow_journalctl_starts",
                None,
                &[],
                "How often journalctl was started; more than once: it ended",
            ),
            Self::LoggedCalls => counter("outflow_logged_calls", None, &["outcome"], LOGGED_CALLS),
            Self::LogGap => counter(
                "outflow_log_gap",
                Bytes,
                &[],
                "Bytes of log files that were gone before they were read, at most",
            ),
            _ => counter(
                "outflow_log_capped",
                Bytes,
                &[],
                "Bytes of log files that were not scanned because their group was over `max_bytes_per_second`",
            ),
        }
    }

    /// What there is to say about a metric of the store.
    const fn about_store(self) -> About {
        use Unit::{Bytes, None};
        match self {
            Self::StoreRows => counter("outflow_store_rows", None, &[], "Rows that were written to the store"),
            Self::StoreCommits => counter("outflow_store_commits", None, &[], "Commits of the store"),
            Self::StoreBytes => gauge("outflow_store", Bytes, &[], "Size of the store on disk"),
            Self::StoreQueue => gauge("outflow_store_queue_depth", None, &[], "Batches that wait for the store"),
            Self::StoreDropped => counter(
                "outflow_store_dropped",
                None,
                &[],
                "Batches of the tap that were dropped because the store was full",
            ),
            Self::StoreDroppedCalls => counter(
                "outflow_store_dropped_calls",
                None,
                &[],
                "Calls that were dropped before every sink that streams them had them, because more waited than `max_call_bytes`",
            ),
            Self::StorePruned => counter(
                "outflow_store_pruned_rows",
                None,
                &["kind"],
                "Rows that left the store because they were kept long enough, or because every sink has them and it was nearly full; kind `records`, `findings`, `usage` or `dead_letters`",
            ),
            Self::StoreLost => counter(
                "outflow_store_lost_rows",
                None,
                &["kind"],
                "Rows that left the full store although they were still wanted, by `when_full = \"drop_oldest\"`: `records` that some sink does not have, and `findings`",
            ),
            _ => counter(
                "outflow_store_damages",
                None,
                &[],
                "Times that the file of the store was damaged, was set aside, and a new one took its place",
            ),
        }
    }

    /// What there is to say about a metric of a sink.
    const fn about_sink(self) -> About {
        use Unit::{None, Seconds};
        match self {
            Self::SinkRecords => counter(
                "outflow_sink_records",
                None,
                &["sink"],
                "Records that the receiver confirmed; one that had to be sent twice counts twice",
            ),
            Self::SinkPending => gauge(
                "outflow_sink_pending_records",
                None,
                &["sink"],
                "Records in the store that the receiver does not have yet",
            ),
            Self::SinkDeadLetters => counter(
                "outflow_sink_dead_letters",
                None,
                &["sink", "reason"],
                "Records that the receiver will never take; `outflow findings deliveries` names them",
            ),
            Self::SinkSpans => counter(
                "outflow_sink_spans",
                None,
                &["sink", "outcome"],
                "Spans of calls; `outcome` is `sent`, `refused` by the collector for good, or `dropped`: it did not take them in time, or they found no room",
            ),
            Self::SinkFailures => counter(
                "outflow_sink_failures",
                None,
                &["sink"],
                "Batches that were not taken and connections that were not made; they are tried again",
            ),
            Self::SinkWithheld => counter(
                "outflow_sink_withheld",
                None,
                &["sink", "reason"],
                "Records that were not sent on purpose: `routed` past by `only` and `except`, `silenced` by `[[silence]]`, or `digested`: told in a digest \
                 because of `max_per_minute`",
            ),
            Self::SinkReconnects => counter(
                "outflow_sink_reconnects",
                None,
                &["sink"],
                "Connections or producers that replaced a broken one",
            ),
            _ => gauge(
                "outflow_sink_last_delivery",
                Seconds,
                &["sink"],
                "When the receiver last took something, since the Unix epoch; 0 is not since the start",
            ),
        }
    }

    /// What there is to say about a metric of librdkafka, which tells them every `statistics.interval.ms`.
    const fn about_kafka(self) -> About {
        use Unit::{Bytes, None, Span};
        match self {
            Self::KafkaQueue => gauge(
                "outflow_kafka_queue_records",
                None,
                &["sink"],
                "Records that librdkafka holds because the broker has not confirmed them; the store has them as well",
            ),
            Self::KafkaQueueBytes => {
                gauge("outflow_kafka_queue", Bytes, &["sink"], "Bytes of the records that librdkafka holds")
            }
            Self::KafkaRoundTrip => gauge(
                "outflow_kafka_round_trip",
                Span,
                &["sink"],
                "How long the slowest broker took to answer when one was asked last, on average",
            ),
            Self::KafkaErrors => counter(
                "outflow_kafka_request_errors",
                None,
                &["sink"],
                "Requests to brokers that could not be sent or failed; librdkafka or the store sends their records again",
            ),
            Self::KafkaRetries => {
                counter("outflow_kafka_request_retries", None, &["sink"], "Requests to brokers that were sent again")
            }
            _ => counter(
                "outflow_kafka_request_timeouts",
                None,
                &["sink"],
                "Requests to brokers that were not answered in time",
            ),
        }
    }

    /// Its place in [`Self::ALL`].
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut names = HashSet::new();
        for (index, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(metric.index(), index, "{metric:?} stands in another place than it is declared");
            let about = metric.about();
            let name = about.name();
            assert!(
                name.starts_with("outflow_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), about.kind == Kind::Counter, "{name}");
            assert!(!about.stem.ends_with("_total") && !about.stem.ends_with("_bytes"), "{name}: that is added");
            assert!(!about.help.ends_with('.') && about.help.len() > 10, "{name}");
            assert!(names.insert(name.clone()), "{name} twice");
        }
    }
}
