//! What is found in recorded exchanges. Enters: folders of them. Leaves: the findings of behaviour, by rule and title.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Result;
use outflow::{
    engine::Rules,
    sources::replay::{self, Options, Playing},
};

use crate::rooms::{Rooms, Way, session};

/// How often each title was found, by rule.
pub(crate) fn findings(paths: &[PathBuf], rules: &Rules) -> Result<BTreeMap<String, BTreeMap<String, u64>>> {
    let (session, ear) = session(rules, "")?;
    let mut rooms = Rooms::new(rules, &session, Way::WithoutScanner)?;
    for input in Playing::new(replay::read(paths)?, Options::default()) {
        rooms.push(&input, &session);
    }
    rooms.finish(&session);
    let mut found: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for finding in ear.take().into_iter().flat_map(|heard| heard.findings) {
        *found.entry(finding.rule.id).or_default().entry(finding.title).or_default() += 1;
    }
    Ok(found)
}
