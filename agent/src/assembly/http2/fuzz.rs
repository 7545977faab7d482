//! Fuzz targets of HTTP/2's own parsers. Enters: an input of the fuzzer. Leaves: nothing, or a panic that says which property
//! broke.

use super::{
    hpack::{Decoder, Fields},
    huffman,
};

/// More than any input holds.
const CAP_BYTES: usize = 1 << 20;

/// Header blocks, each with its length (two bytes) in front. One who comes late, or loses a block, knows fewer fields than
/// one who saw all, and no other ones.
pub(crate) fn hpack(input: &[u8]) {
    let Some((late, mut rest)) = input.split_first() else { return };
    let (mut early, mut late_comer) = (Decoder::new(), Decoder::new());
    let (mut number, mut is_sound) = (0_u8, true);
    while let [low, high, tail @ ..] = rest {
        let (block, after) = tail.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(tail.len()));
        rest = after;
        let all = early.decode(block, true, CAP_BYTES);
        assert!(early.buffered() <= 16 << 10, "{} bytes held", early.buffered());
        // A block that refers to nothing: its sender is broken, and what is told of it is anyone's guess.
        is_sound &= all.unknown == 0;
        let some = late_comer.decode(block, true, CAP_BYTES);
        if number < *late & 15 {
            late_comer.forget();
        }
        if is_sound {
            assert!(is_part(&some, &all), "{some:?} is not part of {all:?}");
        }
        number = number.saturating_add(1);
        // A block that was cut gives the start of what the whole one does.
        let half = block.get(..block.len() / 2).unwrap_or_default();
        Decoder::new().decode(half, false, CAP_BYTES);
    }
    if let Some(plain) = huffman::decode(input, CAP_BYTES) {
        assert!(plain.len() <= input.len() * 8 / 5, "{} symbols of {} bytes", plain.len(), input.len());
    }
}

fn is_part(some: &Fields, all: &Fields) -> bool {
    let mut rest = all.known.iter();
    some.known.iter().all(|field| rest.any(|other| other == field))
}
