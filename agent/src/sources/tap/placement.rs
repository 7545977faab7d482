//! Where in a function to put a probe. Enters: the x86-64 code of one function. Leaves: addresses in it. Never touches a
//! process.
//!
//! The kernel emulates a probed `push`, `call`, `jmp` or conditional jump in the trap handler; any other instruction it
//! single-steps, which costs a second trap: 3 times more on bare metal, about 40 times in a nested guest (notes
//! anchors-ebpf.md §5). Debian's `SSL_write` starts with `sub`. So:
//! - the entry probe slides to the first emulated instruction that runs before an argument register changes;
//! - the return is probed at the conditional jump of the stack protector, where the return register is already final, or,
//!   for a function that only calls another (`SSL_write_ex` calls an internal one), through the return address of that
//!   other function when it starts with `push`; else through the function's own return address.
//!
//! Anything the decoder is not sure of falls back to the plain entry, which is always right.

use std::collections::BTreeSet;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

/// The first five arguments of the System V ABI.
pub(super) const C_ARGUMENTS: [Register; 5] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8];

/// A function to probe: its code, and the virtual address it is linked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function<'a> {
    /// Link-time virtual address of the first byte.
    pub address: u64,
    /// Exactly the function's bytes.
    pub code: &'a [u8],
}

/// How to see a function return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Plain probes at these addresses inside the function; exactly one is passed on each return.
    Inside(Vec<u64>),
    /// A return probe at this address: the function's own entry, or that of the function it wraps.
    Return(u64),
}

/// Where the entry probe goes: the address of an instruction at which the arguments are still in their registers.
pub(super) fn entry(function: Function<'_>, arguments: &[Register]) -> u64 {
    let instructions = decode(function);
    let targets = branch_targets(&instructions);
    let mut info = InstructionInfoFactory::new();
    for instruction in &instructions {
        // A jump back to here would fire the probe twice.
        if instruction.ip() != function.address && targets.contains(&instruction.ip()) {
            break;
        }
        if emulated(instruction) {
            return instruction.ip();
        }
        if instruction.flow_control() != FlowControl::Next
            || arguments.iter().any(|argument| writes(&mut info, instruction, *argument))
        {
            break;
        }
    }
    function.address
}

/// The instruction at an address, for people, and whether the kernel emulates it.
pub(super) fn describe(address: u64, code: &[u8]) -> Option<(String, bool)> {
    let instruction = Decoder::with_ip(64, code, address, DecoderOptions::NONE).iter().next()?;
    (!instruction.is_invalid())
        .then(|| (format!("{:?}", instruction.mnemonic()).to_lowercase(), emulated(&instruction)))
}

/// How the return is seen. `callee` gives the code of another function of the same file by its address.
pub(super) fn leave<'a>(function: Function<'a>, callee: impl Fn(u64) -> Option<&'a [u8]>) -> Leave {
    let instructions = decode(function);
    if let Some(sites) = stack_protector_jumps(function, &instructions) {
        return Leave::Inside(sites);
    }
    if let Some(target) = wrapped(&instructions)
        && let Some(code) = callee(target)
        && let Some(site) = return_site(Function { address: target, code })
    {
        return Leave::Return(site);
    }
    Leave::Return(return_site(function).unwrap_or(function.address))
}

/// The first instruction, or the second after `endbr64`, when it is an emulated one that leaves the stack pointer at the
/// return address until it runs: what a return probe replaces.
fn return_site(function: Function<'_>) -> Option<u64> {
    decode(function)
        .iter()
        .find(|instruction| instruction.mnemonic() != Mnemonic::Endbr64)
        .filter(|instruction| emulated(instruction))
        .map(Instruction::ip)
}

pub(super) fn decode(function: Function<'_>) -> Vec<Instruction> {
    Decoder::with_ip(64, function.code, function.address, DecoderOptions::NONE).iter().collect()
}

pub(super) fn branch_targets(instructions: &[Instruction]) -> BTreeSet<u64> {
    instructions
        .iter()
        .filter(|i| matches!(i.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch))
        .map(Instruction::near_branch_target)
        .collect()
}

/// What `branch_setup_xol_ops` and `push_setup_xol_ops` of the kernel emulate (arch/x86/kernel/uprobes.c), without prefixes
/// and without multi-byte nops, whose treatment changed between 6.14 and 6.18.
pub(super) fn emulated(instruction: &Instruction) -> bool {
    if instruction.has_rep_prefix() || instruction.has_repne_prefix() || instruction.segment_prefix() != Register::None
    {
        return false;
    }
    match instruction.code() {
        Code::Push_r64 | Code::Call_rel32_64 | Code::Jmp_rel8_64 | Code::Jmp_rel32_64 => true,
        _ => instruction.is_jcc_short_or_near(),
    }
}

pub(super) fn writes(info: &mut InstructionInfoFactory, instruction: &Instruction, register: Register) -> bool {
    info.info(instruction).used_registers().iter().any(|used| {
        used.register().full_register() == register && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead)
    })
}

/// For each `ret` the jump to `__stack_chk_fail` before it. `None` unless every way out of the function is covered.
fn stack_protector_jumps(function: Function<'_>, instructions: &[Instruction]) -> Option<Vec<u64>> {
    let targets = branch_targets(instructions);
    let end = function.address + function.code.len() as u64;
    let mut info = InstructionInfoFactory::new();
    let mut sites = Vec::new();
    for (index, instruction) in instructions.iter().enumerate() {
        match instruction.flow_control() {
            FlowControl::Return => {
                sites.push(protector_before(instructions, index, &targets, &mut info)?);
            }
            // A tail call leaves the function without a `ret`.
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
                if !(function.address..end).contains(&instruction.near_branch_target()) =>
            {
                return None;
            }
            FlowControl::IndirectBranch | FlowControl::XbeginXabortXend | FlowControl::Exception => return None,
            _ => {}
        }
    }
    (!sites.is_empty()).then_some(sites)
}

fn protector_before(
    instructions: &[Instruction],
    ret: usize,
    targets: &BTreeSet<u64>,
    info: &mut InstructionInfoFactory,
) -> Option<u64> {
    let mut after = ret;
    while let Some(index) = after.checked_sub(1) {
        let instruction = instructions.get(index)?;
        // Somebody jumps in behind the candidate: it would not be passed on that way.
        if targets.contains(&instructions.get(after)?.ip()) {
            return None;
        }
        if instruction.is_jcc_short_or_near() {
            let fails = ends_in_a_call(instructions, instruction.near_branch_target());
            return (fails && emulated(instruction)).then_some(instruction.ip());
        }
        if instruction.flow_control() != FlowControl::Next || writes(info, instruction, Register::RAX) {
            return None;
        }
        after = index;
    }
    None
}

/// The branch goes to a `call` with nothing but padding behind it: a function that does not return.
fn ends_in_a_call(instructions: &[Instruction], target: u64) -> bool {
    let Ok(index) = instructions.binary_search_by_key(&target, Instruction::ip) else { return false };
    let mut rest = instructions.iter().skip(index);
    rest.next().is_some_and(|instruction| instruction.flow_control() == FlowControl::Call)
        && rest.all(|instruction| matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3 | Mnemonic::Ud2))
}

/// The function is a wrapper: a straight line to one call, and after it one to a `ret` that at most turns a negative result into
/// zero.
fn wrapped(instructions: &[Instruction]) -> Option<u64> {
    let call = instructions.iter().position(|i| i.flow_control() == FlowControl::Call)?;
    let mut info = InstructionInfoFactory::new();
    let before = instructions.get(..call)?;
    let target = instructions.get(call).filter(|i| i.code() == Code::Call_rel32_64)?.near_branch_target();
    // What it does to the arguments is its own business: they were noted at its entry.
    let untouched = before.iter().all(|i| i.flow_control() == FlowControl::Next);
    let after = instructions.get(call + 1..)?;
    let ret = after.iter().position(|i| i.flow_control() == FlowControl::Return)?;
    let straight = after.get(..ret)?.iter().all(|i| {
        i.flow_control() == FlowControl::Next
            && (!writes(&mut info, i, Register::RAX) || (i.is_cmovcc() && i.op0_register() == Register::EAX))
            && (i.op0_kind() != OpKind::Memory)
    });
    let padding = after.get(ret + 1..)?.iter().all(|i| matches!(i.mnemonic(), Mnemonic::Nop | Mnemonic::Int3));
    (untouched && straight && padding).then_some(target)
}

trait Cmov {
    fn is_cmovcc(&self) -> bool;
}

impl Cmov for Instruction {
    fn is_cmovcc(&self) -> bool {
        matches!(self.mnemonic(), Mnemonic::Cmovs | Mnemonic::Cmovl | Mnemonic::Cmovle | Mnemonic::Cmovns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x1000;

    fn function(code: &[u8]) -> Function<'_> {
        Function { address: AT, code }
    }

    fn entry_of(code: &[u8]) -> u64 {
        entry(function(code), &C_ARGUMENTS)
    }

    /// sub rsp,0x18; test edx,edx; js +5; ... the shape of Debian's `SSL_write`.
    const PROTECTED: &[u8] = &[
        0x48, 0x83, 0xec, 0x18, // 1000 sub rsp,0x18
        0x85, 0xd2, // 1004 test edx,edx
        0x78, 0x0e, // 1006 js 1016
        0x8b, 0x04, 0x24, // 1008 mov eax,[rsp]
        0x48, 0x85, 0xc9, // 100b test rcx,rcx
        0x75, 0x09, // 100e jne 1019
        0x48, 0x83, 0xc4, 0x18, // 1010 add rsp,0x18
        0x31, 0xd2, // 1014... xor edx,edx is 2 bytes
        0xc3, // 1016 ret
        0x31, 0xc0, // unreachable filler
        0xe8, 0, 0, 0, 0, // 1019 call
    ];

    #[test]
    fn entry_slides_past_sub_to_the_first_jump() {
        assert_eq!(entry_of(PROTECTED), AT + 6);
    }

    #[test]
    fn entry_stays_when_an_argument_changes_first() {
        // sub rsp,8; mov rdi,rax; push rbx
        assert_eq!(entry_of(&[0x48, 0x83, 0xec, 0x08, 0x48, 0x89, 0xc7, 0x53]), AT);
        // push rbp first: already emulated
        assert_eq!(entry_of(&[0x55, 0x48, 0x89, 0xe5]), AT);
        // endbr64; push rbp
        assert_eq!(entry_of(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55]), AT + 4);
        assert_eq!(entry_of(&[]), AT);
    }

    #[test]
    fn entry_stays_when_a_loop_jumps_to_the_site() {
        // xor eax,eax; push rbx; jmp back to the push
        assert_eq!(entry_of(&[0x31, 0xc0, 0x53, 0xeb, 0xfd]), AT);
    }

    #[test]
    fn leave_takes_the_stack_protector_only_when_every_return_passes_it() {
        let jumped_behind = leave(function(PROTECTED), |_| None);
        // The js at 1006 goes to 1016, behind the protector: not every return passes it.
        assert_eq!(jumped_behind, Leave::Return(AT));
        let mut covered = PROTECTED.to_vec();
        covered[7] = 0x00; // js to the next instruction
        assert_eq!(leave(function(&covered), |_| None), Leave::Inside(vec![AT + 0xe]));
    }

    #[test]
    fn leave_of_a_wrapper_is_the_return_of_what_it_wraps() {
        // sub rsp,8; call 2000; xor edx,edx; test eax,eax; cmovs eax,edx; add rsp,8; ret
        let wrapper: &[u8] = &[
            0x48, 0x83, 0xec, 0x08, 0xe8, 0xf7, 0x0f, 0x00, 0x00, 0x31, 0xd2, 0x85, 0xc0, 0x0f, 0x48, 0xc2, 0x48, 0x83,
            0xc4, 0x08, 0xc3,
        ];
        let push: &[u8] = &[0x41, 0x54, 0x55];
        let sub: &[u8] = &[0x48, 0x83, 0xec, 0x08];
        assert_eq!(leave(function(wrapper), |at| (at == 0x2000).then_some(push)), Leave::Return(0x2000));
        assert_eq!(leave(function(wrapper), |at| (at == 0x2000).then_some(sub)), Leave::Return(AT));
        assert_eq!(entry_of(wrapper), AT + 4);
    }

    #[test]
    fn garbage_is_never_probed_inside() {
        for seed in 0..2000u32 {
            let code: Vec<u8> = (0..64u32)
                .map(|i| (seed.wrapping_mul(2_654_435_761).wrapping_add(i * i * 40_503) >> 7) as u8)
                .collect();
            let at = entry_of(&code);
            assert!((AT..AT + 64).contains(&at));
            let _ = leave(function(&code), |_| None);
        }
    }
}
