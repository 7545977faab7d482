//! Derives what stage 1 looks for from a rule's exact pattern. Enters: the pattern. Leaves: a *factor*, an expression of which
//! every match of the pattern contains a match. It never narrows: look-arounds are dropped, repetitions at the ends are cut to
//! their minimum, and only one contiguous piece of the pattern is kept. So stage 1 always finds a superset, whatever the
//! engine, and the exact pattern alone decides.
//!
//! Why these shapes: a leading `\b` or open class costs up to 70 times the speed, counted tails make databases large, and a
//! literal of three bytes or more is what a multi-pattern engine anchors on (measured; `docs/ARCHITECTURE.md`).

use std::{fmt::Write as _, ops::Range};

use regex_syntax::{
    ParserBuilder,
    hir::{Class, ClassBytes, Hir, HirKind, Repetition},
};

/// Longest text a rule may match. The whole of it is looked at again around every candidate.
pub(super) const MAX_MATCH_BYTES: usize = 16 * 1024;
/// Shortest: anything below matches everywhere.
pub(super) const MIN_MATCH_BYTES: usize = 4;
/// Choices of literals (`(?:services|workflows)`) up to this length never split a pattern.
const LONG_CHOICE_BYTES: usize = 16;
/// A literal that stage 1 can anchor on has at least this many bytes.
const MIN_LITERAL_BYTES: usize = 3;
/// A class of at most so many bytes does not part a literal.
const FEW_BYTES: usize = 8;

/// How much of a pattern a factor keeps. More is more exact and costs the engine more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Parts that can be longer than so many bytes split the pattern into pieces.
    pub(crate) long_part_bytes: usize,
    /// Bytes of a class that stay after the last literal. None: nor does one stay before the first.
    pub(crate) tail: u32,
}

/// Parses a pattern as bytes: no Unicode classes, no UTF-8 promise. The second value is the longest possible match in bytes.
pub(super) fn parse(pattern: &str) -> Result<(Hir, usize), String> {
    let hir = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .nest_limit(64)
        .build()
        .parse(pattern)
        .map_err(|error| error.to_string())?;
    let properties = hir.properties();
    let longest = properties.maximum_len().ok_or("has no longest match; write `{1,64}` instead of `+` and `*`")?;
    if longest > MAX_MATCH_BYTES {
        return Err(format!("can match {longest} bytes, at most {MAX_MATCH_BYTES} are allowed"));
    }
    if properties.minimum_len().is_none_or(|shortest| shortest < MIN_MATCH_BYTES) {
        return Err(format!("can match fewer than {MIN_MATCH_BYTES} bytes; it would match everywhere"));
    }
    Ok((hir, longest))
}

/// The factor of a pattern, or why there is none.
pub(super) fn factor(hir: &Hir, keywords: &[String], shape: Shape) -> Result<Hir, String> {
    of_stripped(&strip(hir), keywords, shape).map(|found| found.hir())
}

/// The same, branch by branch.
pub(super) fn branches(hir: &Hir, keywords: &[String], shape: Shape) -> Result<Vec<Branch>, String> {
    of_stripped(&strip(hir), keywords, shape).map(|found| found.branches)
}

/// The shortest and longest text of a factor, when every match of the pattern begins where its factor does.
pub(super) fn begins(hir: &Hir, keywords: &[String], shape: Shape) -> Option<(usize, usize)> {
    let found = of_stripped(&strip(hir), keywords, shape).ok().filter(|found| found.begins)?;
    let hir = found.hir();
    let properties = hir.properties();
    Some((properties.minimum_len()?, properties.maximum_len()?))
}

/// A factor as it was found.
struct Factor {
    /// How good it is to look for.
    score: usize,
    branches: Vec<Branch>,
    /// Matches begin where it begins.
    begins: bool,
}

impl Factor {
    fn hir(&self) -> Hir {
        Hir::alternation(self.branches.iter().map(|branch| branch.hir.clone()).collect())
    }
}

/// One of the expressions of which a factor is the choice.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    pub(super) hir: Hir,
    /// The longest text of a match up to its end, and from its start on.
    pub(super) before: usize,
    pub(super) after: usize,
    /// What stands behind it in a match.
    pub(super) rest: Vec<Hir>,
}

/// So many bytes of what stands behind a factor tell whether a match can go on there.
const REST_BYTES: usize = 96;
/// And so many copies of one class.
const REST_COPIES: u32 = 8;

impl Branch {
    /// What stands behind it in a match, cut where it gets long.
    pub(super) fn next(&self) -> Hir {
        let (mut parts, mut length) = (Vec::new(), 0_usize);
        for part in &self.rest {
            let longest = part.properties().maximum_len().unwrap_or(usize::MAX);
            length = length.saturating_add(longest);
            if length <= REST_BYTES {
                parts.push(part.clone());
                continue;
            }
            if let HirKind::Repetition(repetition) = part.kind()
                && repetition.sub.properties().maximum_len() == Some(1)
            {
                parts.push(copies(repetition, repetition.min.min(REST_COPIES)));
            }
            break;
        }
        Hir::concat(parts)
    }
}

/// How far a match reaches at most before the end of its factor, and behind its start.
pub(super) fn reach(branches: &[Branch]) -> (usize, usize) {
    branches.iter().fold((0, 0), |(before, after), branch| (before.max(branch.before), after.max(branch.after)))
}

/// How good the factor is to look for: the length of its longest literal whose case is known.
#[cfg(feature = "vectorscan")]
pub(super) fn strength(hir: &Hir, shape: Shape) -> Result<usize, String> {
    fn literal(hir: &Hir) -> usize {
        match hir.kind() {
            HirKind::Literal(literal) => literal.0.len(),
            HirKind::Capture(capture) => literal(&capture.sub),
            HirKind::Concat(parts) => parts.iter().map(literal).max().unwrap_or(0),
            HirKind::Alternation(parts) => parts.iter().map(literal).min().unwrap_or(0),
            _ => 0,
        }
    }
    of_stripped(&strip(hir), &[], shape).map(|found| literal(&found.hir()))
}

/// The factor and how good it is to look for.
fn of_stripped(hir: &Hir, keywords: &[String], shape: Shape) -> Result<Factor, String> {
    let parts = match hir.kind() {
        // Any branch may be the one, so stage 1 looks for a piece of each, and the worst tells how good that is.
        HirKind::Alternation(branches) => {
            let factors: Result<Vec<Factor>, String> =
                branches.iter().map(|branch| of_stripped(branch, keywords, shape)).collect();
            let factors = factors?;
            let score = factors.iter().map(|factor| factor.score).min().unwrap_or(0);
            let begins = factors.iter().all(|factor| factor.begins);
            let branches = factors.into_iter().flat_map(|factor| factor.branches).collect();
            return Ok(Factor { score, branches, begins });
        }
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(hir),
    };
    let is_choice = |part: &Hir| is_long(part, shape) && matches!(part.kind(), HirKind::Alternation(_));
    let choices = parts.iter().enumerate().filter(|(_, part)| is_choice(part));
    let of_choices = choices.filter_map(|(index, choice)| {
        let factor = of_stripped(choice, keywords, shape).ok()?;
        let (left, right) = (parts.get(..index)?, parts.get(index + 1..)?);
        let branches = factor.branches.into_iter().map(|branch| Branch {
            before: branch.before.saturating_add(lengths(left, true)),
            after: branch.after.saturating_add(lengths(right, true)),
            rest: [branch.rest.as_slice(), right].concat(),
            ..branch
        });
        Some(Factor { score: factor.score, branches: branches.collect(), begins: factor.begins && index == 0 })
    });
    let of_pieces = pieces(parts, shape).into_iter().enumerate().filter_map(|(index, piece)| {
        let score = anchor(&piece.parts, keywords)?;
        let (up_to, from) = (parts.get(..piece.whole.end)?, parts.get(piece.whole.start..)?);
        let before = lengths(up_to, true).saturating_add(piece.tail);
        let after = lengths(from, true).saturating_add(piece.head);
        let behind = parts.get(piece.whole.end..).unwrap_or_default();
        // A long part that was cut goes on behind its first copies.
        let behind = match behind.split_first() {
            Some((cut, behind)) => [&[without(cut, piece.tail)], behind].concat(),
            None => Vec::new(),
        };
        let Trimmed { hir, whole, dropped } = trim(piece.parts, shape.tail);
        // Those copies may be trimmed, too.
        let rest = [dropped, behind].concat();
        Some(Factor { score, branches: vec![Branch { hir, before, after, rest }], begins: whole && index == 0 })
    });
    // Of equals the first: texts are read from the left.
    let best = of_pieces.chain(of_choices).reduce(|best, next| if next.score > best.score { next } else { best });
    best.ok_or_else(|| {
        if keywords.is_empty() {
            format!(
                "holds no literal of {MIN_LITERAL_BYTES} bytes that stage 1 could look for; name a shorter one in \
                 `keywords`, or set `trigger`"
            )
        } else {
            "none of the keywords is a literal of the pattern".to_owned()
        }
    })
}

fn is_long(part: &Hir, shape: Shape) -> bool {
    let bound = if spelled(part) { LONG_CHOICE_BYTES } else { shape.long_part_bytes };
    part.properties().maximum_len().is_none_or(|length| length > bound)
}

/// Without captures and look-arounds. Sequences and literals that touch are joined by the constructors.
pub(super) fn strip(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Hir::empty(),
        HirKind::Literal(_) | HirKind::Class(_) => hir.clone(),
        HirKind::Capture(capture) => strip(&capture.sub),
        HirKind::Repetition(repetition) => Hir::repetition(repetition.with(strip(&repetition.sub))),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(strip).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(strip).collect()),
    }
}

/// Exactly `count` copies of what a repetition repeats.
fn copies(repetition: &Repetition, count: u32) -> Hir {
    Hir::repetition(Repetition { min: count, max: Some(count), ..repetition.clone() })
}

/// A repetition behind its first copies.
fn without(part: &Hir, copies: usize) -> Hir {
    match (part.kind(), u32::try_from(copies)) {
        (HirKind::Repetition(repetition), Ok(copies)) if copies > 0 => Hir::repetition(Repetition {
            min: repetition.min.saturating_sub(copies),
            max: repetition.max.map(|max| max.saturating_sub(copies)),
            ..repetition.clone()
        }),
        _ => part.clone(),
    }
}

/// Some parts of a sequence that stand side by side.
#[derive(Default)]
struct Piece {
    parts: Vec<Hir>,
    /// Which of the parts it holds as they are.
    whole: Range<usize>,
    /// Bytes that it holds of the part before and of the one behind.
    head: usize,
    tail: usize,
}

/// Cuts a sequence at its long parts. Next to a cut the required copies of the long part stay, as far as they are short.
fn pieces(parts: &[Hir], shape: Shape) -> Vec<Piece> {
    let mut pieces = vec![Piece::default()];
    for (index, part) in parts.iter().enumerate() {
        let long = is_long(part, shape);
        let literal = matches!(part.kind(), HirKind::Literal(_));
        let Some(current) = pieces.last_mut() else { break };
        if !long || literal {
            current.parts.push(part.clone());
            current.whole.end = index + 1;
            continue;
        }
        let mut next = Piece { whole: index + 1..index + 1, ..Piece::default() };
        if let HirKind::Repetition(repetition) = part.kind()
            && repetition.sub.properties().maximum_len().is_some_and(|length| length == 1)
        {
            let (tail, head) = (repetition.min.min(shape.tail), repetition.min.min(1));
            current.parts.push(copies(repetition, tail));
            next.parts.push(copies(repetition, head));
            (current.tail, next.head) = (tail as usize, head as usize);
        } else if let Some(last) = last_literal(part) {
            next.head = last.properties().maximum_len().unwrap_or(0);
            next.parts.push(last);
        }
        pieces.push(next);
    }
    pieces
}

/// The literal that a repeated group ends with, such as the dot of `(?:[a-z]{1,63}\.){1,6}`.
fn last_literal(part: &Hir) -> Option<Hir> {
    let HirKind::Repetition(repetition) = part.kind() else { return None };
    let HirKind::Concat(parts) = repetition.sub.kind() else { return None };
    parts.last().filter(|last| repetition.min > 0 && matches!(last.kind(), HirKind::Literal(_))).cloned()
}

/// How good a piece is to look for: the length of its longest literal, counting caseless letters. `None`: not good enough.
fn anchor(piece: &[Hir], keywords: &[String]) -> Option<usize> {
    let mut runs = Vec::new();
    literal_runs(piece, &mut runs);
    let holds = |run: &[u8], word: &str| {
        !word.is_empty() && run.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
    };
    runs.iter()
        .filter(|run| {
            if keywords.is_empty() {
                run.len() >= MIN_LITERAL_BYTES
            } else {
                keywords.iter().any(|word| holds(run, word))
            }
        })
        .map(Vec::len)
        .max()
}

/// The literal runs of a sequence. Of an alternation the shortest branch counts, because any branch may be the one.
fn literal_runs(parts: &[Hir], runs: &mut Vec<Vec<u8>>) {
    let mut run = Vec::new();
    for part in parts {
        match part.kind() {
            HirKind::Literal(literal) => run.extend_from_slice(&literal.0),
            HirKind::Class(class) if one_letter(class).is_some() => run.extend(one_letter(class)),
            // `gh[pousr]_` is as good as five literals; the engines spell it out. No keyword holds this byte.
            HirKind::Class(class) if few_bytes(class) => run.push(0),
            HirKind::Concat(inner) => {
                runs.push(std::mem::take(&mut run));
                literal_runs(inner, runs);
            }
            // `gl(?:pat|dt)-`: spelled out as well, as good as its shortest branch.
            HirKind::Alternation(_) if spelled(part) => {
                run.extend(std::iter::repeat_n(0, part.properties().minimum_len().unwrap_or(0)));
            }
            HirKind::Alternation(branches) => {
                runs.push(std::mem::take(&mut run));
                let longest = branches.iter().map(|branch| {
                    let mut inner = Vec::new();
                    literal_runs(std::slice::from_ref(branch), &mut inner);
                    inner.into_iter().max_by_key(Vec::len).unwrap_or_default()
                });
                runs.extend(longest.min_by_key(Vec::len));
            }
            HirKind::Repetition(repetition) if repetition.min > 0 => {
                runs.push(std::mem::take(&mut run));
                literal_runs(std::slice::from_ref(&repetition.sub), runs);
            }
            _ => runs.push(std::mem::take(&mut run)),
        }
    }
    runs.push(run);
}

/// Nothing but literals, caseless letters, classes of few bytes, choices between such, and such that may be missing.
pub(super) fn spelled(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Literal(_) => true,
        HirKind::Class(class) => few_bytes(class),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().all(spelled),
        HirKind::Repetition(repetition) => repetition.max == Some(1) && spelled(&repetition.sub),
        _ => false,
    }
}

/// The lower-case letter of a class such as `[Aa]`; that is how a caseless literal arrives here.
pub(super) fn one_letter(class: &Class) -> Option<u8> {
    let bytes = bytes_of(class)?;
    let mut all = bytes.iter().flat_map(|range| range.start()..=range.end());
    let (first, second) = (all.next()?, all.next()?);
    (all.next().is_none() && first.is_ascii_uppercase() && second == first.to_ascii_lowercase()).then_some(second)
}

fn few_bytes(class: &Class) -> bool {
    bytes_of(class).is_some_and(|bytes| bytes.iter().flat_map(|range| range.start()..=range.end()).count() <= FEW_BYTES)
}

pub(super) fn bytes_of(class: &Class) -> Option<ClassBytes> {
    match class {
        Class::Bytes(bytes) => Some(bytes.clone()),
        Class::Unicode(unicode) => unicode.to_byte_class(),
    }
}

/// A piece without what is not worth looking for.
struct Trimmed {
    hir: Hir,
    /// It still begins where the piece did.
    whole: bool,
    /// What was cut from its end.
    dropped: Vec<Hir>,
}

/// Cuts the ends of a piece: before the first literal one byte of a class is enough, behind the last part no more than the
/// required copies, and of those `tail`.
fn trim(mut piece: Vec<Hir>, tail: u32) -> Trimmed {
    let mut whole = true;
    let anchored = |part: &Hir| match part.kind() {
        HirKind::Literal(_) | HirKind::Alternation(_) => true,
        HirKind::Class(class) => one_letter(class).is_some(),
        _ => false,
    };
    if let Some(first) = piece.iter().position(anchored) {
        let before = first.checked_sub(1).filter(|_| tail > 0).and_then(|index| piece.get(index)).and_then(|part| {
            match part.kind() {
                HirKind::Class(_) => Some(part.clone()),
                HirKind::Repetition(repetition) if repetition.min > 0 => {
                    matches!(repetition.sub.kind(), HirKind::Class(_)).then(|| (*repetition.sub).clone())
                }
                _ => None,
            }
        });
        // A class of one byte is put back as it was.
        whole = first == 0 || (first == 1 && matches!(piece.first().map(Hir::kind), Some(HirKind::Class(_))));
        piece.drain(..first);
        if let Some(before) = before {
            piece.insert(0, before);
        }
    }
    let mut dropped = Vec::new();
    while let Some(last) = piece.pop() {
        let HirKind::Repetition(repetition) = last.kind() else {
            piece.push(last);
            break;
        };
        let kept = repetition.min.min(tail);
        dropped.push(without(&last, kept as usize));
        if repetition.min > 0 {
            piece.push(copies(repetition, kept));
            break;
        }
    }
    dropped.reverse();
    Trimmed { hir: Hir::concat(piece), whole, dropped }
}

/// A literal that a factor always holds, in one of several spellings.
#[derive(Clone, Debug)]
pub(super) struct Anchor {
    /// The branch of the factor that it stands for.
    pub(super) hir: Hir,
    /// Lower-case; every match holds one of them, in whatever case.
    pub(super) spellings: Vec<Vec<u8>>,
    /// Shortest and longest text of the factor before it, and longest from its beginning on.
    pub(super) before: (usize, usize),
    pub(super) after: usize,
}

/// Bounds of the spellings of an anchor: how many, and how long.
const MAX_SPELLINGS: usize = 48;
/// A choice of words may have more: without them the anchor is what stands before, perhaps a space.
const MAX_CHOICE: usize = 256;
const MAX_SPELLING_BYTES: usize = 16;

/// The anchors of a factor, one a branch: of each the place whose shortest spelling is longest. None at all when a branch has none.
pub(super) fn anchors(factor: &Hir) -> Vec<Anchor> {
    if let HirKind::Alternation(branches) = factor.kind()
        && spellings(factor).is_none_or(|(found, _)| shortest(&found) < MIN_LITERAL_BYTES)
    {
        let found: Vec<Vec<Anchor>> = branches.iter().map(anchors).collect();
        return if found.iter().any(Vec::is_empty) { Vec::new() } else { found.into_iter().flatten().collect() };
    }
    let parts = match factor.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(factor),
    };
    let best = (0..parts.len())
        .filter_map(|index| {
            let (left, right) = parts.split_at(index);
            let (spellings, _) = sequence_spellings(right)?;
            Some(Anchor {
                hir: factor.clone(),
                spellings,
                before: (lengths(left, false), lengths(left, true)),
                after: lengths(right, true),
            })
        })
        .reduce(|best, next| if shortest(&next.spellings) > shortest(&best.spellings) { next } else { best });
    best.into_iter().collect()
}

fn shortest(spellings: &[Vec<u8>]) -> usize {
    spellings.iter().map(Vec::len).min().unwrap_or(0)
}

fn lengths(parts: &[Hir], longest: bool) -> usize {
    parts.iter().fold(0, |sum, part| {
        let properties = part.properties();
        let length = if longest { properties.maximum_len() } else { properties.minimum_len() };
        sum.saturating_add(length.unwrap_or(0))
    })
}

/// What a part begins with, lower-case, and whether that is all of it. `None`: too many, or nothing certain.
fn spellings(hir: &Hir) -> Option<(Vec<Vec<u8>>, bool)> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some((vec![Vec::new()], true)),
        HirKind::Literal(literal) => Some((vec![literal.0.to_ascii_lowercase()], true)),
        HirKind::Class(class) if few_bytes(class) => {
            let bytes = bytes_of(class)?;
            let all = bytes.iter().flat_map(|range| range.start()..=range.end());
            let mut all: Vec<Vec<u8>> = all.map(|byte| vec![byte.to_ascii_lowercase()]).collect();
            all.sort_unstable();
            all.dedup();
            Some((all, true))
        }
        HirKind::Class(_) => None,
        HirKind::Capture(capture) => spellings(&capture.sub),
        HirKind::Concat(parts) => sequence_spellings(parts),
        HirKind::Repetition(repetition) => {
            let (mut found, whole) = spellings(&repetition.sub)?;
            match (repetition.min, repetition.max) {
                (0, Some(1)) if whole => {
                    found.push(Vec::new());
                    Some((found, true))
                }
                (0, _) => None,
                (1, Some(1)) => Some((found, whole)),
                _ => Some((found, false)),
            }
        }
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            let mut whole = true;
            for branch in branches {
                let (found, is_whole) = spellings(branch)?;
                all.extend(found);
                whole &= is_whole;
            }
            all.sort_unstable();
            all.dedup();
            (all.len() <= MAX_CHOICE).then_some((all, whole))
        }
    }
}

fn sequence_spellings(parts: &[Hir]) -> Option<(Vec<Vec<u8>>, bool)> {
    let mut all = vec![Vec::new()];
    for part in parts {
        let next = spellings(part);
        let Some((found, whole)) = next.filter(|(found, _)| {
            let most = if all.len() == 1 { MAX_CHOICE } else { MAX_SPELLINGS };
            found.len() * all.len() <= most && all.iter().map(Vec::len).max().unwrap_or(0) < MAX_SPELLING_BYTES
        }) else {
            return (shortest(&all) > 0).then_some((all, false));
        };
        all = all
            .iter()
            .flat_map(|head: &Vec<u8>| found.iter().map(move |tail| [head.as_slice(), tail].concat()))
            .collect();
        if !whole {
            return (shortest(&all) > 0).then_some((all, false));
        }
    }
    Some((all, true))
}

/// The factor as a PCRE expression over bytes, for Vectorscan. Needs no flags but DOTALL.
pub(super) fn print(hir: &Hir) -> Result<String, String> {
    let mut out = String::new();
    write_hir(hir, &mut out)?;
    Ok(out)
}

fn write_hir(hir: &Hir, out: &mut String) -> Result<(), String> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => out.push_str("(?:)"),
        HirKind::Literal(literal) => literal.0.iter().for_each(|byte| write_byte(*byte, out)),
        HirKind::Class(class) => {
            let bytes = bytes_of(class).ok_or("a class holds characters beyond ASCII; write them as bytes")?;
            out.push('[');
            for range in bytes.iter() {
                write_byte(range.start(), out);
                if range.start() != range.end() {
                    out.push('-');
                    write_byte(range.end(), out);
                }
            }
            out.push(']');
        }
        HirKind::Repetition(repetition) => {
            out.push_str("(?:");
            write_hir(&repetition.sub, out)?;
            let max = repetition.max.ok_or("a repetition has no upper bound")?;
            // Writing to a string cannot fail.
            let _ = write!(out, "){{{},{max}}}", repetition.min);
        }
        HirKind::Capture(capture) => write_hir(&capture.sub, out)?,
        HirKind::Concat(parts) => {
            for part in parts {
                write_hir(part, out)?;
            }
        }
        HirKind::Alternation(branches) => {
            let optional = branches.iter().any(|branch| matches!(branch.kind(), HirKind::Empty));
            out.push_str("(?:");
            let written = branches.iter().filter(|branch| !matches!(branch.kind(), HirKind::Empty));
            for (index, branch) in written.enumerate() {
                if index > 0 {
                    out.push('|');
                }
                write_hir(branch, out)?;
            }
            out.push_str(if optional { ")?" } else { ")" });
        }
    }
    Ok(())
}

fn write_byte(byte: u8, out: &mut String) {
    // Only letters and digits stand for themselves in every dialect and every place.
    if byte.is_ascii_alphanumeric() {
        out.push(char::from(byte));
    } else {
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// Every byte of every match is one of these.
pub(super) fn only(hir: &Hir, allowed: impl Fn(u8) -> bool + Copy) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => literal.0.iter().all(|byte| allowed(*byte)),
        HirKind::Class(class) => {
            bytes_of(class).is_some_and(|bytes| bytes.iter().flat_map(|range| range.start()..=range.end()).all(allowed))
        }
        HirKind::Repetition(repetition) => only(&repetition.sub, allowed),
        HirKind::Capture(capture) => only(&capture.sub, allowed),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().all(|part| only(part, allowed)),
    }
}

/// How many bytes of a kind every match holds at least.
pub(super) fn at_least(hir: &Hir, counted: impl Fn(u8) -> bool + Copy) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.iter().filter(|byte| counted(**byte)).count(),
        HirKind::Class(_) => usize::from(only(hir, counted)),
        HirKind::Repetition(repetition) => {
            usize::try_from(repetition.min).unwrap_or(usize::MAX).saturating_mul(at_least(&repetition.sub, counted))
        }
        HirKind::Capture(capture) => at_least(&capture.sub, counted),
        HirKind::Concat(parts) => parts.iter().map(|part| at_least(part, counted)).sum(),
        HirKind::Alternation(parts) => parts.iter().map(|part| at_least(part, counted)).min().unwrap_or(0),
    }
}

/// How long the longest unbroken sequence of bytes of a kind is in every match, at least.
pub(super) fn longest_group(hir: &Hir, counted: impl Fn(u8) -> bool + Copy) -> usize {
    if only(hir, counted) {
        return at_least(hir, counted);
    }
    match hir.kind() {
        HirKind::Repetition(repetition) if repetition.min > 0 => longest_group(&repetition.sub, counted),
        HirKind::Capture(capture) => longest_group(&capture.sub, counted),
        HirKind::Concat(parts) => {
            let (mut longest, mut group) = (0, 0);
            for part in parts {
                // A look-around matches no byte, so it does not break a group.
                group = if only(part, counted) { group + at_least(part, counted) } else { 0 };
                longest = longest.max(group).max(longest_group(part, counted));
            }
            longest
        }
        HirKind::Alternation(parts) => parts.iter().map(|part| longest_group(part, counted)).min().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(pattern: &str, keywords: &[&str], tail: u32) -> Result<String, String> {
        let keywords: Vec<String> = keywords.iter().map(ToString::to_string).collect();
        print(&factor(&parse(pattern)?.0, &keywords, Shape { long_part_bytes: 16, tail })?)
    }

    #[test]
    fn factors_keep_the_literal_and_little_else() {
        let cases: &[(&str, &[&str], &str)] = &[
            (r"\bghp_[0-9A-Za-z]{36}\b", &[], r"ghp\x5f(?:[0-9A-Za-z]){2,2}"),
            (r"\b[a-z.]{1,64}@[a-z]{1,63}\.[a-z]{2,24}", &["@"], r"[\x2ea-z]\x40[a-z]"),
            (r"sk-[0-9A-Za-z]{20}T3BlbkFJ[0-9A-Za-z]{20}\b", &[], r"[0-9A-Za-z]T3BlbkFJ(?:[0-9A-Za-z]){2,2}"),
            (r"(?:xox[bp]|xapp)-[0-9]{10,40}", &[], r"(?:xox[bp]|xapp)\x2d(?:[0-9]){2,2}"),
            (r"-----BEGIN KEY-----(?s:.){10,2000}-----END", &[], ""),
            (r"(?i:secret)[ ]{0,2}=[a-z]{8}", &[], r"[Ss][Ee][Cc][Rr][Ee][Tt](?:\x20){0,2}\x3d(?:[a-z]){2,2}"),
            (r"abcd[0-9]{0,3}", &[], "abcd"),
            (r"(?:[a-z]{1,63}\.){1,6}(?:lan|corp)", &[], r"\x2e(?:lan|corp)"),
        ];
        for (pattern, keywords, expected) in cases {
            let got = printed(pattern, keywords, 2).unwrap();
            if expected.is_empty() {
                assert!(got.contains("BEGIN"), "{got}");
            } else {
                assert_eq!(&got, expected, "{pattern}");
            }
        }
    }

    #[test]
    fn the_reach_of_a_match_around_its_factor() {
        for (pattern, expected) in [
            (r"\bghp_[0-9A-Za-z]{36}\b", (6, 40)),
            (r"[a-z]{0,30}=[0-9]{1,20}key-[0-9]{2}", (57, 7)),
            (r"(?:abcd[0-9]{2}|xyz-[0-9]{9})[a-f]{40}", (15, 53)),
            (r"(?:[a-z]{1,9}\.){1,6}(?:lan|corp)", (64, 5)),
            (r"-{2}[a-z]{0,30}password[ =]{1,2}[^ ]{8,90}", (44, 100)),
        ] {
            let found = branches(&parse(pattern).unwrap().0, &[], Shape { long_part_bytes: 16, tail: 2 }).unwrap();
            assert_eq!(reach(&found), expected, "{pattern}");
        }
    }

    #[test]
    fn what_stands_behind_a_factor() {
        for (pattern, expected) in [
            (r"\bghp_[0-9A-Za-z]{36}\b", &["(?:[0-9A-Za-z]){34,34}"][..]),
            (r"\bghp_[0-9A-Za-z]{136}\b", &["(?:[0-9A-Za-z]){8,8}"]),
            (r"\bghp_[0-9]{20}xyz\b", &["(?:[0-9]){18,18}xyz"]),
            (r"(?i:passwd|password)[ ]{0,2}=[a-z]{8}", &["(?:[a-z]){6,6}"]),
            (r"[a-z.]{1,64}@[a-z]{1,63}\.[a-z]{2,24}", &["(?:[a-z]){0,62}\\x2e(?:[a-z]){2,24}"]),
            (r"(?:abcd[0-9]?x|xyz-[0-9]{9})[a-f]{40}z", &["(?:[a-f]){38,38}z"]),
            (
                r"(?:abcd[0-9]{20}|xyz-[0-9]{9})[a-f]{40}z",
                &["(?:[0-9]){18,18}(?:[a-f]){40,40}z", "(?:[0-9]){7,7}(?:[a-f]){40,40}z"],
            ),
            (r"abcd[0-9]{0,3}", &["(?:[0-9]){0,3}"]),
            (r"\bghp_[0-9]{12}abcd\b", &["(?:)"]),
        ] {
            let found = branches(
                &parse(pattern).unwrap().0,
                &["abcd".into(), "@".into(), "ghp_".into(), "pass".into(), "xyz-".into()],
                Shape { long_part_bytes: 16, tail: 2 },
            )
            .unwrap();
            let found: Vec<String> = found.iter().map(|branch| print(&branch.next()).unwrap()).collect();
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn a_factor_begins_where_its_matches_do_or_says_no() {
        for (pattern, expected) in [
            (r"\bghp_[0-9A-Za-z]{36}\b", Some((6, 6))),
            (r"(?i:passwd|password)[ ]{0,2}=[a-z]{8}", Some((9, 13))),
            (r"[A-Z]key-[0-9]{8}", Some((7, 7))),
            (r"[A-Z]?key-[0-9]{8}", None),
            (r"[A-Z]{3}key-[0-9]{8}", None),
            (r"(?:abcd|xefgh)[0-9]{4}", Some((6, 7))),
            (r"sk-[0-9A-Za-z]{20}T3BlbkFJ[0-9A-Za-z]{20}\b", None),
        ] {
            assert_eq!(
                begins(&parse(pattern).unwrap().0, &[], Shape { long_part_bytes: 16, tail: 2 }),
                expected,
                "{pattern}"
            );
        }
    }

    #[test]
    fn anchors_are_the_longest_certain_literals() {
        for (pattern, keywords, expected) in [
            (r"\bghp_[0-9A-Za-z]{36}\b", &[][..], &[("ghp_", 0)][..]),
            (r"\b[a-z.]{1,64}@[a-z]{1,63}\.[a-z]{2,24}", &["@"], &[("@", 1)]),
            (r"gh[pousr]_[0-9]{9}", &[], &[("gho_", 0), ("ghp_", 0), ("ghr_", 0), ("ghs_", 0), ("ghu_", 0)]),
            (r"(?i:pass(?:word|phrase)?)[ ]?=[a-z]{8}", &[], &[("pass =", 0), ("pass=", 0), ("passphrase =", 0)]),
            (r"x[0-9]{2}-long-literal", &[], &[("-long-literal", 3)]),
            (r"(?:abcd[0-9]{4}|efgh[0-9]{4})", &[], &[("abcd", 0), ("efgh", 0)]),
        ] {
            let keywords: Vec<String> = keywords.iter().map(ToString::to_string).collect();
            let factor = factor(&parse(pattern).unwrap().0, &keywords, Shape { long_part_bytes: 4, tail: 1 }).unwrap();
            let mut found: Vec<(String, usize)> = anchors(&factor)
                .into_iter()
                .flat_map(|anchor| {
                    let before = anchor.before.1;
                    anchor.spellings.into_iter().map(move |text| (String::from_utf8(text).unwrap(), before))
                })
                .collect();
            found.sort();
            found.truncate(expected.len());
            let expected: Vec<(String, usize)> =
                expected.iter().map(|(t, before)| ((*t).to_owned(), *before)).collect();
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn what_cannot_be_looked_for_is_refused_with_the_reason() {
        for (pattern, reason) in [
            (r"abcd+", "no longest match"),
            (r"abcd.{0,20000}", "20004 bytes"),
            (r"abc?", "fewer than 4"),
            (r"[0-9]{16}", "no literal"),
            (r"(abcd|[0-9]{4})x{3}", "no literal"),
            (r"abc[", "unclosed"),
        ] {
            let error = printed(pattern, &[], 2).unwrap_err();
            assert!(error.contains(reason), "{pattern}: {error}");
        }
        assert!(printed("abcd@[a-z]", &["%"], 2).unwrap_err().contains("keywords"));
    }

    #[test]
    fn counts_are_lower_bounds() {
        let hir = parse(r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b").unwrap().0;
        assert_eq!(at_least(&hir, |byte| byte.is_ascii_digit()), 4);
        assert_eq!(at_least(&hir, |byte| byte == b'.'), 3);
        for (pattern, group) in [
            (r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b", 1),
            (r"\b[2-6][0-9]{3}[ -]?[0-9]{4}\b", 4),
            (r"(?:[0-9]{3}-[0-9]{2}|[0-9]{2}-[0-9]{7})", 3),
            (r"\b[0-9]{9}\b", 9),
        ] {
            assert_eq!(longest_group(&parse(pattern).unwrap().0, |byte| byte.is_ascii_digit()), group, "{pattern}");
        }
        assert!(only(&hir, |byte| byte.is_ascii_digit() || byte == b'.'));
        assert!(!only(&parse("[0-9a]{4}").unwrap().0, |byte| byte.is_ascii_digit()));
    }
}
