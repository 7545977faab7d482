//! A store whose file is damaged. Enters: what SQLite said, or a reader that met it. Leaves: the file set aside under another name, and a new store in
//! its place that goes on behind the last revision that was written. It never touches a database that is not ours, or that a later
//! release wrote, and it does not fill the disk with damaged copies.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, params};

use super::{
    Limits, StoreError,
    apply::{Failure, Ledger},
    chain::Head,
    connect,
    file::{self, Lock},
    stats::Shared,
    writer::Writer,
};
use crate::{clock, findings::store_damaged, units::Timestamp};

/// What was set aside, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The store.
    pub path: PathBuf,
    /// Where its file is now; the log is beside it.
    pub aside: PathBuf,
    /// What was seen.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, aside, reason } = self;
        let (path, aside) = (path.display(), aside.display());
        write!(
            f,
            "the store {path} was damaged ({reason}): it is now {aside}, and a new one goes on in its place. The agent no longer has \
             earlier findings, records that a sink did not have yet, spend, what detectors had learned, and how far logs were read: they \
             are read again from where [logs] says, so some findings may be told twice. `sqlite3 {aside} .recover` reads what is left"
        )
    }
}

/// A damage that is being mended.
#[derive(Clone, Debug)]
pub(super) struct Mending {
    reason: String,
    /// The file is out of the way.
    aside: Option<PathBuf>,
}

/// Opens a store for its writer; a damaged one is set aside.
pub(super) fn open(path: &Path, limits: &Limits, shared: &Shared) -> Result<(Connection, Lock), StoreError> {
    let lock = file::prepare(path)?;
    let opened = connect(path, limits).and_then(|db| {
        // What the writer needs first.
        Ledger::open(&db, limits.max_call_bytes).map_err(|failure| failure.told(path))?;
        Ok(db)
    });
    match opened {
        Err(error) if error.is_damage() && file::is_ours(path) => {
            let aside = file::set_aside(path, clock::now(), &error)?;
            let damage = Damage { path: path.to_owned(), aside, reason: error.reason() };
            Ok((anew(&damage, limits, (Head::EMPTY, 0, &[]), shared)?, lock))
        }
        opened => opened.map(|db| (db, lock)),
    }
}

/// A new store behind `head` and the newest call, of which these streams are told, which says what became of the one before.
fn anew(
    damage: &Damage,
    limits: &Limits,
    (head, newest_call, streams): (Head, u64, &[String]),
    shared: &Shared,
) -> Result<Connection, StoreError> {
    let path = &damage.path;
    file::make(path)?;
    let mut db = connect(path, limits)?;
    let at = clock::now();
    let mut begun = || -> Result<(), Failure> {
        let change = db.transaction()?;
        if head.seq > 0 {
            for end in ["head", "anchor"] {
                change.execute("INSERT INTO meta (key, value) VALUES (?1, ?2)", params![end, head.text()])?;
            }
        }
        if newest_call > 0 {
            let newest_call = i64::try_from(newest_call).unwrap_or(i64::MAX);
            change.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('call', ?1)", [newest_call])?;
        }
        let mut ledger = Ledger::open(&change, limits.max_call_bytes)?;
        ledger.calls().wanted_by(&change, streams)?;
        // Which numbers were used is not known; none was higher, for there is less than one revision a second.
        ledger.raise_floor(&change, seconds(at))?;
        let finding = store_damaged(path, &damage.aside, &damage.reason, at, &shared.policy());
        ledger.count(&change, &finding, false)?;
        ledger.flush(&change)?;
        change.commit()?;
        Ok(())
    };
    begun().map_err(|failure| failure.told(path))?;
    shared.damaged(damage.clone());
    Ok(db)
}

fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.0 / 1_000_000_000).unwrap_or(u32::MAX)
}

impl Writer {
    /// True: the error is a damage of our file, and the next transaction goes into a new store.
    pub(super) fn takes_damage(&mut self, error: &StoreError) -> bool {
        // While one is mended, its errors are those of the new file.
        if !error.is_damage() || self.mending.is_some() || !file::is_ours_or_wrecked(&self.path) {
            return false;
        }
        self.mending = Some(Mending { reason: error.reason(), aside: None });
        true
    }

    /// Brings a new store about, when the old one was damaged. An error that passes: it is tried again with the next transaction.
    pub(super) fn mend(&mut self) -> Result<(), StoreError> {
        let Some(Mending { reason, aside }) = self.mending.clone() else { return Ok(()) };
        let aside = if let Some(aside) = aside {
            aside
        } else {
            self.close()?;
            let error = StoreError::Corrupt { path: self.path.clone(), reason: reason.clone() };
            let aside = file::set_aside(&self.path, clock::now(), &error)?;
            self.mending = Some(Mending { reason: reason.clone(), aside: Some(aside.clone()) });
            aside
        };
        let damage = Damage { path: self.path.clone(), aside, reason };
        self.db =
            anew(&damage, &self.limits, (self.last, *self.shared.watch_calls().borrow(), &self.streams), &self.shared)?;
        self.mending = None;
        (self.ledger, self.ids) = (None, None);
        Ok(())
    }

    /// Closes the file: what stands in its place meanwhile keeps nothing.
    fn close(&mut self) -> Result<(), StoreError> {
        let nothing = Connection::open_in_memory().map_err(|error| StoreError::sqlite(&self.path, &error))?;
        self.db = nothing;
        (self.ledger, self.ids) = (None, None);
        Ok(())
    }
}
