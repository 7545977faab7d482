//! A log as a program and logrotate write it, or a container runtime and the kubelet. Enters: how often, and dice. Leaves: a file that grows
//! and is rotated, and the list of what was written. Every line holds an e-mail address of its own; all that was ever written stays
//! under the log's name, `app.log*`.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::dice::Dice;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// What an agent must find in it.
    pub(super) secret: String,
    /// Its number in its file, 1-based.
    pub(super) number: u64,
}

/// How a log is rotated (logrotate(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    /// `create`: the log gets another name, and a new one its own.
    Rename,
    /// `copytruncate`: the log is copied, then truncated.
    CopyTruncate,
}

/// How its lines are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Not at all.
    Plain,
    /// As container runtimes write them: every third one is cut into pieces, in the middle of the address.
    Cri,
}

/// The log.
pub(super) struct Log {
    folder: PathBuf,
    name: String,
    form: Form,
    file: File,
    /// Lines in the file.
    lines: u64,
    rotated: u64,
    copy: Option<File>,
    /// All lines that were ever written.
    pub(super) written: Vec<Line>,
}

impl Log {
    /// An empty one.
    pub(super) fn new(folder: &Path) -> Self {
        Self::named(folder, "app", Form::Plain)
    }

    /// Another one in the same folder; its addresses are its own, too.
    pub(super) fn named(folder: &Path, name: &str, form: Form) -> Self {
        let (folder, name) = (folder.to_owned(), name.to_owned());
        let file = append(&folder.join(format!("{name}.log")));
        Self { folder, name, form, file, lines: 0, rotated: 0, copy: None, written: Vec::new() }
    }

    /// Its path.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// Writes one line.
    pub(super) fn line(&mut self) {
        let number = self.written.len();
        let secret = if self.name == "app" {
            format!("user{number}@outflow-fake.org")
        } else {
            format!("user{number}.{}@outflow-fake.org", self.name)
        };
        match self.form {
            Form::Plain => {
                self.text(&format!("2026-11-24T10:00:00Z INFO order shipped, receipt to {secret}\n"));
                self.wrote(secret);
            }
            Form::Cri => self.entries(number, secret),
        }
    }

    /// A line as entries of a runtime, each written at once.
    fn entries(&mut self, number: usize, secret: String) {
        let entry = |tag: &str, text: &str| format!("2026-11-24T10:00:00.123456789Z stdout {tag} {text}\n");
        if !number.is_multiple_of(3) {
            self.text(&entry("F", &format!("INFO order shipped, receipt to {secret}")));
            self.wrote(secret);
            return;
        }
        let (first, last) = secret.split_at(6);
        let between = if number.is_multiple_of(2) { entry("P", "INFO a line that is long, ") } else { String::new() };
        let cut = entry("P", &format!("receipt to {first}"));
        for piece in [&between, &cut] {
            self.text(piece);
        }
        // The address begins in the piece before the last.
        self.lines += 1 + u64::from(!between.is_empty());
        self.written.push(Line { secret: secret.clone(), number: self.lines });
        self.text(&entry("F", &format!("{last} and no more")));
        self.lines += 1;
    }

    /// Notes what a line that was written with [`text`](Self::text) holds.
    pub(super) fn wrote(&mut self, secret: String) {
        self.lines += 1;
        self.written.push(Line { secret, number: self.lines });
    }

    /// Writes some.
    pub(super) fn lines(&mut self, count: u64) {
        (0..count).for_each(|_| self.line());
    }

    /// Writes something, at once, as programs do.
    pub(super) fn text(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    /// A moment of a program that logs: some lines, or a part of a rotation.
    pub(super) fn moment(&mut self, rotation: Rotation, dice: &mut Dice) {
        if self.copy.is_some() {
            // The program does not wait for logrotate.
            if dice.one_in(2) {
                self.line();
            }
            let bytes = dice.throw(1..4000);
            self.copy_more(bytes);
        } else if self.lines > 5 && dice.one_in(16) {
            match rotation {
                Rotation::Rename => self.rename(),
                Rotation::CopyTruncate => self.start_copy(),
            }
        } else {
            self.lines(dice.throw(1..5));
        }
    }

    /// Rotates by renaming.
    pub(super) fn rename(&mut self) {
        self.shift();
        fs::rename(self.path(), self.sibling(1)).unwrap();
        self.file = append(&self.path());
        self.lines = 0;
    }

    /// Ends what is under way.
    pub(super) fn settle(&mut self) {
        while self.copy.is_some() {
            self.copy_more(u64::MAX);
        }
    }

    /// Truncates it, and keeps nothing.
    pub(super) fn truncate(&mut self) {
        self.file.set_len(0).unwrap();
        self.lines = 0;
    }

    fn start_copy(&mut self) {
        self.shift();
        self.copy = Some(File::create_new(self.sibling(1)).unwrap());
    }

    /// Copies at most `bytes`; at the end of the log it is truncated. Lines between the last read and the truncation would be lost by
    /// logrotate, not by us: there are none, this is one thread.
    fn copy_more(&mut self, bytes: u64) {
        let path = self.path();
        let Some(copy) = &mut self.copy else { return };
        let (done, size) = (copy.metadata().unwrap().len(), fs::metadata(&path).unwrap().len());
        let mut buffer = vec![0; (size - done).min(bytes) as usize];
        File::open(&path).unwrap().read_exact_at(&mut buffer, done).unwrap();
        copy.write_all(&buffer).unwrap();
        if done + buffer.len() as u64 == size {
            self.copy = None;
            self.truncate();
        }
    }

    /// Each name one further: nothing is under `app.log.1`.
    fn shift(&mut self) {
        for number in (1..=self.rotated).rev() {
            fs::rename(self.sibling(number), self.sibling(number + 1)).unwrap();
        }
        self.rotated += 1;
    }

    fn sibling(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{}.log.{number}", self.name))
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}
