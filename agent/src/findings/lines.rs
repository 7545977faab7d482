//! Lines around a leak, for a person who looks at the log again. Enters: a text, raw and hostile, and all that may be a secret in it. Leaves:
//! [`MaskedLine`]s, masked as an [`Excerpt`](super::Excerpt) is and by the same code, bounded in length, without control characters.
//!
//! What is masked where it stands in one line is erased from all others too: a password that a rule knows by the word before it may stand
//! without that word in the next line.

use std::{collections::BTreeSet, ops::Range};

use serde::Serialize;

use super::mask::{Core, Edge, MASK, clean, context, erase, keep_head, keep_tail, public_prefix, rooms, survivor};

/// Longest line, in characters.
const LINE_CHARS: usize = 240;

/// Bytes of a line that are looked at for that, on each side of the leak or from its start: masks are shorter than what they hide.
const LINE_BYTES: usize = 4096;

/// A line in which all that may be a secret is masked. Only this module makes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MaskedLine(String);

impl MaskedLine {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A part of a log with a leak in it.
#[derive(Clone, Debug)]
pub struct Surroundings<'t> {
    text: &'t [u8],
    entity: &'t str,
    leak: Range<usize>,
    hidden: Vec<Range<usize>>,
    /// As they are looked for in what is shown.
    secrets: BTreeSet<String>,
    /// The log goes on before the text, and behind it, in the middle of a line.
    cut: (bool, bool),
}

impl<'t> Surroundings<'t> {
    /// `leak` is the extent of what leaked in `text`, an `entity`. All of `hidden` is masked where it stands; the text of all of `secrets`
    /// wherever it stands. `cut` says whether the first line begins before the text, and the last one goes on behind it.
    pub fn new(
        text: &'t [u8],
        (entity, leak): (&'t str, Range<usize>),
        hidden: Vec<Range<usize>>,
        secrets: &[Range<usize>],
        cut: (bool, bool),
    ) -> Self {
        let leak = clamped(&leak, text.len());
        let secret = |range: &Range<usize>| of(text, &clamped(range, text.len()));
        let secrets = secrets.iter().map(secret).filter(|secret| !secret.trim().is_empty()).collect();
        Self { text, entity, leak, hidden, secrets, cut }
    }

    /// The line, or the lines, at this extent of the text.
    pub fn masked(&self, line: &Range<usize>) -> MaskedLine {
        let line = clamped(line, self.text.len());
        let has_leak = line.start <= self.leak.start && self.leak.end <= line.end && !self.leak.is_empty();
        let (mut shown, core) = if has_leak { self.with_leak(&line) } else { (self.without_leak(&line), None) };
        for secret in &self.secrets {
            let public = public_prefix(secret).map_or(0, |prefix| prefix.chars().count());
            // Nothing of the text is excepted: where the public part of another secret stands is not known.
            shown = erase(&shown, secret, public, shown.chars().count());
            if survivor(&shown, secret, public).is_some() {
                MASK.clone_into(&mut shown);
            }
        }
        match core {
            Some(core) if survivor(&shown, &of(self.text, &self.leak), core.public_chars).is_some() => {
                MaskedLine(core.text)
            }
            _ => MaskedLine(shown),
        }
    }

    fn with_leak(&self, line: &Range<usize>) -> (String, Option<Core>) {
        let Self { text, leak, .. } = self;
        let secret = of(text, leak);
        let core = Core::of(self.entity, &secret);
        let from = line.start.max(leak.start.saturating_sub(LINE_BYTES));
        let until = line.end.min(leak.end.saturating_add(LINE_BYTES));
        let mut before = context(text, &(from..leak.start), &self.hidden, (self.start(line, from), Edge::Match));
        let mut after = context(text, &(leak.end..until), &self.hidden, (Edge::Match, self.end(line, until)));
        let room = LINE_CHARS.saturating_sub(core.text.chars().count());
        let (room_before, room_after) = rooms(before.chars().count(), after.chars().count(), room);
        keep_tail(&mut before, room_before);
        keep_head(&mut after, room_after);
        let public_at = before.chars().count();
        let shown = erase(&format!("{before}{}{after}", core.text), &secret, core.public_chars, public_at);
        (shown, Some(core))
    }

    fn without_leak(&self, line: &Range<usize>) -> String {
        let until = line.end.min(line.start.saturating_add(LINE_BYTES));
        let edges = (self.start(line, line.start), self.end(line, until));
        let mut hidden = self.hidden.clone();
        hidden.push(self.leak.clone());
        let mut shown = context(self.text, &(line.start..until), &hidden, edges);
        keep_head(&mut shown, LINE_CHARS);
        let secret = of(self.text, &self.leak);
        let public = public_prefix(&secret).map_or(0, |prefix| prefix.chars().count());
        erase(&shown, &secret, public, shown.chars().count())
    }

    fn start(&self, line: &Range<usize>, from: usize) -> Edge {
        if from > line.start || (from == 0 && self.cut.0) { Edge::Cut } else { Edge::Text }
    }

    fn end(&self, line: &Range<usize>, until: usize) -> Edge {
        if until < line.end || (until == self.text.len() && self.cut.1) { Edge::Cut } else { Edge::Text }
    }
}

/// A part of the text as it would be shown.
fn of(text: &[u8], range: &Range<usize>) -> String {
    clean(&String::from_utf8_lossy(text.get(range.clone()).unwrap_or_default()))
}

fn clamped(range: &Range<usize>, length: usize) -> Range<usize> {
    let start = range.start.min(length);
    start..range.end.clamp(start, length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str =
        "id 7 for someone\npassword: Solar to jane.doe@example.com\nagain jane.doe and Solar-7 here\n\u{1b}[2Jend\n";

    fn place(part: &str) -> Range<usize> {
        let start = TEXT.find(part).expect(part);
        start..start + part.len()
    }

    #[test]
    fn what_is_masked_in_one_line_is_erased_in_all() {
        let (leak, password) = (place("jane.doe@example.com"), place("Solar"));
        let hidden = vec![leak.clone(), password.clone()];
        let around = Surroundings::new(TEXT.as_bytes(), ("EMAIL_ADDRESS", leak), hidden, &[password], (false, false));
        let mut at = 0;
        let shown: Vec<MaskedLine> = TEXT
            .lines()
            .map(|line| {
                let range = at..at + line.len();
                at += line.len() + 1;
                around.masked(&range)
            })
            .collect();
        let shown: Vec<&str> = shown.iter().map(MaskedLine::as_str).collect();
        assert_eq!(
            shown,
            ["id 7 for someone", "password: ••• to j•••@•••.com", "again •••••••• and •••••-7 here", " [2Jend"]
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_leak_and_half_a_token_is_not_shown() {
        let words = "one two three ".repeat(2000);
        let text = format!("{words}hunter2 {words}");
        let leak = words.len()..words.len() + 7;
        let around = Surroundings::new(text.as_bytes(), ("PASSWORD", leak), Vec::new(), &[], (true, true));
        let shown = around.masked(&(0..text.len()));
        assert_eq!(shown.as_str().chars().count(), LINE_CHARS);
        assert!(shown.as_str().contains(" three ••• one "), "{shown:?}");
        let first = around.masked(&(0..100));
        assert!(first.as_str().starts_with("… two three"), "{first:?}");
        assert!(around.masked(&(words.len() + 8..text.len())).as_str().ends_with('…'));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_survives_in_any_line(
            text in "([ab1@. ]{0,40}|(sk-proj-)?[ab1@.•é]{3,40}|\n){0,8}",
            spans in prop::collection::vec((0usize..300, 0usize..60), 1..5),
            line in (0usize..300, 0usize..300),
        ) {
            let ranges: Vec<_> = spans.iter().map(|(start, length)| clamped(&(*start..start + length), text.len())).collect();
            let around = Surroundings::new(text.as_bytes(), ("API_KEY", ranges[0].clone()), ranges.clone(), &ranges, (false, false));
            let shown = around.masked(&(line.0..line.0 + line.1)).0;
            prop_assert!(shown.chars().count() <= LINE_CHARS);
            for range in &ranges {
                let secret = of(text.as_bytes(), range);
                let public = public_prefix(&secret).map_or(0, |prefix| prefix.chars().count());
                prop_assert_eq!(survivor(&shown, &secret, public), None, "{:?} in {:?}", secret, shown);
            }
        }
    }
}
