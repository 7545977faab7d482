//! What stands for the tap in a program that was built without it. Enters: the section. Leaves: an error when it asks for a tap.

use std::sync::Arc;

use super::figures::TapFigures;
use crate::{
    config,
    engine::{Deliver, Session},
    rules::VendorTable,
};

/// What to do about it.
const NO_TAP: &str = "[tap] enabled: this outflow was built without the tap (cargo feature `tap`)";

/// None.
pub(super) struct Attachers(Option<Taps>);

/// There cannot be any.
pub(super) enum Taps {}

impl Attachers {
    pub(super) fn spawn(config: &config::Tap) -> anyhow::Result<Self> {
        if config.enabled {
            anyhow::bail!(NO_TAP);
        }
        Ok(Self(None))
    }

    pub(super) fn start(
        self,
        _: &config::Tap,
        _: &Arc<VendorTable>,
        _: &Deliver,
        _: &Arc<Session>,
    ) -> anyhow::Result<Taps> {
        self.0.ok_or_else(|| anyhow::anyhow!(NO_TAP))
    }
}

impl Taps {
    pub(super) fn are_attached(&self) -> bool {
        match *self {}
    }

    pub(super) fn figures(&self) -> TapFigures {
        match *self {}
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        match self {}
    }
}

pub(super) fn is_permission(_: &anyhow::Error) -> bool {
    false
}
