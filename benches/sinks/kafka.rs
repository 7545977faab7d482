//! Findings a second from the store to Kafka. Enters: a store with findings. Leaves: for each format, the sink beside a bare loop that sends
//! the same messages (read back from the topic: same bytes, keys, headers) to the same topic with the same settings, and in transactions, in turns.

use anyhow::Result;
use testbed::Broker;

use crate::{
    Settings,
    consumer::{Consumer, Ready, producer, send},
    figures::{Run, Way, compare},
    place::Place,
};

const ROUNDS: usize = 5;

pub(crate) fn run(settings: &Settings) -> Result<()> {
    if let Some(reason) = testbed::missing_for_broker() {
        println!("SKIP kafka: {reason}");
        return Ok(());
    }
    let place = Place::fill(&settings.folder, settings.findings)?;
    let broker = Broker::start(place.dir())?;
    println!("{} findings a run, medians of {ROUNDS}; folder {}", place.findings, settings.folder.display());
    for format in ["ocsf", "native"] {
        let topic = broker.topic(&format!("bench-{format}"));
        let config = |round: usize, once: bool| {
            format!(
                "[[sinks.kafka]]\nname = \"{format}-{round}-{once}\"\nbrokers = [\"{}\"]\ntopic = \"{topic}\"\nformat = \"{format}\"\n\
                 exactly_once = {once}\n",
                broker.address(),
            )
        };
        let consumer = Consumer::of_new(broker.address(), &topic)?;
        // Once before it counts; and so there are messages to send again.
        place.deliver(&config(0, false))?;
        let messages: Vec<Ready> = consumer.take(place.findings)?.iter().map(Ready::again).collect();
        drop(consumer);
        let mut ways = [
            Way::new(&format!("bare rdkafka, {format}, messages made beforehand")),
            Way::new("outflow, from the store"),
            Way::new("outflow, from the store, in transactions"),
        ];
        for round in 1..=ROUNDS {
            let again = messages.clone();
            ways[0].runs.push(Run::of(|| send(&producer(broker.address(), "10")?, &topic, again))?);
            ways[1].runs.push(place.deliver(&config(round, false))?);
            ways[2].runs.push(place.deliver(&config(round, true))?);
        }
        compare(place.findings, &ways);
    }
    Ok(())
}
