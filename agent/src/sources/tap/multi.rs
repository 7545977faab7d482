//! Probes through `uprobe_multi` links (Linux 6.6): one link a file and program, however many sites. Enters: the kernel object, the
//! maps that were made for it, sites of a file. Leaves: links, which the kernel removes when this process ends. Never asks for
//! `CAP_SYS_ADMIN`, as a probe through perf_event_open does; never filters by process, which kernels before 6.10 did wrongly.
//!
//! The kernel wants to know at the load that a program is for such links (`expected_attach_type`). aya 0.14 cannot say it, so the
//! programs are loaded here: `aya_obj`, which aya itself uses, parses the object and fills in maps and calls.

use std::{
    collections::{HashMap, HashSet},
    error::Error,
    ffi::CString,
    fs::File,
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya::{Ebpf, maps::Map};
use aya_obj::{
    Object,
    generated::{BPF_ALU64, BPF_EXIT, BPF_JMP, BPF_K, BPF_MOV, bpf_insn},
};

use super::ffi::{self, Probe, Types};

/// Programs of the object, loaded for links of this kind.
pub(super) struct Programs {
    by_name: HashMap<&'static str, OwnedFd>,
}

/// A program at some places of a file. Dropped, it is taken off.
#[derive(Debug)]
pub(super) struct Link(#[expect(dead_code, reason = "held for the end of its life alone")] OwnedFd);

/// Why the programs cannot be used in this way.
#[derive(Debug, thiserror::Error)]
pub(super) enum MultiError {
    /// The kernel has no such links.
    #[error("this kernel has no uprobe_multi links (they came with Linux 6.6)")]
    Unknown,
    /// The kernel refuses.
    #[error("{what}: {source}")]
    Kernel {
        /// What was asked of it.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The object cannot be made ready; the loader of perf-event probes says more about it.
    #[error("the kernel object: {0}")]
    Object(Box<dyn Error + Send + Sync>),
}

/// Asks the kernel for a link that it must refuse, and sees from the refusal whether it knows such links. Needs the rights that
/// loading a program needs.
pub(super) fn supported() -> Result<(), MultiError> {
    // r0 = 0; exit
    let instructions = [instruction(BPF_ALU64 | BPF_MOV | BPF_K), instruction(BPF_JMP | BPF_EXIT)];
    let probe = Probe { name: "outflow_ask", instructions: &instructions, license: c"GPL", types: None };
    let program = ffi::load_probe(probe).map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => MultiError::Unknown,
        _ => refused("load a program")(error),
    })?;
    match ffi::link(program.as_fd(), c"/", (&[0], &[0]), false) {
        // The root is no regular file: what a kernel says that has understood the question.
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(refused("make a link")(error)),
        _ => Err(MultiError::Unknown),
    }
}

impl Programs {
    /// Loads `names` out of `object`, with the maps and settings that aya made for it. Whether the kernel knows such links is
    /// asked first.
    pub(super) fn load(object: &[u8], loaded: &Ebpf, names: &[&'static str]) -> Result<Self, MultiError> {
        supported()?;
        let mut object = Object::parse(object).map_err(broken)?;
        let types = load_types(&mut object)?;
        let code: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let maps = mem::take(&mut object.maps);
        let mut made = Vec::new();
        for (name, map) in &maps {
            let found = loaded.maps().find(|(other, _)| other == name).and_then(|(_, map)| descriptor(map));
            match found {
                Some(descriptor) => made.push((name.as_str(), descriptor.as_raw_fd(), map)),
                // aya leaves settings out on kernels without global data, which are far older than these links.
                None => return Err(broken(format!("nobody made the map {name}"))),
            }
        }
        object.relocate_maps(made.into_iter(), &code).map_err(broken)?;
        object.relocate_calls(&code).map_err(broken)?;
        object.sanitize_functions(aya::features());
        let by_name =
            names.iter().map(|name| Ok((*name, load(&object, name, types.as_ref())?))).collect::<Result<_, _>>()?;
        Ok(Self { by_name })
    }

    /// Places a program at offsets of `file`, all or none. Each offset comes with its cookie.
    pub(super) fn attach(&self, name: &str, file: &File, sites: &[(u64, u64)], at_return: bool) -> io::Result<Link> {
        let program = self.by_name.get(name).ok_or(io::ErrorKind::NotFound)?;
        // The open file keeps the inode, whatever happens to its name.
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let (offsets, cookies): (Vec<u64>, Vec<u64>) = sites.iter().copied().unzip();
        ffi::link(program.as_fd(), &path, (&offsets, &cookies), at_return).map(Link)
    }
}

/// The object's own types, when it has some and the kernel takes them.
fn load_types(object: &mut Object) -> Result<Option<OwnedFd>, MultiError> {
    let Some(features) = aya::features().btf() else { return Ok(None) };
    let Some(types) = object.fixup_and_sanitize_btf(features).map_err(broken)? else { return Ok(None) };
    ffi::load_types(&types.to_bytes()).map(Some).map_err(refused("load the object's types"))
}

fn load(object: &Object, name: &str, types: Option<&OwnedFd>) -> Result<OwnedFd, MultiError> {
    let missing = || broken(format!("there is no program {name}"));
    let program = object.programs.get(name).ok_or_else(missing)?;
    let function = object.functions.get(&program.function_key()).ok_or_else(missing)?;
    let functions = function.func_info.func_info_bytes();
    let types = types.map(|types| Types {
        btf: types.as_fd(),
        functions: &functions,
        record_bytes: function.func_info_rec_size as u32,
    });
    let probe = Probe { name, instructions: &function.instructions, license: &program.license, types };
    ffi::load_probe(probe).map_err(refused("load a program"))
}

fn descriptor(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::RingBuf(data) => Some(data.fd().as_fd()),
        _ => None,
    }
}

fn instruction(code: u32) -> bpf_insn {
    bpf_insn { code: code as u8, _bitfield_align_1: [], _bitfield_1: bpf_insn::new_bitfield_1(0, 0), off: 0, imm: 0 }
}

fn refused(what: &'static str) -> impl Fn(io::Error) -> MultiError {
    move |source| MultiError::Kernel { what, source }
}

fn broken(error: impl Into<Box<dyn Error + Send + Sync>>) -> MultiError {
    MultiError::Object(error.into())
}
