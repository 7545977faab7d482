//! The taps of a config. Enters: the section. Leaves: one attaching process and one tap for each scope. Reads nothing of a process that
//! the section does not name.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;

use super::figures::TapFigures;
use crate::{
    cli::{cgroup::Group, tap::tell},
    config,
    engine::{Deliver, Session},
    rules::VendorTable,
    sources::{
        Input, Origin, StreamId,
        tap::{Attacher, Ledger, Notice, Outcome, Scope, Settings, Tap, TapError},
    },
};

/// Streams of one tap are apart from those of another by the highest bits of their number.
const TAP_BITS: u32 = 56;

/// Look at requests to hosts that are not listed too.
type Discover = bool;

/// Attaching processes that are there and wait, each for its scope.
pub(super) struct Attachers(Vec<(Attacher, Scope, Discover)>);

/// Running taps.
pub(super) struct Taps(Vec<Tap>);

impl Attachers {
    /// Starts them, while there are rights to pass on.
    pub(super) fn spawn(config: &config::Tap) -> anyhow::Result<Self> {
        let scopes = if config.enabled { scopes(config)? } else { Vec::new() };
        let attachers = scopes.into_iter().map(|(scope, discover)| Ok((Attacher::spawn()?, scope, discover)));
        Ok(Self(attachers.collect::<Result<_, TapError>>()?))
    }

    /// Starts the taps.
    pub(super) fn start(
        self,
        config: &config::Tap,
        vendors: &Arc<VendorTable>,
        deliver: &Deliver,
        session: &Arc<Session>,
    ) -> anyhow::Result<Taps> {
        let mut taps = Vec::new();
        for (number, (attacher, scope, discover)) in (0_u64..).zip(self.0) {
            let (wanted, deliver) = (config.clone(), deliver.clone());
            let deliver = move |input: Input| {
                // What is not meant goes no further, whatever the kernel handed over.
                if !wanted.wants(&input.origin.service, &input.origin.process) {
                    return true;
                }
                deliver.input(Input { stream: StreamId(input.stream.0 | number << TAP_BITS), ..input })
            };
            let settings = Settings {
                discover,
                peek_bytes: config.peek_bytes.bytes() as u32,
                call_bytes_max: config.call_bytes.bytes(),
                ring_bytes: config.ring_bytes.bytes() as u32,
                ..Settings::default()
            };
            let (wanted, session, listed) = (config.clone(), Arc::clone(session), Arc::clone(vendors));
            let notice = move |news: Notice| {
                let is_wanted = |origin: &Origin| wanted.wants(&origin.service, &origin.process);
                match &news {
                    Notice::Unseen(unseen) if is_wanted(&unseen.look.origin) => {
                        session.unseen(unseen, &listed);
                    }
                    Notice::Handshake(failed) if is_wanted(&failed.origin) => {
                        session.handshake(failed, &listed);
                    }
                    _ => {}
                }
                tell(&news);
            };
            taps.push(Tap::start_apart(attacher, &scope, &[], settings, vendors, deliver, notice)?);
        }
        Ok(Taps(taps))
    }
}

impl Taps {
    /// None of the attaching processes has ended.
    pub(super) fn are_attached(&self) -> bool {
        self.0.iter().all(Tap::is_attached)
    }

    /// What became of the calls of all of them.
    pub(super) fn figures(&self) -> TapFigures {
        let mut figures = TapFigures::default();
        for ledger in self.0.iter().filter_map(|tap| tap.ledger().ok()) {
            for (fate, calls) in ledger.fates() {
                *figures.calls.entry(fate).or_default() += calls;
            }
            figures.bytes += ledger.of(Outcome::Copied).bytes;
            for (reason, calls) in ledger.missed() {
                figures.lost.entry(reason).or_default().0 += calls;
            }
            for (reason, tally) in ledger.losses() {
                let sum = figures.lost.entry(reason).or_default();
                *sum = (sum.0 + tally.calls, sum.1 + tally.bytes);
            }
        }
        figures
    }

    /// Ends them; what they had read is delivered.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        let ended: Vec<Result<Ledger, TapError>> = self.0.into_iter().map(Tap::stop).collect();
        Ok(ended.into_iter().try_for_each(|ended| ended.map(drop))?)
    }
}

/// What the section means.
fn scopes(config: &config::Tap) -> anyhow::Result<Vec<(Scope, Discover)>> {
    let cgroup = |folder: PathBuf| -> anyhow::Result<Scope> {
        let group = Group::open(&folder, false).context("[tap] cgroups")?;
        Ok(Scope::Cgroup { folder: group.folder().to_owned(), level: group.level() })
    };
    match config.scope {
        None => Ok(Vec::new()),
        Some(config::Scope::Processes) => Ok(vec![(Scope::Processes(config.pids.clone()), false)]),
        Some(config::Scope::Cgroup) => config
            .cgroups
            .iter()
            .map(|folder| Ok((cgroup(folder.get().to_owned())?, config.discover.contains(folder))))
            .collect(),
        // Every process is in a control group below the root.
        Some(config::Scope::Host) => Ok(vec![(cgroup(Group::root()?)?, false)]),
    }
}

/// Is this what a missing right looks like?
pub(super) fn is_permission(error: &anyhow::Error) -> bool {
    error.downcast_ref::<TapError>().is_some_and(TapError::is_permission)
}
