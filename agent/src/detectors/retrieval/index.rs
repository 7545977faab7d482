//! What is known of one index. Enters: writes and searches. Leaves: what is wrong with it. At most [`USES_MAX`] models, and numbers.

use serde::{Deserialize, Serialize};

use super::{MODEL_BYTES_MAX, TELL_EVERY_NS, answers::Answers, cadence::Cadence, is_due, makers::Maker, told};
use crate::{
    detectors::{Hit, episode::Episode},
    exchange::{Exchange, RetrievalFacts},
    units::Timestamp,
};

/// Models whose vectors an index is known to hold.
const USES_MAX: usize = 4;
/// A model that was not used since an hour before another one began was replaced by it.
const REPLACED_NS: u64 = 3_600_000_000_000;
/// Vectors that must have been written before a search can be wrong: where the maker is certain, and where not.
const VECTORS_MIN: u64 = 5;
const VECTORS_MIN_UNCERTAIN: u64 = 20;
/// Of so many vectors one may be of unknown origin.
const UNKNOWN_ONE_IN: u64 = 10;
/// Windows of searches of which many find nothing; one is enough when nearly all do.
const BAD_WINDOWS: u32 = 2;
const NEARLY_ALL_PERCENT: u64 = 80;
/// Searches in an index that is not written any more.
const STALE_SEARCHES: u32 = 3;
/// Searches in a row that do not fit, where that is not certain: one may be of a vector that was made long ago.
const DOUBTS: u32 = 3;

/// What is known of one index.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    uses: Vec<Use>,
    cadence: Cadence,
    answers: Answers,
    bad_windows: u32,
    stale_searches: u32,
    /// Searches in a row that do not fit, of which that is not certain.
    doubts: u32,
    pub(super) mismatch: Told,
    stale: Told,
    empty: Told,
    same: Told,
    old: Told,
    saved_at: u64,
}

/// Vectors that one model made; of an unknown one the names are empty.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Use {
    model: String,
    space: String,
    dimensions: u32,
    vectors: u64,
    first: u64,
    last: u64,
    is_certain: bool,
}

/// Whether something is told, and of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    what: u64,
    episode: Option<Episode>,
}

/// A search that does not fit.
#[derive(Clone, Debug)]
pub(super) struct Rejected {
    /// Model of the search, empty when nobody knows; and its space.
    pub(super) model: String,
    pub(super) space: String,
    pub(super) dimensions: u32,
    /// Model of what the index holds.
    pub(super) held: String,
    pub(super) held_dimensions: u32,
    /// Vectors that were seen to be written.
    pub(super) vectors: u64,
    /// Last write of these.
    pub(super) written_at: Timestamp,
    /// The store refused it: the lengths differ.
    pub(super) is_refused: bool,
    pub(super) is_certain: bool,
    /// The model of the search makes the vectors of another index of the host: a name may have been moved to that.
    pub(super) may_be_moved: bool,
}

impl Told {
    /// Whether to tell it now, by this call.
    pub(super) fn tells(&mut self, exchange: &Exchange, what: u64) -> bool {
        self.tells_since(exchange, what, exchange.ended_at)
    }

    fn tells_since(&mut self, exchange: &Exchange, what: u64, since: Timestamp) -> bool {
        if self.what != what {
            *self = Self { what, episode: None };
        }
        self.episode.get_or_insert_with(|| Episode::new(since, exchange)).tells(exchange, TELL_EVERY_NS)
    }

    fn end(&mut self) {
        *self = Self::default();
    }
}

impl Index {
    /// What is told at present.
    pub(super) fn episodes(&self) -> [Told; 5] {
        [self.mismatch, self.stale, self.empty, self.same, self.old]
    }

    /// A write that went well.
    pub(super) fn written(&mut self, makers: &[(Option<Maker>, u32)], items: u64, at: Timestamp) {
        self.cadence.written(at);
        self.stale.end();
        self.stale_searches = 0;
        let mut seen: Vec<(&str, u32)> = Vec::new();
        for (maker, dimensions) in makers {
            let space = maker.as_ref().map_or("", |maker| &maker.model.space);
            if !seen.contains(&(space, *dimensions)) {
                seen.push((space, *dimensions));
                self.used(maker.as_ref(), *dimensions, items, at);
            }
        }
    }

    fn used(&mut self, maker: Option<&Maker>, dimensions: u32, items: u64, at: Timestamp) {
        let (model, space) = maker.map_or(("", ""), |maker| (maker.model.id.as_str(), maker.model.space.as_str()));
        let is_certain = maker.is_some_and(|maker| maker.is_certain);
        let known = self.uses.iter_mut().find(|known| known.space == space && known.dimensions == dimensions);
        if let Some(known) = known {
            known.vectors = known.vectors.saturating_add(items);
            known.last = known.last.max(at.0);
            known.is_certain |= is_certain;
            return;
        }
        if self.uses.len() >= USES_MAX
            && let Some((oldest, _)) = self.uses.iter().enumerate().min_by_key(|(_, known)| known.last)
        {
            self.uses.swap_remove(oldest);
        }
        self.uses.push(Use {
            model: model.to_owned(),
            space: space.to_owned(),
            dimensions,
            vectors: items,
            first: at.0,
            last: at.0,
            is_certain,
        });
    }

    /// What is not replaced by another model.
    fn current(&self) -> impl Iterator<Item = &Use> {
        self.uses.iter().filter(|one| {
            let replaces =
                |other: &&Use| other.vectors >= VECTORS_MIN && other.first > one.last.saturating_add(REPLACED_NS);
            self.uses.iter().find(replaces).is_none()
        })
    }

    /// A search that was answered. What its vector does not fit, if that is certain enough.
    pub(super) fn fitted(&mut self, maker: &Maker, dimensions: u32) -> Option<Rejected> {
        let rejected = self.other_model(maker, dimensions);
        self.doubts = if rejected.is_some() { self.doubts.saturating_add(1) } else { 0 };
        rejected.filter(|rejected| rejected.is_certain || self.doubts >= DOUBTS)
    }

    /// A vector of a model that made none of those in the index.
    fn other_model(&self, maker: &Maker, dimensions: u32) -> Option<Rejected> {
        let held = self.current().filter(|held| !held.space.is_empty()).max_by_key(|held| held.vectors)?;
        let unknown: u64 = self.current().filter(|held| held.space.is_empty()).map(|held| held.vectors).sum();
        let fits = self.current().any(|held| held.space == maker.model.space);
        let is_certain = maker.is_certain && held.is_certain;
        let least = if is_certain { VECTORS_MIN } else { VECTORS_MIN_UNCERTAIN };
        let is_known = held.vectors >= least && unknown.saturating_mul(UNKNOWN_ONE_IN) <= held.vectors;
        (is_known && !fits).then(|| Rejected { is_certain, ..Self::rejected(Some(maker), dimensions, held) })
    }

    /// A search that the store refused, with a vector of another length than those in the index.
    pub(super) fn other_length(&self, maker: Option<&Maker>, dimensions: u32) -> Option<Rejected> {
        let held = self.current().max_by_key(|held| held.vectors)?;
        let fits = self.current().any(|held| held.dimensions == dimensions);
        (!fits && held.dimensions > 0).then(|| Rejected {
            is_refused: true,
            is_certain: true,
            ..Self::rejected(maker, dimensions, held)
        })
    }

    fn rejected(maker: Option<&Maker>, dimensions: u32, held: &Use) -> Rejected {
        Rejected {
            model: maker.map(|maker| maker.model.id.clone()).unwrap_or_default(),
            space: maker.map(|maker| maker.model.space.clone()).unwrap_or_default(),
            dimensions,
            held: held.model.clone(),
            held_dimensions: held.dimensions,
            vectors: held.vectors,
            written_at: Timestamp(held.last),
            is_refused: false,
            is_certain: false,
            may_be_moved: false,
        }
    }

    /// All that a search that went well says besides.
    pub(super) fn judge<'a>(
        &mut self,
        exchange: &'a Exchange,
        facts: &RetrievalFacts,
        max_age_ns: Option<u64>,
        emit: &mut dyn FnMut(Hit<'a>),
    ) {
        let at = exchange.ended_at;
        let age_ns = at.since_ns(Timestamp(self.cadence.last));
        if let Some(allowed) = self.cadence.allowed(at, max_age_ns).filter(|allowed| age_ns > allowed.pause_ns) {
            self.stale_searches = self.stale_searches.saturating_add(1);
            let since = Timestamp(self.cadence.last.saturating_add(allowed.pause_ns));
            if self.stale_searches >= STALE_SEARCHES && self.stale.tells_since(exchange, 1, since) {
                let last = Timestamp(self.cadence.last);
                emit(Hit::Behaviour(told::stale(exchange, facts, last, age_ns, allowed)));
            }
        }
        let Some(seen) = self.answers.searched(facts, exchange.asking.body_digest, at) else { return };
        if let Some(window) = seen.window {
            self.bad_windows = if window.is_bad { self.bad_windows.saturating_add(1) } else { 0 };
            let is_sure = window.empty.saturating_mul(100) >= window.calls.saturating_mul(NEARLY_ALL_PERCENT);
            if !window.is_bad {
                self.empty.end();
            } else if (is_sure || self.bad_windows >= BAD_WINDOWS) && self.empty.tells(exchange, 1) {
                emit(Hit::Behaviour(told::empty(exchange, facts, window)));
            }
        }
        match seen.same {
            Some(searches) if self.same.tells(exchange, 1) => {
                emit(Hit::Behaviour(told::same_answers(exchange, facts, searches)));
            }
            None if facts.matches_digest.is_some() => self.same.end(),
            _ => {}
        }
        match seen.old {
            Some((days, usual_days)) if self.old.tells(exchange, 1) => {
                emit(Hit::Behaviour(told::old_documents(exchange, facts, days, usual_days)));
            }
            None if facts.dates.is_some() => self.old.end(),
            _ => {}
        }
    }

    pub(super) fn is_to_be_saved(&mut self, at: Timestamp) -> bool {
        is_due(&mut self.saved_at, at)
    }

    /// What [`serde_json`] wrote, within its bounds.
    pub(super) fn read(value: &str) -> Option<Self> {
        let index: Self = serde_json::from_str(value).ok()?;
        let is_short = |used: &Use| used.model.len() <= MODEL_BYTES_MAX && used.space.len() <= MODEL_BYTES_MAX;
        let is_bounded = index.uses.len() <= USES_MAX && index.uses.iter().all(is_short) && index.answers.is_sane();
        is_bounded.then(|| Self { cadence: index.cadence.clone().bounded(), ..index })
    }
}
