//! Watches what is looked up for prompts. Enters: exchanges, in order: calls to embedding models and to vector stores. Leaves:
//! `retrieval.model_mismatch` (an index is searched with vectors of another model, or of another length, than it holds), `retrieval.stale` (searched,
//! and not written for much longer than ever before, or than the operator allows), `retrieval.empty` (more searches find nothing),
//! `retrieval.same_answers` (all find the same), `retrieval.old_documents` (what is found is older than it was), `retrieval.chunks_changed` (texts
//! that are embedded for an index are of another length). It never knows the source of truth, so all but the first two are indicators.
//!
//! Who made a vector is known by the vector itself: the hash of its first numbers, seen in the answer of an embedding model and again
//! in a call to a store. So ingest and search may be two services, and other calls in between do no harm.
//!
//! State: at most [`INDEXES_MAX`] indexes (1 KB each), at most [`SITES_MAX`] places that embed documents (six numbers each), both kept over a restart;
//! and who made the last vectors ([`makers`]), which is not. What was used least recently goes first.

use std::sync::Arc;

use globset::GlobMatcher;

use self::{
    chunks::Chunk,
    index::{Index, Rejected},
    makers::{Maker, Makers},
};
use super::{Detector, Hit, StateChange, digest::digest};
use crate::{
    exchange::{Api, Exchange, Purpose, RetrievalFacts},
    lru::Lru,
    units::Timestamp,
};

mod answers;
mod cadence;
mod chunks;
mod index;
mod makers;
mod space;
#[cfg(test)]
mod tests;
mod told;

/// Bound of the table of indexes.
pub const INDEXES_MAX: usize = 4096;
/// Bound of the table of places that embed documents.
pub const SITES_MAX: usize = 4096;

/// Longest name of a model; longer ones are none.
const MODEL_BYTES_MAX: usize = 128;
/// Spaces that were seen in an index of a host.
const SPACES_MAX: usize = 4096;
/// What learned a little is saved so often: a minute. What began or ended, at once.
const SAVE_EVERY_NS: u64 = 60_000_000_000;
/// What goes on is told anew once a day.
const TELL_EVERY_NS: u64 = 86_400_000_000_000;

/// How old an index may be, as the operator says.
#[derive(Clone, Debug)]
pub struct MaxAge {
    /// Which index or collection; none: all.
    pub index: Option<GlobMatcher>,
    /// Of which host; none: of all.
    pub host: Option<GlobMatcher>,
    /// Longest time between two writes, nanoseconds.
    pub max_age_ns: u64,
}

/// The detector.
#[derive(Debug)]
pub struct Retrieval {
    max_ages: Arc<[MaxAge]>,
    makers: Makers,
    indexes: Lru<u64, Index>,
    /// Which index of a host holds vectors of a space: a new model in a new index is a move, not a mistake.
    spaces: Lru<u64, u64>,
    chunks: Lru<u64, Chunk>,
    changed: Lru<Key, ()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Index(u64),
    Chunk(u64),
}

impl Key {
    fn text(self) -> String {
        match self {
            Self::Index(key) => format!("i{key:016x}"),
            Self::Chunk(key) => format!("c{key:016x}"),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (kind, key) = text.split_at_checked(1)?;
        let key = u64::from_str_radix(key, 16).ok()?;
        match kind {
            "i" => Some(Self::Index(key)),
            "c" => Some(Self::Chunk(key)),
            _ => None,
        }
    }
}

impl Retrieval {
    /// A detector that has seen nothing yet. Of several ages that fit an index, the first counts.
    pub fn new(max_ages: Arc<[MaxAge]>) -> Self {
        Self {
            max_ages,
            makers: Makers::new(),
            indexes: Lru::new(INDEXES_MAX),
            spaces: Lru::new(SPACES_MAX),
            chunks: Lru::new(SITES_MAX),
            changed: Lru::new(2 * (INDEXES_MAX + SITES_MAX)),
        }
    }

    fn max_age_ns(&self, exchange: &Exchange, facts: &RetrievalFacts) -> Option<u64> {
        let index = facts.index.as_deref().unwrap_or_default();
        let is_one = |glob: &Option<GlobMatcher>, name: &str| glob.as_ref().is_none_or(|glob| glob.is_match(name));
        let fits = |age: &&MaxAge| is_one(&age.index, index) && is_one(&age.host, &exchange.host);
        self.max_ages.iter().find(fits).map(|age| age.max_age_ns)
    }

    fn embedded<'a>(&mut self, exchange: &'a Exchange, facts: &RetrievalFacts, emit: &mut dyn FnMut(Hit<'a>)) {
        if !is_good(exchange) {
            return;
        }
        self.makers.embedded(exchange, facts);
        let is_ingest = facts.purpose == Some(Purpose::Document) || (facts.purpose.is_none() && facts.items >= 2);
        let model = exchange.request_model.as_deref().unwrap_or_default();
        let Some(mean_bytes) = facts.input_bytes.checked_div(facts.items).filter(|_| is_ingest) else { return };
        let key = digest(&[&exchange.origin.service, &exchange.host, model]);
        if self.chunks.peek(&key).is_none()
            && let Some((gone, _)) = self.chunks.insert(key, Chunk::default())
        {
            self.changed.insert(Key::Chunk(gone), ());
        }
        let Some(chunk) = self.chunks.touch(&key) else { return };
        let shift = chunk.see(mean_bytes);
        if shift.is_some() || chunk.is_to_be_saved(exchange.ended_at) {
            self.changed.insert(Key::Chunk(key), ());
        }
        if let Some(shift) = shift {
            emit(Hit::Behaviour(told::chunks_changed(exchange, model, shift)));
        }
    }

    /// The index that a call to a store is about.
    fn index(&mut self, exchange: &Exchange, facts: &RetrievalFacts) -> u64 {
        let part = |name: &Option<String>| name.as_deref().unwrap_or_default().to_owned();
        let key = digest(&[&exchange.host, &part(&facts.index), &part(&facts.namespace)]);
        if self.indexes.peek(&key).is_none()
            && let Some((gone, _)) = self.indexes.insert(key, Index::default())
        {
            self.changed.insert(Key::Index(gone), ());
        }
        key
    }

    fn written(&mut self, exchange: &Exchange, facts: &RetrievalFacts) {
        if !is_good(exchange) {
            return;
        }
        let key = self.index(exchange, facts);
        let makers: Vec<(Option<Maker>, u32)> = facts
            .vectors
            .iter()
            .map(|vector| (self.makers.of(exchange, vector.digest, vector.dimensions), vector.dimensions))
            .collect();
        let mut last = "";
        for maker in makers.iter().filter_map(|(maker, _)| maker.as_ref()) {
            if maker.model.space != last {
                last = &maker.model.space;
                self.spaces.insert(digest(&[&exchange.host, last]), key);
            }
        }
        let Some(index) = self.indexes.touch(&key) else { return };
        index.written(&makers, facts.items, exchange.ended_at);
        if index.is_to_be_saved(exchange.ended_at) {
            self.changed.insert(Key::Index(key), ());
        }
    }

    fn searched<'a>(&mut self, exchange: &'a Exchange, facts: &'a RetrievalFacts, emit: &mut dyn FnMut(Hit<'a>)) {
        let max_age_ns = self.max_age_ns(exchange, facts);
        let key = self.index(exchange, facts);
        let Some(vector) = facts.vectors.first().copied() else {
            // Text that the store embeds itself, or a search by id.
            return self.judged(key, exchange, facts, None, max_age_ns, emit);
        };
        let maker = self.makers.of(exchange, vector.digest, vector.dimensions);
        let Some(index) = self.indexes.touch(&key) else { return };
        let rejected = if is_good(exchange) && facts.matches.is_some() {
            let other = maker.as_ref().and_then(|maker| index.fitted(maker, vector.dimensions));
            other.map(|mut rejected| {
                let elsewhere = self.spaces.peek(&digest(&[&exchange.host, &rejected.space]));
                rejected.may_be_moved = elsewhere.is_some_and(|other| *other != key);
                rejected
            })
        } else {
            index.other_length(maker.as_ref(), vector.dimensions)
        };
        self.judged(key, exchange, facts, rejected, max_age_ns, emit);
    }

    fn judged<'a>(
        &mut self,
        key: u64,
        exchange: &'a Exchange,
        facts: &'a RetrievalFacts,
        rejected: Option<Rejected>,
        max_age_ns: Option<u64>,
        emit: &mut dyn FnMut(Hit<'a>),
    ) {
        let Some(index) = self.indexes.touch(&key) else { return };
        let before = index.episodes();
        if let Some(rejected) = rejected
            && index.mismatch.tells(exchange, digest(&[&rejected.model, &rejected.held]))
        {
            emit(Hit::Behaviour(told::model_mismatch(exchange, facts, &rejected)));
        }
        if is_good(exchange) {
            index.judge(exchange, facts, max_age_ns, emit);
        }
        if index.episodes() != before || index.is_to_be_saved(exchange.ended_at) {
            self.changed.insert(Key::Index(key), ());
        }
    }
}

/// The store or the vendor did what it was asked; stores answer a write with 201 as well.
fn is_good(exchange: &Exchange) -> bool {
    exchange.status.is_some_and(|status| (200..300).contains(&status)) && exchange.error.is_none()
}

/// Whether it is time to save what learned a little, and notes that it is saved.
fn is_due(saved_at: &mut u64, at: Timestamp) -> bool {
    let is_due = at.since_ns(Timestamp(*saved_at)) >= SAVE_EVERY_NS;
    if is_due {
        *saved_at = at.0;
    }
    is_due
}

impl Detector for Retrieval {
    fn name(&self) -> &'static str {
        "retrieval"
    }

    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>)) {
        let Some(facts) = exchange.retrieval.as_deref() else { return };
        match exchange.api {
            Api::VectorUpsert => self.written(exchange, facts),
            Api::VectorQuery => self.searched(exchange, facts, emit),
            _ => self.embedded(exchange, facts, emit),
        }
    }

    fn changes(&mut self, emit: &mut dyn FnMut(StateChange)) {
        while let Some((key, ())) = self.changed.pop() {
            let text = key.text();
            emit(match key {
                Key::Index(key) => StateChange::new("retrieval", text, self.indexes.peek(&key).cloned().map(Arc::new)),
                Key::Chunk(key) => StateChange::new("retrieval", text, self.chunks.peek(&key).cloned().map(Arc::new)),
            });
        }
    }

    fn restore(&mut self, key: &str, value: &str) {
        match Key::read(key) {
            Some(Key::Index(key)) => {
                if let Some(index) = Index::read(value) {
                    self.indexes.insert(key, index);
                }
            }
            Some(Key::Chunk(key)) => {
                if let Some(chunk) = Chunk::read(value) {
                    self.chunks.insert(key, chunk);
                }
            }
            None => {}
        }
    }
}
