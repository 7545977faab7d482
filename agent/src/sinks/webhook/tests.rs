//! A real web server of the test's own: what it is asked, signed as another library reads it, and what each of its answers leads to.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::{Condvar, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use testbed::fake_collector::Certificates;
use tokio::{sync::oneshot, task::JoinSet};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::{
    outcome::{HttpAnswer, of_http},
    sign::Signer,
    *,
};
use crate::{
    config::Config,
    sinks::{
        SinkNotice, Sinks,
        tests::{Place, drained},
        words::Words,
    },
    units::Timestamp,
};

const LIMIT: Duration = Duration::from_mins(1);
const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_SECRET: &str = "whsec_HxwdHhsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";

/// What it was asked.
#[derive(Clone, Debug)]
struct Asked {
    headers: HeaderMap,
    body: String,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn is_signed(&self, secret: &str) -> bool {
        standardwebhooks::Webhook::new(secret).unwrap().verify(self.body.as_bytes(), &self.headers).is_ok()
    }
}

/// Status, header fields, body.
type Says = (u16, &'static [(&'static str, &'static str)], &'static str);

/// What it says to a body that nothing was queued for.
type Rule = fn(&str) -> Says;

const TAKEN: Says = (204, &[], "");

#[derive(Default)]
struct Told {
    asked: Vec<Asked>,
    says: VecDeque<Says>,
}

struct Server {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    /// Somebody asked.
    changed: Arc<Condvar>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn new(says: &[Says]) -> Self {
        Self::with(says, |_| TAKEN, None)
    }

    fn with(says: &[Says], rule: Rule, tls: Option<Arc<ServerConfig>>) -> Self {
        let told = Arc::new(Mutex::new(Told { says: says.iter().copied().collect(), ..Told::default() }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, (end, ended)) = (listener.local_addr().unwrap(), oneshot::channel());
        let (hears, changed) = (Arc::clone(&told), Arc::new(Condvar::new()));
        let bell = Arc::clone(&changed);
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut connections = JoinSet::new();
            let accepting = async {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (hears, bell, tls) = (Arc::clone(&hears), Arc::clone(&bell), tls.clone());
                    let service =
                        service_fn(move |request| answer(Arc::clone(&hears), Arc::clone(&bell), rule, request));
                    connections.spawn(async move {
                        let http = hyper::server::conn::http1::Builder::new();
                        match tls {
                            None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                            Some(tls) => {
                                if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                                    drop(http.serve_connection(TokioIo::new(stream), service).await);
                                }
                            }
                        }
                    });
                }
            };
            tokio::select! { _ = accepting => {}, _ = ended => {} }
        };
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve);
        };
        Self { address, told, changed, end: Some(end), thread: Some(std::thread::spawn(run)) }
    }

    fn asked(&self) -> Vec<Asked> {
        self.told.lock().unwrap().asked.clone()
    }

    /// Waits until it was asked so often.
    fn until_asked(&self, times: usize) {
        let lacks = |told: &mut Told| told.asked.len() < times;
        let (_told, waited) = self.changed.wait_timeout_while(self.told.lock().unwrap(), LIMIT, lacks).unwrap();
        assert!(!waited.timed_out(), "it asks no more");
    }

    fn sink(&self, more: &str) -> String {
        format!("[[sinks.webhook]]\nurl = \"http://{}/hook\"\n{more}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

async fn answer(
    told: Arc<Mutex<Told>>,
    changed: Arc<Condvar>,
    rule: Rule,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/hook"));
    let headers = request.headers().clone();
    let body = String::from_utf8(request.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let mut told = told.lock().unwrap();
    let (status, fields, text) = told.says.pop_front().unwrap_or_else(|| rule(&body));
    told.asked.push(Asked { headers, body });
    changed.notify_all();
    let response =
        fields.iter().fold(Response::builder().status(status), |all, (name, value)| all.header(*name, *value));
    Ok(response.body(Full::from(text)).unwrap())
}

/// What the sink said, and that it said something.
#[derive(Default)]
struct Heard {
    notices: Mutex<Vec<SinkNotice>>,
    changed: Condvar,
}

type Notices = Arc<Heard>;

fn start(place: &Place, config: &str) -> (Sinks, Notices) {
    let config = Config::parse("outflow.toml", config).unwrap_or_else(|error| panic!("{error}"));
    let notices = Notices::default();
    let heard = Arc::clone(&notices);
    let tell = Arc::new(move |notice| {
        heard.notices.lock().unwrap().push(notice);
        heard.changed.notify_all();
    });
    (Sinks::start(&config.sinks, &place.store, &Host::default(), tell).unwrap(), notices)
}

fn find(place: &Place, count: usize) {
    place.find((0..count).map(|number| format!("model-{number}")));
}

fn reason(notice: &SinkNotice) -> Option<String> {
    match notice {
        SinkNotice::Waits { reason, .. } => Some(reason.clone()),
        _ => None,
    }
}

fn reasons(notices: &Notices) -> Vec<String> {
    notices.notices.lock().unwrap().iter().filter_map(reason).collect()
}

/// Waits until it said why it waits.
fn waits(notices: &Notices) -> String {
    let lacks = |said: &mut Vec<SinkNotice>| !said.iter().any(|notice| reason(notice).is_some());
    let waited = notices.changed.wait_timeout_while(notices.notices.lock().unwrap(), LIMIT, lacks).unwrap();
    let said = waited.0.iter().filter_map(reason).next_back();
    said.expect("it says nothing")
}

fn secret_file(folder: &Path, text: &str) -> String {
    let path = folder.join("secret");
    std::fs::write(&path, text).unwrap();
    format!("secret = {{ file = {path:?} }}\n")
}

#[test]
fn each_record_is_a_signed_request_and_what_fails_is_sent_again() {
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    find(&place, 5);
    let busy: Says = (503, &[("retry-after", "0")], "busy");
    let server = Server::new(&[TAKEN, TAKEN, busy, (500, &[], "oh")]);
    let secret = secret_file(folder.path(), SECRET);
    let (sinks, _) = start(&place, &server.sink(&format!("{secret}headers = {{ x-source = \"outflow\" }}\n")));
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();

    let (asked, ids) = (server.asked(), place.record_ids());
    let sent: Vec<&str> = asked.iter().map(|asked| asked.header("webhook-id")).collect();
    // What it has of a batch is not sent again with the rest.
    assert_eq!(sent, [&ids[0], &ids[1], &ids[2], &ids[2], &ids[2], &ids[3], &ids[4]].map(String::as_str));
    for asked in &asked {
        assert!(asked.is_signed(SECRET) && !asked.is_signed(OTHER_SECRET), "{asked:?}");
        assert_eq!(asked.header("content-type"), "application/json");
        assert_eq!((asked.header("x-source"), asked.header("user-agent").starts_with("outflow/")), ("outflow", true));
        let record: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(record["record_id"], asked.header("webhook-id"));
    }
    // The same record is the same bytes.
    assert_eq!(asked[2].body, asked[4].body);
}

#[test]
fn a_body_is_in_the_format_that_was_asked_for() {
    for (format, pointer) in [("native", "/finding_id"), ("ocsf", "/class_uid"), ("ecs", "/ecs/version")] {
        for body in ["one", "array", "lines"] {
            let place = Place::new();
            find(&place, 2);
            let server = Server::new(&[]);
            let (sinks, _) = start(&place, &server.sink(&format!("format = \"{format}\"\nbody = \"{body}\"\n")));
            drained(&place, &sinks);
            sinks.finish(LIMIT).unwrap();
            let bodies = server.asked();
            let values = bodies.iter().flat_map(|asked| serde_json::Deserializer::from_str(&asked.body).into_iter());
            let values: Vec<serde_json::Value> = values.map(Result::unwrap).collect();
            let records =
                values.iter().flat_map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice));
            let held: Vec<bool> = records.map(|record| record.pointer(pointer).is_some()).collect();
            assert_eq!(held, [true, true], "{format} {body}: {values:?}");
        }
    }
}

#[test]
fn a_batch_is_an_array_or_lines_and_only_what_is_at_fault_is_given_up() {
    // It takes at most four records at a time, and never the one of model-5.
    let rule: Rule = |body| match body.matches("\"record_id\"").count() {
        5.. => (413, &[], "too many"),
        _ if body.contains("model-5 can change") => (422, &[("content-type", "text/plain")], "no such model"),
        _ => TAKEN,
    };
    for (body, content_type) in [("array", "application/json"), ("lines", "application/x-ndjson")] {
        let place = Place::new();
        find(&place, 12);
        let server = Server::with(&[], rule, None);
        let (sinks, _) = start(&place, &server.sink(&format!("body = \"{body}\"\nbatch_records = 10\n")));
        drained(&place, &sinks);
        sinks.finish(LIMIT).unwrap();
        let letters = place.reader().dead_letters(10).unwrap();
        let [(_, letter)] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!((letter.seq, letter.reason.as_str(), letter.detail.as_str()), (6, "invalid", "422: no such model"));
        let asked = server.asked();
        let records = |body: &str| -> Vec<serde_json::Value> {
            match content_type {
                "application/json" if body.starts_with('[') => serde_json::from_str(body).unwrap(),
                _ => body.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            }
        };
        assert_eq!(records(&asked[0].body).len(), 10);
        assert!(asked.iter().all(|asked| asked.header("content-type") == content_type));
        assert!(asked[0].header("webhook-id").starts_with("batch_") && asked[0].header("webhook-signature").is_empty());
        let taken: Vec<String> = asked
            .iter()
            .filter(|asked| rule(&asked.body) == TAKEN)
            .flat_map(|asked| records(&asked.body))
            .map(|record| record["record_id"].as_str().unwrap().to_owned())
            .collect();
        let wanted: Vec<String> = place.record_ids().into_iter().filter(|id| *id != letter.record_id).collect();
        assert_eq!(taken, wanted, "{body}");
    }
}

#[test]
fn who_refuses_everything_is_waited_for() {
    let place = Place::new();
    find(&place, 2);
    let server =
        Server::with(&[], |_| (400, &[("content-type", "application/json")], "{\"error\":\"no token\"}"), None);
    let (sinks, notices) = start(&place, &server.sink(""));
    let reason = waits(&notices);
    assert!(reason.contains("refuses every record: check `url`") && reason.contains("no token"), "{reason}");
    sinks.finish(LIMIT).unwrap();
    assert_eq!(place.reader().cursor("webhook").unwrap(), 0);
    assert!(place.reader().dead_letters(1).unwrap().is_empty());
}

#[test]
fn a_secret_can_be_changed_while_it_runs_and_is_never_told() {
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    find(&place, 1);
    let quoting: Says =
        (401, &[("content-type", "text/plain")], "bad key whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let server = Server::new(&[quoting; 200]);
    let secret = secret_file(folder.path(), SECRET);
    let (sinks, notices) = start(&place, &server.sink(&secret));
    let reason = waits(&notices);
    assert!(reason.contains("does not know us (401): check `secret`"), "{reason}");
    secret_file(folder.path(), &format!("{OTHER_SECRET} {SECRET}\n"));
    // Whoever asks now for the second time has read the new one.
    server.until_asked(server.asked().len() + 2);
    server.told.lock().unwrap().says.clear();
    drained(&place, &sinks);
    // While one is replaced by another, both sign.
    find(&place, 3);
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    let asked = server.asked();
    let last = asked.last().unwrap();
    assert!(last.is_signed(SECRET) && last.is_signed(OTHER_SECRET), "{last:?}");
    for reason in reasons(&notices) {
        assert!(!reason.contains("AAECAw"), "{reason}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let place = Place::new();
    find(&place, 1);
    let elsewhere = Server::new(&[]);
    let location: &'static str = format!("http://{}/hook", elsewhere.address).leak();
    let fields: &'static [(&str, &str)] = vec![("location", location)].leak();
    let server = Server::new(&[(302, fields, "")]);
    let (sinks, notices) = start(&place, &server.sink(""));
    let reason = waits(&notices);
    assert!(reason.contains("302, a redirect, which is not followed"), "{reason}");
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    assert_eq!((server.asked().len(), elsewhere.asked().len()), (2, 0));
}

#[test]
fn certificates_are_checked_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path(), &["http/1.1"]).unwrap();
    let (ca, cert, key) = (&certificates.ca_file, &certificates.cert_file, &certificates.key_file);
    let trusting = format!("ca_file = {ca:?}\n");
    let both = format!("{trusting}cert_file = {cert:?}\nkey_file = {key:?}\n");
    for (server, more, fails) in [
        (&certificates.server, &trusting, false),
        (&certificates.server, &String::new(), true),
        (&certificates.strict_server, &trusting, true),
        (&certificates.strict_server, &both, false),
    ] {
        let place = Place::new();
        find(&place, 1);
        let server = Server::with(&[], |_| TAKEN, Some(Arc::clone(server)));
        let config = format!("[[sinks.webhook]]\nurl = \"https://localhost:{}/hook\"\n{more}", server.address.port());
        let (sinks, notices) = start(&place, &config);
        if fails {
            let reason = waits(&notices);
            assert!(reason.contains("certificate"), "{reason}");
        } else {
            drained(&place, &sinks);
        }
        sinks.finish(LIMIT).unwrap();
        assert_eq!(server.asked().len(), usize::from(!fails));
    }
}

#[test]
fn an_address_in_a_file_is_a_secret() {
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    find(&place, 1);
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let path = folder.path().join("url");
    std::fs::write(&path, format!("http://{closed}/services/FAKETOKEN1234?sig=FAKE5678\n")).unwrap();
    let (sinks, notices) = start(&place, &format!("[[sinks.webhook]]\nurl = {{ file = {path:?} }}\n"));
    let reason = waits(&notices);
    assert!(reason.starts_with("cannot reach the webhook") && !reason.contains("FAKE"), "{reason}");
    // It is read anew for each attempt.
    let server = Server::new(&[]);
    std::fs::write(&path, format!("http://{}/hook", server.address)).unwrap();
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn every_status_has_an_outcome() {
    let words = Words::new("http://h/hook", std::iter::once("FAKEfake1234"));
    let now = Timestamp(1_795_392_000_000_000_000);
    let of = |status, content_type: &str, text: &str, retry_after| {
        let body = text.as_bytes();
        of_http(HttpAnswer { status, content_type: Some(content_type), retry_after, body }, now, &words)
    };
    for status in [200, 201, 202, 204] {
        assert_eq!(of(status, "text/html", "<p>", None), Outcome::Taken);
    }
    assert_eq!(of(400, "text/plain", " no FAKEfake1234 ", None), Outcome::Invalid("400: no •••".to_owned()));
    assert_eq!(of(422, "application/json", "", None), Outcome::Invalid("422".to_owned()));
    assert_eq!(of(413, "text/html", "<p>", None), Outcome::TooLarge("413".to_owned()));
    for status in [401, 403, 404, 405, 410, 415] {
        assert!(matches!(of(status, "text/plain", "x", None), Outcome::Broken(_)), "{status}");
    }
    for status in [301, 307, 402, 408, 409, 429, 500, 502, 503, 504] {
        let Outcome::NotNow { after, .. } = of(status, "text/plain", "x", Some("7")) else { panic!("{status}") };
        assert_eq!(after, Some(Duration::from_secs(7)), "{status}");
    }
    // A proxy's page says nothing of the records.
    assert!(matches!(of(400, "text/html; charset=utf-8", "<p>", None), Outcome::NotNow { .. }));
}

#[test]
fn signatures_are_those_of_the_specification() {
    let body = "{\"type\":\"é\"}";
    let theirs = standardwebhooks::Webhook::new(SECRET).unwrap().sign("msg_1", 1_614_265_330, body.as_bytes()).unwrap();
    assert_eq!(Signer::new(SECRET).unwrap().sign("msg_1", 1_614_265_330, body), theirs);
    assert!(!format!("{:?}", Signer::new(SECRET).unwrap()).contains("AAEC"));
    for bad in ["", " ", "whsec_", "whsec_AAEC", "whsec_%%%", "not a secret", &"A".repeat(100)] {
        let error = Signer::new(bad).unwrap_err().to_string();
        assert!(error.contains("openssl rand") && (bad.len() < 8 || !error.contains(bad)), "{error}");
    }
}
