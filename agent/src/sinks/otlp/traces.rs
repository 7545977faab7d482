//! A client span for each call, to a collector. Enters: exchanges with their cost. Leaves: spans that hang below the span whose `traceparent` the
//! request carried, each with the service that called as its resource. The exporter of `opentelemetry-otlp` is not used: it takes a partial
//! success for a whole one. No prompt, answer or argument goes out, and no call waits: what finds no room in the queue, or no collector for
//! [`PATIENCE`] tries' time, is dropped, counted and told once. Findings do not depend on it.
//!
//! Bounds: [`QUEUE`] spans wait, [`BATCH`] go in one request.

use std::{
    sync::{Arc, atomic::AtomicBool},
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    Array, InstrumentationScope, KeyValue, SpanId, StringValue, TraceFlags, TraceId, Value,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sha2::{Digest as _, Sha256};
use tokio::{
    runtime,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use super::{
    OtlpSettings, Signal,
    collector::Collector,
    encode::{is_one_resource, resource, scope, split_port},
    genai::failure,
    names,
    outcome::Outcome,
    sdk::failed,
    voice::SideVoice,
};
use crate::{
    exchange::{Cost, CostSource, Exchange, McpCall},
    findings::{self, Process},
    sinks::{
        ConnectError, Host, Tell, gen_ai,
        pump::{PAUSE_MAX, PAUSE_MIN, pauses},
    },
    telemetry::{Metric, Metrics},
    units::Timestamp,
};

/// Spans that may wait.
const QUEUE: usize = 8192;
/// Spans of one request.
const BATCH: usize = 512;
/// How long a span waits for others at most.
const LINGER: Duration = Duration::from_secs(1);
/// How long spans are kept for a collector that does not take them, in times of one request (a minute, by default), while the queue has room for
/// those behind them.
const PATIENCE: u32 = 6;
/// How long the end takes at most; less when a request may take less.
const END: Duration = Duration::from_secs(10);
/// Finish reasons that are told of a call.
const REASONS_MAX: usize = 16;

/// Sends spans until it is shut down.
#[derive(Debug)]
pub struct OtlpTraces {
    queue: mpsc::Sender<Call>,
    /// Gone when no more waiting is wanted.
    running: watch::Sender<()>,
    thread: JoinHandle<()>,
    counts: Counts,
    experimental_names: bool,
}

/// A span and whose it is.
#[derive(Debug)]
struct Call {
    owner: Process,
    span: SpanData,
}

/// Counts, and says what people should know.
#[derive(Clone, Debug)]
struct Counts {
    metrics: Metrics,
    sink: String,
    voice: Arc<SideVoice>,
    /// It was said that some found no room.
    is_full_said: Arc<AtomicBool>,
}

impl Counts {
    fn add(&self, outcome: &str, spans: usize) {
        if spans > 0 {
            self.metrics.add(Metric::SinkSpans, &[&self.sink, outcome], spans as u64);
        }
    }
}

impl OtlpTraces {
    /// Starts the thread that sends. The settings are asked for whenever a connection is made: a header may be read from a file that changes. `tell`
    /// hears when spans begin to be lost, and when they are sent again.
    pub fn start(
        settings: impl Fn() -> Result<OtlpSettings, ConnectError> + Send + 'static,
        sink: &str,
        metrics: &Metrics,
        host: &Host,
        tell: Tell,
    ) -> Result<Self, ConnectError> {
        let first = settings()?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed("spans", &first, &error))?;
        let collector = {
            let _inside = runtime.enter();
            connected(&first)?
        };
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (running, over) = watch::channel(());
        let voice = Arc::new(SideVoice::new(sink, "spans", tell));
        let counts = Counts { metrics: metrics.clone(), sink: sink.to_owned(), voice, is_full_said: Arc::default() };
        let sender = Sender {
            settings: Box::new(settings),
            collector: Some(collector),
            host: host.clone(),
            counts: counts.clone(),
            over,
            in_hand: 0,
            patience: first.timeout.saturating_mul(PATIENCE),
            is_refusal_said: AtomicBool::new(false),
        };
        let end = END.min(first.timeout);
        let thread = std::thread::Builder::new()
            .name("outflow-spans".to_owned())
            .spawn(move || {
                runtime.block_on(sender.run(waiting, end));
                // A name that is looked up is not waited for.
                runtime.shutdown_background();
            })
            .map_err(|error| failed("spans", &first, &error))?;
        Ok(Self { queue, running, thread, counts, experimental_names: first.experimental_names })
    }

    /// Hands a call over, when it is one that has a span.
    pub fn exchange(&self, exchange: &Exchange, cost: Option<&Cost>) {
        let Some(mut span) = span(exchange, cost) else { return };
        if let Some(cost) = cost.filter(|_| self.experimental_names && exchange.mcp.is_none()) {
            span.attributes.extend(proposed(cost));
        }
        if self.queue.try_send(Call { owner: findings::process(&exchange.origin), span }).is_err() {
            self.counts.add("dropped", 1);
            let reason = "there is no room for more: the collector takes them too slowly, or not at all";
            self.counts.voice.once(&self.counts.is_full_said, reason);
        }
    }

    /// Sends what waits and ends, in the time that one request may take, and in ten seconds at most; what is left then is dropped.
    pub fn shutdown(self) {
        drop((self.queue, self.running));
        // That it panicked would have been told by the panic.
        let _ = self.thread.join();
    }
}

fn connected(settings: &OtlpSettings) -> Result<Collector, ConnectError> {
    Collector::new(settings, Signal::Traces, Arc::new(AtomicBool::new(false)))
}

struct Sender {
    settings: Box<dyn Fn() -> Result<OtlpSettings, ConnectError> + Send>,
    /// `None` when another connection is to be made.
    collector: Option<Collector>,
    host: Host,
    counts: Counts,
    /// Closed when the agent ends.
    over: watch::Receiver<()>,
    /// Spans that are neither in the queue nor counted.
    in_hand: usize,
    patience: Duration,
    /// It was said that the collector refuses some.
    is_refusal_said: AtomicBool,
}

impl Sender {
    async fn run(mut self, mut waiting: mpsc::Receiver<Call>, end: Duration) {
        let mut over = self.over.clone();
        let late = async {
            // Its sender is only ever dropped.
            let _ = over.changed().await;
            sleep(end).await;
        };
        tokio::select! {
            () = self.send_all(&mut waiting) => {}
            () = late => {}
        }
        let left = self.in_hand + waiting.len();
        self.counts.add("dropped", left);
        if left > 0 {
            self.counts.voice.fails("the collector had not taken all of them at the end");
        }
    }

    async fn send_all(&mut self, waiting: &mut mpsc::Receiver<Call>) {
        while let Some(first) = waiting.recv().await {
            let mut batch = vec![first];
            let filling = async {
                while batch.len() < BATCH
                    && let Some(call) = waiting.recv().await
                {
                    batch.push(call);
                }
            };
            // Late or not, what came is in the batch.
            let _ = timeout(LINGER, filling).await;
            self.in_hand = batch.len();
            let is_read = self.deliver(&request(batch, &self.host)).await;
            // Each of the rest would wait for a collector that does not answer.
            if waiting.is_closed() && !is_read {
                break;
            }
        }
    }

    /// Sends a request until the collector has read it; false when it did not in time.
    async fn deliver(&mut self, request: &ExportTraceServiceRequest) -> bool {
        let patience = sleep(self.patience);
        tokio::pin!(patience);
        let mut pauses = pauses();
        loop {
            let (reason, after) = match self.ask(request).await {
                Outcome::Taken => {
                    self.settle(0, "");
                    return true;
                }
                Outcome::Rejected { count, detail } => {
                    self.settle(usize::try_from(count).unwrap_or(usize::MAX), &detail);
                    return true;
                }
                Outcome::Invalid(detail) | Outcome::TooLarge(detail) => {
                    self.settle(self.in_hand, &detail);
                    return true;
                }
                Outcome::Compressed | Outcome::Suspect => {
                    ("takes nothing compressed, and says so of what is not".to_owned(), None)
                }
                Outcome::NotNow { reason, after } => (reason, after),
                Outcome::Broken(reason) => {
                    self.collector = None;
                    (reason, None)
                }
            };
            let pause = pauses.next().unwrap_or(PAUSE_MAX);
            let again = tokio::select! {
                () = sleep(after.map_or(pause, |after| after.max(PAUSE_MIN))) => true,
                () = &mut patience => false,
                _ = self.over.changed() => false,
            };
            if !again {
                self.counts.add("dropped", std::mem::take(&mut self.in_hand));
                self.counts.voice.fails(&reason);
                return false;
            }
        }
    }

    /// Asks once, over a new connection when the last one is no good any more.
    async fn ask(&mut self, request: &ExportTraceServiceRequest) -> Outcome {
        let collector = match &self.collector {
            Some(collector) => collector,
            None => match (self.settings)().and_then(|settings| connected(&settings)) {
                Ok(collector) => self.collector.insert(collector),
                Err(error) => return Outcome::not_now(error.to_string()),
            },
        };
        collector.export(|| request.clone()).await
    }

    /// The collector has read them, and so many of them it will not take.
    fn settle(&mut self, refused: usize, detail: &str) {
        let spans = std::mem::take(&mut self.in_hand);
        let refused = refused.min(spans);
        self.counts.add("refused", refused);
        self.counts.add("sent", spans - refused);
        if refused < spans {
            self.counts.voice.goes_on();
        }
        if refused > 0 {
            let reason = format!("the collector refuses spans: {detail}");
            self.counts.voice.once(&self.is_refusal_said, &reason);
        }
    }
}

/// All spans as one request, in their order within each resource.
fn request(batch: Vec<Call>, host: &Host) -> ExportTraceServiceRequest {
    let mut groups: Vec<(Process, Vec<Span>)> = Vec::new();
    for Call { owner, span } in batch {
        match groups.iter_mut().find(|(other, _)| is_one_resource(other, &owner)) {
            Some((_, group)) => group.push(span.into()),
            None => groups.push((owner, vec![span.into()])),
        }
    }
    let resource_spans = groups.into_iter().map(|(owner, spans)| ResourceSpans {
        resource: Some(resource(&owner, host)),
        scope_spans: vec![ScopeSpans { scope: Some(scope()), spans, schema_url: names::SCHEMA_URL.to_owned() }],
        schema_url: String::new(),
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

/// Where a span hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    trace: TraceId,
    parent: SpanId,
}

impl Place {
    /// Below the caller's span; `None` when its trace is not recorded. Without a caller's span it is the root of a trace of its own.
    fn of(exchange: &Exchange, seed: &[u8]) -> Option<Self> {
        let Some(text) = &exchange.headers.traceparent else {
            let trace = seed.get(..16).and_then(|bytes| bytes.try_into().ok()).map(TraceId::from_bytes)?;
            return Some(Self { trace, parent: SpanId::INVALID });
        };
        // W3C Trace Context, section 3.2: version, trace id, parent id, flags.
        let mut parts = text.split('-').skip(1);
        let trace = TraceId::from_hex(parts.next()?).ok()?;
        let parent = SpanId::from_hex(parts.next()?).ok()?;
        let flags = u8::from_str_radix(parts.next()?.get(..2)?, 16).ok()?;
        TraceFlags::new(flags).is_sampled().then_some(Self { trace, parent })
    }
}

/// The span of a call. Only calls of a kind that the conventions name have one, and calls of MCP.
fn span(exchange: &Exchange, cost: Option<&Cost>) -> Option<SpanData> {
    let operation = gen_ai::operation_name(exchange.api.as_str());
    let mcp = exchange.mcp.as_ref();
    let name = match (mcp, operation) {
        (Some(McpCall { method, tool, .. }), _) => [method.as_deref(), tool.as_deref()]
            .into_iter()
            .flatten()
            .map(findings::identifier)
            .collect::<Vec<_>>()
            .join(" "),
        (None, Some(operation)) => match &exchange.request_model {
            Some(model) => format!("{operation} {}", findings::identifier(model)),
            None => operation.to_owned(),
        },
        (None, None) => return None,
    };
    if name.is_empty() {
        return None;
    }
    // Random would do; so the same call is the same span when it is replayed.
    let seed = Sha256::new()
        .chain_update(b"outflow span\0")
        .chain_update(exchange.stream.0.to_le_bytes())
        .chain_update(exchange.started_at.0.to_le_bytes())
        .chain_update(exchange.ended_at.0.to_le_bytes())
        .chain_update(exchange.response_id.as_deref().unwrap_or_default())
        .chain_update(&exchange.path)
        .finalize();
    let Place { trace, parent } = Place::of(exchange, &seed)?;
    let own = seed.get(16..24).and_then(|bytes| bytes.try_into().ok()).map(SpanId::from_bytes)?;
    let error = failure(exchange).or_else(|| mcp?.tool_failed.then(|| "tool_error".to_owned()));
    Some(SpanData {
        span_context: SpanContext::new(trace, own, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: parent,
        parent_span_is_remote: parent != SpanId::INVALID,
        span_kind: SpanKind::Client,
        name: name.into(),
        start_time: time(exchange.started_at),
        end_time: time(exchange.ended_at.max(exchange.started_at)),
        status: if error.is_some() { Status::error("") } else { Status::Unset },
        attributes: attributes(exchange, operation, error.as_deref(), cost),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        // The request has it.
        instrumentation_scope: InstrumentationScope::default(),
    })
}

fn attributes(
    exchange: &Exchange,
    operation: Option<&'static str>,
    error: Option<&str>,
    cost: Option<&Cost>,
) -> Vec<KeyValue> {
    let mut all = Vec::new();
    let mut text = |name: &'static str, value: Option<&str>| {
        all.extend(value.map(|value| KeyValue::new(name, findings::identifier(value))));
    };
    let host = findings::host(&exchange.host);
    let (address, port) = split_port(&host);
    text(names::SERVER_ADDRESS, Some(address).filter(|address| !address.is_empty()));
    text(names::PROVIDER, exchange.vendor.as_deref().map(gen_ai::provider_name));
    text(names::REQUEST_MODEL, exchange.request_model.as_deref());
    text(names::RESPONSE_MODEL, exchange.response_model.as_deref());
    text(names::RESPONSE_ID, exchange.response_id.as_deref());
    text(names::CONVERSATION, exchange.conversation.as_deref());
    text(names::FEATURE, exchange.feature.as_deref());
    text(names::EXECUTABLE, Some(exchange.origin.process.as_str()).filter(|name| !name.is_empty()));
    text(names::ERROR, error);
    text(names::COST_SOURCE, cost.map(|cost| cost.source.as_str()));
    let tool_call = exchange.mcp.as_ref().filter(|call| call.method.as_deref() == Some("tools/call"));
    text(names::OPERATION, tool_call.map(|_| "execute_tool").or(operation));
    if let Some(McpCall { method, id, tool, session, version, .. }) = &exchange.mcp {
        text(names::MCP_METHOD, method.as_deref());
        text(names::TOOL, tool.as_deref());
        text(names::MCP_SESSION, session.as_deref());
        text(names::MCP_VERSION, version.as_deref());
        text(names::JSONRPC_ID, id.as_deref().map(|id| id.trim_matches('"')));
    }
    let number = |name: &'static str, value: Option<u64>| {
        value.map(|value| KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX)))
    };
    let usage = &exchange.usage;
    let numbers = [
        number(names::SERVER_PORT, port.map(u64::from)),
        number(names::PID, Some(u64::from(exchange.origin.pid)).filter(|pid| *pid > 0)),
        number(names::HTTP_STATUS, exchange.status.map(u64::from)),
        number(names::INPUT_TOKENS, usage.input_tokens),
        number(names::OUTPUT_TOKENS, usage.output_tokens),
        number(names::CACHE_READ_TOKENS, usage.cache_read_tokens),
        number(names::CACHE_WRITE_TOKENS, usage.cache_write_tokens),
        number(names::REASONING_TOKENS, usage.reasoning_tokens),
        number(names::COST, cost.map(|cost| cost.nano_usd.0)),
    ];
    all.extend(numbers.into_iter().flatten());
    if let Some(first) = exchange.first_token_at.filter(|_| exchange.streaming) {
        all.push(KeyValue::new(names::FIRST_CHUNK, first.since_ns(exchange.started_at) as f64 / 1e9));
    }
    if !exchange.finish_reasons.is_empty() {
        let reasons = exchange.finish_reasons.iter().take(REASONS_MAX);
        let reasons = reasons.map(|reason| StringValue::from(findings::identifier(reason))).collect();
        all.push(KeyValue::new(names::FINISH_REASONS, Value::Array(Array::String(reasons))));
    }
    all
}

/// What a call cost by names that are only proposed to the conventions. They tell a price of the answer's from one of ours.
fn proposed(cost: &Cost) -> [KeyValue; 3] {
    let source = match cost.source {
        CostSource::Provider => "provider",
        CostSource::Override | CostSource::Catalogue | CostSource::Estimated => "local",
    };
    [
        KeyValue::new(names::PROPOSED_COST, cost.nano_usd.0 as f64 / 1e9),
        KeyValue::new(names::PROPOSED_CURRENCY, "USD"),
        KeyValue::new(names::PROPOSED_SOURCE, source),
    ]
}

fn time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(at.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::exchange::{CostSource, sample};
    use crate::units::NanoUsd;

    fn by_name(span: &SpanData) -> BTreeMap<&str, String> {
        span.attributes.iter().map(|field| (field.key.as_str(), field.value.to_string())).collect()
    }

    fn parented(traceparent: Option<&str>) -> Exchange {
        let mut exchange = sample::exchange("openai", "gpt-4o");
        exchange.headers.traceparent = traceparent.map(str::to_owned);
        exchange
    }

    #[test]
    fn a_call_hangs_below_its_callers_span() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let exchange = parented(Some(&format!("00-{trace}-b7ad6b7169203331-01")));
        let cost = Cost { nano_usd: NanoUsd(1_234), source: CostSource::Catalogue, catalogue: "c".into() };
        let span = span(&exchange, Some(&cost)).unwrap();
        assert_eq!(span.span_context.trace_id().to_string(), trace);
        assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
        assert_eq!((span.name.as_ref(), &span.span_kind), ("chat gpt-4o", &SpanKind::Client));
        let fields = by_name(&span);
        assert_eq!(fields["gen_ai.provider.name"], "openai");
        assert_eq!(fields["outflow.cost.nano_usd"], "1234");
        assert!(span.end_time >= span.start_time);
    }

    #[test]
    fn without_one_it_is_a_root_and_what_is_not_recorded_has_none() {
        let exchange = parented(None);
        let (one, again) = (span(&exchange, None).unwrap(), span(&exchange, None).unwrap());
        assert_eq!(one.parent_span_id, SpanId::INVALID);
        assert_eq!(one.span_context, again.span_context);
        let later = Exchange { started_at: Timestamp(exchange.started_at.0 + 1), ..exchange };
        assert_ne!(span(&later, None).unwrap().span_context, one.span_context);
        let unsampled = parented(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"));
        assert!(span(&unsampled, None).is_none());
    }

    #[test]
    fn failures_and_tools_say_so() {
        let failed = Exchange { status: Some(429), error: Some("rate_limit_exceeded".into()), ..parented(None) };
        let failed = span(&failed, None).unwrap();
        assert_eq!(by_name(&failed)["error.type"], "rate_limit_exceeded");
        assert!(matches!(failed.status, Status::Error { .. }));
        let tool = McpCall {
            method: Some("tools/call".into()),
            id: Some("\"7\"".into()),
            tool: Some("search".into()),
            session: None,
            version: Some("2025-11-25".into()),
            tool_failed: true,
        };
        let called = Exchange { mcp: Some(tool), ..parented(None) };
        let called = span(&called, None).unwrap();
        assert_eq!(called.name, "tools/call search");
        let fields = by_name(&called);
        assert_eq!(
            (fields["gen_ai.operation.name"].as_str(), fields["jsonrpc.request.id"].as_str()),
            ("execute_tool", "7")
        );
        assert_eq!(fields["error.type"], "tool_error");
    }
}
