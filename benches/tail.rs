//! Speed of following logs, of the real program: `outflow run` over a folder in memory. Enters: lines made here, one e-mail address in
//! 16 KB. Leaves: time to ready, memory idle and loaded, the delay from a written line to its stored finding, of single lines and at 50 MB a second, and megabytes (10^6
//! bytes) a second from a file that turns up to its stored end, or a thousand files, or one that a container runtime wrapped, or one beside idle ones, in turns with the bare
//! scanner on the same blocks and as many threads; and beside `tail -F | rg` and rsyslog's imfile; and what 10,000 files cost that nobody writes to.
//!
//! Speeds and ratios are medians of the rounds, but for the first one of each agent, in which the machine gives it memory; each ratio is to the bare scanner before and after it; in brackets the ratio of the best round to
//! the best of the bare scanner. Both differ by 0.1 from run to run where other guests use the machine. Each line is of an agent of its own.
//!
//! `cargo bench -p outflow --bench tail`. Environment: `OUTFLOW_BENCH_MB` sets the size of the file (default 64),
//! `OUTFLOW_BENCH_LINES` how many lines are timed (default 500), `OUTFLOW_BENCH_ROUNDS` how many turns are taken (default 9), `OUTFLOW_BENCH_ONLY` of which files alone (`large`, `small`, `pod` or `beside`). Peers are left out where they are not installed
//! (`apt-get install ripgrep rsyslog`).
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    collections::HashMap,
    error::Error,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread::{available_parallelism, sleep},
    time::{Duration, Instant},
};

use outflow::{
    clock,
    detectors::scan::{Backend, LogLines, RuleSet, Scanner},
    findings::Finding,
    rules::RuleSource,
    sources::{
        Checkpoint,
        log::{CutLimits, LineCutter, Position},
    },
    store::{Filter, StoreReader},
};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pause between two looks into the store, for the delay of a line: what is measured is no finer.
const LOOK: Duration = Duration::from_micros(500);
/// And for speed: who looks all the time takes the processor's caches from whom it looks at.
const GLANCE: Duration = Duration::from_millis(20);
/// Rounds of each agent before those that count (with them a thousand files are no more than `max_files`): memory that a guest touches for the first time is given to it by its host, at the guest's cost.
const UNMEASURED_ROUNDS: usize = 1;
/// Files that nobody writes to: as many as are followed at most (agent/src/sources/tail/mod.rs), and fewer beside others.
const IDLE_FILES: usize = 10_000;
const BESIDE_FILES: usize = 9000;
/// How fast lines come while it is measured how long each takes, and for how long, seconds.
const PACE_MB: usize = 50;
const PRESSED_S: usize = 4;
const WRITES_A_SECOND: usize = 200;

/// The program and what it follows.
struct Agent {
    child: Ended,
    /// Open, or the agent could say nothing.
    _talk: BufReader<ChildStderr>,
    store: StoreReader,
    logs: TempDir,
    _state: TempDir,
    /// From its start.
    ready: Duration,
}

/// A process, ended with the benchmark.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    /// Follows `*.log` of a folder in memory, so that no disk is measured but for the store's own fsync, which costs nothing here;
    /// benches/store.rs measures that.
    fn start() -> Result<Self> {
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
        let mut child = Ended(command.spawn()?);
        let mut talk = BufReader::new(child.0.stderr.take().ok_or("no standard error")?);
        let mut line = String::new();
        while !line.contains("outflow: ready") {
            line.clear();
            if talk.read_line(&mut line)? == 0 {
                return Err("the agent ended before it was ready".into());
            }
        }
        let ready = start.elapsed();
        let store = StoreReader::open(&folder.join("outflow.db"))?;
        Ok(Self { child, _talk: talk, store, logs, _state: state, ready })
    }

    fn pid(&self) -> u32 {
        self.child.0.id()
    }
}

/// What a log holds: a leak every so many bytes, of so many people.
struct Corpus {
    name: &'static str,
    every: usize,
    people: usize,
}

/// How it comes.
struct Shape {
    name: &'static str,
    files: usize,
    /// Lines as containerd writes them.
    is_wrapped: bool,
    /// Beside files that nobody writes to.
    is_beside_idle: bool,
    gate: Option<f64>,
}

const CORPORA: [Corpus; 3] = [
    Corpus { name: "one leak in 16 KB, each a new one", every: 16_000, people: usize::MAX },
    Corpus { name: "one leak in 16 KB, of 200 people", every: 16_000, people: 200 },
    Corpus { name: "no leak", every: usize::MAX, people: 1 },
];

const SHAPES: [Shape; 4] = [
    Shape { name: "large", files: 1, is_wrapped: false, is_beside_idle: false, gate: Some(0.7) },
    Shape { name: "small", files: 1000, is_wrapped: false, is_beside_idle: false, gate: Some(0.5) },
    Shape { name: "pod", files: 1, is_wrapped: true, is_beside_idle: false, gate: None },
    Shape { name: "beside", files: 1, is_wrapped: false, is_beside_idle: true, gate: None },
];

fn main() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let (megabytes, lines) = (number("OUTFLOW_BENCH_MB").unwrap_or(64), number("OUTFLOW_BENCH_LINES").unwrap_or(500));
    let rounds = number("OUTFLOW_BENCH_ROUNDS").unwrap_or(9).max(1);
    let only = std::env::var("OUTFLOW_BENCH_ONLY").ok();
    let agent = Agent::start()?;
    println!("ready after {:.2} s, {}", agent.ready.as_secs_f64(), memory(agent.pid())?);
    delays(&agent.store, &agent.logs.path().join("slow.log"), lines)?;
    pressed(&agent)?;
    drop(agent);
    let bare = Bare::new()?;
    for corpus in CORPORA {
        let text = written(megabytes * 1_000_000, corpus.every, corpus.people);
        println!("{}:", corpus.name);
        let mut singles = Vec::new();
        for shape in SHAPES.iter().filter(|shape| only.as_ref().is_none_or(|only| only == shape.name)) {
            let bares = measure(&text, shape, &bare, rounds)?;
            if shape.files == 1 {
                singles.extend(bares);
            }
        }
        // rsyslog remembers in its folder what it has read.
        if only.is_none() {
            peers(tempfile::Builder::new().prefix("outflow-bench").tempdir()?.path(), &text, median(singles))?;
        }
    }
    let agent = Agent::start()?;
    idle(&agent, if rounds > 1 { 10 } else { 2 })
}

/// An agent of its own follows it, in turns with the bare scanner. Gives the speeds of that.
fn measure(text: &str, shape: &Shape, bare: &Bare, rounds: usize) -> Result<Vec<f64>> {
    let agent = Agent::start()?;
    if shape.is_beside_idle {
        nobody_writes_to(&agent, BESIDE_FILES)?;
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let file_lines = lines.len().div_ceil(shape.files);
    let (mut ratios, mut speeds, mut walls) = (Vec::new(), Vec::new(), Vec::new());
    // One file is one worker's, many are all workers', and memory is shared.
    let threads = if shape.files == 1 { 1 } else { available_parallelism()?.get() };
    let mut bares = vec![bare.scan(text.as_bytes(), threads)?];
    let unmeasured = UNMEASURED_ROUNDS.min(rounds.saturating_sub(1));
    for round in 0..rounds + unmeasured {
        // A file that begins as another one did would be taken for its copy.
        let part = |(number, lines): (usize, &[&str])| {
            let first = format!("{} {round} {number} begins\n", shape.name);
            let lines = [&[first.as_str()], lines].concat();
            if shape.is_wrapped { wrapped(&lines) } else { lines.concat() }
        };
        let parts: Vec<String> = lines.chunks(file_lines).enumerate().map(part).collect();
        let (cpu, wall, size) = followed(&agent, &format!("{}-{round}", shape.name), &parts)?;
        if round < unmeasured {
            continue;
        }
        let before = bares.last().copied().unwrap_or_default();
        bares.push(bare.scan(text.as_bytes(), threads)?);
        let beside = f64::midpoint(before, bares.last().copied().unwrap_or_default());
        ratios.push(size / cpu / beside);
        speeds.push(size / cpu);
        walls.push(size / wall);
    }
    let (ratio, best) = (median(ratios), best(&speeds) / best(&bares));
    let kind = match shape {
        Shape { is_wrapped: true, .. } => ", wrapped by a container runtime",
        Shape { is_beside_idle: true, .. } => ", beside 9,000 idle ones",
        _ => "",
    };
    let below =
        shape.gate.filter(|gate| ratio < *gate).map_or_else(String::new, |gate| format!(", BELOW the gate of {gate}"));
    println!(
        "{:8.0} MB per CPU second  {ratio:.2} ({best:.2})  outflow run, {} files{kind}, to the stored end; {:.0} MB per second of wall time{below}",
        median(speeds),
        lines.chunks(file_lines).len(),
        median(walls)
    );
    println!(
        "{:8.0} MB per CPU second  1.00         bare {} on the same blocks, {threads} at once",
        median(bares.clone()),
        Backend::best().name()
    );
    Ok(bares)
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

/// What they cost, watched for so many seconds.
fn idle(agent: &Agent, seconds: u64) -> Result<()> {
    nobody_writes_to(agent, IDLE_FILES)?;
    // They were just written, and what was held of them is told by then.
    sleep(Duration::from_secs(seconds));
    let cpu = cpu_seconds_of(agent.pid())?;
    sleep(Duration::from_secs(seconds));
    let used = cpu_seconds_of(agent.pid())? - cpu;
    println!("{IDLE_FILES} idle files: {:.2} % of a CPU, {}", used * 100.0 / seconds as f64, memory(agent.pid())?);
    Ok(())
}

/// Files of one line each, read to their ends.
fn nobody_writes_to(agent: &Agent, files: usize) -> Result<()> {
    for number in 0..files {
        fs::write(agent.logs.path().join(format!("idle-{number}.log")), format!("nothing new {number}\n"))?;
    }
    wait(clock::instant(), GLANCE, || {
        let read = |checkpoint: &Checkpoint| place(checkpoint).is_some_and(|(_, offset)| offset > 0);
        Ok(agent.store.checkpoints("tail/")?.iter().filter(|checkpoint| read(checkpoint)).count() == files)
    })
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
        let tail = Ended(tail);
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
        let mut rg = Ended(command.stdout(Stdio::piped()).spawn()?);
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
        let rsyslog = Ended(command.spawn()?);
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
    percentiles(&format!("{lines} lines"), delays);
    Ok(())
}

/// How long until a finding is stored while lines come at [`PACE_MB`], from the moment at which its line is due. Every leak is a new one.
fn pressed(agent: &Agent) -> Result<()> {
    let (path, text) =
        (agent.logs.path().join("pressed.log"), written(PACE_MB * PRESSED_S * 1_000_000, 16_000, usize::MAX));
    let leaks = text.lines().filter(|line| line.starts_with("WARN")).count();
    // So many writes a second, each of whole lines.
    let bytes = PACE_MB * 1_000_000 / WRITES_A_SECOND;
    let mut chunks: Vec<String> = vec![String::new()];
    for line in text.split_inclusive('\n') {
        if chunks.last().is_some_and(|chunk| chunk.len() >= bytes) {
            chunks.push(String::with_capacity(bytes + line.len()));
        }
        chunks.last_mut().ok_or("there is a first one")?.push_str(line);
    }
    let (head, written_at) = (agent.store.head()?, Mutex::new(Vec::new()));
    let mut delays = Vec::with_capacity(leaks);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> std::io::Result<()> {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            let (begun, mut line) = (clock::instant(), 0);
            for (number, chunk) in chunks.iter().enumerate() {
                let due =
                    begun + Duration::from_secs(1) * u32::try_from(number).unwrap_or(u32::MAX) / WRITES_A_SECOND as u32;
                sleep(due.saturating_duration_since(clock::instant()));
                line += chunk.lines().count() as u64;
                // Not when it is written: who writes late would hide how late it is stored.
                written_at.lock().unwrap_or_else(PoisonError::into_inner).push((line, due));
                file.write_all(chunk.as_bytes())?;
            }
            Ok(())
        });
        let mut seen = head;
        wait(clock::instant(), LOOK, || {
            let rows = agent.store.outbox_rows_after(seen, 10_000)?;
            let now = clock::instant();
            seen = rows.last().map_or(seen, |row| row.seq);
            let written_at = written_at.lock().unwrap_or_else(PoisonError::into_inner);
            for payload in rows.into_iter().filter_map(|row| row.payload) {
                let finding: Finding = serde_json::from_str(&payload)?;
                let line =
                    finding.location.and_then(|location| location.line).ok_or("a finding of a log has a line")?;
                let chunk = written_at.partition_point(|(last, _)| *last < line);
                let (_, at) = written_at.get(chunk).ok_or("a line that nobody wrote")?;
                delays.push(now - *at);
            }
            Ok(delays.len() >= leaks)
        })?;
        writer.join().map_err(|_| "the writer panicked")??;
        Ok::<(), Box<dyn Error>>(())
    })?;
    percentiles(&format!("{leaks} leaks at {PACE_MB} MB a second"), delays);
    Ok(())
}

fn percentiles(what: &str, mut delays: Vec<Duration>) {
    delays.sort_unstable();
    let at = |share: usize| {
        let place = (delays.len() * share / 100).min(delays.len().saturating_sub(1));
        delays.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    println!("write to stored finding, {what}: p50 {:.1} ms, p90 {:.1}, p99 {:.1}", at(50), at(90), at(99));
}

/// Files turn up under the pattern. Gives CPU seconds, seconds and megabytes until all is stored.
fn followed(agent: &Agent, name: &str, texts: &[String]) -> Result<(f64, f64, f64)> {
    let folder = agent.logs.path();
    let beside = folder.join("beside");
    fs::create_dir_all(&beside)?;
    let names: Vec<String> = (0..texts.len()).map(|number| format!("{name}-{number}.log")).collect();
    for (name, text) in names.iter().zip(texts) {
        fs::write(beside.join(name), text)?;
    }
    let (cpu, start) = (cpu_seconds_of(agent.pid())?, clock::instant());
    for name in &names {
        fs::rename(beside.join(name), folder.join(name))?;
    }
    wait(start, GLANCE, || {
        let stored: HashMap<String, u64> = agent.store.checkpoints("tail/")?.iter().filter_map(place).collect();
        let is_there = |name: &String, length: usize| {
            stored.get(&folder.join(name).display().to_string()).is_some_and(|offset| *offset == length as u64)
        };
        Ok(names.iter().zip(texts).all(|(name, text)| is_there(name, text.len())))
    })?;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds_of(agent.pid())? - cpu);
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

fn wait(start: Instant, pause: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    while !done()? {
        if start.elapsed() > Duration::from_mins(5) {
            return Err("not stored after five minutes".into());
        }
        sleep(pause);
    }
    Ok(())
}

/// One e-mail address in `every` bytes, of so many people.
fn written(bytes: usize, every: usize, people: usize) -> String {
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

/// The highest.
fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
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
