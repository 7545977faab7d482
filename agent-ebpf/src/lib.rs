//! Wire types between the kernel programs and the agent. Enters and leaves: ring records and map values, integers only, no
//! padding. The kernel programs are in `main.rs` and are built for the BPF target by `cargo xtask build-ebpf`.
#![no_std]
#![cfg_attr(not(target_arch = "bpf"), forbid(unsafe_code))]

pub mod hash;
pub mod wire;
