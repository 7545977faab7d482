//! Where a log may have gone. Enters: its path. Leaves: files that rotation may have made of it, and the place in one of them where a leak
//! stands now. It reads each of them once, at most [`SEARCH_BYTES_MAX`] of all together.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use memchr::memchr_iter;

use super::look::Looker;
use crate::{
    detectors::scan::{Backend, LogLines, ScanError, Scanner},
    sources::{
        files::{Blocks, Caps, Target},
        log::CutLimits,
    },
};

/// Rotated files that are looked at, the newest first.
const SIBLINGS_MAX: usize = 256;
/// Most bytes that are searched, decompressed.
const SEARCH_BYTES_MAX: u64 = 4 << 30;

/// Endings of packed logs.
const PACKED: [&str; 3] = [".gz", ".zst", ".zstd"];

/// Files beside a log, or beside what it is a link to, whose names begin as its own does; the newest first.
pub(super) fn siblings(path: &Path) -> Vec<PathBuf> {
    let identity = |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|it| (it.dev(), it.ino()));
    let mut seen: BTreeSet<(u64, u64)> = identity(path).into_iter().collect();
    let mut found = Vec::new();
    // The link may be gone with its pod, and the folder that it led to may not.
    let real = fs::canonicalize(path).or_else(|_| fs::read_link(path)).ok().filter(|real| real != path);
    for log in std::iter::once(path).chain(real.as_deref()) {
        let (Some(folder), Some(name)) = (log.parent(), log.file_name()) else { continue };
        let (name, plain) = (name.as_bytes(), unrotated(name));
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let other = entry.file_name();
            let begins = other.as_bytes().starts_with(name) || other.as_bytes().starts_with(&plain);
            if !begins {
                continue;
            }
            let path = entry.path();
            if let Ok(metadata) = fs::metadata(&path)
                && metadata.is_file()
                && seen.insert((metadata.dev(), metadata.ino()))
            {
                found.push((Reverse((metadata.mtime(), metadata.mtime_nsec())), path));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, path)| path).take(SIBLINGS_MAX).collect()
}

/// `app.log` of `app.log.3.gz` and of `app.log-20261126`: a finding names its log as it was called when it was first seen.
fn unrotated(name: &OsStr) -> Vec<u8> {
    let name = name.to_string_lossy();
    let unpacked = PACKED.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    let plain = unpacked.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | ':'));
    if plain.is_empty() { unpacked.as_bytes().to_vec() } else { plain.as_bytes().to_vec() }
}

/// Searches whole files with the one rule.
pub(super) struct Searcher<'l, 'f> {
    looker: &'l mut Looker<'f>,
    scanner: Scanner,
    left_bytes: u64,
}

impl<'l, 'f> Searcher<'l, 'f> {
    pub(super) fn new(looker: &'l mut Looker<'f>) -> Result<Self, ScanError> {
        let rule = looker.rule();
        let scanner = Scanner::new(looker.rules().without(|index| index != rule), Backend::best())?;
        Ok(Self { looker, scanner, left_bytes: SEARCH_BYTES_MAX })
    }

    pub(super) fn looker(&mut self) -> &mut Looker<'f> {
        self.looker
    }

    /// It has not searched all that it was asked to.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left_bytes == 0
    }

    /// Position and line of the leak in a file, when it has it.
    pub(super) fn search(&mut self, file: &Path) -> anyhow::Result<Option<(u64, u64)>> {
        // Opening a pipe would wait for a writer.
        if !fs::metadata(file)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file").into());
        }
        fs::File::open(file)?;
        let target = Target::Path(file.to_owned());
        let failed = |error| anyhow::Error::from(io::Error::other(error));
        let Ok(mut blocks) = Blocks::open(&target, CutLimits::default(), Caps::default(), true).map_err(failed)? else {
            return Ok(None);
        };
        while self.left_bytes > 0 {
            let Some(block) = blocks.next_block().map_err(failed)? else { return Ok(None) };
            self.left_bytes = self.left_bytes.saturating_sub(block.bytes.len() as u64);
            let text = block.text();
            let settled = self.scanner.scan(text, &LogLines::new(text))?;
            let it =
                |range: &std::ops::Range<usize>| text.get(range.clone()).is_some_and(|text| self.looker.is_it(text));
            if let Some(found) = settled.matches.iter().map(|one| &one.span).find(|span| it(span)) {
                let raw = block.raw_at(found.start);
                let before = block.bytes.get(..raw).unwrap_or_default();
                let line = block.first_line + memchr_iter(b'\n', before).count() as u64;
                return Ok(Some((block.offset + raw as u64, line)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn names_lose_what_rotation_gave_them() {
        for (name, plain) in [
            ("app.log", "app.log"),
            ("app.log.3", "app.log"),
            ("app.log.12.gz", "app.log"),
            ("app.log-20261126.zst", "app.log"),
            ("0.log.20261126-101112", "0.log"),
            ("2026", "2026"),
        ] {
            assert_eq!(unrotated(OsStr::new(name)), plain.as_bytes(), "{name}");
        }
    }

    #[test]
    fn siblings_are_files_beside_the_log_and_beside_what_it_links_to() {
        let folder = tempfile::tempdir().unwrap();
        let (pods, links) = (folder.path().join("pods"), folder.path().join("containers"));
        fs::create_dir(&pods).unwrap();
        fs::create_dir(&links).unwrap();
        for name in ["0.log", "0.log.20261126-101112", "0.log.20261126-101010.gz", "1.log", "00.log"] {
            fs::write(pods.join(name), name).unwrap();
        }
        fs::create_dir(pods.join("0.log.d")).unwrap();
        symlink(pods.join("0.log"), links.join("shop.log")).unwrap();
        let mut found = siblings(&links.join("shop.log"));
        found.sort();
        let rotated = [pods.join("0.log.20261126-101010.gz"), pods.join("0.log.20261126-101112")];
        assert_eq!(found, rotated);
        let mut found = siblings(&pods.join("0.log.20261126-101112"));
        found.sort();
        assert_eq!(found, [pods.join("0.log"), rotated[0].clone()]);
    }
}
