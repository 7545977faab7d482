//! `cargo xtask setup`: puts onto this machine what building and testing need. Enters: what is here. Leaves: the same plus
//! what was missing. It says what and why before it installs, asks a person, and does nothing where nothing is missing.

use std::{
    fs,
    io::{self, BufRead, IsTerminal},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{ebpf, sh};

const BPF_LINKER: &str = "0.13.0";
const CARGO_DENY: &str = "0.20.2";
const CARGO_FUZZ: &str = "0.13.2";
const TYPOS: &str = "1.52.0";

/// Wheels of the Python index, one per machine we build on, so that what runs in CI is what was looked at.
const TYPOS_HASHES: [&str; 2] = [
    "418fd85f7fc11dec14e5482e747f6e916af56da96207cde0cdd69540a4b389f6", // x86_64
    "5e870133c7e9cace94183e4d638697004a1473e79abcd01b8f75e362049a9b5c", // aarch64
];

/// Debian packages, and what for.
const PACKAGES: [(&str, &str); 11] = [
    ("g++", "compiles Vectorscan, the scanner's engine"),
    ("cmake", "builds Vectorscan"),
    ("libboost-dev", "headers that Vectorscan compiles with"),
    ("libzstd-dev", "LLVM links it"),
    ("zlib1g-dev", "LLVM links it"),
    ("iproute2", "tests make network namespaces"),
    ("util-linux", "tests make mount and process namespaces"),
    ("openssl", "tests and the demo make TLS clients of the system's library"),
    ("libfaketime", "a test sets the clock of an agent back and forth"),
    ("kcat", "tests and the demo read back what was sent to Kafka"),
    ("libpython3.11", "the collector of tests and the demo links it"),
];

/// Debian packages for the image and for the test that runs it as a pod. Half a minute, and the demo needs none of them.
const POD_PACKAGES: [(&str, &str); 4] = [
    ("podman", "builds the image, and runs it as a pod for a test"),
    ("runc", "podman's runtime here: crun refuses machines with control groups of both versions"),
    ("catatonit", "the process that holds a pod's namespaces"),
    ("ca-certificates", "the image carries them, for sinks with TLS"),
];

/// Debian packages for what the tap's tests tap: programs, libraries that two of them link, and what builds another; and a server that
/// reads what sinks send. Half a minute.
const CLIENT_PACKAGES: [(&str, &str); 11] = [
    ("curl", "tests tap it: OpenSSL"),
    ("wget", "tests tap it: GnuTLS"),
    ("libcurl3-gnutls", "tests tap it: GnuTLS under another program"),
    ("libcurl3-nss", "tests tap it: NSS"),
    ("libssl-dev", "builds a client that does with OpenSSL what others rarely do"),
    ("golang-go", "builds a client that tests tap: Go"),
    ("rsyslog", "tests send it what a sink sends, and it reads a topic"),
    ("rsyslog-openssl", "with TLS"),
    ("rsyslog-kafka", "its module for Kafka"),
    ("systemd-journal-remote", "tests follow a journal that it writes"),
    ("openjdk-17-jdk-headless", "tests see that it is told as not tapped: Java"),
];

/// The compiler for the kernel's target; the LLVM packages follow from it.
const COMPILER: [(&str, &str); 2] = [
    ("rustc-web", "compiles the kernel programs (Debian's current compiler)"),
    ("libstd-rust-web-dev-bpf", "its `core` for the kernel's target"),
];

/// How much to set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What building and running need: the demo's.
    Build,
    /// And what the checks of CI need.
    Everything,
}

/// Something to install.
struct Step {
    what: String,
    why: &'static str,
    how: How,
}

enum How {
    /// A Debian package.
    Debian,
    /// LLVM of the compiler's major version, known once the compiler is here.
    Llvm,
    /// bpf-linker, from crates.io, linked with that LLVM.
    BpfLinker,
    /// cargo-deny, from crates.io.
    CargoDeny,
    /// cargo-fuzz, from crates.io.
    CargoFuzz,
    /// The spelling checker, from the Python index.
    Typos,
}

/// Installs what is missing. `yes`: without asking.
pub(crate) fn run(scope: Scope, yes: bool) -> Result<()> {
    let steps = missing(scope);
    if steps.is_empty() {
        eprintln!("setup: everything is here");
        return Ok(());
    }
    eprintln!("setup: this machine lacks");
    for step in &steps {
        eprintln!("  {:<28} {}", step.what, step.why);
    }
    if !yes && !sh::is_ci() && !agreed()? {
        bail!("nothing was installed");
    }
    install(&steps)?;
    if let Some(step) = missing(scope).first() {
        bail!("{} is still missing ({})", step.what, step.why);
    }
    eprintln!("setup: done");
    Ok(())
}

fn agreed() -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("not a terminal, so nobody can agree: run `cargo xtask setup --yes`");
    }
    eprint!("Install it? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn missing(scope: Scope) -> Vec<Step> {
    let debian = |(name, why): &(&str, &'static str)| Step { what: (*name).to_owned(), why, how: How::Debian };
    let mut steps = Vec::new();
    if sh::on_path("dpkg-query") {
        let tests = POD_PACKAGES.iter().chain(&CLIENT_PACKAGES).filter(|_| scope == Scope::Everything);
        steps.extend(PACKAGES.iter().chain(tests).filter(|(name, _)| !has_package(name)).map(debian));
    }
    let compiler = ebpf::Compiler::find();
    if compiler.is_none() {
        steps.extend(COMPILER.iter().filter(|(name, _)| !has_package(name)).map(debian));
    }
    if ebpf::linker().is_none_or(|linker| version_below(Command::new(linker).arg("--version"), BPF_LINKER)) {
        if !compiler
            .as_ref()
            .and_then(llvm_major)
            .is_some_and(|major| llvm_prefix(major).join("bin/llvm-config").is_file())
        {
            let why = "bpf-linker links it; its version is the compiler's";
            steps.push(Step { what: "llvm-N-dev".to_owned(), why, how: How::Llvm });
        }
        let why = "links the kernel programs (crates.io, about 2 minutes)";
        steps.push(Step { what: format!("bpf-linker {BPF_LINKER}"), why, how: How::BpfLinker });
    }
    if scope == Scope::Everything {
        if version_below(sh::cargo("deny").arg("--version"), CARGO_DENY) {
            let why = "checks licences and sources of dependencies (crates.io, about 3 minutes)";
            steps.push(Step { what: format!("cargo-deny {CARGO_DENY}"), why, how: How::CargoDeny });
        }
        if lacks_fuzzer() {
            let why = "builds the fuzzer (crates.io, about 1 minute)";
            steps.push(Step { what: format!("cargo-fuzz {CARGO_FUZZ}"), why, how: How::CargoFuzz });
        }
        if version_below(Command::new(typos()).arg("--version"), TYPOS) {
            if sh::ask(sh::command("python3").args(["-m", "pip", "--version"])).is_none() {
                let why = "fetches the spelling checker";
                steps.push(Step { what: "python3-pip".to_owned(), why, how: How::Debian });
            }
            let why = "checks spelling (Python index, into target/tools)";
            steps.push(Step { what: format!("typos {TYPOS}"), why, how: How::Typos });
        }
    }
    steps
}

fn install(steps: &[Step]) -> Result<()> {
    let packages: Vec<_> =
        steps.iter().filter(|step| matches!(step.how, How::Debian)).map(|step| step.what.clone()).collect();
    let llvm = steps.iter().any(|step| matches!(step.how, How::Llvm));
    if !packages.is_empty() || llvm {
        apt(&["update"], &[])?;
    }
    if !packages.is_empty() {
        apt(&["install", "--no-install-recommends", "-y"], &packages)?;
    }
    if llvm {
        apt(&["install", "--no-install-recommends", "-y"], &[format!("llvm-{}-dev", chosen_llvm()?)])?;
    }
    for step in steps {
        match step.how {
            How::Debian | How::Llvm => {}
            How::BpfLinker => install_bpf_linker()?,
            How::CargoDeny => sh::run(sh::cargo("install").args(["cargo-deny", "--version", CARGO_DENY, "--locked"]))?,
            How::CargoFuzz => install_fuzzer()?,
            How::Typos => install_typos()?,
        }
    }
    Ok(())
}

fn apt(arguments: &[&str], packages: &[String]) -> Result<()> {
    if !sh::on_path("apt-get") {
        bail!(
            "only Debian's packages are installed for you. Elsewhere: a C++ compiler, cmake, Boost's headers, rustup's \
             nightly with rust-src, the LLVM of that nightly, and bpf-linker {BPF_LINKER}"
        );
    }
    let root = sh::ask(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    let mut command = if root { sh::command("apt-get") } else { sh::command("sudo") };
    if !root {
        command.arg("apt-get");
    }
    // Another apt-get may be at work on a machine that has just been started.
    command.args(["-q", "-o", "DPkg::Lock::Timeout=120"]).args(arguments).args(packages);
    sh::run(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// bpf-linker must read the bitcode that the compiler writes, so both have the same LLVM.
fn install_bpf_linker() -> Result<()> {
    let major = chosen_llvm()?;
    let prefix = llvm_prefix(major);
    let mut command = sh::cargo("install");
    command
        .args(["bpf-linker", "--version", BPF_LINKER, "--locked", "--no-default-features", "--features"])
        .arg(format!("llvm-{major}"))
        .env("LLVM_PREFIX", &prefix)
        .env("RUSTFLAGS", format!("-L native={}", prefix.join("lib").display()));
    sh::run(&mut command)
}

/// Installs cargo-fuzz where it is missing: nothing else of the fuzzer comes from outside the lock file.
pub(crate) fn fuzzer() -> Result<()> {
    if lacks_fuzzer() { install_fuzzer() } else { Ok(()) }
}

fn lacks_fuzzer() -> bool {
    version_below(sh::cargo("fuzz").arg("--version"), CARGO_FUZZ)
}

fn install_fuzzer() -> Result<()> {
    sh::run(sh::cargo("install").args(["cargo-fuzz", "--version", CARGO_FUZZ, "--locked"]))
}

/// A wheel with one binary in it; a folder of its own keeps it off the system's Python.
fn install_typos() -> Result<()> {
    let folder = sh::target_dir().join("tools");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let wanted = folder.join("typos.txt");
    let hashes = TYPOS_HASHES.map(|hash| format!(" --hash=sha256:{hash}")).concat();
    fs::write(&wanted, format!("typos=={TYPOS}{hashes}\n")).with_context(|| wanted.display().to_string())?;
    let mut command = sh::command("python3");
    command
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"])
        .args(["--upgrade", "--target"])
        .arg(folder.join("typos"))
        .arg("--requirement")
        .arg(&wanted)
        .env("PIP_ROOT_USER_ACTION", "ignore"); // a folder of our own, so root or not is the same
    sh::run(&mut command)
}

/// The spelling checker that [`run`] installs.
pub(crate) fn typos() -> PathBuf {
    sh::target_dir().join("tools/typos/bin/typos")
}

fn has_package(name: &str) -> bool {
    sh::ask(Command::new("dpkg-query").args(["-W", "-f", "${Status}", name]))
        .is_some_and(|status| status == "install ok installed")
}

fn chosen_llvm() -> Result<u32> {
    let compiler = ebpf::Compiler::find().context("no compiler for the kernel's target")?;
    llvm_major(&compiler).context("rustc -vV names no LLVM version")
}

fn llvm_major(compiler: &ebpf::Compiler) -> Option<u32> {
    llvm_line(&sh::ask(compiler.rustc().arg("-vV"))?)
}

fn llvm_line(version: &str) -> Option<u32> {
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.parse().ok()
}

/// Where Debian puts an LLVM.
fn llvm_prefix(major: u32) -> PathBuf {
    Path::new("/usr/lib").join(format!("llvm-{major}"))
}

/// Is the program missing, or older than `wanted`?
fn version_below(command: &mut Command, wanted: &str) -> bool {
    let found = sh::ask(command).and_then(|text| text.split_whitespace().rev().find_map(numbers));
    found.is_none_or(|found| Some(found) < numbers(wanted))
}

fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_compiler_is_read_from_its_version() {
        let text = "rustc 1.96.0 (built from a source tarball)\nrelease: 1.96.0\nLLVM version: 22.1.8";
        assert_eq!(llvm_line(text), Some(22));
        assert_eq!(llvm_line("rustc 1.96.0"), None);
    }

    #[test]
    fn versions_compare_as_numbers() {
        let says = |text: &str, wanted| version_below(Command::new("echo").arg(text), wanted);
        assert!(says("bpf-linker 0.9.15", "0.13.0"));
        assert!(!says("bpf-linker 0.13.0", "0.13.0"));
        assert!(!says("typos-cli 1.52.0", "1.52.0"));
        assert!(says("no number here", "0.1.0"));
        assert!(version_below(&mut Command::new("/nonexistent"), "0.1.0"));
    }
}
