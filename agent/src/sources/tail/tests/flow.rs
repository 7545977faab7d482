//! What is skipped, and whose turn it is.

use super::*;

impl World {
    /// One step, however much there is to read. Gives what it delivered; `deliver` may meddle.
    fn turn(&mut self, mut meddle: impl FnMut(&LogInput)) -> (bool, Vec<LogInput>) {
        let mut inputs = Vec::new();
        let mut deliver = |input| {
            meddle(&input);
            inputs.push(input);
            true
        };
        let mut out = Out { deliver: &mut deliver, notice: &mut |_| {}, waited: Duration::ZERO };
        let follower = self.follower.as_mut().unwrap();
        let more = follower.step(self.now, &mut out).unwrap();
        (more, inputs)
    }

    fn begin(&mut self) {
        let remembered: Vec<_> = self.stored.checkpoints.values().cloned().collect();
        self.follower = Some(Follower::new(self.settings.clone(), &remembered, Arc::default()).unwrap());
    }

    fn stats(&self) -> Arc<TailStats> {
        self.follower.as_ref().unwrap().stats()
    }
}

/// The paths of blocks, in order.
fn paths(inputs: &[LogInput]) -> Vec<&str> {
    fn path(input: &LogInput) -> Option<&str> {
        match input {
            LogInput::Block(block) => Some(&block.file.path),
            LogInput::Mark(_) => None,
        }
    }
    inputs.iter().filter_map(path).collect()
}

fn with_slow_files(world: &World) {
    for number in 0..100 {
        fs::write(world.folder.path().join(format!("app.log.slow-{number}")), format!("slow {number}\n")).unwrap();
    }
}

#[test]
fn a_hot_file_has_a_few_blocks_before_all_others_have_theirs() {
    let mut world = World::new();
    with_slow_files(&world);
    (0..2000).for_each(|_| world.line());
    world.begin();
    for round in 0..5 {
        let (more, inputs) = world.turn(|_| {});
        assert!(more);
        let slow = paths(&inputs).into_iter().filter(|path| path.contains("slow")).count();
        let hot = inputs.iter().map(|input| match input {
            LogInput::Block(block) if block.file.path.ends_with("app.log") => block.bytes.len(),
            _ => 0,
        });
        let hot: usize = hot.sum();
        // What is read in a turn is a block; the beginning of a line that was read in the turn before comes to that.
        let most = follow::TURNS * world.settings.cut.block_bytes + world.settings.cut.line_bytes;
        assert!(slow == 100 && hot > 0 && hot <= most, "round {round}: {slow} slow ones, {hot} bytes");
        for number in 0..100 {
            let path = world.folder.path().join(format!("app.log.slow-{number}"));
            let mut file = OpenOptions::new().append(true).open(path).unwrap();
            writeln!(file, "round {round} of {number}").unwrap();
        }
    }
}

/// Truncated and written anew whenever something of it was read.
#[test]
fn a_file_that_is_rewritten_forever_starves_nobody() {
    let mut world = World::new();
    with_slow_files(&world);
    world.append(&"hot\n".repeat(1000));
    world.begin();
    let log = world.log();
    let mut rewritten = 0;
    for round in 0..5 {
        let (_, inputs) = world.turn(|input| {
            if matches!(input, LogInput::Block(block) if block.file.path.ends_with("app.log")) {
                rewritten += 1;
                fs::write(&log, format!("{rewritten}\n").repeat(1000)).unwrap();
            }
        });
        let (slow, hot): (Vec<_>, Vec<_>) = paths(&inputs).into_iter().partition(|path| path.contains("slow"));
        assert_eq!(slow.len(), if round == 0 { 100 } else { 0 });
        assert!(hot.len() <= 1, "{}", hot.len());
    }
    assert!(rewritten > 1, "{rewritten}");
}

#[test]
fn what_is_over_the_rate_is_skipped_and_told() {
    let mut world = World::new();
    world.settings.groups[0].max_bytes_per_second = Some(2000);
    (0..1000).for_each(|_| world.line());
    let size = fs::metadata(world.log()).unwrap().len();
    world.step(0);
    let stats = world.stats();
    world.commit();
    let told: u64 = world.stored.lines.keys().map(|line| line.len() as u64).sum();
    assert!((2000..2600).contains(&told), "{told}");
    let [(path, gap)] = &world.stored.gaps[..] else { panic!("{:?}", world.stored.gaps) };
    assert!(path.ends_with("app.log"), "{path}");
    assert_eq!((gap.reason, gap.offset, gap.known_bytes), (GapReason::RateCap, told, size - told));
    assert_eq!(stats.capped_bytes.load(Relaxed), size - told);
    assert_eq!(stats.gap_bytes.load(Relaxed), 0, "they were not gone");
    // Whoever goes on does so behind them, and right.
    world.kill(usize::MAX);
    world.line();
    world.step(2);
    world.commit();
    let block = world.stored.blocks.last().unwrap();
    assert_eq!((block.offset, block.first_line), (size, 1001));
    assert_eq!(world.stored.gaps.len(), 1);
    assert!(world.stored.lines.values().all(|count| *count == 1));
}

/// What a gap says is stored before any checkpoint that passes it: killed at any moment, each byte is told or skipped and told so.
#[test]
fn no_checkpoint_passes_skipped_bytes_untold() {
    let mut kept = 0;
    loop {
        let mut world = World::new();
        world.settings.groups[0].max_bytes_per_second = Some(1000);
        for _ in 0..4 {
            (0..100).for_each(|_| world.line());
            world.step(2);
        }
        let inputs = world.waiting.len();
        world.kill(kept);
        let told: u64 = world.stored.lines.keys().map(|line| line.len() as u64).sum();
        let skipped: u64 = world.stored.gaps.iter().map(|(_, gap)| gap.known_bytes).sum();
        let remembered = world.stored.checkpoints.values().find_map(record::Record::read);
        assert_eq!(remembered.map_or(0, |record| record.position.offset), told + skipped, "{kept} of {inputs}");
        kept += 1;
        if kept > inputs {
            return;
        }
    }
}

/// An archive will be there later: it waits, and nothing of it is lost.
#[test]
fn an_archive_over_the_rate_waits() {
    let mut world = World::new();
    world.settings.groups[0].max_bytes_per_second = Some(1000);
    (0..200).for_each(|_| world.line());
    world.rotate();
    world.compress(false, true);
    world.step(0);
    world.step(3);
    world.commit();
    let told: u64 = world.stored.lines.keys().map(|line| line.len() as u64).sum();
    assert!((1000..2000).contains(&told), "{told}");
    for _ in 0..10 {
        world.step(1);
    }
    world.check();
}

/// A program that does not append, and whose log is truncated, goes on where it was.
#[test]
fn holes_are_skipped_and_the_lines_behind_them_are_told() {
    for (hole, before) in [(10 << 30, ""), (1 << 20, ""), (10 << 30, "half a line"), (1 << 20, "a line\n")] {
        let mut world = World::new();
        // Runs of NULs are looked for in blocks of the real size.
        world.settings.cut = CutLimits::default();
        world.append(before);
        let from = before.len() as u64;
        let file = OpenOptions::new().write(true).open(world.log()).unwrap();
        file.write_all_at(b"behind\nand more\n", from + hole).unwrap();
        world.begin();
        let mut turns = 0;
        loop {
            let (more, inputs) = world.turn(|_| {});
            world.waiting.extend(inputs);
            turns += 1;
            if !more {
                break;
            }
        }
        assert!(turns < 10, "{turns}");
        world.commit();
        let block = world.stored.blocks.last().unwrap();
        // A file system gives whole blocks: fewer NULs than that may still stand before the line.
        let text = block.bytes.iter().position(|byte| *byte != 0).unwrap();
        assert!(text < nuls::RUN_BYTES, "{text}");
        assert_eq!(&block.bytes[text..], b"behind\nand more\n");
        assert_eq!(block.offset + text as u64, from + hole);
        assert_eq!(block.first_line, 1 + u64::from(before.ends_with('\n')));
        assert_eq!(world.stored.blocks.len(), 1 + usize::from(!before.is_empty()));
        // It goes on there, also in the next life.
        world.kill(usize::MAX);
        file.write_all_at(b"last\n", from + hole + 16).unwrap();
        world.step(1);
        world.commit();
        let block = world.stored.blocks.last().unwrap();
        assert_eq!((block.offset, &block.bytes[..]), (from + hole + 16, &b"last\n"[..]));
        assert_eq!(world.stored.gaps, []);
    }
}

/// Zeros that are on disk, as after a loss of power, in the middle of a log.
#[test]
fn zeros_on_disk_are_no_line() {
    let mut world = World::new();
    world.settings.cut = CutLimits { block_bytes: 64 * 1024, line_bytes: 16 * 1024, overlap_bytes: 512 };
    world.append("first\n");
    world.append(&"\0".repeat(300_000));
    world.append("second\n");
    world.step(1);
    world.commit();
    let texts: Vec<_> = world.stored.blocks.iter().map(|block| block.bytes.len()).collect();
    assert!(texts.iter().sum::<usize>() < 13 + nuls::RUN_BYTES, "{texts:?}");
    let last = world.stored.blocks.last().unwrap();
    assert_eq!(last.offset + last.bytes.len() as u64, 300_013);
    assert!(last.bytes.ends_with(b"second\n"));
}
