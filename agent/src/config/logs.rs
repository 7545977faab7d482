//! `[logs]` and `[[logs.files]]`: which files are followed, and the bounds of following. Enters: the section. Leaves: globs,
//! durations, sizes. It looks at no file.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    allowed::TextPattern,
    amounts::{GIB, HOUR, KIB, MIB, MINUTE, Period, SECOND, Size},
    names::{AbsolutePath, PathGlob, ServiceName, UnitName},
};

/// Log files that are followed and scanned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// How often the globs and the files are looked at where inotify does not tell of everything, as on file systems of a network. This is the
    /// longest time until a new line is seen there while the agent keeps up; shorter finds sooner and costs a `stat` a file each time. Where inotify
    /// tells, new lines are seen within milliseconds, and everything is looked at every ten intervals all the same.
    pub scan_interval: Period<100, HOUR>,
    /// A longer line is scanned in overlapping windows of this size, so that no line needs more memory than this.
    pub line_bytes: Size<{ 16 * KIB }, { 16 * MIB }>,
    /// Most that is read and scanned of one file before another has its turn; at least `line_bytes`. Larger is faster and needs
    /// more memory.
    pub block_bytes: Size<{ 64 * KIB }, { 64 * MIB }>,
    /// How long a file that was rotated away or deleted is kept open after it was last written to. A program may go on writing
    /// to it for a while; an open deleted file takes up disk.
    pub rotate_wait: Period<SECOND, { 24 * HOUR }>,
    /// Groups of files; `[[logs.files]]` may be given once for each service. Without any, no file is read.
    pub files: Vec<LogFiles>,
    /// The systemd journal.
    pub journald: Journald,
}

/// Which part of the journal is followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Journald {
    /// Whether it is followed. It is read by `journalctl`, which must be there; the agent's user must be root or in the group
    /// `systemd-journal`.
    pub enabled: bool,
    /// Only these units, such as `summarizer.service`; without any, all.
    pub units: Vec<UnitName>,
    /// Folder with journals, instead of this machine's own: `/var/log/journal` of a node that is mounted into a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<AbsolutePath>,
    /// Where to begin when nothing is remembered: with the next entry, with the machine's last start, or with the oldest entry.
    pub since: JournalSince,
}

/// Where the journal is followed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JournalSince {
    /// The next entry.
    Now,
    /// The machine's last start.
    #[default]
    Boot,
    /// The oldest entry.
    Start,
}

impl Logs {
    /// Groups and globs that fit this file, or a name that it gets when it is rotated.
    pub(super) fn follow(&self, path: &Path) -> Vec<(usize, usize)> {
        let names: Vec<String> =
            ["", ".1", ".1.gz", ".1.zst"].iter().map(|end| format!("{}{end}", path.display())).collect();
        let fits = |glob: &PathGlob, name: &str| glob.glob().compile_matcher().is_match(name);
        let mut found = Vec::new();
        for (group, files) in self.files.iter().enumerate() {
            for (number, glob) in files.globs.iter().enumerate() {
                let is_read =
                    |name: &&String| fits(glob, name) && !files.exclude.iter().any(|exclude| fits(exclude, name));
                if names.iter().any(|name| is_read(&name)) {
                    found.push((group, number));
                }
            }
        }
        found
    }

    /// Some are.
    pub fn are_followed(&self) -> bool {
        !self.files.is_empty() || self.journald.enabled
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            scan_interval: Period::from_millis(SECOND),
            line_bytes: Size::from_bytes(256 * KIB),
            block_bytes: Size::from_bytes(MIB),
            rotate_wait: Period::from_millis(MINUTE),
            files: Vec::new(),
            journald: Journald::default(),
        }
    }
}

/// Files of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogFiles {
    /// Which files. Name rotated files too (`/var/log/app.log*`), so that what was written while the agent was down is found;
    /// a file is known by what it is, not by its name, and none is read twice.
    pub globs: Vec<PathGlob>,
    /// Files that the globs fit and that are to be left alone.
    #[serde(default)]
    pub exclude: Vec<PathGlob>,
    /// The service that findings in these files are told of. Without it, it is the file's name up to its last dot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// A line that this pattern is found in begins a message, and all others go on with the message before them: `"^\\d{4}-\\d\\d-\\d\\d "` where
    /// each message begins with its date. Without it, a line goes on with the one before when it is indented or begins with a
    /// closing bracket. Findings do not depend on it, for lines are scanned together anyway; who wrote a line of a stack trace, and
    /// calls to models that are logged over several lines, do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_start: Option<TextPattern>,
    /// Most bytes of all these files together that are scanned a second. While more is written, whole blocks are skipped, counted in
    /// `outflow_log_capped_bytes_total`, and told as a finding `coverage.log-gap`; compressed files wait instead. Without it, all is
    /// scanned, and files that grow faster than that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_second: Option<Size<{ 64 * KIB }, { 64 * GIB }>>,
}
