//! `cargo xtask image`: the container image, built here. Enters: the workspace. Leaves: `localhost/outflow:<version>` in podman's
//! storage, or an OCI archive as well. It pulls nothing and pushes nothing; what it copies stands in `target/image`.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::sh;

/// What `deploy/Dockerfile` copies.
const CONTEXT: &str = "image";

/// Builds the agent and puts it into an image. `dev`: the program that tests use, which is there sooner; `save`: also to a file.
pub(crate) fn run(dev: bool, save: Option<&Path>) -> Result<()> {
    if let Some(reason) = testbed::missing_for_pods() {
        anyhow::bail!(reason);
    }
    let (profile, folder) = if dev { ("dev", "debug") } else { ("release", "release") };
    sh::run(sh::cargo("build").args(["--package", "outflow", "--bin", "outflow", "--locked", "--profile", profile]))?;
    let context = sh::target_dir().join(CONTEXT);
    testbed::build_context(&sh::target_dir().join(folder).join("outflow"), &context)?;
    let tag = format!("localhost/outflow:{}", env!("CARGO_PKG_VERSION"));
    build(&tag, &context)?;
    if let Some(file) = save {
        sh::run(sh::command("podman").args(["save", "--format", "oci-archive", "--output"]).arg(file).arg(&tag))?;
    }
    println!("{tag}: {}", size(&context)?);
    println!("  what it can do here      podman run --rm {tag} doctor --format text");
    println!("  on every node            docs/KUBERNETES.md");
    if save.is_none() {
        println!("  to another machine       podman push {tag} REGISTRY/outflow:TAG, or cargo xtask image --save FILE");
    }
    Ok(())
}

/// The same files give the same image: its times are the commit's.
fn build(tag: &str, context: &Path) -> Result<()> {
    let mut podman = sh::command("podman");
    // Without layers nothing is left but the image.
    podman.args(["build", "--layers=false", "--pull=never", "--network=none"]);
    podman.args(["--file", "deploy/Dockerfile", "--tag", tag]);
    podman.args(["--build-arg", concat!("VERSION=", env!("CARGO_PKG_VERSION"))]);
    if let Some(commit) = sh::ask(sh::command("git").args(["log", "-1", "--format=%H %ct"]))
        && let Some((revision, seconds)) = commit.split_once(' ')
    {
        podman.arg(format!("--build-arg=REVISION={revision}")).arg(format!("--timestamp={seconds}"));
    }
    sh::run(podman.arg(context))
}

/// Of the files in the image; the program is nearly all of it.
fn size(context: &Path) -> Result<String> {
    let bytes = bytes_below(context)?;
    Ok(format!("{}.{} MB, of which the program takes most", bytes / 1_000_000, bytes / 100_000 % 10))
}

fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_summed_over_folders() {
        let folder = std::env::temp_dir().join(format!("outflow-image-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/one"), vec![0; 1_200_000]).unwrap();
        fs::write(folder.join("a/b/two"), vec![0; 34_000]).unwrap();
        let size = size(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert!(size.unwrap().starts_with("1.2 MB"));
    }
}
