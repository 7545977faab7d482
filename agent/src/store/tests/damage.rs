//! A damaged file: at the start and while it is used, by the writer and by a reader. It is set aside, and a new one goes on.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
};

use super::*;

/// The files that were set aside, without their logs.
fn aside(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let names = fs::read_dir(place(folder).parent().unwrap()).unwrap();
    let is_aside = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.contains(".damaged-") && !name.ends_with("-wal") && !name.ends_with("-shm")
    };
    names.map(|entry| entry.unwrap().path()).filter(is_aside).collect()
}

/// Writes over all pages but the first.
fn wreck(path: &Path) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    assert!(length > 20 * PAGE_BYTES);
    file.write_all_at(&vec![0xa5; (length - PAGE_BYTES) as usize], PAGE_BYTES).unwrap();
}

/// A store with findings, all of them in the file and none in the log.
fn filled(folder: &tempfile::TempDir) -> Vec<String> {
    let store = open(folder);
    let findings: Vec<Finding> = (0..200).map(|index| finding(&index.to_string(), 0)).collect();
    keep(&store, Batch { checkpoints: vec![checkpoint("tail/1", "9")], ..found(findings) });
    store.settle().unwrap();
    let ids = store.reader().unwrap().outbox_rows_after(0, 1000).unwrap().iter().map(OutboxRow::record_id).collect();
    store.close().unwrap();
    ids
}

/// The finding about it, in the new store, which it is the first of.
fn told(store: &Store) -> Finding {
    let filter = Filter { rule: Some("coverage.store-damaged".into()), ..Filter::default() };
    let told = store.reader().unwrap().findings(&filter).unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    told[0].clone()
}

#[test]
fn at_the_start_a_damaged_store_is_set_aside_and_a_new_one_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let used = filled(&folder);
    let path = place(&folder);
    wreck(&path);
    // Its owner had let others read it.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let bytes = fs::read(&path).unwrap();
    let store = open(&folder);
    let damage = store.stats().damage.unwrap();
    let files = aside(&folder);
    assert_eq!((files.len(), store.stats().damages), (1, 1));
    assert_eq!(fs::read(&files[0]).unwrap(), bytes, "not a byte of it is changed");
    for file in [&files[0], &path] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    let words = damage.to_string();
    assert!(words.contains("read again from where [logs] says") && words.contains("sqlite3"), "{words}");
    assert_eq!(fs::canonicalize(&damage.aside).unwrap(), fs::canonicalize(&files[0]).unwrap());
    let finding_of_it = told(&store);
    assert!(finding_of_it.attributes["store.set_aside"].as_str().unwrap().contains(".damaged-"));
    assert_eq!(store.checkpoints("").unwrap(), []);
    // No id of a record is used again.
    keep(&store, found((0..200).map(|index| finding(&index.to_string(), 1)).collect()));
    let rows = store.reader().unwrap().outbox_rows_after(0, 1000).unwrap();
    assert_eq!(rows.len(), 201);
    assert!(rows.iter().all(|row| !used.contains(&row.record_id())));
    whole(&store.reader().unwrap());
    drop(store);
    // Once.
    assert_eq!((open(&folder).stats().damages, aside(&folder).len()), (0, 1));
}

#[test]
fn a_head_that_was_cut_or_zeroed_is_still_ours_and_what_is_not_ours_is_left_alone() {
    let path_of = |folder: &tempfile::TempDir| {
        filled(folder);
        place(folder)
    };
    let ours: [fn(&Path); 3] = [
        // The page size is none.
        |path| fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0xff; 8], 16).unwrap(),
        |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(100).unwrap(),
        |path| fs::write(path, vec![0; 40_960]).unwrap(),
    ];
    for damage in ours {
        let folder = tempfile::tempdir().unwrap();
        let path = path_of(&folder);
        damage(&path);
        let store = open(&folder);
        assert_eq!((aside(&folder).len(), store.stats().damages), (1, 1));
        told(&store);
    }
    let others: [fn(&Path); 3] = [
        // A later release's, damaged or not.
        |path| fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0, 0, 0, 99], 60).unwrap(),
        // Somebody else's database.
        |path| fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"Else", 68).unwrap(),
        |path| fs::write(path, "a text of somebody else, who gave it this name ".repeat(20)).unwrap(),
    ];
    for change in others {
        let folder = tempfile::tempdir().unwrap();
        let path = path_of(&folder);
        wreck(&path);
        change(&path);
        let before = fs::read(&path).unwrap();
        let error = Store::open(&path, Limits::default()).unwrap_err();
        assert!(!error.to_string().is_empty());
        assert_eq!((aside(&folder).len(), fs::read(&path).unwrap()), (0, before), "{error}");
    }
}

#[test]
fn while_it_runs_the_writer_goes_on_in_a_new_store_behind_the_last_revision() {
    let folder = tempfile::tempdir().unwrap();
    let used = filled(&folder);
    let path = place(&folder);
    let store = open(&folder);
    let head = store.reader().unwrap().head().unwrap();
    wreck(&path);
    // The batch that meets it is kept; its findings are new again.
    let batch = found((0..200).map(|index| finding(&index.to_string(), 1)).collect());
    keep(&store, Batch { checkpoints: vec![checkpoint("tail/2", "7")], ..batch });
    let stats = store.stats();
    assert_eq!((stats.damages, aside(&folder).len(), store.generation()), (1, 1, 1));
    let reader = store.reader().unwrap();
    let verdict = whole(&reader);
    assert_eq!((verdict.from, verdict.revisions), (head + 1, 201), "the chain goes on where it was");
    assert_eq!(reader.count(&Filter::default()).unwrap(), 201);
    assert!(reader.outbox_rows_after(0, 1000).unwrap().iter().all(|row| !used.contains(&row.record_id())));
    assert_eq!(store.checkpoints("").unwrap(), [checkpoint("tail/2", "7")]);
    told(&store);
    // Requests too.
    store.deliver("s", head + 5, Vec::new()).unwrap();
    assert_eq!(store.settle().unwrap(), 0);
}

#[test]
fn a_reader_that_meets_damage_tells_the_store() {
    let folder = tempfile::tempdir().unwrap();
    filled(&folder);
    let store = open(&folder);
    let generation = store.generation();
    wreck(&place(&folder));
    let error = store.reader().and_then(|reader| reader.outbox_rows_after(0, 1000)).unwrap_err();
    store.report_damage(generation, &error).unwrap();
    // Somebody who was late.
    store.report_damage(generation, &error).unwrap();
    assert_eq!((store.stats().damages, aside(&folder).len()), (1, 1));
    told(&store);
    keep(&store, found(vec![finding("x", 0)]));
}

#[test]
fn a_disk_that_damages_again_and_again_is_not_filled_with_copies() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        filled(&folder);
        wreck(&place(&folder));
        drop(open(&folder));
        assert_eq!(aside(&folder).len(), round + 1);
    }
    filled(&folder);
    wreck(&place(&folder));
    let error = Store::open(&place(&folder), Limits::default()).unwrap_err().to_string();
    assert!(error.contains("damaged again") && error.contains("check the disk"), "{error}");
    assert_eq!(aside(&folder).len(), 3);
}

#[test]
fn what_is_read_at_the_start_of_an_agent_is_mended_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let states = (0..500).map(|index| StateChange::new("d", index.to_string(), Some(Arc::new("x".repeat(100)))));
    keep(&store, Batch { states: states.collect(), ..Batch::default() });
    store.erase("nobody").unwrap();
    drop(store);
    // Only the table that holds them: opening looks at others.
    let db = Connection::open(place(&folder)).unwrap();
    let page: u64 =
        db.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'detector_state'", [], |row| row.get(0)).unwrap();
    drop(db);
    let file = fs::OpenOptions::new().write(true).open(place(&folder)).unwrap();
    file.write_all_at(&[0xa5; PAGE_BYTES as usize], (page - 1) * PAGE_BYTES).unwrap();
    let store = open(&folder);
    assert_eq!(store.stats().damages, 0, "nobody has looked there");
    assert_eq!(store.states("d").unwrap(), []);
    assert_eq!((store.stats().damages, aside(&folder).len()), (1, 1));
    told(&store);
}
