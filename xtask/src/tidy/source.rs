//! Reads Rust source as far as tidy needs it. Enters: a file's text. Leaves: its code without comments, texts and test
//! modules, as tokens, and the paths that it names. It never fails: what it cannot read it takes for code.

/// A piece of code: a word (identifier, keyword, number) or one sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// 1-based.
    pub(super) line: usize,
}

/// A path that the code names, such as `crate::units::Severity`; the trees of `use` are unfolded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

/// Words that may stand right before a path that starts with `::`.
const KEYWORDS: [&str; 9] = ["as", "dyn", "else", "for", "impl", "in", "mut", "return", "use"];

/// Blanks comments, strings and character literals; every line keeps its number and every byte its place.
pub(super) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = skipped(bytes, at);
        if end > at {
            for byte in out.iter_mut().take(end).skip(at).filter(|byte| **byte != b'\n') {
                *byte = b' ';
            }
            at = end;
        } else if is_word(bytes[at]) {
            // A whole word at a time, so that the `r` of `for"` or the `'` of a lifetime never starts a literal.
            at += bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
        } else {
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that starts at `at` ends; `at` itself when none does.
fn skipped(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let length = match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest, 1),
        [b'b' | b'c', b'"', ..] => quoted(rest, 2),
        [b'b', b'\'', ..] => character(rest, 2),
        [b'r', b'"' | b'#', ..] => raw(rest, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] => raw(rest, 2),
        [b'\'', ..] => character(rest, 1),
        _ => 0,
    };
    at + length
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], opening: usize) -> usize {
    let mut at = opening;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `r#"…"#`; a raw identifier (`r#type`) is code.
fn raw(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return 0;
    }
    let mut end = vec![b'"'];
    end.resize(hashes + 1, b'#');
    let body = prefix + hashes + 1;
    rest[body..].windows(end.len()).position(|window| window == end).map_or(rest.len(), |at| body + at + end.len())
}

/// `'x'`, `'\n'`, `'é'`; a lifetime (`'a`) is code.
fn character(rest: &[u8], opening: usize) -> usize {
    if rest.get(opening) == Some(&b'\\') {
        let body = opening + 2; // behind the sign that the backslash escapes
        return rest.iter().skip(body).position(|byte| *byte == b'\'').map_or(rest.len(), |at| body + at + 1);
    }
    let width = rest.get(opening).map_or(0, |first| match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    });
    if rest.get(opening + width) == Some(&b'\'') { opening + width + 1 } else { 0 }
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// Splits code (see [`code`]) into tokens; `::` is one.
pub(super) fn tokens(code: &str) -> Vec<Token<'_>> {
    let bytes = code.as_bytes();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let length = match bytes[at] {
            b'\n' => {
                line += 1;
                0
            }
            byte if byte.is_ascii_whitespace() => 0,
            byte if is_word(byte) => bytes[at..].iter().take_while(|byte| is_word(**byte)).count(),
            b':' if bytes.get(at + 1) == Some(&b':') => 2,
            _ => 1,
        };
        if length > 0 {
            found.push(Token { text: &code[at..at + length], line });
        }
        at += length.max(1);
    }
    found
}

/// The tokens without what only tests see: items under `#[cfg(test)]`.
pub(super) fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(&tokens[at..], &["#", "[", "cfg", "(", "test", ")", "]"])
            || starts_with(&tokens[at..], &["#", "[", "cfg", "(", "all", "(", "test"])
        {
            at = item_end(tokens, at);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Do the tokens read so?
pub(super) fn starts_with(tokens: &[Token<'_>], words: &[&str]) -> bool {
    tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| token.text == *word)
}

/// Behind the item that starts at `start` with its attributes: behind its block, or its semicolon.
pub(super) fn item_end(tokens: &[Token<'_>], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Every path of at least two segments, and every `use` of one, with trees unfolded.
pub(super) fn paths(tokens: &[Token<'_>]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = if begins_path(tokens, at) { tree(tokens, at, &[], &mut found) } else { at + 1 };
    }
    found
}

/// A name, but no keyword before a path, and not the rest of one (`Vec::<T>::new`).
fn begins_path(tokens: &[Token<'_>], at: usize) -> bool {
    let before = |steps| at.checked_sub(steps).map_or("", |at| tokens[at].text);
    let continues = before(1) == "::" && (before(2) == ">" || is_name(before(2)) && !KEYWORDS.contains(&before(2)));
    is_name(tokens[at].text) && !KEYWORDS.contains(&tokens[at].text) && !continues
}

/// Reads one path or `use` tree; returns where it ends.
fn tree(tokens: &[Token<'_>], start: usize, prefix: &[String], found: &mut Vec<Path>) -> usize {
    let mut segments = prefix.to_vec();
    let mut at = start;
    while let Some(token) = tokens.get(at) {
        if token.text == "{" && at > start {
            return group(tokens, at + 1, &segments, found);
        }
        if !is_name(token.text) && token.text != "*" {
            break;
        }
        segments.push(token.text.to_owned());
        at += 1;
        if tokens.get(at).is_none_or(|next| next.text != "::") {
            break;
        }
        at += 1;
    }
    let line = tokens.get(start).map_or(0, |token| token.line);
    found.push(Path { segments, line });
    at.max(start + 1)
}

/// Reads `a, b::{c, d}}`; the opening brace is behind us.
fn group(tokens: &[Token<'_>], start: usize, prefix: &[String], found: &mut Vec<Path>) -> usize {
    let mut at = start;
    while let Some(token) = tokens.get(at) {
        at = match token.text {
            "}" => return at + 1,
            "{" => group(tokens, at + 1, prefix, found),
            "as" => at + 2, // the new name is no path
            text if is_name(text) || text == "*" => tree(tokens, at, prefix, found),
            _ => at + 1,
        };
    }
    at
}

fn is_name(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| is_word(byte) && !byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<String> {
        let code = code(text);
        let tokens = tokens(&code);
        paths(&without_tests(&tokens))
            .into_iter()
            .map(|path| path.segments.join("::"))
            .filter(|path| path.contains("::"))
            .collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        for (text, expected) in [
            ("a // b::c\nd", "a         \nd"),
            ("/* x /* y */ z */ a", "                  a"),
            (r#"f("crate::x \" y") b"#, "f(              ) b"),
            ("r#\"a\"b\"# c r#type", "          c r#type"),
            ("b'\\'' '\"' x", "            x"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("'\\u{1F600}' '\u{e9}' y", "                y"),
            ("\"open", "     "),
            ("/* open", "       "),
            ("'\\", "  "),
        ] {
            let got = code(text);
            assert_eq!(got.len(), text.len(), "{text:?}");
            assert_eq!(
                got.split_whitespace().collect::<Vec<_>>(),
                expected.split_whitespace().collect::<Vec<_>>(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn trees_of_use_are_unfolded() {
        let text = "use crate::{a, b::{self, c as d, *}, e::f}; let x = crate::g::h::<T>(std::fs::read);";
        assert_eq!(
            named(text),
            ["crate::a", "crate::b::self", "crate::b::c", "crate::b::*", "crate::e::f", "crate::g::h", "std::fs::read"]
        );
        assert_eq!(named("use ::std::fs;"), ["std::fs"]);
        assert_eq!(named("match x { Self::A => {} }"), ["Self::A"]);
    }

    #[test]
    fn test_modules_are_left_out_and_what_follows_is_not() {
        let text =
            "a::b();\n#[cfg(test)]\nmod tests { use std::fs; fn f() { c::d() } }\n#[cfg(test)]\nuse x::y;\ne::f();";
        assert_eq!(named(text), ["a::b", "e::f"]);
        assert_eq!(named("#[cfg(test)] #[path = \"t.rs\"] mod tests; g::h();"), ["g::h"]);
    }

    #[test]
    fn tokens_know_their_lines() {
        let code = code("a\n/* x\n */ b");
        assert_eq!(tokens(&code), [Token { text: "a", line: 1 }, Token { text: "b", line: 3 }]);
    }
}
