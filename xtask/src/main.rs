//! The project's chores, as `cargo xtask`. Enters: a chore's name. Leaves: its talk and its exit status. It never depends on
//! the agent, so that it builds in seconds on a machine that can build nothing else yet.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Parser;

mod bench;
mod chaos;
mod chart;
mod ci;
mod demo;
#[expect(dead_code, reason = "agent/build.rs uses the rest")]
mod ebpf;
mod fleet;
mod fuzz;
mod image;
mod kernels;
mod models;
mod peers;
mod setup;
mod sh;
mod suite;
mod tidy;

/// The project's chores
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
enum Chore {
    /// Installs what building and testing need; asks first, does nothing where nothing is missing
    Setup {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Builds the kernel programs and says where the object is
    BuildEbpf,
    /// Shows the agent at work on this machine, with clients and a server of its own
    Demo,
    /// Runs the tests: all, or one suite
    Test {
        /// Which suite
        suite: Option<suite::Suite>,
        /// For the test programs, behind `--`: a name filter, `--test-threads=1`
        #[arg(last = true)]
        filter: Vec<String>,
    },
    /// Runs a benchmark of benches/, or all; or `accuracy`, what the scanner finds of a labelled corpus; `scenarios`: what
    /// the behaviour detectors find in simulated traffic
    Bench {
        /// Which: `scan`, `accuracy`
        name: Option<String>,
        /// For the benchmark, behind `--`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Kills the agent again and again while logs are written and rotated: each line must be stored once
    Chaos {
        /// Two hundred times, with all cores busy, not as often as CI does
        #[arg(long)]
        long: bool,
    },
    /// Tests budgets that hosts have together, with a real broker
    Fleet {
        /// Also the jobs of deploy/flink, on a real Flink; needs Java 17, pip and unzip, and fetches 400 MB once
        #[arg(long)]
        long: bool,
    },
    /// Tests sinks with the broker tansu: killed, with SCRAM and with client certificates; builds it once, for 20 processor minutes
    Peers,
    /// Builds the container image with podman, from what is on this machine
    Image {
        /// The program of target/debug, as the tests use it, not an optimised one
        #[arg(long)]
        dev: bool,
        /// Also write it to a file, as an OCI archive
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
    },
    /// Checks that deploy/daemonset.yaml is what the Helm chart renders; needs helm
    Chart {
        /// Write the file anew
        #[arg(long)]
        write: bool,
    },
    /// Checks that rules/models/shutdowns.toml is what LiteLLM's catalogue says; needs pip and unzip
    Models {
        /// Write the file anew
        #[arg(long)]
        write: bool,
    },
    /// Boots Debian's kernels in QEMU and taps those whole machines, with real clients
    Kernels {
        /// All kernels, not the oldest alone
        #[arg(long)]
        long: bool,
        /// Write the table to docs/KERNELS.md
        #[arg(long)]
        write: bool,
    },
    /// Runs the fuzz targets of agent/src/fuzz.rs: all, or one
    Fuzz {
        /// Which, `http1`
        target: Option<String>,
        /// Seconds of each
        #[arg(long, value_name = "N", conflicts_with = "long")]
        seconds: Option<u64>,
        /// Ten minutes each; of all targets the figures go to docs/FUZZING.md
        #[arg(long)]
        long: bool,
    },
    /// Checks the house rules that no lint knows
    Tidy,
    /// Runs what CI runs
    Ci,
}

fn main() -> ExitCode {
    match run(Chore::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<ExitCode> {
    match chore {
        Chore::Setup { yes } => setup::run(setup::Scope::Everything, yes)?,
        Chore::BuildEbpf => build_ebpf()?,
        Chore::Demo => {
            setup::run(setup::Scope::Build, false)?;
            demo::run()?;
        }
        Chore::Test { suite, filter } => return Ok(close(&suite::run(suite, &filter)?)),
        Chore::Bench { name, arguments } => bench::run(name.as_deref(), &arguments)?,
        Chore::Chaos { long } => chaos::run(long)?,
        Chore::Fleet { long } => {
            let succeeded = fleet::run(long)?.success();
            return Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Chore::Peers => peers::run()?,
        Chore::Image { dev, save } => image::run(dev, save.as_deref())?,
        Chore::Chart { write } => chart::run(write)?,
        Chore::Models { write } => models::run(write)?,
        Chore::Kernels { long, write } => return Ok(close(&kernels::run(long, write)?)),
        Chore::Fuzz { target, seconds, long } => {
            let short = seconds.map_or(fuzz::Length::Short, fuzz::Length::Seconds);
            fuzz::run(target.as_deref(), if long { fuzz::Length::Long } else { short })?;
        }
        Chore::Tidy => tidy::run()?,
        Chore::Ci => return Ok(close(&ci::run())),
    }
    Ok(ExitCode::SUCCESS)
}

fn build_ebpf() -> Result<()> {
    let target = sh::target_dir().join("bpf");
    let object = ebpf::build(sh::workspace(), &target, std::env::consts::ARCH, ebpf::Talk::Shown)?;
    println!("{}", object.display());
    Ok(())
}

fn close(tally: &suite::Tally) -> ExitCode {
    tally.print();
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
