//! The servers and the client that sinks are tested against. Enters: the Python environment and what the environment variables say. Leaves:
//! where the programs are, or one sentence that says why they cannot be used here.
//!
//! `OUTFLOW_TEST_KAFKA` and `OUTFLOW_TEST_OTLP` name servers of somebody else instead: then none is started, and none is needed.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, ensure};

use crate::rights::missing_program;

/// Names brokers that are not ours: `host:port[,host:port]`.
const KAFKA: &str = "OUTFLOW_TEST_KAFKA";
/// Names a collector that is not ours: `http://host:4317[,http://host:4318]`, gRPC first.
const OTLP: &str = "OUTFLOW_TEST_OTLP";

/// Asks the interpreter for what only it knows. Importing would be slower, and one package looks for a server when imported.
const WHERE: &str = "import importlib.util, os, sysconfig\n\
                     for package in ('noida_db', 'rotel'):\n\
                     \x20   print(os.path.dirname(importlib.util.find_spec(package).origin))\n\
                     print(sysconfig.get_config_var('LIBDIR'))";

/// The programs in the wheels.
#[derive(Debug)]
pub(crate) struct Programs {
    noida: PathBuf,
    rotel: PathBuf,
    /// Where the interpreter's own library is: rotel links it, and not every interpreter is the system's.
    libraries: PathBuf,
}

impl Programs {
    /// Finds them, once a process; makes the Python environment when it is missing.
    pub(crate) fn find() -> Result<&'static Self> {
        static FOUND: OnceLock<Result<Programs, String>> = OnceLock::new();
        FOUND.get_or_init(|| Self::look().map_err(|error| format!("{error:#}"))).as_ref().map_err(anyhow::Error::msg)
    }

    fn look() -> Result<Self> {
        let python = crate::python(&target()?)?;
        let output = Command::new(&python).args(["-c", WHERE]).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<_> = text.lines().map(Path::new).collect();
        let [noida, rotel, libraries] = lines[..] else {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(anyhow::Error::msg(why.trim().to_owned())).context("the wheels noida-db and rotel are missing");
        };
        let found = |program: PathBuf| {
            ensure!(program.is_file(), "{} is missing", program.display());
            Ok(program)
        };
        Ok(Self {
            noida: found(noida.join("noida-db"))?,
            rotel: found(rotel.join("rotel-agent"))?,
            libraries: libraries.to_owned(),
        })
    }

    /// The broker's program. Nothing of our environment can change what it does.
    pub(crate) fn broker(&self) -> Command {
        let mut command = Command::new(&self.noida);
        command.env_clear();
        command
    }

    /// The collector's program, likewise.
    pub(crate) fn collector(&self) -> Command {
        let mut command = Command::new(&self.rotel);
        command.env_clear().env("LD_LIBRARY_PATH", &self.libraries);
        command
    }
}

/// The brokers of somebody else, when the tests are to use them.
pub(crate) fn other_brokers() -> Option<String> {
    env::var(KAFKA).ok().filter(|brokers| !brokers.is_empty())
}

/// The collector of somebody else, when the tests are to use it: gRPC and HTTP.
pub(crate) fn other_collector() -> Option<(String, String)> {
    env::var(OTLP).ok().filter(|endpoints| !endpoints.is_empty()).map(|endpoints| endpoints_of(&endpoints))
}

fn endpoints_of(text: &str) -> (String, String) {
    let (grpc, http) = text.split_once(',').map_or((text, None), |(grpc, http)| (grpc, Some(http)));
    let usual = || grpc.strip_suffix(":4317").map_or_else(|| grpc.to_owned(), |host| format!("{host}:4318"));
    (grpc.to_owned(), http.map_or_else(usual, str::to_owned))
}

/// What is missing for a broker and for reading its topics.
pub fn missing_for_broker() -> Option<String> {
    missing_program("kcat").or_else(|| match other_brokers() {
        Some(_) => None,
        None => cannot_start("noida-db", Programs::broker),
    })
}

/// What is missing for a collector.
pub fn missing_for_collector() -> Option<String> {
    match other_collector() {
        Some(_) => None,
        None => cannot_start("rotel", Programs::collector),
    }
}

/// What is missing for both.
pub fn missing_for_peers() -> Option<String> {
    missing_for_broker().or_else(missing_for_collector)
}

/// Both programs say their version and end, when the loader finds what they link.
fn cannot_start(name: &str, program: impl FnOnce(&Programs) -> Command) -> Option<String> {
    let started = Programs::find().and_then(|programs| {
        let output = program(programs).arg("version").stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    });
    started.err().map(|error| format!("{name} cannot start: {error:#}"))
}

/// Cargo's folder of what it built, this program included: the one that carries cargo's mark.
fn target() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program is")?;
    let marked = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    Ok(marked.map_or_else(|| crate::workspace().join("target"), Path::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_has_two_endpoints_and_the_second_may_be_the_usual_one() {
        let two = |text: &str| endpoints_of(text);
        let pair = |grpc: &str, http: &str| (grpc.to_owned(), http.to_owned());
        assert_eq!(two("http://c:4317"), pair("http://c:4317", "http://c:4318"));
        assert_eq!(two("http://c:1,https://d:2"), pair("http://c:1", "https://d:2"));
        assert_eq!(two("http://c:80"), pair("http://c:80", "http://c:80"));
    }

    #[test]
    fn a_program_that_cannot_start_is_a_reason() {
        if Programs::find().is_err() {
            println!("skipped: the wheels are missing");
            return;
        }
        let reason = cannot_start("nothing", |_| Command::new("/nonexistent")).unwrap();
        assert!(reason.starts_with("nothing cannot start: "), "{reason}");
        let reason = cannot_start("false", |_| Command::new("false")).unwrap();
        assert!(reason.starts_with("false cannot start: "), "{reason}");
    }
}
