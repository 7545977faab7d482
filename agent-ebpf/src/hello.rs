//! Whom a ClientHello wants. Enters: a packet and where its TCP payload starts. Leaves: listed, not listed, or not readable. Reads
//! field by field with `bpf_skb_load_bytes`, since the payload of a packet seldom lies in one piece; copies and keeps nothing.
//!
//! Layout: RFC 8446, sections 4.1.2 and 5.1; server_name: RFC 6066, section 3; Encrypted Client Hello: RFC 9849.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::__sk_buff,
    cty::{c_long, c_void},
    helpers::generated::{bpf_loop, bpf_skb_load_bytes},
};
use outflow_ebpf::wire::{self, breaker};

use crate::maps;

/// Not a vendor's; the other answers are those of [`breaker`].
pub const OTHER: u32 = 0;
/// Of a TLS record: type, version, length.
const RECORD_BYTES: u32 = 5;
/// From the record to the session id: record header, handshake header, version, random.
const TO_SESSION_ID: u32 = RECORD_BYTES + 4 + 2 + 32;
/// Extensions that are looked at; clients send some 20.
const EXTENSIONS_MAX: u32 = 48;
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// Reads a value of bytes alone; `None` behind the end of the packet.
#[inline(always)]
pub fn load<T: Copy>(skb: *mut __sk_buff, at: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the buffer is as long as the helper is told; it fills all of it, or says that it did not.
    unsafe {
        let read = bpf_skb_load_bytes(skb.cast(), at, value.as_mut_ptr().cast(), size_of::<T>() as u32);
        (read == 0).then(|| value.assume_init())
    }
}

#[inline(always)]
fn number(skb: *mut __sk_buff, at: u32) -> Option<u32> {
    load::<[u8; 2]>(skb, at).map(|bytes| u32::from(u16::from_be_bytes(bytes)))
}

/// Where the extensions of the hello at `at` begin and what lies behind the part of it that is here; zeros when that is not here.
/// A function of its own in the object, so that its values are not on the caller's stack.
#[inline(never)]
fn extensions(skb: *mut __sk_buff, record: u32, packet_end: u32) -> u64 {
    let Some(length) = number(skb, record + 3) else { return 0 };
    let record_end = record + RECORD_BYTES + length;
    let here = if record_end < packet_end { record_end } else { packet_end };
    let mut at = record + TO_SESSION_ID;
    let Some(session_id) = load::<u8>(skb, at) else { return 0 };
    at += 1 + u32::from(session_id);
    let Some(cipher_suites) = number(skb, at) else { return 0 };
    at += 2 + cipher_suites;
    let Some(compressions) = load::<u8>(skb, at) else { return 0 };
    at += 1 + u32::from(compressions);
    let Some(all) = number(skb, at) else { return 0 };
    at += 2;
    let end = if at + all < here { at + all } else { here };
    u64::from(at) << 32 | u64::from(end)
}

/// The walk over the extensions. `bpf_loop` verifies one step, where a loop of the compiler's would be verified step by step.
struct Walk {
    skb: *mut __sk_buff,
    at: u32,
    end: u32,
    /// Where the name is; nothing while `name_bytes` is zero. A name of zero bytes is no name.
    name: u32,
    name_bytes: u32,
    /// Not zero: there is a second hello inside.
    encrypted: u32,
}

/// One extension; 1 ends the loop.
unsafe extern "C" fn step(_step: u32, walk: *mut Walk) -> c_long {
    // SAFETY: the caller's own, for as long as its loop runs.
    let Walk { skb, at, end, .. } = unsafe { &*walk };
    let (skb, at, end) = (*skb, *at, *end);
    // An extension that is not here in full is not believed.
    let Some(head) = load::<[u8; 4]>(skb, at) else { return 1 };
    let length = u32::from(u16::from_be_bytes([head[2], head[3]]));
    let next = at + 4 + length;
    if next > end {
        return 1;
    }
    match u16::from_be_bytes([head[0], head[1]]) {
        // SAFETY: as above.
        ENCRYPTED_CLIENT_HELLO => unsafe { (*walk).encrypted = 1 },
        SERVER_NAME => {
            // The list has one name, of type 0: length of the list, type, length of the name, the name.
            let Some(entry) = load::<[u8; 5]>(skb, at + 4) else { return 1 };
            let bytes = u32::from(u16::from_be_bytes([entry[3], entry[4]]));
            if entry[2] == 0 && bytes + 5 <= length {
                // SAFETY: as above.
                unsafe {
                    (*walk).name = at + 9;
                    (*walk).name_bytes = bytes;
                }
            }
        }
        _ => {}
    }
    // SAFETY: as above.
    unsafe { (*walk).at = next };
    0
}

/// Judges the ClientHello whose record starts at `record`.
#[inline(never)]
pub fn judge(skb: *mut __sk_buff, record: u32, packet_end: u32) -> u32 {
    let place = extensions(skb, record, packet_end);
    let mut walk = Walk { skb, at: (place >> 32) as u32, end: place as u32, name: 0, name_bytes: 0, encrypted: 0 };
    // SAFETY: the callback gets what it wants, and it lives longer than the loop.
    unsafe { bpf_loop(EXTENSIONS_MAX, step as *mut c_void, (&raw mut walk).cast(), 0) };
    let bytes = walk.name_bytes;
    if bytes == 0 || bytes > wire::NAME as u32 {
        return breaker::UNREADABLE;
    }
    if listed(skb, walk.name, bytes) {
        return breaker::VENDOR;
    }
    // The name outside is only the one of whoever decrypts the name inside.
    if walk.encrypted != 0 { breaker::UNREADABLE } else { OTHER }
}

/// Whether the name of so many bytes at this place is listed.
#[inline(never)]
fn listed(skb: *mut __sk_buff, name: u32, bytes: u32) -> bool {
    maps::is_listed(bytes, |at| load::<u8>(skb, name + at))
}
