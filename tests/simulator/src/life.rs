//! A service through time. Enters: its table and the events of the scenario. Leaves: how it calls at a moment.

use std::{collections::BTreeMap, rc::Rc};

use anyhow::Result;
use toml::{Table, Value};

use crate::{
    random::Random,
    scenario::{Scenario, named, traffic},
    traffic::Traffic,
};

/// An event as it bears on one service.
struct Change {
    from: u64,
    until: u64,
    set: Table,
    share: f64,
    ramp: u64,
}

/// How a service calls at any moment.
pub(crate) struct Life {
    base: Table,
    changes: Vec<Change>,
    /// By which changes have happened in full.
    known: BTreeMap<u64, Rc<Traffic>>,
}

impl Life {
    pub(crate) fn new(scenario: &Scenario, service: &Table) -> Self {
        let name = named(service).unwrap_or_default();
        let is_about = |services: &[String]| services.is_empty() || services.iter().any(|it| it == name);
        let changes = scenario.event.iter().filter(|event| is_about(&event.services)).map(|event| Change {
            from: scenario.start.0 + event.at.0,
            until: event.until.map_or(u64::MAX, |until| scenario.start.0 + until.0),
            set: event.set.clone(),
            share: event.share,
            ramp: event.ramp.0,
        });
        Self { base: service.clone(), changes: changes.collect(), known: BTreeMap::new() }
    }

    /// How it calls at `at`. Chance decides which share of calls a change is for; `None`: changes of a share do not count.
    pub(crate) fn at(&mut self, at: u64, mut random: Option<&mut Random>) -> Result<Rc<Traffic>> {
        let (mut mask, mut is_moving) = (0_u64, false);
        for (bit, change) in self.changes.iter().enumerate() {
            if !(change.from..change.until).contains(&at) {
                continue;
            }
            if change.share < 1.0 && !random.as_mut().is_some_and(|random| random.chance(change.share)) {
                continue;
            }
            mask |= 1 << bit;
            is_moving |= at < change.from.saturating_add(change.ramp);
        }
        if let Some(known) = self.known.get(&mask).filter(|_| !is_moving) {
            return Ok(Rc::clone(known));
        }
        let mut table = self.base.clone();
        for change in self.changes.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, it)| it) {
            change.apply(&mut table, at);
        }
        let traffic = Rc::new(traffic(&table)?);
        if !is_moving {
            self.known.insert(mask, Rc::clone(&traffic));
        }
        Ok(traffic)
    }

    /// When something changes next.
    pub(crate) fn next_change(&self, after: u64) -> u64 {
        let moments = self.changes.iter().flat_map(|change| [change.from, change.until]);
        moments.filter(|moment| *moment > after).min().unwrap_or(u64::MAX)
    }
}

impl Change {
    fn apply(&self, table: &mut Table, at: u64) {
        let passed = at.saturating_sub(self.from) as f64 / self.ramp.max(1) as f64;
        for (name, value) in &self.set {
            let moving = match (table.get(name).and_then(number), number(value)) {
                (Some(before), Some(after)) if passed < 1.0 => Some(before + (after - before) * passed),
                _ => None,
            };
            table.insert(name.clone(), moving.map_or_else(|| value.clone(), Value::Float));
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}
