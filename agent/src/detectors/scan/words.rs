//! Context words in a block: where they stand. Enters: a block and a place in it. Leaves: which words stand within reach. Text is
//! looked at only around places that somebody asks about, and once as long as they are asked from left to right.
//!
//! A word is a whole word, because `lic` in `public` is how context makes noise; `_`, `-` and camel case part words too.

use std::ops::Range;

use wide::u8x16;

/// How far before and behind a match words count, bytes.
pub(super) const REACH_BYTES: usize = 60;
/// So much of a word is compared at once.
const HEAD_BYTES: usize = 8;
/// Words with the same hash of their first four bytes share a bucket, shorter ones of their first three. The few that are shorter still
/// are in the bucket of each byte that may follow.
const BUCKETS: usize = 2 * HASHES;
const HASHES: usize = 32 * 1024;
/// Capital letters become small with it.
const FOLD: u8 = 0x20;
/// Text is looked over in pieces of so many bytes, to see where words may begin.
const PIECE_BYTES: usize = 64;
const LANE_BYTES: usize = 16;

/// Some of the words of a rule set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WordSet(Vec<u64>);

impl WordSet {
    fn add(&mut self, word: usize) {
        let index = word / 64;
        if self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(index) {
            *bits |= 1 << (word % 64);
        }
    }

    /// The word is one of the set.
    pub(crate) fn holds(&self, word: usize) -> bool {
        self.0.get(word / 64).is_some_and(|bits| bits >> (word % 64) & 1 == 1)
    }

    /// Takes in the words of another set.
    pub(crate) fn join(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (bits, more) in self.0.iter_mut().zip(&other.0) {
            *bits |= more;
        }
    }
}

/// The words of all rules.
///
/// PERF: an automaton takes a step a byte, each of which waits for the one before. Words begin in few places, which are found for many
/// bytes at once, and there two loads tell that it is none of ours.
#[derive(Debug, Default)]
pub(crate) struct Words {
    texts: Vec<String>,
    /// By bucket.
    entries: Vec<Entry>,
    /// Where the entries of a bucket begin, and behind the last one.
    firsts: Vec<u32>,
    /// The buckets that hold any: most do not, and this stays in the nearest cache.
    filled: Filled,
    /// Some begin with a digit.
    digits: bool,
    /// By rule.
    sets: Vec<WordSet>,
}

/// A bit a bucket.
#[derive(Debug)]
struct Filled(Box<[u64; BUCKETS / 64]>);

impl Default for Filled {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS / 64]))
    }
}

impl Filled {
    fn add(&mut self, bucket: usize) {
        if let Some(bits) = self.0.get_mut(bucket / 64) {
            *bits |= 1 << (bucket % 64);
        }
    }

    #[inline]
    fn holds(&self, bucket: usize) -> bool {
        self.0.get(bucket / 64 % (BUCKETS / 64)).is_some_and(|bits| bits >> (bucket % 64) & 1 == 1)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Its first bytes, and which of them there are.
    head: u64,
    mask: u64,
    word: usize,
}

impl Words {
    /// Of lists of lower-case words, one a rule.
    pub(super) fn new<'w>(lists: impl Iterator<Item = &'w [String]>) -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut index = std::collections::HashMap::new();
        let mut sets = Vec::new();
        for list in lists {
            let mut set = WordSet::default();
            for word in list.iter().filter(|word| !word.is_empty()) {
                let number = *index.entry(word.as_str()).or_insert_with(|| {
                    words.push(word.clone());
                    words.len() - 1
                });
                set.add(number);
            }
            sets.push(set);
        }
        let mut filled = Filled::default();
        let mut entries: Vec<(usize, Entry)> = Vec::new();
        for (word, text) in words.iter().enumerate() {
            let head = head(text.as_bytes(), 0);
            let mask = u64::MAX >> (64 - 8 * text.len().clamp(1, HEAD_BYTES));
            let mut add = |bucket: usize| {
                filled.add(bucket);
                entries.push((bucket, Entry { head, mask, word }));
            };
            let folded = || (0..=255_u64).filter(|byte| byte & u64::from(FOLD) != 0);
            match text.len() {
                1 => folded().for_each(|next| {
                    folded().for_each(|last| add(three(head & 0xff | next << 8 | last << 16)));
                }),
                2 => folded().for_each(|last| add(three(head & 0xffff | last << 16))),
                3 => add(three(head)),
                _ => add(four(head)),
            }
        }
        // Of a bucket they stay in order.
        entries.sort_by_key(|(bucket, _)| *bucket);
        let mut firsts = vec![0_u32; BUCKETS + 1];
        for (bucket, _) in &entries {
            firsts.iter_mut().skip(bucket + 1).take(1).for_each(|count| *count += 1);
        }
        let mut sum = 0;
        for first in &mut firsts {
            sum += *first;
            *first = sum;
        }
        let digits = words.iter().any(|word| word.starts_with(|first: char| first.is_ascii_digit()));
        let entries = entries.into_iter().map(|(_, entry)| entry).collect();
        Self { texts: words, entries, firsts, filled, digits, sets }
    }

    /// The entries of a bucket.
    #[inline]
    fn entries(&self, bucket: usize) -> &[Entry] {
        let range = self.firsts.get(bucket).zip(self.firsts.get(bucket + 1));
        range.and_then(|(first, end)| self.entries.get(*first as usize..*end as usize)).unwrap_or_default()
    }

    /// Tells every word that begins in an extent of a text, where one may begin, by position. It may end behind the extent.
    fn each(&self, text: &[u8], extent: Range<usize>, mut tell: impl FnMut(usize, Range<usize>)) {
        let mut at = extent.start;
        while at < extent.end {
            let until = at.saturating_add(PIECE_BYTES).min(extent.end);
            let (mut starts, mut likely) = (starts(text, at..until, self.digits), 0);
            // PERF: no branch on what stands there, which nobody can predict.
            while starts != 0 {
                let place = starts.trailing_zeros();
                starts &= starts - 1;
                let head = head(text, at + place as usize);
                let any = buckets(head).into_iter().fold(false, |any, bucket| any | self.filled.holds(bucket));
                likely |= u64::from(any) << place;
            }
            while likely != 0 {
                let start = at + likely.trailing_zeros() as usize;
                likely &= likely - 1;
                let head = head(text, start);
                for entry in buckets(head).into_iter().flat_map(|bucket| self.entries(bucket)) {
                    if (head ^ entry.head) & entry.mask != 0 {
                        continue;
                    }
                    let Some(word) = self.texts.get(entry.word).map(String::as_bytes) else { continue };
                    let end = start + word.len();
                    if text.get(start..end).is_some_and(|text| text.eq_ignore_ascii_case(word)) {
                        tell(entry.word, start..end);
                    }
                }
            }
            at = until;
        }
    }

    /// All words of a text, such as a label.
    pub(super) fn all_in(&self, text: &[u8], mut tell: impl FnMut(usize)) {
        self.each(text, 0..text.len(), |word, range| {
            if ends(text, range.end) {
                tell(word);
            }
        });
    }

    /// The words of a rule.
    pub(crate) fn of(&self, rule: usize) -> Option<&WordSet> {
        self.sets.get(rule)
    }

    /// A word by its number.
    pub(super) fn name(&self, word: usize) -> Option<&str> {
        self.texts.get(word).map(String::as_str)
    }

    /// The first word of a set that stands in a text, such as a label.
    pub(super) fn first_in(&self, text: &[u8], set: &WordSet) -> Option<usize> {
        let mut first = None;
        self.all_in(text, |word| first = first.or(Some(word).filter(|word| set.holds(*word))));
        first
    }

    /// The word of a rule that stands near a secret in a segment, or in its label: for who asks once.
    pub(super) fn near(&self, rule: usize, segment: &[u8], secret: &Range<usize>, label: &str) -> Option<&str> {
        let set = self.of(rule)?;
        let beside = Nearby::default().beside(self, segment, &(0..segment.len()), secret, set);
        self.name(beside.or_else(|| self.first_in(label.as_bytes(), set))?)
    }
}

/// Where in a piece of at most 64 bytes words may begin, a bit each: at a letter behind none, at a capital behind a small one, at a
/// digit behind neither where `at_digits` asks for these, and at every character beyond ASCII, because there are scripts without spaces.
#[inline]
fn starts(text: &[u8], piece: Range<usize>, at_digits: bool) -> u64 {
    let before = piece.start.checked_sub(1).and_then(|at| text.get(at)).copied().unwrap_or(0);
    if let Some(bytes) = text.get(piece.start..).and_then(<[u8]>::first_chunk) {
        return starts_in(bytes, before, at_digits)
            & u64::MAX.unbounded_shr((PIECE_BYTES - piece.len().min(PIECE_BYTES)) as u32);
    }
    let mut bytes = [0; PIECE_BYTES];
    bytes.iter_mut().zip(text.get(piece).unwrap_or_default()).for_each(|(to, from)| *to = *from);
    starts_in(&bytes, before, at_digits)
}

#[inline]
fn starts_in(bytes: &[u8; PIECE_BYTES], before: u8, at_digits: bool) -> u64 {
    let (mut letters, mut capitals, mut digits, mut beyond) = (0_u64, 0_u64, 0_u64, 0_u64);
    for (index, lane) in bytes.as_chunks::<LANE_BYTES>().0.iter().enumerate() {
        let lane = u8x16::new(*lane);
        let within = |lane: u8x16, first: u8, last: u8| {
            let from_first = lane - u8x16::splat(first);
            from_first.min(u8x16::splat(last - first)).simd_eq(from_first)
        };
        let bits = |is: u8x16| u64::from(is.to_bitmask()) << (LANE_BYTES * index);
        letters |= bits(within(lane | u8x16::splat(FOLD), b'a', b'z'));
        capitals |= bits(within(lane, b'A', b'Z'));
        digits |= bits(within(lane, b'0', b'9'));
        // The first bytes of a character are above all others.
        beyond |= bits(within(lane, 0xc0, 0xff));
    }
    let small = letters & !capitals;
    let behind = |of: u64, first: bool| of << 1 | u64::from(first);
    letters & !behind(letters, before.is_ascii_alphabetic())
        | capitals & behind(small, before.is_ascii_lowercase())
        | if at_digits { digits & !behind(letters | digits, before.is_ascii_alphanumeric()) } else { 0 }
        | beyond
}

/// The bytes from a place on, the first of them lowest, each with the bit that makes a letter small. It makes some marks equal, too: this
/// is asked first, and the text itself then.
#[inline]
fn head(text: &[u8], at: usize) -> u64 {
    let bytes = text.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_else(|| {
        let mut bytes = [0; HEAD_BYTES];
        bytes.iter_mut().zip(text.get(at..).unwrap_or_default()).for_each(|(to, from)| *to = *from);
        bytes
    });
    u64::from_le_bytes(bytes) | u64::from_le_bytes([FOLD; HEAD_BYTES])
}

/// Where words with this head stand, by how long they are.
#[inline]
fn buckets(head: u64) -> [usize; 2] {
    [four(head), three(head)]
}

#[inline]
fn four(head: u64) -> usize {
    hash(head & 0xffff_ffff)
}

#[inline]
fn three(head: u64) -> usize {
    HASHES + hash(head & 0xff_ffff)
}

#[inline]
fn hash(bytes: u64) -> usize {
    (bytes.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % HASHES
}

/// A word ends at a place, by what follows.
fn ends(text: &[u8], end: usize) -> bool {
    let ends = |at: usize| text.get(at).is_none_or(|byte| !byte.is_ascii_lowercase() && !byte.is_ascii_digit());
    // A plural is the same word.
    ends(end) || (text.get(end).is_some_and(|byte| byte.eq_ignore_ascii_case(&b's')) && ends(end + 1))
}

/// A word in the block.
#[derive(Clone, Copy, Debug)]
struct Here {
    word: usize,
    start: usize,
    end: usize,
    /// It ends here, by the bytes behind it.
    ends: bool,
}

/// The words around places of the block in work. One per worker.
#[derive(Debug, Default)]
pub(super) struct Nearby {
    /// By piece of the block: which of `here` begin in it, once somebody asked. Each rule asks from left to right, so a piece is
    /// asked about again and again.
    pieces: Vec<Option<(usize, usize)>>,
    here: Vec<Here>,
}

impl Nearby {
    /// Another block.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.here.clear();
    }

    /// A word of the set stands within reach of a match in `window`, and inside of the segment.
    pub(super) fn any(
        &mut self,
        words: &Words,
        block: &[u8],
        segment: &Range<usize>,
        window: &Range<usize>,
        set: &WordSet,
    ) -> bool {
        self.around(words, block, segment, window, set).next().is_some()
    }

    /// The words of the set that stand within reach of a match in `window`, and inside of the segment. What lies in the window may belong
    /// to the match or not, so there a word need not be a whole one on the side of the match.
    pub(super) fn around(
        &mut self,
        words: &Words,
        block: &[u8],
        segment: &Range<usize>,
        window: &Range<usize>,
        set: &WordSet,
    ) -> impl Iterator<Item = usize> {
        let from = window.start.saturating_sub(REACH_BYTES).max(segment.start);
        let to = window.end.saturating_add(REACH_BYTES).min(segment.end);
        let inside = |at: usize| (window.start..=window.end).contains(&at);
        self.within(words, block, from..to)
            .filter(move |here| here.end <= to && set.holds(here.word))
            .filter(move |here| here.ends || inside(here.end) || here.end == segment.end)
            .map(|here| here.word)
    }

    /// A word of the set stands before or behind the secret, within reach.
    pub(super) fn beside(
        &mut self,
        words: &Words,
        block: &[u8],
        segment: &Range<usize>,
        secret: &Range<usize>,
        set: &WordSet,
    ) -> Option<usize> {
        let before = secret.start.saturating_sub(REACH_BYTES).max(segment.start)..secret.start;
        let after = secret.end..secret.end.saturating_add(REACH_BYTES).min(segment.end);
        self.within(words, block, before.start..after.end)
            .filter(|here| set.holds(here.word))
            .filter(|here| here.end <= before.end || (here.start >= after.start && here.end <= after.end))
            .find(|here| here.ends || here.end == secret.start || here.end == segment.end)
            .map(|here| here.word)
    }

    /// The words that begin in an extent, by position. Its pieces are looked over unless that was done.
    fn within(&mut self, words: &Words, block: &[u8], extent: Range<usize>) -> impl Iterator<Item = &Here> {
        let pieces = extent.start / PIECE_BYTES..extent.end.div_ceil(PIECE_BYTES);
        if self.pieces.len() < pieces.end {
            self.pieces.resize(pieces.end, None);
        }
        let Self { pieces: known, here } = self;
        for (index, piece) in known.iter_mut().enumerate().take(pieces.end).skip(pieces.start) {
            if piece.is_none() {
                let (first, start) = (here.len(), index * PIECE_BYTES);
                words.each(block, start..start.saturating_add(PIECE_BYTES).min(block.len()), |word, range| {
                    here.push(Here { word, start: range.start, end: range.end, ends: ends(block, range.end) });
                });
                *piece = Some((first, here.len()));
            }
        }
        let here = &self.here;
        let found = self.pieces.get(pieces).unwrap_or_default().iter().flatten();
        found
            .flat_map(move |(first, end)| here.get(*first..*end).unwrap_or_default())
            .filter(move |here| extent.contains(&here.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(text: &str, secret: Range<usize>, words: &[&str]) -> bool {
        let list: Vec<String> = words.iter().map(ToString::to_string).collect();
        let words = Words::new(std::iter::once(list.as_slice()));
        let (set, segment) = (words.of(0).unwrap(), 0..text.len());
        let found = Nearby::default().beside(&words, text.as_bytes(), &segment, &secret, set).is_some();
        // Whoever is beside the secret is near a window around it.
        assert!(!found || Nearby::default().any(&words, text.as_bytes(), &segment, &secret, set));
        found
    }

    #[test]
    fn words_are_whole() {
        for (text, word, expected) in [
            ("my ssn is", "ssn", true),
            ("user_ssn:", "ssn", true),
            ("userSsn:", "ssn", true),
            ("SSNs are", "ssn", true),
            ("phoneNumber", "phone", true),
            ("PHONE", "phone", true),
            ("social security no", "social security", true),
            ("public", "lic", false),
            ("licence", "lic", false),
            ("phonetic", "phone", false),
            ("", "x", false),
        ] {
            let words = Words::new(std::iter::once([word.to_owned()].as_slice()));
            assert_eq!(words.first_in(text.as_bytes(), words.of(0).unwrap()).is_some(), expected, "{text} {word}");
            let block = format!("{text} 1234");
            assert_eq!(beside(&block, block.len() - 4..block.len(), &[word]), expected, "{text} {word}");
            let block = format!("1234 {text}");
            assert_eq!(beside(&block, 0..4, &[word]), expected, "{text} {word}");
        }
        assert!(beside("ssn1234", 3..7, &["ssn"]), "the secret parts words too");
        assert!(beside("1234ssn", 0..4, &["ssn"]));
        assert!(beside("\u{8eab}\u{4efd}\u{8bc1}\u{53f7} 1234", 13..17, &["\u{8bc1}"]), "scripts without spaces");
        assert!(!beside("xssn1234", 4..8, &["ssn"]));
    }

    #[test]
    fn words_begin_where_letters_do() {
        for (text, expected) in [
            ("ab cd", &[0, 3][..]),
            ("aB cD9 9x 9", &[0, 1, 3, 4, 7, 8, 10]),
            ("a_b-c", &[0, 2, 4]),
            ("\u{e9}t\u{e9}", &[0, 2, 3]),
            ("", &[]),
        ] {
            for offset in 0..130 {
                let block = format!("{}{text}", ".".repeat(offset));
                let mut found = Vec::new();
                for from in (0..block.len()).step_by(PIECE_BYTES) {
                    let mut bits = starts(block.as_bytes(), from..(from + PIECE_BYTES).min(block.len()), true);
                    while bits != 0 {
                        found.push(from + bits.trailing_zeros() as usize);
                        bits &= bits - 1;
                    }
                }
                assert_eq!(found, expected.iter().map(|at| at + offset).collect::<Vec<_>>(), "{text} {offset}");
            }
        }
    }

    #[test]
    fn reach_is_bounded_and_a_cut_word_is_none() {
        let text = format!("iban{}1234", " ".repeat(56));
        let end = text.len();
        assert!(beside(&text, end - 4..end, &["iban"]));
        let text = format!("iban{}1234", " ".repeat(57));
        let end = text.len();
        assert!(!beside(&text, end - 4..end, &["iban"]));
        let text = format!("public{}1234", " ".repeat(57));
        let end = text.len();
        assert!(!beside(&text, end - 4..end, &["lic"]));
    }

    #[test]
    fn asking_in_any_order_gives_the_same() {
        let list = ["ssn".to_owned(), "tax".to_owned()];
        let words = Words::new(std::iter::once(list.as_slice()));
        let set = words.of(0).unwrap();
        let block = "ssn 11 tax\n 22 xtaxx 33".repeat(40) + " 44 ssn";
        let bytes = block.as_bytes();
        let segment = 0..block.len();
        let mut kept = Nearby::default();
        let mut order: Vec<usize> = (0..block.len() - 2).collect();
        order.sort_by_key(|at| (at * 7919) % 1009);
        for at in (0..block.len() - 2).chain(order) {
            let secret = at..at + 2;
            let fresh = Nearby::default().beside(&words, bytes, &segment, &secret, set);
            assert_eq!(kept.beside(&words, bytes, &segment, &secret, set), fresh, "{at}");
        }
    }
}
