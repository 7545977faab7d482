//! A run of an agent: the model calls tools, the next request repeats all that was said, with their results, until the model
//! is done. Tokens grow with the history.

use std::rc::Rc;

use serde_json::{Value, json};

use super::{Job, chat::question, reply::bare};
use crate::{
    span::{SECOND, whole},
    talk::{Ask, Finish, Item, Reply, ToolCall, ToolResult},
    traffic::Behaviour,
    words,
};

/// One turn as it is planned: what the model says, which tools it calls with what, and what these will give.
struct Turn {
    text: String,
    calls: Vec<(String, Value, Given)>,
}

/// What a tool gives.
struct Given {
    text: String,
    is_error: bool,
}

pub(super) fn run(job: &mut Job<'_>, mut at: u64) {
    let traffic = Rc::clone(&job.traffic);
    // A conversation keeps its connection.
    job.connection = format!("{}-run-{}", traffic.name, job.random.id(8));
    let turns = 1 + job.random.below(2 * traffic.turns.max(1) - 1);
    // Runs that go wrong do so for as long as they are let.
    let turns = if traffic.behaviour == Behaviour::Works { turns } else { traffic.turns };
    let fixed = Fixed::new(job);
    let mut items = vec![Item::User(question(job.random, whole(traffic.prompt_tokens)))];
    let base = job.random.size(traffic.prompt_tokens, traffic.spread);
    for index in 0..turns {
        let turn = plan(job, &fixed, index, turns);
        let mut calls = Vec::new();
        for (name, arguments, _) in &turn.calls {
            let id = format!("call_{}", job.random.id(20));
            calls.push(ToolCall { id, name: name.clone(), arguments: arguments.clone() });
        }
        let reply = said(job, base, &items, turn.text, calls, Finish::Tools);
        let Some((ended, reply)) = next(job, at, &items, &reply) else { return };
        if job.random.chance(traffic.hung) {
            return;
        }
        let mut took = 0;
        let mut results = Vec::new();
        for (call, (_, _, given)) in reply.calls.iter().zip(turn.calls) {
            let (given, ns) = used(job, given);
            took = took.max(ns);
            let (call_id, name) = (call.id.clone(), call.name.clone());
            results.push(ToolResult { call_id, name, text: given.text, is_error: given.is_error });
        }
        items.push(Item::Assistant { text: reply.text, calls: reply.calls });
        items.push(Item::Results(results));
        at = ended + took;
    }
    let text = words::of_tokens(job.random, whole(traffic.output_tokens));
    let reply = said(job, base, &items, text, Vec::new(), Finish::Stop);
    next(job, at, &items, &reply);
}

/// Asks with all that was said so far.
fn next(job: &mut Job<'_>, at: u64, items: &[Item], reply: &Reply) -> Option<(u64, Reply)> {
    let ask = Ask { tools: job.traffic.tools.clone(), ..job.ask(items.to_vec()) };
    let (ended, reply) = job.call_model(at, &ask, reply);
    reply.map(|reply| (ended, reply))
}

fn said(job: &mut Job<'_>, base: u64, items: &[Item], text: String, calls: Vec<ToolCall>, finish: Finish) -> Reply {
    let history: usize = items.iter().skip(1).map(length).sum();
    let input = base + history as u64 / 5;
    let output = (text.len() / 5 + calls.len() * 25).max(1) as u64;
    Reply { text, calls, finish, ..bare(&Rc::clone(&job.traffic), job.random, input, output) }
}

/// Bytes of text.
fn length(item: &Item) -> usize {
    match item {
        Item::User(text) => text.len(),
        Item::Assistant { text, calls } => text.len() + calls.len() * 100,
        Item::Results(results) => results.iter().map(|result| result.text.len()).sum(),
    }
}

/// A tool at work: it may fail, and takes its time.
fn used(job: &mut Job<'_>, given: Given) -> (Given, u64) {
    let traffic = Rc::clone(&job.traffic);
    if job.random.chance(traffic.tool_timeouts) {
        return (Given { text: "Error: the tool timed out after 60 seconds".to_owned(), is_error: true }, 60 * SECOND);
    }
    let took = job.milliseconds(traffic.tool_ms, traffic.tool_spread);
    if job.random.chance(traffic.tool_errors) {
        let text = format!("Error: upstream answered 502 ({})", job.random.id(8));
        return (Given { text, is_error: true }, took);
    }
    (given, took)
}

/// What a run says again and again.
struct Fixed {
    tool: String,
    other: String,
    query: String,
    result: String,
    other_result: String,
    sentence: String,
}

impl Fixed {
    fn new(job: &mut Job<'_>) -> Self {
        let tools = &job.traffic.tools;
        let tool = tools.first().cloned().unwrap_or_else(|| "search".to_owned());
        let other = tools.get(1).cloned().unwrap_or_else(|| tool.clone());
        let random = &mut *job.random;
        Self {
            tool,
            other,
            query: words::text(random, 5),
            result: words::text(random, 20),
            other_result: words::text(random, 20),
            sentence: words::text(random, 60),
        }
    }
}

fn plan(job: &mut Job<'_>, fixed: &Fixed, index: u64, turns: u64) -> Turn {
    let traffic = Rc::clone(&job.traffic);
    let random = &mut *job.random;
    let fresh = words::text(random, traffic.result_words);
    let new = json!({"query": words::text(random, 6), "page": 1});
    let same = json!({"query": fixed.query, "page": 1});
    let good = |text: String| Given { text, is_error: false };
    let tools: Vec<&str> = traffic.tools.iter().map(String::as_str).collect();
    let any = random.pick(&tools).to_owned();
    let mut text = words::text(random, 12);
    let calls = match traffic.behaviour {
        Behaviour::Loops => vec![(fixed.tool.clone(), same, good(fixed.result.clone()))],
        Behaviour::PingPong if index.is_multiple_of(2) => vec![(fixed.tool.clone(), same, good(fixed.result.clone()))],
        Behaviour::PingPong => {
            vec![(fixed.other.clone(), json!({"query": fixed.query, "page": 2}), good(fixed.other_result.clone()))]
        }
        Behaviour::NoProgress => {
            let error = Given { text: "Error: no such table".to_owned(), is_error: true };
            vec![(fixed.tool.clone(), new, error)]
        }
        Behaviour::RepeatsItself => {
            text = format!("{} Step {index}.", fixed.sentence);
            vec![(any, new, good(fresh))]
        }
        Behaviour::Polls => {
            let percent = 100 * (index + 1) / turns;
            vec![(fixed.tool.clone(), same, good(format!("job at {percent} percent")))]
        }
        Behaviour::Parallel => (0..4)
            .map(|_| (fixed.tool.clone(), json!({}), good(format!("rolled {}", 1 + random.below(1_000_000)))))
            .collect(),
        Behaviour::ParallelSame if index == 0 => {
            (0..4).map(|_| (fixed.tool.clone(), same.clone(), good(fixed.result.clone()))).collect()
        }
        Behaviour::RetriesTool if index < 2 => {
            let error = Given { text: "Error: temporarily unavailable".to_owned(), is_error: true };
            vec![(fixed.tool.clone(), same, error)]
        }
        Behaviour::RetriesTool if index == 2 => vec![(fixed.tool.clone(), same, good(fresh))],
        Behaviour::Works | Behaviour::Grows | Behaviour::ParallelSame | Behaviour::RetriesTool => {
            vec![(any, new, good(fresh))]
        }
        Behaviour::Pages => vec![(fixed.tool.clone(), json!({"query": fixed.query, "page": index + 1}), good(fresh))],
    };
    Turn { text, calls }
}
