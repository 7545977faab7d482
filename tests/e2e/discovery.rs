//! How the tap finds what to probe: each file once however many processes map it, libraries that are loaded late, replaced or deleted while
//! they run, and those that only a process in namespaces of its own can see. Every library is a copy that only these processes map; the
//! scope is the bench's control group.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use outflow::{
    rules::{RuleSource, VendorTable},
    sources::{
        Input, StreamEvent,
        tap::{Ledger, Notice, Scope, Settings, Tap, inspected},
    },
};
use testbed::Bench;

use crate::{
    leaks::probed,
    support::{bench, bpf_or_skip},
    tap::assert_no_loss,
};

const TIMEOUT: Duration = Duration::from_mins(1);
/// Set in the process that runs the crowd's test alone.
const ALONE: &str = "OUTFLOW_DISCOVERY_ALONE";
const HOST: &str = "api.openai.com";
/// What the load sends on each connection: pairs of this size.
const SIZE: usize = 1000;
const PAIRS: usize = 20;

/// Bytes handed over by process and name of its server, and the processes whose connections were closed.
#[derive(Default)]
struct Heard {
    bytes: BTreeMap<u32, usize>,
    closed: BTreeSet<u32>,
}

/// A tap of the bench's control group.
struct Tapped {
    tap: Tap,
    heard: Arc<Mutex<Heard>>,
    notices: Receiver<Notice>,
}

impl Tapped {
    fn start(bench: &Bench) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let into = Arc::clone(&heard);
        let deliver = move |input: Input| {
            let mut heard = into.lock().unwrap();
            match input.event {
                StreamEvent::Bytes { bytes, .. } => *heard.bytes.entry(input.origin.pid).or_default() += bytes.len(),
                StreamEvent::Closed { .. } => drop(heard.closed.insert(input.origin.pid)),
                StreamEvent::Opened { .. } => {}
            }
            true
        };
        let (tell, notices) = channel();
        let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap());
        let scope = Scope::Cgroup { folder: bench.cgroup.path().to_owned(), level: 1 };
        let notice = move |notice| drop(tell.send(notice));
        let tap = Tap::start(&scope, &[], Settings::default(), &vendors, deliver, notice).unwrap();
        Self { tap, heard, notices }
    }

    /// Waits until a file of this name is tapped; gives the process that mapped it.
    fn wait_tapped(&self, name: &str) -> u32 {
        loop {
            match self.notices.recv_timeout(TIMEOUT).expect("the library is tapped in time") {
                Notice::Tapped { library, pid, .. } if library.to_string_lossy().contains(name) => return pid.unwrap(),
                Notice::Refused { library, why, .. } => panic!("{}: {why}", library.display()),
                _ => {}
            }
        }
    }

    fn stop(self) -> (Heard, Ledger, Vec<Notice>) {
        let ledger = self.tap.stop().unwrap();
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        (heard, ledger, self.notices.try_iter().collect())
    }
}

/// Processes that end when this does.
struct Crowd {
    child: Child,
    go: Option<OwnedFd>,
}

impl Crowd {
    /// Starts them in the bench's control group and waits for the first byte of each.
    fn start(bench: &Bench, program: &Path, count: usize, when: &str, libraries: &[PathBuf]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 0 > \"$0\" && exec \"$@\""]).arg(bench.cgroup.path().join("cgroup.procs"));
        command.arg(program).args([&count.to_string(), when]).args(libraries);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let go = child.stdin.take().map(OwnedFd::from);
        let mut crowd = Self { child, go };
        crowd.wait_bytes(count);
        crowd
    }

    fn wait_bytes(&mut self, count: usize) {
        self.child.stdout.as_mut().unwrap().read_exact(&mut vec![0; count]).expect("every process has its library");
    }

    /// Tells this many to go on, and waits until they did.
    fn go_on(&mut self, count: usize) {
        let go = self.go.as_ref().unwrap().try_clone().unwrap();
        File::from(go).write_all(&vec![b'.'; count]).unwrap();
        self.wait_bytes(count);
    }

    fn end(mut self) {
        drop(self.go.take());
        assert!(self.child.wait().unwrap().success());
    }
}

fn compile(bench: &Bench, source: &str, libraries: &[&str]) -> PathBuf {
    let source = testbed::workspace().join(source);
    let out = bench.dir().join(source.file_stem().unwrap());
    let status = Command::new("cc").args(["-O1", "-o"]).args([&out, &source]).args(libraries).status().unwrap();
    assert!(status.success(), "cc and libssl-dev are needed: `cargo xtask setup`");
    out
}

/// A copy of the library in a folder of its own, with its libcrypto.
fn copy(bench: &Bench, folder: &str) -> PathBuf {
    let to = bench.dir().join(folder);
    fs::create_dir(&to).unwrap();
    for library in [&bench.tls.libssl, &bench.tls.libcrypto] {
        fs::copy(library, to.join(library.file_name().unwrap())).unwrap();
    }
    to.join(bench.tls.libssl.file_name().unwrap())
}

/// The benchmark's load: a client and a server in one process, which waits until it is told to talk.
struct Talker {
    child: Child,
    go: PathBuf,
}

impl Talker {
    /// Starts it in the bench's control group with this library, waiting. `wrap` stands before the command.
    fn start(bench: &Bench, load: &Path, name: &str, libraries: &Path, wrap: &[String]) -> Self {
        let go = bench.dir().join("meet").join(name);
        fs::create_dir_all(go.parent().unwrap()).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo 0 > \"$0\" && exec \"$@\""]).arg(bench.cgroup.path().join("cgroup.procs"));
        command.args(wrap).arg(load).arg(HOST).arg(&go).args(["plain", &format!("{SIZE}:{PAIRS}:{PAIRS}:0")]);
        command.env("LD_LIBRARY_PATH", libraries).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It says READY on standard error when the library is mapped.
        let mut said = [0; 6];
        child.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"READY ");
        Self { child, go }
    }

    /// Lets it talk, and waits for its end.
    fn talk(mut self) -> u32 {
        fs::write(&self.go, "").unwrap();
        assert!(self.child.wait().unwrap().success());
        self.child.id()
    }
}

/// Both ends of a talker's connection were heard whole, and their ends too.
fn assert_heard(heard: &Heard, pids: &[u32]) {
    for pid in pids {
        // Written by one end and read by the other, and heads and answers besides.
        let bytes = heard.bytes.get(pid).copied().unwrap_or_default();
        assert!(bytes > 2 * SIZE * PAIRS, "{bytes} bytes of process {pid}, of {:?}", heard.bytes);
        assert!(heard.closed.contains(pid), "{pid} ended, {:?} are known to have", heard.closed);
    }
}

/// Files whose code some of these processes map.
fn mapped_files(pids: &[u32]) -> BTreeSet<(String, String)> {
    let of = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut files = BTreeSet::new();
    for line in pids.iter().map(of).collect::<String>().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, rights, _, device, inode, path] = words[..]
            && rights.contains('x')
            && path.starts_with('/')
        {
            files.insert((device.to_owned(), inode.to_owned()));
        }
    }
    files
}

/// The count of parsed files is one of the whole process, and other tests tap in this one: so this test runs again, alone.
#[test]
fn five_hundred_processes_on_five_files_parse_each_once() {
    if !bpf_or_skip() {
        return;
    }
    if std::env::var_os(ALONE).is_none() {
        let own = std::env::current_exe().unwrap();
        let name = "discovery::five_hundred_processes_on_five_files_parse_each_once";
        let output = Command::new(own).args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the test by itself is another one");
        return;
    }
    let bench = bench("crowd");
    let program = compile(&bench, "tests/e2e/discovery/crowd.c", &[]);
    let libraries: Vec<PathBuf> = (0..5).map(|number| copy(&bench, &format!("copy-{number}"))).collect();
    // Half of them are there before the tap, half come after.
    let early = Crowd::start(&bench, &program, 250, "now", &libraries);
    let before = inspected();
    let tapped = Tapped::start(&bench);
    let mut late = Crowd::start(&bench, &program, 250, "late", &libraries);
    late.go_on(250);
    // Whatever else is mapped is looked at before this: mappings are told in their order.
    let last = copy(&bench, "copy-last");
    let end = Crowd::start(&bench, &program, 1, "now", std::slice::from_ref(&last));
    let mut libraries_tapped = BTreeMap::<PathBuf, usize>::new();
    while !libraries_tapped.contains_key(&last) {
        match tapped.notices.recv_timeout(TIMEOUT).expect("the last library is tapped") {
            Notice::Tapped { library, .. } => *libraries_tapped.entry(library).or_default() += 1,
            other => panic!("{other:?}"),
        }
    }
    let pids = bench.cgroup.pids().unwrap();
    assert!(pids.len() > 500, "{} processes", pids.len());
    let files = mapped_files(&pids);
    let parsed = usize::try_from(inspected() - before).unwrap();
    // The shell that starts each crowd has ended by now: it and what it is linked with were looked at too.
    assert!(
        parsed <= files.len() + 2,
        "{parsed} files were parsed, {} are mapped by {} processes",
        files.len(),
        pids.len()
    );
    assert!(parsed >= 6);
    for library in &libraries {
        assert_eq!(libraries_tapped.remove(library), Some(1), "{} is tapped once", library.display());
        assert!(mapped_files(&pids).contains(&place(library)));
    }
    assert_eq!(libraries_tapped.into_keys().collect::<Vec<_>>(), [last], "and nothing else");
    for crowd in [early, late, end] {
        crowd.end();
    }
    tapped.stop();
}

/// Device and inode as `/proc/PID/maps` writes them.
fn place(file: &Path) -> (String, String) {
    let file = fs::metadata(file).unwrap();
    let device = format!("{:02x}:{:02x}", rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    (device, file.ino().to_string())
}

#[test]
fn a_library_that_is_loaded_late_is_tapped() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("late");
    let program = compile(&bench, "tests/e2e/discovery/crowd.c", &[]);
    let library = copy(&bench, "copy");
    let mut crowd = Crowd::start(&bench, &program, 1, "late", std::slice::from_ref(&library));
    let tapped = Tapped::start(&bench);
    crowd.go_on(1);
    let pid = tapped.wait_tapped(library.to_str().unwrap());
    assert!(probed(pid, &library));
    let (_, ledger, _) = tapped.stop();
    // What the tap put there it took away again.
    assert!(!probed(pid, &library));
    assert_no_loss(&ledger);
    crowd.end();
}

#[test]
fn libraries_that_were_replaced_or_deleted_are_tapped_where_they_still_run() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("replaced");
    let load = compile(&bench, "benches/tap/load.c", &["-lssl", "-lcrypto"]);
    let (replaced, deleted) = (copy(&bench, "replaced"), copy(&bench, "deleted"));
    let start = |name, library: &Path| Talker::start(&bench, &load, name, library.parent().unwrap(), &[]);
    let mut talkers = vec![start("old", &replaced), start("deleted", &deleted)];
    // As an update does it, and as an uninstallation does.
    fs::rename(copy(&bench, "new"), &replaced).unwrap();
    fs::remove_file(&deleted).unwrap();
    let tapped = Tapped::start(&bench);
    talkers.push(start("new", &replaced));
    // Two files at the start, one new one.
    for _ in 0..3 {
        tapped.wait_tapped(".so");
    }
    // Once more, while the tap is there.
    fs::rename(copy(&bench, "newer"), &replaced).unwrap();
    talkers.push(start("newer", &replaced));
    tapped.wait_tapped("replaced");
    let pids: Vec<u32> = talkers.into_iter().map(Talker::talk).collect();
    let (heard, ledger, _) = tapped.stop();
    assert_heard(&heard, &pids);
    assert_no_loss(&ledger);
}

#[test]
fn a_library_that_only_a_container_sees_is_tapped_before_and_after_the_tap_starts() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("container");
    let load = compile(&bench, "benches/tap/load.c", &["-lssl", "-lcrypto"]);
    let listed = Command::new("ldd").arg(&load).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let needed = listed.split_whitespace().filter(|word| word.starts_with('/')).collect::<Vec<_>>().join(" ");
    let (root, meet) = (bench.dir().join("root"), bench.dir().join("meet"));
    fs::create_dir(&root).unwrap();
    // A root file system in memory that nobody else has, with the load, what it is linked with, and the folder where it is told to go on.
    let script = format!(
        "set -e; mount -t tmpfs root {root}; cp --parents --dereference {needed} {load} {root}; \
         mkdir -p {root}{meet} {root}/proc; mount --bind {meet} {root}{meet}; mount -t proc proc {root}/proc; \
         exec chroot {root} \"$@\"",
        root = root.display(),
        meet = meet.display(),
        load = load.display(),
    );
    let wrap = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", &script, "sh"].map(str::to_owned);
    let start = |name| Talker::start(&bench, &load, name, Path::new("/nothing"), &wrap);
    let before = start("before");
    let tapped = Tapped::start(&bench);
    let first = tapped.wait_tapped("libssl");
    let after = start("after");
    let second = tapped.wait_tapped("libssl");
    assert_ne!(first, second);
    let visible: Vec<_> = fs::read_dir(&root).unwrap().collect();
    assert!(visible.is_empty(), "the container's files are its own: {visible:?}");
    before.talk();
    after.talk();
    let (heard, ledger, _) = tapped.stop();
    assert_heard(&heard, &[first, second]);
    assert_no_loss(&ledger);
}
