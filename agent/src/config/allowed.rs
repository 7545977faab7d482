//! Values of `[[rules.allow]]`. Enters: text. Leaves: compiled globs and patterns, checked fingerprints, a reason that is one.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use regex::bytes::{Regex, RegexBuilder};

use super::{
    leaf::{Leaf, leaf, leaf_text},
    names::named,
};

/// Hexadecimal digits of a fingerprint.
const FINGERPRINT_DIGITS: usize = 32;
/// Bound of one compiled pattern, bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

leaf_text! {
    /// Why something is allowed.
    Reason, "a sentence, such as \"made-up customers of the load test\"", |text| named(text).map(|()| text.to_owned())
}

leaf_text! {
    /// The value of a fingerprint.
    FingerprintValue, "a fingerprint of 32 hexadecimal digits, as findings have it", |text| {
        let is_one = text.len() == FINGERPRINT_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_one { Ok(text.to_ascii_lowercase()) } else { Err(None) }
    }
}

/// A pattern for files: with `/` before it for the whole path, else for its end.
#[derive(Clone, Debug)]
pub struct FileGlob {
    text: String,
    matcher: GlobMatcher,
}

impl FileGlob {
    /// The compiled glob.
    pub fn matcher(&self) -> &GlobMatcher {
        &self.matcher
    }
}

impl PartialEq for FileGlob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for FileGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Leaf for FileGlob {
    fn form() -> String {
        "a path, or the end of one, in which `*`, `?`, `**`, `[a-z]` and `{a,b}` may stand, such as \"tests/**\""
            .to_owned()
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        named(text)?;
        let whole = if text.starts_with('/') { text.to_owned() } else { format!("**/{text}") };
        let built = GlobBuilder::new(&whole).literal_separator(true).backslash_escape(true).build();
        let glob = built.map_err(|error| Some(format!("is no glob ({})", error.kind())))?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }
}

leaf!(FileGlob);

/// A pattern that is searched in a text.
#[derive(Clone, Debug)]
pub struct TextPattern(Regex);

impl TextPattern {
    /// The compiled pattern.
    pub fn regex(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for TextPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl fmt::Display for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Leaf for TextPattern {
    fn form() -> String {
        "a regular expression (syntax of the Rust crate regex), such as \"@example[.]com$\"".to_owned()
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        if text.is_empty() {
            return Err(Some("is empty, so it would fit everything".to_owned()));
        }
        let built = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX).build();
        built.map(Self).map_err(|error| {
            let error = error.to_string();
            let last = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Some(format!("is no pattern ({last})"))
        })
    }
}

leaf!(TextPattern);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_mean_the_end_of_a_path_or_all_of_it() {
        for (glob, path, fits) in [
            ("tests/**", "tests/a/b.log", true),
            ("tests/**", "/srv/app/tests/b.log", true),
            ("tests/**", "/srv/contests/b.log", false),
            ("*.snap", "/a/b.snap", true),
            ("*.snap", "b.snap", true),
            ("/srv/*.log", "/srv/a.log", true),
            ("/srv/*.log", "/x/srv/a.log", false),
            ("/srv/*.log", "/srv/a/b.log", false),
        ] {
            assert_eq!(FileGlob::parse(glob).unwrap().matcher().is_match(path), fits, "{glob} {path}");
        }
        assert!(FileGlob::parse("").is_err() && FileGlob::parse("[a").is_err());
    }

    #[test]
    fn patterns_and_fingerprints_are_checked() {
        assert!(TextPattern::parse("@example[.]com$").unwrap().regex().is_match(b"a@example.com"));
        for bad in ["", "(", "a{1000}{1000}"] {
            assert!(TextPattern::parse(bad).is_err(), "{bad}");
        }
        let print = FingerprintValue::parse(&"0aF1".repeat(8)).ok().unwrap();
        assert_eq!(print.as_str(), "0af1".repeat(8));
        assert!(FingerprintValue::parse("0af1").is_err());
        assert!(Reason::parse(" ").is_err() && Reason::parse("the load test").is_ok());
    }
}
