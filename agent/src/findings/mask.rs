//! The only constructor of an excerpt. Enters: the text around a match, raw and hostile. Leaves: an [`Excerpt`], at most
//! [`MAX_CHARS`] characters, in which the match, every other match and everything that looks like a secret is masked.
//!
//! What it promises, whatever the bytes and spans: no five characters in a row of the secret survive, outside the public
//! prefix that its issuer publishes; no control character survives; it never panics. The last step enforces the first
//! promise on the finished text, so a slip in the steps before cannot break it.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::detectors::NEAR_BYTES;

/// Longest excerpt, in characters.
pub const MAX_CHARS: usize = 80;

/// What stands for masked text. A fixed length, so that the length of the secret does not show.
pub(super) const MASK: &str = "•••";
const MASK_CHAR: char = '•';
const CUT: char = '…';

/// Tokens of the context from this length on are masked: keys without a rule, hashes, addresses.
const LONG_TOKEN_CHARS: usize = 16;

/// Runs of digits of the context from this length on are masked: numbers without a rule, and the three digits of a card's back.
const LONG_DIGITS: usize = 3;

/// The word behind one of these is masked, whatever it looks like. Compared without case.
const SECRET_NAMES: [&str; 7] = ["password", "passwd", "pwd", "secret", "token", "cvv", "pin"];

/// What may stand between such a name and its word.
const ASSIGNS: [char; 7] = [':', '=', '>', '"', '\'', '\\', '`'];

/// So many characters of a secret in a row never survive.
const GRAM_CHARS: usize = 5;

/// A public prefix is only shown when at least so many secret characters follow it.
const MIN_SECRET_AFTER_PREFIX: usize = 8;

/// What issuers put before their keys to make them recognisable; the longer of two that fit wins. Sources: anchors-scan §1 F
/// and G, which name the issuers' documents.
pub(super) const PUBLIC_PREFIXES: [&str; 52] = [
    "sk-proj-",
    "sk-svcacct-",
    "sk-admin-",
    "sk-ant-api03-",
    "sk-ant-admin01-",
    "sk-ant-oat01-",
    "sk-or-v1-",
    "sk-lf-",
    "sk-",
    "gsk_",
    "xai-",
    "hf_",
    "api_org_",
    "r8_",
    "pplx-",
    "csk-",
    "nvapi-",
    "tgp_v1_",
    "lsv2_pt_",
    "lsv2_sk_",
    "pcsk_",
    "AIza",
    "AKIA",
    "ASIA",
    "GOCSPX-",
    "ya29.",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "npm_",
    "pypi-",
    "dckr_pat_",
    "hvs.",
    "hvb.",
    "dp.pt.",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "SG.",
    "key-",
    "sk_live_",
    "rk_live_",
    "sk_test_",
    "whsec_",
    "shpat_",
    "NRAK-",
    "eyJ",
];

/// A masked window of text. Only this module makes one from matched text; deserialising one reads a finding back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Excerpt(String);

impl Excerpt {
    /// Masks the secret at `span` of `haystack`, the matches at `others` around it, and what looks like more. `entity` decides what little
    /// of the secret stays recognisable. Spans outside the haystack are clamped to it.
    pub fn new(entity: &str, haystack: &[u8], span: &Range<usize>, others: &[Range<usize>]) -> Self {
        let span = clamp(span, haystack.len());
        let secret = clean(&String::from_utf8_lossy(slice(haystack, &span)));
        let core = Core::of(entity, &secret);

        let before_range = span.start.saturating_sub(NEAR_BYTES)..span.start;
        let after_range = span.end..span.end.saturating_add(NEAR_BYTES).min(haystack.len());
        let start = if before_range.start > 0 { Edge::Cut } else { Edge::Text };
        let end = if after_range.end < haystack.len() { Edge::Cut } else { Edge::Text };
        let mut before = context(haystack, &before_range, others, (start, Edge::Match));
        let mut after = context(haystack, &after_range, others, (Edge::Match, end));

        let (room_before, room_after) =
            rooms(before.chars().count(), after.chars().count(), MAX_CHARS.saturating_sub(core.text.chars().count()));
        keep_tail(&mut before, room_before);
        keep_head(&mut after, room_after);

        let text = [before.as_str(), core.text.as_str(), after.as_str()].concat();
        let public_at = before.chars().count();
        let raw = String::from_utf8_lossy(slice(haystack, &span));
        let is_safe = |text: &str| survivor(text, &raw, core.public_chars).is_none();
        // PERF: where nothing of the secret is shown there is nothing to erase.
        if secret == raw && raw.chars().nth(GRAM_CHARS - 1).is_some() && is_safe(&text) {
            return Self(text);
        }
        let shown = erase(&text, &secret, core.public_chars, public_at);
        // A text that repeats its secret in pieces can outwit the eraser. Then the context is not worth its risk.
        Self(if is_safe(&shown) { shown } else { core.text })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Excerpt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Masks whatever `secret` left in a text that goes out beside the excerpt: a JSON path can hold a key that is the secret.
pub(super) fn without_secret(text: &str, secret: &[u8]) -> String {
    erase(&clean(text), &clean(&String::from_utf8_lossy(secret)), 0, 0)
}

/// A text from the wire that is no secret but was written by a peer: without control characters, at most `max_chars` long.
pub fn bounded(text: &str, max_chars: usize) -> String {
    if text.len() <= max_chars && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut chars = text.chars().map(|c| if is_unprintable(c) { ' ' } else { c });
    let mut kept: String = chars.by_ref().take(max_chars).collect();
    if chars.next().is_some() {
        kept.pop();
        kept.push(CUT);
    }
    kept
}

/// Five characters in a row of the secret that are shown, except inside its public prefix.
pub(super) fn survivor(shown: &str, secret: &str, public_chars: usize) -> Option<String> {
    let (chars, shown): (Vec<char>, Vec<char>) = (secret.chars().collect(), shown.chars().collect());
    let shown = Grams::of(&shown);
    chars.windows(GRAM_CHARS).enumerate().find_map(|(start, gram)| {
        let ours = gram.contains(&MASK_CHAR) || start + GRAM_CHARS <= public_chars;
        (!ours && shown.have(gram)).then(|| gram.iter().collect())
    })
}

/// A text that is asked for short pieces.
///
/// PERF: each excerpt asks for some hundreds, and a text has next to none of them: most are told by a set of its triples, some bits of which may
/// be another's. To build a searcher for each takes many times as long, and to look through the text for each ten times.
struct Grams<'t> {
    text: &'t [char],
    triples: [u64; 8],
}

impl<'t> Grams<'t> {
    fn of(text: &'t [char]) -> Self {
        let mut triples = [0; 8];
        for triple in text.windows(3) {
            let (word, bit) = Self::place(triple);
            if let Some(word) = triples.get_mut(word) {
                *word |= bit;
            }
        }
        Self { text, triples }
    }

    /// The word and the bit of the first three characters.
    fn place(gram: &[char]) -> (usize, u64) {
        let fold = |hash: u32, c: &char| (hash ^ u32::from(*c)).wrapping_mul(0x9e37_79b1);
        let hash = gram.iter().take(3).fold(0, fold) >> 23;
        ((hash >> 6) as usize, 1 << (hash & 63))
    }

    fn have(&self, gram: &[char]) -> bool {
        let may = || {
            let (word, bit) = Self::place(gram);
            self.triples.get(word).is_some_and(|word| word & bit != 0)
        };
        (gram.len() < 3 || may()) && self.text.windows(gram.len().max(1)).any(|window| window.starts_with(gram))
    }
}

/// What of the secret stays, with the rest masked.
pub(super) struct Core {
    pub(super) text: String,
    /// Characters at its start that are a public prefix.
    pub(super) public_chars: usize,
}

impl Core {
    pub(super) fn of(entity: &str, secret: &str) -> Self {
        let plain = |text: String| Self { text, public_chars: 0 };
        match entity {
            "EMAIL_ADDRESS" => plain(mask_email(secret)),
            "CREDIT_CARD" => plain(mask_card(secret)),
            "IBAN_CODE" => plain(mask_iban(secret)),
            _ => match public_prefix(secret) {
                Some(prefix) => Self { text: format!("{prefix}{MASK}"), public_chars: prefix.chars().count() },
                None => plain(MASK.to_owned()),
            },
        }
    }
}

/// First character and a top-level domain of at most three letters: `a•••@•••.com`.
fn mask_email(secret: &str) -> String {
    let Some((local, domain)) = secret.rsplit_once('@') else { return MASK.to_owned() };
    let first = local.chars().next().filter(|_| local.chars().count() > 1);
    let tld = domain.rsplit_once('.').map(|(_, tld)| tld).filter(|tld| (2..=3).contains(&tld.chars().count()));
    let first = first.map(String::from).unwrap_or_default();
    let tld = tld.map(|tld| format!(".{tld}")).unwrap_or_default();
    format!("{first}{MASK}@{MASK}{tld}")
}

/// The last four digits, when there are enough before them.
fn mask_card(secret: &str) -> String {
    let digits: Vec<char> = secret.chars().filter(char::is_ascii_digit).collect();
    match digits.get(digits.len().saturating_sub(4)..) {
        Some(last) if digits.len() >= 12 => format!("{MASK}{}", last.iter().collect::<String>()),
        _ => MASK.to_owned(),
    }
}

/// The country.
fn mask_iban(secret: &str) -> String {
    let country: String = secret.chars().take(2).filter(char::is_ascii_alphabetic).collect();
    format!("{country}{MASK}")
}

pub(super) fn public_prefix(secret: &str) -> Option<&'static str> {
    let prefix =
        PUBLIC_PREFIXES.into_iter().filter(|prefix| secret.starts_with(prefix)).max_by_key(|prefix| prefix.len())?;
    (secret.chars().count() >= prefix.chars().count() + MIN_SECRET_AFTER_PREFIX).then_some(prefix)
}

/// What stands at an end of a piece of context.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// The text itself begins or ends here.
    Text,
    /// A match begins or ends here.
    Match,
    /// The text goes on, unseen: the token here may be half of one.
    Cut,
}

/// The text of `range` with other matches and what looks like a secret masked.
pub(super) fn context(haystack: &[u8], range: &Range<usize>, others: &[Range<usize>], edges: (Edge, Edge)) -> String {
    let mut masked: Vec<Range<usize>> = others
        .iter()
        .map(|other| {
            let other = clamp(other, haystack.len());
            other.start.max(range.start)..other.end.min(range.end)
        })
        .filter(|other| other.start < other.end)
        .collect();
    masked.sort_unstable_by_key(|other| other.start);

    let mut text = String::with_capacity(range.len());
    let mut at = range.start;
    let mut edge = edges.0;
    for other in masked {
        if other.start > at {
            text.push_str(&scrub(slice(haystack, &(at..other.start)), (edge, Edge::Match)));
        }
        if other.end > at {
            text.push_str(MASK);
            at = other.end;
            edge = Edge::Match;
        }
    }
    if at < range.end {
        text.push_str(&scrub(slice(haystack, &(at..range.end)), (edge, edges.1)));
    }
    text
}

/// Masks long tokens, long numbers, words behind a secret's name, and what sticks to the ends: it may be the rest of a secret whose match was too short.
fn scrub(bytes: &[u8], edges: (Edge, Edge)) -> String {
    let text = clean(&String::from_utf8_lossy(bytes));
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut first = true;
    let mut named = false;
    while !rest.is_empty() {
        let token_bytes = rest.find(' ').unwrap_or(rest.len());
        let (token, tail) = rest.split_at(token_bytes);
        let start = if first { edges.0 } else { Edge::Text };
        let end = if tail.is_empty() { edges.1 } else { Edge::Text };
        if start == Edge::Cut || end == Edge::Cut {
            // Half a token: too little of it is seen to judge it.
            out.push(CUT);
        } else if token.chars().count() >= LONG_TOKEN_CHARS || (named && !passes_name_on(token)) {
            out.push_str(MASK);
        } else {
            let (shown, value) = token.split_at(named_value(token));
            show_token(&mut out, shown, start == Edge::Match, end == Edge::Match);
            out.push_str(if value.is_empty() { "" } else { MASK });
        }
        named = ends_with_name(token) || (named && passes_name_on(token));
        if let Some(after) = tail.strip_prefix(' ') {
            out.push(' ');
            rest = after;
        } else {
            rest = tail;
        }
        first = false;
    }
    out
}

/// Where the value of `password=value` begins in a token: its length when there is none.
fn named_value(token: &str) -> usize {
    let assigned = |(at, _): (usize, char)| {
        let (name, value) = token.split_at(at);
        let value = value.trim_start_matches(ASSIGNS);
        ends_with_name(name).then_some(token.len() - value.len())
    };
    token.char_indices().filter(|(_, c)| ASSIGNS.contains(c)).find_map(assigned).unwrap_or(token.len())
}

/// The name of a secret stands last, with or without what assigns.
fn ends_with_name(token: &str) -> bool {
    let token = token.trim_end_matches(ASSIGNS).as_bytes();
    SECRET_NAMES.iter().any(|name| {
        let Some((before, last)) = token.len().checked_sub(name.len()).map(|at| token.split_at(at)) else {
            return false;
        };
        // `spin` is no name; `dbpassword` is one.
        let begins = *name != "pin" || !before.last().is_some_and(u8::is_ascii_alphabetic);
        begins && last.eq_ignore_ascii_case(name.as_bytes())
    })
}

/// Between a secret's name and its word: `password = x`, `the password is x`.
fn passes_name_on(token: &str) -> bool {
    token.chars().all(|c| ASSIGNS.contains(&c)) || token.eq_ignore_ascii_case("is")
}

/// Adds a token. Letters and digits that touch a neighbouring match without anything between are masked, and long numbers.
fn show_token(out: &mut String, token: &str, at_start: bool, at_end: bool) {
    let sticks = |c: char| c.is_ascii_alphanumeric();
    let mut kept = token;
    if at_start && kept.starts_with(sticks) {
        kept = kept.trim_start_matches(sticks);
        out.push_str(MASK);
    }
    let ends = at_end && kept.ends_with(sticks);
    if ends {
        kept = kept.trim_end_matches(sticks);
    }
    while !kept.is_empty() {
        let (plain, rest) = kept.split_at(kept.find(char::is_numeric).unwrap_or(kept.len()));
        let (number, rest) = rest.split_at(rest.find(|c: char| !c.is_numeric()).unwrap_or(rest.len()));
        out.push_str(plain);
        out.push_str(if number.chars().count() >= LONG_DIGITS { MASK } else { number });
        kept = rest;
    }
    if ends {
        out.push_str(MASK);
    }
}

/// The guarantee: masks every five characters in a row that are also in the secret. `public_chars` of the secret are public,
/// and where they stand in `text` (from `public_at` on) they may stay.
pub(super) fn erase(text: &str, secret: &str, public_chars: usize, public_at: usize) -> String {
    let secret_chars = secret.chars().count();
    // A short secret is masked wherever it stands; one or two characters are in any text.
    let gram_chars = GRAM_CHARS.min(secret_chars);
    if gram_chars < 3 {
        return text.to_owned();
    }
    let mut chars: Vec<char> = text.chars().collect();
    // The first gram that is not wholly inside the public prefix begins here.
    let hidden_from = if public_chars >= gram_chars { public_chars + 1 - gram_chars } else { 0 };
    let hidden: Vec<char> = secret.chars().skip(hidden_from).collect();
    let hidden = Grams::of(&hidden);
    let public = public_at..public_at + public_chars;
    let is_hidden = |(start, gram): (usize, &[char])| {
        let in_public = public.start <= start && start + gram_chars <= public.end;
        (!in_public && hidden.have(gram)).then_some(start)
    };
    let erased: Vec<usize> = chars.windows(gram_chars).enumerate().filter_map(is_hidden).collect();
    // Most texts hold none.
    if erased.is_empty() {
        return text.to_owned();
    }
    for start in erased {
        chars.iter_mut().skip(start).take(gram_chars).for_each(|c| *c = MASK_CHAR);
    }
    chars.into_iter().collect()
}

/// Of the room beside a core, what goes to the context before and after it: half each, and what one side does not need goes to the other.
pub(super) fn rooms(before: usize, after: usize, room: usize) -> (usize, usize) {
    let half = room / 2;
    let room_before = before.min(half.max(room.saturating_sub(after)));
    (room_before, after.min(room - room_before))
}

pub(super) fn keep_tail(text: &mut String, room: usize) {
    let chars = text.chars().count();
    if chars > room {
        let kept: String = text.chars().skip(chars - room.saturating_sub(1)).collect();
        *text = if room == 0 { String::new() } else { format!("{CUT}{kept}") };
    }
}

pub(super) fn keep_head(text: &mut String, room: usize) {
    if text.chars().count() > room {
        let kept: String = text.chars().take(room.saturating_sub(1)).collect();
        *text = if room == 0 { String::new() } else { format!("{kept}{CUT}") };
    }
}

/// One line of printable characters: what cannot be printed becomes a space, spaces in a row become one, and a mask character
/// of the text itself becomes a plain dot, so that a mask always is one of ours.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let c = match c {
            MASK_CHAR => '·',
            c if c.is_whitespace() || is_unprintable(c) => ' ',
            c => c,
        };
        if c != ' ' || !out.ends_with(' ') {
            out.push(c);
        }
    }
    out
}

/// Control characters, and the marks that reorder or hide text on a terminal (Unicode TR 36, "bidirectional text spoofing").
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn clamp(range: &Range<usize>, len: usize) -> Range<usize> {
    let start = range.start.min(len);
    start..range.end.clamp(start, len)
}

fn slice<'a>(bytes: &'a [u8], range: &Range<usize>) -> &'a [u8] {
    bytes.get(range.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn excerpt(entity: &str, haystack: &str, secret: &str, others: &[&str]) -> String {
        let place = |text: &str| {
            let start = haystack.find(text).expect(text);
            start..start + text.len()
        };
        let others: Vec<_> = others.iter().map(|other| place(other)).collect();
        Excerpt::new(entity, haystack.as_bytes(), &place(secret), &others).0
    }

    #[test]
    fn secrets_stay_recognisable_and_unreadable() {
        let fake = "sk-proj-FAKEfakeFAKEfakeFAKEfakeFAKE";
        let cases = [
            (
                "EMAIL_ADDRESS",
                "write to jane.doe@example.com today",
                "jane.doe@example.com",
                "write to j•••@•••.com today",
            ),
            ("EMAIL_ADDRESS", "x@example.museum", "x@example.museum", "•••@•••"),
            ("CREDIT_CARD", "card 4111 1111 1111 1111, ok", "4111 1111 1111 1111", "card •••1111, ok"),
            ("CREDIT_CARD", "card 4111", "4111", "card •••"),
            ("IBAN_CODE", "to DE89370400440532013000 please", "DE89370400440532013000", "to DE••• please"),
            ("OPENAI_API_KEY", &format!("export KEY={fake} now"), fake, "export KEY=sk-proj-••• now"),
            ("OPENAI_API_KEY", "sk-proj-short", "sk-proj-short", "•••"),
            ("US_SSN", "ssn 078-05-1120.", "078-05-1120", "ssn •••."),
            ("PERSON", "hello\r\n\tJane\u{202e}\u{1b}[31m you", "Jane", "hello ••• [31m you"),
        ];
        for (entity, haystack, secret, expected) in cases {
            assert_eq!(excerpt(entity, haystack, secret, &[]), expected);
        }
    }

    #[test]
    fn the_context_hides_what_looks_like_a_secret() {
        let cases = [
            ("other matches", "from a@b.example to hunter2 ok", &["a@b.example"][..], "from ••• to ••• ok"),
            ("long tokens", "id 0f8fad5bd9cb469fa165 hunter2 https://intranet.example/x", &[], "id ••• ••• •••"),
            ("digits", "tel +49 15112345 row 12 hunter2 code 123 98765", &[], "tel +49 ••• row 12 ••• code ••• •••"),
            ("words after a name", "pwd=Ab PIN 12 hunter2 spin ok", &[], "pwd=••• PIN ••• ••• spin ok"),
            ("and a colon", r#"{"password":"ab","cvv": 1} hunter2"#, &[], "••• ••• •••"),
            ("in prose", "Password: Solar hunter2 secret = ab cd", &[], "Password: ••• ••• secret = ••• cd"),
            ("at some distance", "my password is Solar, hunter2", &[], "my password is ••• •••"),
            ("in an object", r#"{"pin":"ab"} hunter2 token"#, &[], r#"{"pin":"••• ••• token"#),
            ("what sticks to the match", "pass=abchunter2def;user=bob", &[], "pass=•••••••••;user=bob"),
            ("the secret once more", "hunter2 xhunter2x hunter2", &[], "••• x•••••••x •••••••"),
        ];
        for (why, haystack, others, expected) in cases {
            assert_eq!(excerpt("PASSWORD", haystack, "hunter2", others), expected, "{why}");
        }
    }

    #[test]
    fn long_context_is_cut_to_the_window() {
        let haystack = format!("{} hunter2 {}", "one two three ".repeat(60), "four five six ".repeat(60));
        let shown = excerpt("PASSWORD", &haystack, "hunter2", &[]);
        assert_eq!(shown.chars().count(), MAX_CHARS);
        assert!(shown.starts_with('…') && shown.ends_with('…') && shown.contains(" three ••• four "), "{shown}");
        // What one side does not need goes to the other.
        let lopsided = format!("hunter2 {}", "four five six ".repeat(60));
        assert_eq!(excerpt("PASSWORD", &lopsided, "hunter2", &[]).chars().count(), MAX_CHARS);
    }

    #[test]
    fn spans_outside_the_text_are_clamped() {
        let backwards = |start, end| Range { start, end };
        for span in [0..usize::MAX, usize::MAX - 1..usize::MAX, 5..6, backwards(3, 1)] {
            let shown = Excerpt::new("X", b"abc", &span, &[2..usize::MAX, backwards(9, 1)]);
            assert!(shown.as_str().contains(MASK), "{shown}");
        }
        assert_eq!(Excerpt::new("X", b"", &(0..0), &[]).as_str(), MASK);
        assert_eq!(without_secret("$.headers.hunter2-key[3]", b"hunter2"), "$.headers.•••••••-key[3]");
        assert_eq!(bounded("a\u{1b}[2Jb", 10), "a [2Jb");
        assert_eq!(bounded("abcdef", 4), "abc…");
    }

    fn holds(entity: &str, haystack: &[u8], span: &Range<usize>, others: &[Range<usize>]) -> Result<(), TestCaseError> {
        let shown = Excerpt::new(entity, haystack, span, others).0;
        prop_assert!(shown.chars().count() <= MAX_CHARS, "{} characters", shown.chars().count());
        prop_assert!(!shown.chars().any(is_unprintable), "{:?}", shown);
        let secret = String::from_utf8_lossy(slice(haystack, &clamp(span, haystack.len()))).into_owned();
        let prefix = public_prefix(&clean(&secret)).map_or(0, |prefix| prefix.chars().count());
        prop_assert_eq!(survivor(&shown, &secret, prefix), None, "{:?} in {:?}", secret, shown);
        Ok(())
    }

    const ENTITIES: [&str; 5] = ["EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "OPENAI_API_KEY", "PERSON"];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn where_nothing_survives_nothing_is_erased(text in "[ab-]{0,30}", secret in "[ab-]{5,12}", public in 0_usize..8, at in 0_usize..20) {
            if survivor(&text, &secret, public).is_none() {
                prop_assert_eq!(erase(&text, &secret, public, at), text);
            }
        }

        #[test]
        fn nothing_survives_of_any_bytes(
            haystack in prop::collection::vec(any::<u8>(), 0..400),
            span in any::<(u16, u16)>(),
            others in prop::collection::vec(any::<(u16, u16)>(), 0..4),
            entity in prop::sample::select(&ENTITIES[..]),
        ) {
            let range = |(start, end): (u16, u16)| usize::from(start % 512)..usize::from(end % 512);
            let others: Vec<_> = others.into_iter().map(range).collect();
            holds(entity, &haystack, &range(span), &others)?;
        }

        /// Few letters, so that the text is full of pieces of its own secret.
        #[test]
        fn nothing_survives_of_texts_that_repeat_themselves(
            haystack in "[ab1@. ]{0,200}(sk-proj-)?[ab1@.•é\n]{3,60}[ab1@. ]{0,200}",
            start in 0usize..200,
            len in 0usize..70,
            entity in prop::sample::select(&ENTITIES[..]),
        ) {
            holds(entity, haystack.as_bytes(), &(start..start + len), &[])?;
        }

        /// Secrets as they stand in prompts, and again in the context.
        #[test]
        fn nothing_survives_of_keys(
            before in "([a-z]{1,9}[ =:\"]){0,20}",
            prefix in prop::sample::select(&PUBLIC_PREFIXES[..]),
            secret in "[A-Za-z0-9_-]{1,80}",
            after in "([ ,;\"][a-z0-9]{1,9}){0,20}",
            again in any::<bool>(),
        ) {
            let key = format!("{prefix}{secret}");
            let echo = if again { &secret } else { "" };
            let haystack = format!("{before}{key}{after} {echo}");
            holds("API_KEY", haystack.as_bytes(), &(before.len()..before.len() + key.len()), &[])?;
        }
    }
}
