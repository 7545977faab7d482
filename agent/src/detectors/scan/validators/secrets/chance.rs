//! Is a value made by chance or by people? Enters: bytes. Leaves: entropy, and how much of it reads like words. Sources: Shannon's
//! entropy of the characters, which a short text cannot push far (16 random characters of base 62 have about 3.8 bits each), and the
//! frequent pairs of letters of English (P. Norvig, "English Letter Frequency Counts: Mayzner Revisited"), which identifiers of
//! programs share. It does what counting BPE tokens does, at no cost in memory: words are few tokens because their pairs are frequent.

/// The most frequent pairs of letters in English words, and a few of program texts: a fifth of all pairs, three quarters of text.
const PAIRS: &str = "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri ro ic ne \
    ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il tr ly nc et ut ss so rs un lo wa ge ie wh ee wi em ad \
    ol rt po we na ul ni ts mo ow pa im mi ai sh ir su id os iv ia am fi ci vi pl ig tu ev ld ry mp fe bl ab gh ty op wo sa ay ex ke ui ey \
    ck ok qu ag ap pi";

/// Which pairs are frequent, by first and second letter: a bit each.
const fn table() -> [u32; 26] {
    let text = PAIRS.as_bytes();
    let mut table = [0_u32; 26];
    let mut at = 0;
    while at + 1 < text.len() {
        let (first, second) = (text[at], text[at + 1]);
        if first.is_ascii_lowercase() && second.is_ascii_lowercase() {
            table[(first - b'a') as usize] |= 1 << (second - b'a');
            at += 1;
        }
        at += 1;
    }
    table
}

static FREQUENT: [u32; 26] = table();

/// Shannon entropy of the bytes, bits a byte.
pub(super) fn entropy_bits(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text {
        counts[usize::from(*byte)] += 1;
    }
    let length = text.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / length;
            -share * share.log2()
        })
        .sum()
}

/// Of the neighbours that are both letters, the share in percent that is frequent in words, and how many there are.
pub(super) fn word_pairs(text: &[u8]) -> (usize, usize) {
    let (mut frequent, mut all) = (0, 0);
    for two in text.windows(2) {
        let [a, b] = two else { continue };
        if !a.is_ascii_alphabetic() || !b.is_ascii_alphabetic() {
            continue;
        }
        all += 1;
        let row = usize::from(a.to_ascii_lowercase() - b'a');
        let bit = 1_u32 << (b.to_ascii_lowercase() - b'a');
        frequent += usize::from(FREQUENT.get(row).is_some_and(|row| row & bit != 0));
    }
    (frequent * 100 / all.max(1), all)
}

/// It is made of words: most of it is letters, hardly a digit, and the pairs are those of words. Of random text of 16 characters of
/// base 62 one in a hundred passes for words, of 32 one in two thousand.
pub(super) fn reads_like_words(text: &[u8]) -> bool {
    const ENOUGH_PERCENT: usize = 55;
    const MAX_DIGITS: usize = 3;
    let (percent, pairs) = word_pairs(text);
    let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
    pairs * 2 >= text.len() && digits <= MAX_DIGITS && percent >= ENOUGH_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_from_chance() {
        for words in [
            "userProfileTokenProvider",
            "next_page_token_for_listing",
            "getAccessKeyId",
            "awsCredentialsProvider",
            "Passwort",
        ] {
            assert!(reads_like_words(words.as_bytes()), "{words} {:?}", word_pairs(words.as_bytes()));
        }
        for chance in ["tQzKxWvbRpLmGhJd", "f3Kq9ZxT1mWv7RbY", "9f86d081884c7d659a2feaa0c55ad015", "XkqPzrWmVtLbNcQd"] {
            assert!(!reads_like_words(chance.as_bytes()), "{chance} {:?}", word_pairs(chance.as_bytes()));
        }
        assert!(entropy_bits(b"aaaa") < 0.1 && entropy_bits(b"abcdefgh") > 2.9);
        assert_eq!(word_pairs(b""), (0, 0));
    }
}
