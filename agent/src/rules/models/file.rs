//! What a file of `rules/models/` may say. Enters: TOML text. Leaves: its parts, or an error with file, line and key. Anything else in a
//! file is refused.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use toml::Spanned;

use super::{Pin, Shutdown};
use crate::{
    rules::{RuleError, RuleFile, line_of},
    units::{Severity, Timestamp},
};

/// How grave a coming shut-down is, by the days left, where a file says nothing else. Further away than the last line: not reported.
pub(super) const RETIRING: [RetiringFile; 3] = [
    RetiringFile { within_days: 30, severity: Severity::High },
    RetiringFile { within_days: 90, severity: Severity::Medium },
    RetiringFile { within_days: 365, severity: Severity::Low },
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VendorFile {
    /// Ids of `rules/vendors`.
    pub(super) vendors: Spanned<Vec<Spanned<String>>>,
    /// What client libraries write before an id, and which of these vendors they mean by it.
    #[serde(default)]
    pub(super) prefixes: BTreeMap<String, Spanned<String>>,
    /// The ids are told from other words without such a prefix.
    #[serde(default)]
    pub(super) bare_ids: bool,
    /// Vendors whose rules read the id that answers for a name that hides the model.
    #[serde(default)]
    pub(super) resolved_by: Vec<String>,
    pub(super) references: Vec<String>,
    pub(super) inherit: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) severity: Severities,
    #[serde(default)]
    pub(super) retiring: Vec<RetiringFile>,
    pub(super) pattern: Vec<PatternFile>,
    #[serde(default)]
    pub(super) shutdown: Vec<ShutdownFile>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Severities {
    pinned: Severity,
    alias: Severity,
    latest: Severity,
    preview: Severity,
    opaque: Severity,
    unpinnable: Severity,
    unknown: Severity,
    pub(super) retired: Severity,
}

impl Default for Severities {
    fn default() -> Self {
        Self {
            pinned: Severity::Info,
            alias: Severity::Medium,
            latest: Severity::High,
            preview: Severity::High,
            opaque: Severity::Medium,
            unpinnable: Severity::Info,
            unknown: Severity::Info,
            retired: Severity::Critical,
        }
    }
}

impl Severities {
    pub(super) fn of(self, pin: Pin) -> Severity {
        match pin {
            Pin::Pinned => self.pinned,
            Pin::Alias => self.alias,
            Pin::Latest => self.latest,
            Pin::Preview => self.preview,
            Pin::Opaque => self.opaque,
            Pin::Unpinnable => self.unpinnable,
            Pin::Unknown => self.unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetiringFile {
    pub(super) within_days: u32,
    pub(super) severity: Severity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PatternFile {
    pub(super) id: String,
    pub(super) pattern: Spanned<String>,
    pub(super) class: Pin,
    pub(super) note: String,
    #[serde(default)]
    pub(super) references: Vec<String>,
    pub(super) examples: Spanned<Vec<String>>,
    #[serde(default)]
    pub(super) counter_examples: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShutdownFile {
    pub(super) date: Spanned<toml::value::Datetime>,
    pub(super) models: Vec<Spanned<String>>,
    pub(super) replacement: Option<String>,
    pub(super) references: Vec<String>,
}

/// One file of rules.
pub(super) fn read(file: &RuleFile) -> Result<VendorFile, RuleError> {
    parse(file)
}

/// A file of either kind.
pub(super) fn parse<T: serde::de::DeserializeOwned>(file: &RuleFile) -> Result<T, RuleError> {
    toml::from_str(&file.text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        invalid(file, &span, error.message())
    })
}

/// The vendors that a file is about, in lower case, each with its place.
pub(super) fn names(file: &RuleFile, parsed: &VendorFile) -> Result<Vec<(String, Range<usize>)>, RuleError> {
    if parsed.vendors.as_ref().is_empty() {
        return Err(invalid(file, &parsed.vendors.span(), "name at least one vendor of rules/vendors"));
    }
    Ok(parsed.vendors.as_ref().iter().map(|name| (name.as_ref().to_lowercase(), name.span())).collect())
}

/// A shut-down on a plain day.
pub(super) fn shutdown(file: &RuleFile, date: &Spanned<toml::value::Datetime>) -> Result<Shutdown, RuleError> {
    let wrong_date = || invalid(file, &date.span(), "write a plain day: 2026-10-23");
    let day = date.as_ref().date.filter(|_| date.as_ref().time.is_none()).ok_or_else(wrong_date)?;
    let day = jiff::civil::Date::new(
        i16::try_from(day.year).map_err(|_| wrong_date())?,
        i8::try_from(day.month).map_err(|_| wrong_date())?,
        i8::try_from(day.day).map_err(|_| wrong_date())?,
    )
    .map_err(|_| wrong_date())?;
    let start = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong_date())?;
    let at = u64::try_from(start.timestamp().as_nanosecond()).map_err(|_| wrong_date())?;
    Ok(Shutdown {
        date: day.to_string(),
        at: Timestamp(at),
        replacement: None,
        references: Vec::new(),
        is_listed: false,
    })
}

/// The key is what stands before `=` on the line, or above it when the value runs over several lines.
pub(super) fn invalid(file: &RuleFile, span: &Range<usize>, message: &str) -> RuleError {
    let line = line_of(&file.text, span.start);
    let key = file.text.lines().take(line).collect::<Vec<_>>().into_iter().rev().find_map(|text| {
        let (key, _) = text.split_once('=')?;
        let key = key.trim();
        (!key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')).then_some(key)
    });
    let message = match key {
        Some(key) => format!("`{key}`: {message}"),
        None => message.to_owned(),
    };
    RuleError::Invalid { file: file.path.clone(), line, message }
}
