//! A clock that is set back and forth, as by somebody, by a virtual machine that was resumed, or by a time server after days. Enters: steps. Leaves:
//! variables for an agent, which sees that clock from then on: libfaketime stands between it and the system's. The clock by which it measures
//! pauses stays as it is, as it does on a host.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use outflow::{clock, units::Timestamp};
use rustix::process::Pid;

/// Where Debian's package libfaketime has it, below the folder of the architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The library looks at its file no more often.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Steps, seconds: as a time server makes them, and as a wrong date does. Apache Kafka 4 refuses records that are more than an hour ahead
/// (`message.timestamp.after.max.ms`).
const STEPS_S: [i64; 5] = [-86_400, -3000, 0, 600, 3000];

/// The clock, and what makes an agent see it.
#[derive(Debug)]
pub(super) struct FakeClock {
    libraries: [PathBuf; 2],
    /// Holds how far it is off.
    file: PathBuf,
    offset_s: i64,
    /// Who saw it.
    agents: Vec<Pid>,
}

impl FakeClock {
    /// As far on as the system's; none without the library.
    pub(super) fn new(folder: &Path) -> Option<Self> {
        let places = fs::read_dir("/usr/lib").ok()?.flatten().map(|place| place.path().join(LIBRARY));
        let library = places.into_iter().find(|library| library.is_file())?;
        let clock =
            Self { libraries: [waits(folder), library], file: folder.join("clock"), offset_s: 0, agents: Vec::new() };
        clock.write();
        Some(clock)
    }

    fn write(&self) {
        // Renamed: nobody reads half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{:+}", self.offset_s)).unwrap();
        fs::rename(&new, &self.file).unwrap();
    }

    /// Off by another step than now; `which` chooses.
    pub(super) fn step(&mut self, which: u64) {
        let others: Vec<i64> = STEPS_S.into_iter().filter(|step| *step != self.offset_s).collect();
        self.offset_s = others[usize::try_from(which).unwrap() % others.len()];
        self.write();
    }

    /// Whether this is a time that only this clock shows, and not the one before its step.
    pub(super) fn shows(&self, at: Timestamp) -> bool {
        let expected = i128::from(clock::now().0) + i128::from(self.offset_s) * 1_000_000_000;
        // Steps are ten minutes apart at least.
        (expected - i128::from(at.0)).abs() < 120 * 1_000_000_000
    }

    /// How far it is off, for who reads of a failure.
    pub(super) fn offset_s(&self) -> i64 {
        self.offset_s
    }

    /// For the agent.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", self.libraries.each_ref().map(|library| library.display().to_string()).join(" ")),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", LOOKS_EVERY.as_secs().to_string()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// This agent sees it.
    pub(super) fn seen_by(&mut self, agent: Pid) {
        self.agents.push(agent);
    }
}

impl Drop for FakeClock {
    /// The library leaves two files for each process that was killed.
    fn drop(&mut self) {
        for agent in self.agents.iter().map(|agent| agent.as_raw_nonzero()) {
            for left in [format!("/dev/shm/faketime_shm_{agent}"), format!("/dev/shm/sem.faketime_sem_{agent}")] {
                let _ = fs::remove_file(left);
            }
        }
    }
}

/// The waits of C11, by which librdkafka waits and which libfaketime does not know, as those of POSIX, which it does: else each would end by
/// the clock of the system, as much too early or too late as this one is off.
fn waits(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("waits.c"), folder.join("waits.so"));
    fs::write(&source, WAITS).unwrap();
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
    assert!(status.success(), "cc: {status}");
    library
}

/// In glibc a `cnd_t` holds a `pthread_cond_t`, and a `mtx_t` a `pthread_mutex_t` (nptl/cnd_timedwait.c).
const WAITS: &str = "#include <errno.h>\n#include <pthread.h>\n#include <threads.h>\n\
    int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {\n\
        int error = pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until);\n\
        return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;\n\
    }\n";
