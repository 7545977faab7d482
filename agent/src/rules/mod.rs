//! Beside the river: loads the top-level `rules/` (embedded in the binary, or a folder given by the user) and compiles it.
//! Enters: TOML text. Leaves: scan rules, the vendor table, model rules, texts of behaviours, TLS signatures. Rules are data; this room
//! holds no rule of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use include_dir::{Dir, include_dir};

pub mod behaviours;
mod hosts;
pub mod models;
pub mod scan;
mod selection;
pub mod tls;
pub mod vendors;

pub use self::{
    behaviours::{BehaviourRule, BehaviourRules},
    models::ModelRules,
    scan::ScanRule,
    selection::{Change, Selection},
    tls::TlsRules,
    vendors::VendorTable,
};

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../rules");

/// One rule file, not yet parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFile {
    /// Path below `rules/`, for messages: `secrets/openai.toml`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// What is wrong with a rule file, said so that it can be mended.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// A file says something it must not.
    #[error("{file}:{line}: {message}")]
    Invalid {
        /// Path below `rules/`.
        file: String,
        /// Line, 1-based.
        line: usize,
        /// What is wrong and what to write instead; names the key.
        message: String,
    },
}

/// Where rules come from.
#[derive(Clone, Debug, Default)]
pub enum RuleSource {
    /// The rules that the binary was built with.
    #[default]
    Embedded,
    /// A folder laid out like `rules/`, instead of the embedded rules.
    Folder(PathBuf),
}

impl RuleSource {
    /// The `*.toml` files of one folder below `rules/` (`pii`, `vendors`), sorted by path.
    pub fn files(&self, folder: &str) -> Result<Vec<RuleFile>, RuleError> {
        let mut files = match self {
            Self::Embedded => EMBEDDED
                .get_dir(folder)
                .map(|dir| {
                    dir.files()
                        .filter(|file| file.path().extension().is_some_and(|extension| extension == "toml"))
                        .map(|file| RuleFile {
                            path: file.path().display().to_string(),
                            text: file.contents_utf8().unwrap_or_default().to_owned(),
                        })
                        .collect()
                })
                .unwrap_or_default(),
            Self::Folder(root) => read_folder(&root.join(folder), folder)?,
        };
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }
}

fn read_folder(folder: &Path, name: &str) -> Result<Vec<RuleFile>, RuleError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |reason| RuleError::Read { path, reason }
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(&path).map_err(failed(&path))?;
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push(RuleFile { path: format!("{name}/{file}"), text });
        }
    }
    Ok(files)
}

/// Line (1-based) of a byte offset, for messages.
pub fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    memchr::memchr_iter(b'\n', before).count() + 1
}
