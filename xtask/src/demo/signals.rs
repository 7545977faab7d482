//! Ctrl-C and its like while the demo plays. Enters: signals. Leaves: a readable pipe, and an error that names the signal, so that everything is
//! taken down before the demo ends by it.

use std::{
    fmt,
    io::Read,
    os::unix::net::UnixStream,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag, low_level,
};

/// A signal wants the demo to end.
#[derive(Debug)]
pub(super) struct Interrupted(pub(super) i32);

impl fmt::Display for Interrupted {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "ended by signal {}", self.0)
    }
}

impl std::error::Error for Interrupted {}

/// The signals that end programs.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// The ending signals, held back while this lives and back to their default effect afterwards. One at a time.
pub(super) struct Signals {
    /// One byte for each signal.
    pub(super) pipe: UnixStream,
    /// The newest signal; 0 before the first.
    newest: Arc<AtomicUsize>,
    registered: Vec<SigId>,
}

/// While set, an ending signal does what it does by default. It stays registered for good: without it a signal that was
/// once caught would be ignored for ever (signal-hook keeps its handler).
fn by_default() -> Result<&'static Arc<AtomicBool>> {
    static BY_DEFAULT: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(flag) = BY_DEFAULT.get() {
        return Ok(flag);
    }
    let flag = BY_DEFAULT.get_or_init(Arc::default);
    for signal in ENDING {
        flag::register_conditional_default(signal, Arc::clone(flag)).context("cannot watch for signals")?;
    }
    Ok(flag)
}

impl Signals {
    /// Holds them back.
    pub(super) fn catch() -> Result<Self> {
        by_default()?.store(false, Ordering::SeqCst);
        let (pipe, far) = UnixStream::pair().context("cannot make a pipe for signals")?;
        let mut signals = Self { pipe, newest: Arc::default(), registered: Vec::new() };
        for signal in ENDING {
            // In this order: whoever reads the byte must find the signal's number.
            let number = signal.cast_unsigned() as usize;
            signals.registered.push(flag::register_usize(signal, Arc::clone(&signals.newest), number)?);
            signals.registered.push(low_level::pipe::register(signal, far.try_clone()?)?);
        }
        Ok(signals)
    }

    /// The newest signal that has come.
    pub(super) fn came(&self) -> Result<Option<i32>> {
        Ok(Some(self.newest()?).filter(|signal| *signal != 0))
    }

    /// Fails when a signal has come, from then on.
    pub(super) fn check(&self) -> Result<()> {
        self.came()?.map_or(Ok(()), |signal| Err(Interrupted(signal).into()))
    }

    /// Takes the signal that made the pipe readable.
    pub(super) fn next(&self) -> Result<i32> {
        (&self.pipe).read_exact(&mut [0]).context("cannot read the pipe for signals")?;
        self.newest()
    }

    fn newest(&self) -> Result<i32> {
        Ok(i32::try_from(self.newest.load(Ordering::SeqCst))?)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
        if let Ok(flag) = by_default() {
            flag.store(true, Ordering::SeqCst);
        }
    }
}
