//! Debian's kernels. Enters: a suite of its archive. Leaves: a kernel image in a folder of ours. apt works with lists and settings of its own
//! there, so that the machine's are as they were; nothing is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::sh;

/// The kernel for machines in a cloud: small, with everything that we need built in.
const PACKAGE: &str = "linux-image-cloud-amd64";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite of Debian's archive.
pub(super) struct Suite {
    pub(super) name: &'static str,
    pub(super) archive: &'static str,
}

impl Suite {
    /// The kernel image in `folder`; fetched when it is not there yet. Whoever wants a newer one removes the folder.
    pub(super) fn kernel(&self, folder: &Path) -> Result<PathBuf> {
        if let Some(kernel) = image_below(folder) {
            return Ok(kernel);
        }
        let apt = Apt::new(self, folder)?;
        sh::run(apt.command("apt-get").arg("update").args(["-qq"]))?;
        // The package that has the image: named by the one without a version, since Linux 7 once more removed.
        let mut package = apt.dependency(PACKAGE, "linux-image-")?;
        if let Ok(binary) = apt.dependency(&package, "linux-binary-") {
            package = binary;
        }
        sh::run(apt.command("apt-get").current_dir(folder).args(["download", "-qq", &package]))?;
        let entries = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        let deb = entries.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"));
        let deb = deb.with_context(|| format!("apt-get download left no package in {}", folder.display()))?;
        sh::run(sh::command("dpkg-deb").arg("-x").arg(deb).arg(folder.join("image")))?;
        image_below(folder).with_context(|| format!("{package} has no kernel image"))
    }
}

/// apt with everything in one folder.
struct Apt<'a> {
    folder: &'a Path,
}

impl<'a> Apt<'a> {
    fn new(suite: &Suite, folder: &'a Path) -> Result<Self> {
        for below in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(below)).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let source = format!("deb [signed-by={KEYS}] {} {} main\n", suite.archive, suite.name);
        fs::write(folder.join("sources.list"), source)?;
        // dpkg's own list names what is installed, which is none of this.
        fs::write(folder.join("status"), "")?;
        Ok(Self { folder })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = sh::command(program);
        let places = [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ];
        for (name, place) in places {
            command.arg("-o").arg(format!("{name}={}", self.folder.join(place).display()));
        }
        // No other source, and no user of its own: the folder is ours alone.
        command.args(["-o", "Dir::Etc::sourceparts=-", "-o", "APT::Sandbox::User=root"]);
        command
    }

    /// The first package that `package` depends on and whose name starts like this.
    fn dependency(&self, package: &str, start: &str) -> Result<String> {
        let said = sh::ask(self.command("apt-cache").args(["depends", package])).unwrap_or_default();
        let found =
            said.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).find(|it| it.starts_with(start));
        match found {
            Some(found) => Ok(found.to_owned()),
            None => bail!("{package} depends on no {start}* (apt-cache depends)"),
        }
    }
}

/// The image of an unpacked package: below `boot`, or beside the modules.
fn image_below(folder: &Path) -> Option<PathBuf> {
    let mut folders = vec![folder.join("image")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().starts_with("vmlinuz") {
                return Some(entry.path());
            }
        }
    }
    None
}
