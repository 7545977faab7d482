//! One of the two files of this crate that hold `unsafe` (the other: `exchange/lanes/x86.rs`): promises that the types of others cannot make for themselves, and the few
//! commands of bpf(2) that aya has no words for, and one of the allocator. Enters: wire types, descriptor owners, programs and probe sites. Leaves: the same,
//! usable from safe code, and owned descriptors. Never keeps a pointer past a call.
#![expect(
    unsafe_code,
    reason = "aya wants a Pod promise on our own types, lends descriptors only as numbers, and has no uprobe_multi"
)]

use std::{
    ffi::CStr,
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya_obj::generated::{
    BPF_F_UPROBE_MULTI_RETURN, bpf_attach_type::BPF_TRACE_UPROBE_MULTI, bpf_attr, bpf_cmd, bpf_insn,
    bpf_prog_type::BPF_PROG_TYPE_KPROBE,
};
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

/// Gives free memory back to the system, where the program allocates with mimalloc. That does so by itself, but not while its threads have nothing
/// to do: what reading the rules took stays with an agent that waits.
pub(crate) fn give_memory_back() {
    // SAFETY: it takes no pointer. It frees pages without blocks in use, of this thread's heap and of the arenas, under their own locks
    // (mi_collect of mimalloc's v3/src/theap.c).
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// Lends the descriptor of an owner that gives it only as a number.
pub(super) fn borrow(owner: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the result borrows the owner, which keeps the descriptor open.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// The kernel is busy loading programs and asks to be asked again: libbpf gives it as many chances.
const LOAD_TRIES: u32 = 5;

/// A program for `uprobe_multi` links, ready to be loaded.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    /// For people; the kernel keeps 15 bytes of it.
    pub name: &'a str,
    /// Map descriptors and calls are filled in already.
    pub instructions: &'a [bpf_insn],
    /// `GPL`: most helpers ask for it.
    pub license: &'a CStr,
    /// Types of its functions, which the kernel wants to know of a program with a callback.
    pub types: Option<Types<'a>>,
}

/// Types of a program's functions.
#[derive(Clone, Copy)]
pub(super) struct Types<'a> {
    /// The object's types, loaded by [`load_types`].
    pub btf: BorrowedFd<'a>,
    /// `struct bpf_func_info` records.
    pub functions: &'a [u8],
    /// Size of each.
    pub record_bytes: u32,
}

/// Loads BTF; `BPF_BTF_LOAD`.
pub(super) fn load_types(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    // SAFETY: a union of integers alone, all zero.
    let load = unsafe { &mut attributes.__bindgen_anon_7 };
    load.btf = address(btf.as_ptr());
    load.btf_size = count(btf.len())?;
    // SAFETY: the kernel reads as many bytes as `btf` has, and answers with a new descriptor.
    unsafe { descriptor(bpf_cmd::BPF_BTF_LOAD, &mut attributes) }
}

/// Loads a program that may only be attached by [`link`]; `BPF_PROG_LOAD`.
pub(super) fn load_probe(probe: Probe<'_>) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    // SAFETY: a union of integers alone, all zero.
    let load = unsafe { &mut attributes.__bindgen_anon_3 };
    load.prog_type = BPF_PROG_TYPE_KPROBE as u32;
    load.expected_attach_type = BPF_TRACE_UPROBE_MULTI as u32;
    load.insns = address(probe.instructions.as_ptr());
    load.insn_cnt = count(probe.instructions.len())?;
    load.license = address(probe.license.as_ptr());
    // The last byte stays zero.
    let room = load.prog_name.len() - 1;
    for (to, from) in load.prog_name.iter_mut().take(room).zip(probe.name.bytes()) {
        *to = from.cast_signed();
    }
    if let Some(Types { btf, functions, record_bytes }) = probe.types {
        load.prog_btf_fd = btf.as_raw_fd().cast_unsigned();
        load.func_info = address(functions.as_ptr());
        load.func_info_rec_size = record_bytes;
        load.func_info_cnt = count(functions.len())?.checked_div(record_bytes).unwrap_or(0);
    }
    let mut tries = 1;
    loop {
        // SAFETY: the slices of `probe` outlive the call, the kernel reads as much of each as the count beside it says, and
        // answers with a new descriptor.
        match unsafe { descriptor(bpf_cmd::BPF_PROG_LOAD, &mut attributes) } {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < LOAD_TRIES => tries += 1,
            result => return result,
        }
    }
}

/// Places a program at sites of a file, all or none; they go with the last copy of the descriptor. `BPF_LINK_CREATE` for
/// `BPF_TRACE_UPROBE_MULTI`. `sites` are offsets in the file and cookies, as long as each other.
pub(super) fn link(
    program: BorrowedFd<'_>,
    file: &CStr,
    sites: (&[u64], &[u64]),
    at_return: bool,
) -> io::Result<OwnedFd> {
    let (offsets, cookies) = sites;
    if offsets.len() != cookies.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut attributes = zeroed();
    // SAFETY: a union of integers alone, all zero.
    let create = unsafe { &mut attributes.link_create };
    create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    create.attach_type = BPF_TRACE_UPROBE_MULTI as u32;
    // SAFETY: as above.
    let multi = unsafe { &mut create.__bindgen_anon_3.uprobe_multi };
    multi.path = address(file.as_ptr());
    multi.offsets = address(offsets.as_ptr());
    multi.cookies = address(cookies.as_ptr());
    multi.cnt = count(offsets.len())?;
    multi.flags = if at_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 };
    // SAFETY: the path ends with a zero byte, both slices have `cnt` numbers, all outlive the call; it answers with a new
    // descriptor.
    unsafe { descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attributes) }
}

fn zeroed() -> bpf_attr {
    // SAFETY: every member is made of integers, for which zero is a value.
    unsafe { mem::zeroed() }
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

fn count(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(io::Error::other)
}

/// Calls bpf(2).
///
/// # Safety
/// What `attributes` point to must be there for as long as the call takes and be as large as they say, and `command` must be one
/// that answers with a new descriptor.
unsafe fn descriptor(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise; the kernel takes the size of the union from the last argument.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, &raw mut *attributes, size_of::<bpf_attr>()) };
    match i32::try_from(answer) {
        // SAFETY: a new descriptor, which nobody else has.
        Ok(new) if new >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(new) }),
        _ => Err(io::Error::last_os_error()),
    }
}
