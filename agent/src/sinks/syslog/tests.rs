//! Real sockets of the test's own, read by another library's parser. What a foreign server makes of it is in `tests/it/syslog.rs`.

use std::{
    io::Read,
    net::{Ipv4Addr, TcpListener},
    os::unix::net::UnixDatagram,
    sync::mpsc,
    time::Duration,
};

use syslog_loose::{Message, Protocol, SyslogFacility as Facility, SyslogSeverity, Variant};
use testbed::fake_collector::Certificates;
use tokio_rustls::rustls::{ServerConnection, StreamOwned};

use super::*;
use crate::{
    config::{Config, SyslogSink},
    findings::Finding,
    sinks::{
        SinkNotice, Sinks,
        tests::{Place, drained, occurrence},
    },
    units::Severity,
};

const LIMIT: Duration = Duration::from_mins(1);

fn start(place: &Place, config: &str) -> (Sinks, mpsc::Receiver<SinkNotice>) {
    let config = Config::parse("outflow.toml", config).unwrap_or_else(|error| panic!("{error}"));
    let (notices, heard) = mpsc::channel();
    let tell = Arc::new(move |notice| drop(notices.send(notice)));
    let host = Host { name: "node-17".to_owned(), id: None, cloud: None };
    (Sinks::start(&config.sinks, &place.store, &host, tell).unwrap(), heard)
}

fn find(place: &Place, range: std::ops::Range<usize>) {
    place.find(range.map(|number| format!("model-{number}")));
}

fn parsed(message: &str) -> Message<&str> {
    let message = syslog_loose::parse_message(message, Variant::RFC5424);
    assert_eq!(message.protocol, Protocol::RFC5424(1), "{message:?}");
    message
}

fn field<'a>(message: &Message<&'a str>, name: &str) -> &'a str {
    let [data] = &message.structured_data[..] else { panic!("{message:?}") };
    assert_eq!(data.id, "outflow@32473");
    data.params.iter().find(|(found, _)| *found == name).map(|(_, value)| *value).unwrap_or_default()
}

/// One message with octet counting (RFC 6587, section 3.4.1); `None` at the end.
fn next(stream: &mut impl Read) -> Option<String> {
    let mut length = String::new();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) | Err(_) => return None,
            Ok(_) if byte[0] == b' ' => break,
            Ok(_) => length.push(char::from(byte[0])),
        }
    }
    let mut message = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut message).ok()?;
    Some(String::from_utf8(message).unwrap())
}

fn record(finding: Finding) -> Record {
    let payload = serde_json::to_string(&finding).unwrap();
    Record { seq: 7, record_id: finding.record_id.clone(), activity: finding.activity, finding, payload }
}

fn messages(more: &str) -> Messages {
    let text = format!("[[sinks.syslog]]\naddress = \"tcp://127.0.0.1:601\"\n{more}");
    let sink: SyslogSink = Config::parse("outflow.toml", &text).unwrap().sinks.syslog.remove(0);
    Messages::new(&sink, Host { name: "node 17".to_owned(), id: None, cloud: None })
}

#[test]
fn a_message_has_the_fields_of_the_finding_and_the_whole_record() {
    let mut finding = occurrence("a");
    finding.process.service = "a \"quoted\" [service]\\ with\na feed".to_owned();
    let record = record(finding);
    let text = String::from_utf8(messages("facility = \"authpriv\"\n").encode(&record).unwrap()).unwrap();
    let message = parsed(&text);
    assert_eq!(message.facility, Some(Facility::LOG_AUTHPRIV));
    assert_eq!(message.severity, Some(SyslogSeverity::SEV_WARNING));
    assert_eq!((message.hostname, message.appname, message.msgid), (Some("node17"), Some("outflow"), Some("finding")));
    assert_eq!(message.timestamp.unwrap().timestamp(), 1_000_000_000);
    assert_eq!((field(&message, "record_id"), field(&message, "rule")), (record.record_id.as_str(), "model.unpinned"));
    assert!(text.contains("service=\"a \\\"quoted\\\" [service\\]\\\\ with a feed\""), "{text}");
    assert_eq!(message.msg, record.payload);
    // Each time the same.
    assert_eq!(messages("facility = \"authpriv\"\n").encode(&record).unwrap(), text.as_bytes());
    let ocsf = String::from_utf8(messages("format = \"ocsf\"\n").encode(&record).unwrap()).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(parsed(&ocsf).msg).unwrap()["class_uid"].is_number());
    let ecs = String::from_utf8(messages("format = \"ecs\"\n").encode(&record).unwrap()).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(parsed(&ecs).msg).unwrap()["ecs"]["version"].is_string());
}

#[test]
fn severities_keep_their_order() {
    let levels =
        [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical].map(|severity| {
            let record = record(Finding { severity, ..occurrence("a") });
            let text = String::from_utf8(messages("").encode(&record).unwrap()).unwrap();
            text.split('>').next().unwrap().to_owned()
        });
    // local0 is 16 * 8; informational 6, notice 5, warning 4, error 3, critical 2.
    assert_eq!(levels, ["<134", "<133", "<132", "<131", "<130"]);
}

#[test]
fn what_is_too_long_is_a_summary_and_never_half_a_document() {
    let mut finding = occurrence("a");
    finding.remedy = "x".repeat(9000);
    finding.title = "é".repeat(5000);
    let record = record(finding);
    let bytes = messages("").encode(&record).unwrap();
    assert!(bytes.len() < 8192, "{}", bytes.len());
    let text = String::from_utf8(bytes).unwrap();
    let message = parsed(&text);
    assert_eq!((field(&message, "content"), field(&message, "record_id")), ("summary", record.record_id.as_str()));
    let summary: serde_json::Value = serde_json::from_str(message.msg).unwrap();
    assert_eq!((&summary["content"], &summary["whole_bytes"]), (&"summary".into(), &record.payload.len().into()));
    assert_eq!(summary["finding_id"], record.finding.finding_id.as_str());
    // One whose names alone are too long is never taken.
    let mut long = record.clone();
    long.finding.process.service = "s".repeat(3000);
    let refused = messages("max_bytes = \"2 KiB\"\n").encode(&long).unwrap_err();
    assert_eq!((refused.seq, refused.reason), (7, "too_large"));
}

#[test]
fn messages_are_counted_and_those_of_a_broken_connection_come_again() {
    let place = Place::new();
    find(&place, 0..5);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let config = format!("[[sinks.syslog]]\naddress = \"tcp://{}\"\nresend = 3\n", listener.local_addr().unwrap());
    let (sinks, _notices) = start(&place, &config);
    let (mut first, _) = listener.accept().unwrap();
    let id = |text: String| field(&parsed(&text), "record_id").to_owned();
    let got: Vec<String> = (0..5).map(|_| id(next(&mut first).unwrap())).collect();
    let ids = place.record_ids();
    assert_eq!(got, ids);
    drained(&place, &sinks);
    // The server goes, perhaps with what it had not looked at.
    drop(first);
    find(&place, 5..7);
    let (mut second, _) = listener.accept().unwrap();
    let mut got: Vec<String> = Vec::new();
    while got.last() != place.record_ids().last() {
        got.push(id(next(&mut second).unwrap()));
    }
    // The newest three once more, then what is new. A connection that broke late may have taken a batch: that comes again, too.
    assert_eq!(got[..3], ids[2..5], "{got:?}");
    let mut fresh = got[3..].to_vec();
    fresh.dedup();
    assert_eq!(fresh, place.record_ids()[5..]);
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
}

#[test]
fn a_server_that_takes_nothing_is_not_waited_for_for_ever() {
    let place = Place::new();
    find(&place, 0..1);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (sinks, notices) = start(&place, &format!("[[sinks.syslog]]\naddress = \"tcp://{address}\"\n"));
    let SinkNotice::Waits { reason, .. } = notices.recv_timeout(LIMIT).unwrap() else { panic!("it delivers") };
    assert!(reason.starts_with(&format!("cannot reach tcp://{address}: ")), "{reason}");
    sinks.finish(LIMIT).unwrap();

    // Somebody who says nothing to a greeting of TLS.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let config = format!("[[sinks.syslog]]\naddress = \"tls://{address}\"\ntimeout = \"100ms\"\n");
    let folder = tempfile::tempdir().unwrap();
    let ca = Certificates::make(folder.path(), &[]).unwrap().ca_file;
    let (sinks, notices) = start(&place, &format!("{config}ca_file = {ca:?}\nname = \"other\"\n"));
    let SinkNotice::Waits { reason, .. } = notices.recv_timeout(LIMIT).unwrap() else { panic!("it delivers") };
    assert!(reason.contains("within 100ms"), "{reason}");
    sinks.finish(LIMIT).unwrap();
}

#[test]
fn certificates_are_checked_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path(), &[]).unwrap();
    let (ca, cert, key) = (&certificates.ca_file, &certificates.cert_file, &certificates.key_file);
    let trusting = format!("ca_file = {ca:?}\n");
    let both = format!("{trusting}cert_file = {cert:?}\nkey_file = {key:?}\n");
    for (server, more, takes) in [
        (&certificates.server, &trusting, true),
        (&certificates.server, &String::new(), false),
        (&certificates.strict_server, &both, true),
    ] {
        let place = Place::new();
        find(&place, 0..2);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Arc::clone(server);
        let serve = move || {
            // Whoever does not trust us comes again and again, until the test has seen why.
            let (stream, _) = listener.accept().unwrap();
            let connection = ServerConnection::new(server).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            // Until the sink hangs up: it looks whether the server still listens before it takes a batch for delivered.
            let messages: Vec<String> = std::iter::from_fn(|| next(&mut stream)).collect();
            messages
        };
        let thread = std::thread::spawn(serve);
        let (sinks, notices) =
            start(&place, &format!("[[sinks.syslog]]\naddress = \"tls://localhost:{port}\"\n{more}"));
        if takes {
            drained(&place, &sinks);
        } else {
            let SinkNotice::Waits { reason, .. } = notices.recv_timeout(LIMIT).unwrap() else { panic!("it delivers") };
            assert!(reason.starts_with("no TLS with tls://localhost:") && reason.contains("ertificate"), "{reason}");
        }
        sinks.finish(LIMIT).unwrap();
        assert_eq!(thread.join().unwrap().len(), if takes { 2 } else { 0 });
    }
}

#[test]
fn a_socket_of_this_machine_gets_a_datagram_each() {
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    find(&place, 0..3);
    let path = folder.path().join("log");
    let config = format!("[[sinks.syslog]]\naddress = \"unix:{}\"\n", path.display());
    let (sinks, notices) = start(&place, &config);
    let SinkNotice::Waits { reason, .. } = notices.recv_timeout(LIMIT).unwrap() else { panic!("it delivers") };
    assert!(reason.contains("is a syslog daemon running"), "{reason}");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut buffer = [0; 16 * 1024];
    for id in place.record_ids() {
        let bytes = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8(buffer[..bytes].to_vec()).unwrap();
        assert_eq!(field(&parsed(&text), "record_id"), id);
    }
    drained(&place, &sinks);
    // The daemon is started anew.
    drop(socket);
    std::fs::remove_file(&path).unwrap();
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    find(&place, 3..4);
    let bytes = socket.recv(&mut buffer).unwrap();
    assert!(bytes > 0);
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();

    let stream = folder.path().join("stream");
    let _listener = std::os::unix::net::UnixListener::bind(&stream).unwrap();
    let config = format!("[[sinks.syslog]]\nname = \"s\"\naddress = \"unix:{}\"\n", stream.display());
    let (sinks, notices) = start(&place, &config);
    let SinkNotice::Waits { reason, .. } = notices.recv_timeout(LIMIT).unwrap() else { panic!("it delivers") };
    assert!(reason.contains("only datagram sockets"), "{reason}");
    sinks.finish(LIMIT).unwrap();
}

#[test]
fn the_newest_are_kept_and_no_more() {
    let newest = Newest::new(3);
    let message = |number: u8| Arc::<[u8]>::from([number].as_slice());
    newest.add(&[message(1), message(2)]);
    newest.add(&[message(3), message(4)]);
    assert_eq!(newest.all(), [message(2), message(3), message(4)]);
    newest.add(&(5..15).map(message).collect::<Vec<_>>());
    assert_eq!(newest.all(), [message(12), message(13), message(14)]);
    let none = Newest::new(0);
    none.add(&[message(1)]);
    assert!(none.all().is_empty());
}
