//! A TLS library of our own. Enters: a Python interpreter and a folder. Leaves: copies of the libssl and libcrypto that its
//! `_ssl` links, to be used through LD_LIBRARY_PATH. A uprobe sits on an inode and fires in every process that maps it: on
//! a copy it can reach our clients and nobody else.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// The copies; their folder belongs to the caller.
#[derive(Clone, Debug)]
pub struct PrivateTls {
    /// What LD_LIBRARY_PATH must be.
    pub dir: PathBuf,
    /// The copy of libssl: the file to probe.
    pub libssl: PathBuf,
    /// The copy of libcrypto.
    pub libcrypto: PathBuf,
}

impl PrivateTls {
    /// Copies the libraries of `python` into `dir`, and proves that `python` then uses the copies and that no process does.
    pub fn copy(python: &Path, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let object = tls_object(python)?;
        let linked = ask(Command::new("ldd").arg(&object))?;
        let copy = |library: &str| -> Result<PathBuf> {
            let line = linked.lines().find(|line| line.trim_start().starts_with(library));
            let (name, path) = line
                .and_then(|line| line.trim().split_once(" => "))
                .with_context(|| format!("{} links no {library}*.so: is OpenSSL built into it?", object.display()))?;
            let path = path.split_whitespace().next().unwrap_or_default();
            let to = dir.join(name);
            fs::copy(path, &to).with_context(|| format!("cannot copy {path}"))?;
            Ok(to)
        };
        let copied = Self { dir: dir.to_owned(), libssl: copy("libssl")?, libcrypto: copy("libcrypto")? };
        copied.check_used_by(python)?;
        copied.check_unmapped()?;
        Ok(copied)
    }

    /// An RPATH in `_ssl` would win over LD_LIBRARY_PATH, so one run of the interpreter must show the copy.
    fn check_used_by(&self, python: &Path) -> Result<()> {
        let script = "import _ssl; print(open('/proc/self/maps').read())";
        let maps = ask(Command::new(python).args(["-c", script]).env("LD_LIBRARY_PATH", &self.dir))?;
        let wanted = fs::canonicalize(&self.libssl)?;
        let uses = maps.lines().any(|line| line.ends_with(wanted.to_string_lossy().as_ref()));
        ensure!(uses, "{} does not map {} through LD_LIBRARY_PATH", python.display(), wanted.display());
        Ok(())
    }

    /// No process may map the copy before we start one: anything else would be probed with our client.
    pub fn check_unmapped(&self) -> Result<()> {
        let users = self.mapped_by()?;
        ensure!(users.is_empty(), "processes {users:?} map {}, which should be ours alone", self.libssl.display());
        Ok(())
    }

    /// The processes that map the copy of libssl now, by device and inode.
    pub fn mapped_by(&self) -> Result<Vec<u32>> {
        let file = fs::metadata(&self.libssl)?;
        let device = format!("{:02x}:{:02x}", rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
        let inode = file.ino().to_string();
        let maps_it = |line: &str| {
            // proc_pid_maps(5): address perms offset dev inode pathname
            let mut fields = line.split_ascii_whitespace().skip(3);
            fields.next() == Some(&device) && fields.next() == Some(&inode)
        };
        let mut users = Vec::new();
        for entry in fs::read_dir("/proc").context("cannot list /proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process may end while we look; one that is not ours to read is not ours to start either.
            let maps = fs::read(entry.path().join("maps")).unwrap_or_default();
            if String::from_utf8_lossy(&maps).lines().any(maps_it) {
                users.push(pid);
            }
        }
        Ok(users)
    }
}

/// The file that links OpenSSL: the module `_ssl`, or the interpreter itself when the module is built in.
fn tls_object(python: &Path) -> Result<PathBuf> {
    let script = "import _ssl, os, sys; print(getattr(_ssl, '__file__', None) or os.path.realpath(sys.executable))";
    let path = PathBuf::from(ask(Command::new(python).args(["-c", script]))?.trim());
    ensure!(path.is_file(), "{} has no module _ssl", python.display());
    Ok(path)
}

fn ask(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name} failed with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
