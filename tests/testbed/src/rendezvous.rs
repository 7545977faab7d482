//! Two named pipes by which a test and a client meet: the client says that it is ready and waits until it is told to go on.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, FileType, Mode, mknodat},
};

/// The test's side.
#[derive(Debug)]
pub struct Rendezvous {
    /// What the client takes as `--ready`.
    pub ready_path: PathBuf,
    /// What the client takes as `--go`.
    pub go_path: PathBuf,
    ready: File,
    go: File,
}

impl Rendezvous {
    /// Makes the pipes in `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let pipe = |name: &str| -> Result<(PathBuf, File)> {
            let path = dir.join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                .with_context(|| format!("cannot make the pipe {}", path.display()))?;
            // Open for both: so neither side ever waits in open(2), and a client that died cannot hold us up (fifo(7)).
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            Ok((path, file))
        };
        let ((ready_path, ready), (go_path, go)) = (pipe("ready")?, pipe("go")?);
        Ok(Self { ready_path, go_path, ready, go })
    }

    /// Waits until the client is ready, at most `seconds`.
    pub fn wait_ready(&mut self, seconds: i64) -> Result<()> {
        let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let readable = poll(&mut [PollFd::new(&self.ready, PollFlags::IN)], Some(&limit))?;
        ensure!(readable > 0, "the client was not ready after {seconds} s");
        let mut line = [0; 6];
        self.ready.read_exact(&mut line)?;
        ensure!(&line == b"ready\n", "the client said {line:?}");
        Ok(())
    }

    /// Lets the client go on.
    pub fn go(&mut self) -> Result<()> {
        Ok(self.go.write_all(b"go\n")?)
    }
}
