//! What is said, before it has any vendor's shape. A conversation is what both sides said so far; the next request repeats it.

use serde_json::Value;

/// One entry of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    /// The user.
    User(String),
    /// The model: text, tools it wants to be run, or both.
    Assistant { text: String, calls: Vec<ToolCall> },
    /// What the tools gave.
    Results(Vec<ToolResult>),
}

/// A tool that the model wants to be run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

/// What a tool gave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ToolResult {
    pub(crate) call_id: String,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) is_error: bool,
}

/// What is asked of the model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) model: String,
    /// Models that a gateway may take instead.
    pub(crate) fallbacks: Vec<String>,
    pub(crate) system: String,
    pub(crate) items: Vec<Item>,
    pub(crate) tools: Vec<String>,
    /// 0: no limit is sent.
    pub(crate) max_tokens: u64,
    pub(crate) is_stream: bool,
    /// `stream_options.include_usage`
    pub(crate) wants_usage: bool,
    /// The JSON schema that the answer must fit.
    pub(crate) schema: Option<Value>,
    /// JSON without a schema.
    pub(crate) wants_json: bool,
    pub(crate) tier: Option<String>,
    pub(crate) user: Option<String>,
}

/// Why the model stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Finish {
    /// It was done.
    #[default]
    Stop,
    /// The limit of tokens.
    Length,
    /// The vendor's content filter.
    Filter,
    /// It refused (OpenAI's `refusal`, Anthropic's stop reason).
    Refusal,
    /// It waits for tools.
    Tools,
}

/// Tokens as they are billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// All of the prompt, what was read from or written to a cache included.
    pub(crate) input: u64,
    /// Of these, read from a cache.
    pub(crate) cached: u64,
    pub(crate) output: u64,
}

/// What the model answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) id: String,
    /// Which model it says it is; `None` where the vendor never says.
    pub(crate) model: Option<String>,
    pub(crate) text: String,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) finish: Finish,
    pub(crate) tokens: Tokens,
    pub(crate) fingerprint: String,
    pub(crate) tier: Option<String>,
    /// What a gateway says it cost, USD.
    pub(crate) cost_usd: Option<f64>,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Reply(Reply),
    Failure {
        status: u16,
        /// Seconds that the vendor asks to wait; 0: it does not say.
        retry_after_s: u64,
    },
    /// The client gave up.
    Silence,
}

/// What the wire says besides.
#[derive(Clone, Debug)]
pub(crate) struct Wrapping {
    pub(crate) request_id: String,
    /// Which try it is, as client libraries count.
    pub(crate) retry: u32,
    pub(crate) latency_ms: u64,
    pub(crate) key: String,
    pub(crate) created_s: u64,
}
