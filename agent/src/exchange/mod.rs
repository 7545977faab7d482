//! Room 3: messages become one LLM call. Enters: [`Message`](crate::assembly::Message). Leaves: [`Exchange`]. Pure; what it
//! cannot read it leaves empty, and it never guesses a number that the wire did not carry.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::correlate::{Correlator, Unpaired};
pub use crate::rules::vendors::Api;
use crate::{
    sources::{Origin, StreamId, coverage::Unseen, handshake::FailedHandshake, log::LogBlock},
    units::{NanoUsd, Timestamp},
};

mod anthropic_messages;
mod arguments;
mod asking;
mod attachment;
mod attribution;
mod bedrock_converse;
mod bedrock_invoke;
mod body;
mod called;
mod cohere_chat;
mod completions;
mod correlate;
pub mod cost;
mod embeddings;
mod extra;
mod facts;
mod framing;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod gemini;
mod grpc;
mod headers;
mod history;
mod json;
mod key;
mod lanes;
mod leaves;
mod logged;
mod mcp;
mod media;
mod multipart;
mod ollama;
mod openai_chat;
mod openai_responses;
mod outline;
mod path;
mod query;
mod quoted;
mod read;
mod realtime;
mod request;
mod retrieval;
#[cfg(test)]
pub(crate) mod sample;
mod schemas;
mod shapes;
mod simhash;
mod stream;
mod strings;
mod tape;
#[cfg(test)]
mod tests;
mod text;
mod tool_results;
mod tree;
mod usage;
mod written;

pub use self::asking::Asking;
pub use self::attribution::{Attribution, FeatureSource};
pub use self::called::CalledTool;
pub use self::cost::{
    Catalogue, Cost, CostSource, PriceBook, PriceRule, Prices, Rate, Rates, TokenEstimate, is_gateway_zero, is_unpriced,
};
pub use self::history::{AssistantText, History};
pub use self::leaves::Leaves;
pub use self::logged::LoggedCalls;
pub use self::realtime::facts_of_session;
pub use self::retrieval::{Dates, Purpose, RetrievalFacts, Vector};
pub use self::schemas::{Dialect, Schema};
pub use self::written::{Form, Reply, ToolArguments, Written};

/// One call to an LLM vendor: who asked whom for what, what came back, and how complete our view was.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Connection.
    pub stream: StreamId,
    /// Who asked.
    pub origin: Arc<Origin>,
    /// Vendor id of `rules/vendors`. On a host that no file lists it says at most what kind of server answered
    /// (`openai_compatible_local`), else it is `None`.
    pub vendor: Option<Arc<str>>,
    /// The vendor's provider id in the price catalogue, when its file names one.
    pub priced_as: Option<Arc<str>>,
    /// Host the client named: SNI, else the Host header.
    pub host: String,
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// What kind of call the path (or the shape of the body) says it is.
    pub api: Api,
    /// HTTP status; `None` when no answer was seen.
    pub status: Option<u16>,
    /// Model the request asked for.
    pub request_model: Option<String>,
    /// Model the answer says it came from.
    pub response_model: Option<String>,
    /// Id of the answer.
    pub response_id: Option<String>,
    /// The answer was a stream of events.
    pub streaming: bool,
    /// How the answer's body is framed.
    pub framing: BodyFraming,
    /// The request asked for usage in its stream (`stream_options.include_usage`); `None` when the request was not read or
    /// the shape has no such switch.
    pub usage_requested: Option<bool>,
    /// Tokens as the vendor reported them.
    pub usage: Usage,
    /// Why the model stopped, one per choice.
    pub finish_reasons: Vec<String>,
    /// Tools the model asked the client to run, in order.
    pub tool_calls: Vec<String>,
    /// Of these, the ones whose results can be told by an id.
    pub called: Vec<CalledTool>,
    /// Tools the vendor ran itself, in order.
    pub server_tool_calls: Vec<String>,
    /// Results of tools that the request hands back, in order.
    pub tool_results: Vec<ToolResult>,
    /// The conversation that the request goes on with, as far as it repeats it.
    pub history: History,
    /// What the model wrote, as data, and by which schemas.
    pub written: Box<Written>,
    /// How the request asks, besides its text.
    pub asking: Asking,
    /// Service tier at the top of the answer.
    pub service_tier: Option<String>,
    /// Service tier inside the usage (Anthropic, Google); where there is one, it is what was billed.
    pub usage_tier: Option<String>,
    /// `system_fingerprint` as reported; an attribute for correlation, never an alarm.
    pub system_fingerprint: Option<String>,
    /// Code of the error object that the answer carries, whatever its status; `http_429` and the like when a failed answer
    /// carries none. Never the message: it repeats what was sent.
    pub error: Option<String>,
    /// Cost the vendor put on the wire.
    pub reported_cost: Option<NanoUsd>,
    /// What it cost, once somebody who knows prices was asked ([`Prices`]).
    pub cost: Option<Cost>,
    /// Tokens as counted from the text, where the vendor counted none and the text was looked at for it.
    pub estimate: Option<TokenEstimate>,
    /// Part of the service that asks, once somebody who knows the operator's words was asked ([`Attribution`]).
    pub feature: Option<Arc<str>>,
    /// Keyed fingerprint of the caller's key, once the holder of the key that it is made with was asked.
    pub caller: Option<Arc<str>>,
    /// What the calls of one conversation have in common: `previous_response_id`, a conversation's or session's id.
    pub conversation: Option<String>,
    /// What the headers of both messages say.
    pub headers: HeaderFacts,
    /// The JSON-RPC call, when it is one of the Model Context Protocol.
    pub mcp: Option<McpCall>,
    /// What it says about embeddings or a vector store, when it is a call to one.
    pub retrieval: Option<Box<RetrievalFacts>>,
    /// The part of a WebSocket session that this is, when it is one.
    pub realtime: Option<RealtimeTurn>,
    /// First byte of the request.
    pub started_at: Timestamp,
    /// First byte of the answer's body.
    pub first_token_at: Option<Timestamp>,
    /// Last byte seen; of a call without an answer, when its client gave up.
    pub ended_at: Timestamp,
    /// Text of the request, with JSON paths.
    pub request_text: Leaves,
    /// Text of the answer, with JSON paths; streamed text is joined.
    pub response_text: Leaves,
    /// How complete our view was.
    pub view: View,
}

impl Exchange {
    /// A call of which nothing is known but whose it is, whom it went to, and when it began.
    pub fn unknown(stream: StreamId, origin: Arc<Origin>, host: impl Into<String>, started_at: Timestamp) -> Self {
        Self {
            stream,
            origin,
            vendor: None,
            priced_as: None,
            host: host.into(),
            method: String::new(),
            path: String::new(),
            api: Api::Other,
            status: None,
            request_model: None,
            response_model: None,
            response_id: None,
            streaming: false,
            framing: BodyFraming::default(),
            usage_requested: None,
            usage: Usage::default(),
            finish_reasons: Vec::new(),
            tool_calls: Vec::new(),
            called: Vec::new(),
            server_tool_calls: Vec::new(),
            tool_results: Vec::new(),
            history: History::default(),
            written: Box::default(),
            asking: Asking::default(),
            service_tier: None,
            usage_tier: None,
            system_fingerprint: None,
            error: None,
            reported_cost: None,
            cost: None,
            estimate: None,
            feature: None,
            caller: None,
            conversation: None,
            headers: HeaderFacts::default(),
            mcp: None,
            retrieval: None,
            realtime: None,
            started_at,
            first_token_at: None,
            ended_at: started_at,
            request_text: Leaves::default(),
            response_text: Leaves::default(),
            view: View::default(),
        }
    }

    /// The vendor that is paid for the call; none for a server on this machine or in a private network.
    pub fn paid_vendor(&self) -> Option<&str> {
        self.vendor.as_deref().filter(|_| !crate::rules::vendors::is_local(&self.host))
    }

    /// The vendor answered, and with no error. A turn of a WebSocket session has the status of the session's upgrade.
    pub fn succeeded(&self) -> bool {
        let good = if self.realtime.is_some() { 101 } else { 200 };
        self.status == Some(good) && self.error.is_none()
    }
}

/// How the body of an answer is framed. The names are those of the recorded exchanges' index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyFraming {
    /// One document, or none.
    #[default]
    Json,
    /// Server-sent events.
    Sse,
    /// One JSON document a line.
    Ndjson,
    /// One JSON array that grows.
    JsonArray,
    /// `application/vnd.amazon.eventstream`.
    AwsEventstream,
    /// gRPC messages.
    Grpc,
    /// Messages of a WebSocket.
    Websocket,
}

/// The result of a tool that the client ran, as the request hands it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult {
    /// Id of the call that it answers, when it has one.
    pub call_id: Option<String>,
    /// The tool's name, when the result repeats it or its call is in the same request.
    pub name: Option<String>,
    /// Hash of what the tool was called with, in a form that does not depend on order or on when it was asked; `None` when the
    /// call is not in the request. Stable across runs, no secret.
    pub arguments: Option<u64>,
    /// Which turn of the model asked for it, in this request: 1 is the first. Calls that were made side by side share it. Zero:
    /// the request has no turn before it.
    pub turn: u32,
    /// The client says that the tool failed.
    pub is_error: bool,
    /// What kind of thing the tool said.
    pub said: Said,
    /// Hash of the result's text: equal results have equal ones. Stable across runs, no secret.
    pub digest: u64,
}

/// What a tool said, as far as its look goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Said {
    /// That it failed: the client says so, or the text begins like an error.
    Failure,
    /// Nothing, or that it found nothing.
    Nothing,
    /// Less than [`MUCH_BYTES`](Self::MUCH_BYTES): perhaps just that it did what it was asked.
    #[default]
    Little,
    /// More than that.
    Much,
}

impl Said {
    /// Text that is longer is no mere acknowledgement.
    pub const MUCH_BYTES: usize = 160;
}

/// What the headers say besides the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderFacts {
    /// The vendor's id of the request (`x-request-id`, `request-id`, `apim-request-id`, `x-amzn-requestid` …).
    pub request_id: Option<String>,
    /// Which try it is, as the vendor's client library counts (`x-stainless-retry-count`): 0 is the first.
    pub retry_count: Option<u32>,
    /// How long the vendor asks to wait (`retry-after`, `retry-after-ms`).
    pub retry_after_ns: Option<u64>,
    /// How long the vendor says that it worked (`openai-processing-ms`, `x-metrics-e2e-ms` …).
    pub processing_ns: Option<u64>,
    /// How long the vendor says that the first token took (`x-metrics-ttft-ms`).
    pub first_token_ns: Option<u64>,
    /// Rate limits as sent: name and value, at most 16.
    pub rate_limits: Vec<(String, String)>,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The key that the caller paid with.
    pub caller_key: Option<CallerKey>,
}

/// The API key of a request. Never shown: what leaves the host is its keyed fingerprint
/// ([`FingerprintKey`](crate::findings::FingerprintKey)).
#[derive(Clone, PartialEq, Eq)]
pub struct CallerKey(String);

impl CallerKey {
    /// Holds a key.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key, to be fingerprinted.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for CallerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallerKey(…)")
    }
}

/// One JSON-RPC call of the Model Context Protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpCall {
    /// `tools/call`
    pub method: Option<String>,
    /// The JSON-RPC id as JSON (`1`, `"a"`); notifications have none.
    pub id: Option<String>,
    /// The tool that `tools/call` names.
    pub tool: Option<String>,
    /// `mcp-session-id`, up to protocol version 2025-11-25.
    pub session: Option<String>,
    /// Protocol version, from the header or `_meta`.
    pub version: Option<String>,
    /// The tool said that it failed (`isError`).
    pub tool_failed: bool,
}

/// The part of a WebSocket session that an exchange stands for: what was said since the part before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RealtimeTurn {
    /// Whose messages they are; `None` when none was understood.
    pub shape: Option<RealtimeShape>,
    /// Messages of both directions in this part.
    pub frames: u64,
    /// Messages that end an answer (`response.done`) in this part: one, or none in the last part of a session. Gemini has no
    /// such message.
    pub responses: u64,
    /// Messages of this part that report usage.
    pub usage_reports: u64,
    /// Messages of this part that report an error.
    pub errors: u64,
    /// The last report of usage as the vendor wrote it: `response.usage`, `usageMetadata`. What it means is in
    /// [`Exchange::usage`].
    pub reported: Option<serde_json::Value>,
}

/// How the messages of a realtime session look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealtimeShape {
    /// OpenAI's, and everything compatible with it.
    Openai,
    /// Gemini Live's.
    Gemini,
}

/// One thing that detectors look at.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A call to an LLM vendor.
    Exchange(&'a Exchange),
    /// Lines of a log file.
    Log {
        /// The lines.
        block: &'a LogBlock,
        /// Who wrote those that it is about.
        origin: &'a Origin,
    },
    /// A process that talks to a vendor past the tap.
    Unseen(&'a Unseen),
    /// Connections of a process to a vendor that do not come about.
    Handshake(&'a FailedHandshake),
}

impl<'a> Subject<'a> {
    /// Whose it is.
    pub fn origin(self) -> &'a Origin {
        match self {
            Self::Exchange(exchange) => &exchange.origin,
            Self::Log { origin, .. } => origin,
            Self::Unseen(unseen) => &unseen.look.origin,
            Self::Handshake(failed) => &failed.origin,
        }
    }

    /// When it was over: the end of the call, the read of the lines; when the process connected, or its connection ended.
    pub fn at(self) -> Timestamp {
        match self {
            Self::Exchange(exchange) => exchange.ended_at,
            Self::Log { block, .. } => block.at,
            Self::Unseen(unseen) => unseen.at,
            Self::Handshake(failed) => failed.at,
        }
    }
}

/// Tokens by kind. `None` is "the wire did not say", never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All input tokens, cache reads and writes included, whatever the vendor's own convention.
    pub input_tokens: Option<u64>,
    /// All output tokens, reasoning included.
    pub output_tokens: Option<u64>,
    /// Input tokens read from a cache; part of `input_tokens`.
    pub cache_read_tokens: Option<u64>,
    /// Input tokens written to a cache; part of `input_tokens`.
    pub cache_write_tokens: Option<u64>,
    /// Of these, written for one hour (Anthropic `cache_creation.ephemeral_1h_input_tokens`), which costs more.
    pub cache_write_1h_tokens: Option<u64>,
    /// Reasoning tokens; part of `output_tokens`.
    pub reasoning_tokens: Option<u64>,
    /// Input tokens that are audio; part of `input_tokens`, at a price of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_audio_tokens: Option<u64>,
    /// Input tokens that are audio and were read from a cache; part of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_audio_tokens: Option<u64>,
    /// Output tokens that are audio; part of `output_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_audio_tokens: Option<u64>,
    /// Tokens that the vendor's total has on top of input and output: thinking that is not shown, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_tokens: Option<u64>,
}

/// How complete our view of an exchange was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct View {
    /// Bytes of the request's wire body.
    pub request_bytes: u64,
    /// Of these, known to be missing.
    pub request_missing_bytes: u64,
    /// Of these, seen and not scanned: past a cap, behind a gap, not decodable, or media.
    pub request_unread_bytes: u64,
    /// Bytes of the answer's wire body.
    pub response_bytes: u64,
    /// Of these, known to be missing.
    pub response_missing_bytes: u64,
    /// Of these, seen and not scanned.
    pub response_unread_bytes: u64,
    /// Both messages were seen from first to last byte.
    pub complete: bool,
}
