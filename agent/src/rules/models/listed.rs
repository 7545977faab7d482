//! Shut-down dates from a list that others keep, for ids that no vendor's file dates. Enters: `rules/models/shutdowns.toml`, which
//! `cargo xtask models` makes. Leaves: the date of an id. It never says anything about an id that is not in the list.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use toml::Spanned;

use super::{Shutdown, file};
use crate::rules::{RuleError, RuleFile};

/// The file, below `rules/`.
pub(super) const PATH: &str = "models/shutdowns.toml";

#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    source: String,
    /// By vendor, then by id in lower case.
    vendors: HashMap<String, HashMap<String, Shutdown>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListFile {
    source: String,
    references: Vec<String>,
    dates: BTreeMap<String, BTreeMap<Spanned<String>, Spanned<toml::value::Datetime>>>,
}

impl Listed {
    pub(super) fn read(rule_file: &RuleFile) -> Result<Self, RuleError> {
        let parsed: ListFile = file::parse(rule_file)?;
        let mut vendors = HashMap::new();
        for (vendor, dates) in parsed.dates {
            let mut ends = HashMap::new();
            for (model, date) in dates {
                let shutdown = file::shutdown(rule_file, &date)?;
                let listed = Shutdown { references: parsed.references.clone(), is_listed: true, ..shutdown };
                if ends.insert(model.as_ref().to_lowercase(), listed).is_some() {
                    return Err(file::invalid(rule_file, &model.span(), "this id already has a shut-down date"));
                }
            }
            vendors.insert(vendor.to_lowercase(), ends);
        }
        Ok(Self { source: parsed.source, vendors })
    }

    /// The end of exactly this id.
    pub(super) fn shutdown(&self, vendor: &str, id: &str) -> Option<&Shutdown> {
        self.vendors.get(vendor)?.get(id)
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.vendors.iter().map(|(vendor, ends)| (&**vendor, ends.len()))
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }
}
