//! Follows a function's arguments through its code. Enters: where the function starts, the code around it, what its registers hold.
//! Leaves: its instructions, each with what the registers hold before it. Runs nothing, and is bounded whatever the code is.
//!
//! The order of a Rust structure's fields is the compiler's choice, so where a field lies is read off the code that uses it. That
//! needs no more than this: which register holds an argument, a word that an argument points to, or what a call gave back. Where two
//! ways meet with different values, nothing is known.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

/// Steps that may be taken in one file; rustls's functions need a tenth of it.
pub(super) const STEPS_MAX: usize = 1 << 18;
/// Words of the stack frame that are remembered.
const FRAME_WORDS_MAX: usize = 64;
/// Bytes that an instruction may have.
const INSTRUCTION_BYTES_MAX: usize = 15;
const REGISTERS: usize = 16;

/// The registers of the System V ABI that carry arguments.
pub(super) const ARGUMENTS: [Register; 4] = [Register::RDI, Register::RSI, Register::RDX, Register::RCX];
/// Registers that a call may change.
const VOLATILE: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// What a register holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Value {
    /// Anything.
    #[default]
    Unknown,
    /// An argument plus a number of bytes.
    Argument { index: u8, plus: i64 },
    /// The word at that many bytes behind an argument.
    Word { index: u8, at: i64 },
    /// The word at `slot` of what that word points to: a method of a trait object, when the word is its vtable.
    Method { index: u8, at: i64, slot: i64 },
    /// The stack pointer at the entry plus a number of bytes.
    Frame(i64),
    /// What the last call through a pointer gave back in the first register, and in the second.
    Result,
    /// See [`Value::Result`].
    Second,
}

/// The general registers, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    registers: [Value; REGISTERS],
    frame: BTreeMap<i64, Value>,
}

impl State {
    /// At an entry: the arguments are what they are.
    pub(super) fn entry() -> Self {
        let mut index = 0;
        Self::with(|_| {
            index += 1;
            Value::Argument { index: index - 1, plus: 0 }
        })
    }

    /// At the entry of a function that is called from here.
    pub(super) fn callee(&self) -> Self {
        Self::with(|register| match self.of(register) {
            value @ (Value::Argument { .. } | Value::Word { .. }) => value,
            _ => Value::Unknown,
        })
    }

    fn with(mut argument: impl FnMut(Register) -> Value) -> Self {
        let mut state = Self { registers: [Value::Unknown; REGISTERS], frame: BTreeMap::new() };
        for register in ARGUMENTS {
            state.set(register, argument(register));
        }
        state.set(Register::RSP, Value::Frame(0));
        state
    }

    /// What a 64-bit register holds.
    pub(super) fn of(&self, register: Register) -> Value {
        number(register).and_then(|number| self.registers.get(number)).copied().unwrap_or_default()
    }

    fn set(&mut self, register: Register, value: Value) {
        if let Some(slot) = number(register).and_then(|number| self.registers.get_mut(number)) {
            *slot = value;
        }
    }

    /// The address of an instruction's memory operand.
    pub(super) fn address(&self, instruction: &Instruction) -> Value {
        if !is_plain(instruction) {
            return Value::Unknown;
        }
        shifted(self.of(instruction.memory_base()), instruction.memory_displacement64().cast_signed())
    }

    /// What a 64-bit operand of an instruction holds.
    pub(super) fn operand(&self, instruction: &Instruction, operand: u32) -> Value {
        match instruction.op_kind(operand) {
            OpKind::Register => self.of(instruction.op_register(operand)),
            OpKind::Memory
                if is_plain(instruction)
                    && let Value::Word { index, at } = self.of(instruction.memory_base()) =>
            {
                Value::Method { index, at, slot: instruction.memory_displacement64().cast_signed() }
            }
            OpKind::Memory => match self.address(instruction) {
                Value::Argument { index, plus } => Value::Word { index, at: plus },
                Value::Frame(at) => self.frame.get(&at).copied().unwrap_or_default(),
                _ => Value::Unknown,
            },
            _ => Value::Unknown,
        }
    }

    fn store(&mut self, address: Value, bytes: i64, value: Value) {
        let Value::Frame(at) = address else { return };
        self.frame.retain(|word, _| word.saturating_add(8) <= at || *word >= at.saturating_add(bytes));
        if bytes == 8 && value != Value::Unknown && self.frame.len() < FRAME_WORDS_MAX {
            self.frame.insert(at, value);
        }
    }

    /// What is known on this way and on the other.
    fn meet(&mut self, other: &Self) -> bool {
        let before = self.clone();
        for (mine, others) in self.registers.iter_mut().zip(&other.registers) {
            if mine != others {
                *mine = Value::Unknown;
            }
        }
        self.frame.retain(|word, value| other.frame.get(word) == Some(value));
        *self != before
    }

    fn after(mut self, info: &mut InstructionInfoFactory, instruction: &Instruction) -> Self {
        match instruction.code() {
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64 => {
                let value = self.operand(instruction, 1);
                if instruction.op0_kind() == OpKind::Memory {
                    let address = self.address(instruction);
                    self.store(address, 8, value);
                } else {
                    self.set(instruction.op0_register(), value);
                }
            }
            Code::Lea_r64_m => {
                let value = self.address(instruction);
                self.set(instruction.op0_register(), value);
            }
            _ if instruction.mnemonic() == Mnemonic::Push => {
                let value = self.operand(instruction, 0);
                self.push(value);
            }
            Code::Pop_r64 => {
                let Value::Frame(at) = self.of(Register::RSP) else { return self };
                let value = self.frame.get(&at).copied().unwrap_or_default();
                self.set(instruction.op0_register(), value);
                self.set(Register::RSP, Value::Frame(at.wrapping_add(8)));
            }
            _ if is_add_of_number(instruction) => {
                let by = instruction.immediate(1).cast_signed();
                let by = if instruction.mnemonic() == Mnemonic::Sub { by.wrapping_neg() } else { by };
                let value = shifted(self.of(instruction.op0_register()), by);
                self.set(instruction.op0_register(), value);
            }
            _ if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) => {
                for register in VOLATILE {
                    self.set(register, Value::Unknown);
                }
                if instruction.flow_control() == FlowControl::IndirectCall && !instruction.is_ip_rel_memory_operand() {
                    self.set(Register::RAX, Value::Result);
                    self.set(Register::RDX, Value::Second);
                }
            }
            _ => self.overwrite(info, instruction),
        }
        self
    }

    fn push(&mut self, value: Value) {
        let top = shifted(self.of(Register::RSP), -8);
        self.set(Register::RSP, top);
        self.store(top, 8, value);
    }

    /// Forgets what any other instruction writes.
    fn overwrite(&mut self, info: &mut InstructionInfoFactory, instruction: &Instruction) {
        let info = info.info(instruction);
        let writes =
            |access| !matches!(access, OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
        for used in info.used_registers() {
            if writes(used.access()) {
                self.set(used.register().full_register(), Value::Unknown);
            }
        }
        for used in info.used_memory() {
            if writes(used.access()) && used.index() == Register::None {
                let address = shifted(self.of(used.base()), used.displacement().cast_signed());
                let bytes = i64::try_from(used.memory_size().size()).unwrap_or(i64::MAX);
                self.store(address, bytes, Value::Unknown);
            }
        }
    }
}

fn shifted(value: Value, by: i64) -> Value {
    match value {
        Value::Argument { index, plus } => Value::Argument { index, plus: plus.wrapping_add(by) },
        Value::Frame(at) => Value::Frame(at.wrapping_add(by)),
        _ => Value::Unknown,
    }
}

/// A memory operand is a base and a displacement, no more.
fn is_plain(instruction: &Instruction) -> bool {
    instruction.memory_index() == Register::None && instruction.segment_prefix() == Register::None
}

fn is_add_of_number(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Code::Add_rm64_imm8
            | Code::Add_rm64_imm32
            | Code::Add_RAX_imm32
            | Code::Sub_rm64_imm8
            | Code::Sub_rm64_imm32
            | Code::Sub_RAX_imm32
    ) && instruction.op0_kind() == OpKind::Register
}

fn number(register: Register) -> Option<usize> {
    (register.is_gpr64()).then(|| register.number())
}

/// An instruction that can be reached, and what is known before it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub instruction: Instruction,
    pub before: State,
}

/// Follows a function from its entry. `code` are the bytes from there on; they may go on behind the function, whose end is then seen
/// by how the next one begins. Calls are passed over; a jump out of `code` leaves the function. `left` are the steps that may still be
/// taken; empty when they are not enough.
pub(super) fn walk(address: u64, code: &[u8], entry: State, left: &mut usize) -> Vec<Step> {
    let mut info = InstructionInfoFactory::new();
    let mut steps: BTreeMap<u64, Step> = BTreeMap::new();
    let mut waiting = VecDeque::from([(address, entry)]);
    while let Some((at, state)) = waiting.pop_front() {
        let Some(less) = left.checked_sub(1) else { return Vec::new() };
        *left = less;
        let step = match steps.entry(at) {
            Entry::Vacant(vacant) => {
                let Some(instruction) = decode(address, code, at) else { continue };
                vacant.insert(Step { instruction, before: state })
            }
            Entry::Occupied(known) => {
                let step = known.into_mut();
                if !step.before.meet(&state) {
                    continue;
                }
                step
            }
        };
        let instruction = step.instruction;
        let after = step.before.clone().after(&mut info, &instruction);
        let (next, target) = (instruction.next_ip(), instruction.near_branch_target());
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch => waiting.push_back((target, after)),
            FlowControl::ConditionalBranch => {
                waiting.push_back((target, after.clone()));
                waiting.push_back((next, after));
            }
            FlowControl::Call | FlowControl::IndirectCall if begins_a_function(address, code, next) => {}
            FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => waiting.push_back((next, after)),
            _ => {}
        }
    }
    steps.into_values().collect()
}

/// Behind a call that does not return: `push rbp; mov rbp, rsp`.
fn begins_a_function(address: u64, code: &[u8], at: u64) -> bool {
    let inside = at.checked_sub(address).and_then(|inside| usize::try_from(inside).ok());
    inside.and_then(|inside| code.get(inside..)).is_some_and(|rest| rest.starts_with(&[0x55, 0x48, 0x89, 0xe5]))
}

fn decode(address: u64, code: &[u8], at: u64) -> Option<Instruction> {
    let inside = usize::try_from(at.checked_sub(address)?).ok()?;
    let rest = code.get(inside..)?;
    let here = rest.get(..INSTRUCTION_BYTES_MAX).unwrap_or(rest);
    let instruction = Decoder::with_ip(64, here, at, DecoderOptions::NONE).iter().next()?;
    (!instruction.is_invalid()).then_some(instruction)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x1000;

    fn steps(address: u64, code: &[u8]) -> Vec<Step> {
        walk(address, code, State::entry(), &mut 10_000)
    }

    fn last(code: &[u8]) -> State {
        steps(AT, code).pop().unwrap().before
    }

    #[test]
    fn arguments_are_followed_through_registers_memory_and_the_frame() {
        // push rbp; push rbx; sub rsp,0x10; mov rbx,rsi; mov [rsp+8],rdi; xor edi,edi; mov rax,[rsp+8]; mov rcx,[rbx+0x18];
        // lea rdx,[rax+0x10]; ret
        let code = [
            0x55, 0x53, 0x48, 0x83, 0xec, 0x10, 0x48, 0x89, 0xf3, 0x48, 0x89, 0x7c, 0x24, 0x08, 0x31, 0xff, 0x48, 0x8b,
            0x44, 0x24, 0x08, 0x48, 0x8b, 0x4b, 0x18, 0x48, 0x8d, 0x50, 0x10, 0xc3,
        ];
        let state = last(&code);
        assert_eq!(state.of(Register::RAX), Value::Argument { index: 0, plus: 0 });
        assert_eq!(state.of(Register::RCX), Value::Word { index: 1, at: 0x18 });
        assert_eq!(state.of(Register::RDX), Value::Argument { index: 0, plus: 0x10 });
        assert_eq!(state.of(Register::RDI), Value::Unknown);
        assert_eq!(state.of(Register::RSP), Value::Frame(-0x20));
    }

    #[test]
    fn where_two_ways_meet_only_what_both_know_is_known() {
        // mov rbx,rdi; test eax,eax; je +3; mov rsi,rdi; mov rcx,rbx; ret
        let code = [0x48, 0x89, 0xfb, 0x85, 0xc0, 0x74, 0x03, 0x48, 0x89, 0xfe, 0x48, 0x89, 0xd9, 0xc3];
        let state = last(&code);
        assert_eq!(state.of(Register::RSI), Value::Unknown);
        assert_eq!(state.of(Register::RCX), Value::Argument { index: 0, plus: 0 });
    }

    #[test]
    fn a_call_forgets_and_gives_back() {
        // call [rax+0x18]; mov rbx,rax; call +0; ret
        let code = [0xff, 0x50, 0x18, 0x48, 0x89, 0xc3, 0xe8, 0, 0, 0, 0, 0xc3];
        let state = last(&code);
        assert_eq!((state.of(Register::RBX), state.of(Register::RDI)), (Value::Result, Value::Unknown));
        assert_eq!(state.of(Register::RAX), Value::Unknown);
    }

    #[test]
    fn garbage_ends() {
        for seed in 0..3000u32 {
            let code: Vec<u8> = (0..300u32)
                .map(|i| (seed.wrapping_mul(2_654_435_761).wrapping_add(i * i * 40_503) >> 7) as u8)
                .collect();
            assert!(steps(AT, &code).len() <= code.len());
        }
        // A loop of its own is walked once; steps that are used up end the walk.
        assert_eq!(steps(AT, &[0xeb, 0xfe]).len(), 1);
        assert!(walk(AT, &[0x90; 100], State::entry(), &mut 50).is_empty());
        assert!(steps(AT, &[]).is_empty());
        assert!(steps(u64::MAX, &[0x90, 0x90]).len() <= 2);
    }
}
