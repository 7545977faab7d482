//! Findings to a syslog server that we did not write: rsyslog, over TCP and TLS, with what it makes of their fields.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use outflow::clock;
use serde_json::Value;
use testbed::fake_collector::Certificates;

use super::{LIMIT, collector::outbox, log::Log, place::Place};

/// Where Debian has it; it is in nobody's path but root's.
const PROGRAM: &str = "/usr/sbin/rsyslogd";

/// A server of the test's own. Killed on drop.
pub(super) struct Rsyslog {
    child: Child,
    port: u16,
}

impl Rsyslog {
    /// On this port; on any, when it is 0.
    fn start(folder: &Path, certificates: Option<&Certificates>, port: u16) -> Self {
        let at = |name: &str| folder.join(name).display().to_string();
        let (tls, global) = certificates.map_or_else(Default::default, |made| {
            let (ca, cert, key) =
                (made.ca_file.display(), made.server_cert_file.display(), made.server_key_file.display());
            let files = format!(
                "DefaultNetstreamDriverCAFile=\"{ca}\" DefaultNetstreamDriverCertFile=\"{cert}\" \
                 DefaultNetstreamDriverKeyFile=\"{key}\""
            );
            (" StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\"", files)
        });
        let config = format!(
            "global(workDirectory=\"{}\" maxMessageSize=\"64k\" {global})\n\
             module(load=\"imtcp\"{tls})\n\
             template(name=\"fields\" type=\"list\" option.jsonf=\"on\") {{\n\
               property(outname=\"priority\" name=\"pri\" format=\"jsonf\")\n\
               property(outname=\"version\" name=\"protocol-version\" format=\"jsonf\")\n\
               property(outname=\"host\" name=\"hostname\" format=\"jsonf\")\n\
               property(outname=\"app\" name=\"app-name\" format=\"jsonf\")\n\
               property(outname=\"kind\" name=\"msgid\" format=\"jsonf\")\n\
               property(outname=\"time\" name=\"timereported\" dateFormat=\"rfc3339\" format=\"jsonf\")\n\
               property(outname=\"data\" name=\"structured-data\" format=\"jsonf\")\n\
               property(outname=\"message\" name=\"msg\" format=\"jsonf\")\n\
             }}\n\
             ruleset(name=\"in\") {{ action(type=\"omfile\" file=\"{}\" template=\"fields\") }}\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" listenPortFileName=\"{}\" ruleset=\"in\")\n",
            at(""),
            at("out.jsonl"),
            at("port")
        );
        let _ = fs::remove_file(at("port"));
        let mut server = Self::run(folder, &config);
        server.port = port;
        let started = clock::instant();
        // It tells only a port that it chose itself; whoever knows the port tries until somebody answers.
        while server.port == 0 {
            let told = fs::read_to_string(at("port")).unwrap_or_default();
            server.port = told.trim().parse().unwrap_or_default();
            let said = || fs::read_to_string(at("words")).unwrap_or_default();
            assert!(server.child.try_wait().unwrap().is_none(), "it ended: {}", said());
            assert!(started.elapsed() < LIMIT, "it does not listen: {}", said());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        server
    }
}

impl Rsyslog {
    /// With this config; whether it listens or reads is the caller's to see.
    pub(super) fn run(folder: &Path, config: &str) -> Self {
        let at = |name: &str| folder.join(name).display().to_string();
        fs::write(at("rsyslog.conf"), config).unwrap();
        let _ = fs::remove_file(at("pid"));
        let words = fs::File::create(at("words")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["-n", "-f", &at("rsyslog.conf"), "-i", &at("pid")]);
        let child = command.stdin(Stdio::null()).stdout(words.try_clone().unwrap()).stderr(words).spawn().unwrap();
        Self { child, port: 0 }
    }
}

/// What is missing for a server with this module.
pub(super) fn missing_module(name: &str) -> Option<String> {
    let file = format!("rsyslog/{name}.so");
    let is_there = fs::read_dir("/usr/lib").unwrap().flatten().any(|entry| entry.path().join(&file).exists());
    (!Path::new(PROGRAM).exists() || !is_there)
        .then(|| format!("no {PROGRAM} with {name} (Debian: apt-get install rsyslog rsyslog-openssl rsyslog-kafka)"))
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it wrote down.
fn received(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("out.jsonl")).unwrap_or_default();
    // The last line may be under way.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The record in a message.
fn record(line: &Value) -> Value {
    serde_json::from_str(line["message"].as_str().unwrap().trim()).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn ids(folder: &Path) -> BTreeSet<String> {
    received(folder).iter().map(|line| record(line)["record_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_real_syslog_server_reads_all_fields_also_after_it_was_killed() {
    if let Some(missing) = missing_module("lmnsd_ossl") {
        assert!(std::env::var_os("OUTFLOW_REQUIRE_BPF").is_none(), "{missing}");
        println!("skipped: {missing}");
        return;
    }
    for scheme in ["tcp", "tls"] {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(folder.path(), &[]).unwrap();
        let with_tls = Some(&certificates).filter(|_| scheme == "tls");
        let server = Rsyslog::start(folder.path(), with_tls, 0);
        let place = Place::new();
        let ca = with_tls.map(|made| format!("ca_file = {:?}\n", made.ca_file)).unwrap_or_default();
        place.configure(&format!(
            "[[sinks.syslog]]\naddress = \"{scheme}://localhost:{}\"\nmax_bytes = \"64 KiB\"\nfacility = \"local3\"\n{ca}",
            server.port
        ));
        let mut log = Log::new(&place.logs());
        let mut agent = place.start().ready();
        log.lines(200);
        agent.until("all received", |_| place.stored() >= 200 && ids(folder.path()).len() >= 200);
        // kill -9: what it had not read is lost with it, but for what comes once more.
        let port = server.port;
        drop(server);
        log.lines(50);
        agent.until("all stored", |_| place.stored() >= 250);
        let _server = Rsyslog::start(folder.path(), with_tls, port);
        agent.until("all received", |_| ids(folder.path()).len() >= 250);
        agent.terminate();
        assert_eq!(ids(folder.path()), outbox(&place), "{scheme}");
        for line in received(folder.path()) {
            let record = record(&line);
            let severity = record["severity"].as_str().unwrap();
            // local3 is 19 * 8.
            let level = match severity {
                "critical" => 2,
                "high" => 3,
                "medium" => 4,
                "low" => 5,
                _ => 6,
            };
            assert_eq!(line["priority"], (19 * 8 + level).to_string(), "{line}");
            assert_eq!(
                (&line["version"], &line["app"], &line["kind"]),
                (&"1".into(), &"outflow".into(), &"finding".into())
            );
            assert!(line["time"].as_str().unwrap().starts_with(&record["last_seen"].as_str().unwrap()[..19]), "{line}");
            let data = line["data"].as_str().unwrap();
            let id = format!("record_id=\"{}\"", record["record_id"].as_str().unwrap());
            assert!(data.starts_with("[outflow@32473 ") && data.contains(&id), "{line}");
        }
    }
}
