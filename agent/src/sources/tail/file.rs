//! One file that is followed. Enters: its open handle. Leaves: [`LogBlock`]s, each with the checkpoint behind it. It never reads past
//! the size that it was told of, and never skips a byte.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    buffer::spare_capacity,
    io::{pread, retry_on_intr},
};

use super::{
    glob::{Found, Patterns},
    nuls,
    record::{Consumed, FileId, Record, Seen},
};
use crate::{
    sources::{
        Checkpoint,
        log::{Cut, CutLimits, LineCutter, LogBlock, LogFile, Position, Shared},
    },
    units::Timestamp,
};

/// First bytes that are kept of a file, to tell quickly that another one is no copy of it.
pub(super) const FIRST_BYTES: usize = 64;

/// A file and how far it was read.
#[derive(Debug)]
pub(super) struct Followed {
    pub id: FileId,
    /// Key of its checkpoint.
    pub key: String,
    /// Under which name it was found last.
    pub path: PathBuf,
    /// Where it really stands, when that name is a link.
    pub real_folder: Option<PathBuf>,
    /// Name and service in findings: those under which it was found first.
    pub shown: Arc<LogFile>,
    /// Closed when it was rotated away and read to its end.
    pub file: Option<File>,
    pub consumed: Consumed,
    cutter: LineCutter,
    /// Next byte to read; between it and the position lies what the cutter holds.
    read_at: u64,
    /// Size when it was last looked at.
    pub size: u64,
    /// When it was last written to, as the file system says: seconds and nanoseconds.
    written: (i64, i64),
    /// When it was last looked at and was whole.
    pub seen: Timestamp,
    /// When it last grew.
    pub grew: Timestamp,
    /// Since when no name that matches leads to it.
    pub gone: Option<Timestamp>,
    /// Its name was just found, with the size and time of the last look: nobody has written since.
    is_untouched: bool,
    /// Rotated away and read to its end.
    pub ended: bool,
    /// How often it was truncated: what is known of one life says nothing of the next.
    pub life: u32,
    /// Which group it belongs to.
    pub group: usize,
    /// What was not scanned of it, and not told yet.
    pub skipped: Option<Skipped>,
    /// Its first bytes, at most [`FIRST_BYTES`].
    first: Vec<u8>,
    limits: CutLimits,
    /// The user said whose it is.
    has_service: bool,
}

/// Bytes that were read and not scanned, because there were too many.
#[derive(Debug)]
pub(super) struct Skipped {
    /// Position of the first.
    pub offset: u64,
    pub bytes: u64,
    /// Since when.
    pub since: Timestamp,
    /// Behind them.
    pub checkpoint: Option<Checkpoint>,
}

/// What has become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All that there was is read.
    AtEnd,
    /// There is more.
    More,
    /// It is shorter than what was read, or other bytes stand there.
    Truncated,
}

impl Followed {
    /// Follows a file from the start, or from where `record` ends.
    pub(super) fn open(
        (path, file, metadata): (PathBuf, File, &Metadata),
        key: String,
        group: Option<&Patterns>,
        record: Option<&Record>,
        limits: CutLimits,
        now: Timestamp,
    ) -> io::Result<Self> {
        let consumed = match record {
            Some(record) => Consumed::up_to(record, &file)?,
            None => Consumed::nothing(),
        };
        let first = first_bytes(&file)?;
        // Its first bytes tell its copies. Cut since the record was compared, they would be those of another life, or none: the
        // copy that holds what was read would then be taken for a file that nobody knows.
        if !consumed.still_there(&file)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let real = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        let is_link = path.is_symlink();
        let real_folder = if is_link { real.parent().map(Path::to_owned) } else { None };
        let remembered = record.map(|record| (record.path.as_str(), record.service.as_str()));
        let service = group.and_then(|group| group.service.as_deref());
        let messages = group.map(|group| group.messages.clone()).unwrap_or_default();
        let shown = LogFile { messages, ..LogFile::of(&path, &real, remembered, service, &first) };
        let cutter = LineCutter::resume(limits, consumed.position, &first).with_messages(&shown.messages);
        Ok(Self {
            id: FileId { dev: metadata.dev(), ino: metadata.ino() },
            key,
            path,
            real_folder,
            shown: Arc::new(shown),
            file: Some(file),
            cutter,
            read_at: consumed.position.offset,
            consumed,
            size: metadata.len(),
            written: written(metadata),
            seen: now,
            grew: now,
            gone: None,
            is_untouched: false,
            // What has more in it is not, or not that file any more.
            ended: record.is_some_and(|record| record.ended && metadata.len() <= record.position.offset),
            life: 0,
            group: 0,
            skipped: None,
            first,
            limits,
            has_service: service.is_some(),
        })
    }

    /// A name leads to it.
    pub(super) fn is_there(&mut self, found: Found) {
        self.is_untouched = found.size == self.size && found.written == self.written;
        (self.path, self.gone) = (found.path, None);
    }

    /// Opens a file again that was let go at its end and has grown since.
    pub(super) fn reopen_if_grown(&mut self) -> io::Result<()> {
        if self.file.is_none() && self.gone.is_none() && !self.is_untouched {
            let metadata = std::fs::metadata(&self.path)?;
            let same = FileId { dev: metadata.dev(), ino: metadata.ino() } == self.id;
            if same && metadata.len() != self.size {
                self.file = Some(File::open(&self.path)?);
            }
        }
        Ok(())
    }

    /// It was let go at its end, so its inode was free for another file when it was deleted: is that what is found there now?
    pub(super) fn is_replaced_by(&mut self, found: &Found) -> bool {
        let is_untouched = found.size == self.size && found.written == self.written;
        if self.file.is_some() || self.gone.is_none() && is_untouched {
            return false;
        }
        // Of an empty one nothing is known.
        if self.read_at == 0 {
            return true;
        }
        let is_same = File::open(&found.path).and_then(|file| self.is_of_this_life(&file));
        // Touched, or longer: it is looked at as one that grew.
        if matches!(is_same, Ok(true)) && found.size >= self.size {
            self.written = found.written;
        }
        matches!(is_same, Ok(false))
    }

    /// The file, open.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.as_ref().map_or_else(|| File::open(&self.path), File::try_clone)
    }

    /// May a file that starts with `first` be a copy of this one?
    pub(super) fn starts_like(&self, first: &[u8]) -> bool {
        let common = first.len().min(self.first.len());
        common > 0 && first.get(..common) == self.first.get(..common)
    }

    /// Its first bytes, as far as they are known.
    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }

    /// Looks at the size, and whether the bytes before the position are still there when somebody wrote.
    pub(super) fn look(&mut self, now: Timestamp) -> io::Result<State> {
        let Some(file) = &self.file else { return Ok(State::AtEnd) };
        // PERF: most of thousands of files are idle, and two calls of the kernel for each were a quarter of the time beside a busy one.
        if std::mem::take(&mut self.is_untouched) {
            self.seen = now;
            return Ok(if self.size > self.read_at { State::More } else { State::AtEnd });
        }
        // Before it is known whether they are those of a file that was cut: if so, they are not taken.
        let first = if self.first.len() < FIRST_BYTES { Some(first_bytes(file)?) } else { None };
        let metadata = file.metadata()?;
        if self.is_cut(file, &metadata)? {
            return Ok(State::Truncated);
        }
        let size = metadata.len();
        self.written = written(&metadata);
        self.first = first.unwrap_or_else(|| std::mem::take(&mut self.first));
        if size != self.size {
            self.grew = now;
            self.ended = false;
        }
        self.size = size;
        self.seen = now;
        Ok(if size > self.read_at { State::More } else { State::AtEnd })
    }

    /// Was it truncated since it was looked at? The next look will see it, too.
    pub(super) fn was_cut(&self) -> io::Result<bool> {
        let Ok(file) = self.handle() else { return Ok(false) };
        self.is_cut(&file, &file.metadata()?)
    }

    fn is_cut(&self, file: &File, metadata: &Metadata) -> io::Result<bool> {
        let touched = metadata.len() != self.size || written(metadata) != self.written;
        if metadata.len() < self.read_at {
            return Ok(true);
        }
        if !touched {
            return Ok(false);
        }
        Ok(!self.is_of_this_life(file)?)
    }

    /// Do the bytes before the next one to read still stand there?
    fn is_of_this_life(&self, file: &File) -> io::Result<bool> {
        // Of a first line that has no end yet nothing was consumed; then its own bytes tell.
        let seen = self.first.len().min(usize::try_from(self.read_at).unwrap_or(usize::MAX));
        let same_start = first_bytes(file)?.get(..seen) == self.first.get(..seen);
        Ok(same_start && self.consumed.still_there(file)?)
    }

    /// Reads once and appends the blocks that are complete. At most up to the size that [`look`](Self::look) saw.
    ///
    /// PERF: a block is read to where it stays; to copy it there cost some per cent of all that is done with it.
    pub(super) fn read(&mut self, now: Timestamp, blocks: &mut Vec<LogBlock>) -> io::Result<State> {
        let there = self.size.saturating_sub(self.read_at);
        if self.file.is_none() || there == 0 {
            return Ok(State::AtEnd);
        }
        // No more than makes one full block: what is beyond it would leave as a tiny one.
        let length = usize::try_from(there).unwrap_or(usize::MAX).min(self.cutter.room_bytes());
        let (mut bytes, mut cuts) = (self.cutter.take_held(), Vec::new());
        let held = bytes.len();
        let read = self.read_behind(&mut bytes, length);
        let new = bytes.get(held..).unwrap_or_default();
        let count = new.len();
        // Truncated and written anew between the look and the read? Then these bytes may be of another life of the file.
        if !matches!(read, Ok(true)) {
            bytes.truncate(held);
            bytes.shrink_to_fit();
            self.cutter.give_back(bytes, held, &mut cuts);
            return read.map(|_| State::Truncated);
        }
        if self.read_at == 0 && count > 0 {
            // It starts with what was read of it, whatever stood there at the look.
            self.first = new.get(..FIRST_BYTES).unwrap_or(new).to_vec();
            self.judge_sharing();
        }
        let run = nuls::first_run(new);
        let text_bytes = run.as_ref().map_or(count, |run| run.start);
        bytes.truncate(held + text_bytes);
        if bytes.len() < bytes.capacity() / 2 {
            bytes.shrink_to_fit();
        }
        self.cutter.give_back(bytes, held, &mut cuts);
        self.read_at += text_bytes as u64;
        let end = self.read_at + (count - text_bytes) as u64;
        if count > 0 && count < length {
            // It ends here by now; what is remembered says so.
            self.size = end;
        }
        if let Some(run) = run {
            let behind = match &self.file {
                // It may go on behind what was read.
                Some(file) if run.end == count => nuls::next_data(file, end, self.size),
                _ => self.read_at + run.len() as u64,
            };
            self.cutter.finish(&mut cuts);
            self.pass_on(cuts, now, blocks);
            self.consumed.pass_nuls(behind - self.read_at);
            self.read_at = behind;
            let cutter = LineCutter::resume(self.limits, self.consumed.position, &self.first);
            self.cutter = cutter.with_messages(&self.shown.messages);
        } else {
            self.pass_on(cuts, now, blocks);
        }
        // Nothing where there was something: the next look finds it truncated.
        Ok(if count > 0 && self.read_at < self.size { State::More } else { State::AtEnd })
    }

    /// Appends at most `length` bytes. False when they may be those of another life of the file.
    fn read_behind(&self, bytes: &mut Vec<u8>, length: usize) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        let held = bytes.len();
        bytes.reserve_exact(length);
        let count = retry_on_intr(|| pread(file, spare_capacity(bytes), self.read_at))?;
        // There may have been more room.
        bytes.truncate(held + length);
        Ok(count == 0 || self.is_of_this_life(file)?)
    }

    /// Notes blocks that are not handed on.
    pub(super) fn skip(&mut self, blocks: &mut Vec<LogBlock>, now: Timestamp) -> u64 {
        let mut count = 0;
        for block in blocks.drain(..) {
            let offset = block.offset + block.overlap as u64;
            let skipped = self.skipped.get_or_insert(Skipped { offset, bytes: 0, since: now, checkpoint: None });
            let bytes = (block.bytes.len() - block.overlap) as u64;
            (skipped.bytes, skipped.checkpoint) = (skipped.bytes + bytes, block.checkpoint);
            count += bytes;
        }
        count
    }

    /// Hands on complete lines that wait for the end of a secret of several lines.
    pub(super) fn flush_held(&mut self, now: Timestamp, blocks: &mut Vec<LogBlock>) {
        let mut cuts = Vec::new();
        self.cutter.flush_held(&mut cuts);
        self.pass_on(cuts, now, blocks);
    }

    /// Hands on all that is held, also a last line without its end: nobody will write it.
    pub(super) fn finish(&mut self, now: Timestamp, blocks: &mut Vec<LogBlock>) {
        let mut cuts = Vec::new();
        self.cutter.finish(&mut cuts);
        self.pass_on(cuts, now, blocks);
    }

    /// Bytes that were read and wait for the rest of their line.
    pub(super) fn held_bytes(&self) -> u64 {
        self.read_at - self.consumed.position.offset
    }

    /// Bytes that are there and were not handed on.
    pub(super) fn lag_bytes(&self) -> u64 {
        self.size.saturating_sub(self.consumed.position.offset)
    }

    /// The file was truncated: what was read so far is past, and it starts again.
    pub(super) fn restart(&mut self, now: Timestamp) -> io::Result<()> {
        self.consumed = Consumed::nothing();
        self.cutter = LineCutter::new(self.limits, Position::default()).with_messages(&self.shown.messages);
        self.read_at = 0;
        self.life += 1;
        let file = self.handle()?;
        (self.size, self.first) = (file.metadata()?.len(), first_bytes(&file)?);
        (self.seen, self.grew, self.ended) = (now, now, false);
        Ok(())
    }

    /// What to remember of it.
    pub(super) fn record(&self) -> Record {
        let mut record =
            self.consumed.record(&self.shown.path, &self.shown.origin.service, self.size, self.seen, self.ended);
        if record.position.offset == 0 && !self.first.is_empty() {
            record.seen = Some(Box::new(Seen::of(&self.first)));
        }
        record
    }

    /// Does this hold all of a file of which nothing was consumed, as far as one can say? It has its name and what rotation adds, begins as it was
    /// seen to begin, and is as long.
    pub(super) fn has_all_of_unread(&self, record: &Record) -> bool {
        let begins = || record.seen.as_ref().is_some_and(|seen| seen.begins(&self.first));
        record.position.offset == 0 && record.size <= self.size && record.may_be_rotated_to(&self.path) && begins()
    }

    /// Who writes it may stand in its lines, and when it was found it had none.
    fn judge_sharing(&mut self) {
        let shared = if self.has_service { Shared::No } else { Shared::of(&self.path, &self.first) };
        if shared != self.shown.shared && self.shown.origin.kubernetes.is_none() {
            self.shown = Arc::new(LogFile { shared, ..LogFile::clone(&self.shown) });
        }
    }

    fn pass_on(&mut self, cuts: Vec<Cut>, now: Timestamp, blocks: &mut Vec<LogBlock>) {
        for cut in cuts {
            let new = cut.bytes.get(..cut.bytes.len() - cut.carry).unwrap_or_default();
            self.consumed.pass(new, cut.carry);
            let checkpoint = self.record().checkpoint(self.key.clone());
            blocks.push(cut.into_block(Arc::clone(&self.shown), now, Some(checkpoint)));
        }
    }
}

/// Seconds and nanoseconds.
fn written(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

pub(super) fn first_bytes(file: &File) -> io::Result<Vec<u8>> {
    let mut first = vec![0; FIRST_BYTES];
    let count = file.read_at(&mut first, 0)?;
    first.truncate(count);
    Ok(first)
}
