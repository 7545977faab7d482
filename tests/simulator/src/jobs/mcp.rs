//! Calls of one MCP tool. The server has so many workers; who finds none free waits, so that latency grows with concurrency as
//! it does in a queue.

use std::rc::Rc;

use serde_json::json;

use super::Job;
use crate::{
    span::{MINUTE, SECOND, seconds},
    wire::mcp::{Answer, wired},
    words,
};

pub(super) fn run(job: &mut Job<'_>, at: u64) {
    let traffic = Rc::clone(&job.traffic);
    job.memory.count += 1;
    // Calls overlap: each takes a connection that is free.
    job.connection = format!("{}-{}", traffic.name, job.memory.count % 64);
    let (began, work) = (work_begins(job, at), job.milliseconds(traffic.tool_ms, traffic.tool_spread));
    let (mut ended, mut answer) = (began + work, answer(job));
    if job.random.chance(traffic.hung) {
        (ended, answer) = (at + 10 * MINUTE, Answer::Silence);
    } else {
        let gives_up = at + seconds(traffic.timeout_ms / 1e3);
        if job.random.chance(traffic.tool_timeouts) || ended > gives_up {
            (ended, answer) = (gives_up, Answer::Silence);
        }
        if let Some(worker) = job.memory.workers.iter_mut().min() {
            *worker = began + work;
        }
    }
    let arguments = json!({"query": words::text(job.random, 5)});
    let tool = traffic.tools.first().map_or("search", String::as_str);
    let call =
        wired(&traffic.server, &format!("session-{}", traffic.name), job.memory.count, tool, &arguments, &answer);
    job.add(call, at, (ended - at).max(SECOND / 1000));
}

fn work_begins(job: &mut Job<'_>, at: u64) -> u64 {
    let count = job.traffic.workers.max(1);
    job.memory.workers.resize(count, 0);
    job.memory.workers.iter().min().map_or(at, |free| at.max(*free))
}

fn answer(job: &mut Job<'_>) -> Answer {
    let traffic = Rc::clone(&job.traffic);
    if job.random.chance(traffic.rpc_errors) {
        return Answer::RpcError;
    }
    let is_error = job.random.chance(traffic.tool_errors);
    let text = if is_error { "Error: the upstream service failed".to_owned() } else { words::text(job.random, 15) };
    Answer::Result { text, is_error }
}
