//! `outflow findings show --context`: the lines around a leak, read once more. Enters: a finding, its log, the rules, the fingerprint key.
//! Leaves: [`Again`]: whether the log still has it and where, and the lines around it, masked. What stands there now is only shown when it
//! gives the finding's fingerprint again; it changes nothing, and keeps nothing.

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::Serialize;

use self::{
    look::{Looker, Seen},
    places::{Searcher, siblings},
};
use super::StoreFile;
use crate::{
    cli::{RuleArgs, state},
    findings::{Finding, FingerprintKey, JOURNAL_CURSOR, MaskedLine},
};

mod look;
mod places;
mod text;

pub(super) use self::text::told;

/// Lines before and behind that are shown without a number.
const LINES: &str = "3";
/// Most of them.
const LINES_MAX: u64 = 50;

/// Options of `--context`.
#[derive(Debug, clap::Args)]
pub(super) struct ContextArgs {
    /// Read the log again and show N lines [default: 3] before and behind the leak, all that may be sensitive in them masked
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = LINES,
        value_parser = clap::value_parser!(u64).range(..=LINES_MAX))]
    context: Option<u64>,
    /// With --context: the key that the finding's fingerprint was made with [default: the one beside the store]
    #[arg(long, value_name = "FILE", requires = "context")]
    fingerprint_key: Option<PathBuf>,
    #[command(flatten)]
    rules: RuleArgs,
}

/// What has become of the text of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Whereabouts {
    /// Where the finding says.
    InPlace,
    /// At the same place of a file whose name begins as the log's: it was rotated.
    Rotated,
    /// In the log or such a file, elsewhere.
    Moved,
    /// In none of them.
    Gone,
    /// There is no file to look into.
    NoFile,
    /// A file may have it, and this user may not read that one.
    NotPermitted,
}

/// A leak that was looked for once more.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Again {
    #[serde(rename = "state")]
    pub(super) whereabouts: Whereabouts,
    /// The same for people.
    pub(super) why: String,
    /// In which file it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// Its line there, 1-based, in decompressed data.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    /// Position of its first byte there, 0-based, in decompressed data.
    #[serde(skip_serializing_if = "Option::is_none")]
    byte_offset: Option<u64>,
    /// What stands there and around.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<Line>,
}

/// One line, or those that a leak of several lines takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Line {
    /// Its number in the file, 1-based.
    #[serde(rename = "line")]
    number: u64,
    /// It holds the leak.
    leak: bool,
    text: MaskedLine,
}

/// Where the finding says that it was.
#[derive(Clone, Copy, Debug)]
struct Place<'f> {
    path: &'f Path,
    line: u64,
    offset: u64,
}

impl ContextArgs {
    /// Looks for the finding once more, when that was asked for.
    pub(super) fn again(&self, finding: Option<&Finding>, store: &StoreFile) -> anyhow::Result<Option<Again>> {
        let Some(count) = self.context else { return Ok(None) };
        let Some(finding) = finding else {
            return Ok(Some(Again::without(Whereabouts::NoFile, "it was erased: where it was is not known any more")));
        };
        let place = match place(finding) {
            Ok(place) => place,
            Err(why) => return Ok(Some(Again::without(Whereabouts::NoFile, why))),
        };
        let key = self.key(finding, store)?;
        let rules = self.rules.load(&[])?;
        let lines = usize::try_from(count).unwrap_or(usize::MAX);
        let Some(mut looker) = Looker::new(&rules, &key, finding, lines)? else {
            bail!(
                "{} is none of these rules, so what it found cannot be told again: name the rules of the agent with --config, --rules \
                 or --add-rules",
                finding.rule.id
            );
        };
        look_for(place, &mut looker).map(Some)
    }

    /// The key that the fingerprint was made with; none is made here.
    fn key(&self, finding: &Finding, store: &StoreFile) -> anyhow::Result<FingerprintKey> {
        let beside = || {
            let beside = store.path().and_then(|store| Some(state::key_file(store.parent()?)));
            beside.filter(|file| file.exists()).or_else(|| Some(state::key_file(&state::folder()?)))
        };
        let file = self.fingerprint_key.clone().or_else(beside);
        let file = file.context("no fingerprint key beside the store: name one with --fingerprint-key")?;
        let key = state::read_key(&file)?;
        match &finding.fingerprint {
            Some(print) if print.key_id != key.id() => bail!(
                "the fingerprint was made with the key {}, and {} holds the key {}: name the right one with --fingerprint-key",
                print.key_id,
                file.display(),
                key.id()
            ),
            _ => Ok(key),
        }
    }
}

impl Again {
    fn without(whereabouts: Whereabouts, why: impl Into<String>) -> Self {
        Self { whereabouts, why: why.into(), file: None, line: None, byte_offset: None, lines: Vec::new() }
    }

    fn at(whereabouts: Whereabouts, why: String, file: &Path, seen: Seen) -> Self {
        let (file, line, byte_offset) = (Some(file.to_owned()), Some(seen.line), Some(seen.offset));
        Self { whereabouts, why, file, line, byte_offset, lines: seen.lines }
    }
}

fn place(finding: &Finding) -> Result<Place<'_>, Cow<'static, str>> {
    let location = finding.location.as_ref().filter(|location| location.file.is_some());
    let Some(location) = location else {
        return Err("it was in a call, not in a file: there is nothing to read again".into());
    };
    let path = Path::new(location.file.as_deref().unwrap_or_default());
    if finding.fingerprint.is_none() {
        return Err("it is no text that was found in a file: there is nothing to read again".into());
    }
    if let Some(cursor) = finding.attributes.get(JOURNAL_CURSOR).and_then(serde_json::Value::as_str) {
        let command = format!("journalctl -o verbose --cursor '{cursor}' -n 1");
        return Err(format!("it was in the journal; the entry, unmasked: {command}").into());
    }
    let Some(offset) = location.byte_offset.filter(|_| path.is_absolute()) else {
        return Err("it was in no file that can be read again".into());
    };
    Ok(Place { path, line: location.line.unwrap_or(1), offset })
}

/// At its place, then at the same place of rotated files, then anywhere in them.
fn look_for(place: Place<'_>, looker: &mut Looker<'_>) -> anyhow::Result<Again> {
    let Place { path, line, offset } = place;
    let others = siblings(path);
    let files = || std::iter::once(path).chain(others.iter().map(PathBuf::as_path));
    let mut failed = Failures::default();
    for file in files() {
        if let Some(seen) = failed.note(file, looker.look(file, offset, line))? {
            return Ok(if file == path {
                Again::at(
                    Whereabouts::InPlace,
                    format!("{} still has it where it was found", path.display()),
                    file,
                    seen,
                )
            } else {
                let why = format!("{} was rotated: {} has it at the same place", path.display(), file.display());
                Again::at(Whereabouts::Rotated, why, file, seen)
            });
        }
    }
    let mut searcher = Searcher::new(looker)?;
    for file in files() {
        let Some((offset, line)) = failed.note(file, searcher.search(file))? else { continue };
        if let Some(seen) = failed.note(file, searcher.looker().look(file, offset, line))? {
            let why = format!("{} has it at another place than it was found at", file.display());
            return Ok(Again::at(Whereabouts::Moved, why, file, seen));
        }
    }
    let was = format!("line {line}, byte {offset}");
    let all = if searcher.is_exhausted() { "; not all of what is there was searched, for it is too much" } else { "" };
    let also = match others.len() {
        0 => "no rotated file is beside it".to_owned(),
        1 => "the rotated file beside it has it neither".to_owned(),
        count => format!("the {count} rotated files beside it have it neither"),
    };
    let shown = path.display();
    if let Some(why) = failed.not_permitted {
        return Ok(Again::without(Whereabouts::NotPermitted, format!("{why}; it was in {shown}, {was}")));
    }
    let why = match failed.other {
        Some(why) => format!("{why}; it was in {shown}, {was}, and no other file has it{all}"),
        None if path.exists() => format!("{shown} has changed: it was at {was}, and {also}{all}"),
        None => format!("{shown} is not there any more: it was at {was}, and {also}{all}"),
    };
    Ok(Again::without(Whereabouts::Gone, why))
}

/// The first of each kind.
#[derive(Debug, Default)]
struct Failures {
    not_permitted: Option<String>,
    other: Option<String>,
}

impl Failures {
    /// A file that cannot be read does not end the search; what is wrong with rules does.
    fn note<T>(&mut self, file: &Path, result: anyhow::Result<Option<T>>) -> anyhow::Result<Option<T>> {
        let error = match result {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let Some(cause) = error.downcast_ref::<io::Error>() else { return Err(error) };
        let why = format!("cannot read {}: {cause}", file.display());
        match cause.kind() {
            io::ErrorKind::NotFound => {}
            io::ErrorKind::PermissionDenied => drop(self.not_permitted.get_or_insert(why)),
            _ => drop(self.other.get_or_insert(why)),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
