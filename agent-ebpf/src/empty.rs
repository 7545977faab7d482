//! Programs that do nothing. Enters and leaves: nothing. The benchmark of the tap loads them, to learn what the kernel itself charges for a
//! probe; the agent never does.

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

/// At an instruction.
#[uprobe]
pub fn empty(_ctx: ProbeContext) -> u32 {
    0
}

/// At a return address.
#[uretprobe]
pub fn empty_ret(_ctx: RetProbeContext) -> u32 {
    0
}
