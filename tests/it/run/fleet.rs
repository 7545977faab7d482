//! Budgets that hosts have together, with a real broker: agents that only together cross one, totals that grow stale and fresh again, and who adds
//! them up killed while it does.

use std::{collections::BTreeMap, fs, io::Write as _, process::Command};

use outflow::{
    clock,
    detectors::budget::Unit,
    findings::{Activity, Finding, fleet_stale_id},
    fleet::StateRecord,
    sinks::usage::UsageRecord,
    store::{Filter, StoreReader},
};
use serde_json::Value;
use testbed::Broker;

use super::{
    agent::Agent,
    place::Place,
    used::{make_topic, oracle, produce, produce_in_a_transaction, told, usage},
};

pub(super) fn broker(folder: &tempfile::TempDir) -> Option<Broker> {
    if let Some(missing) = testbed::missing_for_broker() {
        assert!(std::env::var_os("OUTFLOW_REQUIRE_BPF").is_none(), "{missing}");
        println!("skipped: {missing}");
        return None;
    }
    Some(Broker::start(folder.path()).unwrap())
}

/// A member that is killed is the same member when it comes again: it has its partitions at once. noida-db 0.2.3 waits for others for ever.
const SAME_MEMBER: &str = "settings = { \"group.instance.id\" = \"one\" }\n";

/// `[fleet]` and its budgets, for agents and for who adds up. A window of a month: no test sees two of them.
fn fleet(broker: &Broker, stale_after: &str, more: &str, budgets: &str) -> String {
    let brokers: Vec<_> = broker.address().split(',').collect();
    let (usage, state, found) = (broker.topic("fleet-usage"), broker.topic("fleet-state"), broker.topic("fleet-found"));
    let budgets = budgets.replace("[[budget]]", "[[budget]]\nfleet = true\nwindow = \"31d\"");
    format!(
        "[fleet]\nbrokers = {brokers:?}\nusage_topic = {usage:?}\nstate_topic = {state:?}\nstale_after = \"{stale_after}\"\n{more}\
         [[sinks.kafka]]\nbrokers = {brokers:?}\ntopic = {found:?}\nusage_topic = {usage:?}\n{budgets}"
    )
}

/// A host: its agent, its log, and what its store holds.
pub(super) struct Host {
    pub(super) place: Place,
    log: fs::File,
    calls: u64,
}

impl Host {
    pub(super) fn new(config: &str) -> Self {
        let place = Place::new();
        let own = fs::read_to_string(place.config()).unwrap();
        fs::write(place.config(), own + config).unwrap();
        let log = fs::File::create(place.logs().join("app.log")).unwrap();
        Self { place, log, calls: 0 }
    }

    /// A line of the log that tells of a call.
    pub(super) fn calls(&mut self, host: u64, tokens: u64) {
        self.calls_of("gpt-4o", host, tokens);
    }

    /// Likewise, of this model.
    pub(super) fn calls_of(&mut self, model: &str, host: u64, tokens: u64) {
        self.calls += 1;
        let line = format!(
            "{{\"gen_ai.provider.name\":\"openai\",\"gen_ai.request.model\":\"{model}\",\"gen_ai.response.model\":\"{model}\",\
             \"gen_ai.response.id\":\"chatcmpl-{host}-{}\",\"outflow.feature\":\"search\",\"gen_ai.usage.input_tokens\":{tokens},\"gen_ai.usage.output_tokens\":0}}\n",
            self.calls
        );
        self.log.write_all(line.as_bytes()).unwrap();
    }

    pub(super) fn findings(&self, rule: &str) -> Vec<Finding> {
        let Ok(reader) = StoreReader::open(&self.place.store()) else { return Vec::new() };
        reader.findings(&Filter { rule: Some(rule.to_owned()), ..Filter::default() }).unwrap()
    }

    /// What its store holds: what the calls cost, nano-USD, and how many they are.
    pub(super) fn used(&self) -> (u64, u64) {
        let Ok(reader) = StoreReader::open(&self.place.store()) else { return (0, 0) };
        let rows = reader.usage(0).unwrap();
        rows.iter().fold((0, 0), |(spent, calls), row| (spent + row.cost_nano_usd.0, calls + row.calls))
    }

    /// What the running agent says of its only budget: what was spent here, and by the fleet.
    fn spend(&self) -> (u64, Option<u64>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
        command.args(["budget", "list", "--format", "jsonl", "--config"]).arg(self.place.config());
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let row = lines.into_iter().find(|line| line["kind"] == "spend");
        row.map_or((0, None), |row| (row["spent_tokens"].as_u64().unwrap(), row["fleet_spent_tokens"].as_u64()))
    }
}

#[test]
fn agents_that_only_together_cross_a_budget_both_tell_and_stale_totals_stop_counting() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = broker(&folder) else { return };
    let budget = "[[budget]]\nname = \"together\"\nfeature = \"*\"\nlimit_tokens = 1000\nwarn_at_percent = [100]\n";
    let config = fleet(&broker, "4s", SAME_MEMBER, budget);
    let (mut one, mut other) = (Host::new(&config), Host::new(&config));
    let member = Agent::command("fleet", &one.place.config(), &[]);
    let (mut first, mut second) = (one.place.start(), other.place.start());
    one.calls(1, 600);
    other.calls(2, 500);
    first.until("the fleet's total at one host", |_| one.spend() == (600, Some(1100)));
    second.until("the fleet's total at the other", |_| other.spend() == (500, Some(1100)));
    assert!(one.findings("cost.budget").is_empty() && other.findings("cost.budget").is_empty(), "neither alone");
    one.calls(1, 1);
    other.calls(2, 1);
    first.until("a finding at one", |_| one.findings("cost.budget").len() == 1);
    second.until("a finding at the other", |_| other.findings("cost.budget").len() == 1);
    let found = one.findings("cost.budget").remove(0);
    assert!(found.title.contains("fleet budget"), "{}", found.title);
    assert_eq!(found.attributes["budget.spent_here_tokens"], 601);
    assert!(found.attributes["budget.spent_tokens"].as_u64().unwrap() >= 1100, "{:?}", found.attributes);

    // Nobody adds up any more: what was known grows old.
    member.kill();
    let is_open = |host: &Host| {
        let found = host.findings(outflow::findings::FLEET_STALE);
        found.into_iter().find(|finding| finding.activity != Activity::Close)
    };
    // On a busy machine they may have been late at first, too.
    first.until("the finding of stale totals", |_| is_open(&one).is_some());
    let stale = is_open(&one).unwrap();
    assert!(stale.attributes.contains_key("fleet.as_of"), "{stale:?}");
    assert_eq!(one.spend(), (601, None), "a stale total is not judged by");
    // And again: the finding is closed.
    let member = Agent::command("fleet", &one.place.config(), &[]);
    first.until("the end of the finding", |_| is_open(&one).is_none());
    first.until("the totals again", |_| one.spend() == (601, Some(1102)));
    // What is no record is counted, and changes nothing.
    let topic = broker.topic("fleet-state");
    for (key, value) in [("x", "\u{0}garbage"), ("{\"progress\":0}", "{\"schema_version\":9,\"event_name\":\"x\"}")] {
        produce(&broker, &topic, &[(Some(key.to_owned()), value.to_owned())]);
    }
    first.until("both counted", |agent| {
        let page = agent.get("/metrics").body;
        let has = |outcome: &str| page.contains(&format!("outflow_fleet_records_total{{outcome=\"{outcome}\"}} 1"));
        has("invalid") && has("unknown_version")
    });
    assert_eq!(one.spend(), (601, Some(1102)));
    first.terminate();
    second.terminate();
    let said = member.terminate();
    assert!(said.iter().any(|line| line.contains("calls counted")), "{said:?}");
}

#[test]
fn an_agent_that_never_hears_of_totals_says_so_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = broker(&folder) else { return };
    let budget = "[[budget]]\nname = \"together\"\nfeature = \"*\"\nlimit_tokens = 1000\nwarn_at_percent = [100]\n";
    let mut host = Host::new(&fleet(&broker, "2s", "", budget));
    let mut agent = host.place.start();
    host.calls(1, 1000);
    agent.until("its own budget", |_| host.findings("cost.budget").len() == 1);
    agent.until("the finding", |_| !host.findings(outflow::findings::FLEET_STALE).is_empty());
    let finding = host.findings(outflow::findings::FLEET_STALE).remove(0);
    let topic = broker.topic("fleet-state");
    assert_eq!(finding.finding_id, fleet_stale_id(&topic));
    assert!(finding.title.contains("nobody has told"), "{}", finding.title);
    assert!(finding.attributes["fleet.reason"].as_str().unwrap().contains("no such topic"), "{finding:?}");
    agent.terminate();
}

/// Records of several hosts in a topic with three partitions, and who adds them up.
struct Stage {
    broker: Broker,
    topic: String,
    place: Place,
    records: Vec<UsageRecord>,
    sent: usize,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn set(more: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let broker = broker(&folder)?;
        let topic = broker.topic("fleet-usage");
        make_topic(&broker, &topic, 3);
        let budgets = "[[budget]]\nname = \"features\"\nfeature = \"*\"\nlimit_usd = 1\nlimit_tokens = 1\n\
                       [[budget]]\nname = \"gpt\"\nmodel = \"gpt-*\"\nshared = true\nlimit_usd = 1\n";
        let place = Place::new();
        fs::write(place.config(), fleet(&broker, "10s", more, budgets)).unwrap();
        let now = clock::now();
        let records = (0..30_000).map(|id| usage(id, now)).collect();
        Some(Self { broker, topic, place, records, sent: 0, _folder: folder })
    }

    fn member(&self) -> Agent {
        Agent::command("fleet", &self.place.config(), &[])
    }

    /// Sends so many; some of those before a second time, as an agent does that was killed.
    fn send(&mut self, count: usize) {
        let (from, to) = (self.sent, self.sent + count);
        let repeats = (from.saturating_sub(500)..from).filter(|id| id % 2 == 0);
        let messages = repeats.chain(from..to).map(|id| {
            let record = &self.records[id];
            (record.feature.clone(), serde_json::to_string(record).unwrap())
        });
        let messages: Vec<_> = messages.collect();
        produce(&self.broker, &self.topic, &messages);
        self.sent = to;
    }

    /// How many calls are in totals.
    fn counted(&self) -> u64 {
        let sums = told(&self.broker, &self.broker.topic("fleet-state"));
        let of_features = sums.iter().filter(|((budget, unit, _), _)| budget == "features" && *unit == Unit::Usd);
        of_features.map(|(_, (_, calls))| calls).sum()
    }

    fn are_exact(&self) {
        assert_eq!(told(&self.broker, &self.broker.topic("fleet-state")), oracle(&self.records[..self.sent]));
    }
}

fn says(member: &mut Agent, what: &str) -> bool {
    member.heard().iter().any(|line| line.contains(what))
}

#[test]
fn who_adds_up_is_killed_again_and_again_and_the_totals_are_exact() {
    let Some(mut stage) = Stage::set(SAME_MEMBER) else { return };
    stage.send(3_000);
    for round in 1..=3 {
        let mut member = stage.member();
        let before = stage.sent as u64;
        member.until("its partitions", |member| says(member, "counts partitions 0, 1, 2"));
        // In the middle of what comes meanwhile; in one round before anything of it is written, in another after some.
        stage.send(6_000);
        if round > 1 {
            member.until("some totals", |_| stage.counted() >= before);
        }
        member.kill();
    }
    let mut member = stage.member();
    member.until("all counted", |_| stage.counted() >= stage.sent as u64);
    stage.are_exact();
    member.terminate();
    // One that comes later changes nothing.
    let mut last = stage.member();
    last.until("its partitions", |member| says(member, "counts partitions 0, 1, 2"));
    let said = last.terminate();
    assert!(said.iter().any(|line| line.contains("outflow: 0 calls counted")), "{said:?}");
    stage.are_exact();
}

#[test]
fn a_partition_that_ends_with_a_transaction_is_no_older_than_the_others() {
    let Some(mut stage) = Stage::set("") else { return };
    stage.send(300);
    let record = serde_json::to_string(&stage.records[300]).unwrap();
    produce_in_a_transaction(&stage.broker, &stage.topic, &[(stage.records[300].feature.clone(), record)]);
    stage.sent += 1;
    let mut member = stage.member();
    member.until("all counted", |_| stage.counted() >= stage.sent as u64);
    // Nothing comes any more, and progress goes on, once for what was there and once more.
    for _ in 0..2 {
        let then = clock::now().0 / 1_000_000;
        member.until("what is known of each partition is of now", |_| as_of(&stage).values().all(|at| *at > then));
    }
    assert_eq!(as_of(&stage).len(), 3);
    let record = serde_json::to_string(&stage.records[301]).unwrap();
    produce_in_a_transaction(&stage.broker, &stage.topic, &[(stage.records[301].feature.clone(), record)]);
    stage.sent += 1;
    member.until("the last one counted", |_| stage.counted() >= stage.sent as u64);
    stage.are_exact();
    member.terminate();
}

/// Of when what is known of each partition is, milliseconds.
fn as_of(stage: &Stage) -> BTreeMap<i32, u64> {
    let mut newest = BTreeMap::new();
    for message in stage.broker.consume(&stage.broker.topic("fleet-state")).unwrap() {
        if let Ok(StateRecord::Progress(progress)) =
            StateRecord::read(message.key.as_deref(), message.payload.as_deref())
        {
            newest.insert(progress.part, progress.as_of_ms);
        }
    }
    newest
}

#[test]
fn members_share_the_work_hand_it_over_and_the_totals_are_exact() {
    let Some(mut stage) = Stage::set("") else { return };
    stage.send(5_000);
    let mut first = stage.member();
    first.until("its partitions", |member| says(member, "counts partitions 0, 1, 2"));
    stage.send(5_000);
    let mut second = stage.member();
    second.until("a share", |member| says(member, "counts partition"));
    stage.send(5_000);
    second.until("both count", |_| stage.counted() >= stage.sent as u64);
    stage.are_exact();
    stage.send(5_000);
    let said = first.terminate();
    assert!(said.iter().any(|line| line.contains("calls counted")), "{said:?}");
    stage.send(5_000);
    second.until("all partitions", |member| says(member, "counts partitions 0, 1, 2"));
    second.until("all counted", |_| stage.counted() >= stage.sent as u64);
    stage.are_exact();
    second.terminate();
}
