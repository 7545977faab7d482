//! Rotated files that were compressed. Enters: files that begin as gzip or Zstandard do, and what is known of plain files. Leaves: what
//! an archive holds and nobody has told yet, once. It unpacks one archive at a time, and at most a block of it a step.
//!
//! ```text
//!  Undecided ──stands still──► judged (judge.rs) ──┬─► a file that is followed holds it: Copy ──that file is read so far──► Done
//!      ▲                                           └─► told from where a file that is gone was left, or from its start ──► Done
//!      └──────── it has changed ────────── Damaged (stands still for the rotate wait: a gap) ──────────────────────────► Done
//! ```
//!
//! State, bounded: one entry an archive that matches, at most [`TailSettings::max_files`]; one of them is open.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{
    Gap, GapReason, LogInput, Mark, Out, Stopped, TailNotice, TailSettings, TailStats,
    departed::Departures,
    file::Followed,
    finished::Finished,
    follow::send,
    glob::{Found, Patterns},
    judge::{Candidate, Judging},
    packed::{Contents, Telling},
    rate::Rate,
    record::{Beginning, FileId, HEAD_BYTES, Packing, Record},
};
use crate::{
    sources::{
        files::{Caps, Format},
        log::LogFile,
    },
    units::Timestamp,
};

/// How long an archive stands still before it is unpacked, and once more after every time that it turned out to be incomplete.
const PATIENCE_NS: u64 = 2_000_000_000;
/// The longest that it comes to.
const PATIENCE_MAX_NS: u64 = 600_000_000_000;

mod reading;

/// All of them.
pub(super) struct Archives {
    all: BTreeMap<FileId, Archive>,
    reading: Option<Reading>,
    /// What is known of files that are gone.
    pub finished: Finished,
    caps: Caps,
}

/// What the archives need of the others.
pub(super) struct Around<'a> {
    pub files: &'a BTreeMap<FileId, Followed>,
    pub departures: &'a mut Departures,
    pub settings: &'a TailSettings,
    pub groups: &'a [Patterns],
    pub rates: &'a mut [Rate],
    pub stats: &'a TailStats,
    pub buffer: &'a mut [u8],
}

/// Size and time of an archive: while they are the same, so is what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    bytes: u64,
    written: (i64, i64),
}

/// A compressed file.
#[derive(Debug)]
pub(super) struct Archive {
    id: FileId,
    path: PathBuf,
    group: usize,
    stand: Stand,
    /// When it was noticed to have changed last.
    changed: Timestamp,
    /// How long it must stand still.
    patience_ns: u64,
    /// No name that matches leads to it.
    gone: bool,
    /// Key and record of what was told of it.
    own: Option<(String, Record)>,
    beginning: Beginning,
    state: State,
}

#[derive(Debug)]
enum State {
    Undecided,
    /// A file that is followed holds the same.
    Copy {
        of: FileId,
        life: u32,
        holds: Box<Record>,
        whole: bool,
    },
    /// All that can be unpacked was read. It may still be written to.
    Damaged {
        held: Box<Telling>,
        why: String,
    },
    /// Told, or told by others.
    Done,
}

/// The archive that is open.
struct Reading {
    id: FileId,
    file: Arc<File>,
    stand: Stand,
    packing: Packing,
    contents: Contents,
    phase: Phase,
}

enum Phase {
    /// Where does it go on?
    Judging(Judging),
    /// There.
    Going(Candidate),
    Telling(Box<Telling>),
}

/// An archive that is not there any more, or not the same.
pub(super) struct Left {
    pub id: FileId,
    pub own: Option<(String, Record)>,
}

impl Archives {
    pub(super) fn new(finished: Finished) -> Self {
        let (all, reading) = (BTreeMap::new(), None);
        Self { all, reading, finished, caps: Caps::default() }
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    pub(super) fn has(&self, id: FileId) -> bool {
        self.all.contains_key(&id)
    }

    /// Each was told, or holds what another file does.
    pub(super) fn is_settled(&self) -> bool {
        let is_open = |archive: &Archive| matches!(archive.state, State::Undecided | State::Damaged { .. });
        self.reading.is_none() && !self.all.values().any(is_open)
    }

    /// Takes those that are known out of what was `found`. Gives those that are gone or are other files by now.
    pub(super) fn look(&mut self, found: &mut BTreeMap<FileId, Found>, now: Timestamp) -> Vec<Left> {
        let mut left = Vec::new();
        let open = self.reading.as_ref().map(|reading| reading.id);
        for (id, archive) in &mut self.all {
            let Some(Found { path, size, written, .. }) = found.get(id) else {
                archive.gone = true;
                // What is open is read to its end, and what is damaged is told.
                if open != Some(*id) && !matches!(archive.state, State::Damaged { .. }) {
                    left.push(*id);
                }
                continue;
            };
            let stand = Stand { bytes: *size, written: *written };
            archive.gone = false;
            archive.path.clone_from(path);
            if stand != archive.stand {
                if !archive.is_same(self.caps) {
                    left.push(*id);
                    continue;
                }
                (archive.stand, archive.changed, archive.state) = (stand, now, State::Undecided);
            }
            found.remove(id);
        }
        if left.iter().any(|id| open == Some(*id)) {
            self.reading = None;
        }
        left.into_iter().filter_map(|id| Some(Left { id, own: self.all.remove(&id)?.own })).collect()
    }

    /// Takes in an archive of which `own` is remembered.
    pub(super) fn add(
        &mut self,
        (id, found): (FileId, Found),
        file: File,
        own: Option<(String, Record)>,
        now: Timestamp,
    ) -> io::Result<()> {
        let Found { path, group, size, written } = found;
        let is_read = own.as_ref().is_some_and(|(_, record)| {
            record.ended && record.packed.as_ref().is_some_and(|packing| packing.bytes == size)
        });
        let state = if is_read { State::Done } else { State::Undecided };
        let beginning = if is_read { Beginning::default() } else { beginning(&Arc::new(file), self.caps)? };
        let stand = Stand { bytes: size, written };
        let (changed, patience_ns, gone) = (now, PATIENCE_NS, false);
        self.all.insert(id, Archive { id, path, group, stand, changed, patience_ns, gone, own, beginning, state });
        Ok(())
    }

    /// May this be what an archive holds that nobody has looked into yet?
    pub(super) fn may_hold(&self, record: &Record) -> bool {
        let mut open = self.all.values().filter(|archive| matches!(archive.state, State::Undecided));
        open.any(|archive| archive.beginning.fits(record) || archive.may_be_all_of(record))
    }

    /// Is this all that an archive holds, and told? Then nothing is lost with it.
    pub(super) fn has_all_of(&self, record: &Record) -> bool {
        let has = |archive: &Archive, own: &Record| {
            let is_same = record.unread() == 0 && own.is_same(record);
            is_same || record.size <= own.position.offset && archive.may_be_all_of(record)
        };
        let mut told = self.all.values().filter_map(|archive| Some((archive, &archive.own.as_ref()?.1)));
        told.any(|(archive, own)| own.ended && has(archive, own))
    }

    /// Unpacks at most a block. True when there is more to do at once.
    pub(super) fn turn(&mut self, around: &mut Around<'_>, now: Timestamp, out: &mut Out<'_>) -> Result<bool, Stopped> {
        self.settle(around, now, out)?;
        if self.reading.is_none() {
            self.reading = self.next(around, now, out);
        }
        let Some(reading) = self.reading.take() else { return Ok(false) };
        let Some(archive) = self.all.get_mut(&reading.id) else { return Ok(true) };
        // It will be there later, so nothing of it is skipped.
        if around.rates.get_mut(archive.group).is_some_and(|rate| rate.is_over(now)) {
            self.reading = Some(reading);
            return Ok(false);
        }
        let (id, path) = (archive.id, archive.path.clone());
        match reading.turn(archive, &mut self.finished, self.caps, (around, now), out)? {
            Ok(reading) => self.reading = reading,
            // Cut meanwhile, perhaps: it is looked at again when it has stood still.
            Err(error) => {
                self.wait(id, now);
                (out.notice)(TailNotice::Unreadable { path, why: error.to_string() });
            }
        }
        Ok(true)
    }

    fn wait(&mut self, id: FileId, now: Timestamp) {
        if let Some(archive) = self.all.get_mut(&id) {
            archive.wait(now);
        }
    }

    /// The oldest that may be unpacked, open.
    fn next(&mut self, around: &Around<'_>, now: Timestamp, out: &mut Out<'_>) -> Option<Reading> {
        loop {
            let is_due = |archive: &&Archive| {
                matches!(archive.state, State::Undecided)
                    && !archive.gone
                    && now.since_ns(archive.changed) >= archive.patience_ns
            };
            let due = self.all.values().filter(is_due).min_by_key(|archive| archive.stand.written)?;
            let (id, path) = (due.id, due.path.clone());
            match self.begin(id, around) {
                Ok(Some(reading)) => return Some(reading),
                Ok(None) => self.wait(id, now),
                Err(error) => {
                    self.wait(id, now);
                    // Nothing waits for one that cannot be read.
                    self.all.entry(id).and_modify(|archive| archive.beginning = Beginning::default());
                    if error.kind() != io::ErrorKind::NotFound {
                        (out.notice)(TailNotice::Unreadable { path, why: error.to_string() });
                    }
                }
            }
        }
    }

    /// Nothing when another file stands under its name by now.
    fn begin(&mut self, id: FileId, around: &Around<'_>) -> io::Result<Option<Reading>> {
        let siblings = self.all.values().filter(|archive| archive.id != id && matches!(archive.state, State::Done));
        let siblings: Vec<Record> =
            siblings.filter_map(|archive| archive.own.as_ref().map(|(_, record)| record.clone())).collect();
        let Some(archive) = self.all.get_mut(&id) else { return Ok(None) };
        let file = Arc::new(File::open(&archive.path)?);
        let metadata = file.metadata()?;
        if (FileId { dev: metadata.dev(), ino: metadata.ino() }) != id || metadata.len() != archive.stand.bytes {
            return Ok(None);
        }
        archive.beginning = beginning(&file, self.caps)?;
        let own = archive.own.as_ref().map(|(_, record)| record);
        let records = (own, &*around.departures, &self.finished, siblings);
        let phase = Phase::Judging(Judging::new(&archive.beginning, records, around.files)?);
        let packing = Packing::of(&file, archive.stand.bytes)?;
        let contents = Contents::open(&file, self.caps)?;
        Ok(Some(Reading { id, file, stand: archive.stand, packing, contents, phase }))
    }

    /// What has come of archives that wait.
    fn settle(&mut self, around: &Around<'_>, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        for archive in self.all.values_mut() {
            let key = archive.key(now);
            match &mut archive.state {
                State::Copy { of, life, holds, whole } => {
                    let Some(file) = around.files.get(of).filter(|file| file.life == *life) else {
                        archive.state = State::Undecided;
                        continue;
                    };
                    if *whole && file.consumed.position.offset >= holds.position.offset {
                        // In the order of that file: all that it holds is stored before.
                        let mark = Mark { file: Arc::clone(&file.shown), ..Mark::at(now) };
                        let mark = Mark { checkpoints: vec![holds.checkpoint(key.clone())], ..mark };
                        (archive.own, archive.state) = (Some((key, Record::clone(holds))), State::Done);
                        out.input(LogInput::Mark(mark))?;
                    }
                }
                State::Damaged { held, why } => {
                    let is_over = now.since_ns(archive.changed) >= around.settings.rotate_wait_ns;
                    // Whoever compresses takes the original away when the archive is whole.
                    let has_original = || {
                        let original = unpacked_name(&archive.path);
                        original != archive.path && original.exists()
                    };
                    if archive.gone || is_over && !has_original() {
                        let mut blocks = Vec::new();
                        held.finish(now, &mut blocks);
                        send(blocks, out)?;
                        let record = held.record(now, true);
                        let gap = Gap {
                            reason: GapReason::Damaged,
                            offset: record.position.offset,
                            known_bytes: 0,
                            from: archive.changed,
                            until: now,
                        };
                        around.stats.gaps.fetch_add(1, Relaxed);
                        let mark = Mark { file: Arc::clone(&held.shown), gap: Some(gap), ..Mark::at(now) };
                        let mark = Mark { checkpoints: vec![record.checkpoint(held.key.clone())], ..mark };
                        let notice = TailNotice::Unreadable { path: archive.path.clone(), why: why.clone() };
                        (archive.own, archive.state) = (Some((held.key.clone(), record)), State::Done);
                        out.input(LogInput::Mark(mark))?;
                        (out.notice)(notice);
                    }
                }
                State::Undecided | State::Done => {}
            }
        }
        Ok(())
    }
}

impl Archive {
    /// It was looked at in vain: it has to stand still longer.
    fn wait(&mut self, now: Timestamp) {
        self.changed = now;
        self.patience_ns = (self.patience_ns * 2).min(PATIENCE_MAX_NS);
    }

    /// May this hold a log of which nothing was read? It has the log's name and what rotation adds to it, and begins as the log did, when that is
    /// known.
    fn may_be_all_of(&self, record: &Record) -> bool {
        if record.position.offset > 0 || !record.may_be_rotated_to(&self.path) {
            return false;
        }
        record.seen.as_ref().is_none_or(|seen| {
            // An archive that was told in an earlier life was not opened in this one.
            let read = || File::open(&self.path).and_then(|file| beginning(&Arc::new(file), Caps::default()));
            let is_unknown = self.beginning.bytes().is_empty();
            seen.begins(self.beginning.bytes())
                || is_unknown && read().is_ok_and(|beginning| seen.begins(beginning.bytes()))
        })
    }

    /// Key of its checkpoint.
    fn key(&self, now: Timestamp) -> String {
        self.own.as_ref().map_or_else(|| self.id.key(now), |(key, _)| key.clone())
    }

    /// After a change: is it still an archive, and the one that is known?
    fn is_same(&mut self, caps: Caps) -> bool {
        let Ok(file) = File::open(&self.path) else { return false };
        let Ok(metadata) = file.metadata() else { return false };
        let is_known = |record: &Record| {
            record.packed.as_ref().is_none_or(|packing| packing.is_of(&file, metadata.len()).unwrap_or(false))
        };
        if !is_packed(&file).unwrap_or(false) || !self.own.as_ref().is_none_or(|(_, record)| is_known(record)) {
            return false;
        }
        self.beginning = beginning(&Arc::new(file), caps).unwrap_or_default();
        true
    }

    /// As findings name it: as the file whose record it goes on with, else by its own name, without what the compressor added
    /// to the service.
    fn shown(&self, record: Option<&Record>, group: Option<&Patterns>) -> LogFile {
        let service = group.and_then(|group| group.service.as_deref());
        let messages = group.map(|group| group.messages.clone()).unwrap_or_default();
        let real = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let start = self.beginning.bytes();
        if let Some(Record { path, service: remembered, .. }) = record {
            let of_record = LogFile::of(&self.path, &real, Some((path, remembered)), service, start);
            return LogFile { messages, ..of_record };
        }
        let path = self.path.to_string_lossy().into_owned();
        LogFile { path, messages, ..LogFile::of(unpacked_name(&self.path), unpacked_name(&real), None, service, start) }
    }
}

fn group_of<'g>(archive: &Archive, groups: &'g [Patterns]) -> Option<&'g Patterns> {
    groups.get(archive.group)
}

/// The name that a file had before it was compressed.
fn unpacked_name(path: &Path) -> &Path {
    let name = path.to_str().unwrap_or_default();
    let stem = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).filter(|stem| !stem.ends_with('/'));
    stem.map_or(path, Path::new)
}

/// Its first bytes, unpacked.
fn beginning(file: &Arc<File>, caps: Caps) -> io::Result<Beginning> {
    let mut head = vec![0; HEAD_BYTES];
    let count = Contents::open(file, caps)?.read(&mut head).0.len();
    head.truncate(count);
    Ok(Beginning::of(head))
}

/// Begins it as an archive does?
pub(super) fn is_packed(file: &File) -> io::Result<bool> {
    Ok(matches!(format(file)?, Format::Gzip | Format::Zstd))
}

/// How a file begins.
pub(super) fn format(file: &File) -> io::Result<Format> {
    let mut head = [0; 4];
    let count = file.read_at(&mut head, 0)?;
    Ok(Format::of(head.get(..count).unwrap_or_default()))
}
