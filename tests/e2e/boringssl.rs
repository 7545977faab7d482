//! BoringSSL inside programs and wheels, with its symbols (curl_cffi) and without (Bun, grpcio): what went through it is recovered byte
//! for byte, and a build that no signature fits is refused. Each client is a copy that nobody else maps.

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
    Bench, Job,
    fake_collector::{Certificates, FakeCollector, Wire},
};

use crate::{
    support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, outflow},
    tap::{Seen, Streams, assert_byte_exact, assert_no_loss, collect},
};

/// Where make-clients.sh puts what it fetches.
fn clients() -> PathBuf {
    let target = outflow().ancestors().nth(2).unwrap();
    target.join("clients")
}

/// True when it was fetched.
fn fetched_or_skip(client: &Path) -> bool {
    if !client.exists() {
        println!("skipped: no {} (tests/e2e/make-clients.sh fetches it)", client.display());
    }
    client.exists()
}

/// Copies a file or a folder, so that it has inodes of its own.
fn copy_into(folder: &Path, from: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let status = Command::new("cp").arg("-RL").arg(from).arg(folder).status().unwrap();
    assert!(status.success(), "cp {}: {status}", from.display());
    folder.join(from.file_name().unwrap())
}

/// The library of a wheel.
fn library(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut libraries = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "so"));
    libraries.next().unwrap_or_else(|| folder.join("no.so"))
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

fn assert_tapped(notices: &[Notice], file: &Path) {
    let is_it = |notice: &Notice| matches!(notice, Notice::Tapped { library, stacks, .. } if library == file && *stacks == [Stack::BoringSsl]);
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

#[test]
fn what_bun_fetches_is_recovered_byte_for_byte() {
    let bun = clients().join("npm/node_modules/@oven/bun-linux-x64/bin/bun");
    if !bpf_or_skip() || !fetched_or_skip(&bun) {
        return;
    }
    let bench = bench("tap-bun");
    let bun = copy_into(&bench.dir().join("bin"), &bun);
    // Bun trusts the certificates that this variable names, not those of SSL_CERT_FILE.
    let mut command: Vec<OsString> =
        ["/bin/sh", "-c", "NODE_EXTRA_CA_CERTS=$SSL_CERT_FILE exec \"$0\" \"$@\""].map(OsString::from).into();
    let script = testbed::workspace().join("tests/e2e/clients/fetch.mjs");
    command.extend([bun.clone().into(), script.into(), "https://api.openai.com/v1/chat/completions".into()]);
    command.extend(requests(&bench, &[1000, 1 << 20]));
    let tapped = tapped(&bench, &bun, &[], || facts(bench.start(&command, "bun").unwrap()));
    assert!(tapped.value["version"].is_string(), "{}", tapped.value);
    assert_tapped(&tapped.notices, &bun);
    assert!(assert_byte_exact(&bench, &tapped.seen) >= 1, "{}", tapped.value);
    let sent: usize = tapped.seen.iter().map(|seen| seen.sent.len()).sum();
    assert!(sent > 1 << 20, "{sent} bytes");
    assert_no_loss(&tapped.ledger);
}

/// `localhost` is made a host of the user's own: it is what the collector's certificate says.
#[test]
fn what_grpc_says_through_its_wheel_is_recovered_byte_for_byte() {
    let wheel = clients().join("new/grpc");
    if !bpf_or_skip() || !fetched_or_skip(&wheel) {
        return;
    }
    let bench = bench("tap-grpc");
    let wheels = bench.dir().join("wheels");
    let library = library(&copy_into(&wheels, &wheel).join("_cython"));
    copy_into(&wheels, &clients().join("new/typing_extensions.py"));
    let certificates = Certificates::make(bench.dir(), &["h2"]).unwrap();
    let server = Some(Arc::clone(&certificates.server));
    let collector = FakeCollector::start_at(([127, 0, 0, 1], 0).into(), Wire::Grpc, server).unwrap();
    let address = format!("localhost:{}", collector.address().port());

    let command = bench.client("grpc_client", &[&address, certificates.ca_file.to_str().unwrap(), "10", "1000000"]);
    let (program, arguments) = command.split_first().unwrap();
    let mut client = Command::new(program);
    client.args(arguments).env("PYTHONPATH", &wheels).env("LD_LIBRARY_PATH", &bench.tls.dir).env("PYTHONDONTWRITEBYTECODE", "1");
    let tapped = tapped(&bench, &library, &["localhost"], || facts(Job::start(client, bench.dir(), "grpc").unwrap()));
    assert_eq!(tapped.value["answers"], 2, "{}", tapped.value);
    assert_eq!(tapped.value["library"].as_str(), library.to_str());
    assert_tapped(&tapped.notices, &library);

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
}

#[test]
fn what_a_wheel_with_symbols_sends_is_recovered_byte_for_byte() {
    let wheel = clients().join("new/curl_cffi");
    if !bpf_or_skip() || !fetched_or_skip(&wheel) {
        return;
    }
    let bench = bench("tap-curl-cffi");
    let wheels = bench.dir().join("wheels");
    let library = library(&copy_into(&wheels, &wheel));
    for other in fs::read_dir(clients().join("new")).unwrap().flatten().map(|entry| entry.path()) {
        let name = other.file_name().unwrap().to_string_lossy().into_owned();
        if ["_cffi_backend", "certifi", "cffi", "pycparser"].iter().any(|needed| name.starts_with(needed)) {
            copy_into(&wheels, &other);
        }
    }
    let mut command: Vec<OsString> = ["/usr/bin/env".into(), [OsString::from("PYTHONPATH="), wheels.into()].concat()].into();
    command.extend(bench.client("curl_cffi_client", &[]));
    command.extend(requests(&bench, &[1000, 1 << 20]));
    let tapped = tapped(&bench, &library, &[], || facts(bench.start(&command, "curl-cffi").unwrap()));
    assert_eq!(tapped.value["library"].as_str(), library.to_str(), "{}", tapped.value);
    assert_tapped(&tapped.notices, &library);
    assert!(assert_byte_exact(&bench, &tapped.seen) >= 1, "{}", tapped.value);
    assert_no_loss(&tapped.ledger);
}

/// The copy is never run: what is tried is that nothing is put on it.
#[test]
fn a_build_that_no_signature_fits_is_refused_and_said() {
    let library = library(&clients().join("new/grpc/_cython"));
    if !bpf_or_skip() || !fetched_or_skip(&library) {
        return;
    }
    let bench = bench("tap-no-signature");
    let copy = copy_into(bench.dir(), &library);
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
