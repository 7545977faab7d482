//! `cargo xtask chart`: keeps `deploy/daemonset.yaml` what the Helm chart renders. Enters: the chart. Leaves: a verdict, or the file
//! anew. Only here helm is needed, and it is not installed for you: for everybody else a test holds the file to the chart's digest.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::sh;

const CHART: &str = "deploy/helm/outflow";
const PLAIN: &str = "deploy/daemonset.yaml";

/// What the file says of where it comes from; the digest follows.
const HEAD: &str = "# The chart deploy/helm/outflow as it is, in the namespace `outflow`, for clusters without Helm: docs/KUBERNETES.md.\n\
                    # Made by `cargo xtask chart --write`; do not edit. Chart: sha256 ";

/// Renders the chart, with its values and as `logsOnly`, and compares; `write`: writes the file anew.
pub(crate) fn run(write: bool) -> Result<()> {
    ensure!(sh::on_path("helm"), "there is no helm on PATH; docs/KUBERNETES.md says where ours came from");
    sh::run(sh::command("helm").args(["lint", "--strict", CHART]))?;
    let rendered = render(&[])?;
    let logs_only = render(&["--set", "logsOnly=true"])?;
    ensure!(
        !logs_only.contains("hostPID") && !logs_only.contains("SYS_ADMIN"),
        "logsOnly asks for the rights of a tap"
    );
    let older_nodes = render(&["--set", "perfEventProbes=true"])?;
    ensure!(
        !rendered.contains("\"SYS_ADMIN\"") && older_nodes.contains("\"SYS_ADMIN\""),
        "SYS_ADMIN is for perfEventProbes, and for nothing else"
    );
    let breaker = render(&["--set", "breaker=true"])?;
    ensure!(
        !rendered.contains("\"NET_ADMIN\"") && breaker.contains("\"NET_ADMIN\""),
        "NET_ADMIN is for the breaker, and for nothing else"
    );
    let wanted = format!("{HEAD}{}\n{rendered}", digest()?);
    let file = sh::workspace().join(PLAIN);
    if write {
        return fs::write(&file, wanted).with_context(|| format!("cannot write {PLAIN}"));
    }
    if fs::read_to_string(&file).with_context(|| format!("cannot read {PLAIN}"))? != wanted {
        bail!("{PLAIN} is not what the chart renders: cargo xtask chart --write");
    }
    println!("{PLAIN} is what the chart renders");
    Ok(())
}

fn render(options: &[&str]) -> Result<String> {
    let mut helm = sh::command("helm");
    helm.args(["template", "outflow", CHART, "--namespace", "outflow"]).args(options);
    sh::say(&helm);
    let output = helm.stderr(Stdio::inherit()).output().context("cannot start helm")?;
    ensure!(output.status.success(), "helm: {}", output.status);
    // helm 4 ends its documents with one empty line, helm 3 with none.
    Ok(format!("{}\n", String::from_utf8(output.stdout)?.trim_end()))
}

/// Of all files of the chart, with their names, by coreutils: what is compared must not hang on a compiler's version.
fn digest() -> Result<String> {
    let mut files = Vec::new();
    files_below(&sh::workspace().join(CHART), &mut files)?;
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let name = file.strip_prefix(sh::workspace()).unwrap_or(&file).display().to_string();
        let text = fs::read(&file).with_context(|| name.clone())?;
        write!(all, "{name}\n{}\n", text.len())?;
        all.extend(text);
    }
    let mut sum = sh::command("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("sha256sum")?;
    if let Some(mut input) = sum.stdin.take() {
        input.write_all(&all)?;
    }
    let output = sum.wait_with_output()?;
    let said = String::from_utf8(output.stdout)?;
    said.split_whitespace().next().map(str::to_owned).context("sha256sum says nothing")
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() { files_below(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> String {
        fs::read_to_string(sh::workspace().join(file)).unwrap()
    }

    /// Whoever changes the chart and not the file, or edits the file, is told here, without helm.
    #[test]
    fn the_plain_file_is_of_this_chart() {
        let text = read(PLAIN);
        assert!(text.starts_with(&format!("{HEAD}{}\n---\n", digest().unwrap())), "cargo xtask chart --write");
    }

    #[test]
    fn the_chart_has_the_version_of_the_workspace() {
        let chart = read(&format!("{CHART}/Chart.yaml"));
        let version = env!("CARGO_PKG_VERSION");
        assert!(chart.contains(&format!("\nversion: {version}\n")), "{chart}");
        assert!(chart.contains(&format!("\nappVersion: \"{version}\"\n")), "{chart}");
    }

    /// What a reviewer of a cluster looks for first.
    #[test]
    fn the_plain_file_asks_for_what_the_documentation_says_and_no_more() {
        let text = read(PLAIN);
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        let once = |wanted: &str| lines.iter().filter(|line| **line == wanted).count() == 1;
        for wanted in [
            "privileged: false",
            "allowPrivilegeEscalation: false",
            "readOnlyRootFilesystem: true",
            "drop: [\"ALL\"]",
            "add: [\"BPF\", \"PERFMON\", \"SYS_PTRACE\", \"DAC_READ_SEARCH\", \"CHECKPOINT_RESTORE\", \
             \"CHOWN\", \"SETUID\", \"SETGID\", \"SETPCAP\"]",
            "hostNetwork: false",
            "hostIPC: false",
            "type: RuntimeDefault",
        ] {
            assert!(once(wanted), "{wanted}");
        }
        let writable: Vec<_> =
            lines.iter().filter(|line| line.contains("mountPath:") && !line.contains("readOnly: true")).collect();
        assert_eq!(writable, [&"- { name: state, mountPath: /var/lib/outflow }"]);
        assert_eq!(lines.iter().filter(|line| **line == "automountServiceAccountToken: false").count(), 2);
    }
}
