//! Who wrote a log, or a line of it. Enters: a path, a line. Leaves: an [`Origin`] as far as they say it: a container runtime puts namespace,
//! pod and container into the path, syslog and the journal the program into each line. It asks nobody: neither Docker nor Kubernetes.
//!
//! Sources: kubernetes/kubernetes `pkg/kubelet/kuberuntime/helpers.go` (`/var/log/pods/NAMESPACE_POD_UID/CONTAINER/N.log`) and
//! `legacy.go` (`/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log`); RFC 3164, RFC 5424; systemd.journal-fields(7).

use std::path::Path;

use serde::Deserialize;
use syslog_loose::{ProcId, Protocol, Variant};

use crate::sources::{Kubernetes, Origin};

/// Bytes of a line that may tell who wrote it.
const HEAD_BYTES: usize = 512;

/// How the lines of a log that several programs share name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shared {
    /// One program has it for itself, or nobody can tell.
    #[default]
    No,
    /// Syslog: RFC 3164, RFC 5424, or as rsyslog and syslog-ng write it into files.
    Syslog,
    /// Objects of `journalctl -o json`.
    Journal,
}

/// Names of files in which programs share a syslog, without what rotation adds.
const SYSLOG_NAMES: [&str; 9] =
    ["syslog", "messages", "auth.log", "daemon.log", "user.log", "kern.log", "mail.log", "cron.log", "secure"];

impl Shared {
    /// Tells by a file's name and its first line. A time and two words do not make a syslog: where no priority stands, the name must say it.
    pub fn of(path: &Path, start: &[u8]) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_named = SYSLOG_NAMES
            .iter()
            .any(|known| name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-'])));
        // Fields come in any order; these are in every entry.
        let fields: [&[u8]; 4] =
            [b"\"__CURSOR\"", b"\"__REALTIME_TIMESTAMP\"", b"\"_BOOT_ID\"", b"\"__MONOTONIC_TIMESTAMP\""];
        if start.starts_with(b"{") && fields.iter().any(|field| memchr::memmem::find(start, field).is_some()) {
            Self::Journal
        } else if (is_named && !start.starts_with(b"{")) || has_priority(start) {
            Self::Syslog
        } else {
            Self::No
        }
    }

    /// Who wrote a line.
    pub fn author(self, line: &[u8]) -> Option<Origin> {
        match self {
            Self::No => None,
            Self::Syslog => syslog(line),
            Self::Journal => journal(line),
        }
    }
}

/// `<34>`: facility and severity, at most 191.
fn has_priority(start: &[u8]) -> bool {
    let digits = start.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
    start.first() == Some(&b'<') && (1..=3).contains(&digits) && start.get(digits + 1) == Some(&b'>')
}

fn syslog(line: &[u8]) -> Option<Origin> {
    let head = String::from_utf8_lossy(line.get(..line.len().min(HEAD_BYTES))?);
    // The year says nothing of who it was.
    let message = syslog_loose::parse_message_with_year(&head, |_| 1970, Variant::Either);
    // What is no syslog message at all is given back as the text of one, without a time.
    message.timestamp?;
    let service = message.appname?;
    let pid = match message.procid {
        Some(ProcId::PID(pid)) => u32::try_from(pid).unwrap_or(0),
        _ => 0,
    };
    let is_old = matches!(message.protocol, Protocol::RFC3164);
    // An old message has no place for it but the tag, in which programs write paths.
    let service = if is_old { service.rsplit('/').next()? } else { service };
    (!service.is_empty()).then(|| Origin {
        pid,
        process: service.to_owned(),
        service: service.to_owned(),
        ..Origin::default()
    })
}

/// The fields of an entry that say who wrote it. A field that stands twice in the entry is a list; then nobody can say.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "_SYSTEMD_UNIT", default)]
    unit: Field,
    #[serde(rename = "_SYSTEMD_USER_UNIT", default)]
    user_unit: Field,
    #[serde(rename = "SYSLOG_IDENTIFIER", default)]
    identifier: Field,
    #[serde(rename = "_COMM", default)]
    command: Field,
    #[serde(rename = "_PID", default)]
    pid: Field,
    #[serde(rename = "CONTAINER_NAME", default)]
    container_name: Field,
    #[serde(rename = "CONTAINER_ID_FULL", default)]
    container: Field,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Field {
    Text(String),
    Other(serde::de::IgnoredAny),
    #[default]
    Missing,
}

impl Field {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}

fn journal(line: &[u8]) -> Option<Origin> {
    let entry: Entry = serde_json::from_slice(line).ok()?;
    // Units of users run below `user@1000.service`.
    let unit = entry.user_unit.text().or(entry.unit.text());
    let (identifier, command, named) = (entry.identifier.text(), entry.command.text(), entry.container_name.text());
    let of_unit = || unit.as_deref().map(|unit| unit.strip_suffix(".service").unwrap_or(unit).to_owned());
    let service = named.or_else(|| identifier.clone()).or_else(of_unit).or_else(|| command.clone())?;
    Some(Origin {
        pid: entry.pid.text().and_then(|pid| pid.parse().ok()).unwrap_or(0),
        process: command.or(identifier).unwrap_or_default(),
        service,
        container: entry.container.text(),
        unit,
        ..Origin::default()
    })
}

/// Whose log a path says it is; `None` for one that no container runtime made.
pub fn owner(path: &Path) -> Option<Origin> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        [.., "pods", pod, container, _file] => in_pod(pod, container),
        [.., "containers", file] => of_link(file),
        [.., "containers", id, _file] if is_container_id(id) => Some(Origin {
            container: Some((*id).to_owned()),
            service: (*id).get(..12)?.to_owned(),
            ..Origin::default()
        }),
        _ => None,
    }
}

/// `NAMESPACE_POD_UID`: none of the three holds an underscore.
fn in_pod(folder: &str, container: &str) -> Option<Origin> {
    let mut parts = folder.split('_');
    let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let is_named = parts.next().is_none() && ![namespace, pod, uid, container].iter().any(|part| part.is_empty());
    is_named.then(|| Origin { pod: Some(uid.to_owned()), ..kubernetes(namespace, pod, container) })
}

/// `POD_NAMESPACE_CONTAINER-ID.log`.
fn of_link(file: &str) -> Option<Origin> {
    let (name, id) = file.strip_suffix(".log")?.rsplit_once('-').filter(|(_, id)| is_container_id(id))?;
    let mut parts = name.split('_');
    let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Origin { container: Some(id.to_owned()), ..kubernetes(namespace, pod, container) })
}

fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn kubernetes(namespace: &str, pod: &str, container: &str) -> Origin {
    Origin {
        service: workload(pod).unwrap_or(container).to_owned(),
        kubernetes: Some(Kubernetes { namespace: namespace.into(), pod: pod.into(), container: container.into() }),
        ..Origin::default()
    }
}

/// Letters and digits of names that Kubernetes makes (`k8s.io/apimachinery/pkg/util/rand`): no vowels, no digits that look like letters.
const RANDOM: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// What made the pod, by the pod's name: `checkout-7d9f8b6c5-x2x4z` is one of Deployment `checkout`, `db-0` of StatefulSet `db`,
/// `agent-x2x4z` of DaemonSet or Job `agent`. The service is what the conventions of OpenTelemetry say
/// (opentelemetry.io/docs/specs/semconv/non-normative/k8s-attributes): the workload, else the container.
fn workload(pod: &str) -> Option<&str> {
    let is_random = |text: &str, length: std::ops::RangeInclusive<usize>| {
        length.contains(&text.len()) && text.bytes().all(|byte| RANDOM.contains(&byte))
    };
    let (rest, last) = pod.rsplit_once('-')?;
    if last.bytes().all(|byte| byte.is_ascii_digit()) && !last.is_empty() && last.len() <= 4 {
        return Some(rest);
    }
    if !is_random(last, 5..=5) {
        return None;
    }
    match rest.rsplit_once('-') {
        Some((name, hash)) if is_random(hash, 6..=10) => Some(name),
        // A CronJob's minutes since 1970.
        Some((name, minutes)) if minutes.len() == 8 && minutes.bytes().all(|byte| byte.is_ascii_digit()) => Some(name),
        _ => Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn paths_of_container_runtimes_name_the_owner() {
        let path = |text: &str| owner(Path::new(text));
        let pod =
            path("/var/log/pods/shop_checkout-7d9f8b6c5-x2x4z_1b4e28ba-2fa1-11d2-883f-0016d3cca427/app/0.log").unwrap();
        let kubernetes = pod.kubernetes.unwrap();
        assert_eq!((&*kubernetes.namespace, &*kubernetes.container), ("shop", "app"));
        assert_eq!((&*kubernetes.pod, pod.service.as_str()), ("checkout-7d9f8b6c5-x2x4z", "checkout"));
        assert_eq!(pod.pod.as_deref(), Some("1b4e28ba-2fa1-11d2-883f-0016d3cca427"));
        let rotated = path("/var/log/pods/shop_db-0_7/main/0.log.20261126-120000.gz").unwrap();
        assert_eq!((rotated.service.as_str(), rotated.pod.as_deref()), ("db", Some("7")));
        let link = path(&format!("/var/log/containers/agent-x2x4z_kube-system_main-{ID}.log")).unwrap();
        assert_eq!((link.service.as_str(), link.container.as_deref()), ("agent", Some(ID)));
        let docker = path(&format!("/var/lib/docker/containers/{ID}/{ID}-json.log")).unwrap();
        assert_eq!((docker.service.as_str(), docker.container.as_deref()), ("0123456789ab", Some(ID)));
        for other in [
            "/var/log/app.log",
            "/var/log/pods/shop/app/0.log",
            "/var/log/pods/a__c/app/0.log",
            "/srv/containers/x.log",
            "",
        ] {
            assert_eq!(path(other), None, "{other}");
        }
    }

    #[test]
    fn a_workload_is_told_from_the_name_of_its_pod() {
        for (pod, expected) in [
            ("checkout-7d9f8b6c5-x2x4z", Some("checkout")),
            ("a-b-c-5d4f8c9b7-zzzzz", Some("a-b-c")),
            ("db-0", Some("db")),
            ("node-agent-x2x4z", Some("node-agent")),
            ("nightly-29401234-x2x4z", Some("nightly")),
            ("static", None),
            ("kube-apiserver-master", None),
        ] {
            assert_eq!(workload(pod), expected, "{pod}");
        }
    }

    #[test]
    fn lines_of_a_syslog_name_their_program() {
        let of = |line: &str| Shared::Syslog.author(line.as_bytes()).map(|origin| (origin.service, origin.pid));
        for (line, service, pid) in [
            ("Nov 26 15:04:05 web1 sshd[4242]: Accepted", "sshd", 4242),
            ("<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "su", 0),
            ("<165>1 2026-10-11T22:14:15.003Z mymachine.example.com evntslog 77 ID47 - text", "evntslog", 77),
            ("2026-11-26T15:04:05.123456+00:00 web1 python3[7]: key", "python3", 7),
            ("Nov 26 15:04:05 web1 postfix/smtpd[9]: connect", "smtpd", 9),
        ] {
            assert_eq!(of(line), Some((service.to_owned(), pid)), "{line}");
        }
        for line in ["", "plain text", "<34>"] {
            assert_eq!(of(line), None, "{line}");
        }
    }

    #[test]
    fn entries_of_the_journal_name_unit_and_program() {
        let line = r#"{"__CURSOR":"s=1","_SYSTEMD_UNIT":"summarizer.service","SYSLOG_IDENTIFIER":"python3","_COMM":"python3.11","_PID":"77","MESSAGE":[104,105]}"#;
        let origin = Shared::Journal.author(line.as_bytes()).unwrap();
        assert_eq!((origin.service.as_str(), origin.process.as_str(), origin.pid), ("python3", "python3.11", 77));
        assert_eq!(origin.unit.as_deref(), Some("summarizer.service"));
        assert_eq!(Shared::of(Path::new("/x/export.json"), line.as_bytes()), Shared::Journal);
        let twice = r#"{"_SYSTEMD_UNIT":["a","b"],"_COMM":"x"}"#;
        assert_eq!(Shared::Journal.author(twice.as_bytes()).unwrap().service, "x");
        assert!(Shared::Journal.author(b"no json").is_none());
    }

    #[test]
    fn a_syslog_is_told_by_its_name_or_its_priorities() {
        let of = |path: &str, line: &str| Shared::of(Path::new(path), line.as_bytes());
        assert_eq!(of("/var/log/syslog", "2026-11-26T15:04:05Z web1 app: x"), Shared::Syslog);
        assert_eq!(of("/var/log/auth.log.1", ""), Shared::Syslog);
        assert_eq!(of("/data/router.txt", "<34>1 2026-"), Shared::Syslog);
        for (path, line) in [
            ("/var/log/app.log", "2026-11-26T15:04:05Z INFO module: text"),
            ("/var/log/messages-of-the-day.txt", "x"),
            ("/var/log/app.log", "<html>"),
            ("/var/log/app.log", "<3456>"),
        ] {
            assert_eq!(
                of(path, line),
                if path.contains("messages-of") { Shared::Syslog } else { Shared::No },
                "{path}"
            );
        }
    }
}
