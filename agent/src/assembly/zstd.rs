//! One frame of zstd (RFC 8878). Enters: pieces of it, cut anywhere. Leaves: its content. Never decodes more than one block of at
//! most 128 KiB at a time, and refuses a window past what RFC 9659 allows for HTTP.
//!
//! The library wants whole blocks, and keeps its window to itself until the frame ends: a frame that will not end is ended for it
//! ([`Zstd::end`]), so that nothing which came before a hole or a cut is lost.

use std::io::Read;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::inflate::Fault;

/// RFC 9659, section 3.
const MAX_WINDOW_BYTES: u64 = 8 << 20;
/// Largest block (RFC 8878, section 3.1.1.2.4).
const MAX_BLOCK_BYTES: usize = 128 << 10;
const BLOCK_HEAD_BYTES: usize = 3;
const CHECKSUM_BYTES: usize = 4;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Last three bytes of the magic number of a frame to be skipped; its first one is 0x50 to 0x5f.
const SKIP_MAGIC: [u8; 3] = [0x2a, 0x4d, 0x18];
const SKIP_HEAD_BYTES: usize = 8;

/// An empty last block, and room for a checksum.
const ENDING: [u8; BLOCK_HEAD_BYTES + CHECKSUM_BYTES] = [1, 0, 0, 0, 0, 0, 0];

/// An incremental decoder of one frame.
#[derive(Default)]
pub(super) struct Zstd {
    decoder: FrameDecoder,
    stage: Stage,
    /// The head or block that is coming in.
    pending: Vec<u8>,
    window_bytes: u64,
    has_checksum: bool,
    /// The rest of the frame was made up: its checksum says nothing.
    is_ended: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Head,
    /// In a frame to be skipped: so many bytes are left.
    Skip(u64),
    Blocks,
    /// The last block was decoded.
    Last,
}

/// A part of the frame that must be there as a whole, as far as it is known.
enum Part {
    /// So many bytes, to see more.
    AtLeast(usize),
    Whole(usize),
}

impl Zstd {
    /// Whether a frame may begin with this byte.
    pub(super) fn may_begin_with(first: u8) -> bool {
        first == MAGIC[0] || (0x50..=0x5f).contains(&first)
    }

    /// Bytes taken and made, and whether the frame is at its end.
    pub(super) fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize, bool), Fault> {
        let mut used = 0;
        while self.decoder.can_collect() == 0 && used < input.len() {
            let rest = input.get(used..).unwrap_or_default();
            used += match self.stage {
                Stage::Head | Stage::Blocks => self.take(rest)?,
                Stage::Skip(left) => {
                    let skipped = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.stage = Stage::Skip(left - skipped as u64);
                    skipped
                }
                Stage::Last => break,
            };
            if self.stage == Stage::Skip(0) {
                return Ok((used, 0, true));
            }
        }
        let made = self.decoder.read(output).map_err(|_| Fault::Encoding)?;
        let ended = self.stage == Stage::Last && self.decoder.can_collect() == 0;
        if ended && !self.is_ended {
            let (told, counted) = (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum());
            if told.is_some_and(|told| counted.is_some_and(|counted| counted != told)) {
                // Given out first, then refused.
                return if made > 0 { Ok((used, made, false)) } else { Err(Fault::Encoding) };
            }
        }
        Ok((used, made, ended))
    }

    /// Nothing will follow: what was decoded can be had from now on.
    pub(super) fn end(&mut self) {
        if self.stage == Stage::Blocks {
            // A block that could not be decoded leaves the frame where it was; its end is taken all the same.
            let _ = self.decoder.decode_blocks(ENDING.as_slice(), BlockDecodingStrategy::All);
            (self.stage, self.is_ended) = (Stage::Last, true);
        }
    }

    /// Bytes held: the part that is coming in, and the window once there is one.
    pub(super) fn held_bytes(&self) -> usize {
        self.pending.len() + if self.stage == Stage::Blocks { self.window_bytes as usize } else { 0 }
    }

    /// Adds to the part that is coming in, and decodes it when it is whole.
    fn take(&mut self, input: &[u8]) -> Result<usize, Fault> {
        let part = if self.stage == Stage::Head { self.head()? } else { self.block()? };
        let (Part::AtLeast(wanted) | Part::Whole(wanted)) = part;
        let taken = input.get(..wanted.saturating_sub(self.pending.len()).min(input.len())).unwrap_or_default();
        self.pending.extend_from_slice(taken);
        // What was known before may be more now.
        let part = if self.stage == Stage::Head { self.head()? } else { self.block()? };
        if let Part::Whole(bytes) = part
            && self.pending.len() >= bytes
        {
            let pending = std::mem::take(&mut self.pending);
            if self.stage == Stage::Head {
                self.open(&pending)?;
            } else {
                self.decode_block(&pending)?;
            }
            self.pending = pending;
            self.pending.clear();
        }
        Ok(taken.len())
    }

    /// How long the head is (RFC 8878, section 3.1.1.1).
    fn head(&self) -> Result<Part, Fault> {
        let head = &self.pending;
        let Some(first) = head.first() else { return Ok(Part::AtLeast(1)) };
        let magic = if *first == MAGIC[0] { MAGIC } else { [*first, SKIP_MAGIC[0], SKIP_MAGIC[1], SKIP_MAGIC[2]] };
        if !Self::may_begin_with(*first) || head.iter().zip(magic).any(|(have, want)| *have != want) {
            return Err(Fault::Encoding);
        }
        if *first != MAGIC[0] {
            return Ok(Part::Whole(SKIP_HEAD_BYTES));
        }
        let Some(descriptor) = head.get(4) else { return Ok(Part::AtLeast(head.len() + 1)) };
        Ok(Part::Whole(5 + window_field(*descriptor) + dictionary_field(*descriptor) + size_field(*descriptor)))
    }

    fn open(&mut self, head: &[u8]) -> Result<(), Fault> {
        if head.first() != Some(&MAGIC[0]) {
            let length = head.get(4..8).and_then(|length| length.try_into().ok()).map_or(0, u32::from_le_bytes);
            self.stage = Stage::Skip(u64::from(length));
            return Ok(());
        }
        let descriptor = head.get(4).copied().unwrap_or_default();
        self.has_checksum = descriptor & 4 != 0;
        self.window_bytes =
            window(head, descriptor).filter(|window| *window <= MAX_WINDOW_BYTES).ok_or(Fault::Encoding)?;
        self.decoder.reset(head).map_err(|_| Fault::Encoding)?;
        self.stage = Stage::Blocks;
        Ok(())
    }

    /// How long the block is (section 3.1.1.2), with the checksum behind the last one.
    fn block(&self) -> Result<Part, Fault> {
        let Some([low, middle, high]) = self.pending.get(..BLOCK_HEAD_BYTES) else {
            return Ok(Part::AtLeast(BLOCK_HEAD_BYTES));
        };
        let head = u32::from_le_bytes([*low, *middle, *high, 0]);
        let size = (head >> 3) as usize;
        if size > MAX_BLOCK_BYTES {
            return Err(Fault::Encoding);
        }
        let body = match (head >> 1) & 3 {
            0 | 2 => size,
            1 => 1,
            _ => return Err(Fault::Encoding),
        };
        let checksum = if head & 1 == 1 && self.has_checksum { CHECKSUM_BYTES } else { 0 };
        Ok(Part::Whole(BLOCK_HEAD_BYTES + body + checksum))
    }

    fn decode_block(&mut self, block: &[u8]) -> Result<(), Fault> {
        let is_last = self.decoder.decode_blocks(block, BlockDecodingStrategy::UptoBlocks(1));
        if is_last.map_err(|_| Fault::Encoding)? {
            self.stage = Stage::Last;
        }
        Ok(())
    }
}

fn is_single(descriptor: u8) -> bool {
    descriptor & 0x20 != 0
}

fn window_field(descriptor: u8) -> usize {
    usize::from(!is_single(descriptor))
}

fn dictionary_field(descriptor: u8) -> usize {
    [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied().unwrap_or_default()
}

fn size_field(descriptor: u8) -> usize {
    match descriptor >> 6 {
        0 => usize::from(is_single(descriptor)),
        1 => 2,
        2 => 4,
        _ => 8,
    }
}

/// The window that a head asks for: its own field, or the size of the content when that is one segment.
fn window(head: &[u8], descriptor: u8) -> Option<u64> {
    if !is_single(descriptor) {
        let field = u32::from(*head.get(5)?);
        let base = 1_u64 << (10 + (field >> 3));
        return Some(base + (base >> 3) * u64::from(field & 7));
    }
    let size = head.get(5 + dictionary_field(descriptor)..)?;
    let value = size.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    // Section 3.1.1.1.4: the form of two bytes begins at 256.
    Some(if size.len() == 2 { value + 256 } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of a frame, and how reading it ended.
    fn read(frame: &[u8], size: usize) -> (Vec<u8>, Result<bool, Fault>) {
        let (mut zstd, mut plain, mut ended) = (Zstd::default(), Vec::new(), false);
        let mut output = [0; 7];
        for piece in frame.chunks(size) {
            let mut rest = piece;
            loop {
                match zstd.decode(rest, &mut output) {
                    Ok((used, made, is_end)) => {
                        plain.extend_from_slice(&output[..made]);
                        rest = &rest[used..];
                        ended = is_end;
                        if is_end || (made == 0 && rest.is_empty()) {
                            break;
                        }
                    }
                    Err(fault) => return (plain, Err(fault)),
                }
            }
        }
        if !ended {
            zstd.end();
            while let Ok((_, made, _)) = zstd.decode(&[], &mut output)
                && made > 0
            {
                plain.extend_from_slice(&output[..made]);
            }
        }
        (plain, Ok(ended))
    }

    /// A frame by hand: blocks as they are, window of 1 KiB, and a checksum if given.
    fn frame(blocks: &[&[u8]], checksum: Option<u32>) -> Vec<u8> {
        let mut frame = MAGIC.to_vec();
        frame.extend([if checksum.is_some() { 4 } else { 0 }, 0]);
        for (index, block) in blocks.iter().enumerate() {
            let head = (block.len() as u32) << 3 | u32::from(index + 1 == blocks.len());
            frame.extend_from_slice(&head.to_le_bytes()[..3]);
            frame.extend_from_slice(block);
        }
        frame.extend(checksum.into_iter().flat_map(u32::to_le_bytes));
        frame
    }

    #[test]
    fn frames() {
        let plain = frame(&[b"one, ", b"two"], None);
        // XXH64 of the content, its low half.
        let summed = frame(&[b"one, ", b"two"], Some(0x5d9b_9a6b));
        for (name, wire, expected) in [
            ("blocks", plain.clone(), ("one, two", Ok(true))),
            ("a wrong checksum", summed, ("one, two", Err(Fault::Encoding))),
            ("cut in a block", plain[..plain.len() - 1].to_vec(), ("one, ", Ok(false))),
            ("cut behind a block", plain[..14].to_vec(), ("one, ", Ok(false))),
            ("cut in the head", plain[..5].to_vec(), ("", Ok(false))),
            ("a repeated byte", [&frame(&[], None)[..], &[0x23, 0, 0, b'x']].concat(), ("xxxx", Ok(true))),
            ("a frame to be skipped", vec![0x5f, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2], ("", Ok(true))),
            ("a reserved block", [&frame(&[], None)[..], &[7, 0, 0]].concat(), ("", Err(Fault::Encoding))),
            ("a block too long", [&frame(&[], None)[..], &[0xf8, 0xff, 0x1f]].concat(), ("", Err(Fault::Encoding))),
            ("no frame", b"text".to_vec(), ("", Err(Fault::Encoding))),
            ("a dictionary", [&MAGIC[..], &[1, 0, 7]].concat(), ("", Err(Fault::Encoding))),
        ] {
            for size in [1, 2, 3, 5, 64] {
                let (text, end) = read(&wire, size);
                assert_eq!((str::from_utf8(&text).unwrap(), end), expected, "{name}, pieces of {size}");
            }
        }
    }

    #[test]
    fn windows() {
        for (head, bytes) in [
            (&[0x00, 0x00][..], Some(1 << 10)),
            (&[0x00, 0x68], Some(8 << 20)),
            (&[0x00, 0x6f], Some((8 << 20) + 7 * (1 << 20))),
            (&[0x20, 200], Some(200)),
            (&[0x60, 0, 1], Some(512)),
            (&[0xa1, 9, 0, 0, 1, 0], Some(1 << 16)),
            (&[0xe0, 0, 0, 0, 0, 0, 0, 0, 1], Some(1 << 56)),
        ] {
            let head = [&MAGIC[..], head].concat();
            assert_eq!(window(&head, head[4]), bytes, "{head:?}");
        }
        let mut zstd = Zstd::default();
        let head = [&MAGIC[..], &[0x00, 0x69]].concat();
        assert_eq!(zstd.decode(&head, &mut [0; 8]), Err(Fault::Encoding), "past 8 MiB");
        assert_eq!(zstd.held_bytes(), 0);
    }
}
