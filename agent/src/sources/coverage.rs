//! What the tap cannot see, as the later rooms need it. Enters and leaves: plain facts about one process that talks to a vendor. No
//! byte of what it says is known here, that being the point.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Origin;
use crate::units::Timestamp;

/// How the TLS of one mapped file is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum How {
    /// It can be tapped; in a running tap, it is.
    Attached {
        /// The TLS stack, for people.
        stack: String,
    },
    /// It is of a kind that can be tapped, and this one cannot be.
    Refused {
        /// The TLS stack, for people.
        stack: String,
        /// Why, for people.
        why: String,
    },
    /// It is of a kind that is not tapped.
    NotSeen {
        /// The TLS stack, for people, as far as marks in the file tell.
        stack: String,
    },
}

/// A file with TLS in it that a process has mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFile {
    /// Its name, as the process knows it; for people.
    pub file: String,
    /// How it is seen.
    #[serde(flatten)]
    pub how: How,
}

/// One process, looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Who it is.
    pub origin: Origin,
    /// Its executable; for people.
    pub executable: String,
    /// Device and inode of the executable.
    pub inode: (u64, u64),
    /// Its mapped files with TLS in them.
    pub files: Vec<TlsFile>,
}

/// How a vendor's address was known for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// The process's own hosts file says so.
    HostsFile,
    /// A connection that was tapped went there.
    Connection,
    /// The resolver says so, because somebody asked for that.
    Resolver,
}

/// How sure it is, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// Tapped.
    Attached,
    /// A TLS stack that could be tapped in another form, and there is no other in the process.
    Refused,
    /// A TLS stack that is not tapped, and there is no other in the process.
    NotSeen,
    /// A file that is tapped stands beside one that is not; which one it used cannot be told.
    InPart,
    /// No TLS stack is found in the process.
    Unknown,
}

/// A process talks to a vendor, and the tap did not see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// When it connected.
    pub at: Timestamp,
    /// The process.
    pub look: Look,
    /// Hosts of vendors at the address; never empty, and more than one when they share it.
    pub hosts: Vec<String>,
    /// The address.
    pub to: SocketAddr,
    /// How the address was known.
    pub known_by: KnownBy,
}

impl Look {
    /// How the process as a whole is seen.
    pub fn seen(&self) -> Seen {
        let is = |wanted: fn(&How) -> bool| self.files.iter().any(|file| wanted(&file.how));
        let attached = is(|how| matches!(how, How::Attached { .. }));
        let refused = is(|how| matches!(how, How::Refused { .. }));
        let not_seen = is(|how| matches!(how, How::NotSeen { .. }));
        match (attached, refused, not_seen) {
            (true, false, false) => Seen::Attached,
            (true, _, _) => Seen::InPart,
            (false, true, _) => Seen::Refused,
            (false, false, true) => Seen::NotSeen,
            (false, false, false) => Seen::Unknown,
        }
    }

    /// The file that says most about why the process is not seen.
    pub fn culprit(&self) -> Option<&TlsFile> {
        let rank = |file: &&TlsFile| match file.how {
            How::Refused { .. } => 0,
            How::NotSeen { .. } => 1,
            How::Attached { .. } => 2,
        };
        self.files.iter().min_by_key(rank).filter(|file| !matches!(file.how, How::Attached { .. }))
    }
}

impl How {
    /// The TLS stack, for people.
    pub fn stack(&self) -> &str {
        match self {
            Self::Attached { stack } | Self::Refused { stack, .. } | Self::NotSeen { stack } => stack,
        }
    }
}
