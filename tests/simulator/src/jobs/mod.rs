//! What a service does when its time has come. Enters: its traffic, a moment, chance. Leaves: the calls of that job.

use std::{collections::BTreeMap, rc::Rc};

use crate::{
    call::Call,
    random::Random,
    span::{SECOND, seconds},
    talk::{Ask, Item, Outcome, Reply, Wrapping},
    traffic::{Does, Retry, Traffic},
    wire::{self, Wired},
    words,
};

mod agent;
mod batch;
mod chat;
mod mcp;
mod reply;
mod retrieval;

/// What a service remembers from job to job.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// When each worker of its MCP server is free again.
    pub(crate) workers: Vec<u64>,
    /// Calls so far: ids of JSON-RPC, numbers of documents.
    pub(crate) count: u64,
}

/// One job at work.
pub(crate) struct Job<'a> {
    pub(crate) traffic: Rc<Traffic>,
    pub(crate) random: &'a mut Random,
    pub(crate) memory: &'a mut Memory,
    /// Numbers of the vectors that each index was made for.
    pub(crate) indexes: &'a BTreeMap<String, u64>,
    pub(crate) calls: Vec<Call>,
    /// Label of the connection of its calls.
    pub(crate) connection: String,
}

impl Job<'_> {
    /// Does it, from `at` on.
    pub(crate) fn run(&mut self, at: u64) {
        match self.traffic.does {
            Does::Chat => chat::run(self, at),
            Does::Agent => agent::run(self, at),
            Does::Mcp => mcp::run(self, at),
            Does::Query => retrieval::query(self, at),
            Does::Ingest => retrieval::ingest(self, at),
            Does::Batch => batch::run(self, at),
        }
    }

    /// What the traffic asks for; the caller adds what is said.
    fn ask(&self, items: Vec<Item>) -> Ask {
        let traffic = &self.traffic;
        Ask {
            model: traffic.model.clone(),
            fallbacks: traffic.fallbacks.clone(),
            system: words::system_prompt(&traffic.name, &traffic.prompt),
            items,
            tools: Vec::new(),
            max_tokens: traffic.max_tokens,
            is_stream: traffic.stream,
            wants_usage: traffic.usage_in_stream,
            schema: (!traffic.schema.is_empty()).then(|| reply::schema(&traffic.schema)),
            wants_json: !traffic.fields.is_empty(),
            tier: traffic.tier.clone(),
            user: None,
        }
    }

    /// Asks a model until it answers or the client gives up. Gives when that was, and the answer. What goes wrong is decided for each
    /// try anew.
    fn call_model(&mut self, mut at: u64, ask: &Ask, reply: &Reply) -> (u64, Option<Reply>) {
        let traffic = Rc::clone(&self.traffic);
        let mut tried = 0;
        loop {
            let outcome = self.outcome(reply);
            let is_failure = !matches!(outcome, Outcome::Reply(_));
            let latency = match &outcome {
                Outcome::Silence => 60 * SECOND,
                Outcome::Failure { .. } => self.random.size(180.0, 0.3) * 1_000_000,
                Outcome::Reply(_) => self.milliseconds(traffic.latency_ms, traffic.latency_spread),
            };
            let wrapping = self.wrapping(tried, latency / 1_000_000, at);
            let wired = wire::wired(traffic.vendor, ask, &outcome, &wrapping);
            let ended = at + latency;
            self.add(wired, at, latency);
            if let Outcome::Reply(reply) = outcome {
                return (ended, Some(reply));
            }
            if !is_failure || tried >= traffic.retries || traffic.retry == Retry::None {
                return (ended, None);
            }
            tried += 1;
            at = ended + self.pause(&outcome, tried);
        }
    }

    fn outcome(&mut self, reply: &Reply) -> Outcome {
        let traffic = Rc::clone(&self.traffic);
        if self.random.chance(traffic.unanswered) {
            return Outcome::Silence;
        }
        let mut dice = self.random.unit();
        for (status, share) in &traffic.errors {
            dice -= share;
            if dice < 0.0 {
                let status: u16 = status.parse().unwrap_or(500);
                let retry_after_s = if matches!(status, 429 | 503 | 529) { traffic.retry_after_s } else { 0 };
                return Outcome::Failure { status, retry_after_s };
            }
        }
        Outcome::Reply(reply.clone())
    }

    /// How long the client waits before it tries again.
    fn pause(&mut self, outcome: &Outcome, tried: u32) -> u64 {
        let wanted = match outcome {
            Outcome::Failure { retry_after_s, .. } => retry_after_s * SECOND,
            _ => 0,
        };
        match self.traffic.retry {
            Retry::None | Retry::AtOnce => SECOND / 10,
            Retry::Eager => SECOND / 2,
            Retry::Backoff if wanted > 0 => wanted + SECOND / 10,
            Retry::Backoff => ((SECOND / 2) << tried.min(5)) + self.random.below(SECOND / 4),
        }
    }

    fn wrapping(&mut self, retry: u32, latency_ms: u64, at: u64) -> Wrapping {
        Wrapping {
            request_id: format!("req_{}", self.random.id(24)),
            retry,
            latency_ms,
            key: format!("{}-{}", self.traffic.name, self.traffic.key),
            created_s: at / SECOND,
        }
    }

    fn milliseconds(&mut self, median: f64, spread: f64) -> u64 {
        seconds(self.random.log_normal(median, spread).clamp(1.0, 1e7) / 1e3)
    }

    /// A stream begins early, another answer when it is done.
    fn add(&mut self, wired: Wired, at: u64, took: u64) {
        let is_stream = wired.response.as_ref().is_some_and(|response| {
            response.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream")
        });
        let first = if is_stream { took * 3 / 10 } else { took - took / 50 };
        let traffic = &self.traffic;
        self.calls.push(Call {
            started_at_ns: at,
            first_byte_ns: at + first,
            ended_at_ns: at + took,
            service: traffic.name.clone(),
            feature: traffic.feature.clone(),
            connection: self.connection.clone(),
            method: wired.method,
            url: wired.url,
            headers: wired.headers,
            body: wired.body,
            response: wired.response,
        });
    }
}
