//! One `outflow run` in a process of its own. Enters: a config file. Leaves: what it says on standard error, line by line, its admin page, and
//! how it ends. Whatever happens to the test, it is gone afterwards.

use std::{
    io::{self, BufRead as _, BufReader, PipeReader, PipeWriter, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use outflow::clock;
use rustix::process::{Pid, Signal, kill_process};

use super::{
    LIMIT,
    page::{self, Answer},
};

/// Pause between two questions to an agent or its store, which have no way to call us.
const PAUSE: Duration = Duration::from_millis(1);

/// A running agent. Killed on drop.
pub(super) struct Agent {
    child: Child,
    /// Its standard error, while nobody listens.
    unheard: Option<(PipeReader, Sender<String>)>,
    lines: Receiver<String>,
    /// All that it has said so far.
    said: Vec<String>,
    page: Option<SocketAddr>,
}

impl Agent {
    pub(super) fn start(config: &Path) -> Self {
        Self::command("run", config, &[])
    }

    /// A command that goes on until it is told to end, with these variables besides.
    pub(super) fn command(name: &str, config: &Path, variables: &[(&str, &str)]) -> Self {
        let (stderr, writer) = io::pipe().unwrap();
        let mut agent = Self::spawn(name, config, variables, (stderr, writer));
        agent.listen();
        agent
    }

    /// One whose standard error has no room, until [`listen`](Self::listen) or its end.
    pub(super) fn unheard(config: &Path) -> Self {
        let (stderr, mut writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while writer.write(b"noise\n").is_ok() {}
        // The child has the same open file: it is to wait.
        rustix::io::ioctl_fionbio(&writer, false).unwrap();
        Self::spawn("run", config, &[], (stderr, writer))
    }

    fn spawn(
        name: &str,
        config: &Path,
        variables: &[(&str, &str)],
        (stderr, writer): (PipeReader, PipeWriter),
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
        command.envs(variables.iter().copied());
        command.args([name, "--config"]).arg(config).current_dir("/");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).spawn().unwrap();
        let (sender, lines) = channel();
        Self { child, unheard: Some((stderr, sender)), lines, said: Vec::new(), page: None }
    }

    /// From now on it is heard. That ends with the pipe, and the pipe with the child.
    pub(super) fn listen(&mut self) {
        if let Some((stderr, sender)) = self.unheard.take() {
            let lines = BufReader::new(stderr).lines();
            thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the next line that begins with `start`, and gives its rest.
    pub(super) fn says(&mut self, start: &str) -> String {
        loop {
            let line = match self.lines.recv_timeout(LIMIT) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => panic!("it never said {start:?}:\n{}", self.said.join("\n")),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended without saying {start:?}:\n{}", self.said.join("\n"))
                }
            };
            let rest = line.strip_prefix(start).map(str::to_owned);
            self.said.push(line);
            if let Some(rest) = rest {
                return rest;
            }
        }
    }

    /// Waits until it says that it is ready.
    pub(super) fn ready(mut self) -> Self {
        self.page();
        self.says("outflow: ready");
        self
    }

    /// The address of its page.
    fn page(&mut self) -> SocketAddr {
        if self.page.is_none() {
            let rest = self.says("outflow: admin page on http://");
            self.page = Some(rest.trim_end_matches('/').parse().unwrap());
        }
        self.page.unwrap()
    }

    /// Asks its page.
    pub(super) fn get(&mut self, path: &str) -> Answer {
        page::get(self.page(), path)
    }

    /// Waits until something is true, while the agent lives.
    pub(super) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let started = clock::instant();
        while !is_so(self) {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.said.extend(self.lines.iter());
                panic!("{status} while the test waited for {what}:\n{}", self.said.join("\n"));
            }
            assert!(started.elapsed() < LIMIT, "never came to {what}; it said\n{}", self.heard().join("\n"));
            thread::sleep(PAUSE);
        }
    }

    /// All that it has said so far.
    pub(super) fn heard(&mut self) -> &[String] {
        self.said.extend(self.lines.try_iter());
        &self.said
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// kill -9. Nothing of it runs any more when this comes back.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and it must end. `meanwhile` is called again and again. Gives how it ended and all that it said.
    pub(super) fn terminate_while(mut self, mut meanwhile: impl FnMut()) -> (ExitStatus, Vec<String>) {
        self.signal(Signal::TERM);
        let started = clock::instant();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < LIMIT, "it does not end; it said\n{}", self.heard().join("\n"));
            meanwhile();
            thread::sleep(PAUSE);
        };
        self.listen();
        self.said.extend(self.lines.iter());
        (status, std::mem::take(&mut self.said))
    }

    /// SIGTERM; it must end well.
    pub(super) fn terminate(self) -> Vec<String> {
        let (status, said) = self.terminate_while(|| {});
        assert!(status.success(), "{status}; it said\n{}", said.join("\n"));
        said
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
