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
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
};

use super::{
    GapReason, LAGGING_MAX, LogInput, Mark, Out, Stopped, TailError, TailNotice, TailSettings, TailStats,
    departed::{Copies, Departed, Departures, Judged},
    file::{Followed, State},
    glob::{self, Found, Patterns},
    record::{FileId, Record},
};
use crate::{
    sources::{
        Checkpoint,
        log::{LogBlock, stem},
    },
    units::Timestamp,
};

/// How long a file stands still before complete lines are handed on that wait for the end of a secret of several lines.
const HOLD_NS: u64 = 2_000_000_000;
/// Paths that were told to be unreadable, compressed and so on, so that each is told once.
const TOLD_MAX: usize = 4096;

/// The files.
pub(super) struct Follower {
    settings: TailSettings,
    groups: Vec<Patterns>,
    files: BTreeMap<FileId, Followed>,
    departures: Departures,
    copies: Copies,
    told: BTreeSet<PathBuf>,
    buffer: Vec<u8>,
    stats: Arc<TailStats>,
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
            files: BTreeMap::new(),
            departures: Departures::new(remembered),
            copies: Copies::default(),
            told: BTreeSet::new(),
            buffer: vec![0; settings.cut.block_bytes],
            settings,
            stats,
        })
    }

    /// Folders in which something new may turn up.
    pub(super) fn folders(&self) -> BTreeSet<PathBuf> {
        let of_files = self.files.values().filter_map(|file| file.path.parent().map(Path::to_owned));
        self.groups.iter().flat_map(Patterns::folders).chain(of_files).collect()
    }

    /// Looks at everything once, and reads a turn of each file. True when there is more to read at once.
    pub(super) fn step(&mut self, now: Timestamp, out: &mut Out<'_>) -> Result<bool, Stopped> {
        let mut unreadable = Vec::new();
        let mut found = glob::find(&self.groups, |path, why| unreadable.push((path.to_owned(), why)));
        for (path, why) in unreadable {
            self.tell(out, path, |path| TailNotice::Unreadable { path, why });
        }
        for file in self.files.values_mut() {
            match found.remove(&file.id) {
                Some(Found { path, .. }) => (file.path, file.gone) = (path, None),
                None => file.gone = file.gone.or(Some(now)),
            }
        }
        // What was truncated first: a copy of it that turns up in the same step is known then.
        self.look(now, out)?;
        self.take_in(found, now, out)?;
        let more = self.read(now, out)?;
        self.retire(now, out)?;
        for (key, departed) in self.departures.given_up(now) {
            self.give_up(key, departed, now, out)?;
        }
        self.stats.files.store(self.files.len() as u64, Relaxed);
        self.stats.lag_bytes.store(self.files.values().map(Followed::lag_bytes).sum(), Relaxed);
        let lag = |file: &Followed| {
            Some((file.path.to_string_lossy().into_owned(), file.lag_bytes())).filter(|lag| lag.1 > 0)
        };
        let mut lagging: Vec<(String, u64)> = self.files.values().filter_map(lag).collect();
        lagging.sort_unstable_by_key(|(_, bytes)| Reverse(*bytes));
        lagging.truncate(LAGGING_MAX);
        *self.stats.lagging.lock().unwrap_or_else(PoisonError::into_inner) = lagging;
        Ok(more)
    }

    /// What is new at the files that are followed.
    fn look(&mut self, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        let ids: Vec<FileId> = self.files.keys().copied().collect();
        for id in ids {
            let Some(file) = self.files.get_mut(&id) else { continue };
            let looked = file.reopen_if_grown().and_then(|()| file.look(now));
            match looked {
                Ok(State::Truncated) => self.truncated(id, now, out)?,
                Ok(State::AtEnd | State::More) => {}
                Err(error) => self.unreadable(id, &error, out),
            }
        }
        Ok(())
    }

    /// New names: files that are known from before, copies, or new ones.
    fn take_in(&mut self, found: BTreeMap<FileId, Found>, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        self.copies.keep(|id| found.contains_key(&id));
        // Those that are known by their place go first: what is left of the records is free for copies and moved files.
        let (known, mut others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(id, _)| !self.departures.at(*id).is_empty());
        let there: BTreeSet<String> = known.iter().map(|(id, _)| id.place()).collect();
        // A copy is never longer than the log that it is made of, and its name is.
        others.sort_by_cached_key(|(_, found)| (Reverse(found.size), found.path.as_os_str().len()));
        for (id, found) in known.into_iter().chain(others) {
            if self.files.len() >= self.settings.max_files {
                let max = self.settings.max_files;
                self.tell(out, found.path, |path| TailNotice::TooMany { path, max });
                continue;
            }
            let path = found.path.clone();
            let opened = open(id, found);
            let taken = match opened {
                Ok(Some(candidate)) => self.adopt(candidate, now, out),
                // Another file stands under that name by now; the next step sees it.
                Ok(None) => Ok(Ok(())),
                Err(error) => Ok(Err(error)),
            };
            match taken? {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.tell(out, path, |path| TailNotice::Unreadable { path, why: error.to_string() }),
            }
        }
        // What is there and could not be opened, or found no place, is not gone.
        self.departures
            .looked(now, self.settings.rotate_wait_ns, |key| there.iter().any(|place| key.starts_with(place)));
        Ok(())
    }

    fn adopt(&mut self, candidate: Candidate, now: Timestamp, out: &mut Out<'_>) -> Result<io::Result<()>, Stopped> {
        let Recognised { resume, mut mark, taken, key } = match self.recognise(&candidate, now) {
            Ok(Some(recognised)) => recognised,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        let Candidate { id, found, file, metadata } = candidate;
        let service = self.groups.get(found.group).and_then(|group| group.service.as_deref());
        let opened = (found.path.clone(), file, &metadata);
        let followed = match Followed::open(opened, key, service, resume.as_ref(), self.settings.cut, now) {
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
        let from = followed.consumed.position.offset;
        self.copies.forget(id);
        self.files.insert(id, followed);
        self.tell(out, found.path, |path| TailNotice::Following { path, from });
        Ok(Ok(()))
    }

    /// Which file is this? Nothing when it is not to be read, at least not yet.
    fn recognise(&mut self, candidate: &Candidate, now: Timestamp) -> io::Result<Option<Recognised>> {
        let Candidate { id, found, file, metadata } = candidate;
        if is_compressed(file)? {
            return Err(io::Error::other("it is compressed; `outflow scan` reads it"));
        }
        let mut mark = Mark::at(now);
        let (here, mut same) = (self.departures.at(*id), None);
        for key in &here {
            let Some(Departed { record, .. }) = self.departures.get(key) else { continue };
            let farthest = same.as_ref().map(|(_, offset)| *offset);
            if farthest.is_none_or(|farthest| record.position.offset > farthest) && record.is_of(file)? {
                same = Some((key.clone(), record.position.offset));
            }
        }
        let like = if same.is_none() { self.departures.take_like(file, metadata.len())? } else { None };
        // A copy may stand in the place of a file that is gone: it waits, and what is known of that file waits with it.
        let judged = match (&same, &like) {
            (None, None) => self.copies.judge(*id, file, metadata.len(), &self.files)?,
            _ => Judged::New,
        };
        if matches!(judged, Judged::Waits) {
            return Ok(None);
        }
        let resume = same.and_then(|(key, _)| Some((self.departures.take(&key)?.record, key)));
        for key in &here {
            // Another file has its place, or it was truncated while nobody looked. Read to its end, it may go.
            let Some(departed) = self.departures.take(key) else { continue };
            mark.forgotten.push(key.clone());
            if !departed.record.ended {
                let same_name = found.path.to_string_lossy() == departed.record.path;
                let reason = if same_name { GapReason::Truncated } else { GapReason::Gone };
                let departed = Departed { reason, ..departed };
                mark.checkpoints.push(self.departures.add(*id, departed, now, self.settings.rotate_wait_ns));
            }
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

    fn read(&mut self, now: Timestamp, out: &mut Out<'_>) -> Result<bool, Stopped> {
        let mut more = false;
        let ids: Vec<FileId> = self.files.keys().copied().collect();
        for id in ids {
            let Some(file) = self.files.get_mut(&id) else { continue };
            let before = file.consumed.position.offset + file.held_bytes();
            let mut blocks = Vec::new();
            let state = file.read(&mut self.buffer, now, &mut blocks);
            let count = (file.consumed.position.offset + file.held_bytes()).saturating_sub(before);
            self.stats.read_bytes.fetch_add(count, Relaxed);
            send(blocks, out)?;
            match state {
                Ok(State::More) => more = true,
                Ok(State::AtEnd) => {}
                Ok(State::Truncated) => {
                    self.truncated(id, now, out)?;
                    more = true;
                }
                Err(error) => self.unreadable(id, &error, out),
            }
        }
        Ok(more)
    }

    /// A file starts again. What was not read of it may still turn up in a copy.
    fn truncated(&mut self, id: FileId, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        let Some(file) = self.files.get_mut(&id) else { return Ok(()) };
        let record = file.record();
        let mut rest = Vec::new();
        file.finish(now, &mut rest);
        // They are told late if at all, and must not take the checkpoint of the file's next life back.
        for block in &mut rest {
            block.checkpoint = None;
        }
        if let Err(error) = file.restart(now) {
            self.unreadable(id, &error, out);
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

    /// Files that stand still: lines that wait for more are handed on, and what was rotated away and read is let go.
    fn retire(&mut self, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        let mut released = Vec::new();
        for (id, file) in &mut self.files {
            if file.file.is_none() && file.gone.is_none() || file.lag_bytes() > file.held_bytes() {
                continue;
            }
            let mut blocks = Vec::new();
            if file.held_bytes() > 0 && now.since_ns(file.grew) >= HOLD_NS {
                file.flush_held(now, &mut blocks);
            }
            let since = file.gone.map_or(file.grew, |gone| gone.max(file.grew));
            let rotated = file.gone.is_some() || file.path.to_string_lossy() != file.shown.path;
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
                } else {
                    mark.checkpoints.push(file.record().checkpoint(file.key.clone()));
                }
                out.input(LogInput::Mark(mark))?;
            }
        }
        for id in released {
            self.files.remove(&id);
        }
        Ok(())
    }

    /// Nothing with the bytes of this file turned up: they are lost, and that is told.
    fn give_up(&mut self, key: String, departed: Departed, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        let mut mark = Mark { file: departed.record.shown(), ..Mark::at(now) };
        if !departed.record.ended {
            let gap = departed.gap(now);
            self.stats.gaps.fetch_add(1, Relaxed);
            self.stats.gap_bytes.fetch_add(gap.known_bytes, Relaxed);
            mark.gap = Some(gap);
        }
        // The end of its last line was seen, and nobody else will tell it.
        send(departed.rest, out)?;
        mark.forgotten.push(key);
        out.input(LogInput::Mark(mark))
    }

    fn unreadable(&mut self, id: FileId, error: &io::Error, out: &mut Out<'_>) {
        let Some(path) = self.files.get(&id).map(|file| file.path.clone()) else { return };
        self.tell(out, path, |path| TailNotice::Unreadable { path, why: error.to_string() });
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

fn send(blocks: Vec<LogBlock>, out: &mut Out<'_>) -> Result<(), Stopped> {
    blocks.into_iter().try_for_each(|block| out.input(LogInput::Block(block)))
}

/// The file of a name; `None` when it is not the file any more that the name stood for.
fn open(id: FileId, found: Found) -> io::Result<Option<Candidate>> {
    let file = File::open(&found.path)?;
    let metadata = file.metadata()?;
    let same = FileId { dev: metadata.dev(), ino: metadata.ino() } == id && metadata.is_file();
    Ok(same.then_some(Candidate { id, found, file, metadata }))
}

/// Starts it as gzip (RFC 1952) or Zstandard (RFC 8878) does?
fn is_compressed(file: &File) -> io::Result<bool> {
    let mut magic = [0; 4];
    let count = file.read_at(&mut magic, 0)?;
    Ok((count >= 2 && magic.starts_with(&[0x1f, 0x8b])) || magic == [0x28, 0xb5, 0x2f, 0xfd])
}
