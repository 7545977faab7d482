//! What stands for the tap in a program that was built without it. Enters: the section. Leaves: an error when it asks for a tap.

use std::sync::Arc;

use crate::{config, engine::Deliver, rules::VendorTable};

/// None.
pub(super) struct Attachers;

/// None.
pub(super) struct Taps;

impl Attachers {
    pub(super) fn spawn(config: &config::Tap) -> anyhow::Result<Self> {
        if config.enabled {
            anyhow::bail!("[tap] enabled: this outflow was built without the tap (cargo feature `tap`)");
        }
        Ok(Self)
    }

    pub(super) fn start(self, _: &config::Tap, _: &Arc<VendorTable>, _: &Deliver) -> anyhow::Result<Taps> {
        Ok(Taps)
    }
}

impl Taps {
    pub(super) fn are_attached(&self) -> bool {
        true
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        Ok(())
    }
}

pub(super) fn is_permission(_: &anyhow::Error) -> bool {
    false
}
