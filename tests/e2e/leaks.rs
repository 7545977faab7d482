//! The whole agent as a user runs it: `outflow tap` around a real client, and what it says about it.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, outflow};

/// Runs `outflow tap` with `options` around a client in the sandbox; gives its records and its exit status.
pub(crate) fn tap(label: &str, options: &[&str], client: &str, arguments: &[&str]) -> (Vec<Value>, Option<i32>) {
    let bench = bench(label);
    let data = bench.dir().join("data.jsonl");
    let mut command = vec![outflow().as_os_str().to_owned(), "tap".into()];
    command.extend(options.iter().map(Into::into));
    command.extend(["--output".into(), data.clone().into_os_string(), "--".into()]);
    command.extend(bench.client(client, arguments));
    let mut sandbox = bench.sandboxed(&command);
    sandbox.env("STATE_DIRECTORY", bench.dir().join("state")).env("OUTFLOW_TEST_OUTPUT", &data);
    let ended = testbed::Job::start(sandbox, bench.dir(), "tap").unwrap().wait(CLIENT_TIMEOUT_S).unwrap();
    let text = std::fs::read_to_string(&data).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    assert!(
        ended.stderr.contains(&format!("outflow: tapping OpenSSL in {}", bench.tls.libssl.display())),
        "{}",
        ended.stderr
    );
    // Nothing that was planted leaves the host, nor does the agent talk about it.
    for secret in ["maria.keller@outflow-demo-shop.com", "4929 1827 3645 5"] {
        assert!(!text.contains(secret) && !ended.stderr.contains(secret), "{secret} left the host");
    }
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), ended.status.code())
}

pub(crate) fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["event_name"] == kind).collect()
}

/// Rule and JSON path of each leak, sorted.
fn leaks(records: &[Value]) -> Vec<(String, String)> {
    let mut found: Vec<_> = of_kind(records, "outflow.finding")
        .iter()
        .filter(|finding| finding["category"] == "leak")
        .map(|finding| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (text(&finding["rule"]["id"]), text(&finding["location"]["path"]))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn planted_leaks_are_found_where_they_were_planted() {
    if !bpf_or_skip() {
        return;
    }
    let (records, status) = tap("leaks", &[], "demo_app.py", &[]);
    assert_eq!(status, Some(0), "the status is the command's own");

    let leaks = leaks(&records);
    println!("{leaks:#?}");
    for expected in [
        ("pii.email", "$.messages[1].content"),
        ("pii.credit-card", "$.messages[1].content"),
        ("pii.email", "$.messages[0].content"),
        ("pii.email", "$.input"),
        ("pii.credit-card", "$.input"),
        ("secret.aws-access-key-id", "$.messages[0].content"),
        ("secret.aws-secret-access-key", "$.messages[0].content"),
        ("secret.github-token", "$.messages[0].content"),
    ] {
        assert!(
            leaks.iter().any(|(rule, path)| (rule.as_str(), path.as_str()) == expected),
            "{expected:?} in {leaks:#?}"
        );
    }
    let findings = of_kind(&records, "outflow.finding");
    let rules: Vec<&str> = findings.iter().filter_map(|finding| finding["rule"]["id"].as_str()).collect();
    for expected in ["model.unpinned", "cost.untracked"] {
        assert!(rules.contains(&expected), "{expected} in {rules:?}");
    }
    for finding in findings {
        assert_eq!(finding["process"]["service"], "demo_app.py");
        assert!(["api.openai.com", "api.anthropic.com"].contains(&finding["destination"]["host"].as_str().unwrap()));
    }

    let exchanges = of_kind(&records, "outflow.exchange");
    let apis: Vec<_> = exchanges.iter().filter_map(|exchange| exchange["destination"]["api"].as_str()).collect();
    assert_eq!(apis, ["chat_completions", "chat_completions", "messages", "embeddings"]);
    assert!(exchanges.iter().all(|exchange| exchange["complete"] == true), "{exchanges:#?}");
    assert!(exchanges.iter().all(|exchange| exchange["cost_nano_usd"].as_u64() > Some(0)), "{exchanges:#?}");
    let sources: Vec<_> = exchanges.iter().filter_map(|exchange| exchange["cost_source"].as_str()).collect();
    assert_eq!(sources, ["catalogue", "estimated", "catalogue", "catalogue"], "the stream did not say");

    let [summary] = of_kind(&records, "outflow.summary")[..] else { panic!("one summary: {records:#?}") };
    assert_eq!(summary["exchanges"], 4);
    assert_eq!(summary["losses"], Value::Array(Vec::new()));
}

#[test]
fn fail_on_turns_findings_into_an_exit_code() {
    if !bpf_or_skip() {
        return;
    }
    assert_eq!(tap("fail-on", &["--fail-on", "high"], "demo_app.py", &[]).1, Some(1));
    assert_eq!(tap("fail-not", &["--fail-on", "high"], "other_host.py", &[]).1, Some(0));
}

#[test]
fn a_control_group_is_a_scope_and_is_removed_again() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("cgroup-scope");
    let group = bench.cgroup.path().join("inner");
    let (records, status) = tap("in-cgroup", &["--cgroup", group.to_str().unwrap()], "demo_app.py", &[]);
    assert_eq!(status, Some(0));
    assert_eq!(of_kind(&records, "outflow.exchange").len(), 4);
    assert!(!group.exists(), "what the tap made, it removed");
}

/// A running process that is tapped by its number: what it does from then on is seen, what its other processes do as well.
#[test]
fn a_running_process_is_tapped_by_its_pid() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("by-pid");
    let mut meeting = bench.rendezvous().unwrap();
    let (ready, go) = (meeting.ready_path.to_str().unwrap().to_owned(), meeting.go_path.to_str().unwrap().to_owned());
    let stop = bench.dir().join("stop");
    let arguments = ["--ready", &ready, "--go", &go, "--stop", stop.to_str().unwrap(), "--requests", "20000"];
    let client = bench.client("raw_client.py", &arguments);
    let client = bench.start(&client, "client").unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();

    let [pid] = bench.tls.mapped_by().unwrap()[..] else { panic!("one process maps the private library") };
    let mut tap = Command::new(outflow());
    tap.args(["tap", "--pid", &pid.to_string()]).env("STATE_DIRECTORY", bench.dir().join("state"));
    let mut tap = tap.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut talk = BufReader::new(tap.stderr.take().unwrap());
    let mut line = String::new();
    talk.read_line(&mut line).unwrap();
    assert!(line.starts_with("outflow: tapping ") && line.contains(&format!("(process {pid})")), "{line}");

    // The connection is open already: its name was never seen, so the Host header of its next request decides. What goes by
    // before that verdict is missed, how much is up to the machine; so the client goes on until a whole call was seen.
    meeting.go().unwrap();
    let mut records: Vec<Value> = Vec::new();
    for line in BufReader::new(tap.stdout.take().unwrap()).lines() {
        records.push(serde_json::from_str(&line.unwrap()).unwrap());
        if records.last().unwrap()["complete"] == true {
            std::fs::write(&stop, "").unwrap();
        }
    }
    client.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    // The tap ends by itself when the process is gone, and may say that it missed something.
    let status = tap.wait().unwrap().code();
    assert!(matches!(status, Some(0 | 3)), "{status:?}");
    let exchanges = of_kind(&records, "outflow.exchange");
    assert!(stop.exists(), "after the first request decided, calls are whole: {records:#?}");
    assert!(exchanges.iter().all(|exchange| exchange["process"]["pid"] == pid), "{exchanges:#?}");
}

/// Probes live as long as the agent: killed without a word, it leaves nothing in the program that it tapped.
#[test]
fn an_agent_that_is_killed_takes_its_probes_along() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("killed");
    let mut meeting = bench.rendezvous().unwrap();
    let (ready, go) = (meeting.ready_path.to_str().unwrap().to_owned(), meeting.go_path.to_str().unwrap().to_owned());
    let client = bench.client("raw_client.py", &["--ready", &ready, "--go", &go, "--requests", "3"]);
    let client = bench.start(&client, "client").unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    let [pid] = bench.tls.mapped_by().unwrap()[..] else { panic!("one process maps the private library") };
    assert!(!probed(pid, &bench.tls.libssl), "nothing is probed yet");

    let mut tap = Command::new(outflow());
    tap.args(["tap", "--pid", &pid.to_string(), "--output", "/dev/null"])
        .env("STATE_DIRECTORY", bench.dir().join("state"));
    let mut tap = tap.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(tap.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(probed(pid, &bench.tls.libssl), "probes change the code in memory: {line}");

    tap.kill().unwrap();
    tap.wait().unwrap();
    // The kernel takes a breakpoint back when the last one who wanted it is gone, at the latest when it is hit.
    meeting.go().unwrap();
    client.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
}

/// The code of a library differs in the memory of a process from what is in the file: a probe is a breakpoint in it.
pub(crate) fn probed(pid: u32, library: &Path) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps
        .lines()
        .find(|line| line.contains(" r-xp ") && line.ends_with(library.to_str().unwrap()))
        .expect("the process maps the library's code");
    let mut words = line.split_whitespace();
    let (start, end) = words.next().unwrap().split_once('-').unwrap();
    let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
    let offset = usize::from_str_radix(words.nth(1).unwrap(), 16).unwrap();
    let mut code = vec![0; usize::try_from(end - start).unwrap()];
    std::fs::File::open(format!("/proc/{pid}/mem")).unwrap().read_exact_at(&mut code, start).unwrap();
    let file = std::fs::read(library).unwrap();
    let of_file = &file[offset..file.len().min(offset + code.len())];
    code[..of_file.len()] != *of_file
}
