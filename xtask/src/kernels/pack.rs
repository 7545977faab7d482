//! The initramfs. Enters: this workspace's programs and clients, and programs of this machine. Leaves: one cpio file with them, their libraries
//! and the check. Nothing of it is built for the purpose: what is checked is what was built.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};

use crate::sh;

/// Clients that are taken along where this machine has them.
const CLIENTS: [&str; 3] = ["/usr/bin/curl", "/usr/bin/wget", "/usr/bin/node"];
const PYTHON: &str = "/usr/bin/python3";
/// Parts of Python's library that no client needs, by their first letters.
const LEFT_OUT: [&str; 7] = ["test", "idlelib", "ensurepip", "config-", "lib2to3", "tkinter", "pydoc_data"];
/// Loaded by name, not linked: no listing shows it.
const BY_NAME: [&str; 1] = ["/lib/x86_64-linux-gnu/libgcc_s.so.1"];

/// Packs everything and gives the file.
pub(super) fn pack(programs: &Path, place: &Path) -> Result<PathBuf> {
    let root = place.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    for folder in ["bin", "usr/bin", "usr/lib", "usr/lib64", "dev", "proc", "sys", "etc", "root", "kernel", "clients"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for link in ["lib", "lib64"] {
        symlink(format!("usr/{link}"), root.join(link))?;
    }
    let tests = sh::workspace().join("tests");
    copy(&tests.join("kernel/init"), &root.join("init"))?;
    copy(&tests.join("kernel/check.py"), &root.join("kernel/check.py"))?;
    for client in ["raw_client.py", "common.py"] {
        copy(&tests.join("e2e/clients").join(client), &root.join("clients").join(client))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    fs::write(root.join("etc/nsswitch.conf"), "hosts: files\n")?;

    let busybox = which("busybox")?;
    ensure!(is_static(&busybox), "{} needs libraries: apt-get install busybox-static", busybox.display());
    copy(&busybox, &root.join("bin/busybox"))?;
    let mut linked = Vec::new();
    for program in ["outflow", "llm-server"] {
        // Lines and names of the debugger are three quarters of it.
        let to = root.join("bin").join(program);
        sh::run(sh::command("strip").arg("--strip-debug").arg("-o").arg(&to).arg(programs.join(program)))?;
        linked.push(to);
    }
    for client in CLIENTS.iter().chain([&PYTHON]).map(Path::new).filter(|client| client.exists()) {
        copy(client, &root.join(client.strip_prefix("/")?))?;
        linked.push(client.to_owned());
    }
    linked.extend(python_library(&root)?);
    for library in libraries(&linked)? {
        let below = library.strip_prefix("/")?;
        let to = if below.starts_with("usr") { root.join(below) } else { root.join("usr").join(below) };
        copy(&library, &to)?;
    }
    let file = place.join("initramfs.cpio");
    write(&root, &busybox, &file)?;
    Ok(file)
}

/// Copies Python's library; gives its parts that are linked with others.
fn python_library(root: &Path) -> Result<Vec<PathBuf>> {
    let script = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let library =
        sh::ask(sh::command(PYTHON).args(["-c", script])).context("python3 is missing: apt-get install python3")?;
    let mut folders = vec![PathBuf::from(library)];
    let mut linked = Vec::new();
    while let Some(folder) = folders.pop() {
        fs::create_dir_all(root.join(folder.strip_prefix("/")?))?;
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if LEFT_OUT.iter().any(|part| name.to_string_lossy().starts_with(part)) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                copy(&path, &root.join(path.strip_prefix("/")?))?;
                if path.extension().is_some_and(|extension| extension == "so") {
                    linked.push(path);
                }
            }
        }
    }
    Ok(linked)
}

/// Everything that these are linked with, the dynamic loader included, as `ldd` lists it.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let said = sh::ask(sh::command("ldd").args(programs)).context("ldd failed")?;
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    let listed = said.lines().filter(|line| line.starts_with('\t')).filter_map(path);
    Ok(listed.chain(BY_NAME.map(PathBuf::from)).filter(|library| library.exists()).collect())
}

fn is_static(program: &Path) -> bool {
    !sh::ask(sh::command("ldd").arg(program)).is_some_and(|said| said.contains("=>"))
}

fn which(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.with_context(|| format!("{program} is missing"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// In the format that the kernel unpacks (Documentation/driver-api/early-userspace/buffer-format.rst), uncompressed: unpacking would take
/// longer than reading.
fn write(root: &Path, busybox: &Path, file: &Path) -> Result<()> {
    let script = "find . | \"$0\" cpio -o -H newc > \"$1\"";
    let mut command = sh::command("sh");
    command.current_dir(root).args(["-c", script]).arg(busybox).arg(file).stderr(Stdio::null());
    sh::run(&mut command)
}
