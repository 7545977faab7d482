//! Where the benchmark works. Leaves: the load's program, private copies of its libraries, the yardstick where it can be built. All of it is
//! gone at the end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, read::elf::ElfFile64};

use crate::placement::{self, Function, Leave};

/// Instructions that the yardstick probes: entry and return of `SSL_write`, of `SSL_read`. They are those of one build of libssl.
const YARDSTICK_SITES: [u64; 4] = [0x35996, 0x359b8, 0x35446, 0x35468];

/// A place for everything.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) load: PathBuf,
    /// For LD_LIBRARY_PATH.
    pub(crate) libraries: PathBuf,
    pub(crate) libssl: PathBuf,
    /// The folder of the built yardstick, or why there is none.
    pub(crate) yardstick: Result<PathBuf, String>,
}

/// File offsets at which a call's entry and return are probed.
pub(crate) struct Sites {
    pub(crate) entry: u64,
    /// At instructions, or else at the return address of a function that begins here.
    pub(crate) leave: Result<Vec<u64>, u64>,
}

impl Place {
    pub(crate) fn make() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let load = folder.path().join("load");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/tap/load.c");
        run(Command::new("cc").args(["-O2", "-o"]).arg(&load).arg(source).args(["-lssl", "-lcrypto"]))
            .expect("the load is built: apt-get install gcc libssl-dev");
        let libraries = folder.path().join("lib");
        fs::create_dir(&libraries).expect("a folder");
        let listing = Command::new("ldd").arg(&load).output().expect("ldd");
        for line in String::from_utf8_lossy(&listing.stdout).lines() {
            let mut words = line.split_whitespace();
            if let (Some(name), Some("=>"), Some(path)) = (words.next(), words.next(), words.next())
                && (name.starts_with("libssl") || name.starts_with("libcrypto"))
            {
                fs::copy(path, libraries.join(name)).expect("a private copy");
            }
        }
        let libssl = libraries.join("libssl.so.3");
        let mut place = Self { folder, load, libraries, libssl, yardstick: Err(String::new()) };
        place.yardstick = place.yardstick();
        place
    }

    /// Places as the tap chooses them: in the function that the plain call and its `_ex` flavour share, where there is one.
    pub(crate) fn chosen(&self, function: &str) -> Sites {
        let plain = function.trim_end_matches("_ex");
        let shared = self.inside(&format!("{plain}_ex"));
        match shared.leave {
            Err(at) if at != self.naive(&format!("{plain}_ex")).entry => Sites { entry: at, leave: Err(at) },
            _ => self.inside(function),
        }
    }

    /// Places inside the function itself.
    pub(crate) fn inside(&self, function: &str) -> Sites {
        self.sites(function, |function, code_at| {
            let entry = placement::entry(function, &placement::C_ARGUMENTS);
            match placement::leave(function, code_at) {
                Leave::Inside(addresses) => (entry, Ok(addresses)),
                Leave::Return(address) => (entry, Err(address)),
            }
        })
    }

    /// Their first instructions, as everybody else does it.
    pub(crate) fn naive(&self, function: &str) -> Sites {
        self.sites(function, |function, _| (function.address, Err(function.address)))
    }

    fn sites(
        &self,
        name: &str,
        choose: impl FnOnce(Function<'static>, &dyn Fn(u64) -> Option<&'static [u8]>) -> (u64, Result<Vec<u64>, u64>),
    ) -> Sites {
        // A benchmark reads one library a few times; it may keep them.
        let file: &'static [u8] = fs::read(&self.libssl).expect("the private copy").leak();
        let elf = ElfFile64::<object::Endianness>::parse(file).expect("an ELF file");
        let symbol = elf.dynamic_symbols().find(|symbol| symbol.name() == Ok(name)).expect("a symbol of libssl");
        let offset = |address: u64| {
            elf.segments().find_map(|segment| {
                let (start, size) = segment.file_range();
                let inside = address.checked_sub(segment.address()).filter(|inside| *inside < size)?;
                Some(start + inside)
            })
        };
        let code = |address: u64, size: u64| -> Option<&'static [u8]> {
            let start = usize::try_from(offset(address)?).ok()?;
            file.get(start..start + usize::try_from(size).ok()?)
        };
        let function =
            Function { address: symbol.address(), code: code(symbol.address(), symbol.size()).expect("code") };
        let (entry, leave) = choose(function, &|address| code(address, 32));
        let place = |address| offset(address).expect("code is in the file");
        Sites { entry: place(entry), leave: leave.map(|at| at.into_iter().map(place).collect()).map_err(place) }
    }

    /// Builds it as its README says, where its sources are and its offsets hold.
    fn yardstick(&self) -> Result<PathBuf, String> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let sources = workspace.join("../shared/tap-bench");
        if !sources.join("capture.c").is_file() {
            return Err(format!("there is no {}", sources.display()));
        }
        let mut here = Vec::new();
        for function in ["SSL_write", "SSL_read"] {
            let sites = self.inside(function);
            here.push(sites.entry);
            here.extend(sites.leave.unwrap_or_default());
        }
        if here != YARDSTICK_SITES {
            return Err(format!("its places are those of another libssl ({YARDSTICK_SITES:x?}, here {here:x?})"));
        }
        let folder = self.folder.path().join("yardstick");
        fs::create_dir(&folder).map_err(|error| error.to_string())?;
        let script = format!(
            "bpftool btf dump file /sys/kernel/btf/vmlinux format c > vmlinux.h && \
             clang-22 -O2 -g -target bpf -D__TARGET_ARCH_x86 -I. -c {0}/capture.bpf.c -o capture.bpf.o && \
             cc -O2 -w -o capture {0}/capture.c -lbpf -lelf -lz",
            sources.display()
        );
        run(Command::new("sh").args(["-c", &script]).current_dir(&folder))
            .map_err(|error| format!("{error}: apt-get install clang-22 bpftool libbpf-dev libelf-dev"))?;
        Ok(folder)
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
