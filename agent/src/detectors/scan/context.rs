//! Context words: is one of them near a match? Enters: the segment, the match, the segment's label. Leaves: which, or none.
//! Words are whole words, because `lic` in `public` is how context makes noise; `_`, `-` and camel case part words too.

use std::ops::Range;

/// How far before and behind a match words count, bytes.
const REACH_BYTES: usize = 60;

/// The first of the words that stands within reach of the match, or in the label.
pub(super) fn word_near<'w>(
    haystack: &[u8],
    secret: &Range<usize>,
    label: &str,
    words: &'w [String],
) -> Option<&'w str> {
    let before = haystack.get(secret.start.saturating_sub(REACH_BYTES)..secret.start).unwrap_or_default();
    let after_end = secret.end.saturating_add(REACH_BYTES).min(haystack.len());
    let after = haystack.get(secret.end..after_end).unwrap_or_default();
    let near =
        |word: &&String| [before, after, label.as_bytes()].into_iter().any(|text| holds_word(text, word.as_bytes()));
    words.iter().find(near).map(String::as_str)
}

/// `word` is lower-case.
fn holds_word(text: &[u8], word: &[u8]) -> bool {
    let mut from = 0;
    while let Some(rest) = text.get(from..)
        && let Some(offset) = rest.windows(word.len().max(1)).position(|window| window.eq_ignore_ascii_case(word))
    {
        let start = from + offset;
        let end = start + word.len();
        let first = text.get(start).copied().unwrap_or_default();
        let before = start.checked_sub(1).and_then(|at| text.get(at)).copied();
        let starts = before.is_none_or(|byte| {
            !byte.is_ascii_alphanumeric() || (first.is_ascii_uppercase() && byte.is_ascii_lowercase())
        });
        // A plural is the same word.
        let plural = text.get(end).is_some_and(|byte| byte.eq_ignore_ascii_case(&b's'));
        let ends = |at: usize| text.get(at).is_none_or(|byte| !byte.is_ascii_lowercase() && !byte.is_ascii_digit());
        if starts && (ends(end) || (plural && ends(end + 1))) {
            return true;
        }
        from = start + 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        for (text, word, expected) in [
            ("my ssn is", "ssn", true),
            ("user_ssn:", "ssn", true),
            ("userSsn:", "ssn", true),
            ("SSNs are", "ssn", true),
            ("phoneNumber", "phone", true),
            ("PHONE", "phone", true),
            ("public", "lic", false),
            ("licence", "lic", false),
            ("phonetic", "phone", false),
            ("", "x", false),
            ("x", "", false),
        ] {
            assert_eq!(holds_word(text.as_bytes(), word.as_bytes()), expected, "{text} {word}");
        }
    }

    #[test]
    fn reach_is_bounded_and_the_label_counts() {
        let words = ["iban".to_owned()];
        let text = format!("iban{}1234", " ".repeat(56));
        let end = text.len();
        assert_eq!(word_near(text.as_bytes(), &(end - 4..end), "", &words), Some("iban"));
        let text = format!("iban{}1234", " ".repeat(57));
        let end = text.len();
        assert_eq!(word_near(text.as_bytes(), &(end - 4..end), "", &words), None);
        assert_eq!(word_near(b"1234", &(0..4), "$.input.iban", &words), Some("iban"));
    }
}
