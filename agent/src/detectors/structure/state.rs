//! The detector's state as it is kept over a restart. Enters: the text of an entry. Leaves: the entry. It holds
//! names of JSON members, never values; what does not read as an entry, or is larger than one may be, is no entry.

use super::site::{LIMITS, MAX_NAME_BYTES, MAX_NAMES_BYTES, MAX_PATHS, Path, Site};

/// Under which name the store keeps it.
pub(super) const NAME: &str = "structure";

/// What was written, JSON with some 60 bytes a path, within the bounds of an entry.
pub(super) fn read_value(text: &str) -> Option<Site> {
    let site: Site = serde_json::from_str(text).ok()?;
    let names: usize = site.paths.iter().map(|path| path.name.len()).sum();
    let is_path = |(place, path): (usize, &Path)| {
        path.name.len() <= MAX_NAME_BYTES && usize::from(path.parent) <= place && path.rate.is_sane()
    };
    let is_bounded = site.paths.len() <= MAX_PATHS
        && names <= MAX_NAMES_BYTES
        && site.paths.iter().enumerate().all(is_path)
        && site.form.is_sane()
        && site.forms.iter().all(|count| *count <= LIMITS.baseline);
    is_bounded.then_some(site)
}
