//! The load: one process that talks TLS with itself. Enters: what it is to do. Leaves: how long that took it.

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{ChildStderr, ChildStdout},
};

/// Which calls of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Plain,
    Ex,
}

impl Flavour {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Ex => "ex",
        }
    }

    pub(crate) fn write(self) -> &'static str {
        match self {
            Self::Plain => "SSL_write",
            Self::Ex => "SSL_write_ex",
        }
    }

    pub(crate) fn read(self) -> &'static str {
        match self {
            Self::Plain => "SSL_read",
            Self::Ex => "SSL_read_ex",
        }
    }
}

/// One size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) size: usize,
    pub(crate) pairs: usize,
    pub(crate) burst: usize,
    pub(crate) period_us: usize,
}

/// What came of one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) size: usize,
    pub(crate) pairs: usize,
    pub(crate) requests: usize,
    pub(crate) p50_ns: f64,
    pub(crate) p99_ns: f64,
    pub(crate) seconds: f64,
    /// Of whoever watched, meanwhile.
    pub(crate) watcher_cpu_seconds: f64,
}

/// Arguments of the load's program.
pub(crate) fn arguments(host: &str, go: &Path, flavour: Flavour, specs: &[Spec]) -> Vec<String> {
    let head = [host.to_owned(), go.display().to_string(), flavour.name().to_owned()];
    let specs = specs.iter().map(|spec| format!("{}:{}:{}:{}", spec.size, spec.pairs, spec.burst, spec.period_us));
    head.into_iter().chain(specs).collect()
}

/// Waits for the load's READY and, with `tapping`, for the tap's own word, in either order. Gives the load's process, and what else is said.
pub(crate) fn ready(stderr: ChildStderr, tapping: bool) -> (u32, Lines<BufReader<ChildStderr>>) {
    let mut talk = BufReader::new(stderr).lines();
    let (mut load, mut tapped) = (None, !tapping);
    while load.is_none() || !tapped {
        let line = talk.next().expect("the load says READY before it ends").expect("text");
        if let Some(pid) = line.strip_prefix("READY ") {
            load = Some(pid.parse().expect("a process id"));
        }
        tapped |= line.starts_with("outflow: tapping") && line.contains("libssl");
    }
    (load.expect("it said so"), talk)
}

/// Lets the load work; `cpu_seconds` says what the watcher has used so far.
pub(crate) fn work(go: &Path, stdout: ChildStdout, mut cpu_seconds: impl FnMut() -> f64) -> Vec<Line> {
    fs::write(go, "").expect("the go file");
    let mut lines = Vec::new();
    let mut before = 0.0;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let now = cpu_seconds();
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        if let [size, pairs, requests, p50_ns, p99_ns, took_us, _late] = numbers[..] {
            lines.push(Line {
                size: size as usize,
                pairs: pairs as usize,
                requests: requests as usize,
                p50_ns: p50_ns as f64,
                p99_ns: p99_ns as f64,
                seconds: took_us as f64 / 1e6,
                watcher_cpu_seconds: now - before,
            });
        }
        before = now;
    }
    lines
}
