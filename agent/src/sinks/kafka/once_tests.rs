//! Transactions against librdkafka's mock cluster, which has them, but keeps no offsets of theirs and hides nothing that was taken back. A real
//! broker, and agents that are killed: `tests/e2e/sinks/kills.rs`.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::tests::{Cluster, LIMIT, check, keys};
use crate::{
    sinks::{
        Sinks,
        tests::{Place, drained},
    },
    store::DeadLetter,
};

const ONCE: &str = "exactly_once = true\n";

fn deliver(cluster: &Cluster, place: &Place, more: &str) {
    let sinks = cluster.start(place, &format!("{ONCE}{more}"));
    drained(place, &sinks);
    sinks.finish(LIMIT).unwrap();
}

#[test]
fn several_transactions_hold_everything_once() {
    let (cluster, place) = (Cluster::new(), Place::new());
    place.find(keys(2500));
    deliver(&cluster, &place, "topics = { \"2004\" = \"nobody-made-it\" }\n");
    let got = cluster.consume(2500);
    assert_eq!(got.len(), 2500);
    check(&place, &got);
    assert_eq!(place.reader().cursor("kafka").unwrap(), place.reader().head().unwrap());
}

#[test]
fn another_store_is_another_writer() {
    let (cluster, one, other) = (Cluster::new(), Place::new(), Place::new());
    one.find(keys(50));
    other.find(keys(50));
    deliver(&cluster, &one, "");
    deliver(&cluster, &other, "");
    assert_eq!(cluster.consume(100).len(), 100);
}

#[test]
fn a_transaction_that_cannot_be_committed_is_made_anew() {
    let (cluster, place) = (Cluster::new(), Place::new());
    place.find(keys(30));
    let not_now = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;
    for api in [RDKafkaApiKey::InitProducerId, RDKafkaApiKey::AddPartitionsToTxn, RDKafkaApiKey::TxnOffsetCommit] {
        cluster.mock.request_errors(api, &[not_now; 2]);
    }
    // This one ends the producer: another writes with its name, as far as it knows.
    cluster.mock.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED]);
    let sinks = cluster.start(&place, ONCE);
    drained(&place, &sinks);
    assert!(sinks.stats().next().unwrap().1.failures() >= 1);
    sinks.finish(LIMIT).unwrap();
    // The mock shows what was taken back as well.
    check(&place, &cluster.consume(30));
}

#[test]
fn a_record_that_spoils_a_transaction_is_a_dead_letter_and_the_rest_arrives_once() {
    let (cluster, place) = (Cluster::new(), Place::new());
    let large = |name: &str| {
        let mut large = crate::sinks::tests::occurrence(name);
        large.rule.references = vec!["https://example.com/".repeat(100); 50];
        large
    };
    place.find(keys(5));
    place.keep(vec![large("large")]);
    place.find(["late".to_owned()]);
    let sinks: Sinks = cluster.start(
        &place,
        &format!("{ONCE}dead_letter_topic = \"calls\"\nsettings = {{ \"message.max.bytes\" = 50000 }}\n"),
    );
    drained(&place, &sinks);
    sinks.finish(LIMIT).unwrap();
    let letters = place.reader().dead_letters(10).unwrap();
    let [(_, DeadLetter { seq: 6, reason, .. })] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(reason, "too_large");
    assert_eq!(cluster.consume(6).len(), 6);
}

#[test]
fn what_the_broker_refuses_together_is_sent_in_halves() {
    let (cluster, place) = (Cluster::new(), Place::new());
    place.find(keys(8));
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    deliver(&cluster, &place, "");
    check(&place, &cluster.consume(8));
    assert!(place.reader().dead_letters(10).unwrap().is_empty());
}

#[test]
fn a_queue_that_holds_less_than_a_batch_gets_halves() {
    let (cluster, place) = (Cluster::new(), Place::new());
    place.find(keys(700));
    let sinks = cluster.start(&place, &format!("{ONCE}settings = {{ \"queue.buffering.max.messages\" = 20 }}\n"));
    drained(&place, &sinks);
    // The mock shows what was taken back as well, so what it holds says nothing.
    assert_eq!(sinks.stats().next().unwrap().1.failures(), 0);
    sinks.finish(LIMIT).unwrap();
    assert!(place.reader().dead_letters(10).unwrap().is_empty());
    assert_eq!(place.reader().cursor("kafka").unwrap(), place.reader().head().unwrap());
}
