//! The file itself: who may open it, which versions, and what a damaged one says.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn refused(path: &Path) -> String {
    Store::open(path, Limits::default()).unwrap_err().to_string()
}

#[test]
fn only_its_owner_can_read_what_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = place(&folder);
    let store = open(&folder);
    keep(&store, found(vec![finding("a", 0)]));
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        assert_eq!(mode(&file::beside(&path, suffix)), 0o600, "{suffix}");
    }
    drop(store);
    // Its owner may let others read it; that others write it is refused.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(open(&folder));
    assert_eq!(mode(&path), 0o644);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o606)).unwrap();
    let error = refused(&path);
    assert!(error.contains("others may write") && error.contains("606") && error.contains("chmod 600"), "{error}");
}

#[test]
fn a_second_writer_is_told_who_the_first_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let error = refused(&place(&folder));
    let who = format!("process {} (", std::process::id());
    assert!(error.contains(&who) && error.contains("outflow.db"), "{error}");
    store.close().unwrap();
    open(&folder);
}

#[test]
fn a_store_of_version_1_is_brought_to_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = place(&folder);
    fs::create_dir(path.parent().unwrap()).unwrap();
    let old = finding("old", 0);
    let payload = serde_json::to_string(&old).unwrap();
    let hash = chain::payload_hash(&payload);
    let head = chain::Head { seq: 1, hash: chain::link(&chain::ROOT, 1, &old.finding_id, 1, "create", &hash) };
    // What version 1 wrote, word for word: it must open for ever.
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA application_id = 1333097574; PRAGMA user_version = 1;
         CREATE TABLE finding (id TEXT NOT NULL PRIMARY KEY, rule TEXT NOT NULL, category TEXT NOT NULL, severity INTEGER NOT NULL,
             service TEXT NOT NULL, first_seen TEXT NOT NULL, last_seen TEXT NOT NULL, count INTEGER NOT NULL,
             revision INTEGER NOT NULL, told_count INTEGER NOT NULL, told_at_ns INTEGER NOT NULL, news INTEGER NOT NULL,
             payload TEXT NOT NULL) STRICT;
         CREATE INDEX finding_news ON finding (told_at_ns) WHERE news = 1;
         CREATE TABLE outbox (seq INTEGER NOT NULL PRIMARY KEY, finding_id TEXT NOT NULL, revision INTEGER NOT NULL,
             activity TEXT NOT NULL, payload TEXT, payload_hash BLOB NOT NULL, previous_hash BLOB NOT NULL) STRICT;
         CREATE UNIQUE INDEX outbox_revision ON outbox (finding_id, revision);
         CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;",
    )
    .unwrap();
    let service = &old.process.service;
    db.execute(
        "INSERT INTO finding VALUES (?1, ?2, 'model', 2, ?3, ?4, ?4, 1, 1, 1, 0, 0, ?5)",
        rusqlite::params![old.finding_id, old.rule.id, service, old.first_seen, payload],
    )
    .unwrap();
    let row = rusqlite::params![old.finding_id, payload, hash, chain::ROOT];
    db.execute("INSERT INTO outbox VALUES (1, ?1, 1, 'create', ?2, ?3, ?4)", row).unwrap();
    db.execute("INSERT INTO meta VALUES ('head', ?1)", [head.text()]).unwrap();
    drop(db);

    let error = StoreReader::open(&path).unwrap_err().to_string();
    assert!(error.contains("version 1") && error.contains("outflow run"), "{error}");
    let store = open(&folder);
    let more = Batch { usage: vec![UsageRow::default()], ..found(vec![finding("old", 1)]) };
    keep(&store, more);
    store.settle().unwrap();
    let reader = store.reader().unwrap();
    assert_eq!(reader.finding(&old.finding_id).unwrap().map(|finding| (finding.count, finding.revision)), Some((2, 2)));
    assert_eq!(whole(&reader).revisions, 2);
}

#[test]
fn what_is_no_store_of_ours_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = place(&folder);
    drop(open(&folder));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    for error in [refused(&path), StoreReader::open(&path).unwrap_err().to_string()] {
        assert!(error.contains("version 99") && error.contains("newer outflow"), "{error}");
    }
    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "not a database, but long enough to be read as the header of one, which it is not. ".repeat(9))
        .unwrap();
    for (file, words) in [(&foreign, "is no outflow store"), (&text, "is no outflow store")] {
        let before = fs::read(file).unwrap();
        let error = refused(file);
        assert!(error.contains(words), "{error}");
        assert_eq!(fs::read(file).unwrap(), before);
    }
    let folder_error = refused(folder.path());
    assert!(folder_error.contains("cannot use the store"), "{folder_error}");
    for nothing in ["missing.db", "no/folder.db"] {
        let error = StoreReader::open(&folder.path().join(nothing)).unwrap_err();
        assert!(matches!(error, StoreError::Missing(_)), "{error}");
    }
    fs::write(folder.path().join("empty.db"), "").unwrap();
    assert!(matches!(StoreReader::open(&folder.path().join("empty.db")), Err(StoreError::Missing(_))));
}

#[test]
fn a_damaged_file_is_an_error_that_says_what_to_do_and_the_writer_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = place(&folder);
    let store = open(&folder);
    let findings = (0..200).map(|index| finding(&index.to_string(), 0)).collect();
    keep(&store, found(findings));
    drop(store);
    let good = fs::read(&path).unwrap();
    let page_bytes = PAGE_BYTES as usize;
    assert!(good.len() > 40 * page_bytes);
    // Each page in turn, the first one without the header that says what the file is; then a file that was cut.
    let damaged = (0..good.len() / page_bytes).map(|page| {
        let mut bytes = good.clone();
        bytes
            .iter_mut()
            .skip(page * page_bytes)
            .take(page_bytes)
            .skip(if page == 0 { 100 } else { 0 })
            .for_each(|byte| *byte = 0xa5);
        bytes
    });
    let cut = [100, page_bytes, good.len() / 2].map(|length| good.iter().copied().take(length).collect());
    let (mut seen, mut aside) = (0, 0);
    for bytes in damaged.chain(cut) {
        fs::write(&path, &bytes).unwrap();
        let read = || -> Result<(), StoreError> {
            let reader = StoreReader::open(&path)?;
            reader.findings(&Filter::default())?;
            reader.outbox_after(0, 1000)?;
            reader.usage(0)?;
            match reader.verify()? {
                Verdict::Whole(whole) => assert_eq!((whole.revisions, whole.erased), (200, 0)),
                Verdict::Broken { seq, .. } => assert!(seq <= 200),
            }
            Ok(())
        };
        if let Err(error) = read() {
            seen += 1;
            let text = error.to_string();
            let clear = text.contains("is damaged")
                && text.contains(" away and outflow starts a new one")
                && text.contains("outflow.db");
            assert!(clear || matches!(error, StoreError::Finding { .. }), "{text}");
        }
        // Whatever is damaged, the writer keeps what it is given: in this file, or in a new one.
        let store = Store::open(&path, Limits::default()).unwrap();
        let batch = found((0..200).map(|index| finding(&index.to_string(), 1)).collect());
        if let Err(error) = store.submit(batch).unwrap().wait() {
            assert!(matches!(error, StoreError::Finding { .. }), "{error}");
        }
        aside += store.stats().damages;
        store.close().unwrap();
        for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    assert!(aside > 10, "only {aside} were set aside");
    assert!(seen > 40, "only {seen} errors");
}

#[test]
fn a_reader_sees_whole_batches_while_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    keep(&store, Batch { checkpoints: vec![checkpoint("n", "1")], ..found(vec![finding("a", 1), finding("b", 1)]) });
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for step in 2..200_u64 {
                let findings = vec![finding("a", step), finding("b", step)];
                keep(&store, Batch { checkpoints: vec![checkpoint("n", &step.to_string())], ..found(findings) });
            }
        });
        let reader = StoreReader::open(&place(&folder)).unwrap();
        let mut looks = 0;
        while looks < 3 || !writer.is_finished() {
            let snapshot = reader.db.unchecked_transaction().unwrap();
            let counts: Vec<u64> = reader.findings(&Filter::default()).unwrap().iter().map(|one| one.count).collect();
            let step = reader.checkpoints("n").unwrap().pop().unwrap().value.parse::<u64>().unwrap();
            drop(snapshot);
            assert_eq!(counts, [step, step]);
            whole(&reader);
            looks += 1;
        }
        let error = reader.db.execute("DELETE FROM finding", []).unwrap_err().to_string();
        assert!(error.contains("readonly"), "{error}");
    });
}

/// The kernel's list moves while other tests lock and unlock: a read of it can lack lines.
const READS: usize = 20;

/// Locks that this process has on a file.
fn locks(path: &Path) -> usize {
    use std::os::unix::fs::MetadataExt as _;
    let inode = format!(":{} ", fs::metadata(path).unwrap().ino());
    fs::read_to_string("/proc/locks").unwrap().lines().filter(|line| line.contains(&inode)).count()
}

#[test]
fn a_reader_in_the_same_process_leaves_the_locks_of_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    keep(&store, found(vec![finding("a", 0)]));
    // How many they are changes while the writer's own threads are at work. Closing a file takes all of them.
    let is_locked = || (0..READS).any(|_| locks(&place(&folder)) > 0);
    assert!(is_locked(), "without a lock another process may delete the log when it closes the file");
    drop(store.reader().unwrap());
    assert_eq!(store.checkpoints("").unwrap(), []);
    assert!(is_locked());
}
