//! Silences that people ask the running agent for. Enters: findings, each with an end and a reason. Leaves: `silences.toml` in the state folder,
//! and all that is silenced now, by it and by the config. What is over is forgotten when something changes.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::control::Say;
use crate::{
    config::{Silence, SilenceFile},
    units::Timestamp,
};

/// Its name in the state folder.
const FILE: &str = "silences.toml";

/// More than people ask for; each finding on its way out is compared with all.
const KEPT_MAX: usize = 1000;

/// What was asked for.
pub(super) struct KeptSilences {
    path: PathBuf,
    kept: SilenceFile,
}

impl KeptSilences {
    /// Those of the last run. A file that cannot be read is an error: a silence that is forgotten wakes somebody.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let kept = SilenceFile::read(&text)
            .with_context(|| format!("{} cannot be understood; mend it or move it away", path.display()))?;
        Ok(Self { path, kept })
    }

    /// These and those of the config.
    pub(super) fn with(&self, configured: &[Silence]) -> Vec<Silence> {
        configured.iter().chain(&self.kept.silence).cloned().collect()
    }

    /// Silences a finding until then, or ends its silence.
    pub(super) fn set(&mut self, finding: &str, until: Option<&str>, reason: Option<&str>, now: Timestamp) -> Say {
        let refused = |why: &str| Say::Refused { why: why.to_owned() };
        let mut silence = self.kept.silence.clone();
        silence.retain(|silence| silence.until.at() > now);
        let before = silence.len();
        silence.retain(|silence| !silence.is_of(finding));
        let was_silent = silence.len() < before;
        let what = match until {
            Some(until) => {
                let Some(new) = Silence::of_finding(finding, until, reason.unwrap_or_default()) else {
                    return refused("a silence needs the id of a finding, an end by RFC 3339 and a reason");
                };
                silence.push(new);
                format!("no sink is told of finding {finding} until {until}")
            }
            None if was_silent => format!("sinks are told of finding {finding} again"),
            None => {
                return refused(&format!(
                    "finding {finding} was not silenced this way; if it is silent, [[silence]] in the config says so"
                ));
            }
        };
        if silence.len() > KEPT_MAX {
            return refused(&format!(
                "{KEPT_MAX} findings are silenced already: use [[silence]] with rules or services"
            ));
        }
        let kept = SilenceFile { silence };
        match write(&self.path, &kept.to_toml()) {
            Ok(()) => {
                self.kept = kept;
                Say::Done { what }
            }
            Err(error) => refused(&format!("cannot write {}: {error}", self.path.display())),
        }
    }
}

/// Whole or not at all, for the agent's user alone.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ID: &str = "4f1d9a00c2d3e4f5061728394a5b6c7d";
    const OTHER: &str = "00000000c2d3e4f5061728394a5b6c7d";
    const NOW: Timestamp = Timestamp(1_795_392_000_000_000_000);

    fn done(say: Say) -> String {
        match say {
            Say::Done { what } => what,
            other => panic!("{other:?}"),
        }
    }

    fn why(say: Say) -> String {
        match say {
            Say::Refused { why } => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_asked_for_outlives_the_agent_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = KeptSilences::read(folder.path()).unwrap();
        let said = done(kept.set(ID, Some("2026-11-24T00:00:00.000Z"), Some("known"), NOW));
        assert_eq!(said, format!("no sink is told of finding {ID} until 2026-11-24T00:00:00.000Z"));
        // Again: the newer word counts.
        done(kept.set(ID, Some("2026-11-25T00:00:00.000Z"), Some("still \"known\"\nand so on"), NOW));
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, fs::read_dir(folder.path()).unwrap().count()), (0o600, 1));

        let mut kept = KeptSilences::read(folder.path()).unwrap();
        let all = kept.with(&[]);
        assert_eq!((all.len(), all[0].until.as_str(), all[0].is_of(ID)), (1, "2026-11-25T00:00:00.000Z", true));
        // What is over goes when something changes.
        let later = Timestamp::parse("2026-11-26T00:00:00Z").unwrap();
        done(kept.set(OTHER, Some("2026-11-27T00:00:00.000Z"), Some("r"), later));
        assert_eq!(kept.with(&[]).len(), 1);
        assert!(done(kept.set(OTHER, None, None, later)).ends_with("again"));
        assert!(why(kept.set(OTHER, None, None, later)).contains("[[silence]]"));
        assert!(KeptSilences::read(folder.path()).unwrap().with(&[]).is_empty());
    }

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = KeptSilences::read(folder.path()).unwrap();
        for (id, until, reason) in [
            ("4f1d", Some("2026-11-24T00:00:00Z"), Some("r")),
            (ID, Some("tomorrow"), Some("r")),
            (ID, Some("2026-11-24T00:00:00Z"), None),
        ] {
            why(kept.set(id, until, reason, NOW));
        }
        assert!(!folder.path().join(FILE).exists() && kept.with(&[]).is_empty());
        fs::write(folder.path().join(FILE), "[[silence]]\nuntil = 7\n").unwrap();
        let error = format!("{:#}", KeptSilences::read(folder.path()).err().unwrap());
        assert!(error.contains("mend it or move it away"), "{error}");
    }
}
