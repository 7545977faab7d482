//! One question, one answer.

use super::{Job, reply::reply};
use crate::{random::Random, talk::Item, words};

pub(super) fn run(job: &mut Job<'_>, at: u64) {
    let reply = reply(job);
    let question = question(job.random, reply.tokens.input);
    let ask = job.ask(vec![Item::User(question)]);
    job.call_model(at, &ask, &reply);
}

/// What a user says; no two say the same.
pub(super) fn question(random: &mut Random, tokens: u64) -> String {
    format!("Case {}: {}", random.below(1_000_000), words::of_tokens(random, tokens))
}
