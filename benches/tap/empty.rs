//! Probes that do nothing: what the kernel itself charges. Enters: places in a library. Leaves: probes, until they are dropped.

use std::num::NonZeroU32;

use aya::{
    Ebpf, EbpfLoader,
    programs::{
        UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope},
    },
};

use crate::{
    load::Flavour,
    place::{Place, Sites},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("OUTFLOW_BPF_OBJECT"));

/// Puts them on both calls of the library, for one process.
pub(crate) fn attach(place: &Place, flavour: Flavour, pid: NonZeroU32, sites: impl Fn(&Place, &str) -> Sites) -> Ebpf {
    let mut bpf =
        EbpfLoader::new().btf(None).map_max_entries("RING", 1 << 16).load(OBJECT).expect("the kernel takes the object");
    for name in ["empty", "empty_ret"] {
        program(&mut bpf, name).load().expect("the kernel takes a program that does nothing");
    }
    let scope = UProbeScope::OneProcess(pid);
    for function in [flavour.write(), flavour.read()] {
        let Sites { entry, leave } = sites(place, function);
        let (name, leaves) = match leave {
            Ok(inside) => ("empty", inside),
            Err(at) => ("empty_ret", vec![at]),
        };
        for (name, offset) in [("empty", entry)].into_iter().chain(leaves.into_iter().map(|offset| (name, offset))) {
            let point = UProbeAttachPoint { location: UProbeAttachLocation::AbsoluteOffset(offset), cookie: None };
            program(&mut bpf, name).attach(point, &place.libssl, scope).expect("a probe");
        }
    }
    bpf
}

fn program<'a>(bpf: &'a mut Ebpf, name: &str) -> &'a mut UProbe {
    bpf.program_mut(name).expect("the object has it").try_into().expect("it is a user probe")
}
