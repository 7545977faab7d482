//! `outflow tap --container`: a control group that is named as a runtime names it is found by a part of the id, is tapped, and the tap
//! ends with it, or when somebody presses Ctrl-C.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testbed::{Bench, Job, Rendezvous};

use crate::{
    leaks::{of_kind, probed},
    support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, outflow},
};

/// A group as Docker with systemd names it. On drop it is removed; by then it must be empty.
struct Container {
    id: String,
    group: PathBuf,
}

impl Container {
    fn new(bench: &Bench) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        // Of this test alone.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:08x}{number:04x}{:052x}", std::process::id(), 0);
        let group = bench.cgroup.path().join(format!("docker-{id}.scope"));
        fs::create_dir(&group).unwrap();
        Self { id, group }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.group) {
            eprintln!("cannot remove {}: {error}", self.group.display());
        }
    }
}

/// A client in the container that waits after its handshake, and a tap on the container by a part of its id.
fn tapped(bench: &Bench, container: &Container, meeting: &mut Rendezvous) -> (Job, u32, Child, String) {
    let (ready, go) = (meeting.ready_path.to_str().unwrap().to_owned(), meeting.go_path.to_str().unwrap().to_owned());
    let stop = stop(bench);
    let arguments = ["--ready", &ready, "--go", &go, "--stop", stop.to_str().unwrap(), "--requests", "20000"];
    let join = ["sh".into(), "-c".into(), "echo 0 > \"$0\" && exec \"$@\"".into()];
    let procs = container.group.join("cgroup.procs").into_os_string();
    let client = bench.client("raw_client.py", &arguments);
    let command: Vec<_> = join.into_iter().chain([procs]).chain(client).collect();
    let client = bench.start(&command, "client").unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    let [pid] = bench.tls.mapped_by().unwrap()[..] else { panic!("one process maps the private library") };

    let mut tap = Command::new(outflow());
    tap.args(["tap", "--container", &container.id[..12]]).env("STATE_DIRECTORY", bench.dir().join("state"));
    let mut tap = tap.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(tap.stderr.take().unwrap()).read_line(&mut line).unwrap();
    (client, pid, tap, line)
}

/// The client goes on until this file is there.
fn stop(bench: &Bench) -> PathBuf {
    bench.dir().join("stop")
}

/// What the tap writes to its end; the client is stopped when a whole call was seen.
fn records(bench: &Bench, tap: &mut Child) -> Vec<Value> {
    let mut records: Vec<Value> = Vec::new();
    for line in BufReader::new(tap.stdout.take().unwrap()).lines() {
        let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if record["complete"] == true {
            fs::write(stop(bench), "").unwrap();
        }
        records.push(record);
    }
    records
}

#[test]
fn a_container_is_tapped_by_a_part_of_its_id_until_it_ends() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("container");
    let container = Container::new(&bench);
    let mut meeting = bench.rendezvous().unwrap();
    let (client, pid, mut tap, line) = tapped(&bench, &container, &mut meeting);
    assert!(line.starts_with("outflow: tapping ") && line.contains(&format!("(process {pid})")), "{line}");
    meeting.go().unwrap();
    // Nobody ends the tap: it ends when the group is empty.
    let records = records(&bench, &mut tap);
    client.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    tap.wait().unwrap();
    let exchanges = of_kind(&records, "outflow.exchange");
    assert!(!exchanges.is_empty(), "{records:#?}");
    for exchange in exchanges {
        assert_eq!(exchange["process"]["container"], container.id[..12], "{exchange:#}");
    }
    assert_eq!(of_kind(&records, "outflow.summary").len(), 1);
}

#[test]
fn ctrl_c_ends_a_tap_with_its_summary_and_leaves_the_container_alone() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("ctrl-c");
    let container = Container::new(&bench);
    let mut meeting = bench.rendezvous().unwrap();
    let (client, pid, mut tap, _) = tapped(&bench, &container, &mut meeting);
    assert!(probed(pid, &bench.tls.libssl), "it is tapped");
    kill_process(Pid::from_raw(tap.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    let records = records(&bench, &mut tap);
    assert_eq!(tap.wait().unwrap().code(), Some(0));
    let [summary] = of_kind(&records, "outflow.summary")[..] else { panic!("one summary: {records:#?}") };
    assert!(summary["tls_calls"]["seen"].is_u64(), "{summary:#}");
    assert!(!probed(pid, &bench.tls.libssl), "nothing is left in the program");
    fs::write(stop(&bench), "").unwrap();
    meeting.go().unwrap();
    client.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
}

#[test]
fn a_container_that_is_not_there_is_said_and_nothing_is_started() {
    if !bpf_or_skip() {
        return;
    }
    let output = Command::new(outflow()).args(["tap", "--container", "no-such-container"]).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{talk}");
    assert!(talk.starts_with("outflow: no container `no-such-container` runs here"), "{talk}");
}
