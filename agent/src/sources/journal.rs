//! Follows the systemd journal through `journalctl`. Enters: its JSON lines. Leaves: [`LogInput`]s, blocks of whole entries, each with the cursor
//! of its last entry as checkpoint. It never drops an entry: nobody takes blocks, then the pipe is full and `journalctl` waits. It
//! links no libsystemd: the crate `systemd` is LGPL, and journalctl comes with each journal.
//!
//! The child is supervised: it ends with us, and where it ends by itself it is started again behind the last entry, after a pause
//! that grows. What the journal has lost meanwhile, because it was vacuumed, `journalctl` leaves out without a word.

use std::{
    ffi::OsString,
    io::{self, Read as _},
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use memchr::memmem;

use super::{
    Checkpoint, Origin,
    log::{CutLimits, LineCutter, LogFile, Position, Shared},
    tail::LogInput,
};
use crate::clock;

/// Key of the checkpoint.
pub const CHECKPOINT: &str = "journal/cursor";
/// As findings name it.
pub const NAME: &str = "journald";

/// Bytes that are read at once: what a pipe holds, many times.
const READ_BYTES: usize = 256 * 1024;
/// The shortest and the longest pause before the child is started again.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// Bytes of the child's last words that are shown.
const WORDS_BYTES: usize = 400;

/// What to follow.
#[derive(Clone, Debug)]
pub struct JournalSettings {
    /// The program: `journalctl`.
    pub program: OsString,
    /// Folder with journals, instead of the machine's own.
    pub directory: Option<PathBuf>,
    /// Only these units; all without one.
    pub units: Vec<String>,
    /// Where to begin when nothing is remembered.
    pub since: Since,
    /// Sizes of blocks and entries.
    pub cut: CutLimits,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Since {
    /// With the next entry.
    Now,
    /// With the machine's last start.
    #[default]
    Boot,
    /// With the oldest entry that there is.
    Start,
}

/// News for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalNotice {
    /// It runs.
    Following {
        /// Behind an entry that was stored.
        goes_on: bool,
    },
    /// It ended, or does not start; it is tried again.
    Ended {
        /// Why, as far as it said.
        why: String,
    },
}

/// Figures, readable at any time.
#[derive(Debug, Default)]
pub struct JournalStats {
    /// Bytes of entries since the start.
    pub read_bytes: AtomicU64,
    /// How often the child was started.
    pub starts: AtomicU64,
}

/// A running follower.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Running>,
    thread: JoinHandle<()>,
}

/// What the thread and its owner share.
#[derive(Debug, Default)]
struct Running {
    /// The child, while it runs.
    child: Mutex<Option<Child>>,
    ending: AtomicBool,
    /// Wakes a pause.
    end: Mutex<Option<crossbeam_channel::Sender<()>>>,
    stats: JournalStats,
}

impl Journal {
    /// Starts to follow behind the entry that is `remembered`, the value of [`CHECKPOINT`]. `deliver` may wait; false ends it.
    pub fn start(
        settings: JournalSettings,
        remembered: Option<String>,
        mut deliver: impl FnMut(LogInput) -> bool + Send + 'static,
        mut notice: impl FnMut(JournalNotice) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Running::default());
        let (end, ended) = crossbeam_channel::bounded::<()>(0);
        *shared.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        let running = Arc::clone(&shared);
        let follow = move || {
            let mut follower = Follower { settings, cursor: remembered, running };
            let mut pause = PAUSES[0];
            loop {
                let before = follower.cursor.clone();
                let why = match follower.follow(&mut deliver, &mut notice) {
                    Ok(Stop::Delivered) => return,
                    Ok(Stop::Ended(why)) => why,
                    Err(error) => error.to_string(),
                };
                if follower.running.ending.load(Relaxed) {
                    return;
                }
                notice(JournalNotice::Ended { why });
                pause = if follower.cursor == before { (pause * 2).min(PAUSES[1]) } else { PAUSES[0] };
                // Disconnected: the owner wants the end.
                if ended.recv_timeout(pause) == Err(crossbeam_channel::RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("outflow-journal".to_owned()).spawn(follow)?;
        Ok(Self { shared, thread })
    }

    /// Figures.
    pub fn stats(&self) -> &JournalStats {
        &self.shared.stats
    }

    /// The thread has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends the child and the thread. What is under way is delivered first.
    pub fn stop(self) -> io::Result<()> {
        self.shared.ending.store(true, Relaxed);
        drop(self.shared.end.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(child) = &mut *self.shared.child.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may have ended.
            let _ = child.kill();
        }
        self.thread
            .join()
            .map_err(|_| io::Error::other("the follower of the journal panicked; this is a bug in outflow"))
    }
}

enum Stop {
    /// Nobody takes entries any more.
    Delivered,
    /// The child is gone.
    Ended(String),
}

struct Follower {
    settings: JournalSettings,
    /// Of the last entry that was handed on.
    cursor: Option<String>,
    running: Arc<Running>,
}

impl Follower {
    /// Runs the child once, to its end.
    fn follow(
        &mut self,
        deliver: &mut impl FnMut(LogInput) -> bool,
        notice: &mut impl FnMut(JournalNotice),
    ) -> io::Result<Stop> {
        let program = self.settings.program.to_string_lossy().into_owned();
        let mut child = self
            .command()
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start {program}: {error}")))?;
        let (output, words) = (child.stdout.take(), child.stderr.take());
        {
            let mut place = self.running.child.lock().unwrap_or_else(PoisonError::into_inner);
            // The end may have come before there was a child to end.
            if self.running.ending.load(Relaxed) {
                let _ = child.kill();
            }
            *place = Some(child);
        }
        self.running.stats.starts.fetch_add(1, Relaxed);
        notice(JournalNotice::Following { goes_on: self.cursor.is_some() });
        let mut output = output.ok_or_else(|| io::Error::other("the child has no output"))?;
        let origin = Origin { service: NAME.to_owned(), ..Origin::default() };
        let file = Arc::new(LogFile {
            path: NAME.to_owned(),
            origin: Arc::new(origin),
            shared: Shared::Journal,
            ..LogFile::default()
        });
        let mut cutter = LineCutter::new(self.settings.cut, Position::default());
        let mut buffer = vec![0; READ_BYTES];
        let mut is_wanted = true;
        while is_wanted {
            let count = match output.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            let mut cuts = Vec::new();
            match count {
                // An entry that has no end is not whole: it comes again behind the cursor.
                0 => break,
                count => cutter.push(buffer.get(..count).unwrap_or_default(), &mut cuts),
            }
            // What is of several lines is one entry, or several that nobody can join.
            cutter.flush_held(&mut cuts);
            self.running.stats.read_bytes.fetch_add(count as u64, Relaxed);
            for cut in cuts {
                let cursor = last_cursor(cut.bytes.get(..cut.bytes.len() - cut.carry).unwrap_or_default());
                let checkpoint = cursor.map(|cursor| {
                    self.cursor = Some(cursor.clone());
                    Checkpoint { key: CHECKPOINT.to_owned(), value: cursor }
                });
                is_wanted =
                    is_wanted && deliver(LogInput::Block(cut.into_block(Arc::clone(&file), clock::now(), checkpoint)));
            }
        }
        // Nobody reads any more: the child must not wait for that.
        drop(output);
        let child = self.running.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        let said = last_words(words);
        let status = match child {
            Some(mut child) => {
                let _ = child.kill();
                child.wait()?.to_string()
            }
            None => String::new(),
        };
        if !is_wanted {
            return Ok(Stop::Delivered);
        }
        Ok(Stop::Ended(if said.is_empty() {
            format!("{program} ended: {status}")
        } else {
            format!("{program}: {said}")
        }))
    }

    fn command(&self) -> Command {
        let JournalSettings { program, directory, units, since, .. } = &self.settings;
        let mut command = Command::new(program);
        command.args(["--output=json", "--follow", "--all", "--quiet", "--no-pager"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(directory) = directory {
            command.arg(format!("--directory={}", directory.display()));
        }
        for unit in units {
            command.arg(format!("--unit={unit}"));
        }
        match (&self.cursor, since) {
            (Some(cursor), _) => command.arg(format!("--after-cursor={cursor}")).arg("--no-tail"),
            (None, Since::Now) => command.arg("--lines=0"),
            (None, Since::Boot) => command.arg("--boot").arg("--no-tail"),
            (None, Since::Start) => command.arg("--no-tail"),
        };
        command
    }
}

/// The cursor of the last whole line.
fn last_cursor(lines: &[u8]) -> Option<String> {
    let lines = lines.strip_suffix(b"\n")?;
    cursor(lines.get(memchr::memrchr(b'\n', lines).map_or(0, |end| end + 1)..)?)
}

/// The cursor of an entry, by which `journalctl --cursor` finds it. It has no characters that JSON escapes (systemd.journal-fields(7)).
pub fn cursor(line: &[u8]) -> Option<String> {
    let name = b"\"__CURSOR\"";
    let rest = line.get(memmem::find(line, name)? + name.len()..)?.trim_ascii_start().strip_prefix(b":")?;
    let value = rest.trim_ascii_start().strip_prefix(b"\"")?;
    let value = value.get(..memchr::memchr(b'"', value)?)?;
    String::from_utf8(value.to_vec()).ok().filter(|cursor| !cursor.is_empty())
}

/// What the child said at last, which nobody reads while it runs: `--quiet` leaves errors only, and a pipe holds 64 KiB of them.
fn last_words(words: Option<ChildStderr>) -> String {
    let mut said = Vec::new();
    if let Some(words) = words {
        // Half a word is better than none.
        let _ = words.take(64 * 1024).read_to_end(&mut said);
    }
    let said = String::from_utf8_lossy(&said);
    said.trim().chars().take(WORDS_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, sync::mpsc};

    use super::*;

    /// A program in the place of journalctl, which says how it was called.
    fn fake(folder: &std::path::Path, body: &str) -> OsString {
        let path = folder.join("journalctl");
        fs::write(&path, format!("#!/bin/sh\necho \"$@\" >> {}/calls\n{body}\n", folder.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.into_os_string()
    }

    fn settings(program: OsString) -> JournalSettings {
        JournalSettings {
            program,
            directory: None,
            units: vec!["a.service".into()],
            since: Since::Boot,
            cut: CutLimits::default(),
        }
    }

    #[test]
    fn entries_come_with_their_cursors_and_a_child_that_ends_is_started_behind_them() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("calls");
        let body = format!(
            "n=$(wc -l < {})\necho \"{{\\\"__CURSOR\\\":\\\"s=1;i=$n\\\",\\\"SYSLOG_IDENTIFIER\\\":\\\"app\\\",\\\"MESSAGE\\\":\\\"entry $n\\\"}}\"\nprintf 'half an ent'\nexit 0",
            count.display()
        );
        let (sender, receiver) = mpsc::channel();
        let (told, notices) = mpsc::channel();
        let deliver = move |input| sender.send(input).is_ok();
        let journal =
            Journal::start(settings(fake(folder.path(), &body)), None, deliver, move |notice| _ = told.send(notice))
                .unwrap();
        for number in 1..=2 {
            let LogInput::Block(block) = receiver.recv_timeout(Duration::from_mins(1)).unwrap() else {
                panic!("a block")
            };
            assert!(block.bytes.ends_with(format!("entry {number}\"}}\n").as_bytes()), "{:?}", block.bytes);
            assert_eq!(block.checkpoint.as_ref().unwrap().value, format!("s=1;i={number}"));
            assert_eq!(block.author(0).service, "app");
        }
        journal.stop().unwrap();
        let calls = fs::read_to_string(count).unwrap();
        let mut calls = calls.lines();
        assert!(calls.next().unwrap().ends_with("--unit=a.service --boot --no-tail"));
        assert!(calls.next().unwrap().ends_with("--unit=a.service --after-cursor=s=1;i=1 --no-tail"));
        assert_eq!(notices.recv().unwrap(), JournalNotice::Following { goes_on: false });
        assert!(matches!(notices.recv().unwrap(), JournalNotice::Ended { .. }));
        assert_eq!(notices.recv().unwrap(), JournalNotice::Following { goes_on: true });
    }

    #[test]
    fn a_child_that_cannot_be_started_or_fails_says_why_and_ends_with_us() {
        let folder = tempfile::tempdir().unwrap();
        for (program, why) in [
            (folder.path().join("none").into_os_string(), "cannot start"),
            (
                fake(folder.path(), "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1"),
                "insufficient permissions",
            ),
        ] {
            let (told, notices) = mpsc::channel();
            let journal =
                Journal::start(settings(program), None, |_| true, move |notice| _ = told.send(notice)).unwrap();
            let ended = notices.iter().find_map(|notice| match notice {
                JournalNotice::Ended { why } => Some(why),
                JournalNotice::Following { .. } => None,
            });
            assert!(ended.as_ref().unwrap().contains(why), "{ended:?}");
            journal.stop().unwrap();
        }
        // One that goes on for ever is ended.
        let program = fake(folder.path(), "exec sleep 1000");
        let (told, notices) = mpsc::channel();
        let journal =
            Journal::start(settings(program), Some("s=9".into()), |_| true, move |notice| _ = told.send(notice))
                .unwrap();
        assert_eq!(notices.recv().unwrap(), JournalNotice::Following { goes_on: true });
        journal.stop().unwrap();
    }

    #[test]
    fn the_last_whole_line_has_the_cursor() {
        for (lines, cursor) in [
            (&b"{\"__CURSOR\":\"a\"}\n{\"__CURSOR\" : \"s=1;i=2\",\"x\":1}\n"[..], Some("s=1;i=2")),
            (b"{\"__CURSOR\":\"a\"}\n{\"x\":1}\n", None),
            (b"{\"__CURSOR\":\"a\"}\n{\"__CURS", None),
            (b"{\"__CURSOR\":\"\"}\n", None),
            (b"", None),
            (b"\n", None),
        ] {
            assert_eq!(last_cursor(lines).as_deref(), cursor);
        }
    }
}
