//! Speed of following logs, of the real program: `outflow run` over a folder in memory. Enters: lines made here, one e-mail address in
//! 16 KB. Leaves: time to ready, memory idle and loaded, the delay from a written line to its stored finding, and megabytes (10^6
//! bytes) a second from a file that turns up to its stored end, beside the bare scanner on the same blocks in the same run.
//!
//! `cargo bench -p outflow --bench tail`. Environment: `OUTFLOW_BENCH_MB` sets the size of the file (default 128),
//! `OUTFLOW_BENCH_LINES` how many lines are timed (default 500).
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    error::Error,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use outflow::{
    clock,
    detectors::scan::{Backend, LogLines, RuleSet, Scanner},
    rules::RuleSource,
    sources::log::{CutLimits, LineCutter, Position},
    store::{Filter, StoreReader},
};
use rustix::time::{ClockId, clock_gettime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pause between two looks into the store; what is measured is no finer.
const LOOK: Duration = Duration::from_micros(500);

/// The program, ended with the benchmark.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let (megabytes, lines) = (number("OUTFLOW_BENCH_MB").unwrap_or(128), number("OUTFLOW_BENCH_LINES").unwrap_or(500));
    // Memory, so that no disk is measured but for the store's own fsync, which costs nothing here; benches/store.rs measures that.
    let logs = tempfile::Builder::new().prefix("outflow-bench").tempdir_in("/dev/shm")?;
    let state = tempfile::Builder::new().prefix("outflow-bench").tempdir()?;
    let config = state.path().join("outflow.toml");
    let (globs, folder) = (logs.path().join("*.log"), state.path().join("state"));
    let text = format!(
        "[state]\ndirectory = \"{}\"\n[admin]\nlisten = \"off\"\n[[logs.files]]\nglobs = [\"{}\"]\n",
        folder.display(),
        globs.display()
    );
    fs::write(&config, text)?;

    let start = clock::instant();
    let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
    command.args(["run", "--config"]).arg(&config).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut agent = Agent(command.spawn()?);
    let mut talk = BufReader::new(agent.0.stderr.take().ok_or("no standard error")?);
    let mut line = String::new();
    while !line.contains("outflow: ready") {
        line.clear();
        if talk.read_line(&mut line)? == 0 {
            return Err("the agent ended before it was ready".into());
        }
    }
    println!("ready after {:.2} s, {}", start.elapsed().as_secs_f64(), memory(agent.0.id())?);

    let store = StoreReader::open(&folder.join("outflow.db"))?;
    delays(&store, &logs.path().join("slow.log"), lines)?;
    for (name, every) in [("one leak in 16 KB", 16_000), ("no leak", usize::MAX)] {
        println!("{name}:");
        throughput(&store, &agent, logs.path(), corpus(megabytes * 1_000_000, every).as_bytes())?;
    }
    println!("afterwards {}", memory(agent.0.id())?);
    Ok(())
}

/// From a line's write to its finding in the store, one line at a time.
fn delays(store: &StoreReader, path: &Path, lines: usize) -> Result<()> {
    let mut log = OpenOptions::new().create(true).append(true).open(path)?;
    let before = store.count(&Filter::default())?;
    let mut delays = Vec::new();
    for number in 0..lines {
        let start = clock::instant();
        log.write_all(format!("INFO order {number} paid by person-{number}@outflow-bench-shop.com\n").as_bytes())?;
        wait(start, || Ok(store.count(&Filter::default())? > before + number as u64))?;
        delays.push(start.elapsed());
    }
    delays.sort_unstable();
    let at = |share: usize| delays.get((delays.len() * share / 100).min(delays.len() - 1)).copied().unwrap_or_default();
    println!(
        "write to stored finding, {lines} lines: p50 {:.1} ms, p90 {:.1}, p99 {:.1}",
        at(50).as_secs_f64() * 1e3,
        at(90).as_secs_f64() * 1e3,
        at(99).as_secs_f64() * 1e3
    );
    Ok(())
}

/// A large file turns up under the pattern.
fn throughput(store: &StoreReader, agent: &Agent, folder: &Path, text: &[u8]) -> Result<()> {
    let (mut cutter, mut cuts) = (LineCutter::new(CutLimits::default(), Position::default()), Vec::new());
    cutter.push(text, &mut cuts);
    cutter.finish(&mut cuts);
    let mut scanner = Scanner::new(RuleSet::load(&RuleSource::Embedded)?, Backend::best())?;
    let before = cpu_seconds();
    let mut matches = 0;
    for cut in &cuts {
        matches += scanner.scan(&cut.bytes, &LogLines::new(&cut.bytes))?.matches.len();
    }
    let size = text.len() as f64 / 1e6;
    let bare = size / (cpu_seconds() - before);
    println!(
        "{bare:8.0} MB per CPU second  1.00  bare {} on the same blocks, {matches} matches",
        Backend::best().name()
    );

    let path = folder.join("large.part");
    fs::write(&path, text)?;
    let (cpu, start) = (cpu_seconds_of(agent.0.id())?, clock::instant());
    fs::rename(&path, folder.join(format!("large-{matches}.log")))?;
    let end = format!("\"offset\":{}", text.len());
    wait(start, || Ok(store.checkpoints("tail/")?.iter().any(|checkpoint| checkpoint.value.contains(&end))))?;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds_of(agent.0.id())? - cpu);
    println!("{:8.0} MB per CPU second  {:.2}  outflow run, to the stored end", size / cpu, size / cpu / bare);
    println!("{:8.0} MB per second of wall time", size / wall);
    Ok(())
}

fn wait(start: Instant, done: impl Fn() -> Result<bool>) -> Result<()> {
    while !done()? {
        if start.elapsed() > Duration::from_mins(5) {
            return Err("not stored after five minutes".into());
        }
        sleep(LOOK);
    }
    Ok(())
}

/// One e-mail address in `every` bytes.
fn corpus(bytes: usize, every: usize) -> String {
    let mut text = String::with_capacity(bytes + 200);
    let mut planted = 0;
    while text.len() < bytes {
        let number = text.len();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            r#"{{"time":"2026-11-24T12:00:00Z","level":"info","order":{number},"path":"/api/v1/orders","took_ms":{},"msg":"done"}}"#,
            number % 997
        );
        if text.len() / every > planted {
            planted += 1;
            let _ = writeln!(text, "WARN mail to customer-{planted}@outflow-bench-shop.com bounced");
        }
    }
    text
}

/// Resident memory now and at its highest.
fn memory(pid: u32) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
    };
    let (now, most) = (mib("VmRSS:").ok_or("no VmRSS")?, mib("VmHWM:").ok_or("no VmHWM")?);
    Ok(format!("resident {now:.0} MiB, at most {most:.0} MiB"))
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// User and system time of another process (proc_pid_stat(5), fields 14 and 15, in ticks).
fn cpu_seconds_of(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no such stat")?;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
