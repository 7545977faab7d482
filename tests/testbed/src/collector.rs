//! A real OpenTelemetry collector (rotel) on two ports of 127.0.0.1. Enters: a folder. Leaves: its endpoints, and every log record and metric
//! that it received, read from what it prints. On drop it is ended.
//!
//! With OUTFLOW_TEST_OTLP it is a collector of somebody else: then it is never stopped, and what it received cannot be read back.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::{
    Deadline, Job, peers,
    port::Port,
    received::{Metric, Received, Record, Span},
};

/// How long it may take to answer; it takes less than a second.
const START_LIMIT_S: u64 = 30;
/// How long it may take to end.
const END_LIMIT_S: i64 = 30;

/// A collector.
#[derive(Debug)]
pub struct Collector {
    grpc: String,
    http: String,
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
    grpc: Port,
    http: Port,
}

impl Collector {
    /// Starts one whose output goes to `dir`, and waits until it answers; or takes the one that OUTFLOW_TEST_OTLP names.
    pub fn start(dir: &Path) -> Result<Self> {
        if let Some((grpc, http)) = peers::other_collector() {
            return Ok(Self { grpc, http, server: None });
        }
        let server = Server { job: None, lives: 0, dir: dir.to_owned(), grpc: Port::take()?, http: Port::take()? };
        let endpoint = |port: &Port| format!("http://{}", port.address());
        let mut collector = Self { grpc: endpoint(&server.grpc), http: endpoint(&server.http), server: Some(server) };
        collector.start_again()?;
        Ok(collector)
    }

    /// Where it takes OTLP over gRPC: `http://127.0.0.1:20001`.
    pub fn grpc_endpoint(&self) -> &str {
        &self.grpc
    }

    /// Where it takes OTLP over HTTP, without the path: `http://127.0.0.1:20002`.
    pub fn http_endpoint(&self) -> &str {
        &self.http
    }

    /// May it be stopped, and can be read what it received?
    pub fn is_ours(&self) -> bool {
        self.server.is_some()
    }

    /// True when the collector may be stopped; else says that the test is skipped.
    pub fn skip_unless_ours(&self) -> bool {
        if !self.is_ours() {
            println!("skipped: the collector is not ours to stop, nor to read");
        }
        self.is_ours()
    }

    /// SIGTERM; comes back when it has ended.
    pub fn terminate(&mut self) -> Result<()> {
        self.end(Signal::TERM)
    }

    /// kill -9; comes back when nothing of it runs any more.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::KILL)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let server = self.server.as_mut().context("the collector is not ours to stop")?;
        let job = server.job.take().context("the collector does not run")?;
        job.signal(signal)?;
        let ended = job.wait(END_LIMIT_S)?;
        ensure!(signal == Signal::KILL || ended.status.success(), "the collector ended badly: {ended:?}");
        Ok(())
    }

    /// Starts it again on the same ports, and waits until it answers. What it received before is not forgotten.
    pub fn start_again(&mut self) -> Result<()> {
        let server = self.server.as_mut().context("the collector is not ours to start")?;
        ensure!(server.job.is_none(), "the collector runs already");
        server.lives += 1;
        let life = format!("collector-{}", server.lives);
        let mut command = peers::Programs::find()?.collector();
        command.arg("start").arg("--pid-file").arg(server.dir.join(format!("{life}.pid")));
        command.arg("--log-file").arg(server.dir.join(format!("{life}.log")));
        command.args(["--otlp-grpc-endpoint", &server.grpc.address(), "--otlp-http-endpoint", &server.http.address()]);
        // Each request is printed when it is taken, before it is answered or soon after; then it goes nowhere.
        command.args(["--exporter", "blackhole", "--debug-log", "logs", "--debug-log", "metrics"]);
        command.args(["--debug-log", "traces"]);
        command.args(["--debug-log-verbosity", "detailed"]);
        let job = server.job.insert(Job::start(command, &server.dir, &life)?);
        let addresses = [server.grpc.address(), server.http.address()];
        Deadline::after(START_LIMIT_S).until("the collector to answer", || {
            if job.has_ended()? {
                bail!("the collector ended: {:?}", job.output()?);
            }
            Ok(addresses.iter().all(|address| TcpStream::connect(address).is_ok()).then_some(()))
        })
    }

    /// Every log record that it has received so far, in its order.
    pub fn records(&self) -> Result<Vec<Record>> {
        Ok(self.received()?.records)
    }

    /// Every metric that it has received so far: the same one again with every export.
    pub fn metrics(&self) -> Result<Vec<Metric>> {
        Ok(self.received()?.metrics)
    }

    fn received(&self) -> Result<Received> {
        let server = self.server.as_ref().context("what this collector received cannot be read back")?;
        let mut received = Received::default();
        for life in 1..=server.lives {
            received.read(&std::fs::read(server.dir.join(format!("collector-{life}.stdout")))?);
        }
        Ok(received)
    }

    /// Reads what it received until `enough` is content. After `seconds` it gives what there is, so that the test can say what is missing.
    pub fn records_until(&self, seconds: u64, mut enough: impl FnMut(&[Record]) -> bool) -> Result<Vec<Record>> {
        Ok(self.until(seconds, |received| enough(&received.records))?.records)
    }

    /// Likewise for metrics.
    pub fn metrics_until(&self, seconds: u64, mut enough: impl FnMut(&[Metric]) -> bool) -> Result<Vec<Metric>> {
        Ok(self.until(seconds, |received| enough(&received.metrics))?.metrics)
    }

    /// Likewise for spans; the last one may be there in part.
    pub fn spans_until(&self, seconds: u64, mut enough: impl FnMut(&[Span]) -> bool) -> Result<Vec<Span>> {
        Ok(self.until(seconds, |received| enough(&received.spans))?.spans)
    }

    fn until(&self, seconds: u64, mut enough: impl FnMut(&Received) -> bool) -> Result<Received> {
        let deadline = Deadline::after(seconds);
        deadline.until("never", || {
            let received = self.received()?;
            let over = deadline.passed();
            Ok((enough(&received) || over).then_some(received))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        time::Duration,
    };

    use super::*;
    use crate::{missing_for_collector, received::Value};

    /// One log record as OTLP's JSON (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding").
    fn request(name: &str) -> String {
        format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"outflow"}}}}]}},
            "scopeLogs":[{{"scope":{{"name":"testbed","version":"1"}},"logRecords":[{{"timeUnixNano":"17","severityNumber":13,
            "eventName":"{name}","body":{{"stringValue":"an invented leak"}},
            "attributes":[{{"key":"line","value":{{"intValue":"7"}}}}]}}]}}]}}]}}"#
        )
    }

    /// Posts it by hand; gives the answer's first line.
    fn post(endpoint: &str, body: &str) -> String {
        let address = endpoint.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!(
            "POST /v1/logs HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_record_is_taken_and_read_back_over_two_lives() {
        if let Some(reason) = missing_for_collector() {
            println!("skipped: {reason}");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut collector = Collector::start(dir.path()).unwrap();
        assert_eq!(post(collector.http_endpoint(), &request("first")), "HTTP/1.1 200 OK");
        if !collector.skip_unless_ours() {
            return;
        }
        let records = collector.records_until(10, |records| !records.is_empty()).unwrap();
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.event_name.as_str(), record.severity_number, record.time_ns), ("first", 13, 17));
        assert_eq!(record.body, Some(Value::Text("an invented leak".into())));
        assert_eq!(record.attributes["line"], Value::Int(7));
        assert_eq!(record.resource["service.name"], Value::Text("outflow".into()));
        assert_eq!(record.scope, "testbed 1");

        let endpoints = (collector.grpc_endpoint().to_owned(), collector.http_endpoint().to_owned());
        collector.terminate().unwrap();
        for address in [&endpoints.0, &endpoints.1] {
            TcpStream::connect(address.strip_prefix("http://").unwrap()).unwrap_err();
        }
        collector.start_again().unwrap();
        assert_eq!((collector.grpc_endpoint(), collector.http_endpoint()), (&*endpoints.0, &*endpoints.1));
        assert_eq!(post(collector.http_endpoint(), &request("second")), "HTTP/1.1 200 OK");
        let records = collector.records_until(10, |records| records.len() == 2).unwrap();
        let names: Vec<_> = records.iter().map(|record| record.event_name.as_str()).collect();
        assert_eq!(names, ["first", "second"]);
        collector.kill().unwrap();
        assert_eq!(collector.records().unwrap().len(), 2, "what it printed stays");
    }
}
