//! The maps that the kernel programs share with whoever reads the ring. Enters: maps that this process made, or descriptors of
//! those that another one made. Leaves: [`Channels`] and [`Counters`]. A descriptor that is no map, or one of another shape, is
//! an error, never believed.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};

use super::{
    ffi::{Key, Value},
    ledger::Ledger,
};

/// How many maps the two sides share.
pub(super) const COUNT: usize = 5;

/// The maps as they were made, before anybody uses them.
pub(super) struct Maps {
    pub(super) ring: Map,
    pub(super) verdicts: Map,
    pub(super) connections: Map,
    pub(super) state: Map,
    pub(super) counters: Map,
}

/// The maps that the reader works with.
pub(super) struct Channels {
    /// Ring of records.
    pub ring: RingBuf<MapData>,
    /// Verdicts by connection id.
    pub verdicts: HashMap<MapData, u64, u32>,
    /// Connections.
    pub connections: HashMap<MapData, Key, Value>,
    /// Slot 1 says that the reader sleeps.
    pub state: Array<MapData, u64>,
}

/// Reads the loss counters, from any thread.
pub(super) struct Counters(PerCpuArray<MapData, u64>);

impl Maps {
    /// Their descriptors, in the order in which [`Maps::from_descriptors`] wants them.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        [&self.ring, &self.verdicts, &self.connections, &self.state, &self.counters]
            .into_iter()
            .filter_map(|map| match map {
                Map::RingBuf(data) | Map::HashMap(data) | Map::Array(data) | Map::PerCpuArray(data) => {
                    Some(data.fd().as_fd())
                }
                _ => None,
            })
            .collect()
    }

    /// From descriptors that another process sent. The kernel says what each of them is.
    pub(super) fn from_descriptors(descriptors: [OwnedFd; COUNT]) -> Result<Self, MapError> {
        let [ring, verdicts, connections, state, counters] = descriptors;
        let map = |descriptor| Map::from_map_data(MapData::from_fd(descriptor)?);
        Ok(Self {
            ring: map(ring)?,
            verdicts: map(verdicts)?,
            connections: map(connections)?,
            state: map(state)?,
            counters: map(counters)?,
        })
    }

    /// Makes them usable; types and sizes are compared with what the programs of this build have.
    pub(super) fn open(self) -> Result<(Channels, Counters), MapError> {
        let channels = Channels {
            ring: RingBuf::try_from(self.ring)?,
            verdicts: HashMap::try_from(self.verdicts)?,
            connections: HashMap::try_from(self.connections)?,
            state: Array::try_from(self.state)?,
        };
        Ok((channels, Counters(PerCpuArray::try_from(self.counters)?)))
    }
}

impl Counters {
    /// Sums over the processors.
    pub(super) fn read(&self) -> Result<Ledger, MapError> {
        let mut sums = [0u64; outflow_ebpf::wire::COUNTERS as usize];
        for (slot, sum) in (0..).zip(&mut sums) {
            *sum = self.0.get(&slot, 0)?.iter().sum();
        }
        Ok(Ledger::new(&sums))
    }
}
