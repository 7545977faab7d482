//! Room 7: findings, and calls where somebody streams them, leave the host. Enters: rows of the store behind a cursor. Leaves: records at a receiver, and a cursor that moves only
//! after the receiver said yes. It never holds matched text, for findings hold none, and it sends nowhere but where the config says.
//!
//! ```text
//!            ┌ one thread a sink ──────────────────────────────────────┐
//!   outbox ──┤ pages ► Gate ► Record ► Receiver ──► Kafka, OTLP, file … │   a batch in order, several under way
//!   cursor ◄─┤ ◄─ the newest row before which all are taken ◄────────── │   Answer: taken, refused (dead letter), not now, broken
//!            └──────────────────────────────────────────────────────────┘
//! ```
//! The gate knows what is not for this sink, and what is too much for it: that stays in the store, and is counted.
//!
//! At least once: after a failure everything behind the cursor is sent again, each record with the same id and the same bytes. What a
//! receiver will never take becomes a dead letter with its reason, and the cursor goes on.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::watch;

mod digest;
pub mod ecs;
pub mod file;
mod format;
mod gate;
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "words of the conventions, which OTLP and OCSF share"))]
mod gen_ai;
mod host;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "https")]
mod later;
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "most are names of OTLP's records"))]
mod names;
pub mod ocsf;
#[cfg(feature = "otlp")]
pub mod otlp;
mod outbox;
mod pump;
mod receiver;
mod silences;
mod stats;
#[cfg(feature = "https")]
mod syslog;
#[cfg(test)]
mod tests;
#[cfg(feature = "https")]
pub(crate) mod tls;
pub mod usage;
mod voice;
#[cfg(feature = "https")]
mod webhook;
#[cfg(feature = "https")]
mod words;

pub use self::{
    digest::DIGEST,
    host::{Cloud, Host},
    receiver::{Answer, Answering, Appetite, CallRecord, ConnectError, Receiver, Record, Refused},
    silences::Silences,
    stats::{ClientFigures, SinkStats},
    voice::{SinkNotice, Tell},
};
use self::{
    gate::{Gate, MINUTE},
    outbox::{Outbox, Stream},
    pump::{Pump, Wanted},
    voice::Voice,
};
use crate::{
    clock, config,
    store::{Store, StoreError},
};

/// How long a sink may take to put things away when it is to end at once.
const AT_LAST: Duration = Duration::from_secs(2);

/// Why there are no sinks.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No thread.
    #[error("the thread of sink {sink}: {why}")]
    Thread {
        /// Its name.
        sink: String,
        /// Why.
        why: std::io::Error,
    },
    /// Config and environment together do not say where the collector is, or how to talk to it.
    #[cfg(feature = "otlp")]
    #[error("sink {sink}: {why}")]
    Otlp {
        /// Its name.
        sink: String,
        /// Why.
        why: otlp::EnvironmentError,
    },
    /// This program cannot.
    #[error("sink {sink}: this outflow was built without {feature} (cargo feature `{feature}`)")]
    NotBuilt {
        /// Its name.
        sink: String,
        /// What is missing.
        feature: &'static str,
    },
}

/// All sinks of an agent.
pub struct Sinks {
    store: Arc<Store>,
    host: Host,
    silences: Silences,
    tell: Tell,
    wanted: watch::Sender<Wanted>,
    threads: Vec<SinkThread>,
    /// Disconnected when the last thread has ended.
    ended: mpsc::Receiver<()>,
    ending: Option<mpsc::Sender<()>>,
}

struct SinkThread {
    sink: String,
    stats: Arc<SinkStats>,
    thread: JoinHandle<Result<(), StoreError>>,
}

impl Sinks {
    /// As [`start_with`](Self::start_with), without silences.
    pub fn start(config: &config::Sinks, store: &Arc<Store>, host: &Host, tell: Tell) -> Result<Self, SinkError> {
        Self::start_with(config, Silences::default(), store, host, tell)
    }

    /// Starts a thread for each sink of the config. `tell` hears what people should know.
    pub fn start_with(
        config: &config::Sinks,
        silences: Silences,
        store: &Arc<Store>,
        host: &Host,
        tell: Tell,
    ) -> Result<Self, SinkError> {
        are_built(config)?;
        let streams: Vec<String> = config.kafka.iter().flat_map(config::KafkaSink::call_streams).collect();
        match store.stream_calls(streams) {
            // Those that are not wanted any more are forgotten another time.
            Err(error) if error.is_passing() => {}
            known => known?,
        }
        let sinks = Self::new(store, host, silences, tell);
        #[cfg(feature = "kafka")]
        let sinks = config.kafka.iter().try_fold(sinks, Self::with_kafka)?;
        #[cfg(feature = "otlp")]
        let sinks = config.otlp.iter().try_fold(sinks, Self::with_otlp)?;
        #[cfg(feature = "https")]
        let sinks = config.webhook.iter().try_fold(sinks, Self::with_webhook)?;
        #[cfg(feature = "https")]
        let sinks = config.syslog.iter().try_fold(sinks, Self::with_syslog)?;
        config.file.iter().try_fold(sinks, Self::with_file)
    }

    /// None yet.
    fn new(store: &Arc<Store>, host: &Host, silences: Silences, tell: Tell) -> Self {
        let (ending, ended) = mpsc::channel();
        let (wanted, threads) = (watch::Sender::default(), Vec::new());
        Self {
            store: Arc::clone(store),
            host: host.clone(),
            silences,
            tell,
            wanted,
            threads,
            ended,
            ending: Some(ending),
        }
    }

    #[cfg(feature = "kafka")]
    fn with_kafka(mut self, sink: &config::KafkaSink) -> Result<Self, SinkError> {
        use kafka::{Kafka, What, Writer};
        let store_id = self.store.reader()?.store_id()?;
        let writer = Writer::new(sink.clone(), self.host.clone(), What::Findings);
        let (id, name) = (store_id.clone(), sink.name.clone());
        self.spawn(sink.name.as_str(), sink.flow(), move |voice| Kafka::new(writer, (&id, name.as_str()), voice))?;
        for (what, stream) in [(What::Calls, sink.calls_stream()), (What::Usage, sink.usage_stream())] {
            let Some(stream) = stream else { continue };
            let writer = Writer::new(sink.clone(), self.host.clone(), what);
            let (store_id, name) = (store_id.clone(), stream.clone());
            let receiver = move |voice| Kafka::new(writer, (&store_id, &name), voice);
            self.start_thread::<_, CallRecord>(&stream, gate::Open, receiver)?;
        }
        Ok(self)
    }

    #[cfg(feature = "otlp")]
    fn with_otlp(mut self, sink: &config::OtlpSink) -> Result<Self, SinkError> {
        use otlp::{OtlpSettings, Signal, variable};
        // The environment does not change any more, so neither will what is wrong with it.
        let signals = [(Signal::Logs, true), (Signal::Metrics, sink.metrics), (Signal::Traces, sink.traces)];
        for (signal, _) in signals.into_iter().filter(|(_, is_sent)| *is_sent) {
            OtlpSettings::without_headers_of(sink, signal, &variable)
                .map_err(|why| SinkError::Otlp { sink: sink.name.to_string(), why })?;
        }
        let (sink, host) = (sink.clone(), self.host.clone());
        self.spawn(sink.name.clone().as_str(), sink.flow(), move |_| {
            otlp::OtlpReceiver::new(move || OtlpSettings::read(&sink, Signal::Logs, &variable), host)
        })?;
        Ok(self)
    }

    fn with_file(mut self, sink: &config::FileSink) -> Result<Self, SinkError> {
        let (sink, host) = (sink.clone(), self.host.clone());
        self.spawn(sink.name.clone().as_str(), sink.flow(), move |_| file::FileReceiver::new(&sink, host))?;
        Ok(self)
    }

    #[cfg(feature = "https")]
    fn with_webhook(mut self, sink: &config::WebhookSink) -> Result<Self, SinkError> {
        let (sink, host) = (sink.clone(), self.host.clone());
        self.spawn(sink.name.clone().as_str(), sink.flow(), move |_| webhook::WebhookReceiver::new(sink, host))?;
        Ok(self)
    }

    #[cfg(feature = "https")]
    fn with_syslog(mut self, sink: &config::SyslogSink) -> Result<Self, SinkError> {
        let (sink, host) = (sink.clone(), self.host.clone());
        self.spawn(sink.name.clone().as_str(), sink.flow(), move |_| syslog::SyslogReceiver::new(sink, host))?;
        Ok(self)
    }

    /// Starts a sink of findings with a receiver that `receiver` makes in the sink's own thread.
    fn spawn<R: Receiver + 'static>(
        &mut self,
        sink: &str,
        flow: config::Flow,
        receiver: impl FnOnce(Voice) -> R + Send + 'static,
    ) -> Result<(), SinkError> {
        let gate = Gate::new(sink, self.host.clone(), flow, self.silences.clone(), MINUTE);
        self.start_thread::<R, Record>(sink, gate, receiver)
    }

    /// Starts a sink of one stream of the store.
    fn start_thread<R: Receiver<T> + 'static, T: Stream + 'static>(
        &mut self,
        sink: &str,
        gate: T::Gate,
        receiver: impl FnOnce(Voice) -> R + Send + 'static,
    ) -> Result<(), SinkError> {
        let stats = Arc::new(SinkStats::new(T::head(&self.store)));
        let voice = Voice::new(sink, Arc::clone(&stats), Arc::clone(&self.tell));
        let outbox = Outbox::<T>::open(Arc::clone(&self.store), sink, Arc::clone(&stats))?;
        let wanted = self.wanted.subscribe();
        let ending = self.ending.clone();
        let failed = |why| SinkError::Thread { sink: sink.to_owned(), why };
        // Findings are read here; a thread of its own moves the bytes of what is under way meanwhile.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(format!("io-{sink}"))
            .enable_all()
            .build()
            .map_err(failed)?;
        let run = move || {
            // Dropped with the thread, however it ends.
            let _ending = ending;
            let receiver = receiver(voice.clone());
            let result = runtime.block_on(Pump::new(outbox, gate, receiver, voice, wanted).run());
            // A look-up of a name that hangs is not waited for.
            runtime.shutdown_background();
            result
        };
        let thread = std::thread::Builder::new().name(format!("sink-{sink}")).spawn(run).map_err(failed)?;
        self.threads.push(SinkThread { sink: sink.to_owned(), stats, thread });
        Ok(())
    }

    /// What no sink is told of from now on.
    pub fn silence(&self, silences: Vec<config::Silence>) {
        self.silences.set(silences);
    }

    /// Name and figures of each.
    pub fn stats(&self) -> impl Iterator<Item = (&str, &SinkStats)> {
        self.threads.iter().map(|sink| (sink.sink.as_str(), sink.stats.as_ref()))
    }

    /// A sink ended by itself, which none should.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(|sink| sink.thread.is_finished())
    }

    /// Delivers what is in the outbox, for at most `patience`, and ends. What is not delivered then is delivered by the next run.
    pub fn finish(mut self, patience: Duration) -> Result<(), SinkError> {
        self.ending = None;
        self.wanted.send_replace(Wanted::Drain);
        self.wait_until(clock::instant() + patience);
        self.wanted.send_replace(Wanted::Stop);
        let all = self.wait_until(clock::instant() + AT_LAST);
        // One that does not end hangs in a library, perhaps in the look-up of a name. It ends with the program.
        for SinkThread { sink, thread, .. } in self.threads.into_iter().filter(|sink| all || sink.thread.is_finished())
        {
            let panicked = |_| SinkError::Thread {
                sink: sink.clone(),
                why: std::io::Error::other("it panicked; this is a bug in outflow"),
            };
            thread.join().map_err(panicked)??;
        }
        Ok(())
    }

    /// Until all threads have ended, at most until then; true when they have.
    fn wait_until(&self, until: Instant) -> bool {
        // Nothing is ever sent: the answer is that nobody can any more, or that it took too long.
        let told = self.ended.recv_timeout(until.saturating_duration_since(clock::instant()));
        told == Err(mpsc::RecvTimeoutError::Disconnected)
    }
}

/// Whether this program has what the config asks for.
fn are_built(config: &config::Sinks) -> Result<(), SinkError> {
    let kafka = config.kafka.first().filter(|_| !cfg!(feature = "kafka")).map(|sink| (&sink.name, "kafka"));
    let otlp = config.otlp.first().filter(|_| !cfg!(feature = "otlp")).map(|sink| (&sink.name, "otlp"));
    let packs = |sink: &&config::FileSink| sink.compression == config::FileCompression::Zstd;
    let zstd = config.file.iter().find(packs).filter(|_| !cfg!(feature = "zstd")).map(|sink| (&sink.name, "zstd"));
    kafka
        .or(otlp)
        .or(zstd)
        .map_or(Ok(()), |(sink, feature)| Err(SinkError::NotBuilt { sink: sink.to_string(), feature }))
}
