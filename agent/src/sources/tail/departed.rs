//! Files whose bytes may be elsewhere. Enters: records of files that are gone or were truncated, and files that look like one that
//! is followed. Leaves: which file goes on where another one ended, and what was given up. It reads only what it needs to compare.
//!
//! State, bounded: [`DEPARTED_MAX`] departed files, the oldest given up first; copies are as many as files match.

use std::{collections::BTreeMap, fs::File, io, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use super::{
    Gap, GapReason,
    file::{FIRST_BYTES, Followed},
    record::{DEPARTED, FileId, HEAD_BYTES, LIVE, Record, free_key},
};
use crate::{
    sources::{
        Checkpoint,
        log::{LogBlock, LogFile},
    },
    units::Timestamp,
};

/// Departed files that are remembered while it is unclear what became of them.
const DEPARTED_MAX: usize = 4096;

/// A file that is gone or was truncated, and was not read to its end as far as we know.
#[derive(Debug)]
pub(super) struct Departed {
    pub record: Record,
    pub reason: GapReason,
    /// When it is given up; never before the first look at all patterns.
    pub given_up_at: Option<Timestamp>,
    /// The end of its last line, for the case that no copy turns up.
    pub rest: Vec<LogBlock>,
}

impl Departed {
    /// What is lost with it.
    pub(super) fn gap(&self, now: Timestamp) -> Gap {
        let told: u64 = self.rest.iter().map(|block| (block.bytes.len() - block.carry) as u64).sum();
        Gap {
            reason: self.reason,
            offset: self.record.position.offset + told,
            known_bytes: self.record.unread().saturating_sub(told),
            from: Timestamp(self.record.seen_ns),
            until: now,
        }
    }
}

impl Record {
    /// The file as findings name it.
    pub(super) fn shown(&self) -> Arc<LogFile> {
        let path = Path::new(&self.path);
        Arc::new(LogFile::of(path, path, Some((&self.path, &self.service)), None, &[]))
    }
}

/// All of them, by the key of their checkpoint.
#[derive(Debug)]
pub(super) struct Departures {
    all: BTreeMap<String, Departed>,
    /// The patterns were looked at once: what was remembered and not found then is gone.
    looked: bool,
}

impl Departures {
    /// At the start everything that is remembered is gone, until it is found.
    pub(super) fn new(remembered: &[Checkpoint]) -> Self {
        let all = remembered.iter().filter_map(|checkpoint| {
            let reason = match &checkpoint.key {
                key if key.starts_with(DEPARTED) => GapReason::Truncated,
                key if key.starts_with(LIVE) => GapReason::Gone,
                _ => return None,
            };
            let record = Record::read(checkpoint)?;
            Some((checkpoint.key.clone(), Departed { record, reason, given_up_at: None, rest: Vec::new() }))
        });
        Self { all: all.collect(), looked: false }
    }

    /// Keys of those whose place this was; seldom more than one.
    pub(super) fn at(&self, id: FileId) -> Vec<String> {
        let place = id.place();
        let from_there = self.all.range(place.clone()..).map(|(key, _)| key);
        from_there.take_while(|key| key.starts_with(&place)).cloned().collect()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Departed> {
        self.all.get(key)
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Departed> {
        self.all.remove(key)
    }

    /// Gives one back that was taken and could not be gone on with; it has until then.
    pub(super) fn give_back(&mut self, key: String, record: Record, until: Timestamp) {
        let departed = Departed { record, reason: GapReason::Truncated, given_up_at: Some(until), rest: Vec::new() };
        self.all.insert(key, departed);
    }

    /// With what the keys of those begin that were there.
    pub(super) fn place(id: FileId) -> String {
        format!("{DEPARTED}{:x}:{}:", id.dev, id.ino)
    }

    /// Keeps one for `wait_ns`; gives the checkpoint that remembers it.
    pub(super) fn add(&mut self, id: FileId, mut departed: Departed, now: Timestamp, wait_ns: u64) -> Checkpoint {
        departed.given_up_at = Some(Timestamp(now.0.saturating_add(wait_ns)));
        // Two may leave one place at once: records of nothing read, or a file that is cut twice while it is looked at.
        let key = free_key(&self.all, |number| format!("{}{:x}:{number}", Self::place(id), now.0));
        let checkpoint = departed.record.checkpoint(key.clone());
        self.all.insert(key, departed);
        checkpoint
    }

    /// Takes the one whose consumed bytes `file` starts with; of several, the one that was read farthest.
    pub(super) fn take_like(&mut self, file: &File, size: u64) -> io::Result<Option<(String, Departed)>> {
        let mut best: Option<(&String, u64)> = None;
        for (key, departed) in &self.all {
            let offset = departed.record.position.offset;
            // Any file starts with nothing.
            let farther = offset > best.map_or(0, |(_, offset)| offset);
            if farther && offset <= size && departed.record.is_of(file)? {
                best = Some((key, offset));
            }
        }
        let key = best.map(|(key, _)| key.clone());
        Ok(key.and_then(|key| self.all.remove_entry(&key)))
    }

    /// All patterns were looked at: whatever was remembered and did not turn up has `wait_ns` left. Those that are `there` and could
    /// not be opened have it from now on, again and again.
    pub(super) fn looked(&mut self, now: Timestamp, wait_ns: u64, there: impl Fn(&str) -> bool) {
        let until = Some(Timestamp(now.0.saturating_add(wait_ns)));
        for (key, departed) in &mut self.all {
            if there(key) {
                departed.given_up_at = until;
            } else if !self.looked {
                departed.given_up_at = departed.given_up_at.or(until);
            }
        }
        self.looked = true;
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Record)> {
        self.all.iter().map(|(key, departed)| (key, &departed.record))
    }

    /// Takes those whose time is over, or for which there is no room. Those that `may_turn_up` keep theirs.
    pub(super) fn given_up(
        &mut self,
        now: Timestamp,
        may_turn_up: impl Fn(&Record) -> bool,
    ) -> Vec<(String, Departed)> {
        let mut keys: Vec<(Timestamp, String)> = Vec::new();
        let over = self.all.len().saturating_sub(DEPARTED_MAX);
        let mut dated: Vec<(Timestamp, &String)> =
            self.all.iter().filter_map(|(key, departed)| Some((departed.given_up_at?, key))).collect();
        dated.sort_unstable();
        for (position, (until, key)) in dated.into_iter().enumerate() {
            let is_over = || self.all.get(key).is_none_or(|departed| !may_turn_up(&departed.record));
            if position < over || until <= now && is_over() {
                keys.push((until, key.clone()));
            }
        }
        keys.into_iter().filter_map(|(_, key)| self.all.remove_entry(&key)).collect()
    }
}

/// Files that hold what a followed file holds: the copy of a `copytruncate` that is under way, or somebody's backup. They wait,
/// because what they hold was read or is being read. By file: where the copy can go on when it gets a life of its own; nowhere
/// while it is shorter than what was read.
#[derive(Debug, Default)]
pub(super) struct Copies(BTreeMap<FileId, Option<Record>>);

/// What a file that turned up is.
#[derive(Debug)]
pub(super) enum Judged {
    /// Unknown so far.
    New,
    /// It goes on from here.
    GoesOn(Record),
    /// A copy, or still empty; it is clear later.
    Waits,
}

/// Followed files by their first bytes: of thousands that turn up together each is compared with those that begin alike only.
#[derive(Debug)]
pub(super) struct Starts(BTreeMap<Vec<u8>, Vec<FileId>>);

impl Starts {
    pub(super) fn of(files: &BTreeMap<FileId, Followed>) -> Self {
        let mut starts = Self(BTreeMap::new());
        for (id, file) in files {
            starts.add(file.first(), *id);
        }
        starts
    }

    pub(super) fn add(&mut self, first: &[u8], id: FileId) {
        self.0.entry(first.to_vec()).or_default().push(id);
    }

    /// Those that begin with `first`, and those that are shorter and that it begins with.
    fn like(&self, first: &[u8]) -> impl Iterator<Item = FileId> {
        let longer = self.0.range(first.to_vec()..).take_while(move |(start, _)| start.starts_with(first));
        let shorter = (1..first.len()).filter_map(move |length| self.0.get_key_value(first.get(..length)?));
        longer.chain(shorter).flat_map(|(_, ids)| ids).copied()
    }
}

impl Copies {
    /// Lets go of those that are not there any more.
    pub(super) fn keep(&mut self, there: impl Fn(FileId) -> bool) {
        self.0.retain(|id, _| there(*id));
    }

    pub(super) fn forget(&mut self, id: FileId) {
        self.0.remove(&id);
    }

    /// Is this a copy of one of `files`?
    pub(super) fn judge(
        &mut self,
        id: FileId,
        file: &File,
        size: u64,
        files: &BTreeMap<FileId, Followed>,
        starts: &Starts,
    ) -> io::Result<Judged> {
        let mut first = [0; FIRST_BYTES];
        let count = file.read_at(&mut first, 0)?;
        let first = first.get(..count).unwrap_or_default();
        // Of an empty file nobody can say what it will be.
        if first.is_empty() {
            return Ok(Judged::Waits);
        }
        for other in starts.like(first).filter_map(|id| files.get(&id)) {
            if is_snapshot(file, size, other)? {
                let record = Some(other.record()).filter(|record| record.position.offset <= size);
                self.0.insert(id, record);
                return Ok(Judged::Waits);
            }
            // Truncated after it was looked at in this step: from where the copy is to be read the next step knows.
            if other.was_cut()? {
                return Ok(Judged::Waits);
            }
        }
        // It was a copy, and has a life of its own by now; or what it was a copy of was let go.
        match self.0.get(&id).cloned().flatten() {
            Some(record) if record.position.offset > 0 && record.is_of(file)? => Ok(Judged::GoesOn(record)),
            _ => Ok(Judged::New),
        }
    }
}

/// Does `file` hold what `other` holds, as far as it goes? Told by its first and last bytes.
fn is_snapshot(file: &File, size: u64, other: &Followed) -> io::Result<bool> {
    let Ok(original) = other.handle() else { return Ok(false) };
    if size > original.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut two) = ([0; HEAD_BYTES], [0; HEAD_BYTES]);
    let length = size.min(HEAD_BYTES as u64) as usize;
    for at in [0, size - length as u64] {
        let (Some(one), Some(two)) = (one.get_mut(..length), two.get_mut(..length)) else { return Ok(false) };
        match file.read_exact_at(one, at).and_then(|()| original.read_exact_at(two, at)) {
            Ok(()) if one == two => {}
            Ok(()) => return Ok(false),
            // One of them was cut meanwhile.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::tail::record::Consumed;

    #[test]
    fn two_that_leave_one_place_at_once_are_two() {
        let mut departures = Departures::new(&[]);
        let mut add = |name: &str| {
            let record = Consumed::nothing().record(name, "app", 7, Timestamp(1), false);
            let departed = Departed { record, reason: GapReason::Gone, given_up_at: None, rest: Vec::new() };
            departures.add(FileId { dev: 1, ino: 2 }, departed, Timestamp(3), 5).key
        };
        assert_ne!(add("one"), add("two"));
        assert_eq!(departures.given_up(Timestamp(8), |_| false).len(), 2);
    }
}
