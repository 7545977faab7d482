//! One conversation of an agent, as it went so far. Enters: calls, in order. Leaves: what they cost, how the context grew, and the
//! steps of those whose requests do not repeat them. It holds no text but names of tools.
//!
//! State of a run: at most [`MAX_CALLS`] calls, [`MAX_STEPS`] steps and [`MAX_ASKED`] open calls of tools; under 2 KB without names.

use std::collections::VecDeque;

use super::circles::Step;
use crate::{
    exchange::{Exchange, Said},
    units::{NanoUsd, Timestamp},
};

/// Calls whose cost is known one by one.
const MAX_CALLS: usize = 48;
/// Steps that are remembered of a conversation that the vendor keeps.
const MAX_STEPS: usize = 20;
/// Calls of tools that wait for their result.
const MAX_ASKED: usize = 8;

/// A conversation.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// What names it outside.
    pub(super) key: u64,
    /// The model's turns at the newest call.
    pub(super) turns: u32,
    /// All that it cost since a person last spoke, when prices are known.
    pub(super) spent: Option<NanoUsd>,
    /// Calls one after the other that each sent more than the one before.
    pub(super) growing: u32,
    /// Tokens that the first and the newest of these sent.
    pub(super) input_tokens: (u64, u64),
    /// The model's turns at the oldest call that was seen.
    first_turns: u32,
    calls: VecDeque<(Timestamp, Option<NanoUsd>)>,
    steps: VecDeque<Step>,
    asked: Vec<Asked>,
}

/// A call of a tool that an answer made.
#[derive(Debug)]
struct Asked {
    id: u64,
    tool: u64,
    arguments: u64,
    name: String,
}

impl Run {
    /// A conversation that was not seen yet.
    pub(super) fn new(key: u64) -> Self {
        Self { key, ..Self::default() }
    }

    /// Takes a call in. True: it goes on, or begins; false: it is the same again.
    pub(super) fn take(&mut self, exchange: &Exchange, turns: u32, turns_alone: u32) -> bool {
        let is_new = self.calls.is_empty() || turns > self.turns;
        if turns < self.turns || turns_alone == 0 {
            // A person spoke, or the conversation begins anew.
            (self.spent, self.growing) = (None, 0);
        }
        if self.calls.is_empty() {
            self.first_turns = turns;
        }
        self.turns = turns;
        let cost = exchange.cost.as_ref().map(|cost| cost.nano_usd);
        if let Some(cost) = cost {
            self.spent = Some(NanoUsd(self.spent.unwrap_or_default().0.saturating_add(cost.0)));
        }
        if let Some(sent) = exchange.usage.input_tokens {
            let (first, newest) = self.input_tokens;
            let goes_on = self.growing > 0 && sent > newest;
            self.growing = if goes_on { self.growing.saturating_add(1) } else { 1 };
            self.input_tokens = (if goes_on { first } else { sent }, sent);
        }
        if self.calls.len() >= MAX_CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back((exchange.started_at, cost));
        is_new
    }

    /// More turns were seen than it began with.
    pub(super) fn has_grown(&self) -> bool {
        self.turns > self.first_turns
    }

    /// When the newest `count` calls began, and what they cost.
    pub(super) fn newest(&self, count: u32) -> (Option<Timestamp>, Option<NanoUsd>) {
        let calls = self.calls.iter().rev().take(usize::try_from(count).unwrap_or(usize::MAX));
        let mut sum: Option<NanoUsd> = None;
        let mut since = None;
        for (at, cost) in calls {
            since = Some(*at);
            sum = cost.map_or(sum, |cost| Some(NanoUsd(sum.unwrap_or_default().0.saturating_add(cost.0))));
        }
        (since, sum)
    }

    /// Takes the results that a request hands back whose calls were in the answer before it.
    pub(super) fn step(&mut self, exchange: &Exchange, hash: impl Fn(&str) -> u64) -> Option<String> {
        let mut newest = None;
        for result in &exchange.tool_results {
            let Some(id) = result.call_id.as_deref().map(&hash) else { continue };
            let Some(at) = self.asked.iter().position(|asked| asked.id == id) else { continue };
            let asked = self.asked.swap_remove(at);
            if self.steps.len() >= MAX_STEPS {
                self.steps.pop_front();
            }
            let Asked { tool, arguments, name, .. } = asked;
            let said = if result.is_error { Said::Failure } else { result.said };
            self.steps.push_back(Step { turn: self.turns, tool, arguments, result: result.digest, said });
            newest = Some(name);
        }
        newest
    }

    /// Notes what an answer asks for.
    pub(super) fn asks(&mut self, exchange: &Exchange, hash: impl Fn(&str) -> u64) {
        self.asked.clear();
        let calls = exchange.called.iter().take(MAX_ASKED);
        self.asked.extend(calls.filter_map(|call| {
            Some(Asked {
                id: hash(&call.id),
                tool: hash(&call.name),
                arguments: call.arguments?,
                name: call.name.clone(),
            })
        }));
    }

    /// The steps that it took, the oldest first.
    pub(super) fn steps(&mut self) -> &[Step] {
        self.steps.make_contiguous()
    }
}
