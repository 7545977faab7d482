//! The kernel programs. Enters: probe hits of processes in scope. Leaves: ring records and counters. They never block, never
//! change the process, and copy nothing of a connection whose host is not listed. The circuit breaker (`breaker.rs`) is apart: it is
//! loaded alone, on demand, and is the only one that stops anything.
//!
//! From Linux 6.13 on a program with 64 bytes of stack or more (rounded up, so from 49) gets a private stack per processor,
//! although uprobe programs can be preempted: two tasks would share it (notes on OBI #3056). So no function here uses more
//! than 48 bytes, there is no per-CPU scratch, and the state of a call lives in its own entry of `ACTIVE`, which no other
//! thread touches. A unit test of the agent (`sources/tap/kernel.rs`) measures the built object.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![cfg_attr(target_arch = "bpf", expect(unreachable_pub, reason = "programs are exported by symbol, not by path"))]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod breaker;
#[cfg(target_arch = "bpf")]
mod empty;
#[cfg(target_arch = "bpf")]
mod hello;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod name;
#[cfg(target_arch = "bpf")]
mod registers;
#[cfg(target_arch = "bpf")]
mod rustls;
#[cfg(target_arch = "bpf")]
mod scope;
#[cfg(target_arch = "bpf")]
mod socket;
#[cfg(target_arch = "bpf")]
mod tls;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that no path leads here.
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
