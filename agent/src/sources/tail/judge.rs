//! Who has told already what an archive holds? Enters: its contents, as a stream, and the records of files. Leaves: where it goes on.
//! It compares by hashes and by the bytes of files that are there; it tells nothing.
//!
//! The contents are read once, as far as the farthest record that may be about them. Only when a file that is there begins like
//! them are they read to their end: whether it holds the same is told by the last bytes.

use std::{collections::BTreeMap, io, os::unix::fs::FileExt as _};

use super::{
    departed::Departures,
    file::{FIRST_BYTES, Followed},
    finished::Finished,
    packed::{Contents, Stop},
    record::{Beginning, Consumed, FileId, HEAD_BYTES, Record},
};

/// A file that may have held the same, and how far it was read.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub place: Place,
    pub record: Record,
}

/// Where a record is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The archive's own: it was read so far, by itself or in a file that held the same.
    Own,
    /// A file that is gone or was truncated, of which nobody knows yet where its bytes are.
    Departed(String),
    /// A file that is gone for good.
    Finished(String),
    /// A file that was let go at its end, and whose name is gone by now.
    Closed,
    /// Another archive.
    Sibling,
}

impl Candidate {
    /// Does it count only when the contents end with it? It was read to its end, so that nothing follows; and of so few bytes two
    /// files may well have the same.
    fn is_all_or_none(&self) -> bool {
        let is_short = self.record.ended && self.record.position.offset < HEAD_BYTES as u64;
        match self.place {
            Place::Own | Place::Departed(_) | Place::Closed => false,
            Place::Finished(_) => is_short,
            Place::Sibling => true,
        }
    }
}

/// Under way.
pub(super) struct Judging {
    /// Those that are ahead, the nearest last.
    ahead: Vec<Candidate>,
    /// Those that it holds all of, the farthest last.
    matched: Vec<Candidate>,
    /// Files that are there and begin like it, with their lives.
    there: Vec<(FileId, u32)>,
}

/// Where it goes on.
pub(super) enum Judged {
    NotYet,
    /// What is known of the others has changed meanwhile: once more.
    Again,
    /// A file is truncated in this moment: later.
    Changes,
    /// A file that is followed holds it, too: `whole` when its end is known.
    Copy {
        of: FileId,
        life: u32,
        whole: bool,
    },
    /// It is damaged before the place up to which it was told once.
    Told(String),
    /// From there, or from its start.
    From(Option<Candidate>),
}

impl Judging {
    /// Of contents that begin like this.
    pub(super) fn new(
        beginning: &Beginning,
        (own, departures, finished, siblings): (Option<&Record>, &Departures, &Finished, Vec<Record>),
        files: &BTreeMap<FileId, Followed>,
    ) -> io::Result<Self> {
        let of = |place, record: &Record| Candidate { place, record: record.clone() };
        let departed = departures.iter().filter(|(_, record)| beginning.fits(record));
        let departed = departed.map(|(key, record)| of(Place::Departed(key.clone()), record));
        let finished = finished.iter().filter(|(_, record)| beginning.fits(record));
        let finished = finished.map(|(key, record)| of(Place::Finished(key.clone()), record));
        let siblings = siblings.iter().filter(|record| beginning.fits(record));
        let siblings = siblings.map(|record| of(Place::Sibling, record));
        let closed = files.values().filter(|file| file.file.is_none() && file.gone.is_some()).map(Followed::record);
        let closed = closed.filter(|record| beginning.fits(record)).map(|record| of(Place::Closed, &record));
        let own = own.filter(|record| beginning.fits(record)).map(|record| of(Place::Own, record));
        let mut ahead: Vec<_> = siblings.chain(finished).chain(closed).chain(own).chain(departed).collect();
        // Of two at one offset the last one is taken: one that waits for its bytes first.
        ahead.reverse();
        ahead.sort_by_key(|candidate| std::cmp::Reverse(candidate.record.position.offset));
        let first = beginning.bytes().get(..FIRST_BYTES).unwrap_or(beginning.bytes());
        let mut there = Vec::new();
        for file in files.values().filter(|file| file.starts_like(first)) {
            if begins_with(file, beginning.bytes())? {
                there.push((file.id, file.life));
            }
        }
        Ok(Self { ahead, matched: Vec::new(), there })
    }

    /// Reads at most as much as `buffer` has room for.
    pub(super) fn turn(
        &mut self,
        contents: &mut Contents,
        buffer: &mut [u8],
        files: &BTreeMap<FileId, Followed>,
    ) -> io::Result<Judged> {
        let mut room = buffer.len() as u64;
        loop {
            let at = contents.seen.position.offset;
            while let Some(nearest) = self.ahead.pop_if(|nearest| nearest.record.position.offset <= at) {
                if contents.seen.is_at(&nearest.record) {
                    self.matched.push(nearest);
                }
            }
            let asks =
                self.matched.last().is_some_and(|last| last.is_all_or_none() && last.record.position.offset == at);
            let most = match self.ahead.last() {
                Some(nearest) => nearest.record.position.offset - at,
                None if !self.there.is_empty() => room,
                // Does anything follow?
                None if asks => 1,
                None => return Ok(Judged::From(self.farthest(None))),
            };
            if room == 0 {
                return Ok(Judged::NotYet);
            }
            let (count, stop) = contents.pass(buffer, most.min(room));
            room -= count as u64;
            if stop != Stop::Full {
                return self.at_end(&contents.seen, &stop, files);
            }
        }
    }

    fn at_end(&mut self, seen: &Consumed, stop: &Stop, files: &BTreeMap<FileId, Followed>) -> io::Result<Judged> {
        let at = seen.position.offset;
        while let Some(nearest) = self.ahead.pop_if(|nearest| nearest.record.position.offset <= at) {
            if seen.is_at(&nearest.record) {
                self.matched.push(nearest);
            }
        }
        for (id, life) in &self.there {
            let Some(file) = files.get(id).filter(|file| file.life == *life) else { return Ok(Judged::Again) };
            if file.was_cut()? {
                return Ok(Judged::Changes);
            }
            if holds(file, seen)? {
                return Ok(Judged::Copy { of: *id, life: *life, whole: *stop == Stop::End });
            }
        }
        // Nobody can say any more whether this is the one; a long beginning is as good as sure.
        let is_sure = |it: &Candidate| it.place == Place::Own || it.record.position.offset >= HEAD_BYTES as u64;
        let was_longer = self.ahead.iter().any(is_sure);
        match stop {
            Stop::Damage(why) if was_longer => Ok(Judged::Told(why.clone())),
            Stop::Damage(_) => Ok(Judged::From(self.farthest(None))),
            Stop::End | Stop::Full => Ok(Judged::From(self.farthest(Some(at)))),
        }
    }

    /// Of those that it holds all of, the one that was read farthest. `end` is where the contents end, when that is known.
    fn farthest(&mut self, end: Option<u64>) -> Option<Candidate> {
        let counts = |last: &Candidate| !last.is_all_or_none() || end == Some(last.record.position.offset);
        std::iter::from_fn(|| self.matched.pop()).find(counts)
    }
}

/// Does a file begin with these bytes?
fn begins_with(file: &Followed, bytes: &[u8]) -> io::Result<bool> {
    let mut own = [0; HEAD_BYTES];
    let Some(own) = own.get_mut(..bytes.len()) else { return Ok(false) };
    is_at(file, own, 0, bytes)
}

/// Does a file hold what was seen, as far as it goes? Told by the last bytes; the first are the same.
fn holds(file: &Followed, seen: &Consumed) -> io::Result<bool> {
    let mut own = [0; HEAD_BYTES];
    let Some(own) = own.get_mut(..seen.anchor().len()) else { return Ok(false) };
    is_at(file, own, seen.position.offset - seen.anchor().len() as u64, seen.anchor())
}

fn is_at(file: &Followed, own: &mut [u8], at: u64, bytes: &[u8]) -> io::Result<bool> {
    // One that cannot be opened any more says nothing.
    let Ok(handle) = file.handle() else { return Ok(false) };
    match handle.read_exact_at(own, at) {
        Ok(()) => Ok(own == bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
