//! All services of a scenario at once. Enters: a [`Scenario`]. Leaves: its [`Call`]s in the order in which they start, one at a
//! time: only those of jobs under way are held.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use anyhow::Result;

use crate::{
    arrivals::Arrivals,
    call::Call,
    jobs::{Job, Memory},
    life::Life,
    random::Random,
    scenario::{Scenario, named, traffic},
    traffic::Does,
    wire::embeddings,
};

/// The calls of a scenario.
pub struct Simulation {
    services: Vec<Service>,
    /// Numbers of the vectors that each index was made for: those of the service that fills it, at the start.
    indexes: BTreeMap<String, u64>,
}

struct Service {
    name: String,
    life: Life,
    arrivals: Arrivals,
    random: Random,
    memory: Memory,
    /// When the next job begins.
    next: Option<u64>,
    /// Calls of jobs that have begun, by start and number.
    order: BinaryHeap<Reverse<(u64, u64)>>,
    calls: BTreeMap<u64, Call>,
    count: u64,
}

impl Simulation {
    /// Nothing has happened yet.
    pub fn new(scenario: &Scenario) -> Result<Self> {
        let (from, until) = (scenario.start.0, scenario.start.0 + scenario.lasts.0);
        let mut services = Vec::new();
        let mut indexes = BTreeMap::new();
        for table in &scenario.service {
            let traffic = traffic(table)?;
            if traffic.does == Does::Ingest {
                let length = embeddings::length(&traffic.embedding_model, traffic.dimensions);
                indexes.entry(traffic.index).or_insert(length);
            }
        }
        for table in &scenario.service {
            let name = named(table).unwrap_or_default().to_owned();
            let mut service = Service {
                life: Life::new(scenario, table),
                arrivals: Arrivals::new(from, until),
                random: Random::new(scenario.seed, &name),
                memory: Memory::default(),
                next: None,
                order: BinaryHeap::new(),
                calls: BTreeMap::new(),
                count: 0,
                name,
            };
            service.next = service.arrivals.next(&mut service.life, &mut service.random)?;
            service.fill(&indexes)?;
            services.push(service);
        }
        Ok(Self { services, indexes })
    }

    /// The next call; `None`: that was all.
    pub fn next_call(&mut self) -> Result<Option<Call>> {
        let first = self.services.iter_mut().filter(|service| !service.order.is_empty());
        let Some(service) = first.min_by_key(|service| service.order.peek().map_or(u64::MAX, |Reverse((at, _))| *at))
        else {
            return Ok(None);
        };
        service.take(&self.indexes)
    }
}

impl Service {
    fn take(&mut self, indexes: &BTreeMap<String, u64>) -> Result<Option<Call>> {
        let taken = self.order.pop().and_then(|Reverse((_, number))| self.calls.remove(&number));
        self.fill(indexes)?;
        Ok(taken)
    }

    /// Begins jobs until none can have a call before the first one that is held.
    fn fill(&mut self, indexes: &BTreeMap<String, u64>) -> Result<()> {
        while let Some(at) = self.next {
            if self.order.peek().is_some_and(|Reverse((first, _))| *first <= at) {
                return Ok(());
            }
            let traffic = self.life.at(at, Some(&mut self.random))?;
            let connection = format!("{}-{}", self.name, self.count % 4);
            let (random, memory) = (&mut self.random, &mut self.memory);
            let mut job = Job { traffic, random, memory, indexes, calls: Vec::new(), connection };
            job.run(at);
            for call in job.calls {
                self.count += 1;
                self.order.push(Reverse((call.started_at_ns, self.count)));
                self.calls.insert(self.count, call);
            }
            self.next = self.arrivals.next(&mut self.life, &mut self.random)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: &str = "
        title = 'two services'
        lasts = '12h'
        [[service]]
        name = 'chat'
        calls_per_hour = 30
        errors = { 429 = 0.1 }
        [[service]]
        name = 'bot'
        does = 'agent'
        vendor = 'anthropic'
        model = 'claude-sonnet-4-6'
        calls_per_hour = 10
        [[event]]
        name = 'larger'
        at = '6h'
        services = ['chat']
        set = { prompt_tokens = 6000 }
    ";

    fn records() -> Vec<String> {
        let mut simulation = Simulation::new(&Scenario::parse("test", SCENARIO).unwrap()).unwrap();
        let calls = std::iter::from_fn(|| simulation.next_call().unwrap());
        calls.map(|call| call.record("").to_string()).collect()
    }

    #[test]
    fn the_same_scenario_gives_the_same_calls_in_the_order_of_time() {
        let first = records();
        assert!(first.len() > 500, "{}", first.len());
        assert_eq!(first, records());
        let starts: Vec<u64> = first
            .iter()
            .map(|record| serde_json::from_str::<serde_json::Value>(record).unwrap())
            .map(|record| record["outflow"]["started_at_ns"].as_u64().unwrap())
            .collect();
        assert!(starts.is_sorted());
    }

    #[test]
    fn an_agent_repeats_its_history_and_hands_results_back() {
        let with_results = records().iter().filter(|record| record.contains("tool_result")).count();
        assert!(with_results > 100, "{with_results}");
    }

    #[test]
    fn events_change_a_service_from_their_moment_on() {
        let tokens = |record: &String| {
            let record: serde_json::Value = serde_json::from_str(record).unwrap();
            let body: serde_json::Value = serde_json::from_str(record["response"]["body"].as_str()?).unwrap();
            let at = record["outflow"]["started_at_ns"].as_u64()?;
            Some((at, body["usage"]["prompt_tokens"].as_u64()?))
        };
        let six = 1_772_409_600_000_000_000 + 6 * 3600 * 1_000_000_000;
        let (before, after): (Vec<_>, Vec<_>) = records().iter().filter_map(tokens).partition(|(at, _)| *at < six);
        let mean = |of: &[(u64, u64)]| of.iter().map(|(_, tokens)| tokens).sum::<u64>() / of.len() as u64;
        assert!((500..750).contains(&mean(&before)), "{}", mean(&before));
        assert!((5000..7500).contains(&mean(&after)), "{}", mean(&after));
    }
}
