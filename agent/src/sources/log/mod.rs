//! Log files as blocks of whole lines. Enters: bytes of a file, in order. Leaves: [`LogBlock`]s, and of each the text that programs wrote,
//! without what a container runtime wrapped around it, and who wrote a line. No I/O here: who reads (a scan, a tail) pushes into a
//! [`LineCutter`] and says whose file it is. What a text means is for others to say.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

pub use self::{
    author::{Shared, owner},
    cut::{Cut, CutLimits, LineCutter, Position},
    message::{MESSAGE_BYTES, Messages},
    unwrap::{Unwrapped, unwrapped_line},
    wrap::{WRAP_BYTES, Wrap},
};
use super::{Checkpoint, Origin};
use crate::units::Timestamp;

mod author;
mod cut;
mod message;
mod unwrap;
mod wrap;

/// Whose log it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFile {
    /// Path as it is shown, and as findings name it. Rotated siblings may share it.
    pub path: String,
    /// Who writes it.
    pub origin: Arc<Origin>,
    /// How its lines name who wrote them, where programs share it and the user has given it no service.
    pub shared: Shared,
    /// Where its messages begin.
    pub messages: Messages,
}

impl LogFile {
    /// The log that is found at `path` (`real` without links) and begins with `start`. A service that the user gave it counts for all its
    /// lines; else the path says whose it is, or each line, or what was `remembered`, or its name up to the last dot.
    pub fn of(path: &Path, real: &Path, remembered: Option<(&str, &str)>, service: Option<&str>, start: &[u8]) -> Self {
        let owner = owner(real).or_else(|| owner(path));
        let mut origin = owner.unwrap_or_else(|| Origin { service: stem(path), ..Origin::default() });
        if let Some(service) = service.or(remembered.map(|(_, service)| service)) {
            service.clone_into(&mut origin.service);
        }
        let shared =
            if service.is_some() || origin.kubernetes.is_some() { Shared::No } else { Shared::of(path, start) };
        let path = remembered.map_or_else(|| path.to_string_lossy().into_owned(), |(path, _)| path.to_owned());
        Self { path, origin: Arc::new(origin), shared, messages: Messages::default() }
    }
}

/// The service of a file that belongs to none: its name up to the last dot.
pub fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Complete lines of one log file, or a window of a line that is longer than [`CutLimits::line_bytes`].
#[derive(Clone, Debug)]
pub struct LogBlock {
    /// Which file.
    pub file: Arc<LogFile>,
    /// Position of the first byte in the (decompressed) file.
    pub offset: u64,
    /// 1-based number of the line that the first byte stands in.
    pub first_line: u64,
    /// Position of the first byte in its line; more than zero only in a later window of an over-long line.
    pub first_column: u64,
    /// Leading bytes that the block before had already (windows of one over-long line): a match wholly inside them was told.
    pub overlap: usize,
    /// Trailing bytes that the next block has again, as its `overlap`; zero when the block ends with a line or the file.
    pub carry: usize,
    /// The bytes, as they stand in the file.
    pub bytes: Bytes,
    /// How the lines are wrapped in them.
    pub wrap: Wrap,
    /// What programs wrote, once somebody has asked for it.
    pub unwrapped: OnceLock<Option<Unwrapped>>,
    /// When they were read.
    pub at: Timestamp,
    /// Commits with the findings of this block.
    pub checkpoint: Option<Checkpoint>,
}

impl Cut {
    /// The block of a file.
    pub fn into_block(self, file: Arc<LogFile>, at: Timestamp, checkpoint: Option<Checkpoint>) -> LogBlock {
        let Self { offset, first_line, first_column, overlap, carry, bytes, wrap } = self;
        let unwrapped = OnceLock::new();
        LogBlock { file, offset, first_line, first_column, overlap, carry, bytes, wrap, unwrapped, at, checkpoint }
    }
}

impl LogBlock {
    /// All of a log at once.
    pub fn whole(file: Arc<LogFile>, bytes: Bytes, at: Timestamp) -> Self {
        let wrap = Wrap::of(bytes.get(..WRAP_BYTES).unwrap_or(&bytes));
        Cut { offset: 0, first_line: 1, first_column: 0, overlap: 0, carry: 0, bytes, wrap }.into_block(file, at, None)
    }

    /// What programs wrote, line for line: in a plain log it is [`bytes`](Self::bytes).
    pub fn text(&self) -> &[u8] {
        self.freed().map_or(&self.bytes, Unwrapped::text)
    }

    /// Where in [`bytes`](Self::bytes) a byte of the [`text`](Self::text) stands.
    pub fn raw_at(&self, position: usize) -> usize {
        self.freed().map_or(position.min(self.bytes.len()), |text| text.raw_at(&self.bytes, position))
    }

    /// Who wrote the line around a position in [`bytes`](Self::bytes), or the message that it goes on with.
    pub fn author(&self, position: usize) -> Arc<Origin> {
        if self.file.shared == Shared::No {
            return Arc::clone(&self.file.origin);
        }
        let message = self.file.messages.around(&self.bytes, position);
        let message = self.bytes.get(message).unwrap_or_default();
        let line = message.get(..memchr::memchr(b'\n', message).unwrap_or(message.len())).unwrap_or_default();
        self.file.shared.author(line).map_or_else(|| Arc::clone(&self.file.origin), Arc::new)
    }

    fn freed(&self) -> Option<&Unwrapped> {
        self.unwrapped.get_or_init(|| Unwrapped::of(self.wrap, &self.bytes, self.offset)).as_ref()
    }
}
