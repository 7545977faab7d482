//! Records and HAR files on their wire. The recordings' own facts are compared in `tests/it/conformance.rs`.

use std::{fs, path::Path};

use super::*;
use crate::sources::{Direction, StreamEvent};

fn wire(inputs: &[Input], stream: StreamId, wanted: Direction) -> String {
    let mut text = String::new();
    for input in inputs.iter().filter(|input| input.stream == stream) {
        if let StreamEvent::Bytes { direction, offset, bytes } = &input.event
            && *direction == wanted
        {
            assert_eq!(*offset, text.len() as u64);
            text.push_str(str::from_utf8(bytes).unwrap());
        }
    }
    text
}

const ONE: StreamId = StreamId(1);

const RECORD: &str = r#"{"id":"x","request":{"method":"POST","url":"https://API.example:8443/v1/x?a=b",
    "headers":{"content-length":"999","x-a":"b"},"body":"hello"},
    "response":{"status":200,"headers":{"content-type":"text/event-stream","content-encoding":"gzip"},
    "body":"data: a\n\ndata: b\r\n\r\n"}}"#;

#[test]
fn a_record_becomes_wire_bytes() {
    let inputs = Record::parse(RECORD.as_bytes()).unwrap().inputs(ONE, Timestamp(5), Options::default());
    assert!(matches!(&inputs[0].event, StreamEvent::Opened { server_name } if &**server_name == "api.example"));
    assert_eq!(
        wire(&inputs, ONE, Direction::Sent),
        "POST /v1/x?a=b HTTP/1.1\r\nhost: API.example:8443\r\nx-a: b\r\ncontent-length: 5\r\n\r\nhello"
    );
    assert_eq!(
        wire(&inputs, ONE, Direction::Received),
        "HTTP/1.1 200 \r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
         9\r\ndata: a\n\n\r\nb\r\ndata: b\r\n\r\n\r\n0\r\n\r\n"
    );
    let sent = wire(&inputs, ONE, Direction::Sent).len() as u64;
    assert!(matches!(inputs.last().unwrap().event, StreamEvent::Closed { sent_bytes, .. } if sent_bytes == Some(sent)));
    assert!(inputs.is_sorted_by_key(|input| input.at));
}

#[test]
fn a_seed_cuts_and_drops_the_same_way_each_time() {
    let record = Record::parse(RECORD.as_bytes()).unwrap();
    let run = |split, drop| record.inputs(ONE, Timestamp(0), Options { split, drop, ..Options::default() });
    let whole = run(None, None);
    for seed in 0..20 {
        let split = run(Some(seed), None);
        for direction in [Direction::Sent, Direction::Received] {
            assert_eq!(wire(&split, ONE, direction), wire(&whole, ONE, direction));
        }
        assert!(split.is_sorted_by_key(|input| input.at));
        assert_eq!(format!("{split:?}"), format!("{:?}", run(Some(seed), None)));
    }
    assert_ne!(format!("{:?}", run(Some(7), None)), format!("{:?}", run(Some(8), None)));
    assert!((0..20).any(|seed| run(Some(7), Some(seed)).len() < run(Some(7), None).len()));
}

#[test]
fn bad_records_say_what_is_wrong() {
    for (from, to, message) in [
        ("\"POST\"", "\"P T\"", "request.method: `P T`"),
        ("https://", "ftp://", "request.url: `ftp://"),
        ("200", "20", "response.status: 20"),
        ("200", "\"ok\"", "response: invalid type"),
        ("\"body\":\"hello\"", "\"body_base64\":\"?\"", "request.body_base64"),
        ("\"body\":\"hello\"", "\"body\":\"\",\"body_base64\":\"\"", "request: has both"),
        ("\"response\"", "\"answer\"", "member `response` is missing"),
        ("{\"id\"", "[\"id\"", "no JSON"),
        ("\"id\":\"x\"", "\"outflow\":{\"ended_at_ns\":1}", "outflow.started_at_ns"),
        ("\"id\":\"x\"", "\"outflow\":{\"started_at_ns\":3,\"first_byte_ns\":2}", "outflow.first_byte_ns"),
        (
            "\"id\":\"x\"",
            "\"outflow\":{\"started_at_ns\":3,\"first_byte_ns\":4,\"ended_at_ns\":2}",
            "outflow.ended_at_ns",
        ),
        ("\"id\":\"x\"", "\"messages\":[{\"direction\":\"up\"}]", "messages[0].direction"),
    ] {
        let error = Record::parse(RECORD.replace(from, to).as_bytes()).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    let error = Record::read(Path::new("/nonexistent/record.json")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nonexistent/record.json: "), "{error}");
}

fn call(label: &str, from: u64, until: u64) -> String {
    format!(
        r#"{{"id":"{from}","request":{{"method":"POST","url":"https://a.example/{from}"}},"response":{{"status":200,"body":"ab"}},
        "outflow":{{"started_at_ns":{from},"first_byte_ns":{},"ended_at_ns":{until},"connection":{label},"service":"shop","feature":"search","process":"node"}}}}"#,
        from + 10
    )
}

/// Plays records; gives the inputs and the number of the record that each connection began with.
fn play(texts: &[String]) -> (Vec<Input>, Playing) {
    let records = texts.iter().map(|text| Record::parse(text.as_bytes()).unwrap()).collect();
    let mut playing = Playing::new(records, Options::default());
    let inputs = playing.by_ref().collect();
    (inputs, playing)
}

#[test]
fn times_and_connections_are_the_records_own() {
    let (inputs, playing) = play(&[
        call("7", 3_000, 3_100), // starts last
        call("\"7\"", 1_000, 2_000),
        call("7", 1_500, 2_500), // overlaps
        call("\"other\"", 1_600, 1_700),
    ]);
    assert!(inputs.is_sorted_by_key(|input| input.at));
    let opened: Vec<_> = inputs.iter().filter(|input| matches!(input.event, StreamEvent::Opened { .. })).collect();
    assert_eq!(opened.len(), 3);
    let shared = wire(&inputs, StreamId(1), Direction::Sent);
    assert!(shared.starts_with("POST /1000 ") && !shared.contains("/1500"), "{shared}");
    let other = wire(&inputs, StreamId(2), Direction::Sent);
    assert!(other.starts_with("POST /1500 ") && other.contains("POST /3000 "), "{other}");
    let closed = inputs.iter().filter(|input| matches!(input.event, StreamEvent::Closed { .. })).count();
    assert_eq!(closed, 3);
    for (stream, at, id) in
        [(1, 1_000, "1000"), (1, 1_999, "1000"), (2, 1_500, "1500"), (2, 3_000, "3000"), (3, 1_650, "1600")]
    {
        let record = playing.record_at(StreamId(stream), Timestamp(at)).unwrap();
        assert_eq!(playing.records()[record].id, id);
    }
    let of_one: Vec<_> = inputs.iter().filter(|input| input.stream == StreamId(1)).map(|input| input.at.0).collect();
    // Opened, request, head, first half, second half, closed.
    assert_eq!(of_one, [1_000, 1_000, 1_010, 1_010, 2_000, 2_000]);
    let origin = &inputs[0].origin;
    assert_eq!(
        (origin.service.as_str(), origin.feature.as_deref(), origin.process.as_str()),
        ("shop", Some("search"), "node")
    );
}

#[test]
fn without_times_an_exchange_takes_a_virtual_second() {
    let (inputs, _) = play(&[RECORD.to_owned(), RECORD.to_owned()]);
    let of =
        |stream| inputs.iter().filter(move |input| input.stream == StreamId(stream)).map(|input| input.at.rfc3339());
    assert_eq!(
        (of(0).next().unwrap(), of(0).last().unwrap()),
        ("2026-01-01T00:00:00.000Z".into(), "2026-01-01T00:00:01.000Z".into())
    );
    assert_eq!(
        (of(1).next().unwrap(), of(1).last().unwrap()),
        ("2026-01-01T00:00:01.000Z".into(), "2026-01-01T00:00:02.000Z".into())
    );
}

#[test]
fn a_request_that_was_not_answered_stands_alone() {
    let text = RECORD.replace("\"response\":{", "\"response\":null,\"was\":{");
    let (inputs, _) = play(&[text]);
    assert!(wire(&inputs, StreamId(0), Direction::Received).is_empty());
    assert!(matches!(inputs.last().unwrap().event, StreamEvent::Closed { received_bytes: Some(0), .. }));
}

/// As Chrome writes it, with entries of every kind; members that only a viewer needs are left out.
const HAR: &str = r#"{"log":{"version":"1.2","creator":{"name":"t","version":"1"},"entries":[
  {"startedDateTime":"2026-03-01T10:00:00.250+01:00","time":1500.5,"connection":"443",
   "request":{"method":"POST","url":"https://api.example/v1/x?q=two words#top","httpVersion":"h2",
     "headers":[{"name":":method","value":"POST"},{"name":":authority","value":"api.example"},{"name":"Content-Type","value":"application/json"},{"name":"X-Twice","value":"1"},{"name":"x-twice","value":"2"}],
     "postData":{"mimeType":"application/json","text":"{\"a\":\"ü\"}"}},
   "response":{"status":200,"headers":[{"name":"content-encoding","value":"br"},{"name":"content-length","value":"7"}],
     "content":{"mimeType":"application/json","size":11,"text":"eyJiIjoxfQ==","encoding":"base64"}},
   "timings":{"blocked":100,"dns":-1,"connect":50,"ssl":50,"send":0.5,"wait":850,"receive":500}},
  {"startedDateTime":"2026-03-01T09:00:02Z","request":{"method":"POST","url":"http://localhost:1/form","headers":[],
     "postData":{"mimeType":"application/x-www-form-urlencoded","params":[{"name":"a b","value":"c&d"},{"name":"e"}]}},
   "response":{"status":0,"headers":[],"content":{}}},
  {"request":{"method":"GET","url":"data:text/plain,x","headers":[]},"response":{"status":200}},
  {"request":{"method":"GET","url":"https://api.example/c","headers":[]},"response":{"status":200},"_fromCache":"disk"},
  {"startedDateTime":"2026-03-01T09:00:03Z","request":{"method":"POST","url":"https://api.example/up","headers":[],
     "postData":{"mimeType":"multipart/form-data","params":[{"name":"file","fileName":"a.txt","contentType":"text/plain","value":"hi"}]}},
   "response":{"status":304,"headers":[],"content":{"text":"cached"}}},
  {"startedDateTime":"2026-03-01T09:00:04Z","request":{"method":"GET","url":"wss://api.example/live","headers":[]},
   "response":{"status":101,"headers":[]},"_webSocketMessages":[{"type":"send","time":1,"opcode":1,"data":"{}"},{"type":"receive","time":2,"opcode":2,"data":"AAE="}]}
]}}"#;

fn har(text: &str) -> Result<Vec<Record>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.har");
    fs::write(&path, text).unwrap();
    read(&[path]).map_err(|error| error.to_string())
}

#[test]
fn har_files_are_read() {
    let records = har(&format!("\u{feff}{HAR}")).unwrap();
    let ids: Vec<_> = records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["a.har#0", "a.har#1", "a.har#4", "a.har#5"]);
    let start = Timestamp::parse("2026-03-01T09:00:00.250Z").unwrap();
    let after = |ns| Timestamp(start.0 + ns);
    assert_eq!(
        records[0].times,
        Some(Times { started: start, first_byte: after(1_000_500_000), ended: after(1_500_500_000) })
    );
    assert_eq!(records[0].connection.as_deref(), Some("443"));
    let Answer::Session(messages) = &records[3].answer else { panic!("{:?}", records[3].answer) };
    assert_eq!((messages[0].is_sent, messages[1].is_binary, &messages[1].data[..]), (true, true, &[0, 1][..]));

    let playing = Playing::new(records, Options::default());
    let inputs: Vec<_> = playing.collect();
    assert_eq!(
        wire(&inputs, StreamId(0), Direction::Sent),
        "POST /v1/x?q=two%20words HTTP/1.1\r\nhost: api.example\r\ncontent-type: application/json\r\nx-twice: 1\r\nx-twice: 2\r\n\
         content-length: 10\r\n\r\n{\"a\":\"ü\"}"
    );
    assert_eq!(
        wire(&inputs, StreamId(0), Direction::Received),
        "HTTP/1.1 200 \r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{\"b\":1}"
    );
    let form = wire(&inputs, StreamId(1), Direction::Sent);
    assert!(
        form.starts_with("POST /form HTTP/1.1\r\nhost: localhost:1\r\n") && form.ends_with("\r\n\r\na+b=c%26d&e="),
        "{form}"
    );
    assert!(wire(&inputs, StreamId(1), Direction::Received).is_empty());
    let upload = wire(&inputs, StreamId(2), Direction::Sent);
    assert!(
        upload.contains("boundary=----outflow-replay\r\n")
            && upload.contains(
                "name=\"file\"; filename=\"a.txt\"\r\ncontent-type: text/plain\r\n\r\nhi\r\n------outflow-replay--"
            ),
        "{upload}"
    );
    assert_eq!(wire(&inputs, StreamId(2), Direction::Received), "HTTP/1.1 304 \r\n\r\n");
}

#[test]
fn bad_har_files_say_which_entry() {
    for (from, to, message) in [
        ("\"entries\":[", "\"entries\":7,\"x\":[", "a.har: log.entries: "),
        ("\"method\":\"GET\",\"url\":\"wss://", "\"url\":\"wss://", "log.entries[5]: missing field `method`"),
        ("2026-03-01T09:00:02Z", "yesterday", "log.entries[1].startedDateTime: `yesterday`"),
        ("eyJi", "?", "log.entries[0].response.content.text: encoding says base64"),
        ("\"status\":304", "\"status\":99", "log.entries[4].response.status: 99"),
        ("{\"log\"", "{\"book\"", "a.har: no exchange record: member `request` is missing"),
        ("{\"log\"", "log", "a.har: no JSON: "),
    ] {
        let error = har(&HAR.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    assert!(har("").unwrap_err().contains("holds no exchange"));
}

#[test]
fn arrays_lines_and_folders_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let unnamed = RECORD.replace("\"id\":\"x\",", "");
    write("b.json", &format!("[{RECORD},{unnamed}]"));
    write("a.jsonl", &format!("{}\n{}\n", RECORD.replace('\n', " "), unnamed.replace('\n', " ")));
    write("c.har", HAR);
    write("index.jsonl", "{\"id\":\"not a record\"}\n");
    write("package.json", "// no JSON");
    write("readme.md", "x");
    let records = read(&[folder.path().to_owned()]).unwrap();
    let ids: Vec<_> = records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["x", "a.jsonl#1", "x", "b.json#1", "c.har#0", "c.har#1", "c.har#4", "c.har#5"]);

    let error = read(&[folder.path().join("index.jsonl")]).unwrap_err().to_string();
    assert!(error.contains("index.jsonl: no exchange record: member `request` is missing"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = read(&[empty.path().to_owned()]).unwrap_err().to_string();
    assert!(error.contains("no file in this folder holds"), "{error}");
    write("b.json", &format!("[{RECORD},{{\"request\":{{\"method\":\"POST\"}}}}]"));
    let error = read(&[folder.path().join("b.json")]).unwrap_err().to_string();
    assert!(error.contains("b.json: record 2: request: missing field `url`"), "{error}");
}

#[test]
fn an_encoding_stands_only_when_the_body_has_it() {
    for (coding, raw, is_kept) in [
        ("gzip", "H4sIAAAAAAAAA0vKLIsvBQAxm2tSBgAAAA==", true),
        ("gzip", "eyJhIjoxfQ==", false),
        ("br", "CwGA/2EBAgM=", true),
        ("br", "eyJhIjoxfQ==", false),
        ("identity", "eyJhIjoxfQ==", false),
    ] {
        let text = format!(
            r#"{{"request":{{"method":"GET","url":"https://a.example"}},"response":{{"status":200,"headers":{{"content-encoding":"{coding}"}},"body_base64":"{raw}"}}}}"#
        );
        let record = Record::parse(text.as_bytes()).unwrap();
        assert_eq!(record.request.target, "/");
        let Answer::Http(response) = record.answer else { panic!("no answer") };
        assert_eq!(response.headers.len(), usize::from(is_kept), "{coding} {raw}");
    }
}
