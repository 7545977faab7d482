//! Finds tools that are slow, fail or hang. Enters: exchanges, in the order in which they ended. Leaves: `tool.slow` (the tail is
//! several times as long as it was; and whether calls wait for each other), `tool.timeouts` (more than 5 % of at least 20 calls),
//! `tool.errors` (several times as many failures as usual) and `tool.hung` (no reply to three calls in a row). Each is told when it
//! begins, and again when all calls behind it are new. It never looks at arguments or results.
//!
//! Calls over MCP are measured. Where only the conversation is seen, the time between an answer that asks for a tool and the
//! request with its result is taken for the tool's, with less confidence: the program and its other tools are in it. Tools that
//! wait for people are left out there.
//!
//! State: [`MAX_TOOLS`] tools (`tools/lane.rs`: under 2 KB each, of which what was learned survives a restart) and the calls that
//! conversations wait for (`tools/asked.rs`).

use std::sync::Arc;

use serde_json::json;

use self::{
    asked::{Asked, Returned},
    lane::{Call, Ending, Lane, Learned, Trouble},
};
use super::{Behaviour, Detector, Hit, StateChange};
use crate::{
    exchange::{Exchange, McpCall, Said},
    lru::Lru,
    units::Severity,
};

mod asked;
mod lane;
#[cfg(test)]
mod tests;

/// Bound of the table.
pub const MAX_TOOLS: usize = 4096;
/// Longer names are not remembered: state must not grow with what a peer sends.
const NAME_BYTES_MAX: usize = 256;
/// Learned calls after which the state is saved again.
const SAVE_EVERY: u32 = 16;
/// Code of a request that timed out, as the client libraries of MCP report it
/// (modelcontextprotocol/typescript-sdk `src/types.ts`, `ErrorCode.RequestTimeout`).
const MCP_TIMEOUT: &str = "-32001";
/// How words begin in the names of tools that wait, for a person or for time to pass.
const WAITS: [&str; 13] = [
    "human",
    "approv",
    "confirm",
    "elicit",
    "wait",
    "sleep",
    "permission",
    "review",
    "question",
    "pause",
    "askuser",
    "askhuman",
    "userinput",
];

/// The detector.
#[derive(Debug)]
pub struct Tools {
    lanes: Lru<Key, Lane>,
    asked: Asked,
    /// Tools of which enough was learned since, or that went.
    changed: Lru<Key, ()>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    service: String,
    host: String,
    tool: String,
    /// Seen in a conversation only.
    is_hearsay: bool,
}

impl Tools {
    /// A detector that has seen nothing yet.
    pub fn new() -> Self {
        Self { lanes: Lru::new(MAX_TOOLS), asked: Asked::new(), changed: Lru::new(2 * MAX_TOOLS) }
    }
}

impl Default for Tools {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector for Tools {
    fn name(&self) -> &'static str {
        "tools"
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        if let Some(mcp) = &exchange.mcp {
            self.measured(exchange, mcp, emit);
        } else {
            self.heard(exchange, emit);
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        while let Some((key, ())) = self.changed.pop() {
            let learned = self.lanes.peek(&key).map(|lane| Arc::new(lane.learned.clone()));
            let key = json!([key.service, key.host, key.tool, key.is_hearsay]).to_string();
            emit(StateChange::new("tools", key, learned));
        }
    }

    fn restore(&mut self, key: &str, value: &str) {
        let Ok((service, host, tool, is_hearsay)) = serde_json::from_str::<(String, String, String, bool)>(key) else {
            return;
        };
        let is_short = [&service, &host, &tool].iter().all(|name| name.len() <= NAME_BYTES_MAX);
        if let Ok(learned) = serde_json::from_str::<Learned>(value)
            && learned.is_sound()
            && is_short
        {
            self.lanes.insert(Key { service, host, tool, is_hearsay }, Lane::new(is_hearsay, learned));
        }
    }
}

impl Tools {
    /// A call over MCP. Notifications have no reply, and streams that listen end when they like.
    fn measured<'a>(&mut self, exchange: &'a Exchange, mcp: &McpCall, emit: &mut dyn FnMut(Hit<'a>)) {
        let Some(method) = mcp.method.as_deref() else { return };
        if mcp.id.is_none() || method.starts_with("subscriptions/") || method.starts_with("notifications/") {
            return;
        }
        let tool = mcp.tool.as_deref().unwrap_or(method);
        let code = exchange.error.as_deref();
        let ending = match exchange.status {
            None => Ending::Silent,
            Some(408 | 504) => Ending::TimedOut,
            _ if code == Some(MCP_TIMEOUT) => Ending::TimedOut,
            _ if mcp.tool_failed || code.is_some() => Ending::Failed,
            _ => Ending::Fine,
        };
        let call = Call { started_at: exchange.started_at, ended_at: exchange.ended_at, ending };
        let key = Key {
            service: exchange.origin.service.clone(),
            host: exchange.host.clone(),
            tool: tool.to_owned(),
            is_hearsay: false,
        };
        self.take(key, call, ending != Ending::Silent, exchange, emit);
    }

    /// What a conversation shows.
    fn heard<'a>(&mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let now = exchange.started_at;
        let mut calls = Vec::new();
        let newest = exchange.tool_results.iter().rev().take_while(|result| result.turn == exchange.history.turns);
        for result in newest.take(lane::MAX_RECENT) {
            let Some(id) = result.call_id.as_deref() else { continue };
            let Some((returned, is_alone)) = self.asked.answer(exchange, id) else { continue };
            if waits(&returned.tool) {
                continue;
            }
            let failed = result.is_error || result.said == Said::Failure;
            let ending = if failed { Ending::Failed } else { Ending::Fine };
            calls.push((key_of(returned), Call { started_at: returned.asked_at, ended_at: now, ending }, is_alone));
        }
        self.asked.give_up(now, |returned| {
            if !waits(&returned.tool) {
                let call = Call { started_at: returned.asked_at, ended_at: now, ending: Ending::Silent };
                calls.push((key_of(returned), call, false));
            }
        });
        for (key, call, is_measured) in calls {
            self.take(key, call, is_measured, exchange, emit);
        }
        if !exchange.called.is_empty() {
            self.asked.ask(exchange);
        }
    }

    fn take<'a>(
        &mut self,
        key: Key,
        call: Call,
        is_measured: bool,
        exchange: &'a Exchange,
        emit: &mut dyn FnMut(Hit<'a>),
    ) {
        if [&key.service, &key.host, &key.tool].iter().any(|name| name.len() > NAME_BYTES_MAX) {
            return;
        }
        if self.lanes.touch(&key).is_none() {
            let lane = Lane::new(key.is_hearsay, Learned::default());
            if let Some((gone, _)) = self.lanes.insert(key.clone(), lane) {
                self.changed.insert(gone, ());
            }
        }
        let Some(lane) = self.lanes.touch(&key) else { return };
        for trouble in lane.take(call, is_measured) {
            emit(Hit::Behaviour(tell(&key, trouble, exchange)));
        }
        if lane.unsaved >= SAVE_EVERY {
            lane.unsaved = 0;
            self.changed.insert(key, ());
        }
    }
}

fn key_of(returned: &Returned) -> Key {
    Key {
        service: returned.service.clone(),
        host: returned.host.clone(),
        tool: returned.tool.clone(),
        is_hearsay: true,
    }
}

fn waits(tool: &str) -> bool {
    let tool = tool.to_ascii_lowercase();
    let mut words = tool.split(|letter: char| !letter.is_ascii_alphanumeric());
    tool.contains("user_input") || words.any(|word| word == "ask" || WAITS.iter().any(|wait| word.starts_with(wait)))
}

fn tell<'a>(key: &Key, trouble: Trouble, exchange: &'a Exchange) -> Behaviour<'a> {
    let Key { host, tool, is_hearsay, .. } = key;
    let seen = if *is_hearsay { "conversation" } else { "mcp" };
    let mut facts = vec![("tool.name", json!(tool)), ("tool.host", json!(host)), ("tool.seen_in", json!(seen))];
    let place = if *is_hearsay { format!("`{tool}`") } else { format!("`{tool}` of `{host}`") };
    let (rule, severity, sure, title);
    let mut case = None;
    match trouble {
        Trouble::Slow { p95_ms, usual_ms, overlap_tenths, usual_overlap_tenths, queues } => {
            (rule, severity) = ("tool.slow", Severity::Medium);
            sure = if queues { 85 } else { 75 };
            let together = tenths(overlap_tenths);
            title = if queues {
                format!(
                    "{place} takes {p95_ms} ms (p95), usual are {usual_ms} ms: {together} calls at once wait for each other"
                )
            } else {
                format!("{place} takes {p95_ms} ms (p95), usual are {usual_ms} ms")
            };
            case = queues.then_some("queueing");
            facts.extend([
                ("tool.p95_ms", json!(p95_ms)),
                ("tool.usual_p95_ms", json!(usual_ms)),
                ("tool.concurrency_tenths", json!(overlap_tenths)),
                ("tool.usual_concurrency_tenths", json!(usual_overlap_tenths)),
                ("tool.cause", json!(if queues { "queueing" } else { "slower" })),
            ]);
        }
        Trouble::TimeOuts { count, of } => {
            (rule, sure) = ("tool.timeouts", 85);
            severity = if count * 4 >= of { Severity::High } else { Severity::Medium };
            title = format!("{place} did not reply in time to {count} of {of} calls");
            facts.extend([("tool.timeouts", json!(count)), ("tool.calls", json!(of))]);
        }
        Trouble::Errors { count, of, usual_percent } => {
            (rule, sure) = ("tool.errors", 80);
            severity = if count * 2 >= of { Severity::High } else { Severity::Medium };
            title = match usual_percent {
                Some(usual) => format!("{place} failed in {count} of {of} calls, usual are {usual} %"),
                None => format!("{place} failed in {count} of {of} calls"),
            };
            facts.extend([("tool.failures", json!(count)), ("tool.calls", json!(of))]);
            facts.extend(usual_percent.map(|usual| ("tool.usual_failures_percent", json!(usual))));
        }
        Trouble::Hung { count, since } => {
            (rule, severity, sure) = ("tool.hung", Severity::High, 80);
            title = if *is_hearsay {
                format!("nobody came back from the last {count} calls of {place}")
            } else {
                format!("{place} gave no reply to the last {count} calls")
            };
            facts.extend([("tool.silent_calls", json!(count)), ("tool.since_unix", json!(since.0 / 1_000_000_000))]);
        }
    }
    Behaviour {
        rule,
        references: Vec::new(),
        key: format!("{seen} {host} {tool}"),
        severity,
        // The program's own time is in it, and what else it did meanwhile.
        confidence: if *is_hearsay { sure - 30 } else { sure },
        title,
        case,
        facts,
        exchange,
    }
}

fn tenths(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}
