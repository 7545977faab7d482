//! Everything around delivery breaks, one thing after another, while lines are written: the network is cut, the broker goes, stands still and
//! crawls, the clock is set, collectors throttle, talk nonsense, say nothing and go, the disk is full, the agent is killed. One agent sends to a broker, to collectors over both
//! transports and to a file. It happens twice: with a sink that may repeat on Kafka, and with one that writes in transactions and may not. In the end an oracle says what each of them must have, from the lines and from the store: [`oracle`].
//!
//! OUTFLOW_LONG=1 (`cargo xtask chaos --long`) breaks 60 things, each for longer; OUTFLOW_TEST_FAULTS names those that are to happen alone. What is not here: an end of the broker in the middle of a burst,
//! by kill -9 or SIGTERM, because this one forgets what it confirmed (`tests/e2e/sinks/kills.rs` says what holds then).

mod fake_clock;
mod late;
mod network;
mod oracle;
mod receivers;

use std::{collections::BTreeSet, fs};

use outflow::{clock, store::Filter, units::Timestamp};
use rustix::process::Signal;
use testbed::{Broker, Deadline, fake_collector::Behaviour};

use self::{
    fake_clock::FakeClock,
    network::Network,
    receivers::{Otlp, SINKS},
};
use super::{
    agent::Agent,
    dice::Dice,
    full,
    log::{Line, Log},
    place::Place,
};
use crate::disk::Disk;

/// Faults of the short form, one of each kind, and of the long one.
const FAULTS: [u64; 2] = [Fault::ALL.len() as u64, 60];

/// Seconds that something stands still in the long form, besides what is waited for: longer than the sink's time-outs.
const STILL_S: [u64; 2] = [0, 4];

/// What the config bounds the store's log and the store by, bytes.
const WAL_BYTES: u64 = 1 << 20;
/// A commit that begins below the bound may end beyond it: what a commit holds of a burst.
const COMMIT_BYTES: u64 = 16 << 20;
const STORE_BYTES: u64 = 256 << 20;

/// Most memory that an agent may have taken, KiB. The bounds of queues and tables that the config names add up to less.
const PEAK_KIB: u64 = 512 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KillAgent,
    EndAgent,
    CutNetwork,
    StopBroker,
    FreezeBroker,
    SlowBroker,
    CollectorsAway,
    CollectorsThrottle,
    CollectorsBabble,
    CollectorsSilent,
    FullDisk,
    StepClock,
}

impl Fault {
    const ALL: [Self; 12] = [
        Self::KillAgent,
        Self::EndAgent,
        Self::CutNetwork,
        Self::StopBroker,
        Self::FreezeBroker,
        Self::SlowBroker,
        Self::CollectorsAway,
        Self::CollectorsThrottle,
        Self::CollectorsBabble,
        Self::CollectorsSilent,
        Self::FullDisk,
        Self::StepClock,
    ];
}

/// All that there is. Dropped in this order.
struct World {
    /// None between two lives.
    life: Option<Agent>,
    place: Place,
    broker: Broker,
    topic: String,
    otlp: [Otlp; 2],
    log: Log,
    /// Lines that were written again.
    repeated: u64,
    dice: Dice,
    peak_kib: u64,
    /// Most that the store's file and its log had, bytes.
    peak_store: [u64; 2],
    is_long: bool,
    /// The broker has each record once.
    is_once: bool,
    disk: Option<Disk>,
    network: Option<Network>,
    clock: Option<FakeClock>,
    _folder: tempfile::TempDir,
}

/// All of its threads are stopped by a signal.
fn stands_still(agent: &Agent) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid().as_raw_nonzero())).unwrap();
    // proc_pid_stat(5): the state stands behind the name, which is in brackets.
    let state = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
    };
    tasks.flatten().all(|task| state(task) == Some('T'))
}

impl World {
    /// None when there can be no broker.
    fn new(is_long: bool, is_once: bool, network: Option<Network>) -> Option<Self> {
        if let Some(missing) = testbed::missing_for_broker() {
            assert!(std::env::var_os("OUTFLOW_REQUIRE_BPF").is_none(), "{missing}");
            println!("skipped: {missing}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(folder.path()).unwrap();
        if !broker.skip_unless_ours() {
            return None;
        }
        if network.is_none() || testbed::missing_for_sandbox().is_some() {
            println!("skipped: no network or disk of our own can be had here, so none of that breaks");
        }
        let disk = testbed::missing_for_sandbox().is_none().then(|| Disk::new(96));
        let place = disk.as_ref().map_or_else(Place::new, |disk| Place::on(disk.path()));
        let otlp = Otlp::both();
        let topic = broker.topic("chaos");
        place.configure(&receivers::config(&broker, &topic, is_once, &otlp, &place));
        let mut clock = FakeClock::new(folder.path());
        if clock.is_none() {
            assert!(std::env::var_os("OUTFLOW_REQUIRE_BPF").is_none(), "there is no libfaketime");
            println!("skipped: there is no libfaketime, so the clock stays as it is");
        }
        let life = Some(start(&place, clock.as_mut()));
        let (log, dice) = (Log::new(&place.logs()), Dice::new());
        let (repeated, peak_kib, peak_store) = (0, 0, [0; 2]);
        Some(Self {
            life,
            place,
            broker,
            topic,
            otlp,
            log,
            repeated,
            dice,
            peak_kib,
            peak_store,
            is_long,
            is_once,
            disk,
            network,
            clock,
            _folder: folder,
        })
    }

    /// Some lines with addresses of their own, and some of those that were there before.
    fn write(&mut self) {
        let new = self.dice.throw(10..120);
        self.log.lines(new);
        let known = self.log.written.len() as u64;
        for _ in 0..self.dice.throw(0..30) {
            let Line { secret, .. } = self.log.written[usize::try_from(self.dice.throw(0..known)).unwrap()].clone();
            self.log.text(&format!("2026-11-24T10:00:00Z INFO order shipped, receipt to {secret}\n"));
            self.repeated += 1;
        }
    }

    fn until_stored(&mut self) {
        let all = self.log.written.len() as u64;
        let (agent, place) = self.living();
        agent.until("all lines stored", |_| place.stored() >= all);
    }

    /// Until these sinks have all that the store has, or had when it was asked.
    fn until_delivered(&mut self, sinks: &[&str]) {
        let (agent, place) = self.living();
        agent.until("everything delivered", |_| receivers::delivered(place, sinks));
    }

    /// The agent stands still, and the broker has all that there is: revisions are cut at times of their own.
    fn stand_still_with_everything_delivered(&mut self) {
        loop {
            self.until_delivered(&["kafka"]);
            let (agent, place) = self.living();
            agent.signal(Signal::STOP);
            agent.until("it to stand still", |agent| stands_still(agent));
            if receivers::delivered(place, &["kafka"]) {
                return;
            }
            agent.signal(Signal::CONT);
        }
    }

    /// An agent that is killed before that leaves its last request to the system, and the broker takes it minutes later, behind newer ones
    /// (docs/SINKS.md says so): librdkafka sets no TCP_USER_TIMEOUT. Transactions fence it.
    fn until_nothing_under_way(&mut self) {
        let port = |broker: &str| broker.rsplit_once(':').unwrap().1.parse().unwrap();
        let ports: Vec<u16> = self.broker.address().split(',').map(port).collect();
        let is_empty = |_: &mut Agent| !ports.iter().any(|port| network::is_under_way(*port));
        self.living().0.until("the broker to have what was on its way", is_empty);
    }

    /// What stands still does so a little longer in the long form.
    fn hold(&mut self) {
        let limit = Deadline::after(STILL_S[usize::from(self.is_long)]);
        self.living().0.until("a while", |_| limit.passed());
    }

    fn note_peak(&mut self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.living().0.pid().as_raw_nonzero())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        self.peak_kib = self.peak_kib.max(kib);
        let store = self.place.store();
        for (peak, file) in self.peak_store.iter_mut().zip([store.clone(), store.with_extension("db-wal")]) {
            *peak = (*peak).max(fs::metadata(file).map_or(0, |file| file.len()));
        }
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::KillAgent => {
                let from = self.place.stored();
                self.write();
                let more = self.dice.throw(0..10);
                let (agent, place) = self.living();
                agent.until("some stored", |_| place.stored() >= from + more);
                self.restart(Agent::kill);
            }
            Fault::EndAgent => {
                self.write();
                self.restart(|agent| drop(agent.terminate()));
            }
            Fault::CutNetwork => {
                let Some(network) = &self.network else { return };
                network.cut();
                self.write();
                self.until_stored();
                // Who needs no network is not held up.
                self.until_delivered(&["file"]);
                self.hold();
                if self.is_once {
                    // Its last request stays with the system, which sends it when the next agent is at work.
                    self.restart(Agent::kill);
                }
                if let Some(network) = &self.network {
                    network.mend();
                }
                if !self.is_once {
                    self.until_nothing_under_way();
                }
            }
            Fault::StopBroker => {
                // This one confirms what comes while it ends, and forgets it: seen as 44 records that the cursor had passed with the broker gone.
                self.stand_still_with_everything_delivered();
                self.broker.terminate().unwrap();
                self.living().0.signal(Signal::CONT);
                self.write();
                self.until_stored();
                self.hold();
                self.broker.start_again().unwrap();
                if self.is_once {
                    // This one does not know the id of a transaction that it heard before its restart: it would let one stay open for ever, of
                    // an agent that is killed later, and nobody could read what is behind it (noida-db 0.2.3; seen with another client too).
                    self.restart(|agent| drop(agent.terminate()));
                }
            }
            Fault::FreezeBroker => {
                self.broker.freeze().unwrap();
                self.write();
                self.until_stored();
                // Nobody else waits for it.
                self.until_delivered(&SINKS[1..]);
                self.hold();
                self.broker.thaw().unwrap();
            }
            Fault::SlowBroker => {
                self.write();
                self.until_stored();
                let Self { life, place, broker, .. } = self;
                // It moves only while it is asked for.
                life.as_mut().unwrap().until("a slow broker to take everything", |_| {
                    broker.thaw().unwrap();
                    let is_done = receivers::delivered(place, &["kafka"]);
                    broker.freeze().unwrap();
                    is_done
                });
                self.broker.thaw().unwrap();
            }
            Fault::CollectorsAway => {
                self.otlp.iter_mut().for_each(Otlp::leave);
                self.write();
                self.until_stored();
                self.until_delivered(&["kafka", "file"]);
                self.hold();
                self.otlp.iter_mut().for_each(Otlp::come_back);
            }
            Fault::CollectorsThrottle => self.collectors(&receivers::throttling()),
            Fault::CollectorsBabble => self.collectors(&receivers::babble()),
            Fault::CollectorsSilent => self.collectors(&[Behaviour::Silent]),
            Fault::FullDisk => {
                let Some(disk) = &self.disk else { return };
                disk.fill(512 << 10);
                full::fill(&self.place, self.life.as_mut().unwrap(), &mut self.log);
                self.write();
                self.hold();
                self.disk.as_ref().unwrap().free();
                self.until_stored();
            }
            Fault::StepClock => self.step_clock(),
        }
    }

    /// In the middle of work, back or forth; it stays so until the next step.
    fn step_clock(&mut self) {
        self.write();
        let Self { life, place, log, clock: Some(clock), dice, .. } = self else { return };
        clock.step(dice.throw(0..1000));
        println!("the clock is {} s off", clock.offset_s());
        let findings = || place.reader().findings(&Filter::default()).unwrap();
        let known: BTreeSet<String> = findings().into_iter().map(|finding| finding.finding_id).collect();
        life.as_mut().unwrap().until("a finding by the new clock", |_| {
            log.lines(1);
            let mut new = findings().into_iter().filter(|finding| !known.contains(&finding.finding_id));
            new.any(|finding| clock.shows(Timestamp::parse(&finding.first_seen).unwrap()))
        });
        self.write();
        self.until_stored();
        self.until_delivered(&SINKS);
    }

    /// Ends the agent in one way or another, and starts the next.
    fn restart(&mut self, end: impl FnOnce(Agent)) {
        self.note_peak();
        // The lock of the store lets no second one in: the first must be gone.
        end(self.life.take().unwrap());
        self.life = Some(start(&self.place, self.clock.as_mut()));
    }

    /// Ends the last one. Gives all that it said.
    fn end(&mut self) -> Vec<String> {
        self.note_peak();
        self.life.take().unwrap().terminate()
    }

    /// The agent of these days, and where it lives.
    fn living(&mut self) -> (&mut Agent, &Place) {
        (self.life.as_mut().unwrap(), &self.place)
    }

    /// Collectors answer so to what comes next: a few of these, for pauses get longer with each.
    fn collectors(&mut self, behaviours: &[Behaviour]) {
        for otlp in &self.otlp {
            for _ in 0..3 {
                let which = self.dice.throw(0..behaviours.len() as u64);
                otlp.live().then(behaviours[usize::try_from(which).unwrap()].clone());
            }
        }
        self.write();
        self.until_stored();
        self.until_delivered(&["grpc", "http"]);
    }
}

/// An agent by this clock.
fn start(place: &Place, clock: Option<&mut FakeClock>) -> Agent {
    let variables = clock.as_ref().map(|clock| clock.variables()).unwrap_or_default();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let agent = Agent::command("run", &place.config(), &variables);
    if let Some(clock) = clock {
        clock.seen_by(agent.pid());
    }
    agent.ready()
}

#[test]
fn chaos_around_delivery_loses_nothing_and_changes_nothing() {
    chaos("chaos_around_delivery_loses_nothing_and_changes_nothing", false);
}

#[test]
fn chaos_around_transactions_repeats_nothing() {
    chaos("chaos_around_transactions_repeats_nothing", true);
}

/// All of it: for the test of this name.
fn chaos(test: &str, is_once: bool) {
    let is_long = std::env::var("OUTFLOW_LONG").is_ok_and(|long| long == "1");
    let network = match Network::of_this_process() {
        None if network::can_be_had() => {
            return network::run_in_one(&format!("run::chaos::{test}"));
        }
        network => network,
    };
    let Some(mut world) = World::new(is_long, is_once, network) else { return };
    let mut order = Vec::new();
    for _ in 0..FAULTS[usize::from(is_long)] {
        if order.is_empty() {
            let named = std::env::var("OUTFLOW_TEST_FAULTS").unwrap_or_default();
            let is_named =
                |fault: &Fault| named.is_empty() || named.split(',').any(|name| name == format!("{fault:?}"));
            order = Fault::ALL.into_iter().filter(is_named).collect();
        }
        let next = usize::try_from(world.dice.throw(0..order.len() as u64)).unwrap();
        let fault = order.swap_remove(next);
        let now = clock::now().rfc3339();
        println!("{now} {fault:?}, {} lines", world.log.written.len());
        world.fault(fault);
    }
    world.until_stored();
    world.until_delivered(&SINKS);
    // The end tells what was only counted so far, and waits for those who take it.
    world.restart(|agent| drop(agent.terminate()));
    world.until_delivered(&SINKS);
    oracle::check(world);
}
