//! The only reader of time. Leaves: [`Timestamp`]s. Everything else gets its time inside `Input`.
#![expect(clippy::disallowed_methods, reason = "this is the one room that may read the clock")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::units::Timestamp;

/// The wall clock now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// A monotonic instant for deadlines and durations inside the agent.
pub fn instant() -> Instant {
    Instant::now()
}

/// Processor time of this thread so far, nanoseconds: what others do meanwhile does not count.
pub fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Turns the kernel's monotonic nanoseconds (`bpf_ktime_get_ns`, CLOCK_MONOTONIC) into wall-clock time.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicToWall {
    offset_ns: u64,
}

impl MonotonicToWall {
    /// Reads both clocks once. Neither a later step of the wall clock nor time spent suspended is followed: order matters
    /// more here.
    pub fn measure() -> Self {
        let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let monotonic_ns = u64::try_from(monotonic.tv_sec).unwrap_or(0) * 1_000_000_000
            + u64::try_from(monotonic.tv_nsec).unwrap_or(0);
        Self { offset_ns: now().0.saturating_sub(monotonic_ns) }
    }

    /// The wall-clock time of a kernel time stamp.
    pub fn wall(self, monotonic_ns: u64) -> Timestamp {
        Timestamp(self.offset_ns.saturating_add(monotonic_ns))
    }
}
