//! What was given up is not sent any more. Enters: a network that is cut while batches are on their way to collectors, for longer than a request
//! may take. Leaves: sockets of the agent that hold nothing. Else the system would go on for a quarter of an hour, and an old record would come
//! behind newer ones.

use outflow::store::StoreReader;
use testbed::Deadline;

use super::{
    super::{log::Log, place::Place},
    network::{self, Network, is_under_way},
    receivers::{Otlp, delivered, otlp_config},
};

/// Many times the time-out of a request, and a fraction of the minute that a socket of nobody tries on.
const LIMIT_S: u64 = 20;

#[test]
fn what_was_given_up_is_not_sent_any_more() {
    let Some(network) = Network::of_this_process() else {
        if network::can_be_had() {
            network::run_in_one("run::chaos::late::what_was_given_up_is_not_sent_any_more");
        } else {
            println!("skipped: no network of our own can be had here");
        }
        return;
    };
    let (place, otlp) = (Place::new(), Otlp::both());
    place.configure(&otlp_config(&otlp));
    let mut agent = place.start().ready();
    let mut log = Log::new(&place.logs());
    let names: Vec<&str> = otlp.iter().map(|otlp| otlp.name).collect();
    let ports: Vec<u16> = otlp.iter().map(|otlp| otlp.live().address().port()).collect();

    log.line();
    agent.until("a line delivered", |_| place.stored() == 1 && delivered(&place, &names));
    network.cut();
    log.line();
    for (name, port) in names.iter().zip(&ports) {
        agent.until(&format!("something under way to {name}"), |_| is_under_way(*port));
    }
    let limit = Deadline::after(LIMIT_S);
    limit
        .until("sockets that hold nothing", || Ok((!ports.iter().any(|port| is_under_way(*port))).then_some(())))
        .unwrap();
    let told = StoreReader::open(&place.store()).unwrap().head().unwrap();
    assert_eq!(told, 2, "one record for each line");
    network.mend();
    agent.until("the rest delivered", |_| delivered(&place, &names));
    agent.terminate();
}
