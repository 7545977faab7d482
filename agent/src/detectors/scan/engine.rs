//! The two stages joined. Enters: a block and its segments. Leaves: [`Match`]es by position. Stage 1 names candidates; here the
//! exact pattern, the validator, the allow-list and the context words decide, and overlaps are settled. It keeps no text.
//! State per worker: windows and matches of the block in work, at most in proportion to its length.

use std::{ops::Range, sync::Arc};

use regex_automata::{Anchored, Input, meta::Cache, util::captures::Captures};

use super::{
    compile::{Compiled, RuleSet},
    overlap::{self, Settled},
    prefilter::{Backend, Prefilter, ScanError},
    segment::{Segment, Segments, Whole},
    validators::{Text, Verdict},
    words::{Nearby, WordSet},
};

/// Added to a rule's confidence when one of its context words stands near.
const CONTEXT_BOOST: u8 = 20;
/// A checksum or a structure that chance does not produce makes a match at least this sure.
const SURE: u8 = 95;

/// A confirmed match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Index of the rule in its [`RuleSet`].
    pub rule: usize,
    /// Extent of the secret in the block, bytes.
    pub span: Range<usize>,
    /// Extent of the segment around it.
    pub segment: Range<usize>,
    /// 0 to 100.
    pub confidence: u8,
}

/// Scans blocks with one rule set. One per worker.
pub struct Scanner {
    rules: Arc<RuleSet>,
    backend: Backend,
    prefilter: Box<dyn Prefilter>,
    /// By rule, made when the rule has its first candidate.
    workspaces: Vec<Option<Workspace>>,
    /// By rule: where to look, and whether the windows came in order.
    windows: Vec<Windows>,
    /// Rules with windows in the block in work.
    touched: Vec<usize>,
    found: Vec<Match>,
    settled: Settled,
    nearby: Nearby,
}

struct Workspace {
    cache: Cache,
    captures: Captures,
}

#[derive(Default)]
struct Windows {
    windows: Vec<Window>,
    unsorted: bool,
}

#[derive(Clone)]
struct Window {
    extent: Range<usize>,
    segment: Range<usize>,
}

impl Windows {
    fn add(&mut self, window: Window) {
        if let Some(last) = self.windows.last_mut() {
            // Segments never touch, so windows that do lie in the same one.
            if window.extent.start >= last.extent.start && window.extent.start <= last.extent.end {
                last.extent.end = last.extent.end.max(window.extent.end);
                return;
            }
            self.unsorted |= window.extent.start < last.extent.start;
        }
        self.windows.push(window);
    }

    fn sort(&mut self) {
        if !self.unsorted {
            return;
        }
        let mut windows = std::mem::take(&mut self.windows);
        windows.sort_unstable_by_key(|window| (window.extent.start, window.extent.end));
        self.unsorted = false;
        for window in windows {
            self.add(window);
        }
    }
}

impl Scanner {
    /// A scanner that has passed its self-test: every rule's first example is found. Engines have lost matches before
    /// (Vectorscan 5.4.9 and 5.4.12 on x86-64), and a scanner that does not find is worse than none.
    pub fn new(rules: Arc<RuleSet>, backend: Backend) -> Result<Self, ScanError> {
        let mut scanner = Self::untested(rules, backend)?;
        scanner.self_test()?;
        Ok(scanner)
    }

    /// Without the self-test: for the check of rules, which says more about what is lost.
    pub(super) fn untested(rules: Arc<RuleSet>, backend: Backend) -> Result<Self, ScanError> {
        Ok(Self {
            backend,
            prefilter: backend.build(&rules)?,
            workspaces: rules.compiled().iter().map(|_| None).collect(),
            windows: rules.compiled().iter().map(|_| Windows::default()).collect(),
            touched: Vec::new(),
            found: Vec::new(),
            settled: Settled::default(),
            nearby: Nearby::default(),
            rules,
        })
    }

    fn self_test(&mut self) -> Result<(), ScanError> {
        let rules = Arc::clone(&self.rules);
        for (index, loaded) in rules.loaded().enumerate() {
            let Some(example) = loaded.examples.first() else { continue };
            let found = self.scan(example.as_bytes(), &Whole { length: example.len() })?;
            if !found.matches.iter().any(|found| found.rule == index) {
                return Err(ScanError::SelfTest { backend: self.backend.name(), rule: loaded.rule.id.clone() });
            }
        }
        Ok(())
    }

    /// The rules that match indices mean.
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// Which stage 1 works here.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Scans one block. The result lives until the next call.
    pub fn scan(&mut self, block: &[u8], segments: &dyn Segments) -> Result<&Settled, ScanError> {
        self.gather(block, segments)?;
        self.found.clear();
        let touched = std::mem::take(&mut self.touched);
        for rule in &touched {
            self.confirm(*rule, block, segments);
        }
        self.touched = touched;
        let rules = &self.rules;
        let priority = |rule: usize| rules.compiled().get(rule).map_or(0, |compiled| compiled.loaded.priority);
        overlap::settle(&mut self.found, priority, &mut self.settled);
        Ok(&self.settled)
    }

    /// By rule: how many bytes of a block stage 2 would look at.
    pub(super) fn looked_at(&mut self, block: &[u8], segments: &dyn Segments) -> Result<Vec<usize>, ScanError> {
        self.gather(block, segments)?;
        let mut bytes = vec![0; self.windows.len()];
        for rule in &self.touched {
            if let (Some(bytes), Some(windows)) = (bytes.get_mut(*rule), self.windows.get_mut(*rule)) {
                windows.sort();
                *bytes = windows.windows.iter().map(|window| window.extent.len()).sum();
            }
        }
        Ok(bytes)
    }

    /// Stage 1, and its windows clipped to segments and merged.
    fn gather(&mut self, block: &[u8], segments: &dyn Segments) -> Result<(), ScanError> {
        let Self { rules, windows, touched, nearby, prefilter, .. } = self;
        for rule in touched.drain(..) {
            if let Some(windows) = windows.get_mut(rule) {
                windows.windows.clear();
            }
        }
        nearby.clear();
        let mut near = |at: usize, window: &Range<usize>, words: &WordSet| {
            segments.around(at).is_some_and(|segment| {
                rules.words().are_in(segment.label.as_bytes(), words)
                    || nearby.any(rules.words(), block, &segment.range, window, words)
            })
        };
        // Candidates come in clusters: most lie in the segment of the one before.
        let mut last: Option<Range<usize>> = None;
        prefilter.candidates(block, &mut near, &mut |candidate| {
            let segment = match &last {
                Some(range) if range.contains(&candidate.at) => range.clone(),
                _ => match segments.around(candidate.at) {
                    Some(Segment { range, .. }) => last.insert(range).clone(),
                    None => return,
                },
            };
            let extent = candidate.window.start.max(segment.start)..candidate.window.end.min(segment.end);
            let Some(windows) = windows.get_mut(candidate.rule).filter(|_| extent.start < extent.end) else { return };
            if windows.windows.is_empty() {
                touched.push(candidate.rule);
            }
            windows.add(Window { extent, segment });
        })
    }

    /// Stage 2 for one rule.
    fn confirm(&mut self, rule: usize, block: &[u8], segments: &dyn Segments) {
        let Self { rules, workspaces, windows, found, nearby, .. } = self;
        let (Some(compiled), Some(workspace), Some(windows)) =
            (rules.compiled().get(rule), workspaces.get_mut(rule), windows.get_mut(rule))
        else {
            return;
        };
        let workspace = workspace.get_or_insert_with(|| Workspace {
            cache: compiled.exact.create_cache(),
            captures: compiled.exact.create_captures(),
        });
        windows.sort();
        for window in &windows.windows {
            let Some(haystack) = block.get(window.segment.clone()) else { continue };
            let offset = window.segment.start;
            let words = rules.words();
            let labelled = |set: &WordSet| {
                let segment = segments.around(window.extent.start);
                segment.is_some_and(|segment| words.are_in(segment.label.as_bytes(), set))
            };
            // Cheaper than the pattern, and seldom there.
            if let Some(required) = rules.required(rule)
                && !nearby.any(words, block, &window.segment, &window.extent, required)
                && !labelled(required)
            {
                continue;
            }
            // Look-around sees the whole segment, and nothing beyond it.
            let mut from = window.extent.start - offset;
            let to = window.extent.end - offset;
            while from < to {
                let input = Input::new(haystack).range(from..to);
                let Some(whole) = compiled.exact.search_with(&mut workspace.cache, &input) else { break };
                // Patterns match four bytes at least, so this goes on.
                from = whole.end();
                let secret = if compiled.captures {
                    let input = Input::new(haystack).range(whole.range()).anchored(Anchored::Yes);
                    compiled.exact.search_captures_with(&mut workspace.cache, &input, &mut workspace.captures);
                    Compiled::secret(&workspace.captures)
                } else {
                    Some(whole.range())
                };
                let Some(secret) = secret else { continue };
                let near = |secret: &Range<usize>| {
                    let secret = secret.start + offset..secret.end + offset;
                    words.of(rule).is_some_and(|set| {
                        nearby.beside(words, block, &window.segment, &secret, set) || labelled(set)
                    })
                };
                if let Some((secret, confidence)) = compiled.judge(haystack, secret, near) {
                    found.push(Match {
                        rule,
                        span: secret.start + offset..secret.end + offset,
                        segment: window.segment.clone(),
                        confidence,
                    });
                }
            }
        }
    }
}

impl Compiled {
    /// Validator, allow-list and context. Leaves the secret's extent, which the validator may shorten, and the confidence.
    fn judge(
        &self,
        haystack: &[u8],
        mut secret: Range<usize>,
        near: impl FnOnce(&Range<usize>) -> bool,
    ) -> Option<(Range<usize>, u8)> {
        let verdict = match self.validator {
            Some(validator) => validator(&Text { haystack, span: secret.clone() }),
            None => Verdict::Plausible,
        };
        let mut confidence = self.loaded.rule.confidence;
        match verdict {
            Verdict::Refused => return None,
            Verdict::Plausible => {}
            Verdict::Proven => confidence = confidence.max(SURE),
            Verdict::ProvenUpTo(end) => {
                secret.end = end.min(secret.end);
                confidence = confidence.max(SURE);
            }
        }
        let text = haystack.get(secret.clone())?;
        let allowed = self.loaded.allow.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(text))
            || self.allow.as_ref().is_some_and(|patterns| patterns.is_match(text));
        if allowed || text.is_empty() {
            return None;
        }
        if !self.loaded.context.is_empty() {
            let near = near(&secret);
            if self.loaded.context_required && !near {
                return None;
            }
            if near && !self.loaded.context_required {
                confidence = confidence.saturating_add(CONTEXT_BOOST).min(100);
            }
        }
        Some((secret, confidence))
    }
}
