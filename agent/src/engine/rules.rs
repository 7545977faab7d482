//! Loads everything under `rules/` once. Enters: where the rules are. Leaves: what each room needs of them.

use std::sync::Arc;

use crate::{
    detectors::{
        retrieval::MaxAge,
        scan::{RuleSet, ScanDetector, ScanError, cost},
    },
    exchange::{Attribution, PriceBook},
    findings::Policy,
    rules::{BehaviourRules, ModelRules, RuleError, RuleSource, Selection, VendorTable},
};

/// Why the rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file says something wrong.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The scanner cannot be built or fails its self-test.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A further host that is no host.
    #[error("{0:?} is no host: write llm.example.com, or *.example.com for all names below it")]
    Host(String),
    /// No thread to be had.
    #[error("cannot start a worker thread: {0}")]
    Thread(std::io::Error),
}

/// All rules, compiled.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What to scan for.
    pub scan: Arc<RuleSet>,
    /// Which hosts are vendors.
    pub vendors: Arc<VendorTable>,
    /// Which models are pinned.
    pub models: Arc<ModelRules>,
    /// What calls cost.
    pub prices: Arc<PriceBook>,
    /// Where calls say which feature they are for.
    pub attribution: Arc<Attribution>,
    /// How old indexes of vector stores may be.
    pub max_ages: Arc<[MaxAge]>,
    /// Ids of rules that do not count.
    pub disabled: Arc<[String]>,
    /// What the user decided about findings.
    pub policy: Arc<Policy>,
}

impl Rules {
    /// Loads the rules of a source as they are; `hosts` are further hosts of vendors, exact or `*.suffix`.
    pub fn load(source: &RuleSource, hosts: &[String]) -> Result<Self, LoadError> {
        Self::select(&Selection::of(source.clone()), Policy::default(), hosts)
    }

    /// As [`load`](Self::load), with all that a user decided.
    pub fn select(selection: &Selection, policy: Policy, hosts: &[String]) -> Result<Self, LoadError> {
        let source = &selection.source;
        let rules = selection.load()?;
        let behaviours = Arc::new(BehaviourRules::load(source)?.changed(&selection.changes));
        let added: Vec<bool> = rules.iter().map(|loaded| selection.is_added(loaded)).collect();
        let scan = RuleSet::compile(rules)?;
        // The shipped ones are known not to be. One that looks at every line would slow all others down.
        let own = scan.without(|index| !added.get(index).is_some_and(|added| *added));
        if !own.is_empty()
            && let Some(error) = cost::too_busy(&own)?
        {
            return Err(error.into());
        }
        Ok(Self {
            scan,
            vendors: Arc::new(
                VendorTable::load(source)?.with_hosts(hosts.iter().map(String::as_str)).map_err(LoadError::Host)?,
            ),
            models: Arc::new(ModelRules::load(source)?),
            prices: Arc::new(PriceBook::bundled()),
            attribution: Arc::new(Attribution::default()),
            max_ages: Arc::default(),
            disabled: selection.disabled.clone().into(),
            policy: Arc::new(Policy { behaviours, ..policy }),
        })
    }

    /// A scanner for one worker. Building it scans one known positive per rule and fails when one is lost.
    pub fn scanner(&self) -> Result<ScanDetector, LoadError> {
        Ok(ScanDetector::new(Arc::clone(&self.scan))?)
    }
}
