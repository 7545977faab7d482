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
    /// Capitals, letters and number bytes are told, too: see [`Kinds::fill`].
    whole: bool,
}

/// One kind of a word.
pub(super) type Kind = fn(&Word) -> u64;

/// A block. The memory is used again for the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds {
    words: Vec<Word>,
    /// By word, a bit each: it holds a digit; it holds a colon, a dash or a dot. In prose few do, and the others are not looked at again.
    digits: Vec<u64>,
    marks: Vec<u64>,
}

/// Which words are asked about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holding {
    Digits,
    /// Colons, dashes, dots.
    Marks,
}

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
    /// Takes another block. Of words without a digit only marks are told, unless a run may go on from them or into them that holds one.
    pub(super) fn fill(&mut self, block: &[u8]) {
        let Self { words, digits, marks } = self;
        words.clear();
        digits.clear();
        marks.clear();
        let (chunks, rest) = block.as_chunks::<WORD_BYTES>();
        // There is always a place behind the last byte.
        let mut last = [0; WORD_BYTES];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        words.reserve(chunks.len() + 1);
        let (mut goes_on, mut has_digits, mut has_marks) = ([false; 2], 0_u64, 0_u64);
        let mut add = |index: usize, bytes: &[u8; WORD_BYTES]| {
            // PERF: in prose most words hold neither digits nor marks, and nothing else is asked of them.
            let is_plain = goes_on == [false; 2] && !holds_digits_or_marks(bytes);
            let mut word = if is_plain { Word::default() } else { Word::of(bytes) };
            if word.digits != 0 {
                has_digits |= 1 << (index % WORD_BYTES);
                complete_before(words, chunks);
            }
            if word.digits != 0 || goes_on != [false; 2] {
                word.complete(bytes);
                // As `runs` will find it.
                goes_on = [(word.number, goes_on[0]), (word.alphanumeric, goes_on[1])]
                    .map(|(all, carry)| all.carrying_add(all & word.digits, carry).1);
            }
            has_marks |= u64::from(word.colons | word.dashes | word.dots != 0) << (index % WORD_BYTES);
            words.push(word);
            if index % WORD_BYTES == WORD_BYTES - 1 {
                digits.push(std::mem::take(&mut has_digits));
                marks.push(std::mem::take(&mut has_marks));
            }
        };
        chunks.iter().enumerate().for_each(|(index, bytes)| add(index, bytes));
        add(chunks.len(), &last);
        digits.push(has_digits);
        marks.push(has_marks);
    }

    /// The first word from one on that holds what is asked for.
    #[inline]
    fn next(&self, holding: Holding, from: usize) -> Option<usize> {
        let bits = match holding {
            Holding::Digits => &self.digits,
            Holding::Marks => &self.marks,
        };
        let mut index = from / WORD_BYTES;
        let mut of_here = bits.get(index)? & u64::MAX << (from % WORD_BYTES);
        while of_here == 0 {
            index += 1;
            of_here = *bits.get(index)?;
        }
        Some(index * WORD_BYTES + of_here.trailing_zeros() as usize)
    }

    /// Tells every place for which `places` has a bit, in order, in words that hold what must stand there.
    #[inline]
    pub(super) fn each(&self, holding: Holding, places: impl Fn(&Around<'_>) -> u64, mut found: impl FnMut(usize)) {
        let nothing = Word::default();
        let word = |index: Option<usize>| index.and_then(|index| self.words.get(index)).unwrap_or(&nothing);
        let mut from = 0;
        while let Some(index) = self.next(holding, from) {
            let (before, here, behind) = (word(index.checked_sub(1)), word(Some(index)), word(Some(index + 1)));
            let mut bits = places(&Around { before, here, behind });
            while bits != 0 {
                found(index * WORD_BYTES + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
            from = index + 1;
        }
    }

    /// Tells each run of a kind that is as long as it can be, has [`SHORTEST_RUN`] bytes or more, and holds a digit; in order.
    #[inline]
    pub(super) fn runs(&self, kind: Kind, mut found: impl FnMut(Range<usize>)) {
        let nothing = Word::default();
        let word = |index: Option<usize>| index.and_then(|index| self.words.get(index)).unwrap_or(&nothing);
        let (mut from, mut carry) = (0, false);
        loop {
            // A run that goes on is over in the word behind at the earliest.
            let next = if carry {
                Some(from).filter(|from| *from < self.words.len())
            } else {
                self.next(Holding::Digits, from)
            };
            let Some(index) = next else { break };
            let (before, here) = (word(index.checked_sub(1)), word(Some(index)));
            let all = kind(here);
            // Added to its run, a byte carries to the place behind it.
            let (sum, over) = all.carrying_add(all & here.digits, carry);
            carry = over;
            let around = Around { before, here, behind: &nothing };
            let mut ends = (1..=SHORTEST_RUN).fold(sum & !all, |ends, places| ends & around.back(kind, places));
            while ends != 0 {
                let end = index * WORD_BYTES + ends.trailing_zeros() as usize;
                found(self.start(end, kind)..end);
                ends &= ends - 1;
            }
            from = index + 1;
        }
    }

    /// Where a run of a kind begins that ends at a place.
    #[inline]
    fn start(&self, end: usize, kind: Kind) -> usize {
        let mut index = end / WORD_BYTES;
        let mut inside = (1_u64 << (end % WORD_BYTES)) - 1;
        while let Some(word) = self.words.get(index) {
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
        if let Some((word, mask, _)) = self.part(extent) {
            return (kind(word) & mask).count_ones() as usize;
        }
        self.parts(extent).map(|(word, mask, _)| (kind(word) & mask).count_ones() as usize).sum()
    }

    /// The first byte of an extent that is of a kind.
    #[inline]
    pub(super) fn first(&self, extent: &Range<usize>, kind: Kind) -> Option<usize> {
        if let Some((word, mask, at)) = self.part(extent) {
            let bits = kind(word) & mask;
            return (bits != 0).then(|| at + bits.trailing_zeros() as usize);
        }
        self.parts(extent)
            .map(|(word, mask, at)| (kind(word) & mask, at))
            .find(|(bits, _)| *bits != 0)
            .map(|(bits, at)| at + bits.trailing_zeros() as usize)
    }

    /// The word of an extent that lies in one, which of its bits belong to it, and where it begins. PERF: most runs do.
    #[inline]
    fn part(&self, extent: &Range<usize>) -> Option<(&Word, u64, usize)> {
        let Range { start, end } = *extent;
        let (index, offset) = (start / WORD_BYTES, start % WORD_BYTES);
        let length = end.checked_sub(start).filter(|length| (1..=WORD_BYTES - offset).contains(length))?;
        Some((self.words.get(index)?, (u64::MAX >> (WORD_BYTES - length)) << offset, index * WORD_BYTES))
    }

    /// The words of an extent, which of their bits belong to it, and where they begin.
    #[inline]
    fn parts(&self, extent: &Range<usize>) -> impl Iterator<Item = (&Word, u64, usize)> {
        let Range { start, end } = *extent;
        let indices = start / WORD_BYTES..end.div_ceil(WORD_BYTES).min(self.words.len());
        let first = indices.start;
        self.words.get(indices).unwrap_or_default().iter().enumerate().map(move |(offset, word)| {
            let at = (first + offset) * WORD_BYTES;
            let low = u64::MAX << start.saturating_sub(at);
            let high = u64::MAX >> (at + WORD_BYTES).saturating_sub(end);
            (word, low & high, at)
        })
    }
}

/// The runs in the word behind these may begin in them.
#[inline]
fn complete_before(words: &mut [Word], chunks: &[[u8; WORD_BYTES]]) {
    // Of the same length: else the tail of the longer is walked.
    let chunks = chunks.get(..words.len()).unwrap_or_default();
    for (before, bytes) in words.iter_mut().rev().zip(chunks.iter().rev()) {
        if before.whole {
            break;
        }
        before.complete(bytes);
        if before.number != u64::MAX && before.alphanumeric != u64::MAX {
            break;
        }
    }
}

/// Says yes for a slash, too: with it they stand side by side.
#[inline]
fn holds_digits_or_marks(bytes: &[u8; WORD_BYTES]) -> bool {
    let lanes = bytes.as_chunks::<LANE_BYTES>().0.iter();
    lanes.fold(u8x16::ZERO, |any, lane| any | within(u8x16::new(*lane), b'-', b':')).to_bitmask() != 0
}

impl Word {
    /// Digits and marks.
    #[inline]
    fn of(bytes: &[u8; WORD_BYTES]) -> Self {
        let mut word = Self::default();
        for (index, lane) in bytes.as_chunks::<LANE_BYTES>().0.iter().enumerate() {
            let lane = u8x16::new(*lane);
            let bits = |is: u8x16| u64::from(is.to_bitmask()) << (LANE_BYTES * index);
            word.digits |= bits(within(lane, b'0', b'9'));
            word.colons |= bits(is(lane, b':'));
            word.dashes |= bits(is(lane, b'-'));
            word.dots |= bits(is(lane, b'.'));
        }
        word
    }

    /// And the rest.
    #[inline]
    fn complete(&mut self, bytes: &[u8; WORD_BYTES]) {
        let (mut letters, mut between_digits) = (0, 0);
        for (index, lane) in bytes.as_chunks::<LANE_BYTES>().0.iter().enumerate() {
            let lane = u8x16::new(*lane);
            let bits = |is: u8x16| u64::from(is.to_bitmask()) << (LANE_BYTES * index);
            letters |= bits(within(lane | u8x16::splat(0x20), b'a', b'z'));
            self.capitals |= bits(within(lane, b'A', b'Z'));
            between_digits |= bits(between(lane));
        }
        self.alphanumeric = self.digits | letters;
        self.number = self.digits | between_digits;
        self.whole = true;
    }
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

/// Bytes of a shape: sixteen of a text, each as what it is to a number. Digits become `0`, capitals `A`, other bytes of words `a`, what
/// may stand between digits stays, and the rest becomes `~`; bytes from `length` on become nothing.
#[inline]
pub(super) fn shape(lane: [u8; LANE_BYTES], length: usize) -> [u8; LANE_BYTES] {
    const PLACES: u8x16 = u8x16::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let lane = u8x16::new(lane);
    let digit = within(lane, b'0', b'9');
    let capital = within(lane, b'A', b'Z');
    let small = within(lane, b'a', b'z') | is(lane, b'_');
    let kind = small.bitselect(u8x16::splat(b'a'), u8x16::splat(b'~'));
    let kind = digit.bitselect(u8x16::splat(b'0'), capital.bitselect(u8x16::splat(b'A'), kind));
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
                // With a digit behind it all is told.
                block.extend([byte, b'1']);
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
                    kinds.runs(|word| word.number, |run| runs.push(run));
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
                    kinds.each(
                        Holding::Digits,
                        |around| around.here.digits & around.ahead(|word| word.dots, 2),
                        |at| last.push(at),
                    );
                    assert_eq!(last, Vec::from_iter((tail.len() == 2).then_some(extent.end - 1)));
                }
            }
        }
    }

    #[test]
    fn runs_are_the_same_wherever_words_are_cut() {
        // Long stretches without a digit, before and behind one, of what runs hold and of what they do not.
        let mut state = 1_u64;
        for _ in 0..3000 {
            let mut block = Vec::new();
            while block.len() < 400 {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                let (byte, length) = (b"ab7. -:_"[(state >> 61) as usize], (state >> 40) as usize % 150 + 1);
                block.extend(std::iter::repeat_n(byte, if byte == b'7' { length % 3 + 1 } else { length }));
            }
            let mut kinds = Kinds::default();
            kinds.fill(&block);
            for (kind, is) in [
                ((|word| word.alphanumeric) as Kind, (|byte| byte.is_ascii_alphanumeric()) as fn(&u8) -> bool),
                (|word| word.number, |byte| b"0123456789 .-+()/".contains(byte)),
            ] {
                let mut runs = Vec::new();
                kinds.runs(kind, |run| runs.push(run));
                let mut expected = Vec::new();
                let mut at = 0;
                while at < block.len() {
                    let length = block[at..].iter().take_while(|byte| is(byte)).count();
                    if length >= 4 && block[at..at + length].contains(&b'7') {
                        expected.push(at..at + length);
                    }
                    at += length + 1;
                }
                assert_eq!(runs, expected, "{}", block.escape_ascii());
            }
        }
    }

    #[test]
    fn a_shape_says_what_bytes_are() {
        assert_eq!(&shape(*b"x1-2 (3)/4.5+_,*", 16), b"a0-0 (0)/0.0+a~~");
        assert_eq!(&shape(*b"AZaz@[`{_:/09\x80\xc3\0", 16), b"AAaa~~~~a~/00~~~");
        assert_eq!(&shape(*b"x1-2 (3)/4.5+_,*", 3), b"a0-\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(shape(*b"x1-2 (3)/4.5+_,*", 0), [0; 16]);
    }
}
