//! Pieces and losses. Enters: the bytes of one direction, a seed. Leaves: pieces. The same seed always gives the same ones.

use bytes::Bytes;

/// One piece in so many is dropped.
const DROP_ONE_IN: u64 = 6;
/// Longest piece: 2 to this power.
const MAX_PIECE_LOG2: u64 = 16;

/// Cuts into random pieces of 1 byte to 64 KiB; many are tiny and some are long, so that every kind of seam is met.
pub(super) fn split(bytes: Vec<u8>, random: &mut Random) -> Vec<Bytes> {
    let (mut rest, mut pieces) = (Bytes::from(bytes), Vec::new());
    while !rest.is_empty() {
        let most = 1 << random.below(MAX_PIECE_LOG2 + 1);
        let size = (1 + random.below(most)) as usize;
        pieces.push(rest.split_to(size.min(rest.len())));
    }
    pieces
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// `number`: of the exchange, so that each is cut in its own way.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        Self(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// The next piece is lost.
    pub(super) fn is_lost(&mut self) -> bool {
        self.below(DROP_ONE_IN) == 0
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
