//! What became of every call and every byte. Enters: the kernel's counters. Leaves: [`Ledger`]. Nothing is ever estimated:
//! each call and each byte has exactly one outcome, so the sum over the outcomes is what the processes did.

use outflow_ebpf::wire::{self, Outcome};

/// Calls and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// TLS calls.
    pub calls: u64,
    /// Plaintext bytes.
    pub bytes: u64,
}

/// The kernel's counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    outcomes: [Tally; Outcome::ALL.len()],
    /// Server names that did not fit the ring.
    pub opens_lost: u64,
    /// Ends of connections and processes that did not fit the ring.
    pub ends_lost: u64,
    /// Returns without an entry, with unknown bytes: calls in flight when the probe was attached, or no room for the entry.
    pub unpaired: u64,
    /// Calls whose bytes come again (`SSL_peek`), and those bytes: no call of their own.
    pub reread: Tally,
    /// Addresses of connections that did not fit the ring: coverage does not know of them.
    pub connects_lost: u64,
    /// Child processes that did not fit the table of processes in scope: they are not tapped.
    pub forks_lost: u64,
}

impl Ledger {
    /// From the summed counter slots.
    pub fn new(slots: &[u64; wire::COUNTERS as usize]) -> Self {
        let tally = |at: u32| Tally { calls: slots[at as usize], bytes: slots[at as usize + 1] };
        Self {
            outcomes: Outcome::ALL.map(|outcome| tally(outcome.index())),
            opens_lost: slots[wire::OPENS_LOST as usize],
            ends_lost: slots[wire::ENDS_LOST as usize],
            reread: tally(wire::REREADS),
            unpaired: slots[wire::UNPAIRED as usize],
            connects_lost: slots[wire::CONNECTS_LOST as usize],
            forks_lost: slots[wire::FORKS_LOST as usize],
        }
    }

    /// Calls and bytes with one outcome.
    pub fn of(&self, outcome: Outcome) -> Tally {
        self.outcomes[outcome as usize]
    }

    /// Outcomes that are losses, with a name for people, when there are any.
    pub fn losses(&self) -> impl Iterator<Item = (&'static str, Tally)> {
        [
            ("ring full", Outcome::RingFull),
            ("page not in memory", Outcome::NotResident),
            ("past the cap of one call", Outcome::OverCap),
            ("table of connections full", Outcome::TableFull),
            ("no buffer in the process (SSL_sendfile)", Outcome::Uncovered),
        ]
        .map(|(name, outcome)| (name, self.of(outcome)))
        .into_iter()
        .filter(|(_, tally)| *tally != Tally::default())
    }

    /// Outcomes by which a connection was left alone, when there are any.
    pub fn left_alone(&self) -> impl Iterator<Item = (&'static str, Tally)> {
        [
            ("host not listed", Outcome::Unlisted),
            ("no host name known", Outcome::Undecided),
            ("request head read for the host name", Outcome::Peeked),
        ]
        .map(|(name, outcome)| (name, self.of(outcome)))
        .into_iter()
        .filter(|(_, tally)| *tally != Tally::default())
    }

    /// What happened to all calls, by a word for each fate: every call has one.
    pub fn fates(&self) -> [(&'static str, u64); 4] {
        [
            ("whole", self.whole_calls()),
            ("gaps", self.gapped_calls()),
            ("refused", self.refused_calls()),
            ("lost", self.lost_calls()),
        ]
    }

    /// What was missed without a known number of bytes, with a name for people, when there is any.
    pub fn missed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("server name lost (ring full)", self.opens_lost),
            ("call in flight when the tap was attached", self.unpaired),
            ("child process not tapped (table full)", self.forks_lost),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
    }

    /// Calls that were handed over whole.
    pub fn whole_calls(&self) -> u64 {
        self.of(Outcome::Copied).calls
    }

    /// Calls that were handed over with gaps; the bytes of the gaps are among the losses.
    pub fn gapped_calls(&self) -> u64 {
        self.of(Outcome::Gapped).calls
    }

    /// Calls of connections that were left alone.
    pub fn refused_calls(&self) -> u64 {
        self.left_alone().map(|(_, tally)| tally.calls).sum()
    }

    /// Calls of which nothing was handed over though it should have been.
    pub fn lost_calls(&self) -> u64 {
        self.losses().map(|(_, tally)| tally.calls).sum()
    }

    /// All calls that returned data, and their bytes: whole, with gaps, refused and lost ones.
    pub fn seen(&self) -> Tally {
        self.outcomes.iter().fold(Tally::default(), |sum, tally| Tally {
            calls: sum.calls + tally.calls,
            bytes: sum.bytes + tally.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read_by_their_names() {
        let mut slots = [0; wire::COUNTERS as usize];
        slots[Outcome::Copied.index() as usize] = 2;
        slots[Outcome::Copied.index() as usize + 1] = 250;
        slots[Outcome::RingFull.index() as usize] = 1;
        slots[Outcome::RingFull.index() as usize + 1] = 50;
        let ledger = Ledger::new(&slots);
        assert_eq!(ledger.seen(), Tally { calls: 3, bytes: 300 });
        assert_eq!(ledger.fates().iter().map(|(_, calls)| calls).sum::<u64>(), ledger.seen().calls);
        assert_eq!(ledger.losses().collect::<Vec<_>>(), [("ring full", Tally { calls: 1, bytes: 50 })]);
    }
}
