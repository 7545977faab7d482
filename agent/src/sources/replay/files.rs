//! Files with recorded exchanges. Enters: a path. Leaves: [`Record`]s in the order in which they stand. A file is a HAR file,
//! one exchange record, an array of them or JSON lines of them; a folder is its files of these kinds, by name, in which files
//! that are something else are passed over. It reads nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Record, ReplayError, har, record};

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Records held at once.
const MAX_RECORDS: usize = 1_000_000;
/// Bytes of files held at once.
const MAX_BYTES: u64 = 2 << 30;
/// Files of a folder that may hold records.
const EXTENSIONS: [&str; 5] = ["json", "jsonl", "ndjson", "har", "jsonlines"];

/// Reads all records of some files and folders.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Record>, ReplayError> {
    let mut shelf = Shelf::default();
    for path in paths {
        let failed = |why| ReplayError::Read { path: path.clone(), why };
        if fs::metadata(path).map_err(failed)?.is_dir() {
            shelf.folder(path)?;
        } else {
            shelf.file(path, Unknown::IsAnError)?;
        }
    }
    Ok(shelf.records)
}

impl Record {
    /// Reads the one record of a file.
    pub fn read(path: &Path) -> Result<Self, ReplayError> {
        let mut records = read(&[path.to_owned()])?;
        match (records.pop(), records.is_empty()) {
            (Some(record), true) => Ok(record),
            _ => Err(invalid(path, "holds more than one exchange".to_owned())),
        }
    }
}

/// What to do with a document that is neither a HAR file nor a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    IsAnError,
    IsPassedOver,
}

#[derive(Default)]
struct Shelf {
    records: Vec<Record>,
    bytes: u64,
}

impl Shelf {
    fn folder(&mut self, folder: &Path) -> Result<(), ReplayError> {
        let failed = |why| ReplayError::Read { path: folder.to_owned(), why };
        let mut paths = fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>())
            .map_err(failed)?;
        paths.retain(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)) && path.is_file()
        });
        paths.sort();
        let before = self.records.len();
        for path in &paths {
            self.file(path, Unknown::IsPassedOver)?;
        }
        if self.records.len() == before {
            let message = "no file in this folder holds exchange records (*.json, *.jsonl) or HAR (*.har)".to_owned();
            return Err(invalid(folder, message));
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, unknown: Unknown) -> Result<(), ReplayError> {
        let failed = |why| ReplayError::Read { path: path.to_owned(), why };
        let length = fs::metadata(path).map_err(failed)?.len();
        if length > MAX_FILE_BYTES {
            return Err(invalid(path, format!("longer than {} MiB: split it", MAX_FILE_BYTES >> 20)));
        }
        self.bytes += length;
        if self.bytes > MAX_BYTES {
            return Err(ReplayError::TooMuch("2 GiB"));
        }
        let text = fs::read(path).map_err(failed)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let records = documents(&text, &name, unknown).map_err(|message| invalid(path, message))?;
        self.records.extend(records);
        if self.records.len() > MAX_RECORDS { Err(ReplayError::TooMuch("a million exchanges")) } else { Ok(()) }
    }
}

fn invalid(path: &Path, message: String) -> ReplayError {
    ReplayError::Invalid { path: path.to_owned(), message }
}

/// The records of a text, for the fuzzer.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Record>, String> {
    documents(text, "fuzz", Unknown::IsAnError)
}

/// The records of one file. One JSON document behind the other is JSON lines, whatever stands between them.
fn documents(text: &[u8], name: &str, unknown: Unknown) -> Result<Vec<Record>, String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut records = Vec::new();
    let mut number = 0_usize;
    for doc in serde_json::Deserializer::from_slice(text).into_iter::<Value>() {
        let doc = match doc {
            Ok(doc) => doc,
            Err(_) if unknown == Unknown::IsPassedOver && records.is_empty() => return Ok(records),
            Err(error) => return Err(format!("no JSON: {error}")),
        };
        if har::is_har(&doc) {
            records.extend(har::parse(doc, name)?);
            continue;
        }
        let docs = match doc {
            Value::Array(docs) => docs,
            doc => vec![doc],
        };
        for doc in docs {
            if !record::is_record(&doc) && unknown == Unknown::IsPassedOver {
                continue;
            }
            let place = if number == 0 { String::new() } else { format!("record {}: ", number + 1) };
            let mut record = record::parse(doc).map_err(|message| format!("{place}{message}"))?;
            if record.id.is_empty() {
                record.id = if number == 0 { name.to_owned() } else { format!("{name}#{number}") };
            }
            records.push(record);
            number += 1;
        }
    }
    if records.is_empty() && unknown == Unknown::IsAnError {
        return Err("holds no exchange: it must be a HAR file, exchange records (objects with `request` and `response`), an array or lines of them".to_owned());
    }
    Ok(records)
}
