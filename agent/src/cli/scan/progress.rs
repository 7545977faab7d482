//! What a person sees while a scan runs: one line on standard error that shows how far it is. Enters: counts. Leaves: nothing that
//! stays; and nothing at all when standard error is no terminal.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressState, ProgressStyle};

/// How often the line is drawn.
const TICK: Duration = Duration::from_millis(120);

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    files: Arc<AtomicU64>,
    findings: Arc<AtomicU64>,
}

impl Progress {
    /// `bytes` grows while files are scanned.
    pub(super) fn new(bytes: &Arc<AtomicU64>) -> Self {
        let (files, findings) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let bar = io::stderr().is_terminal().then(|| spinner(bytes, &files, &findings)).flatten();
        Self { bar, files, findings }
    }

    pub(super) fn file(&self) {
        self.files.fetch_add(1, Relaxed);
    }

    pub(super) fn finding(&self) {
        self.findings.fetch_add(1, Relaxed);
    }

    /// Writes something else without the line in its way.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How much there is to scan nobody knows before the walk is over, and compressed files grow; so it shows what is done.
fn spinner(bytes: &Arc<AtomicU64>, files: &Arc<AtomicU64>, findings: &Arc<AtomicU64>) -> Option<ProgressBar> {
    let (bytes, files, findings) = (Arc::clone(bytes), Arc::clone(files), Arc::clone(findings));
    // Writing to a line cannot fail.
    let figures = move |state: &ProgressState, line: &mut dyn std::fmt::Write| {
        let done = bytes.load(Relaxed);
        let elapsed_ms = u64::try_from(state.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = done.saturating_mul(1000) / elapsed_ms;
        let _ = write!(
            line,
            "{} scanned ({}/s), {} files, {} findings",
            HumanBytes(done),
            HumanBytes(rate),
            HumanCount(files.load(Relaxed)),
            HumanCount(findings.load(Relaxed))
        );
    };
    let style = ProgressStyle::with_template("{spinner} {figures}").ok()?.with_key("figures", figures);
    let bar = ProgressBar::new_spinner().with_style(style);
    bar.enable_steady_tick(TICK);
    Some(bar)
}
