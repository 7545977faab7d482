//! Findings in a file that rotates, from an agent that is killed while it writes: each is there, and what is there twice is the same.

use std::{collections::BTreeMap, fs, io::Read as _, path::Path};

use super::{collector::outbox, dice::Dice, log::Log, place::Place};

/// Lines of the file and its older ones, by record.
fn written(folder: &Path) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut text = String::new();
        if path.extension().is_some_and(|end| end == "gz") {
            flate2::read::GzDecoder::new(fs::File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
        } else if path.extension().is_some_and(|end| end == "half") {
            continue;
        } else {
            text = fs::read_to_string(&path).unwrap();
        }
        for line in text.lines() {
            let record: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}: {line}", path.display()));
            let id = record["record_id"].as_str().unwrap().to_owned();
            if let Some(before) = found.insert(id, line.to_owned()) {
                assert_eq!(before, line, "a repeat is another");
            }
        }
    }
    found
}

#[test]
fn an_agent_that_is_killed_while_it_writes_loses_no_line() {
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("findings.jsonl");
    place.configure(&format!(
        "[[sinks.file]]\npath = {path:?}\nmax_bytes = \"64 KiB\"\nkeep = 1000\ncompression = \"gzip\"\n"
    ));
    let (mut log, mut dice) = (Log::new(&place.logs()), Dice::new());
    for _ in 0..12 {
        let before = fs::metadata(&path).map_or(0, |file| file.len());
        log.lines(150);
        let more = dice.throw(1..20_000);
        let mut agent = place.start();
        // The file is another one after a rotation.
        agent.until("something written", |_| {
            let now = fs::metadata(&path).map_or(0, |file| file.len());
            now > before + more || now < before
        });
        agent.kill();
    }
    let mut agent = place.start().ready();
    agent.until("all stored", |_| place.stored() >= log.written.len() as u64);
    agent.terminate();
    let written = written(folder.path());
    assert_eq!(written.into_keys().collect::<std::collections::BTreeSet<_>>(), outbox(&place));
    assert!(fs::read_dir(folder.path()).unwrap().count() > 3, "it was rotated");
}
