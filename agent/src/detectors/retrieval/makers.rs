//! Which model made a vector. Enters: embedding calls, and vectors that go to a store. Leaves: the model, and whether that is certain: the
//! vector itself was seen in an answer, or the process asked just one model for vectors of that length a moment ago.
//!
//! State: the last [`VECTORS_MAX`] vectors as hashes, the last call of [`PROCESSES_MAX`] processes, at most [`MODELS_MAX`] names of models. None of it is
//! kept over a restart: it is about minutes.

use std::sync::Arc;

use super::{MODEL_BYTES_MAX, space::space};
use crate::{
    detectors::digest::digest,
    exchange::{Exchange, RetrievalFacts},
    lru::Lru,
    units::Timestamp,
};

/// Bounds of the tables.
pub(super) const VECTORS_MAX: usize = 16_384;
pub(super) const PROCESSES_MAX: usize = 4096;
pub(super) const MODELS_MAX: usize = 1024;

/// So long after an embedding call a vector of the same process may be from it.
const MOMENT_NS: u64 = 60_000_000_000;

/// A model that makes vectors.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Model {
    /// As the program asked for it.
    pub(super) id: String,
    /// What its vectors can be compared with.
    pub(super) space: String,
}

/// Who made a vector.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    pub(super) model: Arc<Model>,
    /// The very vector was seen in an answer of the model.
    pub(super) is_certain: bool,
}

/// The last embedding calls.
#[derive(Debug)]
pub(super) struct Makers {
    vectors: Lru<u64, Arc<Model>>,
    processes: Lru<u64, Recent>,
    models: Lru<String, Arc<Model>>,
}

#[derive(Debug)]
struct Recent {
    model: Arc<Model>,
    dimensions: Option<u32>,
    at: Timestamp,
    /// It asked another model as well, a moment before.
    is_mixed: bool,
}

impl Makers {
    pub(super) fn new() -> Self {
        Self { vectors: Lru::new(VECTORS_MAX), processes: Lru::new(PROCESSES_MAX), models: Lru::new(MODELS_MAX) }
    }

    /// Takes an embedding call.
    pub(super) fn embedded(&mut self, exchange: &Exchange, facts: &RetrievalFacts) {
        let Some(id) = model_id(exchange).filter(|id| id.len() <= MODEL_BYTES_MAX) else { return };
        let model = self.model(id);
        for vector in &facts.vectors {
            self.vectors.insert(vector.digest, Arc::clone(&model));
        }
        let (key, at) = (process(exchange), exchange.ended_at);
        let before = self.processes.peek(&key);
        let is_mixed = before.is_some_and(|before| {
            at.since_ns(before.at) <= MOMENT_NS && (before.is_mixed || before.model.space != model.space)
        });
        let dimensions = facts.vectors.first().map(|vector| vector.dimensions);
        self.processes.insert(key, Recent { model, dimensions, at, is_mixed });
    }

    /// Who made a vector that this call sends to a store. `dimensions`: its length.
    pub(super) fn of(&mut self, exchange: &Exchange, digest: u64, dimensions: u32) -> Option<Maker> {
        if let Some(model) = self.vectors.touch(&digest) {
            return Some(Maker { model: Arc::clone(model), is_certain: true });
        }
        let recent = self.processes.peek(&process(exchange))?;
        let is_recent = exchange.started_at.since_ns(recent.at) <= MOMENT_NS && exchange.started_at >= recent.at;
        let fits = is_recent && !recent.is_mixed && recent.dimensions == Some(dimensions);
        fits.then(|| Maker { model: Arc::clone(&recent.model), is_certain: false })
    }

    fn model(&mut self, id: &str) -> Arc<Model> {
        if let Some(model) = self.models.touch(&id.to_owned()) {
            return Arc::clone(model);
        }
        let model = Arc::new(Model { id: id.to_owned(), space: space(id) });
        self.models.insert(id.to_owned(), Arc::clone(&model));
        model
    }
}

/// Of a deployment the answer says which model it is.
fn model_id(exchange: &Exchange) -> Option<&str> {
    let (asked, answered) = (exchange.request_model.as_deref(), exchange.response_model.as_deref());
    let is_deployment = exchange.vendor.as_deref().is_some_and(|vendor| vendor.starts_with("azure"));
    if is_deployment { answered.or(asked) } else { asked.or(answered) }
}

fn process(exchange: &Exchange) -> u64 {
    digest(&[&exchange.origin.service, &exchange.origin.pid.to_string()])
}
