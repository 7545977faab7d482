//! More findings a minute than a sink is to be told: the first ones, and one digest of the others, in each format as its readers expect it.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::{log::Log, place::Place};
use crate::{ecs, ocsf};

const LINES: u64 = 60;
const MOST: usize = 10;

#[test]
fn what_is_too_much_is_one_digest_that_every_reader_understands() {
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    let path = |format: &str| folder.path().join(format!("{format}.jsonl"));
    let sink = |format: &str| {
        format!(
            "[[sinks.file]]\nname = {format:?}\npath = {:?}\nformat = {format:?}\nmax_per_minute = {MOST}\n",
            path(format)
        )
    };
    place.configure(&["native", "ocsf", "ecs"].map(sink).concat());
    let mut log = Log::new(&place.logs());
    log.lines(LINES);
    let mut agent = place.start().ready();
    agent.until("all stored", |_| place.stored() >= LINES);
    // The end waits for no minute: what was withheld is told.
    agent.terminate();

    let text = |format: &str| fs::read_to_string(path(format)).unwrap();
    let lines = |format: &str| text(format).lines().map(str::to_owned).collect::<Vec<_>>();
    let read =
        |format: &str| -> Vec<Value> { lines(format).iter().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let native = read("native");
    let (digest, told): (Vec<&Value>, Vec<&Value>) =
        native.iter().partition(|record| record["rule"]["id"] == "delivery.digest");
    assert!(!digest.is_empty() && told.len() >= MOST, "{native:#?}");
    let withheld: u64 = digest.iter().map(|record| record["count"].as_u64().unwrap()).sum();
    assert_eq!(told.len() as u64 + withheld, LINES, "each is told or counted");

    let ids = |values: &[Value], pointer: &str| -> BTreeSet<String> {
        values.iter().map(|value| value.pointer(pointer).unwrap().as_str().unwrap().to_owned()).collect()
    };
    for (format, code) in [("ocsf", "/metadata/event_code"), ("ecs", "/event/code")] {
        assert!(ids(&read(format), code).contains("delivery.digest"), "{format}");
    }
    for document in read("ecs") {
        ecs::check("a line of a file", &document);
    }
    let Some(python) = ocsf::python() else { return };
    for (line, errors) in lines("ocsf").iter().zip(ocsf::errors(&python, &lines("ocsf"))) {
        assert!(errors.is_empty(), "{errors:#?} in {line}");
    }
}
