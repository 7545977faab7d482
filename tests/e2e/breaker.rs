//! The circuit breaker with real clients in a control group of the test's own: what is stopped, what is not, and that it all goes when
//! the agent does. Gates are attached to that group alone; clients talk to a server of the test's own on loopback.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use outflow::{
    clock,
    enforce::{Gate, Network, Unreadable},
    rules::{RuleSource, VendorTable},
};
use serde_json::Value;
use tempfile::TempDir;
use testbed::{Agent, Broker, Cgroup, Job, client};

use crate::{
    split::in_group,
    support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, broker_or_skip, outflow},
};

/// How long an agent may take to say something, in seconds.
const TALK_LIMIT_S: u64 = 120;

/// How long a client waits for what is stopped.
const STOPPED_S: &str = "0.6";
/// `EPERM`, asm-generic/errno-base.h.
const EPERM: i64 = 1;
const OPENAI: &str = "api.openai.com";
const OTHER: &str = "www.example.test";

/// The test's server.
struct Server {
    process: Child,
    folder: TempDir,
    address: String,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let program = outflow().parent().unwrap().join("llm-server");
        let process = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--until-stdin-closes", "--ca-out"])
            .arg(folder.path().join("ca.pem"))
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("llm-server: run `cargo build -p llm-server`");
        let text = wait_for("the server", || fs::read_to_string(&ready).ok());
        let said: Value = serde_json::from_str(&text).unwrap();
        let address = format!("127.0.0.1:{}", said["port"]);
        Self { process, folder, address }
    }

    fn ca(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.pem")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // Both fail only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks again until there is an answer; what is asked has no event.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = clock::instant() + Duration::from_secs(CLIENT_TIMEOUT_S.unsigned_abs());
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::instant() < until, "{what} does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A client in a control group.
struct Client {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    fn start(server: &Server, group: &Cgroup) -> Self {
        let mut process = Command::new("sh")
            .args(["-c", "echo 0 > \"$0\" && exec \"$@\""])
            .arg(group.path().join("cgroup.procs"))
            .args(["python3".as_ref(), client("breaker_client").as_os_str()])
            .arg(&server.address)
            .arg(server.ca())
            .arg(STOPPED_S)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut client = Self { process, commands, answers };
        assert_eq!(client.answer()["ready"], true);
        client
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn tell(&mut self, command: &str) -> Value {
        writeln!(self.commands, "{command}").unwrap();
        let answer = self.answer();
        println!("{command}: {answer}");
        answer
    }

    #[track_caller]
    fn works(&mut self, command: &str) {
        let answer = self.tell(command);
        assert_eq!(answer["ok"], true, "{command}: {answer}");
    }

    /// It waits in vain.
    #[track_caller]
    fn waits(&mut self, command: &str) {
        let answer = self.tell(command);
        assert_eq!((&answer["ok"], &answer["error"]), (&false.into(), &"TimeoutError".into()), "{command}: {answer}");
    }

    /// It is told so at once.
    #[track_caller]
    fn refused(&mut self, command: &str) {
        let answer = self.tell(command);
        assert_eq!((&answer["ok"], &answer["errno"]), (&false.into(), &EPERM.into()), "{command}: {answer}");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn gate(group: &Path, unreadable: Unreadable, networks: &[&str]) -> Gate {
    let networks: Vec<Network> = networks.iter().map(|network| network.parse().unwrap()).collect();
    let mut gate = Gate::attach(group, unreadable, &networks).unwrap();
    gate.list(VendorTable::load(&RuleSource::Embedded).unwrap().llm_hosts()).unwrap();
    gate
}

#[test]
fn new_and_known_connections_to_vendors_stop_and_nothing_else_does() {
    if !bpf_or_skip() {
        return;
    }
    let (server, group, other_group) =
        (Server::start(), Cgroup::create("breaker").unwrap(), Cgroup::create("breaker-other").unwrap());
    let (mut client, mut neighbour) = (Client::start(&server, &group), Client::start(&server, &other_group));
    client.works(&format!("open older {OPENAI}"));
    let mut gate = gate(group.path(), Unreadable::Drop, &[]);
    for (name, server) in [("vendor", OPENAI), ("other", OTHER)] {
        client.works(&format!("open {name} {server}"));
        client.works(&format!("ask {name}"));
        neighbour.works(&format!("open {name} {server}"));
    }
    assert_eq!(gate.counts().unwrap().vendor_handshakes, 1);

    gate.set_open(true).unwrap();
    client.waits("ask vendor");
    client.waits(&format!("open new {OPENAI}"));
    client.waits("open upper API.OpenAI.COM");
    client.works("ask other");
    client.works(&format!("open new-other {OTHER}"));
    // What was there before the agent is not known: documented.
    client.works("ask older");
    neighbour.works("ask vendor");
    neighbour.works(&format!("open new {OPENAI}"));
    let counts = gate.counts().unwrap();
    assert!(counts.stopped_handshakes >= 2 && counts.stopped_packets >= 1, "{counts:?}");

    let closed = clock::instant();
    gate.set_open(false).unwrap();
    // The kernel kept the request and sends it again: nothing is lost, it was only held.
    let answer =
        wait_for("the held request", || Some(client.tell("await vendor")).filter(|answer| answer["ok"] == true));
    println!("a held request is answered {} ms after the breaker closed: {answer}", closed.elapsed().as_millis());
    client.works("ask vendor");
    client.works(&format!("open newer {OPENAI}"));
}

#[test]
fn what_cannot_be_read_follows_the_policy() {
    if !bpf_or_skip() {
        return;
    }
    let server = Server::start();
    for (policy, stops) in [(Unreadable::Drop, true), (Unreadable::Pass, false)] {
        let group = Cgroup::create("breaker-unreadable").unwrap();
        let mut client = Client::start(&server, &group);
        let mut gate = gate(group.path(), policy, &[]);
        for command in ["open nameless -", &format!("cut parts {OTHER}"), "udp 127.0.0.1:443", "udp 127.0.0.1:444"] {
            client.works(command);
        }
        assert_eq!(gate.counts().unwrap().unreadable_handshakes, 2);
        gate.set_open(true).unwrap();
        for command in ["ask nameless", "open nameless2 -"] {
            if stops { client.waits(command) } else { client.works(command) }
        }
        // What the server said before is still there to read: only the packet tells.
        let before = gate.counts().unwrap().stopped_packets;
        client.works("say parts");
        assert_eq!(gate.counts().unwrap().stopped_packets > before, stops);
        if stops {
            // A part that was stopped is sent again with the rest, and then says whom it wants.
            client.works(&format!("cut parts2 {OTHER}"));
            client.waits(&format!("cut parts3 {OPENAI}"));
        }
        if stops {
            client.refused("udp 127.0.0.1:443");
        } else {
            client.works("udp 127.0.0.1:443");
        }
        client.works("udp 127.0.0.1:444");
        client.works(&format!("open other {OTHER}"));
        client.waits(&format!("open vendor {OPENAI}"));
    }
}

#[test]
fn listed_networks_are_refused_at_once() {
    if !bpf_or_skip() {
        return;
    }
    let (server, group) = (Server::start(), Cgroup::create("breaker-networks").unwrap());
    let mut client = Client::start(&server, &group);
    let mut gate = gate(group.path(), Unreadable::Drop, &["127.0.0.2/31", "::1"]);
    // They take connections, which is all that is asked of them.
    let listen = |address: &str| {
        let listener = TcpListener::bind((address, 0)).unwrap();
        (listener.local_addr().unwrap().to_string(), listener)
    };
    let [(second, _keep2), (third, _keep3), (fourth, _keep4), (sixth, _keep6)] =
        ["127.0.0.2", "127.0.0.3", "127.0.0.4", "::1"].map(listen);
    client.works(&format!("dial known {second}"));
    client.works(&format!("dial known6 {sixth}"));
    gate.set_open(true).unwrap();
    client.waits("say known");
    client.waits("say known6");
    let mapped = second.replace("127.0.0.2", "[::ffff:127.0.0.2]");
    for address in [&second, &third, &sixth, &mapped] {
        client.refused(&format!("dial new {address}"));
        client.refused(&format!("udp {address}"));
    }
    client.works(&format!("dial outside {fourth}"));
    client.works(&format!("open other {OTHER}"));
    assert!(gate.counts().unwrap().stopped_networks >= 10, "{:?}", gate.counts().unwrap());
    gate.set_open(false).unwrap();
    client.works(&format!("dial again {third}"));
    client.works(&format!("dial again6 {sixth}"));
}

/// Runs `outflow budget ARGUMENTS` for the agent with this config.
fn budget(config: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(outflow()).arg("budget").args(arguments).arg("--config").arg(config).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// The whole of it: a real client spends, the agent stops it, a killed agent lets go, the next one stops it again, a reset lifts it.
#[test]
fn an_exhausted_budget_stops_the_client_that_spent_it_until_it_is_reset() {
    if !bpf_or_skip() {
        return;
    }
    // The bystander's group is stopped, but not tapped: it uses the system's TLS library, which is not ours to probe.
    let (bench, server, beside) = (bench("breaker-run"), Server::start(), Cgroup::create("breaker-beside").unwrap());
    let (config, signals) = (bench.dir().join("outflow.toml"), bench.dir().join("signals.jsonl"));
    let text = format!(
        "[state]\ndirectory = {:?}\n[tap]\nenabled = true\nscope = \"cgroup\"\ncgroups = [{group:?}]\n[admin]\nlisten = \"off\"\n\
         [breaker]\nfile = {signals:?}\n\
         [[budget]]\nservice = \"raw_*\"\nlimit_usd = \"0.0001\"\nwindow = \"31d\"\nenforce = true\ncgroups = [{group:?}, {:?}]\n",
        bench.dir().join("state"),
        beside.path(),
        group = bench.cgroup.path(),
    );
    fs::write(&config, text).unwrap();
    assert!(!budget(&config, &["list"]).0, "no agent runs yet");
    let start = |label| {
        let agent = Agent::start(outflow(), &config, bench.dir(), label).unwrap();
        agent.says("outflow: ready", TALK_LIMIT_S).unwrap();
        agent
    };
    let agent = start("first");
    let mut bystander = Client::start(&server, &beside);
    bystander.works(&format!("open vendor {OPENAI}"));

    // It sends on one connection until it is told to stop, and waits as long as it takes.
    let stop = bench.dir().join("stop");
    let mut meeting = bench.rendezvous().unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (ready, go, stopped) = (path(&meeting.ready_path), path(&meeting.go_path), path(&stop));
    let arguments = ["--ready", &ready, "--go", &go, "--stop", &stopped, "--requests", "1000000"];
    let spender = bench.start(&in_group(&bench, bench.client("raw_client.py", &arguments)), "spender").unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    agent.says(&format!("outflow: tapping OpenSSL in {}", bench.tls.libssl.display()), TALK_LIMIT_S).unwrap();
    meeting.go().unwrap();
    agent.says("outflow: budget raw_* is exhausted", TALK_LIMIT_S).unwrap();
    bystander.waits(&format!("open new {OPENAI}"));
    bystander.waits("ask vendor");
    bystander.works(&format!("open other {OTHER}"));
    let (_, shown) = budget(&config, &["list", "--format", "text"]);
    assert!(shown.contains("budget raw_*: EXHAUSTED since") && shown.contains("STOPS calls"), "{shown}");
    let signal: Value = serde_json::from_str(fs::read_to_string(&signals).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!((&signal["budget"], &signal["change"]), (&"raw_*".into(), &"exhausted".into()));
    assert!(!budget(&config, &["reset", "of-nobody"]).0);

    // The links go with the agent: what was stopped goes on.
    agent.kill().unwrap();
    wait_for("the end of the links", || {
        bystander.tell(&format!("open free {OPENAI}"))["ok"].as_bool().filter(|ok| *ok)
    });
    wait_for("the held answer", || bystander.tell("await vendor")["ok"].as_bool().filter(|ok| *ok));
    // And come back with it, open: it remembers what was spent, and who was connected.
    let agent = start("second");
    bystander.waits(&format!("open again {OPENAI}"));
    bystander.waits("ask vendor");
    // But for whom no agent saw: documented.
    bystander.works("ask free");

    let (done, said) = budget(&config, &["reset", "raw_*"]);
    assert!(done && said.contains("was reset"), "{said}");
    bystander.works(&format!("open lifted {OPENAI}"));
    agent.terminate(CLIENT_TIMEOUT_S).unwrap();
    let agent = start("third");
    bystander.works(&format!("open still-lifted {OPENAI}"));
    let (_, shown) = budget(&config, &["list", "--format", "text"]);
    assert!(shown.contains("budget raw_*: reset, stops nothing until"), "{shown}");

    // The client never noticed more than a delay.
    fs::write(&stop, "").unwrap();
    spender.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    agent.terminate(CLIENT_TIMEOUT_S).unwrap();
}

#[test]
fn what_another_host_spent_of_a_fleet_budget_stops_the_client_here() {
    if !bpf_or_skip() || !broker_or_skip() {
        return;
    }
    let (bench, server, beside) = (bench("breaker-fleet"), Server::start(), Cgroup::create("breaker-fleet").unwrap());
    let folder = |name: &str| {
        let path = bench.dir().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let broker = Broker::start(&folder("broker")).unwrap();
    let brokers: Vec<_> = broker.address().split(',').collect();
    let (usage, state) = (broker.topic("breaker-usage"), broker.topic("breaker-state"));
    let fleet = format!(
        "[fleet]\nbrokers = {brokers:?}\nusage_topic = {usage:?}\nstate_topic = {state:?}\n\
         [[sinks.kafka]]\nbrokers = {brokers:?}\ntopic = {:?}\nusage_topic = {usage:?}\n\
         [admin]\nlisten = \"off\"\n\
         [[budget]]\nname = \"fleet\"\nservice = \"raw_*\"\nlimit_usd = \"1\"\nwindow = \"31d\"\nfleet = true\n",
        broker.topic("breaker-found"),
    );
    let write = |name: &str, budget: &str, more: &str| {
        let config = bench.dir().join(format!("{name}.toml"));
        let text =
            format!("[state]\ndirectory = {:?}\n{fleet}{budget}{more}", bench.dir().join(format!("state-{name}")));
        fs::write(&config, text).unwrap();
        config
    };
    let group = bench.cgroup.path();
    let here = write(
        "here",
        &format!("enforce = true\ncgroups = [{:?}]\n", beside.path()),
        &format!("[tap]\nenabled = true\nscope = \"cgroup\"\ncgroups = [{group:?}]\n[breaker]\n"),
    );
    // The other host taps nothing: its log tells of calls, as one of the same service.
    let log = bench.dir().join("other.log");
    fs::write(&log, "").unwrap();
    let there =
        write("there", "", &format!("[logs]\n[[logs.files]]\nglobs = [{log:?}]\nservice = \"raw_client.py\"\n"));
    let start = |config: &Path, label| {
        let agent = Agent::start(outflow(), config, bench.dir(), label).unwrap();
        agent.says("outflow: ready", TALK_LIMIT_S).unwrap();
        agent
    };
    let mut command = Command::new(outflow());
    command.arg("fleet").arg("--config").arg(&there);
    let member = Job::start(command, bench.dir(), "member").unwrap();
    let (agent, other) = (start(&here, "here"), start(&there, "there"));
    let mut bystander = Client::start(&server, &beside);
    bystander.works(&format!("open vendor {OPENAI}"));

    // A few calls, far below the limit.
    let client = bench.client("raw_client.py", &["--requests", "20"]);
    bench.start(&in_group(&bench, client), "spender").unwrap().wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    bystander.works("ask vendor");
    let line = "{\"gen_ai.provider.name\":\"openai\",\"gen_ai.request.model\":\"gpt-4o\",\"gen_ai.response.model\":\"gpt-4o\",\
                \"gen_ai.response.id\":\"chatcmpl-there\",\"gen_ai.usage.input_tokens\":4000000,\"gen_ai.usage.output_tokens\":0}\n";
    fs::write(&log, line).unwrap();
    agent.says("outflow: budget fleet is exhausted", TALK_LIMIT_S).unwrap();
    bystander.waits(&format!("open new {OPENAI}"));
    bystander.works(&format!("open other {OTHER}"));
    let (_, shown) = budget(&here, &["list", "--format", "text"]);
    assert!(shown.contains("budget fleet: EXHAUSTED since"), "{shown}");
    agent.terminate(CLIENT_TIMEOUT_S).unwrap();
    other.terminate(CLIENT_TIMEOUT_S).unwrap();
    member.terminate().unwrap();
    member.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
}
