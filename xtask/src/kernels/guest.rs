//! One boot. Enters: a kernel and an initramfs. Leaves: what the check in it said. The machine has no disk and no network, and is gone at the
//! end; one that hangs is ended.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result};

use crate::sh;

/// A machine that takes longer hangs.
const LIMIT_SECONDS: &str = "240";
const MEMORY_MIB: &str = "2048";

/// What runs the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU's translator.
    Translator,
}

impl Accelerator {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
            // Without cmpxchg16b: QEMU 7.2 sometimes leaves its operand in the flags register, which Linux 6.12 does not survive.
            Self::Translator => &[
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "Haswell-noTSX,cx16=off,pcid=off,x2apic=off,tsc-deadline=off,invpcid=off",
            ],
        }
    }

    /// For people.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Kvm => "QEMU with KVM, 2 processors",
            Self::Translator => "QEMU's translator, 2 processors (times are some ten times those of a processor)",
        }
    }
}

/// KVM only where the processor itself offers it: a nested one that interprets kernels is far slower than the translator.
pub(super) fn accelerator() -> Accelerator {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let offers = flags.split_whitespace().any(|flag| matches!(flag, "vmx" | "svm"));
    if offers && Path::new("/dev/kvm").exists() { Accelerator::Kvm } else { Accelerator::Translator }
}

/// What came of a boot.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) passed: Vec<String>,
    pub(super) failed: Vec<String>,
    facts: Vec<(String, String)>,
    pub(super) seconds: f64,
}

impl Report {
    /// A value that the check told, or a dash.
    pub(super) fn fact(&self, name: &str) -> &str {
        self.facts.iter().find(|(known, _)| known == name).map_or("–", |(_, value)| value)
    }

    /// One line of the serial port. Says whether it is one of the check's.
    fn take(&mut self, line: &str) -> bool {
        if let Some(name) = line.strip_prefix("ok ") {
            self.passed.push(name.to_owned());
        } else if let Some(what) = line.strip_prefix("not ok ") {
            self.failed.push(named(what).to_owned());
        } else if let Some((name, value)) = line.strip_prefix("fact ").and_then(|fact| fact.split_once(": ")) {
            self.facts.push((name.to_owned(), value.to_owned()));
        } else {
            return false;
        }
        true
    }
}

/// The name in `NAME: why`, where a name may be `recovered: curl`.
fn named(what: &str) -> &str {
    let from = if what.starts_with("recovered: ") { "recovered: ".len() } else { 0 };
    what.get(from..).and_then(|rest| rest.find(": ")).and_then(|at| what.get(..from + at)).unwrap_or(what)
}

/// Boots and listens until the machine is off.
pub(super) fn boot(kernel: &Path, initramfs: &Path) -> Result<Report> {
    let watch = sh::Stopwatch::start();
    let mut command = sh::command("timeout");
    command.args(["--kill-after=5", LIMIT_SECONDS, "qemu-system-x86_64"]).args(accelerator().arguments());
    command.args(["-m", MEMORY_MIB, "-smp", "2", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.args(["-serial", "stdio", "-append", "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    let line = sh::say(&command);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start: {line}"))?;
    let mut report = Report::default();
    let mut ended = false;
    if let Some(serial) = child.stdout.take() {
        for line in BufReader::new(serial).split(b'\n') {
            let line = line.context("cannot read the serial port")?;
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches('\r');
            // The firmware's screen control is noise; all else may say why something failed.
            if !line.is_empty() && !line.contains('\x1b') {
                println!("  {line}");
            }
            ended |= line.starts_with("check: ended");
            report.take(line);
        }
    }
    child.wait().context("cannot wait for QEMU")?;
    if !ended {
        report.failed.push("the machine came to its check's end".to_owned());
    }
    report.seconds = watch.minutes() * 60.0;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_check_are_counted_by_their_names() {
        let mut report = Report::default();
        for line in
            ["ok recovered: curl", "not ok recovered: wget: no finding; tapped: none", "not ok it ends: status 3: no"]
        {
            assert!(report.take(line), "{line}");
        }
        assert!(report.take("fact resident: 50 MiB and 20 MiB"));
        assert!(!report.take("[    1.0] Kernel panic - not syncing: ok"));
        assert_eq!(report.passed, ["recovered: curl"]);
        assert_eq!(report.failed, ["recovered: wget", "it ends"]);
        assert_eq!((report.fact("resident"), report.fact("other")), ("50 MiB and 20 MiB", "–"));
    }
}
