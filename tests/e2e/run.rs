//! `outflow run` with a real tap and a log, as a service runs it: two processes, one store, a budget, a clean end.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use outflow::{
    clock,
    findings::Finding,
    store::{Filter, StoreReader},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    leaks::probed,
    split::{capabilities, in_group},
    support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, outflow},
};

/// linux/capability.h.
const DAC_READ_SEARCH: u64 = 1 << 2;

/// An agent that is killed when the test ends, however it ends.
struct Agent {
    child: Child,
    talk: BufReader<ChildStderr>,
}

impl Agent {
    fn start(config: &std::path::Path) -> Self {
        let mut command = Command::new(outflow());
        command.args(["run", "--config"]).arg(config).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let talk = BufReader::new(child.stderr.take().unwrap());
        Self { child, talk }
    }

    /// Reads its talk up to a line that contains `wanted`.
    fn says(&mut self, wanted: &str) -> String {
        let mut all = String::new();
        loop {
            let before = all.len();
            assert!(self.talk.read_line(&mut all).unwrap() > 0, "it ended before it said {wanted:?}: {all}");
            if all[before..].contains(wanted) {
                return all[before..].to_owned();
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended already when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Until the store holds what `enough` asks for.
fn found(store: &std::path::Path, enough: impl Fn(&[Finding]) -> bool) -> Vec<Finding> {
    let until = clock::instant() + Duration::from_secs(CLIENT_TIMEOUT_S.unsigned_abs());
    loop {
        let findings = StoreReader::open(store).unwrap().findings(&Filter::default()).unwrap();
        if enough(&findings) || clock::instant() > until {
            return findings;
        }
        // A store has no event for readers.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_service_taps_follows_budgets_and_ends() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("run");
    let (state, log) = (bench.dir().join("state"), bench.dir().join("app.log"));
    let config = bench.dir().join("outflow.toml");
    let text = format!(
        "[state]\ndirectory = {state:?}\n[tap]\nenabled = true\nscope = \"cgroup\"\ncgroups = [{:?}]\n[logs]\n[[logs.files]]\n\
         globs = [\"{}*\"]\nservice = \"shop\"\n[admin]\nlisten = \"off\"\n\
         [[budget]]\nservice = \"raw_*\"\nlimit_usd = \"0.0001\"\nwindow = \"1d\"\n",
        bench.cgroup.path(),
        log.display(),
    );
    fs::write(&config, text).unwrap();
    fs::write(&log, "refund for maria.keller@outflow-demo-shop.com\n").unwrap();
    let mut agent = Agent::start(&config);
    agent.says("outflow: ready");

    let mut meeting = bench.rendezvous().unwrap();
    let stop = bench.dir().join("stop");
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (ready, go) = (path(&meeting.ready_path), path(&meeting.go_path));
    let arguments = ["--ready", &ready, "--go", &go, "--stop", &path(&stop), "--requests", "20000"];
    let client = bench.start(&in_group(&bench, bench.client("raw_client.py", &arguments)), "client").unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    let tapping = agent.says("outflow: tapping");
    assert!(tapping.contains(&bench.tls.libssl.display().to_string()), "{tapping}");
    let [pid] = bench.tls.mapped_by().unwrap()[..] else { panic!("one process maps the private library") };
    assert!(probed(pid, &bench.tls.libssl));

    // The half that reads has no right but to read logs.
    let status = fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    assert_eq!(capabilities(&status, "CapEff") & !DAC_READ_SEARCH, 0, "{status}");

    meeting.go().unwrap();
    let store = state.join("outflow.db");
    let wanted = ["cost.budget", "model.unpinned", "pii.email"];
    let findings =
        found(&store, |findings| wanted.iter().all(|rule| findings.iter().any(|finding| finding.rule.id == *rule)));
    fs::write(&stop, "").unwrap();
    let of = |rule: &str| findings.iter().find(|finding| finding.rule.id == rule).unwrap_or_else(|| panic!("{rule}"));
    client.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    assert_eq!(of("model.unpinned").process.service, "raw_client.py");
    assert!(of("cost.budget").title.contains("raw_client.py"), "{}", of("cost.budget").title);
    let leak = of("pii.email");
    assert_eq!((leak.process.service.as_str(), leak.location.as_ref().unwrap().line), ("shop", Some(1)));

    // What is written right before the end is read before the end: SIGTERM drains.
    let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(b"and for jane.doe@outflow-demo-shop.com\n").unwrap();
    found(&store, |findings| findings.iter().filter(|finding| finding.rule.id == "pii.email").count() == 2);
    let id = Pid::from_raw(i32::try_from(agent.child.id()).unwrap()).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    assert_eq!(agent.child.wait().unwrap().code(), Some(0));
    let reader = StoreReader::open(&store).unwrap();
    let emails = reader.findings(&Filter::default()).unwrap();
    assert_eq!(emails.iter().filter(|finding| finding.rule.id == "pii.email").count(), 2);
    let usage = reader.usage(0).unwrap();
    assert!(usage.iter().any(|row| row.service == "raw_client.py" && row.calls > 0), "{usage:?}");
}
