//! The ground under the other tests, without the tap: every client does its work in the sandbox, the server writes down the
//! very bytes that the client sent, and the sandbox leaves nothing behind.

use std::{fs, io::Read, path::Path};

use rustix::process::Signal;
use testbed::Connection;

use crate::support;

/// How often `needle` stands in `bytes`.
fn count(bytes: &[u8], needle: &str) -> usize {
    bytes.windows(needle.len()).filter(|window| *window == needle.as_bytes()).count()
}

fn received(connections: &[Connection], host: &str) -> Vec<u8> {
    connections.iter().filter(|one| one.server_name == host).flat_map(|one| one.received.clone()).collect()
}

fn sent(connections: &[Connection], host: &str) -> Vec<u8> {
    connections.iter().filter(|one| one.server_name == host).flat_map(|one| one.sent.clone()).collect()
}

#[test]
fn the_sync_clients_speak_to_every_endpoint() {
    if !support::sandbox_or_skip() {
        return;
    }
    let bench = support::bench("sync");
    let facts = support::run_client(&bench, "sync_client", &["--canary", "QX7-sync"]);
    let calls = facts["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 9);
    let moved = calls.iter().filter(|call| call["asked"] != call["answered"]).count();
    assert_eq!(moved, 4, "gpt-4o twice, gpt-5-mini, claude-sonnet-4-5: {calls:?}");
    let connections = bench.connections().unwrap();
    let openai = received(&connections, "api.openai.com");
    assert_eq!(count(&openai, "POST /v1/chat/completions "), 5);
    assert_eq!(count(&openai, "POST /v1/responses "), 1);
    assert_eq!(count(&openai, "POST /v1/embeddings "), 1);
    assert_eq!(count(&openai, "GET /v1/models "), 1);
    assert_eq!(count(&openai, "QX7-sync"), 8, "one in each prompt, two in the tool's round trip");
    let anthropic = received(&connections, "api.anthropic.com");
    assert_eq!(count(&anthropic, "POST /v1/messages "), 4);
    assert_eq!(count(&anthropic, "QX7-sync"), 5);
    let answers = sent(&connections, "api.openai.com");
    assert_eq!(count(&answers, "HTTP/1.1 429 "), 1);
    assert_eq!(count(&answers, "content-encoding: gzip"), 1);
}

#[test]
fn the_async_clients_call_side_by_side() {
    if !support::sandbox_or_skip() {
        return;
    }
    let bench = support::bench("async");
    let facts = support::run_client(&bench, "async_client", &["--canary", "QX7-async", "--calls", "8"]);
    let canaries = facts["canaries"].as_array().unwrap();
    assert_eq!(canaries.len(), 16);
    let connections = bench.connections().unwrap();
    assert!(connections.len() > 2, "the calls must have overlapped");
    for canary in canaries {
        let canary = format!("\"{}\"", canary.as_str().unwrap()); // in quotes: 1 is not 10
        let homes = connections.iter().filter(|one| count(&one.received, &canary) == 1).count();
        assert_eq!(homes, 1, "{canary} travels on one connection");
    }
}

#[test]
fn streams_come_in_many_events_and_say_usage_only_when_asked() {
    if !support::sandbox_or_skip() {
        return;
    }
    let bench = support::bench("stream");
    let facts = support::run_client(&bench, "stream_client", &["--canary", "QX7-stream"]);
    let streams = facts["streams"].as_array().unwrap();
    let usage: Vec<bool> = streams.iter().map(|stream| stream["usage"].is_u64()).collect();
    assert_eq!(usage, [false, true, true, false, true, true]);
    assert!(streams.iter().all(|stream| stream["events"].as_u64() > Some(4)), "{streams:?}");
    let connections = bench.connections().unwrap();
    let answers = sent(&connections, "api.openai.com");
    assert_eq!(count(&answers, "transfer-encoding: chunked"), 5);
    assert_eq!(count(&answers, "data: [DONE]"), 3, "the fourth is compressed, the fifth is no chat");
    // The echo is cut into events: no delta holds the canary in one piece.
    assert_eq!(count(&answers, "QX7-stream"), 4, "only in the four events that repeat the response's whole text");
    assert_eq!(count(&sent(&connections, "api.anthropic.com"), "event: message_delta"), 1);
}

#[test]
fn a_request_of_eight_megabytes_is_one_write_and_arrives_whole() {
    if !support::sandbox_or_skip() {
        return;
    }
    let bench = support::bench("big");
    let facts = support::run_client(&bench, "big_client", &["--canary", "QX7-big"]);
    let connections = bench.connections().unwrap();
    assert_eq!(connections.len(), 1);
    assert_eq!(connections[0].received.len() as u64, facts["sent_bytes"].as_u64().unwrap());
    assert!(
        facts["largest_send_bytes"].as_u64() > Some(8 << 20),
        "Python hands the body to OpenSSL in one call: {facts}"
    );
    assert_eq!(count(&connections[0].received, "QX7-big-start"), 1);
    assert_eq!(count(&connections[0].received, "QX7-big-end"), 1);
}

#[test]
fn the_raw_client_waits_after_its_handshake() {
    if !support::sandbox_or_skip() {
        return;
    }
    let bench = support::bench("raw");
    let mut meeting = bench.rendezvous().unwrap();
    let (ready, go) = (meeting.ready_path.to_str().unwrap(), meeting.go_path.to_str().unwrap());
    let arguments = ["--requests", "5", "--size", "70000", "--answer-size", "300000", "--ready", ready, "--go", go];
    let job = bench.start(&bench.client("raw_client", &arguments), "raw").unwrap();
    meeting.wait_ready(support::CLIENT_TIMEOUT_S).unwrap();
    let mapped = bench.tls.mapped_by().unwrap();
    assert_eq!(mapped.len(), 1, "the client alone maps the private copy");
    let before: usize = bench.connections().unwrap().iter().map(|one| one.received.len()).sum();
    assert_eq!(before, 0, "no request before the word");
    meeting.go().unwrap();
    let facts = support::facts(&bench, job.wait(support::CLIENT_TIMEOUT_S).unwrap());
    assert_eq!(facts["sends"], 10, "head and body of five requests");
    let connections = bench.connections().unwrap();
    assert_eq!(connections.len(), 1, "one connection is kept");
    assert_eq!(connections[0].received.len() as u64, facts["sent_bytes"].as_u64().unwrap());
    assert_eq!(count(&connections[0].received, "content-length: 70000"), 0, "http.client writes Content-Length");
    assert_eq!(count(&connections[0].received, "Content-Length: 70000"), 5);
    assert!(connections[0].sent.len() > 5 * 300_000);
}

#[test]
fn a_client_without_a_server_name_and_a_host_that_is_no_vendor_are_served() {
    if !support::sandbox_or_skip() {
        return;
    }
    let bench = support::bench("hosts");
    support::run_client(&bench, "raw_client", &["--no-sni", "--canary", "QX7-nameless"]);
    let connections = bench.connections().unwrap();
    assert_eq!(connections[0].server_name, "no-sni");
    assert_eq!(count(&connections[0].received, "QX7-nameless-0"), 1);

    let bench = support::bench("hosts");
    support::run_client(&bench, "other_host", &["--canary", "QX7-other"]);
    let connections = bench.connections().unwrap();
    assert_eq!(connections[0].server_name, "www.example.test");
    assert_eq!(count(&connections[0].received, "QX7-other"), 3, "in path, header and body");
    assert_eq!(count(&connections[0].sent, "QX7-other"), 1);
}

#[test]
fn the_demo_program_leaks_what_the_demo_needs() {
    if !support::sandbox_or_skip() {
        return;
    }
    let bench = support::bench("demo");
    let facts = support::run_client(&bench, "demo_app", &[]);
    assert_eq!(facts["calls"].as_array().unwrap().len(), 4);
    let connections = bench.connections().unwrap();
    let (openai, anthropic) = (received(&connections, "api.openai.com"), received(&connections, "api.anthropic.com"));
    for (leak, times) in [("maria.keller@", 2), ("4929 1827 3645 5649", 2), ("AKIA", 1), ("ghp_", 1)] {
        assert_eq!(count(&openai, leak), times, "{leak}");
    }
    assert_eq!(count(&anthropic, "maria.keller@"), 1);
    assert_eq!(count(&openai, "\"gpt-4o\""), 2, "asked by a name that can change");
    assert_eq!(count(&sent(&connections, "api.openai.com"), "\"usage\""), 2, "the stream says no usage");
}

#[test]
fn the_sandbox_hands_the_exit_status_on_and_kills_what_stays_behind() {
    if !support::sandbox_or_skip() {
        return;
    }
    let bench = support::bench("sandbox");
    let hosts_before = fs::read("/etc/hosts").unwrap();
    let script = "sleep 600 & echo $!; grep -c api.openai.com /etc/hosts; ls /sys/class/net >/dev/null; exit 7";
    let job = bench.start(&["sh".into(), "-c".into(), script.into()], "shell").unwrap();
    let ended = job.wait(support::CLIENT_TIMEOUT_S).unwrap();
    assert_eq!(ended.status.code(), Some(7), "{}", ended.stderr);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[1], "1", "the name leads to the server");
    assert!(!Path::new("/proc").join(lines[0]).exists(), "the orphan is gone");
    assert_eq!(fs::read("/etc/hosts").unwrap(), hosts_before, "the host's own file is as it was");
}

#[test]
fn a_killed_sandbox_takes_its_command_with_it() {
    if !support::sandbox_or_skip() {
        return;
    }
    let bench = support::bench("killed");
    let mut meeting = bench.rendezvous().unwrap();
    let (ready, go) = (meeting.ready_path.to_str().unwrap(), meeting.go_path.to_str().unwrap());
    let job = bench.start(&bench.client("raw_client", &["--ready", ready, "--go", go]), "raw").unwrap();
    meeting.wait_ready(support::CLIENT_TIMEOUT_S).unwrap();
    let client = bench.tls.mapped_by().unwrap();
    assert_eq!(client.len(), 1);
    // Ends with the client's exit, as the only writer that is left: an event and no waiting by the clock.
    let handle = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(client[0].cast_signed()).unwrap(),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    job.signal(Signal::KILL).unwrap();
    job.wait(support::CLIENT_TIMEOUT_S).unwrap();
    let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    let mut ended = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut ended, Some(&limit)).unwrap(), 1, "the client outlived its sandbox");
}

#[test]
fn a_refusing_helper_is_an_error_that_names_the_command() {
    if !support::sandbox_or_skip() {
        return;
    }
    let bench = support::bench("missing");
    let job = bench.start(&["/no/such/program".into()], "missing").unwrap();
    let ended = job.wait(support::CLIENT_TIMEOUT_S).unwrap();
    assert!(!ended.status.success());
    assert!(ended.stderr.contains("/no/such/program"), "{}", ended.stderr);
}

#[test]
fn a_cgroup_kills_what_is_left_in_it() {
    if !support::sandbox_or_skip() {
        return;
    }
    let cgroup = testbed::Cgroup::create("smoke").unwrap();
    let path = cgroup.path().to_owned();
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    cgroup.add(child.id()).unwrap();
    assert_eq!(cgroup.pids().unwrap(), [child.id()]);
    drop(cgroup);
    assert!(!path.exists());
    assert!(!child.wait().unwrap().success(), "it was killed");
}

/// The gate itself: whoever may attach kernel programs may make sandboxes too.
#[test]
fn the_rights_agree_with_each_other() {
    if !support::bpf_or_skip() {
        return;
    }
    assert_eq!(testbed::missing_for_sandbox(), None);
    let mut kind = String::new();
    fs::File::open("/sys/bus/event_source/devices/uprobe/type").unwrap().read_to_string(&mut kind).unwrap();
    assert!(kind.trim().parse::<u32>().is_ok(), "{kind}");
}
