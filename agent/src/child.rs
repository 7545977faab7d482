//! The end of a process that this one started. Enters: a child, and how long it may still take. Leaves: its status. Never waits
//! longer, and never leaves a child behind.

use std::{
    io,
    process::{Child, ExitStatus},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// Waits for its end, and kills it when it takes longer than `patience`: `None` then.
pub(crate) fn end(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    if ends(child, patience) {
        return child.wait().map(Some);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// It ends in time. A descriptor of a process becomes readable when it ends (pidfd_open(2)).
fn ends(child: &Child, patience: Duration) -> bool {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let Some(Ok(process)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else { return true };
    let patience = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: patience.subsec_nanos().into() };
    loop {
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience)) {
            Err(rustix::io::Errno::INTR) => {}
            ended => return ended.is_ok_and(|count| count > 0),
        }
    }
}
