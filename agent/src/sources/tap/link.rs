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
//!    Names, Look (process)             ──►             any number, each with a number of its own
//!                                      ◄──  Names, Look   with that number; for coverage
//!    Stop                              ──►             at most once
//!                                      ◄──  Detached   the probes are off; Origin goes on
//!    (hangs up)                                        the attacher ends, and the probes with it
//! ```

use std::{
    ffi::OsString,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::IpAddr,
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
use crate::{
    rules::vendors::HostPattern,
    sources::{Origin, coverage::Look},
};

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
    /// Which names does the hosts file of this process have at this address?
    Names { number: u64, pid: u32, address: IpAddr },
    /// How is the TLS of this process seen?
    Look { number: u64, pid: u32 },
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
    /// Names at an address.
    Names { number: u64, names: Vec<String> },
    /// How a process is seen.
    Look { number: u64, look: Option<Look> },
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
        let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)?;
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

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read as _, Write as _, pipe},
        os::{
            fd::AsFd as _,
            unix::{ffi::OsStringExt as _, net::UnixStream},
        },
        path::PathBuf,
    };

    use super::{super::Stack, *};

    fn pair() -> (Link, Link) {
        let (here, there) = Link::pair().unwrap();
        (here, Link::inherited(there).unwrap())
    }

    /// Bytes and descriptors that no [`Link`] would send.
    fn send_raw(link: &Link, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        assert!(descriptors.is_empty() || along.push(SendAncillaryMessage::ScmRights(descriptors)));
        assert_eq!(sendmsg(&link.0, &[IoSlice::new(bytes)], &mut along, SendFlags::empty()), Ok(bytes.len()));
    }

    #[test]
    fn messages_arrive_one_by_one_with_what_comes_along() {
        let (here, there) = pair();
        let (mut end, mut other) = pipe().unwrap();
        here.send(&Ask::Origin(7), &[]).unwrap();
        here.send(&Ask::Stop, &[other.as_fd()]).unwrap();
        let first = there.receive::<Ask>().unwrap().unwrap();
        assert!(matches!(first.message, Ask::Origin(7)) && first.descriptors.is_empty());
        let second = there.receive::<Ask>().unwrap().unwrap();
        assert!(matches!(second.message, Ask::Stop));
        let [passed] = <[OwnedFd; 1]>::try_from(second.descriptors).unwrap();
        File::from(passed).write_all(b"x").unwrap();
        other.write_all(b"y").unwrap();
        drop(other);
        let mut text = String::new();
        end.read_to_string(&mut text).unwrap();
        assert_eq!(text, "xy");
    }

    #[test]
    fn lengths_are_not_believed() {
        let (here, there) = pair();
        let long = Ask::Known(OsString::from("x".repeat(MESSAGE_MAX_BYTES)));
        assert!(matches!(here.send(&long, &[]), Err(LinkError::TooLong(_))));
        send_raw(&here, &vec![b' '; MESSAGE_MAX_BYTES + 1], &[]);
        assert!(matches!(there.receive::<Ask>(), Err(LinkError::Cut)));
        // More descriptors than there is room for, behind a message that is well.
        let many = vec![there.0.as_fd(); 12];
        send_raw(&here, b"\"Stop\"", &many);
        assert!(matches!(there.receive::<Ask>(), Err(LinkError::Cut)));
        // And the longest that is allowed still goes through.
        let longest = " ".repeat(MESSAGE_MAX_BYTES - "\"Stop\"".len()) + "\"Stop\"";
        send_raw(&here, longest.as_bytes(), &[]);
        assert!(matches!(there.receive::<Ask>(), Ok(Some(Received { message: Ask::Stop, .. }))));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let (here, there) = pair();
        for text in ["{", "\"Explode\"", "{\"Origin\":-1}", "{\"Origin\":1} {}", "\0\0\0\0", "{\"Start\":{}}", "[]"] {
            send_raw(&here, text.as_bytes(), &[]);
            assert!(matches!(there.receive::<Ask>(), Err(LinkError::Malformed(_))), "{text}");
        }
        let deep = "[".repeat(60_000);
        send_raw(&here, deep.as_bytes(), &[]);
        assert!(matches!(there.receive::<Ask>(), Err(LinkError::Malformed(_))));
    }

    #[test]
    fn a_hang_up_is_heard_on_both_sides() {
        let (here, there) = pair();
        drop(here);
        assert!(there.receive::<Ask>().unwrap().is_none());
        assert!(matches!(there.send(&Ask::Stop, &[]), Err(LinkError::Io(_))));
        let (here, there) = pair();
        here.send(&Ask::Stop, &[]).unwrap();
        here.hang_up();
        assert!(here.receive::<Ask>().unwrap().is_none());
        assert!(there.receive::<Ask>().unwrap().is_some(), "what was said before still counts");
        assert!(there.receive::<Ask>().unwrap().is_none());
    }

    #[test]
    fn only_our_kind_of_socket_is_taken() {
        let (stream, _other) = UnixStream::pair().unwrap();
        assert!(Link::inherited(stream.into()).is_none());
        assert!(Link::inherited(File::open("/dev/null").unwrap().into()).is_none());
        let (_, there) = Link::pair().unwrap();
        assert_eq!(Link::inherited(there).unwrap().maker().unwrap(), std::process::id());
    }

    #[test]
    fn paths_are_bytes() {
        let library = PathBuf::from(OsString::from_vec(b"/lib/\xff\"/libssl.so.3".to_vec()));
        let (here, there) = pair();
        here.send(
            &Say::Notice(Notice::Tapped { library: library.clone(), pid: None, stacks: vec![Stack::OpenSsl] }),
            &[],
        )
        .unwrap();
        let Say::Notice(Notice::Tapped { library: arrived, .. }) = there.receive().unwrap().unwrap().message else {
            panic!("another message")
        };
        assert_eq!(arrived, library);
    }
}
