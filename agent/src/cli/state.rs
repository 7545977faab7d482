//! The state folder and what is kept there. Enters: environment, files. Leaves: the folder's path, the store's, and the fingerprint key. The
//! key is created once, readable by its owner alone, and never printed.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{findings::FingerprintKey, store::STORE_FILE};

/// Name of the key file in the state folder.
const KEY_FILE: &str = "fingerprint.key";

/// More than any key file holds: a wrong path must not read a disk into memory.
const MAX_KEY_FILE_BYTES: u64 = 4096;

/// The state folder: `$STATE_DIRECTORY` (systemd), for root `/var/lib/outflow`, else `$XDG_STATE_HOME/outflow`, else
/// `~/.local/state/outflow`. `None` when none of these is set.
pub fn folder() -> Option<PathBuf> {
    folder_of(&|name| std::env::var_os(name), rustix::process::geteuid().is_root())
}

/// Where the store is kept, when nobody names another place.
pub fn store() -> Option<PathBuf> {
    folder().map(|folder| folder.join(STORE_FILE))
}

fn folder_of(variable: &dyn Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(folders) = variable("STATE_DIRECTORY") {
        // systemd separates several folders by colons (systemd.exec(5)); the first is ours.
        return std::env::split_paths(&folders).next();
    }
    if is_root {
        return Some(PathBuf::from("/var/lib/outflow"));
    }
    // A relative path there is invalid and must be ignored (XDG Base Directory Specification 0.8).
    let state = variable("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    state
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".local/state")))
        .map(|path| path.join("outflow"))
}

/// The fingerprint key of this host: read from the state folder, or made there on the first run.
pub fn fingerprint_key() -> anyhow::Result<FingerprintKey> {
    let folder = folder().context("no state folder: set STATE_DIRECTORY, XDG_STATE_HOME or HOME")?;
    fingerprint_key_in(&folder)
}

/// As [`fingerprint_key`], in a folder of the caller's choice, which is created when it is missing.
pub fn fingerprint_key_in(folder: &Path) -> anyhow::Result<FingerprintKey> {
    let path = folder.join(KEY_FILE);
    match fs::exists(&path) {
        Ok(true) => return read_key(&path),
        Ok(false) => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot create the state folder {}", folder.display()))?;
    create_key(folder, &path).with_context(|| format!("cannot write {}", path.display()))?;
    // Read back in any case: another process may have been first, and then its key counts.
    read_key(&path)
}

/// Where the key is in a state folder.
pub fn key_file(folder: &Path) -> PathBuf {
    folder.join(KEY_FILE)
}

/// The key for a session: this host's, or with a word on standard error one for this run only.
pub fn key_for_session() -> anyhow::Result<FingerprintKey> {
    fingerprint_key().or_else(|error| {
        anstream::eprintln!("outflow: {error:#}; the fingerprints of this run compare with no other run");
        passing_key()
    })
}

/// A key for this run only, for hosts without a place to keep one: fingerprints of another run do not compare.
pub fn passing_key() -> anyhow::Result<FingerprintKey> {
    random_key().context("cannot read /dev/urandom")
}

/// Reads a key file.
pub fn read_key(path: &Path) -> anyhow::Result<FingerprintKey> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text))
        .with_context(|| format!("cannot read the fingerprint key {}", path.display()))?;
    FingerprintKey::parse(&text).with_context(|| format!("{} holds no fingerprint key", path.display()))
}

/// Writes a whole key under another name, then links it into place: nobody ever reads half a key, and the first one wins.
fn create_key(folder: &Path, path: &Path) -> io::Result<()> {
    let draft = folder.join(format!(".{KEY_FILE}.{}", std::process::id()));
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).and_then(|mut file| {
            file.write_all(random_key()?.expose().as_bytes())?;
            file.sync_all()
        });
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    });
    // The draft is a key too: it must not stay, whatever happened.
    let removed = fs::remove_file(&draft);
    linked.and(removed)
}

fn random_key() -> io::Result<FingerprintKey> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(FingerprintKey::new(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_follows_the_environment() {
        type Case<'a> = (&'a [(&'a str, &'a str)], bool, Option<&'a str>);
        let cases: [Case<'_>; 7] = [
            (&[("STATE_DIRECTORY", "/s/outflow:/s/other"), ("HOME", "/h")], true, Some("/s/outflow")),
            (&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], false, Some("/x/outflow")),
            (&[("XDG_STATE_HOME", "relative"), ("HOME", "/h")], false, Some("/h/.local/state/outflow")),
            (&[("XDG_STATE_HOME", ""), ("HOME", "/h")], false, Some("/h/.local/state/outflow")),
            (&[("HOME", "/root")], true, Some("/var/lib/outflow")),
            (&[], true, Some("/var/lib/outflow")),
            (&[], false, None),
        ];
        for (variables, is_root, expected) in cases {
            let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
            assert_eq!(folder_of(&variable, is_root), expected.map(PathBuf::from), "{variables:?}");
        }
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a/b");
        let first = fingerprint_key_in(&state).unwrap();
        assert_eq!(fingerprint_key_in(&state).unwrap().id(), first.id());
        assert_ne!(passing_key().unwrap().id(), first.id());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join(KEY_FILE))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "no draft stays");
    }

    #[test]
    fn the_first_of_two_makers_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KEY_FILE);
        create_key(folder.path(), &path).unwrap();
        let first = fs::read(&path).unwrap();
        create_key(folder.path(), &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(KEY_FILE), "not a key, perhaps a password").unwrap();
        let error = format!("{:#}", fingerprint_key_in(folder.path()).unwrap_err());
        assert!(error.contains("openssl rand -hex 32") && !error.contains("password"), "{error}");
    }
}
