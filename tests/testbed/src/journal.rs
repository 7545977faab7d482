//! Enters: the folder where the server wrote its connections down. Leaves: their bytes, to compare with what a tap saw.

use std::{ffi::OsStr, fs, io, path::Path};

use anyhow::{Context, Result};

/// The plain bytes of one connection, as the server read and wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// In the order of the handshakes, from 1.
    pub number: u32,
    /// The server name of the handshake, or `no-sni`.
    pub server_name: String,
    /// From the client.
    pub received: Vec<u8>,
    /// To the client.
    pub sent: Vec<u8>,
}

/// All connections of a journal in their order; none when the folder is missing.
pub fn connections(journal: &Path) -> Result<Vec<Connection>> {
    let Ok(entries) = fs::read_dir(journal) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension() != Some(OsStr::new("received")) {
            continue;
        }
        let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        let (number, name) = stem.split_once('-').with_context(|| format!("{stem} is no page of a journal"))?;
        found.push(Connection {
            number: number.parse()?,
            server_name: name.to_owned(),
            received: fs::read(&path)?,
            sent: begun(&path.with_extension("sent"))?,
        });
    }
    found.sort_by_key(|connection| connection.number);
    Ok(found)
}

/// The server makes the two files of a page one after the other: the second may not be there yet.
fn begun(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.with_context(|| path.display().to_string()),
    }
}
