//! What a running agent says of itself. Enter: sentences, from any thread. Leave: lines on standard error, written by a thread of their own.
//! It never holds up who says something: while nobody reads standard error, lines wait up to a bound, those beyond it are counted, and how
//! many they were is said when somebody reads again. A standard error that is closed is no error either.

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anstream::adapter::strip_str;
use crossbeam_channel::{Receiver, Sender, bounded};

/// Sentences that wait at most: more than a thousand files over `max_files` give at a start.
const MAX_WAITING: usize = 4_096;
/// How long the last sentences are waited for: whoever reads takes them at once.
const LAST: Duration = Duration::from_secs(1);

/// Where the process says things, once [`start`] was called.
static SAID: OnceLock<Said> = OnceLock::new();

/// Says one sentence, as [`format!`] has it.
macro_rules! notice {
    ($($sentence:tt)*) => {
        $crate::cli::run::notices::say(format_args!($($sentence)*))
    };
}
pub(super) use notice;

/// Starts the thread that writes. To be called when the process may have threads.
pub(super) fn start() -> io::Result<()> {
    let (said, writer) = Said::new(MAX_WAITING);
    // A second agent in one process (a test) speaks through the first.
    if SAID.set(said).is_ok() {
        // Not by the lock that a panic takes as well.
        let mut output = File::from(rustix::io::dup(io::stderr())?);
        thread::Builder::new().name("notices".to_owned()).spawn(move || writer.write_to(&mut output))?;
    }
    Ok(())
}

/// Says one sentence; before [`start`] right here.
pub(super) fn say(sentence: fmt::Arguments<'_>) {
    match SAID.get() {
        Some(said) => said.say(sentence),
        // Whoever closed standard error wants to hear nothing.
        None => drop(io::stderr().write_all(line(&sentence).as_bytes())),
    }
}

/// Waits until all that was said is written, or nobody reads it.
pub(super) fn finish() {
    if let Some(said) = SAID.get() {
        said.finish(LAST);
    }
}

/// In one write, and without the colours that others' words may have.
fn line(sentence: &impl fmt::Display) -> String {
    strip_str(&format!("outflow: {sentence}\n")).to_string()
}

enum Item {
    Sentence(String),
    /// To be answered when all before it is written.
    Mark(Sender<()>),
}

/// The side that says.
struct Said {
    items: Sender<Item>,
    lost: Arc<AtomicU64>,
}

/// The side that writes.
struct Writer {
    items: Receiver<Item>,
    lost: Arc<AtomicU64>,
}

impl Said {
    fn new(max_waiting: usize) -> (Self, Writer) {
        let (sender, items) = bounded(max_waiting);
        let lost = Arc::new(AtomicU64::new(0));
        (Self { items: sender, lost: Arc::clone(&lost) }, Writer { items, lost })
    }

    fn say(&self, sentence: fmt::Arguments<'_>) {
        if self.items.try_send(Item::Sentence(sentence.to_string())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn finish(&self, limit: Duration) {
        let (mark, written) = bounded(1);
        if self.items.send_timeout(Item::Mark(mark), limit).is_ok() {
            // Not in time, or the writer is gone: nobody hears it either way.
            let _ = written.recv_timeout(limit);
        }
    }
}

impl Writer {
    fn write_to(self, output: &mut impl Write) {
        for item in self.items {
            // A failed write leaves nobody to tell.
            match item {
                Item::Sentence(sentence) => drop(output.write_all(line(&sentence).as_bytes())),
                Item::Mark(mark) => drop(mark.try_send(())),
            }
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let lost = format_args!("{lost} notices are not shown: standard error was not read in time");
                drop(output.write_all(line(&lost).as_bytes()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        thread,
        time::Duration,
    };

    use crossbeam_channel::{Receiver, Sender, bounded};

    use super::Said;

    const LIMIT: Duration = Duration::from_mins(1);

    /// Takes a line when it is allowed to.
    struct Slow {
        asks: Sender<()>,
        allowed: Receiver<()>,
        written: Vec<u8>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.asks.send(());
            let _ = self.allowed.recv();
            self.written.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_who_says_something_waits_and_what_is_not_shown_is_counted() {
        let (said, writer) = Said::new(2);
        let ((asks, asked), (allow, allowed)) = (bounded(0), bounded(0));
        let mut output = Slow { asks, allowed, written: Vec::new() };
        let thread = thread::spawn(move || {
            writer.write_to(&mut output);
            output.written
        });
        said.say(format_args!("one"));
        // It is being written: from here on two can wait.
        asked.recv_timeout(LIMIT).unwrap();
        for number in 2..=6 {
            said.say(format_args!("{number}"));
        }
        // Nobody reads: the end does not wait for ever.
        said.finish(Duration::ZERO);
        drop(allow);
        drop(asked);
        drop(said);
        let written = String::from_utf8(thread.join().unwrap()).unwrap();
        assert_eq!(
            written,
            "outflow: one\noutflow: 3 notices are not shown: standard error was not read in time\noutflow: 2\noutflow: 3\n"
        );
    }

    #[test]
    fn the_end_waits_for_what_was_said() {
        let (said, writer) = Said::new(10);
        let thread = thread::spawn(move || {
            let mut written = Vec::new();
            writer.write_to(&mut written);
            written
        });
        (0..10).for_each(|number| said.say(format_args!("{number}")));
        said.finish(LIMIT);
        drop(said);
        let written = String::from_utf8(thread.join().unwrap()).unwrap();
        assert_eq!(written.lines().last(), Some("outflow: 9"));
    }
}
