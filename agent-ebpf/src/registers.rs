//! What the registers of a probed place hold. Enters: the context of a probe, and where to look. Leaves: a number, or the word that it
//! points to in the process.

use aya_ebpf::{
    cty::c_void,
    helpers::{bpf_probe_read_kernel, bpf_probe_read_user},
};
use outflow_ebpf::wire;

/// The value of an operand: see [`wire::Operand::bits`].
#[inline(always)]
pub unsafe fn operand(ctx: *mut c_void, bits: u64) -> u64 {
    // SAFETY: the helper checks the address.
    unsafe {
        let value = register(ctx, bits & 0x1f);
        if bits & wire::Operand::DEREF == 0 {
            return value;
        }
        bpf_probe_read_user((value + (bits >> 6 & 0xff)) as *const u64).unwrap_or(0)
    }
}

/// A register by its place in `struct pt_regs`. Through a helper, since a program may look into its context only at places that
/// the verifier knows.
#[inline(always)]
pub unsafe fn register(ctx: *mut c_void, index: u64) -> u64 {
    // SAFETY: five bits stay inside `struct pt_regs` and what lies behind it on the kernel's stack; the helper checks.
    unsafe { bpf_probe_read_kernel(ctx.cast::<u8>().add((index * 8) as usize).cast::<u64>()) }.unwrap_or(0)
}
