//! Makes the kernel object that the tap embeds. Enters: agent-ebpf's sources, or `OUTFLOW_BPF_OBJECT` with the path of one
//! made before. Leaves: `OUTFLOW_BPF_OBJECT` for `env!`. Without the feature `tap` it does nothing.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

#[path = "../xtask/src/ebpf.rs"]
#[allow(dead_code, reason = "xtask uses the rest")]
mod ebpf;

const OBJECT: &str = "OUTFLOW_BPF_OBJECT";

fn main() {
    // The rules are embedded file by file; only the folder's time tells of a new file.
    println!("cargo::rerun-if-changed=../rules");
    if env::var_os("CARGO_FEATURE_TAP").is_none() {
        return;
    }
    for cause in ["../agent-ebpf/src", "../agent-ebpf/Cargo.toml", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={cause}");
    }
    for variable in [OBJECT, "OUTFLOW_BPF_RUSTC"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    match object() {
        Ok(path) => println!("cargo::rustc-env={OBJECT}={}", path.display()),
        Err(error) => report(&error),
    }
}

/// The object in a place that no other build writes to.
fn object() -> Result<PathBuf, ebpf::Error> {
    if let Some(given) = env::var_os(OBJECT) {
        return Ok(PathBuf::from(given));
    }
    let manifest = variable("CARGO_MANIFEST_DIR")?;
    let workspace = Path::new(&manifest).parent().unwrap_or(Path::new("."));
    let out = PathBuf::from(variable("OUT_DIR")?);
    let built = ebpf::build(workspace, &shared_target(&out), &variable("CARGO_CFG_TARGET_ARCH")?, ebpf::Talk::Kept)?;
    let object = out.join("outflow.bpf.o");
    fs::copy(&built, &object).map_err(|error| ebpf::Error::Io(object.display().to_string(), error))?;
    Ok(object)
}

/// `target/bpf`: one for all profiles and for `cargo xtask build-ebpf`, so that the programs are built once. `OUT_DIR` is
/// `target/<profile>/build/outflow-<hash>/out`; where cargo lays it out otherwise, the folder stays inside it.
fn shared_target(out: &Path) -> PathBuf {
    match out.ancestors().find(|folder| folder.ends_with("build")).and_then(|build| build.ancestors().nth(2)) {
        Some(target) => target.join("bpf"),
        None => out.join("bpf"),
    }
}

fn variable(name: &str) -> Result<String, ebpf::Error> {
    env::var(name).map_err(|error| ebpf::Error::Io(name.to_owned(), std::io::Error::other(error)))
}

/// One sentence and the way out; cargo shows it without a backtrace and fails the build.
fn report(error: &ebpf::Error) {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let cure = match error {
        ebpf::Error::Missing(_) => {
            "`cargo xtask setup` installs it; `--no-default-features --features vectorscan` builds without the tap"
        }
        ebpf::Error::Failed(_) | ebpf::Error::Io(..) => "`cargo xtask build-ebpf` shows all of it",
    };
    // cargo hides what a build script prints, so the compiler's first error goes along.
    let compiler = text.lines().skip(1).find(|line| line.starts_with("error")).unwrap_or_default();
    println!("cargo::error={first} ({cure}) {compiler}");
}
