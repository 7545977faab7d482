//! Baselines on disk. Enters: the path of a file. Leaves: a [`Baseline`], or a file that is whole or not there at all.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};

use crate::findings::{Baseline, Finding};

/// More than any baseline takes: a wrong path must not read a disk into memory.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// Reads a baseline; `key_id` is the key of this run.
pub(super) fn read(path: &Path, key_id: &str) -> anyhow::Result<Baseline> {
    let shown = path.display();
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("cannot read the baseline {shown}"))?;
    let read = file
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read the baseline {shown}"))?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(anyhow!("{shown} is larger than {FILE_BYTES_MAX} bytes, so it is no baseline"));
    }
    Baseline::parse(&text, key_id).map_err(|error| anyhow!("{shown} {error}"))
}

/// A baseline that is being made.
pub(super) struct Writing {
    path: PathBuf,
    baseline: Baseline,
}

impl Writing {
    pub(super) fn new(path: &Path, key_id: &str) -> Self {
        Self { path: path.to_owned(), baseline: Baseline::new(key_id) }
    }

    pub(super) fn add(&mut self, finding: &Finding) -> anyhow::Result<()> {
        self.baseline.add(finding).context("cannot make a baseline")
    }

    /// Writes it under another name, then puts it in place. Leaves the path and how much is known.
    pub(super) fn finish(self) -> anyhow::Result<(PathBuf, usize)> {
        let Self { path, baseline } = self;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let draft = path.with_file_name(name);
        let written = File::create(&draft)
            .and_then(|mut file| file.write_all(baseline.to_text().as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&draft, &path));
        if written.is_err() {
            // It may not be there.
            let _ = fs::remove_file(&draft);
        }
        written.with_context(|| format!("cannot write the baseline {}", path.display()))?;
        Ok((path, baseline.len()))
    }
}
