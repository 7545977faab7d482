//! Questions that are answered with documents, and how the documents come into their store. A question: one short text is
//! embedded, the store is searched, a model is asked with what was found. An ingest: long texts are embedded in a batch and
//! written.

use std::{
    rc::Rc,
    time::{Duration, UNIX_EPOCH},
};

use super::{Job, reply::reply};
use crate::{
    span::{DAY, HOUR, seconds},
    talk::Item,
    wire::{
        embeddings,
        vectors::{Document, query as search, upsert},
    },
    words,
};

/// Documents that a search finds.
const FOUND: u64 = 3;

pub(super) fn query(job: &mut Job<'_>, at: u64) {
    let traffic = Rc::clone(&job.traffic);
    let question = format!("How does case {} go on? {}", job.random.below(1_000_000), words::text(job.random, 8));
    let (vector, at) = embed(job, at, std::slice::from_ref(&question));
    let count = if job.random.chance(traffic.empty) { 0 } else { FOUND };
    let found: Vec<Document> = (0..count).map(|rank| document(job, at, rank)).collect();
    let took = job.milliseconds(45.0, 0.3);
    let held = job.indexes.get(&traffic.index).copied();
    job.add(search(traffic.store, &traffic.index, held, &vector, &found), at, took);
    if held.is_some_and(|held| held != vector.len() as u64) {
        // The store refused it, and nothing is asked without documents.
        return;
    }
    let context: Vec<String> = found
        .iter()
        .map(|it| format!("Source: kb/{}.md (last modified {})\n{}", it.id, it.updated_at, it.text))
        .collect();
    let reply = reply(job);
    let prompt = format!("Context:\n{}\n\nQuestion: {question}", context.join("\n\n"));
    let ask = job.ask(vec![Item::User(prompt)]);
    job.call_model(at + took, &ask, &reply);
}

pub(super) fn ingest(job: &mut Job<'_>, at: u64) {
    let traffic = Rc::clone(&job.traffic);
    let texts: Vec<String> = (0..traffic.batch.max(2)).map(|_| words::text(job.random, 90)).collect();
    let (_, at) = embed(job, at, &texts);
    let length = embeddings::length(&traffic.embedding_model, traffic.dimensions);
    let documents: Vec<Document> = texts
        .into_iter()
        .map(|text| {
            job.memory.count += 1;
            let (id, vector) = (format!("doc-{}", job.memory.count), embeddings::vector(job.random, length));
            Document { id, vector, text, updated_at: rfc3339(at.saturating_sub(HOUR)) }
        })
        .collect();
    let took = job.milliseconds(120.0, 0.3);
    let held = job.indexes.get(&traffic.index).copied();
    job.add(upsert(traffic.store, &traffic.index, held, &documents), at, took);
}

/// Embeds some texts; gives a vector of the same length, and when it was there.
fn embed(job: &mut Job<'_>, at: u64, texts: &[String]) -> (Vec<f64>, u64) {
    let traffic = Rc::clone(&job.traffic);
    let took = job.milliseconds(180.0, 0.3);
    let wrapping = job.wrapping(0, took / 1_000_000, at);
    let call = embeddings::wired(&traffic.embedding_model, traffic.dimensions, texts, job.random, &wrapping);
    job.add(call, at, took);
    let length = embeddings::length(&traffic.embedding_model, traffic.dimensions);
    (embeddings::vector(job.random, length), at + took)
}

/// One that a search finds; the first is the newest.
fn document(job: &mut Job<'_>, at: u64, rank: u64) -> Document {
    let age = seconds(job.traffic.document_age_days * 86_400.0) + rank * 3 * DAY;
    Document {
        id: format!("doc-{}", job.random.below(5000)),
        vector: Vec::new(),
        text: words::text(job.random, 40),
        updated_at: rfc3339(at.saturating_sub(age)),
    }
}

fn rfc3339(at: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(at)).to_string()
}
