//! A scenario: who calls, what happens, and what must be found. Enters: a file of `tests/scenarios/`. Leaves: [`Scenario`], or
//! what is wrong with the file.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use toml::Table;

use crate::{
    span::{DAY, Moment, Span},
    traffic::Traffic,
};

/// Monday, midnight UTC.
const START: Moment = Moment(1_772_409_600_000_000_000);

/// A labelled scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name of the file, without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// What it is about.
    pub title: String,
    /// Seed of all its random numbers.
    #[serde(default)]
    pub seed: u64,
    /// When it begins; 2026-03-02T00:00:00Z, a Monday, when it is left out.
    #[serde(default = "start")]
    pub start: Moment,
    /// How long it is.
    pub lasts: Span,
    /// Nothing happens: every finding that is no statement about how calls are set up is a false alarm.
    #[serde(default)]
    pub normal: bool,
    /// What the agent is told: text of an `outflow.toml`.
    #[serde(default)]
    pub config: String,
    /// Who calls: members of [`Traffic`].
    pub service: Vec<Table>,
    /// What happens.
    #[serde(default)]
    pub event: Vec<Event>,
    /// What must be found.
    #[serde(default)]
    pub expect: Vec<Expect>,
    /// What must not be found, because it would be tempting.
    #[serde(default)]
    pub forbid: Vec<Forbid>,
    /// What may be found beside, from the first event on, as patterns of rules: `"cost.*"`, or `"cost.*@billing"` of one service.
    #[serde(default)]
    pub allow: Vec<String>,
}

fn start() -> Moment {
    START
}

/// Members of a service change for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// For labels.
    #[serde(default)]
    pub name: String,
    /// Since the start.
    pub at: Span,
    /// Since the start; left out: for good.
    pub until: Option<Span>,
    /// Which services; left out: all.
    #[serde(default)]
    pub services: Vec<String>,
    /// What changes: members of [`Traffic`].
    pub set: Table,
    /// Only for this share of calls.
    #[serde(default = "whole")]
    pub share: f64,
    /// Numbers take this time to get there.
    #[serde(default)]
    pub ramp: Span,
}

fn whole() -> f64 {
    1.0
}

/// A rule, or several of which one is enough.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Rules {
    /// This one.
    One(String),
    /// Any of these.
    Any(Vec<String>),
}

impl Rules {
    /// All of them.
    pub fn ids(&self) -> &[String] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Any(ids) => ids,
        }
    }
}

/// A finding that must be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Which rule.
    pub rule: Rules,
    /// Of which service; left out: of any, such as a vendor's outage.
    pub service: Option<String>,
    /// Which event it is about; left out: the way the service is set up, from the start.
    pub event: Option<String>,
    /// How long after the event at most.
    pub by: Span,
    /// Or while the service has spent at most this since the event, if that is later, USD.
    #[serde(default)]
    pub or_spent_usd: f64,
    /// It is spend that runs away: its time to detect is told apart.
    #[serde(default)]
    pub runaway: bool,
}

/// A finding that must not be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forbid {
    /// Pattern of rules.
    pub rule: String,
    /// Of which service; left out: of any.
    pub service: Option<String>,
}

impl Scenario {
    /// Reads one file's text.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut scenario: Self = toml::from_str(text).with_context(|| format!("scenario {name}"))?;
        name.clone_into(&mut scenario.name);
        scenario.check().with_context(|| format!("scenario {name}"))?;
        Ok(scenario)
    }

    fn check(&self) -> Result<()> {
        let names: Vec<String> =
            self.service.iter().map(|service| Ok(traffic(service)?.name)).collect::<Result<_>>()?;
        let known = |name: &String| names.contains(name);
        for (index, name) in names.iter().enumerate() {
            ensure!(!name.is_empty() && !names[..index].contains(name), "service {index} needs a name of its own");
        }
        for event in &self.event {
            ensure!(event.services.iter().all(known), "event {:?} names a service that is not there", event.name);
            ensure!(event.at < self.lasts, "event {:?} comes after the end", event.name);
            let base = self.service.iter().find(|table| {
                event.services.is_empty() || named(table).is_some_and(|name| event.services.iter().any(|it| it == name))
            });
            let mut changed = base.context("no service")?.clone();
            changed.extend(event.set.clone());
            traffic(&changed).with_context(|| format!("event {:?}", event.name))?;
        }
        for expect in &self.expect {
            ensure!(expect.service.as_ref().is_none_or(known), "{:?} names a service that is not there", expect.rule);
            self.moment(expect.event.as_deref())?;
        }
        ensure!(self.forbid.iter().all(|it| it.service.as_ref().is_none_or(known)), "forbid: no such service");
        ensure!(!self.normal || self.expect.is_empty(), "nothing is to be found in normal traffic");
        Ok(())
    }

    /// When an event begins, nanoseconds since 1970; `None`: the start.
    pub fn moment(&self, event: Option<&str>) -> Result<u64> {
        let Some(name) = event else { return Ok(self.start.0) };
        match self.event.iter().find(|event| event.name == name) {
            Some(event) => Ok(self.start.0 + event.at.0),
            None => bail!("there is no event {name:?}"),
        }
    }

    /// Services times weeks.
    pub fn service_weeks(&self) -> f64 {
        self.service.len() as f64 * self.lasts.0 as f64 / (7 * DAY) as f64
    }
}

pub(crate) fn named(service: &Table) -> Option<&str> {
    service.get("name").and_then(toml::Value::as_str)
}

pub(crate) fn traffic(service: &Table) -> Result<Traffic> {
    Ok(Traffic::deserialize(service.clone())?)
}

/// Reads all scenarios of a folder and of the folders in it, by name.
pub fn load(folder: &Path) -> Result<Vec<Scenario>> {
    let mut scenarios = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            scenarios.extend(load(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            scenarios.push(Scenario::parse(&name, &text)?);
        }
    }
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scenarios)
}
