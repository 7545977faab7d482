//! Whether the agent does its work. Enters: what each part says of itself. Leaves: the reasons why it is not ready, none when it
//! is. A part whose handle is dropped has ended, and that is a reason too: a thread that dies cannot forget to say so.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// All parts. `None`: it is ready.
#[derive(Clone, Debug, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

/// One part's own handle.
#[derive(Debug)]
pub struct Component {
    name: &'static str,
    health: Health,
}

impl Health {
    /// These parts are to come; until they say otherwise, they are starting.
    pub fn new(names: &[&'static str]) -> Self {
        let health = Self::default();
        health.lock().extend(names.iter().map(|name| (*name, Some("is starting".to_owned()))));
        health
    }

    /// The handle of a part, which is starting.
    pub fn component(&self, name: &'static str) -> Component {
        let component = Component { name, health: self.clone() };
        component.not_ready("is starting");
        component
    }

    /// Every part with the reason why it is not ready.
    pub fn states(&self) -> Vec<(&'static str, Option<String>)> {
        self.lock().iter().map(|(name, reason)| (*name, reason.clone())).collect()
    }

    /// Why the agent is not ready; empty when it is. An agent without parts has not begun to start.
    pub fn reasons(&self) -> Vec<String> {
        let states = self.states();
        if states.is_empty() {
            return vec!["outflow is starting".to_owned()];
        }
        states.into_iter().filter_map(|(name, reason)| Some(format!("{name} {}", reason?))).collect()
    }

    /// Nothing is in the way.
    pub fn is_ready(&self) -> bool {
        self.reasons().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Component {
    /// It does its work.
    pub fn ready(&self) {
        self.health.lock().insert(self.name, None);
    }

    /// It does not, because it `reason`: a verb and its rest, as in "is full".
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.health.lock().insert(self.name, Some(reason.into()));
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.not_ready("has ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_must_be_ready_and_stay() {
        assert_eq!(Health::default().reasons(), ["outflow is starting"]);
        let health = Health::new(&["store", "logs"]);
        assert_eq!(health.reasons(), ["logs is starting", "store is starting"]);
        let (store, logs) = (health.component("store"), health.component("logs"));
        store.ready();
        logs.ready();
        assert!(health.is_ready());
        store.not_ready("is full");
        assert_eq!(health.reasons(), ["store is full"]);
        store.ready();
        drop(logs);
        assert_eq!(health.reasons(), ["logs has ended"]);
    }
}
