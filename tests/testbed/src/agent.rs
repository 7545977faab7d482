//! One `outflow run` in a process of its own. Enters: the program, a config file, a folder for what it says. Leaves: what it says on standard
//! error, its page, and how it ends. On drop it is ended.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::{Deadline, Ended, Job};

/// How long its page may take to answer, and a killed one to be gone.
const PAGE_LIMIT: Duration = Duration::from_secs(10);
const KILL_LIMIT_S: i64 = 30;

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    job: Job,
}

impl Agent {
    /// Starts it. Its output goes to files in `dir` that carry `label`.
    pub fn start(program: &Path, config: &Path, dir: &Path, label: &str) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(config).current_dir("/");
        Ok(Self { job: Job::start(command, dir, label)? })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.job.pid()
    }

    /// All that it has said so far.
    pub fn talk(&self) -> Result<String> {
        Ok(self.job.output()?.1)
    }

    /// The rest of the first line that begins so; none when it has not said it yet. An error when it never will.
    pub fn said(&self, start: &str) -> Result<Option<String>> {
        // In this order: what it said last is then not missed.
        let has_ended = self.job.has_ended()?;
        let talk = self.talk()?;
        let whole = talk.rfind('\n').map_or("", |end| &talk[..end]);
        let rest = whole.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned);
        ensure!(rest.is_some() || !has_ended, "the agent ended without saying {start:?}:\n{talk}");
        Ok(rest)
    }

    /// Waits until it has said a line that begins so, and gives its rest.
    pub fn says(&self, start: &str, seconds: u64) -> Result<String> {
        let said = Deadline::after(seconds).until(&format!("the agent to say {start:?}"), || self.said(start));
        said.with_context(|| self.talk().unwrap_or_default())
    }

    /// Asks its page; the answer's body.
    pub fn page(&self, path: &str) -> Result<String> {
        let address = self.said("outflow: admin page on http://")?.context("it has not said yet where its page is")?;
        let mut stream = TcpStream::connect(address.trim_end_matches('/')).context("cannot reach the admin page")?;
        stream.set_read_timeout(Some(PAGE_LIMIT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("the admin page does not answer")?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the admin page's answer has no end of its head")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        Ok(body.to_owned())
    }

    /// A metric that counts, over all its series; 0 when it has none.
    pub fn count(&self, metric: &str) -> Result<u64> {
        Ok(sum(&self.page("/metrics")?, metric))
    }

    /// kill -9. Nothing of it runs any more when this comes back.
    pub fn kill(self) -> Result<()> {
        self.job.signal(Signal::KILL)?;
        self.job.wait(KILL_LIMIT_S).map(drop)
    }

    /// SIGTERM; it must end well within so many seconds. Gives all that it said.
    pub fn terminate(self, seconds: i64) -> Result<Ended> {
        self.job.terminate()?;
        let ended = self.job.wait(seconds)?;
        ensure!(ended.status.success(), "the agent ended with {} and said\n{}", ended.status, ended.stderr);
        Ok(ended)
    }
}

fn sum(page: &str, metric: &str) -> u64 {
    let series = |line: &&str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
    page.lines().filter(series).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_series_and_no_other_metric() {
        let page = "# TYPE a counter\na_total{x=\"1\"} 2\na_total{x=\"2 3\"} 3\na_total_more 7\nb_total 1\n# EOF\n";
        for (metric, expected) in [("a_total", 5), ("b_total", 1), ("c_total", 0)] {
            assert_eq!(sum(page, metric), expected, "{metric}");
        }
    }

    /// A stand-in that says two things and then waits until it is ended.
    #[test]
    fn what_it_says_is_heard_and_its_end_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let agent = |rest: &str| {
            let says = "echo 'outflow: admin page on http://127.0.0.1:1/' >&2; echo ready >&2";
            let script = format!("trap 'exit 0' TERM; {says}; {rest}");
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            Agent { job: Job::start(command, dir.path(), "agent").unwrap() }
        };
        let waiting = agent("exec tail -f /dev/null");
        assert_eq!(waiting.says("outflow: ", 30).unwrap(), "admin page on http://127.0.0.1:1/");
        waiting.says("ready", 30).unwrap();
        assert_eq!(waiting.said("outflow: reloaded").unwrap(), None);
        waiting.page("/metrics").unwrap_err();
        waiting.kill().unwrap();

        let ended = agent("exit 3");
        let why = ended.says("outflow: reloaded", 30).unwrap_err();
        assert!(format!("{why:#}").contains("ended without saying"), "{why:#}");

        let obedient = agent("while :; do sleep 0.01; done");
        obedient.says("ready", 30).unwrap();
        assert!(obedient.terminate(30).unwrap().stderr.ends_with("ready\n"));
    }
}
