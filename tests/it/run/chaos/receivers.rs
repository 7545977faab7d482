//! Who receives in the chaos, and how each can misbehave. Enters: places. Leaves: sections of a config, collectors that go and come back with
//! all that they ever took, and answers that no collector should give.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

use outflow::store::StoreReader;
use testbed::{
    Broker,
    fake_collector::{Behaviour, FakeCollector, Taken, Wire},
};

use super::{STORE_BYTES, WAL_BYTES};
use crate::run::place::Place;

/// Names of the sinks.
pub(super) const SINKS: [&str; 4] = ["kafka", "grpc", "http", "file"];

/// The collector over HTTP never takes findings whose id begins so; it says so in a partial success.
pub(super) const REJECTED: &str = "33";

/// A collector that goes and comes back, at the same address.
pub(super) struct Otlp {
    pub(super) name: &'static str,
    wire: Wire,
    address: SocketAddr,
    live: Option<FakeCollector>,
    /// What it took in earlier lives.
    taken: Vec<Taken>,
}

impl Otlp {
    /// One for each transport.
    pub(super) fn both() -> [Self; 2] {
        [("grpc", Wire::Grpc), ("http", Wire::Http)].map(|(name, wire)| {
            let live = FakeCollector::start(wire).unwrap();
            let otlp = Self { name, wire, address: live.address(), live: Some(live), taken: Vec::new() };
            otlp.rule();
            otlp
        })
    }

    fn rule(&self) {
        if self.wire == Wire::Http {
            self.live().rules(|rules| rules.reject = Box::new(|id| id.starts_with(REJECTED)));
        }
    }

    /// While it is there.
    pub(super) fn live(&self) -> &FakeCollector {
        self.live.as_ref().unwrap()
    }

    /// It goes, with its connections.
    pub(super) fn leave(&mut self) {
        self.taken.extend(self.live.take().unwrap().end());
    }

    /// It comes back.
    pub(super) fn come_back(&mut self) {
        self.live = Some(FakeCollector::start_at(self.address, self.wire, None).unwrap());
        self.rule();
    }

    /// All that it ever took, in order, as often as it took it.
    pub(super) fn end(mut self) -> Vec<Taken> {
        self.leave();
        self.taken
    }
}

/// Where the sink of files writes: not on the disk that gets full.
pub(super) fn file(place: &Place) -> PathBuf {
    place.config().with_file_name("findings.jsonl")
}

/// The end of the config. Revisions are cut every second, so that findings that repeat have several.
pub(super) fn config(broker: &Broker, topic: &str, is_once: bool, otlp: &[Otlp; 2], place: &Place) -> String {
    let brokers: Vec<_> = broker.address().split(',').collect();
    let mut text = format!(
        "[store]\nupdate_interval = \"1s\"\nwal_bytes = \"{WAL_BYTES} B\"\nmax_bytes = \"{STORE_BYTES} B\"\n\
         [[sinks.kafka]]\nname = \"kafka\"\nbrokers = {brokers:?}\ntopic = {topic:?}\nexactly_once = {is_once}\n\
         settings = {{ \"socket.timeout.ms\" = 2000, \"request.timeout.ms\" = 1500 }}\n\
         [[sinks.file]]\nname = \"file\"\npath = \"{}\"\n",
        file(place).display()
    );
    text.push_str(&otlp_config(otlp));
    text
}

/// The sections of collectors: a request may take a second.
pub(super) fn otlp_config(otlp: &[Otlp; 2]) -> String {
    let mut text = String::new();
    for Otlp { name, address, .. } in otlp {
        write!(
            text,
            "[[sinks.otlp]]\nname = {name:?}\nendpoint = \"http://{address}\"\nprotocol = {name:?}\ntimeout = \"1s\"\n\
             metrics = false\n"
        )
        .unwrap();
    }
    text
}

/// These sinks have confirmed all that the store has.
pub(super) fn delivered(place: &Place, sinks: &[&str]) -> bool {
    let Ok(reader) = StoreReader::open(&place.store()) else { return false };
    let head = reader.head().unwrap();
    sinks.iter().all(|sink| reader.cursor(sink).unwrap() >= head)
}

fn http(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Behaviour {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Behaviour::Http { status, headers, body: body.to_vec() }
}

/// No room, in many words.
pub(super) fn throttling() -> Vec<Behaviour> {
    vec![
        http(429, &[("retry-after", "0")], b""),
        http(503, &[], b"starting"),
        http(429, &[("retry-after", "Wed, 01 Jan 2020 00:00:00 GMT")], b""),
        http(502, &[("content-type", "text/html")], b"<html>"),
        Behaviour::Status { code: 14, message: "starting", details: Vec::new() },
    ]
}

/// What is no answer of a collector.
pub(super) fn babble() -> Vec<Behaviour> {
    vec![
        http(200, &[("content-type", "text/html")], b"<html>welcome</html>"),
        http(200, &[("content-type", "application/x-protobuf")], b"\xff\xff\xff\xff"),
        Behaviour::Close,
        http(307, &[("location", "http://127.0.0.1:9/")], b""),
        http(200, &[("content-type", "application/x-protobuf")], &[0; 200_000]),
    ]
}
