//! Where rustls keeps what the probes need. Enters: its functions, by address. Leaves: offsets and places in them, each read off the
//! code that uses it. Never assumes a structure's order: what is not found is an error, for people.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
};

use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind, Register};
use outflow_ebpf::wire::{Operand, chunks, register};

use super::{
    super::Binary,
    walk::{ARGUMENTS, STEPS_MAX, State, Step, Value, walk},
    whole::{ByteStore, KeyStore},
};

/// Bytes of a function whose size no symbol tells.
const WINDOW_BYTES: u64 = 8 * 1024;
/// Calls within calls that are looked into.
const DEPTH_MAX: u32 = 3;
/// Functions that are looked into for one question.
const FUNCTIONS_MAX: usize = 64;
/// Bytes of the global offset table that are read: Deno's has 2,500.
const TABLE_BYTES_MAX: usize = 1 << 20;
/// `MessageEncrypter::encrypt` in its vtable: behind the destructor, size and alignment.
const ENCRYPT: i64 = 0x18;
/// `ClientSessionStore::remove_tls12_session` in its vtable: behind those, `Debug::fmt` and four methods.
const REMOVE_TLS12_SESSION: u64 = 0x40;
/// `Payload`: a `Vec` or a slice; of both the address, and the length behind it.
pub(super) const PAYLOAD: [u8; 2] = [8, 16];

/// Registers by the numbers that instructions have for them.
const NUMBERED: [Register; 16] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
/// `ALLOWED_CONSECUTIVE_EMPTY_FRAGMENTS_MAX` of rustls.
const EMPTY_RECORDS: u8 = 32;

/// A place where a connection gets the box of the key that it sends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeySite {
    /// Address of the instruction.
    pub at: u64,
    /// Where the box's address is then.
    pub key: Operand,
}

impl KeySite {
    /// A store that was found by its bytes.
    pub(super) fn of_store(store: &KeyStore) -> Option<Self> {
        key_site(store.at, *NUMBERED.get(usize::from(store.source))?)
    }
}

/// The code of a file, and what its symbols say about sizes.
pub(super) struct Shapes<'b, 'a> {
    binary: &'b Binary<'a>,
    sizes: HashMap<u64, u64>,
    /// Functions that calls go to through the global offset table, by their place in it.
    table: HashMap<u64, u64>,
    steps_left: Cell<usize>,
}

impl<'b, 'a> Shapes<'b, 'a> {
    pub(super) fn new(binary: &'b Binary<'a>) -> Self {
        let sizes = binary.functions().filter(|(_, _, size)| *size > 0).map(|(_, address, size)| (address, size));
        Self { binary, sizes: sizes.collect(), table: offset_table(binary), steps_left: Cell::new(STEPS_MAX) }
    }

    /// Where a call, or a jump that may be one, goes.
    fn target(&self, instruction: &Instruction) -> Option<u64> {
        match instruction.code() {
            Code::Call_rel32_64 | Code::Jmp_rel32_64 => Some(instruction.near_branch_target()),
            Code::Call_rm64 | Code::Jmp_rm64 if instruction.is_ip_rel_memory_operand() => {
                self.table.get(&instruction.ip_rel_memory_address()).copied()
            }
            _ => None,
        }
    }

    /// A function calls another, or goes on as it, with what it got.
    pub(super) fn calls(&self, function: u64, callee: u64) -> bool {
        let mut calls = false;
        self.explore(function, &mut |step| calls |= self.target(&step.instruction) == Some(callee));
        calls
    }

    /// How far behind the start of `CommonState` the address of its encrypter's box lies. `send` is `send_appdata_encrypt`, which
    /// encrypts, or calls what encrypts, through that box.
    pub(super) fn key_offset(&self, send: u64) -> Result<u8, String> {
        let mut found = HashSet::new();
        self.explore(send, &mut |step| {
            let is_call = step.instruction.flow_control() == FlowControl::IndirectCall;
            if is_call && let Value::Method { index: 0, at, slot: ENCRYPT } = step.before.operand(&step.instruction, 0)
            {
                let this = Value::Word { index: 0, at: at - 8 };
                if [Register::RDI, Register::RSI].iter().any(|register| step.before.of(*register) == this) {
                    found.insert(at - 8);
                }
            }
        });
        let offset = found.iter().next().copied().filter(|_| found.len() == 1);
        let offset = offset.and_then(|offset| u8::try_from(offset).ok());
        offset.ok_or_else(|| "the place of its encrypter cannot be read off send_appdata_encrypt".to_owned())
    }

    /// `OutboundChunks` lies as the kernel programs take it: its length is the end of its range less the start.
    pub(super) fn verify_chunks(&self, send: u64) -> Result<(), String> {
        let start = chunks::START.cast_signed();
        let mut seen = false;
        self.explore(send, &mut |step| {
            let [end_of, start_of] = [0, 1].map(|operand| step.before.operand(&step.instruction, operand));
            seen |= step.instruction.mnemonic() == Mnemonic::Sub
                && end_of == Value::Word { index: 1, at: start + 8 }
                && start_of == Value::Word { index: 1, at: start };
        });
        seen.then_some(())
            .ok_or_else(|| "its OutboundChunks does not lie as it did in the compilers that were looked at".to_owned())
    }

    /// `Payload` lies as the probes take it: the copy that one of these functions makes of it is of that address and length.
    pub(super) fn verify_payload(&self, mut copiers: impl Iterator<Item = u64>) -> Result<(), String> {
        let seen = copiers.any(|function| self.copies_payload(function));
        seen.then_some(())
            .ok_or_else(|| "its Payload does not lie as it did in the compilers that were looked at".to_owned())
    }

    fn copies_payload(&self, function: u64) -> bool {
        let mut seen = false;
        let payload = PAYLOAD.map(|offset| Value::Word { index: 1, at: i64::from(offset) });
        self.explore(function, &mut |step| {
            let leaves = !matches!(step.instruction.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch);
            let is_passed = |[from, length]: [Register; 2]| [from, length].map(|each| step.before.of(each)) == payload;
            seen |= leaves && (is_passed([Register::RSI, Register::RDX]) || is_passed([Register::RDI, Register::RSI]));
        });
        seen
    }

    /// Where a function puts the box that it got from the provider into a connection: the store, or the call of what stores it, whose
    /// address comes back too.
    pub(super) fn key_sites(&self, setter: u64) -> (Vec<KeySite>, HashSet<u64>) {
        let steps = self.steps(setter, State::entry());
        let stores = stores(&steps);
        let mut sites: Vec<_> = stores
            .iter()
            .filter(|(_, (value, _))| *value == Value::Result)
            .filter(|((_, base, at), _)| {
                stores.iter().any(|((_, other, beside), (value, _))| {
                    *value == Value::Second && other == base && *beside == at + 8
                })
            })
            .filter_map(|((ip, _, _), (_, source))| key_site(*ip, *source))
            .collect();
        let calls: Vec<_> = steps.iter().filter(|step| hands_over_a_box(step)).collect();
        sites.extend(calls.iter().filter_map(|step| key_site(step.instruction.ip(), Register::RSI)));
        (sites, calls.iter().filter_map(|step| self.target(&step.instruction)).collect())
    }

    /// The same in `start_encryption_tls12`, which gets its boxes through memory: the store into the place that is known, or the call
    /// of one of `setters`.
    pub(super) fn tls12_key_sites(&self, start: u64, key_offset: u8, setters: &HashSet<u64>) -> Vec<KeySite> {
        let steps = self.steps(start, State::entry());
        let stores = stores(&steps);
        let is_at = |at: i64| move |(_, base, place): &(u64, u8, i64)| *base == 0 && *place == at;
        let offset = i64::from(key_offset);
        let vtable = stores.keys().any(is_at(offset + 8));
        let direct = stores.iter().filter(|(place, _)| vtable && is_at(offset)(place));
        let direct = direct.filter_map(|((ip, _, _), (_, source))| key_site(*ip, *source));
        let calls = steps.iter().filter(|step| self.target(&step.instruction).is_some_and(|to| setters.contains(&to)));
        direct.chain(calls.filter_map(|step| key_site(step.instruction.ip(), Register::RSI))).collect()
    }

    /// What `take_received_plaintext` does first, wherever it is: it resets a counter of empty records to their maximum. With the places
    /// where it does so.
    pub(super) fn reset_of(&self, receive: u64) -> Option<(ByteStore, HashSet<u64>)> {
        let resets = self.steps(receive, State::entry()).into_iter().filter_map(|step| {
            let Value::Argument { index: 0, plus } = step.before.address(&step.instruction) else { return None };
            let is_reset =
                step.instruction.code() == Code::Mov_rm8_imm8 && step.instruction.immediate8() == EMPTY_RECORDS;
            // A smaller offset is written in fewer bytes, and found too often.
            let offset = i32::try_from(plus).ok().filter(|offset| *offset > 127)?;
            is_reset.then(|| (ByteStore { offset, value: EMPTY_RECORDS }, step.instruction.ip()))
        });
        let resets: Vec<_> = resets.collect();
        let (store, _) = *resets.first()?;
        Some((store, resets.into_iter().map(|(_, ip)| ip).collect()))
    }

    /// The function that an address is in, by its symbol.
    pub(super) fn holder(&self, place: u64) -> Option<u64> {
        let holds = |(address, size): (&u64, &u64)| place.checked_sub(*address).is_some_and(|inside| inside < *size);
        self.sizes.iter().find(|entry| holds(*entry)).map(|(address, _)| *address)
    }

    /// In a `State::handle(_, &mut Context, Message)` that `take_received_plaintext` has become a part of: the connection's key, and the
    /// address and length of the plaintext, at the place where that part begins.
    pub(super) fn received_in(&self, handler: u64, place: u64, key_offset: u8) -> Option<[Operand; 3]> {
        let steps = self.steps(handler, State::entry());
        let begin = steps.iter().find(|step| step.instruction.ip() == place)?;
        let common = begin.instruction.memory_base();
        // `Context` begins with the address of its `CommonState`.
        (begin.before.of(common) == Value::Word { index: 2, at: 0 }).then_some(())?;
        let (index, address) = steps.iter().find_map(|step| {
            let leaves = !matches!(step.instruction.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch);
            let Value::Word { index, at } = step.before.of(Register::RSI) else { return None };
            let is_copied = step.before.of(Register::RDX) == Value::Word { index, at: at + 8 };
            (leaves && is_copied).then_some((index, at))
        })?;
        let (message, plus) = NUMBERED.iter().find_map(|register| match begin.before.of(*register) {
            Value::Argument { index: of, plus } if of == index => Some((*register, plus)),
            _ => None,
        })?;
        let word = |behind: i64| {
            let offset = address.checked_sub(plus)?.checked_add(behind)?;
            Some(Operand::at(wire_register(message)?, u8::try_from(offset).ok()?))
        };
        Some([Operand::at(wire_register(common)?, key_offset), word(0)?, word(8)?])
    }

    /// What else is set with a key: the count of its records, to zero, and that it is there; how far behind the start of what the key is
    /// stored in.
    pub(super) fn beside_key(&self, setter: u64) -> Option<[u8; 2]> {
        let steps = self.steps(setter, State::entry());
        let set = |code: Code, values: &[u64]| {
            steps.iter().find_map(|step| {
                let is_set = step.instruction.code() == code
                    && step.instruction.op0_kind() == OpKind::Memory
                    && values.contains(&step.instruction.immediate(1));
                let Value::Argument { plus, .. } = step.before.address(&step.instruction) else { return None };
                // A larger offset is written in more bytes.
                u8::try_from(plus).ok().filter(|plus| is_set && *plus < 128)
            })
        };
        Some([set(Code::Mov_rm64_imm32, &[0])?, set(Code::Mov_rm8_imm8, &[1, 2])?])
    }

    /// In a piece of `ExpectFinished::handle`: the call of `remove_tls12_session`.
    pub(super) fn name_call(&self, piece: u64) -> Option<u64> {
        let steps = self.steps(piece, State::entry());
        let mut calls = steps.iter().map(|step| &step.instruction).filter(|call| {
            call.flow_control() == FlowControl::IndirectCall && call.memory_displacement64() == REMOVE_TLS12_SESSION
        });
        calls.next().map(Instruction::ip)
    }

    fn steps(&self, address: u64, entry: State) -> Vec<Step> {
        let size = self.sizes.get(&address).copied().unwrap_or(WINDOW_BYTES);
        let Some(code) = self.binary.code(address, size.min(WINDOW_BYTES)) else { return Vec::new() };
        let mut left = self.steps_left.get();
        let steps = walk(address, code, entry, &mut left);
        self.steps_left.set(left);
        steps
    }

    /// Shows the steps of a function and of those that it passes its arguments to.
    fn explore(&self, address: u64, visit: &mut impl FnMut(&Step)) {
        let mut waiting = VecDeque::from([(address, State::entry(), 0)]);
        let mut done: Vec<(u64, State)> = Vec::new();
        while let Some((address, entry, depth)) = waiting.pop_front() {
            if done.len() >= FUNCTIONS_MAX || done.iter().any(|(at, state)| *at == address && *state == entry) {
                continue;
            }
            let steps = self.steps(address, entry.clone());
            done.push((address, entry));
            for step in &steps {
                visit(step);
                let callee = step.before.callee();
                let passes = ARGUMENTS.iter().any(|register| callee.of(*register) != Value::Unknown);
                if depth < DEPTH_MAX
                    && passes
                    && let Some(target) = self.target(&step.instruction)
                {
                    waiting.push_back((target, callee, depth + 1));
                }
            }
        }
    }
}

/// Functions in the global offset table, as the dynamic linker will fill it: from its relocations, else from the file.
fn offset_table(binary: &Binary<'_>) -> HashMap<u64, u64> {
    /// `R_X86_64_RELATIVE`: the address is the addend (System V ABI for x86-64, table 4.9).
    const RELATIVE: u64 = 8;
    let Some((start, slots)) = binary.section(".got") else { return HashMap::new() };
    let slots = slots.get(..TABLE_BYTES_MAX).unwrap_or(slots);
    let end = start.saturating_add(slots.len() as u64);
    let (_, relocations) = binary.section(".rela.dyn").unwrap_or_default();
    let words = slots.chunks_exact(8).zip((start..).step_by(8));
    let mut table: HashMap<u64, u64> = words.map(|(bytes, at)| (at, word(bytes, 0))).collect();
    for entry in relocations.chunks_exact(24) {
        let at = word(entry, 0);
        if (start..end).contains(&at) && word(entry, 8) & 0xffff_ffff == RELATIVE {
            table.insert(at, word(entry, 16));
        }
    }
    table
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// A call with an argument's place first, and then a box that another call just gave back.
fn hands_over_a_box(step: &Step) -> bool {
    matches!(step.instruction.code(), Code::Call_rel32_64 | Code::Call_rm64)
        && matches!(step.before.of(Register::RDI), Value::Argument { .. })
        && step.before.of(Register::RSI) == Value::Result
        && step.before.of(Register::RDX) == Value::Second
}

/// Words that are stored behind an argument: where it is done, which argument, how far behind; what is stored, and from where.
fn stores(steps: &[Step]) -> BTreeMap<(u64, u8, i64), (Value, Register)> {
    let stores = steps
        .iter()
        .filter(|step| step.instruction.code() == Code::Mov_rm64_r64 && step.instruction.op0_kind() == OpKind::Memory);
    stores
        .filter_map(|step| {
            let Value::Argument { index, plus } = step.before.address(&step.instruction) else { return None };
            let source = step.instruction.op1_register();
            Some(((step.instruction.ip(), index, plus), (step.before.of(source), source)))
        })
        .collect()
}

fn key_site(at: u64, source: Register) -> Option<KeySite> {
    Some(KeySite { at, key: Operand::register(wire_register(source)?) })
}

fn wire_register(register: Register) -> Option<u8> {
    Some(match register {
        Register::RAX => register::RAX,
        Register::RBX => register::RBX,
        Register::RCX => register::RCX,
        Register::RDX => register::RDX,
        Register::RSI => register::RSI,
        Register::RDI => register::RDI,
        Register::RBP => register::RBP,
        Register::R8 => register::R8,
        Register::R9 => register::R9,
        Register::R10 => register::R10,
        Register::R11 => register::R11,
        Register::R12 => register::R12,
        Register::R13 => register::R13,
        Register::R14 => register::R14,
        Register::R15 => register::R15,
        _ => return None,
    })
}
