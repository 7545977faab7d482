//! What the fuzz targets of all rooms share, and the targets of this one. Enters: an input of the fuzzer. Leaves: nothing, or a
//! panic that says which property broke. Built for tests and for the fuzzer only (`crate::fuzz` says why it stands in the crate).

use std::io::Read as _;

use super::{
    StreamEvent, files,
    log::{Cut, CutLimits, LineCutter, Position},
    replay::{self, Options, Playing},
};
use crate::units::Timestamp;

/// Most bytes that a file may unpack to here: enough to pass every window of a decoder.
const UNPACKED_BYTES: u64 = 4 << 20;

/// An input of the targets whose parser takes pieces: `byte, cut sizes, bytes`. The low three bits of the first byte count the
/// cut sizes, the rest is an option of the target. Without sizes every byte is a piece: an input that starts with `0` is its
/// own text, so seeds can be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cuts<'a> {
    /// What the target likes it to mean.
    pub(crate) option: usize,
    sizes: &'a [u8],
    /// The bytes.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Cuts<'a> {
    /// Reads an input; `None` when it is too short.
    pub(crate) fn read(input: &'a [u8]) -> Option<Self> {
        let (first, rest) = input.split_first()?;
        let (sizes, bytes) = rest.split_at_checked(usize::from(first & 7))?;
        Some(Self { option: usize::from(first >> 3), sizes, bytes })
    }

    /// The bytes in pieces; the sizes are used in turns.
    pub(crate) fn pieces(self) -> Vec<&'a [u8]> {
        self.cut(self.bytes)
    }

    /// Some bytes in pieces.
    pub(crate) fn cut<'b>(self, bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let mut sizes = self.sizes.iter().map(|size| usize::from(*size).max(1)).cycle();
        let (mut rest, mut pieces) = (bytes, Vec::new());
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(1);
            let (piece, tail) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        pieces
    }
}

/// Lines of a log: every byte leaves once, whatever the pieces, and going on from any checkpoint gives the same bytes.
pub(crate) fn lines(input: &[u8]) {
    let Some(cuts) = Cuts::read(input) else { return };
    let size = 2 << (cuts.option % 8);
    let limits = CutLimits { block_bytes: 2 * size, line_bytes: size, overlap_bytes: size / 4 };
    let run = |pieces: &[&[u8]]| {
        let (mut cutter, mut out) = (LineCutter::new(limits, Position::default()), Vec::new());
        for piece in pieces {
            cutter.push(piece, &mut out);
            assert!(cutter.held_bytes() <= 64 * 1024 + 4 * size + piece.len(), "{} bytes held", cutter.held_bytes());
        }
        cutter.finish(&mut out);
        fresh(&out)
    };
    assert_eq!(run(&[cuts.bytes]), cuts.bytes, "bytes of one piece");
    assert_eq!(run(&cuts.pieces()), cuts.bytes, "bytes of many pieces");
}

/// What the cuts add to what left before them.
fn fresh(cuts: &[Cut]) -> Vec<u8> {
    cuts.iter().flat_map(|cut| cut.bytes.get(cut.overlap..).unwrap_or_default()).copied().collect()
}

/// A file that may be compressed: never more bytes than the cap and a step past it.
pub(crate) fn unpack(input: &[u8]) {
    let caps = files::Caps { bytes: UNPACKED_BYTES, ratio: 50, free_bytes: 1 << 20 };
    let Ok(mut reader) = files::unpacked(input.to_vec(), caps) else { return };
    let (mut buffer, mut given) = (vec![0; 64 << 10], 0);
    while let Ok(read @ 1..) = reader.read(&mut buffer) {
        given += read as u64;
    }
    assert!(given <= UNPACKED_BYTES + buffer.len() as u64 || given == input.len() as u64, "{given} bytes came out");
}

/// Exchange records, or a HAR file: what is accepted plays, in the order of time, with the same bytes at any cut.
pub(crate) fn record(input: &[u8]) {
    let Ok(records) = replay::parse(input) else { return };
    let total = |options: Options| {
        let (mut sent, mut last) = (0, Timestamp(0));
        for input in Playing::new(records.clone(), options) {
            assert!(input.at >= last, "time runs backwards");
            last = input.at;
            if let StreamEvent::Bytes { bytes, .. } = &input.event {
                sent += bytes.len();
            }
        }
        sent
    };
    let whole = total(Options::default());
    assert_eq!(total(Options { split: Some(whole as u64), ..Options::default() }), whole, "bytes of a split record");
    assert!(total(Options { drop: Some(whole as u64), ..Options::default() }) <= whole, "bytes of a lossy record");
}
