//! Cuts a byte stream at line ends, without I/O. Enters: bytes in pieces of any size. Leaves: [`Cut`]s of whole lines; how the
//! input was cut into pieces never changes which bytes leave, nor their line numbers. No byte is skipped.
//!
//! State, all bounded by [`CutLimits`]: the unfinished line; or the overlap of an over-long one; and complete lines that
//! are held back because a multi-line secret (`-----BEGIN …`) is open in them, a line that a container runtime cut into pieces, or a message
//! whose end nobody has seen yet.

use bytes::Bytes;
use memchr::{memchr_iter, memmem, memrchr};
use serde::{Deserialize, Serialize};

use super::{
    message::Messages,
    wrap::{WRAP_BYTES, Wrap},
};

/// Opens a text of several lines that is one secret (RFC 7468, section 2).
const OPENS: &[u8] = b"-----BEGIN ";
/// Closes it.
const CLOSES: &[u8] = b"-----END ";
/// Most bytes of complete lines that are held back for a text that is open.
const HOLD_BYTES: usize = 64 * 1024;

/// Sizes of cuts, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutLimits {
    /// Largest cut.
    pub block_bytes: usize,
    /// A line longer than this is cut into windows of this size.
    pub line_bytes: usize,
    /// What two windows of one line have in common. A secret longer than this may be missed where windows meet.
    pub overlap_bytes: usize,
}

impl Default for CutLimits {
    fn default() -> Self {
        Self { block_bytes: 1024 * 1024, line_bytes: 256 * 1024, overlap_bytes: 8 * 1024 }
    }
}

impl CutLimits {
    /// Sizes that can work: overlap < line <= block.
    fn sane(self) -> Self {
        let line_bytes = self.line_bytes.max(2);
        Self {
            block_bytes: self.block_bytes.max(line_bytes),
            line_bytes,
            overlap_bytes: self.overlap_bytes.min(line_bytes / 2),
        }
    }
}

/// Where to go on reading: seek to `offset` and push from there. Nothing is told twice and nothing missed, also in the middle of an
/// over-long line. Serialises, for checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Of the next byte to read. Everything before `offset + overlap` has left.
    pub offset: u64,
    /// 1-based number of the line that this byte stands in.
    pub line: u64,
    /// Of this byte in its line; more than zero only inside an over-long line.
    #[serde(default)]
    pub column: u64,
    /// Bytes from `offset` on that have left already and will be the overlap of the next window.
    #[serde(default)]
    pub overlap: usize,
}

impl Default for Position {
    /// The start of a file.
    fn default() -> Self {
        Self { offset: 0, line: 1, column: 0, overlap: 0 }
    }
}

/// Whole lines, or a window of one over-long line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Position of the first byte in the file.
    pub offset: u64,
    /// 1-based number of the line that the first byte stands in.
    pub first_line: u64,
    /// Position of the first byte in its line; more than zero only in a later window of an over-long line.
    pub first_column: u64,
    /// Leading bytes that the cut before had already.
    pub overlap: usize,
    /// Trailing bytes that the next cut has again; zero when the cut ends with a line or the file.
    pub carry: usize,
    /// The bytes.
    pub bytes: Bytes,
    /// How the file's lines are wrapped.
    pub wrap: Wrap,
}

/// Cuts one file.
#[derive(Debug)]
pub struct LineCutter {
    limits: CutLimits,
    /// Of the first byte of `pending`.
    position: Position,
    /// First the overlap, or lines that are held back; then the unfinished line.
    pending: Vec<u8>,
    /// Bytes of `pending` since its last line end.
    unfinished: usize,
    /// How the lines are wrapped, once the file's first line said so.
    wrap: Option<Wrap>,
    /// Where messages begin, when somebody said so.
    messages: Messages,
}

impl LineCutter {
    /// Goes on at a position.
    pub fn new(limits: CutLimits, position: Position) -> Self {
        Self {
            limits: limits.sane(),
            position,
            pending: Vec::new(),
            unfinished: 0,
            wrap: None,
            messages: Messages::default(),
        }
    }

    /// Goes on at a position of a file that begins with `start`, of which [`WRAP_BYTES`] are enough.
    pub fn resume(limits: CutLimits, position: Position, start: &[u8]) -> Self {
        // Where nobody wrote yet there was no line that could have said it.
        let is_told = position.offset > 0 && start.first() != Some(&0);
        let wrap = is_told.then(|| Wrap::of(start));
        Self { wrap, ..Self::new(limits, position) }
    }

    /// Keeps the lines of a message in one cut, where a pattern says how messages begin and they are not too long for it.
    #[must_use]
    pub fn with_messages(self, messages: &Messages) -> Self {
        Self { messages: messages.clone(), ..self }
    }

    /// Takes the next bytes and appends the cuts that are complete with them.
    pub fn push(&mut self, mut bytes: &[u8], cuts: &mut Vec<Cut>) {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(self.room_bytes().min(bytes.len()));
            bytes = rest;
            let held = self.pending.len();
            self.pending.extend_from_slice(piece);
            self.pushed(held, cuts);
        }
    }

    /// The bytes that are held, to read more behind them without a copy. They must come back by [`give_back`](Self::give_back).
    pub(in crate::sources) fn take_held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Takes the bytes back of which the first `held` were held; what is behind them is as good as pushed, and must be no more than
    /// there was [room](Self::room_bytes) for.
    pub(in crate::sources) fn give_back(&mut self, bytes: Vec<u8>, held: usize, cuts: &mut Vec<Cut>) {
        self.pending = bytes;
        self.pushed(held, cuts);
    }

    fn pushed(&mut self, held: usize, cuts: &mut Vec<Cut>) {
        let piece = self.pending.get(held..).unwrap_or_default();
        let line_end = memrchr(b'\n', piece);
        match line_end {
            Some(at) => self.unfinished = piece.len() - at - 1,
            None => self.unfinished += piece.len(),
        }
        if line_end.is_some() || !piece.is_empty() && self.unfinished >= self.limits.line_bytes {
            self.cut(true, cuts);
        }
    }

    /// Bytes that one push should bring, so that they leave as one full block. Never zero.
    pub fn room_bytes(&self) -> usize {
        self.limits.block_bytes.saturating_sub(self.pending.len()).max(1)
    }

    /// Emits the complete lines that are held back for an open secret: a tail calls it when the file stands still.
    pub fn flush_held(&mut self, cuts: &mut Vec<Cut>) {
        self.cut(false, cuts);
    }

    /// The file ends: emits everything, also a last line without its end.
    pub fn finish(&mut self, cuts: &mut Vec<Cut>) {
        if self.pending.len() > self.limits.block_bytes {
            self.cut(false, cuts);
        }
        // The unfinished line may hold the end of what was open, so it goes out together with what was held.
        if !self.pending.is_empty() {
            let start = self.pending.get(..WRAP_BYTES).unwrap_or(&self.pending);
            self.wrap.get_or_insert_with(|| Wrap::of(start));
            let rest = Bytes::from(std::mem::take(&mut self.pending));
            self.emit(&rest, rest.len(), 0, cuts);
        }
        self.unfinished = 0;
    }

    /// Where to go on: before the first byte that has not left, or before the overlap that the next window needs. Together with
    /// [`held_bytes`](Self::held_bytes) it is the end of what was pushed.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Bytes in memory: unfinished, held back, or overlap.
    pub fn held_bytes(&self) -> usize {
        self.pending.len()
    }

    fn cut(&mut self, hold: bool, cuts: &mut Vec<Cut>) {
        let all = Bytes::from(std::mem::take(&mut self.pending));
        let mut rest = all.clone();
        self.cut_lines(hold, &mut rest, cuts);
        let is_cut = rest.len() < all.len();
        drop(all);
        // What stays shares memory with what left: a hundred bytes would keep a whole block alive.
        self.pending = if is_cut { rest.to_vec() } else { rest.into() };
    }

    /// Takes off what can leave.
    fn cut_lines(&mut self, hold: bool, rest: &mut Bytes, cuts: &mut Vec<Cut>) {
        let CutLimits { block_bytes, line_bytes, overlap_bytes } = self.limits;
        let start = rest.get(..WRAP_BYTES).unwrap_or(rest);
        let wrap = *self.wrap.get_or_insert_with(|| Wrap::of(start));
        loop {
            let complete = rest.len() - self.unfinished;
            if complete == 0 {
                if self.unfinished < line_bytes {
                    return;
                }
                *rest = self.emit(rest, line_bytes, overlap_bytes, cuts);
                self.unfinished -= line_bytes - overlap_bytes;
                continue;
            }
            let lines = rest.get(..complete).unwrap_or_default();
            // Lines that a block has room for; one at least, because none is longer than a block.
            let end = match lines.get(..block_bytes) {
                None => complete,
                Some(full) => memrchr(b'\n', full).map_or(complete, |at| at + 1),
            };
            let lines = lines.get(..end).unwrap_or_default();
            let cut_up = if hold { wrap.open_at(lines, line_bytes) } else { None };
            let message = || self.messages.last_in(lines, HOLD_BYTES);
            let open = if hold { [open_at(lines), cut_up, message()].into_iter().flatten().min() } else { None };
            // Half a block stays free, so that it does not come in byte by byte.
            let held_max = (if cut_up == Some(0) { line_bytes } else { HOLD_BYTES }).min(block_bytes / 2);
            *rest = match open {
                None => self.emit(rest, end, 0, cuts),
                Some(0) if end > held_max || end < complete || self.unfinished >= line_bytes => {
                    // The next block begins with the last piece again, so that what crosses its start is found.
                    let carry = if cut_up.is_some() { last_line_bytes(lines) } else { 0 };
                    self.emit(rest, end, if carry < end { carry } else { 0 }, cuts)
                }
                Some(0) => return,
                Some(at) => self.emit(rest, at, 0, cuts),
            };
        }
    }

    /// Emits the first `length` bytes. Gives the rest, with the last `carry` of them once more as the next overlap.
    fn emit(&mut self, from: &Bytes, length: usize, carry: usize, cuts: &mut Vec<Cut>) -> Bytes {
        let kept = length - carry;
        let bytes = from.slice(..length);
        let Position { offset, line, column, overlap } = self.position;
        let gone = bytes.get(..kept).unwrap_or_default();
        self.position = Position {
            offset: offset + kept as u64,
            line: line + memchr_iter(b'\n', gone).count() as u64,
            column: memrchr(b'\n', gone).map_or(column + kept as u64, |at| (kept - at - 1) as u64),
            overlap: carry,
        };
        let overlap = overlap.min(bytes.len());
        let wrap = self.wrap.unwrap_or_default();
        cuts.push(Cut { offset, first_line: line, first_column: column, overlap, carry, bytes, wrap });
        from.slice(kept..)
    }
}

/// Bytes of the last of some whole lines.
fn last_line_bytes(lines: &[u8]) -> usize {
    let before = lines.get(..lines.len().saturating_sub(1)).unwrap_or_default();
    lines.len() - memrchr(b'\n', before).map_or(0, |at| at + 1)
}

/// Start of the line in which a secret of several lines begins that does not end in `lines`.
fn open_at(lines: &[u8]) -> Option<usize> {
    let from = lines.len().saturating_sub(HOLD_BYTES);
    let tail = lines.get(from..)?;
    let opens = memmem::rfind(tail, OPENS)?;
    if memmem::find(tail.get(opens..)?, CLOSES).is_some() {
        return None;
    }
    let opens = from + opens;
    Some(memrchr(b'\n', lines.get(..opens)?).map_or(0, |at| at + 1))
}

#[cfg(test)]
mod tests;
