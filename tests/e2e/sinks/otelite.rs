//! A second opinion beside the collector of the other tests: otelite, which keeps what it takes in SQLite and does not read all compressions. Opt-in,
//! because it takes some ten processor minutes to build: `cargo xtask peers` does, and names the program in OUTFLOW_OTELITE.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use outflow::findings::Finding;
use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use serde_json::Value;
use testbed::{Deadline, Job, Port};

use super::{
    broker::END_LIMIT_S,
    scene::{LIMIT_S, Scene},
};

/// How it is asked: all that a sink can be told.
const SINKS: [(&str, &str); 6] =
    [("grpc", "gzip"), ("grpc", "zstd"), ("grpc", "none"), ("http", "gzip"), ("http", "zstd"), ("http", "none")];

/// Lines of one turn: several requests.
const LINES: u64 = 1200;

/// The program; else says that the test is skipped.
fn program() -> Option<PathBuf> {
    let program = env::var_os("OUTFLOW_OTELITE").map(PathBuf::from);
    if program.is_none() {
        println!("skipped: OUTFLOW_OTELITE names no collector; cargo xtask peers builds it");
    }
    program
}

struct Otelite {
    program: PathBuf,
    dir: PathBuf,
    page: Port,
    grpc: Port,
    http: Port,
    lives: u32,
    job: Option<Job>,
}

impl Otelite {
    fn start(program: PathBuf, dir: PathBuf) -> Self {
        let port = || Port::take().unwrap();
        let mut otelite = Self { program, dir, page: port(), grpc: port(), http: port(), lives: 0, job: None };
        otelite.start_again();
        otelite
    }

    fn start_again(&mut self) {
        let number = |port: &Port| port.address().rsplit_once(':').unwrap().1.to_owned();
        let mut command = Command::new(&self.program);
        // It writes a config into the home folder.
        command.env_clear().current_dir(&self.dir).env("HOME", &self.dir);
        command.env("OTELITE_OTLP_GRPC_PORT", number(&self.grpc)).env("OTELITE_OTLP_HTTP_PORT", number(&self.http));
        command.args(["serve", "--addr", &self.page.address(), "--storage-path"]).arg(&self.dir);
        self.lives += 1;
        let job = self.job.insert(Job::start(command, &self.dir, &format!("otelite-{}", self.lives)).unwrap());
        let ports = [&self.grpc, &self.http];
        let answers = Deadline::after(LIMIT_S).until("otelite to answer", || {
            assert!(!job.has_ended()?, "otelite ended: {:?}", job.output()?);
            Ok(ports.iter().all(|port| TcpStream::connect(port.address()).is_ok()).then_some(()))
        });
        answers.unwrap();
    }

    fn terminate(&mut self) {
        let job = self.job.take().unwrap();
        job.signal(Signal::TERM).unwrap();
        job.wait(END_LIMIT_S).unwrap();
    }

    /// All that it took.
    fn records(&self) -> BTreeMap<String, Vec<Taken>> {
        taken(&self.dir.join("otelite.db")).unwrap()
    }
}

/// One log record as it has it.
#[derive(Debug, PartialEq)]
struct Taken {
    nanos: i64,
    severity: i64,
    severity_text: String,
    body: String,
    attributes: Value,
    resource: Value,
}

fn taken(database: &Path) -> rusqlite::Result<BTreeMap<String, Vec<Taken>>> {
    let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = db.prepare(
        "SELECT json_extract(attributes, '$.\"outflow.finding.record_id\"'), timestamp, severity_number, severity_text,
         body, attributes, resource FROM logs ORDER BY id",
    )?;
    let mut all: BTreeMap<String, Vec<Taken>> = BTreeMap::new();
    // In any order.
    let map = |json: String| serde_json::from_str(&json).unwrap();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let record = Taken {
            nanos: row.get(1)?,
            severity: row.get(2)?,
            severity_text: row.get(3)?,
            body: row.get(4)?,
            attributes: map(row.get(5)?),
            resource: map(row.get(6)?),
        };
        all.entry(row.get(0)?).or_default().push(record);
    }
    Ok(all)
}

/// What it does not read compressed arrives as it is, what it could not take while it was down arrives later, and all ways agree.
#[test]
fn another_collector_has_every_record_by_every_way() {
    let Some(program) = program() else { return };
    let mut scene = Scene::new();
    let mut otelite = Otelite::start(program, scene.folder("otelite"));
    let (grpc, http) = (otelite.grpc.address(), otelite.http.address());
    let name = |(protocol, compression): &(&str, &str)| format!("{protocol}-{compression}");
    let mut sinks = String::new();
    for way in &SINKS {
        let (protocol, compression) = way;
        let endpoint = if *protocol == "grpc" { &grpc } else { &http };
        write!(
            sinks,
            "[[sinks.otlp]]\nname = {:?}\nendpoint = \"http://{endpoint}\"\nprotocol = {protocol:?}\n\
             compression = {compression:?}\n",
            name(way)
        )
        .unwrap();
    }
    scene.configure(&sinks);
    let agent = scene.agent();
    scene.lines(LINES);
    scene.until_stored(&agent);
    for way in &SINKS {
        scene.until_delivered(&agent, &name(way));
    }
    otelite.terminate();
    scene.lines(LINES);
    scene.repeat(LINES / 4);
    scene.until_stored(&agent);
    otelite.start_again();
    for way in &SINKS {
        scene.until_delivered(&agent, &name(way));
    }
    agent.terminate(END_LIMIT_S).unwrap();
    otelite.terminate();

    let (taken, reader) = (otelite.records(), scene.reader());
    assert_eq!(taken.keys().collect::<Vec<_>>(), scene.records().keys().collect::<Vec<_>>());
    assert!(taken.len() as u64 > 2 * LINES, "no finding was revised");
    for row in reader.outbox_rows_after(0, u64::MAX).unwrap() {
        let record_id = row.record_id();
        let copies = &taken[&record_id];
        assert!(copies.len() >= SINKS.len(), "{record_id} came {} times", copies.len());
        assert!(copies.iter().all(|copy| *copy == copies[0]), "{copies:?}");
        let finding: Finding = serde_json::from_str(row.payload.as_ref().unwrap()).unwrap();
        let Taken { body, severity_text, attributes, resource, .. } = &copies[0];
        assert_eq!((body.as_str(), severity_text.as_str()), (finding.title.as_str(), finding.severity.as_str()));
        assert_eq!(attributes["outflow.finding.rule.id"], finding.rule.id.as_str());
        assert_eq!(attributes["outflow.finding.count"], finding.count.to_string());
        assert_eq!(attributes["outflow.finding.last_seen"], finding.last_seen.as_str());
        assert_eq!(resource["attributes"]["service.name"], "shop");
    }
}
