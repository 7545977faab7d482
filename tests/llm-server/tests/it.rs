//! The server as a program: it says when it is ready, answers over TLS that its CA file vouches for, writes down what passed,
//! outlives a peer that speaks no TLS, and ends with its standard input.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use serde_json::Value;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

struct Program {
    child: Child,
    port: u16,
}

impl Program {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_llm-server"))
            .args(["--listen", "127.0.0.1:0", "--until-stdin-closes", "--ca-out"])
            .arg(dir.join("ca.pem"))
            .arg("--journal")
            .arg(dir.join("journal"))
            .arg("--ready-file")
            .arg(dir.join("ready.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("ready.json")).unwrap(), line);
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["pid"], child.id());
        Self { child, port: u16::try_from(ready["port"].as_u64().unwrap()).unwrap() }
    }

    fn connect(&self, dir: &Path, name: &'static str) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connection = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
        StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", self.port)).unwrap())
    }

    /// Closes its standard input and waits.
    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

fn request(name: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {name}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn it_answers_and_writes_down_what_passed() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path());
    // A peer that speaks no TLS ends its own connection only.
    let mut plain = TcpStream::connect(("127.0.0.1", program.port)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    plain.read_to_end(&mut Vec::new()).unwrap();

    let chat = "{\"model\": \"gpt-4o\", \"messages\": [{\"role\": \"user\", \"content\": \"hello\"}]}";
    let cases = [
        ("api.openai.com", "/v1/chat/completions", "", chat, "HTTP/1.1 200 OK", "\"gpt-4o-2024-08-06\""),
        ("api.openai.com", "/v1/chat/completions", "x-fixture: ehco\r\n", chat, "HTTP/1.1 400 ", "unknown word"),
        ("api.openai.com", "/v1/chat/completions", "x-fixture: status=503\r\n", chat, "HTTP/1.1 503 ", "api_error"),
        ("api.openai.com", "/v1/chat/completions", "", "{", "HTTP/1.1 400 ", "could not parse"),
        ("api.openai.com", "/v1/none", "", chat, "HTTP/1.1 404 ", "Invalid URL"),
        ("api.anthropic.com", "/v1/messages", "x-fixture: echo\r\n", chat, "HTTP/1.1 200 OK", "\"end_turn\""),
        ("www.example.test", "/anything?at=all", "", "a page", "HTTP/1.1 200 OK", "a page"),
    ];
    for (number, (name, path, headers, body, status, inside)) in cases.into_iter().enumerate() {
        let request = request(name, path, headers, body);
        let answer = exchange(program.connect(dir.path(), name), &request);
        assert!(answer.starts_with(status) && answer.contains(inside), "{path} {headers}: {answer}");
        let page = |suffix| dir.path().join(format!("journal/{:03}-{name}.{suffix}", number + 1));
        assert_eq!(std::fs::read_to_string(page("received")).unwrap(), request);
        assert_eq!(std::fs::read_to_string(page("sent")).unwrap(), answer);
    }
    program.end();
}

#[test]
fn a_stranger_is_not_vouched_for() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path());
    let mut stream = program.connect(dir.path(), "api.mistral.ai");
    assert!(stream.write_all(b"GET / HTTP/1.1\r\n\r\n").is_err(), "the certificate names only what was asked for");
    program.end();
}
