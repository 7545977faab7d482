//! The chunked transfer coding (RFC 9112, section 7.1). Enters: pieces of a chunked body. Leaves: runs of its content. Holds
//! at most one size line or trailer line, and never more than [`LINE_BYTES`] of it.

/// Longest size line (with extensions) or trailer line that is read.
const LINE_BYTES: usize = 4 << 10;
/// Trailer lines that are read; their content is not kept.
const TRAILER_LINES: u32 = 64;

/// A chunk size or a trailer that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadChunk;

/// What a step gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// Content.
    Data(&'a [u8]),
    /// The body is over; what is left of the piece belongs to the next message.
    End,
    /// The piece is used up.
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    AfterData,
    Trailer(u32),
}

/// An incremental decoder.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    line: Vec<u8>,
}

impl Chunked {
    /// At the start of a body.
    pub(super) fn new() -> Self {
        Self { state: State::Size, line: Vec::new() }
    }

    /// Takes from the front of `rest` until there is something to say.
    pub(super) fn step<'a>(&mut self, rest: &mut &'a [u8]) -> Result<Step<'a>, BadChunk> {
        while !rest.is_empty() {
            if let State::Data(left) = self.state {
                let (data, tail) = rest.split_at(rest.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
                *rest = tail;
                let left = left - data.len() as u64;
                self.state = if left == 0 { State::AfterData } else { State::Data(left) };
                return Ok(Step::Data(data));
            }
            let (line, tail) = rest.split_at(memchr::memchr(b'\n', rest).unwrap_or(rest.len()));
            if self.line.len() + line.len() > LINE_BYTES {
                return Err(BadChunk);
            }
            let is_whole = !tail.is_empty();
            *rest = tail.get(1..).unwrap_or_default();
            if !is_whole || !self.line.is_empty() {
                self.line.extend_from_slice(line);
            }
            if !is_whole {
                break;
            }
            // Nearly every line lies in one piece and is read where it is.
            let ended = if self.line.is_empty() {
                self.take_line(line)
            } else {
                let line = std::mem::take(&mut self.line);
                self.take_line(&line)
            };
            if ended? {
                return Ok(Step::End);
            }
        }
        Ok(Step::More)
    }

    /// Bytes of content that were lost, when all of them lie inside the present chunk: then the framing still holds. `None`
    /// when the framing is lost too.
    pub(super) fn skip(&mut self, bytes: u64) -> Option<u64> {
        match self.state {
            State::Data(left) if bytes <= left => {
                self.state = if bytes == left { State::AfterData } else { State::Data(left - bytes) };
                Some(bytes)
            }
            _ => None,
        }
    }

    /// Bytes of content that the present chunk still announces.
    pub(super) fn announced(&self) -> u64 {
        if let State::Data(left) = self.state { left } else { 0 }
    }

    /// Takes one line without its line feed. True: it ends the body.
    fn take_line(&mut self, line: &[u8]) -> Result<bool, BadChunk> {
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        self.state = match self.state {
            State::Size => match size(text)? {
                0 => State::Trailer(0),
                size => State::Data(size),
            },
            State::AfterData if text.is_empty() => State::Size,
            State::Trailer(_) if text.is_empty() => return Ok(true),
            State::Trailer(lines) if lines < TRAILER_LINES => State::Trailer(lines + 1),
            _ => return Err(BadChunk),
        };
        Ok(false)
    }
}

/// `chunk-size [ chunk-ext ]`
fn size(line: &[u8]) -> Result<u64, BadChunk> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at(digits);
    if !matches!(rest.first(), None | Some(b';' | b' ' | b'\t')) {
        return Err(BadChunk);
    }
    let text = std::str::from_utf8(digits).map_err(|_| BadChunk)?;
    // 63 bits: no body is longer, and sums of positions stay in range.
    u64::from_str_radix(text, 16).ok().filter(|size| i64::try_from(*size).is_ok()).ok_or(BadChunk)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool, Vec<u8>), BadChunk> {
        let (mut chunked, mut content) = (Chunked::new(), Vec::new());
        for (index, piece) in pieces.iter().enumerate() {
            let mut rest = *piece;
            loop {
                match chunked.step(&mut rest)? {
                    Step::Data(data) => content.extend_from_slice(data),
                    Step::More => break,
                    Step::End => {
                        let after = [rest, &pieces[index + 1..].concat()].concat();
                        return Ok((content, true, after));
                    }
                }
            }
        }
        Ok((content, false, Vec::new()))
    }

    #[test]
    fn bodies() {
        let whole = |content: &str, rest: &str| Ok((content.as_bytes().to_vec(), true, rest.as_bytes().to_vec()));
        for (wire, expected) in [
            ("3\r\nabc\r\n0\r\n\r\n", whole("abc", "")),
            ("3\nabc\n0\n\n", whole("abc", "")),
            ("3;ext=\"x\"\r\nabc\r\n0\r\n\r\nHTTP", whole("abc", "HTTP")),
            ("A\r\n0123456789\r\n1\r\n!\r\n0\r\nx-a: b\r\nx-c: d\r\n\r\n", whole("0123456789!", "")),
            ("3\r\nab", Ok((b"ab".to_vec(), false, Vec::new()))),
            ("3\r\nabcd\r\n", Err(BadChunk)),
            ("zz\r\n", Err(BadChunk)),
            ("\r\n", Err(BadChunk)),
            ("ffffffffffffffff\r\n", Err(BadChunk)),
            ("-1\r\n", Err(BadChunk)),
        ] {
            assert_eq!(decode(&[wire.as_bytes()]), expected, "{wire:?}");
            assert_eq!(decode(&wire.as_bytes().chunks(1).collect::<Vec<_>>()), expected, "{wire:?} byte by byte");
        }
    }

    #[test]
    fn endless_lines_and_trailers_are_refused() {
        assert_eq!(decode(&[&[b'1'; 5000]]), Err(BadChunk));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(100));
        assert_eq!(decode(&[trailers.as_bytes()]), Err(BadChunk));
    }

    #[test]
    fn a_hole_inside_a_chunk_keeps_the_framing() {
        let mut chunked = Chunked::new();
        let mut rest = &b"a\r\n01"[..];
        assert_eq!(chunked.step(&mut rest), Ok(Step::Data(&b"01"[..])));
        assert_eq!(chunked.skip(9), None);
        assert_eq!(chunked.skip(6), Some(6));
        let mut rest = &b"89\r\n0\r\n\r\n"[..];
        assert_eq!(chunked.step(&mut rest), Ok(Step::Data(&b"89"[..])));
        assert_eq!(chunked.step(&mut rest), Ok(Step::End));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(pieces in prop::collection::vec("[0-9a-f\r\n;xyz]{0,12}", 0..8)) {
            let _ = decode(&pieces.iter().map(String::as_bytes).collect::<Vec<_>>());
        }
    }
}
