//! A real broker that speaks Kafka's protocol (noida-db), on a port of 127.0.0.1 and with its data in a folder. Enters: a folder, and which
//! way it is to end. Leaves: its address, and what is in its topics. On drop it is ended.
//!
//! It makes topics on first use, with one partition. Under SIGTERM it loses nothing when it is at rest, and what it acknowledges while it ends; under kill -9 it loses what it acknowledged in about the
//! last second, which is what some tests want of it. With OUTFLOW_TEST_KAFKA it is a cluster of somebody else: then it is never stopped.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::TcpStream,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::{Deadline, Job, Message, kcat, peers, port::Port};

/// How long it may take to answer; it takes a few hundred milliseconds.
const START_LIMIT_S: u64 = 30;
/// How long it may take to end.
const END_LIMIT_S: i64 = 30;

/// A broker.
#[derive(Debug)]
pub struct Broker {
    address: String,
    /// In the names of topics on a broker that is not ours. The standard library has no other source of chance.
    chance: u64,
    /// None when it is not ours.
    server: Option<Server>,
}

/// A process of ours, and what outlives it.
#[derive(Debug)]
struct Server {
    job: Option<Job>,
    /// How often it was started.
    lives: u32,
    dir: PathBuf,
    port: Port,
}

impl Broker {
    /// Starts one with its data in `dir`, and waits until it answers; or takes the one that OUTFLOW_TEST_KAFKA names.
    pub fn start(dir: &Path) -> Result<Self> {
        let chance = RandomState::new().hash_one(std::process::id());
        if let Some(address) = peers::other_brokers() {
            ensure!(kcat::answers(&address), "the brokers {address} do not answer");
            return Ok(Self { address, chance, server: None });
        }
        let port = Port::take()?;
        let server = Server { job: None, lives: 0, dir: dir.to_owned(), port };
        let mut broker = Self { address: server.port.address(), chance, server: Some(server) };
        broker.start_again()?;
        Ok(broker)
    }

    /// `host:port`, of a cluster perhaps several with commas between.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// May it be stopped? Else the test has to skip: see [`skip_unless_ours`](Self::skip_unless_ours).
    pub fn is_ours(&self) -> bool {
        self.server.is_some()
    }

    /// True when the broker may be stopped; else says that the test is skipped.
    pub fn skip_unless_ours(&self) -> bool {
        if !self.is_ours() {
            println!("skipped: the broker is not ours to stop");
        }
        self.is_ours()
    }

    /// A topic for one test: with this very name on a broker of ours, where nothing else is, else with a name that was never there.
    pub fn topic(&self, name: &str) -> String {
        if self.is_ours() {
            return name.to_owned();
        }
        format!("outflow-test-{name}-{:016x}", self.chance)
    }

    /// SIGTERM; comes back when it has ended.
    pub fn terminate(&mut self) -> Result<()> {
        self.end(Signal::TERM)
    }

    /// kill -9; comes back when nothing of it runs any more.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::KILL)
    }

    /// It stands still: its connections stay, its system takes what comes, and nobody answers.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// It goes on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let server = self.server.as_ref().context("the broker is not ours to stop")?;
        server.job.as_ref().context("the broker does not run")?.signal(signal)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let server = self.server.as_mut().context("the broker is not ours to stop")?;
        let job = server.job.take().context("the broker does not run")?;
        job.signal(signal)?;
        let ended = job.wait(END_LIMIT_S)?;
        ensure!(signal == Signal::KILL || ended.status.success(), "the broker ended badly: {ended:?}");
        Ok(())
    }

    /// Starts it again on the same port with the same data, and waits until it answers.
    pub fn start_again(&mut self) -> Result<()> {
        let server = self.server.as_mut().context("the broker is not ours to start")?;
        ensure!(server.job.is_none(), "the broker runs already");
        let (host, port) = self.address.split_once(':').context("an address has a port")?;
        let mut command = peers::Programs::find()?.broker();
        command.args(["start", "--only", "kafka", "--host", host, "--kafka-port", port, "--data-dir"]);
        command.arg(server.dir.join("data"));
        server.lives += 1;
        let job = server.job.insert(Job::start(command, &server.dir, &format!("broker-{}", server.lives))?);
        Deadline::after(START_LIMIT_S).until("the broker to answer", || {
            if job.has_ended()? {
                bail!("the broker ended: {:?}", job.output()?);
            }
            // Most questions come too early: a connection that is refused is cheaper than a kcat.
            let answers = TcpStream::connect(&self.address).is_ok() && kcat::answers(&self.address);
            Ok(answers.then_some(()))
        })
    }

    /// Everything in a topic, from the beginning to the present end; nothing when there is no such topic.
    pub fn consume(&self, topic: &str) -> Result<Vec<Message>> {
        kcat::consume(&self.address, topic, "read_committed")
    }

    /// The same with what stands in transactions that were not committed, or were aborted.
    pub fn consume_uncommitted(&self, topic: &str) -> Result<Vec<Message>> {
        kcat::consume(&self.address, topic, "read_uncommitted")
    }

    /// Reads a topic again and again until `enough` is content with what is in it. After `seconds` it gives what there is, so that the test
    /// can say what is missing.
    pub fn consume_until(
        &self,
        topic: &str,
        seconds: u64,
        mut enough: impl FnMut(&[Message]) -> bool,
    ) -> Result<Vec<Message>> {
        let deadline = Deadline::after(seconds);
        deadline.until("never", || {
            let messages = self.consume(topic)?;
            // Asked behind it: reading takes its time, and the last answer is what there is.
            Ok((enough(&messages) || deadline.passed()).then_some(messages))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::missing_for_broker;

    /// A broker for a test, and its folder; none when there can be none.
    fn broker() -> Option<(Broker, tempfile::TempDir)> {
        if let Some(reason) = missing_for_broker() {
            println!("skipped: {reason}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        Some((Broker::start(dir.path()).unwrap(), dir))
    }

    fn produce(broker: &Broker, topic: &str, key: &str, payload: &[u8]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), payload).unwrap();
        let path = file.path().to_str().unwrap();
        let arguments = ["-P", "-b", broker.address(), "-t", topic, "-k", key, "-H", "record=1=\"", path];
        kcat::run(&arguments).unwrap();
    }

    #[test]
    fn what_was_produced_is_consumed_byte_for_byte() {
        let Some((broker, _dir)) = broker() else { return };
        let topic = broker.topic("bytes");
        assert_eq!(broker.consume(&topic).unwrap(), []);
        let all_bytes: Vec<u8> = (0..=255).collect();
        produce(&broker, &topic, "a", &all_bytes);
        produce(&broker, &topic, "b", b"{\"one\":\n1}");
        let messages = broker.consume_until(&topic, 10, |messages| messages.len() == 2).unwrap();
        let told: Vec<_> =
            messages.iter().map(|message| (message.key_text(), message.offset, message.payload.clone())).collect();
        let expected = [("a".to_owned(), 0, Some(all_bytes)), ("b".to_owned(), 1, Some(b"{\"one\":\n1}".to_vec()))];
        assert_eq!(told, expected);
        assert_eq!(messages[0].header("record").as_deref(), Some("1=\""));
        assert!(messages[0].timestamp_ms > 0);
        let missing = broker.consume_until(&topic, 0, |messages| messages.len() == 3).unwrap();
        assert_eq!(missing, messages, "the time was over");
    }

    #[test]
    fn a_restart_keeps_messages_and_leaves_no_process() {
        let Some((mut broker, dir)) = broker() else { return };
        if !broker.skip_unless_ours() {
            return;
        }
        let address = broker.address().to_owned();
        produce(&broker, "kept", "k", b"first life");
        broker.terminate().unwrap();
        TcpStream::connect(&address).unwrap_err();
        assert!(broker.terminate().is_err(), "it has ended");
        broker.start_again().unwrap();
        assert!(broker.start_again().is_err(), "it runs");
        assert_eq!(broker.address(), address);
        assert_eq!(broker.consume("kept").unwrap()[0].payload_text(), "first life");
        broker.kill().unwrap();
        TcpStream::connect(&address).unwrap_err();
        broker.start_again().unwrap();
        assert_eq!(broker.consume("kept").unwrap().len(), 1, "what was stored stays under kill -9 too");
        drop(broker);
        TcpStream::connect(&address).unwrap_err();
        assert!(dir.path().join("broker-3.stderr").is_file());
    }
}
