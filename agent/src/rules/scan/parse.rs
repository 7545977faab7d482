//! One rule file to rules. Enters: TOML text. Leaves: [`LoadedRule`]s, or an error that names file, line and key.

use serde::Deserialize;
use toml::Spanned;

use super::{Key, LoadedRule, MIN_EXAMPLES, Place, ScanRule, Trigger};
use crate::{
    rules::{RuleError, RuleFile, line_of},
    units::Severity,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: Spanned<String>,
    entity: Spanned<String>,
    title: Spanned<String>,
    severity: Severity,
    confidence: Spanned<u8>,
    pattern: Spanned<String>,
    keywords: Option<Spanned<Vec<String>>>,
    trigger: Option<Spanned<Trigger>>,
    validator: Option<Spanned<String>>,
    context: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    context_required: bool,
    #[serde(default)]
    allow: Vec<String>,
    allow_patterns: Option<Spanned<Vec<String>>>,
    priority: Option<Spanned<u8>>,
    remedy: Spanned<String>,
    references: Spanned<Vec<String>>,
    examples: Spanned<Vec<String>>,
    counter_examples: Spanned<Vec<String>>,
}

const DEFAULT_PRIORITY: u8 = 50;

/// Reads one rule file.
pub fn parse(file: &RuleFile) -> Result<Vec<LoadedRule>, RuleError> {
    let parsed: File = toml::from_str(&file.text).map_err(|error| explain(file, &error))?;
    let reader = Reader { file };
    parsed.rule.into_iter().map(|raw| reader.rule(raw)).collect()
}

/// A TOML error with file, line and key. The parser names unknown and missing keys itself, but not the key of a bad value.
fn explain(file: &RuleFile, error: &toml::de::Error) -> RuleError {
    let offset = error.span().map_or(0, |span| span.start);
    let message = match key_before(&file.text, offset) {
        Some(key) if !error.message().contains(key) => format!("{key}: {}", error.message()),
        _ => error.message().to_owned(),
    };
    RuleError::Invalid { file: file.path.clone(), line: line_of(&file.text, offset), message }
}

/// The key whose value the byte at `offset` belongs to: the last `name =` at a line start up to that line.
fn key_before(text: &str, offset: usize) -> Option<&str> {
    let line_end = text.get(offset..)?.find('\n').map_or(text.len(), |length| offset + length);
    text.get(..line_end)?.lines().rev().take_while(|line| !line.starts_with('[')).find_map(|line| {
        let (key, _) = line.split_once('=')?;
        let key = key.trim();
        (!key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')).then_some(key)
    })
}

/// `tax id` also as `tax_id`, `tax-id` and `taxid`: what is a phrase in prose is a key in data, `taxId` and `TAX_ID` too. And
/// letters beyond ASCII also as capitals, all or the first, because the search for words folds ASCII alone.
fn spellings(word: &str) -> Vec<String> {
    let mut words = vec![word.to_owned()];
    let add = |words: &mut Vec<String>, word: String| {
        if !words.contains(&word) {
            words.push(word);
        }
    };
    if !word.is_ascii() {
        let upper = |letter: char| letter.to_uppercase().collect::<String>();
        let capitals = word.chars().map(|letter| if letter.is_ascii() { letter.to_string() } else { upper(letter) });
        add(&mut words, capitals.collect());
        let mut letters = word.chars();
        if let Some(first) = letters.next().filter(|first| !first.is_ascii()) {
            add(&mut words, upper(first) + letters.as_str());
        }
    }
    for word in words.clone() {
        for separator in ["_", "-", ""] {
            add(&mut words, word.replace(' ', separator));
        }
    }
    words
}

struct Reader<'a> {
    file: &'a RuleFile,
}

impl Reader<'_> {
    fn line<T>(&self, spanned: &Spanned<T>) -> usize {
        line_of(&self.file.text, spanned.span().start)
    }

    /// The file's name without its folder and its ending.
    fn group(&self) -> &str {
        let name = self.file.path.rsplit('/').next().unwrap_or_default();
        name.strip_suffix(".toml").unwrap_or(name)
    }

    /// What ids begin with. In a folder of ours it tells; a file of the user's own may hold any.
    fn families(&self) -> &'static [&'static str] {
        match self.file.path.split('/').next() {
            Some("pii") => &["pii"],
            Some("secrets") => &["secret"],
            _ => &["custom", "pii", "secret"],
        }
    }

    fn require<T>(&self, holds: bool, key: &str, at: &Spanned<T>, message: &str) -> Result<(), RuleError> {
        if holds {
            return Ok(());
        }
        Err(RuleError::Invalid {
            file: self.file.path.clone(),
            line: self.line(at),
            message: format!("{key}: {message}"),
        })
    }

    fn rule(&self, raw: Raw) -> Result<LoadedRule, RuleError> {
        self.check(&raw)?;
        let mut others = vec![
            (Key::Pattern.as_str(), self.line(&raw.pattern)),
            (Key::Examples.as_str(), self.line(&raw.examples)),
            (Key::CounterExamples.as_str(), self.line(&raw.counter_examples)),
        ];
        let mut note = |key: Key, line: Option<usize>| others.extend(line.map(|line| (key.as_str(), line)));
        note(Key::Keywords, raw.keywords.as_ref().map(|value| self.line(value)));
        note(Key::Trigger, raw.trigger.as_ref().map(|value| self.line(value)));
        note(Key::Validator, raw.validator.as_ref().map(|value| self.line(value)));
        note(Key::AllowPatterns, raw.allow_patterns.as_ref().map(|value| self.line(value)));
        let place = Place { file: self.file.path.clone(), id: self.line(&raw.id), others };
        let list = |value: Option<Spanned<Vec<String>>>| value.map(Spanned::into_inner).unwrap_or_default();
        Ok(LoadedRule {
            rule: ScanRule {
                id: raw.id.into_inner(),
                group: self.group().to_owned(),
                entity: raw.entity.into_inner(),
                title: raw.title.into_inner(),
                severity: raw.severity,
                confidence: raw.confidence.into_inner(),
                pattern: raw.pattern.into_inner(),
                remedy: raw.remedy.into_inner(),
                references: raw.references.into_inner(),
            },
            keywords: list(raw.keywords),
            trigger: raw.trigger.map(Spanned::into_inner).unwrap_or_default(),
            validator: raw.validator.map(Spanned::into_inner),
            context: list(raw.context).iter().flat_map(|word| spellings(word)).collect(),
            context_required: raw.context_required,
            allow: raw.allow,
            allow_patterns: list(raw.allow_patterns),
            priority: raw.priority.map_or(DEFAULT_PRIORITY, Spanned::into_inner),
            examples: raw.examples.into_inner(),
            counter_examples: raw.counter_examples.into_inner(),
            place,
        })
    }

    fn check(&self, raw: &Raw) -> Result<(), RuleError> {
        let families = self.families();
        let (id, entity) = (raw.id.get_ref(), raw.entity.get_ref());
        let id_fits = id.split_once('.').is_some_and(|(family, name)| {
            families.contains(&family)
                && !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        });
        let begins: Vec<String> = families.iter().map(|family| format!("`{family}.`")).collect();
        let begins = begins.join(" or ");
        self.require(
            id_fits,
            "id",
            &raw.id,
            &format!("`{id}` must be {begins} and then lower-case letters, digits and `-`"),
        )?;
        let entity_fits =
            !entity.is_empty() && entity.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        self.require(entity_fits, "entity", &raw.entity, "write capitals, digits and `_`, such as EMAIL_ADDRESS")?;
        self.require(!raw.title.get_ref().is_empty(), "title", &raw.title, "say what it is, for people")?;
        self.require(!raw.remedy.get_ref().is_empty(), "remedy", &raw.remedy, "say what to do about a match")?;
        self.require(*raw.confidence.get_ref() <= 100, "confidence", &raw.confidence, "write 0 to 100")?;
        if let Some(priority) = &raw.priority {
            self.require(*priority.get_ref() <= 100, "priority", priority, "write 0 to 100")?;
        }
        if let Some(context) = &raw.context {
            let lower =
                |word: &String| !word.is_empty() && word.len() <= 40 && !word.bytes().any(|b| b.is_ascii_uppercase());
            self.require(
                context.get_ref().iter().all(lower),
                "context",
                context,
                "write lower-case words of 1 to 40 bytes",
            )?;
        }
        let has_context = raw.context.as_ref().is_some_and(|context| !context.get_ref().is_empty());
        self.require(
            has_context || !raw.context_required,
            "context_required",
            &raw.id,
            "needs a list `context` of words",
        )?;
        self.require(!raw.references.get_ref().is_empty(), "references", &raw.references, "name at least one source")?;
        for (key, list) in [("examples", &raw.examples), ("counter_examples", &raw.counter_examples)] {
            let message = format!("at least {MIN_EXAMPLES} are needed, there are {}", list.get_ref().len());
            self.require(list.get_ref().len() >= MIN_EXAMPLES, key, list, &message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"[[rule]]
id = "secret.demo"
entity = "DEMO"
title = "Demo"
severity = "high"
confidence = 90
pattern = 'demo_[0-9]{4}'
remedy = "Rotate it."
references = ["https://example.com"]
examples = ["a", "b", "c"]
counter_examples = ["a", "b", "c"]
"#;

    fn read(text: &str) -> Result<Vec<LoadedRule>, String> {
        parse(&RuleFile { path: "secrets/demo.toml".into(), text: text.into() }).map_err(|error| error.to_string())
    }

    #[test]
    fn a_good_file_is_read() {
        let rules = read(GOOD).unwrap();
        assert_eq!(rules.len(), 1);
        assert_eq!((rules[0].rule.id.as_str(), rules[0].rule.group.as_str()), ("secret.demo", "demo"));
        assert_eq!((rules[0].priority, rules[0].trigger), (50, Trigger::Literal));
        assert_eq!((rules[0].place.line(Key::Pattern), rules[0].place.line(Key::Validator)), (7, 2));
    }

    #[test]
    fn phrases_are_also_keys() {
        let rules = read(&format!("{GOOD}context = [\"tax id\", \"tin\", \"\u{e9}t\u{e9}\"]\n")).unwrap();
        let expected =
            ["tax id", "tax_id", "tax-id", "taxid", "tin", "\u{e9}t\u{e9}", "\u{c9}t\u{c9}", "\u{c9}t\u{e9}"];
        assert_eq!(rules[0].context, expected);
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let cases = [
            ("id = \"secret.demo\"", "id = \"pii.demo\"", "secrets/demo.toml:2: id: "),
            ("confidence = 90", "confidence = 900", "secrets/demo.toml:6: confidence: "),
            ("confidence = 90", "confidence = 101", "secrets/demo.toml:6: confidence: "),
            ("severity = \"high\"", "severity = \"bad\"", "secrets/demo.toml:5: severity: "),
            ("title = \"Demo\"", "titel = \"Demo\"", "secrets/demo.toml:4: unknown field `titel`"),
            ("remedy = \"Rotate it.\"\n", "", "missing field `remedy`"),
            ("[\"a\", \"b\", \"c\"]\nc", "[\"a\"]\nc", "secrets/demo.toml:10: examples: at least 3"),
            ("confidence", "context_required = true\nconfidence", "secrets/demo.toml:2: context_required: "),
            ("entity = \"DEMO\"", "entity = \"demo\"", "secrets/demo.toml:3: entity: "),
            ("[[rule]]", "[[rules]]", "secrets/demo.toml:1: unknown field `rules`"),
        ];
        for (from, to, expected) in cases {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let error = read(&text).unwrap_err();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }

    #[test]
    fn one_id_twice_is_an_error_at_the_second() {
        let file = RuleFile { path: "secrets/demo.toml".into(), text: format!("{GOOD}\n{GOOD}") };
        let error = super::super::parse_all(&[file]).unwrap_err().to_string();
        assert!(error.starts_with("secrets/demo.toml:14: id: rule secret.demo: the id is taken"), "{error}");
    }
}
