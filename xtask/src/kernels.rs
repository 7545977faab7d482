//! `cargo xtask kernels`: the tap of a whole host, in machines of its own, on the kernels that people run. Enters: Debian's kernel packages
//! and the programs of this workspace. Leaves: for each kernel what tests/kernel/check.py said in it, a table, and `N passed, N failed`.
//! A tap of a whole host never runs on the machine that this chore runs on.

mod debian;
mod guest;
mod pack;

use std::fs;

use anyhow::{Context, Result};

use self::{debian::Suite, guest::Report};
use crate::{sh, suite::Tally};

/// The oldest first. Each is what `linux-image-cloud-amd64` means in that suite on the day it was fetched.
const SUITES: [Suite; 3] = [
    Suite { name: "bookworm-security", archive: "http://deb.debian.org/debian-security" },
    Suite { name: "bookworm-backports", archive: "http://deb.debian.org/debian" },
    Suite { name: "trixie-backports", archive: "http://deb.debian.org/debian" },
];

/// Programs without which there is no machine.
const NEEDED: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("strip", "binutils"),
    ("apt-get", "apt"),
];

const PAGE: &str = "docs/KERNELS.md";
const HEAD: &str = "\
# Kernels

What `cargo xtask kernels --long --write` saw. Each row is a boot of Debian's cloud kernel in QEMU with an initramfs of this workspace's own
programs; `outflow run` taps the whole machine (`scope = \"host\"`), and every client in the third column sent a mail address through TLS to a
local server that stands for `api.openai.com`. *Recovered* means that the agent's store held that leak under that client's name.

| client | what it is |
| --- | --- |
| opened-before | CPython, connected before the agent was started |
| late-library | CPython, running before the agent, loads its TLS library after |
| container-before, container-after | CPython in mount and process namespaces of its own, with a libssl that only it can see |
| deleted | CPython, whose libssl was deleted after it was mapped |
| replaced, replacement | CPython with a libssl over whose name another was moved, and CPython with that other one |
| curl, wget, node | as people run them: libssl, GnuTLS, OpenSSL inside the program; they talk at once and end. Twice: *at once* says \
whose first run was seen too, before which the agent did not know the file |

Always checked too: nothing is copied of the agent's own exporters, which speak TLS to a vendor's name; the agent's program is not probed;
nothing is lost; of another host's traffic nothing is stored; SIGTERM ends both processes.

";

/// Boots the oldest kernel, or with `long` all of them. With `write` the table replaces the one of the page.
pub(crate) fn run(long: bool, write: bool) -> Result<Tally> {
    let mut tally = Tally::default();
    if let Some(missing) = missing() {
        tally.skip(&missing);
        return Ok(tally);
    }
    sh::build_programs()?;
    let place = sh::target_dir().join("kernels");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let initramfs = pack::pack(&sh::target_dir().join("debug"), &place)?;
    let mut rows = Vec::new();
    for suite in SUITES.iter().take(if long { SUITES.len() } else { 1 }) {
        let kernel = suite.kernel(&place.join(suite.name))?;
        let report = guest::boot(&kernel, &initramfs)?;
        tally.passed += report.passed.len();
        tally.failed += report.failed.len();
        rows.push(row(suite, &report));
    }
    let table = table(&rows);
    println!("{table}");
    if write {
        let page = sh::workspace().join(PAGE);
        fs::write(&page, format!("{HEAD}{table}")).with_context(|| format!("cannot write {}", page.display()))?;
    }
    Ok(tally)
}

/// Why there can be no machine here.
fn missing() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some("the kernels are those of x86-64".to_owned());
    }
    NEEDED
        .iter()
        .find(|(program, _)| !sh::on_path(program))
        .map(|(program, package)| format!("{program} is missing: apt-get install {package}"))
}

fn table(rows: &[String]) -> String {
    let date = sh::ask(sh::command("date").args(["--utc", "+%Y-%m-%d"])).unwrap_or_default();
    let commit = sh::ask(sh::command("git").args(["describe", "--always", "--dirty"])).unwrap_or_default();
    format!(
        "{date}, commit {commit}, {}.\n\n\
         | kernel | from | recovered | not recovered | at once | other checks | up after | resident | whole boot |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n{}\n",
        guest::accelerator().told(),
        rows.concat(),
    )
}

fn row(suite: &Suite, report: &Report) -> String {
    let recovered = |checks: &[String]| {
        let names: Vec<_> = checks.iter().filter_map(|check| check.strip_prefix("recovered: ")).collect();
        if names.is_empty() { "–".to_owned() } else { names.join(", ") }
    };
    let others = |checks: &[String]| checks.iter().filter(|check| !check.starts_with("recovered: ")).count();
    let (passed, failed) = (others(&report.passed), others(&report.failed));
    format!(
        "| {} | {} | {} | {} | {} | {passed} of {} | {} | {} | {:.0} s |\n",
        report.fact("kernel"),
        suite.name,
        recovered(&report.passed),
        recovered(&report.failed),
        report.fact("seen at their very first run"),
        passed + failed,
        report.fact("ready after"),
        report.fact("resident"),
        report.seconds,
    )
}
