//! The agent's parts, and their life. Enters: a config. Leaves: a running agent that ticks, reloads and drains. It holds no logic of
//! the parts.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context as _, anyhow};

use super::{
    attach::{Attachers, Taps},
    breaker::Enforcement,
    control::{Ask, Say},
    figures::{Counted, Figures},
    fleet::FleetWatch,
    meters::Meters,
    notices::notice,
    prices::PriceSource,
    silences::KeptSilences,
};
use crate::{
    cli::state,
    clock,
    config::{self, Config, JournalSince, Journald, Size},
    detectors::{budget::BudgetWatch, request_limit::RequestLimits},
    engine::{Durable, KnownCalls, LiveRules, LogWorkers, LoggedSession, Rules, Session, Workers},
    sinks::{Host, Silences, SinkNotice, Sinks},
    sources::{
        journal::{self, Journal, JournalNotice, JournalSettings, Since},
        log::{CutLimits, Messages},
        tail::{self, LogGroup, Tail, TailNotice, TailSettings},
    },
    store::{Limits, Retention, STORE_FILE, Stats, Store, WhenFull},
    telemetry::{Admin, Metric},
};

/// Draining gives up waiting for room in the store after this time: what is not stored is read again by the next run.
const DRAIN: Duration = Duration::from_secs(10);

/// How long sinks may deliver what is there when the agent ends. What is not delivered then is delivered by the next run.
const FLUSH: Duration = Duration::from_secs(5);

/// What reads.
type Sources = (Option<Logs>, Option<(Taps, Workers)>);

/// A running agent.
pub(super) struct Agent {
    config: Config,
    rules: Arc<LiveRules>,
    budgets: BudgetWatch,
    request_limits: RequestLimits,
    prices: PriceSource,
    session: Arc<Session>,
    store: Arc<Store>,
    sinks: Sinks,
    silences: KeptSilences,
    meters: Arc<Meters>,
    logs: Option<Logs>,
    taps: Option<(Taps, Workers)>,
    enforcement: Enforcement,
    /// What other hosts spent, where hosts have budgets together.
    fleet: Option<FleetWatch>,
    figures: Figures,
    /// Nothing could be pruned from the store, and that was said.
    kept_all: bool,
    /// Damages of the store that were said.
    damages: u64,
    /// Held for its life.
    _admin: Option<Admin>,
}

struct Logs {
    tail: Tail,
    journal: Option<Journal>,
    workers: LogWorkers,
    /// Calls that lines tell of.
    calls: Arc<LoggedSession>,
}

impl Agent {
    /// Starts everything that the config asks for.
    pub(super) fn start(
        config: Config,
        folder: &Path,
        attachers: Attachers,
        mut enforcement: Enforcement,
    ) -> anyhow::Result<Self> {
        let figures = Figures::new(&config);
        let admin = config.admin.listen.address();
        let admin = admin.map(|address| Admin::start(address, figures.metrics(), figures.health())).transpose()?;
        if let Some(admin) = &admin {
            notice!("admin page on http://{}/", admin.address());
        }
        let prices = PriceSource::new(&config, clock::now());
        let rules = LiveRules::new(load(&config, &prices)?);
        let key = state::fingerprint_key_in(folder)?;
        let store = Arc::new(Store::open(&folder.join(STORE_FILE), limits(&config))?);
        figures.store_opened();
        let damages = tell_damage(&store.stats(), 0);

        let host = Host::find(&config.sinks);
        let silences = KeptSilences::read(folder)?;
        let sinks = Sinks::start_with(
            &config.sinks,
            Silences::new(silences.with(&config.silence)),
            &store,
            &host,
            Arc::new(sink_notice),
        )?;
        store.keep(retention(&config, &sinks))?;
        store.say(Arc::clone(&rules.now().policy));
        let meters = Arc::new(Meters::start(&config.sinks, &figures.metrics(), &host, sink_notice));

        let durable = Durable::new(Arc::clone(&store), WhenFull::Fail, config.store.update_interval.nanos());
        let sink = Counted::new(Box::new(durable), figures.metrics(), Arc::clone(&meters));
        let now = rules.now();
        let known_calls = Arc::new(KnownCalls::default());
        let session = Session::new(&now, key.clone(), Box::new(sink)).beside_logs(Arc::clone(&known_calls));
        let session = Arc::new(session);
        let budgets = BudgetWatch::new(config.budgets());
        session.watch(Box::new(budgets.clone()));
        let request_limits = RequestLimits::new(config.request_limits());
        session.watch(Box::new(request_limits.clone()));
        session.restore(|detector| store.states(detector))?;
        // Before anything is tapped: what was exhausted before a restart is so at once.
        enforcement.start(&config, folder, &now.vendors)?;
        enforcement.follow(&config.budget, &budgets, clock::now())?;

        let threads = available_parallelism().map_or(1, usize::from);
        let logs = if config.logs.are_followed() {
            let told = figures.watch();
            let calls = Arc::new(LoggedSession::new(&now, key.clone(), known_calls, store.keeps_calls()));
            calls.session(|session| session.restore(|detector| store.states(detector)))?;
            // They know already what was stored of them.
            calls.watch(Box::new(budgets.clone()));
            calls.watch(Box::new(request_limits.clone()));
            let workers = LogWorkers::start(&rules, &key, &store, &calls, &told, threads)?;
            let deliver = workers.deliver();
            let remembered = store.checkpoints(tail::CHECKPOINTS)?;
            let followed = &config.logs.journald;
            let journal = if followed.enabled {
                let (deliver, cursor) = (deliver.clone(), store.checkpoints(journal::CHECKPOINT)?.pop());
                let remembered = cursor.map(|checkpoint| checkpoint.value);
                let settings = journal_settings(followed, settings(&config).cut);
                Some(Journal::start(settings, remembered, move |input| deliver.input(input), tell_journal)?)
            } else {
                None
            };
            let tail = Tail::start(settings(&config), &remembered, move |input| deliver.input(input), tell)?;
            Some(Logs { tail, journal, workers, calls })
        } else {
            None
        };
        let taps = if config.tap.enabled {
            let workers = Workers::start(&rules, &session, threads)?;
            let taps = attachers.start(&config.tap, &now.vendors, &workers.deliver(), &session)?;
            Some((taps, workers))
        } else {
            None
        };
        Ok(Self {
            fleet: FleetWatch::start(&config, clock::now())?,
            config,
            rules,
            budgets,
            request_limits,
            prices,
            session,
            store,
            sinks,
            silences,
            meters,
            logs,
            taps,
            enforcement,
            figures,
            kept_all: false,
            damages,
            _admin: admin,
        })
    }

    /// Reads all figures, and has due revisions cut. An error: a part has ended, and the agent with it.
    pub(super) fn tick(&mut self) -> anyhow::Result<()> {
        if self.prices.refresh(clock::now()) {
            let book = self.prices.book(&self.config);
            if let Some(logs) = &self.logs {
                logs.calls.session(|session| session.set_prices(Arc::clone(&book)));
            }
            self.session.set_prices(book);
        }
        let stats = self.store.stats();
        self.figures.store(&stats);
        self.damages = tell_damage(&stats, self.damages);
        // While there is no room revisions wait, as everything does.
        if stats.full_since.is_none() {
            match self.store.cut_due(clock::now()) {
                Err(error) if !error.is_passing() => return Err(error).context("the store"),
                _ => {}
            }
        }
        // Also while there is no room: what goes makes some.
        match self.store.prune(clock::now()) {
            Ok(_) => self.kept_all = false,
            Err(error) if error.is_passing() => {}
            Err(error) => {
                if !std::mem::replace(&mut self.kept_all, true) {
                    notice!("nothing is pruned from the store: {error}");
                }
            }
        }
        if let Some(fleet) = &mut self.fleet {
            let policy = Arc::clone(&self.rules.now().policy);
            let into = (self.store.as_ref(), policy.as_ref());
            fleet.tick(clock::now(), &self.config, &self.budgets, into, &self.figures.metrics());
        }
        let in_logs = self.logs.as_ref().map(|logs| logs.workers.unseen().silenced()).unwrap_or_default();
        self.figures.session(&self.session, &in_logs, &self.budgets, clock::now());
        self.figures.breakers(&self.enforcement.groups());
        self.figures.sinks(&self.sinks);
        if self.sinks.has_ended() {
            return Err(anyhow!("a sink has ended: findings are not delivered any more"));
        }
        if let Some(logs) = &self.logs {
            self.figures.logs(&logs.tail.stats(), logs.workers.unseen());
            self.figures.logged(&logs.calls, logs.journal.as_ref().map(Journal::stats));
            let is_over = logs.journal.as_ref().is_some_and(Journal::has_ended);
            if logs.tail.has_ended() || logs.workers.has_ended() || is_over {
                return Err(anyhow!("nothing follows the logs any more"));
            }
        }
        if let Some((taps, workers)) = &self.taps {
            let attached = taps.are_attached() && !workers.has_ended();
            self.figures.taps(attached, &taps.figures());
            if !attached {
                return Err(anyhow!("a part of the tap has ended: nothing is tapped any more"));
            }
        }
        Ok(())
    }

    /// A budget enforces something.
    pub(super) fn enforces(&self) -> bool {
        self.enforcement.is_on()
    }

    /// Opens and closes the circuit breakers as the spend is now.
    pub(super) fn enforce(&mut self) -> anyhow::Result<()> {
        self.enforcement.follow(&self.config.budget, &self.budgets, clock::now()).context("the circuit breaker")
    }

    /// Answers `outflow budget` and `outflow findings set`.
    pub(super) fn answer(&mut self, ask: Ask) -> Say {
        if let Ask::Silence { finding, until, reason } = ask {
            let said = self.silences.set(&finding, until.as_deref(), reason.as_deref(), clock::now());
            self.sinks.silence(self.silences.with(&self.config.silence));
            return said;
        }
        self.enforcement.answer(ask, &self.budgets, clock::now())
    }

    /// All parts do their work.
    pub(super) fn is_up(&self) -> bool {
        self.figures.is_ready()
    }

    /// Takes up the rules, budgets and prices of another config. Gives the sections whose changes wait for a restart; after an error
    /// everything is as it was.
    pub(super) fn reload(&mut self, mut config: Config) -> anyhow::Result<Vec<&'static str>> {
        // A folder that the file does not name was found at the start, when we were perhaps somebody else.
        config.state.directory = config.state.directory.or_else(|| self.config.state.directory.clone());
        config.sinks.host_name = config.sinks.host_name.or_else(|| self.config.sinks.host_name.clone());
        self.prices.configure(&config, clock::now());
        let taken = load(&config, &self.prices).and_then(|rules| {
            self.rules.replace(rules.clone())?;
            Ok(rules)
        });
        self.figures.metrics().add(Metric::ConfigReloads, &[if taken.is_ok() { "ok" } else { "failed" }], 1);
        let taken = taken?;
        self.session.reload(&taken);
        self.store.say(Arc::clone(&taken.policy));
        if let Some(logs) = &self.logs {
            logs.calls.reload(&taken);
        }
        self.enforcement.reload(&taken.vendors)?;
        self.budgets.set_budgets(config.budgets());
        self.request_limits.set(config.request_limits());
        self.sinks.silence(self.silences.with(&config.silence));
        let mut waiting = self.config.needs_restart(&config);
        if self.enforcement.differs(&config) {
            waiting.push("budget");
        }
        self.config.rules = config.rules;
        self.config.budget = config.budget;
        self.config.prices = config.prices;
        self.config.price = config.price;
        self.config.silence = config.silence;
        Ok(waiting)
    }

    /// Notes that a reload failed before there was a config.
    pub(super) fn reload_failed(&self) {
        self.figures.metrics().add(Metric::ConfigReloads, &["failed"], 1);
    }

    /// Ends the sources, stores what is under way, cuts the last revisions. In bounded time: while there is no room in the store, what
    /// is under way is given up after [`DRAIN`]; logs are read again from what is stored.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let Self { session, store, sinks, meters, logs, taps, .. } = self;
        let (done, drained) = mpsc::channel();
        let (closing, draining) = (Arc::clone(&store), store);
        let drain = move || {
            let result = drain((logs, taps), &session, &draining, sinks);
            // Whoever waited may have given up.
            let _ = done.send(());
            meters.end();
            result
        };
        let thread = std::thread::Builder::new().name("outflow-drain".to_owned()).spawn(drain)?;
        if drained.recv_timeout(DRAIN).is_err() {
            notice!("not all could be stored in time; what is not is read again by the next run");
            // Whoever waits for room hears that there will be none.
            let _ = closing.close();
            if drained.recv_timeout(DRAIN).is_err() {
                return Err(anyhow!("a source does not end, perhaps it waits for a file system; ended without it"));
            }
        }
        thread.join().map_err(|_| anyhow!("draining panicked; this is a bug in outflow"))?
    }
}

/// Sources first: the rest drains.
fn drain((logs, taps): Sources, session: &Session, store: &Store, sinks: Sinks) -> anyhow::Result<()> {
    let (tail, journal, log_workers) =
        logs.map_or((None, None, None), |logs| (Some(logs.tail), logs.journal, Some(logs.workers)));
    let (taps, workers) = taps.map_or((None, None), |(taps, workers)| (Some(taps), Some(workers)));
    // Calls cannot be read again, logs can.
    let taps = taps.map_or(Ok(()), Taps::stop).context("the tap");
    let calls = workers.map_or(Ok(()), Workers::finish).context("the workers");
    let tail = tail.map_or(Ok(()), Tail::stop).context("the tail");
    let journal = journal.map_or(Ok(()), Journal::stop).context("the journal");
    let logs = log_workers.map_or(Ok(()), LogWorkers::finish).context("the log workers");
    // The last counts are told as well. While there is no room they wait, and what is delivered is delivered by the next run.
    let settled = store.settle();
    let sent = sinks.finish(if settled.is_ok() { FLUSH } else { Duration::ZERO }).context("a sink");
    let stored = session.finish().map(drop).context("the store");
    tail.and(journal).and(taps).and(logs).and(calls).and(sent).and(stored)
}

/// The rules of a config, with their prices.
fn load(config: &Config, prices: &PriceSource) -> anyhow::Result<Rules> {
    let hosts: Vec<String> = config.tap.hosts.iter().map(|host| host.as_str().to_owned()).collect();
    let rules = Rules::select(&config.rules.selection(), config.rules.policy(), &hosts)?;
    Ok(Rules {
        attribution: Arc::new(config.attribution.sources()),
        max_ages: config.max_ages().into(),
        prices: prices.book(config),
        ..rules
    })
}

fn limits(config: &Config) -> Limits {
    let store = &config.store;
    Limits {
        max_bytes: store.max_bytes.bytes(),
        log_bytes: store.wal_bytes.bytes(),
        queue: store.queue_batches.get(),
        commit_rows: store.commit_rows.get(),
        commit_ms: store.commit_interval.get().as_millis() as u64,
        update_interval_ns: store.update_interval.nanos(),
        max_call_bytes: if config.sinks.stream_calls() { config.sinks.max_call_bytes.bytes() } else { 0 },
    }
}

fn retention(config: &Config, sinks: &Sinks) -> Retention {
    Retention {
        keep_ns: config.store.retention.nanos(),
        sinks: sinks.stats().map(|(sink, _)| sink.to_owned()).collect(),
        drop_oldest: config.store.when_full == config::WhenFull::DropOldest,
    }
}

fn settings(config: &Config) -> TailSettings {
    let logs = &config.logs;
    let groups = logs.files.iter().map(|files| LogGroup {
        globs: files.globs.iter().map(|glob| glob.as_str().to_owned()).collect(),
        exclude: files.exclude.iter().map(|glob| glob.as_str().to_owned()).collect(),
        service: files.service.as_ref().map(|service| service.as_str().to_owned()),
        messages: files
            .message_start
            .as_ref()
            .map_or_else(Messages::default, |start| Messages::Begin(Arc::new(start.regex().clone()))),
        max_bytes_per_second: files.max_bytes_per_second.map(Size::bytes),
    });
    let cut = CutLimits {
        block_bytes: logs.block_bytes.as_usize(),
        line_bytes: logs.line_bytes.as_usize(),
        ..CutLimits::default()
    };
    TailSettings {
        groups: groups.collect(),
        scan_interval: logs.scan_interval.get(),
        rotate_wait_ns: logs.rotate_wait.nanos(),
        cut,
        ..TailSettings::default()
    }
}

fn journal_settings(followed: &Journald, cut: CutLimits) -> JournalSettings {
    JournalSettings {
        program: "journalctl".into(),
        directory: followed.directory.as_ref().map(|folder| folder.get().to_owned()),
        units: followed.units.iter().map(|unit| unit.as_str().to_owned()).collect(),
        since: match followed.since {
            JournalSince::Now => Since::Now,
            JournalSince::Boot => Since::Boot,
            JournalSince::Start => Since::Start,
        },
        cut,
    }
}

fn tell_journal(notice: JournalNotice) {
    let said = match notice {
        JournalNotice::Following { goes_on: true } => "follows the journal behind the last entry".to_owned(),
        JournalNotice::Following { goes_on: false } => "follows the journal".to_owned(),
        JournalNotice::Ended { why } => format!("the journal is not followed, it is tried again: {why}"),
    };
    notice!("{said}");
}

/// Says it once. Gives how many there were.
fn tell_damage(stats: &Stats, told: u64) -> u64 {
    if let Some(damage) = stats.damage.as_ref().filter(|_| stats.damages > told) {
        notice!("{damage}");
    }
    stats.damages
}

fn sink_notice(notice: SinkNotice) {
    match notice {
        SinkNotice::Waits { sink, reason } => {
            notice!("sink {sink} waits, findings stay in the store: {reason}");
        }
        SinkNotice::GoesOn { sink } => notice!("sink {sink} delivers again"),
        SinkNotice::Drops { sink, what, reason } => notice!("sink {sink} loses {what}: {reason}"),
        SinkNotice::Sends { sink, what } => notice!("sink {sink} sends its {what} again"),
        SinkNotice::DeadLetter { sink, record_id, reason } => {
            notice!("sink {sink} will never deliver {record_id}: {reason}");
        }
    }
}

fn tell(notice: TailNotice) {
    match notice {
        // As many as there are files; the metric counts them.
        TailNotice::Following { .. } => {}
        TailNotice::Unreadable { path, why } => {
            notice!("NOT followed: {}: {why}", path.display());
        }
        TailNotice::TooMany { path, max } => {
            notice!("NOT followed: {}: {max} files are followed already", path.display());
        }
        TailNotice::NoWakeUp { why } => {
            notice!("logs are looked at every scan interval only where inotify is not to be had: {why}");
        }
    }
}
