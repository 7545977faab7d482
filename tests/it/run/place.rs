//! Where an agent of a test lives. Leaves: config, rules, state and logs in a folder that goes with the test.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use outflow::store::{STORE_FILE, StoreReader};

use super::agent::Agent;

/// One folder, one config.
pub(super) struct Place {
    folder: tempfile::TempDir,
    state: PathBuf,
    rules: Option<PathBuf>,
}

impl Place {
    /// With the rules that the program brings. The pure-Rust scanner takes seconds to compile them on a busy machine.
    pub(super) fn with_all_rules() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        let place = Self { state: folder.path().join("state"), rules: None, folder };
        place.configure("");
        place
    }

    /// With a few of them, word for word, so that an agent starts in a tenth of a second: those of [`RULES`].
    pub(super) fn new() -> Self {
        let mut place = Self::with_all_rules();
        place.rules = Some(few_rules(place.folder.path(), &[]));
        place.configure("");
        place
    }

    /// As [`new`](Self::new), with these rules besides.
    pub(super) fn with(more: &[(&str, &str)]) -> Self {
        let mut place = Self::with_all_rules();
        place.rules = Some(few_rules(place.folder.path(), more));
        place.configure("");
        place
    }

    /// With its state on a disk of its own.
    pub(super) fn on(disk: &Path) -> Self {
        let mut place = Self::new();
        place.state = disk.join("state");
        place.configure("");
        place
    }

    /// Where the log is.
    pub(super) fn logs(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    /// The config file.
    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("outflow.toml")
    }

    /// The state folder.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    /// The store's file.
    pub(super) fn store(&self) -> PathBuf {
        self.state.join(STORE_FILE)
    }

    /// Writes the config anew; `rules` goes on in its last section, `[rules]`.
    ///
    /// What is gone is given up soon: a gap that is told wrongly is to be told while the test lasts.
    pub(super) fn configure(&self, rules: &str) {
        let files = format!("globs = [\"{}\"]\nservice = \"shop\"\n", self.logs().join("*.log*").display());
        self.follow(&files, rules);
    }

    /// As [`configure`](Self::configure), for other files: `files` is the section `[[logs.files]]`.
    pub(super) fn follow(&self, files: &str, rules: &str) {
        let mut text = format!(
            "[state]\ndirectory = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [logs]\nscan_interval = \"100ms\"\nrotate_wait = \"1s\"\n[[logs.files]]\n{files}[rules]\n",
            self.state.display(),
        );
        if let Some(folder) = &self.rules {
            writeln!(text, "directory = \"{}\"", folder.display()).unwrap();
        }
        fs::write(self.config(), text + rules).unwrap();
    }

    /// The folder with its rules, when it has its own.
    pub(super) fn rules(&self) -> Option<&Path> {
        self.rules.as_deref()
    }

    /// Starts the program.
    pub(super) fn start(&self) -> Agent {
        Agent::start(&self.config())
    }

    /// The store, to read; it must be there.
    pub(super) fn reader(&self) -> StoreReader {
        StoreReader::open(&self.store()).unwrap()
    }

    /// Findings in the store; none while there is no store.
    pub(super) fn stored(&self) -> u64 {
        let Ok(reader) = StoreReader::open(&self.store()) else { return 0 };
        reader.count(&outflow::store::Filter::default()).unwrap()
    }
}

/// Ids of the rules that [`few_rules`] takes, and their file.
const RULES: [(&str, &str); 2] = [("pii/contact.toml", "pii.email"), ("secrets/dev.toml", "secret.linear-api-key")];

/// The vendors and models of the project, and of its other rules a few.
fn few_rules(folder: &Path, more: &[(&str, &str)]) -> PathBuf {
    let (all, few) = (testbed::workspace().join("rules"), folder.join("rules"));
    for (file, id) in RULES.iter().chain(more) {
        let text = fs::read_to_string(all.join(file)).unwrap();
        let rule = text.split("[[rule]]").find(|rule| rule.contains(&format!("id = \"{id}\"")));
        let rule = rule.unwrap_or_else(|| panic!("{file} has no {id}"));
        fs::create_dir_all(few.join(file).parent().unwrap()).unwrap();
        fs::write(few.join(file), format!("[[rule]]{rule}")).unwrap();
    }
    for same in ["vendors", "models"] {
        symlink(all.join(same), few.join(same)).unwrap();
    }
    few
}
