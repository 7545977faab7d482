//! One run of the load under whoever watches it. Enters: the way and the sizes. Leaves: times, and of the watcher what it lost and took.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    num::NonZeroU32,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    empty,
    load::{self, Flavour, Line, Spec},
    place::Place,
};

/// A vendor's name, so that everything is copied and understood as a call to it.
const HOST: &str = "api.openai.com";

/// Who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Way {
    Plain,
    EmptyNaive,
    EmptyInside,
    EmptyChosen,
    Yardstick,
    Tap,
}

impl Way {
    pub(crate) const ALL: [Self; 6] =
        [Self::Plain, Self::EmptyNaive, Self::EmptyInside, Self::EmptyChosen, Self::Yardstick, Self::Tap];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "no probes",
            Self::EmptyNaive => "empty, entries",
            Self::EmptyInside => "empty, as C capture",
            Self::EmptyChosen => "empty, as the tap",
            Self::Yardstick => "C capture",
            Self::Tap => "outflow tap",
        }
    }
}

/// What came of a run.
pub(crate) struct Run {
    pub(crate) lines: Vec<Line>,
    pub(crate) watcher: Option<Watcher>,
}

/// Whoever hands the bytes over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watcher {
    /// Records or calls, in its own unit.
    pub(crate) seen: u64,
    pub(crate) lost: u64,
    pub(crate) rss_kib: u64,
}

/// Memory of a tap that waits, KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Idle {
    pub(crate) rss: u64,
    /// Part of it: the kernel's ring, every page of which is mapped twice so that no record has a seam.
    pub(crate) ring: u64,
    /// Resident in the process that holds the probes, where that is another one.
    pub(crate) attacher: u64,
}

/// Runs the load that way.
pub(crate) fn run(place: &Place, way: Way, flavour: Flavour, specs: &[Spec]) -> Run {
    let go = place.folder.path().join("go");
    let _ = fs::remove_file(&go);
    if way == Way::Tap {
        return under_tap(place, &go, flavour, specs);
    }
    let mut child = command(place, Command::new(&place.load), &go, flavour, specs).spawn().expect("the load starts");
    let (pid, talk) = load::ready(child.stderr.take().expect("piped"), false);
    let stdout = child.stdout.take().expect("piped");
    let pid_number = NonZeroU32::new(pid).expect("a process id");
    let (lines, watcher) = match way {
        Way::EmptyNaive | Way::EmptyInside | Way::EmptyChosen => {
            let sites = match way {
                Way::EmptyNaive => Place::naive,
                Way::EmptyInside => Place::inside,
                _ => Place::chosen,
            };
            let probes = empty::attach(place, flavour, pid_number, sites);
            let lines = load::work(&go, stdout, || 0.0);
            drop(probes);
            (lines, None)
        }
        Way::Yardstick => {
            let (lines, watcher) =
                under_yardstick(place, pid, |capture| load::work(&go, stdout, || cpu_seconds(capture)));
            (lines, Some(watcher))
        }
        Way::Plain | Way::Tap => (load::work(&go, stdout, || 0.0), None),
    };
    talk.for_each(drop);
    assert!(child.wait().expect("an exit status").success(), "the load failed");
    Run { lines, watcher }
}

fn command(place: &Place, mut command: Command, go: &Path, flavour: Flavour, specs: &[Spec]) -> Command {
    command
        .args(load::arguments(HOST, go, flavour, specs))
        .env("LD_LIBRARY_PATH", &place.libraries)
        .env("STATE_DIRECTORY", place.folder.path().join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The C capture on one process; it prints its counts when it is interrupted.
fn under_yardstick(place: &Place, pid: u32, work: impl FnOnce(u32) -> Vec<Line>) -> (Vec<Line>, Watcher) {
    let folder = place.yardstick.as_ref().expect("it was built");
    let mut capture = Command::new(folder.join("capture"))
        .arg(pid.to_string())
        .arg(&place.libssl)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the yardstick starts");
    let mut talk = BufReader::new(capture.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(talk.any(|line| line == "READY"), "the yardstick does not start: run {}/capture by hand", folder.display());
    let lines = work(capture.id());
    let rss_kib = status_kib(capture.id(), "VmRSS");
    let id = rustix::process::Pid::from_child(&capture);
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it runs");
    let mut said = String::new();
    capture.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
    capture.wait().expect("an exit status");
    let number = |name: &str| {
        let value = said.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse::<u64>().ok()).expect("the yardstick's counts")
    };
    (lines, Watcher { seen: number("kernel_ok") + number("kernel_drop"), lost: number("kernel_drop"), rss_kib })
}

/// The agent's program, with its exchanges and its summary in a file.
fn tap(place: &Place, go: &Path, flavour: Flavour, specs: &[Spec], split: bool) -> Child {
    let mut tap = Command::new(env!("CARGO_BIN_EXE_outflow"));
    tap.arg("tap");
    if split {
        tap.arg("--split");
    }
    tap.arg("--output").arg(place.folder.path().join("data.jsonl")).arg("--").arg(&place.load);
    command(place, tap, go, flavour, specs).spawn().expect("outflow starts")
}

fn under_tap(place: &Place, go: &Path, flavour: Flavour, specs: &[Spec]) -> Run {
    let mut child = tap(place, go, flavour, specs, false);
    let (_, talk) = load::ready(child.stderr.take().expect("piped"), true);
    let said = std::thread::spawn(move || talk.map_while(Result::ok).collect::<Vec<_>>());
    let mut rss_kib = 0;
    let pid = child.id();
    let lines = load::work(go, child.stdout.take().expect("piped"), || {
        rss_kib = status_kib(pid, "VmRSS").max(rss_kib);
        cpu_seconds(pid)
    });
    let status = child.wait().expect("an exit status");
    let said = said.join().expect("the talk ends");
    assert!(status.success(), "the load failed: {said:?}");
    let text = fs::read_to_string(place.folder.path().join("data.jsonl")).expect("the data file");
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().expect("a summary")).expect("JSON");
    let lost_calls = summary["losses"].as_array().into_iter().flatten().filter(|loss| loss["bytes"] != 0);
    let lost = lost_calls.filter_map(|loss| loss["calls"].as_u64()).sum();
    // What was handed over whole was put together too: one exchange a request.
    let exchanges = text.lines().filter(|line| line.contains("\"api.openai.com\"")).count();
    let requests: usize = lines.iter().map(|line| line.requests).sum();
    assert!(lost > 0 || exchanges >= requests, "{requests} requests were sent, {exchanges} understood");
    let seen = lines.iter().map(|line| (line.pairs + line.pairs * line.size.div_ceil(16_384)) as u64).sum();
    Run { lines, watcher: Some(Watcher { seen, lost, rss_kib }) }
}

/// A tap before its load does anything, in one process or in two.
pub(crate) fn idle(place: &Place, split: bool) -> Idle {
    let go = place.folder.path().join("go");
    let _ = fs::remove_file(&go);
    let spec = Spec { size: 64, pairs: 1, burst: 1, period_us: 0 };
    let mut child = tap(place, &go, Flavour::Plain, &[spec], split);
    let (_, talk) = load::ready(child.stderr.take().expect("piped"), true);
    let pid = child.id();
    let attacher = attacher_of(pid).map_or(0, |pid| status_kib(pid, "VmRSS"));
    let idle = Idle { rss: status_kib(pid, "VmRSS"), ring: ring_kib(pid), attacher };
    load::work(&go, child.stdout.take().expect("piped"), || 0.0);
    talk.for_each(drop);
    child.wait().expect("an exit status");
    idle
}

/// Resident pages of maps of the kernel programs.
fn ring_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let (mut in_map, mut sum) = (false, 0);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Rss:"), Some(kib)) if in_map => sum += kib.parse::<u64>().unwrap_or(0),
            (Some(range), Some(_)) if range.contains('-') => in_map = line.contains("bpf-map"),
            _ => {}
        }
    }
    sum
}

/// The attaching process: the child that is not the load.
fn attacher_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let is_attacher =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "outflow-attach\n");
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_attacher)
}

/// A line of `/proc/PID/status`.
fn status_kib(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Time on a processor of all its threads: the first number of each `schedstat`, nanoseconds (Documentation/scheduler/sched-stats.rst).
fn cpu_seconds(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    tasks.map(of).sum::<u64>() as f64 / 1e9
}
