//! How a service calls. Enters: a `[[service]]` of a scenario, and what its events change. Leaves: [`Traffic`].

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::span::Span;

/// What a service does with models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// Asks once, is answered once.
    #[default]
    Chat,
    /// Runs of several turns: the model calls tools, the next request hands back their results and the history.
    Agent,
    /// Calls a tool of a server of the Model Context Protocol.
    Mcp,
    /// Embeds a question, searches a vector store, asks with what it found.
    Query,
    /// Embeds documents in batches and writes them to a vector store.
    Ingest,
    /// Hands in a batch job of OpenAI's: what it costs stands in its results, a day later.
    Batch,
}

/// Whom it asks; what the bodies look like follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vendor {
    /// api.openai.com, `/v1/chat/completions`
    #[default]
    Openai,
    /// api.openai.com, `/v1/responses`
    OpenaiResponses,
    /// A deployment of Azure OpenAI: `model` is its name.
    Azure,
    /// api.anthropic.com
    Anthropic,
    /// generativelanguage.googleapis.com
    Gemini,
    /// Bedrock, Converse: the answer never names a model.
    Bedrock,
    /// openrouter.ai
    Openrouter,
    /// api.mistral.ai
    Mistral,
    /// api.groq.com
    Groq,
    /// api.deepseek.com
    Deepseek,
    /// api.x.ai
    Xai,
}

/// When it calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// At random, always as often.
    #[default]
    Steady,
    /// At random, often in office hours of weekdays, else seldom.
    Office,
    /// In bursts of `burst_calls`, each within `burst_lasts`.
    Bursts,
    /// By a timer, nearly evenly.
    Timer,
}

/// A part of each day, or of one day of each week, outside of which there is no traffic.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// 0: Monday; every day when it is left out.
    pub weekday: Option<u64>,
    /// From midnight UTC.
    pub from: Span,
    /// How long.
    pub lasts: Span,
}

/// What a client does after an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Nothing.
    None,
    /// Waits twice as long each time, and as long as the vendor asks, as the vendors' libraries do.
    #[default]
    Backoff,
    /// Tries again at once.
    AtOnce,
    /// Waits half a second, whatever the vendor asks.
    Eager,
}

/// How a run of an agent goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Other tools, other arguments, other results each turn.
    #[default]
    Works,
    /// The same tool with the same arguments and the same result, turn after turn.
    Loops,
    /// Two tools in turns, each with the same arguments and the same result.
    PingPong,
    /// The same tool with other arguments and the same error.
    NoProgress,
    /// Tools and arguments are always new, results are long: the context grows.
    Grows,
    /// Says nearly the same each turn, whatever the tools give.
    RepeatsItself,
    /// The same tool with the same arguments, until what it gives changes no more: waiting for a job.
    Polls,
    /// The same tool with the same arguments several times in one turn, with other results: dice.
    Parallel,
    /// The same, with the same result.
    ParallelSame,
    /// A tool fails twice, then works.
    RetriesTool,
    /// The same tool for page after page.
    Pages,
}

/// Which vector store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// `/vectors/upsert`, `/query`
    #[default]
    Pinecone,
    /// `PUT /collections/*/points`, `/collections/*/points/search`
    Qdrant,
}

/// Cost that a gateway reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedCost {
    /// About what it costs.
    Real,
    /// 0, as under a key of one's own.
    Zero,
}

/// How a service calls. Shares are of calls, from 0 to 1; sizes and latencies are medians of log-normal distributions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Traffic {
    /// Of the service.
    pub name: String,
    /// What it does.
    pub does: Does,
    /// Whom it asks.
    pub vendor: Vendor,
    /// Which model it asks for.
    pub model: String,
    /// Which model the answers name; left out: the one that was asked for. `""`: none.
    pub resolved: Option<String>,
    /// Further models that a gateway may take.
    pub fallbacks: Vec<String>,
    /// Calls, runs or batches an hour, at the peak of the pattern.
    pub calls_per_hour: f64,
    /// When.
    pub pattern: Pattern,
    /// Only then.
    pub window: Option<Window>,
    /// Grows by this share each day.
    pub grows_per_day: f64,
    /// Calls of a burst.
    pub burst_calls: u64,
    /// Length of a burst.
    pub burst_lasts: Span,
    /// Part of the service that asks.
    pub feature: Option<String>,
    /// Name of the API key it pays with.
    pub key: String,
    /// Name of the system prompt: another name is another prompt.
    pub prompt: String,
    /// Tokens of a request.
    pub prompt_tokens: f64,
    /// Tokens of an answer.
    pub output_tokens: f64,
    /// Sigma of their logarithms.
    pub spread: f64,
    /// How much of the prompt comes from the cache.
    pub cached: f64,
    /// Limit that the request sets; 0: none.
    pub max_tokens: u64,
    /// Answers are streams.
    pub stream: bool,
    /// The stream is asked for its usage.
    pub usage_in_stream: bool,
    /// Service tier asked for and answered.
    pub tier: Option<String>,
    /// Members of the JSON that the answer is: `"id:integer"`, `"customer.name:string"`, `"note?:string"`; none: text.
    pub fields: Vec<String>,
    /// Members of the JSON schema that the request carries.
    pub schema: Vec<String>,
    /// Answers with prose where JSON was meant.
    pub prose: f64,
    /// Answers with the JSON in a Markdown fence.
    pub fenced: f64,
    /// Answers that end at the limit.
    pub truncated: f64,
    /// Answers that refuse.
    pub refused: f64,
    /// Answers that a content filter ended.
    pub filtered: f64,
    /// Milliseconds of a call.
    pub latency_ms: f64,
    /// Sigma of its logarithm.
    pub latency_spread: f64,
    /// Share by status: `{ "429" = 0.01 }`.
    pub errors: BTreeMap<String, f64>,
    /// Calls that are not answered: the client gives up after a minute.
    pub unanswered: f64,
    /// What the client does after an error.
    pub retry: Retry,
    /// How often at most.
    pub retries: u32,
    /// Seconds that a vendor asks to wait, with 429 and 503; 0: it does not say.
    pub retry_after_s: u64,
    /// Tools of an agent.
    pub tools: Vec<String>,
    /// Turns of a run, about.
    pub turns: u64,
    /// How a run goes.
    pub behaviour: Behaviour,
    /// Words of a tool's result.
    pub result_words: u64,
    /// Milliseconds that a tool takes, of an agent or of MCP.
    pub tool_ms: f64,
    /// Sigma of its logarithm.
    pub tool_spread: f64,
    /// Tool calls that fail (`is_error`, `isError`).
    pub tool_errors: f64,
    /// Tool calls that end with a time-out: of an agent the result says so after a minute, of MCP the client gives up.
    pub tool_timeouts: f64,
    /// Runs that end in the middle: the result never comes. MCP: no answer for ten minutes.
    pub hung: f64,
    /// Host of the MCP server.
    pub server: String,
    /// Calls that the MCP server works on at once; more wait.
    pub workers: usize,
    /// JSON-RPC errors of the MCP server.
    pub rpc_errors: f64,
    /// Milliseconds after which an MCP client gives up.
    pub timeout_ms: f64,
    /// Model of the embeddings.
    pub embedding_model: String,
    /// Numbers that the embeddings are asked to have; 0: not asked. Bodies carry one in 64 of them.
    pub dimensions: u64,
    /// Where vectors are.
    pub store: Store,
    /// Name of the index or collection.
    pub index: String,
    /// Searches that find nothing.
    pub empty: f64,
    /// Days since the newest document that a search finds was changed.
    pub document_age_days: f64,
    /// Documents of a batch.
    pub batch: u64,
    /// What a gateway reports.
    pub reported_cost: Option<ReportedCost>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            name: String::new(),
            does: Does::Chat,
            vendor: Vendor::Openai,
            model: "gpt-4.1-2025-04-14".to_owned(),
            resolved: None,
            fallbacks: Vec::new(),
            calls_per_hour: 12.0,
            pattern: Pattern::Steady,
            window: None,
            grows_per_day: 0.0,
            burst_calls: 20,
            burst_lasts: Span(60_000_000_000),
            feature: None,
            key: "main".to_owned(),
            prompt: "v1".to_owned(),
            prompt_tokens: 600.0,
            output_tokens: 150.0,
            spread: 0.3,
            cached: 0.0,
            max_tokens: 1024,
            stream: false,
            usage_in_stream: true,
            tier: None,
            fields: Vec::new(),
            schema: Vec::new(),
            prose: 0.0,
            fenced: 0.0,
            truncated: 0.0,
            refused: 0.0,
            filtered: 0.0,
            latency_ms: 1500.0,
            latency_spread: 0.35,
            errors: BTreeMap::new(),
            unanswered: 0.0,
            retry: Retry::Backoff,
            retries: 2,
            retry_after_s: 0,
            tools: ["search_orders", "read_invoice", "list_stock", "send_reply"].map(str::to_owned).to_vec(),
            turns: 4,
            behaviour: Behaviour::Works,
            result_words: 30,
            tool_ms: 400.0,
            tool_spread: 0.4,
            tool_errors: 0.0,
            tool_timeouts: 0.0,
            hung: 0.0,
            server: "mcp.linear.app".to_owned(),
            workers: 8,
            rpc_errors: 0.0,
            timeout_ms: 30_000.0,
            embedding_model: "text-embedding-3-small".to_owned(),
            dimensions: 0,
            store: Store::Pinecone,
            index: "docs".to_owned(),
            empty: 0.0,
            document_age_days: 2.0,
            batch: 16,
            reported_cost: None,
        }
    }
}
