//! What an archive holds, as a stream, and telling it. Enters: the open file. Leaves: its contents, and [`LogBlock`]s of them, each with
//! the checkpoint behind it. It unpacks no more than it is asked for.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use super::record::{Consumed, Packing, Record};
use crate::{
    sources::{
        files::{Caps, Unpacked},
        log::{Cut, CutLimits, LineCutter, LogBlock, LogFile},
    },
    units::Timestamp,
};

/// How far a stream came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// As far as was asked for.
    Full,
    /// Nothing follows.
    End,
    /// What follows cannot be unpacked.
    Damage(String),
}

/// The contents of an archive, from their start.
pub(super) struct Contents {
    reader: Unpacked,
    /// What came out so far, while it is tracked.
    pub seen: Consumed,
    /// It is over. A decoder is not asked again after an error.
    stop: Option<Stop>,
}

impl Contents {
    pub(super) fn open(file: &Arc<File>, caps: Caps) -> io::Result<Self> {
        let file = FromStart { file: Arc::clone(file), at: 0 };
        Ok(Self { reader: Unpacked::new(file, caps)?, seen: Consumed::nothing(), stop: None })
    }

    /// Fills `room`, as far as it goes.
    pub(super) fn read<'r>(&mut self, room: &'r mut [u8]) -> (&'r [u8], Stop) {
        let mut filled = 0;
        while let Some(rest) = room.get_mut(filled..).filter(|rest| self.stop.is_none() && !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => self.stop = Some(Stop::End),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.stop = Some(Stop::Damage(error.to_string())),
            }
        }
        (room.get(..filled).unwrap_or_default(), self.stop.clone().unwrap_or(Stop::Full))
    }

    /// Reads at most `bytes`, and keeps track of them. Gives how many they were.
    pub(super) fn pass(&mut self, buffer: &mut [u8], bytes: u64) -> (usize, Stop) {
        let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
        let (bytes, stop) = self.read(buffer.get_mut(..length).unwrap_or_default());
        let count = bytes.len();
        self.seen.pass(bytes, 0);
        (count, stop)
    }
}

/// Reads a file without a place of its own in it: it may be read from its start again, also when its name is gone.
struct FromStart {
    file: Arc<File>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Contents on their way out.
#[derive(Debug)]
pub(super) struct Telling {
    /// Key of the archive's checkpoint.
    pub key: String,
    pub shown: Arc<LogFile>,
    pub consumed: Consumed,
    packing: Packing,
    cutter: LineCutter,
}

impl Telling {
    /// Goes on behind what was `consumed`; the contents begin with `start`.
    pub(super) fn new(
        key: String,
        shown: Arc<LogFile>,
        consumed: Consumed,
        packing: Packing,
        limits: CutLimits,
        start: &[u8],
    ) -> Self {
        let cutter = LineCutter::resume(limits, consumed.position, start).with_messages(&shown.messages);
        Self { key, shown, consumed, packing, cutter }
    }

    /// Reads as much as makes one block. Gives how many bytes they were.
    pub(super) fn read(
        &mut self,
        contents: &mut Contents,
        buffer: &mut [u8],
        now: Timestamp,
        blocks: &mut Vec<LogBlock>,
    ) -> (usize, Stop) {
        let length = self.cutter.room_bytes().min(buffer.len());
        let (bytes, stop) = contents.read(buffer.get_mut(..length).unwrap_or_default());
        let mut cuts = Vec::new();
        self.cutter.push(bytes, &mut cuts);
        self.pass_on(cuts, now, blocks);
        (bytes.len(), stop)
    }

    /// Hands on all that is held, also a last line without its end.
    pub(super) fn finish(&mut self, now: Timestamp, blocks: &mut Vec<LogBlock>) {
        let mut cuts = Vec::new();
        self.cutter.finish(&mut cuts);
        self.pass_on(cuts, now, blocks);
    }

    /// What to remember of it. How much it holds nobody knows before it is unpacked.
    pub(super) fn record(&self, now: Timestamp, ended: bool) -> Record {
        let size = self.consumed.position.offset;
        let LogFile { path, origin, .. } = &*self.shown;
        self.consumed.record(path, &origin.service, size, now, ended).in_archive(self.packing.clone())
    }

    fn pass_on(&mut self, cuts: Vec<Cut>, now: Timestamp, blocks: &mut Vec<LogBlock>) {
        for cut in cuts {
            let new = cut.bytes.get(..cut.bytes.len() - cut.carry).unwrap_or_default();
            self.consumed.pass(new, cut.carry);
            let checkpoint = self.record(now, false).checkpoint(self.key.clone());
            blocks.push(cut.into_block(Arc::clone(&self.shown), now, Some(checkpoint)));
        }
    }
}
