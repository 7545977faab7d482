//! Rotated logs that were compressed.

use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

/// Compresses it, so that any beginning of the archive holds some of it.
fn pack(bytes: &[u8], zstd: bool) -> Vec<u8> {
    if zstd {
        // Nothing is a frame, too.
        if bytes.is_empty() {
            return compress_to_vec(bytes, CompressionLevel::Fastest);
        }
        return bytes.chunks(100).flat_map(|piece| compress_to_vec(piece, CompressionLevel::Fastest)).collect();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for piece in bytes.chunks(100) {
        encoder.write_all(piece).unwrap();
        encoder.flush().unwrap();
    }
    encoder.finish().unwrap()
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compresses the oldest log that was rotated away, as gzip does: the original goes when the archive is whole.
    pub(super) fn compress(&mut self, zstd: bool, whole: bool) {
        if self.copying.is_some() {
            return;
        }
        if self.packing.is_none() {
            let name = |number: u32| self.path(&format!("app.log.{number}"));
            let Some(plain) = (1..=9).rev().map(name).find(|path| path.exists()) else { return };
            let archive = PathBuf::from(format!("{}{}", plain.display(), if zstd { ".zst" } else { ".gz" }));
            let packed = pack(&fs::read(&plain).unwrap(), zstd);
            fs::write(&archive, &packed[..packed.len() / 2]).unwrap();
            self.packing = Some((plain, archive, packed));
        }
        if whole {
            self.packed();
        }
    }

    /// What is being compressed is so now.
    pub(super) fn packed(&mut self) {
        if let Some((plain, archive, packed)) = self.packing.take() {
            let half = packed.len() / 2;
            OpenOptions::new().append(true).open(archive).unwrap().write_all(&packed[half..]).unwrap();
            fs::remove_file(plain).unwrap();
        }
    }

    fn lines(&mut self, count: usize) {
        (0..count).for_each(|_| self.line());
    }

    /// The notices about what cannot be read.
    fn unreadable(&self) -> Vec<&str> {
        fn unreadable(notice: &TailNotice) -> Option<&str> {
            match notice {
                TailNotice::Unreadable { why, .. } => Some(why),
                _ => None,
            }
        }
        self.stored.notices.iter().filter_map(unreadable).collect()
    }

    fn gap(&self) -> (GapReason, u64) {
        let [(_, gap)] = &self.stored.gaps[..] else { panic!("{:?}", self.stored.gaps) };
        (gap.reason, gap.offset)
    }

    /// Steps until nothing waits any more.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.step(40);
        }
        self.commit();
    }

    fn told(&self) -> usize {
        self.stored.lines.values().map(|count| *count as usize).sum()
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_archive_that_nobody_knows_is_read_once_whenever_the_agent_is_killed() {
    for zstd in [false, true] {
        let mut inputs = usize::MAX;
        let mut kept = 0;
        while kept <= inputs {
            let mut world = World::new();
            world.lines(60);
            world.rotate();
            world.compress(zstd, true);
            world.step(1);
            world.step(3);
            inputs = world.waiting.len();
            assert!(inputs > 5, "{inputs}");
            world.kill(kept);
            world.check();
            assert_eq!(world.unreadable(), [""; 0]);
            // Nor by the next life.
            world.kill(usize::MAX);
            world.check();
            kept += 1;
        }
    }
}

/// Lines of an archive have the line numbers and places of its contents, and the service of the log.
#[test]
fn what_an_archive_holds_is_told_as_of_the_log() {
    let mut world = World::new();
    write(&world.path("app.log.3.gz"), &pack(b"one\ntwo\n", false));
    world.settle();
    let [block] = &world.stored.blocks[..] else { panic!("{:?}", world.stored.blocks) };
    assert_eq!((block.offset, block.first_line, &block.bytes[..]), (0, 1, &b"one\ntwo\n"[..]));
    assert!(block.file.path.ends_with("app.log.3.gz"), "{}", block.file.path);
    assert_eq!(block.file.origin.service, "app.log");
}

#[test]
fn a_log_that_was_read_to_its_end_and_compressed_is_not_read_again() {
    for (zstd, waits) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::new();
        world.lines(50);
        world.step(1);
        world.rotate();
        world.step(1);
        if waits {
            // The plain one is let go before the archive is noticed.
            let plain = fs::read(world.path("app.log.1")).unwrap();
            fs::remove_file(world.path("app.log.1")).unwrap();
            world.step(1);
            world.step(40);
            write(&world.path("app.log.1.gz"), &pack(&plain, zstd));
        } else {
            world.compress(zstd, true);
        }
        for _ in 0..4 {
            world.step(40);
            world.commit();
        }
        assert_eq!(world.told(), 50, "{zstd} {waits}");
        world.check();
        world.kill(usize::MAX);
        world.check();
    }
}

#[test]
fn a_log_that_vanished_unread_goes_on_in_its_archive() {
    for zstd in [false, true] {
        let mut world = World::new();
        world.lines(30);
        world.step(1);
        world.kill(usize::MAX);
        world.lines(40);
        world.rotate();
        world.compress(zstd, true);
        world.lines(3);
        world.check();
        let paths: Vec<_> = world.stored.blocks.iter().map(|block| &block.file.path).collect();
        assert!(paths.iter().all(|path| path.ends_with("app.log")), "{paths:?}");
    }
}

/// The archive is there only when the log was given up: the gap was told too early, but no line is lost, and none is told twice.
#[test]
fn an_archive_that_comes_late_is_read_from_where_the_log_was_left() {
    let mut world = World::new();
    world.lines(30);
    world.step(1);
    world.kill(usize::MAX);
    world.lines(10);
    let plain = fs::read(world.log()).unwrap();
    fs::remove_file(world.log()).unwrap();
    world.settle();
    assert_eq!(world.gap().0, GapReason::Gone);
    world.kill(usize::MAX);
    world.step(1);
    write(&world.path("app.log.1.gz"), &pack(&plain, false));
    world.settle();
    assert_eq!((world.stored.lines.len(), world.told()), (40, 40));
}

/// `zstd` keeps the original, and so does `gzip -k`.
#[test]
fn an_archive_beside_its_original_is_not_read() {
    let mut world = World::new();
    world.lines(30);
    world.step(1);
    write(&world.path("app.log.copy.gz"), &pack(&fs::read(world.log()).unwrap(), false));
    world.lines(5);
    world.settle();
    assert_eq!(world.told(), 35);
    world.kill(usize::MAX);
    world.settle();
    fs::remove_file(world.log()).unwrap();
    world.check();
}

/// A backup of a log that is then truncated holds what nobody has read of it.
#[test]
fn an_archive_of_a_log_that_is_truncated_then_is_read_from_there() {
    let mut world = World::new();
    world.lines(30);
    world.step(1);
    world.kill(usize::MAX);
    world.lines(30);
    write(&world.path("app.log.1.gz"), &pack(&fs::read(world.log()).unwrap(), false));
    fs::File::create(world.log()).unwrap();
    world.lines(2);
    world.check();
}

#[test]
fn an_archive_that_grows_is_waited_for() {
    for zstd in [false, true] {
        let mut world = World::new();
        world.lines(60);
        let packed = pack(&fs::read(world.log()).unwrap(), zstd);
        fs::remove_file(world.log()).unwrap();
        let archive = world.path("app.log.1.gz");
        for upto in [10, packed.len() / 3, packed.len() / 2, packed.len() - 4] {
            write(&archive, &packed[..upto]);
            world.step(1);
            world.step(20);
            world.commit();
            if zstd {
                world.kill(usize::MAX);
            }
        }
        assert!(world.told() > 30, "what is there is told: {}", world.told());
        write(&archive, &packed);
        world.check();
        assert_eq!(world.unreadable(), [""; 0]);
        // Another member: logs are appended to archives, too.
        let mut more = packed.clone();
        more.extend(pack(b"appended\n", zstd));
        world.written.push("appended\n".to_owned());
        write(&archive, &more);
        world.check();
    }
}

/// What can be unpacked is told, then one notice and one gap; and that is all, also in the next life.
#[test]
fn a_damaged_archive_is_told_as_far_as_it_goes() {
    for (zstd, cut) in [(false, true), (true, true), (false, false), (true, false)] {
        let mut world = World::new();
        world.lines(60);
        let mut packed = pack(&fs::read(world.log()).unwrap(), zstd);
        let written: Vec<String> = world.written.drain(..).collect();
        fs::remove_file(world.log()).unwrap();
        let middle = packed.len() / 2;
        if cut {
            packed.truncate(middle);
        } else {
            packed[middle..middle + 100].fill(0xff);
        }
        write(&world.path("app.log.1.gz"), &packed);
        for life in 0..3 {
            world.settle();
            let whole = world.stored.lines.keys().filter(|line| written.contains(line)).count();
            assert!(whole > 20 && whole + 1 >= world.told(), "{whole} of {}, life {life}", world.told());
            let (reason, offset) = world.gap();
            assert_eq!(reason, GapReason::Damaged);
            let told = world.stored.blocks.iter().map(|block| block.bytes.len() - block.overlap);
            assert_eq!(offset, told.sum::<usize>() as u64);
            assert_eq!(world.unreadable().len(), 1, "{:?}", world.unreadable());
            world.kill(usize::MAX);
        }
    }
}

/// Of a log that was read further than its archive can be unpacked nothing is told again.
#[test]
fn a_damaged_archive_of_a_log_that_was_read_tells_nothing_twice() {
    let mut world = World::new();
    world.lines(100);
    world.step(1);
    world.rotate();
    world.compress(false, true);
    world.step(1);
    world.step(40);
    world.kill(usize::MAX);
    let archive = world.path("app.log.1.gz");
    let packed = fs::read(&archive).unwrap();
    fs::remove_file(&archive).unwrap();
    world.settle();
    write(&archive, &packed[..packed.len() * 3 / 4]);
    world.settle();
    assert_eq!((world.stored.lines.len(), world.told()), (100, 100));
    assert_eq!(world.gap().0, GapReason::Damaged);
}

/// Logs of one program begin alike, longer than any hash of a beginning reaches.
#[test]
fn archives_that_begin_alike_are_told_apart() {
    let banner = "==== a banner ====\n".repeat(100);
    let mut world = World::new();
    world.append(&banner);
    world.lines(20);
    world.step(1);
    world.kill(usize::MAX);
    world.lines(5);
    for (number, zstd) in [(2, false), (3, true)] {
        let lines: Vec<String> = (0..20).map(|n| format!("of {number}, line {n}\n")).collect();
        let lines = lines.concat();
        world.written.extend(lines.split_inclusive('\n').map(str::to_owned));
        write(&world.path(&format!("app.log.{number}.gz")), &pack(format!("{banner}{lines}").as_bytes(), zstd));
    }
    world.rotate();
    world.compress(false, true);
    world.append(&banner);
    world.lines(1);
    world.settle();
    assert_eq!(world.stored.lines.remove("==== a banner ====\n"), Some(400));
    world.check();
}

/// Renamed, copied, packed anew: what it holds was told.
#[test]
fn an_archive_is_known_by_what_it_holds() {
    let mut world = World::new();
    world.lines(30);
    world.rotate();
    let plain = fs::read(world.path("app.log.1")).unwrap();
    world.compress(false, true);
    world.settle();
    assert_eq!(world.told(), 30);
    fs::rename(world.path("app.log.1.gz"), world.path("app.log.2.gz")).unwrap();
    fs::copy(world.path("app.log.2.gz"), world.path("app.log.copy.gz")).unwrap();
    world.settle();
    write(&world.path("app.log.2.zst"), &pack(&plain, true));
    fs::remove_file(world.path("app.log.2.gz")).unwrap();
    fs::remove_file(world.path("app.log.copy.gz")).unwrap();
    world.check();
    world.kill(usize::MAX);
    world.check();
}

/// One block a step, so that logs that are written to have their turns.
#[test]
fn an_archive_takes_turns_with_logs() {
    let mut world = World::new();
    world.lines(200);
    write(&world.path("app.log.1.gz"), &pack(&fs::read(world.log()).unwrap(), false));
    fs::remove_file(world.log()).unwrap();
    world.step(1);
    world.now.0 += 3_000_000_000;
    for turn in 0..10 {
        world.append(&format!("live {turn}\n"));
        let mut inputs = Vec::new();
        let mut deliver = |input| {
            inputs.push(input);
            true
        };
        let mut out = Out { deliver: &mut deliver, notice: &mut |_| {}, waited: Duration::ZERO };
        assert!(world.follower.as_mut().unwrap().step(world.now, &mut out).unwrap());
        let blocks = inputs.iter().filter_map(|input| match input {
            LogInput::Block(block) => Some(block),
            LogInput::Mark(_) => None,
        });
        let (archive, live): (Vec<_>, Vec<_>) = blocks.partition(|block| block.file.path.contains("app.log.1"));
        assert!(archive.iter().map(|block| block.bytes.len()).sum::<usize>() <= 256, "{archive:?}");
        assert_eq!(live.len(), 1, "{live:?}");
    }
}

/// A file whose first byte could begin an archive is a log when it goes on otherwise.
#[test]
fn a_log_that_may_become_an_archive_waits() {
    let mut world = World::new();
    world.append("(");
    world.step(1);
    world.append("a line)\n");
    world.step(1);
    world.commit();
    assert_eq!(world.stored.lines.keys().collect::<Vec<_>>(), ["(a line)\n"]);
}
