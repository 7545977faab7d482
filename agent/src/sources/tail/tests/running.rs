//! The thread: what happens is noticed at once, because something wakes it, and not at the scan interval, which is an hour here.

use crossbeam_channel::Receiver;

use super::*;

/// Longest wait for what must come.
const LIMIT: Duration = Duration::from_mins(1);

struct Running {
    tail: Tail,
    inputs: Receiver<LogInput>,
    notices: Receiver<TailNotice>,
}

impl Running {
    fn start(globs: Vec<String>) -> Self {
        let groups = vec![LogGroup { globs, ..LogGroup::default() }];
        let settings = TailSettings { groups, scan_interval: Duration::from_hours(1), ..TailSettings::default() };
        let (sender, inputs) = crossbeam_channel::bounded(64);
        let (tell, notices) = crossbeam_channel::bounded(64);
        let notice = move |notice| {
            let _ = tell.send(notice);
        };
        let tail = Tail::start(settings, &[], move |input| sender.send(input).is_ok(), notice).unwrap();
        Self { tail, inputs, notices }
    }

    fn followed(&self) -> PathBuf {
        match self.notices.recv_timeout(LIMIT).unwrap() {
            TailNotice::Following { path, .. } => path,
            other => panic!("{other:?}"),
        }
    }

    fn line(&self) -> String {
        loop {
            if let LogInput::Block(block) = self.inputs.recv_timeout(LIMIT).expect("a block") {
                return String::from_utf8(block.bytes.to_vec()).unwrap();
            }
        }
    }

    /// The second look is the one after watching began; the next would come in an hour.
    fn until_it_watches(&self) {
        while self.tail.stats().looks.load(Relaxed) < 2 {
            std::thread::yield_now();
        }
    }
}

fn append(path: &std::path::Path, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// A log with this text in one folder, followed by a link in another.
fn behind_a_link(text: &str) -> (tempfile::TempDir, PathBuf, Running) {
    let folder = tempfile::tempdir().unwrap();
    let (links, real) = (folder.path().join("links"), folder.path().join("real"));
    fs::create_dir(&links).unwrap();
    fs::create_dir(&real).unwrap();
    let log = real.join("0.log");
    append(&log, text);
    std::os::unix::fs::symlink(&log, links.join("app.log")).unwrap();
    let running = Running::start(vec![format!("{}/*.log", links.display())]);
    (folder, log, running)
}

#[test]
fn a_running_tail_is_woken_by_a_write() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    append(&log, "before\n");
    let running = Running::start(vec![format!("{}/*.log", folder.path().display())]);
    assert_eq!(running.followed(), log);
    assert_eq!(running.line(), "before\n");
    running.until_it_watches();
    append(&log, "after\n");
    assert_eq!(running.line(), "after\n");
    // Rotated and made anew: neither is a write to what is known.
    fs::rename(&log, folder.path().join("app.log.1")).unwrap();
    append(&log, "new\n");
    assert_eq!(running.line(), "new\n");
    append(&folder.path().join("app.log.1"), "late\n");
    assert_eq!(running.line(), "late\n");
    running.tail.stop().unwrap();
}

/// `/var/log/containers` is full of links.
#[test]
fn a_write_behind_a_link_wakes() {
    let (_folder, log, running) = behind_a_link("before\n");
    assert_eq!(running.line(), "before\n");
    running.until_it_watches();
    append(&log, "after\n");
    assert_eq!(running.line(), "after\n");
    running.tail.stop().unwrap();
}

/// A pod's first container makes two folders and a file.
#[test]
fn what_turns_up_in_new_folders_wakes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("pods");
    let running = Running::start(vec![format!("{}/*/*/*.log", root.display())]);
    running.until_it_watches();
    fs::create_dir_all(root.join("pod/app")).unwrap();
    append(&root.join("pod/app/0.log"), "one\n");
    assert_eq!(running.line(), "one\n");
    fs::create_dir_all(root.join("pod/sidecar")).unwrap();
    append(&root.join("pod/sidecar/0.log"), "two\n");
    assert_eq!(running.line(), "two\n");
    running.tail.stop().unwrap();
}

/// Files of a deleted pod are held for a while, and so their folder is asked for.
#[test]
fn a_folder_that_went_is_no_reason_to_look_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = |pod: &str| folder.path().join(pod).join("0.log");
    for pod in ["goes", "stays"] {
        fs::create_dir(folder.path().join(pod)).unwrap();
        append(&log(pod), pod);
        append(&log(pod), "\n");
    }
    let running = Running::start(vec![format!("{}/*/*.log", folder.path().display())]);
    let lines = BTreeSet::from([running.line(), running.line()]);
    assert!(lines.contains("goes\n") && lines.contains("stays\n"), "{lines:?}");
    running.until_it_watches();
    fs::remove_dir_all(folder.path().join("goes")).unwrap();
    let write = |lines: usize| {
        for _ in 0..lines {
            append(&log("stays"), "line\n");
            assert_eq!(running.line(), "line\n");
        }
        running.tail.stats().looks.load(Relaxed)
    };
    // By then it has seen that the folder went.
    let before = write(20);
    let looks = write(100) - before;
    assert!(looks < 20, "{looks} looks at everything for 100 lines");
    running.tail.stop().unwrap();
}

/// The kernel forgets a folder with its inode; that the path is the same says nothing.
#[test]
fn a_folder_that_is_made_anew_is_watched_again() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    append(&logs.join("app.log"), "one\n");
    let running = Running::start(vec![format!("{}/*.log", logs.display())]);
    assert_eq!(running.line(), "one\n");
    running.until_it_watches();
    for text in ["two\n", "three\n"] {
        fs::remove_dir_all(&logs).unwrap();
        fs::create_dir(&logs).unwrap();
        // Another inode is wanted: a file that is not there yet, with nothing that was read before.
        append(&logs.join("new.log"), text);
        assert_eq!(running.line(), text);
    }
    append(&logs.join("new.log"), "more\n");
    assert_eq!(running.line(), "more\n");
    running.tail.stop().unwrap();
}

/// A container's log is linked before its first line is written.
#[test]
fn the_first_line_behind_a_link_wakes() {
    let (_folder, log, running) = behind_a_link("");
    running.until_it_watches();
    append(&log, "first\n");
    assert_eq!(running.line(), "first\n");
    running.tail.stop().unwrap();
}
