//! The tap in two processes: the reader recovers what it recovers with rights, having none; and neither process outlives the other
//! unnoticed.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use outflow::{
    rules::{RuleSource, VendorTable},
    sources::{
        Input,
        tap::{Attacher, Ledger, Means, Notice, Scope, Settings, Stack, Tap, TapError, try_load},
    },
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
    thread::{CapabilitySet, CapabilitySets, set_capabilities},
};
use serde_json::Value;
use testbed::Bench;

use crate::{
    leaks::{of_kind, probed, tap},
    probes::{alive, links_of},
    support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, facts, outflow},
    tap::{Seen, Streams, assert_byte_exact, assert_no_loss, collect},
};

/// Attach capabilities, linux/capability.h: DAC_READ_SEARCH 2, SYS_PTRACE 19, PERFMON 38, BPF 39, CHECKPOINT_RESTORE 40.
pub(crate) const ATTACH: u64 = 1 << 2 | 1 << 19 | 1 << 38 | 1 << 39 | 1 << 40;
/// What it keeps too where the kernel has no `uprobe_multi` links: SYS_ADMIN.
pub(crate) const ATTACH_BY_PERF_EVENT: u64 = 1 << 21;

/// What the attacher keeps on this kernel.
pub(crate) fn kept_by_the_attacher() -> u64 {
    match try_load().unwrap() {
        Means::Links => ATTACH,
        Means::PerfEvents { .. } => ATTACH | ATTACH_BY_PERF_EVENT,
    }
}
const NOBODY: u32 = 65_534;

/// The bench's control group, which is right below the root of the hierarchy.
fn group(bench: &Bench) -> Scope {
    Scope::Cgroup { folder: bench.cgroup.path().to_owned(), level: 1 }
}

/// `command` as one that starts in the bench's control group.
pub(crate) fn in_group(bench: &Bench, command: Vec<OsString>) -> Vec<OsString> {
    let join = [OsString::from("sh"), "-c".into(), "echo 0 > \"$0\" && exec \"$@\"".into()];
    let group = bench.cgroup.path().join("cgroup.procs").into_os_string();
    join.into_iter().chain([group]).chain(command).collect()
}

fn vendors() -> Arc<VendorTable> {
    Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap())
}

/// One line of `/proc/<process>/status`, as the kernel writes it.
fn status_line(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

pub(crate) fn capabilities(status: &str, name: &str) -> u64 {
    u64::from_str_radix(&status_line(status, name), 16).unwrap()
}

/// Gives up the rights of this thread alone, so that the threads it starts have none either.
fn give_up_this_thread() {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).unwrap();
}

/// A client tapped from a thread without rights, with the probes in a process of their own. Gives what the client printed, what was
/// seen, the ledger, and the effective capabilities that the thread which reads the ring had while it read.
fn tapped_without_rights(bench: &Bench, name: &str) -> (Value, Vec<Seen>, Ledger, Vec<u64>) {
    let attacher = Attacher::spawn_program(outflow()).unwrap();
    give_up_this_thread();
    let (streams, rights) = (Streams::default(), Arc::new(Mutex::new(Vec::new())));
    let (into, of_reader) = (Arc::clone(&streams), Arc::clone(&rights));
    let deliver = move |input: Input| {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        of_reader.lock().unwrap().push(capabilities(&status, "CapEff"));
        collect(&into, &input);
        true
    };
    let notice = |notice| println!("{notice:?}");
    let known = std::slice::from_ref(&bench.tls.libssl);
    let tap =
        Tap::start_apart(attacher, &group(bench), known, Settings::default(), &vendors(), deliver, notice).unwrap();
    assert!(tap.is_attached());
    let job = bench.start(&in_group(bench, bench.client(name, &[])), name).unwrap();
    let facts = facts(bench, job.wait(CLIENT_TIMEOUT_S).unwrap());
    let ledger = tap.stop().unwrap();
    let seen = streams.lock().unwrap().values().cloned().collect();
    let rights = rights.lock().unwrap().clone();
    (facts, seen, ledger, rights)
}

fn assert_split_is_byte_exact(label: &str, name: &str) {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench(label);
    // A thread of its own: what it gives up, no other test should miss.
    let (facts, seen, ledger, rights) =
        std::thread::scope(|scope| scope.spawn(|| tapped_without_rights(&bench, name)).join().unwrap());
    assert!(assert_byte_exact(&bench, &seen) >= 1, "{facts}");
    assert_no_loss(&ledger);
    assert!(!rights.is_empty() && rights.iter().all(|held| *held == 0), "the reader had rights: {rights:x?}");
    // Who they are only the attacher can see: it reads their environment and arguments.
    assert!(seen.iter().all(|seen| seen.service == name), "{:?}", seen.iter().map(|s| &s.service).collect::<Vec<_>>());
}

#[test]
fn a_reader_without_rights_recovers_the_sync_client_byte_for_byte() {
    assert_split_is_byte_exact("split-sync", "sync_client.py");
}

#[test]
fn a_reader_without_rights_recovers_asyncio_clients_byte_for_byte() {
    assert_split_is_byte_exact("split-async", "async_client.py");
}

#[test]
fn a_reader_without_rights_recovers_eight_mebibytes() {
    assert_split_is_byte_exact("split-big", "big_client.py");
}

/// `outflow tap` in two processes around a running process, until it said that it taps.
struct Split {
    process: Child,
    /// The attaching process.
    attacher: u32,
}

impl Split {
    /// `folder` takes the data file and the state.
    fn start(folder: &Path, user: Option<&str>, pid: u32) -> Self {
        let mut tap = Command::new(outflow());
        let split = user.map_or("--split".to_owned(), |user| format!("--split={user}"));
        tap.args(["tap", &split, "--pid", &pid.to_string(), "--output"])
            .arg(folder.join("data.jsonl"))
            .env("STATE_DIRECTORY", folder.join("state"));
        let mut process = tap.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("outflow: tapping ") && line.contains(&format!("(process {pid})")), "{line}");
        let id = process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let [attacher] = children.split_whitespace().collect::<Vec<_>>()[..] else { panic!("one child: {children}") };
        Self { attacher: attacher.parse().unwrap(), process }
    }
}

/// A client that waits, connected, until it is told to go on; its process id.
pub(crate) fn waiting_client(bench: &Bench) -> (testbed::Job, testbed::Rendezvous, u32) {
    let mut meeting = bench.rendezvous().unwrap();
    let (ready, go) = (meeting.ready_path.to_str().unwrap().to_owned(), meeting.go_path.to_str().unwrap().to_owned());
    // So many that the verdict on the connection, which the first request brings about, comes long before the last.
    let client = bench.client("raw_client.py", &["--ready", &ready, "--go", &go, "--requests", "1000"]);
    let client = bench.start(&client, "client").unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    let [pid] = bench.tls.mapped_by().unwrap()[..] else { panic!("one process maps the private library") };
    (client, meeting, pid)
}

/// The agent's own process as `outflow run` will be: every thread of it without a right and another user, while it reads.
#[test]
fn no_thread_of_the_reading_process_has_a_right() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("split-rights");
    let (client, mut meeting, pid) = waiting_client(&bench);
    let folder = bench.dir().join("agent");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(bench.dir(), fs::Permissions::from_mode(0o711)).unwrap();
    chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut split = Split::start(&folder, Some(&format!("{NOBODY}:{NOBODY}")), pid);

    // It says that it taps a moment before it starts to read: no event tells of the thread that does.
    let tasks = PathBuf::from(format!("/proc/{}/task", split.process.id()));
    let reads = || {
        let names = fs::read_dir(&tasks).unwrap().flatten().map(|task| fs::read_to_string(task.path().join("comm")));
        names.flatten().any(|name| name == "outflow-ring\n")
    };
    let mut rounds = 0;
    while !reads() {
        rounds += 1;
        assert!(rounds < 600, "nobody reads the ring");
        std::thread::sleep(Duration::from_millis(50));
    }
    for task in fs::read_dir(&tasks).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(capabilities(&status, set), 0, "{status}");
        }
        assert_eq!(status_line(&status, "NoNewPrivs"), "1");
        for ids in ["Uid", "Gid"] {
            assert!(status_line(&status, ids).split('\t').all(|id| id == NOBODY.to_string()), "{status}");
        }
    }
    let status = fs::read_to_string(format!("/proc/{}/status", split.attacher)).unwrap();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(capabilities(&status, set), kept_by_the_attacher(), "{set} of the attacher: {status}");
    }
    assert_eq!(status_line(&status, "NoNewPrivs"), "1");

    meeting.go().unwrap();
    client.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    // What went by before its verdict was missed, and it may say so.
    let status = split.process.wait().unwrap().code();
    assert!(matches!(status, Some(0 | 3)), "{status:?}");
    let text = fs::read_to_string(folder.join("data.jsonl")).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let exchanges: Vec<_> = records.iter().filter(|record| record["event_name"] == "outflow.exchange").collect();
    let complete = exchanges.iter().filter(|exchange| exchange["complete"] == true).count();
    assert!(complete > 0, "{complete} of {} exchanges are complete", exchanges.len());
    assert!(exchanges.iter().all(|exchange| exchange["process"]["service"] == "raw_client.py"));
}

/// What this process starts is in scope although another one holds the probes.
#[test]
fn children_of_the_reading_process_are_tapped() {
    if !bpf_or_skip() {
        return;
    }
    let (records, status) = tap("split-children", &["--split"], "demo_app.py", &[]);
    assert_eq!(status, Some(0), "the status is the command's own");
    let exchanges = of_kind(&records, "outflow.exchange");
    assert_eq!(exchanges.len(), 4, "{exchanges:#?}");
    for exchange in exchanges {
        assert_eq!((&exchange["complete"], &exchange["process"]["service"]), (&true.into(), &"demo_app.py".into()));
    }
}

fn handle(pid: u32) -> rustix::fd::OwnedFd {
    pidfd_open(Pid::from_raw(pid.cast_signed()).unwrap(), PidfdFlags::empty()).unwrap()
}

#[test]
fn an_attacher_ends_with_its_reader_and_leaves_no_probe() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("split-killed");
    let (client, mut meeting, pid) = waiting_client(&bench);
    assert!(!probed(pid, &bench.tls.libssl), "nothing is probed yet");
    let mut split = Split::start(bench.dir(), None, pid);
    assert!(probed(pid, &bench.tls.libssl), "probes change the code in memory");

    let attacher = handle(split.attacher);
    let links = links_of(split.attacher);
    split.process.kill().unwrap();
    split.process.wait().unwrap();
    let limit = Timespec { tv_sec: CLIENT_TIMEOUT_S, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&attacher, PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(ended, 1, "the attacher goes on without its reader");
    // It takes them off before it ends: there is nothing to wait for.
    assert!(alive(&links).is_empty() && !probed(pid, &bench.tls.libssl));
    meeting.go().unwrap();
    client.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
}

#[test]
fn a_reader_learns_at_once_that_its_attacher_was_killed() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("split-orphan");
    let attacher = Attacher::spawn_program(outflow()).unwrap();
    let pid = Pid::from_raw(attacher.pid().unwrap().cast_signed()).unwrap();
    let (tell, told) = mpsc::channel();
    let notice = move |notice| drop(tell.send(notice));
    let known = std::slice::from_ref(&bench.tls.libssl);
    let tap =
        Tap::start_apart(attacher, &group(&bench), known, Settings::default(), &vendors(), |_| true, notice).unwrap();
    let tapped = Notice::Tapped { library: bench.tls.libssl.clone(), pid: None, stacks: vec![Stack::OpenSsl] };
    assert_eq!(told.recv().unwrap(), tapped);
    assert!(tap.is_attached());

    kill_process(pid, Signal::KILL).unwrap();
    let news = told.recv_timeout(Duration::from_mins(1)).unwrap();
    assert!(matches!(news, Notice::Ended { .. }), "{news:?}");
    assert!(!tap.is_attached());
    // What was counted until then can still be read.
    assert_eq!(tap.stop().unwrap().seen().calls, 0);
}

#[test]
fn a_tap_that_is_stopped_takes_its_attacher_along() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("split-stop");
    let attacher = Attacher::spawn_program(outflow()).unwrap();
    let pid = handle(attacher.pid().unwrap());
    let known = std::slice::from_ref(&bench.tls.libssl);
    let settings = Settings::default();
    let (tell, told) = mpsc::channel();
    let notice = move |notice| drop(tell.send(notice));
    let tap = Tap::start_apart(attacher, &group(&bench), known, settings, &vendors(), |_| true, notice).unwrap();
    tap.stop().unwrap();
    let gone = poll(&mut [PollFd::new(&pid, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    assert_eq!(gone.unwrap(), 1, "it was waited for");
    assert!(!told.iter().any(|news| matches!(news, Notice::Ended { .. })), "an end that was ordered is no news");
}

/// A program that starts the agent with a smaller bounding set, which is all that root gets back at exec(2).
fn bounded(bench: &Bench, name: &str, bounding: &str) -> PathBuf {
    let script = bench.dir().join(name);
    let text = format!("#!/bin/sh\nexec setpriv --bounding-set='{bounding}' {} \"$@\"\n", outflow().display());
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[test]
fn an_attacher_that_may_not_attach_says_so_in_words() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("split-refused");
    let attacher = Attacher::spawn_program(&bounded(&bench, "few", "-all")).unwrap();
    let refused = Tap::start_apart(attacher, &group(&bench), &[], Settings::default(), &vendors(), |_| true, |_| {})
        .err()
        .unwrap();
    assert!(refused.is_permission(), "{refused:?}");
    assert!(matches!(&refused, TapError::Attacher { why, .. } if why.contains("outflow doctor")), "{refused}");
}

/// The attach capabilities as setpriv(1) wants them.
const FULL: &str = "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search,+checkpoint_restore";
/// What older settings give in place of the newer ones.
const OLD: &str = "-all,+sys_admin,+sys_ptrace,+dac_read_search";

/// A client of another user with a library that is nobody else's to read, tapped by an attacher with the rights `set`. With `gone` the
/// library has lost its name when it is looked for. Gives the services that were seen and what was said.
fn tapped_with(label: &str, set: &str, gone: bool) -> (Vec<String>, String) {
    let bench = bench(label);
    let mut meeting = bench.rendezvous().unwrap();
    for path in [&meeting.ready_path, &meeting.go_path] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::set_permissions(bench.dir(), fs::Permissions::from_mode(0o711)).unwrap();
    chown(&bench.tls.dir, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&bench.tls.dir, fs::Permissions::from_mode(0o700)).unwrap();
    let (ready, go) = (meeting.ready_path.to_str().unwrap(), meeting.go_path.to_str().unwrap());
    let mut client: Vec<OsString> =
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"].map(OsString::from).into();
    client.extend(bench.client("raw_client.py", &["--ready", ready, "--go", go, "--requests", "1000"]));
    let client = bench.start(&in_group(&bench, client), "client").unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    if gone {
        fs::remove_file(&bench.tls.libssl).unwrap();
    }
    let attacher = Attacher::spawn_program(&bounded(&bench, "few", set)).unwrap();
    let (streams, notices) = (Streams::default(), Arc::new(Mutex::new(Vec::new())));
    let (into, told) = (Arc::clone(&streams), Arc::clone(&notices));
    let deliver = move |input: Input| {
        collect(&into, &input);
        true
    };
    let notice = move |notice: Notice| told.lock().unwrap().push(format!("{notice:?}"));
    let tap = Tap::start_apart(attacher, &group(&bench), &[], Settings::default(), &vendors(), deliver, notice);
    meeting.go().unwrap();
    client.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    let result = tap.and_then(Tap::stop).map(|ledger| ledger.seen());
    let services = streams.lock().unwrap().values().map(|seen| seen.service.clone()).collect();
    let said = match result {
        Ok(calls) => format!("{calls:?} {:?}", notices.lock().unwrap()),
        Err(error) => error.to_string(),
    };
    println!("{set}{}\n  services {services:?}\n  {said}", if gone { ", library gone" } else { "" });
    (services, said)
}

/// What the attacher keeps is enough for another user's process with a library that is nobody else's to read, and each of it is needed.
/// The rows are those of the table in docs/ARCHITECTURE.md.
#[test]
fn the_rights_that_the_attacher_keeps_are_enough_and_needed() {
    if !bpf_or_skip() {
        return;
    }
    if !matches!(try_load().unwrap(), Means::Links) {
        println!("skipped: this kernel has no uprobe_multi links, and other rights are kept");
        return;
    }
    let without = |right: &str| FULL.replace(&format!(",+{right}"), "");
    // Rights, whether the library has lost its name, and what is missing: nothing, when it is tapped.
    let rows = [
        (FULL.to_owned(), false, None),
        (FULL.to_owned(), true, None),
        (OLD.to_owned(), true, None),
        (without("bpf"), false, Some("CAP_BPF")),
        (without("perfmon"), false, Some("CAP_PERFMON")),
        (without("sys_ptrace"), false, Some("CAP_SYS_PTRACE")),
        (without("dac_read_search"), false, Some("CAP_DAC_READ_SEARCH")),
        (without("checkpoint_restore"), false, None),
        (without("checkpoint_restore"), true, Some("CAP_CHECKPOINT_RESTORE")),
    ];
    for (number, (set, gone, missing)) in rows.into_iter().enumerate() {
        let (services, said) = tapped_with(&format!("rights-{number}"), &set, gone);
        match missing {
            None => assert_eq!(services, ["raw_client.py"], "{set}: {said}"),
            Some(name) => assert!(services.is_empty() && said.contains(name), "{set}: {services:?} {said}"),
        }
    }
}
