//! Where in a JSON line a match stands. Enters: a line and a position in it. Leaves: the path of the value, `$.user.mail[0]`, when the
//! line is one JSON document. It looks at the line and decodes nothing; whoever shows the path hides keys that are no plain names.

use serde::de::IgnoredAny;

/// Longest line that is looked at, bytes: each finding in it costs a pass.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting that is followed.
const DEPTH_MAX: usize = 64;

enum Level<'a> {
    /// With the key that was read last.
    Object(Option<&'a [u8]>),
    Array(usize),
}

/// The path of what stands at `at`.
pub(super) fn path_at(line: &[u8], at: usize) -> Option<String> {
    let first = line.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if !matches!(first, b'{' | b'[') || line.len() > LINE_BYTES_MAX || at >= line.len() {
        return None;
    }
    // A text in braces is no document.
    serde_json::from_slice::<IgnoredAny>(line).ok()?;
    let mut levels: Vec<Level<'_>> = Vec::new();
    let mut position = 0;
    while position <= at {
        match line.get(position)? {
            b'{' => levels.push(Level::Object(None)),
            b'[' => levels.push(Level::Array(0)),
            b'}' | b']' => drop(levels.pop()),
            b',' => match levels.last_mut() {
                Some(Level::Array(index)) => *index += 1,
                Some(Level::Object(key)) => *key = None,
                None => {}
            },
            b'"' => {
                let text = string(line.get(position + 1..)?)?;
                let end = position + 1 + text.len();
                // In the value, or in the key: then it is the object's.
                if end >= at {
                    break;
                }
                if let Some(Level::Object(key @ None)) = levels.last_mut() {
                    *key = Some(text);
                }
                position = end;
            }
            _ => {}
        }
        if levels.len() > DEPTH_MAX {
            return None;
        }
        position += 1;
    }
    let mut path = "$".to_owned();
    for level in &levels {
        match level {
            Level::Array(index) => path.extend(["[", &index.to_string(), "]"]),
            Level::Object(None) => {}
            Level::Object(Some(key)) => {
                let plain = key.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
                let key = std::str::from_utf8(key).ok().filter(|key| plain && !key.is_empty());
                path.push_str(&key.map_or_else(|| "['…']".to_owned(), |key| format!(".{key}")));
            }
        }
    }
    Some(path)
}

/// What stands before the quote that ends a string.
fn string(text: &[u8]) -> Option<&[u8]> {
    let mut from = 0;
    loop {
        let found = from + memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        if text.get(found) == Some(&b'"') {
            return text.get(..found);
        }
        // A backslash takes the next byte with it.
        from = found + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_leads_to_the_value() {
        for (line, path) in [
            (r#"{"user":{"mail":"X"}}"#, Some("$.user.mail")),
            (r#"  {"a":[1,{"b":["y","X"]}],"c":2}"#, Some("$.a[1].b[1]")),
            (r#"["X"]"#, Some("$[0]")),
            (r#"{"a":"\"{[,","b":"zX"}"#, Some("$.b")),
            (r#"{"a b":"X"}"#, Some("$['…']")),
            (r#"{"o":{"X":1}}"#, Some("$.o")),
            (r#"{"a":1,"n":"é X"}"#, Some("$.n")),
            (r#"{"a":"X""#, None),
            (r#"{not "json": X}"#, None),
            ("plain X", None),
        ] {
            let at = line.find('X').unwrap();
            assert_eq!(path_at(line.as_bytes(), at).as_deref(), path, "{line}");
        }
        assert_eq!(path_at(b"{}", 5), None);
        let deep = "[".repeat(100) + "\"X\"" + &"]".repeat(100);
        assert_eq!(path_at(deep.as_bytes(), 101), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(line in "[\\[\\]{}\":,a1\\\\ ]{0,40}", at in 0_usize..50) {
            let _ = path_at(line.as_bytes(), at);
        }
    }
}
