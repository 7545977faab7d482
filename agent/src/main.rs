//! The binary: hands its arguments to `cli` and exits with what it says.

use std::process::ExitCode;

/// Calls and findings are many small allocations, and glibc's allocator puts them together again at times, which takes microseconds: with this
/// one the slowest calls take half as long (docs/BENCHMARKS.md, detectors).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    outflow::cli::main()
}
