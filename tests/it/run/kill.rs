//! Fifty times kill -9 while the log is written and rotated. At the end every line is in the store, once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use outflow::{sources::tail, store::StoreReader};

use super::{
    dice::Dice,
    log::{Log, Rotation},
    oracle,
    place::Place,
};

const KILLS: u64 = 50;

/// What a kill waits for.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The agent has begun to start.
    Starting,
    /// It says that it is ready, and so many lines were written since.
    Written(u64),
    /// So many findings are in the store that were not there before.
    Stored(u64),
}

/// A program that logs, in a thread of its own; it does something whenever there is a token.
struct Program {
    tokens: SyncSender<()>,
    lines: Arc<AtomicU64>,
    thread: thread::JoinHandle<Log>,
}

impl Program {
    fn start(mut log: Log, rotation: Rotation, mut dice: Dice) -> Self {
        let (tokens, taken) = sync_channel(4);
        let lines = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&lines);
        let thread = thread::spawn(move || {
            for () in taken {
                log.moment(rotation, &mut dice);
                told.store(log.written.len() as u64, Relaxed);
            }
            log.settle();
            log
        });
        Self { tokens, lines, thread }
    }

    /// Lets it do something. It has enough to do when this finds no room.
    fn token(&self) {
        let _ = self.tokens.try_send(());
    }

    fn lines(&self) -> u64 {
        self.lines.load(Relaxed)
    }

    fn end(self) -> Log {
        drop(self.tokens);
        self.thread.join().unwrap()
    }
}

fn fifty_kills(rotation: Rotation) {
    let mut dice = Dice::new();
    let place = Place::new();
    let program = Program::start(Log::new(&place.logs()), rotation, dice.split());
    let mut behind = 0;
    for _ in 0..KILLS {
        for _ in 0..dice.throw(0..8) {
            program.token();
        }
        let stored = place.stored();
        let mut agent = place.start();
        let moment = match dice.throw(0..8) {
            0 => Moment::Starting,
            1..4 => Moment::Written(dice.throw(0..60)),
            _ => Moment::Stored(dice.throw(1..60)),
        };
        match moment {
            Moment::Starting => drop(agent.says("outflow: admin page")),
            Moment::Written(lines) => {
                agent = agent.ready();
                let from = program.lines();
                agent.until("more lines", |_| {
                    program.token();
                    program.lines() >= from + lines
                });
            }
            Moment::Stored(findings) => agent.until("findings of a new life", |_| {
                program.token();
                place.stored() >= stored + findings
            }),
        }
        agent.kill();
        behind += u64::from(place.stored() < program.lines());
    }
    assert!(behind >= KILLS / 5, "only {behind} of {KILLS} kills met an agent at work");

    let log = program.end();
    let all = log.written.len() as u64;
    let mut agent = place.start().ready();
    agent.until("all lines", |_| place.stored() >= all);
    // What it could not place yet becomes a gap, or nothing: both show in what it remembers.
    agent.until("no open question", |_| open_questions(&place.reader()) == 0);
    agent.terminate();
    println!("{all} lines, {behind} of {KILLS} kills met an agent at work");
    oracle::check(&place, &log.written);
    let listed = oracle::outflow(&place, &["findings", "list", "--limit", "0", "--format", "jsonl"]);
    assert_eq!(listed.lines().count() as u64, all);
}

/// Files that were truncated or disappeared, of which it is not known yet what became of their bytes.
pub(super) fn open_questions(reader: &StoreReader) -> usize {
    let prefix = format!("{}departed/", tail::CHECKPOINTS);
    reader.checkpoints(&prefix).unwrap().len()
}

#[test]
fn fifty_kills_while_a_log_is_renamed_store_each_line_once() {
    fifty_kills(Rotation::Rename);
}

/// More than the README promises: while the copy is under the patterns, copytruncate loses nothing either.
#[test]
fn fifty_kills_while_a_log_is_copied_and_truncated_store_each_line_once() {
    fifty_kills(Rotation::CopyTruncate);
}
