//! The clients, one row each: how each is started, what it uses for TLS, and what a tap must make of it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use outflow::sources::tap::Stack;
use serde_json::Value;
use testbed::Age;

use super::{
    Row, check,
    place::{Place, URL, system_library, system_program},
};
use crate::support;

/// A vendor's host, and one that the user lists: where clients may go. All lead to the local server.
const NAMES: [&str; 3] = ["api.openai.com", "api.anthropic.com", "vectors.example.test"];

/// What a tap must make of a client.
pub(super) enum Expected {
    /// Every byte of it.
    Whole,
    /// Nothing, for a reason in which these words stand.
    Refused(&'static str),
}

pub(super) struct Client {
    /// The test's name.
    pub(super) id: &'static str,
    /// For people.
    pub(super) name: &'static str,
    pub(super) stack: Stack,
    /// The name of the file that carries it; `*` stands for what may be anything.
    pub(super) file: &'static str,
    pub(super) expected: Expected,
    /// What the machine lacks for it.
    pub(super) missing: fn(&Place) -> Option<String>,
    pub(super) start: fn(&Place) -> Run,
}

/// How a client is run.
pub(super) struct Run {
    pub(super) command: Vec<OsString>,
    pub(super) environment: Vec<(&'static str, OsString)>,
    pub(super) names: Vec<&'static str>,
    /// Its version and that of its TLS, when it does not say them itself.
    pub(super) versions: Option<(String, String)>,
    /// What it will map, to be probed before it starts: so its very first call is seen.
    pub(super) known: Vec<PathBuf>,
}

impl Run {
    fn new(command: Vec<OsString>, known: Vec<PathBuf>) -> Self {
        Self { command, environment: Vec::new(), names: NAMES.to_vec(), versions: None, known }
    }

    fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }
}

impl Client {
    /// Whether a file may be the one that carries the client's TLS.
    pub(super) fn is_in(&self, file: &Path) -> bool {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match self.file.split_once('*') {
            Some((start, end)) => name.starts_with(start) && name.ends_with(end),
            None => name == self.file,
        }
    }

    /// Its line, from what is known of its run or what it says of itself: nothing is recovered yet.
    pub(super) fn row(&self, run: &Run, facts: &Value) -> Row {
        let said = facts["version"].as_str().unwrap_or_default();
        // Who has it in the language has it in the language's version.
        let said = (said.to_owned(), facts["tls"].as_str().unwrap_or(said).to_owned());
        let (version, stack_version) = run.versions.clone().unwrap_or(said);
        Row {
            client: self.name.to_owned(),
            version,
            stack: self.stack.to_string(),
            stack_version,
            file: self.file.to_owned(),
            sent_bytes: 0,
            received_bytes: 0,
            refused: None,
        }
    }
}

/// A test for each row.
macro_rules! clients {
    ($($id:ident: $client:expr,)*) => {
        pub(super) static TABLE: &[Client] = &[$(Client { id: stringify!($id), ..$client },)*];
        $(#[test]
        fn $id() {
            check(stringify!($id));
        })*
    };
}

/// What most rows share.
const USUAL: Client = Client {
    id: "",
    name: "",
    stack: Stack::OpenSsl,
    file: "libssl.so.3",
    expected: Expected::Whole,
    missing: |_| None,
    start: |_| Run::new(Vec::new(), Vec::new()),
};

clients! {
    curl_openssl: Client {
        name: "curl",
        missing: |_| lacks_program("curl"),
        start: |place| {
            let known = place.libraries(Path::new("/usr/bin/curl"), &["libssl.so"]);
            Run::new(place.with_bodies(&[&Place::source("curl.sh"), &place.bench.ca(), &URL]), known)
        },
        ..USUAL
    },
    curl_gnutls: Client {
        name: "libcurl3-gnutls of Debian",
        stack: Stack::GnuTls,
        file: "libgnutls.so.30",
        missing: |_| lacks_library("libcurl-gnutls.so.4"),
        start: |place| curl_easy(place, "libcurl-gnutls.so.4", &["libgnutls.so"]),
        ..USUAL
    },
    curl_nss: Client {
        name: "libcurl3-nss of Debian",
        stack: Stack::Nss,
        file: "libnspr4.so",
        missing: |_| lacks_library("libcurl-nss.so.4"),
        start: |place| curl_easy(place, "libcurl-nss.so.4", &["libnspr4.so", "libssl3.so"]),
        ..USUAL
    },
    wget_gnutls: Client {
        name: "wget",
        stack: Stack::GnuTls,
        file: "libgnutls.so.30",
        missing: |_| lacks_program("wget"),
        start: |place| {
            let known = place.libraries(Path::new("/usr/bin/wget"), &["libgnutls.so"]);
            let parts: [&dyn AsRef<std::ffi::OsStr>; 4] =
                [&Place::source("wget.sh"), &place.bench.ca(), &place.bench.python(), &URL];
            Run::new(place.with_bodies(&parts), known)
        },
        ..USUAL
    },
    python_sync: Client {
        name: "CPython, the vendors' packages",
        start: |place| {
            let script = "\"$0\" \"$1\"/sync_client.py && \"$0\" \"$1\"/big_client.py --size 1048576 && \"$0\" \"$1\"/stream_client.py";
            let mut command: Vec<OsString> = vec!["sh".into(), "-c".into(), script.into()];
            command.extend([place.bench.python().into(), Place::source("").into()]);
            Run::new(command, vec![place.bench.tls.libssl.clone()])
        },
        ..USUAL
    },
    python_asyncio: Client {
        name: "CPython asyncio, the vendors' packages",
        start: |place| {
            let command = place.bench.client("async_client", &["--size", "1048576", "--stream"]);
            Run::new(command, vec![place.bench.tls.libssl.clone()])
        },
        ..USUAL
    },
    python_psycopg2: Client {
        name: "psycopg2-binary, a Postgres driver",
        file: "libssl-*.so.3",
        start: |place| psycopg2(place, Age::New),
        ..USUAL
    },
    python_psycopg2_openssl_1_1: Client {
        name: "psycopg2-binary of 2022, a Postgres driver",
        file: "libssl-*.so.1.1",
        start: |place| psycopg2(place, Age::Old),
        ..USUAL
    },
    python_curl_cffi: Client {
        name: "curl_cffi, curl as browsers shake hands",
        stack: Stack::BoringSsl,
        file: "_wrapper*.so",
        start: |place| {
            let wheel = place.wheel(&["curl_cffi", "_cffi_backend", "certifi", "cffi", "pycparser"], Age::New);
            let mut command = place.bench.client("curl_cffi_client", &[]);
            command.extend(place.bodies.iter().map(|body| body.clone().into_os_string()));
            let known = libraries_in(&wheel.join("curl_cffi"), "_wrapper");
            Run::new(command, known).with("PYTHONPATH", wheel)
        },
        ..USUAL
    },
    node_fetch: Client { name: "Node, `fetch`", file: "node", start: |place| node(place, Age::New, FETCH), ..USUAL },
    node_openai: Client {
        name: "Node, the npm package `openai`",
        file: "node",
        start: |place| node(place, Age::New, OPENAI),
        ..USUAL
    },
    node_20_fetch: Client {
        name: "Node 20, `fetch`",
        file: "node",
        start: |place| node(place, Age::Old, FETCH),
        ..USUAL
    },
    node_20_openai: Client {
        name: "Node 20, the npm package `openai`",
        file: "node",
        start: |place| node(place, Age::Old, OPENAI),
        ..USUAL
    },
    bun_fetch: Client {
        name: "Bun, `fetch`",
        stack: Stack::BoringSsl,
        file: "bun",
        start: |place| script(place, &place.clients.bun(), FETCH),
        ..USUAL
    },
    bun_openai: Client {
        name: "Bun, the npm package `openai`",
        stack: Stack::BoringSsl,
        file: "bun",
        start: |place| script(place, &place.clients.bun(), OPENAI),
        ..USUAL
    },
    deno_fetch: Client { name: "Deno, `fetch`", stack: Stack::Rustls, file: "deno", start: deno, ..USUAL },
    go: Client {
        name: "A Go program, `net/http`",
        stack: Stack::Go,
        file: "go-client",
        missing: |_| lacks_program("go"),
        start: |place| go_client(place, "plain"),
        ..USUAL
    },
    go_stripped: Client {
        name: "A Go program without symbols, `net/http`",
        stack: Stack::Go,
        file: "go-client",
        missing: |_| lacks_program("go"),
        start: |place| go_client(place, "stripped"),
        ..USUAL
    },
    rust: Client {
        name: "A Rust program, `reqwest`",
        stack: Stack::Rustls,
        file: "rust-client",
        start: |place| rust_client(&place.program(&support::outflow().with_file_name("rust-client"))),
        ..USUAL
    },
    rust_stripped: Client {
        name: "A Rust program without symbols, `reqwest`",
        stack: Stack::Rustls,
        file: "rust-client",
        expected: Expected::Refused("it is in the file without symbols"),
        start: |place| {
            let client = place.program(&support::outflow().with_file_name("rust-client"));
            let status = Command::new("strip").arg(&client).status().unwrap();
            assert!(status.success(), "strip: {status}");
            rust_client(&client)
        },
        ..USUAL
    },
}

const FETCH: &str = "fetch.mjs";
const OPENAI: &str = "openai.mjs";

fn lacks_program(name: &str) -> Option<String> {
    system_program(name).is_none().then(|| format!("{name} is not installed"))
}

fn lacks_library(name: &str) -> Option<String> {
    let compiler = lacks_program("cc");
    compiler.or_else(|| system_library(name).is_none().then(|| format!("{name} is not installed")))
}

fn curl_easy(place: &Place, library: &str, probed: &[&str]) -> Run {
    let program = place.curl_easy(&system_library(library).unwrap());
    let known = place.libraries(&program, probed);
    Run::new(place.with_bodies(&[&program, &place.bench.ca(), &URL]), known)
}

fn psycopg2(place: &Place, age: Age) -> Run {
    let wheel = place.wheel(&["psycopg2"], age);
    let known = libraries_in(&wheel.join("psycopg2_binary.libs"), "libssl-");
    let ca = place.bench.ca();
    let arguments = ["--host", "vectors.example.test", "--ca", ca.to_str().unwrap(), "1024", "1048576"];
    Run::new(place.bench.client("postgres_client", &arguments), known).with("PYTHONPATH", wheel)
}

/// The files of a folder whose names begin so.
fn libraries_in(folder: &Path, start: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))).collect()
}

/// A kilobyte, a megabyte, a stream: three runs of the program, which sends one body from memory.
fn go_client(place: &Place, shape: &str) -> Run {
    let mut script = Command::new(Place::source("go/build.sh"));
    let build = script.arg(support::target().join("go-client")).stdin(Stdio::null()).output().unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let folder = PathBuf::from(String::from_utf8(build.stdout).unwrap().trim());
    let client = place.bench.dir().join("bin/go-client");
    std::fs::create_dir_all(client.parent().unwrap()).unwrap();
    std::fs::copy(folder.join(shape), &client).unwrap();
    Run::new(thrice(&client, "--answer-size 40000"), vec![client])
}

/// It says nothing of versions; they are those that this workspace is locked to.
fn rust_client(client: &Path) -> Run {
    let mut run = Run::new(thrice(client, ""), vec![client.to_owned()]);
    run.versions = Some((format!("reqwest {}", locked("reqwest")), locked("rustls")));
    run
}

/// The version of a package in Cargo.lock.
fn locked(package: &str) -> String {
    let lock = std::fs::read_to_string(testbed::workspace().join("Cargo.lock")).unwrap();
    let rest = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).expect("a locked package").1;
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// For a program that takes a size and no file.
fn thrice(program: &Path, more: &str) -> Vec<OsString> {
    let script =
        format!("\"$0\" --size 1024 {more} && \"$0\" --size 1048576 {more} && \"$0\" --size 1024 --stream {more}");
    ["sh".into(), "-c".into(), script.into(), program.into()].into()
}

fn node(place: &Place, age: Age, source: &str) -> Run {
    script(place, &place.clients.node(age), source)
}

/// A runtime of JavaScript with one of the two scripts.
fn script(place: &Place, runtime: &Path, source: &str) -> Run {
    let runtime = place.program(runtime);
    let source_path = Place::source(source);
    let command = if source == OPENAI {
        place.with_bodies(&[&runtime, &source_path, &place.clients.npm().join("openai")])
    } else {
        place.with_bodies(&[&runtime, &source_path, &URL])
    };
    Run::new(command, vec![runtime]).with("NODE_EXTRA_CA_CERTS", place.bench.ca())
}

fn deno(place: &Place) -> Run {
    let deno = place.program(&place.clients.deno());
    let parts: [&dyn AsRef<std::ffi::OsStr>; 5] = [&deno, &"run", &"--allow-all", &Place::source(FETCH), &URL];
    Run::new(place.with_bodies(&parts), vec![deno.clone()])
        .with("DENO_CERT", place.bench.ca())
        .with("DENO_DIR", place.bench.dir().join("deno"))
        .with("DENO_NO_UPDATE_CHECK", "1")
}
