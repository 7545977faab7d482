//! Runs of NUL bytes: what a file has where nobody wrote. A program without `O_APPEND` whose log is truncated goes on at its old
//! position, so the log begins with a hole of that size; and after a loss of power ext4 and XFS show zeros where data was not yet on
//! disk. Enters: a block, or the file. Leaves: where such a run is. No line is in it.

use std::{fs::File, ops::Range};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

/// A shorter run is read as a part of its line. At least as much as a file's beginning is known by.
pub(super) const RUN_BYTES: usize = 4096;

/// The first long run in a block.
pub(super) fn first_run(bytes: &[u8]) -> Option<Range<usize>> {
    let mut probe = 0;
    // A long run has one of these positions in it.
    while let Some(byte) = bytes.get(probe) {
        if *byte == 0 {
            let start = bytes.get(..probe)?.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            let end =
                bytes.get(probe..)?.iter().position(|byte| *byte != 0).map_or(bytes.len(), |length| probe + length);
            if end - start >= RUN_BYTES {
                return Some(start..end);
            }
        }
        probe += RUN_BYTES;
    }
    None
}

/// Where the next data is from `at` on, as the file system says; `at` itself when it does not know holes. Never past `size`.
pub(super) fn next_data(file: &File, at: u64, size: u64) -> u64 {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => data.clamp(at, size.max(at)),
        // A hole up to the end.
        Err(Errno::NXIO) => size.max(at),
        Err(_) => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_are_found_wherever_they_are() {
        for length in [RUN_BYTES, RUN_BYTES + 1, 3 * RUN_BYTES] {
            for start in [0, 1, RUN_BYTES - 1, RUN_BYTES, RUN_BYTES + 1, 2 * RUN_BYTES + 7] {
                for rest in [0, 1, RUN_BYTES] {
                    let mut bytes = vec![b'x'; start + length + rest];
                    bytes[start..start + length].fill(0);
                    assert_eq!(first_run(&bytes), Some(start..start + length));
                    bytes[start + length / 2] = b'x';
                    let halves = [start..start + length / 2, start + length / 2 + 1..start + length];
                    assert_eq!(first_run(&bytes), halves.into_iter().find(|half| half.len() >= RUN_BYTES));
                }
            }
        }
        let utf16: Vec<u8> = "a line\n".repeat(4000).encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(first_run(&utf16), None);
    }

    #[test]
    fn holes_are_jumped_over() {
        let file = tempfile::tempfile().unwrap();
        let size = 1 << 30;
        file.set_len(size).unwrap();
        assert_eq!(next_data(&file, 5, size), size);
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", size - 4).unwrap();
        let data = next_data(&file, 5, size);
        assert!((5..=size - 4).contains(&data), "{data}");
    }
}
