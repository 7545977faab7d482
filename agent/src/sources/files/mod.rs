//! Files that are read once, from start to end: what `outflow scan` looks at. Enters: paths, or standard input. Leaves:
//! [`LogBlock`](super::log::LogBlock)s, and a word about each file that was left alone or could not be read. Compressed files are
//! told by their first bytes and unpacked as a stream, under [`Caps`]. It follows no file that grows: that is the tail's.

use std::path::PathBuf;

pub use self::{
    read::{Blocks, ReadError},
    unpack::Caps,
    walk::{WalkOptions, walk},
    window::{REACH_BYTES, Window, window},
};

pub(in crate::sources) use unpack::{Format, Unpacked};

mod read;
#[cfg(test)]
mod tests;
mod unpack;
mod walk;
mod window;
mod zstd;

/// A reader of what a file with these bytes holds, for the fuzzer.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn unpacked(bytes: Vec<u8>, caps: Caps) -> std::io::Result<impl std::io::Read> {
    Unpacked::new(std::io::Cursor::new(bytes), caps)
}

/// Where bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl Target {
    /// As it is shown, and as findings name it: the same with and without `./` before it.
    pub fn shown(&self) -> String {
        match self {
            Self::Path(path) => path.strip_prefix(".").unwrap_or(path).to_string_lossy().into_owned(),
            Self::Stdin => "<stdin>".to_owned(),
        }
    }
}

/// Why a file is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// A zero byte among the first: no text.
    Binary,
    /// A symbolic link inside of a folder.
    Symlink,
    /// A socket, a pipe, a device inside of a folder.
    Special,
}

impl Skip {
    /// The words of every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Symlink => "symbolic link",
            Self::Special => "no regular file",
        }
    }
}

/// One step of a walk.
#[derive(Debug)]
pub enum Walked {
    /// Something to read.
    Target(Target),
    /// Something to leave alone.
    Skipped(Skip),
    /// Something that cannot be looked at.
    Failed(ReadError),
}
