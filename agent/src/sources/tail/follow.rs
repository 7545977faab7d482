//! All files that are followed, without a thread of its own. Enters: patterns, what was remembered, the time. Leaves:
//! [`LogInput`]s, in order for each file. It forgets nothing that is not told: bytes that are gone become a [`Gap`].
//!
//! A step looks at the patterns, then at each file, and reads. State: one entry a file that matches, at most
//! [`TailSettings::max_files`], and those that [`super::departed`] keeps.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
};

use super::{
    Gap, GapReason, LAGGING_MAX, LogInput, Mark, Out, Stopped, TailError, TailNotice, TailSettings, TailStats,
    archive::{self, Archives},
    departed::{Copies, Departed, Departures, Judged, Starts},
    file::{Followed, Skipped, State, first_bytes},
    finished::Finished,
    glob::{self, Found, Patterns},
    rate::Rate,
    record::{FileId, Record},
};
use crate::{
    sources::{
        Checkpoint,
        files::Format,
        log::{LogBlock, LogFile, stem},
    },
    units::Timestamp,
};

mod archives;
mod partly;

/// How long a file stands still before complete lines are handed on that wait for the end of a secret of several lines.
const HOLD_NS: u64 = 2_000_000_000;
/// So many blocks are read, of all files together, until what was written meanwhile is looked at. Scanned in about a tenth of a second, for which
/// other files wait at most.
pub(super) const TURNS: usize = 8;
/// Longest time until it is told that a file is skipped.
const GAP_NS: u64 = 1_000_000_000;
/// How long something cannot be read until that is a gap.
const UNREAD_NS: u64 = 5_000_000_000;
/// Paths that were told to be unreadable, compressed and so on, so that each is told once.
const TOLD_MAX: usize = 4096;

/// The files.
pub(super) struct Follower {
    settings: TailSettings,
    groups: Vec<Patterns>,
    files: BTreeMap<FileId, Followed>,
    departures: Departures,
    copies: Copies,
    /// While new names are looked at.
    starts: Option<Starts>,
    archives: Archives,
    /// By group.
    rates: Vec<Rate>,
    told: BTreeSet<PathBuf>,
    /// What could not be read at the last looks.
    unread: BTreeMap<PathBuf, Unread>,
    looks: u64,
    buffer: Vec<u8>,
    /// Files that match and are not followed, at the last look at everything.
    others: BTreeMap<FileId, PathBuf>,
    /// A link leads nowhere, and may some day.
    dangles: bool,
    /// Followed files that have more to read, or were cut.
    again: BTreeSet<FileId>,
    /// An archive is under way.
    unpacks: bool,
    /// Files were rotated away or are gone, and are not let go yet.
    has_rotated: bool,
    /// When the figures were made.
    tallied: Timestamp,
    stats: Arc<TailStats>,
}

/// Something that the globs fit and nobody reads.
struct Unread {
    since: Timestamp,
    /// The last look that found it so.
    look: u64,
    is_told: bool,
}

/// A file that turned up, open.
struct Candidate {
    id: FileId,
    found: Found,
    file: File,
    metadata: Metadata,
}

/// What a file is.
struct Recognised {
    /// From where to go on; from the start without it.
    resume: Option<Record>,
    /// What to remember and to forget with it.
    mark: Mark,
    /// Where among the departures its record was.
    taken: Option<String>,
    /// Key of its checkpoint.
    key: String,
}

impl Follower {
    /// Nothing is opened yet. `remembered` are the checkpoints of an earlier life.
    pub(super) fn new(
        settings: TailSettings,
        remembered: &[Checkpoint],
        stats: Arc<TailStats>,
    ) -> Result<Self, TailError> {
        Ok(Self {
            groups: settings.groups.iter().map(Patterns::new).collect::<Result<_, _>>()?,
            rates: settings.groups.iter().map(Rate::of).collect(),
            files: BTreeMap::new(),
            departures: Departures::new(remembered),
            copies: Copies::default(),
            starts: None,
            archives: Archives::new(Finished::new(remembered)),
            told: BTreeSet::new(),
            unread: BTreeMap::new(),
            looks: 0,
            buffer: vec![0; settings.cut.block_bytes],
            others: BTreeMap::new(),
            dangles: false,
            again: BTreeSet::new(),
            unpacks: false,
            has_rotated: false,
            tallied: Timestamp(0),
            settings,
            stats,
        })
    }

    #[cfg(test)]
    pub(super) fn stats(&self) -> Arc<TailStats> {
        Arc::clone(&self.stats)
    }

    /// Looks at everything once, and reads a turn of each file, and further turns of those that have more, up to [`TURNS`] blocks. True
    /// when there is more to read at once.
    pub(super) fn step(&mut self, now: Timestamp, out: &mut Out<'_>) -> Result<bool, Stopped> {
        self.looks += 1;
        let mut unreadable = Vec::new();
        let (mut found, dangles) = glob::find(&self.groups, |path, why| unreadable.push((path.to_owned(), why)));
        for (path, why) in unreadable {
            self.not_read(out, &path, now, |path| TailNotice::Unreadable { path, why });
        }
        let mut replaced = Vec::new();
        for file in self.files.values_mut() {
            match found.remove(&file.id) {
                Some(there) if file.is_replaced_by(&there) => replaced.push((file.id, there)),
                Some(there) => file.is_there(there),
                None => file.gone = file.gone.or(Some(now)),
            }
        }
        for (id, there) in replaced {
            found.insert(id, there);
            let Some(file) = self.files.remove(&id) else { continue };
            let mut mark = Mark { file: Arc::clone(&file.shown), ..Mark::at(now) };
            mark.forgotten.push(file.key.clone());
            self.archives.finished.add(file.record(), now, &mut mark);
            out.input(LogInput::Mark(mark))?;
        }
        for left in self.archives.look(&mut found, now) {
            self.left(left, now, out)?;
        }
        // What was truncated first: a copy of it that turns up in the same step is known then.
        self.look(self.files.keys().copied().collect::<Vec<_>>(), now, out)?;
        self.others = found.iter().map(|(id, found)| (*id, found.path.clone())).collect();
        self.dangles = dangles;
        self.take_in(found, now, out)?;
        self.read_turns(self.files.keys().copied().collect(), now, out)?;
        self.unpacks = self.unpack(now, out)?;
        self.hand_on_held(now, out)?;
        self.retire(now, out)?;
        for (key, departed) in self.departures.given_up(now, |record| self.archives.may_hold(record)) {
            self.give_up(key, departed, now, out)?;
        }
        self.unread.retain(|_, unread| unread.look == self.looks);
        self.tally(now);
        Ok(self.unpacks || !self.again.is_empty())
    }

    /// Figures.
    fn tally(&mut self, now: Timestamp) {
        self.tallied = now;
        self.stats.files.store(self.files.len() as u64, Relaxed);
        self.stats.unread.store(self.unread.len() as u64, Relaxed);
        self.stats.lag_bytes.store(self.files.values().map(Followed::lag_bytes).sum(), Relaxed);
        let lag = |file: &Followed| {
            Some((file.path.to_string_lossy().into_owned(), file.lag_bytes())).filter(|lag| lag.1 > 0)
        };
        let mut lagging: Vec<(String, u64)> = self.files.values().filter_map(lag).collect();
        lagging.sort_unstable_by_key(|(_, bytes)| Reverse(*bytes));
        lagging.truncate(LAGGING_MAX);
        *self.stats.lagging.lock().unwrap_or_else(PoisonError::into_inner) = lagging;
    }

    /// What is new at the files that are followed.
    fn look(
        &mut self,
        ids: impl IntoIterator<Item = FileId>,
        now: Timestamp,
        out: &mut Out<'_>,
    ) -> Result<(), Stopped> {
        for id in ids {
            let Some(file) = self.files.get_mut(&id) else { continue };
            let looked = file.reopen_if_grown().and_then(|()| file.look(now));
            match looked {
                Ok(State::Truncated) => self.truncated(id, now, out)?,
                Ok(State::AtEnd | State::More) => {}
                Err(error) => self.unreadable(id, &error, now, out),
            }
        }
        Ok(())
    }

    /// New names: files that are known from before, copies, or new ones.
    fn take_in(&mut self, found: BTreeMap<FileId, Found>, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        self.copies.keep(|id| found.contains_key(&id));
        self.starts = None;
        // Those that are known by their place go first: what is left of the records is free for copies and moved files.
        let (known, mut others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(id, _)| !self.departures.at(*id).is_empty());
        let there: BTreeSet<String> = known.iter().map(|(id, _)| id.place()).collect();
        let mut strangers = Vec::new();
        for (id, found) in known {
            strangers.extend(self.take(id, found, true, now, out)?);
        }
        others.extend(strangers);
        // A copy is never longer than the log that it is made of, and its name is.
        others.sort_by_cached_key(|(_, found)| (Reverse(found.size), found.path.as_os_str().len()));
        for (id, found) in others {
            self.take(id, found, false, now, out)?;
        }
        self.starts = None;
        // What is there and could not be opened, or found no place, is not gone.
        self.departures
            .looked(now, self.settings.rotate_wait_ns, |key| there.iter().any(|place| key.starts_with(place)));
        Ok(())
    }

    /// Takes a file in. Gives back one that only has the inode of one that was remembered: `known` ones come first, and it is not.
    fn take(
        &mut self,
        id: FileId,
        found: Found,
        known: bool,
        now: Timestamp,
        out: &mut Out<'_>,
    ) -> Result<Option<(FileId, Found)>, Stopped> {
        if self.files.len() >= self.settings.max_files {
            let max = self.settings.max_files;
            self.not_read(out, &found.path, now, |path| TailNotice::TooMany { path, max });
            return Ok(None);
        }
        let path = found.path.clone();
        let taken = match open(id, found) {
            Ok(Some(candidate)) if known => match self.is_known(&candidate) {
                Ok(true) => self.adopt(candidate, now, out)?,
                Ok(false) => return Ok(Some((id, candidate.found))),
                Err(error) => Err(error),
            },
            Ok(Some(candidate)) => self.adopt(candidate, now, out)?,
            // Another file stands under that name by now; the next step sees it.
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.not_read(out, &path, now, |path| TailNotice::Unreadable { path, why: error.to_string() });
            }
        }
        Ok(None)
    }

    /// Is it one of those that are remembered of its place?
    fn is_known(&self, Candidate { id, file, metadata, .. }: &Candidate) -> io::Result<bool> {
        for key in self.departures.at(*id) {
            let Some(Departed { record, .. }) = self.departures.get(&key) else { continue };
            let is_same = match &record.packed {
                Some(packing) => packing.is_of(file, metadata.len())?,
                // One of which nothing was read is told by its beginning, behind those of which something was.
                None => record.position.offset > 0 && record.is_of(file)?,
            };
            if is_same {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn adopt(&mut self, candidate: Candidate, now: Timestamp, out: &mut Out<'_>) -> Result<io::Result<()>, Stopped> {
        match archive::format(&candidate.file) {
            Ok(Format::Plain) => {}
            Ok(Format::Gzip | Format::Zstd) => return self.adopt_archive(candidate, now, out),
            Ok(Format::Unclear) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
        let Recognised { resume, mut mark, taken, key } = match self.recognise(&candidate, now) {
            Ok(Some(recognised)) => recognised,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        let Candidate { id, found, file, metadata } = candidate;
        let group = self.groups.get(found.group);
        let opened = (found.path.clone(), file, &metadata);
        let mut followed = match Followed::open(opened, key, group, resume.as_ref(), self.settings.cut, now) {
            Ok(followed) => followed,
            Err(error) => {
                // Cut in this very moment, perhaps. What is known of it is still needed: it is looked at again.
                if let (Some(key), Some(record)) = (taken, resume) {
                    let until = Timestamp(now.0.saturating_add(self.settings.rotate_wait_ns));
                    self.departures.give_back(key, record, until);
                }
                return Ok(Err(error));
            }
        };
        if !mark.forgotten.is_empty() || !mark.checkpoints.is_empty() {
            mark.file = Arc::clone(&followed.shown);
            mark.checkpoints.push(followed.record().checkpoint(followed.key.clone()));
            out.input(LogInput::Mark(mark))?;
        }
        followed.group = found.group;
        let from = followed.consumed.position.offset;
        self.copies.forget(id);
        if let Some(starts) = &mut self.starts {
            starts.add(followed.first(), id);
        }
        self.files.insert(id, followed);
        self.tell(out, found.path, |path| TailNotice::Following { path, from });
        Ok(Ok(()))
    }

    /// Which file is this? Nothing when it is not to be read, at least not yet.
    fn recognise(&mut self, candidate: &Candidate, now: Timestamp) -> io::Result<Option<Recognised>> {
        let Candidate { id, found, file, metadata } = candidate;
        let mut mark = Mark::at(now);
        let (here, mut same) = (self.departures.at(*id), None);
        for key in &here {
            let Some(Departed { record, .. }) = self.departures.get(key) else { continue };
            let farthest = same.as_ref().map_or(0, |(_, offset)| *offset);
            if record.position.offset > farthest && record.is_of(file)? {
                same = Some((key.clone(), record.position.offset));
            }
        }
        let like = if same.is_none() { self.departures.take_like(file, metadata.len())? } else { None };
        // A copy may stand in the place of a file that is gone: it waits, and what is known of that file waits with it.
        let judged = match (&same, &like) {
            (None, None) => {
                let starts = self.starts.get_or_insert_with(|| Starts::of(&self.files));
                self.copies.judge(*id, file, metadata.len(), &self.files, starts)?
            }
            _ => Judged::New,
        };
        if matches!(judged, Judged::Waits) {
            return Ok(None);
        }
        // Of a file of which nothing was read the place is known, and perhaps how it begins: it is the one that stands there, unless that is a copy.
        let first = if here.is_empty() { Vec::new() } else { first_bytes(file)? };
        let is_unread = |key: &&String| {
            let record = self.departures.get(key).map(|departed| &departed.record);
            let begins = |record: &Record| record.seen.as_ref().is_none_or(|seen| seen.begins(&first));
            record.is_some_and(|record| record.position.offset == 0 && begins(record))
        };
        let can_be = matches!((&like, &judged), (None, Judged::New));
        let unread = here.iter().find(|key| can_be && is_unread(key)).map(|key| (key.clone(), 0));
        let resume = same.or(unread).and_then(|(key, _)| Some((self.departures.take(&key)?.record, key)));
        for key in &here {
            self.displace(key, *id, &found.path, &mut mark);
        }
        if let Some((record, key)) = resume {
            return Ok(Some(Recognised { resume: Some(record), mark, taken: Some(key.clone()), key }));
        }
        let key = id.key(now);
        if let Some((taken, departed)) = like {
            mark.forgotten.push(taken.clone());
            return Ok(Some(Recognised { resume: Some(departed.record), mark, taken: Some(taken), key }));
        }
        let resume = if let Judged::GoesOn(mut record) = judged {
            // Its own life, so its own name.
            record.path = found.path.to_string_lossy().into_owned();
            record.service = stem(&found.path);
            Some(record)
        } else {
            None
        };
        Ok(Some(Recognised { resume, mark, taken: None, key }))
    }

    /// Reads these files in turns.
    fn read_turns(&mut self, mut ids: Vec<FileId>, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        let before = self.stats.read_bytes.load(Relaxed);
        let most = (TURNS * self.settings.cut.block_bytes) as u64;
        self.again.clear();
        while !ids.is_empty() && self.stats.read_bytes.load(Relaxed) - before < most {
            ids = self.read(ids, now, out)?;
        }
        self.again.extend(ids);
        Ok(())
    }

    /// Reads a block of each of these files, no further than they were long at the last look. Gives those that have more.
    fn read(&mut self, ids: Vec<FileId>, now: Timestamp, out: &mut Out<'_>) -> Result<Vec<FileId>, Stopped> {
        let mut more = Vec::new();
        for id in ids {
            let Some(file) = self.files.get_mut(&id) else { continue };
            let before = file.consumed.position.offset + file.held_bytes();
            let mut blocks = Vec::new();
            let state = file.read(now, &mut blocks);
            let count = (file.consumed.position.offset + file.held_bytes()).saturating_sub(before);
            self.stats.read_bytes.fetch_add(count, Relaxed);
            if let Some(rate) = self.rates.get_mut(file.group) {
                if rate.is_over(now) {
                    self.stats.capped_bytes.fetch_add(file.skip(&mut blocks, now), Relaxed);
                } else {
                    rate.pass(count, now);
                }
            }
            // Before a checkpoint passes them, or a second is over, or nothing follows.
            let is_due = |skipped: &mut Skipped| {
                !blocks.is_empty() || !matches!(state, Ok(State::More)) || now.since_ns(skipped.since) >= GAP_NS
            };
            if let Some(skipped) = file.skipped.take_if(is_due) {
                self.stats.gaps.fetch_add(1, Relaxed);
                out.input(LogInput::Mark(skipped.mark(&file.shown, now)))?;
            }
            send(blocks, out)?;
            match state {
                Ok(State::More) => more.push(id),
                Ok(State::AtEnd) => {}
                Ok(State::Truncated) => {
                    self.truncated(id, now, out)?;
                    // It is looked at first.
                    self.again.insert(id);
                }
                Err(error) => self.unreadable(id, &error, now, out),
            }
        }
        Ok(more)
    }

    /// A file starts again. What was not read of it may still turn up in a copy.
    fn truncated(&mut self, id: FileId, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        let Some(file) = self.files.get_mut(&id) else { return Ok(()) };
        if let Some(skipped) = file.skipped.take() {
            self.stats.gaps.fetch_add(1, Relaxed);
            out.input(LogInput::Mark(skipped.mark(&file.shown, now)))?;
        }
        let record = file.record();
        let mut rest = Vec::new();
        file.finish(now, &mut rest);
        // They are told late if at all, and must not take the checkpoint of the file's next life back.
        for block in &mut rest {
            block.checkpoint = None;
        }
        if let Err(error) = file.restart(now) {
            self.unreadable(id, &error, now, out);
            return Ok(());
        }
        let mut mark = Mark { file: Arc::clone(&file.shown), ..Mark::at(now) };
        let restarted = file.record().checkpoint(file.key.clone());
        let departed = Departed { record, reason: GapReason::Truncated, given_up_at: None, rest };
        mark.checkpoints.push(self.departures.add(id, departed, now, self.settings.rotate_wait_ns));
        mark.checkpoints.push(restarted);
        self.stats.truncations.fetch_add(1, Relaxed);
        out.input(LogInput::Mark(mark))
    }

    /// Files that stand still: lines that wait for more are handed on.
    fn hand_on_held(&mut self, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        for file in self.files.values_mut() {
            if holds_still(file, now) && file.lag_bytes() <= file.held_bytes() {
                let mut blocks = Vec::new();
                file.flush_held(now, &mut blocks);
                send(blocks, out)?;
            }
        }
        Ok(())
    }

    /// What was rotated away, read, and stands still is let go.
    fn retire(&mut self, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        let (mut released, mut open) = (Vec::new(), false);
        for (id, file) in &mut self.files {
            if file.file.is_none() && file.gone.is_none() {
                continue;
            }
            let rotated = file.gone.is_some() || file.path.to_string_lossy() != file.shown.path;
            open |= rotated;
            if file.lag_bytes() > file.held_bytes() {
                continue;
            }
            let mut blocks = Vec::new();
            let since = file.gone.map_or(file.grew, |gone| gone.max(file.grew));
            let done = rotated && now.since_ns(since) >= self.settings.rotate_wait_ns;
            if done {
                file.finish(now, &mut blocks);
                (file.ended, file.file) = (true, None);
            }
            send(blocks, out)?;
            if done {
                let mut mark = Mark { file: Arc::clone(&file.shown), ..Mark::at(now) };
                if file.gone.is_some() {
                    released.push(*id);
                    mark.forgotten.push(file.key.clone());
                    self.archives.finished.add(file.record(), now, &mut mark);
                } else {
                    mark.checkpoints.push(file.record().checkpoint(file.key.clone()));
                }
                out.input(LogInput::Mark(mark))?;
            }
        }
        for id in released {
            self.files.remove(&id);
        }
        self.has_rotated = open;
        Ok(())
    }

    /// Nothing with the bytes of this file turned up: they are lost, and that is told.
    fn give_up(&mut self, key: String, departed: Departed, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        let mut mark = Mark { file: departed.record.shown(), ..Mark::at(now) };
        // Its own next life is no copy of it.
        let is_other = |id: FileId| !key.starts_with(&Departures::place(id));
        let is_elsewhere = self.archives.has_all_of(&departed.record)
            || self.files.iter().any(|(id, file)| is_other(*id) && file.has_all_of_unread(&departed.record));
        if !departed.record.ended && !is_elsewhere {
            let gap = departed.gap(now);
            self.stats.gaps.fetch_add(1, Relaxed);
            self.stats.gap_bytes.fetch_add(gap.known_bytes, Relaxed);
            mark.gap = Some(gap);
        }
        // The end of its last line was seen, and nobody else will tell it.
        send(departed.rest, out)?;
        mark.forgotten.push(key);
        self.archives.finished.add(departed.record, now, &mut mark);
        out.input(LogInput::Mark(mark))
    }

    fn unreadable(&mut self, id: FileId, error: &io::Error, now: Timestamp, out: &mut Out<'_>) {
        let Some(path) = self.files.get(&id).map(|file| file.path.clone()) else { return };
        self.not_read(out, &path, now, |path| TailNotice::Unreadable { path, why: error.to_string() });
    }

    /// Something that the globs fit is not looked at. People hear of it at once; it is a gap when it lasts, for a file that is cut or moved in the
    /// very moment is read at the next look.
    fn not_read(&mut self, out: &mut Out<'_>, path: &Path, now: Timestamp, notice: impl FnOnce(PathBuf) -> TailNotice) {
        let notice = notice(path.to_owned());
        let is_one_too_many = matches!(notice, TailNotice::TooMany { .. });
        self.tell(out, path.to_owned(), |_| notice);
        if self.unread.len() >= TOLD_MAX && !self.unread.contains_key(path) {
            return;
        }
        let look = self.looks;
        let unread = self.unread.entry(path.to_owned()).or_insert(Unread { since: now, look, is_told: false });
        unread.look = look;
        if !unread.is_told && now.since_ns(unread.since) >= UNREAD_NS {
            unread.is_told = true;
            let file = Arc::new(LogFile::of(path, path, None, None, &[]));
            let reason = if is_one_too_many { GapReason::TooMany } else { GapReason::Unreadable };
            let gap = Gap { reason, offset: 0, known_bytes: 0, from: unread.since, until: now };
            // Whether anybody still listens shows with the next input.
            let _ = out.input(LogInput::Mark(Mark { file, gap: Some(gap), ..Mark::at(now) }));
        }
    }

    fn tell(&mut self, out: &mut Out<'_>, path: PathBuf, notice: impl FnOnce(PathBuf) -> TailNotice) {
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        let notice = notice(path.clone());
        if matches!(notice, TailNotice::Following { .. }) || self.told.insert(path) {
            (out.notice)(notice);
        }
    }
}

impl Skipped {
    /// Tells it.
    fn mark(self, shown: &Arc<LogFile>, now: Timestamp) -> Mark {
        let Self { offset, bytes, since, checkpoint } = self;
        let gap = Gap { reason: GapReason::RateCap, offset, known_bytes: bytes, from: since, until: now };
        let mark = Mark { file: Arc::clone(shown), gap: Some(gap), ..Mark::at(now) };
        Mark { checkpoints: checkpoint.into_iter().collect(), ..mark }
    }
}

/// It holds lines, and has stood still for so long that they are not waited with.
fn holds_still(file: &Followed, now: Timestamp) -> bool {
    file.held_bytes() > 0 && now.since_ns(file.grew) >= HOLD_NS
}

pub(super) fn send(blocks: Vec<LogBlock>, out: &mut Out<'_>) -> Result<(), Stopped> {
    blocks.into_iter().try_for_each(|block| out.input(LogInput::Block(block)))
}

/// The file of a name; `None` when it is not the file any more that the name stood for.
fn open(id: FileId, found: Found) -> io::Result<Option<Candidate>> {
    let file = File::open(&found.path)?;
    let metadata = file.metadata()?;
    let same = FileId { dev: metadata.dev(), ino: metadata.ino() } == id && metadata.is_file();
    Ok(same.then_some(Candidate { id, found, file, metadata }))
}
