//! A broker that keeps under kill -9 what it confirmed, and that asks who comes: tansu with SQLite, behind stunnel for TLS. Opt-in, because it takes
//! some twenty processor minutes to build: `cargo xtask peers` does, and names the program in OUTFLOW_TANSU. Debian's kcat cannot read from it
//! (its librdkafka 2.0.2 does not know the tagged fields of its answers), so topics are read with our own librdkafka.

use std::{
    collections::BTreeSet,
    env, fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    config::FromClientConfig as _,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::Headers as _,
};
use rustix::process::Signal;
use testbed::{Deadline, Job, Message, Port};

use super::{
    broker::{END_LIMIT_S, SINK},
    scene::{LIMIT_S, Scene},
    topic,
};

/// How often the broker is killed.
const KILLS: u32 = 6;
/// Lines that are written at once before a kill. Tansu with SQLite takes some 10,000 records a second.
const BURST: u64 = 1000;
const TOPIC: &str = "findings";
const USER: &str = "outflow";
const PASSWORD: &str = "a fake password";

/// The program; else says that the test is skipped.
fn program() -> Option<PathBuf> {
    let program = env::var_os("OUTFLOW_TANSU").map(PathBuf::from);
    if program.is_none() {
        println!("skipped: OUTFLOW_TANSU names no broker; cargo xtask peers builds it");
    }
    program
}

/// A broker with one topic, one partition.
struct Tansu {
    program: PathBuf,
    dir: PathBuf,
    port: Port,
    /// Where clients are told to go, when that is not itself.
    advertised: Option<String>,
    asks_who: bool,
    lives: u32,
    job: Option<Job>,
}

impl Tansu {
    fn new(program: PathBuf, dir: PathBuf) -> Self {
        let port = Port::take().unwrap();
        Self { program, dir, port, advertised: None, asks_who: false, lives: 0, job: None }
    }

    /// In its folder: a path of SQLite is relative to where the broker works.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().current_dir(&self.dir);
        command
    }

    fn start(&mut self) {
        let address = self.port.address();
        let mut command = self.command();
        command.args(["broker", "--cluster-id", "outflow-test", "--storage-engine", "sqlite://tansu.db"]);
        command.arg("--listener-url").arg(format!("tcp://{address}"));
        let advertised = self.advertised.as_ref().unwrap_or(&address);
        command.arg("--advertised-listener-url").arg(format!("tcp://{advertised}"));
        if self.asks_who {
            command.arg("--authentication");
        }
        self.lives += 1;
        let job = self.job.insert(Job::start(command, &self.dir, &format!("tansu-{}", self.lives)).unwrap());
        let answers = Deadline::after(LIMIT_S).until("tansu to answer", || {
            assert!(!job.has_ended()?, "tansu ended: {:?}", job.output()?);
            Ok(TcpStream::connect(&address).is_ok().then_some(()))
        });
        answers.unwrap();
    }

    fn kill(&mut self) {
        let job = self.job.take().unwrap();
        job.signal(Signal::KILL).unwrap();
        job.wait(END_LIMIT_S).unwrap();
    }

    /// One of its own chores, at the running broker.
    fn chore(&self, arguments: &[&str]) {
        let mut command = self.command();
        command.args(arguments);
        let chore = Job::start(command, &self.dir, &format!("tansu-{}-{}", arguments[0], arguments[1])).unwrap();
        chore.wait(END_LIMIT_S).unwrap().success().unwrap();
    }

    fn make_topic(&self) {
        let broker = format!("tcp://{}", self.port.address());
        self.chore(&["topic", "create", "--broker", &broker, "--partitions", "1", TOPIC]);
    }
}

/// Everything in the topic, in order.
fn consume(config: &ClientConfig) -> Result<Vec<Message>, KafkaError> {
    let consumer = BaseConsumer::from_config(config)?;
    let (low, high) = consumer.fetch_watermarks(TOPIC, 0, Duration::from_secs(30))?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(TOPIC, 0, Offset::Offset(low))?;
    consumer.assign(&from)?;
    let limit = Deadline::after(LIMIT_S);
    let mut messages = Vec::new();
    let count = usize::try_from(high - low).unwrap();
    while messages.len() < count {
        assert!(!limit.passed(), "{} of {count} messages came", messages.len());
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        let message = message?;
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        messages.push(Message {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or_default(),
            key: message.key().map(<[u8]>::to_vec),
            headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
            payload: message.payload().map(<[u8]>::to_vec),
        });
    }
    Ok(messages)
}

fn client(brokers: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "outflow-test").set("enable.auto.commit", "false");
    // It looks for the headers of each record by itself: a megabyte takes it longer than a client waits.
    config.set("fetch.message.max.bytes", "65536").set("queued.min.messages", "1");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config
}

/// A sink with these settings, as TOML.
fn sink(brokers: &str, settings: &str) -> String {
    format!(
        "[[sinks.kafka]]\nname = {SINK:?}\nbrokers = [{brokers:?}]\ntopic = {TOPIC:?}\nsettings = {{ {settings} }}\n"
    )
}

/// Killed in the middle of bursts, it has in the end every record of the store: none lost, none strange, repeats the same bytes, each finding's
/// revisions in order.
#[test]
fn a_broker_that_is_killed_and_keeps_its_word_has_every_record() {
    let Some(program) = program() else { return };
    let mut scene = Scene::new();
    let mut broker = Tansu::new(program, scene.folder("tansu"));
    broker.start();
    broker.make_topic();
    let address = broker.port.address();
    scene.configure(&sink(&address, "\"compression.type\" = \"zstd\""));
    let agent = scene.agent();
    let mut at_work = 0;
    for _ in 0..KILLS {
        let from = scene.cursor(SINK);
        scene.lines(BURST);
        let limit = Deadline::after(LIMIT_S);
        while scene.cursor(SINK) <= from {
            assert!(!limit.passed(), "nothing was confirmed behind {from}");
            std::thread::yield_now();
        }
        broker.kill();
        at_work += u32::from(scene.cursor(SINK) < from + BURST);
        scene.repeat(50);
        scene.until_stored(&agent);
        broker.start();
        scene.until_delivered(&agent, SINK);
    }
    agent.terminate(END_LIMIT_S).unwrap();
    assert!(at_work > 0, "no kill met a broker that was receiving");
    let (messages, records) = (consume(&client(&address, &[])).unwrap(), scene.records());
    topic::check(&messages, &records);
    println!(
        "{at_work} of {KILLS} kills met a broker that was receiving; {} records, {} repeats",
        records.len(),
        topic::repeats(&messages)
    );
}

/// A password is asked for as SCRAM does: who has a wrong one delivers nothing, and says so; the file has the right one later, and all arrives.
#[test]
fn a_broker_that_asks_who_comes_is_told() {
    let Some(program) = program() else { return };
    for (mechanism, name) in [("SCRAM-SHA-256", "scram256"), ("SCRAM-SHA-512", "scram512")] {
        let mut scene = Scene::new();
        let mut broker = Tansu::new(program.clone(), scene.folder("tansu"));
        broker.start();
        broker.make_topic();
        let url = format!("tcp://{}", broker.port.address());
        let user = ["user", "create", "--broker", &url, "--mechanism", name, USER, PASSWORD];
        broker.chore(&user);
        broker.kill();
        broker.asks_who = true;
        broker.start();
        let address = broker.port.address();
        let secret = scene.folder("secrets").join("password");
        fs::write(&secret, "another one").unwrap();
        let settings = format!(
            "\"security.protocol\" = \"SASL_PLAINTEXT\", \"sasl.mechanism\" = {mechanism:?}, \"sasl.username\" = {USER:?}, \
             \"sasl.password\" = {{ file = {:?} }}",
            secret.display().to_string()
        );
        scene.configure(&sink(&address, &settings));
        let agent = scene.agent();
        scene.lines(100);
        scene.until_stored(&agent);
        agent.says("outflow: sink kafka waits, findings stay in the store: ", LIMIT_S).unwrap();
        assert_eq!(scene.cursor(SINK), 0, "{}", agent.talk().unwrap());
        let talk = agent.talk().unwrap();
        assert!(!talk.contains("another one"), "a secret is never said: {talk}");
        fs::write(&secret, PASSWORD).unwrap();
        scene.until_delivered(&agent, SINK);
        agent.terminate(END_LIMIT_S).unwrap();
        let known = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", USER),
            ("sasl.password", PASSWORD),
        ];
        topic::check(&consume(&client(&address, &known)).unwrap(), &scene.records());
        consume(&client(&address, &[])).unwrap_err();
    }
}

/// stunnel takes TLS off for the broker, and lets nobody in without a certificate of ours.
struct Stunnel {
    _job: Job,
    address: String,
}

impl Stunnel {
    fn start(dir: &Path, to: &str, port: &Port) -> Self {
        let address = port.address();
        let file = |name: &str| dir.join(name).display().to_string();
        let text = format!(
            "foreground = yes\npid =\n[kafka]\naccept = {address}\nconnect = {to}\ncert = {}\nkey = {}\nCAfile = {}\nverifyChain = yes\n\
             requireCert = yes\n",
            file("server.pem"),
            file("server.key"),
            file("ca.pem")
        );
        let config = dir.join("stunnel.conf");
        fs::write(&config, text).unwrap();
        let mut command = Command::new("stunnel");
        command.arg(&config);
        let job = Job::start(command, dir, "stunnel").unwrap();
        let answers = Deadline::after(LIMIT_S).until("stunnel to answer", || {
            assert!(!job.has_ended()?, "stunnel ended: {:?}", job.output()?);
            Ok(TcpStream::connect(&address).is_ok().then_some(()))
        });
        answers.unwrap();
        Self { _job: job, address }
    }
}

/// A certificate authority, a server's certificate for 127.0.0.1 and a client's, as files.
fn certificates(dir: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    // An issuer of the same name would be oneself.
    let name = |params: &mut CertificateParams, name: &str| params.distinguished_name.push(DnType::CommonName, name);
    let write = |name: &str, text: String| fs::write(dir.join(name), text).unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    name(&mut ca, "outflow test authority");
    write("ca.pem", ca.self_signed(&ca_key).unwrap().pem());
    let issuer = Issuer::new(ca, ca_key);
    let sides = [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)];
    for (side, purpose) in sides {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        name(&mut params, side);
        params.extended_key_usages = vec![purpose];
        write(&format!("{side}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{side}.key"), key.serialize_pem());
    }
}

#[test]
fn a_client_certificate_lets_the_sink_in_and_nobody_without_one() {
    let Some(program) = program() else { return };
    let mut scene = Scene::new();
    let (mut broker, port) = (Tansu::new(program, scene.folder("tansu")), Port::take().unwrap());
    broker.start();
    broker.make_topic();
    broker.kill();
    // Clients are told to come to the tunnel.
    broker.advertised = Some(port.address());
    broker.start();
    let dir = scene.folder("tls");
    certificates(&dir);
    let tunnel = Stunnel::start(&dir, &broker.port.address(), &port);
    let file = |name: &str| dir.join(name).display().to_string();
    let settings = format!(
        "\"security.protocol\" = \"SSL\", \"ssl.ca.location\" = {:?}, \"ssl.certificate.location\" = {:?}, \"ssl.key.location\" = {:?}",
        file("ca.pem"),
        file("client.pem"),
        file("client.key")
    );
    scene.configure(&sink(&tunnel.address, &settings));
    let agent = scene.agent();
    scene.lines(200);
    scene.until_stored(&agent);
    scene.until_delivered(&agent, SINK);
    agent.terminate(END_LIMIT_S).unwrap();
    let (ca, certificate, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let tls = [("security.protocol", "SSL"), ("ssl.ca.location", ca.as_str())];
    let known = [tls.as_slice(), &[("ssl.certificate.location", &certificate), ("ssl.key.location", &key)]].concat();
    let messages = consume(&client(&tunnel.address, &known)).unwrap();
    topic::check(&messages, &scene.records());
    assert_eq!(messages.iter().map(topic::id).collect::<BTreeSet<_>>().len(), 200);
    consume(&client(&tunnel.address, &tls)).unwrap_err();
}
