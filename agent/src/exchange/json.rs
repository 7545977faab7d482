//! A tolerant JSON reader (RFC 8259). Enters: the bytes of a body, whole or cut. Leaves: every string with its JSON path, in
//! order, and, for reading facts, what a [`Build`] makes of the rest: an outline of the document, a [`Tree`], or nothing. One
//! pass, no recursion; what is cut or malformed gives what was readable up to there. Never reports a number, a key or a
//! container that was cut: only strings may be partial, because a leak in half a string is still a leak. What a key or a
//! number may hide (a mail address, a card) is given as a string too.
//!
//! It is the inner loop of the agent. A string without escapes is never copied, a path is put together only for a string that
//! is given out, and UTF-8 is checked once for the whole input. `serde_json` and `jiter` stop at the first thing that is
//! wrong and know no paths, so neither can stand in for it.

use std::borrow::Cow;

use serde_json::{Number, Value};
use smallvec::SmallVec;

use super::{
    outline::{Build, Nothing, Outliner, Scalar},
    path::Path,
    quoted::{self, Cursor, Found, Stop},
    tree::Tree,
};

/// Containers deeper than this are still searched for strings, but no longer told apart.
const MAX_DEPTH: usize = 128;
/// So many are held without an allocation.
const USUAL_DEPTH: usize = 8;

/// Shortest key that is text whatever is in it, and fewest digits of an integer that is text.
const KEY_MIN_CHARS: usize = 12;
const NUMBER_MIN_DIGITS: usize = 9;
/// Members whose long integers are times.
const TIMES: [&str; 5] = ["created", "created_at", "completed_at", "expires_at", "timestamp"];

/// Whether a key may be more than a name of a schema. Those are short, or lower-case words.
pub(super) fn is_key_text(key: &str) -> bool {
    // Without early exits: keys are short, and a loop without branches is faster on them.
    let (mut is_odd, mut is_words) = (false, true);
    for byte in key.bytes() {
        is_odd |= byte.is_ascii_digit() || byte == b'@';
        is_words &= byte.is_ascii_lowercase() || byte == b'_';
    }
    is_odd || (key.len() >= KEY_MIN_CHARS && !is_words)
}

/// Whether a number may be more than a quantity: it is an integer, as long as identifiers are.
pub(super) fn is_number_text(key: &str, number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    digits.len() >= NUMBER_MIN_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()) && !TIMES.contains(&key)
}

/// Gets every string: path, object key it stands under (empty for others), text. Keys that are text themselves come under
/// the path of their member with `~` behind it.
pub(super) trait Strings {
    /// A string value. `path` is valid for this call only.
    fn string(&mut self, path: &str, key: &str, text: &str);

    /// Whether numbers in arrays are wanted: whole vectors pass by otherwise, and nobody makes their paths.
    fn wants_elements(&self) -> bool {
        false
    }

    /// A number in an array, which the outline leaves out; `path` is the array's.
    fn element(&mut self, _path: &str, _number: &str) {}
}

impl<F: FnMut(&str, &str, &str)> Strings for F {
    fn string(&mut self, path: &str, key: &str, text: &str) {
        self(path, key, text);
    }
}

/// What a body turned out to be.
#[derive(Debug, PartialEq)]
pub(super) struct Outline {
    /// The document without what is not needed to read facts: strings longer than asked for are `null`, numbers in arrays
    /// are left out. When the document is cut, members that were cut are left out.
    pub(super) doc: Value,
    /// How reading ended.
    pub(super) end: Ended,
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// One whole document.
    Whole,
    /// The input ends inside it.
    Cut,
    /// From this position on it is no JSON.
    Malformed(usize),
}

/// Whether a body is worth reading as JSON: it starts with a container or a string. A bare number or word is text.
pub(super) fn looks_like_json(input: &[u8]) -> bool {
    matches!(input.trim_ascii_start().first(), Some(b'{' | b'[' | b'"'))
}

/// Reads `input`. `keep`: longest string that the outline holds.
pub(super) fn read(input: &[u8], root: &str, keep: usize, strings: &mut dyn Strings) -> Outline {
    let mut reader = Reader::new(input, quoted::valid(input), root, Some(strings), Outliner::new(keep));
    let end = reader.run();
    Outline { doc: reader.build.into_doc(), end }
}

/// Gives out the strings alone.
pub(super) fn strings(input: &str, root: &str, strings: &mut dyn Strings) -> Ended {
    Reader::new(input.as_bytes(), input, root, Some(strings), Nothing).run()
}

/// Reads the outline alone.
pub(super) fn outline(input: &str, keep: usize) -> Outline {
    let mut reader = Reader::new(input.as_bytes(), input, "", None, Outliner::new(keep));
    let end = reader.run();
    Outline { doc: reader.build.into_doc(), end }
}

/// Reads a document into a tree that borrows from it. False: it is not whole.
pub(super) fn tree<'a>(input: &'a str, tree: &mut Tree<'a>) -> bool {
    if tree.again(input) {
        return true;
    }
    tree.begin();
    let is_whole = Reader::new(input.as_bytes(), input, "", None, &mut *tree).run() == Ended::Whole;
    if is_whole {
        tree.end(input);
    }
    is_whole
}

/// An open container.
struct Level<'a> {
    is_object: bool,
    /// Key of the present member; elements have none.
    key: Cow<'a, str>,
    /// Index of the present element.
    index: usize,
    /// Length of the path up to this container, once it was needed.
    path: usize,
}

struct Reader<'a, 's, B> {
    cursor: Cursor<'a>,
    path: Path,
    /// Length of the path of the document.
    root_bytes: usize,
    levels: SmallVec<[Level<'a>; USUAL_DEPTH]>,
    /// Levels whose `path` is right.
    located: usize,
    strings: Option<&'s mut dyn Strings>,
    build: B,
}

impl<'a, 's, B: Build<'a>> Reader<'a, 's, B> {
    fn new(input: &'a [u8], valid: &'a str, root: &str, strings: Option<&'s mut dyn Strings>, build: B) -> Self {
        Self {
            cursor: Cursor::new(input, valid),
            path: Path::new(root),
            root_bytes: root.len(),
            levels: SmallVec::new(),
            located: 0,
            strings,
            build,
        }
    }

    fn run(&mut self) -> Ended {
        match self.document() {
            Ok(()) => Ended::Whole,
            Err(Stop::Cut) => Ended::Cut,
            Err(Stop::Malformed) => Ended::Malformed(self.cursor.at),
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
                b'"' => {
                    let start = self.cursor.at + 1;
                    let (found, end) = self.cursor.string();
                    return self.found_string(found, end, start);
                }
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
        } else if let Some(level) = self.levels.last_mut() {
            level.index += 1;
        }
        self.value()
    }

    fn key(&mut self) -> Result<(), Stop> {
        if self.peek()? != b'"' {
            return Err(Stop::Malformed);
        }
        let start = self.cursor.at;
        let key = match self.cursor.string() {
            (Found::Plain(key), Ok(true)) => Cow::Borrowed(key),
            (found, Ok(true)) => Cow::Owned(self.cursor.text(found).to_owned()),
            (_, Ok(false)) => return Err(Stop::Cut),
            (_, Err(stop)) => {
                self.cursor.at = start; // the whole key is in what is no JSON
                return Err(stop);
            }
        };
        let is_text = self.strings.is_some() && is_key_text(&key);
        if let Some(level) = self.levels.last_mut() {
            level.key = key;
        }
        if is_text {
            self.locate();
            self.path.name();
            if let (Some(strings), Some(level)) = (&mut self.strings, self.levels.last()) {
                strings.string(self.path.as_str(), "", &level.key);
            }
        }
        if self.peek()? != b':' {
            return Err(Stop::Malformed);
        }
        self.cursor.at += 1;
        Ok(())
    }

    fn enter(&mut self, is_object: bool) {
        self.build.enter(self.levels.last().map_or(&NO_KEY, |level| &level.key), is_object);
        self.levels.push(Level { is_object, key: NO_KEY, index: 0, path: self.root_bytes });
    }

    fn leave(&mut self) {
        self.levels.pop();
        self.located = self.located.min(self.levels.len());
        self.build.leave();
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

    /// A number in an array: not kept, and hardly ever worth a path.
    fn element(&mut self, number: &str) {
        if self.strings.as_ref().is_some_and(|strings| strings.wants_elements()) {
            self.locate_container();
            if let (Some(strings), Some(level)) = (&mut self.strings, self.levels.last()) {
                strings.element(self.path.as_str().get(..level.path).unwrap_or_default(), number);
            }
        }
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
        let rest = self.cursor.input.get(self.cursor.at..).unwrap_or_default();
        let length = number_length(rest);
        if length == rest.len() && !self.levels.is_empty() {
            return Err(Stop::Cut); // more digits may have followed
        }
        let text = std::str::from_utf8(rest.get(..length).unwrap_or_default()).unwrap_or_default();
        let key = self.levels.last().map_or("", |level| level.key.as_ref());
        if self.strings.is_some() && is_number_text(key, text) {
            self.locate();
            if let Some(strings) = &mut self.strings {
                let key = self.levels.last().map_or("", |level| level.key.as_ref());
                strings.string(self.path.as_str(), key, text);
            }
        }
        // Numbers in arrays (embeddings) are not kept: they are not worth reading either.
        if self.levels.last().is_some_and(|level| !level.is_object) {
            self.element(text);
        } else {
            let number = read_number(text).ok_or(Stop::Malformed)?;
            let key = self.levels.last().map_or(&NO_KEY, |level| &level.key);
            self.build.scalar(key, Scalar::Number(number), self.cursor.at..self.cursor.at + length);
        }
        self.cursor.at += length;
        Ok(())
    }

    /// Gives out what was read of a string, however it ended.
    fn found_string(&mut self, found: Found<'a>, end: Result<bool, Stop>, start: usize) -> Result<(), Stop> {
        if self.strings.is_some() {
            self.locate();
        }
        let text = self.cursor.text(found);
        let key = self.levels.last().map_or(&NO_KEY, |level| &level.key);
        if let Some(strings) = &mut self.strings {
            strings.string(self.path.as_str(), key, text);
        }
        if !end? {
            return Err(Stop::Cut);
        }
        let value = if let Found::Plain(text) = found { Scalar::Plain(text) } else { Scalar::Decoded(text) };
        self.build.scalar(key, value, start..self.cursor.at - 1);
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
                    let (found, end) = self.cursor.string();
                    if let Some(strings) = &mut self.strings {
                        strings.string(self.path.as_str(), "", self.cursor.text(found));
                    }
                    if !end? {
                        return Err(Stop::Cut);
                    }
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
}

impl Level<'_> {
    /// Makes a path that of the present member or element.
    fn extend(&self, path: &mut Path) {
        path.truncate(self.path);
        if self.is_object {
            path.key(&self.key);
        } else {
            path.index(self.index);
        }
    }
}

/// The key of what has none.
const NO_KEY: Cow<'static, str> = Cow::Borrowed("");

/// How many bytes at the start can be those of a number.
pub(super) fn number_length(bytes: &[u8]) -> usize {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    bytes.iter().take_while(|byte| is_part(byte)).count()
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
            Value::Number(number) => found.extend(Some(number.to_string()).filter(|text| is_number_text("", text))),
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
