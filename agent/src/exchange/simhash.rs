//! Tells whether two texts are nearly the same. Enters: a text. Leaves: 64 bits, of which near-duplicates have all but a few in
//! common (Charikar, "Similarity estimation techniques from rounding algorithms", 2002; Manku et al., "Detecting near-duplicates
//! for web crawling", 2007, take 3 of 64 bits for the same page). It keeps no text.

use super::tool_results::{fold, hash};

/// Words that are read. The counters are bytes, so there may be no more than 255.
const MAX_WORDS: usize = 255;
/// Bits of a hash that one table entry spreads.
const SPREAD: usize = 256;

/// The eight bits of a byte, a byte each.
const SPREAD_BITS: [u64; SPREAD] = {
    let mut table = [0; SPREAD];
    let mut byte = 0;
    while byte < SPREAD {
        let mut bit = 0;
        while bit < 8 {
            table[byte] |= ((byte as u64 >> bit) & 1) << (8 * bit);
            bit += 1;
        }
        byte += 1;
    }
    table
};

/// The SimHash of a text over its pairs of neighbouring words, in lower case.
pub(super) fn simhash(text: &str) -> u64 {
    let mut counts = [0_u64; 8];
    let (mut before, mut pairs) = (0, 0_u32);
    let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words.take(MAX_WORDS) {
        let word = word_hash(word);
        let pair = fold(before, word);
        before = word;
        pairs += 1;
        for (count, byte) in counts.iter_mut().zip(mixed(pair).to_le_bytes()) {
            *count += SPREAD_BITS.get(usize::from(byte)).copied().unwrap_or_default();
        }
    }
    let mut bits = 0;
    for (position, count) in counts.iter().flat_map(|count| count.to_le_bytes()).enumerate() {
        bits |= u64::from(u32::from(count) * 2 > pairs) << position;
    }
    bits
}

fn word_hash(word: &str) -> u64 {
    if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
        hash(word.to_ascii_lowercase().as_bytes())
    } else {
        hash(word.as_bytes())
    }
}

/// All bits of the sum depend on all of both words (MurmurHash3's finaliser).
fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_duplicates_are_near_and_others_are_not() {
        let text = "I was not able to reach the billing service, so I will try the same request again now and tell you what \
            it says; if that does not work either, I will look at the configuration of the gateway and try once more.";
        let again = text.replace("tell you", "Tell you");
        let slightly = text.replace("once more.", "once more!");
        let other = "The order of 3 March was shipped from the second warehouse and should arrive on Friday; I have asked \
            the carrier for a new label, because the first one had the old address of the customer on it.";
        let distance = |other: &str| (simhash(text) ^ simhash(other)).count_ones();
        assert_eq!((distance(&again), distance(&slightly)), (0, 0));
        assert!(distance(other) > 20, "{}", distance(other));
        assert_eq!(simhash(""), 0);
        assert_eq!(simhash("a"), simhash("A"), "case does not count");
    }
}
