//! The clients, one row each: how each is started, what it uses for TLS, and what a tap must make of it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use outflow::sources::tap::Stack;
use serde_json::Value;
use testbed::{Age, private_tree};

use super::{
    Row, check,
    place::{Place, URL, system_library, system_program},
};

/// A vendor's host, and one that the user lists: where clients may go. All lead to the local server.
const NAMES: [&str; 3] = ["api.openai.com", "api.anthropic.com", "vectors.example.test"];

/// What a tap must make of a client.
pub(super) enum Expected {
    /// Every byte of it.
    Whole,
    /// Nothing, for a reason in which these words stand.
    #[allow(dead_code, reason = "no client needs it at the moment")]
    Refused(&'static str),
}

pub(super) struct Client {
    /// The test's name.
    pub(super) id: &'static str,
    /// For people.
    pub(super) name: &'static str,
    pub(super) stack: Stack,
    /// The file that carries it: how its name begins.
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
    /// What it will map, to be probed before it starts: so its very first call is seen.
    pub(super) known: Vec<PathBuf>,
}

impl Run {
    fn new(command: Vec<OsString>, known: Vec<PathBuf>) -> Self {
        Self { command, environment: Vec::new(), names: NAMES.to_vec(), known }
    }

    fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }
}

impl Client {
    pub(super) fn row(&self, facts: &Value) -> Row {
        let fact = |name: &str| facts[name].as_str().unwrap_or_default().to_owned();
        Row {
            client: self.name.to_owned(),
            version: fact("version"),
            stack: self.stack.to_string(),
            stack_version: fact("tls"),
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
            Run::new(place.with_bodies(&[&place.source("curl.sh"), &place.bench.ca(), &URL]), known)
        },
        ..USUAL
    },
    curl_gnutls: Client {
        name: "libcurl3-gnutls of Debian",
        stack: Stack::GnuTls,
        file: "libgnutls.so",
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
        file: "libgnutls.so",
        missing: |_| lacks_program("wget"),
        start: |place| {
            let known = place.libraries(Path::new("/usr/bin/wget"), &["libgnutls.so"]);
            let parts: [&dyn AsRef<std::ffi::OsStr>; 4] =
                [&place.source("wget.sh"), &place.bench.ca(), &place.bench.python(), &URL];
            Run::new(place.with_bodies(&parts), known)
        },
        ..USUAL
    },
    python_sync: Client {
        name: "CPython, the vendors' packages",
        start: |place| {
            let script = "\"$0\" \"$1\"/sync_client.py && \"$0\" \"$1\"/big_client.py --size 1048576 && \"$0\" \"$1\"/stream_client.py";
            let mut command: Vec<OsString> = vec!["sh".into(), "-c".into(), script.into()];
            command.extend([place.bench.python().into(), place.source("").into()]);
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
        file: "libssl-",
        start: |place| psycopg2(place, Age::New),
        ..USUAL
    },
    python_psycopg2_openssl_1_1: Client {
        name: "psycopg2-binary of 2022, a Postgres driver",
        file: "libssl-",
        start: |place| psycopg2(place, Age::Old),
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
    deno_fetch: Client {
        name: "Deno, `fetch`",
        stack: Stack::Rustls,
        file: "deno",
        start: deno,
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
    let copies = place.bench.dir().join("wheels");
    for folder in ["psycopg2", "psycopg2_binary.libs"] {
        private_tree(&place.clients.wheels(age).join(folder), &copies.join(folder)).unwrap();
    }
    let libraries = std::fs::read_dir(copies.join("psycopg2_binary.libs")).unwrap();
    let is_libssl = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libssl-"));
    let known = libraries.map(|entry| entry.unwrap().path()).filter(is_libssl).collect();
    let ca = place.bench.ca();
    let arguments = ["--host", "vectors.example.test", "--ca", ca.to_str().unwrap(), "1024", "1048576"];
    Run::new(place.bench.client("postgres_client", &arguments), known).with("PYTHONPATH", copies)
}

fn node(place: &Place, age: Age, source: &str) -> Run {
    script(place, &place.clients.node(age), source)
}

/// A runtime of JavaScript with one of the two scripts.
fn script(place: &Place, runtime: &Path, source: &str) -> Run {
    let runtime = place.program(runtime);
    let source_path = place.source(source);
    let command = if source == OPENAI {
        place.with_bodies(&[&runtime, &source_path, &place.clients.npm().join("openai")])
    } else {
        place.with_bodies(&[&runtime, &source_path, &URL])
    };
    Run::new(command, vec![runtime]).with("NODE_EXTRA_CA_CERTS", place.bench.ca())
}

fn deno(place: &Place) -> Run {
    let deno = place.program(&place.clients.deno());
    let parts: [&dyn AsRef<std::ffi::OsStr>; 5] =
        [&deno, &"run", &"--allow-all", &place.source(FETCH), &URL];
    Run::new(place.with_bodies(&parts), vec![deno.clone()])
        .with("DENO_CERT", place.bench.ca())
        .with("DENO_DIR", place.bench.dir().join("deno"))
        .with("DENO_NO_UPDATE_CHECK", "1")
}
