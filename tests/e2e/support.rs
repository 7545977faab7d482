//! What every end-to-end test begins with: its rights, and its place.

use std::{
    env,
    path::{Path, PathBuf},
};

use serde_json::Value;
use testbed::{Bench, Ended, Tools};

/// How long any client may take, in seconds.
pub(crate) const CLIENT_TIMEOUT_S: i64 = 60;

/// True when sandboxes can be made here. Else says why not, and fails when the rights were promised.
pub(crate) fn sandbox_or_skip() -> bool {
    allowed(testbed::missing_for_sandbox())
}

/// True when kernel programs can be attached here. Else says why not, and fails when the rights were promised.
pub(crate) fn bpf_or_skip() -> bool {
    allowed(testbed::missing_for_bpf())
}

/// True when there can be a broker, and somebody to read its topics. Else says why not, and fails when the rights were promised.
#[cfg(feature = "kafka")]
pub(crate) fn broker_or_skip() -> bool {
    allowed(testbed::missing_for_broker())
}

/// Whether nothing is missing. Else says what, and fails when everything was promised.
pub(crate) fn allowed(missing: Option<String>) -> bool {
    let Some(reason) = missing else { return true };
    assert!(env::var_os("OUTFLOW_REQUIRE_BPF").is_none_or(|value| value != "1"), "OUTFLOW_REQUIRE_BPF=1, but {reason}");
    println!("skipped: {reason}");
    false
}

/// Cargo's folder.
pub(crate) fn target() -> PathBuf {
    let folder = outflow().ancestors().nth(2).expect("a program lies in a profile's folder of the target folder");
    folder.to_owned()
}

/// The agent's program, as cargo built it for this test.
pub(crate) fn outflow() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_outflow"))
}

/// A place for one test.
pub(crate) fn bench(label: &str) -> Bench {
    let programs = outflow().parent().expect("cargo puts programs into a folder");
    let tools = Tools::find(programs, &target()).expect("the programs that the test starts");
    Bench::new(tools, label).expect("a place for the test")
}

/// Runs a client in the sandbox; gives its one line of facts. It must have used the bench's own TLS library.
pub(crate) fn run_client(bench: &Bench, name: &str, arguments: &[&str]) -> Value {
    let job = bench.start(&bench.client(name, arguments), name).unwrap();
    facts(bench, job.wait(CLIENT_TIMEOUT_S).unwrap())
}

/// The facts that a client printed as its last line.
pub(crate) fn facts(bench: &Bench, ended: Ended) -> Value {
    let stdout = ended.success().unwrap();
    let line = stdout.lines().last().expect("a client prints one line");
    let facts: Value = serde_json::from_str(line).unwrap();
    assert_eq!(facts["libssl"], serde_json::json!([bench.tls.libssl]), "the client must use the private copy");
    facts
}
