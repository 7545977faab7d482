//! What of a file is read to find its stacks. Enters: an open file. Leaves: bytes as long as the file, zeros where nobody looks. Never
//! keeps more in memory than it read: zeros that are not touched cost nothing.
//!
//! A program made by `bun build --compile` carries its scripts as data that it may write to: of Claude Code's 400 MB that is 240. All
//! that is sought in a file, code, tables and texts, is read-only, or small. And reading is what takes longest, while the program
//! runs towards its first call.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

use object::{
    Endianness,
    elf::{FileHeader64, PF_W, PT_LOAD},
    read::elf::{FileHeader as _, ProgramHeader as _},
};

/// Where program headers are: linkers put them behind the file's header.
const HEAD_BYTES: u64 = 16 * 1024;
/// Largest part for the program to write to that is read. Go keeps its tables in such a part, of a few megabytes.
const WRITABLE_BYTES_MAX: u64 = 32 << 20;

/// Reads a file of at most so many bytes; of a longer one, its beginning.
pub(in super::super) fn read(file: &File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len().min(bytes_max);
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    fill(file, &mut bytes, 0..HEAD_BYTES.min(length))?;
    let mut skipped = skipped(&bytes).unwrap_or_default();
    skipped.sort_by_key(|part| part.start);
    let mut from = HEAD_BYTES.min(length);
    for part in skipped {
        if part.start > from {
            fill(file, &mut bytes, from..part.start.min(length))?;
        }
        from = from.max(part.end);
    }
    fill(file, &mut bytes, from..length)?;
    Ok(bytes)
}

/// Parts that are not worth their reading.
fn skipped(head: &[u8]) -> Option<Vec<Range<u64>>> {
    let header = FileHeader64::<Endianness>::parse(head).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, head).ok()?.iter();
    let large = segments.filter(|segment| {
        segment.p_type(endian) == PT_LOAD
            && segment.p_flags(endian).contains(PF_W)
            && segment.p_filesz(endian) > WRITABLE_BYTES_MAX
    });
    Some(large.map(|segment| segment.file_range(endian)).map(|(at, size)| at..at.saturating_add(size)).collect())
}

/// A file that ends before its length leaves zeros.
fn fill(file: &File, bytes: &mut [u8], range: Range<u64>) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let rest = usize::try_from(at).ok().zip(usize::try_from(range.end).ok());
        let Some(rest) = rest.and_then(|(at, end)| bytes.get_mut(at..end)) else { break };
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(count) => at += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// An ELF head of 64 bits with these program headers: flags, offset, size; then bytes that tell where they are.
    fn made(segments: &[(u32, u64, u64)], length: usize) -> (Vec<u8>, File) {
        let mut bytes: Vec<u8> = (0..length).map(|at| (at >> 12) as u8 | 1).collect();
        let mut head = b"\x7fELF\x02\x01\x01".to_vec();
        head.resize(64, 0);
        head[32] = 64; // e_phoff
        head[52..58].copy_from_slice(&[64, 0, 56, 0, segments.len() as u8, 0]); // e_ehsize, e_phentsize, e_phnum
        for (flags, at, size) in segments {
            for word in [1 | u64::from(*flags) << 32, *at, 0, 0, *size, *size, 1] {
                head.extend(word.to_le_bytes());
            }
        }
        bytes[..head.len()].copy_from_slice(&head);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (bytes, file)
    }

    #[test]
    fn only_large_parts_for_the_program_to_write_to_are_left_out() {
        let large = WRITABLE_BYTES_MAX + 1;
        let end = 3 * HEAD_BYTES + 2 * large;
        for (segments, left_out) in [
            (vec![(5, 0, 2 * large)], None),
            (vec![(6, 3 * HEAD_BYTES, large - 1)], None),
            (vec![(6, 3 * HEAD_BYTES, large)], Some(3 * HEAD_BYTES..3 * HEAD_BYTES + large)),
            // Two that overlap, the later first; one that ends behind the file; one that begins before what is always read ends.
            (
                vec![(6, 4 * HEAD_BYTES, large), (6, 3 * HEAD_BYTES, large)],
                Some(3 * HEAD_BYTES..4 * HEAD_BYTES + large),
            ),
            (vec![(6, end - 10, u64::MAX)], Some(end - 10..end)),
            (vec![(7, 0, large)], Some(HEAD_BYTES..large)),
        ] {
            let (mut expected, file) = made(&segments, end as usize);
            if let Some(part) = left_out {
                expected[part.start as usize..part.end as usize].fill(0);
            }
            assert!(read(&file, u64::MAX).unwrap() == expected, "{segments:?}");
            assert!(read(&file, 5 * HEAD_BYTES).unwrap() == expected[..5 * HEAD_BYTES as usize], "{segments:?}");
        }
    }

    #[test]
    fn what_is_no_elf_file_is_read_as_it_is() {
        for text in [Vec::new(), b"#!/bin/sh".to_vec(), vec![0x7f; 100_000]] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&text).unwrap();
            assert_eq!(read(&file, 1 << 30).unwrap(), text);
        }
    }
}
