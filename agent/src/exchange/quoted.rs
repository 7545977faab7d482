//! Strings of JSON (RFC 8259, section 7). Enters: an input, and where in it a string begins. Leaves: its text, borrowed when
//! there is nothing to decode. What is cut or malformed gives what was readable up to there; bytes that are no UTF-8 are
//! replaced. Never copies a string without escapes.

/// What follows a quote is looked at so far before a search with wide registers is worth its start.
const NEAR_BYTES: usize = 32;
/// Room that a step of decoding needs, and that is made at once.
const DECODE_STEP_BYTES: usize = 32;
const DECODE_FIRST_BYTES: usize = 1 << 10;

/// Why reading does not go on.
pub(super) enum Stop {
    /// The input ends.
    Cut,
    /// This is no JSON.
    Malformed,
}

/// A string that was read: as it stands in the input, or decoded in `decoded` or `scratch`.
#[derive(Clone, Copy)]
pub(super) enum Found<'a> {
    Plain(&'a str),
    Decoded,
    Scratch,
}

/// A place in an input, and room for the string that was read last.
pub(super) struct Cursor<'a> {
    pub(super) input: &'a [u8],
    /// As [`valid`] gives it.
    valid: &'a str,
    pub(super) at: usize,
    /// The last string when it has escapes: the first so many bytes, which are UTF-8. What is behind them is room.
    decoded: Vec<u8>,
    decoded_bytes: usize,
    /// The last string when something is wrong with it.
    scratch: String,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(input: &'a [u8], valid: &'a str) -> Self {
        Self { input, valid, at: 0, decoded: Vec::new(), decoded_bytes: 0, scratch: String::new() }
    }

    /// Text of the string that was read last.
    pub(super) fn text<'t>(&'t self, found: Found<'t>) -> &'t str {
        match found {
            Found::Plain(text) => text,
            Found::Decoded => decoded(&self.decoded, self.decoded_bytes),
            Found::Scratch => self.scratch.as_str(),
        }
    }

    /// Reads the string at `at`. False: the input ends inside it. Malformed: `at` is the backslash that says nothing, and what
    /// was found stands before it.
    pub(super) fn string(&mut self) -> (Found<'a>, Result<bool, Stop>) {
        let start = self.at + 1;
        let rest = self.input.get(start..).unwrap_or_default();
        if let Some(length) = quote_or_backslash(rest)
            && rest.get(length) == Some(&b'"')
            && let Some(text) = self.valid.get(start..start + length)
        {
            self.at = start + length + 1;
            return (Found::Plain(text), Ok(true));
        }
        if let Some(end) = self.decode_whole(start) {
            self.at = end;
            return (Found::Decoded, Ok(true));
        }
        self.at = start;
        self.scratch.clear();
        (Found::Scratch, self.decode())
    }

    /// Decodes the string at `start` into `decoded` and gives the position behind it; `None` when anything is wrong with it.
    /// Prompts are full of line feeds and quotes, so an escape must cost little more than any other letter: eight bytes are
    /// copied at once, and what was too much is written over.
    fn decode_whole(&mut self, start: usize) -> Option<usize> {
        let mut rest = self.valid.as_bytes().get(start..)?;
        let mut length = 0;
        loop {
            // Room for two words and for the longest escape.
            if self.decoded.len() < length + DECODE_STEP_BYTES {
                self.decoded
                    .resize((length + DECODE_STEP_BYTES).max(2 * self.decoded.len()).max(DECODE_FIRST_BYTES), 0);
            }
            let out = self.decoded.get_mut(length..)?;
            // Most words hold none: two are looked at at once, which is one branch for both.
            let plain = if let (Some((words, behind)), Some(room)) =
                (rest.split_first_chunk::<16>(), out.first_chunk_mut::<16>())
            {
                let [one, two] = [0, 8].map(|at| quotes_and_backslashes(word(words, at)));
                room.copy_from_slice(words);
                if one | two == 0 {
                    length += 16;
                    rest = behind;
                    continue;
                }
                // Without a jump: where the next escape stands is anybody's guess.
                let first = if one == 0 { 64 + two.trailing_zeros() } else { one.trailing_zeros() };
                (first / 8) as usize
            } else {
                let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
                out.get_mut(..plain)?.copy_from_slice(rest.get(..plain)?);
                plain
            };
            length += plain;
            rest = rest.get(plain..)?;
            let (byte, behind) = match rest {
                [b'"', behind @ ..] => {
                    self.decoded_bytes = length;
                    return Some(self.valid.len() - behind.len());
                }
                [b'\\', byte, behind @ ..] => (*byte, behind),
                _ => return None,
            };
            if byte == b'u' {
                self.at = self.valid.len() - behind.len() - 1;
                self.scratch.clear();
                if !matches!(self.escape(), Ok(true)) {
                    return None;
                }
                let letter = self.scratch.as_bytes();
                self.decoded.get_mut(length..length + letter.len())?.copy_from_slice(letter);
                length += letter.len();
                rest = self.valid.as_bytes().get(self.at..)?;
            } else {
                *self.decoded.get_mut(length)? = plain_escape(byte)?;
                length += 1;
                rest = behind;
            }
        }
    }

    /// Decodes what is left of a string into `scratch`.
    fn decode(&mut self) -> Result<bool, Stop> {
        loop {
            let rest = self.input.get(self.at..).unwrap_or_default();
            let Some(length) = quote_or_backslash(rest) else {
                self.at = self.input.len();
                // A character that is cut at the very end is dropped, not replaced.
                let text = String::from_utf8_lossy(rest);
                self.scratch.push_str(text.trim_end_matches('\u{fffd}'));
                return Ok(false);
            };
            match self.valid.get(self.at..self.at + length) {
                Some(plain) => self.scratch.push_str(plain),
                None => self.scratch.push_str(&String::from_utf8_lossy(rest.get(..length).unwrap_or_default())),
            }
            self.at += length + 1;
            if rest.get(length) == Some(&b'"') {
                return Ok(true);
            }
            let backslash = self.at - 1;
            match self.escape() {
                Ok(true) => {}
                Ok(false) => {
                    self.at = self.input.len();
                    return Ok(false);
                }
                Err(stop) => {
                    self.at = backslash;
                    return Err(stop);
                }
            }
        }
    }

    /// Decodes what follows a backslash. False: the input ends inside it.
    fn escape(&mut self) -> Result<bool, Stop> {
        let Some(byte) = self.input.get(self.at).copied() else { return Ok(false) };
        self.at += 1;
        let plain = match byte {
            b'u' => {
                let Some(unit) = self.unit(self.at)? else { return Ok(false) };
                self.at += 4;
                if (0xd800..0xdc00).contains(&unit) && self.input.get(self.at..self.at + 2) == Some(b"\\u") {
                    let Some(low) = self.unit(self.at + 2)? else { return Ok(false) };
                    if (0xdc00..0xe000).contains(&low) {
                        self.at += 6;
                        let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        self.scratch.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                        return Ok(true);
                    }
                }
                char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => plain_escape(byte).map(char::from).ok_or(Stop::Malformed)?,
        };
        self.scratch.push(plain);
        Ok(true)
    }

    /// Four hexadecimal digits at `from`. `None`: the input ends inside them.
    fn unit(&self, from: usize) -> Result<Option<u32>, Stop> {
        let Some(digits) = self.input.get(from..from + 4) else { return Ok(None) };
        let text = std::str::from_utf8(digits).map_err(|_| Stop::Malformed)?;
        u32::from_str_radix(text, 16).map(Some).map_err(|_| Stop::Malformed)
    }
}

/// As much of the input as is UTF-8 from its start.
pub(super) fn valid(input: &[u8]) -> &str {
    // The quicker check first: the one that says where it went wrong is needed for broken bodies alone.
    simdutf8::basic::from_utf8(input).unwrap_or_else(|_| {
        let valid = simdutf8::compat::from_utf8(input).map_or_else(|error| error.valid_up_to(), str::len);
        input.get(..valid).and_then(|valid| std::str::from_utf8(valid).ok()).unwrap_or_default()
    })
}

fn decoded(bytes: &[u8], length: usize) -> &str {
    bytes.get(..length).and_then(|text| simdutf8::basic::from_utf8(text).ok()).unwrap_or_default()
}

/// What a backslash and this letter stand for.
fn plain_escape(letter: u8) -> Option<u8> {
    ESCAPES.get(usize::from(letter)).copied().filter(|plain| *plain != 0)
}

/// What stands behind a backslash for what; zero is nothing. A table, because a jump by letter is guessed wrong at every other escape.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    table[b'n' as usize] = b'\n';
    table[b't' as usize] = b'\t';
    table[b'r' as usize] = b'\r';
    table[b'b' as usize] = 8;
    table[b'f' as usize] = 12;
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[b'/' as usize] = b'/';
    table
};

/// Eight of these bytes.
#[inline]
fn word(bytes: &[u8; 16], at: usize) -> [u8; 8] {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or_default()
}

/// The lowest bit that is set stands in the first quote or backslash ("Bit Twiddling Hacks", determine if a word has a zero
/// byte).
#[inline]
fn quotes_and_backslashes(eight: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let word = u64::from_le_bytes(eight);
    zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5c))
}

/// Where a string ends or an escape begins. Most strings are short: the first bytes are compared eight at a time, which is
/// over before a search with wide registers has begun.
#[inline]
pub(super) fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    let mut near = bytes.get(..NEAR_BYTES).unwrap_or_default();
    let mut passed = 0;
    while let Some((eight, rest)) = near.split_first_chunk::<8>() {
        let hits = quotes_and_backslashes(*eight);
        if hits != 0 {
            return Some(passed + (hits.trailing_zeros() / 8) as usize);
        }
        passed += 8;
        near = rest;
    }
    memchr::memchr2(b'"', b'\\', bytes.get(passed..)?).map(|found| passed + found)
}
