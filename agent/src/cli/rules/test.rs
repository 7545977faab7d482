//! `outflow rules test`: why a text is found or not. Enters: a text. Leaves: each place where a pattern fits, and what the validator, the
//! lists, the words and the other rules say; masked, as a finding would be.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde_json::{Value, json};

use super::Options;
use crate::{
    cli::{Format, state},
    clock,
    detectors::{
        Hit, Leak, Place,
        scan::{Backend, Fate, LogLines, Look, Refusal, RuleSet, Scanner, Score, explain},
    },
    engine::Rules,
    findings::{Excerpt, Maker, Silence},
    rules::scan::LoadedRule,
    sources::log::{LogBlock, LogFile},
};

/// Every pattern is tried on every line: a text of this size takes seconds.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// Places that are told at most.
const LOOKS_MAX: usize = 10_000;

pub(super) fn look(options: &Options, rule: Option<&str>, file: &Path) -> anyhow::Result<String> {
    let rules = options.rules.load(&[])?;
    let block = read(file)?;
    let mut scanner = Scanner::new(Arc::clone(&rules.scan), Backend::best())?;
    let looks = explain(&mut scanner, &block.bytes, &LogLines::new(&block.bytes))?;
    let (hidden, maker) = (hidden(&looks), Maker::new(state::passing_key()?));
    let told = Telling { rules: &rules, block: &block, looks: &looks, hidden, maker };
    Ok(told.all(rule, options.format))
}

fn read(path: &Path) -> anyhow::Result<LogBlock> {
    let is_stdin = path.as_os_str() == "-";
    let shown = if is_stdin { "<stdin>".to_owned() } else { path.display().to_string() };
    let input: Box<dyn Read> = if is_stdin {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot read {shown}"))?)
    };
    let mut bytes = Vec::new();
    let read =
        input.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {shown}"))?;
    if read as u64 > TEXT_BYTES_MAX {
        bail!(
            "{shown} is larger than {TEXT_BYTES_MAX} bytes: `outflow scan` is for files, this for a few lines of one"
        );
    }
    let file = Arc::new(LogFile { path: shown, ..LogFile::default() });
    Ok(LogBlock::whole(file, Bytes::from(bytes), clock::now()))
}

struct Telling<'a> {
    rules: &'a Rules,
    block: &'a LogBlock,
    looks: &'a [Look],
    /// By the start of their segment.
    hidden: HashMap<usize, Vec<Range<usize>>>,
    maker: Maker,
}

/// One place, in words.
struct Told<'a> {
    loaded: &'a LoadedRule,
    line: u64,
    column: u64,
    length: usize,
    masked: Excerpt,
    fate: &'static str,
    why: String,
    score: Option<&'a Score>,
    silence: Option<Silence>,
}

impl Telling<'_> {
    fn all(&self, rule: Option<&str>, format: Format) -> String {
        let (mut out, mut counts) = (String::new(), [0_usize; 2]);
        let all =
            self.looks.iter().filter_map(|look| self.told(look)).filter(|told| is_meant(&told.loaded.rule.id, rule));
        for told in all.take(LOOKS_MAX) {
            let is_found = usize::from(told.fate != "found");
            if let Some(count) = counts.get_mut(is_found) {
                *count += 1;
            }
            match format {
                Format::Text => told.text(&self.block.file.path, &mut out),
                Format::Jsonl => {
                    // Writing to a string cannot fail.
                    let _ = writeln!(out, "{}", told.json(&self.block.file.path));
                }
            }
        }
        if format == Format::Text {
            let [found, other] = counts;
            let _ = writeln!(out, "{found} found, {other} nearly");
            if found + other == LOOKS_MAX {
                let _ = writeln!(out, "only the first {LOOKS_MAX} places are shown");
            }
        }
        out
    }

    fn told<'s>(&'s self, look: &'s Look) -> Option<Told<'s>> {
        let set: &RuleSet = &self.rules.scan;
        let loaded = set.loaded().nth(look.rule)?;
        let bytes = &self.block.bytes;
        let haystack = bytes.get(look.segment.clone())?;
        let span = look.span.start - look.segment.start..look.span.end - look.segment.start;
        let before = bytes.get(..look.span.start)?;
        let line = memchr::memchr_iter(b'\n', before).count() as u64 + 1;
        let column = (look.span.start - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1)) as u64;
        let others = self.hidden.get(&look.segment.start).map(Vec::as_slice).unwrap_or_default();
        let (fate, why, score) = self.fate(loaded, &look.fate);
        let leak = Leak {
            rule: &loaded.rule,
            haystack,
            span: span.clone(),
            others,
            confidence: score.map_or(0, |score| score.confidence),
            place: Place::Log {
                block: self.block,
                origin: &self.block.file.origin,
                line,
                column,
                offset: look.span.start as u64,
            },
        };
        let silence = match &look.fate {
            Fate::Found(_) => self.maker.tell(&Hit::Leak(leak), self.block.at, None, &self.rules.policy).err(),
            _ => None,
        };
        let masked = Excerpt::new(&loaded.rule.entity, haystack, &span, others);
        Some(Told { loaded, line, column, length: span.len(), masked, fate, why, score, silence })
    }

    fn fate<'f>(&self, loaded: &LoadedRule, fate: &'f Fate) -> (&'static str, String, Option<&'f Score>) {
        let validator = loaded.validator.as_deref().unwrap_or("none");
        match fate {
            Fate::Found(score) => ("found", because(loaded, score), Some(score)),
            Fate::Overlapped(score, by) => {
                let by = self.rules.scan.rule(*by).map_or("another rule", |rule| rule.id.as_str());
                ("overlapped", format!("{by} goes before and has the text; {}", because(loaded, score)), Some(score))
            }
            Fate::Missed(score) => {
                ("missed", "the first stage does not see it: a bug in outflow".to_owned(), Some(score))
            }
            Fate::Refused(Refusal::Validator) => {
                ("refused", format!("the pattern fits; the validator `{validator}` refuses it"), None)
            }
            Fate::Refused(Refusal::Allowed) => {
                ("allowed", "the pattern fits; the rule's own list of what is never reported has it".to_owned(), None)
            }
            Fate::Refused(Refusal::NoContext) => {
                let words = loaded.context.join(", ");
                ("refused", format!("the pattern fits; it needs one of these words within 60 bytes: {words}"), None)
            }
            Fate::Refused(Refusal::Empty) => ("refused", "the pattern fits; nothing is left of it".to_owned(), None),
        }
    }
}

/// All that any pattern fits in a segment is hidden, whatever became of it: what is nearly a key may be one.
fn hidden(looks: &[Look]) -> HashMap<usize, Vec<Range<usize>>> {
    let mut all: HashMap<usize, Vec<Range<usize>>> = HashMap::new();
    for look in looks {
        let from = look.segment.start;
        let range = look.span.start - from..look.span.end - from;
        let hidden = all.entry(from).or_default();
        // They come by their starts.
        match hidden.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => hidden.push(range),
        }
    }
    all
}

fn because(loaded: &LoadedRule, score: &Score) -> String {
    let mut why = format!("the pattern fits ({})", loaded.rule.confidence);
    if let Some(validator) = &loaded.validator {
        let says = if score.proven { "proves it (at least 95)" } else { "has nothing against it" };
        let _ = write!(why, "; the validator `{validator}` {says}");
    }
    match &score.word {
        Some(word) if loaded.context_required => {
            let _ = write!(why, "; the word \"{word}\" is near, as it must be");
        }
        Some(word) => {
            let _ = write!(why, "; the word \"{word}\" is near (20 more)");
        }
        None => {}
    }
    why
}

/// An id, or the beginning of one with `*` behind it.
fn is_meant(id: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| match wanted.strip_suffix('*') {
        Some(start) => id.starts_with(start),
        None => id == wanted,
    })
}

impl Told<'_> {
    fn text(&self, file: &str, out: &mut String) {
        let Self { loaded, line, column, masked, fate, why, score, silence, .. } = self;
        let sure = score.map(|score| format!("  confidence {}", score.confidence)).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{fate:10}  {file}:{line}:{}  {}{sure}", column + 1, loaded.rule.id);
        let _ = writeln!(out, "{:12}“{masked}”", "");
        let _ = writeln!(out, "{:12}{why}", "");
        if let Some(silence) = silence {
            let _ = writeln!(out, "{:12}not told, by {}", "", silence.as_str());
        }
    }

    fn json(&self, file: &str) -> Value {
        let Self { loaded, line, column, length, masked, fate, why, score, silence } = self;
        json!({
            "fate": fate,
            "why": why,
            "rule": loaded.rule.id,
            "entity": loaded.rule.entity,
            "group": loaded.rule.group,
            "file": file,
            "line": line,
            "start": column,
            "end": column + *length as u64,
            "masked": masked,
            "validator": loaded.validator,
            "confidence": score.map(|score| score.confidence),
            "proven": score.map(|score| score.proven),
            "word": score.and_then(|score| score.word.as_deref()),
            "suppressed_by": silence.map(Silence::as_str),
        })
    }
}
