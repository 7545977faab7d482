//! Room 4: calls and log lines become hits. Enters: [`Subject`]. Leaves: [`Hit`], borrowed from it. Pure; the
//! state of each detector is bounded and listed at the top of its file.

use std::{ops::Range, sync::Arc};

pub use self::state_change::{Record, StateChange};
use crate::{
    exchange::{Exchange, Subject},
    rules::{ModelRules, ScanRule},
    sources::{Origin, log::LogBlock},
    units::Severity,
};

pub mod budget;
pub mod call_scope;
pub mod call_site;
mod cause;
#[cfg(test)]
mod chance;
mod cost_mix;
pub mod creep;
mod digest;
mod episode;
mod json_shape;
mod jump;
pub mod loops;
pub mod model_changes;
pub mod model_ids;
pub mod no_limit;
pub mod output;
pub mod pinning;
pub mod rate_shift;
pub mod request_limit;
pub mod request_outlier;
pub mod resolved_model;
pub mod retries;
pub mod retrieval;
pub mod scan;
pub mod schema;
mod slot;
mod state_change;
pub mod structure;
mod table;
pub mod tools;
pub mod untracked_spend;
pub mod vendors;

/// Bytes of a haystack on each side of a match that a finding may look at; more than fits into an excerpt in any script.
pub const NEAR_BYTES: usize = 320;

/// What a detector saw. It borrows the matched text; only `findings` may turn that into something that is kept.
#[derive(Debug)]
pub enum Hit<'a> {
    /// Text that should not have left.
    Leak(Leak<'a>),
    /// Something the call did.
    Behaviour(Behaviour<'a>),
}

impl Hit<'_> {
    /// 0 to 100.
    pub fn confidence(&self) -> u8 {
        match self {
            Self::Leak(leak) => leak.confidence,
            Self::Behaviour(behaviour) => behaviour.confidence,
        }
    }
}

/// A match of a scan rule.
#[derive(Debug)]
pub struct Leak<'a> {
    /// The rule that matched.
    pub rule: &'a ScanRule,
    /// The text it matched in: one leaf, one line.
    pub haystack: &'a [u8],
    /// Extent of the secret itself in `haystack`, bytes.
    pub span: Range<usize>,
    /// Extents of every match that reaches into the [`NEAR_BYTES`] before or behind `span`, for masking; by position, none
    /// overlaps another, and `span` itself is one of them.
    pub others: &'a [Range<usize>],
    /// 0 to 100: the rule's confidence, raised by context words or a checksum.
    pub confidence: u8,
    /// Where it stands.
    pub place: Place<'a>,
}

/// Where a match stands.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// In the text of a call.
    Exchange {
        /// The call.
        exchange: &'a Exchange,
        /// Which half.
        side: Side,
        /// JSON path of the leaf, which is the haystack.
        path: &'a str,
    },
    /// In a log file.
    Log {
        /// The lines around it.
        block: &'a LogBlock,
        /// Who wrote the line.
        origin: &'a Origin,
        /// 1-based number of the line in which the secret begins.
        line: u64,
        /// First byte of the secret in that line, 0-based.
        column: u64,
        /// And in the file.
        offset: u64,
    },
}

impl<'a> Place<'a> {
    /// What it is a part of.
    pub fn subject(self) -> Subject<'a> {
        match self {
            Self::Exchange { exchange, .. } => Subject::Exchange(exchange),
            Self::Log { block, origin, .. } => Subject::Log { block, origin },
        }
    }
}

/// Which half of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// What was sent.
    Request,
    /// What came back.
    Response,
}

/// A fact about a call that is not about its text.
#[derive(Debug)]
pub struct Behaviour<'a> {
    /// Stable rule id, `model.unpinned`. Its title and its remedy are in `rules/behaviours/`.
    pub rule: &'static str,
    /// Which of the remedies of the rule is meant, where it has several.
    pub case: Option<&'static str>,
    /// Where the facts behind this hit come from, besides those of the rule: addresses of documents.
    pub references: Vec<String>,
    /// What is the same for all repeats of this finding, besides service, host and api: the requested model, for example.
    pub key: String,
    /// How grave.
    pub severity: Severity,
    /// 0 to 100.
    pub confidence: u8,
    /// One short sentence for people; never text of a prompt or an answer.
    pub title: String,
    /// Facts, in order: names are those of `docs/schema/finding-v1.json` attributes.
    pub facts: Vec<(&'static str, serde_json::Value)>,
    /// The exchange.
    pub exchange: &'a Exchange,
}

/// Looks at every exchange in turn.
pub trait Detector {
    /// Under which name its state is kept. Only a detector with a state needs one.
    fn name(&self) -> &'static str {
        ""
    }

    /// Emits what it sees. Deterministic: the same exchanges in the same order give the same hits.
    fn inspect<'a>(&'a mut self, exchange: &'a Exchange, emit: &mut dyn FnMut(Hit<'a>));

    /// Goes on by other rules about models. What it knows stays.
    fn reload(&mut self, _models: &Arc<ModelRules>) {}

    /// Emits what changed in its state since it was asked last, the oldest change first.
    fn changes(&mut self, _emit: &mut dyn FnMut(StateChange)) {}

    /// Takes back one key as [`changes`](Self::changes) emitted it, in the same order. What it cannot read it ignores: it may have
    /// been written by another version.
    fn restore(&mut self, _key: &str, _value: &str) {}
}
