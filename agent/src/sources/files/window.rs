//! A part of a file around a place, read once more. Enters: a path and a position in the decompressed data. Leaves: whole lines, as the block
//! of a log; at most [`REACH_BYTES`] before the place and as many behind it. It opens no pipe and no device, and never waits for one.

use std::{
    fs::{File, OpenOptions},
    io::{self, Cursor, Read, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use memchr::{memchr, memrchr};
use rustix::fs::OFlags;

use super::unpack::{Caps, Format, Unpacked};
use crate::{
    clock,
    sources::log::{Cut, LogBlock, LogFile, WRAP_BYTES, Wrap},
};

/// Bytes on each side: more than the longest secret of several lines takes.
pub const REACH_BYTES: u64 = 32 * 1024;

/// Lines around a place.
#[derive(Clone, Debug)]
pub struct Window {
    /// The lines. They are counted from 1, wherever they stand in the file.
    pub block: LogBlock,
    /// The first line begins before the block, and the last one goes on behind it.
    pub cut: (bool, bool),
}

/// What stands around a position in a file; `None` when the file ends before it.
pub fn window(path: &Path, around: u64, caps: Caps) -> io::Result<Option<Window>> {
    let mut file = regular(path)?;
    let from = around.saturating_sub(REACH_BYTES);
    let length = around - from + REACH_BYTES;
    let (mut head, mut bytes) = (Vec::new(), Vec::new());
    (&mut file).take(WRAP_BYTES as u64).read_to_end(&mut head)?;
    if matches!(Format::of(&head), Format::Gzip | Format::Zstd) {
        let mut reader = Unpacked::new(Cursor::new(std::mem::take(&mut head)).chain(file), caps)?;
        (&mut reader).take(WRAP_BYTES as u64).read_to_end(&mut head)?;
        let mut reader = Cursor::new(head.clone()).chain(reader);
        io::copy(&mut (&mut reader).take(from), &mut io::sink())?;
        reader.take(length).read_to_end(&mut bytes)?;
    } else {
        file.seek(SeekFrom::Start(from))?;
        file.take(length).read_to_end(&mut bytes)?;
    }
    if from + bytes.len() as u64 <= around {
        return Ok(None);
    }
    let place = usize::try_from(around - from).unwrap_or(usize::MAX);
    let ended = (bytes.len() as u64) < length;
    // Half lines at its ends are left out, unless the place is in them.
    let start = if from == 0 { None } else { bytes.get(..place).and_then(|before| memchr(b'\n', before)) };
    let end = if ended { None } else { memrchr(b'\n', &bytes).filter(|end| *end > place) };
    let (first, last) = (start.map_or(0, |at| at + 1), end.map_or(bytes.len(), |at| at + 1));
    let cut = (from > 0 && start.is_none(), !ended && end.is_none());
    let bytes = Bytes::from(bytes).slice(first..last);
    let file = Arc::new(LogFile { path: path.to_string_lossy().into_owned(), ..LogFile::default() });
    let offset = from + first as u64;
    let whole = Cut { offset, first_line: 1, first_column: 0, overlap: 0, carry: 0, bytes, wrap: Wrap::of(&head) };
    Ok(Some(Window { block: whole.into_block(file, clock::now(), None), cut }))
}

/// Opens a file that is one.
fn regular(path: &Path) -> io::Result<File> {
    // Somebody may have put a pipe in its place: opening that would wait for a writer.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"))
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, fs, io::Write as _};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn read(path: &Path, around: u64) -> Option<(u64, Vec<u8>, (bool, bool))> {
        let window = window(path, around, Caps::default()).unwrap()?;
        Some((window.block.offset, window.block.bytes.to_vec(), window.cut))
    }

    #[test]
    fn whole_lines_stand_around_a_place_packed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        for number in 0..20_000 {
            writeln!(lines, "line {number:06}").unwrap();
        }
        let (plain, packed) = (folder.path().join("a.log"), folder.path().join("a.log.gz"));
        fs::write(&plain, &lines).unwrap();
        let mut writer = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
        writer.write_all(lines.as_bytes()).unwrap();
        writer.finish().unwrap();
        for around in [0, 1, 13, 40_000, 100_001, lines.len() as u64 - 1] {
            let (offset, bytes, cut) = read(&plain, around).unwrap();
            assert_eq!(read(&packed, around).unwrap(), (offset, bytes.clone(), cut), "{around}");
            assert!(offset <= around && around < offset + bytes.len() as u64, "{around}");
            assert_eq!((offset % 12, bytes.len() % 12, cut), (0, 0, (false, false)), "{around}");
            let start = usize::try_from(offset).unwrap();
            assert_eq!(bytes, lines.as_bytes()[start..start + bytes.len()]);
        }
        assert!(read(&plain, lines.len() as u64).is_none() && read(&packed, lines.len() as u64).is_none());
    }

    #[test]
    fn a_line_that_is_longer_is_cut_and_what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.log");
        fs::write(&path, vec![b'x'; 200_000]).unwrap();
        let (offset, bytes, cut) = read(&path, 100_000).unwrap();
        assert_eq!((offset, bytes.len() as u64, cut), (100_000 - REACH_BYTES, 2 * REACH_BYTES, (true, true)));
        let refused = window(folder.path(), 0, Caps::default()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let missing = window(&folder.path().join("none"), 0, Caps::default()).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
