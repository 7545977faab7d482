//! A scenario goes through the agent's own rooms. Enters: a scenario. Leaves: its score.
//! The calls become exchange records, the records the bytes of connections, as in `outflow replay`; a few thousand are held at a
//! time. Leaks are not looked for, unless the whole way is asked for.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, anyhow, bail};
use outflow::{
    assembly::{Assembled, Assembler, Limits},
    config::Config,
    detectors::{budget::BudgetWatch, request_limit::RequestLimits},
    engine::{LiveRules, Rules, Session, Shard, Sink, Told},
    exchange::{Correlator, Exchange},
    findings::{Category, Finding, FingerprintKey},
    sources::{
        Input,
        replay::{Options, Playing, Record},
    },
    units::Timestamp,
};
use simulator::{Call, Fired, Scenario, Scored, Scorer, Simulation};

/// Calls are played so many at a time, and then until none is under way.
const TOGETHER: usize = 2000;
/// But never more than this.
const TOGETHER_MAX: usize = 20_000;

/// What the sink heard about one call.
pub(crate) struct Heard {
    service: String,
    at_ns: u64,
    cost_nano_usd: u64,
    pub(crate) findings: Vec<Finding>,
    /// What a finding holds back of what it should tell: all names in simulated traffic are plain.
    masked: Option<String>,
}

/// A sink that keeps what it is told until it is asked.
#[derive(Clone, Default)]
pub(crate) struct Ear(Arc<Mutex<Vec<Heard>>>);

impl Ear {
    pub(crate) fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sink for Ear {
    fn told(&mut self, told: Told<'_>) -> io::Result<()> {
        let (service, at_ns) = (told.subject.origin().service.clone(), told.subject.at().0);
        let behaviours = told.findings.into_iter().filter(|finding| finding.category != Category::Leak);
        let findings: Vec<Finding> = behaviours.collect();
        let masked = findings.iter().find_map(masked);
        let cost_nano_usd = told.cost.map_or(0, |cost| cost.nano_usd.0);
        let heard = Heard { service, at_ns, cost_nano_usd, findings, masked };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A title or a fact that is masked.
fn masked(finding: &Finding) -> Option<String> {
    const MASK: &str = "•••";
    let facts = serde_json::to_string(&finding.attributes).unwrap_or_default();
    (finding.title.contains(MASK) || facts.contains(MASK)).then(|| format!("{}: {facts}", finding.title))
}

/// Which way calls take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through all rooms but the scanner for leaks, which takes most of the time.
    WithoutScanner,
    /// As in `outflow replay`.
    Whole,
}

/// Rooms 2 to 5.
pub(crate) enum Rooms {
    /// For [`Way::WithoutScanner`].
    WithoutScanner(Box<Light>),
    /// For [`Way::Whole`].
    Whole(Box<Shard>),
}

/// What a [`Shard`] is, without its scanner.
pub(crate) struct Light {
    assembler: Assembler,
    correlator: Correlator,
    events: Vec<Assembled>,
    now: Timestamp,
}

impl Rooms {
    pub(crate) fn new(rules: &Rules, session: &Arc<Session>, way: Way) -> Result<Self> {
        Ok(match way {
            Way::Whole => Self::Whole(Box::new(Shard::new(&LiveRules::new(rules.clone()), Arc::clone(session))?)),
            Way::WithoutScanner => Self::WithoutScanner(Box::new(Light {
                assembler: Assembler::new(Limits::default()),
                correlator: Correlator::new(Arc::clone(&rules.vendors)),
                events: Vec::new(),
                now: Timestamp::default(),
            })),
        })
    }

    pub(crate) fn push(&mut self, input: &Input, session: &Session) {
        match self {
            Self::Whole(shard) => _ = shard.push(input),
            Self::WithoutScanner(rooms) => {
                rooms.now = input.at;
                rooms.correlator.advance(input.at);
                rooms.assembler.push(input, &mut rooms.events);
                let mut exchanges = Vec::new();
                rooms.correlate(&mut exchanges);
                tell(session, exchanges);
            }
        }
    }

    pub(crate) fn finish(&mut self, session: &Session) {
        match self {
            Self::Whole(shard) => _ = shard.finish(),
            Self::WithoutScanner(rooms) => {
                rooms.assembler.finish(rooms.now, &mut rooms.events);
                let mut exchanges = Vec::new();
                rooms.correlate(&mut exchanges);
                rooms.correlator.finish(&mut exchanges);
                tell(session, exchanges);
            }
        }
    }
}

impl Light {
    fn correlate(&mut self, out: &mut Vec<Exchange>) {
        for event in self.events.drain(..) {
            match event {
                Assembled::Message(message) => self.correlator.push(*message, out),
                Assembled::Closed(stream) => self.correlator.closed(stream, out),
                Assembled::CallOver { stream, call } => self.correlator.call_over(stream, call, out),
                Assembled::Frame(frame) => self.correlator.frame(*frame, out),
                Assembled::Anomaly(_) => {}
            }
        }
    }
}

fn tell(session: &Session, exchanges: Vec<Exchange>) {
    for mut exchange in exchanges {
        session.complete(&mut exchange);
        session.record(&exchange, &[]);
    }
}

/// Sends a scenario through the rooms; `see` sees what is found.
pub(crate) fn play(scenario: &Scenario, rules: &Rules, way: Way, mut see: impl FnMut(&Finding)) -> Result<Scored> {
    let (session, ear) = session(rules, &scenario.config)?;
    let mut rooms = Rooms::new(rules, &session, way)?;
    let mut scorer = Scorer::new(scenario)?;
    let mut simulation = Simulation::new(scenario)?;
    let mut waiting: Vec<Call> = Vec::new();
    let mut busy_until = 0;
    loop {
        let call = simulation.next_call()?;
        let is_quiet = call.as_ref().is_none_or(|call| call.started_at_ns > busy_until);
        if call.is_none() || (is_quiet && waiting.len() >= TOGETHER) || waiting.len() >= TOGETHER_MAX {
            for input in Playing::new(records(&waiting)?, Options::default()) {
                rooms.push(&input, &session);
            }
            waiting.clear();
            if call.is_none() {
                rooms.finish(&session);
            }
            for heard in ear.take() {
                if let Some(masked) = heard.masked {
                    bail!("{}: a finding hides what it says: {masked}", scenario.name);
                }
                let Heard { service, at_ns, cost_nano_usd, findings, .. } = heard;
                scorer.called(&service, at_ns, cost_nano_usd);
                for finding in findings {
                    see(&finding);
                    let Finding { finding_id, title, rule, .. } = finding;
                    scorer.found(&Fired { rule: rule.id, service: service.clone(), finding_id, title, at_ns });
                }
            }
        }
        let Some(call) = call else { return Ok(scorer.finish()) };
        busy_until = busy_until.max(call.ended_at_ns);
        waiting.push(call);
    }
}

fn records(calls: &[Call]) -> Result<Vec<Record>> {
    let parse = |call: &Call| Record::parse(call.record("simulated").to_string().as_bytes());
    calls.iter().map(parse).collect::<Result<_, _>>().map_err(|error| anyhow!("a simulated record: {error}"))
}

/// An agent as `outflow run` starts it, without its sources and its store.
pub(crate) fn session(rules: &Rules, config: &str) -> Result<(Arc<Session>, Ear)> {
    let (ear, config) = (Ear::default(), Config::parse("scenario", config)?);
    let rules = &Rules {
        attribution: Arc::new(config.attribution.sources()),
        max_ages: config.max_ages().into(),
        ..rules.clone()
    };
    let session = Session::new(rules, FingerprintKey::new([7; 32]), Box::new(ear.clone()));
    session.watch(Box::new(BudgetWatch::new(config.budgets())));
    session.watch(Box::new(RequestLimits::new(config.request_limits())));
    Ok((Arc::new(session), ear))
}
