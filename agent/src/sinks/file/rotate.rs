//! The older files. Enters: the name of the file that is full. Leaves: `name.1` and so on, the newest first, as many as are kept. A crash at any
//! place leaves files that can be read, and names that the next rotation puts in order.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::log::{Settings, Trouble};
use crate::config::FileCompression;

/// How names of rotated files may end: with another setting they were made by an earlier one.
const ENDS: [&str; 3] = ["", ".gz", ".zst"];

/// What a file is called while it is compressed.
const HALF: &str = ".half";

/// Moves the file and those before it one number on; what is over the number that is kept is deleted.
pub(super) fn rotate(settings: &Settings) -> Result<(), Trouble> {
    let (path, keep) = (&settings.path, settings.keep);
    let failed = |why| Trouble::new("rotate", path, why);
    // Up to the first number that is missing: that is where there is room.
    let mut last = 0;
    while !of_number(path, last + 1).is_empty() {
        last += 1;
    }
    for number in (1..=last).rev() {
        for (name, end) in of_number(path, number) {
            if number >= keep { fs::remove_file(name) } else { fs::rename(name, numbered(path, number + 1, end)) }
                .map_err(failed)?;
        }
    }
    if keep == 0 { fs::remove_file(path) } else { fs::rename(path, numbered(path, 1, "")) }.map_err(failed)?;
    sync_folder(path)
}

/// Compresses those of the older files that are not yet.
pub(super) fn compress(settings: &Settings) -> Result<(), Trouble> {
    let end = match settings.compression {
        FileCompression::None => return Ok(()),
        FileCompression::Gzip => ".gz",
        FileCompression::Zstd => ".zst",
    };
    for number in 1..=settings.keep {
        if of_number(&settings.path, number).is_empty() {
            break;
        }
        let plain = numbered(&settings.path, number, "");
        let packed = numbered(&settings.path, number, end);
        if !plain.is_file() {
            continue;
        }
        let failed = |why| Trouble::new("compress", &plain, why);
        // Both are there only when a crash came between: the packed one got its name when it was whole.
        if !packed.is_file() {
            let half = numbered(&settings.path, number, HALF);
            let done = pack(&plain, &half, settings.compression).and_then(|()| fs::rename(&half, &packed));
            if let Err(why) = done {
                let _ = fs::remove_file(&half);
                return Err(failed(why));
            }
            sync_folder(&settings.path)?;
        }
        fs::remove_file(&plain).map_err(failed)?;
    }
    Ok(())
}

/// The files of this number that are there, with how their names end.
fn of_number(path: &Path, number: usize) -> Vec<(PathBuf, &'static str)> {
    let names = ENDS.into_iter().map(|end| (numbered(path, number, end), end));
    names.filter(|(name, _)| name.symlink_metadata().is_ok()).collect()
}

fn numbered(path: &Path, number: usize, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{end}"));
    name.into()
}

fn pack(from: &Path, to: &Path, compression: FileCompression) -> io::Result<()> {
    // What a crash left of an earlier attempt.
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut source = BufReader::new(File::open(from)?);
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let target = packed(&mut source, BufWriter::new(target), compression)?;
    target.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn packed<W: Write>(source: &mut impl io::Read, target: W, compression: FileCompression) -> io::Result<W> {
    match compression {
        FileCompression::None => {
            let mut target = target;
            io::copy(source, &mut target)?;
            Ok(target)
        }
        FileCompression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(target, flate2::Compression::default());
            io::copy(source, &mut encoder)?;
            encoder.finish()
        }
        #[cfg(feature = "zstd")]
        FileCompression::Zstd => {
            let mut encoder = zstd::Encoder::new(target, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            encoder.include_checksum(true)?;
            io::copy(source, &mut encoder)?;
            encoder.finish()
        }
        #[cfg(not(feature = "zstd"))]
        FileCompression::Zstd => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Puts the names in the file's folder on the disk.
pub(super) fn sync_folder(path: &Path) -> Result<(), Trouble> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|why| Trouble::new("write", folder, why))
}
