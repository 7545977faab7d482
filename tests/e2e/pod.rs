//! The pod of `deploy/daemonset.yaml`, run by podman and runc as a node's runtime would: the agent in it taps a client outside of it,
//! follows a pod's log through the node's folder, has the rights that the file asks for and no others, and ends without a trace.
//!
//! The file's scope is the host; here it is the test's own control group, and the test refuses to start anything else.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use outflow::{
    clock,
    config::{self, Config},
    findings::Finding,
    store::{Filter, StoreReader},
};
use testbed::{Bench, Podman, Sees};

use crate::{
    leaks::probed,
    split::{ATTACH, capabilities, in_group},
    support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, outflow},
};

const DAC_READ_SEARCH: u64 = 1 << 2;
/// The image's user `outflow`.
const USER: &str = "65532";
/// SECCOMP_MODE_FILTER, linux/seccomp.h.
const SECCOMP_FILTER: &str = "2";

const DAEMON_SET: &str = include_str!("../../deploy/daemonset.yaml");
const POD: &str = "outflow";
/// As podman calls the container `outflow` of that pod.
const CONTAINER: &str = "outflow-outflow";
/// As the kubelet names a container's log in /var/log/containers.
const APP: &str = "cart-1_shop_cart-0123456789abcdef";
/// What made pod `cart-1`.
const WORKLOAD: &str = "cart";

/// Replaces the one place where `from` stands.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} in {text}");
    text.replace(from, to)
}

/// The lines after `head` that are indented deeper than it, without what they are indented by.
fn block(text: &str, head: &str) -> String {
    let mut lines = text.lines().skip_while(|line| line.trim() != head);
    let depth = lines.next().map(|line| line.len() - line.trim_start().len() + 2).unwrap();
    let indent = " ".repeat(depth);
    let inner = lines.take_while(|line| line.is_empty() || line.starts_with(&indent));
    inner.map(|line| line.strip_prefix(&indent).unwrap_or_default().to_owned() + "\n").collect()
}

/// The folders of a node that the pod mounts.
struct Node {
    state: PathBuf,
    log: PathBuf,
    config: PathBuf,
}

impl Node {
    fn new(bench: &Bench) -> Self {
        let folder = bench.dir().join("node");
        let node = Self { state: folder.join("state"), log: folder.join("log"), config: folder.join("config") };
        for folder in [&node.log.join("containers"), &node.log.join("pods/shop_cart-1_0/cart"), &node.config] {
            fs::create_dir_all(folder).unwrap();
        }
        // As on a node: the link leads to a path that is there only where /var/log is this folder.
        symlink("/var/log/pods/shop_cart-1_0/cart/0.log", node.log.join(format!("containers/{APP}.log"))).unwrap();
        node.write("order of maria.keller@outflow-demo-shop.com");
        node
    }

    /// Appends a line as a container runtime does.
    fn write(&self, text: &str) {
        let path = self.log.join("pods/shop_cart-1_0/cart/0.log");
        let mut log = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(log, "2026-01-01T00:00:00.000000000Z stdout F {text}").unwrap();
    }

    fn store(&self) -> PathBuf {
        self.state.join("state/outflow.db")
    }

    /// The config that the file ships, for the bench's control group alone.
    fn configure(&self, bench: &Bench) {
        let text = block(DAEMON_SET, "outflow.toml: |");
        let scope = format!("scope = \"cgroup\"\ncgroups = [\"{}\"]", bench.cgroup.path().display());
        let text = replaced(&text, "scope = \"host\"", &scope);
        let read = Config::parse("outflow.toml", &text).unwrap();
        assert_eq!(read.tap.scope, Some(config::Scope::Cgroup), "never the host");
        fs::write(self.config.join("outflow.toml"), text).unwrap();
    }

    /// The pod template of the file. What differs: the node's folders, and what podman 4.3 does not know: volumes of a
    /// ConfigMap, and the node's name.
    fn pod(&self, bench: &Bench) -> PathBuf {
        let template = block(DAEMON_SET, "template:");
        let host = |path: &Path| format!("hostPath: {{ path: {}, type: DirectoryOrCreate }}", path.display());
        let mut pod = format!(
            "apiVersion: v1\nkind: Pod\n{}",
            replaced(&template, "metadata:\n", &format!("metadata:\n  name: {POD}\n"))
        );
        for (from, to) in [
            ("configMap: { name: outflow }", host(&self.config)),
            ("hostPath: { path: /var/lib/outflow, type: DirectoryOrCreate }", host(&self.state)),
            ("hostPath: { path: /var/log, type: Directory }", host(&self.log)),
            ("valueFrom:\n            fieldRef:\n              fieldPath: spec.nodeName", "value: node-1".to_owned()),
        ] {
            pod = replaced(&pod, from, &to);
        }
        let file = bench.dir().join("pod.yaml");
        fs::write(&file, pod).unwrap();
        file
    }
}

/// Until `look` finds something; neither podman nor a store tells of it by itself.
fn wait_for<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let until = clock::instant() + Duration::from_secs(CLIENT_TIMEOUT_S.unsigned_abs());
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(clock::instant() < until, "{why}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The first line of the agent's talk that contains `wanted`.
fn says(podman: &Podman, wanted: &str) -> String {
    wait_for(|| {
        let logs = podman.logs(CONTAINER).unwrap();
        let line = logs.lines().find(|line| line.contains(wanted)).map(str::to_owned);
        line.ok_or_else(|| format!("it never said {wanted:?}: {logs}"))
    })
}

/// What the store holds, once there is as much of each rule as is wanted.
fn found(store: &Path, wanted: &[(&str, usize)]) -> Vec<Finding> {
    wait_for(|| {
        let findings = StoreReader::open(store).unwrap().findings(&Filter::default()).unwrap();
        let of = |rule: &str| findings.iter().filter(|finding| finding.rule.id == rule).count();
        let there: Vec<_> = wanted.iter().map(|(rule, _)| (*rule, of(rule))).collect();
        if there == wanted { Ok(findings) } else { Err(format!("{there:?} in the store, not {wanted:?}")) }
    })
}

fn status_line<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

/// Seen from outside: what the agent's two processes may do.
fn assert_rights(reader: u32, attacher: u32) {
    for (pid, user, rights) in [(reader, USER, DAC_READ_SEARCH), (attacher, "0", ATTACH)] {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(capabilities(&status, set), rights, "{set}: {status}");
        }
        assert_eq!(capabilities(&status, "CapInh") | capabilities(&status, "CapAmb"), 0, "{status}");
        assert!(status_line(&status, "Uid").split('\t').all(|id| id == user), "{status}");
        assert_eq!(status_line(&status, "NoNewPrivs"), "1");
        assert_eq!(status_line(&status, "Seccomp"), SECCOMP_FILTER);
        // One number: it is in the namespace of the node's processes.
        assert_eq!(status_line(&status, "NSpid"), pid.to_string());
    }
    for namespace in ["mnt", "net", "ipc", "uts", "cgroup"] {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}")).unwrap();
        assert_ne!(of(&reader.to_string()), of("self"), "{namespace}");
    }
}

/// Nothing but the state can be written to.
fn assert_mounts(reader: u32) {
    let mounts = fs::read_to_string(format!("/proc/{reader}/mountinfo")).unwrap();
    // proc_pid_mountinfo(5): field 5 is the mount point, 6 its options. The last one on a point counts.
    let is_read_only = |point: &str| {
        let of = |line: &str| line.split(' ').skip(4).take(2).map(str::to_owned).collect::<Vec<_>>();
        let found = mounts.lines().map(of).rfind(|fields| fields[0] == point);
        let options = found.unwrap_or_else(|| panic!("no {point} in {mounts}")).pop().unwrap();
        options.split(',').any(|option| option == "ro")
    };
    for point in ["/", "/var/log", "/etc/outflow", "/sys/fs/cgroup", "/sys/kernel/btf", "/sys", "/proc/sys"] {
        assert!(is_read_only(point), "{point} can be written to: {mounts}");
    }
    assert!(!is_read_only("/var/lib/outflow"));
}

fn build_image(bench: &Bench, podman: &Podman) {
    let context = bench.dir().join("image");
    testbed::build_context(outflow(), &context).unwrap();
    let tag = format!("localhost/outflow:{}", env!("CARGO_PKG_VERSION"));
    podman.build(&testbed::workspace().join("deploy/Dockerfile"), &context, &tag).unwrap();
}

/// True when pods can be run here. Else says why not, and fails when the rights were promised.
fn pods_or_skip() -> bool {
    if !bpf_or_skip() {
        return false;
    }
    let Some(reason) = testbed::missing_for_pods() else { return true };
    assert!(
        std::env::var_os("OUTFLOW_REQUIRE_BPF").is_none_or(|value| value != "1"),
        "OUTFLOW_REQUIRE_BPF=1, but {reason}"
    );
    println!("skipped: {reason}");
    false
}

#[test]
fn the_pod_of_the_daemon_set_taps_follows_and_leaves_nothing_behind() {
    if !pods_or_skip() {
        return;
    }
    let bench = bench("pod");
    let sees = Sees { host_processes: DAEMON_SET.contains("\n      hostPID: true\n"), own_groups: true };
    let podman = Podman::new(bench.dir(), sees).unwrap();
    build_image(&bench, &podman);
    let node = Node::new(&bench);
    node.configure(&bench);
    podman.play(&node.pod(&bench)).unwrap();
    says(&podman, "outflow: ready");
    let reader: u32 = podman.inspect(CONTAINER, "{{.State.Pid}}").unwrap().parse().unwrap();
    let children = fs::read_to_string(format!("/proc/{reader}/task/{reader}/children")).unwrap();
    let [attacher] = children.split_whitespace().collect::<Vec<_>>()[..] else { panic!("one child: {children}") };
    let attacher: u32 = attacher.parse().unwrap();
    assert_rights(reader, attacher);
    assert_mounts(reader);

    let mut meeting = bench.rendezvous().unwrap();
    let stop = bench.dir().join("stop");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (ready, go) = (path(&meeting.ready_path), path(&meeting.go_path));
    let arguments = ["--ready", &ready, "--go", &go, "--stop", &path(&stop), "--requests", "20000"];
    let client = bench.start(&in_group(&bench, bench.client("raw_client.py", &arguments)), "client").unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    let tapping = says(&podman, "outflow: tapping");
    assert!(tapping.contains(&bench.tls.libssl.display().to_string()), "{tapping}");
    let [pid] = bench.tls.mapped_by().unwrap()[..] else { panic!("one process maps the private library") };
    assert!(probed(pid, &bench.tls.libssl));
    meeting.go().unwrap();

    let findings = found(&node.store(), &[("model.unpinned", 1), ("pii.email", 1)]);
    fs::write(&stop, "").unwrap();
    let of = |rule: &str| &findings.iter().find(|finding| finding.rule.id == rule).unwrap().process;
    client.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    // Who it was only the attacher can see, and only among the node's processes.
    assert_eq!((of("model.unpinned").service.as_str(), of("model.unpinned").pid), ("raw_client.py", pid));
    let logged = of("pii.email");
    let owner = logged.kubernetes.as_ref().unwrap();
    assert_eq!((&*owner.namespace, &*owner.pod, &*owner.container), ("shop", "cart-1", "cart"));
    assert_eq!(logged.service, WORKLOAD);
    // What the kubelet runs.
    for probe in ["startupProbe:", "livenessProbe:", "readinessProbe:"] {
        let exec = block(DAEMON_SET, probe);
        let command = exec.lines().find_map(|line| line.strip_prefix("exec: { command: ")?.strip_suffix(" }")).unwrap();
        let command: Vec<String> = serde_json::from_str(command).unwrap();
        let said = podman.run([&["exec".to_owned(), CONTAINER.to_owned()], &command[..]].concat()).unwrap();
        assert!(matches!(said.as_str(), "ok\n" | "ready\n"), "{probe} {said}");
    }
    // What an operator types.
    let listed = podman.run(["exec", CONTAINER, "/usr/bin/outflow", "findings", "list", "--format", "jsonl"]).unwrap();
    assert!(
        listed.contains("\"model.unpinned\"") && listed.contains(&format!("\"service\":\"{WORKLOAD}\"")),
        "{listed}"
    );
    assert!(!listed.contains("maria.keller@"), "{listed}");

    // The log goes on; and the end is a clean one.
    node.write("and for jane.doe@outflow-demo-shop.com");
    found(&node.store(), &[("pii.email", 2)]);
    podman.run(["pod", "stop", "--time", "30", POD]).unwrap();
    assert_eq!(podman.inspect(CONTAINER, "{{.State.ExitCode}}").unwrap(), "0", "{}", podman.logs(CONTAINER).unwrap());
    for pid in [reader, attacher] {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left");
    }
    found(&node.store(), &[("pii.email", 2)]);
    let logs = podman.logs(CONTAINER).unwrap();
    assert!(!logs.contains("maria.keller@"), "{logs}");

    podman.run(["kube", "down", &path(&bench.dir().join("pod.yaml"))]).unwrap();
    let left = podman.run(["ps", "--all", "--quiet"]).unwrap() + &podman.run(["pod", "ps", "--quiet"]).unwrap();
    assert_eq!(left, "", "containers or pods are left");
    podman.close().unwrap();
    assert!(!bench.dir().join("podman").exists());
    assert_eq!(testbed::mounts_below(bench.dir()).unwrap(), Vec::<PathBuf>::new());
}
