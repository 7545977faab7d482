//! Chance with a seed. Enters: a seed. Leaves: numbers of some distributions, the same ones for the same seed. It is no
//! library's generator: those may change their numbers with a version, and with them every scenario.

use crate::span::whole;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// `name` keeps apart what has the same seed: a service added to a scenario leaves the others as they were.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let mixed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) // FNV-1a
        });
        Self(seed ^ mixed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// From 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True so often.
    pub(crate) fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.unit() < share
    }

    /// The time until the next event of a Poisson process with this mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Log-normal: sizes and latencies are. `sigma`: of the logarithm.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let (radius, angle) = ((-2.0 * (1.0 - self.unit()).ln()).sqrt(), std::f64::consts::TAU * self.unit());
        median * (sigma * radius * angle.cos()).exp()
    }

    /// Log-normal, as a whole number of at least 1.
    pub(crate) fn size(&mut self, median: f64, sigma: f64) -> u64 {
        whole(self.log_normal(median, sigma).round()).max(1)
    }

    /// One of them; empty when there is none.
    pub(crate) fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let index = self.below(of.len() as u64) as usize;
        of.get(index).copied().unwrap_or_default()
    }

    /// An id of so many letters and digits.
    pub(crate) fn id(&mut self, length: usize) -> String {
        const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        (0..length).map(|_| char::from(LETTERS[self.below(62) as usize])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_name_others() {
        let mut first = Random::new(7, "a");
        let (mut again, mut other) = (Random::new(7, "a"), Random::new(7, "b"));
        let numbers: Vec<u64> = (0..4).map(|_| first.next()).collect();
        assert_eq!(numbers, (0..4).map(|_| again.next()).collect::<Vec<_>>());
        assert_ne!(numbers, (0..4).map(|_| other.next()).collect::<Vec<_>>());
    }

    #[test]
    fn distributions_have_their_means() {
        let mut random = Random::new(1, "");
        let mut sizes: Vec<f64> = (0..9999).map(|_| random.log_normal(800.0, 0.5)).collect();
        sizes.sort_by(f64::total_cmp);
        assert!((sizes[4999] - 800.0).abs() < 30.0, "median {}", sizes[4999]);
        let gaps: f64 = (0..9999).map(|_| random.exponential(3.0)).sum::<f64>() / 9999.0;
        assert!((gaps - 3.0).abs() < 0.15, "mean {gaps}");
    }
}
