//! The binary: hands its arguments to `cli` and exits with what it says.

use std::process::ExitCode;

/// Calls and findings are many small allocations, and glibc's allocator puts them together again at times, which takes microseconds: with this
/// one the slowest calls take half as long (docs/BENCHMARKS.md, detectors).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives back what is free. It does so by itself, but not while a thread has nothing to do: what compiling the rules took stays with an agent that
/// waits (docs/BENCHMARKS.md, memory and start).
fn trim() {
    // SAFETY: mi_collect takes no pointer, may be called by any thread at any time (mimalloc.h), and looks at free memory alone.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

fn main() -> ExitCode {
    outflow::cli::main(trim)
}
