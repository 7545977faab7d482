//! Speed of following logs, of the real program: `outflow run` over a folder in memory. Enters: lines made here, one e-mail address in
//! 16 KB. Leaves: time to ready, memory idle and loaded, the delay from a written line to its stored finding, and megabytes (10^6
//! bytes) a second from a file that turns up to its stored end, or a thousand files, or one that a container runtime wrapped, in turns with the bare
//! scanner on the same blocks and as many threads, the median of the rounds' ratios; and beside `tail -F | rg` and rsyslog's imfile; and what 9,000 files cost that nobody writes to.
//!
//! `cargo bench -p outflow --bench tail`. Environment: `OUTFLOW_BENCH_MB` sets the size of the file (default 64),
//! `OUTFLOW_BENCH_LINES` how many lines are timed (default 500), `OUTFLOW_BENCH_ROUNDS` how many turns are taken (default 9). Peers are left out where they are not installed
//! (`apt-get install ripgrep rsyslog`).
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    collections::HashMap,
    error::Error,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread::{available_parallelism, sleep},
    time::{Duration, Instant},
};

use outflow::{
    clock,
    detectors::scan::{Backend, LogLines, RuleSet, Scanner},
    rules::RuleSource,
    sources::{
        Checkpoint,
        log::{CutLimits, LineCutter, Position},
    },
    store::{Filter, StoreReader},
};
use rustix::time::{ClockId, clock_gettime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pause between two looks into the store, for the delay of a line: what is measured is no finer.
const LOOK: Duration = Duration::from_micros(500);
/// And for speed: who looks all the time takes the processor's caches from whom it looks at.
const GLANCE: Duration = Duration::from_millis(20);
/// Least ratios to the bare scanner, for one file and for a thousand.
const GATES: [f64; 2] = [0.7, 0.5];

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
    let (megabytes, lines) = (number("OUTFLOW_BENCH_MB").unwrap_or(64), number("OUTFLOW_BENCH_LINES").unwrap_or(500));
    let rounds = number("OUTFLOW_BENCH_ROUNDS").unwrap_or(9).max(1);
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
    let bare = Bare::new()?;
    let corpora = [
        ("one leak in 16 KB, each a new one", 16_000, usize::MAX),
        ("one leak in 16 KB, of 200 people", 16_000, 200),
        ("no leak", usize::MAX, 1),
    ];
    for (name, every, people) in corpora {
        let text = corpus(megabytes * 1_000_000, every, people);
        println!("{name}:");
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let mut singles = Vec::new();
        let files =
            [("large", 1, false, Some(GATES[0])), ("small", 1000, false, Some(GATES[1])), ("pod", 1, true, None)];
        for (what, count, is_wrapped, gate) in files {
            let share = lines.len().div_ceil(count);
            let (mut ratios, mut speeds, mut walls) = (Vec::new(), Vec::new(), Vec::new());
            // One file is one worker's, many are all workers', and memory is shared.
            let threads = if count == 1 { 1 } else { available_parallelism()?.get() };
            let mut bares = vec![bare.scan(text.as_bytes(), threads)?];
            for round in 0..rounds {
                // A file that begins as another one did would be taken for its copy.
                let part = |(number, lines): (usize, &[&str])| {
                    let first = format!("{what} {people} {round} {number} begins\n");
                    let lines = [&[first.as_str()], lines].concat();
                    if is_wrapped { wrapped(&lines) } else { lines.concat() }
                };
                let parts: Vec<String> = lines.chunks(share).enumerate().map(part).collect();
                let (cpu, wall, size) =
                    followed(&store, &agent, logs.path(), &format!("{what}-{people}-{round}"), &parts)?;
                let before = bares.last().copied().unwrap_or_default();
                bares.push(bare.scan(text.as_bytes(), threads)?);
                let beside = f64::midpoint(before, bares.last().copied().unwrap_or_default());
                ratios.push(size / cpu / beside);
                speeds.push(size / cpu);
                walls.push(size / wall);
            }
            let ratio = median(ratios);
            let kind = if is_wrapped { ", wrapped by a container runtime" } else { "" };
            let below = gate
                .filter(|gate| ratio < *gate)
                .map_or_else(String::new, |gate| format!(", BELOW the gate of {gate}"));
            println!(
                "{:8.0} MB per CPU second  {ratio:.2}  outflow run, {} files{kind}, to the stored end; {:.0} MB per second of wall time{below}",
                median(speeds),
                lines.chunks(share).len(),
                median(walls)
            );
            println!(
                "{:8.0} MB per CPU second  1.00  bare {} on the same blocks, {threads} at once",
                median(bares.clone()),
                Backend::best().name()
            );
            if count == 1 {
                singles.extend(bares);
            }
        }
        let speed = median(singles);
        // rsyslog remembers in its folder what it has read.
        peers(&state.path().join(format!("peers-{every}-{people}")), &text, speed)?;
    }
    idle(&agent, logs.path(), if rounds > 1 { 10 } else { 2 })?;
    println!("afterwards {}", memory(agent.0.id())?);
    Ok(())
}

/// Lines as containerd writes them.
fn wrapped(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("2026-11-24T12:00:00.123456789Z stdout F {line}")).collect::<Vec<_>>().concat()
}

/// The scanner alone.
struct Bare(std::sync::Arc<RuleSet>);

impl Bare {
    fn new() -> Result<Self> {
        Ok(Self(RuleSet::load(&RuleSource::Embedded)?))
    }

    /// Megabytes a CPU second, of so many threads that share the blocks.
    fn scan(&self, text: &[u8], threads: usize) -> Result<f64> {
        let (mut cutter, mut cuts) = (LineCutter::new(CutLimits::default(), Position::default()), Vec::new());
        cutter.push(text, &mut cuts);
        cutter.finish(&mut cuts);
        let scanner = || Scanner::new(std::sync::Arc::clone(&self.0), Backend::best());
        let scanners = (0..threads).map(|_| scanner()).collect::<std::result::Result<Vec<_>, _>>()?;
        let before = cpu_seconds();
        std::thread::scope(|scope| {
            let work = |(number, mut scanner): (usize, Scanner)| {
                let cuts = cuts.iter().skip(number).step_by(threads);
                scope.spawn(move || {
                    for cut in cuts {
                        let found = scanner.scan(&cut.bytes, &LogLines::new(&cut.bytes));
                        std::hint::black_box(found.map_or(0, |found| found.matches.len()));
                    }
                });
            };
            scanners.into_iter().enumerate().for_each(work);
        });
        Ok(text.len() as f64 / 1e6 / (cpu_seconds() - before))
    }
}

/// Nine thousand files that nobody writes to, for so many seconds.
fn idle(agent: &Agent, folder: &Path, seconds: u64) -> Result<()> {
    const FILES: usize = 9000;
    for number in 0..FILES {
        fs::write(folder.join(format!("idle-{number}.log")), format!("nothing new {number}\n"))?;
    }
    // They are read once; what is measured comes after that.
    sleep(Duration::from_secs(seconds));
    let cpu = cpu_seconds_of(agent.0.id())?;
    sleep(Duration::from_secs(seconds));
    let used = cpu_seconds_of(agent.0.id())? - cpu;
    println!("{FILES} idle files: {:.2} % of a CPU, {}", used * 100.0 / seconds as f64, memory(agent.0.id())?);
    Ok(())
}

/// What others make of the same file: `tail -F` piped to ripgrep with the same patterns, and rsyslog's imfile, which only copies.
fn peers(folder: &Path, text: &str, bare: f64) -> Result<()> {
    fs::create_dir_all(folder)?;
    let (log, patterns) = (folder.join("app.log"), folder.join("patterns"));
    let rules = RuleSet::load(&RuleSource::Embedded)?;
    // ripgrep reads line by line, and takes a name once.
    let of = |pattern: &str| pattern.replace('\n', "").replace("\\n", "\\r").replace("?P<capture>", "");
    let mut all: Vec<String> = rules.loaded().map(|loaded| of(&loaded.rule.pattern)).collect();
    all.push("END OF THE BENCHMARK".to_owned());
    fs::write(&patterns, all.join("\n"))?;
    let size = text.len() as f64 / 1e6;
    let show = |what: &str, cpu: f64, wall: f64| {
        println!(
            "{:8.0} MB per CPU second  {:.2}  {what}; {:.0} MB per second of wall time",
            size / cpu,
            size / cpu / bare,
            size / wall
        );
    };
    let has = |program: &str| Command::new("which").arg(program).output().is_ok_and(|found| found.status.success());
    if has("rg") {
        fs::write(&log, format!("{text}END OF THE BENCHMARK\n"))?;
        let start = clock::instant();
        let mut tail = Command::new("tail").args(["-c", "+1", "-F"]).arg(&log).stdout(Stdio::piped()).spawn()?;
        let input = tail.stdout.take().ok_or("no output")?;
        let tail = Agent(tail);
        let mut command = Command::new("rg");
        command
            .args([
                "--line-buffered",
                "--text",
                "--no-config",
                "--regex-size-limit",
                "4G",
                "--dfa-size-limit",
                "1G",
                "--file",
            ])
            .arg(&patterns)
            .stdin(input);
        let mut rg = Agent(command.stdout(Stdio::piped()).spawn()?);
        let mut found = BufReader::new(rg.0.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        while !line.contains("END OF THE BENCHMARK") {
            line.clear();
            if found.read_line(&mut line)? == 0 {
                return Err("ripgrep ended before the log did: it refused a pattern".into());
            }
        }
        show(
            "tail -F | rg -f, all patterns",
            cpu_seconds_of(tail.0.id())? + cpu_seconds_of(rg.0.id())?,
            start.elapsed().as_secs_f64(),
        );
    } else {
        println!("         tail -F | rg: ripgrep is not installed");
    }
    if has("rsyslogd") {
        let (log, copy, config, pid) =
            (folder.join("sys.log"), folder.join("copy"), folder.join("rsyslog.conf"), folder.join("pid"));
        fs::write(
            &config,
            format!(
                "global(workDirectory=\"{}\")\nmodule(load=\"imfile\" mode=\"inotify\")\ntemplate(name=\"raw\" type=\"string\" \
                 string=\"%msg%\\n\")\ninput(type=\"imfile\" file=\"{}\" tag=\"x\" freshStartTail=\"off\" ruleset=\"r\")\n\
                 ruleset(name=\"r\") {{ action(type=\"omfile\" file=\"{}\" template=\"raw\") }}\n",
                folder.display(),
                log.display(),
                copy.display()
            ),
        )?;
        _ = fs::remove_file(&copy);
        fs::write(&log, text)?;
        let start = clock::instant();
        let mut command = Command::new("rsyslogd");
        command.arg("-n").arg("-f").arg(&config).arg("-i").arg(&pid).stderr(Stdio::null());
        let rsyslog = Agent(command.spawn()?);
        let whole = text.len() as u64;
        wait(start, GLANCE, || Ok(fs::metadata(&copy).is_ok_and(|copied| copied.len() >= whole)))?;
        show("rsyslog's imfile, copied without a look", cpu_seconds_of(rsyslog.0.id())?, start.elapsed().as_secs_f64());
    } else {
        println!("         rsyslog's imfile: rsyslog is not installed");
    }
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
        wait(start, LOOK, || Ok(store.count(&Filter::default())? > before + number as u64))?;
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

/// Files turn up under the pattern. Gives CPU seconds, seconds and megabytes until all is stored.
fn followed(
    store: &StoreReader,
    agent: &Agent,
    folder: &Path,
    name: &str,
    texts: &[String],
) -> Result<(f64, f64, f64)> {
    let beside = folder.join("beside");
    fs::create_dir_all(&beside)?;
    let names: Vec<String> = (0..texts.len()).map(|number| format!("{name}-{number}.log")).collect();
    for (name, text) in names.iter().zip(texts) {
        fs::write(beside.join(name), text)?;
    }
    let (cpu, start) = (cpu_seconds_of(agent.0.id())?, clock::instant());
    for name in &names {
        fs::rename(beside.join(name), folder.join(name))?;
    }
    wait(start, GLANCE, || {
        let stored: HashMap<String, u64> = store.checkpoints("tail/")?.iter().filter_map(place).collect();
        let is_there = |name: &String, length: usize| {
            stored.get(&folder.join(name).display().to_string()).is_some_and(|offset| *offset == length as u64)
        };
        Ok(names.iter().zip(texts).all(|(name, text)| is_there(name, text.len())))
    })?;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds_of(agent.0.id())? - cpu);
    for name in &names {
        fs::remove_file(folder.join(name))?;
    }
    let size = texts.iter().map(String::len).sum::<usize>() as f64 / 1e6;
    Ok((cpu, wall, size))
}

/// Path and position of a checkpoint.
fn place(checkpoint: &Checkpoint) -> Option<(String, u64)> {
    let record: serde_json::Value = serde_json::from_str(&checkpoint.value).ok()?;
    Some((record.get("path")?.as_str()?.to_owned(), record.get("position")?.get("offset")?.as_u64()?))
}

fn wait(start: Instant, pause: Duration, done: impl Fn() -> Result<bool>) -> Result<()> {
    while !done()? {
        if start.elapsed() > Duration::from_mins(5) {
            return Err("not stored after five minutes".into());
        }
        sleep(pause);
    }
    Ok(())
}

/// One e-mail address in `every` bytes, of so many people.
fn corpus(bytes: usize, every: usize, people: usize) -> String {
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
            let _ = writeln!(text, "WARN mail to customer-{}@outflow-bench-shop.com bounced", planted % people);
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
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
