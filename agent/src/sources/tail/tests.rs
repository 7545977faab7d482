//! The tail against an oracle: whatever is written, rotated, copied, truncated and killed in whatever order, each line is stored
//! once. The follower is driven step by step, with made-up time; files are real.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Barrier,
};

use proptest::{prelude::*, test_runner::Config};

use super::*;
use crate::sources::log::Position;

mod archives;
mod flow;
mod running;
mod unread;

const WAIT_NS: u64 = 30_000_000_000;

/// What a store keeps: each input is one transaction.
#[derive(Default)]
struct Stored {
    checkpoints: BTreeMap<String, Checkpoint>,
    lines: BTreeMap<String, u32>,
    gaps: Vec<(String, Gap)>,
    blocks: Vec<LogBlock>,
    notices: Vec<TailNotice>,
}

impl Stored {
    /// Keys of what is remembered of files that are there, or may be.
    fn open(&self) -> Vec<&str> {
        self.checkpoints.keys().map(String::as_str).filter(|key| !key.starts_with(record::FINISHED)).collect()
    }

    fn commit(&mut self, input: LogInput) {
        match input {
            LogInput::Block(block) => {
                let new = &block.bytes[block.overlap..];
                for line in new.split_inclusive(|&byte| byte == b'\n') {
                    *self.lines.entry(String::from_utf8_lossy(line).into_owned()).or_default() += 1;
                }
                if let Some(checkpoint) = block.checkpoint.clone() {
                    self.checkpoints.insert(checkpoint.key.clone(), checkpoint);
                }
                self.blocks.push(block);
            }
            LogInput::Mark(mark) => {
                for key in &mark.forgotten {
                    self.checkpoints.remove(key);
                }
                for checkpoint in mark.checkpoints {
                    self.checkpoints.insert(checkpoint.key.clone(), checkpoint);
                }
                self.gaps.extend(mark.gap.map(|gap| (mark.file.path.clone(), gap)));
            }
        }
    }
}

/// A folder with a log, whoever writes it, and the agent.
struct World {
    folder: tempfile::TempDir,
    settings: TailSettings,
    follower: Option<Follower>,
    stored: Stored,
    /// Delivered and not yet committed: a kill loses them.
    waiting: Vec<LogInput>,
    now: Timestamp,
    written: Vec<String>,
    rotated: u32,
    /// A copy for copytruncate that is under way: its name, and how far it is.
    copying: Option<(PathBuf, u64)>,
    /// A log that is being compressed: its name, that of its archive, and what is to be in that.
    packing: Option<(PathBuf, PathBuf, Vec<u8>)>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let globs = vec![format!("{}/app.log*", folder.path().display())];
        let settings = TailSettings {
            groups: vec![LogGroup { globs, ..LogGroup::default() }],
            rotate_wait_ns: WAIT_NS,
            cut: CutLimits { block_bytes: 256, line_bytes: 128, overlap_bytes: 16 },
            ..TailSettings::default()
        };
        Self {
            folder,
            settings,
            follower: None,
            stored: Stored::default(),
            waiting: Vec::new(),
            now: Timestamp(1_000_000_000_000),
            written: Vec::new(),
            rotated: 0,
            copying: None,
            packing: None,
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("app.log")
    }

    fn append(&self, text: &str) {
        OpenOptions::new().append(true).create(true).open(self.log()).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) {
        let line = format!("line {} {}\n", self.written.len(), "x".repeat(self.written.len() % 40));
        self.append(&line);
        self.written.push(line);
    }

    fn step(&mut self, seconds: u64) {
        self.now.0 += seconds * 1_000_000_000;
        while self.look(None) {}
    }

    /// A look at everything, or at these alone; true when there is more.
    fn look(&mut self, at: Option<BTreeSet<PathBuf>>) -> bool {
        // No two looks have the same time: by it two files are told apart that had one inode.
        self.now.0 += 1;
        // A life begins with a look at everything.
        let at = at.filter(|_| self.follower.is_some());
        let follower = self.follower.get_or_insert_with(|| {
            let remembered: Vec<_> = self.stored.checkpoints.values().cloned().collect();
            Follower::new(self.settings.clone(), &remembered, Arc::default()).unwrap()
        });
        let mut deliver = |input| {
            self.waiting.push(input);
            true
        };
        let mut notice = |notice| self.stored.notices.push(notice);
        let mut out = Out { deliver: &mut deliver, notice: &mut notice, waited: Duration::ZERO };
        match at {
            None => follower.step(self.now, &mut out).unwrap(),
            Some(paths) => follower.step_at(paths, self.now, &mut out).unwrap(),
        }
    }

    /// Somebody wrote to some of the files, as far as the agent was told.
    fn peek(&mut self, which: u8) {
        let mut names: Vec<_> = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let is_told = |number: usize| which >> (number % 8) & 1 == 1;
        let paths = names.into_iter().enumerate().filter(|(number, _)| is_told(*number)).map(|(_, path)| path);
        self.look(Some(paths.collect()));
    }

    fn commit(&mut self) {
        self.waiting.drain(..).for_each(|input| self.stored.commit(input));
    }

    /// The agent is gone; of what it delivered only the first `committed` were stored.
    fn kill(&mut self, committed: usize) {
        let rest = self.waiting.split_off(committed.min(self.waiting.len()));
        drop(rest);
        self.commit();
        self.follower = None;
    }

    /// Older logs move up by one name, as logrotate does; the oldest goes, and it was read long ago.
    fn shift(&mut self) {
        self.packed();
        for number in (1..=self.rotated.min(8)).rev() {
            for end in ["", ".gz", ".zst"] {
                let name = |number: u32| self.folder.path().join(format!("app.log.{number}{end}"));
                if name(number).exists() {
                    fs::rename(name(number), name(number + 1)).unwrap();
                }
            }
        }
        self.rotated += 1;
    }

    fn rotate(&mut self) {
        if self.log().exists() && self.copying.is_none() {
            self.shift();
            fs::rename(self.log(), self.folder.path().join("app.log.1")).unwrap();
        }
    }

    /// Copies some of the log; when all is copied, truncates it. What is written in between is lost, as with logrotate, so it
    /// is copied whole in the last step.
    fn copytruncate(&mut self, whole: bool) {
        if !self.log().exists() {
            return;
        }
        let content = fs::read(self.log()).unwrap();
        let (path, at) = self.copying.take().unwrap_or_else(|| {
            self.shift();
            (self.folder.path().join("app.log.1"), 0)
        });
        let upto = if whole { content.len() as u64 } else { (at + 100).min(content.len() as u64) };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).unwrap();
        file.write_all_at(&content[at as usize..upto as usize], at).unwrap();
        if whole {
            fs::File::create(self.log()).unwrap();
        } else {
            self.copying = Some((path, upto));
        }
    }

    /// All that was written is stored, once, and nothing else.
    fn check(&mut self) {
        if self.copying.is_some() {
            self.copytruncate(true);
        }
        self.packed();
        for _ in 0..4 {
            self.step(40);
            self.commit();
        }
        let missed: Vec<_> = self.written.iter().filter(|line| !self.stored.lines.contains_key(*line)).collect();
        assert!(missed.is_empty(), "missed {missed:?}");
        let wrong: Vec<_> =
            self.stored.lines.iter().filter(|(line, count)| **count != 1 || !self.written.contains(line)).collect();
        assert!(wrong.is_empty(), "stored more than once, or never written: {wrong:?}");
        assert_eq!(self.stored.gaps, []);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Lines(u8),
    Step(u8),
    Peek(u8),
    Commit,
    Kill(u8),
    Rotate,
    CopyTruncate { whole: bool },
    Compress { zstd: bool, whole: bool },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (1..12u8).prop_map(Op::Lines),
        1 => (12..60u8).prop_map(Op::Lines),
        4 => (0..40u8).prop_map(Op::Step),
        3 => any::<u8>().prop_map(Op::Peek),
        3 => Just(Op::Commit),
        2 => (0..20u8).prop_map(Op::Kill),
        2 => Just(Op::Rotate),
        3 => any::<bool>().prop_map(|whole| Op::CopyTruncate { whole }),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(zstd, whole)| Op::Compress { zstd, whole }),
    ];
    prop::collection::vec(op, 1..60)
}

fn run(ops: &[Op], copytruncate: bool, compress: bool) {
    let mut world = World::new();
    for op in ops {
        match op {
            Op::Lines(count) => (0..*count).for_each(|_| world.line()),
            Op::Step(seconds) => world.step(u64::from(*seconds)),
            Op::Peek(which) => world.peek(*which),
            Op::Commit => world.commit(),
            Op::Kill(committed) => world.kill(usize::from(*committed)),
            // Nine names are kept: what falls off the end must have been seen, as the third guarantee says.
            Op::Rotate | Op::CopyTruncate { .. } if world.rotated >= 8 => {}
            Op::Rotate => world.rotate(),
            Op::CopyTruncate { whole } if copytruncate => world.copytruncate(*whole),
            Op::Compress { zstd, whole } if compress => world.compress(*zstd, *whole),
            Op::CopyTruncate { .. } | Op::Compress { .. } => {}
        }
    }
    world.check();
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn renamed_logs_are_stored_once(ops in ops()) {
        run(&ops, false, false);
    }

    /// More than is promised: as long as the copy is under the patterns, truncation loses nothing.
    #[test]
    fn truncated_logs_with_a_copy_are_stored_once(ops in ops()) {
        run(&ops, true, false);
    }

    #[test]
    fn renamed_and_compressed_logs_are_stored_once(ops in ops()) {
        run(&ops, false, true);
    }

    #[test]
    fn truncated_and_compressed_logs_are_stored_once(ops in ops()) {
        run(&ops, true, true);
    }
}

/// With looks at what was written to alone: a file that was let go and whose inode is another's by now; a file of which nothing is known but its
/// inode, and that was let go at its end. Whether an inode comes again is the file system's choice.
#[test]
fn a_reused_inode_is_another_file() {
    use Op::{Compress, CopyTruncate, Kill, Lines, Peek, Rotate, Step};
    let whole = Compress { zstd: false, whole: true };
    let copy = |whole| CopyTruncate { whole };
    let let_go =
        [Lines(1), Step(35), copy(true), Step(18), Step(36), whole.clone(), copy(false), Peek(87), Lines(1), Step(12)];
    run(&let_go, true, true);
    let before = [Lines(1), Step(1), copy(true), Rotate, Peek(203), whole.clone(), Step(35), Kill(7), whole, Lines(1)];
    let after = [Step(19), copy(true), Kill(1), Lines(1)];
    run(&[before.as_slice(), &after].concat(), true, true);
    // Both have the same length.
    let before = [Lines(2), Step(27), Lines(7), Rotate, Compress { zstd: false, whole: true }, Kill(6), Lines(1)];
    let after = [Peek(234), copy(true), Peek(1)];
    run(&[before.as_slice(), &after].concat(), true, true);
    // Of the one whose inode it was, only the beginning was seen.
    let part = Compress { zstd: false, whole: false };
    let before = [Lines(2), Step(0), Rotate, Lines(1), Step(30), Lines(1), part.clone(), copy(true), Kill(1), Step(0)];
    let after = [Kill(1), part, Rotate, Lines(7), copy(false), Step(0), Step(30)];
    run(&[before.as_slice(), &after].concat(), true, true);
}

/// Seen, not read, killed, and packed under a name that does not begin with the one that was seen: nothing of it is lost.
#[test]
fn an_archive_holds_what_was_seen_and_not_read() {
    use Op::{Compress, CopyTruncate, Kill, Lines, Rotate, Step};
    let (part, whole) = (Compress { zstd: false, whole: false }, Compress { zstd: false, whole: true });
    let before = [Lines(1), Step(0), CopyTruncate { whole: true }, Lines(1), Rotate, Kill(1), Lines(1), part.clone()];
    let after = [Rotate, Step(0), Kill(1), whole, part, Lines(1), Rotate, Lines(1), Rotate];
    run(&[before.as_slice(), &after].concat(), true, true);
}

#[test]
fn a_line_without_its_end_waits_for_it() {
    let mut world = World::new();
    world.append("whole\npart");
    world.step(1);
    world.commit();
    assert_eq!(world.stored.lines.keys().collect::<Vec<_>>(), ["whole\n"]);
    world.kill(0);
    world.append("ial\n");
    world.step(1);
    world.commit();
    assert_eq!(world.stored.lines.keys().collect::<Vec<_>>(), ["partial\n", "whole\n"]);
    let block = world.stored.blocks.last().unwrap();
    assert_eq!((block.offset, block.first_line), (6, 2));
}

/// Truncated without a copy: what was seen of the last line is told, and the gap says how much is known to be lost, and when.
#[test]
fn a_truncation_without_a_copy_is_a_gap() {
    let mut world = World::new();
    world.append("one\ntwo\nthr");
    world.step(1);
    world.commit();
    let from = world.now;
    world.kill(0);
    world.append("ee\nfour\n");
    fs::write(world.log(), "new\n").unwrap();
    world.step(1);
    world.commit();
    assert_eq!(world.stored.gaps, [], "a copy may still turn up");
    world.step(40);
    world.commit();
    assert_eq!(world.stored.lines.keys().collect::<Vec<_>>(), ["new\n", "one\n", "two\n"]);
    let [(path, gap)] = &world.stored.gaps[..] else { panic!("{:?}", world.stored.gaps) };
    assert_eq!(*path, world.log().to_string_lossy());
    let until = world.now;
    assert_eq!(*gap, Gap { reason: GapReason::Truncated, offset: 8, known_bytes: 3, from, until });
    // It is told once, also to the next life.
    world.kill(0);
    world.step(40);
    world.step(40);
    world.commit();
    assert_eq!(world.stored.gaps.len(), 1);
}

#[test]
fn the_end_of_a_line_that_was_seen_before_a_truncation_is_told() {
    let mut world = World::new();
    world.append("one\ntwo and more");
    world.step(1);
    fs::write(world.log(), "new\n").unwrap();
    world.step(1);
    world.step(40);
    world.commit();
    assert_eq!(world.stored.lines.keys().collect::<Vec<_>>(), ["new\n", "one\n", "two and more"]);
    assert_eq!(world.stored.gaps[0].1.known_bytes, 0);
    // What was told late did not take the checkpoint of the new life back.
    world.kill(usize::MAX);
    world.step(1);
    world.step(40);
    world.commit();
    assert_eq!(world.stored.lines.get("new\n"), Some(&1));
    assert_eq!(world.stored.gaps.len(), 1);
}

/// Of a first line without its end nothing was consumed yet.
#[test]
fn a_log_that_is_truncated_in_its_first_line_is_read_from_its_start() {
    let mut world = World::new();
    world.append("abc");
    world.step(1);
    fs::write(world.log(), "xyz and more\n").unwrap();
    world.step(1);
    world.step(40);
    world.commit();
    assert_eq!(world.stored.lines.keys().collect::<Vec<_>>(), ["abc", "xyz and more\n"]);
}

/// A file that cannot be opened for long is there all the same, and goes on where it was.
#[test]
fn a_file_that_cannot_be_opened_is_not_gone() {
    let mut world = World::new();
    world.append("one\n");
    world.step(1);
    world.kill(usize::MAX);
    // Root may open any file; too many of them are as good a reason.
    world.settings.max_files = 0;
    world.step(1);
    world.step(40);
    world.step(40);
    world.commit();
    world.kill(usize::MAX);
    world.settings.max_files = 10;
    world.append("two\n");
    world.step(1);
    world.commit();
    assert_eq!(world.stored.lines, BTreeMap::from([("one\n".to_owned(), 1), ("two\n".to_owned(), 1)]));
    // That it could not be read for long is told; that it is gone is not.
    let reasons: Vec<_> = world.stored.gaps.iter().map(|(_, gap)| gap.reason).collect();
    assert_eq!(reasons, [GapReason::TooMany]);
}

/// Truncated and written past the old position between two looks: others go on in the middle of a line, and never know.
#[test]
fn a_log_that_grew_past_the_position_again_is_read_from_its_start() {
    let mut world = World::new();
    world.append("aaaa\nbbbb\n");
    world.step(1);
    fs::write(world.log(), "cccc\ndddd\neeee\n").unwrap();
    world.step(1);
    world.step(40);
    world.commit();
    assert_eq!(world.stored.lines.len(), 5, "{:?}", world.stored.lines);
    assert_eq!(world.stored.gaps.len(), 1);
}

#[test]
fn a_file_that_disappears_while_nobody_looks_is_told_if_it_was_known() {
    let mut world = World::new();
    world.append("one\n");
    world.step(1);
    world.kill(usize::MAX);
    fs::remove_file(world.log()).unwrap();
    world.step(1);
    world.step(40);
    world.commit();
    assert_eq!(world.stored.gaps[0].1.reason, GapReason::Gone);
    assert_eq!(world.stored.open(), [""; 0]);
}

/// A file that is deleted while it is open is read to its end.
#[test]
fn a_file_that_is_deleted_while_it_is_followed_is_read_to_its_end() {
    let mut world = World::new();
    world.append("one\n");
    world.step(1);
    world.append("two\nthree");
    fs::remove_file(world.log()).unwrap();
    world.step(1);
    world.step(40);
    world.commit();
    assert_eq!(world.stored.lines.keys().collect::<Vec<_>>(), ["one\n", "three", "two\n"]);
    assert_eq!(world.stored.gaps, []);
    assert_eq!(world.stored.open(), [""; 0]);
}

/// ext4 gives the new log the inode of the one that was deleted.
#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let mut world = World::new();
    world.append("first life\n");
    world.step(1);
    world.kill(usize::MAX);
    // The very inode, with other content: as after deleting and creating.
    fs::write(world.log(), "second life, longer\n").unwrap();
    world.step(1);
    world.commit();
    assert_eq!(world.stored.lines.get("second life, longer\n"), Some(&1));
}

#[test]
fn two_logs_that_start_alike_are_both_read() {
    let mut world = World::new();
    world.append("banner\n");
    world.step(1);
    fs::write(world.folder.path().join("app.log.other"), "banner\n").unwrap();
    world.step(1);
    OpenOptions::new()
        .append(true)
        .open(world.folder.path().join("app.log.other"))
        .unwrap()
        .write_all(b"its own\n")
        .unwrap();
    world.append("ours\n");
    world.step(1);
    world.commit();
    assert_eq!(world.stored.lines.get("ours\n"), Some(&1));
    assert_eq!(world.stored.lines.get("its own\n"), Some(&1));
    let block = world.stored.blocks.iter().find(|block| block.bytes.starts_with(b"its own")).unwrap();
    assert!(block.file.path.ends_with("app.log.other"), "{}", block.file.path);
}

/// The same size as before, to the byte.
#[test]
fn a_log_that_grew_to_its_old_size_again_is_read_from_its_start() {
    let mut world = World::new();
    world.append("aaaa\nbbbb\n");
    world.step(1);
    // File systems stamp times by the tick of the kernel's clock: write until one has passed.
    let before = fs::metadata(world.log()).unwrap().modified().unwrap();
    while fs::metadata(world.log()).unwrap().modified().unwrap() == before {
        fs::write(world.log(), "cccc\ndddd\n").unwrap();
    }
    world.step(1);
    world.commit();
    assert_eq!(world.stored.lines.len(), 4, "{:?}", world.stored.lines);
}

/// A line over the cap goes on in the middle after a kill, with the overlap that its next window needs.
#[test]
fn an_over_long_line_survives_a_kill_between_its_windows() {
    let mut world = World::new();
    let line: String = "0123456 ".repeat(45) + "\n";
    world.append(&line);
    world.step(1);
    let windows = world.waiting.len();
    assert!(windows >= 2, "{windows}");
    world.kill(1);
    world.step(1);
    world.commit();
    let mut joined = String::new();
    for block in &world.stored.blocks {
        assert_eq!(block.first_line, 1);
        joined.push_str(std::str::from_utf8(&block.bytes[block.overlap..]).unwrap());
    }
    assert_eq!(joined, line);
    assert!(world.stored.blocks[1].overlap > 0);
    let position: serde_json::Value =
        serde_json::from_str(&world.stored.checkpoints.values().next().unwrap().value).unwrap();
    let position: Position = serde_json::from_value(position["position"].clone()).unwrap();
    assert_eq!((position.offset, position.line, position.overlap), (line.len() as u64, 2, 0));
}

/// Nor does it wait for the agent to start: the log is truncated at any moment of the first step of a life, its copy is whole.
#[test]
fn a_log_that_is_truncated_while_a_life_begins_is_read_once() {
    let mut world = World::new();
    for round in 0..1000 {
        for _ in 0..3 {
            world.line();
        }
        world.step(1);
        world.kill(usize::MAX);
        let copy = world.folder.path().join("app.log.1");
        fs::copy(world.log(), &copy).unwrap();
        let (log, start) = (OpenOptions::new().write(true).open(world.log()).unwrap(), Arc::new(Barrier::new(2)));
        let started = Arc::clone(&start);
        let truncate = std::thread::spawn(move || {
            started.wait();
            (0..round * 50).for_each(|_| std::hint::spin_loop());
            log.set_len(0).unwrap();
        });
        start.wait();
        world.step(1);
        truncate.join().unwrap();
        world.step(1);
        // Somebody looks while it goes, so it is no gap; the next copy gets its inode.
        fs::remove_file(copy).unwrap();
        world.step(1);
        world.step(40);
        world.kill(usize::MAX);
    }
    world.check();
}

/// A life that takes a log up from its start has looked at it and read nothing of it: what it then reads is another beginning.
#[test]
fn a_log_that_is_truncated_between_its_first_look_and_its_first_read_is_read_once() {
    let mut world = World::new();
    world.step(1);
    world.append("one\ntwo\nthree\n");
    fs::copy(world.log(), world.folder.path().join("app.log.1")).unwrap();
    let (log, mut inputs) = (world.log(), Vec::new());
    let mut deliver = |input| {
        inputs.push(input);
        true
    };
    let mut notice = |notice| {
        if matches!(notice, TailNotice::Following { path, .. } if path == log) {
            fs::write(&log, "four\n").unwrap();
        }
    };
    let mut out = Out { deliver: &mut deliver, notice: &mut notice, waited: Duration::ZERO };
    world.follower.as_mut().unwrap().step(world.now, &mut out).unwrap();
    world.waiting.extend(inputs);
    world.commit();
    let remembered: Vec<_> = world.stored.checkpoints.values().filter_map(record::Record::read).collect();
    assert!(remembered.iter().any(|record| record.size == 5), "{remembered:?}");
    world.step(1);
    world.append("five\n");
    world.step(40);
    world.commit();
    let lines: Vec<_> = world.stored.lines.iter().map(|(line, count)| (line.as_str(), *count)).collect();
    assert_eq!(lines, [("five\n", 1), ("four\n", 1), ("one\n", 1), ("three\n", 1), ("two\n", 1)]);
    assert_eq!(world.stored.gaps, []);
}

/// Nobody stops logrotate while a step is under way: the log is truncated after the step has looked at it, and before it judges the
/// copy, which holds lines that were read and lines that were not.
#[test]
fn a_log_that_is_truncated_in_the_middle_of_a_step_is_read_once() {
    let mut world = World::new();
    world.append("one\ntwo\n");
    world.step(1);
    world.commit();
    world.append("three\n");
    fs::copy(world.log(), world.folder.path().join("app.log.1")).unwrap();
    // A longer file is taken in before the copy, and says so.
    fs::write(world.folder.path().join("app.log.other"), "a longer one, of somebody else\n").unwrap();
    let (log, mut inputs) = (world.log(), Vec::new());
    let mut deliver = |input| {
        inputs.push(input);
        true
    };
    let mut notice = |_| drop(fs::File::create(&log).unwrap());
    let mut out = Out { deliver: &mut deliver, notice: &mut notice, waited: Duration::ZERO };
    world.follower.as_mut().unwrap().step(world.now, &mut out).unwrap();
    world.waiting.extend(inputs);
    world.step(1);
    world.append("four\n");
    world.step(40);
    world.commit();
    let lines: Vec<_> = world.stored.lines.iter().map(|(line, count)| (line.as_str(), *count)).collect();
    let other = "a longer one, of somebody else\n";
    assert_eq!(lines, [(other, 1), ("four\n", 1), ("one\n", 1), ("three\n", 1), ("two\n", 1)]);
    assert_eq!(world.stored.gaps, []);
}

/// The tail rests in proportion to its own work. A store that keeps it waiting is not that: it would rest a second for a tenth of one.
#[test]
fn waiting_for_whoever_takes_inputs_is_no_work() {
    let world = World::new();
    world.append("one\n");
    let mut follower = Follower::new(world.settings.clone(), &[], Arc::default()).unwrap();
    let pause = Duration::from_millis(20);
    let mut deliver = |_| {
        let until = clock::instant() + pause;
        while clock::instant() < until {
            std::thread::yield_now();
        }
        true
    };
    let mut out = Out { deliver: &mut deliver, notice: &mut |_| {}, waited: Duration::ZERO };
    follower.step(world.now, &mut out).unwrap();
    assert!(out.waited >= pause, "{:?}", out.waited);
}
