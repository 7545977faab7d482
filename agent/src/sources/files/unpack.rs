//! Unpacks gzip and zstd while reading. Enters: a reader of any file. Leaves: a reader of what is in it. A format is told by its
//! first bytes, not by the file's name. Memory is bounded by the format (gzip 32 KiB, zstd its window of at most 100 MiB), output by
//! [`Caps`].

use std::{
    io::{self, BufReader, Cursor, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use flate2::read::MultiGzDecoder;

use super::zstd::Zstd;

/// RFC 1952, section 2.3.1.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
/// RFC 8878, section 3.1.1.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// RFC 8878, section 3.1.2: the first byte is 0x50 to 0x5f. `pzstd` writes such a frame first.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
/// Bytes that are enough to tell a format.
const MAGIC_BYTES: u64 = 4;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sources) enum Format {
    Gzip,
    Zstd,
    /// Not at all.
    Plain,
    /// It is too short to say.
    Unclear,
}

impl Format {
    /// Tells by a file's first bytes; four are enough.
    pub(in crate::sources) fn of(head: &[u8]) -> Self {
        let is_skippable = |head: &[u8]| matches!(head, [0x50..=0x5f, rest @ ..] if rest.starts_with(&ZSTD_SKIPPABLE));
        if head.starts_with(&GZIP) {
            Self::Gzip
        } else if head.starts_with(&ZSTD) || is_skippable(head) {
            Self::Zstd
        } else if head.is_empty() || !(GZIP.starts_with(head) || ZSTD.starts_with(head)) {
            Self::Plain
        } else {
            Self::Unclear
        }
    }
}

/// How much a compressed file may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Most bytes.
    pub bytes: u64,
    /// Most bytes for each compressed byte. Real logs reach some hundred.
    pub ratio: u64,
    /// Bytes that are allowed at any ratio.
    pub free_bytes: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Self { bytes: 64 << 30, ratio: 1000, free_bytes: 64 << 20 }
    }
}

/// A reader of what a file holds.
pub(in crate::sources) struct Unpacked {
    reader: Box<dyn Read + Send>,
    /// Bytes of the file that were read; none for a file that is not compressed.
    packed_bytes: Option<Arc<AtomicU64>>,
    caps: Caps,
    out_bytes: u64,
}

impl Unpacked {
    /// Reads the first bytes and decides.
    pub(in crate::sources) fn new(mut file: impl Read + Send + 'static, caps: Caps) -> io::Result<Self> {
        let mut head = Vec::new();
        (&mut file).take(MAGIC_BYTES).read_to_end(&mut head)?;
        let format = Format::of(&head);
        let file = Cursor::new(head).chain(file);
        if matches!(format, Format::Plain | Format::Unclear) {
            return Ok(Self { reader: Box::new(file), packed_bytes: None, caps, out_bytes: 0 });
        }
        let packed_bytes = Arc::new(AtomicU64::new(0));
        let file = Counted { reader: file, bytes: Arc::clone(&packed_bytes) };
        let reader: Box<dyn Read + Send> = if format == Format::Gzip {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(Zstd::new(BufReader::with_capacity(64 * 1024, file)))
        };
        Ok(Self { reader, packed_bytes: Some(packed_bytes), caps, out_bytes: 0 })
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(packed_bytes) = &self.packed_bytes else { return self.reader.read(buffer) };
        let Caps { bytes, ratio, free_bytes } = self.caps;
        if self.out_bytes > bytes {
            return Err(io::Error::other(format!("it unpacks to more than {bytes} bytes")));
        }
        if self.out_bytes > packed_bytes.load(Relaxed).saturating_mul(ratio).max(free_bytes) {
            return Err(io::Error::other(format!("it unpacks to more than {ratio} times its size")));
        }
        let read = self.reader.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "its compressed data ends too early"),
            _ => io::Error::new(error.kind(), format!("its compressed data is damaged: {error}")),
        })?;
        self.out_bytes = self.out_bytes.saturating_add(read as u64);
        Ok(read)
    }
}

/// Counts what is read.
struct Counted<R> {
    reader: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.bytes.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}
