//! Model rules: which model identifiers are pinned, per vendor, and when they stop working. Enters: `rules/models/*.toml`.
//! Leaves: a [`Class`] for an id. It never decides by the look of an id alone: every class comes from a pattern of a file.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{RuleError, RuleSource};
use crate::units::{Severity, Timestamp};

mod file;
mod listed;
mod vendor;

use self::{listed::Listed, vendor::Vendor};

const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// All model rules, one set a vendor; some vendors share a set.
#[derive(Clone, Debug, Default)]
pub struct ModelRules {
    vendors: HashMap<String, Arc<Vendor>>,
    /// Vendors by the word that client libraries write before an id: `azure/x`, `bedrock:x`.
    prefixes: HashMap<String, String>,
    /// Vendors whose ids are told from other words without such a word, sorted.
    bare: Vec<String>,
    listed: Listed,
}

/// How firmly an id names a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pin {
    /// The vendor promises that the id never changes.
    Pinned,
    /// A documented pointer that moves.
    Alias,
    /// The id itself says that it follows the newest.
    Latest,
    /// May change or vanish at short notice.
    Preview,
    /// The name hides the model: a deployment, a profile, a gateway's alias.
    Opaque,
    /// The vendor serves no stable id for this.
    Unpinnable,
    /// No rule.
    Unknown,
}

impl Pin {
    /// The word that every output uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Alias => "alias",
            Self::Latest => "latest",
            Self::Preview => "preview",
            Self::Opaque => "opaque",
            Self::Unpinnable => "unpinnable",
            Self::Unknown => "unknown",
        }
    }
}

/// What the rules say about one id at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class<'a> {
    /// How firmly it names a model.
    pub pin: Pin,
    /// How grave that is.
    pub severity: Severity,
    /// The pattern of the vendor's file that decided; empty when no rule knows the id.
    pub pattern: &'a str,
    /// Why, one sentence; empty when no rule knows the id.
    pub note: &'a str,
    /// Addresses of the documents that say so.
    pub references: &'a [String],
    /// Whether its end is past or near.
    pub end: Option<End<'a>>,
}

/// The end of a model id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End<'a> {
    /// Days from the call to the shut-down, rounded up; zero or less when it is past.
    pub days_left: i64,
    /// How grave that is.
    pub severity: Severity,
    /// The shut-down.
    pub shutdown: &'a Shutdown,
}

impl End<'_> {
    /// The date is past.
    pub fn is_past(&self) -> bool {
        self.days_left <= 0
    }
}

/// A shut-down that a vendor announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// The day, `2026-10-23`.
    pub date: String,
    /// Midnight UTC at the start of that day.
    pub at: Timestamp,
    /// What the vendor recommends instead.
    pub replacement: Option<String>,
    /// Addresses of the documents that say so.
    pub references: Vec<String>,
    /// Not read at the vendor's but taken from a list that others keep. Such a list may hold the first possible day for the last one: Amazon
    /// for one publishes "no sooner than" dates (docs.aws.amazon.com/bedrock/latest/userguide/model-lifecycle.html).
    pub is_listed: bool,
}

/// How much the rules know about one vendor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Patterns that class ids.
    pub patterns: usize,
    /// Ids with a date from the vendor's own pages.
    pub dates: usize,
    /// Ids with a date from the list that others keep.
    pub listed_dates: usize,
}

impl ModelRules {
    /// Reads and checks `models/*.toml`: every pattern compiles, decides its own examples and leaves its counter-examples.
    pub fn load(source: &RuleSource) -> Result<Self, RuleError> {
        let mut rules = Self::default();
        for file in source.files("models")? {
            if file.path == listed::PATH {
                rules.listed = Listed::read(&file)?;
            } else {
                rules.add(&file)?;
            }
        }
        rules.bare.sort_unstable();
        Ok(rules)
    }

    fn add(&mut self, rule_file: &super::RuleFile) -> Result<(), RuleError> {
        let parsed = file::read(rule_file)?;
        let names = file::names(rule_file, &parsed)?;
        let (prefixes, is_bare) = (parsed.prefixes.clone(), parsed.bare_ids);
        let own: Vec<String> = names.iter().map(|(name, _)| name.clone()).collect();
        let vendor = Arc::new(Vendor::new(rule_file, parsed)?);
        for (name, span) in names {
            if self.vendors.insert(name.clone(), Arc::clone(&vendor)).is_some() {
                return Err(file::invalid(rule_file, &span, "another file has this vendor: one file a vendor"));
            }
            if is_bare {
                self.bare.push(name);
            }
        }
        for (prefix, name) in prefixes {
            let (span, vendor) = (name.span(), name.into_inner().to_lowercase());
            if !own.contains(&vendor) {
                return Err(file::invalid(rule_file, &span, "is none of the vendors of this file"));
            }
            if self.prefixes.insert(prefix.to_lowercase(), vendor).is_some() {
                return Err(file::invalid(rule_file, &span, "another file has this prefix"));
            }
        }
        Ok(())
    }

    /// What the rules say about an id that was asked for at that time. A vendor without rules gives [`Pin::Unknown`].
    pub fn classify(&self, vendor: &str, model: &str, at: Timestamp) -> Class<'_> {
        let model = model.to_lowercase();
        let end = self.shutdown_of(vendor, &model).and_then(|shutdown| match self.vendors.get(vendor) {
            Some(rules) => rules.end(shutdown, at),
            None => vendor::end(shutdown, at, Severity::Critical, &file::RETIRING),
        });
        match self.vendors.get(vendor) {
            Some(rules) => Class { end, ..rules.classify(&model) },
            None => Class { pin: Pin::Unknown, severity: Severity::Info, pattern: "", note: "", references: &[], end },
        }
    }

    /// What the rules say about the id that answered for a name that hides the model: those of its maker, who may be another vendor.
    /// `None`: nobody knows that id, or it hides the model as well.
    pub fn behind(&self, vendor: &str, resolved: &str, at: Timestamp) -> Option<Class<'_>> {
        let makers = &self.vendors.get(vendor)?.resolved_by;
        let end = self.classify(vendor, resolved, at).end;
        let classes = makers.iter().map(|maker| self.classify(maker, resolved, at));
        let known = classes.into_iter().find(|class| class.pin != Pin::Unknown)?;
        // When it ends, says who serves it, not who made it.
        Some(Class { end, ..known })
    }

    /// When an id stops working, near or far.
    pub fn shutdown(&self, vendor: &str, model: &str) -> Option<&Shutdown> {
        self.shutdown_of(vendor, &model.to_lowercase())
    }

    fn shutdown_of(&self, vendor: &str, model: &str) -> Option<&Shutdown> {
        let rules = self.vendors.get(vendor);
        let base = rules.map_or(model, |rules| rules.base(model));
        let own = rules.and_then(|rules| rules.shutdown(model).or_else(|| rules.shutdown(base)));
        own.or_else(|| self.listed.shutdown(vendor, model)).or_else(|| self.listed.shutdown(vendor, base))
    }

    /// The id that the rules look at: without region, path or the rest of a fine-tuned model's name, in lower case.
    pub fn base(&self, vendor: &str, model: &str) -> String {
        let model = model.to_lowercase();
        self.vendors.get(vendor).map_or(&*model, |rules| rules.base(&model)).to_owned()
    }

    /// Id of the vendor that a client library means by the word before an id.
    pub fn vendor_of_prefix(&self, prefix: &str) -> Option<&str> {
        self.prefixes.get(&prefix.to_lowercase()).map(String::as_str)
    }

    /// Ids of the vendors whose model ids are told from other words by themselves.
    pub fn bare_vendors(&self) -> &[String] {
        &self.bare
    }

    /// All vendors that something is known about, and how much.
    pub fn extents(&self) -> BTreeMap<&str, Extent> {
        let mut extents: BTreeMap<&str, Extent> =
            self.vendors.iter().map(|(name, rules)| (&**name, rules.extent())).collect();
        for (vendor, dates) in self.listed.counts() {
            extents.entry(vendor).or_default().listed_dates = dates;
        }
        extents
    }

    /// Where the dates of others come from, with version and licence; empty when there is no such list.
    pub fn list_source(&self) -> &str {
        self.listed.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_392_000_000_000_000); // 23 November 2026

    fn rules() -> ModelRules {
        ModelRules::load(&RuleSource::Embedded).expect("the rules that we ship load")
    }

    #[test]
    fn ids_have_their_class() {
        let cases = [
            ("openai", "gpt-4o-2024-08-06", Pin::Pinned, Severity::Info),
            ("openai", "GPT-4o", Pin::Alias, Severity::Medium),
            ("openai", "gpt-5.6-sol", Pin::Alias, Severity::Medium),
            ("openai", "chatgpt-4o-latest", Pin::Latest, Severity::High),
            ("openai", "gpt-4-1106-preview", Pin::Pinned, Severity::Info),
            ("openai", "gpt-4-turbo-preview", Pin::Preview, Severity::High),
            ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc123", Pin::Pinned, Severity::Info),
            ("openai", "ft:gpt-3.5-turbo:acme::abc123", Pin::Alias, Severity::Medium),
            ("openai", "text-embedding-3-small", Pin::Unpinnable, Severity::Info),
            ("openai", "acme-private-model", Pin::Unknown, Severity::Info),
            ("openai", "", Pin::Unknown, Severity::Info),
            ("anthropic", "claude-sonnet-4-5-20250929", Pin::Pinned, Severity::Info),
            ("anthropic", "claude-sonnet-4-5", Pin::Alias, Severity::Medium),
            ("anthropic", "claude-sonnet-4-6", Pin::Pinned, Severity::Info),
            ("anthropic", "claude-fable-5", Pin::Pinned, Severity::Info),
            ("anthropic", "claude-3-5-haiku-latest", Pin::Latest, Severity::High),
            ("nobody", "gpt-4o", Pin::Unknown, Severity::Info),
            ("azure", "gpt-4o-2024-08-06", Pin::Opaque, Severity::Medium),
            ("azure", "model-router", Pin::Latest, Severity::High),
            ("gemini", "models/gemini-2.5-flash", Pin::Pinned, Severity::Info),
            ("gemini", "gemini-2.0-flash", Pin::Alias, Severity::Medium),
            ("gemini", "gemini-2.5-pro-preview-03-25", Pin::Preview, Severity::High),
            ("vertex_ai", "publishers/google/models/gemini-2.0-flash-001", Pin::Pinned, Severity::Info),
            ("vertex_ai", "google/gemini-2.0-flash", Pin::Alias, Severity::Medium),
            ("vertex_ai", "gemini-2.5-pro", Pin::Unpinnable, Severity::Info),
            ("vertex_ai", "claude-sonnet-4-5@20250929", Pin::Pinned, Severity::Info),
            ("vertex_ai", "claude-sonnet-4-5", Pin::Alias, Severity::Medium),
            ("aws_bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", Pin::Pinned, Severity::Info),
            ("aws_bedrock", "global.anthropic.claude-opus-4-8", Pin::Pinned, Severity::Info),
            (
                "aws_bedrock",
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0",
                Pin::Pinned,
                Severity::Info,
            ),
            (
                "aws_bedrock",
                "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2",
                Pin::Opaque,
                Severity::Medium,
            ),
            ("aws_bedrock_mantle", "openai.gpt-5.6-luna", Pin::Unpinnable, Severity::Info),
            ("mistral", "mistral-large-2512", Pin::Pinned, Severity::Info),
            ("mistral", "mistral-large-latest", Pin::Latest, Severity::High),
            ("mistral", "pixtral-12b", Pin::Alias, Severity::Medium),
            ("mistral", "labs-leanstral-1-5", Pin::Preview, Severity::High),
            ("cohere", "command-r7b-12-2024", Pin::Pinned, Severity::Info),
            ("cohere", "command-r-plus", Pin::Alias, Severity::Medium),
            ("xai", "grok-4-0709", Pin::Pinned, Severity::Info),
            ("xai", "grok-4", Pin::Alias, Severity::Medium),
            ("deepseek", "deepseek-v4-flash", Pin::Unpinnable, Severity::Info),
            ("deepseek", "deepseek-chat", Pin::Alias, Severity::Medium),
            ("groq", "openai/gpt-oss-120b", Pin::Unpinnable, Severity::Info),
            ("groq", "compound-beta", Pin::Alias, Severity::Medium),
            ("together", "moonshotai/Kimi-K2-Instruct-0905", Pin::Pinned, Severity::Info),
            ("openrouter", "openrouter/auto", Pin::Latest, Severity::High),
            ("openrouter", "openai/gpt-5-mini", Pin::Alias, Severity::Medium),
            ("openrouter", "anthropic/claude-4.6-sonnet-20260217", Pin::Unpinnable, Severity::Info),
            ("openrouter", "meta-llama/llama-3.2-3b-instruct:free", Pin::Unpinnable, Severity::Info),
            ("huggingface", "openai/gpt-oss-120b:cheapest", Pin::Alias, Severity::Medium),
            ("huggingface", "meta-llama/Llama-3.1-8B-Instruct", Pin::Unpinnable, Severity::Info),
            ("ollama", "llama3", Pin::Latest, Severity::Medium),
            ("ollama", "gpt-oss:20b", Pin::Unpinnable, Severity::Info),
            ("perplexity", "sonar-pro", Pin::Unpinnable, Severity::Info),
            ("alibaba", "qwen-max-2025-01-25", Pin::Pinned, Severity::Info),
            ("alibaba", "qwen3-max", Pin::Alias, Severity::Medium),
        ];
        let rules = rules();
        for (vendor, model, pin, severity) in cases {
            let class = rules.classify(vendor, model, NOW);
            assert_eq!((class.pin, class.severity), (pin, severity), "{vendor} {model}");
            assert_eq!(class.note.is_empty(), pin == Pin::Unknown, "{vendor} {model}");
            assert_eq!(class.pattern.is_empty(), pin == Pin::Unknown, "{vendor} {model}");
            assert_eq!(class.references.is_empty(), pin == Pin::Unknown, "{vendor} {model}");
        }
    }

    #[test]
    fn the_end_depends_on_the_day_of_the_call() {
        let day = |days: i64| Timestamp(NOW.0.saturating_add_signed(days * 86_400_000_000_000));
        let cases = [
            ("openai", "gpt-4", NOW, Some((-31, Severity::Critical))),
            ("openai", "gpt-4", day(-32), Some((1, Severity::High))),
            ("openai", "gpt-4", day(-31), Some((0, Severity::Critical))),
            ("openai", "gpt-4", day(-600), None),
            ("openai", "gpt-5", NOW, Some((18, Severity::High))),
            ("openai", "gpt-4o", NOW, Some((52, Severity::Medium))),
            ("openai", "ft:gpt-4o-2024-08-06:acme::x", NOW, Some((52, Severity::Medium))),
            ("openai", "gpt-5.6-sol", NOW, None),
            ("anthropic", "claude-sonnet-4-5", NOW, Some((7, Severity::High))),
            ("anthropic", "claude-3-opus-20240229", NOW, Some((-322, Severity::Critical))),
            ("anthropic", "claude-3-5-haiku-20241022", NOW, Some((-277, Severity::Critical))),
            ("anthropic", "claude-3-5-haiku-latest", NOW, Some((-277, Severity::Critical))),
        ];
        let rules = rules();
        for (vendor, model, at, expected) in cases {
            let end = rules.classify(vendor, model, at).end;
            assert_eq!(end.map(|end| (end.days_left, end.severity)), expected, "{vendor} {model} {}", at.rfc3339());
            assert!(end.is_none_or(|end| !end.shutdown.references.is_empty()));
        }
    }

    #[test]
    fn listed_dates_stand_behind_those_of_the_vendor_and_are_less_grave() {
        let rules = rules();
        // The list says so too, or something else: the vendor's file counts.
        let own = rules.shutdown("anthropic", "claude-sonnet-4-5").unwrap();
        assert_eq!((own.date.as_str(), own.is_listed), ("2026-11-30", false));
        let cases = [
            // Read in the list of LiteLLM 1.110.2.
            ("openai", "computer-use-preview", Some((-123, Severity::High))),
            ("openai", "ft:gpt-3.5-turbo-1106:acme::x", Some((-56, Severity::High))),
            ("openai", "gpt-image-1.5", Some((8, Severity::Medium))),
            ("openai", "gpt-realtime", Some((58, Severity::Low))),
            // 140 days are near for a date of the vendor's own, not for a listed one.
            ("aws_bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", None),
            ("aws_bedrock", "apac.anthropic.claude-sonnet-4-20250514-v1:0", Some((-40, Severity::High))),
            ("vertex_ai", "publishers/anthropic/models/claude-sonnet-5", Some((31, Severity::Low))),
            // A vendor with dates and without rules.
            ("databricks", "databricks-kimi-k2-7", Some((-24, Severity::High))),
        ];
        for (vendor, model, expected) in cases {
            let end = rules.classify(vendor, model, NOW).end;
            assert_eq!(end.map(|end| (end.days_left, end.severity)), expected, "{vendor} {model}");
            assert!(end.is_none_or(|end| end.shutdown.is_listed && !end.shutdown.references.is_empty()), "{model}");
        }
    }

    #[test]
    fn what_answers_for_a_hidden_name_is_read_by_its_makers_rules_and_ends_with_who_serves_it() {
        let rules = rules();
        let pin = |vendor, resolved| rules.behind(vendor, resolved, NOW).map(|class| class.pin);
        assert_eq!(pin("azure", "gpt-4.1-mini-2025-04-14"), Some(Pin::Pinned));
        assert_eq!(pin("azure", "gpt-4.1-mini"), Some(Pin::Alias));
        assert_eq!(pin("azure", "claude-opus-4-8"), Some(Pin::Pinned));
        assert_eq!(pin("azure", "my-deployment"), None);
        assert_eq!(pin("openai", "gpt-4o-2024-08-06"), None, "no name of this vendor hides a model");
        // OpenAI ends it on 2026-10-23, Azure on 2026-11-19.
        let end = rules.behind("azure", "o3-mini-2025-01-31", NOW).unwrap().end.unwrap();
        assert_eq!(end.shutdown.date, "2026-11-19");
    }

    #[test]
    fn every_vendor_of_a_rule_file_is_a_vendor_of_the_host_table() {
        let hosts = crate::rules::VendorTable::load(&RuleSource::Embedded).unwrap();
        let known: std::collections::BTreeSet<&str> = hosts.vendors().iter().map(|vendor| &*vendor.id).collect();
        let rules = rules();
        for (vendor, extent) in rules.extents() {
            assert!(known.contains(vendor), "{vendor}");
            assert_ne!(extent, Extent::default(), "{vendor}");
        }
        for maker in rules.vendors.values().flat_map(|rules| &rules.resolved_by) {
            assert!(rules.vendors.contains_key(maker), "{maker}");
        }
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let whole = "vendors = ['x']\nreferences = []\n[severity]\npinned = 'info'\nalias = 'low'\nlatest = 'low'\npreview = 'low'\n\
            opaque = 'low'\nunpinnable = 'low'\nunknown = 'info'\nretired = 'high'\n[[pattern]]\nid = 'p'\npattern = '^a$'\n\
            class = 'alias'\nnote = 'n'\nexamples = ['a']\ncounter_examples = ['b']\n[[shutdown]]\ndate = 2026-01-01\n\
            models = ['a']\nreferences = []\n";
        let load = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("models")).unwrap();
            std::fs::write(folder.path().join("models/x.toml"), text).unwrap();
            ModelRules::load(&RuleSource::Folder(folder.path().to_owned()))
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        assert_eq!(load(whole), Ok(()));
        let cases = [
            ("class = 'alias'", "class = 'alais'", "models/x.toml:15: `class`: unknown variant `alais`"),
            ("note = 'n'", "notes = 'n'", "models/x.toml:16: `notes`: unknown field `notes`"),
            ("pattern = '^a$'", "pattern = '^a($'", "models/x.toml:14: `pattern`: regex parse error"),
            ("examples = ['a']", "examples = ['c']", "models/x.toml:17: `examples`: `c` is not decided by pattern `p`"),
            ("examples = ['a']", "examples = []", "models/x.toml:17: `examples`: a pattern needs"),
            ("['b']", "['a']", "models/x.toml:18: `counter_examples`: `a` matches pattern `p`"),
            ("date = 2026-01-01", "date = 12:00:00", "models/x.toml:20: `date`: write a plain day"),
            ("models = ['a']", "models = ['a', 'A']", "models/x.toml:21: `models`: this id already has"),
            (
                "references = []\n[severity]",
                "references = []\ninherit = 'a'\n[severity]",
                "models/x.toml:3: `inherit`: needs exactly one group",
            ),
            ("alias = 'low'", "alias = 'lo'", "models/x.toml:5: `alias`: unknown variant `lo`"),
        ];
        for (from, to, expected) in cases {
            let error = load(&whole.replacen(from, to, 1)).expect_err(to);
            assert!(error.starts_with(expected), "{to}: {error}");
        }
        let prefixed =
            |vendor: &str| whole.replacen("[severity]", &format!("prefixes = {{ y = '{vendor}' }}\n[severity]"), 1);
        assert_eq!(load(&prefixed("x")), Ok(()));
        let error = load(&prefixed("z")).expect_err("a vendor of another file");
        assert!(error.starts_with("models/x.toml:3: `prefixes`: is none of the vendors"), "{error}");
        let error = load(&whole.replace("vendors = ['x']", "vendors = []")).expect_err("no vendor");
        assert!(error.starts_with("models/x.toml:1: `vendors`: name at least one"), "{error}");
        let error = load(&whole.replace("retired = 'high'\n", "")).expect_err("a missing severity");
        assert!(error.contains("missing field `retired`"), "{error}");
    }
}
