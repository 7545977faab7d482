//! Probes end with whoever placed them, however that ends, and the process that they were in goes on; and they recover the same by
//! either means.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use outflow::{
    clock,
    rules::{RuleSource, VendorTable},
    sources::tap::{Means, Scope, Settings, Tap, try_load},
};
use rustix::process::{Pid, Signal, kill_process};
use testbed::Bench;

use crate::{
    leaks::probed,
    split::waiting_client,
    support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, facts, outflow, run_client},
    tap::{assert_byte_exact, assert_no_loss, tapped},
};

/// Numbers of the `uprobe_multi` links that a process holds: `/proc/<pid>/fdinfo`, kernel/bpf/syscall.c, `bpf_link_show_fdinfo`.
pub(crate) fn links_of(pid: u32) -> BTreeSet<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    // A descriptor may be closed meanwhile.
    let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let of_links = texts.filter(|text| text.lines().any(|line| line == "link_type:\tuprobe_multi"));
    of_links
        .map(|text| text.lines().find_map(|line| line.strip_prefix("link_id:\t")).unwrap().parse().unwrap())
        .collect()
}

/// Those of `links` that the kernel still knows.
pub(crate) fn alive(links: &BTreeSet<u32>) -> BTreeSet<u32> {
    // One that ends while it is looked at is an error, and is gone.
    aya::programs::loaded_links().flatten().map(|link| link.id()).filter(|id| links.contains(id)).collect()
}

/// Until neither link nor breakpoint is left. The kernel lets go of both a moment after their owner: no event tells of it.
fn wait_until_free(links: &BTreeSet<u32>, client: u32, library: &Path) {
    let until = clock::instant() + Duration::from_secs(CLIENT_TIMEOUT_S.unsigned_abs());
    while !alive(links).is_empty() || probed(client, library) {
        assert!(clock::instant() < until, "left: links {:?}, or a breakpoint", alive(links));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `outflow tap` around a running process, once it said that it taps. Ended on drop.
struct Alone(Child);

impl Alone {
    fn start(bench: &Bench, pid: u32) -> Self {
        let mut tap = Command::new(outflow());
        tap.args(["tap", "--pid", &pid.to_string(), "--output"])
            .arg(bench.dir().join("data.jsonl"))
            .env("STATE_DIRECTORY", bench.dir().join("state"));
        let mut process = Self(tap.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        let mut talk = BufReader::new(process.0.stderr.take().unwrap());
        let mut line = String::new();
        talk.read_line(&mut line).unwrap();
        assert!(line.starts_with("outflow: tapping "), "{line}");
        // Whoever says more must not find nobody listening.
        process.0.stderr = Some(talk.into_inner());
        process
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.0.id().cast_signed()).unwrap(), signal).unwrap();
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Taps a waiting client, ends the tap by `signal`, and sees the client go on without a probe in it. Gives the tap's status.
fn ended_by(label: &str, signal: Signal) -> Option<i32> {
    let bench = bench(label);
    let (client, mut meeting, pid) = waiting_client(&bench);
    let mut tap = Alone::start(&bench, pid);
    assert!(probed(pid, &bench.tls.libssl), "probes change the code in memory");
    let links = links_of(tap.0.id());
    assert!(!links.is_empty() && alive(&links) == links, "{links:?}");
    tap.signal(signal);
    let mut rest = String::new();
    tap.0.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    let status = tap.0.wait().unwrap();
    if signal == Signal::INT {
        // It takes them off before it ends: there is nothing to wait for.
        assert!(alive(&links).is_empty() && !probed(pid, &bench.tls.libssl), "{rest}");
    }
    wait_until_free(&links, pid, &bench.tls.libssl);
    meeting.go().unwrap();
    facts(&bench, client.wait(CLIENT_TIMEOUT_S).unwrap());
    status.code()
}

/// The tests below ask for links; where there are none, the other means has its own tests.
fn links_or_skip() -> bool {
    if !bpf_or_skip() {
        return false;
    }
    match try_load().unwrap() {
        Means::Links => true,
        means @ Means::PerfEvents { .. } => {
            println!("skipped: {means}");
            false
        }
    }
}

#[test]
fn a_killed_tap_leaves_no_link_and_its_target_goes_on() {
    if links_or_skip() {
        assert_eq!(ended_by("probes-killed", Signal::KILL), None);
    }
}

#[test]
fn an_interrupted_tap_takes_its_links_off_before_it_ends() {
    if links_or_skip() {
        assert_eq!(ended_by("probes-interrupted", Signal::INT), Some(0));
    }
}

#[test]
fn a_panic_takes_the_links_along() {
    if !links_or_skip() {
        return;
    }
    let bench = bench("probes-panic");
    let (client, mut meeting, pid) = waiting_client(&bench);
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap());
    // Other tests of this process have links of their own, and come and go: the client tells.
    let panicked = std::thread::spawn(move || {
        let tap =
            Tap::start(&Scope::Processes(vec![pid]), &[], Settings::default(), &vendors, |_| true, |_| {}).unwrap();
        assert!(!tap.is_attached(), "a panic that holds the tap");
    });
    assert!(panicked.join().is_err());
    wait_until_free(&BTreeSet::new(), pid, &bench.tls.libssl);
    meeting.go().unwrap();
    facts(&bench, client.wait(CLIENT_TIMEOUT_S).unwrap());
}

/// What a kernel before 6.6 gets.
#[test]
fn perf_events_recover_what_links_recover() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("probes-perf");
    let settings = Settings { perf_events: true, ..Settings::default() };
    let (facts, seen, ledger) = tapped(&bench, settings, || run_client(&bench, "sync_client.py", &[]));
    assert!(assert_byte_exact(&bench, &seen) >= 1, "{facts}");
    assert_no_loss(&ledger);
}
