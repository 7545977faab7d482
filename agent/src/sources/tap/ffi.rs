//! The one file of this crate that holds `unsafe`: promises that the types of others cannot make for themselves. Enters:
//! wire types and descriptor owners. Leaves: the same, usable from safe code.
#![expect(unsafe_code, reason = "aya wants a Pod promise on our own types, and lends descriptors only as numbers")]

use std::os::fd::{AsRawFd, BorrowedFd};

use outflow_ebpf::wire::{Conn, ConnKey};

/// Key of the connection table.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(pub ConnKey);

/// Entry of the connection table.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Value(pub Conn);

// SAFETY: `repr(C)` integers without padding, pinned by the asserts in `outflow_ebpf::wire`.
unsafe impl aya::Pod for Key {}
// SAFETY: as above.
unsafe impl aya::Pod for Value {}

/// Lends the descriptor of an owner that gives it only as a number.
pub(super) fn borrow(owner: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the result borrows the owner, which keeps the descriptor open.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}
