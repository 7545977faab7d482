//! Which TLS implementations a file carries, and where to probe them. Enters: the bytes of an ELF file. Leaves: a [`Plan`] for each
//! implementation, or the reason why there is none. Reads no process; each file is looked at once.
//!
//! One file a stack. A stack's `find` gives `None` when the file does not carry it, and refuses loudly when it does but its
//! functions cannot be found for sure: a probe in the wrong place would see nothing, or break somebody's program.

mod binary;
mod boringssl;
mod contents;
mod gnutls;
mod go;
mod nss;
mod openssl;
mod rustls;
mod signatures;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(super) use self::{
    binary::{Binary, Unreadable},
    contents::read,
};

/// A place to probe, as an offset in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// What to run there.
    pub program: Program,
    /// File offset of the instruction.
    pub offset: u64,
    /// Handed to the program; the modules of `outflow_ebpf::wire` say what it means.
    pub cookie: u64,
    /// The function, for people.
    pub function: String,
    /// Where in the function, and what that costs.
    pub placed: Placed,
}

/// Why a probe costs what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Bytes from the start of the function.
    pub inside: u64,
    /// The probed instruction; empty when it cannot be read here.
    pub instruction: String,
    /// The kernel emulates it in the trap; else it single-steps it, at many times the price.
    pub emulated: bool,
}

/// The kernel programs that are put on the code of a TLS stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Program {
    /// Entry of a call of the C ABI that sends or receives: object, buffer, size.
    Enter,
    /// Entry of a call whose cookie says where its operands are.
    EnterAt,
    /// Return, at an instruction inside the function.
    Leave,
    /// Return, through the return address.
    LeaveReturn,
    /// The client names its server; the cookie is one of `wire::name`.
    Name,
    /// The same in Go.
    NameGo,
    /// As `Name`, for an object that is yet to come, on the same thread.
    NameAhead,
    /// A connection gets a key, by whose place it is known from now on.
    Key,
    /// The object ends, or begins at an address that may have been another's; the cookie is one of `wire::end`.
    Free,
}

impl Program {
    /// All of them.
    pub(super) const ALL: [Self; 9] = [
        Self::Enter,
        Self::EnterAt,
        Self::Leave,
        Self::LeaveReturn,
        Self::Name,
        Self::NameGo,
        Self::NameAhead,
        Self::Key,
        Self::Free,
    ];

    /// Name of the program in the kernel object.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Enter => "tls_enter",
            Self::EnterAt => "tls_enter_at",
            Self::Leave => "tls_leave",
            Self::LeaveReturn => "tls_leave_ret",
            Self::Name => "tls_name",
            Self::NameGo => "tls_name_go",
            Self::NameAhead => "tls_name_ahead",
            Self::Key => "tls_key",
            Self::Free => "tls_free",
        }
    }
}

/// An implementation of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stack {
    /// OpenSSL 1.1 and 3, and what has its API.
    OpenSsl,
    /// BoringSSL.
    BoringSsl,
    /// AWS-LC.
    AwsLc,
    /// GnuTLS.
    GnuTls,
    /// NSS, which sends and receives through NSPR.
    Nss,
    /// Go's `crypto/tls`.
    Go,
    /// rustls.
    Rustls,
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenSsl => "OpenSSL",
            Self::BoringSsl => "BoringSSL",
            Self::AwsLc => "AWS-LC",
            Self::GnuTls => "GnuTLS",
            Self::Nss => "NSS",
            Self::Go => "Go crypto/tls",
            Self::Rustls => "rustls",
        })
    }
}

/// How one stack of a file is tapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Which.
    pub stack: Stack,
    /// Its version, where the file tells.
    pub version: Option<String>,
    /// Where to probe. Names come before everything else on a connection, so their sites come first.
    pub sites: Vec<Site>,
}

/// A stack that is in the file and cannot be tapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{stack}: {why}")]
pub(super) struct Refusal {
    /// Which.
    pub stack: Stack,
    /// Why, for people.
    pub why: String,
}

/// What a stack's file says of a binary: nothing when the stack is not in it.
pub(super) type Found = Option<Result<Plan, Refusal>>;

/// All that look.
const STACKS: [fn(&Binary<'_>) -> Found; 6] =
    [openssl::find, boringssl::find, gnutls::find, nss::find, go::find, rustls::find];

/// The stacks of a file; empty for one that has none.
pub(super) fn inspect(file: &[u8]) -> Result<Vec<Result<Plan, Refusal>>, Unreadable> {
    let binary = Binary::parse(file)?;
    Ok(STACKS.iter().filter_map(|find| find(&binary)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_tls_has_no_stack_and_no_elf_is_an_error() {
        let shell = std::fs::read("/bin/sh").unwrap();
        assert_eq!(inspect(&shell).unwrap(), []);
        assert!(inspect(b"#!/bin/sh").is_err());
        for cut in [0, 10, 64, 200, 5000] {
            // Whatever is found in a part of a file, nothing panics.
            drop(inspect(&shell[..cut]));
        }
    }
}
