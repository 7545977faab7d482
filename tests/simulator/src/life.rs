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
        let passed = if self.ramp == 0 { 1.0 } else { at.saturating_sub(self.from) as f64 / self.ramp as f64 };
        for (name, value) in &self.set {
            let moving = table.get(name).filter(|_| passed < 1.0).and_then(|before| between(before, value, passed));
            table.insert(name.clone(), moving.unwrap_or_else(|| value.clone()));
        }
    }
}

/// A number on its way from one to another; a whole one stays whole.
fn between(before: &Value, after: &Value, passed: f64) -> Option<Value> {
    let at = |before: f64, after: f64| before + (after - before) * passed;
    match (before, after) {
        (Value::Integer(before), Value::Integer(after)) => {
            Some(Value::Integer(at(*before as f64, *after as f64).round() as i64))
        }
        _ => Some(Value::Float(at(number(before)?, number(after)?))),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::HOUR;

    #[test]
    fn members_change_at_once_or_in_a_ramp() {
        let scenario = Scenario::parse(
            "test",
            "title = ''
            lasts = '1d'
            [[service]]
            name = 'a'
            max_tokens = 100
            latency_ms = 10.0
            [[event]]
            at = '2h'
            until = '4h'
            set = { max_tokens = 200 }
            [[event]]
            at = '10h'
            ramp = '4h'
            set = { max_tokens = 201, latency_ms = 20 }",
        )
        .unwrap();
        let mut life = Life::new(&scenario, &scenario.service[0]);
        for (hour, max_tokens, latency_ms) in [
            (1, 100, 10.0),
            (2, 200, 10.0),
            (3, 200, 10.0),
            (4, 100, 10.0),
            (10, 100, 10.0),
            (12, 151, 15.0),
            (14, 201, 20.0),
            (20, 201, 20.0),
        ] {
            let traffic = life.at(scenario.start.0 + hour * HOUR, None).unwrap();
            assert_eq!((traffic.max_tokens, traffic.latency_ms), (max_tokens, latency_ms), "at {hour} o'clock");
        }
    }
}
