//! Chance that can be repeated. Enters: a seed, from `OUTFLOW_TEST_SEED` or the clock. Leaves: numbers, and on a failed test's output the
//! seed.

use std::ops::Range;

/// A xorshift64* generator (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016).
pub(super) struct Dice(u64);

impl Dice {
    /// Says its seed.
    pub(super) fn new() -> Self {
        let given = std::env::var("OUTFLOW_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed: u64 = given.unwrap_or_else(|| outflow::clock::now().0);
        println!("OUTFLOW_TEST_SEED={seed} throws the same dice");
        Self::of(seed)
    }

    fn of(seed: u64) -> Self {
        // Zero is the one state that it never leaves.
        Self(seed | 1)
    }

    /// Another one, for another thread.
    pub(super) fn split(&mut self) -> Self {
        Self::of(self.next())
    }

    /// A number of this range.
    pub(super) fn throw(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// True once in `times`.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.throw(0..times) == 0
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}
