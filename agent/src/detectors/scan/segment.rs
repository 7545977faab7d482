//! Segments: the parts of a block that a match may not leave, such as the leaves of a body or the lines of a log. Enters: a
//! position. Leaves: the segment around it, found only when somebody asks.

use std::ops::Range;

use memchr::memmem;

use crate::exchange::Leaves;

/// One part of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'s> {
    /// Extent in the block, bytes.
    pub range: Range<usize>,
    /// What it is called: a JSON path. Words in it count as context.
    pub label: &'s str,
}

/// Tells the segment around a position. Segments do not overlap, and a line feed that belongs to none stands between two.
pub trait Segments {
    /// The segment that holds the byte at `position`.
    fn around(&self, position: usize) -> Option<Segment<'_>>;
}

impl Segments for Leaves {
    fn around(&self, position: usize) -> Option<Segment<'_>> {
        self.at(position).map(|(label, range)| Segment { range, label })
    }
}

/// The block is one segment.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// Its length in bytes.
    pub length: usize,
}

impl Segments for Whole {
    fn around(&self, position: usize) -> Option<Segment<'_>> {
        (position < self.length).then_some(Segment { range: 0..self.length, label: "" })
    }
}

/// Each line is a segment.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'b>(pub &'b [u8]);

impl Lines<'_> {
    /// Extent of the line around a position that is not its end.
    fn line(&self, position: usize) -> Option<Range<usize>> {
        if *self.0.get(position)? == b'\n' {
            return None;
        }
        let start = memchr::memrchr(b'\n', self.0.get(..position)?).map_or(0, |at| at + 1);
        let end = memchr::memchr(b'\n', self.0.get(position..)?).map_or(self.0.len(), |length| position + length);
        Some(start..end)
    }
}

impl Segments for Lines<'_> {
    fn around(&self, position: usize) -> Option<Segment<'_>> {
        self.line(position).map(|range| Segment { range, label: "" })
    }
}

/// Opens and closes a secret that is written over several lines (RFC 7468, section 2).
const OPENS: &[u8] = b"-----BEGIN ";
const CLOSES: &[u8] = b"-----END ";
/// What opens must close within this many bytes; twice what the longest pattern matches.
const OPEN_BYTES: usize = 16 * 1024;

/// What stands first in a line that gives the value to the name in the line before: a Kubernetes manifest, a variable of Terraform.
const VALUES: [&[u8]; 4] = [b"value:", b"\"value\":", b"value =", b"default ="];
/// And what the line before holds.
const NAMES: [&[u8]; 2] = [b"name", b"variable "];
/// Longer lines are no settings.
const PAIR_BYTES: usize = 512;

/// Longest line of names of columns, and longest name.
const HEADER_BYTES: usize = 1024;
const COLUMN_BYTES: usize = 40;

/// Each line of a log is a segment, but the lines from `-----BEGIN …` to its `-----END …` are one, and so are a name and its value.
#[derive(Clone, Debug)]
pub struct LogLines<'b> {
    lines: Lines<'b>,
    /// The block begins with the names of columns; "" if not.
    header: &'b str,
    /// By position.
    texts: Vec<Range<usize>>,
}

impl<'b> LogLines<'b> {
    /// Looks for texts of several lines; all else is found when somebody asks.
    pub fn new(block: &'b [u8]) -> Self {
        let lines = Lines(block);
        let mut texts: Vec<Range<usize>> = Vec::new();
        let mut opens = memmem::find_iter(block, OPENS).peekable();
        while let Some(at) = opens.next() {
            // Only up to the next one that opens, so that no byte is looked at twice.
            let until = opens.peek().copied().unwrap_or(block.len()).min(at.saturating_add(OPEN_BYTES));
            let inside = block.get(at..until).unwrap_or_default();
            let Some(closes) = memmem::find(inside, CLOSES).map(|offset| at + offset) else { continue };
            let (Some(first), Some(last)) = (lines.line(at), lines.line(closes)) else { continue };
            match texts.last_mut() {
                // Several on one line.
                Some(text) if first.start < text.end => text.end = text.end.max(last.end),
                _ => texts.push(first.start..last.end),
            }
        }
        Self { lines, header: header(block), texts }
    }
}

/// The first line, where it names the columns of the lines behind it (RFC 4180): names and nothing else, and as many parts in the second
/// line. Then its words are what the values are called. Only a block that begins a table has it.
fn header(block: &[u8]) -> &str {
    let mut lines = block.splitn(3, |byte| *byte == b'\n');
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return "" };
    let Some(names) = std::str::from_utf8(first).ok().filter(|_| first.len() <= HEADER_BYTES) else { return "" };
    let parts = |text: &[u8], separator: u8| memchr::memchr_iter(separator, text).count();
    let table = b",;\t|".iter().any(|separator| {
        let columns = parts(first, *separator);
        let mut fields =
            names.trim_end().split(char::from(*separator)).map(|field| field.trim_matches([' ', '"', '\'']));
        let name = |field: &str| {
            field.len() <= COLUMN_BYTES
                && field.starts_with(char::is_alphabetic)
                && field.chars().all(|c| c.is_alphanumeric() || " _-./()#'".contains(c))
        };
        columns > 0 && columns == parts(second, *separator) && fields.all(name)
    });
    if table { names } else { "" }
}

impl Segments for LogLines<'_> {
    fn around(&self, position: usize) -> Option<Segment<'_>> {
        let index = self.texts.partition_point(|text| text.end <= position);
        match self.texts.get(index) {
            Some(text) if text.start <= position => Some(Segment { range: text.clone(), label: "" }),
            _ => self.lines.line(position).map(|line| {
                let label = if line.start == 0 { "" } else { self.header };
                Segment { range: self.pair(line), label }
            }),
        }
    }
}

impl LogLines<'_> {
    /// A line, or two where the one names what the other gives. Which of the two was asked for makes no difference.
    fn pair(&self, line: Range<usize>) -> Range<usize> {
        let block = self.lines.0;
        let text = |range: &Range<usize>| block.get(range.clone()).filter(|text| text.len() <= PAIR_BYTES);
        let gives = |range: &Range<usize>| {
            text(range).is_some_and(|text| VALUES.iter().any(|value| text.trim_ascii_start().starts_with(value)))
        };
        let names = |range: &Range<usize>| {
            text(range).is_some_and(|text| NAMES.iter().any(|name| memmem::find(text, name).is_some()))
        };
        if text(&line).is_none() {
            return line;
        }
        if gives(&line) {
            let before = line.start.checked_sub(2).and_then(|end| self.lines.line(end));
            return match before {
                Some(before) if !gives(&before) && names(&before) && !self.in_text(&before) => before.start..line.end,
                _ => line,
            };
        }
        // PERF: where the next line ends is only looked for when it begins so.
        let next = Some(line.end + 1).filter(|at| self.may_give(*at)).and_then(|at| self.lines.line(at));
        match next {
            Some(next) if gives(&next) && names(&line) && !self.in_text(&next) => line.start..next.end,
            _ => line,
        }
    }

    /// A line that begins here may give a value.
    fn may_give(&self, at: usize) -> bool {
        let rest = self.lines.0.get(at..).unwrap_or_default();
        let first = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\x0c'));
        first.is_some_and(|first| VALUES.iter().any(|value| value.first() == Some(first)))
    }

    /// It belongs to a text of several lines.
    fn in_text(&self, line: &Range<usize>) -> bool {
        let index = self.texts.partition_point(|text| text.end <= line.start);
        self.texts.get(index).is_some_and(|text| text.start < line.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_around_a_position() {
        let lines = Lines(b"one\n\ntwo");
        assert_eq!(lines.around(0).unwrap().range, 0..3);
        assert_eq!(lines.around(7).unwrap().range, 5..8);
        for outside in [3, 4, 8] {
            assert_eq!(lines.around(outside), None);
        }
    }

    #[test]
    fn a_text_that_opens_and_closes_is_one_segment() {
        let block = b"a\nx -----BEGIN K-----\nAA\n-----END K----- y\nb\n-----BEGIN L-----\nc\n-----BEGIN M----- -----END M-----\n";
        let lines = LogLines::new(block);
        let text = |position: usize| {
            lines.around(position).map(|segment| String::from_utf8(block[segment.range].to_vec()).unwrap())
        };
        let whole = "x -----BEGIN K-----\nAA\n-----END K----- y";
        assert_eq!(text(0).as_deref(), Some("a"));
        for inside in [2, 21, 22, 40] {
            assert_eq!(text(inside).as_deref(), Some(whole), "{inside}");
        }
        let closed = 2 + whole.len();
        assert_eq!(text(closed), None);
        assert_eq!(text(closed + 1).as_deref(), Some("b"));
        assert_eq!(text(closed + 3).as_deref(), Some("-----BEGIN L-----"), "it never closes");
        assert_eq!(text(block.len() - 4).as_deref(), Some("-----BEGIN M----- -----END M-----"));
    }

    #[test]
    fn the_names_of_columns_are_what_values_are_called() {
        for (block, label) in [
            (&b"id,name,nhs\n1,Ada,9\n"[..], "id,name,nhs"),
            (b"name;num\xc3\xa9ro fiscal\r\nAda;1\r\n", "name;num\u{e9}ro fiscal\r"),
            (b"id,name\n1,Ada,9\n", ""),
            (b"2026-01-01, started\n2026-01-02, stopped\n", ""),
            (b"a {b}, c\nd, e\n", ""),
            (b"one line, alone", ""),
            (b"", ""),
        ] {
            let lines = LogLines::new(block);
            assert_eq!(lines.header, label, "{}", block.escape_ascii());
            let first = lines.around(0).map_or("", |segment| segment.label);
            assert_eq!(first, "", "the names themselves are called nothing");
            if let Some(at) = memchr::memchr(b'\n', block) {
                assert_eq!(lines.around(at + 1).unwrap().label, label);
            }
        }
        let long = format!("a,{}\nb,c\n", "d".repeat(COLUMN_BYTES + 1));
        assert_eq!(LogLines::new(long.as_bytes()).header, "");
    }

    #[test]
    fn a_name_and_its_value_are_one_segment() {
        let block = b"env:\n  - name: A_TOKEN\n    value: x1\n    value: x2\nvariable \"b\" {\n  default = \"y\"\n}\nname\n-----BEGIN K-----\nvalue: z\n-----END K-----\n";
        let lines = LogLines::new(block);
        let text = |word: &str| {
            let at = memmem::find(block, word.as_bytes()).unwrap();
            lines.around(at).map(|segment| String::from_utf8(block[segment.range].to_vec()).unwrap()).unwrap()
        };
        assert_eq!(text("env:"), "env:");
        for word in ["A_TOKEN", "x1"] {
            assert_eq!(text(word), "  - name: A_TOKEN\n    value: x1", "{word}");
        }
        assert_eq!(text("x2"), "    value: x2", "a value has one name");
        for word in ["variable", "default"] {
            assert_eq!(text(word), "variable \"b\" {\n  default = \"y\"", "{word}");
        }
        assert_eq!(text("name\n-----"), "name");
        assert!(text("z\n").starts_with("-----BEGIN K"));
        let long = format!("name {}\nvalue: x\n", "a".repeat(PAIR_BYTES));
        assert_eq!(LogLines::new(long.as_bytes()).around(0).unwrap().range, 0..PAIR_BYTES + 5);
    }

    #[test]
    fn what_closes_too_late_is_not_one_text() {
        let mut block = b"-----BEGIN K-----\n".to_vec();
        block.resize(OPEN_BYTES, b'A');
        block.extend_from_slice(b"\n-----END K-----\n");
        assert_eq!(LogLines::new(&block).around(3).unwrap().range, 0..17);
    }
}
