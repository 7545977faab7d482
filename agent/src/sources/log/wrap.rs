//! How the lines of a program are wrapped in a file: CRI (`time stdout F text`), Docker's `json-file` (`{"log":"text\n",…}`), UTF-16. Enters:
//! one raw line. Leaves: where the program's own text stands in it, and whether the line goes on in the next one of its stream: both
//! runtimes cut at 16 KiB. It copies nothing, and never fails: a line of another form is taken as it is.
//!
//! Sources: kubernetes/kubernetes `pkg/kubelet/kuberuntime/logs/logs.go` (CRI; tags are separated by `:`, the first says `P` or `F`),
//! moby/moby `daemon/logger/jsonfilelog/jsonlog/jsonlog.go` (`log`, `stream`, `attrs`, `time`, in this order). No crate reads them in place: a
//! JSON parser per line costs ten times what the scan of the line does.

use std::ops::Range;

use memchr::{memchr, memrchr};

/// How the lines of a file are wrapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrap {
    /// Not at all.
    #[default]
    None,
    /// Container Runtime Interface: containerd, CRI-O.
    Cri,
    /// Docker's `json-file`.
    Docker,
    /// UTF-16 with a byte order mark, little-endian: what programs of Windows write.
    Utf16Le,
    /// The same, big-endian.
    Utf16Be,
}

/// Bytes of a file's start by which its wrapping is told.
pub const WRAP_BYTES: usize = 48;

/// How far back an unfinished line of the other stream is looked for, bytes: four pieces of a cut line.
const INTERLEAVED_BYTES: usize = 64 * 1024;

/// What a wrapped line holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Extent of the program's text in the line.
    pub(super) text: Range<usize>,
    /// 0: standard output, 1: standard error.
    pub(super) stream: usize,
    /// The program's line goes on in the next entry of the stream.
    pub(super) is_partial: bool,
    /// The text is the inside of a JSON string.
    pub(super) is_escaped: bool,
}

const DOCKER_HEAD: &[u8] = b"{\"log\":\"";

impl Wrap {
    /// Tells by how a file begins; [`WRAP_BYTES`] are enough.
    pub fn of(start: &[u8]) -> Self {
        if start.starts_with(DOCKER_HEAD) {
            Self::Docker
        } else if is_utf16([0xff, 0xfe], 1, start) {
            Self::Utf16Le
        } else if is_utf16([0xfe, 0xff], 0, start) {
            Self::Utf16Be
        } else if cri(start).is_some() {
            Self::Cri
        } else {
            Self::None
        }
    }

    /// What a line (without its end) holds; `None`: nobody wrapped it.
    pub(super) fn entry(self, line: &[u8]) -> Option<Entry> {
        match self {
            Self::None | Self::Utf16Le | Self::Utf16Be => None,
            Self::Cri => cri(line),
            Self::Docker => docker(line),
        }
    }

    /// In whole lines: where the first line begins that is a piece of a line of the program without its last piece. Looked for in the
    /// last `within` bytes.
    pub(super) fn open_at(self, lines: &[u8], within: usize) -> Option<usize> {
        if !matches!(self, Self::Cri | Self::Docker) {
            return None;
        }
        // By stream: closed, open so far back, or not seen yet.
        let mut streams = [Seen::Not; 2];
        let mut end = lines.len();
        while end > 0 && lines.len() - end < within {
            let start = memrchr(b'\n', lines.get(..end - 1)?).map_or(0, |at| at + 1);
            let line = lines.get(start..end - 1)?;
            if let Some(Entry { stream, is_partial, .. }) = self.entry(line)
                && let Some(seen) = streams.get_mut(stream)
            {
                *seen = match (*seen, is_partial) {
                    (Seen::Closed, _) | (Seen::Not, false) => Seen::Closed,
                    (Seen::Open(_) | Seen::Not, true) => Seen::Open(start),
                    // It ends the line before the open one.
                    (Seen::Open(at), false) => Seen::Begins(at),
                    (seen @ Seen::Begins(_), _) => seen,
                };
            }
            let goes_on = streams.iter().any(|seen| matches!(seen, Seen::Open(_)));
            let is_known = streams.iter().all(|seen| matches!(seen, Seen::Closed | Seen::Begins(_)));
            if is_known || (!goes_on && lines.len() - start > INTERLEAVED_BYTES) {
                break;
            }
            end = start;
        }
        let open = |seen: &Seen| match *seen {
            Seen::Open(at) | Seen::Begins(at) => Some(at),
            Seen::Closed | Seen::Not => None,
        };
        streams.iter().filter_map(open).min()
    }
}

/// What is known of a stream, read backwards.
#[derive(Clone, Copy)]
enum Seen {
    Not,
    /// Its last line is whole.
    Closed,
    /// Its last line is not, and goes back at least so far.
    Open(usize),
    /// And begins here.
    Begins(usize),
}

/// Two bytes alone say little: bytes of any file may be these. A log has spaces, digits and line feeds, so a quarter of what follows must be
/// characters of ASCII, whose byte at `high` is zero.
fn is_utf16(mark: [u8; 2], high: usize, start: &[u8]) -> bool {
    let Some(text) = start.strip_prefix(&mark) else { return false };
    let is_ascii = |unit: &&[u8]| {
        unit.get(high) == Some(&0)
            && unit.get(1 - high).is_some_and(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'))
    };
    let ascii = text.chunks_exact(2).filter(is_ascii).count();
    ascii > 0 && ascii * 4 >= text.len() / 2
}

fn cri(line: &[u8]) -> Option<Entry> {
    let time = memchr(b' ', line)?;
    let is_time = (20..=40).contains(&time) && line.get(4) == Some(&b'-') && line.get(10) == Some(&b'T');
    let rest = line.get(time + 1..)?;
    let stream = match rest.get(..7)? {
        b"stdout " => 0,
        b"stderr " => 1,
        _ => return None,
    };
    let tag = time + 1 + 7;
    let tags = line.get(tag..)?;
    let is_partial = match tags.first()? {
        b'P' => true,
        b'F' => false,
        _ => return None,
    };
    // Empty lines have no space behind their tags, or one.
    let text = memchr(b' ', tags).map_or(line.len(), |at| tag + at + 1);
    is_time.then_some(Entry { text: text..line.len(), stream, is_partial, is_escaped: false })
}

fn docker(line: &[u8]) -> Option<Entry> {
    let inside = line.strip_prefix(DOCKER_HEAD)?;
    let length = string_end(inside)?;
    let text = DOCKER_HEAD.len()..DOCKER_HEAD.len() + length;
    let escaped = line.get(text.clone())?;
    let stream = match inside.get(length..)?.strip_prefix(b"\",\"stream\":\"std")?.get(..3)? {
        b"err" => 1,
        _ => 0,
    };
    let is_whole = escaped.ends_with(b"\\n") && is_unescaped(escaped, escaped.len() - 2);
    let end = if is_whole { text.end - 2 } else { text.end };
    Some(Entry { text: text.start..end, stream, is_partial: !is_whole, is_escaped: true })
}

/// Where the string ends whose inside begins here.
fn string_end(inside: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', inside.get(at..)?)?;
        match inside.get(at) {
            Some(b'"') => return Some(at),
            _ => at += 2,
        }
    }
}

/// No backslash takes the meaning of the byte at `at`.
fn is_unescaped(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-26T15:04:05.123456789Z";

    fn text(wrap: Wrap, line: &str) -> Option<(&str, usize, bool)> {
        let entry = wrap.entry(line.as_bytes())?;
        Some((&line[entry.text], entry.stream, entry.is_partial))
    }

    #[test]
    fn cri_lines_are_read() {
        for (rest, expected) in [
            ("stdout F hello  world ", Some(("hello  world ", 0, false))),
            ("stderr P first part", Some(("first part", 1, true))),
            ("stdout F:later tags", Some(("tags", 0, false))),
            ("stdout F ", Some(("", 0, false))),
            ("stdout F", Some(("", 0, false))),
            ("stdout X text", None),
            ("stdlog F text", None),
            ("stdout", None),
            ("", None),
        ] {
            let line = format!("{TIME} {rest}");
            assert_eq!(text(Wrap::Cri, &line), expected, "{line}");
            assert_eq!(Wrap::of(line.as_bytes()) == Wrap::Cri, expected.is_some(), "{line}");
        }
        assert_eq!(text(Wrap::Cri, "2026-11-26T15:04:05.123456789+01:00 stdout F x"), Some(("x", 0, false)));
        for line in ["", " ", "26 Nov stdout F x", "plain text that is long enough stdout F x"] {
            assert_eq!(text(Wrap::Cri, line), None, "{line}");
        }
    }

    #[test]
    fn a_mark_alone_makes_no_utf16() {
        for (start, wrap) in [
            (&b"\xff\xfea\0b\0"[..], Wrap::Utf16Le),
            (b"\xfe\xff\0a\0b", Wrap::Utf16Be),
            (b"\xff\xfe\x42\x30\x44\x30\x0a\0", Wrap::Utf16Le),
            (b"\xff\xfe", Wrap::None),
            (b"\xff\xfe\xfd no UTF-8 \x80 ann", Wrap::None),
            (b"\xfe\xffa\0b\0", Wrap::None),
        ] {
            assert_eq!(Wrap::of(start), wrap, "{start:?}");
        }
    }

    #[test]
    fn docker_lines_are_read() {
        for (inside, expected) in [
            (r"hello\n", Some(("hello", 0, false))),
            (r"cut at 16 KiB", Some(("cut at 16 KiB", 0, true))),
            (r"a path c:\\new\\\n", Some((r"a path c:\\new\\", 0, false))),
            (r"ends with a backslash and an n: \\n", Some((r"ends with a backslash and an n: \\n", 0, true))),
            (r#"{\"a\":\"b\"}\n"#, Some((r#"{\"a\":\"b\"}"#, 0, false))),
            (r"\n", Some(("", 0, false))),
            ("", Some(("", 0, true))),
        ] {
            let line = format!(r#"{{"log":"{inside}","stream":"stdout","time":"{TIME}"}}"#);
            assert_eq!(text(Wrap::Docker, &line), expected, "{line}");
            assert_eq!(Wrap::of(line.as_bytes()), Wrap::Docker);
        }
        let attributes = format!(r#"{{"log":"x\n","stream":"stderr","attrs":{{"tag":"y"}},"time":"{TIME}"}}"#);
        assert_eq!(text(Wrap::Docker, &attributes), Some(("x", 1, false)));
        for line in [r#"{"log":"never ends"#, r#"{"log":"x\"#, r#"{"log":"x","level":"info"}"#, "{}"] {
            assert_eq!(text(Wrap::Docker, line), None, "{line}");
        }
    }

    #[test]
    fn a_line_that_goes_on_is_open_from_its_first_piece() {
        let line = |word: &str| match word.split_at(1) {
            ("o", rest) => format!("{TIME} stdout {} text\n", rest.to_uppercase()),
            (_, rest) => format!("{TIME} stderr {} text\n", rest.to_uppercase()),
        };
        for (words, open) in [
            ("", None),
            ("of of", None),
            ("of op", Some(1)),
            ("of op op op", Some(1)),
            ("of op op of", None),
            ("of ep of of", Some(1)),
            ("op ep of of", Some(1)),
            ("op ep ef", Some(0)),
            ("op ep", Some(0)),
            ("of op ef ep", Some(1)),
        ] {
            let lines: Vec<String> = words.split_whitespace().map(line).collect();
            let at = open.map(|index| lines[..index].iter().map(String::len).sum::<usize>());
            let text = lines.concat();
            assert_eq!(Wrap::Cri.open_at(text.as_bytes(), 1 << 20), at, "{words}");
            assert_eq!(Wrap::None.open_at(text.as_bytes(), 1 << 20), None);
        }
        // Longer than anybody holds: it is given up.
        let pieces = [line("of"), line("op").repeat(100)].concat();
        let at = Wrap::Cri.open_at(pieces.as_bytes(), 1000).unwrap();
        assert!(at > 0 && pieces.len() - at < 1100);
    }
}
