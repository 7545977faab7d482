//! Nobody reads what the agent says on standard error: it goes on, and what it said is there when somebody reads.

use super::{agent::Agent, log::Log, oracle, place::Place};

#[test]
fn an_agent_that_nobody_listens_to_goes_on() {
    let place = Place::new();
    let mut log = Log::new(&place.logs());
    let mut agent = Agent::unheard(&place.config());
    log.lines(50);
    agent.until("the lines of before", |_| place.stored() == 50);
    log.rename();
    log.lines(50);
    agent.until("all lines", |_| place.stored() == 100);
    oracle::check(&place, &log.written);
    // What it has to say first is said first.
    agent.listen();
    let mut agent = agent.ready();
    assert_eq!(agent.get("/readyz").status, 200);
    agent.terminate();
}

#[test]
fn an_agent_that_nobody_listens_to_ends() {
    let place = Place::new();
    let mut log = Log::new(&place.logs());
    let mut agent = Agent::unheard(&place.config());
    log.lines(1);
    agent.until("its line", |_| place.stored() == 1);
    agent.terminate();
}
