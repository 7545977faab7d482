//! Signatures: how TLS functions look in programs whose symbols are gone. Enters: `rules/tls/*.toml`. Leaves: [`TlsRules`],
//! byte patterns with holes. Never looks into a program: the tap does.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::{RuleError, RuleFile, RuleSource, line_of};

/// Fewest bytes that a pattern must name. In 100 MB of code, 16 bytes were found 5 times, 48 bytes once (notes anchors-ebpf.md
/// §3.2); holes count for nothing.
const FIXED_MIN: usize = 32;
/// Longest pattern.
const PATTERN_BYTES_MAX: usize = 1024;
/// Shortest row of named bytes that a search may start from.
const RUN_MIN: usize = 5;
/// Bytes of a hole that a name stands for: the displacement of a call.
pub const DISPLACEMENT_BYTES: usize = 4;

/// All signatures.
#[derive(Clone, Debug, Default)]
pub struct TlsRules {
    signatures: Vec<Signature>,
}

/// One function as one compiler made it.
#[derive(Clone, Debug)]
pub struct Signature {
    /// `boringssl.clang-read-1`: the stack, and the shape.
    pub id: String,
    /// Which TLS library it is part of: what stands before the dot of the id.
    pub stack: String,
    /// The function that begins with the pattern.
    pub function: String,
    /// The pattern is all of the function, so that its ways out are known.
    pub whole: bool,
    /// Programs and versions in which it was found exactly once.
    pub seen_in: Vec<String>,
    /// Where the facts come from.
    pub references: Vec<String>,
    /// Its bytes.
    pub pattern: Pattern,
}

/// Bytes with holes.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    /// Value and mask: a hole is `(0, 0)`.
    bytes: Vec<(u8, u8)>,
    /// The longest row without a hole.
    run: Range<usize>,
    /// Displacements of calls that have a name, by position.
    calls: Vec<(usize, String)>,
}

impl Pattern {
    /// Reads hexadecimal bytes, `??` for any byte, `{name}` for the four bytes of a call's displacement, `#` to the end of the
    /// line for people.
    fn parse(text: &str) -> Result<Self, String> {
        let mut pattern = Self::default();
        for token in text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace()) {
            if token == "??" {
                pattern.bytes.push((0, 0));
            } else if let Some(name) = token.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                pattern.calls.push((pattern.bytes.len(), name.to_owned()));
                pattern.bytes.extend([(0, 0); DISPLACEMENT_BYTES]);
            } else if token.len() == 2
                && token.bytes().all(|digit| digit.is_ascii_hexdigit())
                && let Ok(byte) = u8::from_str_radix(token, 16)
            {
                pattern.bytes.push((byte, 0xff));
            } else {
                return Err(format!("`{token}` must be two hexadecimal digits, `??` or `{{name}}`"));
            }
        }
        let fixed = pattern.bytes.iter().filter(|(_, mask)| *mask != 0).count();
        if fixed < FIXED_MIN || pattern.bytes.len() > PATTERN_BYTES_MAX {
            return Err(format!(
                "has {fixed} bytes that are no hole and {} in all; it needs {FIXED_MIN} of the one, and at most {PATTERN_BYTES_MAX} of the other",
                pattern.bytes.len()
            ));
        }
        pattern.run = longest_run(&pattern.bytes);
        if pattern.run.len() < RUN_MIN {
            return Err(format!("has no row of {RUN_MIN} bytes without a hole, from which a search could start"));
        }
        Ok(pattern)
    }

    /// How many bytes it covers.
    #[expect(clippy::len_without_is_empty, reason = "no pattern is empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The longest row of bytes without a hole, and where in the pattern it stands: what to search for first.
    pub fn run(&self) -> (usize, Vec<u8>) {
        let run = self.bytes.get(self.run.clone()).unwrap_or_default();
        (self.run.start, run.iter().map(|(byte, _)| *byte).collect())
    }

    /// Whether `code` begins with it.
    pub fn matches(&self, code: &[u8]) -> bool {
        code.len() >= self.bytes.len() && self.bytes.iter().zip(code).all(|((byte, mask), have)| have & mask == *byte)
    }

    /// The named calls: where each one's displacement stands in the pattern, and the name.
    pub fn calls(&self) -> &[(usize, String)] {
        &self.calls
    }
}

fn longest_run(bytes: &[(u8, u8)]) -> Range<usize> {
    let mut longest = 0..0;
    let mut start = 0;
    for (at, (_, mask)) in bytes.iter().enumerate() {
        if *mask == 0 {
            start = at + 1;
        } else if at + 1 - start > longest.len() {
            longest = start..at + 1;
        }
    }
    longest
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    signature: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    function: String,
    #[serde(default)]
    whole: bool,
    seen_in: Spanned<Vec<String>>,
    references: Vec<String>,
    pattern: Spanned<String>,
}

impl TlsRules {
    /// Reads `tls/*.toml`.
    pub fn load(source: &RuleSource) -> Result<Self, RuleError> {
        Self::read(&source.files("tls")?)
    }

    fn read(files: &[RuleFile]) -> Result<Self, RuleError> {
        let mut rules = Self::default();
        for file in files {
            let parsed: File = toml::from_str(&file.text).map_err(|error| {
                let what = error.message().to_owned();
                invalid(file, error.span().unwrap_or_default(), what)
            })?;
            for entry in parsed.signature {
                rules.add(file, entry)?;
            }
        }
        Ok(rules)
    }

    fn add(&mut self, file: &RuleFile, entry: Entry) -> Result<(), RuleError> {
        let is_word = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        let id = entry.id.get_ref();
        let stack =
            id.split_once('.').filter(|(stack, shape)| is_word(stack) && is_word(shape)).map(|(stack, _)| stack);
        let Some(stack) = stack.map(str::to_owned) else {
            return Err(invalid(file, entry.id.span(), format!("id: `{id}` must be `stack.shape`, lower-case")));
        };
        if self.signatures.iter().any(|signature| signature.id == *id) {
            return Err(invalid(file, entry.id.span(), format!("id: `{id}` stands in the rules already")));
        }
        if entry.seen_in.get_ref().is_empty() {
            let message = "seen_in: name a program and version in which it was found exactly once".to_owned();
            return Err(invalid(file, entry.seen_in.span(), message));
        }
        let pattern = Pattern::parse(entry.pattern.get_ref())
            .map_err(|message| invalid(file, entry.pattern.span(), format!("pattern: {message}")))?;
        self.signatures.push(Signature {
            id: entry.id.into_inner(),
            stack,
            function: entry.function,
            whole: entry.whole,
            seen_in: entry.seen_in.into_inner(),
            references: entry.references,
            pattern,
        });
        Ok(())
    }

    /// Every signature.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The signatures of one function of one stack, one a shape.
    pub fn of<'a>(&'a self, stack: &'a str, function: &'a str) -> impl Iterator<Item = &'a Signature> {
        self.signatures.iter().filter(move |signature| signature.stack == stack && signature.function == function)
    }
}

fn invalid(file: &RuleFile, span: Range<usize>, message: String) -> RuleError {
    RuleError::Invalid { file: file.path.clone(), line: line_of(&file.text, span.start), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f";

    #[test]
    fn a_pattern_matches_what_it_names_and_nothing_else() {
        let pattern = Pattern::parse(&format!("{HEX} # thirty-two\n e8 {{callee}} ?? ff")).unwrap();
        assert_eq!(pattern.len(), 39);
        assert_eq!(pattern.calls(), [(33, "callee".to_owned())]);
        assert_eq!(pattern.run(), (0, (0..32).chain([0xe8]).collect()));
        let mut code: Vec<u8> = (0..32).chain([0xe8, 1, 2, 3, 4, 0x77, 0xff, 0x99]).collect();
        assert!(pattern.matches(&code) && !pattern.matches(&code[..38]) && !pattern.matches(&[]));
        for at in 0..39 {
            code[at] ^= 0x40;
            assert_eq!(pattern.matches(&code), (33..38).contains(&at), "byte {at}");
            code[at] ^= 0x40;
        }
    }

    #[test]
    fn the_rules_of_this_project_load_and_no_two_shapes_of_a_function_are_one() {
        let rules = TlsRules::load(&RuleSource::Embedded).unwrap();
        assert!(rules.of("boringssl", "SSL_read").count() > 1);
        for signature in rules.signatures() {
            // The least that fits: every hole is zero. Only its own pattern may fit it.
            let least: Vec<u8> = signature.pattern.bytes.iter().map(|(byte, _)| *byte).collect();
            for other in rules.signatures() {
                assert_eq!(
                    other.pattern.matches(&least),
                    other.id == signature.id,
                    "{} and {}",
                    other.id,
                    signature.id
                );
            }
        }
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let good = format!(
            "[[signature]]\nid = \"a.b\"\nfunction = \"f\"\nseen_in = [\"a 1\"]\nreferences = []\npattern = \"{HEX}\"\n"
        );
        assert_eq!(
            TlsRules::read(&[RuleFile { path: String::new(), text: good.clone() }]).unwrap().signatures().len(),
            1
        );
        for (text, line, part) in [
            (good.replace("a.b", "ab"), 2, "id: `ab`"),
            (good.replace("a.b", "A.b"), 2, "id: `A.b`"),
            (format!("{good}{good}"), 8, "id: `a.b` stands in the rules already"),
            (good.replace("[\"a 1\"]", "[]"), 4, "seen_in: "),
            (good.replace("function", "functoin"), 3, "functoin"),
            (good.replace("1f", "1"), 6, "pattern: `1` must be"),
            (good.replace("1f", "gg"), 6, "pattern: `gg` must be"),
            (good.replace("1f", "+f"), 6, "pattern: `+f` must be"),
            (good.replace("1f", "??"), 6, "pattern: has 31 bytes"),
            (good.replace(' ', " ?? "), 2, ""),
            (good.replace(HEX, &HEX.replace(' ', " ?? ")), 6, "pattern: has no row"),
        ] {
            let error = TlsRules::read(&[RuleFile { path: "tls/x.toml".to_owned(), text }]).unwrap_err().to_string();
            assert!(error.starts_with("tls/x.toml:") && error.contains(part), "{error}");
            assert!(part.is_empty() || error.starts_with(&format!("tls/x.toml:{line}: ")), "{error}");
        }
    }
}
