//! Content decoding (RFC 9110, section 8.4.1). Enters: pieces of a compressed body. Leaves: plain bytes, as soon as they can
//! be had. Never holds input back, and never gives out more than its size and ratio caps: those are checked here alone.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};

use super::zstd::Zstd;

/// Output is drained in steps of this size.
const STEP_BYTES: usize = 32 << 10;
/// The ratio is judged only past this much output: short bodies compress well without being bombs.
const RATIO_FREE_BYTES: u64 = 1 << 20;
/// Codings on top of each other that are read. Nobody sends more on purpose.
const MAX_STACKED: usize = 2;

/// Why decoding stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not what the header said, or a coding that is not read here.
    Encoding,
    /// Past the ratio cap.
    Bomb,
}

/// A coding that `content-encoding` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or bare RFC 1951 as some servers send it.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
    /// Anything else.
    Unknown,
}

impl Coding {
    fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            "br" => Self::Brotli,
            "zstd" => Self::Zstd,
            _ => Self::Unknown,
        }
    }

    /// What a `content-encoding` value names, the outermost first: it lists them in the order in which they were applied.
    fn all(value: &str) -> Vec<Self> {
        let named = value.split(',').map(str::trim).filter(|c| !c.is_empty() && !c.eq_ignore_ascii_case("identity"));
        let codings: Vec<_> = named.take(MAX_STACKED + 1).map(Self::named).collect();
        if codings.len() > MAX_STACKED { vec![Self::Unknown] } else { codings.into_iter().rev().collect() }
    }
}

/// Decodes a body through the codings that its head names.
#[derive(Debug)]
pub(super) struct Decoder {
    outer: Inflate,
    inner: Option<Inflate>,
}

impl Decoder {
    /// The decoder for a `content-encoding` value; `None` when the body is as it is. `ratio`: bytes given per byte taken.
    pub(super) fn from_header(value: &str, ratio: u64) -> Option<Self> {
        let mut stages = Coding::all(value).into_iter().map(|coding| Inflate::new(coding, ratio));
        stages.next().map(|outer| Self { outer, inner: stages.next() })
    }

    /// Decodes a piece. `give` gets the output in steps and says whether it wants more.
    pub(super) fn push(&mut self, piece: &[u8], give: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Fault> {
        let Some(inner) = &mut self.inner else { return self.outer.push(piece, give) };
        let mut result = Ok(());
        let outer = self.outer.push(piece, &mut |plain| {
            let mut wants = true;
            result = inner.push(plain, &mut |plain| {
                wants = give(plain);
                wants
            });
            wants && result.is_ok()
        });
        result.and(outer)
    }

    /// Nothing will follow: gives out what was held back.
    pub(super) fn finish(mut self, give: &mut dyn FnMut(&[u8]) -> bool) {
        let Some(mut inner) = self.inner else { return self.outer.finish(give) };
        self.outer.finish(&mut |plain| inner.push(plain, give).is_ok());
        inner.finish(give);
    }

    /// Bytes of the last piece that were not decoded when decoding stopped.
    pub(super) fn left_bytes(&self) -> usize {
        self.outer.left_bytes
    }

    /// Bytes held back for later.
    pub(super) fn held_bytes(&self) -> usize {
        self.outer.held_bytes() + self.inner.as_ref().map_or(0, Inflate::held_bytes)
    }

    /// Whether the body stands at an end of its own.
    pub(super) fn is_whole(&self) -> bool {
        self.outer.is_whole() && self.inner.as_ref().is_none_or(Inflate::is_whole)
    }
}

/// An incremental decoder of one coding, with a ratio cap.
#[derive(Debug)]
struct Inflate {
    coding: Coding,
    /// `None` until the first bytes show which kind of stream it is, and between gzip members.
    state: Option<State>,
    /// First byte, while the second is needed to tell zlib from bare deflate.
    held: Option<u8>,
    members: u32,
    ended: bool,
    taken: u64,
    given: u64,
    ratio: u64,
    scratch: Vec<u8>,
    /// Bytes of the last piece that were not decoded.
    left_bytes: usize,
}

/// A decoder of one coding.
enum State {
    Flate(Decompress),
    /// Its window is what the stream asks for, at most 16 MiB (RFC 7932, section 9.1).
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(Box<Zstd>),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Flate(_) => "Flate",
            Self::Brotli(_) => "Brotli",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl State {
    fn brotli() -> Self {
        let alloc = StandardAlloc::default;
        Self::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
    }

    /// Bytes taken and made, and whether the stream is at its end.
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize, bool), Fault> {
        match self {
            Self::Flate(state) => {
                let (in_before, out_before) = (state.total_in(), state.total_out());
                let status = state.decompress(input, output, FlushDecompress::None).map_err(|_| Fault::Encoding)?;
                let (used, made) = (state.total_in() - in_before, state.total_out() - out_before);
                Ok((used as usize, made as usize, status == Status::StreamEnd))
            }
            Self::Brotli(state) => {
                let (mut input_left, mut used, mut room, mut made) = (input.len(), 0, output.len(), 0);
                let result = BrotliDecompressStream(
                    &mut input_left,
                    &mut used,
                    input,
                    &mut room,
                    &mut made,
                    output,
                    &mut 0,
                    state,
                );
                match result {
                    BrotliResult::ResultFailure => Err(Fault::Encoding),
                    result => Ok((used, made, matches!(result, BrotliResult::ResultSuccess))),
                }
            }
            Self::Zstd(state) => state.decode(input, output),
        }
    }
}

impl Inflate {
    fn new(coding: Coding, ratio: u64) -> Self {
        Self {
            coding,
            state: None,
            held: None,
            members: 0,
            ended: false,
            taken: 0,
            given: 0,
            ratio,
            scratch: Vec::new(),
            left_bytes: 0,
        }
    }

    fn push(&mut self, piece: &[u8], give: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Fault> {
        self.taken += piece.len() as u64;
        let mut rest = piece;
        let joined: Vec<u8>;
        if let Some(first) = self.held.take() {
            joined = [&[first], piece].concat();
            rest = &joined;
        }
        let result = self.run(&mut rest, give);
        self.left_bytes = rest.len();
        result
    }

    /// Only zstd keeps anything back; what it gave is judged like all else, but for the ratio of its last window.
    fn finish(&mut self, give: &mut dyn FnMut(&[u8]) -> bool) {
        let Some(State::Zstd(state)) = &mut self.state else { return };
        state.end();
        self.scratch.resize(STEP_BYTES, 0);
        while let Ok((_, made, _)) = state.decode(&[], &mut self.scratch) {
            if made == 0 || !give(self.scratch.get(..made).unwrap_or_default()) {
                return;
            }
        }
    }

    fn held_bytes(&self) -> usize {
        if let Some(State::Zstd(state)) = &self.state { state.held_bytes() } else { 0 }
    }

    fn run(&mut self, rest: &mut &[u8], give: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Fault> {
        while !rest.is_empty() && !self.ended {
            if self.state.is_none() {
                // RFC 1952, section 2.2, and RFC 8878, section 3: members and frames may follow each other; anything else
                // after one is padding.
                self.ended = self.members > 0
                    && !rest.first().is_some_and(|first| match self.coding {
                        Coding::Gzip => *first == 0x1f,
                        Coding::Zstd => Zstd::may_begin_with(*first),
                        _ => false,
                    });
                if self.ended || !self.start(rest)? {
                    return Ok(());
                }
            }
            if !self.step(rest, give)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Picks the decoder from the first bytes. False: one more byte is needed.
    fn start(&mut self, rest: &[u8]) -> Result<bool, Fault> {
        let state = match (self.coding, rest) {
            (Coding::Gzip, _) => State::Flate(Decompress::new_gzip(15)),
            (Coding::Brotli, _) => State::brotli(),
            (Coding::Zstd, _) => State::Zstd(Box::default()),
            (Coding::Deflate, [first]) => {
                self.held = Some(*first);
                return Ok(false);
            }
            // RFC 1950, section 2.2: method 8, and the two bytes are a multiple of 31.
            (Coding::Deflate, [first, second, ..]) => {
                let header = u16::from_be_bytes([*first, *second]);
                State::Flate(Decompress::new(first & 0x0f == 8 && header.is_multiple_of(31)))
            }
            _ => return Err(Fault::Encoding),
        };
        self.state = Some(state);
        Ok(true)
    }

    /// One call of the decoder. False: `give` wants no more.
    fn step(&mut self, rest: &mut &[u8], give: &mut dyn FnMut(&[u8]) -> bool) -> Result<bool, Fault> {
        let Some(state) = self.state.as_mut() else { return Err(Fault::Encoding) };
        loop {
            self.scratch.resize(STEP_BYTES, 0);
            let (used, made, is_end) = state.decode(rest, &mut self.scratch)?;
            *rest = rest.get(used..).unwrap_or_default();
            self.given += made as u64;
            if self.given > RATIO_FREE_BYTES && self.given / self.ratio.max(1) > self.taken {
                return Err(Fault::Bomb);
            }
            if made > 0 && !give(self.scratch.get(..made).unwrap_or_default()) {
                return Ok(false);
            }
            if is_end {
                self.state = None;
                self.members += 1;
                return Ok(true);
            }
            if made < STEP_BYTES && rest.is_empty() {
                return Ok(true);
            }
            if made == 0 && used == 0 {
                return Err(Fault::Encoding);
            }
        }
    }

    /// Whether the stream stands at an end of its own.
    fn is_whole(&self) -> bool {
        self.taken == 0 || (self.state.is_none() && self.held.is_none())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write};
    use proptest::prelude::*;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn bare(text: &[u8]) -> Vec<u8> {
        let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn brotli(text: &[u8]) -> Vec<u8> {
        let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
        encoder.write_all(text).unwrap();
        encoder.into_inner()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn decode(coding: &str, pieces: &[&[u8]]) -> (Vec<u8>, Result<(), Fault>, bool) {
        let mut inflate = Decoder::from_header(coding, 200).unwrap();
        let mut plain = Vec::new();
        for piece in pieces {
            let result = inflate.push(piece, &mut |bytes| {
                plain.extend_from_slice(bytes);
                true
            });
            if result.is_err() {
                inflate.finish(&mut |bytes| {
                    plain.extend_from_slice(bytes);
                    true
                });
                return (plain, result, false);
            }
        }
        let is_whole = inflate.is_whole();
        inflate.finish(&mut |bytes| {
            plain.extend_from_slice(bytes);
            true
        });
        (plain, Ok(()), is_whole)
    }

    #[test]
    fn every_coding_is_read() {
        let text = b"to be compressed, to be compressed";
        for (coding, wire) in [
            ("gzip", gzip(text)),
            ("gzip", [gzip(&text[..9]), gzip(&text[9..])].concat()),
            ("gzip", [gzip(text), vec![0; 40]].concat()),
            ("deflate", zlib(text)),
            ("deflate", bare(text)),
            ("br", brotli(text)),
            ("zstd", zstd(text)),
            ("zstd", [zstd(&text[..9]), vec![0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3], zstd(&text[9..])].concat()),
            ("zstd", [zstd(text), vec![0; 40]].concat()),
            ("gzip, br", brotli(&gzip(text))),
            ("zstd, identity, gzip", gzip(&zstd(text))),
            ("gzip, zstd", zstd(&gzip(text))),
        ] {
            assert_eq!(decode(coding, &[&wire]), (text.to_vec(), Ok(()), true), "{coding:?}");
            let bytes: Vec<&[u8]> = wire.chunks(1).collect();
            assert_eq!(decode(coding, &bytes), (text.to_vec(), Ok(()), true), "{coding:?}, byte by byte");
        }
    }

    #[test]
    fn a_bomb_is_stopped_and_garbage_is_refused() {
        let (plain, result, _) = decode("gzip", &[&gzip(&vec![0; 64 << 20])]);
        assert_eq!(result, Err(Fault::Bomb));
        assert!(plain.len() < 16 << 20, "{} bytes came out before the cap", plain.len());
        let (plain, result, _) = decode("br", &[&brotli(&vec![0; 64 << 20])]);
        assert_eq!(result, Err(Fault::Bomb));
        assert!(plain.len() < 16 << 20, "{} bytes came out before the cap", plain.len());
        assert_eq!(decode("br", &[b"{\"not\": \"brotli at all\"}"]).1, Err(Fault::Encoding));
        let text: Vec<u8> = (0..20_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let wire = brotli(&text);
        let (plain, result, is_whole) = decode("br", &[&wire[..wire.len() / 2]]);
        assert_eq!((result, is_whole), (Ok(()), false));
        assert!(plain.len() > text.len() / 4 && text.starts_with(&plain), "what came before the cut is read");
        assert_eq!(decode("gzip", &[b"not gzip at all"]).1, Err(Fault::Encoding));
        assert!(!decode("gzip", &[&gzip(b"cut short")[..20]]).2);
        for coding in ["zstd", "gzip, zstd"] {
            let bomb = if coding == "zstd" { zstd(&vec![0; 64 << 20]) } else { zstd(&gzip(&vec![0; 64 << 20])) };
            let (plain, result, _) = decode(coding, &[&bomb]);
            assert_eq!(result, Err(Fault::Bomb), "{coding}");
            assert!(plain.len() < 16 << 20, "{coding}: {} bytes came out before the cap", plain.len());
        }
        assert_eq!(decode("snappy", &[b"text"]).1, Err(Fault::Encoding));
    }

    #[test]
    fn header_values() {
        for (value, codings) in [
            ("gzip", &[Coding::Gzip][..]),
            (" X-GZIP ", &[Coding::Gzip]),
            ("identity, gzip", &[Coding::Gzip]),
            ("deflate", &[Coding::Deflate]),
            ("", &[]),
            ("identity", &[]),
            ("gzip, gzip", &[Coding::Gzip, Coding::Gzip]),
            ("BR", &[Coding::Brotli]),
            ("zstd", &[Coding::Zstd]),
            ("br, gzip", &[Coding::Gzip, Coding::Brotli]),
            ("br, gzip, zstd", &[Coding::Unknown]),
            ("compress", &[Coding::Unknown]),
        ] {
            assert_eq!(Coding::all(value), codings, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_body_gives_the_same_however_it_is_cut(
            coding in 0..5_usize,
            text in "([a-z]{1,9} ){1,80}",
            flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 0..3),
            size in 1usize..90,
        ) {
            let text = text.repeat(3).into_bytes();
            let (coding, mut wire) = [
                ("gzip", gzip(&text)),
                ("deflate", zlib(&text)),
                ("br", brotli(&text)),
                ("zstd", zstd(&text)),
                ("gzip, zstd", zstd(&gzip(&text))),
            ][coding].clone();
            for (at, flip) in &flips {
                let at = at.index(wire.len());
                wire[at] ^= flip;
            }
            let (whole, result, is_whole) = decode(coding, &[&wire]);
            let pieces: Vec<&[u8]> = wire.chunks(size).collect();
            let (cut, cut_result, cut_is_whole) = decode(coding, &pieces);
            // Where decoding fails, how much came out before depends on the pieces; what came does not.
            prop_assert!(whole.starts_with(&cut) || cut.starts_with(&whole));
            prop_assert_eq!((result, is_whole), (cut_result, cut_is_whole));
            prop_assert!(result.is_err() || whole == cut);
            prop_assert!(!flips.is_empty() || whole == text);
        }

        #[test]
        fn garbage_never_panics(coding in 0..5_usize, pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let coding = ["gzip", "deflate", "br", "zstd", "zstd, gzip"][coding];
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = decode(coding, &pieces);
        }
    }
}
