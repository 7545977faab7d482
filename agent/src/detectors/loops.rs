//! Finds agents that go round in circles or run away. Enters: calls, in order. Leaves, priced in what the run cost since it
//! began: `agent.loop` (the same tool with the same arguments and the same result in three turns), `agent.cycle` (several turns
//! over and over), `agent.no_progress` (one tool in other words, to no effect), `agent.runaway` (more turns, or a growing context
//! for more money, than is usual for the service; what is usual is learned of its runs) and `agent.repeated_text` (nearly the same answer again). What is called side by
//! side is one turn. It never looks at text: tools, arguments, results and answers are hashes here.
//!
//! A run is told by what its requests have in common: the opening of the conversation, the ids of its calls of tools, or the id
//! of the answer that it goes on from. The circle itself is read from the history that each request repeats; only where the
//! vendor keeps the conversation it is remembered here.
//!
//! State: [`MAX_RUNS`] runs (`loops/run.rs`: under 2 KB each), [`MAX_ANCHORS`] marks that lead to them, and how long runs usually are
//! for [`MAX_SERVICES`] services (`loops/usual.rs`). Only the last survives a restart: of runs the requests tell the rest.

use std::{hash::Hasher as _, sync::Arc};

use smallvec::SmallVec;
use twox_hash::XxHash64;

use self::{
    circles::{ALONE, ASKED, Circle, Step, circle},
    run::Run,
    tell::{Kind, Told},
    usual::Usual,
};
use super::{Detector, Hit, StateChange};
use crate::{
    exchange::{Exchange, History, ToolResult},
    lru::Lru,
};

mod circles;
mod run;
mod tell;
#[cfg(test)]
mod tests;
mod usual;

/// Bound of the runs.
pub const MAX_RUNS: usize = 10_000;
/// Bound of what leads to them.
pub const MAX_ANCHORS: usize = 40_000;
/// Bound of the services.
pub const MAX_SERVICES: usize = 10_000;
/// Services with longer names are not remembered.
const NAME_BYTES_MAX: usize = 256;
/// Newest turns, and newest results, that are looked at.
const MAX_TURNS: u32 = 64;
const MAX_STEPS: usize = 128;
/// Bits in which two answers that are nearly the same differ at most.
const NEAR_BITS: u32 = 3;
/// Answers that are nearly the same: while nobody but tools spoke, and when somebody did.
const REPEATED_TEXTS: (u32, u32) = (3, 5);
/// Calls that each send more than the one before: a context that only grows.
const GROWING_CALLS: u32 = 20;
/// How much more the last of them sends.
const GROWTH: u64 = 3;

/// The detector.
#[derive(Debug)]
pub struct Loops {
    runs: Lru<u64, Run>,
    anchors: Lru<u64, u64>,
    usual: Lru<String, Usual>,
    /// Services whose record changed, or went, since somebody asked.
    changed: Lru<String, ()>,
    next: u64,
}

impl Loops {
    /// A detector that has seen nothing yet.
    pub fn new() -> Self {
        Self {
            runs: Lru::new(MAX_RUNS),
            anchors: Lru::new(MAX_ANCHORS),
            usual: Lru::new(MAX_SERVICES),
            changed: Lru::new(2 * MAX_SERVICES),
            next: 0,
        }
    }
}

impl Default for Loops {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector for Loops {
    fn name(&self) -> &'static str {
        "loops"
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let history = &exchange.history;
        let goes_on = history.turns > 0 || !exchange.tool_results.is_empty();
        if !goes_on && exchange.tool_calls.is_empty() {
            return;
        }
        let at = self.run_of(exchange);
        let Some(run) = self.runs.touch(&at) else { return };
        // Where the vendor keeps the conversation, each request with results is a turn.
        let is_kept = history.turns == 0;
        let turns = if is_kept { run.turns.saturating_add(u32::from(goes_on)) } else { history.turns };
        let alone = if is_kept { turns } else { history.turns_alone };
        let mark = exchange.tool_results.last().and_then(|result| result.call_id.as_deref()).map(hash);
        let is_new = run.take(exchange, turns, alone, mark);
        let stepped = if is_kept { run.step(exchange, hash) } else { None };
        run.asks(exchange, hash);
        if is_new && goes_on {
            let repeated = if is_kept { run.steps().into() } else { steps(exchange) };
            if let Some(told) = goes_round(&repeated, turns, alone) {
                let name = stepped.or_else(|| exchange.tool_results.last()?.name.clone());
                told_of(run, exchange, told.with_tool(name), emit);
            } else if let Some(told) = repeats_itself(history) {
                told_of(run, exchange, told, emit);
            }
            if let Some(told) = self.runs_away(at, exchange, turns, alone)
                && let Some(run) = self.runs.touch(&at)
            {
                told_of(run, exchange, told, emit);
            }
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        while let Some((key, ())) = self.changed.pop() {
            let usual = self.usual.peek(&key).cloned().map(Arc::new);
            emit(StateChange::new("loops", key, usual));
        }
    }

    fn restore(&mut self, key: &str, value: &str) {
        if let Ok(usual) = serde_json::from_str::<Usual>(value)
            && usual.is_sound()
            && key.len() <= NAME_BYTES_MAX
        {
            self.usual.insert(key.to_owned(), usual);
        }
    }
}

/// The same in every run of the agent.
fn hash(text: &str) -> u64 {
    XxHash64::oneshot(0, text.as_bytes())
}

/// What leads to a run: `kind` keeps different marks apart.
fn anchor(exchange: &Exchange, kind: u8, mark: u64) -> u64 {
    let mut hasher = XxHash64::with_seed(u64::from(kind));
    hasher.write(exchange.origin.service.as_bytes());
    hasher.write(exchange.host.as_bytes());
    hasher.write_u64(mark);
    hasher.finish()
}

impl Loops {
    /// The run that a call belongs to; a new one if it is none that is known.
    fn run_of(&mut self, exchange: &Exchange) -> u64 {
        let history = &exchange.history;
        let prompt = history.prompt.map(|prompt| anchor(exchange, 0, prompt));
        let opening = history.opening.map(|opening| anchor(exchange, 1, opening));
        let conversation = exchange.conversation.as_deref().map(|id| anchor(exchange, 2, hash(id)));
        let results = exchange.tool_results.as_slice();
        let id = |result: Option<&ToolResult>| {
            result.and_then(|result| Some(anchor(exchange, 3, hash(result.call_id.as_deref()?))))
        };
        let newest = id(results.last());
        // A request that leaves the oldest messages out still has those of its turn before.
        let before = results.last().and_then(|last| results.iter().rev().find(|result| result.turn < last.turn));
        // A session may hold several conversations side by side: its name counts only where nothing else is known.
        let marks = if history.turns > 0 { [opening, id(before)] } else { [conversation, newest] };
        let known = marks.into_iter().flatten().find_map(|mark| self.anchors.touch(&mark).copied());
        let known = known.filter(|run| self.runs.peek(run).is_some());
        let begun = || {
            let run = prompt.filter(|_| history.turns > 0).and_then(|prompt| self.anchors.peek(&prompt)).copied();
            run.filter(|run| self.runs.peek(run).is_some_and(|run| run.turns == 0))
        };
        let run = known.or_else(begun).unwrap_or_else(|| {
            self.next = self.next.wrapping_add(1);
            let key = opening.or(conversation).or(prompt).unwrap_or(self.next);
            self.runs.insert(self.next, Run::new(key));
            self.next
        });
        let answer = exchange.response_id.as_deref().filter(|_| history.turns == 0);
        let answer = answer.map(|id| anchor(exchange, 2, hash(id)));
        let is_first = history.turns == 0 && results.is_empty();
        let kept = conversation.filter(|_| history.turns == 0);
        for mark in [opening, newest, answer, prompt.filter(|_| is_first), kept].into_iter().flatten() {
            self.anchors.insert(mark, run);
        }
        if let (Some(run), Some(opening)) = (self.runs.touch(&run), opening) {
            run.key = if run.turns == 0 { opening } else { run.key };
        }
        run
    }

    /// More turns, or more money for a context that only grows, than is usual.
    fn runs_away(&mut self, at: u64, exchange: &Exchange, turns: u32, alone: u32) -> Option<Told> {
        let run = self.runs.peek(&at)?;
        let service = &exchange.origin.service;
        if service.len() > NAME_BYTES_MAX {
            return None;
        }
        let (key, spent) = (run.key, run.spent);
        let (first, newest) = run.input_tokens;
        let has_grown = newest >= first.saturating_mul(GROWTH);
        let grows = run.growing >= GROWING_CALLS && has_grown;
        let growing = run.growing;
        if self.usual.touch(service).is_none()
            && let Some((gone, _)) = self.usual.insert(service.clone(), Usual::default())
        {
            self.changed.insert(gone, ());
        }
        let usual = self.usual.touch(service)?;
        let (most_turns, most_spent, short) = (usual.turns(key), usual.spent(key), usual.short(key));
        // Far more than the last runs, though it is not much for an agent: turns, context and money, all of them.
        let short =
            short.filter(|short| alone > short.turns && has_grown && spent.is_none_or(|spent| spent > short.spent));
        let told = if alone > most_turns {
            Some(Told::new(Kind::Turns { most: most_turns }, alone, alone))
        } else if let Some(short) = short {
            Some(Told::new(Kind::Turns { most: short.turns }, alone, alone))
        } else {
            let spends = spent.filter(|spent| grows && *spent > most_spent);
            spends.map(|_| Told::new(Kind::Growth { from: first, to: newest }, growing, growing))
        };
        // What is usual is learned of all, the odd ones too: the median forgives some.
        let turns = alone.min(turns);
        let is_changed = usual.note(key, turns, spent) | usual.note_recent(key, turns, spent, told.is_some());
        if is_changed {
            self.changed.insert(service.clone(), ());
        }
        told
    }
}

/// The newest turns that the request repeats, up to its last one.
fn steps(exchange: &Exchange) -> SmallVec<[Step; 64]> {
    let results = &exchange.tool_results;
    let newest = exchange.history.turns;
    let start = results.len().saturating_sub(MAX_STEPS);
    let recent = results.get(start..).unwrap_or_default().iter();
    let recent = recent.skip_while(|result| result.turn.saturating_add(MAX_TURNS) <= newest);
    let known = recent.filter_map(|result| {
        Some(Step {
            turn: result.turn,
            tool: hash(result.name.as_deref()?),
            arguments: result.arguments?,
            result: result.digest,
            said: result.said,
        })
    });
    known.collect()
}

/// A circle that the newest turn is in.
fn goes_round(steps: &[Step], turns: u32, alone: u32) -> Option<Told> {
    if steps.last().is_none_or(|newest| newest.turn != turns) {
        return None; // the model went on to something else
    }
    let heard = turns.saturating_sub(alone);
    let begin = steps.partition_point(|step| step.turn <= heard);
    let by_itself = steps.get(begin..).unwrap_or_default();
    let found = circle(by_itself, ALONE).map(|circle| (circle, true));
    let (circle, is_alone) = found.or_else(|| circle(steps, ASKED).map(|circle| (circle, false)))?;
    let kind = match circle {
        Circle::Same { .. } => Kind::Same,
        Circle::Cycle { period, .. } => Kind::Cycle { period },
        Circle::Fruitless { fails, .. } => Kind::Fruitless { fails },
    };
    // The call that asked for the first of these turns came before it, and this one came after the last.
    let calls = turns.saturating_sub(circle.since()).saturating_add(2);
    Some(Told { is_alone, ..Told::new(kind, circle.times(), calls) })
}

/// The newest answers are nearly the same.
fn repeats_itself(history: &History) -> Option<Told> {
    let newest = history.texts.last().filter(|text| text.turn == history.turns)?;
    let is_near = |other: u64| (other ^ newest.simhash).count_ones() <= NEAR_BITS;
    let near = history.texts.iter().rev().take_while(|text| is_near(text.simhash));
    let (mut times, mut since) = (0_u32, newest.turn);
    for text in near {
        (times, since) = (times + 1, text.turn);
    }
    let is_alone = since > history.turns.saturating_sub(history.turns_alone);
    let least = if is_alone { REPEATED_TEXTS.0 } else { REPEATED_TEXTS.1 };
    let calls = history.turns.saturating_sub(since).saturating_add(2);
    (times >= least).then(|| Told { is_alone, ..Told::new(Kind::Text, times, calls) })
}

/// Tells it once a turn.
fn told_of<'a>(run: &mut Run, exchange: &'a Exchange, told: Told, emit: &mut dyn FnMut(Hit<'a>)) {
    // An example that stands in every prompt is no answer that was given: the run must have been seen to grow.
    if told.kind == Kind::Text && !run.has_grown() {
        return;
    }
    let (since, cost) = match told.kind {
        Kind::Turns { .. } | Kind::Growth { .. } => (run.since, run.spent),
        Kind::Same | Kind::Cycle { .. } | Kind::Fruitless { .. } | Kind::Text => run.newest(told.calls),
    };
    emit(Hit::Behaviour(told.behaviour(exchange, run.key, run.turns, since, cost)));
}
