//! Which calls a setting of the operator is about. Enters: patterns for the service, the feature, the requested model, the
//! caller's key and the host. Leaves: whether a call is meant, and whose it is by these. It holds no state.

use globset::GlobMatcher;
use serde::{Deserialize, Serialize};

use crate::exchange::Exchange;

/// What calls are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The service that asks.
    Service,
    /// The feature it asks for.
    Feature,
    /// The model that is asked for.
    Model,
    /// The keyed fingerprint of the API key.
    Key,
    /// The host that is asked.
    Host,
}

impl By {
    /// The word of the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Feature => "feature",
            Self::Model => "model",
            Self::Key => "key",
            Self::Host => "host",
        }
    }

    /// What it is of a call; `None` when the call does not say.
    pub fn of(self, exchange: &Exchange) -> Option<&str> {
        match self {
            Self::Service => Some(&exchange.origin.service),
            Self::Feature => exchange.feature.as_deref(),
            Self::Model => exchange.request_model.as_deref().or(exchange.response_model.as_deref()),
            Self::Key => exchange.caller.as_deref(),
            Self::Host => Some(&exchange.host),
        }
    }
}

/// Whose a call is, by some of its traits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owner(Vec<(By, String)>);

impl Owner {
    /// These traits, in the order of [`By`].
    pub fn new(mut parts: Vec<(By, String)>) -> Self {
        parts.sort_by_key(|(by, _)| *by);
        Self(parts)
    }

    /// The traits.
    pub fn parts(&self) -> &[(By, String)] {
        &self.0
    }

    /// Its service, when it was told apart by that.
    pub fn service(&self) -> Option<&str> {
        self.0.iter().find_map(|(by, name)| (*by == By::Service).then_some(name.as_str()))
    }

    /// For people: ``checkout, feature `search` ``.
    pub fn label(&self) -> String {
        let part = |(by, name): &(By, String)| match by {
            By::Service => name.clone(),
            _ => format!("{} `{name}`", by.as_str()),
        };
        self.0.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

/// Patterns that a call must fit, all of them.
#[derive(Clone, Debug, Default)]
pub struct CallScope(Vec<(By, GlobMatcher)>);

impl CallScope {
    /// In the order of [`By`], each at most once.
    pub fn new(mut patterns: Vec<(By, GlobMatcher)>) -> Self {
        patterns.sort_by_key(|(by, _)| *by);
        patterns.dedup_by_key(|(by, _)| *by);
        Self(patterns)
    }

    /// By what it tells calls apart.
    pub fn kinds(&self) -> Vec<By> {
        self.0.iter().map(|(by, _)| *by).collect()
    }

    /// Whose the call is; `None` when it is not meant. A call that does not say its feature fits no pattern for features.
    pub fn owner(&self, exchange: &Exchange) -> Option<Owner> {
        self.owner_by(|by| by.of(exchange))
    }

    /// The same of a call of which these traits are known.
    pub fn owner_by<'a>(&self, of: impl Fn(By) -> Option<&'a str>) -> Option<Owner> {
        let fits = |(by, pattern): &(By, GlobMatcher)| {
            let name = of(*by).filter(|name| pattern.is_match(name))?;
            Some((*by, name.to_owned()))
        };
        self.0.iter().map(fits).collect::<Option<Vec<_>>>().map(Owner)
    }

    /// All patterns are the very names.
    pub fn names(&self, owner: &Owner) -> bool {
        let is_name = |((_, pattern), (_, name)): (&(By, GlobMatcher), &(By, String))| pattern.glob().glob() == name;
        self.0.len() == owner.0.len() && self.0.iter().zip(&owner.0).all(is_name)
    }

    /// The calls of this owner are meant.
    pub fn fits(&self, owner: &Owner) -> bool {
        let is_match = |((by, pattern), (kind, name)): (&(By, GlobMatcher), &(By, String))| {
            by == kind && pattern.is_match(name.as_str())
        };
        self.0.len() == owner.0.len() && self.0.iter().zip(&owner.0).all(is_match)
    }

    /// For people: `checkout-*, model gpt-4o`.
    pub fn label(&self) -> String {
        let part = |(by, pattern): &(By, GlobMatcher)| match by {
            By::Service => pattern.glob().glob().to_owned(),
            _ => format!("{} {}", by.as_str(), pattern.glob().glob()),
        };
        self.0.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::*;
    use crate::exchange::sample;

    fn scope(patterns: &[(By, &str)]) -> CallScope {
        CallScope::new(patterns.iter().map(|(by, text)| (*by, Glob::new(text).unwrap().compile_matcher())).collect())
    }

    #[test]
    fn all_patterns_must_fit() {
        let mut call = sample::exchange("openai", "gpt-4o-mini");
        call.caller = Some("3f9a".into());
        let featured = Exchange { feature: Some("search".into()), ..call.clone() };
        let cases = [
            (&call, vec![], Some("")),
            (&call, vec![(By::Service, "check*")], Some("checkout")),
            (&call, vec![(By::Service, "shop")], None),
            (&call, vec![(By::Feature, "*")], None),
            (&featured, vec![(By::Feature, "*"), (By::Service, "*")], Some("checkout, feature `search`")),
            (&featured, vec![(By::Feature, "chat")], None),
            (&call, vec![(By::Model, "gpt-4o*")], Some("model `gpt-4o-mini`")),
            (&call, vec![(By::Key, "3f9a"), (By::Host, "*.openai.com")], Some("key `3f9a`, host `api.openai.com`")),
            (&call, vec![(By::Key, "77aa")], None),
        ];
        for (exchange, patterns, expected) in cases {
            let scope = scope(&patterns);
            let owner = scope.owner(exchange);
            assert_eq!(owner.as_ref().map(Owner::label).as_deref(), expected, "{patterns:?}");
            assert!(owner.is_none_or(|owner| scope.fits(&owner)), "{patterns:?}");
        }
        let owner = scope(&[(By::Service, "*")]).owner(&call).unwrap();
        assert!(scope(&[(By::Service, "checkout")]).names(&owner) && !scope(&[(By::Service, "*")]).names(&owner));
        assert!(!scope(&[(By::Host, "*")]).fits(&owner), "another trait");
        assert!(!scope(&[]).fits(&owner));
    }
}
