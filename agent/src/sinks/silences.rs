//! What nobody is to be told of for a while. Enters: `[[silence]]`, also anew while the agent runs. Leaves: whether a revision is held back.
//! A finding's own time decides, so that a revision that comes a second time is held back a second time.

use std::sync::{Arc, PoisonError, RwLock};

use super::receiver::Record;
use crate::config::Silence;

/// The silences of all sinks.
#[derive(Clone, Debug, Default)]
pub struct Silences(Arc<RwLock<Vec<Silence>>>);

impl Silences {
    /// These.
    pub fn new(silences: Vec<Silence>) -> Self {
        Self(Arc::new(RwLock::new(silences)))
    }

    /// From now on these.
    pub fn set(&self, silences: Vec<Silence>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = silences;
    }

    /// One of them holds it back.
    pub(super) fn hold(&self, record: &Record) -> bool {
        let silences = self.0.read().unwrap_or_else(PoisonError::into_inner);
        silences.iter().any(|silence| silence.holds(&record.finding, record.activity))
    }
}
