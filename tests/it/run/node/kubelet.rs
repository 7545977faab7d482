//! The logs of a node as containerd and the kubelet write them, below a temporary root. Enters: pods that come, log, restart and go. Leaves:
//! `/var/log/pods/NAMESPACE_POD_UID/CONTAINER/N.log`, links in `/var/log/containers`, and the list of what was planted in them.
//!
//! Sources: containerd `internal/cri/io/logger.go` (lines are cut at 16 KiB, each piece but the last is tagged `P`), kubernetes
//! `pkg/kubelet/logs/container_log_manager.go` (first what was rotated before is compressed, by way of a `.tmp`, and what is too old
//! removed, then the log is renamed to `0.log.20261126-101112` and opened anew) and `pkg/kubelet/kuberuntime/legacy.go` (the links).

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

/// Bytes after which a runtime cuts a line.
const PIECE_BYTES: usize = 16 * 1024;
/// Rotated files of a container that the kubelet keeps (`containerLogMaxFiles` of 5, less the log and the one to come).
const KEPT: usize = 3;

/// A leak that must arrive.
#[derive(Clone, Debug)]
pub(super) struct Planted {
    pub(super) rule: &'static str,
    pub(super) entity: &'static str,
    pub(super) text: String,
    /// Line of its file in which it begins, 1-based.
    pub(super) line: u64,
    pub(super) owner: Owner,
    /// The log's two names; one that was rotated before it was seen has a longer one.
    pub(super) names: [PathBuf; 2],
}

/// Whose log it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) container: String,
    pub(super) service: String,
}

/// Calls that were logged, and their tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) calls: u64,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
}

/// A node.
pub(super) struct Node {
    root: PathBuf,
    /// Names of everything that is made must differ.
    made: u64,
    pub(super) planted: Vec<Planted>,
    pub(super) usage: Usage,
    /// Logs that were ever written.
    pub(super) logs: u64,
}

/// A container that runs.
pub(super) struct Container {
    owner: Owner,
    folder: PathBuf,
    link: PathBuf,
    /// How often it was started again.
    restarts: u64,
    file: File,
    lines: u64,
}

impl Node {
    pub(super) fn new(root: &Path) -> Self {
        let root = root.to_owned();
        fs::create_dir_all(root.join("var/log/pods")).unwrap();
        fs::create_dir_all(root.join("var/log/containers")).unwrap();
        Self { root, made: 0, planted: Vec::new(), usage: Usage::default(), logs: 0 }
    }

    /// A container of a new pod, which belongs to `service`.
    pub(super) fn start(&mut self, namespace: &str, pod: &str, container: &str, service: &str) -> Container {
        let number = self.next();
        let uid = format!("{number:08x}-1111-4222-8333-444455556666");
        let folder = self.root.join(format!("var/log/pods/{namespace}_{pod}_{uid}/{container}"));
        fs::create_dir_all(&folder).unwrap();
        let [namespace, pod, container, service] = [namespace, pod, container, service].map(str::to_owned);
        let link = self.link(&namespace, &pod, &container);
        let owner = Owner { namespace, pod, uid, container, service };
        let file = append(&folder.join("0.log"));
        self.logs += 1;
        symlink(folder.join("0.log"), &link).unwrap();
        Container { owner, folder, link, restarts: 0, file, lines: 0 }
    }

    /// It crashed, and runs again under another id; its pod is the same.
    pub(super) fn restart(&mut self, container: &mut Container) {
        let Owner { namespace, pod, container: name, .. } = &container.owner;
        let link = self.link(namespace, pod, name);
        container.restarts += 1;
        self.logs += 1;
        container.file = append(&container.log());
        container.lines = 0;
        symlink(container.log(), &link).unwrap();
        fs::remove_file(std::mem::replace(&mut container.link, link)).unwrap();
    }

    /// Some of everything that programs log.
    pub(super) fn log(&mut self, container: &mut Container) {
        container.entry("stdout", "F", "INFO ready to serve");
        self.address(container);
        self.cut_line(container);
        self.key(container);
        self.json(container);
        self.call(container);
        container.entry("stderr", "F", "");
    }

    fn next(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    fn secret(&mut self, owner: &Owner) -> String {
        format!("user{}@{}-outflow-fake.org", self.next(), owner.namespace)
    }

    fn plant(&mut self, container: &Container, rule: &'static str, entity: &'static str, text: String, line: u64) {
        let (owner, names) = (container.owner.clone(), [container.link.clone(), container.log()]);
        self.planted.push(Planted { rule, entity, text, line, owner, names });
    }

    /// A line of text.
    fn address(&mut self, container: &mut Container) {
        let secret = self.secret(&container.owner);
        let line = container.entry("stdout", "F", &format!("INFO receipt to {secret}"));
        self.plant(container, "pii.email", "EMAIL_ADDRESS", secret, line);
    }

    /// A line that is cut twice, the first time in the middle of an address; another stream writes between the pieces.
    fn cut_line(&mut self, container: &mut Container) {
        let secret = self.secret(&container.owner);
        let before = "DEBUG the whole prompt: ".to_owned() + &"words and words ".repeat(PIECE_BYTES / 16);
        let before = &before[..PIECE_BYTES - 8];
        let text = format!("{before} {secret} {}", "and more words ".repeat(PIECE_BYTES / 12));
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(PIECE_BYTES).collect();
        assert_eq!(pieces.len(), 3);
        let mut first = 0;
        for (index, piece) in pieces.iter().enumerate() {
            let tag = if index + 1 < pieces.len() { "P" } else { "F" };
            let line = container.entry("stdout", tag, std::str::from_utf8(piece).unwrap());
            if index == 0 {
                first = line;
                container.entry("stderr", "F", "WARN meanwhile");
            }
        }
        self.plant(container, "pii.email", "EMAIL_ADDRESS", secret, first);
    }

    /// A private key, a line an entry.
    fn key(&mut self, container: &mut Container) {
        // Looks like base64; each is another one.
        let mut state = self.next().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut row = |length: usize| -> String {
            let digits = (0..length).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"[(state % 62) as usize])
            });
            digits.collect()
        };
        let text = format!(
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA{}\n{}\n{}\n-----END RSA PRIVATE KEY-----",
            row(48),
            row(64),
            row(64)
        );
        let lines: Vec<u64> = text.lines().map(|line| container.entry("stdout", "F", line)).collect();
        self.plant(container, "secret.private-key", "PRIVATE_KEY", text, lines[0]);
    }

    /// A line of an application that logs JSON.
    fn json(&mut self, container: &mut Container) {
        let secret = self.secret(&container.owner);
        let line = format!(r#"{{"level":"info","msg":"user signed in","user":{{"email":"{secret}"}}}}"#);
        let line = container.entry("stderr", "F", &line);
        self.plant(container, "pii.email", "EMAIL_ADDRESS", secret, line);
    }

    /// A span of OpenTelemetry that tells of a call.
    fn call(&mut self, container: &mut Container) {
        let number = self.next();
        let (input, output) = (100 + number, 10 + number % 7);
        let line = format!(
            r#"{{"name":"chat gpt-4o","attributes":{{"gen_ai.operation.name":"chat","gen_ai.provider.name":"openai","gen_ai.request.model":"gpt-4o-2024-08-06","gen_ai.response.model":"gpt-4o-2024-08-06","gen_ai.response.id":"chatcmpl-node{number}","gen_ai.usage.input_tokens":{input},"gen_ai.usage.output_tokens":{output}}}}}"#
        );
        container.entry("stdout", "F", &line);
        self.usage.calls += 1;
        self.usage.input_tokens += input;
        self.usage.output_tokens += output;
    }

    /// What the kubelet does when a log is too large.
    pub(super) fn rotate(&mut self, container: &mut Container) {
        let log = container.log();
        for rotated in rotated(&log).into_iter().filter(|file| file.extension().is_none_or(|ending| ending != "gz")) {
            compress(&rotated);
        }
        let all = rotated(&log);
        all.iter().take(all.len().saturating_sub(KEPT)).for_each(|oldest| fs::remove_file(oldest).unwrap());
        let second = self.next();
        let time = format!("{:02}{:02}{:02}", 10 + second / 3600, second / 60 % 60, second % 60);
        fs::rename(&log, format!("{}.20261126-{time}", log.display())).unwrap();
        container.file = append(&log);
        container.lines = 0;
        self.logs += 1;
    }

    fn link(&mut self, namespace: &str, pod: &str, container: &str) -> PathBuf {
        let id = self.next();
        self.root.join(format!("var/log/containers/{pod}_{namespace}_{container}-{id:064x}.log"))
    }
}

impl Container {
    /// Its pod is deleted: the kubelet removes the folder, and the link that leads nowhere.
    pub(super) fn delete(self) {
        fs::remove_dir_all(self.folder.parent().unwrap()).unwrap();
        fs::remove_file(self.link).unwrap();
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.restarts))
    }

    /// Writes an entry, at once; gives its line in the file.
    fn entry(&mut self, stream: &str, tag: &str, text: &str) -> u64 {
        let entry = format!("2026-11-26T10:11:12.131415161Z {stream} {tag} {text}\n");
        self.file.write_all(entry.as_bytes()).unwrap();
        self.lines += 1;
        self.lines
    }
}

/// Rotated files of a log, the oldest first.
fn rotated(log: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(log.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let start = format!("{}.", log.file_name().unwrap().to_str().unwrap());
    let mut found: Vec<PathBuf> =
        files.filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(&start)).collect();
    found.sort();
    found
}

fn compress(file: &Path) {
    let with = |ending: &str| PathBuf::from(format!("{}{ending}", file.display()));
    let mut writer = GzEncoder::new(File::create(with(".tmp")).unwrap(), Compression::fast());
    writer.write_all(&fs::read(file).unwrap()).unwrap();
    writer.finish().unwrap();
    fs::rename(with(".tmp"), with(".gz")).unwrap();
    fs::remove_file(file).unwrap();
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}
