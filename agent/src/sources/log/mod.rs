//! Log files as blocks of whole lines. Enters: bytes of a file, in order. Leaves: [`LogBlock`]s. No I/O here: who reads (a scan, a
//! tail) pushes into a [`LineCutter`] and says whose file it is. It never interprets a line.

use std::sync::Arc;

use bytes::Bytes;

pub use self::cut::{Cut, CutLimits, LineCutter, Position};
use super::{Checkpoint, Origin};
use crate::units::Timestamp;

mod cut;

/// Whose log it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFile {
    /// Path as it is shown, and as findings name it. Rotated siblings may share it.
    pub path: String,
    /// Who writes it.
    pub origin: Arc<Origin>,
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
    /// The bytes.
    pub bytes: Bytes,
    /// When they were read.
    pub at: Timestamp,
    /// Commits with the findings of this block.
    pub checkpoint: Option<Checkpoint>,
}

impl Cut {
    /// The block of a file.
    pub fn into_block(self, file: Arc<LogFile>, at: Timestamp, checkpoint: Option<Checkpoint>) -> LogBlock {
        let Self { offset, first_line, first_column, overlap, carry, bytes } = self;
        LogBlock { file, offset, first_line, first_column, overlap, carry, bytes, at, checkpoint }
    }
}
