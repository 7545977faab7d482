//! A store whose file is damaged: the agent starts all the same, says so, and reads its logs again.

use std::{fs, os::unix::fs::FileExt as _};

use outflow::store::Filter;

use super::{log::Log, oracle, place::Place};

#[test]
fn a_damaged_store_is_set_aside_and_logs_are_read_again() {
    let place = Place::new();
    let mut log = Log::new(&place.logs());
    log.lines(200);
    let mut agent = place.start().ready();
    agent.until("all lines", |_| place.stored() == 200);
    agent.terminate();
    let file = fs::OpenOptions::new().write(true).open(place.store()).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&vec![0xa5; length as usize - 4096], 4096).unwrap();
    drop(file);

    let mut agent = place.start().ready();
    agent.until("all lines again, and one finding more", |_| place.stored() == 201);
    agent.until("its metric", |agent| agent.get("/metrics").value("outflow_store_damages_total") > 0.0);
    let filter = Filter { rule: Some("coverage.store-damaged".into()), ..Filter::default() };
    let told = place.reader().findings(&filter).unwrap().pop().unwrap();
    let aside = told.attributes["store.set_aside"].as_str().unwrap().to_owned();
    assert!(fs::exists(&aside).unwrap(), "{aside}");
    // More comes, and the chain of the new one is whole.
    log.lines(5);
    agent.until("new lines", |_| place.stored() == 206);
    agent.terminate();
    oracle::verify(&place);
}
