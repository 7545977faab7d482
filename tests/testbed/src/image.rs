//! The files of the agent's container image. Enters: the program as cargo built it. Leaves: a build context, whose `rootfs` holds the
//! program and what it needs to run, for `deploy/Dockerfile`. It fetches nothing: libraries and certificates are this machine's.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::workspace;

/// Where the Dockerfile's entry point is.
const PROGRAM: &str = "usr/bin/outflow";

/// The bundle that OpenSSL and rustls both look for; Debian's package `ca-certificates` makes it.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

/// 65532 is the number that other images without a distribution give to their user, so that a cluster's policies know it.
const PASSWD: &str = "root:x:0:0:root:/:/nonexistent\noutflow:x:65532:65532:outflow:/var/lib/outflow:/nonexistent\n";
const GROUP: &str = "root:x:0:\noutflow:x:65532:\n";

/// Puts the context together in the folder `context`, anew.
pub fn build_context(program: &Path, context: &Path) -> Result<()> {
    if context.exists() {
        fs::remove_dir_all(context).with_context(|| format!("cannot empty {}", context.display()))?;
    }
    let rootfs = context.join("rootfs");
    let inside = rootfs.join(PROGRAM);
    fs::create_dir_all(inside.parent().unwrap_or(&rootfs))?;
    // Symbols are most of the file, and nobody debugs in there.
    ask(Command::new("strip").arg("-o").arg(&inside).arg(program))?;
    for library in libraries(&inside)? {
        copy(&library, &rootfs)?;
    }
    copy(&Path::new("/").join(CERTIFICATES), &rootfs).context("Debian's package ca-certificates has it")?;
    write(&rootfs.join("etc/passwd"), PASSWD)?;
    write(&rootfs.join("etc/group"), GROUP)?;
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        let text = fs::read_to_string(workspace().join(licence)).with_context(|| licence.to_owned())?;
        write(&rootfs.join("usr/share/doc/outflow").join(licence), &text)?;
    }
    Ok(())
}

/// What the loader would map, itself included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    listed(&ask(Command::new("ldd").arg(program))?)
}

/// `\tlibm.so.6 => /lib/…/libm.so.6 (0x…)`, `\t/lib64/ld-linux-x86-64.so.2 (0x…)`; linux-vdso has no file.
fn listed(ldd: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in ldd.lines().map(str::trim) {
        let name = line.split_once(" => ").map_or(line, |(_, path)| path);
        match name.split_once(" (0x") {
            Some((path, _)) if path.starts_with('/') => found.push(PathBuf::from(path)),
            Some(_) => {}
            None => bail!("the loader does not find: {line}"),
        }
    }
    ensure!(!found.is_empty(), "ldd names no library");
    Ok(found)
}

/// To the same path below `rootfs`, with what a link leads to.
fn copy(file: &Path, rootfs: &Path) -> Result<()> {
    let to = rootfs.join(file.strip_prefix("/").unwrap_or(file));
    fs::create_dir_all(to.parent().unwrap_or(rootfs))?;
    fs::copy(file, &to).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(file))?;
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(fs::set_permissions(file, Permissions::from_mode(0o644))?)
}

fn ask(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_names_is_taken() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffc2d1f2000)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f1a)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f1a3c9d2000)\n";
        let expected = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(listed(ldd).unwrap(), expected);
    }

    #[test]
    fn a_library_that_is_not_there_is_an_error() {
        let told = listed("\tlibgone.so.1 => not found\n").unwrap_err().to_string();
        assert!(told.contains("libgone.so.1"), "{told}");
        assert!(listed("").is_err());
    }

    /// The whole of it with a program that any Debian has, to be run in the folder that results.
    #[test]
    fn a_context_holds_a_program_that_runs() {
        let folder = tempfile::tempdir().unwrap();
        let context = folder.path().join("context");
        fs::create_dir_all(context.join("rootfs/left/over")).unwrap();
        build_context(Path::new("/bin/cat"), &context).unwrap();
        let rootfs = context.join("rootfs");
        assert!(!rootfs.join("left").exists());
        assert!(fs::metadata(rootfs.join(CERTIFICATES)).unwrap().len() > 0);
        assert!(fs::read_to_string(rootfs.join("etc/passwd")).unwrap().contains("\noutflow:"));
        if let Some(reason) = crate::missing_for_sandbox() {
            println!("skipped: {reason}");
            return;
        }
        let mut inside = Command::new("chroot");
        inside.arg(&rootfs).args(["/usr/bin/outflow", "/etc/group"]);
        assert_eq!(ask(&mut inside).unwrap(), GROUP);
    }
}
