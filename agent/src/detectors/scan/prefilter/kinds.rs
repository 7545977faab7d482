//! Of which kind the bytes of a block are. Enters: a block. Leaves: a bit a byte for each kind, sixty-four to a word, so that a question
//! such as "two capitals and two digits" is a few shifts for sixty-four places. It knows nothing of rules.
//!
//! PERF: asked byte by byte, the triggers took a third of all time; a word is made in some thirty cycles.

use std::ops::Range;

use wide::u8x16;

const WORD_BYTES: usize = 64;
const LANE_BYTES: usize = 16;
/// Shorter runs are not asked for.
pub(super) const SHORTEST_RUN: u32 = 4;

/// Sixty-four bytes; the lowest bit is the first byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word {
    pub(super) digits: u64,
    pub(super) capitals: u64,
    /// Letters and digits.
    pub(super) alphanumeric: u64,
    /// Digits and what may stand between those of a number.
    pub(super) number: u64,
    pub(super) colons: u64,
    pub(super) dashes: u64,
    pub(super) dots: u64,
}

/// One kind of a word.
pub(super) type Kind = fn(&Word) -> u64;

/// A block. The memory is used again for the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds(Vec<Word>);

/// A word and those beside it.
pub(super) struct Around<'k> {
    before: &'k Word,
    pub(super) here: &'k Word,
    behind: &'k Word,
}

impl Around<'_> {
    /// By byte: the kind of the byte so many places before; less than a word.
    pub(super) fn back(&self, kind: Kind, places: u32) -> u64 {
        kind(self.here) << places | kind(self.before).unbounded_shr(u64::BITS - places)
    }

    /// By byte: the kind of the byte so many places behind; less than a word.
    pub(super) fn ahead(&self, kind: Kind, places: u32) -> u64 {
        kind(self.here) >> places | kind(self.behind).unbounded_shl(u64::BITS - places)
    }
}

impl Kinds {
    /// Takes another block.
    pub(super) fn fill(&mut self, block: &[u8]) {
        self.0.clear();
        let (words, rest) = block.as_chunks::<WORD_BYTES>();
        self.0.extend(words.iter().map(word));
        // There is always a place behind the last byte.
        let mut last = [0; WORD_BYTES];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.0.push(word(&last));
    }

    /// Tells every place for which `places` has a bit, in order.
    #[inline]
    pub(super) fn each(&self, places: impl Fn(&Around<'_>) -> u64, mut found: impl FnMut(usize)) {
        let (nothing, mut before) = (Word::default(), &Word::default());
        for (index, here) in self.0.iter().enumerate() {
            let behind = self.0.get(index + 1).unwrap_or(&nothing);
            let mut bits = places(&Around { before, here, behind });
            while bits != 0 {
                found(index * WORD_BYTES + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
            before = here;
        }
    }

    /// Tells each run of a kind that is as long as it can be, has [`SHORTEST_RUN`] bytes or more, and holds one of another kind; in order.
    #[inline]
    pub(super) fn runs(&self, kind: Kind, holding: Kind, mut found: impl FnMut(Range<usize>)) {
        let (nothing, mut before, mut carry) = (Word::default(), &Word::default(), false);
        for (index, here) in self.0.iter().enumerate() {
            let all = kind(here);
            // Added to its run, a byte carries to the place behind it.
            let (sum, over) = all.carrying_add(all & holding(here), carry);
            carry = over;
            let around = Around { before, here, behind: &nothing };
            let mut ends = (1..=SHORTEST_RUN).fold(sum & !all, |ends, places| ends & around.back(kind, places));
            while ends != 0 {
                let end = index * WORD_BYTES + ends.trailing_zeros() as usize;
                found(self.start(end, kind)..end);
                ends &= ends - 1;
            }
            before = here;
        }
    }

    /// Where a run of a kind begins that ends at a place.
    #[inline]
    fn start(&self, end: usize, kind: Kind) -> usize {
        let mut index = end / WORD_BYTES;
        let mut inside = (1_u64 << (end % WORD_BYTES)) - 1;
        while let Some(word) = self.0.get(index) {
            let others = !kind(word) & inside;
            if others != 0 {
                return (index + 1) * WORD_BYTES - others.leading_zeros() as usize;
            }
            let Some(before) = index.checked_sub(1) else { return 0 };
            (index, inside) = (before, u64::MAX);
        }
        end
    }

    /// How many bytes of an extent are of a kind.
    #[inline]
    pub(super) fn count(&self, extent: &Range<usize>, kind: Kind) -> usize {
        self.parts(extent).map(|(word, mask, _)| (kind(word) & mask).count_ones() as usize).sum()
    }

    /// The first byte of an extent that is of a kind.
    #[inline]
    pub(super) fn first(&self, extent: &Range<usize>, kind: Kind) -> Option<usize> {
        self.parts(extent)
            .map(|(word, mask, at)| (kind(word) & mask, at))
            .find(|(bits, _)| *bits != 0)
            .map(|(bits, at)| at + bits.trailing_zeros() as usize)
    }

    /// The words of an extent, which of their bits belong to it, and where they begin.
    #[inline]
    fn parts(&self, extent: &Range<usize>) -> impl Iterator<Item = (&Word, u64, usize)> {
        let Range { start, end } = *extent;
        let indices = start / WORD_BYTES..end.div_ceil(WORD_BYTES).min(self.0.len());
        let first = indices.start;
        self.0.get(indices).unwrap_or_default().iter().enumerate().map(move |(offset, word)| {
            let at = (first + offset) * WORD_BYTES;
            let low = u64::MAX << start.saturating_sub(at);
            let high = u64::MAX >> (at + WORD_BYTES).saturating_sub(end);
            (word, low & high, at)
        })
    }
}

#[inline]
fn word(bytes: &[u8; WORD_BYTES]) -> Word {
    let mut word = Word::default();
    for (index, lane) in bytes.as_chunks::<LANE_BYTES>().0.iter().enumerate() {
        let lane = u8x16::new(*lane);
        let bits = |is: u8x16| u64::from(is.to_bitmask()) << (LANE_BYTES * index);
        let digit = within(lane, b'0', b'9');
        let letter = within(lane | u8x16::splat(0x20), b'a', b'z');
        word.digits |= bits(digit);
        word.capitals |= bits(within(lane, b'A', b'Z'));
        word.alphanumeric |= bits(digit | letter);
        word.number |= bits(digit | between(lane));
        word.colons |= bits(is(lane, b':'));
        word.dashes |= bits(is(lane, b'-'));
        word.dots |= bits(is(lane, b'.'));
    }
    word
}

#[inline]
fn is(lane: u8x16, byte: u8) -> u8x16 {
    lane.simd_eq(u8x16::splat(byte))
}

#[inline]
fn within(lane: u8x16, first: u8, last: u8) -> u8x16 {
    let from_first = lane - u8x16::splat(first);
    from_first.min(u8x16::splat(last - first)).simd_eq(from_first)
}

/// What may stand between the digits of a number: a space, and of `(` to `/` all but the asterisk and the comma.
#[inline]
fn between(lane: u8x16) -> u8x16 {
    is(lane, b' ') | (within(lane, b'(', b'/') ^ (is(lane, b'*') | is(lane, b',')))
}

/// Bytes of a shape: sixteen of a text, each as what it is to a number. Digits become `0`, other bytes of words `a`, what
/// may stand between digits stays, and the rest becomes `~`; bytes from `length` on become nothing.
#[inline]
pub(super) fn shape(lane: [u8; LANE_BYTES], length: usize) -> [u8; LANE_BYTES] {
    const PLACES: u8x16 = u8x16::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let lane = u8x16::new(lane);
    let digit = within(lane, b'0', b'9');
    let of_word = within(lane | u8x16::splat(0x20), b'a', b'z') | is(lane, b'_');
    let kind = digit.bitselect(u8x16::splat(b'0'), of_word.bitselect(u8x16::splat(b'a'), u8x16::splat(b'~')));
    let kind = between(lane).bitselect(lane, kind);
    let last = u8x16::splat(u8::try_from(length.min(LANE_BYTES)).unwrap_or(0));
    // Places from `length` on: there the greater of both is the place.
    let beyond = PLACES.max(last).simd_eq(PLACES);
    beyond.bitselect(u8x16::splat(0), kind).to_array()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_of_its_kinds_at_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..130 {
                let mut block = vec![0; place];
                block.push(byte);
                let mut kinds = Kinds::default();
                kinds.fill(&block);
                let has = |kind: Kind| kinds.count(&(place..place + 1), kind) == 1;
                assert_eq!(has(|word| word.digits), byte.is_ascii_digit(), "{byte}");
                assert_eq!(has(|word| word.capitals), byte.is_ascii_uppercase(), "{byte}");
                assert_eq!(has(|word| word.alphanumeric), byte.is_ascii_alphanumeric(), "{byte}");
                assert_eq!(has(|word| word.number), b"0123456789 .-+()/".contains(&byte), "{byte}");
                assert_eq!(has(|word| word.colons), byte == b':', "{byte}");
                assert_eq!(has(|word| word.dashes), byte == b'-', "{byte}");
                assert_eq!(has(|word| word.dots), byte == b'.', "{byte}");
                assert_eq!(kinds.count(&(0..place), |word| !word.digits), place);
            }
        }
    }

    #[test]
    fn runs_and_what_stands_around_them() {
        for start in 0..140 {
            for length in 1..140 {
                for tail in [&b""[..], b"y.", b" abcdefgh 12 345 "] {
                    let block =
                        [vec![b'x'; start], vec![b'-'; length / 2], vec![b'7'; length - length / 2], tail.to_vec()]
                            .concat();
                    let (mut kinds, extent) = (Kinds::default(), start..start + length);
                    kinds.fill(&block);
                    let mut runs = Vec::new();
                    kinds.runs(|word| word.number, |word| word.digits, |run| runs.push(run));
                    let spaces = tail.len() > 2;
                    let whole = extent.start..extent.end + usize::from(spaces);
                    let mut expected = Vec::from_iter((whole.len() >= 4).then_some(whole));
                    expected.extend(spaces.then_some(extent.end + 9..extent.end + 17));
                    assert_eq!(runs, expected, "{}", block.escape_ascii());
                    let digits = extent.start + length / 2..extent.end;
                    assert_eq!(kinds.count(&extent, |word| word.digits), digits.len());
                    assert_eq!(kinds.first(&(0..block.len()), |word| word.digits), Some(digits.start));
                    assert_eq!(kinds.first(&(extent.end..extent.end), |word| word.digits), None);
                    let mut last = Vec::new();
                    kinds.each(|around| around.here.digits & around.ahead(|word| word.dots, 2), |at| last.push(at));
                    assert_eq!(last, Vec::from_iter((tail.len() == 2).then_some(extent.end - 1)));
                }
            }
        }
    }

    #[test]
    fn a_shape_says_what_bytes_are() {
        assert_eq!(&shape(*b"x1-2 (3)/4.5+_,*", 16), b"a0-0 (0)/0.0+a~~");
        assert_eq!(&shape(*b"x1-2 (3)/4.5+_,*", 3), b"a0-\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(shape(*b"x1-2 (3)/4.5+_,*", 0), [0; 16]);
    }
}
