//! The store against what a test inside one process cannot do to it: kill -9, a disk that is really full, and another user.
//!
//! The children are this test binary, started again with one test and a variable that names its store.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use outflow::{
    detectors::{Behaviour, Hit},
    findings::{Finding, FingerprintKey, Maker},
    sources::Checkpoint,
    store::{Batch, Filter, Limits, Receipt, Retention, Store, StoreError, StoreReader, UsageRow, Verdict},
    units::{Severity, Timestamp},
};

/// Names the store that a child is to work on.
const STORE: &str = "OUTFLOW_TEST_STORE";

/// An occurrence; equal keys make the same finding.
fn finding(key: &str) -> Finding {
    let exchange = super::schema::exchange("gpt-4o", "gpt-4o");
    let hit = Hit::Behaviour(Behaviour {
        rule: "model.unpinned",
        references: Vec::new(),
        key: key.into(),
        severity: Severity::Medium,
        confidence: 95,
        title: format!("{key} can change"),
        case: None,
        facts: Vec::new(),
        exchange: &exchange,
    });
    Maker::new(FingerprintKey::new([7; 32])).occurrence(&hit, exchange.ended_at, None)
}

/// Step `n` of a source: two findings, usage, a finding of its own, and the checkpoint that says `n`.
fn step(n: u64) -> Batch {
    Batch {
        findings: vec![finding("a"), finding(&format!("own {n}")), finding("b")],
        usage: vec![UsageRow { calls: 1, ..UsageRow::default() }],
        checkpoints: vec![Checkpoint { key: "source".into(), value: n.to_string() }],
        ..Batch::default()
    }
}

/// Runs one test of this binary in a process of its own.
fn child(test: &str, store: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(STORE, store);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// The step that the store has come to, held against everything else that says so.
fn come_to(path: &Path) -> u64 {
    let reader = StoreReader::open(path).unwrap();
    let steps = reader.checkpoints("source").unwrap().pop().map_or(0, |last| last.value.parse().unwrap());
    let findings = reader.findings(&Filter::default()).unwrap();
    let count = |title: &str| {
        let own = findings.iter().filter(|finding| finding.title.starts_with(title));
        own.map(|finding| finding.count).sum::<u64>()
    };
    let calls: u64 = reader.usage(0).unwrap().iter().map(|row| row.calls).sum();
    let seen = [count("a can change"), count("b can change"), count("own "), calls];
    assert_eq!(seen, [steps; 4], "a batch is torn");
    let Verdict::Whole(whole) = reader.verify().unwrap() else { panic!("{:?}", reader.verify()) };
    assert!(steps == 0 || whole.revisions >= steps + 2, "{whole:?} after {steps} steps");
    steps
}

/// The child: goes on where the store is and says each step that was acknowledged. Not a test when nobody started it.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(path) = env::var_os(STORE).map(PathBuf::from) else { return };
    let store = Store::open(&path, Limits::default()).unwrap();
    let done: u64 = store.checkpoints("source").unwrap().pop().map_or(0, |last| last.value.parse().unwrap());
    let mut out = std::io::stdout();
    // Some are always on their way, so that a kill meets commits of several batches.
    let mut waiting: Vec<(u64, Receipt)> = Vec::new();
    for n in done + 1.. {
        waiting.push((n, store.submit(step(n)).unwrap()));
        if n % 7 == 0 {
            store.settle().unwrap();
        }
        if waiting.len() > 5 {
            for (n, receipt) in waiting.drain(..) {
                receipt.wait().unwrap();
                // One write, or the kill could leave half a number.
                out.write_all(format!("kept {n}\n").as_bytes()).unwrap();
            }
        }
    }
}

/// Reads what the child says until it has said `lines`, kills it, and reads the rest. Returns the last step that it said.
fn kill_after(mut child: Child, lines: usize) -> u64 {
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let kept = |line: std::io::Result<String>| line.unwrap().strip_prefix("kept ").map(|n| n.parse::<u64>().unwrap());
    let mut last = said.by_ref().filter_map(kept).take(lines).last().unwrap();
    child.kill().unwrap();
    last = last.max(said.filter_map(kept).last().unwrap_or(0));
    child.wait().unwrap();
    last
}

#[test]
fn what_was_acknowledged_survives_twenty_kills_and_no_batch_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outflow.db");
    let mut before = 0;
    for round in 0..20 {
        let running = child("store::child_that_writes_until_it_is_killed", &path).spawn().unwrap();
        let acknowledged = kill_after(running, 1 + round * 13 % 40);
        assert!(acknowledged > before, "round {round}: nothing was written");
        before = come_to(&path);
        assert!(before >= acknowledged, "round {round}: {acknowledged} was acknowledged, the store is at {before}");
    }
    // And it can still be closed, with a last revision of both.
    Store::open(&path, Limits::default()).unwrap().close().unwrap();
    assert_eq!(come_to(&path), before);
    let reader = StoreReader::open(&path).unwrap();
    let told = |title: &str| {
        let findings = reader.findings(&Filter::default()).unwrap();
        let found = findings.into_iter().find(|finding| finding.title.starts_with(title)).unwrap();
        let last = reader.history(&found.finding_id).unwrap().pop().unwrap();
        assert_eq!(last.finding.as_ref(), Some(&found));
        found.count
    };
    assert_eq!((told("a can"), told("b can")), (before, before));
}

#[test]
fn a_full_disk_makes_it_wait_and_when_there_is_room_everything_arrives() {
    if let Some(why) = testbed::missing_for_sandbox() {
        println!("skipped: {why}");
        return;
    }
    let disk = super::disk::Disk::new(8);
    let path = disk.path().join("state/outflow.db");
    let store = Store::open(&path, Limits { queue: 4, ..Limits::default() }).unwrap();
    store.submit(step(1)).unwrap().wait().unwrap();
    let mut waiting: std::collections::VecDeque<(u64, Receipt)> = std::collections::VecDeque::new();
    let (mut steps, mut kept) = (1, 1);
    for round in 0..3 {
        // The rest of the disk belongs to somebody else now.
        disk.fill(0);
        while store.stats().full_since.is_none() {
            // A live source would be refused here; a file waits.
            if waiting.len() < 4 {
                steps += 1;
                waiting.push_back((steps, store.submit(step(steps)).unwrap()));
            }
            while let Some(result) = waiting.front().and_then(|(_, receipt)| receipt.try_wait()) {
                result.unwrap();
                kept = waiting.pop_front().unwrap().0;
            }
            std::thread::yield_now();
        }
        assert!(!waiting.is_empty(), "round {round}: nothing waits");
        assert!(come_to(&path) >= kept && come_to(&path) < steps, "round {round}");
        disk.free();
        for (n, receipt) in waiting.drain(..) {
            receipt.wait().unwrap();
            kept = n;
        }
        assert_eq!(store.stats().full_since, None);
        assert_eq!((come_to(&path), kept), (steps, steps), "round {round}");
    }
    store.close().unwrap();
    assert_eq!(come_to(&path), steps);
}

/// Fifty findings of their own.
fn fifty(n: usize) -> Batch {
    Batch { findings: (0..50).map(|index| finding(&format!("own {n} {index}"))).collect(), ..Batch::default() }
}

#[test]
fn on_a_full_disk_sinks_go_on_and_what_they_have_makes_room() {
    if let Some(why) = testbed::missing_for_sandbox() {
        println!("skipped: {why}");
        return;
    }
    let disk = super::disk::Disk::new(64);
    let path = disk.path().join("state/outflow.db");
    let ballast = disk.path().join("state/outflow.db.ballast");
    let store = Store::open(&path, Limits { queue: 4, ..Limits::default() }).unwrap();
    store.keep(Retention { keep_ns: u64::MAX, sinks: vec!["s".to_owned()], drop_oldest: false }).unwrap();
    store.prune(outflow::clock::now()).unwrap();
    assert_eq!(fs::metadata(&ballast).unwrap().permissions().mode() & 0o777, 0o600);
    for n in 0..40 {
        store.submit(fifty(n)).unwrap().wait().unwrap();
    }
    disk.fill(0);
    let (mut waiting, mut n) = (std::collections::VecDeque::new(), 40);
    while store.stats().full_since.is_none() {
        if waiting.len() < 4 {
            waiting.push_back(store.submit(fifty(n)).unwrap());
            n += 1;
        }
        while let Some(result) = waiting.front().and_then(Receipt::try_wait) {
            result.unwrap();
            waiting.pop_front();
        }
        std::thread::yield_now();
    }
    assert!(ballast.exists() && !waiting.is_empty());
    // Nobody frees the disk; a sink delivers.
    let head = store.reader().unwrap().head().unwrap();
    store.deliver("s", head, Vec::new()).unwrap();
    for receipt in waiting {
        receipt.wait().unwrap();
    }
    let (stats, reader) = (store.stats(), store.reader().unwrap());
    assert_eq!((stats.full_since, stats.dropped.rows(), ballast.exists()), (None, 0, false));
    assert!(stats.pruned.revisions >= head, "{stats:?}");
    assert_eq!(reader.count(&Filter::default()).unwrap(), 50 * n as u64, "no finding is lost");
    let Verdict::Whole(_) = reader.verify().unwrap() else { panic!("{:?}", reader.verify()) };
    disk.free();
    store.prune(outflow::clock::now()).unwrap();
    assert!(ballast.exists(), "it is laid again");
}

/// The child: reads as whoever it is. Not a test when nobody started it.
#[test]
fn child_that_may_only_read() {
    let Some(path) = env::var_os(STORE).map(PathBuf::from) else { return };
    match StoreReader::open(&path).map(|reader| reader.count(&Filter::default()).unwrap()) {
        Ok(findings) => println!("\nfindings {findings}"),
        Err(error) => println!("\nrefused {error}"),
    }
    match Store::open(&path, Limits::default()) {
        Err(StoreError::Permission { .. }) => println!("may not write"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_user_who_may_read_reads_and_one_who_may_not_is_told_so() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    // A copy of the binary: the folder it was built in need not be open to others.
    let folder = tempfile::tempdir().unwrap();
    let open_to_all = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open_to_all(folder.path(), 0o755);
    let program = folder.path().join("it");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    let path = folder.path().join("state/outflow.db");
    let reads = |path: &Path| {
        let mut command = Command::new(&program);
        command.args(["--exact", "store::child_that_may_only_read", "--nocapture", "--test-threads=1"]);
        let output = command.env(STORE, path).current_dir("/").uid(NOBODY).gid(NOBODY).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("may not write"), "{text} {}", String::from_utf8_lossy(&output.stderr));
        let line = text.lines().find(|line| line.starts_with("findings") || line.starts_with("refused"));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let store = Store::open(&path, Limits::default()).unwrap();
    store.submit(step(1)).unwrap().wait().unwrap();
    let refused = reads(&path);
    assert!(refused.starts_with("refused not permitted to open the store"), "{refused}");
    // Its owner lets others read: while it is written, after it was closed, and with a log that a kill left behind.
    open_to_all(path.parent().unwrap(), 0o755);
    for suffix in ["", "-wal", "-shm"] {
        open_to_all(&PathBuf::from(format!("{}{suffix}", path.display())), 0o644);
    }
    assert_eq!(reads(&path), "findings 3");
    store.submit(step(2)).unwrap().wait().unwrap();
    assert_eq!(reads(&path), "findings 4");
    store.close().unwrap();
    assert_eq!(reads(&path), "findings 4");
    // A copy without a log, where nothing can be made beside it.
    let copy = folder.path().join("100% #1?.db");
    fs::copy(&path, &copy).unwrap();
    assert_eq!(reads(&copy), "findings 4");
    let running = child("store::child_that_writes_until_it_is_killed", &path).spawn().unwrap();
    kill_after(running, 3);
    let steps = come_to(&path);
    assert_eq!(reads(&path), format!("findings {}", steps + 2));
}

/// What the program says of a store; it must succeed.
fn outflow(store: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
    let output = command.args(arguments).arg("--store").arg(store).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {} {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_that_reads_works_while_another_process_writes_and_prunes() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/outflow.db");
    let store = Store::open(&path, Limits::default()).unwrap();
    store.keep(Retention { keep_ns: HOUR_NS, sinks: vec!["s".to_owned()], drop_oldest: false }).unwrap();
    store.submit(step(1)).unwrap().wait().unwrap();
    // However late the writer gets its turn, the sink is known.
    store.deliver("s", 0, Vec::new()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                for n in 0..20 {
                    store.submit(step(round * 20 + n)).unwrap().wait().unwrap();
                }
                store.settle().unwrap();
                let head = store.reader().unwrap().head().unwrap();
                store.deliver("s", head, Vec::new()).unwrap();
                // Two hours a round: what was there in the last one is old in this one.
                store.prune(Timestamp(outflow::clock::now().0 + round * 2 * HOUR_NS)).unwrap();
            }
        });
        // Ends the writer also when something here fails.
        let _stop = Stop(&stop);
        let mut from = 0;
        for _ in 0..4 {
            let verified: serde_json::Value = serde_json::from_str(&outflow(&path, &["verify"])).unwrap();
            assert_eq!(verified["verdict"], "whole", "{verified}");
            assert!(verified["from"].as_u64().unwrap() >= from, "{verified}");
            from = verified["from"].as_u64().unwrap();
            for line in outflow(&path, &["findings", "list", "--limit", "5"]).lines() {
                let finding: Finding = serde_json::from_str(line).unwrap();
                assert!(finding.count >= 1);
            }
            let text = outflow(&path, &["findings", "list", "--format", "text"]);
            assert!(!text.is_empty());
            let deliveries = outflow(&path, &["findings", "deliveries"]);
            assert!(deliveries.contains("\"sink\":\"s\""), "{deliveries}");
            outflow(&path, &["models"]);
            let Verdict::Whole(_) = StoreReader::open(&path).unwrap().verify().unwrap() else { panic!("{from}") };
        }
    });
    let stats = store.stats();
    assert!(stats.pruned.revisions > 0 && stats.pruned.findings > 0, "it did not prune meanwhile: {stats:?}");
    let Verdict::Whole(whole) = store.reader().unwrap().verify().unwrap() else { panic!("broken") };
    assert_eq!(whole.from, stats.pruned.revisions + 1);
}

/// Sets it when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The child: goes on where the store is, and prunes all the time. Not a test when nobody started it.
#[test]
fn child_that_prunes_until_it_is_killed() {
    let Some(path) = env::var_os(STORE).map(PathBuf::from) else { return };
    let store = Store::open(&path, Limits::default()).unwrap();
    store.keep(Retention { keep_ns: 0, sinks: Vec::new(), drop_oldest: false }).unwrap();
    let done: u64 = store.checkpoints("source").unwrap().pop().map_or(0, |last| last.value.parse().unwrap());
    let mut out = std::io::stdout();
    for n in done + 1.. {
        store.submit(step(n)).unwrap().wait().unwrap();
        out.write_all(format!("kept {n}\n").as_bytes()).unwrap();
        if n % 3 == 0 {
            store.settle().unwrap();
        }
        if n % 5 == 0 {
            // Hours later each time: all that is there is old.
            store.prune(Timestamp(outflow::clock::now().0 + n * 7_200_000_000_000)).unwrap();
        }
    }
}

#[test]
fn kills_while_it_prunes_leave_a_whole_chain_and_no_id_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outflow.db");
    let (mut ids, mut from) = (std::collections::HashMap::new(), 0);
    for round in 0..10 {
        let running = child("store::child_that_prunes_until_it_is_killed", &path).spawn().unwrap();
        let acknowledged = kill_after(running, 3 + round * 7 % 20);
        let reader = StoreReader::open(&path).unwrap();
        let step: u64 = reader.checkpoints("source").unwrap().pop().unwrap().value.parse().unwrap();
        assert!(step >= acknowledged, "round {round}");
        let Verdict::Whole(whole) = reader.verify().unwrap() else { panic!("{:?}", reader.verify()) };
        assert!(whole.from >= from, "round {round}: {whole:?}");
        from = whole.from;
        for row in reader.outbox_rows_after(0, u64::MAX).unwrap() {
            let before = ids.insert(row.record_id(), row.seq);
            assert!(before.is_none_or(|before| before == row.seq), "round {round}: {} twice", row.record_id());
        }
    }
    assert!(from > 1, "nothing was pruned");
}
