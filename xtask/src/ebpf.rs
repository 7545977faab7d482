//! Builds the kernel programs. Enters: the workspace folder. Leaves: an ELF object with BTF for the agent to embed. It never
//! touches the target directory of the cargo that called it. `agent/build.rs` takes in this file too, so it uses std alone.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Little-endian, as every machine that we build for.
const TARGET: &str = "bpfel-unknown-none";

/// Instruction set of the kernel programs: v3 (32-bit jumps and arithmetic) needs Linux 5.1, the ring buffer needs 5.8 anyway.
const TARGET_CPU: &str = "v3";

/// `e_machine` of a kernel program, `EM_BPF` in elf.h.
const EM_BPF: [u8; 2] = [247, 0];

/// Why there is no kernel object.
#[derive(Debug)]
pub(crate) enum Error {
    /// Something that `cargo xtask setup` installs is not here.
    Missing(&'static str),
    /// cargo built nothing; what it said, when it was not shown already.
    Failed(String),
    /// A file or a process could not be reached.
    Io(String, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(out, "the kernel programs cannot be built here: {what} is missing"),
            Self::Failed(output) => write!(out, "the kernel programs do not build\n{output}"),
            Self::Io(what, error) => write!(out, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// Where the compiler's and cargo's own words go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// To standard error, as they come.
    Shown,
    /// Into [`Error::Failed`].
    Kept,
}

/// A compiler that has, or can build, `core` for the kernel's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// It has `core` for the target beside its own: Debian's `rustc-web` with `libstd-rust-web-dev-bpf`.
    Ready(PathBuf),
    /// rustup's nightly with the component `rust-src`; builds `core` itself.
    Nightly,
}

impl Compiler {
    /// Looks for one: the variable `OUTFLOW_BPF_RUSTC`, Debian's, rustup's nightly.
    pub(crate) fn find() -> Option<Self> {
        let named = env::var_os("OUTFLOW_BPF_RUSTC").map(PathBuf::from);
        named
            .into_iter()
            .chain([PathBuf::from("/usr/bin/rustc")])
            .find(|rustc| has_core(rustc))
            .map(Self::Ready)
            .or_else(|| nightly_has_source().then_some(Self::Nightly))
    }

    /// The compiler alone, for questions such as `-vV`.
    pub(crate) fn rustc(&self) -> Command {
        match self {
            Self::Ready(rustc) => Command::new(rustc),
            Self::Nightly => in_nightly("rustc"),
        }
    }

    fn cargo(&self) -> Command {
        match self {
            Self::Ready(rustc) => {
                let mut cargo = clean(Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())));
                // The target is unstable in name only; Debian ships it in a released compiler.
                cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").arg("build");
                cargo
            }
            Self::Nightly => {
                let mut cargo = in_nightly("cargo");
                cargo.args(["build", "-Z", "build-std=core"]);
                cargo
            }
        }
    }
}

/// The linker that turns the compiler's bitcode into one object: on `PATH`, else where `cargo install` puts it.
pub(crate) fn linker() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(home.map(|home| home.join("bin")))
        .map(|folder| folder.join("bpf-linker"))
        .find(|file| file.is_file())
}

/// Builds the kernel programs for hosts of `arch` (`x86_64`, `aarch64`) and returns the object's path below `target_dir`.
///
/// `target_dir` must not be the one of a cargo that waits for us: it holds the lock of its own.
pub(crate) fn build(workspace: &Path, target_dir: &Path, arch: &str, talk: Talk) -> Result<PathBuf, Error> {
    let compiler = Compiler::find().ok_or(Error::Missing("a compiler for the kernel's target"))?;
    let linker = linker().ok_or(Error::Missing("bpf-linker"))?;
    let flags = [
        "-Clinker=".to_owned() + &linker.to_string_lossy(),
        "-Cdebuginfo=2".to_owned(), // BTF is made from it
        "-Clink-arg=--btf".to_owned(),
        format!("-Ctarget-cpu={TARGET_CPU}"),
        // aya-ebpf lays out registers by it; it would guess the building host's.
        format!("--cfg=bpf_target_arch=\"{arch}\""),
    ];
    let mut cargo = compiler.cargo();
    cargo
        .current_dir(workspace)
        .args(["--package", "outflow-ebpf", "--bin", "outflow-ebpf", "--release", "--target", TARGET])
        .arg("--target-dir")
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // The workspace strips its release binaries; this one lives by its debug information.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .stdin(Stdio::null());
    run(&mut cargo, talk)?;
    let object = target_dir.join(TARGET).join("release").join("outflow-ebpf");
    check(&object)?;
    Ok(object)
}

fn run(cargo: &mut Command, talk: Talk) -> Result<(), Error> {
    let failed = |error| Error::Io("cannot start cargo".to_owned(), error);
    let (status, output) = match talk {
        Talk::Shown => (cargo.status().map_err(failed)?, String::new()),
        Talk::Kept => {
            let output = cargo.output().map_err(failed)?;
            (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    if status.success() { Ok(()) } else { Err(Error::Failed(output)) }
}

/// An object that is not for the kernel would only fail when a user loads it.
fn check(object: &Path) -> Result<(), Error> {
    let bytes = fs::read(object).map_err(|error| Error::Io(object.display().to_string(), error))?;
    if bytes.starts_with(b"\x7fELF") && bytes.get(18..20) == Some(&EM_BPF) {
        Ok(())
    } else {
        Err(Error::Failed(format!("{} is not an ELF object for the kernel", object.display())))
    }
}

fn has_core(rustc: &Path) -> bool {
    sysroot(&mut clean(Command::new(rustc)))
        .and_then(|root| fs::read_dir(root.join("lib/rustlib").join(TARGET).join("lib")).ok())
        .is_some_and(|files| files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-")))
}

fn nightly_has_source() -> bool {
    sysroot(&mut in_nightly("rustc"))
        .is_some_and(|root| root.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file())
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).stderr(Stdio::null()).output().ok()?;
    let root = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(root.trim()))
}

fn in_nightly(tool: &str) -> Command {
    let mut command = clean(Command::new("rustup"));
    command.args(["run", "nightly", tool]);
    command
}

/// Takes away what the outer cargo, rustup and a build script's environment would impose on the inner cargo: another
/// compiler, its flags, its wrapper, its target directory, its profile.
fn clean(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(imposes) {
            command.env_remove(name);
        }
    }
    command
}

fn imposes(name: &str) -> bool {
    // How to reach the registry, and how to talk, stay the user's.
    const KEPT: [&str; 7] = ["HOME", "NET_", "HTTP_", "REGISTRIES_", "REGISTRY_", "SOURCE_", "TERM_"];
    const OTHERS: [&str; 11] = [
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTUP_TOOLCHAIN",
        "OUT_DIR",
        "TARGET",
        "HOST",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
    ];
    match name.strip_prefix("CARGO_") {
        Some(rest) => !KEPT.iter().any(|kept| rest.starts_with(kept)),
        None => name == "CARGO" || name.starts_with("RUSTC_") || OTHERS.contains(&name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_outer_cargo_imposes_is_taken_away_and_the_rest_stays() {
        for name in [
            "CARGO_TARGET_DIR",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_BUILD_TARGET",
            "RUSTC_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            "RUSTFLAGS",
            "TARGET",
        ] {
            assert!(imposes(name), "{name}");
        }
        for name in
            ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_TERM_COLOR", "PATH", "HOME", "RUSTUP_HOME", "RUST_BACKTRACE"]
        {
            assert!(!imposes(name), "{name}");
        }
    }

    #[test]
    fn an_object_for_the_host_is_refused() {
        let own = env::current_exe().unwrap();
        assert!(matches!(check(&own), Err(Error::Failed(_))));
        assert!(matches!(check(Path::new("/nonexistent")), Err(Error::Io(..))));
    }
}
