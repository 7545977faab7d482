//! The second act: `outflow run` as a service, with a log to follow, a cgroup to tap, a broker and a collector to send to. Enters: the agent's
//! program and a folder. Leaves: on standard output what its store holds and what arrived elsewhere; in the folder its config, its log and its
//! store, to look at. It shows nothing before the topic has every record that the store has made.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::{Bench, Broker, Collector, Deadline, Job, Message, Metric, Tools};

use super::{
    arrived,
    service::{Service, Wiring, record_ids},
    signals::Signals,
};

/// Whose log it is that leaks.
const LOG_SERVICE: &str = "refund-service";
/// What leaks there (tests/e2e/clients/leaking_log.py).
const LOG_RULES: [&str; 3] = ["pii.email", "pii.credit-card", "secret.github-token"];
/// Calls that the support assistant makes (tests/e2e/clients/demo_app.py).
const CALLS: u64 = 4;

/// Receivers that it sends to.
const SINKS: u64 = 2;

/// Seconds until something that must happen has happened: far more than it takes on a busy machine.
const LIMIT_S: u64 = 120;
const CLIENT_LIMIT_S: i64 = 60;

/// Metrics of the collector that are shown, and those of the agent's own page.
const SHOWN_METRICS: [&str; 3] = ["gen_ai.client.token.usage", "gen_ai.client.operation.duration", "outflow.cost"];
const SHOWN_SERIES: [&str; 2] = ["outflow_sink_records_total", "outflow_sink_pending_records"];

/// Plays it. `place` is made anew, and stays.
pub(super) fn play(tools: Tools, agent: &Path, place: &Path, signals: &Signals) -> Result<()> {
    eprintln!(
        "demo, act 2: a service follows a log, taps a cgroup, and streams what it finds to Kafka and OpenTelemetry"
    );
    make_anew(place)?;
    let bench = Bench::new(tools, "demo")?;
    let broker = Broker::start(&folder(&bench, "broker")?)?;
    let collector = Collector::start(&folder(&bench, "collector")?)?;
    eprintln!("demo: broker on {}, collector on {}", broker.address(), collector.grpc_endpoint());
    let (topic, log) = (broker.topic("outflow.findings"), place.join("refunds.log"));
    let wiring = Wiring {
        cgroup: bench.cgroup.path(),
        log: &log,
        log_service: LOG_SERVICE,
        brokers: broker.address(),
        topic: &topic,
        collector: collector.grpc_endpoint(),
    };
    let service = Service::start(agent, place, bench.dir(), &wiring, signals)?;
    work(&bench, &service, &log, signals)?;
    found(&service, signals)?;
    let messages = delivered(&service, &broker, &topic, &collector, signals)?;
    show(&service, &topic, &messages, &collector, signals)?;
    let store = service.end()?;
    let findings = store.findings()?;
    let (made, arrived) = (record_ids(&findings).len(), broker.consume(&topic)?.len());
    println!("\nAt its end it told the newest counts: {made} records in the store, {arrived} in the topic.");
    drop((collector, broker, bench));
    eprintln!("demo: agent, broker, collector, cgroup, sandbox and library are gone");
    print!("{}", whereabouts(agent, place, &store.path, &findings));
    Ok(())
}

/// Nothing of an earlier demo may look like this one's.
fn make_anew(place: &Path) -> Result<()> {
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))
}

fn folder(bench: &Bench, name: &str) -> Result<PathBuf> {
    let folder = bench.dir().join(name);
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// A service writes its log, and the support assistant makes its calls.
fn work(bench: &Bench, service: &Service, log: &Path, signals: &Signals) -> Result<()> {
    let path = log.to_str().context("the log's path is no text")?;
    run(Job::start(command(&bench.client("leaking_log", &[path])), bench.dir(), "log")?, signals)?;
    // Probes sit on the library, so what is tapped from its first call on is what starts while another process has it in use, as on any host
    // that does something. Without that, the first milliseconds of the first process could go by unseen.
    let program = bench.client("demo_app", &[]);
    let idle = ["-c".into(), "import signal, ssl; signal.pause()".into()];
    let mut idle = command(&in_group(bench, program.iter().take(1).cloned().chain(idle)));
    idle.env("LD_LIBRARY_PATH", &bench.tls.dir);
    let _idle = Job::start(idle, bench.dir(), "idle")?;
    service.says("outflow: tapping ", LIMIT_S, signals)?;
    run(bench.start(&in_group(bench, program.into_iter()), "demo_app")?, signals)
}

fn command(words: &[OsString]) -> Command {
    let mut command = Command::new(words.first().map_or_else(Default::default, Clone::clone));
    command.args(words.iter().skip(1));
    command
}

/// The same command, which moves itself into the bench's cgroup before it starts.
fn in_group(bench: &Bench, command: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let join = [OsString::from("sh"), "-c".into(), "echo 0 > \"$0\" && exec \"$@\"".into()];
    let group = bench.cgroup.path().join("cgroup.procs").into_os_string();
    join.into_iter().chain([group]).chain(command).collect()
}

/// Waits for its end; it must succeed.
fn run(job: Job, signals: &Signals) -> Result<()> {
    if !job.ends_before(&signals.pipe)? {
        signals.check()?;
    }
    job.wait(CLIENT_LIMIT_S)?.success()?;
    Ok(())
}

/// Waits until the log is read and all calls are seen.
fn found(service: &Service, signals: &Signals) -> Result<()> {
    let mut last = "nothing is known yet".to_owned();
    let all = Deadline::after(LIMIT_S).until("everything to be found", || {
        signals.check()?;
        let (calls, findings) = (service.agent.count("outflow_exchanges_total")?, service.store.findings()?);
        let in_log = |rule: &&&str| {
            findings.iter().any(|found| found["rule"]["id"] == ***rule && found["process"]["service"] == LOG_SERVICE)
        };
        let rules = LOG_RULES.iter().filter(in_log).count();
        last = format!("{calls} of {CALLS} calls, {rules} of {} rules in the log", LOG_RULES.len());
        Ok((calls >= CALLS && rules == LOG_RULES.len()).then_some(()))
    });
    all.context(last)
}

/// Waits until everything that was found is in the topic, and at the collector when that can be read; gives the topic.
fn delivered(
    service: &Service,
    broker: &Broker,
    topic: &str,
    collector: &Collector,
    signals: &Signals,
) -> Result<Vec<Message>> {
    let mut last = "nothing is known yet".to_owned();
    let all = Deadline::after(LIMIT_S).until("everything to arrive", || {
        signals.check()?;
        let made = record_ids(&service.store.findings()?);
        let messages = broker.consume(topic)?;
        let consumed: BTreeSet<_> = messages.iter().map(arrived::message_id).collect();
        let received = if collector.is_ours() {
            collector.records()?.iter().map(|record| arrived::record_id(record).to_owned()).collect()
        } else {
            made.clone()
        };
        let (total, in_topic, at_collector) = (made.len(), consumed.len(), received.len());
        last = format!("{total} records made, {in_topic} in the topic, {at_collector} at the collector");
        Ok((made.is_subset(&consumed) && made.is_subset(&received)).then_some(messages))
    });
    all.context(last)
}

fn show(service: &Service, topic: &str, messages: &[Message], collector: &Collector, signals: &Signals) -> Result<()> {
    println!("\n== The store, as `outflow findings list` shows it\n");
    service.store.show_findings()?;
    println!("\n== Kafka, as kcat reads the topic\n\n{}", arrived::topic(topic, messages)?.trim_end());
    if collector.is_ours() {
        println!("\n== OpenTelemetry, as the collector received it\n");
        print!("{}", arrived::records(&collector.records()?));
        let metrics = collector.metrics_until(LIMIT_S, |metrics| signals.check().is_err() || counted(metrics))?;
        signals.check()?;
        ensure!(counted(&metrics), "the collector received no metrics of all calls: {metrics:?}");
        print!("{}", arrived::metrics(&metrics, &SHOWN_METRICS));
    }
    println!("\n== The agent's own page of metrics\n");
    // Its figures are a second old at most.
    let page = Deadline::after(LIMIT_S).until("the agent's page to be up to date", || {
        signals.check()?;
        let page = service.agent.page("/metrics")?;
        let none_waits = |line: &str| !line.starts_with(SHOWN_SERIES[1]) || line.ends_with(" 0");
        let told = service.agent.count(SHOWN_SERIES[0])? >= SINKS * messages.len() as u64;
        Ok((told && page.lines().all(none_waits)).then_some(page))
    })?;
    let shown = |line: &&str| SHOWN_SERIES.iter().any(|series| line.starts_with(series));
    page.lines().filter(shown).for_each(|line| println!("{line}"));
    Ok(())
}

/// Do the metrics speak of all calls?
fn counted(metrics: &[Metric]) -> bool {
    let duration = arrived::newest(metrics, "gen_ai.client.operation.duration");
    let calls: u64 = duration.iter().flat_map(|metric| &metric.points).filter_map(|point| point.count).sum();
    calls >= CALLS && SHOWN_METRICS.iter().all(|name| arrived::newest(metrics, name).is_some())
}

/// How to look at what stays.
fn whereabouts(agent: &Path, place: &Path, store: &Path, findings: &[Value]) -> String {
    let (agent, store) = (agent.display(), store.display());
    let gravest = findings.iter().find(|finding| finding["severity"] == "critical").or_else(|| findings.first());
    let id = gravest.and_then(|finding| finding["finding_id"].as_str()).and_then(|id| id.get(..12)).unwrap_or("ID");
    format!(
        "\n== Look around in {}\n\n\
         {agent} findings list --store {store}\n\
         {agent} findings show {id} --store {store}\n\
         {agent} findings deliveries --store {store}\n\
         {agent} verify --store {store}\n\
         sqlite3 {store} 'SELECT seq, finding_id, revision, activity FROM outbox'\n",
        place.display(),
    )
}
