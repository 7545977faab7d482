//! A tolerant JSON reader (RFC 8259). Enters: the bytes of a body, whole or cut. Leaves: every string with its JSON path, in
//! order, and an outline of the document for reading facts. One pass, no recursion; what is cut or malformed gives what was
//! readable up to there. Never reports a number, a key or a container that was cut: only strings may be partial, because a
//! leak in half a string is still a leak. What a key or a number may hide (a mail address, a card) is given as a string too.

use serde_json::{Map, Number, Value};

use super::path::Path;

/// Containers deeper than this are still searched for strings, but no longer told apart.
const MAX_DEPTH: usize = 128;
/// Values kept in the outline below an array, and those that are not. Usage stands below no array, so that a body full of
/// bulk (log probabilities, embeddings) cannot push it out.
const MAX_BULK_VALUES: usize = 100_000;
const MAX_OTHER_VALUES: usize = 10_000;

/// Shortest key that is text whatever is in it, and fewest digits of an integer that is text.
const KEY_MIN_CHARS: usize = 12;
const NUMBER_MIN_DIGITS: usize = 9;
/// Members whose long integers are times.
const TIMES: [&str; 5] = ["created", "created_at", "completed_at", "expires_at", "timestamp"];

/// Whether a key may be more than a name of a schema. Those are short, or lower-case words.
pub(super) fn is_key_text(key: &str) -> bool {
    key.bytes().any(|byte| byte.is_ascii_digit() || byte == b'@')
        || (key.len() >= KEY_MIN_CHARS && !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
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
    let mut reader = Reader {
        input,
        at: 0,
        path: Path::new(root),
        frames: Vec::new(),
        root: Value::Null,
        keep,
        bulk: 0,
        other: 0,
        arrays: 0,
        scratch: String::new(),
        strings,
    };
    let end = match reader.document() {
        Ok(()) => Ended::Whole,
        Err(Stop::Cut) => Ended::Cut,
        Err(Stop::Malformed) => Ended::Malformed(reader.at),
    };
    Outline { doc: reader.into_doc(), end }
}

enum Stop {
    Cut,
    Malformed,
}

struct Frame {
    into: Filling,
    /// Length of the path up to this container.
    path: usize,
    /// Key of the present member; elements have none.
    key: String,
    /// Index of the present element.
    index: usize,
}

enum Filling {
    Object(Map<String, Value>),
    Array(Vec<Value>),
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    path: Path,
    frames: Vec<Frame>,
    root: Value,
    keep: usize,
    bulk: usize,
    other: usize,
    arrays: usize,
    scratch: String,
    strings: &'a mut dyn Strings,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), Stop> {
        self.value()?;
        while let Some(frame) = self.frames.last() {
            let is_object = matches!(frame.into, Filling::Object(_));
            match (self.peek()?, is_object) {
                (b'}', true) | (b']', false) => {
                    self.at += 1;
                    self.leave();
                }
                (b',', _) => {
                    self.at += 1;
                    self.member(is_object)?;
                }
                _ => return Err(Stop::Malformed),
            }
        }
        if self.peek().is_ok() { Err(Stop::Malformed) } else { Ok(()) }
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Result<u8, Stop> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.at += blank;
        rest.get(blank).copied().ok_or(Stop::Cut)
    }

    /// A value; a container is entered, with its first member, and left open on `frames`.
    fn value(&mut self) -> Result<(), Stop> {
        loop {
            match self.peek()? {
                b'"' => {
                    let end = self.string();
                    return self.found_string(end);
                }
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    if self.frames.len() >= MAX_DEPTH {
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
                b't' => return self.literal(b"true", Value::Bool(true)),
                b'f' => return self.literal(b"false", Value::Bool(false)),
                b'n' => return self.literal(b"null", Value::Null),
                b'-' | b'0'..=b'9' => return self.number(),
                _ => return Err(Stop::Malformed),
            }
        }
    }

    fn member(&mut self, is_object: bool) -> Result<(), Stop> {
        if is_object {
            self.key()?;
        } else if let Some(frame) = self.frames.last_mut() {
            frame.index += 1;
        }
        self.value()
    }

    fn key(&mut self) -> Result<(), Stop> {
        if self.peek()? != b'"' {
            return Err(Stop::Malformed);
        }
        let start = self.at;
        match self.string() {
            Ok(true) => {}
            Ok(false) => return Err(Stop::Cut),
            Err(stop) => {
                self.at = start; // the whole key is in what is no JSON
                return Err(stop);
            }
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.key.clear();
            frame.key.push_str(&self.scratch);
        }
        if is_key_text(&self.scratch) {
            self.locate();
            self.path.name();
            self.strings.string(self.path.as_str(), "", &self.scratch);
        }
        if self.peek()? != b':' {
            return Err(Stop::Malformed);
        }
        self.at += 1;
        Ok(())
    }

    fn enter(&mut self, is_object: bool) {
        self.locate();
        if !is_object {
            self.arrays += 1;
        }
        let into = if is_object { Filling::Object(Map::new()) } else { Filling::Array(Vec::new()) };
        self.frames.push(Frame { into, path: self.path.len(), key: String::new(), index: 0 });
    }

    fn leave(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        let value = match frame.into {
            Filling::Object(map) => Value::Object(map),
            Filling::Array(values) => {
                self.arrays -= 1;
                Value::Array(values)
            }
        };
        self.keep(value);
    }

    /// Makes `path` that of the present value.
    fn locate(&mut self) {
        let Some(frame) = self.frames.last() else { return };
        self.path.truncate(frame.path);
        match frame.into {
            Filling::Object(_) => self.path.key(&frame.key),
            Filling::Array(_) => self.path.index(frame.index),
        }
    }

    fn keep(&mut self, value: Value) {
        let (count, most) =
            if self.arrays > 0 { (&mut self.bulk, MAX_BULK_VALUES) } else { (&mut self.other, MAX_OTHER_VALUES) };
        if *count >= most {
            return;
        }
        *count += 1;
        match self.frames.last_mut() {
            None => self.root = value,
            Some(Frame { into: Filling::Object(map), key, .. }) => {
                map.insert(key.clone(), value);
            }
            Some(Frame { into: Filling::Array(_), .. }) if value.is_number() => {}
            Some(Frame { into: Filling::Array(values), .. }) => values.push(value),
        }
    }

    fn literal(&mut self, word: &[u8], value: Value) -> Result<(), Stop> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        if rest.starts_with(word) {
            self.at += word.len();
            self.keep(value);
            return Ok(());
        }
        Err(if word.starts_with(rest) { Stop::Cut } else { Stop::Malformed })
    }

    fn number(&mut self) -> Result<(), Stop> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        if length == rest.len() && !self.frames.is_empty() {
            return Err(Stop::Cut); // more digits may have followed
        }
        let text = std::str::from_utf8(rest.get(..length).unwrap_or_default()).unwrap_or_default();
        self.locate();
        let key = if let Some(Frame { into: Filling::Object(_), key, .. }) = self.frames.last() { key } else { "" };
        if is_number_text(key, text) {
            self.strings.string(self.path.as_str(), key, text);
        }
        // Numbers in arrays (embeddings) are not kept: they are not worth reading either.
        if let Some(Frame { into: Filling::Array(_), path, .. }) = self.frames.last() {
            self.strings.element(self.path.as_str().get(..*path).unwrap_or_default(), text);
        } else {
            let number: Number = text.parse().map_err(|_| Stop::Malformed)?;
            self.keep(Value::Number(number));
        }
        self.at += length;
        Ok(())
    }

    /// Gives out what was read of a string, however it ended.
    fn found_string(&mut self, end: Result<bool, Stop>) -> Result<(), Stop> {
        self.locate();
        let key = if let Some(Frame { into: Filling::Object(_), key, .. }) = self.frames.last() { key } else { "" };
        self.strings.string(self.path.as_str(), key, &self.scratch);
        if !end? {
            return Err(Stop::Cut);
        }
        let kept = self.scratch.len() <= self.keep;
        let value = if kept { Value::String(self.scratch.clone()) } else { Value::Null };
        self.keep(value);
        Ok(())
    }

    /// Past the depth bound: every string, keys too, counts as text of the container that is too deep.
    fn deep(&mut self) -> Result<(), Stop> {
        self.locate();
        let mut depth = 1_usize;
        while depth > 0 {
            let rest = self.input.get(self.at..).unwrap_or_default();
            let skip =
                rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']')).ok_or(Stop::Cut)?;
            self.at += skip;
            match rest.get(skip) {
                Some(b'"') => {
                    let end = self.string();
                    self.strings.string(self.path.as_str(), "", &self.scratch);
                    if !end? {
                        return Err(Stop::Cut);
                    }
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                _ => depth -= 1,
            }
            self.at += 1;
        }
        self.keep(Value::Null);
        Ok(())
    }

    /// Decodes the string at `at` into `scratch`. False: the input ends inside it. Malformed: `at` is the backslash that says
    /// nothing, and `scratch` holds what stands before it.
    fn string(&mut self) -> Result<bool, Stop> {
        self.at += 1;
        self.scratch.clear();
        loop {
            let rest = self.input.get(self.at..).unwrap_or_default();
            let Some(end) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.input.len();
                // A character that is cut at the very end is dropped, not replaced.
                let text = String::from_utf8_lossy(rest);
                self.scratch.push_str(text.trim_end_matches('\u{fffd}'));
                return Ok(false);
            };
            let (plain, tail) = rest.split_at(end);
            self.scratch.push_str(&String::from_utf8_lossy(plain));
            self.at += end + 1;
            if tail.first() == Some(&b'"') {
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
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'"' | b'\\' | b'/' => char::from(byte),
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
            _ => return Err(Stop::Malformed),
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

    /// The outline. When reading stopped early, whole members of the outermost container are kept; those that were open are
    /// not, because half a container says things (a sum, a count) that the whole one did not.
    fn into_doc(mut self) -> Value {
        self.frames.truncate(1);
        match self.frames.pop() {
            None => self.root,
            Some(Frame { into: Filling::Object(map), .. }) => Value::Object(map),
            Some(Frame { into: Filling::Array(values), .. }) => Value::Array(values),
        }
    }
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
        assert!(outline.doc["a"].as_array().unwrap().len() <= MAX_BULK_VALUES);
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
        fn garbage_never_panics(text in "[\\[\\]{}\",:\\\\u0-9a-f tn.-]{0,60}") {
            run(text.as_bytes());
        }
    }
}
