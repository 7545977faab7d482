//! The fuzz targets, one a parser. Enters: bytes that a fuzzer made up. Leaves: nothing, or a panic that says which property
//! broke. Never part of a build that is shipped: it is compiled for tests and under the feature `fuzz`.
//!
//! It stands in the crate, hidden from its pages, because most parsers are private to their room and stay so. The fuzzer itself
//! is in `fuzz/` and needs a build of its own; an ordinary `cargo test` replays the seeds and the crashes that were kept.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;

use crate::{
    assembly::{self, Limits},
    exchange::{self, LoggedCalls},
    rules::{ModelRules, RuleFile, RuleSource, VendorTable},
    sources::{
        self, Direction, Input, Origin, StreamEvent, StreamId,
        log::{LogBlock, LogFile},
        replay::{Answer, Options, Record, WireVersion},
    },
    units::Timestamp,
};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of its folders.
    pub name: &'static str,
    /// Takes one input; panics when a property breaks.
    pub run: fn(&[u8]),
    /// What it learns from a recorded exchange (JSON); none for formats that recordings do not have.
    pub seeds: fn(&Record, &[u8]) -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: [Target; 21] = [
    Target { name: "assembly", run: assembly, seeds: assembly_seeds },
    Target { name: "aws_events", run: assembly::fuzz::aws_events, seeds: packed_seeds },
    Target { name: "chunked", run: assembly::fuzz::chunked, seeds: chunked_seeds },
    Target { name: "exchange", run: |input| exchange::fuzz::exchange(input, &VENDORS), seeds: exchange_seeds },
    Target { name: "forms", run: exchange::fuzz::forms, seeds: |_, _| Vec::new() },
    Target { name: "grpc", run: assembly::fuzz::grpc, seeds: |_, _| Vec::new() },
    Target { name: "head", run: assembly::fuzz::head, seeds: head_seeds },
    Target { name: "http1", run: connection, seeds: |record, _| call_seeds(record, H1) },
    Target { name: "hpack", run: assembly::fuzz::hpack, seeds: |_, _| Vec::new() },
    Target { name: "http2", run: connection, seeds: |record, _| call_seeds(record, H2) },
    Target { name: "inflate", run: assembly::fuzz::inflate, seeds: packed_seeds },
    Target { name: "json", run: exchange::fuzz::json, seeds: json_seeds },
    Target { name: "lines", run: sources::fuzz::lines, seeds: |_, _| Vec::new() },
    Target { name: "logs", run: logs, seeds: log_seeds },
    Target { name: "ndjson", run: assembly::fuzz::ndjson, seeds: body_seeds },
    Target { name: "record", run: sources::fuzz::record, seeds: |_, text| vec![text.to_vec()] },
    Target { name: "sse", run: assembly::fuzz::sse, seeds: body_seeds },
    Target { name: "unpack", run: sources::fuzz::unpack, seeds: |_, _| Vec::new() },
    Target { name: "websocket", run: connection, seeds: session_seeds },
    Target { name: "vendors", run: vendors, seeds: |_, _| Vec::new() },
    Target { name: "websocket_frames", run: assembly::fuzz::websocket, seeds: |_, _| Vec::new() },
];

const H1: Options = Options { split: None, drop: None, wire: WireVersion::H1 };
const H2: Options = Options { split: None, drop: None, wire: WireVersion::H2 };

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

static VENDORS: LazyLock<Arc<VendorTable>> =
    LazyLock::new(|| Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap_or_default()));

/// Bounds that a short input can reach.
const SMALL: Limits = Limits {
    connections: 3,
    buffered_bytes: 8 << 10,
    head_bytes: 512,
    body_bytes: 2 << 10,
    inflate_ratio: 200,
    outstanding: 4,
};
/// Connections of a script.
const STREAMS: u64 = 5;

/// Steps of a script: a byte says which, two more how many (little endian).
const STEPS: u8 = 8;
const SENT: u8 = 0;
const RECEIVED: u8 = 1;
const LOSE_SENT: u8 = 2;
const LOSE_RECEIVED: u8 = 3;
const BACK_SENT: u8 = 4;
const BACK_RECEIVED: u8 = 5;
const SWITCH: u8 = 6;
const CLOSE: u8 = 7;

/// Whole connections with holes, repeats, jumps and sudden ends, under small bounds.
fn assembly(input: &[u8]) {
    let inputs = read_script(input, true);
    let run = exchange::fuzz::run(&inputs, SMALL, &VENDORS);
    for exchange in &run.exchanges {
        exchange::fuzz::check(exchange);
    }
}

/// One connection without a loss: however its bytes are cut, the same is understood.
fn connection(input: &[u8]) {
    let inputs = read_script(input, false);
    let whole = exchange::fuzz::run(&inputs, Limits::default(), &VENDORS);
    for exchange in &whole.exchanges {
        exchange::fuzz::check(exchange);
    }
    // One size an input: a run byte by byte costs as much as hundreds of whole ones.
    let size = [1, 3, 17].get(input.len() % 3).copied().unwrap_or(1);
    let cut = exchange::fuzz::run(&cut(&inputs, size), Limits::default(), &VENDORS);
    // Bytes that are no protocol make the stream look for a piece that starts like a message: there pieces matter.
    if whole.anomalies == 0 {
        assert_eq!(cut.anomalies, 0, "anomalies only in pieces of {size} bytes");
        exchange::fuzz::assert_same(&whole.exchanges, &cut.exchanges);
    }
}

static LOGGED_CALLS: LazyLock<LoggedCalls> = LazyLock::new(|| LoggedCalls {
    vendors: Arc::clone(&VENDORS),
    models: Arc::new(ModelRules::load(&RuleSource::Embedded).unwrap_or_default()),
});

/// A log: whose it is, how it is wrapped, who wrote each line, which calls are in it.
fn logs(input: &[u8]) {
    let Some((option, text)) = input.split_first() else { return };
    // A name in which programs share a syslog, one of a pod, and one that says nothing.
    let paths = ["/var/log/syslog", "/var/log/pods/shop_cart-0_7/app/0.log", "/srv/app.log"];
    let path = Path::new(paths.get(usize::from(*option) % paths.len()).unwrap_or(&"/srv/app.log"));
    let file = LogFile::of(path, path, None, None, text);
    let block = LogBlock::whole(Arc::new(file), Bytes::copy_from_slice(text), Timestamp(1));
    let freed = block.text();
    // A code unit of UTF-16 is at most three bytes in UTF-8, and every line gets an end.
    assert!(freed.len() <= 2 * text.len() + 2, "{} bytes out of {}", freed.len(), text.len());
    for position in (0..=freed.len()).step_by(1 + freed.len() / 64) {
        let raw = block.raw_at(position);
        assert!(raw <= text.len(), "{raw} of {}", text.len());
        let _ = block.author(raw);
    }
    LOGGED_CALLS.read(freed, &block.file.messages, block.at, &mut |position, exchange| {
        assert!(position < freed.len(), "a call at {position} of {}", freed.len());
        exchange::fuzz::check(&exchange);
    });
}

/// What a client would log of an answer.
fn log_seeds(_: &Record, text: &[u8]) -> Vec<Vec<u8>> {
    let [_, received] = bodies(text);
    if received.is_empty() { Vec::new() } else { vec![[b"\x02".as_slice(), &received, b"\n"].concat()] }
}

/// A rules file.
fn vendors(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let file = RuleFile { path: "vendors/fuzz.toml".to_owned(), text: text.to_owned() };
    if let Ok(table) = VendorTable::read(&[file]) {
        for vendor in table.vendors() {
            let _ = table.api_of(Some(vendor), "POST", "/v1/x/y/z/models/a:b?c=d");
        }
        let _ = table.api_of(table.vendor_of("a.b.example:443"), "POST", "/a/b/c");
    }
}

/// Reads a script. `lossy`: holes, repeats, closes and several connections count; else only the bytes of one do.
fn read_script(input: &[u8], lossy: bool) -> Vec<Input> {
    let origin = Arc::new(Origin::default());
    let mut offsets = [[0_u64; 2]; STREAMS as usize];
    let (mut rest, mut inputs, mut stream) = (input, Vec::new(), 0);
    while let [step, low, high, tail @ ..] = rest {
        let count = usize::from(u16::from_le_bytes([*low, *high]));
        rest = tail;
        let step = step % STEPS;
        let Some(positions) = offsets.get_mut(stream as usize) else { return inputs };
        let side = usize::from(step & 1);
        let event = match step {
            SENT | RECEIVED => {
                let (bytes, after) = tail.split_at(count.min(tail.len()));
                rest = after;
                let direction = if step == SENT { Direction::Sent } else { Direction::Received };
                let Some(position) = positions.get_mut(side) else { return inputs };
                let offset = *position;
                *position = offset.saturating_add(bytes.len() as u64);
                StreamEvent::Bytes { direction, offset, bytes: Bytes::copy_from_slice(bytes) }
            }
            _ if !lossy => continue,
            LOSE_SENT | LOSE_RECEIVED | BACK_SENT | BACK_RECEIVED => {
                let Some(position) = positions.get_mut(side) else { return inputs };
                // The largest hole is one to the end of all positions.
                let far = if count == usize::from(u16::MAX) { u64::MAX } else { count as u64 };
                let is_loss = matches!(step, LOSE_SENT | LOSE_RECEIVED);
                *position = if is_loss { position.saturating_add(far) } else { position.saturating_sub(far) };
                continue;
            }
            SWITCH => {
                stream = count as u64 % STREAMS;
                continue;
            }
            CLOSE => {
                let [sent, received] = *positions;
                *positions = [0; 2];
                let total =
                    |bit: usize, position: u64| (count & bit != 0).then(|| position.saturating_add(count as u64 >> 2));
                StreamEvent::Closed { sent_bytes: total(1, sent), received_bytes: total(2, received) }
            }
            _ => return inputs,
        };
        let at = Timestamp(inputs.len() as u64);
        inputs.push(Input { stream: StreamId(stream), origin: Arc::clone(&origin), at, event });
    }
    inputs
}

/// The same bytes in smaller pieces.
fn cut(inputs: &[Input], size: usize) -> Vec<Input> {
    let mut pieces = Vec::new();
    for input in inputs {
        let StreamEvent::Bytes { direction, offset, bytes } = &input.event else {
            pieces.push(input.clone());
            continue;
        };
        let mut at = *offset;
        for piece in bytes.chunks(size) {
            let event = StreamEvent::Bytes { direction: *direction, offset: at, bytes: Bytes::copy_from_slice(piece) };
            pieces.push(Input { event, ..input.clone() });
            at += piece.len() as u64;
        }
    }
    pieces
}

/// A recorded exchange as a script.
fn script(record: &Record, options: Options) -> Vec<u8> {
    let mut script = Vec::new();
    for input in record.inputs(StreamId(0), Timestamp(0), options) {
        match &input.event {
            StreamEvent::Opened { .. } => {}
            StreamEvent::Bytes { direction, bytes, .. } => {
                for piece in bytes.chunks(usize::from(u16::MAX)) {
                    script.push(if *direction == Direction::Sent { SENT } else { RECEIVED });
                    script.extend_from_slice(&(piece.len() as u16).to_le_bytes());
                    script.extend_from_slice(piece);
                }
            }
            StreamEvent::Closed { .. } => script.extend_from_slice(&[CLOSE, 0, 0]),
        }
    }
    script
}

/// What a recorded exchange looks like on the wire, either way.
fn wire(record: &Record) -> [Vec<u8>; 2] {
    let mut wire = [Vec::new(), Vec::new()];
    for input in record.inputs(StreamId(0), Timestamp(0), Options::default()) {
        if let StreamEvent::Bytes { direction, bytes, .. } = &input.event {
            let [sent, received] = &mut wire;
            if *direction == Direction::Sent { sent } else { received }.extend_from_slice(bytes);
        }
    }
    wire
}

/// Head and body of wire bytes.
fn split(wire: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memmem::find(wire, b"\r\n\r\n").map_or(wire.len(), |at| at + 4);
    wire.split_at(end)
}

/// Bytes as an input of a target that takes cuts.
fn cuts(option: u8, bytes: &[u8]) -> Vec<u8> {
    [&[option << 3 | 2, 1, 40], bytes].concat()
}

fn assembly_seeds(record: &Record, _: &[u8]) -> Vec<Vec<u8>> {
    vec![script(record, H1), script(record, H2)]
}

fn call_seeds(record: &Record, options: Options) -> Vec<Vec<u8>> {
    if matches!(record.answer, Answer::Http(_)) { vec![script(record, options)] } else { Vec::new() }
}

fn session_seeds(record: &Record, _: &[u8]) -> Vec<Vec<u8>> {
    if matches!(record.answer, Answer::Session(_)) { vec![script(record, H1)] } else { Vec::new() }
}

fn head_seeds(record: &Record, _: &[u8]) -> Vec<Vec<u8>> {
    let [sent, received] = wire(record);
    vec![cuts(0, split(&sent).0), cuts(1, split(&received).0)]
}

fn chunked_seeds(record: &Record, _: &[u8]) -> Vec<Vec<u8>> {
    let [_, received] = wire(record);
    let (head, body) = split(&received);
    let is_chunked = memchr::memmem::find(head, b"transfer-encoding: chunked").is_some();
    if is_chunked { vec![cuts(0, body)] } else { Vec::new() }
}

/// The bodies, without their framing.
fn bodies(text: &[u8]) -> [Vec<u8>; 2] {
    let doc: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    ["request", "response"].map(|side| doc[side]["body"].as_str().unwrap_or_default().as_bytes().to_vec())
}

fn body_seeds(_: &Record, text: &[u8]) -> Vec<Vec<u8>> {
    let [_, received] = bodies(text);
    if received.is_empty() { Vec::new() } else { vec![cuts(0, &received)] }
}

fn packed_seeds(record: &Record, _: &[u8]) -> Vec<Vec<u8>> {
    match &record.answer {
        Answer::Http(response) if !response.body.starts_with(b"{") => vec![cuts(1, &response.body)],
        _ => Vec::new(),
    }
}

fn json_seeds(_: &Record, text: &[u8]) -> Vec<Vec<u8>> {
    bodies(text).into_iter().filter(|body| body.starts_with(b"{") || body.starts_with(b"[")).collect()
}

fn exchange_seeds(record: &Record, text: &[u8]) -> Vec<Vec<u8>> {
    let [request, response] = bodies(text);
    let kinds: [&[u8]; 5] = [b"json", b"event-stream", b"ndjson", b"eventstream", b"grpc"];
    let [_, received] = wire(record);
    let (head, _) = split(&received);
    let kind = kinds.iter().rposition(|kind| memchr::memmem::find(head, kind).is_some()).unwrap_or_default();
    let body = [&[kind as u8], request.as_slice(), b"=====\n", response.as_slice()].concat();
    (0..16).filter(|option| *option == request.len() as u8 % 16).map(|option| cuts(option, &body)).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::PathBuf};

    use super::*;

    /// Files of `fuzz/FOLDER/TARGET/`.
    fn inputs(folder: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder).join(target);
        let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    #[test]
    fn seeds_and_kept_crashes_are_well() {
        let mut count = 0;
        for target in TARGETS {
            let seeds = inputs("seeds", target.name);
            assert!(!seeds.is_empty(), "fuzz/seeds/{} is empty", target.name);
            for (path, input) in seeds.into_iter().chain(inputs("regressions", target.name)) {
                println!("{}", path.display()); // the last one is the one that panicked
                (target.run)(&input);
                count += 1;
            }
        }
        println!("{count} inputs");
    }

    #[test]
    fn every_folder_is_that_of_a_target() {
        let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
        assert_eq!(names.len(), TARGETS.len(), "a name that stands twice");
        for folder in ["seeds", "regressions"] {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder);
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(names.contains(&name), "fuzz has a folder `{name}` and no such target");
            }
        }
    }
}
