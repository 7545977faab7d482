//! BoringSSL inside wheels, with its symbols (curl_cffi) and without (grpcio), and AWS-LC: what went through it is recovered byte for
//! byte, and a build that no signature fits is refused. Each client is a copy that nobody else maps. Bun is in `runtimes`.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use outflow::{
    rules::{RuleSource, VendorTable},
    sources::{
        Input,
        tap::{Ledger, Notice, Outcome, Scope, Settings, Stack, Tap},
    },
};
use serde_json::Value;
use testbed::{
    Age, Bench, Clients, Job,
    fake_collector::{Certificates, FakeCollector, Spoken, Wire},
    private_copy, private_tree,
};

use crate::{
    runtimes::{self, Row},
    support::{self, CLIENT_TIMEOUT_S, bench, bpf_or_skip},
    tap::{Seen, Streams, assert_byte_exact, assert_no_loss, collect},
};

/// What make-clients.sh fetched.
fn clients() -> Clients {
    Clients::find(&support::target()).expect("the clients that the test starts")
}

/// Copies Python packages, so that they have inodes of their own. The folder is for `PYTHONPATH`.
fn private_wheels(bench: &Bench, packages: &[&str]) -> PathBuf {
    let (from, to) = (clients().wheels(Age::New), bench.dir().join("wheels"));
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The package itself, a library beside it, and what it says of its version.
        let rest = packages.iter().find_map(|package| name.strip_prefix(package));
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-'])) {
            continue;
        }
        if entry.path().is_dir() {
            private_tree(&entry.path(), &to.join(&name)).unwrap();
        } else {
            private_copy(&entry.path(), &to).unwrap();
        }
    }
    to
}

/// The library of a wheel.
fn library(folder: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|end| end == "so")).expect("the wheel has a library")
}

struct Tapped<T> {
    value: T,
    seen: Vec<Seen>,
    ledger: Ledger,
    notices: Vec<Notice>,
}

/// Taps what `work` starts, with probes on `known` before it does.
fn tapped<T>(bench: &Bench, known: &Path, hosts: &[&str], work: impl FnOnce() -> T) -> Tapped<T> {
    let streams = Streams::default();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let vendors = VendorTable::load(&RuleSource::Embedded).unwrap().with_hosts(hosts.iter().copied()).unwrap();
    let (into, told) = (Arc::clone(&streams), Arc::clone(&notices));
    let deliver = move |input: Input| {
        collect(&into, &input);
        true
    };
    let known = [known.to_owned(), bench.tls.libssl.clone()];
    let tell = move |notice| told.lock().unwrap().push(notice);
    let tap = Tap::start(&Scope::Children, &known, Settings::default(), &Arc::new(vendors), deliver, tell).unwrap();
    let value = work();
    let ledger = tap.stop().unwrap();
    let seen = streams.lock().unwrap().values().cloned().collect();
    let notices = notices.lock().unwrap().clone();
    Tapped { value, seen, ledger, notices }
}

fn assert_tapped(notices: &[Notice], file: &Path, stack: Stack) {
    let is_it = |notice: &Notice| matches!(notice, Notice::Tapped { library, stacks, .. } if library == file && *stacks == [stack]);
    assert!(notices.iter().any(is_it), "{notices:?}");
}

fn facts(job: Job) -> Value {
    let stdout = job.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    serde_json::from_str(stdout.lines().last().expect("a client prints one line")).unwrap()
}

/// Chat requests of about so many bytes, as files.
fn requests(bench: &Bench, sizes: &[usize]) -> Vec<OsString> {
    let write = |size: &usize| {
        let path = bench.dir().join(format!("request-{size}.json"));
        let body = serde_json::json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "x".repeat(*size)}]});
        fs::write(&path, body.to_string()).unwrap();
        path.into_os_string()
    };
    sizes.iter().map(write).collect()
}

/// `localhost` is made a host of the user's own: it is what the collector's certificate says.
#[test]
fn what_grpc_says_through_its_wheel_is_recovered_byte_for_byte() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-grpc");
    let wheels = private_wheels(&bench, &["grpc", "typing_extensions"]);
    let library = library(&wheels.join("grpc/_cython"));
    let certificates = Certificates::make(bench.dir(), &["h2"]).unwrap();
    let server = Some(Arc::clone(&certificates.server));
    let collector = FakeCollector::start_at(([127, 0, 0, 1], 0).into(), Wire::Grpc, server).unwrap();
    let address = format!("localhost:{}", collector.address().port());

    let command = bench.client("grpc_client", &[&address, certificates.ca_file.to_str().unwrap(), "10", "1000000"]);
    let (program, arguments) = command.split_first().unwrap();
    let mut client = Command::new(program);
    client
        .args(arguments)
        .env("PYTHONPATH", &wheels)
        .env("LD_LIBRARY_PATH", &bench.tls.dir)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let tapped = tapped(&bench, &library, &["localhost"], || facts(Job::start(client, bench.dir(), "grpc").unwrap()));
    assert_eq!(tapped.value["answers"], 2, "{}", tapped.value);
    assert_eq!(tapped.value["library"].as_str(), library.to_str());
    assert_tapped(&tapped.notices, &library, Stack::BoringSsl);

    let spoken = collector.spoken();
    assert_eq!(collector.taken().len(), 2);
    assert!(!spoken.is_empty() && spoken.iter().map(|spoken| spoken.received.len()).sum::<usize>() > 1_000_000);
    for spoken in &spoken {
        // The client may hang up before it has read all that the server wrote.
        let is_it = |seen: &&Seen| seen.sent == spoken.received && spoken.sent.starts_with(&seen.received);
        let seen = tapped.seen.iter().find(is_it).expect("each connection is seen whole");
        assert_eq!((seen.server_name.as_deref(), seen.gaps), (Some("localhost"), 0));
        assert!(!seen.received.is_empty());
    }
    assert_no_loss(&tapped.ledger);
    let sum = |side: fn(&Spoken) -> usize| spoken.iter().map(side).sum();
    runtimes::record(
        "grpcio",
        &Row {
            client: runtimes::GRPCIO.to_owned(),
            version: tapped.value["grpc"].as_str().unwrap_or_default().to_owned(),
            stack: Stack::BoringSsl.to_string(),
            stack_version: String::new(),
            file: "cygrpc*.so".to_owned(),
            sent_bytes: sum(|spoken| spoken.received.len()),
            received_bytes: sum(|spoken| spoken.sent.len()),
            refused: None,
        },
    );
}

#[test]
fn what_a_wheel_with_symbols_sends_is_recovered_byte_for_byte() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-curl-cffi");
    let wheels = private_wheels(&bench, &["curl_cffi", "_cffi_backend", "certifi", "cffi", "pycparser"]);
    let library = library(&wheels.join("curl_cffi"));
    let mut path = OsString::from("PYTHONPATH=");
    path.push(&wheels);
    let mut command = bench.client("curl_cffi_client", &[]);
    command.extend(requests(&bench, &[1000, 1 << 20]));
    let client = bench.sandboxed_with(&["--env".into(), path], &command);
    let tapped = tapped(&bench, &library, &[], || facts(Job::start(client, bench.dir(), "curl-cffi").unwrap()));
    assert_eq!(tapped.value["library"].as_str(), library.to_str(), "{}", tapped.value);
    assert_tapped(&tapped.notices, &library, Stack::BoringSsl);
    assert!(assert_byte_exact(&bench, &tapped.seen) >= 1, "{}", tapped.value);
    assert_no_loss(&tapped.ledger);
}

/// No package at hand carries AWS-LC's TLS; the head of clients/aws_lc_client.c says how to make this one.
#[test]
fn what_goes_through_aws_lc_is_recovered_byte_for_byte() {
    let Some(program) = std::env::var_os("OUTFLOW_AWS_LC_CLIENT").map(PathBuf::from) else {
        println!("skipped: OUTFLOW_AWS_LC_CLIENT names no program built from tests/e2e/clients/aws_lc_client.c");
        return;
    };
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-aws-lc");
    let program = private_copy(&program, &bench.dir().join("bin")).unwrap();
    let mut command = vec![program.clone().into_os_string()];
    command.extend(requests(&bench, &[1000, 1 << 20]));
    let tapped = tapped(&bench, &program, &[], || facts(bench.start(&command, "aws-lc").unwrap()));
    assert!(tapped.value["version"].as_str().is_some_and(|version| version.starts_with("AWS-LC")), "{}", tapped.value);
    assert_tapped(&tapped.notices, &program, Stack::AwsLc);
    assert_eq!(assert_byte_exact(&bench, &tapped.seen), 1);
    assert_no_loss(&tapped.ledger);
}

/// The copy is never run: what is tried is that nothing is put on it.
#[test]
fn a_build_that_no_signature_fits_is_refused_and_said() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("tap-no-signature");
    let copy = private_copy(&library(&clients().wheels(Age::New).join("grpc/_cython")), bench.dir()).unwrap();
    let mut code = fs::read(&copy).unwrap();
    // `add qword ptr [rax + 0x80], rcx`: SSL_read takes what it copied off what is pending. Somewhere else it may stand too.
    let takes = [0x48, 0x01, 0x88, 0x80, 0, 0, 0];
    let places: Vec<usize> = (0..code.len() - takes.len()).filter(|at| code[*at..].starts_with(&takes)).collect();
    assert!(!places.is_empty());
    for at in places {
        code[at] ^= 1;
    }
    fs::write(&copy, &code).unwrap();
    let tapped = tapped(&bench, &copy, &[], || ());
    let refused = |notice: &Notice| {
        matches!(notice, Notice::Refused { library, stack: Some(Stack::BoringSsl), why, .. }
            if *library == copy && why.contains("SSL_read in rules/tls fits"))
    };
    assert!(tapped.notices.iter().any(refused), "{:?}", tapped.notices);
    assert_eq!(tapped.ledger.of(Outcome::Copied).calls, 0);
}
