//! Which files are to be followed. Enters: patterns. Leaves: the regular files that match now, each once, with symbolic links
//! resolved. It opens no file.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::{LogGroup, TailError, record::FileId};
use crate::sources::log::Messages;

/// A group of patterns, compiled.
#[derive(Debug)]
pub(super) struct Patterns {
    globs: Vec<String>,
    exclude: GlobSet,
    pub service: Option<String>,
    pub messages: Messages,
}

/// A file that is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Under which name.
    pub path: PathBuf,
    /// Of which group.
    pub group: usize,
    /// Bytes.
    pub size: u64,
    /// When it was last written to, as the file system says: seconds and nanoseconds.
    pub written: (i64, i64),
}

impl Patterns {
    /// Compiles a group; the patterns must be absolute, so that they mean the same wherever the agent is started.
    pub(super) fn new(group: &LogGroup) -> Result<Self, TailError> {
        let bad = |pattern: &str, why: String| TailError::Pattern { pattern: pattern.to_owned(), why };
        for pattern in &group.globs {
            if !pattern.starts_with('/') {
                return Err(bad(pattern, "a pattern starts with /".to_owned()));
            }
            glob::Pattern::new(pattern).map_err(|error| bad(pattern, error.to_string()))?;
        }
        let mut exclude = GlobSetBuilder::new();
        for pattern in &group.exclude {
            // `*` stays within a folder here as there.
            let glob = GlobBuilder::new(pattern).literal_separator(true).build();
            exclude.add(glob.map_err(|error| bad(pattern, error.to_string()))?);
        }
        let exclude = exclude.build().map_err(|error| bad(&group.exclude.join(", "), error.to_string()))?;
        Ok(Self {
            globs: group.globs.clone(),
            exclude,
            service: group.service.clone(),
            messages: group.messages.clone(),
        })
    }

    /// Folders in which files of this group, or folders that lead to them, may appear.
    pub(super) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.globs.iter().flat_map(|glob| folders(glob))
    }
}

/// All files that match, by what they are. Of two names of one file the first in order stands for it; folders that cannot be read
/// are told. Also whether a link leads nowhere.
pub(super) fn find(groups: &[Patterns], mut unreadable: impl FnMut(&Path, String)) -> (BTreeMap<FileId, Found>, bool) {
    let mut all: BTreeMap<FileId, Found> = BTreeMap::new();
    let mut dangles = false;
    for (group, patterns) in groups.iter().enumerate() {
        for pattern in &patterns.globs {
            // It was compiled before, so it is good.
            for entry in glob::glob(pattern).into_iter().flatten() {
                let path = match entry {
                    Ok(path) => path,
                    Err(error) => {
                        // A folder is left out when all that could be in it is.
                        let path = error.path();
                        if !patterns.exclude.is_match(path) && !patterns.exclude.is_match(path.join("-")) {
                            unreadable(path, error.error().to_string());
                        }
                        continue;
                    }
                };
                if patterns.exclude.is_match(&path) {
                    continue;
                }
                // A link is followed: Kubernetes has /var/log/containers full of them. One that leads nowhere is no file.
                match fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => {
                        let id = FileId { dev: metadata.dev(), ino: metadata.ino() };
                        let (size, written) = (metadata.len(), (metadata.mtime(), metadata.mtime_nsec()));
                        all.entry(id).or_insert(Found { path, group, size, written });
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => dangles |= path.is_symlink(),
                    Err(error) => unreadable(&path, error.to_string()),
                }
            }
        }
    }
    (all, dangles)
}

/// Those of one pattern that are there: the part before its first wild card, or what there is of that, and each folder that a longer part fits.
fn folders(pattern: &str) -> Vec<PathBuf> {
    let fixed = pattern.split(['*', '?', '[']).next().unwrap_or_default();
    let fixed = fixed.rsplit_once('/').map_or("/", |(folder, _)| if folder.is_empty() { "/" } else { folder });
    let there = Path::new(fixed).ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let mut all = vec![there.to_owned()];
    // A link on the way may lead elsewhere some day (`/srv/app/current`).
    all.extend(there.ancestors().filter(|folder| folder.is_symlink()).filter_map(Path::parent).map(Path::to_owned));
    let ends = pattern.match_indices('/').map(|(at, _)| at).filter(|at| *at > fixed.len());
    for part in ends.filter_map(|at| pattern.get(..at)) {
        // It is part of one that was compiled.
        let found = glob::glob(part).into_iter().flatten().flatten();
        all.extend(found.filter(|path| path.is_dir()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(globs: &[String], exclude: &[&str]) -> Patterns {
        let exclude = exclude.iter().map(|&pattern| pattern.to_owned()).collect();
        Patterns::new(&LogGroup { globs: globs.to_vec(), exclude, ..LogGroup::default() }).unwrap()
    }

    #[test]
    fn each_file_is_found_once_under_its_first_name() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["a.log", "b.log", "c.txt", "d.log.gz"] {
            fs::write(root.join(name), name).unwrap();
        }
        fs::create_dir(root.join("dir.log")).unwrap();
        std::os::unix::fs::symlink(root.join("c.txt"), root.join("link.log")).unwrap();
        std::os::unix::fs::symlink(root.join("gone"), root.join("dangling.log")).unwrap();
        fs::hard_link(root.join("a.log"), root.join("z.log")).unwrap();
        let globs = [format!("{}/*.log*", root.display()), format!("{}/a.*", root.display())];
        let (found, dangles) = find(&[group(&globs, &["**/*.gz"])], |path, why| panic!("{}: {why}", path.display()));
        assert!(dangles);
        let mut names: Vec<_> = found.values().map(|found| found.path.file_name().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["a.log", "b.log", "link.log"]);
    }

    #[test]
    fn folders_to_watch_are_all_that_lead_to_a_file() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("pods/one/app")).unwrap();
        fs::create_dir_all(root.join("pods/two")).unwrap();
        fs::write(root.join("pods/file"), "").unwrap();
        let of = |glob: &str| {
            let group = group(&[format!("{}/{glob}", root.display())], &[]);
            let mut folders: Vec<_> = group.folders().map(|at| at.strip_prefix(root).unwrap().to_owned()).collect();
            folders.sort();
            folders.dedup();
            folders.into_iter().map(|at| at.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of("*.log"), [""]);
        assert_eq!(of("pods/a.log"), ["pods"]);
        assert_eq!(of("pods/*/*/*.log"), ["pods", "pods/one", "pods/one/app", "pods/two"]);
        assert_eq!(of("p?ds/one/a.log"), ["", "pods", "pods/one"]);
        assert_eq!(of("**/a.log"), ["", "pods", "pods/one", "pods/one/app", "pods/two"]);
        assert_eq!(of("not/there/yet/*.log"), [""], "where it will turn up");
    }

    #[test]
    fn bad_patterns_are_named() {
        let group = |glob: &str| LogGroup { globs: vec![glob.to_owned()], ..LogGroup::default() };
        for (glob, says) in [("var/*.log", "starts with /"), ("/var/***.log", "/var/***.log"), ("/var/[a.log", "[")] {
            let error = Patterns::new(&group(glob)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
