//! What the globs fit and nobody can read: it is counted while it lasts, and told once.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_file_that_cannot_be_read_counts_and_is_a_gap() {
    let mut world = World::new();
    world.line();
    // Root may read everything, but not what a link that leads to itself leads to.
    let loop_link = world.folder.path().join("app.log.loop");
    symlink(&loop_link, &loop_link).unwrap();
    world.step(1);
    world.commit();
    assert_eq!(world.stored.gaps, [], "it may be a matter of a moment");
    world.step(6);
    world.step(6);
    world.commit();
    let stats = world.follower.as_ref().unwrap().stats();
    assert_eq!((stats.unread.load(Relaxed), stats.files.load(Relaxed)), (1, 1));
    let [(path, gap)] = &world.stored.gaps[..] else { panic!("{:?}", world.stored.gaps) };
    assert_eq!((path.as_str(), gap.reason), (loop_link.to_str().unwrap(), GapReason::Unreadable));

    fs::remove_file(&loop_link).unwrap();
    world.step(1);
    assert_eq!(stats.unread.load(Relaxed), 0, "it was tried again");
    symlink(&loop_link, &loop_link).unwrap();
    world.step(1);
    world.step(6);
    world.commit();
    assert_eq!(world.stored.gaps.len(), 2, "it is unreadable for a second time");
}

#[test]
fn files_over_the_bound_count_and_are_gaps() {
    let mut world = World::new();
    world.settings.max_files = 1;
    world.line();
    fs::write(world.folder.path().join("app.log.more"), "another\n").unwrap();
    world.step(1);
    world.step(6);
    world.commit();
    assert_eq!(world.follower.as_ref().unwrap().stats().unread.load(Relaxed), 1);
    let reasons: Vec<_> = world.stored.gaps.iter().map(|(_, gap)| gap.reason).collect();
    assert_eq!(reasons, [GapReason::TooMany]);
}

#[test]
fn what_is_left_out_is_not_unreadable() {
    let mut world = World::new();
    world.settings.groups[0].exclude = vec![format!("{}/app.log.loop", world.folder.path().display())];
    let loop_link = world.folder.path().join("app.log.loop");
    symlink(&loop_link, &loop_link).unwrap();
    world.step(1);
    world.step(6);
    world.commit();
    assert_eq!(world.stored.gaps, []);
}

/// Of the log only the beginning was seen when it was cut. Another one that begins so is no copy of it; one with its name may be.
#[test]
fn what_was_only_seen_is_a_gap_unless_a_rotated_file_may_hold_it() {
    let gaps_with = |name: &str| {
        let mut world = World::new();
        world.settings.groups[0].globs.push(format!("{}/web.log", world.folder.path().display()));
        world.append("first\n");
        world.step(1);
        world.commit();
        // It is seen that this is another file, and what it says is lost with the agent.
        fs::write(world.log(), "second, and longer\n").unwrap();
        world.step(1);
        world.kill(1);
        fs::write(world.log(), "third, which is longer again\n").unwrap();
        fs::write(world.folder.path().join(name), "second, and longer\nand more\n").unwrap();
        for _ in 0..4 {
            world.step(40);
            world.commit();
        }
        // Of the first one nobody knows whether there was more.
        let gaps = world.stored.gaps.iter().map(|(_, gap)| (gap.reason, gap.known_bytes));
        gaps.filter(|(_, known_bytes)| *known_bytes > 0).collect::<Vec<_>>()
    };
    assert_eq!(gaps_with("web.log"), [(GapReason::Truncated, 19)]);
    assert_eq!(gaps_with("app.log.1"), []);
}
