//! Many times kill -9 while several logs are written and rotated, plain ones and such as container runtimes write, each in its own way. At
//! the end every line is in the store, once.
//!
//! OUTFLOW_LONG=1 (`cargo xtask chaos --long`) kills two hundred times, with all cores busy besides.

use std::{
    hint,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use outflow::{sources::tail, store::StoreReader};

use super::{
    dice::Dice,
    log::{Form, Line, Log, Rotation},
    oracle,
    place::Place,
};

/// Kills in the short form, and in the long one.
const KILLS: [u64; 2] = [40, 200];

/// The logs that are written at the same time.
const LOGS: [(&str, Form, Rotation); 4] = [
    ("renamed", Form::Plain, Rotation::Rename),
    ("copied", Form::Plain, Rotation::CopyTruncate),
    ("pod", Form::Cri, Rotation::Rename),
    ("podcopied", Form::Cri, Rotation::CopyTruncate),
];

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

/// Programs that log, in a thread of their own; one of them does something whenever there is a token.
struct Programs {
    tokens: SyncSender<()>,
    lines: Arc<AtomicU64>,
    thread: thread::JoinHandle<Vec<Log>>,
}

impl Programs {
    fn start(mut logs: Vec<(Log, Rotation)>, mut dice: Dice) -> Self {
        let (tokens, taken) = sync_channel(4);
        let lines = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&lines);
        let thread = thread::spawn(move || {
            let which = 0..logs.len() as u64;
            for () in taken {
                let (log, rotation) = &mut logs[usize::try_from(dice.throw(which.clone())).unwrap()];
                log.moment(*rotation, &mut dice);
                told.store(logs.iter().map(|(log, _)| log.written.len() as u64).sum(), Relaxed);
            }
            logs.into_iter()
                .map(|(mut log, _)| {
                    log.settle();
                    log
                })
                .collect()
        });
        Self { tokens, lines, thread }
    }

    /// Lets them do something. They have enough to do when this finds no room.
    fn token(&self) {
        let _ = self.tokens.try_send(());
    }

    fn lines(&self) -> u64 {
        self.lines.load(Relaxed)
    }

    /// All lines that they wrote.
    fn end(self) -> Vec<Line> {
        drop(self.tokens);
        self.thread.join().unwrap().into_iter().flat_map(|log| log.written).collect()
    }
}

/// Keeps all cores busy until it is dropped.
struct Load {
    ended: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn start() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..cores).map(|_| {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                while !ended.load(Relaxed) {
                    hint::spin_loop();
                }
            })
        });
        Self { threads: threads.collect(), ended }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn kills_while_logs_are_written_and_rotated_store_each_line_once() {
    let is_long = std::env::var("OUTFLOW_LONG").is_ok_and(|long| long == "1");
    let kills = KILLS[usize::from(is_long)];
    let mut dice = Dice::new();
    let place = Place::new();
    let load = is_long.then(Load::start);
    let logs = LOGS.map(|(name, form, rotation)| (Log::named(&place.logs(), name, form), rotation));
    let programs = Programs::start(logs.into(), dice.split());
    let mut behind = 0;
    for _ in 0..kills {
        for _ in 0..dice.throw(0..8) {
            programs.token();
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
                let from = programs.lines();
                agent.until("more lines", |_| {
                    programs.token();
                    programs.lines() >= from + lines
                });
            }
            Moment::Stored(findings) => agent.until("findings of a new life", |_| {
                programs.token();
                place.stored() >= stored + findings
            }),
        }
        agent.kill();
        behind += u64::from(place.stored() < programs.lines());
    }
    drop(load);
    assert!(behind >= kills / 5, "only {behind} of {kills} kills met an agent at work");

    let written = programs.end();
    let all = written.len() as u64;
    let mut agent = place.start().ready();
    agent.until("all lines", |_| place.stored() >= all);
    // What it could not place yet becomes a gap, or nothing: both show in what it remembers.
    agent.until("no open question", |_| open_questions(&place.reader()) == 0);
    agent.terminate();
    let files = std::fs::read_dir(place.logs()).unwrap().count();
    println!("{all} lines in {files} files of {} logs, {behind} of {kills} kills met an agent at work", LOGS.len());
    oracle::check(&place, &written);
    let listed = oracle::outflow(&place, &["findings", "list", "--limit", "0", "--format", "jsonl"]);
    assert_eq!(listed.lines().count() as u64, all);
}

/// Files that were truncated or disappeared, of which it is not known yet what became of their bytes.
pub(super) fn open_questions(reader: &StoreReader) -> usize {
    let prefix = format!("{}departed/", tail::CHECKPOINTS);
    reader.checkpoints(&prefix).unwrap().len()
}
