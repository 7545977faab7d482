//! Reads one file into blocks. Enters: a [`Target`]. Leaves: [`LogBlock`]s in order, then the error that ended it, if one did: what
//! was read before it has left by then. Bound: one buffer of a block, and what [`LineCutter`] holds.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use super::{
    Skip, Target,
    unpack::{Caps, Unpacked},
};
use crate::{
    clock,
    sources::log::{Cut, CutLimits, LineCutter, LogBlock, LogFile, Position, Wrap},
    units::Timestamp,
};

/// A zero byte in here says that a file is no text.
const SNIFF_BYTES: usize = 8 * 1024;

/// A file or folder that could not be read, or not to its end.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {reason}")]
pub struct ReadError {
    /// As it is shown.
    pub path: String,
    /// What the system or the unpacker said.
    pub reason: String,
}

impl ReadError {
    /// Says it.
    pub fn new(path: impl Into<String>, reason: &impl ToString) -> Self {
        Self { path: path.into(), reason: reason.to_string() }
    }
}

/// The blocks of one file.
pub struct Blocks {
    file: Arc<LogFile>,
    at: Timestamp,
    reader: Unpacked,
    cutter: LineCutter,
    buffer: Vec<u8>,
    cuts: VecDeque<Cut>,
    /// The end was reached; an error is told once, after the last block.
    ended: bool,
    failed: Option<io::Error>,
    bytes: u64,
}

impl Blocks {
    /// Opens a file and reads its first block; a file that is no text is left alone unless `binary`.
    pub fn open(target: &Target, limits: CutLimits, caps: Caps, binary: bool) -> Result<Result<Self, Skip>, ReadError> {
        let shown = target.shown();
        let failed = |error: io::Error| ReadError::new(shown.as_str(), &error);
        let file: Box<dyn Read + Send> = match target {
            Target::Path(path) => Box::new(File::open(path).map_err(failed)?),
            Target::Stdin => Box::new(io::stdin()),
        };
        let mut blocks = Self::new(file, &shown, limits, caps).map_err(failed)?;
        let first = blocks.fill();
        let sniffed = first.get(..first.len().min(SNIFF_BYTES)).unwrap_or_default();
        let is_utf16 = matches!(Wrap::of(sniffed), Wrap::Utf16Le | Wrap::Utf16Be);
        if !binary && !is_utf16 && memchr::memchr(0, sniffed).is_some() {
            return Ok(Err(Skip::Binary));
        }
        let first = first.len();
        blocks.cut(first);
        Ok(Ok(blocks))
    }

    fn new(file: impl Read + Send + 'static, shown: &str, limits: CutLimits, caps: Caps) -> io::Result<Self> {
        let cutter = LineCutter::new(limits, Position::default());
        Ok(Self {
            file: Arc::new(LogFile { path: shown.to_owned(), ..LogFile::default() }),
            at: clock::now(),
            reader: Unpacked::new(file, caps)?,
            buffer: vec![0; cutter.room_bytes()],
            cutter,
            cuts: VecDeque::new(),
            ended: false,
            failed: None,
            bytes: 0,
        })
    }

    /// The next block; `None` at the end. An error comes once, after what was read before it, and is the end.
    pub fn next_block(&mut self) -> Result<Option<LogBlock>, ReadError> {
        loop {
            if let Some(cut) = self.cuts.pop_front() {
                return Ok(Some(cut.into_block(Arc::clone(&self.file), self.at, None)));
            }
            if self.ended {
                let failed = self.failed.take();
                return failed.map_or(Ok(None), |error| Err(ReadError::new(self.file.path.as_str(), &error)));
            }
            let filled = self.fill().len();
            self.cut(filled);
        }
    }

    /// Bytes read so far, decompressed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads as much as makes one block.
    fn fill(&mut self) -> &[u8] {
        let room = self.cutter.room_bytes().min(self.buffer.len());
        let mut filled = 0;
        while let Some(rest) = self.buffer.get_mut(filled..room).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    self.failed = Some(error);
                    break;
                }
            }
        }
        self.bytes += filled as u64;
        self.buffer.get(..filled).unwrap_or_default()
    }

    fn cut(&mut self, filled: usize) {
        let mut cuts = Vec::new();
        self.cutter.push(self.buffer.get(..filled).unwrap_or_default(), &mut cuts);
        if self.ended {
            self.cutter.finish(&mut cuts);
        }
        self.cuts.extend(cuts);
    }
}
