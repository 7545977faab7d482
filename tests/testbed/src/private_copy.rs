//! Copies that no other process maps. Enters: a program, a library, a folder. Leaves: the copies. A uprobe sits on an inode and fires in
//! every process that maps it: whatever a test may tap is copied first, so that nobody else is in reach. The copy lies beside
//! nothing that it does not need, and its folder belongs to the caller.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Libraries that a tap could probe, by how their names begin. NSS is looked for by its parts.
const TLS_LIBRARIES: [&str; 8] =
    ["libssl", "libcrypto", "libgnutls", "libnss3", "libnssutil3", "libsmime3", "libnspr4", "libssl3"];

/// Copies one file into `folder` under its own name.
pub fn private_copy(file: &Path, folder: &Path) -> Result<PathBuf> {
    let name = file.file_name().with_context(|| format!("{} has no name", file.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let copy = folder.join(name);
    fs::copy(file, &copy).with_context(|| format!("cannot copy {} into {}", file.display(), folder.display()))?;
    Ok(copy)
}

/// Copies a folder with all that is in it.
pub fn private_tree(tree: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(tree).with_context(|| format!("cannot list {}", tree.display()))? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            private_tree(&from, &to)?;
        } else {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

/// Copies the TLS libraries that the loader would give `object` into `folder`, each under the name that it is asked for by; what is there
/// already stays. Through `LD_LIBRARY_PATH` they are then the ones. Gives the copies' paths.
pub fn private_libraries(object: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(object).stdin(Stdio::null()).output().context("cannot run ldd")?;
    ensure!(output.status.success(), "ldd {}: {}", object.display(), String::from_utf8_lossy(&output.stderr).trim());
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut copies = Vec::new();
    for (name, path) in linked(&String::from_utf8_lossy(&output.stdout)) {
        if !TLS_LIBRARIES.iter().any(|library| name.starts_with(library)) {
            continue;
        }
        let copy = folder.join(name);
        if !copy.exists() {
            fs::copy(path, &copy).with_context(|| format!("cannot copy {path}"))?;
        }
        copies.push(copy);
    }
    Ok(copies)
}

/// `\tlibm.so.6 => /lib/…/libm.so.6 (0x…)`; what has no file is left out.
fn linked(ldd: &str) -> Vec<(&str, &str)> {
    fn pair(line: &str) -> Option<(&str, &str)> {
        let (name, rest) = line.trim().split_once(" => ")?;
        rest.split_once(" (0x").map(|(path, _)| (name, path))
    }
    ldd.lines().filter_map(pair).filter(|(_, path)| path.starts_with('/')).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn names_and_files_are_read_from_what_ldd_says() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffc2d1f2000)\n\tlibssl.so.3 => /lib/x/libssl.so.3 (0x00007f1a)\n\
                   \tlibgone.so.1 => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f1a3c9d2000)\n";
        assert_eq!(linked(ldd), [("libssl.so.3", "/lib/x/libssl.so.3")]);
    }

    #[test]
    fn a_copy_is_another_file_with_the_same_rights() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("tree/deep");
        let copy = private_copy(Path::new("/bin/sh"), &inside).unwrap();
        let (old, new) = (fs::metadata("/bin/sh").unwrap(), fs::metadata(&copy).unwrap());
        assert_ne!((old.dev(), old.ino()), (new.dev(), new.ino()));
        assert_eq!((old.len(), old.mode()), (new.len(), new.mode()));
        private_tree(&folder.path().join("tree"), &folder.path().join("other")).unwrap();
        assert_ne!(fs::metadata(folder.path().join("other/deep/sh")).unwrap().ino(), new.ino());
        assert!(private_libraries(&copy, &folder.path().join("lib")).unwrap().is_empty());
        private_copy(Path::new("/nonexistent"), &inside).unwrap_err();
    }
}
