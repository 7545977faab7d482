//! kill -9 of either end while records are on their way.

use testbed::{Agent, Deadline};

use super::{
    broker::{END_LIMIT_S, SINK, Stage},
    scene::{LIMIT_S, Scene},
    topic,
};

/// How often the agent is killed, and how many lines are written before each: enough that most of them are still on their way when the first
/// are confirmed.
fn agent_kills() -> (u32, u64) {
    if std::env::var("OUTFLOW_LONG").is_ok_and(|long| long == "1") { (200, 1000) } else { (5, BURST) }
}

/// How often the broker is killed; each time takes some seconds, for the broker is to have stored what came before.
const BROKER_KILLS: u32 = 4;

/// Lines that are written at once before a kill: enough that most of them are still on their way when the first are confirmed.
const BURST: u64 = 4000;

/// Lines that are written while the broker is dead.
const MEANWHILE: u64 = 100;

/// Watches a place in the store until it is behind `from`. Without a pause: a burst is delivered in the time of one.
fn until_moved(scene: &Scene, from: u64, place: impl Fn(&Scene) -> u64) {
    let limit = Deadline::after(LIMIT_S);
    while place(scene) <= from {
        assert!(!limit.passed(), "nothing ever comes behind {from}");
        std::thread::yield_now();
    }
}

#[test]
fn an_agent_that_is_killed_while_it_sends_sends_the_rest_in_its_next_life() {
    let Some(mut stage) = Stage::set("agent") else { return };
    kill_agents(&mut stage.scene);
    stage.check();
}

/// A class that no finding of the test is of has a topic that nobody made.
#[test]
fn with_transactions_each_record_is_there_once_whenever_the_agent_was_killed() {
    let Some(mut stage) = Stage::set_with("once", "exactly_once = true\ntopics = { \"2003\" = \"nobody-made-it\" }\n")
    else {
        return;
    };
    kill_agents(&mut stage.scene);
    let messages = stage.check();
    assert_eq!(topic::repeats(&messages), 0);
}

/// As long as something is on its way it is killed, in each of its lives; in the last one all arrives.
fn kill_agents(scene: &mut Scene) {
    let mut at_work = 0;
    let (kills, burst) = agent_kills();
    for kill in 0..kills {
        let agent = scene.agent();
        // Some kills meet an agent that has begun to send, some one that stores.
        let place = if kill % 2 == 0 { |scene: &Scene| scene.cursor(SINK) } else { Scene::head };
        let from = place(scene);
        scene.lines(burst);
        until_moved(scene, from, place);
        agent.kill().unwrap();
        at_work += u32::from(scene.cursor(SINK) < scene.written());
    }
    assert!(at_work > 0, "no kill met an agent that had something left to send");
    let agent = scene.agent();
    scene.until_stored(&agent);
    scene.until_delivered(&agent, SINK);
    agent.terminate(END_LIMIT_S).unwrap();
    println!("{at_work} of {kills} kills met an agent that had something left to send");
}

/// What the sink has confirmed in this life, when it confirms nothing more: its figures are a second old at most.
fn settled(agent: &Agent) -> u64 {
    let figure = || agent.count("outflow_sink_records_total").unwrap();
    let (mut last, mut calm) = (figure(), Deadline::after(3));
    while !calm.passed() {
        let now = figure();
        if now != last {
            (last, calm) = (now, Deadline::after(3));
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    last
}

/// noida-db under kill -9 forgets what it confirmed in about the last second. librdkafka's idempotent producer then meets a broker that knows of fewer
/// records than it does, and gives up for good. What it had confirmed until then may be lost with the broker; all the rest must arrive, by a
/// new producer.
#[test]
fn a_producer_that_gives_up_is_replaced_and_sends_all_that_was_not_confirmed() {
    let Some(mut stage) = Stage::set("broker") else { return };
    if !stage.broker.skip_unless_ours() {
        return;
    }
    let (scene, broker) = (&mut stage.scene, &mut stage.broker);
    let agent = scene.agent();
    // (confirmed, stored) at each kill.
    let mut kills = Vec::new();
    for kill in 0..BROKER_KILLS {
        let (from, sent) = (scene.cursor(SINK), settled(&agent));
        scene.lines(BURST);
        // Some kills meet a burst that is just beginning, some one of which much is confirmed.
        let moved = if kill % 2 == 0 { Scene::head } else { |scene: &Scene| scene.cursor(SINK) };
        until_moved(scene, from, moved);
        broker.kill().unwrap();
        scene.lines(MEANWHILE);
        scene.until_stored(&agent);
        let confirmed = from + settled(&agent) - sent;
        kills.push((confirmed, scene.head()));
        broker.start_again().unwrap();
        scene.until_delivered(&agent, SINK);
    }
    let replaced = agent.count("outflow_sink_reconnects_total").unwrap();
    agent.terminate(END_LIMIT_S).unwrap();

    let messages = stage.broker.consume(&stage.topic).unwrap();
    let arrived = topic::ids(&messages);
    let records = stage.scene.records();
    let mut lost = 0;
    for (id, seq) in &records {
        if !arrived.contains(id) {
            // The first kill behind it is the one that it was lost by.
            let confirmed = kills.iter().find(|(_, stored)| seq <= stored).map(|(confirmed, _)| *confirmed);
            assert!(confirmed.is_some_and(|confirmed| *seq <= confirmed), "{id} ({seq}) was not confirmed: {kills:?}");
            lost += 1;
        }
    }
    println!("confirmed and stored at each kill: {kills:?}");
    println!("{lost} of {} records were lost after they were confirmed, {replaced} producers replaced", records.len());
    assert!(lost > 0, "the broker lost nothing, so no producer had to give up");
    assert!(replaced > 0, "no producer was replaced");
    topic::check_repeats(&messages);
}
