//! How long from an `SSL_write` to the consumer. Enters: calls of a client that this benchmark starts, with a private copy of libssl and in
//! a control group of its own; each prompt has a leak of its own. Leaves: percentiles, and when the answer came: a call is looked at when it is
//! complete.

use std::{ffi::OsString, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use testbed::{Bench, Broker, Tools};

use crate::{
    Settings,
    agent::Agent,
    consumer::Consumer,
    figures::{delays, say_target},
    log::next_finding,
};

/// How long the client may take to start or to end, seconds.
const CLIENT_LIMIT_S: i64 = 60;

/// Calls that are not timed.
const WARM_CALLS: usize = 5;

/// Calls a second of a client with a pace, for so long: what one connection and an interpreter can do on two cores that others share.
const PACE: usize = 100;
const SECONDS: usize = 5;

/// Leaks of each of these calls: 100 findings a second, and 5,000.
const LEAKS: [usize; 2] = [1, 50];

/// What the client prints: for each call the clock before its write, and when it had the answer.
#[derive(Deserialize)]
struct Told {
    libssl: Vec<String>,
    calls: Vec<(u64, u64)>,
}

pub(crate) fn run(settings: &Settings) -> Result<()> {
    if let Some(reason) = testbed::missing_for_bpf().or_else(testbed::missing_for_broker) {
        println!("SKIP tls: {reason}");
        return Ok(());
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_outflow")).parent().context("a program is in a folder")?;
    let target = programs.parent().context("which is in the target folder")?;
    let tools = match Tools::find(programs, target) {
        Ok(tools) => tools,
        Err(error) => {
            println!("SKIP tls: {error:#}");
            return Ok(());
        }
    };
    let dir = tempfile::Builder::new().prefix("outflow-bench").tempdir_in(&settings.folder)?;
    let broker = Broker::start(dir.path())?;
    let one_at_a_time = calls(&tools, &broker, settings.lines + WARM_CALLS, None)?;
    let timed = || one_at_a_time.iter().skip(WARM_CALLS);
    let had = timed().map(|call| call.had_ns - call.sent_ns).collect();
    delays("SSL_write to the client's having the whole answer", had);
    let arrived = |call: &Call| call.arrived_ns.iter().map(|at| at.saturating_sub(call.sent_ns)).collect::<Vec<_>>();
    delays("SSL_write to the consumer, linger.ms 10, one call at a time", timed().flat_map(arrived).collect());
    for leaks in LEAKS {
        let paced = calls(&tools, &broker, PACE * SECONDS, Some(leaks))?;
        ensure!(
            paced.iter().all(|call| call.arrived_ns.len() == leaks),
            "a call has more or fewer findings than leaks"
        );
        let (first, last) = (paced.first().context("no call")?, paced.last().context("no call")?);
        let pace = (paced.len() - 1) as f64 * 1e9 / (last.sent_ns - first.sent_ns) as f64;
        ensure!(pace > 0.95 * PACE as f64, "the client made {pace:.0} calls a second");
        let name = format!("SSL_write to the consumer, linger.ms 10, {} findings/s", PACE * leaks);
        let p99_ms = delays(&name, paced.iter().flat_map(arrived).collect());
        say_target(p99_ms);
    }
    Ok(())
}

/// A call and its findings.
#[expect(clippy::struct_field_names, reason = "each is a time of one clock")]
struct Call {
    sent_ns: u64,
    had_ns: u64,
    arrived_ns: Vec<u64>,
}

/// Calls of one client, with an agent of its own: one after another, or [`PACE`] a second with so many leaks each.
fn calls(tools: &Tools, broker: &Broker, calls: usize, leaks: Option<usize>) -> Result<Vec<Call>> {
    let bench = Bench::new(tools.clone(), "bench")?;
    let topic = broker.topic(&format!("bench-tls-{}", leaks.unwrap_or(0)));
    let consumer = Consumer::of_new(broker.address(), &topic)?;
    let config = format!(
        "[tap]\nenabled = true\nscope = \"cgroup\"\ncgroups = [\"{}\"]\n[[sinks.kafka]]\nbrokers = [\"{}\"]\ntopic = \"{topic}\"\n\
         format = \"native\"\n",
        bench.cgroup.path().display(),
        broker.address(),
    );
    let agent = Agent::start(&bench.dir().join("agent"), &config)?;
    let mut meeting = bench.rendezvous()?;
    let script = testbed::workspace().join("benches/sinks/tls_client.py");
    let join = [OsString::from("sh"), "-c".into(), "echo 0 > \"$0\" && exec \"$@\"".into()];
    let mut command = vec![
        bench.cgroup.path().join("cgroup.procs").into_os_string(),
        tools.python.clone().into_os_string(),
        script.into_os_string(),
        meeting.ready_path.clone().into_os_string(),
        meeting.go_path.clone().into_os_string(),
        calls.to_string().into(),
    ];
    command.extend(leaks.into_iter().flat_map(|leaks| [PACE, leaks]).map(|number| number.to_string().into()));
    let command: Vec<OsString> = join.into_iter().chain(command).collect();
    let client = bench.start(&command, "client")?;
    meeting.wait_ready(CLIENT_LIMIT_S)?;
    agent.says("outflow: tapping")?;
    let mut arrived_ns = vec![Vec::new(); calls];
    // What else is found, of the model, comes once and is not what is timed.
    let mut next = || loop {
        let (at_ns, finding) = next_finding(&consumer)?;
        let call = finding.process.feature.as_deref().and_then(|feature| feature.strip_prefix("call-")?.parse().ok());
        if let Some(of_call) =
            call.and_then(|call: usize| arrived_ns.get_mut(call)).filter(|_| finding.rule.id == "pii.email")
        {
            of_call.push(at_ns);
            return Ok::<_, anyhow::Error>(());
        }
    };
    match leaks {
        None => (0..calls).try_for_each(|_| meeting.go().and_then(|()| next()))?,
        Some(leaks) => {
            meeting.go()?;
            (0..calls * leaks).try_for_each(|_| next())?;
        }
    }
    let told = client.wait(CLIENT_LIMIT_S)?.success()?;
    let told: Told = serde_json::from_str(told.lines().last().context("the client prints one line")?)?;
    ensure!(told.libssl == [bench.tls.libssl.display().to_string()], "the client used {:?}", told.libssl);
    ensure!(told.calls.len() == calls, "{} calls", told.calls.len());
    let timed = told.calls.into_iter().zip(arrived_ns);
    Ok(timed.map(|((sent_ns, had_ns), arrived_ns)| Call { sent_ns, had_ns, arrived_ns }).collect())
}
