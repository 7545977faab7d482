//! What money is spent on: the feature of a call, in the operator's words. Enters: an exchange. Leaves: the name of a feature,
//! taken from the first of the configured places that says one. It makes no name up: a call that says nothing has none.

use std::sync::Arc;

use super::Exchange;

/// Longest name of a feature; a place with more in it holds no name.
const MAX_FEATURE_BYTES: usize = 128;

/// Where a call may say which feature it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureSource {
    /// A header of the request, lower case: `x-feature`.
    Header(String),
    /// A member of the W3C baggage of the request.
    Baggage(String),
    /// A member of the `metadata` of the body.
    Metadata(String),
    /// The end user: `user` of the body and its like.
    User,
    /// The system prompt: calls with the same beginning are one feature, `prompt-1f3a9c02`.
    Prompt,
}

/// The places, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// Each with the path of its text in the request.
    places: Vec<(FeatureSource, String)>,
}

impl Attribution {
    /// Asks these, the first one first.
    pub fn new(sources: Vec<FeatureSource>) -> Self {
        let path = |source: &FeatureSource| match source {
            FeatureSource::Header(name) => member("$header", name),
            FeatureSource::Baggage(name) => member("$header.baggage", name),
            FeatureSource::Metadata(name) => member("$.metadata", name),
            FeatureSource::User | FeatureSource::Prompt => String::new(),
        };
        let with_path = |source: FeatureSource| {
            let path = path(&source);
            (source, path)
        };
        Self { places: sources.into_iter().map(with_path).collect() }
    }

    /// The feature of a call. What its record says (`outflow.feature`) comes before all else. A log may say it too: see [`super::logged`].
    pub fn feature(&self, exchange: &Exchange) -> Option<Arc<str>> {
        if let Some(feature) = exchange.origin.feature.as_deref() {
            return Some(feature.into());
        }
        let named = self.places.iter().find_map(|(source, path)| match source {
            FeatureSource::User => exchange.asking.user.clone(),
            FeatureSource::Prompt => exchange.asking.system_digest.map(|digest| format!("prompt-{:08x}", digest >> 32)),
            FeatureSource::Header(name) | FeatureSource::Baggage(name) | FeatureSource::Metadata(name) => {
                said(exchange, path, name)
            }
        });
        named.as_deref().and_then(feature_name)
    }
}

/// The name of a feature that a text is, if it is one.
pub(super) fn feature_name(text: &str) -> Option<Arc<str>> {
    let name = text.trim();
    (1..=MAX_FEATURE_BYTES).contains(&name.len()).then(|| name.into())
}

impl Default for Attribution {
    /// A header or a member of the baggage or of the metadata that is called feature.
    fn default() -> Self {
        Self::new(vec![
            FeatureSource::Header("x-feature".to_owned()),
            FeatureSource::Baggage("feature".to_owned()),
            FeatureSource::Metadata("feature".to_owned()),
        ])
    }
}

/// A path of one member more, as the text of a request has them.
fn member(above: &str, name: &str) -> String {
    let mut path = super::path::Path::new(above);
    path.key(name);
    path.as_str().to_owned()
}

/// Headers stand behind the body, so the search begins at the end. A short value may have its name in front.
fn said(exchange: &Exchange, path: &str, name: &str) -> Option<String> {
    let text = exchange.request_text.find_last(path)?.trim();
    let bare = text.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(text);
    Some(bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::sample;

    #[test]
    fn the_first_place_that_says_a_feature_is_taken() {
        let mut exchange = sample::exchange("openai", "gpt-4o");
        let attribution = Attribution::default();
        assert_eq!(attribution.feature(&exchange), None);
        exchange.request_text.push("$.metadata.feature", "feature: search");
        assert_eq!(attribution.feature(&exchange).as_deref(), Some("search"));
        exchange.request_text.push("$header.baggage.feature", "chat");
        exchange.request_text.push("$header.x-feature", "feature-of-no-name");
        assert_eq!(attribution.feature(&exchange).as_deref(), Some("feature-of-no-name"));
        let by_user = Attribution::new(vec![FeatureSource::User, FeatureSource::Prompt]);
        assert_eq!(by_user.feature(&exchange), None);
        exchange.asking.system_digest = Some(0x1f3a_9c02_0000_0001);
        assert_eq!(by_user.feature(&exchange).as_deref(), Some("prompt-1f3a9c02"));
        exchange.asking.user = Some("tenant-7".into());
        assert_eq!(by_user.feature(&exchange).as_deref(), Some("tenant-7"));
        exchange.asking.user = Some("x".repeat(129));
        assert_eq!(by_user.feature(&exchange), None);
    }
}
