//! All fuzz targets in one program. Enters: `OUTFLOW_FUZZ`, the target's name, and libFuzzer's inputs. Leaves: a crash, when a
//! property breaks. With `OUTFLOW_FUZZ_SEEDS=RECORDINGS:FOLDER` it writes what the recordings teach the target, and ends.
#![no_main]

use std::{env, fs, path::Path, process, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use outflow::{
    fuzz::{Target, target},
    sources::replay::Record,
};

/// Longer seeds make the fuzzer slow and teach it nothing.
const SEED_BYTES: usize = 16 << 10;

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
        if let Some((recordings, folder)) = places.split_once(':') {
            let count = write_seeds(Path::new(recordings), Path::new(folder));
            println!("{count} seeds");
            process::exit(0);
        }
    },
    |input: &[u8]| (TARGET.run)(input)
);

fn write_seeds(recordings: &Path, folder: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(recordings).into_iter().flatten().flatten() {
        let Ok(text) = fs::read(entry.path()) else { continue };
        let Ok(record) = Record::parse(&text) else { continue };
        for seed in (TARGET.seeds)(&record, &text) {
            let name = format!("recorded-{count}");
            if seed.len() <= SEED_BYTES && fs::write(folder.join(name), seed).is_ok() {
                count += 1;
            }
        }
    }
    count
}
