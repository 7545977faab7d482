//! Context words in a block: where they stand. Enters: a block and a place in it. Leaves: which words stand within reach. Text is
//! looked at only around places that somebody asks about, and once as long as they are asked from left to right.
//!
//! A word is a whole word, because `lic` in `public` is how context makes noise; `_`, `-` and camel case part words too.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// How far before and behind a match words count, bytes.
pub(super) const REACH_BYTES: usize = 60;
/// Up to so many bytes of words the automaton is a table with a step a byte.
const DENSE_BYTES: usize = 16 * 1024;

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

    fn holds(&self, word: usize) -> bool {
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
#[derive(Debug, Default)]
pub(crate) struct Words {
    automaton: Option<AhoCorasick>,
    words: Vec<String>,
    longest: usize,
    /// By rule.
    sets: Vec<WordSet>,
}

impl Words {
    /// Of lists of lower-case words, one a rule.
    pub(super) fn new<'w>(lists: impl Iterator<Item = &'w [String]>) -> Result<Self, String> {
        let mut words: Vec<&str> = Vec::new();
        let mut index = std::collections::HashMap::new();
        let mut sets = Vec::new();
        for list in lists {
            let mut set = WordSet::default();
            for word in list {
                let number = *index.entry(word.as_str()).or_insert_with(|| {
                    words.push(word);
                    words.len() - 1
                });
                set.add(number);
            }
            sets.push(set);
        }
        let bytes: usize = words.iter().map(|word| word.len()).sum();
        let automaton = if words.is_empty() {
            None
        } else {
            let kind = (bytes <= DENSE_BYTES).then_some(AhoCorasickKind::DFA);
            let built = AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .ascii_case_insensitive(true)
                .kind(kind)
                .build(&words)
                .map_err(|error| error.to_string())?;
            Some(built)
        };
        let longest = words.iter().map(|word| word.len()).max().unwrap_or(0);
        Ok(Self { automaton, words: words.into_iter().map(str::to_owned).collect(), longest, sets })
    }

    /// The words of a rule.
    pub(crate) fn of(&self, rule: usize) -> Option<&WordSet> {
        self.sets.get(rule)
    }

    /// A word by its number.
    pub(super) fn name(&self, word: usize) -> Option<&str> {
        self.words.get(word).map(String::as_str)
    }

    /// The first word of a set that stands in a text, such as a label.
    pub(super) fn first_in(&self, text: &[u8], set: &WordSet) -> Option<usize> {
        let automaton = self.automaton.as_ref().filter(|_| !text.is_empty())?;
        automaton.find_overlapping_iter(text).map(|found| (found.pattern().as_usize(), found.range())).find_map(
            |(word, range)| {
                let here = Here::new(text, word, range);
                (set.holds(word) && here.starts && here.ends).then_some(word)
            },
        )
    }

    /// The word of a rule that stands near a secret in a segment, or in its label: for who asks once.
    pub(super) fn near(&self, rule: usize, segment: &[u8], secret: &Range<usize>, label: &str) -> Option<&str> {
        let set = self.of(rule)?;
        let beside = Nearby::default().beside(self, segment, &(0..segment.len()), secret, set);
        self.name(beside.or_else(|| self.first_in(label.as_bytes(), set))?)
    }
}

/// A word in the block.
#[derive(Clone, Copy, Debug)]
struct Here {
    word: usize,
    start: usize,
    end: usize,
    /// A word begins and ends here, by the bytes around it.
    starts: bool,
    ends: bool,
}

impl Here {
    fn new(text: &[u8], word: usize, range: Range<usize>) -> Self {
        let first = text.get(range.start).copied().unwrap_or_default();
        let before = range.start.checked_sub(1).and_then(|at| text.get(at)).copied();
        let starts = before.is_none_or(|byte| {
            !byte.is_ascii_alphanumeric() || (first.is_ascii_uppercase() && byte.is_ascii_lowercase())
        });
        let ends = |at: usize| text.get(at).is_none_or(|byte| !byte.is_ascii_lowercase() && !byte.is_ascii_digit());
        // A plural is the same word.
        let plural = text.get(range.end).is_some_and(|byte| byte.eq_ignore_ascii_case(&b's'));
        Self {
            word,
            start: range.start,
            end: range.end,
            starts,
            ends: ends(range.end) || (plural && ends(range.end + 1)),
        }
    }
}

/// The words around places of the block in work. One per worker.
#[derive(Debug, Default)]
pub(super) struct Nearby {
    /// What was looked at.
    looked: Range<usize>,
    /// What was found there, by end.
    here: Vec<Here>,
}

impl Nearby {
    /// Another block.
    pub(super) fn clear(&mut self) {
        self.looked = 0..0;
        self.here.clear();
    }

    /// A word of the set stands within reach of a match in `window`, and inside of the segment. What lies in the window may belong
    /// to the match or not, so there a word need not be a whole one on the side of the match.
    pub(super) fn any(
        &mut self,
        words: &Words,
        block: &[u8],
        segment: &Range<usize>,
        window: &Range<usize>,
        set: &WordSet,
    ) -> bool {
        let from = window.start.saturating_sub(REACH_BYTES).max(segment.start);
        let to = window.end.saturating_add(REACH_BYTES).min(segment.end);
        self.look(words, block, from..to);
        let first = self.here.partition_point(|here| here.end <= from);
        let inside = |at: usize| (window.start..=window.end).contains(&at);
        self.here
            .get(first..)
            .unwrap_or_default()
            .iter()
            .take_while(|here| here.end <= to)
            .filter(|here| here.start >= from && set.holds(here.word))
            .any(|here| {
                (here.starts || inside(here.start) || here.start == segment.start)
                    && (here.ends || inside(here.end) || here.end == segment.end)
            })
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
        self.look(words, block, before.start..after.end);
        let first = self.here.partition_point(|here| here.end <= before.start);
        self.here
            .get(first..)
            .unwrap_or_default()
            .iter()
            .take_while(|here| here.end <= after.end)
            .filter(|here| {
                set.holds(here.word)
                    && ((here.start >= before.start && here.end <= before.end) || here.start >= after.start)
            })
            .find(|here| {
                (here.starts || here.start == secret.end || here.start == segment.start)
                    && (here.ends || here.end == secret.start || here.end == segment.end)
            })
            .map(|here| here.word)
    }

    /// Finds what stands in an extent, unless that was done.
    fn look(&mut self, words: &Words, block: &[u8], extent: Range<usize>) {
        if extent.start >= self.looked.start && extent.end <= self.looked.end {
            return;
        }
        let Some(automaton) = &words.automaton else { return };
        let mut from = extent.start;
        if extent.start >= self.looked.start && extent.start <= self.looked.end {
            // A word that ends behind what was looked at may begin inside.
            from = self.looked.end.saturating_sub(words.longest.saturating_sub(1)).max(self.looked.start);
        } else {
            self.here.clear();
            self.looked = extent.start..extent.start;
        }
        let done = self.looked.end;
        let text = block.get(from..extent.end).unwrap_or_default();
        self.here.extend(
            automaton
                .find_overlapping_iter(text)
                .filter(|found| from + found.end() > done)
                .map(|found| Here::new(block, found.pattern().as_usize(), from + found.start()..from + found.end())),
        );
        self.looked.end = extent.end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(text: &str, secret: Range<usize>, words: &[&str]) -> bool {
        let list: Vec<String> = words.iter().map(ToString::to_string).collect();
        let words = Words::new(std::iter::once(list.as_slice())).unwrap();
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
            let words = Words::new(std::iter::once([word.to_owned()].as_slice())).unwrap();
            assert_eq!(words.first_in(text.as_bytes(), words.of(0).unwrap()).is_some(), expected, "{text} {word}");
            let block = format!("{text} 1234");
            assert_eq!(beside(&block, block.len() - 4..block.len(), &[word]), expected, "{text} {word}");
            let block = format!("1234 {text}");
            assert_eq!(beside(&block, 0..4, &[word]), expected, "{text} {word}");
        }
        assert!(beside("ssn1234", 3..7, &["ssn"]), "the secret parts words too");
        assert!(!beside("xssn1234", 4..8, &["ssn"]));
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
        let words = Words::new(std::iter::once(list.as_slice())).unwrap();
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
