//! One message of a WebSocket as it comes in. Enters: pieces of its payload, masked or compressed as they came. Leaves:
//! [`Read`]. The text is kept once, up to the cap, and frozen at the first hole, so that nothing is ever joined across one.

use super::{AnomalyKind, End, inflate::Fault, message_deflate::MessageDeflate};
use crate::units::Timestamp;

/// Shortest run of printable characters that is text in a binary message.
const RUN_MIN_CHARS: usize = 6;

/// Whether the start of a message is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It follows what came before.
    None,
    /// It stands where a piece began after a loss.
    Unproven,
}

/// Why no more of a message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frozen {
    Hole,
    TooLarge,
    Unreadable,
}

/// A message that is coming in.
#[derive(Debug)]
pub(super) struct Open {
    is_text: bool,
    is_compressed: bool,
    bytes: Vec<u8>,
    cap: usize,
    frozen: Option<Frozen>,
    wire_bytes: u64,
    missing_bytes: u64,
    unread_bytes: u64,
    started_at: Timestamp,
    doubt: Doubt,
}

/// What a message turned out to be.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) data: String,
    pub(super) wire_bytes: u64,
    pub(super) missing_bytes: u64,
    pub(super) unread_bytes: u64,
    pub(super) end: End,
}

impl Read {
    /// A message whose start is doubtful is one if its end is where that of a JSON document is. A piece that begins inside
    /// a payload would have to show both by chance, with the right length between.
    pub(super) fn proves_itself(&self) -> bool {
        let text = self.data.as_bytes();
        let is_json = matches!((text.first(), text.last()), (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')));
        self.end == End::Complete && is_json && serde_json::from_str::<serde::de::IgnoredAny>(&self.data).is_ok()
    }
}

impl Open {
    pub(super) fn new(
        is_text: bool,
        is_compressed: bool,
        is_readable: bool,
        started_at: Timestamp,
        cap: usize,
        doubt: Doubt,
    ) -> Self {
        Self {
            is_text,
            is_compressed,
            bytes: Vec::new(),
            cap,
            frozen: (!is_readable).then_some(Frozen::Unreadable),
            wire_bytes: 0,
            missing_bytes: 0,
            unread_bytes: 0,
            started_at,
            doubt,
        }
    }

    /// A frame of it begins.
    pub(super) fn frame(&mut self, header_bytes: u64, reserve_bytes: usize) {
        self.wire_bytes = self.wire_bytes.saturating_add(header_bytes);
        if self.frozen.is_none() {
            self.bytes.reserve(reserve_bytes.min(self.cap.saturating_sub(self.bytes.len())));
        }
    }

    /// Takes a piece of its payload. Something wrong with it is reported once.
    pub(super) fn push(
        &mut self,
        piece: &[u8],
        mask: Option<[u8; 4]>,
        deflate: Option<&mut MessageDeflate>,
    ) -> Option<AnomalyKind> {
        self.wire_bytes = self.wire_bytes.saturating_add(piece.len() as u64);
        if self.frozen.is_some() {
            self.unread_bytes += piece.len() as u64;
            return None;
        }
        let unmasked: Vec<u8>;
        let plain = match mask {
            None => piece,
            Some(mask) => {
                unmasked = unmask(piece, mask);
                &unmasked
            }
        };
        match deflate.filter(|_| self.is_compressed) {
            None => {
                let kept = plain.get(..plain.len().min(self.cap - self.bytes.len())).unwrap_or_default();
                self.bytes.extend_from_slice(kept);
                if kept.len() < plain.len() {
                    self.unread_bytes += (plain.len() - kept.len()) as u64;
                    self.frozen = Some(Frozen::TooLarge);
                }
                None
            }
            Some(deflate) => {
                let (bytes, cap) = (&mut self.bytes, self.cap);
                let mut fits = true;
                let result = deflate.push(plain, &mut |plain| keep(bytes, cap, plain, &mut fits));
                self.decoded(result, fits, deflate)
            }
        }
    }

    fn decoded(&mut self, result: Result<(), Fault>, fits: bool, deflate: &mut MessageDeflate) -> Option<AnomalyKind> {
        let (why, kind) = match result {
            Ok(()) if fits => return None,
            Err(Fault::Encoding) => (Frozen::Unreadable, AnomalyKind::BadEncoding),
            Ok(()) | Err(Fault::Bomb) => (Frozen::TooLarge, AnomalyKind::Bomb),
        };
        self.frozen = Some(why);
        deflate.forget();
        Some(kind)
    }

    /// Bytes of it were lost.
    pub(super) fn lose(&mut self, bytes: u64, deflate: Option<&mut MessageDeflate>) {
        self.lack(bytes);
        self.frozen = Some(Frozen::Hole);
        if let Some(deflate) = deflate.filter(|_| self.is_compressed) {
            deflate.forget();
        }
    }

    /// Bytes of it will never come.
    pub(super) fn lack(&mut self, bytes: u64) {
        self.wire_bytes = self.wire_bytes.saturating_add(bytes);
        self.missing_bytes = self.missing_bytes.saturating_add(bytes);
    }

    pub(super) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    pub(super) fn doubt(&self) -> Doubt {
        self.doubt
    }

    /// Bytes held now.
    pub(super) fn buffered(&self) -> usize {
        self.bytes.len()
    }

    /// It is over.
    pub(super) fn finish(mut self, end: End, deflate: Option<&mut MessageDeflate>) -> (Read, Option<AnomalyKind>) {
        let mut anomaly = None;
        if let Some(deflate) = deflate.filter(|_| self.is_compressed) {
            if self.frozen.is_none() && end == End::Complete {
                let (bytes, cap) = (&mut self.bytes, self.cap);
                let mut fits = true;
                let result = deflate.end(&mut |plain| keep(bytes, cap, plain, &mut fits));
                anomaly = self.decoded(result, fits, deflate);
            } else {
                deflate.forget();
            }
        }
        let end = match (end, self.frozen) {
            (_, Some(Frozen::Hole)) => End::Gap,
            (End::Complete, Some(Frozen::TooLarge)) => End::TooLarge,
            (End::Complete, Some(Frozen::Unreadable)) => End::Unreadable,
            (end, _) => end,
        };
        let Self { is_text, is_compressed, frozen, wire_bytes, missing_bytes, mut unread_bytes, bytes, .. } = self;
        let data = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let bytes = error.as_bytes();
                let at = error.utf8_error();
                if at.error_len().is_none() && end != End::Complete {
                    // A character that is cut at the end does not make it binary.
                    String::from_utf8_lossy(bytes.get(..at.valid_up_to()).unwrap_or_default()).into_owned()
                } else if is_text {
                    String::from_utf8_lossy(bytes).into_owned()
                } else {
                    let runs = printable(bytes);
                    unread_bytes += bytes.len().saturating_sub(runs.len()) as u64;
                    runs
                }
            }
        };
        if is_compressed && matches!(frozen, Some(Frozen::Unreadable | Frozen::TooLarge)) {
            // How much of it was read before decoding stopped depends on where the pieces were cut: none, then.
            unread_bytes = wire_bytes;
        }
        let unread_bytes = unread_bytes.min(wire_bytes.saturating_sub(missing_bytes));
        (Read { data, wire_bytes, missing_bytes, unread_bytes, end }, anomaly)
    }
}

/// Keeps what fits; false when that was not all.
fn keep(bytes: &mut Vec<u8>, cap: usize, plain: &[u8], fits: &mut bool) -> bool {
    let kept = plain.get(..plain.len().min(cap.saturating_sub(bytes.len()))).unwrap_or_default();
    bytes.extend_from_slice(kept);
    *fits &= kept.len() == plain.len();
    *fits
}

/// Section 5.3.
fn unmask(piece: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut plain = piece.to_vec();
    for four in plain.chunks_mut(4) {
        for (byte, key) in four.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
    plain
}

/// The text in what is none: audio has little, protocols around JSON have much.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        let runs = chunk.valid().split(|c: char| c.is_control() && !matches!(c, '\t' | '\r' | '\n'));
        for run in runs.filter(|run| run.chars().nth(RUN_MIN_CHARS - 1).is_some()) {
            text.push_str(run);
            text.push('\n');
        }
    }
    text
}
