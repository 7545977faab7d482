//! `outflow run` with a real tap and a log, as a service runs it: two processes, one store, a budget, a clean end.

use std::{fs, io::Write as _, time::Duration};

use outflow::{
    clock,
    findings::Finding,
    store::{Filter, StoreReader},
};
use testbed::{
    Agent,
    fake_collector::{FakeCollector, Signals, Wire},
};

use crate::{
    leaks::probed,
    split::{capabilities, in_group},
    support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, outflow},
};

/// The span that the client's calls hang below.
const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const PARENT: u64 = 0xb7ad_6b71_6920_3331;

/// linux/capability.h.
const DAC_READ_SEARCH: u64 = 1 << 2;

/// How long an agent may take to say something, and to end, in seconds.
const TALK_LIMIT_S: u64 = 120;
const END_LIMIT_S: i64 = 60;

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
    let collector = FakeCollector::start(Wire::Http).unwrap();
    let text = format!(
        "[state]\ndirectory = {state:?}\n[tap]\nenabled = true\nscope = \"cgroup\"\ncgroups = [{:?}]\n[logs]\n[[logs.files]]\n\
         globs = [\"{}*\"]\nservice = \"shop\"\n[admin]\nlisten = \"off\"\n\
         [[budget]]\nservice = \"raw_*\"\nlimit_usd = \"0.0001\"\nwindow = \"1d\"\n\
         [[sinks.otlp]]\nendpoint = {:?}\nprotocol = \"http\"\ntraces = true\n",
        bench.cgroup.path(),
        log.display(),
        collector.endpoint(),
    );
    fs::write(&config, text).unwrap();
    fs::write(&log, "refund for maria.keller@outflow-demo-shop.com\n").unwrap();
    let agent = Agent::start(outflow(), &config, bench.dir(), "agent").unwrap();
    agent.says("outflow: ready", TALK_LIMIT_S).unwrap();

    let mut meeting = bench.rendezvous().unwrap();
    let stop = bench.dir().join("stop");
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (ready, go) = (path(&meeting.ready_path), path(&meeting.go_path));
    let traceparent = format!("00-{TRACE:032x}-{PARENT:016x}-01");
    let arguments =
        ["--ready", &ready, "--go", &go, "--stop", &path(&stop), "--requests", "20000", "--traceparent", &traceparent];
    let client = bench.start(&in_group(&bench, bench.client("raw_client.py", &arguments)), "client").unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    let tapping = agent.says("outflow: tapping", TALK_LIMIT_S).unwrap();
    assert!(tapping.contains(&bench.tls.libssl.display().to_string()), "{tapping}");
    let [pid] = bench.tls.mapped_by().unwrap()[..] else { panic!("one process maps the private library") };
    assert!(probed(pid, &bench.tls.libssl));

    // The half that reads has no right but to read logs.
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
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
    agent.terminate(END_LIMIT_S).unwrap();
    let reader = StoreReader::open(&store).unwrap();
    let emails = reader.findings(&Filter::default()).unwrap();
    assert_eq!(emails.iter().filter(|finding| finding.rule.id == "pii.email").count(), 2);
    let usage = reader.usage(0).unwrap();
    assert!(usage.iter().any(|row| row.service == "raw_client.py" && row.calls > 0), "{usage:?}");
    spans_hang_below_the_callers(&collector);
}

/// What the collector got of the calls.
fn spans_hang_below_the_callers(collector: &FakeCollector) {
    let mut spans = 0;
    for asked in collector.asked() {
        let Signals::Traces(request) = asked.request else { continue };
        for of_service in request.resource_spans {
            let resource = format!("{:?}", of_service.resource);
            assert!(resource.contains("raw_client.py"), "{resource}");
            for span in of_service.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                assert_eq!(span.trace_id, TRACE.to_be_bytes(), "{span:?}");
                assert_eq!(span.parent_span_id, PARENT.to_be_bytes(), "{span:?}");
                assert!(span.name.starts_with("chat gpt-"), "{span:?}");
                assert!(
                    span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0,
                    "{span:?}"
                );
                spans += 1;
            }
        }
    }
    assert!(spans > 0, "no span of any call");
}
