//! Where in the methods of Go's `*tls.Conn` to look. Enters: the x86-64 code of one function. Leaves: addresses in it, and where the
//! operands are there. Takes nothing on trust: a shape that is not the expected one gives another place, or none.
//!
//! Goroutines move between threads, their stacks move in memory, and a return probe breaks the program (golang/go#22008). So nothing
//! is remembered from an entry to a return. Each call is seen once, whole, at an instruction that the kernel emulates:
//!
//! - `Write` hands its bytes to `writeRecordLocked` after the handshake and under the lock of the direction. There the arguments are in
//!   the registers of Go's calls: receiver, record type 23, pointer, length (`cmd/compile/abi-internal.md`). An entry would not do:
//!   goroutines wait there for each other, and the first one may still have to shake hands, before the server's name is known.
//! - `Read` copies what has arrived by one `memmove` and then asks whether that was anything. At this jump the number is in a register.
//!   Receiver and buffer are where the caller of a Go function leaves room for them, once it is proved that the function puts them
//!   there first and nothing else after. A `Read` that waits while the probes are placed is seen like any other.
//!
//! Where a compiler made it otherwise (`-N -l`, profiles): `Write` is seen behind its stack check, and `Read` at each `ret`, with
//! receiver and buffer still in that room: right as well, but single-stepped.

use std::collections::BTreeSet;

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register, UsedMemory};
use outflow_ebpf::wire::{Operand, cookie, register};

use super::super::super::placement::{self, Function};

/// A place to look, and the cookie that says where the operands are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub at: u64,
    pub cookie: u64,
}

/// `recordTypeApplicationData`: RFC 8446, appendix B.1.
const APPLICATION_DATA: u64 = 23;
/// Where `tls.Config` has `ServerName`: since Go 1.15. Code that looks elsewhere is not what it was when this was written.
pub(super) const SERVER_NAME_AT: u64 = 128;
/// `g.stackguard0`, which each function compares its stack with: `cmd/internal/obj/x86/obj6.go`.
const STACK_GUARD_AT: u64 = 16;
/// Receiver and first word of the first argument, and where they are kept in the room for arguments.
const KEPT: [(Register, u64); 2] = [(Register::RAX, 0), (Register::RBX, 8)];
/// A frame that is larger is not that of a `Read`: it has about 100 bytes.
const FRAME_MAX_BYTES: u64 = 1 << 16;
/// Instructions within which a function compares its stack.
const CHECK_MAX: usize = 6;

/// A function with what is known of it.
pub(super) struct Body {
    instructions: Vec<Instruction>,
    targets: BTreeSet<u64>,
    /// The first instruction that runs once a call: a stack that is too small is changed before, and the function entered again.
    first: usize,
}

impl Body {
    pub(super) fn new(function: Function<'_>) -> Self {
        let instructions = placement::decode(function);
        let check = instructions.iter().take(CHECK_MAX).position(|i| {
            i.mnemonic() == Mnemonic::Cmp
                && i.memory_base() == Register::R14
                && i.memory_displacement64() == STACK_GUARD_AT
        });
        let jump = check
            .map(|check| check + 1)
            .filter(|at| instructions.get(*at).is_some_and(|instruction| instruction.mnemonic() == Mnemonic::Jbe));
        Self { targets: placement::branch_targets(&instructions), instructions, first: jump.map_or(0, |at| at + 1) }
    }

    /// Where a call begins, with `arguments` still in their registers.
    pub(super) fn entry(&self, arguments: &[Register]) -> Option<u64> {
        let mut info = InstructionInfoFactory::new();
        let plain = self.instructions.get(self.first)?.ip();
        for instruction in self.instructions.get(self.first..)? {
            if instruction.ip() != plain && self.targets.contains(&instruction.ip()) {
                break;
            }
            if placement::emulated(instruction) {
                return Some(instruction.ip());
            }
            if instruction.flow_control() != FlowControl::Next
                || arguments.iter().any(|argument| placement::writes(&mut info, instruction, *argument))
            {
                break;
            }
        }
        Some(plain)
    }

    /// Where `Write` sends: at its calls of `writeRecordLocked`, whose address is `sender`.
    pub(super) fn sends(&self, sender: Option<u64>) -> Vec<Spot> {
        let operands = |buffer, length| {
            let [tls, buffer, length] = [register::RAX, buffer, length].map(Operand::register);
            cookie::WHOLE | cookie::operands(tls, buffer, length)
        };
        let calls = self.calls_of(sender);
        let calls = calls.filter(|(index, _)| self.sets_before(*index, Register::EBX, APPLICATION_DATA));
        let spots: Vec<Spot> =
            calls.map(|(_, at)| Spot { at, cookie: operands(register::RCX, register::RDI) }).collect();
        if !spots.is_empty() {
            return spots;
        }
        let entry = self.entry(&[Register::RAX, Register::RBX, Register::RCX]);
        entry.map(|at| Spot { at, cookie: operands(register::RBX, register::RCX) }).into_iter().collect()
    }

    /// Where `Read` has received: behind its call of `copier`, which is `memmove`, or at its returns. Empty when that is not sure.
    pub(super) fn receives(&self, copier: Option<u64>) -> Vec<Spot> {
        let Some(room) = self.arguments_room() else { return Vec::new() };
        let operands = |tls, buffer, length| {
            let (tls, buffer) = (Operand::at(register::RSP, tls), Operand::at(register::RSP, buffer));
            cookie::WHOLE | cookie::READ | cookie::operands(tls, buffer, Operand::register(length))
        };
        if let (Some((at, length)), Ok(tls), Ok(buffer)) =
            (self.copied(copier), u8::try_from(room), u8::try_from(room + 8))
        {
            return vec![Spot { at, cookie: operands(tls, buffer, length) }];
        }
        // At a `ret` the return address is on top of the stack, and the caller's room above it.
        let returns = self.instructions.iter().filter(|i| i.flow_control() == FlowControl::Return);
        returns.map(|i| Spot { at: i.ip(), cookie: operands(8, 16, register::RAX) }).collect()
    }

    /// Where `makeClientHello` asks whether its configuration has a server name, with the receiver in rax; and where in the receiver the
    /// address of the configuration is.
    pub(super) fn asks_for_name(&self) -> Option<(u64, u16)> {
        let mut info = InstructionInfoFactory::new();
        let mut config: Option<(Register, u64)> = None;
        let mut asked = None;
        for instruction in self.instructions.get(self.first..)? {
            if let (Some(at), true) = (asked, instruction.is_jcc_short_or_near()) {
                let sure = placement::emulated(instruction) && !self.targets.contains(&instruction.ip());
                return sure.then_some((instruction.ip(), u16::try_from(at).ok()?));
            }
            if instruction.flow_control() != FlowControl::Next
                || placement::writes(&mut info, instruction, Register::RAX)
            {
                return None;
            }
            let reads = |base, at| {
                instruction.op0_kind() == OpKind::Memory
                    && instruction.memory_base() == base
                    && instruction.memory_index() == Register::None
                    && instruction.memory_displacement64() == at
            };
            match config {
                Some((base, at))
                    if instruction.mnemonic() == Mnemonic::Cmp
                        && reads(base, SERVER_NAME_AT + 8)
                        && immediate(instruction, 1) == Some(0) =>
                {
                    asked = Some(at);
                }
                Some((base, _)) if placement::writes(&mut info, instruction, base) => config = None,
                _ => {}
            }
            if instruction.mnemonic() == Mnemonic::Mov
                && instruction.op0_kind() == OpKind::Register
                && instruction.op1_kind() == OpKind::Memory
                && instruction.memory_base() == Register::RAX
                && instruction.memory_index() == Register::None
            {
                config = Some((instruction.op0_register(), instruction.memory_displacement64()));
            }
        }
        None
    }

    fn calls_of(&self, callee: Option<u64>) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.instructions.iter().enumerate().filter_map(move |(index, instruction)| {
            let calls = instruction.is_call_near() && Some(instruction.near_branch_target()) == callee;
            (calls && placement::emulated(instruction)).then_some((index, instruction.ip()))
        })
    }

    /// The instructions before `index` that are always passed on the way to it, last one first.
    fn straight_before(&self, index: usize) -> impl Iterator<Item = &Instruction> {
        let entered = |instruction: &Instruction| self.targets.contains(&instruction.ip());
        let behind = self.instructions.get(..=index).unwrap_or_default().iter().rev();
        behind
            .clone()
            .skip(1)
            .zip(behind)
            .take_while(move |(before, after)| before.flow_control() == FlowControl::Next && !entered(after))
            .map(|(before, _)| before)
    }

    /// The last thing put into a register before `index` is this number.
    fn sets_before(&self, index: usize, register: Register, value: u64) -> bool {
        let mut info = InstructionInfoFactory::new();
        self.straight_before(index).find(|i| placement::writes(&mut info, i, register.full_register())).is_some_and(
            |i| i.mnemonic() == Mnemonic::Mov && i.op0_register() == register && immediate(i, 1) == Some(value),
        )
    }

    /// The jump behind the one call of `copier` that asks whether anything was copied, and the register that has the number.
    fn copied(&self, copier: Option<u64>) -> Option<(u64, u8)> {
        let mut calls = self.calls_of(copier);
        let ((call, _), None) = (calls.next()?, calls.next()) else { return None };
        let mut info = InstructionInfoFactory::new();
        // The number is the third argument, which is kept on the stack meanwhile.
        let kept = self
            .straight_before(call)
            .take_while(|i| !placement::writes(&mut info, i, Register::RCX))
            .find(|i| on_stack(i, 0) && i.op1_kind() == OpKind::Register && i.op1_register() == Register::RCX)?
            .memory_displacement64();
        let mut number = None;
        let mut asked = false;
        for instruction in self.instructions.get(call + 1..)? {
            if asked && instruction.is_jcc_short_or_near() {
                let sure = matches!(instruction.mnemonic(), Mnemonic::Je | Mnemonic::Jne)
                    && placement::emulated(instruction)
                    && !self.targets.contains(&instruction.ip());
                return sure.then_some((instruction.ip(), place_of(number?)?));
            }
            if instruction.flow_control() != FlowControl::Next {
                return None;
            }
            if on_stack(instruction, 1)
                && instruction.memory_displacement64() == kept
                && instruction.op0_register().is_gpr64()
            {
                number = Some(instruction.op0_register());
            } else if number.is_some_and(|number| placement::writes(&mut info, instruction, number)) {
                number = None;
            } else if instruction.mnemonic() == Mnemonic::Test {
                asked = number.is_some()
                    && [instruction.op0_register(), instruction.op1_register()].map(Some) == [number; 2];
            } else if instruction.mnemonic() != Mnemonic::Nop {
                asked = false;
            }
        }
        None
    }

    /// How far above the stack pointer, while the function runs, the receiver is in the room that the caller left for arguments, with the
    /// first word of the first argument above it. `None` unless both are put there before anything can branch, and stay.
    fn arguments_room(&self) -> Option<u64> {
        let body = self.instructions.get(self.first..)?;
        let straight = body.iter().position(|i| i.flow_control() != FlowControl::Next)?;
        let mut info = InstructionInfoFactory::new();
        let mut frame = 0u64;
        let mut framed = false;
        let mut kept = [false; 2];
        let mut intact = [true; 2];
        for (index, instruction) in body.iter().enumerate() {
            match grows(instruction) {
                Some(bytes) if !framed && index < straight => {
                    frame = frame.checked_add(bytes).filter(|frame| *frame < FRAME_MAX_BYTES)?;
                    continue;
                }
                Some(_) => return None,
                None if !shrinks_or_calls(instruction) && placement::writes(&mut info, instruction, Register::RSP) => {
                    return None;
                }
                None => {}
            }
            let room = frame + 8;
            let takes_address = instruction.mnemonic() == Mnemonic::Lea && instruction.memory_base() == Register::RSP;
            if takes_address && (room..room.saturating_add(16)).contains(&instruction.memory_displacement64()) {
                return None;
            }
            for memory in info.info(instruction).used_memory() {
                // Go reaches its stack by the stack pointer alone.
                (memory.base() != Register::RBP).then_some(())?;
                if !touches(memory, room) {
                    continue;
                }
                // The first use of the room ends the making of the frame.
                framed = true;
                let own = KEPT.iter().position(|(argument, at)| keeps(instruction, *argument, room + at));
                match own.and_then(|own| Some((intact.get(own)?, kept.get_mut(own)?))) {
                    Some((true, kept)) if index < straight => *kept = true,
                    _ if memory.access() == OpAccess::Read => {}
                    _ => return None,
                }
            }
            for ((argument, _), intact) in KEPT.iter().zip(&mut intact) {
                *intact &= !placement::writes(&mut info, instruction, *argument);
            }
        }
        // In a smaller frame, what the way to a larger stack keeps for a second entry would look the same.
        (kept == [true; 2] && frame >= 32).then_some(frame + 8)
    }
}

/// Bytes by which an instruction of a function's beginning makes the stack grow.
fn grows(instruction: &Instruction) -> Option<u64> {
    match instruction.mnemonic() {
        Mnemonic::Push => Some(8),
        Mnemonic::Sub if instruction.op0_register() == Register::RSP => immediate(instruction, 1),
        // Add of a negative number: it takes a byte less for 128.
        Mnemonic::Add if instruction.op0_register() == Register::RSP => {
            let bytes = immediate(instruction, 1)?.cast_signed();
            (bytes < 0).then(|| bytes.unsigned_abs())
        }
        _ => None,
    }
}

/// The end of a function, or a call, after which the stack is as it was.
fn shrinks_or_calls(instruction: &Instruction) -> bool {
    matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall | FlowControl::Return)
        || instruction.mnemonic() == Mnemonic::Pop
        || (matches!(instruction.mnemonic(), Mnemonic::Add | Mnemonic::Sub) && immediate(instruction, 1).is_some())
}

/// Whether an access may touch the two words at `room` above the stack pointer.
fn touches(memory: &UsedMemory, room: u64) -> bool {
    let end = room.saturating_add(16);
    let at = memory.displacement();
    let size = memory.memory_size().size().max(1) as u64;
    // Below the stack pointer, an offset wraps around: those never reach it.
    memory.base() == Register::RSP && at < end && (memory.index() != Register::None || at.saturating_add(size) > room)
}

/// Puts an argument register into this place above the stack pointer.
fn keeps(instruction: &Instruction, argument: Register, at: u64) -> bool {
    on_stack(instruction, 0)
        && instruction.memory_displacement64() == at
        && instruction.op1_kind() == OpKind::Register
        && instruction.op1_register() == argument
}

/// A plain move whose operand of this number is a word on the stack.
fn on_stack(instruction: &Instruction, operand: u32) -> bool {
    instruction.mnemonic() == Mnemonic::Mov
        && instruction.op_kind(operand) == OpKind::Memory
        && instruction.memory_base() == Register::RSP
        && instruction.memory_index() == Register::None
        && instruction.memory_size().size() == 8
}

fn immediate(instruction: &Instruction, operand: u32) -> Option<u64> {
    instruction.try_immediate(operand).ok()
}

/// Where the kernel keeps a register.
fn place_of(register: Register) -> Option<u8> {
    Some(match register {
        Register::RAX => register::RAX,
        Register::RBX => register::RBX,
        Register::RCX => register::RCX,
        Register::RDX => register::RDX,
        Register::RSI => register::RSI,
        Register::RDI => register::RDI,
        Register::R8 => register::R8,
        Register::R9 => register::R9,
        Register::R10 => register::R10,
        Register::R11 => register::R11,
        Register::R12 => register::R12,
        Register::R13 => register::R13,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x40_0000;
    const MEMMOVE: u64 = AT + 0x1000;
    const JE: u64 = AT + 0x43;
    const RET: u64 = AT + 0x51;

    /// A `Read` in small, as Go 1.21 and later make it.
    const READ: &[u8] = &[
        0x49, 0x3b, 0x66, 0x10, // 00 cmp rsp,[r14+0x10]
        0x76, 0x4c, // 04 jbe 52
        0x55, // 06 push rbp
        0x48, 0x89, 0xe5, // 07 mov rbp,rsp
        0x48, 0x83, 0xec, 0x58, // 0a sub rsp,0x58
        0x48, 0x89, 0x44, 0x24, 0x68, // 0e mov [rsp+0x68],rax
        0x48, 0x89, 0x5c, 0x24, 0x70, // 13 mov [rsp+0x70],rbx
        0x48, 0x89, 0x4c, 0x24, 0x78, // 18 mov [rsp+0x78],rcx
        0xe8, 0xde, 0x07, 0x00, 0x00, // 1d call 800
        0x48, 0x89, 0x4c, 0x24, 0x28, // 22 mov [rsp+0x28],rcx
        0xe8, 0xd4, 0x0f, 0x00, 0x00, // 27 call 1000 (memmove)
        0x48, 0x8b, 0x4c, 0x24, 0x28, // 2c mov rcx,[rsp+0x28]
        0x48, 0x8b, 0x74, 0x24, 0x68, // 31 mov rsi,[rsp+0x68]
        0x48, 0x01, 0x8e, 0xf8, 0x02, 0x00, 0x00, // 36 add [rsi+0x2f8],rcx
        0x0f, 0x1f, 0x00, // 3d nop
        0x48, 0x85, 0xc9, // 40 test rcx,rcx
        0x74, 0x07, // 43 je 4c
        0x48, 0x8b, 0x54, 0x24, 0x70, // 45 mov rdx,[rsp+0x70]
        0x90, 0x90, // 4a nop; nop
        0x48, 0x83, 0xc4, 0x58, // 4c add rsp,0x58
        0x5d, // 50 pop rbp
        0xc3, // 51 ret
        0x48, 0x89, 0x44, 0x24, 0x08, // 52 mov [rsp+8],rax
        0x48, 0x89, 0x5c, 0x24, 0x10, // 57 mov [rsp+0x10],rbx
        0x48, 0x89, 0x4c, 0x24, 0x18, // 5c mov [rsp+0x18],rcx
        0xe8, 0x9a, 0x17, 0x00, 0x00, // 61 call 1800 (morestack)
        0x48, 0x8b, 0x44, 0x24, 0x08, // 66 mov rax,[rsp+8]
        0x48, 0x8b, 0x5c, 0x24, 0x10, // 6b mov rbx,[rsp+0x10]
        0x48, 0x8b, 0x4c, 0x24, 0x18, // 70 mov rcx,[rsp+0x18]
        0xeb, 0x89, // 75 jmp 00
    ];

    fn body(code: &[u8]) -> Body {
        Body::new(Function { address: AT, code })
    }

    /// `READ` with other bytes in some places.
    fn changed(changes: &[(usize, &[u8])]) -> Body {
        let mut code = READ.to_vec();
        for (at, bytes) in changes {
            code[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        body(&code)
    }

    fn received(tls: u8, buffer: u8, length: u8) -> u64 {
        let operands = cookie::operands(
            Operand::at(register::RSP, tls),
            Operand::at(register::RSP, buffer),
            Operand::register(length),
        );
        cookie::READ | cookie::WHOLE | operands
    }

    #[test]
    fn what_arrived_is_seen_at_the_jump_behind_the_copy() {
        let spot = Spot { at: JE, cookie: received(0x68, 0x70, register::RCX) };
        assert_eq!(body(READ).receives(Some(MEMMOVE)), [spot]);
    }

    #[test]
    fn else_it_is_seen_at_the_return() {
        let at_return = [Spot { at: RET, cookie: received(8, 16, register::RAX) }];
        let check = |what: &str, body: &Body, copier| assert_eq!(body.receives(copier), at_return, "{what}");
        check("the copier is not known", &body(READ), None);
        check("another is called", &body(READ), Some(MEMMOVE + 1));
        check("called twice", &changed(&[(0x1d, &[0xe8, 0xde, 0x0f])]), Some(MEMMOVE));
        check("the number is not kept", &changed(&[(0x22, &[0x0f, 0x1f, 0x44, 0, 0])]), Some(MEMMOVE));
        check("the number is kept elsewhere", &changed(&[(0x2c, &[0x48, 0x8b, 0x4c, 0x24, 0x30])]), Some(MEMMOVE));
        check("another number is asked for", &changed(&[(0x40, &[0x48, 0x85, 0xf6])]), Some(MEMMOVE));
        check("two numbers are asked for", &changed(&[(0x40, &[0x48, 0x85, 0xf1])]), Some(MEMMOVE));
        check("something comes between", &changed(&[(0x3d, &[0x48, 0x85, 0xc9, 0x48, 0x29, 0xc2])]), Some(MEMMOVE));
        check("asked otherwise", &changed(&[(0x43, &[0x7c])]), Some(MEMMOVE));
        check("somebody jumps in", &changed(&[(0x1d, &[0x74, 0x24, 0x90, 0x90, 0x90])]), Some(MEMMOVE));
    }

    #[test]
    fn without_the_proof_of_where_the_arguments_are_nothing_is_seen() {
        let check = |what: &str, changes: &[(usize, &[u8])]| {
            assert_eq!(changed(changes).receives(Some(MEMMOVE)), [], "{what}");
        };
        check("the receiver is not kept", &[(0x0e, &[0x0f, 0x1f, 0x44, 0, 0])]);
        check("the buffer is not kept", &[(0x13, &[0x0f, 0x1f, 0x44, 0, 0])]);
        check("the buffer is another", &[(0x0e, &[0x48, 0x89, 0xcb, 0x90, 0x90])]);
        check("the buffer changes", &[(0x45, &[0x48, 0x89, 0x54, 0x24, 0x70])]);
        check("half of it changes", &[(0x45, &[0x90, 0x89, 0x54, 0x24, 0x74])]);
        check("its address is taken", &[(0x45, &[0x48, 0x8d, 0x54, 0x24, 0x70])]);
        check("it may change by an index", &[(0x45, &[0x48, 0x89, 0x54, 0x0c, 0x70])]);
        check("it may change by another register", &[(0x45, &[0x48, 0x89, 0x54, 0x25, 0x70])]);
        check("the frame grows later", &[(0x45, &[0x48, 0x83, 0xec, 0x08, 0x90])]);
        check("the stack is another", &[(0x45, &[0x48, 0x89, 0xd4, 0x90, 0x90])]);
        check("a branch comes before", &[(0x0a, &[0x74, 0x02, 0x90, 0x90])]);
    }

    #[test]
    fn a_call_begins_behind_the_stack_check() {
        assert_eq!(body(READ).entry(&[Register::RAX]), Some(AT + 6));
        // sub rsp,0x58; then rax changes: no cheaper place.
        let plain = changed(&[(6, &[0x48, 0x83, 0xec, 0x58, 0x48, 0x31, 0xc0, 0x90])]);
        assert_eq!(plain.entry(&[Register::RAX]), Some(AT + 6));
        // A function that needs no stack has no check.
        assert_eq!(body(&[0x48, 0x89, 0xc3, 0xeb, 0x00, 0xc3]).entry(&[Register::RAX]), Some(AT + 3));
        assert_eq!(body(&[]).entry(&[Register::RAX]), None);
    }

    #[test]
    fn what_is_sent_is_seen_where_a_record_is_written() {
        let sender = AT + 0x105;
        let sent = |buffer, length| {
            let [tls, buffer, length] = [register::RAX, buffer, length].map(Operand::register);
            cookie::WHOLE | cookie::operands(tls, buffer, length)
        };
        // mov ebx,23; mov rdi,rdx; call 105; push rbp; ret
        let write = [0xbb, 23, 0, 0, 0, 0x48, 0x89, 0xd7, 0xe8, 0xf8, 0, 0, 0, 0x55, 0xc3];
        let at_call = [Spot { at: AT + 8, cookie: sent(register::RCX, register::RDI) }];
        assert_eq!(body(&write).sends(Some(sender)), at_call);
        // Not known, or a record of another kind: at the beginning.
        let mut other = write;
        other[1] = 22;
        for (code, sender) in [(write, None), (write, Some(sender + 1)), (other, Some(sender))] {
            assert_eq!(body(&code).sends(sender), [Spot { at: AT, cookie: sent(register::RBX, register::RCX) }]);
        }
    }

    #[test]
    fn the_name_is_asked_for_where_the_configuration_is_known() {
        // mov rcx,[rax+0x50]; cmp qword [rcx+0x88],0; jne +2; ret; ret
        let hello = [
            0x48, 0x8b, 0x48, 0x50, 0x48, 0x83, 0xb9, 0x88, 0, 0, 0, 0, 0x75, 0x02, 0xc3, 0xc3, 0xc3, //
        ];
        assert_eq!(body(&hello).asks_for_name(), Some((AT + 12, 0x50)));
        let check = |what: &str, at: usize, bytes: &[u8]| {
            let mut code = hello;
            code[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(body(&code).asks_for_name(), None, "{what}");
        };
        check("another word of it", 7, &[0x80]);
        check("another structure", 2, &[0x4b]);
        check("another register", 6, &[0xba]);
        check("another value", 11, &[1]);
        check("a call instead", 4, &[0xe8, 0, 0, 0, 0, 0x90, 0x90, 0x90]);
        check("the receiver goes", 0, &[0x48, 0x8b, 0x40]);
    }

    #[test]
    fn garbage_is_read_without_a_panic() {
        for seed in 0..3000u32 {
            let code: Vec<u8> = (0..96u32)
                .map(|i| (seed.wrapping_mul(2_654_435_761).wrapping_add(i * i * 40_503) >> 7) as u8)
                .collect();
            let mut mixed = READ.to_vec();
            mixed[seed as usize % READ.len()] = code[0];
            for body in [body(&code), body(&mixed)] {
                let spots = [body.sends(Some(AT)), body.receives(Some(MEMMOVE))].concat();
                assert!(spots.iter().all(|spot| (AT..AT + 200).contains(&spot.at)));
                let _ = (body.entry(&[Register::RAX]), body.asks_for_name());
            }
        }
    }
}
