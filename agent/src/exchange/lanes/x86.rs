//! Escapes and UTF-8 with the widest registers of x86-64. Enters: bytes. Leaves: what
//! [`narrow`](super::unescape::narrow) and [`std::str::from_utf8`] say, several times as fast. The processor is asked first (Ice
//! Lake, Zen 4 and later have these registers); where there are none, nothing is done. Never keeps a pointer past a load or a
//! store.
#![expect(
    unsafe_code,
    reason = "what only some processors can do is called on a promise, and registers are filled by pointer"
)]

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_cmpeq_epi8_mask, _mm512_loadu_si512,
    _mm512_mask_mov_epi8, _mm512_maskz_compress_epi8, _mm512_maskz_loadu_epi8, _mm512_movepi8_mask, _mm512_or_si512,
    _mm512_permutex2var_epi8, _mm512_set1_epi8, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_srli_epi16,
    _mm512_storeu_si512, _mm512_subs_epu8, _mm512_test_epi8_mask, _mm512_xor_si512,
};

use super::unescape::{BLOCK_BYTES, ESCAPES, Marks, ROOM_BYTES, SPAN_BYTES, Span, Step, WINDOW_BYTES, by_spans, first};

/// Whether the processor has all that the functions here are built for: the names are the same as there.
#[inline]
fn has_registers() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
}

/// Undoes escapes for as long as they are simple and near.
#[inline]
pub(super) fn unescape(input: &[u8], block: &mut [u8; BLOCK_BYTES], filled: usize) -> Option<Step> {
    // SAFETY: the processor was asked.
    has_registers().then(|| unsafe { by_512(input, block, filled) })
}

/// Bytes as text, if they are; `narrow` says so where the processor has no registers for it.
#[inline]
pub(super) fn utf8(bytes: &[u8], narrow: impl FnOnce(&[u8]) -> Option<&str>) -> Option<&str> {
    if !has_registers() {
        return narrow(bytes);
    }
    // SAFETY: the processor was asked.
    let is_text = unsafe { is_utf8(bytes) };
    // SAFETY: they were checked.
    is_text.then(|| unsafe { str::from_utf8_unchecked(bytes) })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,bmi1,bmi2,popcnt")]
fn by_512(input: &[u8], block: &mut [u8; BLOCK_BYTES], filled: usize) -> Step {
    by_spans(input, block, filled, |near, room| span(near, room))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,bmi1,bmi2,popcnt")]
#[inline]
fn span(near: &[u8; WINDOW_BYTES], room: &mut [u8; ROOM_BYTES]) -> Span {
    let bytes = load(near, 0);
    let quotes = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'"'.cast_signed()));
    let backslashes = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'\\'.cast_signed()));
    let marks = Marks::new(quotes, backslashes);
    // The table of all ASCII letters takes two registers; others, which would be taken for one of these, stand for nothing.
    let plain = _mm512_permutex2var_epi8(load(&ESCAPES, 0), bytes, load(&ESCAPES, SPAN_BYTES));
    let known = _mm512_test_epi8_mask(plain, plain) & !_mm512_movepi8_mask(bytes);
    let (read, stop) = marks.end(!known);
    let kept = first(read) & !marks.starts;
    let undone = _mm512_mask_mov_epi8(bytes, marks.letters, plain);
    store(room, _mm512_maskz_compress_epi8(kept, undone));
    Span::ended(read, kept, stop)
}

/// The span that begins at `from`, which is a constant where this is called.
#[target_feature(enable = "avx512f")]
#[inline]
fn load<const N: usize>(bytes: &[u8; N], from: usize) -> __m512i {
    let span: [u8; SPAN_BYTES] = bytes.get(from..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; SPAN_BYTES]);
    // SAFETY: the pointer is to as many bytes as a register has, and need not be aligned.
    unsafe { _mm512_loadu_si512(span.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(room: &mut [u8; ROOM_BYTES], register: __m512i) {
    const { assert!(ROOM_BYTES >= SPAN_BYTES) }
    // SAFETY: there is room for at least as many bytes as a register has, and it need not be aligned.
    unsafe { _mm512_storeu_si512(room.as_mut_ptr().cast(), register) }
}

/// All bytes of a text in registers, one after the other, with zeros behind the last one: what is cut there is wrong as it is before
/// any other letter. The tables and what they say are those of Keiser and Lemire, "Validating UTF-8 in less than one instruction
/// per byte", 2021, as in simdjson and simdutf8.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,bmi1,bmi2,popcnt")]
fn is_utf8(bytes: &[u8]) -> bool {
    let (spans, rest) = bytes.as_chunks::<SPAN_BYTES>();
    // SAFETY: no more bytes are read than there are.
    let last = unsafe { _mm512_maskz_loadu_epi8(first(rest.len()), rest.as_ptr().cast()) };
    let (mut before, mut wrong) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for at in 0..=spans.len() {
        let register = spans.get(at).map_or(last, |span| load(span, 0));
        // No branch for ASCII: in most languages it would be guessed wrong at every second span.
        wrong = _mm512_or_si512(wrong, wrong_with(before, register));
        before = register;
    }
    _mm512_test_epi8_mask(wrong, wrong) == 0
}

/// Not zero where a byte cannot follow those before it.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn wrong_with(before: __m512i, register: __m512i) -> __m512i {
    let back = |by: usize| _mm512_permutex2var_epi8(before, load(&PLACES, SPAN_BYTES - by), register);
    let (one, two, three) = (back(1), back(2), back(3));
    let nibble = _mm512_set1_epi8(0x0f);
    let high = |register| _mm512_and_si512(_mm512_srli_epi16::<4>(register), nibble);
    let of = |table: &[u8; 16], nibbles| {
        // SAFETY: the pointer is to as many bytes as are read, and need not be aligned.
        let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
        _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), nibbles)
    };
    let pairs = _mm512_and_si512(
        _mm512_and_si512(of(&FIRST_HIGH, high(one)), of(&FIRST_LOW, _mm512_and_si512(one, nibble))),
        of(&SECOND_HIGH, high(register)),
    );
    // The third byte of a character is two behind 0xe0 and more, the fourth three behind 0xf0 and more: what is left of these
    // has the highest bit.
    let of_three = _mm512_subs_epu8(two, _mm512_set1_epi8(0x60));
    let of_four = _mm512_subs_epu8(three, _mm512_set1_epi8(0x70));
    let goes_on = _mm512_and_si512(_mm512_or_si512(of_three, of_four), _mm512_set1_epi8(i8::MIN));
    _mm512_xor_si512(goes_on, pairs)
}

/// The places of the bytes of two registers.
const PLACES: [u8; 2 * SPAN_BYTES] = {
    let mut places = [0; 2 * SPAN_BYTES];
    let mut at = 0;
    while at < places.len() {
        places[at] = at as u8;
        at += 1;
    }
    places
};

/// What can be wrong with two bytes: a bit each, set in all three tables.
const TOO_SHORT: u8 = 1;
const TOO_LONG: u8 = 1 << 1;
const OVERLONG_3: u8 = 1 << 2;
const TOO_LARGE: u8 = 1 << 3;
const SURROGATE: u8 = 1 << 4;
const OVERLONG_2: u8 = 1 << 5;
/// Of four bytes, and too large or too small.
const FOUR: u8 = 1 << 6;
const TWO_CONTINUE: u8 = 1 << 7;
/// Whatever the low half of the first byte is.
const ANY: u8 = TOO_SHORT | TOO_LONG | TWO_CONTINUE;

/// By the high half of the first byte.
const FIRST_HIGH: [u8; 16] = {
    let mut table = [TOO_LONG; 16];
    (table[0x8], table[0x9], table[0xa], table[0xb]) = (TWO_CONTINUE, TWO_CONTINUE, TWO_CONTINUE, TWO_CONTINUE);
    table[0xc] = TOO_SHORT | OVERLONG_2;
    table[0xd] = TOO_SHORT;
    table[0xe] = TOO_SHORT | OVERLONG_3 | SURROGATE;
    table[0xf] = TOO_SHORT | TOO_LARGE | FOUR;
    table
};

/// By its low half.
const FIRST_LOW: [u8; 16] = {
    let mut table = [ANY | TOO_LARGE | FOUR; 16];
    table[0x0] = ANY | OVERLONG_3 | OVERLONG_2 | FOUR;
    table[0x1] = ANY | OVERLONG_2;
    (table[0x2], table[0x3]) = (ANY, ANY);
    table[0x4] = ANY | TOO_LARGE;
    table[0xd] = ANY | TOO_LARGE | FOUR | SURROGATE;
    table
};

/// By the high half of the second byte.
const SECOND_HIGH: [u8; 16] = {
    let continues = TOO_LONG | OVERLONG_2 | TWO_CONTINUE;
    let mut table = [TOO_SHORT; 16];
    table[0x8] = continues | OVERLONG_3 | FOUR;
    table[0x9] = continues | OVERLONG_3 | TOO_LARGE;
    (table[0xa], table[0xb]) = (continues | SURROGATE | TOO_LARGE, continues | SURROGATE | TOO_LARGE);
    table
};
