//! All fuzz targets in one program. Enters: `OUTFLOW_FUZZ`, the target's name, and libFuzzer's inputs. Leaves: a crash, when a
//! property breaks. With `OUTFLOW_FUZZ_SEEDS=RECORDINGS:FOLDER:N` it writes what every Nth of the recordings teaches the target, and
//! ends.
#![no_main]

use std::{env, fs, path::Path, process, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use outflow::{
    fuzz::{Target, target},
    sources::replay::Record,
};

/// Of a longer seed its start will do: a long one makes the fuzzer slow and teaches it nothing more.
const SEED_BYTES: usize = 6 << 10;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = env::var("OUTFLOW_FUZZ").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        eprintln!("OUTFLOW_FUZZ=`{name}` names no target of agent/src/fuzz.rs");
        process::exit(2)
    })
});

fuzz_target!(
    init: {
        let places = env::var("OUTFLOW_FUZZ_SEEDS").unwrap_or_default();
        if let [recordings, folder, step] = places.split(':').collect::<Vec<_>>()[..] {
            let count = write_seeds(Path::new(recordings), Path::new(folder), step.parse().unwrap_or(1));
            println!("{count} seeds");
            process::exit(0);
        }
    },
    |input: &[u8]| (TARGET.run)(input)
);

fn write_seeds(recordings: &Path, folder: &Path, step: usize) -> usize {
    let files = |folder: &str| fs::read_dir(recordings.join(folder)).into_iter().flatten().flatten();
    let mut calls: Vec<_> = files("data").map(|entry| entry.path()).collect();
    calls.sort();
    // Sessions are few.
    let sessions: Vec<_> = files("realtime").map(|entry| entry.path()).collect();
    let mut count = 0;
    for path in calls.iter().step_by(step.max(1)).chain(&sessions) {
        let Ok(text) = fs::read(path) else { continue };
        let Ok(record) = Record::parse(&text) else { continue };
        for seed in (TARGET.seeds)(&record, &text) {
            let name = format!("recorded-{count}");
            let start = seed.get(..SEED_BYTES).unwrap_or(&seed);
            if fs::write(folder.join(name), start).is_ok() {
                count += 1;
            }
        }
    }
    count
}
