//! The two stages joined. Enters: a block and its segments. Leaves: [`Match`]es by position. Stage 1 names candidates; here the
//! exact pattern, the validator, the allow-list and the context words decide, and overlaps are settled. It keeps no text.
//! State per worker: windows and matches of the block in work, at most in proportion to its length.

use std::{ops::Range, sync::Arc};

use regex_automata::{
    Anchored, Input,
    meta::{Cache, Regex},
    util::captures::Captures,
};

use super::{
    compile::{Compiled, RuleSet},
    forms::Forms,
    judge::{Judged, SURE},
    overlap::{self, Settled},
    prefilter::{Backend, Context, Prefilter, ScanError},
    segment::{Segment, Segments, Whole},
    words::{Nearby, WordSet},
};
use crate::rules::scan::Trigger;

/// Rules for the shape of one issuer have this priority (`rules/README.md`).
const OWN_SHAPE_PRIORITY: u8 = 50;

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
    forms: Forms,
}

struct Workspace {
    exact: Arc<Regex>,
    cache: Cache,
    captures: Captures,
}

impl Workspace {
    fn new(rule: &Compiled) -> Option<Self> {
        let exact = rule.exact()?;
        Some(Self { cache: exact.create_cache(), captures: exact.create_captures(), exact })
    }
}

#[derive(Default)]
struct Windows {
    windows: Vec<Window>,
    unsorted: bool,
}

#[derive(Clone)]
struct Window {
    /// Where to look; or, when it says where matches begin, these places.
    extent: Range<usize>,
    segment: Range<usize>,
    /// `extent` says where matches begin.
    starts: bool,
    /// The segment has a label.
    labelled: bool,
}

/// Where matches in a window may reach.
fn reach(window: &Window, longest: usize) -> Range<usize> {
    let end = if window.starts { window.extent.end.saturating_add(longest) } else { window.extent.end };
    window.extent.start..end.min(window.segment.end)
}

/// What stands around the places of a block.
struct Around<'a> {
    rules: &'a RuleSet,
    nearby: &'a mut Nearby,
    block: &'a [u8],
    segments: &'a dyn Segments,
    /// The segment that was asked for last: numbers come in clusters, too.
    asked: Option<Segment<'a>>,
}

impl<'a> Around<'a> {
    fn ask(&mut self, at: usize) -> Option<&Segment<'a>> {
        if !self.asked.as_ref().is_some_and(|segment| segment.range.contains(&at)) {
            self.asked = self.segments.around(at);
        }
        self.asked.as_ref()
    }
}

impl Context for Around<'_> {
    fn words(&mut self, at: usize, window: &Range<usize>, set: &WordSet, found: &mut Vec<usize>) {
        self.ask(at);
        let Self { rules, nearby, block, asked, .. } = self;
        let Some(Segment { range, label }) = asked else { return };
        if !label.is_empty() {
            rules.words().all_in(label.as_bytes(), |word| found.extend(Some(word).filter(|word| set.holds(*word))));
        }
        found.extend(nearby.around(rules.words(), block, range, window, set));
    }

    fn segment(&mut self, at: usize) -> Option<Range<usize>> {
        self.ask(at).map(|segment| segment.range.clone())
    }
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
        // Not by the scanner that is given: caches that examples filled are no use to anybody.
        rules.tested(backend, || Self::untested(Arc::clone(&rules), backend)?.self_test())?;
        Self::untested(rules, backend)
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
            forms: Forms::default(),
            rules,
        })
    }

    fn self_test(&mut self) -> Result<(), ScanError> {
        let rules = Arc::clone(&self.rules);
        let mut programs = Vec::new();
        for (index, loaded) in rules.loaded().enumerate() {
            let Some(example) = loaded.examples.first() else { continue };
            let found = self.scan(example.as_bytes(), &Whole { length: example.len() })?;
            if !found.matches.iter().any(|found| found.rule == index) {
                return Err(ScanError::SelfTest { backend: self.backend.name(), rule: loaded.rule.id.clone() });
            }
            // The caches of all patterns at once would be tens of megabytes. The programs are kept until the end: many examples need the same.
            for rule in &self.touched {
                let workspace = self.workspaces.get_mut(*rule).and_then(Option::take);
                programs.extend(workspace.map(|workspace| workspace.exact));
            }
        }
        Ok(())
    }

    /// The rules that match indices mean.
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// The programs of all rules are there from now on: for those who try every rule everywhere.
    pub(super) fn hold_programs(&mut self) {
        for (workspace, rule) in self.workspaces.iter_mut().zip(self.rules.compiled()) {
            if workspace.is_none() {
                *workspace = Workspace::new(rule);
            }
        }
    }

    /// Which stage 1 works here.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Scans one block. The result lives until the next call.
    pub fn scan(&mut self, block: &[u8], segments: &dyn Segments) -> Result<&Settled, ScanError> {
        self.found.clear();
        self.find(block, segments)?;
        self.forms.fill(block, segments);
        if !self.forms.text().is_empty() {
            let forms = std::mem::take(&mut self.forms);
            let result = self.find_encoded(&forms);
            self.forms = forms;
            result?;
        }
        let rules = &self.rules;
        let priority = |rule: usize| rules.compiled().get(rule).map_or(0, |compiled| compiled.loaded.priority);
        overlap::settle(&mut self.found, priority, &mut self.settled);
        Ok(&self.settled)
    }

    /// Both stages.
    fn find(&mut self, block: &[u8], segments: &dyn Segments) -> Result<(), ScanError> {
        self.gather(block, segments)?;
        let touched = std::mem::take(&mut self.touched);
        for rule in &touched {
            self.confirm(*rule, block, segments);
        }
        self.touched = touched;
        Ok(())
    }

    /// Both stages over what is encoded in the block. What is found has the extent of the encoded text, which is what a mask must
    /// cover; what is also found as it stands then overlaps itself and counts once.
    fn find_encoded(&mut self, forms: &Forms) -> Result<(), ScanError> {
        let plain = self.found.len();
        self.find(forms.text(), forms)?;
        let decoded: Vec<Match> = self.found.drain(plain..).collect();
        let mut decoded: Vec<Match> = decoded
            .into_iter()
            .filter_map(|found| {
                let origin = forms.origin(&found.span)?;
                (!origin.is_base64 || self.is_sure(&found)).then_some(Match {
                    span: origin.span,
                    segment: origin.segment,
                    ..found
                })
            })
            .collect();
        decoded.sort_unstable_by_key(|found| (found.rule, found.span.start));
        // `\nada@…`: read plainly, the secret begins with the letter of the escape.
        self.found.retain(|found| {
            let next = decoded.partition_point(|other| (other.rule, other.span.start) < (found.rule, found.span.start));
            let better = decoded.get(next).is_some_and(|other| {
                other.rule == found.rule && other.span.start < found.span.end && other.span.start > found.span.start
            });
            !(better && forms.parts_escape(found.span.start))
        });
        self.found.append(&mut decoded);
        Ok(())
    }

    /// Proven, or of a shape that only one issuer uses.
    fn is_sure(&self, found: &Match) -> bool {
        found.confidence >= SURE
            || self.rules.compiled().get(found.rule).is_some_and(|rule| {
                let loaded = &rule.loaded;
                loaded.trigger == Trigger::Literal
                    && loaded.keywords.is_empty()
                    && loaded.priority >= OWN_SHAPE_PRIORITY
            })
    }

    /// By rule: how many bytes of a block stage 2 would look at.
    pub(super) fn looked_at(&mut self, block: &[u8], segments: &dyn Segments) -> Result<Vec<usize>, ScanError> {
        self.gather(block, segments)?;
        let mut bytes = vec![0; self.windows.len()];
        for rule in &self.touched {
            if let (Some(bytes), Some(windows)) = (bytes.get_mut(*rule), self.windows.get_mut(*rule)) {
                windows.sort();
                let longest = self.rules.compiled().get(*rule).map_or(0, |compiled| compiled.longest);
                *bytes = windows.windows.iter().map(|window| reach(window, longest).len()).sum();
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
        let mut near = Around { rules, nearby, block, segments, asked: None };
        // Candidates come in clusters: most lie in the segment of the one before.
        let mut last: Option<(Range<usize>, bool)> = None;
        prefilter.candidates(block, &mut near, &mut |candidate| {
            let (segment, labelled) = match &last {
                Some(last) if last.0.contains(&candidate.at) => last.clone(),
                _ => match segments.around(candidate.at) {
                    Some(Segment { range, label }) => last.insert((range, !label.is_empty())).clone(),
                    None => return,
                },
            };
            let known = !candidate.starts.is_empty();
            let extent = if known { candidate.starts } else { candidate.window };
            let extent = extent.start.max(segment.start)..extent.end.min(segment.end);
            let Some(windows) = windows.get_mut(candidate.rule).filter(|_| extent.start < extent.end) else { return };
            if windows.windows.is_empty() {
                touched.push(candidate.rule);
            }
            windows.add(Window { extent, segment, starts: known, labelled });
        })
    }

    /// Stage 2 for one rule.
    fn confirm(&mut self, rule: usize, block: &[u8], segments: &dyn Segments) {
        let Self { rules, backend, workspaces, windows, found, nearby, .. } = self;
        let (Some(compiled), Some(workspace), Some(windows)) =
            (rules.compiled().get(rule), workspaces.get_mut(rule), windows.get_mut(rule))
        else {
            return;
        };
        windows.sort();
        let mut done = 0_usize;
        for window in &windows.windows {
            let Some(haystack) = block.get(window.segment.clone()) else { continue };
            let offset = window.segment.start;
            let words = rules.words();
            let labelled = |set: &WordSet| {
                let segment = window.labelled.then(|| segments.around(window.extent.start)).flatten();
                segment.and_then(|segment| words.first_in(segment.label.as_bytes(), set))
            };
            // Where matches may begin, by what is cheaper than the pattern and seldom there. The reference does without, so that tests see
            // what it loses.
            let to = window.extent.end - offset;
            let next_place = |from: usize| {
                // What is left behind a match is often too short for another.
                let last = if window.starts { to } else { (to + 1).saturating_sub(compiled.shortest) };
                if *backend == Backend::Exhaustive {
                    (from < to).then_some(from)
                } else {
                    compiled.opening.next(haystack, from, last)
                }
            };
            if *backend != Backend::Exhaustive
                && !window.starts
                && block.get(window.extent.clone()).is_none_or(|text| !compiled.needs.met(text))
            {
                continue;
            }
            // A match that begins at one known place may reach beyond the next.
            let mut place = next_place((window.extent.start - offset).max(done.saturating_sub(offset)));
            if place.is_none() {
                continue;
            }
            if let Some(required) = rules.required(rule)
                && !nearby.any(words, block, &window.segment, &reach(window, compiled.longest), required)
                && labelled(required).is_none()
            {
                continue;
            }
            if workspace.is_none() {
                *workspace = Workspace::new(compiled);
            }
            let Some(Workspace { exact, cache, captures }) = workspace else { return };
            // Look-around sees the whole segment, and nothing beyond it.
            while let Some(from) = place {
                let input = if window.starts {
                    let end = from.saturating_add(compiled.longest).min(haystack.len());
                    Input::new(haystack).range(from..end).anchored(Anchored::Yes)
                } else {
                    Input::new(haystack).range(from..to)
                };
                let Some(whole) = exact.search_with(cache, &input) else {
                    if window.starts {
                        place = next_place(from + 1);
                        continue;
                    }
                    break;
                };
                // Patterns match four bytes at least, so this goes on.
                place = next_place(whole.end());
                done = offset + whole.end();
                let tail = compiled.tail.as_ref().and_then(|tail| tail.start(haystack.get(whole.range())?));
                let secret = if let Some(start) = tail {
                    Some(whole.start() + start..whole.end())
                } else if compiled.captures {
                    let input = Input::new(haystack).range(whole.range()).anchored(Anchored::Yes);
                    exact.search_captures_with(cache, &input, captures);
                    Compiled::secret(captures)
                } else {
                    Some(whole.range())
                };
                let Some(secret) = secret else { continue };
                let word = |secret: &Range<usize>| {
                    let (set, secret) = (words.of(rule)?, secret.start + offset..secret.end + offset);
                    let beside = nearby.beside(words, block, &window.segment, &secret, set);
                    words.name(beside.or_else(|| labelled(set))?)
                };
                if let Ok(Judged { secret, confidence, .. }) = compiled.judge(haystack, secret, word) {
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
