//! A tolerant JSON reader (RFC 8259). Enters: the bytes of a body, whole or cut. Leaves: every string with its JSON path, in
//! order, and, for reading facts, what a [`Build`] makes of the rest: an outline of the document, a [`Tree`], or nothing. One
//! pass, no recursion; what is cut or malformed gives what was readable up to there. Never reports a number, a key or a
//! container that was cut: only strings may be partial, because a leak in half a string is still a leak. What a key or a
//! number may hide (a mail address, a card) is given as a string too.
//!
//! It is the inner loop of the agent. A string without escapes is never copied, a path is put together only for a string that
//! is given out, and UTF-8 is checked once, where a text is given out. `serde_json` and `jiter` stop at the first thing that is
//! wrong and know no paths, so neither can stand in for it.

use std::borrow::Cow;

use serde_json::{Number, Value};
use smallvec::SmallVec;

use super::{
    key::Class,
    lanes::{self, LANES},
    outline::{Build, Nothing, Outliner, Scalar},
    path::Path,
    quoted::{self, Cursor, Input, Stop},
    strings::{Strings, Unwanted},
    tape::Tape,
    tree::Tree,
};

/// Containers deeper than this are still searched for strings, but no longer told apart.
const MAX_DEPTH: usize = 128;
/// So many are held without an allocation.
const USUAL_DEPTH: usize = 8;

/// Fewest digits of an integer that is text.
const NUMBER_MIN_DIGITS: usize = 9;

/// Whether a number may be more than a quantity: it is an integer, as long as identifiers are.
pub(super) fn is_number_text(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    digits.len() >= NUMBER_MIN_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a body turned out to be.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outline {
    /// The document without what is not needed to read facts: strings longer than asked for are `null`, numbers in arrays
    /// are left out. When the document is cut, members that were cut are left out.
    pub(super) doc: Value,
    /// How reading ended.
    pub(super) end: Ended,
}

/// How reading ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ended {
    /// One whole document.
    Whole,
    /// The input ends inside it.
    #[default]
    Cut,
    /// From this position on it is no JSON.
    Malformed(usize),
}

impl Ended {
    /// The same in what the text that was read stands for (see [`quoted::text`]).
    pub(super) fn within(self, input: &[u8]) -> Self {
        match self {
            Self::Malformed(at) => Self::Malformed(quoted::place(input, at)),
            end => end,
        }
    }
}

/// Whether a body is worth reading as JSON: it starts with a container or a string. A bare number or word is text.
pub(super) fn looks_like_json(input: &[u8]) -> bool {
    matches!(input.trim_ascii_start().first(), Some(b'{' | b'[' | b'"'))
}

/// Reads `input`; what is no UTF-8 in it is replaced. `keep`: longest string that the outline holds.
pub(super) fn read(input: &[u8], root: &str, keep: usize, strings: &mut impl Strings) -> Outline {
    let text = quoted::text(input);
    let Outline { doc, end } = read_once(Input::Text(&text), root, keep, strings).unwrap_or_default();
    Outline { doc, end: end.within(input) }
}

/// Reads `input`, and gives up (`None`) at a text that is no UTF-8.
pub(super) fn read_once(input: Input<'_>, root: &str, keep: usize, strings: &mut impl Strings) -> Option<Outline> {
    let mut reader = Reader::new(input, root, strings, Outliner::new(keep));
    let end = reader.run()?;
    Some(Outline { doc: reader.build.into_doc(), end })
}

/// Reads the body of a request, whose outline stays where it is. Gives up (`None`) at a text that is no UTF-8.
pub(super) fn tape<'a>(input: Input<'a>, root: &str, tape: &mut Tape<'a>, strings: &mut impl Strings) -> Option<Ended> {
    let end = Reader::new(input, root, strings, &mut *tape).run()?;
    tape.finish();
    Some(end)
}

/// Gives out the strings alone.
pub(super) fn strings(input: &str, root: &str, strings: &mut impl Strings) -> Ended {
    Reader::new(Input::Text(input), root, strings, Nothing).run().unwrap_or(Ended::Cut)
}

/// Gives the rest alone to a builder: no strings with their paths. A text that is no UTF-8 ends it.
pub(super) fn build<'a>(input: Input<'a>, build: impl Build<'a>) {
    Reader::new(input, "", &mut Unwanted, build).run();
}

/// Reads the outline alone.
pub(super) fn outline(input: &str, keep: usize) -> Outline {
    read_once(Input::Text(input), "", keep, &mut Unwanted).unwrap_or_default()
}

/// Reads a document into a tree that borrows from it. False: it is not whole.
pub(super) fn tree<'a>(input: &'a str, tree: &mut Tree<'a>) -> bool {
    if tree.again(input) {
        return true;
    }
    tree.begin();
    let end = Reader::new(Input::Text(input), "", &mut Unwanted, &mut *tree).run();
    let is_whole = end == Some(Ended::Whole);
    if is_whole {
        tree.end(input);
    }
    is_whole
}

/// An open container.
struct Level<'a> {
    is_object: bool,
    /// What is known of `key`.
    class: Class,
    /// Key of the present member; elements have none.
    key: Cow<'a, str>,
    /// Index of the present element.
    index: usize,
    /// Length of the path up to this container, once it was needed.
    path: usize,
}

struct Reader<'a, 's, S, B> {
    cursor: Cursor<'a>,
    /// The last string that had to be decoded, if nobody had room for it.
    decoded: String,
    path: Path,
    /// Length of the path of the document.
    root_bytes: usize,
    levels: SmallVec<[Level<'a>; USUAL_DEPTH]>,
    /// Levels whose `path` is right.
    located: usize,
    strings: &'s mut S,
    build: B,
}

impl<'a, 's, S: Strings, B: Build<'a>> Reader<'a, 's, S, B> {
    fn new(input: Input<'a>, root: &str, strings: &'s mut S, build: B) -> Self {
        Self {
            cursor: Cursor::new(input),
            decoded: String::new(),
            path: Path::new(root),
            root_bytes: root.len(),
            levels: SmallVec::new(),
            located: 0,
            strings,
            build,
        }
    }

    /// `None`: a text is no UTF-8.
    fn run(&mut self) -> Option<Ended> {
        match self.document() {
            Ok(()) => Some(Ended::Whole),
            Err(Stop::Cut) => Some(Ended::Cut),
            Err(Stop::Malformed) => Some(Ended::Malformed(self.cursor.at)),
            Err(Stop::Foreign) => None,
        }
    }

    fn document(&mut self) -> Result<(), Stop> {
        self.value()?;
        while let Some(level) = self.levels.last() {
            let is_object = level.is_object;
            match (self.peek()?, is_object) {
                (b',', _) => {
                    self.cursor.at += 1;
                    self.member(is_object)?;
                }
                (b'}', true) | (b']', false) => {
                    self.cursor.at += 1;
                    self.leave();
                }
                _ => return Err(Stop::Malformed),
            }
        }
        if self.peek().is_ok() { Err(Stop::Malformed) } else { Ok(()) }
    }

    /// The next byte that is no white space.
    #[inline]
    fn peek(&mut self) -> Result<u8, Stop> {
        while let Some(byte) = self.cursor.input.get(self.cursor.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(*byte);
            }
            self.cursor.at += 1;
        }
        Err(Stop::Cut)
    }

    /// A value; a container is entered, with its first member, and left open on `levels`.
    fn value(&mut self) -> Result<(), Stop> {
        loop {
            match self.peek()? {
                b'"' => return self.string(),
                open @ (b'{' | b'[') => {
                    self.cursor.at += 1;
                    if self.levels.len() >= MAX_DEPTH {
                        return self.deep();
                    }
                    self.enter(open == b'{');
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek()? == close {
                        return Ok(()); // `document` closes it
                    }
                    if open == b'{' {
                        self.key()?;
                    }
                }
                b't' => return self.literal(b"true", Scalar::Bool(true)),
                b'f' => return self.literal(b"false", Scalar::Bool(false)),
                b'n' => return self.literal(b"null", Scalar::Null),
                b'-' | b'0'..=b'9' => return self.number(),
                _ => return Err(Stop::Malformed),
            }
        }
    }

    fn member(&mut self, is_object: bool) -> Result<(), Stop> {
        if is_object {
            self.key()?;
            return self.value();
        }
        // Vectors are thousands of numbers.
        loop {
            if let Some(level) = self.levels.last_mut() {
                level.index += 1;
            }
            if !matches!(self.peek()?, b'-' | b'0'..=b'9') {
                return self.value();
            }
            self.number()?;
            if self.peek()? != b',' {
                return Ok(());
            }
            self.cursor.at += 1;
        }
    }

    fn key(&mut self) -> Result<(), Stop> {
        if self.peek()? != b'"' {
            return Err(Stop::Malformed);
        }
        let start = self.cursor.at;
        let (key, class) = if let Some(key) = self.cursor.plain()? {
            (Cow::Borrowed(key), if S::ARE_WANTED { self.strings.class(key) } else { Class::NONE })
        } else {
            let mut key = String::new();
            match self.cursor.decode(&mut key) {
                Ok(true) => {}
                Ok(false) => return Err(Stop::Cut),
                Err(stop) => {
                    self.cursor.at = start; // the whole key is in what is no JSON
                    return Err(stop);
                }
            }
            let class = if S::ARE_WANTED { self.strings.class(&key) } else { Class::NONE };
            (Cow::Owned(key), class)
        };
        if let Some(level) = self.levels.last_mut() {
            (level.key, level.class) = (key, class);
        }
        if S::ARE_WANTED && class.is_text() {
            self.locate();
            self.path.name();
            if let Some(level) = self.levels.last() {
                self.strings.string(self.path.as_str(), "", Class::NONE, &level.key);
            }
        }
        if self.peek()? != b':' {
            return Err(Stop::Malformed);
        }
        self.cursor.at += 1;
        Ok(())
    }

    fn enter(&mut self, is_object: bool) {
        let start = self.cursor.at.saturating_sub(1);
        self.build.enter(self.levels.last().map_or(&NO_KEY, |level| &level.key), is_object, start);
        self.levels.push(Level { is_object, class: Class::NONE, key: NO_KEY, index: 0, path: self.root_bytes });
    }

    fn leave(&mut self) {
        self.levels.pop();
        self.located = self.located.min(self.levels.len());
        self.build.leave(self.cursor.at);
    }

    /// Makes `path` that of the present value. Only what changed since the last time is put together again.
    fn locate(&mut self) {
        self.locate_container();
        match self.levels.last() {
            Some(level) => level.extend(&mut self.path),
            None => self.path.truncate(self.root_bytes),
        }
    }

    /// Makes `path` begin with that of the innermost open container, which is as long as the container says.
    fn locate_container(&mut self) {
        for depth in self.located.max(1)..self.levels.len() {
            let (above, level) = self.levels.split_at_mut(depth);
            if let (Some(above), Some(level)) = (above.last(), level.first_mut()) {
                above.extend(&mut self.path);
                level.path = self.path.len();
            }
        }
        self.located = self.levels.len();
    }

    fn literal(&mut self, word: &[u8], value: Scalar<'a, '_>) -> Result<(), Stop> {
        let rest = self.cursor.input.get(self.cursor.at..).unwrap_or_default();
        if rest.starts_with(word) {
            let start = self.cursor.at;
            self.cursor.at += word.len();
            let key = self.levels.last().map_or(&NO_KEY, |level| &level.key);
            self.build.scalar(key, value, start..self.cursor.at);
            return Ok(());
        }
        Err(if word.starts_with(rest) { Stop::Cut } else { Stop::Malformed })
    }

    fn number(&mut self) -> Result<(), Stop> {
        let start = self.cursor.at;
        let rest = self.cursor.input.get(start..).unwrap_or_default();
        let length = number_length(rest);
        if length == rest.len() && !self.levels.is_empty() {
            return Err(Stop::Cut); // more digits may have followed
        }
        let end = start + length;
        let text = self.cursor.piece(start, end)?;
        let class = self.levels.last().map_or(Class::NONE, |level| level.class);
        if S::ARE_WANTED && is_number_text(text) && !class.is_time() {
            self.locate();
            let key = self.levels.last().map_or("", |level| level.key.as_ref());
            self.strings.string(self.path.as_str(), key, class, text);
        }
        // Numbers in arrays (embeddings) are not kept: they are not worth reading either.
        if self.levels.last().is_some_and(|level| !level.is_object) {
            self.build.element(text);
        } else {
            let number = read_number(text).ok_or(Stop::Malformed)?;
            let key = self.levels.last().map_or(&NO_KEY, |level| &level.key);
            self.build.scalar(key, Scalar::Number(number), start..end);
        }
        self.cursor.at = end;
        Ok(())
    }

    /// Reads a string and gives it out, however it ends.
    fn string(&mut self) -> Result<(), Stop> {
        let start = self.cursor.at + 1;
        if S::ARE_WANTED {
            self.locate();
        }
        let (key, class) = self.levels.last().map_or((&NO_KEY, Class::NONE), |level| (&level.key, level.class));
        if let Some(text) = self.cursor.plain()? {
            if S::ARE_WANTED {
                self.strings.string(self.path.as_str(), key, class, text);
            }
            self.build.scalar(key, Scalar::Plain(text), start..self.cursor.at - 1);
            return Ok(());
        }
        let first = self.cursor.input.get(start).copied().unwrap_or_default();
        let (text, end) = if let Some(room) = self.strings.room(class, first) {
            let begun = room.len();
            let end = self.cursor.decode(room);
            (self.strings.placed(self.path.as_str(), begun).unwrap_or_default(), end)
        } else {
            self.decoded.clear();
            let end = self.cursor.decode(&mut self.decoded);
            if S::ARE_WANTED {
                self.strings.string(self.path.as_str(), key, class, &self.decoded);
            }
            (self.decoded.as_str(), end)
        };
        if !end? {
            return Err(Stop::Cut);
        }
        self.build.scalar(key, Scalar::Decoded(text), start..self.cursor.at - 1);
        Ok(())
    }

    /// Past the depth bound: every string, keys too, counts as text of the container that is too deep.
    fn deep(&mut self) -> Result<(), Stop> {
        self.locate();
        let mut depth = 1_usize;
        while depth > 0 {
            let rest = self.cursor.input.get(self.cursor.at..).unwrap_or_default();
            let skip =
                rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']')).ok_or(Stop::Cut)?;
            self.cursor.at += skip;
            match rest.get(skip) {
                Some(b'"') => {
                    self.deep_string()?;
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                _ => depth -= 1,
            }
            self.cursor.at += 1;
        }
        let key = self.levels.last().map_or(&NO_KEY, |level| &level.key);
        self.build.scalar(key, Scalar::Null, self.cursor.at..self.cursor.at);
        Ok(())
    }

    fn deep_string(&mut self) -> Result<(), Stop> {
        let (path, class) = (self.path.as_str(), Class::NONE);
        if let Some(text) = self.cursor.plain()? {
            self.strings.string(path, "", class, text);
            return Ok(());
        }
        self.decoded.clear();
        let end = self.cursor.decode(&mut self.decoded);
        self.strings.string(path, "", class, &self.decoded);
        if end? { Ok(()) } else { Err(Stop::Cut) }
    }
}

impl Level<'_> {
    /// Makes a path that of the present member or element.
    fn extend(&self, path: &mut Path) {
        path.truncate(self.path);
        if self.is_object {
            path.member(&self.key, self.class.is_plain());
        } else {
            path.index(self.index);
        }
    }
}

/// The key of what has none.
const NO_KEY: Cow<'static, str> = Cow::Borrowed("");

/// How many bytes at the start can be those of a number.
pub(super) fn number_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk::<LANES>() {
        let same = lanes::numeric(word).trailing_ones() as usize;
        length += same;
        if same < LANES {
            return length;
        }
        rest = behind;
    }
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    length + rest.iter().take_while(|byte| is_part(byte)).count()
}

pub(super) fn read_number(text: &str) -> Option<Number> {
    // Counts, which are nearly all numbers there are, need no parser.
    let is_count = (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_count && (text.len() == 1 || !text.starts_with('0')) {
        return text.parse::<u64>().ok().map(Number::from);
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::exchange::key::is_key_text;

    fn run(text: &[u8]) -> (Vec<(String, String)>, Outline) {
        let mut found = Vec::new();
        let mut take = |path: &str, _: &str, text: &str| found.push((path.to_owned(), text.to_owned()));
        let outline = read(text, "$", 16, &mut take);
        (found, outline)
    }

    /// Input, what is found in it, how it ends.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Ended);

    #[test]
    fn strings_and_paths() {
        let cases: &[Case<'_>] = &[
            (r#"{"a":"b","c":{"d":["e",1,"f"]}}"#, &[("$.a", "b"), ("$.c.d[0]", "e"), ("$.c.d[2]", "f")], Ended::Whole),
            (r#" [ "a" , { "b" : "c" } ] "#, &[("$[0]", "a"), ("$[1].b", "c")], Ended::Whole),
            (r#"{"a b":"c","":"d"}"#, &[("$['a b']", "c"), ("$['']", "d")], Ended::Whole),
            (r#"{"a":"\u00e9\ud83d\ude00\n\/\ud800x"}"#, &[("$.a", "é😀\n/\u{fffd}x")], Ended::Whole),
            (r#"{"a":{},"b":[],"c":"d"}"#, &[("$.c", "d")], Ended::Whole),
            (r#""only""#, &[("$", "only")], Ended::Whole),
            (r#"{"a":"b","c":"se"#, &[("$.a", "b"), ("$.c", "se")], Ended::Cut),
            (r#"{"a":"se\u00"#, &[("$.a", "se")], Ended::Cut),
            (r#"{"a":["b",{"c":"#, &[("$.a[0]", "b")], Ended::Cut),
            (r#"{"a":"b","cut ke"#, &[("$.a", "b")], Ended::Cut),
            (r#"{"a":"key in C:\Users"}"#, &[("$.a", "key in C:")], Ended::Malformed(15)),
            (r#"{"a":"b\u00zz"}"#, &[("$.a", "b")], Ended::Malformed(7)),
            (r#"{"a":"b","k\ey":"c"}"#, &[("$.a", "b")], Ended::Malformed(9)),
            (
                r#"{"a@b.c":1,"aNameThatIsLong":"x"}"#,
                &[("$['a@b.c']~", "a@b.c"), ("$.aNameThatIsLong~", "aNameThatIsLong"), ("$.aNameThatIsLong", "x")],
                Ended::Whole,
            ),
            (
                r#"{"a":123456789,"b":12345678,"c":[-1234567890,0.1234567890],"created":1234567890}"#,
                &[("$.a", "123456789"), ("$.c[0]", "-1234567890")],
                Ended::Whole,
            ),
            (r#"{"a":"b"} {"c":"d"}"#, &[("$.a", "b")], Ended::Malformed(10)),
            (r#"{"a":"b",}"#, &[("$.a", "b")], Ended::Malformed(9)),
            ("hello", &[], Ended::Malformed(0)),
            ("", &[], Ended::Cut),
        ];
        for (text, expected, end) in cases {
            let (found, outline) = run(text.as_bytes());
            let found: Vec<_> = found.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            assert_eq!((&found[..], outline.end), (*expected, *end), "{text}");
        }
    }

    /// A text is never given out with what is wrong in it, and what is read in one go is what is read after all is checked.
    #[test]
    fn what_is_no_utf8_is_found_wherever_it_stands() {
        let prose = "größer “so”\\n \\u00e9\\\"ab\\\\ ".repeat(12);
        let (plain, short) = ("é plain ".repeat(20), "ü");
        let text =
            format!(r#"{{"{short}":["{short}",123456789],"a":"{prose}","b":"{plain}","c":{{"d":"{short}x","e":1}}}}"#);
        let (mut given_up, mut read) = (0, 0);
        for at in 0..text.len() {
            for wrong in [0xff, 0x80, 0xc3, 0xf0, b'"', b'\\'] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = wrong;
                for bytes in [&bytes[..], &bytes[..(at + 1).min(bytes.len())]] {
                    let mut found = Vec::new();
                    let mut take = |path: &str, _: &str, text: &str| found.push((path.to_owned(), text.to_owned()));
                    let Some(outline) = read_once(Input::Bytes(bytes), "$", 16, &mut take) else {
                        assert!(std::str::from_utf8(bytes).is_err());
                        given_up += 1;
                        continue;
                    };
                    read += 1;
                    assert_eq!((found, outline), run(bytes), "{wrong} at {at}");
                }
            }
        }
        assert!(given_up > text.len() && read > text.len(), "{given_up} {read}");
    }

    #[test]
    fn outlines() {
        let long = "x".repeat(17);
        for (text, doc) in [
            (r#"{"a":1,"b":[1,2,{"c":true}],"d":null}"#.to_owned(), json!({"a":1,"b":[{"c":true}],"d":null})),
            (format!(r#"{{"a":"{long}","b":"short"}}"#), json!({"a":null,"b":"short"})),
            (r#"{"a":1,"usage":{"in":12,"out":3"#.to_owned(), json!({"a":1})),
            (r#"{"a":12"#.to_owned(), json!({})),
            (r#"{"a":12,"b":tru"#.to_owned(), json!({"a":12})),
            (r#"{"a":12,"b":"par"#.to_owned(), json!({"a":12})),
        ] {
            assert_eq!(run(text.as_bytes()).1.doc, doc, "{text}");
        }
    }

    #[test]
    fn depth_and_bulk_are_bounded_and_still_searched() {
        let deep = format!("{}\"secret\"{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let (found, outline) = run(deep.as_bytes());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].1.as_str(), outline.end), ("secret", Ended::Whole));

        let bulk = format!(r#"{{"a":[{}"last"],"usage":{{"in":1}}}}"#, r#"{"b":1},"#.repeat(200_000));
        let (found, outline) = run(bulk.as_bytes());
        assert_eq!(found, [("$.a[200000]".to_owned(), "last".to_owned())]);
        assert_eq!(outline.doc["usage"], json!({"in":1}), "bulk does not push out what stands beside it");
        assert!(outline.doc["a"].as_array().unwrap().len() <= crate::exchange::outline::MAX_BULK_VALUES);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(".{0,4}", inner, 0..5).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    fn strings_of(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(values) => values.iter().for_each(|value| strings_of(value, found)),
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                found.extend(is_key_text(key).then(|| key.clone()));
                strings_of(value, found);
            }),
            Value::Number(number) => found.extend(Some(number.to_string()).filter(|text| is_number_text(text))),
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn all_strings_of_valid_json_are_found(value in any_json()) {
            let (found, outline) = run(value.to_string().as_bytes());
            let mut expected = Vec::new();
            strings_of(&value, &mut expected);
            prop_assert_eq!(outline.end, Ended::Whole);
            prop_assert_eq!(found.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn a_cut_gives_a_prefix_of_the_strings(value in any_json(), cut in 0usize..400) {
            let text = value.to_string();
            let whole = run(text.as_bytes()).0;
            let part = run(&text.as_bytes()[..cut.min(text.len())]).0;
            prop_assert!(part.len() <= whole.len());
            for (index, (have, want)) in part.iter().zip(&whole).enumerate() {
                prop_assert_eq!(&have.0, &want.0);
                let is_last = index + 1 == part.len();
                let is_prefix = want.1.starts_with(have.1.trim_end_matches('\u{fffd}'));
                prop_assert!(have.1 == want.1 || (is_last && is_prefix), "a cut changed {:?}", want);
            }
        }

        #[test]
        fn long_strings_with_escapes_are_read(text in "(?s).{0,120}|[\"\\\\\n a-z\u{e9}]{0,200}") {
            let plain = json!({"a": text}).to_string();
            let units: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            let units = units.concat();
            for input in [plain, format!(r#"{{"a":"{units}"}}"#)] {
                let (found, outline) = run(input.as_bytes());
                prop_assert_eq!(outline.end, Ended::Whole);
                prop_assert_eq!(&found, &[("$.a".to_owned(), text.clone())]);
            }
        }

        #[test]
        fn garbage_never_panics(text in "[\\[\\]{}\",:\\\\u0-9a-f tn.-]{0,60}") {
            run(text.as_bytes());
        }
    }
}
