//! How long from an `SSL_write` to the consumer. Enters: calls of a client that this benchmark starts, with a private copy of libssl and in
//! a control group of its own; each prompt has a leak of its own. Leaves: percentiles, and when the answer came: a call is looked at when it is
//! complete.

use std::{ffi::OsString, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use testbed::{Bench, Broker, Tools};

use crate::{Settings, agent::Agent, consumer::Consumer, figures::delays, log::next_finding};

/// How long the client may take to start or to end, seconds.
const CLIENT_LIMIT_S: i64 = 60;

/// Calls that are not timed.
const WARM_CALLS: usize = 5;

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
    let bench = Bench::new(tools.clone(), "bench")?;
    let broker = Broker::start(bench.dir())?;
    let topic = broker.topic("bench-tls");
    let consumer = Consumer::of_new(broker.address(), &topic)?;
    let config = format!(
        "[tap]\nenabled = true\nscope = \"cgroup\"\ncgroups = [\"{}\"]\n[[sinks.kafka]]\nbrokers = [\"{}\"]\ntopic = \"{topic}\"\n\
         format = \"native\"\n",
        bench.cgroup.path().display(),
        broker.address(),
    );
    let agent = Agent::start(&bench.dir().join("agent"), &config)?;

    let mut meeting = bench.rendezvous()?;
    let calls = settings.lines + WARM_CALLS;
    let script = testbed::workspace().join("benches/sinks/tls_client.py");
    let join = [OsString::from("sh"), "-c".into(), "echo 0 > \"$0\" && exec \"$@\"".into()];
    let command = [
        bench.cgroup.path().join("cgroup.procs").into_os_string(),
        tools.python.clone().into_os_string(),
        script.into_os_string(),
        meeting.ready_path.clone().into_os_string(),
        meeting.go_path.clone().into_os_string(),
        calls.to_string().into(),
    ];
    let command: Vec<OsString> = join.into_iter().chain(command).collect();
    let client = bench.start(&command, "client")?;
    meeting.wait_ready(CLIENT_LIMIT_S)?;
    agent.says("outflow: tapping")?;
    let mut arrived_ns = Vec::new();
    for _ in 0..calls {
        meeting.go()?;
        // What else is found, of the model, comes once and is not what is timed.
        arrived_ns.push(loop {
            let (at_ns, finding) = next_finding(&consumer)?;
            if finding.rule.id == "pii.email" {
                break at_ns;
            }
        });
    }
    let told = client.wait(CLIENT_LIMIT_S)?.success()?;
    let told: Told = serde_json::from_str(told.lines().last().context("the client prints one line")?)?;
    ensure!(told.libssl == [bench.tls.libssl.display().to_string()], "the client used {:?}", told.libssl);
    ensure!(told.calls.len() == calls, "{} calls", told.calls.len());
    let timed = || told.calls.iter().zip(&arrived_ns).skip(WARM_CALLS);
    delays("SSL_write to the client's having the whole answer", timed().map(|((sent, had), _)| had - sent).collect());
    delays(
        "SSL_write to the consumer, linger.ms 10, one call at a time",
        timed().map(|((sent, _), at)| at.saturating_sub(*sent)).collect(),
    );
    Ok(())
}
