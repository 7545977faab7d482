//! A build without HTTP posts nothing, and says so when it is asked to. Enters: an address. Leaves: a refusal.

use std::sync::atomic::AtomicBool;

use crate::config::Setting;

/// There is none.
pub(super) enum Webhook {}

impl Webhook {
    pub(super) fn new(_address: Setting) -> Result<Self, String> {
        Err("this binary was built without HTTP: build with the feature `otlp`".to_owned())
    }

    pub(super) fn post(&self, _text: &str, _ending: &AtomicBool) -> Result<(), String> {
        match *self {}
    }
}
