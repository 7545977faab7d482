//! Maps and settings shared by the programs. Nothing enters or leaves by itself.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use core::arch::asm;
use outflow_ebpf::{
    hash,
    wire::{self, Conn, ConnKey, Outcome, host},
};

/// A thread's TLS call in one direction, between its entry and its return. Only that thread touches it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Active {
    /// Zero between calls.
    pub tls: u64,
    pub buffer: u64,
    /// Where the `_ex` flavours write the length.
    pub length_at: u64,
    /// Cookie of the entry; the return has the same.
    pub meaning: u64,
    /// The same of the call within which this one was made; zero when there is none.
    pub outer_tls: u64,
    pub outer_buffer: u64,
    pub outer_length_at: u64,
    pub outer_meaning: u64,
    // From here on filled at the return, for the copy loop.
    pub conn: u64,
    /// Stream position of the first byte of the call.
    pub base: u64,
    pub total: u64,
    /// Bytes of the call to copy.
    pub limit: u64,
    /// Bytes of the call handled so far.
    pub done: u64,
    /// First loss of the call as an `Outcome`, or `Copied` or `Peeked`.
    pub outcome: u32,
    pub direction: u32,
    pub flags: u32,
    pub tgid: u32,
    /// Records of the call that were handed over.
    pub records: u64,
    /// The next of the slices that the call is made of; zero when `buffer` is all of it.
    pub chunk_at: u64,
    /// Bytes of the slice in `buffer` that are not handled yet.
    pub chunk_left: u64,
    /// Bytes of the slices from `chunk_at` on that were no part of the call.
    pub chunk_skip: u64,
    /// The name of the server whose connection this thread is about to give a key; zero when there is none.
    pub name_at: u64,
    pub name_length: u64,
    /// When that was, on the monotonic clock.
    pub name_ns: u64,
}

/// Rewritten by the loader before the programs are loaded.
#[unsafe(no_mangle)]
pub static SCOPE_TREE: u32 = 0;
#[unsafe(no_mangle)]
pub static SCOPE_CGROUP: u64 = 0;
#[unsafe(no_mangle)]
pub static SCOPE_CGROUP_LEVEL: u32 = 0;
#[unsafe(no_mangle)]
pub static AGENT_TGID: u32 = 0;
/// The process that reads the ring; the same as above, unless the attaching process is one of its own.
#[unsafe(no_mangle)]
pub static READER_TGID: u32 = 0;
#[unsafe(no_mangle)]
pub static PEEK_BYTES: u32 = 0;
#[unsafe(no_mangle)]
pub static CALL_CAP: u64 = 0;
/// Not zero: the head of a request to a host that is not listed is read too, to know an LLM call by its path.
#[unsafe(no_mangle)]
pub static DISCOVER: u32 = 0;
/// Offsets of kernel struct members, from the running kernel's BTF.
#[unsafe(no_mangle)]
pub static TASK_TGID: u32 = 0;
#[unsafe(no_mangle)]
pub static TASK_SIGNAL: u32 = 0;
#[unsafe(no_mangle)]
pub static SIGNAL_LIVE: u32 = 0;
#[unsafe(no_mangle)]
pub static SOCKET_FAMILY: u32 = 0;
#[unsafe(no_mangle)]
pub static SOCKET_PORT: u32 = 0;
#[unsafe(no_mangle)]
pub static SOCKET_ADDRESS: u32 = 0;
#[unsafe(no_mangle)]
pub static SOCKET_ADDRESS6: u32 = 0;

/// Values to insert before the fields are filled in place: building them on the stack would cost too much of it.
pub static NEW_ACTIVE: Active = Active {
    tls: 0,
    buffer: 0,
    length_at: 0,
    meaning: 0,
    outer_tls: 0,
    outer_buffer: 0,
    outer_length_at: 0,
    outer_meaning: 0,
    conn: 0,
    base: 0,
    total: 0,
    limit: 0,
    done: 0,
    outcome: 0,
    direction: 0,
    flags: 0,
    tgid: 0,
    records: 0,
    chunk_at: 0,
    chunk_left: 0,
    chunk_skip: 0,
    name_at: 0,
    name_length: 0,
    name_ns: 0,
};
pub static NEW_CONN: Conn = Conn { id: 0, sent: 0, received: 0, verdict: 0, peeked: 0 };

#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(16 << 20, 0);
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(wire::COUNTERS, 0);
/// Calls, by thread and direction.
#[map]
pub static ACTIVE: HashMap<u64, Active> = HashMap::with_max_entries(16_384, 0);
#[map]
pub static CONNS: HashMap<ConnKey, Conn> = HashMap::with_max_entries(16_384, 0);
/// Verdicts that the agent found out from a request head, by connection id.
#[map]
pub static VERDICTS: HashMap<u64, u32> = HashMap::with_max_entries(16_384, 0);
/// Processes in scope by tree.
#[map]
pub static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(32_768, 0);
/// Listed hosts by name hash.
#[map]
pub static HOSTS: HashMap<u64, u32> = HashMap::with_max_entries(8_192, 0);
/// Slot 0: next connection id. Slot 1: the reader sleeps and wants to be woken.
#[map]
pub static STATE: Array<u64> = Array::with_max_entries(2, 0);

const NEXT_CONN: u32 = 0;
const READER_ASLEEP: u32 = 1;

/// A host's name of so many bytes, or a suffix of it that starts after a dot, is in the table of hosts. Reads from last to first byte;
/// a name that has a byte which cannot be read is not listed.
#[inline(always)]
pub fn is_listed(bytes: u32, byte_at: impl Fn(u32) -> Option<u8>) -> bool {
    let mut hash = hash::START;
    let mut left = bytes;
    for _ in 0..wire::NAME {
        if left == 0 {
            break;
        }
        left -= 1;
        let Some(byte) = byte_at(left) else { return false };
        if byte == b'.' && entry(hash) & host::SUFFIX != 0 {
            return true;
        }
        hash = hash::step(hash, byte);
    }
    entry(hash) & host::EXACT != 0
}

#[inline(always)]
fn entry(hash: u64) -> u32 {
    // SAFETY: a live map value that the programs only read.
    HOSTS.get_ptr(hash).map_or(0, |bits| unsafe { *bits })
}

/// Reads a setting; volatile, since the loader rewrites it after compilation.
#[inline(always)]
pub fn setting<T: Copy>(value: &'static T) -> T {
    // SAFETY: a shared reference to a static is valid for reads.
    unsafe { core::ptr::read_volatile(value) }
}

/// Adds atomically and gives the value before. `core` has no `fetch_add` for a target without compare-and-swap; the
/// instruction is BPF_ATOMIC | BPF_FETCH (instruction set document, section 5.3), in kernels since 5.12.
#[inline(always)]
pub unsafe fn fetch_add(at: *mut u64, amount: u64) -> u64 {
    let mut value = amount;
    // SAFETY: the caller hands an aligned pointer to a live map value.
    unsafe {
        asm!("{value} = atomic_fetch_add((u64 *)({at} + 0), {value})", at = in(reg) at, value = inout(reg) value)
    };
    value
}

/// Adds to a counter. Atomic, because a task can be preempted between the load and the store.
#[inline(always)]
pub fn add(slot: u32, amount: u64) {
    if let Some(counter) = COUNTERS.get_ptr_mut(slot) {
        // SAFETY: the map hands out aligned pointers to live values.
        unsafe { fetch_add(counter, amount) };
    }
}

/// Counts bytes under an outcome.
#[inline(always)]
pub fn add_bytes(outcome: Outcome, bytes: u64) {
    add(outcome.index() + 1, bytes);
}

/// A connection id that was never used.
#[inline(always)]
pub fn next_conn() -> u64 {
    match STATE.get_ptr_mut(NEXT_CONN) {
        // SAFETY: as in `add`.
        Some(next) => unsafe { fetch_add(next, 1) + 1 },
        None => 0,
    }
}

/// Submit flags: wake the reader when it sleeps; while it is busy it looks by itself, and a wake-up a record would cost more
/// than the record.
#[inline(always)]
pub fn wake() -> u64 {
    let Some(asleep) = STATE.get_ptr_mut(READER_ASLEEP) else { return 0 };
    // SAFETY: a live map value; a lost race only wakes the reader twice.
    unsafe {
        if core::ptr::read_volatile(asleep) == 0 {
            return u64::from(BPF_RB_NO_WAKEUP);
        }
        core::ptr::write_volatile(asleep, 0);
    }
    u64::from(BPF_RB_FORCE_WAKEUP)
}
