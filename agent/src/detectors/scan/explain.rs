//! Why a text is found or not. Enters: a block, every rule. Leaves: [`Look`]s: each place where a pattern fits, with what the validator,
//! the lists and the words say, and which of several rules gets the text. It tries every pattern on every segment, so it is slow, and
//! for a person who writes a rule; what a scan finds is the scanner's own word.

use std::ops::Range;

use regex_automata::{Anchored, Input};

use super::{
    ScanError, Scanner, Segments,
    compile::Compiled,
    judge::{Judged, Refusal, SURE},
    validators::Verdict,
};

/// One place where a pattern fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Index of the rule in its [`RuleSet`](super::RuleSet).
    pub rule: usize,
    /// Extent of the secret in the block, bytes.
    pub span: Range<usize>,
    /// Extent of the segment around it.
    pub segment: Range<usize>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a match of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is found.
    Found(Score),
    /// It would be, but a match of the rule with this index, which goes before, has the text.
    Overlapped(Score, usize),
    /// It is not.
    Refused(Refusal),
    /// It should be, and the first stage did not see it: a bug in outflow.
    Missed(Score),
}

/// How sure a match is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// 0 to 100.
    pub confidence: u8,
    /// A checksum or a structure that chance hardly produces holds.
    pub proven: bool,
    /// The context word that stands near.
    pub word: Option<String>,
}

/// Looks at a block, by position.
pub fn explain(scanner: &mut Scanner, block: &[u8], segments: &dyn Segments) -> Result<Vec<Look>, ScanError> {
    scanner.hold_programs();
    let rules = std::sync::Arc::clone(scanner.rules());
    let settled = scanner.scan(block, segments)?;
    let mut looks = Vec::new();
    let mut at = 0;
    while at < block.len() {
        let Some(segment) = segments.around(at) else {
            at += 1;
            continue;
        };
        for (rule, compiled) in rules.compiled().iter().enumerate() {
            let haystack = block.get(segment.range.clone()).unwrap_or_default();
            let near = |secret: &Range<usize>| rules.words().near(rule, haystack, secret, segment.label);
            compiled.each(haystack, near, |span, judged| {
                let span = span.start + segment.range.start..span.end + segment.range.start;
                let is_found = settled.matches.iter().any(|one| one.rule == rule && one.span == span);
                let taken = settled.matches.iter().find(|one| one.span.start < span.end && span.start < one.span.end);
                let fate = match (judged, taken) {
                    (Ok(judged), _) if is_found => Fate::Found(score(&judged)),
                    (Ok(judged), Some(other)) => Fate::Overlapped(score(&judged), other.rule),
                    (Ok(judged), None) => Fate::Missed(score(&judged)),
                    (Err(refusal), _) => Fate::Refused(refusal),
                };
                looks.push(Look { rule, span, segment: segment.range.clone(), fate });
            });
        }
        at = segment.range.end.max(at + 1);
    }
    // What is found in encoded text alone has no pattern that fits here.
    for one in &settled.matches {
        if !looks.iter().any(|look| look.rule == one.rule && look.span == one.span) {
            let score = Score { confidence: one.confidence, proven: one.confidence >= SURE, word: None };
            let fate = Fate::Found(score);
            looks.push(Look { rule: one.rule, span: one.span.clone(), segment: one.segment.clone(), fate });
        }
    }
    looks.sort_by_key(|look| (look.span.start, !matches!(look.fate, Fate::Found(_)), look.rule));
    Ok(looks)
}

fn score(judged: &Judged<'_>) -> Score {
    let proven = matches!(judged.verdict, Verdict::Proven | Verdict::ProvenUpTo(_));
    Score { confidence: judged.confidence, proven, word: judged.word.map(str::to_owned) }
}

impl Compiled {
    /// Every place in a segment where the pattern fits.
    fn each<'w>(
        &self,
        haystack: &[u8],
        near: impl Fn(&Range<usize>) -> Option<&'w str>,
        mut tell: impl FnMut(Range<usize>, Result<Judged<'w>, Refusal>),
    ) {
        let Some(exact) = self.exact() else { return };
        let mut from = 0;
        while let Some(whole) = exact.search(&Input::new(haystack).range(from..)) {
            // Patterns match four bytes at least, so this goes on.
            from = whole.end();
            let mut secret = whole.range();
            if self.captures {
                let mut captures = exact.create_captures();
                let input = Input::new(haystack).range(whole.range()).anchored(Anchored::Yes);
                exact.search_captures(&input, &mut captures);
                secret = Self::secret(&captures).unwrap_or(secret);
            }
            let judged = self.judge(haystack, secret.clone(), &near);
            let span = judged.as_ref().map_or(secret, |judged| judged.secret.clone());
            tell(span, judged);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        detectors::scan::{Backend, RuleSet, Whole},
        rules::RuleSource,
    };

    #[test]
    fn every_example_is_explained_as_the_scanner_finds_it() {
        let rules = RuleSet::load(&RuleSource::Embedded).unwrap();
        let mut scanner = Scanner::new(Arc::clone(&rules), Backend::best()).unwrap();
        let mut refused = 0;
        for loaded in rules.loaded() {
            for text in loaded.examples.iter().chain(&loaded.counter_examples) {
                let whole = Whole { length: text.len() };
                let mut looks = explain(&mut scanner, text.as_bytes(), &whole).unwrap();
                assert!(!looks.iter().any(|look| matches!(look.fate, Fate::Missed(_))), "{text}: {looks:?}");
                refused += looks.iter().filter(|look| matches!(look.fate, Fate::Refused(_))).count();
                looks.retain(|look| matches!(look.fate, Fate::Found(_)));
                let found = scanner.scan(text.as_bytes(), &whole).unwrap();
                let told: Vec<_> = looks.iter().map(|look| (look.rule, look.span.clone())).collect();
                let expected: Vec<_> = found.matches.iter().map(|one| (one.rule, one.span.clone())).collect();
                assert_eq!(told, expected, "{text}");
            }
        }
        assert!(refused > 50, "{refused}");
    }
}
