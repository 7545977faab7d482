//! Content decoding (RFC 9110, section 8.4.1). Enters: pieces of a compressed body. Leaves: plain bytes, as soon as they can
//! be had. Never holds input back, and never gives out more than its size and ratio caps: those are checked here alone.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};

/// Output is drained in steps of this size.
const STEP_BYTES: usize = 32 << 10;
/// The ratio is judged only past this much output: short bodies compress well without being bombs.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// Why decoding stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not what the header said, or a coding that is not read here.
    Encoding,
    /// Past the ratio cap.
    Bomb,
}

/// The coding that `content-encoding` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or bare RFC 1951 as some servers send it.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// Anything else (zstd, several codings on top of each other).
    Unknown,
}

impl Coding {
    /// Reads a `content-encoding` value.
    pub(super) fn from_header(value: &str) -> Self {
        let mut named =
            value.split(',').map(str::trim).filter(|c| !c.is_empty() && !c.eq_ignore_ascii_case("identity"));
        match (named.next(), named.next()) {
            (None, _) => Self::Identity,
            (Some(one), None) if one.eq_ignore_ascii_case("gzip") || one.eq_ignore_ascii_case("x-gzip") => Self::Gzip,
            (Some(one), None) if one.eq_ignore_ascii_case("deflate") => Self::Deflate,
            (Some(one), None) if one.eq_ignore_ascii_case("br") => Self::Brotli,
            _ => Self::Unknown,
        }
    }
}

/// An incremental decoder with a ratio cap.
#[derive(Debug)]
pub(super) struct Inflate {
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
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Flate(_)) { "Flate" } else { "Brotli" })
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
        }
    }
}

impl Inflate {
    /// A decoder for `coding`, which gives at most `ratio` bytes per byte taken.
    pub(super) fn new(coding: Coding, ratio: u64) -> Self {
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

    /// Decodes a piece. `give` gets the output in steps and says whether it wants more.
    pub(super) fn push(&mut self, piece: &[u8], give: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Fault> {
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

    /// Bytes of the last piece that were not decoded when decoding stopped.
    pub(super) fn left_bytes(&self) -> usize {
        self.left_bytes
    }

    fn run(&mut self, rest: &mut &[u8], give: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Fault> {
        while !rest.is_empty() && !self.ended {
            if self.state.is_none() {
                // RFC 1952, section 2.2: members may follow each other; anything else after one is padding.
                self.ended = self.members > 0 && (self.coding != Coding::Gzip || rest.first() != Some(&0x1f));
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
    pub(super) fn is_whole(&self) -> bool {
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

    fn decode(coding: Coding, pieces: &[&[u8]]) -> (Vec<u8>, Result<(), Fault>, bool) {
        let mut inflate = Inflate::new(coding, 200);
        let mut plain = Vec::new();
        for piece in pieces {
            let result = inflate.push(piece, &mut |bytes| {
                plain.extend_from_slice(bytes);
                true
            });
            if result.is_err() {
                return (plain, result, false);
            }
        }
        (plain, Ok(()), inflate.is_whole())
    }

    #[test]
    fn every_coding_is_read() {
        let text = b"to be compressed, to be compressed";
        for (coding, wire) in [
            (Coding::Gzip, gzip(text)),
            (Coding::Gzip, [gzip(&text[..9]), gzip(&text[9..])].concat()),
            (Coding::Gzip, [gzip(text), vec![0; 40]].concat()),
            (Coding::Deflate, zlib(text)),
            (Coding::Deflate, bare(text)),
            (Coding::Brotli, brotli(text)),
        ] {
            assert_eq!(decode(coding, &[&wire]), (text.to_vec(), Ok(()), true), "{coding:?}");
            let bytes: Vec<&[u8]> = wire.chunks(1).collect();
            assert_eq!(decode(coding, &bytes), (text.to_vec(), Ok(()), true), "{coding:?}, byte by byte");
        }
    }

    #[test]
    fn a_bomb_is_stopped_and_garbage_is_refused() {
        let (plain, result, _) = decode(Coding::Gzip, &[&gzip(&vec![0; 64 << 20])]);
        assert_eq!(result, Err(Fault::Bomb));
        assert!(plain.len() < 16 << 20, "{} bytes came out before the cap", plain.len());
        let (plain, result, _) = decode(Coding::Brotli, &[&brotli(&vec![0; 64 << 20])]);
        assert_eq!(result, Err(Fault::Bomb));
        assert!(plain.len() < 16 << 20, "{} bytes came out before the cap", plain.len());
        assert_eq!(decode(Coding::Brotli, &[b"{\"not\": \"brotli at all\"}"]).1, Err(Fault::Encoding));
        let text: Vec<u8> = (0..20_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let wire = brotli(&text);
        let (plain, result, is_whole) = decode(Coding::Brotli, &[&wire[..wire.len() / 2]]);
        assert_eq!((result, is_whole), (Ok(()), false));
        assert!(plain.len() > text.len() / 4 && text.starts_with(&plain), "what came before the cut is read");
        assert_eq!(decode(Coding::Gzip, &[b"not gzip at all"]).1, Err(Fault::Encoding));
        assert!(!decode(Coding::Gzip, &[&gzip(b"cut short")[..20]]).2);
    }

    #[test]
    fn header_values() {
        for (value, coding) in [
            ("gzip", Coding::Gzip),
            (" X-GZIP ", Coding::Gzip),
            ("identity, gzip", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("", Coding::Identity),
            ("gzip, gzip", Coding::Unknown),
            ("BR", Coding::Brotli),
            ("br, gzip", Coding::Unknown),
            ("zstd", Coding::Unknown),
        ] {
            assert_eq!(Coding::from_header(value), coding, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(coding in 0..3_usize, pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let coding = [Coding::Gzip, Coding::Deflate, Coding::Brotli][coding];
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = decode(coding, &pieces);
        }
    }
}
