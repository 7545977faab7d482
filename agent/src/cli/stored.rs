//! `--store FILE` of `tap` and `replay`. Enters: the option. Leaves: a session that is printed and kept.

use std::{path::PathBuf, sync::Arc};

#[cfg(feature = "tap")]
use super::output::Loss;
use super::{shown::Shown, state};
use crate::{
    engine::{Both, Durable, Rules, Session, Sink},
    findings::UPDATE_INTERVAL_NS,
    store::{Limits, Store, WhenFull},
};

/// Where a session is kept besides being shown.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StoreArgs {
    /// Keep findings and usage in this file as well; it is made when it is missing
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
}

/// The store of a session, when it has one.
pub(super) struct Stored(Option<Arc<Store>>);

impl StoreArgs {
    /// Opens the store.
    pub(super) fn open(&self) -> anyhow::Result<Stored> {
        let open = |path: &PathBuf| -> anyhow::Result<_> {
            let store = Store::open(path, Limits::default())?;
            if let Some(damage) = store.stats().damage {
                anstream::eprintln!("outflow: {damage}");
            }
            Ok(Arc::new(store))
        };
        Ok(Stored(self.store.as_ref().map(open).transpose()?))
    }
}

impl Stored {
    /// A session that is shown and, with a store, kept; its detectors know what they knew when the store was last written.
    pub(super) fn session(&self, rules: &Rules, shown: &Shown, when_full: WhenFull) -> anyhow::Result<Session> {
        let sink: Box<dyn Sink> = match &self.0 {
            Some(store) => {
                let durable = Durable::new(Arc::clone(store), when_full, UPDATE_INTERVAL_NS);
                Box::new(Both::new(shown.sink(), Box::new(durable)))
            }
            None => shown.sink(),
        };
        let session = Session::new(rules, state::key_for_session()?, sink);
        if let Some(store) = &self.0 {
            session.restore(|detector| store.states(detector))?;
        }
        Ok(session)
    }

    /// What could not be kept because there was no room, in the words of the summary.
    #[cfg(feature = "tap")]
    pub(super) fn losses(&self) -> Option<Loss> {
        let refused = self.0.as_ref().map_or(0, |store| store.stats().refused);
        (refused > 0).then(|| Loss { reason: "not kept (store full)".to_owned(), calls: refused, bytes: 0 })
    }
}
