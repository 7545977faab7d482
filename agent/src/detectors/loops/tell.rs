//! How a circle is told. Enters: what was found, and what it cost. Leaves: a [`Behaviour`]. It decides nothing but severity and
//! words.

use serde_json::json;

use crate::{
    detectors::Behaviour,
    exchange::Exchange,
    units::{NanoUsd, Severity, Timestamp},
};

/// Dollars from which on it is grave, in nano-USD: under a cent nobody minds, and for 25 dollars somebody wants to be woken.
const MEDIUM_NANO_USD: u64 = 50_000_000;
const HIGH_NANO_USD: u64 = 1_000_000_000;
const CRITICAL_NANO_USD: u64 = 25_000_000_000;
/// Rounds from which on it is grave at any price.
const MANY: u32 = 10;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Same,
    Cycle {
        period: u32,
    },
    Fruitless {
        fails: bool,
    },
    /// More turns than `most`.
    Turns {
        most: u32,
    },
    /// Tokens of the first and the newest call.
    Growth {
        from: u64,
        to: u64,
    },
    Text,
}

/// A signal, before it is priced.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) kind: Kind,
    /// How often.
    pub(super) times: u32,
    /// How many calls of the run are a part of it.
    pub(super) calls: u32,
    /// Nobody but tools spoke meanwhile.
    pub(super) is_alone: bool,
    /// The newest tool in it.
    pub(super) tool: Option<String>,
}

impl Told {
    pub(super) fn new(kind: Kind, times: u32, calls: u32) -> Self {
        Self { kind, times, calls, is_alone: true, tool: None }
    }

    pub(super) fn with_tool(self, tool: Option<String>) -> Self {
        Self { tool, ..self }
    }

    /// The finding: one a run and rule.
    pub(super) fn behaviour(
        self,
        exchange: &Exchange,
        run: u64,
        turns: u32,
        since: Option<Timestamp>,
        cost: Option<NanoUsd>,
    ) -> Behaviour<'_> {
        let rule = self.rule();
        let mut title = self.words();
        if let Some(cost) = cost {
            title = format!("{title}, {cost} so far");
        }
        let mut facts = vec![
            ("agent.turns", json!(turns)),
            ("agent.repeats", json!(self.times)),
            ("agent.calls", json!(self.calls)),
        ];
        facts.extend(self.tool.as_ref().map(|tool| ("agent.tool", json!(tool))));
        facts.extend(since.map(|since| ("agent.since_unix", json!(since.0 / 1_000_000_000))));
        facts.extend(cost.map(|cost| ("agent.cost_nano_usd", json!(cost))));
        facts.extend(exchange.conversation.as_ref().map(|id| ("agent.conversation", json!(id))));
        match self.kind {
            Kind::Cycle { period } => facts.push(("agent.period_turns", json!(period))),
            Kind::Turns { most } => facts.push(("agent.usual_turns", json!(most))),
            Kind::Growth { from, to } => {
                facts.extend([("agent.input_tokens_before", json!(from)), ("agent.input_tokens", json!(to))]);
            }
            Kind::Same | Kind::Fruitless { .. } | Kind::Text => {}
        }
        Behaviour {
            rule,
            references: Vec::new(),
            key: format!("{run:016x}"),
            severity: severity(cost, self.times),
            confidence: self.confidence(),
            title,
            case: None,
            facts,
            exchange,
        }
    }

    fn rule(&self) -> &'static str {
        match self.kind {
            Kind::Same => "agent.loop",
            Kind::Cycle { .. } => "agent.cycle",
            Kind::Fruitless { .. } => "agent.no_progress",
            Kind::Turns { .. } | Kind::Growth { .. } => "agent.runaway",
            Kind::Text => "agent.repeated_text",
        }
    }

    fn words(&self) -> String {
        let tool = self.tool.as_deref().unwrap_or("a tool");
        let times = self.times;
        match self.kind {
            Kind::Same => format!("agent called `{tool}` {times} times with the same arguments and the same result"),
            Kind::Cycle { period } => {
                format!("agent went through the same {period} turns {times} times, last `{tool}`")
            }
            Kind::Fruitless { fails: true } => {
                format!("agent called `{tool}` in {times} turns, and it failed each time")
            }
            Kind::Fruitless { fails: false } => {
                format!("agent called `{tool}` in {times} turns with other arguments, and it said the same each time")
            }
            Kind::Turns { most } => format!("agent took {times} turns by itself, usual are up to {most}"),
            Kind::Growth { from, to } => {
                format!("agent's context grew in {times} calls from {from} to {to} tokens")
            }
            Kind::Text => format!("agent gave nearly the same answer {times} times"),
        }
    }

    fn confidence(&self) -> u8 {
        let sure: u8 = match self.kind {
            Kind::Same | Kind::Cycle { .. } => 90,
            Kind::Fruitless { .. } | Kind::Turns { .. } => 75,
            Kind::Growth { .. } | Kind::Text => 65,
        };
        let more = if self.times >= MANY { 5 } else { 0 };
        let less = if self.is_alone { 0 } else { 25 };
        sure + more - less
    }
}

fn severity(cost: Option<NanoUsd>, times: u32) -> Severity {
    let by_cost = match cost.map(|cost| cost.0) {
        Some(0..MEDIUM_NANO_USD) => Severity::Low,
        Some(MEDIUM_NANO_USD..HIGH_NANO_USD) | None => Severity::Medium,
        Some(HIGH_NANO_USD..CRITICAL_NANO_USD) => Severity::High,
        Some(CRITICAL_NANO_USD..) => Severity::Critical,
    };
    if times >= MANY { by_cost.max(Severity::Medium) } else { by_cost }
}
