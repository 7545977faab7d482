//! A Flink of one JobManager and one TaskManager on loopback, as Flink's scripts would start it; the package of jars has none. Enters: a folder and the
//! jars. Leaves: jobs that run. Both processes are gone with it.

use std::{
    fmt::Debug,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use testbed::{Deadline, Job};

/// What Flink's own scripts open to it of Java 17, from the config.yaml of its distribution.
const OPENS: [&str; 12] = [
    "java.base/java.lang",
    "java.base/java.net",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/sun.nio.ch",
    "java.base/java.lang.reflect",
    "java.base/java.text",
    "java.base/java.time",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.util.concurrent.locks",
];

/// All of a TaskManager's memory: without its scripts every part must be given, and the last is their sum.
const MEMORY: [(&str, u32); 10] = [
    ("framework.heap.size", 128),
    ("task.heap.size", 384),
    ("managed.size", 64),
    ("framework.off-heap.size", 64),
    ("task.off-heap.size", 16),
    ("network.min", 96),
    ("network.max", 96),
    ("jvm-metaspace.size", 256),
    ("jvm-overhead.min", 64),
    ("jvm-overhead.max", 64),
];

pub(super) struct Cluster {
    folder: PathBuf,
    jars: PathBuf,
    lives: u32,
    _job_manager: Job,
    task_manager: Option<Job>,
}

impl Cluster {
    pub(super) fn start(folder: &Path, jars: &Path) -> Self {
        let folder = folder.join("flink");
        fs::create_dir_all(folder.join("conf")).unwrap();
        let (rest, rpc) = (free_port(), free_port());
        let config = format!(
            "jobmanager.rpc.address: 127.0.0.1\njobmanager.rpc.port: {rpc}\njobmanager.bind-host: 127.0.0.1\n\
             rest.address: 127.0.0.1\nrest.bind-address: 127.0.0.1\nrest.port: {rest}\n\
             taskmanager.bind-host: 127.0.0.1\ntaskmanager.host: 127.0.0.1\ntaskmanager.numberOfTaskSlots: 6\nparallelism.default: 2\n\
             heartbeat.interval: 1000\nheartbeat.timeout: 10000\n\
             restart-strategy.type: fixed-delay\nrestart-strategy.fixed-delay.attempts: 1000\nrestart-strategy.fixed-delay.delay: 1 s\n\
             execution.checkpointing.dir: file://{0}/checkpoints\nio.tmp.dirs: {0}\n",
            folder.display()
        );
        fs::write(folder.join("conf/config.yaml"), config).unwrap();
        let class = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint";
        let mut command = java(jars, "512m");
        command.arg(class).arg("--configDir").arg(folder.join("conf"));
        let job_manager = Job::start(command, &folder, "job-manager").unwrap();
        let jars = jars.to_owned();
        let mut cluster = Self { folder, jars, lives: 0, _job_manager: job_manager, task_manager: None };
        cluster.start_task_manager();
        let deadline = Deadline::after(120);
        deadline
            .until("Flink to answer", || {
                let answered = slots(rest);
                Ok(answered.filter(|slots| *slots > 0))
            })
            .unwrap();
        cluster
    }

    pub(super) fn start_task_manager(&mut self) {
        self.lives += 1;
        let mut command = java(&self.jars, "640m");
        command.arg("org.apache.flink.runtime.taskexecutor.TaskManagerRunner");
        command.arg("--configDir").arg(self.folder.join("conf")).args(["-D", "taskmanager.cpu.cores=6"]);
        for (part, megabytes) in MEMORY {
            command.arg("-D").arg(format!("taskmanager.memory.{part}={megabytes}mb"));
        }
        let twice = ["network.max", "jvm-overhead.max"];
        let sum: u32 = MEMORY.iter().filter(|(part, _)| !twice.contains(part)).map(|(_, megabytes)| megabytes).sum();
        command.arg("-D").arg(format!("taskmanager.memory.process.size={sum}mb"));
        let label = format!("task-manager-{}", self.lives);
        self.task_manager = Some(Job::start(command, &self.folder, &label).unwrap());
    }

    /// kill -9.
    pub(super) fn kill_task_manager(&mut self) {
        let job = self.task_manager.take().unwrap();
        job.signal(Signal::KILL).unwrap();
        job.wait(30).unwrap();
    }

    /// It stands still, and goes on.
    pub(super) fn signal_task_manager(&self, signal: Signal) {
        self.task_manager.as_ref().unwrap().signal(signal).unwrap();
    }

    /// Hands a job of `deploy/flink` to the cluster, as its README says.
    pub(super) fn submit(&self, job: &str, variables: &[(&str, String)]) -> String {
        let deploy = testbed::workspace().join("deploy/flink");
        let mut command = java(&self.jars, "512m");
        command.arg(deploy.join("Submit.java")).arg(deploy.join(job));
        command
            .env("FLINK_CONF_DIR", self.folder.join("conf"))
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let ended = Job::start(command, &self.folder, job).unwrap().wait(240).unwrap();
        ended.success().unwrap().lines().last().unwrap_or_default().to_owned()
    }

    /// Waits until a topic says what it must, and shows what it says when it does not.
    pub(super) fn becomes<T: PartialEq + Debug>(&self, what: &str, seconds: u64, read: impl Fn() -> T, expected: &T) {
        if self.is_in_time(what, seconds, || read() == *expected).is_err() {
            assert_eq!(read(), *expected, "{what}, after {seconds} s");
        }
    }

    pub(super) fn until(&self, what: &str, seconds: u64, is_so: impl Fn() -> bool) {
        self.is_in_time(what, seconds, is_so).unwrap();
    }

    fn is_in_time(&self, what: &str, seconds: u64, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
        let reached = Deadline::after(seconds).until(what, || Ok(is_so().then_some(())));
        if reached.is_err() {
            for file in fs::read_dir(&self.folder).unwrap().flatten().filter(|file| file.path().is_file()) {
                let text = fs::read_to_string(file.path()).unwrap_or_default();
                let end: Vec<&str> = text.lines().rev().take(30).collect();
                println!("{}:\n{}", file.path().display(), end.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
        reached
    }
}

fn java(jars: &Path, heap: &str) -> Command {
    // Two cores, and others work on them.
    let mut command = Command::new("nice");
    command.args(["-n", "10", "java"]).arg(format!("-Xmx{heap}"));
    command.arg("--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED");
    command.args(OPENS.map(|package| format!("--add-opens={package}=ALL-UNNAMED")));
    command.arg("-cp").arg(jars.join("*"));
    command
}

/// Flink takes its ports itself; nobody else on this machine does for that moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// How many slots are there for jobs; none while Flink does not answer.
fn slots(port: u16) -> Option<u64> {
    use std::io::{Read as _, Write as _};

    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /overview HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1)?).ok()?;
    body["slots-total"].as_u64()
}
