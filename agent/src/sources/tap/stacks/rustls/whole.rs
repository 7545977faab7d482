//! Whether the places that were found are all there are. Enters: the code of a file, and those places. Leaves: the others. The compiler may
//! put a small function into its callers, and keep it as well: a connection that got its key in such a copy, unseen, could be taken for
//! an older one. So this looks for the bytes of the step in all of the code, whether symbols name it or not.

use std::collections::HashSet;

use memchr::{memchr_iter, memmem::Finder};

use super::super::Binary;

/// Parts of a file that are code; more are not a program's.
const SEGMENTS_MAX: usize = 16;
/// Places of one kind in a part of the code; more are not rustls's.
const PLACES_MAX: usize = 64;
/// How far before the counter's store the two stores of the box are, at most.
const NEAR_BYTES: usize = 160;
/// `mov [base + disp8], r64` behind its prefix; `call rel32`; the second byte of an address that has rsp or r12 for its base.
const STORE: u8 = 0x89;
const CALL: u8 = 0xe8;
const SIB: u8 = 0x24;

/// A byte that is set to a number, at an offset of 32 bits from a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteStore {
    pub offset: i32,
    pub value: u8,
}

/// All code of a file: address and bytes of each part.
pub(super) fn code<'a>(binary: &Binary<'a>) -> Vec<(u64, &'a [u8])> {
    binary.executable_segments().take(SEGMENTS_MAX).collect()
}

/// Where a byte is set so.
pub(super) fn stores(code: &[(u64, &[u8])], store: ByteStore) -> Vec<u64> {
    let [a, b, c, d] = store.offset.to_le_bytes();
    let pattern = [a, b, c, d, store.value];
    let finder = Finder::new(&pattern);
    let in_part = |(base, bytes): &(u64, &[u8])| {
        let start_of = |at: usize| {
            // mov byte ptr [base + disp32], imm8: C6 /0, with a prefix for the upper registers.
            let length = match bytes.get(at.saturating_sub(4)..at)? {
                [0x41, 0xc6, 0x84, SIB] => 4,
                [_, 0xc6, 0x84, SIB] => 3,
                [.., 0x41, 0xc6, modrm] if modrm & 0xf8 == 0x80 => 3,
                [.., 0xc6, modrm] if modrm & 0xf8 == 0x80 => 2,
                _ => return None,
            };
            Some(base.wrapping_add((at - length) as u64))
        };
        finder.find_iter(bytes).filter_map(start_of).take(PLACES_MAX).collect::<Vec<_>>()
    };
    code.iter().flat_map(in_part).collect()
}

/// A place where a key is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyStore {
    /// Address of the instruction that stores the address of its box.
    pub at: u64,
    /// The register that it is in, by the number that instructions have for it.
    pub source: u8,
}

/// Where a box and its vtable are stored at `key`, zero at `counter` and a small number at `state`.
pub(super) fn keys(code: &[(u64, &[u8])], key: u8, [counter, state]: [u8; 2]) -> Vec<KeyStore> {
    let pattern = [counter, 0, 0, 0, 0];
    let finder = Finder::new(&pattern);
    let in_part = |(base, bytes): &(u64, &[u8])| {
        let key_before = |at: usize| {
            let register = zeroed(bytes, at)?;
            let start = at.saturating_sub(NEAR_BYTES);
            let window = bytes.get(start..at)?;
            let after = bytes.get(at..)?;
            flags_at(after.get(..NEAR_BYTES / 2).unwrap_or(after), register, state).then_some(())?;
            let (inside, source) = store_at(window, register, key)?;
            store_at(window, register, key.checked_add(8)?)?;
            Some(KeyStore { at: base.wrapping_add((start + inside) as u64), source })
        };
        finder.find_iter(bytes).filter_map(key_before).take(PLACES_MAX).collect::<Vec<_>>()
    };
    code.iter().flat_map(in_part).collect()
}

/// The base of `mov qword ptr [base + disp8], 0` (REX.W C7 /0), whose displacement is at that place.
fn zeroed(bytes: &[u8], at: usize) -> Option<u8> {
    let (rex, modrm) = match bytes.get(at.checked_sub(4)?..at)? {
        [rex, 0xc7, 0x44, SIB] => (rex, 4),
        [_, rex, 0xc7, modrm] if modrm & 0xf8 == 0x40 => (rex, modrm & 7),
        _ => return None,
    };
    (rex & 0xf8 == 0x48).then_some(modrm | (rex & 1) << 3)
}

/// The last `mov [base + disp8], r64` of a window: where, and the source.
fn store_at(window: &[u8], base: u8, offset: u8) -> Option<(usize, u8)> {
    window.windows(5).enumerate().rev().find_map(|(at, bytes)| {
        let [rex, STORE, modrm, sib, more] = bytes else { return None };
        let displacement = if modrm & 7 == 4 { more } else { sib };
        let is_store = rex & 0xf8 == 0x48
            && modrm & 0xc0 == 0x40
            && (modrm & 7 | (rex & 1) << 3) == base
            && *displacement == offset;
        is_store.then_some((at, modrm >> 3 & 7 | (rex & 4) << 1))
    })
}

/// `mov byte ptr [base + disp8], 1` or 2: C6 /0.
fn flags_at(window: &[u8], base: u8, offset: u8) -> bool {
    window.windows(6).any(|bytes| {
        let [rex, 0xc6, modrm, rest @ ..] = bytes else { return false };
        let high = if *rex == 0x41 { 8 } else { 0 };
        let (displacement, value) = match (modrm & 7, rest) {
            (4, [SIB, displacement, value]) | (_, [displacement, value, _]) => (*displacement, *value),
            _ => return false,
        };
        modrm & 0xf8 == 0x40 && (modrm & 7 | high) == base && displacement == offset && (1..=2).contains(&value)
    })
}

/// A function is called only at these addresses.
pub(super) fn calls_only_at(code: &[(u64, &[u8])], target: u64, known: &HashSet<u64>) -> bool {
    code.iter().all(|(base, bytes)| {
        memchr_iter(CALL, bytes).all(|at| {
            let displacement = bytes.get(at + 1..at + 5).and_then(|bytes| bytes.try_into().ok());
            let address = base.wrapping_add(at as u64);
            displacement.is_none_or(|displacement| {
                let goes_to = address.wrapping_add(5).wrapping_add_signed(i64::from(i32::from_le_bytes(displacement)));
                goes_to != target || known.contains(&address)
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x40_0000;

    #[test]
    fn a_key_is_seen_to_be_set_whatever_the_base() {
        // mov [base+0x10],rbp; mov [base+0x18],r13; mov qword [base+0x38],0; xor eax,eax; mov byte [base+0x49],2
        let in_r15: &[u8] = &[
            0x90, 0x49, 0x89, 0x6f, 0x10, 0x4d, 0x89, 0x6f, 0x18, 0x49, 0xc7, 0x47, 0x38, 0, 0, 0, 0, 0x31, 0xc0, 0x41,
            0xc6, 0x47, 0x49, 2, 0x90,
        ];
        // The same with r12, which takes a byte more, and with rbx.
        let in_r12: &[u8] = &[
            0x90, 0x49, 0x89, 0x6c, 0x24, 0x10, 0x4d, 0x89, 0x6c, 0x24, 0x18, 0x49, 0xc7, 0x44, 0x24, 0x38, 0, 0, 0, 0,
            0x31, 0xc0, 0x41, 0xc6, 0x44, 0x24, 0x49, 1, 0x90,
        ];
        let in_rbx: &[u8] = &[
            0x90, 0x48, 0x89, 0x6b, 0x10, 0x4c, 0x89, 0x6b, 0x18, 0x48, 0xc7, 0x43, 0x38, 0, 0, 0, 0, 0x31, 0xc0, 0xc6,
            0x43, 0x49, 2, 0x90, 0x90,
        ];
        let keys = |code: &[u8]| keys(&[(AT, code)], 0x10, [0x38, 0x49]);
        for (code, source) in [(in_r15, 5), (in_r12, 5), (in_rbx, 5)] {
            assert_eq!(keys(code), [KeyStore { at: AT + 1, source }], "{code:x?}");
        }
        let mut from_r15 = in_rbx.to_vec();
        from_r15[1..4].copy_from_slice(&[0x4c, 0x89, 0x7b]);
        assert_eq!(keys(&from_r15), [KeyStore { at: AT + 1, source: 15 }]);
        // The stores are of another object.
        let mut other = in_r15.to_vec();
        other[3] = 0x6e;
        assert_eq!(keys(&other), []);
        for cut in 0..in_r12.len() {
            let _ = keys(&in_r12[..cut]);
        }
    }

    #[test]
    fn a_byte_is_seen_to_be_set_whatever_the_base() {
        let store = ByteStore { offset: 0x32e, value: 32 };
        // mov byte [rdi+0x32e],0x20; the same with r12 and r13; another value; another instruction
        let cases: [(&[u8], &[u64]); 5] = [
            (&[0x90, 0x90, 0xc6, 0x87, 0x2e, 3, 0, 0, 0x20, 0x90], &[AT + 2]),
            (&[0x41, 0xc6, 0x84, 0x24, 0x2e, 3, 0, 0, 0x20], &[AT]),
            (&[0x90, 0x41, 0xc6, 0x85, 0x2e, 3, 0, 0, 0x20], &[AT + 1]),
            (&[0x90, 0x90, 0xc6, 0x87, 0x2e, 3, 0, 0, 0x21, 0x90], &[]),
            (&[0x90, 0x90, 0x80, 0xbf, 0x2e, 3, 0, 0, 0x20, 0x90], &[]),
        ];
        for (code, expected) in cases {
            assert_eq!(stores(&[(AT, code)], store), expected, "{code:x?}");
        }
    }

    #[test]
    fn a_call_from_elsewhere_is_found() {
        // call +5 from AT+1 goes to AT+11
        let code = [0x90, 0xe8, 5, 0, 0, 0, 0x90, 0xe8];
        let only_at = |target, known: &[u64]| calls_only_at(&[(AT, &code)], target, &known.iter().copied().collect());
        assert!(!only_at(AT + 11, &[]));
        assert!(only_at(AT + 11, &[AT + 1]));
        assert!(only_at(AT + 12, &[]));
    }
}
