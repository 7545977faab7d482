//! From every earlier version to this one, with rows in each table; and a step that fails leaves what was there. The files are made by the
//! steps themselves, so a new step is tested with all that came before it.

use std::{collections::BTreeMap, fs, path::Path};

use rusqlite::types::Value;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::units::hex;

/// Columns and rows of each table.
type Tables = BTreeMap<String, (Vec<String>, Vec<Vec<Value>>)>;

/// Rows that each table gets.
const ROWS: i64 = 3;

/// A store as version `version` left it.
fn older(path: &Path, version: usize) -> Connection {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let db = Connection::open(path).unwrap();
    for step in schema::STEPS.iter().take(version) {
        db.execute_batch(step).unwrap();
    }
    db.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    db.pragma_update(None, "user_version", i64::try_from(version).unwrap()).unwrap();
    db
}

fn names(db: &Connection, sql: &str) -> Vec<String> {
    db.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn tables(db: &Connection) -> Vec<String> {
    names(db, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
}

fn columns(db: &Connection, table: &str) -> Vec<String> {
    names(db, &format!("SELECT name || ' ' || type FROM pragma_table_info('{table}') ORDER BY cid"))
}

/// Real findings with their chain; in every other table a row of numbers and words for each of [`ROWS`].
fn fill(db: &Connection) {
    let mut head = chain::Head::EMPTY;
    for number in 1..=ROWS as u64 {
        let one = finding(&number.to_string(), 0);
        let payload = serde_json::to_string(&one).unwrap();
        let hash = chain::payload_hash(&payload);
        db.execute(
            "INSERT INTO finding (id, rule, category, severity, service, first_seen, last_seen, count, revision, told_count, told_at_ns,
                 news, payload)
             VALUES (?1, ?2, 'model', 2, ?3, ?4, ?4, 1, 1, 1, 0, 0, ?5)",
            rusqlite::params![one.finding_id, one.rule.id, one.process.service, one.first_seen, payload],
        )
        .unwrap();
        if columns(db, "finding").iter().any(|column| column == "first_seq INTEGER") {
            db.execute("UPDATE finding SET first_seq = ?1 WHERE id = ?2", rusqlite::params![number, one.finding_id])
                .unwrap();
        }
        let row = rusqlite::params![number, one.finding_id, payload, hash, head.hash];
        db.execute("INSERT INTO outbox VALUES (?1, ?2, 1, 'create', ?3, ?4, ?5)", row).unwrap();
        let link = chain::link(&head.hash, number, &one.finding_id, 1, "create", &hash);
        head = chain::Head { seq: number, hash: link };
    }
    db.execute("INSERT INTO meta VALUES ('head', ?1)", [head.text()]).unwrap();
    for table in tables(db).iter().filter(|table| !["finding", "outbox", "meta"].contains(&table.as_str())) {
        let columns = columns(db, table);
        for number in 1..=ROWS {
            let values: Vec<Value> = columns
                .iter()
                .map(|column| match column.rsplit_once(' ').unwrap() {
                    (_, "INTEGER") => Value::Integer(number),
                    (_, "BLOB") => Value::Blob(vec![u8::try_from(number).unwrap(); 32]),
                    (name, _) => Value::Text(format!("{name} {number}")),
                })
                .collect();
            let places = vec!["?"; values.len()].join(", ");
            db.execute(&format!("INSERT INTO {table} VALUES ({places})"), rusqlite::params_from_iter(values)).unwrap();
        }
    }
}

/// What stands in these columns, or in all.
fn dump(db: &Connection, like: Option<&Tables>) -> Tables {
    let all = tables(db).into_iter().map(|table| {
        let columns = columns(db, &table);
        (table, columns)
    });
    let wanted: Vec<(String, Vec<String>)> = match like {
        Some(like) => like.iter().map(|(table, (columns, _))| (table.clone(), columns.clone())).collect(),
        None => all.collect(),
    };
    wanted
        .into_iter()
        .map(|(table, columns)| {
            let chosen: Vec<&str> = columns.iter().map(|column| column.split(' ').next().unwrap()).collect();
            // Which store it is, a later version made up.
            let but = if table == "meta" { "WHERE key <> 'store_id'" } else { "" };
            let sql = format!("SELECT {} FROM {table} {but} ORDER BY 1, 2", chosen.join(", "));
            let mut select = db.prepare(&sql).unwrap();
            let rows = select
                .query_map([], |row| (0..chosen.len()).map(|index| row.get::<_, Value>(index)).collect())
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            (table, (columns, rows))
        })
        .collect()
}

/// The first 16 digits of the SHA-256 of each step. A step that stands here was in somebody's hands: it does not change any more, and what is
/// to be different is a step more. So [`older`] makes what earlier versions made.
const FROZEN: [&str; 9] = [
    "dce898df8e74a306",
    "61222d11a06caacd",
    "6a8b14a4cc2dd3e3",
    "b403b99e6831d7dc",
    "f3b305a8bfa68c68",
    "97fa671b9b551fa9",
    "328dec7218b8ce88",
    "8d56103fb149a46b",
    "50f9294d8298f5bf",
];

#[test]
fn a_step_that_was_released_never_changes() {
    let digest = |step: &&str| hex(&Sha256::digest(step.as_bytes()), 16);
    assert_eq!(schema::STEPS.iter().map(digest).collect::<Vec<_>>(), FROZEN);
}

#[test]
fn from_every_earlier_version_every_row_of_every_table_arrives() {
    for version in 1..=schema::STEPS.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = place(&folder);
        let db = older(&path, version);
        fill(&db);
        let before = dump(&db, None);
        assert!(before.iter().all(|(table, (_, rows))| !rows.is_empty() || table == "meta"), "version {version}");
        drop(db);
        let store = open(&folder);
        let reader = store.reader().unwrap();
        assert_eq!(whole(&reader).revisions, ROWS as u64, "version {version}");
        assert_eq!(reader.count(&Filter::default()).unwrap(), ROWS as u64);
        // And it works as a new one does.
        keep(&store, found(vec![finding("1", 5), finding("new", 5)]));
        store.settle().unwrap();
        assert_eq!(whole(&reader).revisions, ROWS as u64 + 2);
        for (name, revisions) in [("1", 2), ("2", 1), ("new", 1)] {
            let history = reader.history(&finding(name, 0).finding_id).unwrap();
            assert_eq!(history.len(), revisions, "{name} of version {version}");
        }
        drop(store);
        // What it was before the last two: those rows changed on purpose.
        let folder = tempfile::tempdir().unwrap();
        let path = place(&folder);
        fill(&older(&path, version));
        drop(open(&folder));
        let db = Connection::open(&path).unwrap();
        assert_eq!(dump(&db, Some(&before)), before, "version {version}");
        let number: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(number, schema::current());
        // The same tables as in a file that was made by this version.
        let fresh = tempfile::tempdir().unwrap();
        drop(open(&fresh));
        let new = Connection::open(place(&fresh)).unwrap();
        let sql = "SELECT type || ' ' || name || ' ' || tbl_name FROM sqlite_schema ORDER BY 1";
        assert_eq!(names(&db, sql), names(&new, sql), "version {version}");
    }
}

#[test]
fn a_step_that_fails_leaves_the_version_that_was_there_and_its_rows() {
    // What the last step makes stands in its way.
    let last = schema::STEPS.last().unwrap();
    let made = last.split(" INDEX ").last().unwrap().split_whitespace().next().unwrap();
    for version in 1..schema::STEPS.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = place(&folder);
        let db = older(&path, version);
        fill(&db);
        db.execute_batch(&format!("CREATE VIEW {made} AS SELECT 1")).unwrap();
        let before = dump(&db, None);
        drop(db);
        let error = Store::open(&path, Limits::default()).unwrap_err().to_string();
        assert!(error.contains("there is already") && error.contains("outflow.db"), "{error}");
        let db = Connection::open(&path).unwrap();
        let number: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!((number, dump(&db, None)), (i64::try_from(version).unwrap(), before), "all steps or none");
        db.execute_batch(&format!("DROP VIEW {made}")).unwrap();
        drop(db);
        assert_eq!(whole(&open(&folder).reader().unwrap()).revisions, ROWS as u64);
    }
}

#[test]
fn a_finding_is_found_by_its_index() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    let db = Connection::open(place(&folder)).unwrap();
    for sql in [
        concat!("SELECT payload FROM finding WHERE ", schema::has_id!()),
        concat!("DELETE FROM finding WHERE ", schema::has_id!()),
        concat!(
            "SELECT ?1, max(revision) FROM outbox WHERE NOT EXISTS (SELECT 1 FROM finding WHERE ",
            schema::has_id!("outbox.finding_id"),
            ")"
        ),
        concat!("SELECT id FROM finding WHERE ", schema::has_id_prefix!()),
    ] {
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps: Vec<String> =
            plan.query_map(["a"], |row| row.get("detail")).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(steps.iter().any(|step| step.contains("finding USING INDEX finding_digits")), "{sql}: {steps:?}");
    }
}
