//! `[attribution]`: what money is spent on. Enters: the section. Leaves: the places where calls say which feature they are for.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::leaf::{Leaf, leaf};
use crate::exchange;

/// Longest name of a header or member.
const NAME_BYTES_MAX: usize = 128;

/// What money is spent on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Attribution {
    /// Where a call says which feature of its service it is for; the first place that holds a name counts. `"header:x-feature"`
    /// is a header of the request, `"baggage:feature"` a member of its W3C baggage, `"metadata:feature"` a member of the
    /// `metadata` of its body, `"user"` the end user that the program names to the vendor, and `"prompt"` gives calls with the
    /// same beginning of the system prompt one name. A call that says nothing has no feature. Of a call
    /// that a log tells of it is the attribute `outflow.feature`.
    pub feature: Vec<FeatureSource>,
}

impl Default for Attribution {
    fn default() -> Self {
        let named = ["header:x-feature", "baggage:feature", "metadata:feature"];
        Self { feature: named.iter().filter_map(|text| FeatureSource::parse(text).ok()).collect() }
    }
}

impl Attribution {
    /// As calls are read by it.
    pub fn sources(&self) -> exchange::Attribution {
        exchange::Attribution::new(self.feature.iter().map(|source| source.0.clone()).collect())
    }
}

/// A place where a call may say which feature it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureSource(exchange::FeatureSource);

impl fmt::Display for FeatureSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            exchange::FeatureSource::Header(name) => write!(f, "header:{name}"),
            exchange::FeatureSource::Baggage(name) => write!(f, "baggage:{name}"),
            exchange::FeatureSource::Metadata(name) => write!(f, "metadata:{name}"),
            exchange::FeatureSource::User => f.write_str("user"),
            exchange::FeatureSource::Prompt => f.write_str("prompt"),
        }
    }
}

impl Leaf for FeatureSource {
    fn form() -> String {
        "\"header:NAME\", \"baggage:NAME\", \"metadata:NAME\", \"user\" or \"prompt\", such as \"header:x-feature\""
            .to_owned()
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        use exchange::FeatureSource as Source;
        let named = |name: &str| {
            let is_name = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'=' | b':' | b'"');
            let is_one = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_name);
            if is_one { Ok(name.to_owned()) } else { Err(None) }
        };
        Ok(Self(match text.split_once(':') {
            None if text == "user" => Source::User,
            None if text == "prompt" => Source::Prompt,
            Some(("header", name)) => Source::Header(named(name)?.to_ascii_lowercase()),
            Some(("baggage", name)) => Source::Baggage(named(name)?),
            Some(("metadata", name)) => Source::Metadata(named(name)?),
            _ => return Err(None),
        }))
    }
}

leaf!(FeatureSource);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn places_are_read_and_written_again() {
        for text in ["header:x-feature", "baggage:feature", "metadata:tenant.id", "user", "prompt"] {
            assert_eq!(FeatureSource::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(FeatureSource::parse("header:X-Feature").unwrap().to_string(), "header:x-feature");
        for text in ["", "header:", "header", "header:a b", "users", "cookie:x", "metadata:a=b"] {
            assert_eq!(FeatureSource::parse(text), Err(None), "{text}");
        }
    }

    #[test]
    fn a_wrong_place_is_named_with_its_line() {
        let error = Config::parse("x", "[attribution]\nfeature = [\"user\", \"cookie:a\"]\n").unwrap_err().to_string();
        assert!(
            error.starts_with("x:2:") && error.contains("attribution.feature[1]") && error.contains("header:NAME"),
            "{error}"
        );
    }
}
