//! Finds the files below some paths. Enters: paths as a person gave them. Leaves: [`Walked`], in an order that only the names decide.
//! It opens no file.

use std::{fs, path::PathBuf};

use ignore::{DirEntry, WalkBuilder};

use super::{ReadError, Skip, Target, Walked};

/// What to look at in folders. A path that was named itself is always looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkOptions {
    /// Also what `.gitignore` and `.ignore` files exclude.
    pub ignored: bool,
    /// Also names that begin with a dot; files whose name begins with `.env` are looked at in any case.
    pub hidden: bool,
}

/// All files of some paths; `-` is standard input. Symbolic links are followed when they were named themselves, not in folders.
pub fn walk(paths: Vec<PathBuf>, options: WalkOptions) -> impl Iterator<Item = Walked> {
    paths.into_iter().flat_map(move |path| -> Box<dyn Iterator<Item = Walked> + Send> {
        if path.as_os_str() == "-" {
            return Box::new(std::iter::once(Walked::Target(Target::Stdin)));
        }
        match fs::metadata(&path) {
            Err(error) => Box::new(std::iter::once(Walked::Failed(ReadError::new(path.to_string_lossy(), &error)))),
            Ok(what) if what.is_dir() => Box::new(folder(&path, options)),
            Ok(_) => Box::new(std::iter::once(Walked::Target(Target::Path(path)))),
        }
    })
}

fn folder(path: &PathBuf, options: WalkOptions) -> impl Iterator<Item = Walked> + use<> {
    let heed = !options.ignored;
    let walk = WalkBuilder::new(path)
        .hidden(false)
        .filter_entry(move |entry| options.hidden || entry.depth() == 0 || !is_hidden(entry))
        .ignore(heed)
        .git_ignore(heed)
        .git_exclude(heed)
        .parents(heed)
        // What is found must not depend on who runs it, nor on whether the folder is a clone.
        .git_global(false)
        .require_git(false)
        .follow_links(false)
        .sort_by_file_path(Ord::cmp)
        .build();
    let top = path.to_string_lossy().into_owned();
    walk.filter_map(move |entry| match entry {
        Ok(entry) => sort(entry),
        Err(error) => Some(Walked::Failed(ReadError::new(top.as_str(), &error))),
    })
}

/// Hidden is what begins with a dot, but for the files that hold keys by their very purpose: `.env`, `.env.local`.
fn is_hidden(entry: &DirEntry) -> bool {
    let name = entry.file_name().as_encoded_bytes();
    let is_env = name.starts_with(b".env") && entry.file_type().is_some_and(|kind| kind.is_file());
    name.starts_with(b".") && !is_env
}

fn sort(entry: DirEntry) -> Option<Walked> {
    let kind = entry.file_type()?;
    if kind.is_dir() {
        None
    } else if kind.is_file() {
        Some(Walked::Target(Target::Path(entry.into_path())))
    } else {
        Some(Walked::Skipped(if kind.is_symlink() { Skip::Symlink } else { Skip::Special }))
    }
}
