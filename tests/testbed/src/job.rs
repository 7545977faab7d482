//! One process that a test started. Enters: a command. Leaves: how it ended and what it said. On drop it is asked to end,
//! then made to. Output goes to files, so that no full pipe can hold it up.

use std::{
    fs::{self, File},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// How long a process that was asked to end may take; the sandbox gives its command ten seconds itself.
const END_TIMEOUT_S: i64 = 15;

/// A running process.
#[derive(Debug)]
pub struct Job {
    child: Child,
    handle: OwnedFd,
    /// Files with its standard output and error; none when it writes to ours.
    output: Option<(PathBuf, PathBuf)>,
}

/// A process that ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ended {
    /// Its standard output, when it succeeded; else an error with everything it said.
    pub fn success(self) -> Result<String> {
        ensure!(self.status.success(), "{}\nstdout: {}\nstderr: {}", self.status, self.stdout, self.stderr);
        Ok(self.stdout)
    }
}

impl Job {
    /// Starts `command`; its output goes to files in `dir` that carry `label`.
    pub fn start(mut command: Command, dir: &Path, label: &str) -> Result<Self> {
        let stdout = dir.join(format!("{label}.stdout"));
        let stderr = dir.join(format!("{label}.stderr"));
        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        Self::spawn(command, Some((stdout, stderr)))
    }

    /// Starts `command` with our own standard output and error.
    pub fn start_shown(command: Command) -> Result<Self> {
        Self::spawn(command, None)
    }

    fn spawn(mut command: Command, output: Option<(PathBuf, PathBuf)>) -> Result<Self> {
        command.stdin(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let pid = Pid::from_raw(child.id().cast_signed()).context("a process without a number")?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Ok(Self { child, handle, output }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error).context("cannot watch the process")
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output and error so far; nothing when it writes to ours.
    pub fn output(&self) -> Result<(String, String)> {
        let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let Some((stdout, stderr)) = &self.output else { return Ok(Default::default()) };
        Ok((read(stdout)?, read(stderr)?))
    }

    /// Has it ended?
    pub fn has_ended(&self) -> Result<bool> {
        self.ends_within(0)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(pidfd_send_signal(&self.handle, signal)?)
    }

    /// Asks it to end.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Waits for its end, at most `seconds`; an error says what it had said until then, and it is ended on drop.
    pub fn wait(mut self, seconds: i64) -> Result<Ended> {
        let ended = self.ends_within(seconds)?;
        let (stdout, stderr) = self.output()?;
        ensure!(ended, "still running after {seconds} s\nstdout: {stdout}\nstderr: {stderr}");
        Ok(Ended { status: self.child.wait()?, stdout, stderr })
    }

    /// Waits for its end or for something to read from `other`; true when it ended.
    pub fn ends_before(&self, other: &impl AsFd) -> Result<bool> {
        let mut watched = [PollFd::new(&self.handle, PollFlags::IN), PollFd::new(other, PollFlags::IN)];
        loop {
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => {} // by the very signal that will make `other` readable
                result => {
                    result?;
                    return Ok(!watched[0].revents().is_empty());
                }
            }
        }
    }

    /// A pidfd becomes readable when its process ends (pidfd_open(2)).
    fn ends_within(&self, seconds: i64) -> Result<bool> {
        let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
        loop {
            match poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&limit)) {
                Err(rustix::io::Errno::INTR) => {} // a signal that the demo has caught is looked at elsewhere
                result => return Ok(result? > 0),
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            self.terminate()?;
            if !self.ends_within(END_TIMEOUT_S)? {
                self.child.kill()?;
            }
            self.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("testbed: cannot end process {}: {error:#}", self.child.id());
        }
    }
}
