//! What the two processes of the tap say to each other, and how. Enters and leaves: messages on a socket pair, one JSON value
//! each, some with descriptors. Neither side believes the other's lengths: a message longer than [`MESSAGE_MAX_BYTES`], one that
//! is no message, or more descriptors than there are maps is an error, and never more than that.
//!
//! ```text
//!  reader                                   attacher
//!    Hosts, Known (any number), Start  ──►             once
//!                                      ◄──  Notice     any number, from now on
//!                                      ◄──  Ready + descriptors of the maps, or Failed
//!    Origin(process)                   ──►             any number
//!                                      ◄──  Origin
//!    Stop                              ──►             at most once
//!                                      ◄──  Detached   the probes are off; Origin goes on
//!    (hangs up)                                        the attacher ends, and the probes with it
//! ```

use std::{
    ffi::OsString,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown, socketpair,
        sockopt,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Notice, Scope, Settings, maps};
use crate::{rules::vendors::HostPattern, sources::Origin};

/// Longest message; the kernel's default socket buffer takes three of them.
pub(super) const MESSAGE_MAX_BYTES: usize = 64 << 10;

/// What the reader says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Some of the listed hosts.
    Hosts(Vec<HostPattern>),
    /// A library that processes in scope will map.
    Known(OsString),
    /// All is said: attach.
    Start { scope: Scope, settings: Settings },
    /// Who is this process?
    Origin(u32),
    /// Take the probes off.
    Stop,
}

/// What the attacher says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Say {
    /// News about coverage.
    Notice(Notice),
    /// Attached; the descriptors come along, in the order of [`maps::Maps::descriptors`].
    Ready,
    /// Not attached.
    Failed { why: String, permission: bool },
    /// Who a process is.
    Origin(Origin),
    /// The probes are off.
    Detached,
}

/// Why the other side cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket.
    #[error("the socket to the other process fails: {0}")]
    Io(#[from] io::Error),
    /// More than a message may hold was to be said.
    #[error("a message of {0} bytes is longer than the other process would take")]
    TooLong(usize),
    /// The other side said more than a message may hold.
    #[error("the other process sent a message that is too long, or too many descriptors")]
    Cut,
    /// The other side said what this side does not understand.
    #[error("the other process sent no message of this program: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The other side said something out of turn.
    #[error("the other process said {0} out of turn")]
    OutOfTurn(&'static str),
    /// The other side hung up before it was done.
    #[error("it ended before it was ready")]
    HungUp,
}

/// A message with what came along.
#[derive(Debug)]
pub(super) struct Received<T> {
    pub message: T,
    pub descriptors: Vec<OwnedFd>,
}

/// One end of the socket pair; threads may share it.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl Link {
    /// Both ends. `SOCK_SEQPACKET` keeps messages apart and says when one does not fit (unix(7)).
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (here, there) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(io::Error::from)?;
        Ok((Self(here), there))
    }

    /// The end that another process passed on; `None` when it is something else.
    pub(super) fn inherited(descriptor: OwnedFd) -> Option<Self> {
        let is_ours = sockopt::socket_domain(&descriptor) == Ok(AddressFamily::UNIX)
            && sockopt::socket_type(&descriptor) == Ok(SocketType::SEQPACKET);
        is_ours.then_some(Self(descriptor))
    }

    /// The process that made the pair, in the kernel's word (`SO_PEERCRED`).
    pub(super) fn maker(&self) -> io::Result<u32> {
        Ok(sockopt::socket_peercred(&self.0)?.pid.as_raw_nonzero().get().cast_unsigned())
    }

    /// Says something; waits while the other side has not taken in what was said before.
    pub(super) fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        self.write(message, descriptors, SendFlags::NOSIGNAL)
    }

    /// Says something, or fails when that would mean to wait.
    pub(super) fn send_now(&self, message: &impl Serialize) -> Result<(), LinkError> {
        self.write(message, &[], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn write(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> Result<(), LinkError> {
        let text = serde_json::to_vec(message)?;
        if text.len() > MESSAGE_MAX_BYTES {
            return Err(LinkError::TooLong(text.len()));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(maps::COUNT))];
        loop {
            let mut along = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !along.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(LinkError::TooLong(text.len()));
            }
            match sendmsg(&self.0, &[IoSlice::new(&text)], &mut along, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    /// Waits for what the other side says; `None` when it has hung up.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> Result<Option<Received<T>>, LinkError> {
        let mut text = vec![0; MESSAGE_MAX_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(maps::COUNT))];
        let mut along = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut along, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                // It ended with something of ours unread.
                Err(Errno::CONNRESET) => return Ok(None),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        };
        let mut descriptors = Vec::new();
        for part in along.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                descriptors.extend(rights);
            }
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(LinkError::Cut);
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(text.get(..received.bytes).unwrap_or_default())?;
        Ok(Some(Received { message, descriptors }))
    }

    /// Ends the talk for both sides, and for every thread that waits in it.
    pub(super) fn hang_up(&self) {
        // Whoever has hung up before us is just as gone.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

/// Paths as the bytes that they are: a process may name its library as it likes.
pub(super) mod path {
    use std::{ffi::OsString, path::PathBuf};

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ptr_arg, reason = "serde hands over a reference to the field")]
    pub(in super::super) fn serialize<S: Serializer>(path: &PathBuf, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        OsString::deserialize(deserializer).map(PathBuf::from)
    }
}
