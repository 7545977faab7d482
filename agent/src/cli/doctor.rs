//! `outflow doctor`: what works on this host, and what to do about the rest. Enters: the host as it is. Leaves: one line a
//! check, then one a process. Attaches to nothing: the kernel programs are loaded and let go again.

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use serde::Serialize;

use super::{Format, RuleArgs, exit, shown};
use crate::{detectors::scan::Backend, sources::privileges};

#[cfg(feature = "tap")]
mod coverage;

/// Says what works on this host and what to do about the rest
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  outflow doctor\n  outflow doctor --pid 4242 --verbose\n  outflow doctor --resolve"
)]
pub struct Args {
    #[cfg(feature = "tap")]
    #[command(flatten)]
    coverage: coverage::CoverageArgs,
    #[command(flatten)]
    rules: RuleArgs,
    /// How to write [default: text on a terminal, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: &'static str,
    verdict: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, detail: detail.into(), remedy: None }
    }

    fn bad(name: &'static str, verdict: Verdict, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict, detail: detail.into(), remedy: Some(remedy.into()) }
    }
}

/// Runs the command. Exit code 4 when the tap cannot run here, 2 when the rules are wrong.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut checks = vec![kernel_version()];
    checks.extend(rights());
    let tap = tap_checks();
    let tap_fails = tap.iter().any(|check| check.verdict == Verdict::Fail);
    checks.extend(tap);
    let rules = rule_checks(&args.rules);
    let rules_fail = rules.iter().any(|check| check.verdict == Verdict::Fail);
    checks.extend(rules);
    checks.push(state_folder());

    let format = args.format.unwrap_or_else(shown::default_format);
    let mut out = anstream::stdout().lock();
    for check in &checks {
        match format {
            Format::Jsonl => writeln!(out, "{}", serde_json::to_string(check)?)?,
            Format::Text => {
                let word = match check.verdict {
                    Verdict::Ok => "ok  ",
                    Verdict::Warn => "warn",
                    Verdict::Fail => "FAIL",
                };
                writeln!(out, "{word}  {:<16} {}", check.name, check.detail)?;
                if let Some(remedy) = &check.remedy {
                    writeln!(out, "      {:<16} -> {remedy}", "")?;
                }
            }
        }
    }
    #[cfg(feature = "tap")]
    if let Ok(rules) = args.rules.load(&[]) {
        coverage::write(&args.coverage, &rules.vendors, format, &mut out).context("standard output")?;
    }
    out.flush().context("standard output")?;
    Ok(match (rules_fail, tap_fails) {
        (true, _) => ExitCode::from(exit::USAGE),
        (false, true) => ExitCode::from(exit::PERMISSION),
        (false, false) => ExitCode::SUCCESS,
    })
}

/// `bpf_loop` came with Linux 5.17; a whole call of megabytes is copied with it.
const OLDEST: (u32, u32) = (5, 17);

/// Since c8644cd0efe7 whoever was given a map may use it without a right, whatever `kernel.unprivileged_bpf_disabled` says.
const MAPS_WITHOUT_RIGHTS: (u32, u32) = (5, 19);

fn release() -> (String, (u32, u32)) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (release, version)
}

fn kernel_version() -> Check {
    let (release, version) = release();
    if version >= OLDEST {
        Check::ok("kernel", format!("Linux {release}"))
    } else {
        Check::bad(
            "kernel",
            Verdict::Fail,
            format!("Linux {release}"),
            format!("the tap needs Linux {}.{} or newer; scan and replay work here", OLDEST.0, OLDEST.1),
        )
    }
}

/// What each of the two processes of `outflow run` needs, and whether this one could give it to them.
fn rights() -> Vec<Check> {
    let held = match privileges::Rights::held() {
        Ok(held) => held,
        Err(error) => return vec![Check::bad("rights", Verdict::Warn, error.to_string(), "is /proc mounted?")],
    };
    let rest = format!("needs none; other users' logs: {}", having(privileges::READ_LOGS, held));
    let give_up = format!("{}: to become another user and to bound what it starts", having(privileges::GIVE_UP, held));
    let closed = std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").is_ok_and(|on| on.trim() != "0");
    vec![
        Check::ok("rights: attacher", having(privileges::ATTACH, held)),
        if release().1 < MAPS_WITHOUT_RIGHTS && closed {
            let remedy = "sysctl kernel.unprivileged_bpf_disabled=0, or Linux 5.19: only there may a process without rights \
                          read the ring that it was handed";
            Check::bad("rights: the rest", Verdict::Warn, rest, remedy)
        } else {
            Check::ok("rights: the rest", rest)
        },
        Check::ok("rights: start", give_up),
    ]
}

/// `CAP_A, CAP_B here; CAP_C NOT here`.
fn having(wanted: privileges::Rights, held: privileges::Rights) -> String {
    let (here, missing) = (wanted.within(held).names().join(", "), wanted.without(held).names().join(", "));
    match (here.is_empty(), missing.is_empty()) {
        (_, true) => format!("{here} here"),
        (true, false) => format!("{missing} NOT here"),
        (false, false) => format!("{here} here; {missing} NOT here"),
    }
}

#[cfg(not(feature = "tap"))]
fn tap_checks() -> Vec<Check> {
    vec![Check::bad(
        "tap",
        Verdict::Fail,
        "this binary was built without the tap",
        "build with the default features after `cargo xtask setup`",
    )]
}

#[cfg(feature = "tap")]
fn tap_checks() -> Vec<Check> {
    use crate::sources::tap;

    let mut checks = Vec::new();
    if std::path::Path::new(tap::KERNEL_BTF).exists() {
        checks.push(Check::ok("kernel types", tap::KERNEL_BTF));
    } else {
        checks.push(Check::bad(
            "kernel types",
            Verdict::Fail,
            format!("no {}", tap::KERNEL_BTF),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF; every current distribution kernel is",
        ));
    }
    checks.push(match tap::try_load() {
        Ok(means) => Check::ok("kernel programs", format!("loaded and let go again; {means}")),
        Err(error) => Check::bad(
            "kernel programs",
            Verdict::Fail,
            error.to_string(),
            "run as root, or with CAP_BPF and CAP_PERFMON; before Linux 6.6 also with CAP_SYS_ADMIN; for other users' processes \
             with CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and CAP_CHECKPOINT_RESTORE",
        ),
    });
    checks.push(match tap::try_watch() {
        Ok(()) => Check::ok("new libraries", "mapping records can be read"),
        Err(error) => Check::bad(
            "new libraries",
            Verdict::Fail,
            error.to_string(),
            "CAP_PERFMON, or kernel.perf_event_paranoid at 2 or lower",
        ),
    });
    let libraries = tap::system_libraries();
    if libraries.is_empty() {
        checks.push(Check::bad(
            "TLS libraries",
            Verdict::Warn,
            "no libssl in the usual places",
            "programs that bring their own libssl.so are still found when they map it",
        ));
    }
    checks.push(breaker_check());
    for (path, sites) in libraries {
        checks.push(match sites {
            Ok(summary) => Check::ok("TLS libraries", format!("{}: {summary}", path.display())),
            Err(why) => Check::bad(
                "TLS libraries",
                Verdict::Warn,
                format!("{}: {why}", path.display()),
                "processes that use it are not tapped; see the README for what is",
            ),
        });
    }
    checks
}

#[cfg(feature = "tap")]
fn breaker_check() -> Check {
    const NAME: &str = "circuit breaker";
    match crate::enforce::try_load() {
        Ok(()) => Check::ok(
            NAME,
            "its programs load; budgets with `enforce = true` attach them. They go with the agent, however it ends: then \
             nothing is stopped any more",
        ),
        Err(error) => Check::bad(
            NAME,
            Verdict::Warn,
            error.to_string(),
            "CAP_NET_ADMIN besides CAP_BPF and CAP_PERFMON at the start, and a kernel with CONFIG_CGROUP_BPF; only budgets with \
             `enforce = true` need it",
        ),
    }
}

fn rule_checks(args: &RuleArgs) -> Vec<Check> {
    let mut checks = Vec::new();
    let loaded = args.load(&[]).and_then(|rules| Ok(rules.scanner().map(|_| rules.scan.len())?));
    match loaded {
        Ok(count) => checks.push(Check::ok(
            "rules",
            format!("{count} scan rules, each found its own example with {}", Backend::best().name()),
        )),
        Err(error) => checks.push(Check::bad(
            "rules",
            Verdict::Fail,
            format!("{error:#}"),
            "`outflow rules check` shows every problem",
        )),
    }
    checks
}

fn state_folder() -> Check {
    match super::state::fingerprint_key() {
        Ok(key) => Check::ok("state folder", format!("fingerprint key {}", key.id())),
        Err(error) => Check::bad(
            "state folder",
            Verdict::Warn,
            format!("{error:#}"),
            "set STATE_DIRECTORY to a folder that this user may write; until then fingerprints change with every run",
        ),
    }
}
