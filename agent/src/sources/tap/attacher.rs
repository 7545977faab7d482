//! The privileged process of the tap, the hidden command `outflow attacher`. Enters: one request over the socket that is its
//! standard input. Leaves: the maps' descriptors, then notices and answers. Ends when the other side hangs up, and the probes
//! with it. Never reads the ring: what the processes in scope send and get does not come into this process.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    thread::{self, Builder},
};

use crossbeam_channel::{Sender, bounded};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use super::{
    LinkError, Notice, Scope, Settings, TapError,
    attach::{self, Attached, Wanted},
    coverage::world::{Facts as _, Fates, Here},
    link::{Ask, Link, Received, Say},
    maps::Maps,
    multi,
    process::{self, Origins},
};
use crate::{
    rules::vendors::HostPattern,
    sources::privileges::{self, PrivilegeError, Rights},
};

/// The table of hosts in the kernel takes no more.
const HOSTS_MAX: usize = 8_192;
/// Libraries that can be probed before anybody maps them.
const KNOWN_MAX: usize = 64;
/// Questions about coverage that may wait.
const LOOKS_MAX: usize = 64;
/// Longest reason that is passed on.
const WHY_MAX_BYTES: usize = 4_096;

/// Why the attaching process ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum AttacherError {
    /// A person started it.
    #[error("`outflow attacher` is started by `outflow run`, which talks to it over a socket; it is not for people")]
    NotStartedByUs,
    /// Signals or descriptors.
    #[error("cannot set up: {0}")]
    SetUp(#[from] io::Error),
    /// It could not give up what it does not need.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// The talk with the other process.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// The whole life of the attaching process. Must be called before any thread is started.
pub fn serve_standard_input() -> Result<(), AttacherError> {
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).map_err(io::Error::from)?;
    let link = Link::inherited(socket).ok_or(AttacherError::NotStartedByUs)?;
    let reader = link.maker()?;
    privileges::keep_only(kept(multi::supported().is_ok() && !records_want_more(), Rights::held()?))?;
    // A terminal and a service manager send these to both processes. The other one decides when this one may go: it hangs up.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    // Both only make things better where they are allowed.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    let _ = rustix::thread::set_name(c"outflow-attach");
    Ok(serve(&Arc::new(link), reader, |asked, notice| {
        let Asked { hosts, known, scope, settings } = asked;
        attach::attach(&Wanted { scope, known, settings: *settings, reader }, hosts.iter(), notice)
    })?)
}

/// Debian's kernels know a third level of `kernel.perf_event_paranoid`, which is their default: mapping records are `SYS_ADMIN`'s alone
/// then, whatever else one holds (seen on 6.12 and 7.3 by `cargo xtask kernels`).
fn records_want_more() -> bool {
    let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok();
    level.and_then(|level| level.trim().parse::<i32>().ok()).is_some_and(|level| level > 2)
}

/// What the attaching process needs for life. It gives up `SYS_ADMIN`, which is nearly everything, unless that is how probes are
/// placed or mappings watched here, or was given in place of the newer rights that were split off from it.
fn kept(has_links: bool, held: Rights) -> Rights {
    if has_links && privileges::LOAD.without(held).is_empty() {
        privileges::ATTACH
    } else {
        privileges::ATTACH.and(privileges::ATTACH_BY_PERF_EVENT)
    }
}

/// The request, put together from its messages.
#[derive(Debug)]
struct Asked {
    hosts: Vec<HostPattern>,
    known: Vec<PathBuf>,
    scope: Scope,
    settings: Settings,
}

type Tell = Box<dyn FnMut(Notice) + Send>;

fn serve(
    link: &Arc<Link>,
    reader: u32,
    attach: impl FnOnce(&Asked, Tell) -> Result<(Maps, Attached), TapError>,
) -> Result<(), LinkError> {
    let Some(asked) = request(link)? else { return Ok(()) };
    let teller = Arc::clone(link);
    // When nobody takes notices any more, nobody needs them; the main loop ends by itself then.
    let tell = Box::new(move |notice| drop(teller.send(&Say::Notice(shortened(notice)), &[])));
    let attached = match attach(&asked, tell) {
        Ok((maps, attached)) => {
            link.send(&Say::Ready, &maps.descriptors())?;
            attached
        }
        Err(error) => {
            let (why, permission) = (short(error.to_string()), error.is_permission());
            return link.send(&Say::Failed { why, permission }, &[]);
        }
    };
    drop(asked);
    let looks = look(link, reader, attached.fates())?;
    let origins = attached.origins();
    let mut attached = Some(attached);
    // The scope waits: the probes are off before this process may end.
    let ended = thread::scope(|detaching| {
        let ended = answer(link, reader, &mut attached, &origins, &looks, detaching);
        // Whoever still says something to nobody waits no longer; the probes' thread may be one of them.
        link.hang_up();
        ended
    });
    drop(attached);
    ended
}

/// Answers until the other side hangs up.
fn answer<'scope>(
    link: &Arc<Link>,
    reader: u32,
    attached: &mut Option<Attached>,
    origins: &Origins,
    looks: &Sender<Ask>,
    detaching: &'scope thread::Scope<'scope, '_>,
) -> Result<(), LinkError> {
    while let Some(Received { message, .. }) = link.receive()? {
        match message {
            Ask::Origin(pid) if pid != reader => link.send(&Say::Origin(origins.of(pid)), &[])?,
            Ask::Origin(pid) => link.send(&Say::Origin(process::gone(pid)), &[])?,
            // To look through files takes a while, and other questions wait for nobody. One that finds no room is not answered.
            question @ (Ask::Names { .. } | Ask::Look { .. }) => {
                drop(looks.try_send(question));
            }
            // Taking them off takes time; questions about the last records go on meanwhile.
            Ask::Stop => {
                let Some(attached) = attached.take() else { return Err(LinkError::OutOfTurn("Stop")) };
                let link = Arc::clone(link);
                let detach = move || {
                    drop(attached);
                    drop(link.send(&Say::Detached, &[]));
                };
                Builder::new().name("outflow-detach".to_owned()).spawn_scoped(detaching, detach)?;
            }
            Ask::Hosts(_) | Ask::Known(_) | Ask::Start { .. } => return Err(LinkError::OutOfTurn("a second request")),
        }
    }
    Ok(())
}

/// Answers questions about coverage, one after the other, until there can be none any more.
fn look(link: &Arc<Link>, reader: u32, fates: Fates) -> Result<Sender<Ask>, LinkError> {
    let (ask, asked) = bounded(LOOKS_MAX);
    let link = Arc::clone(link);
    let answer = move || {
        let mut here = Here::new(fates);
        for question in asked {
            let answer = match question {
                // Nobody looks at the one that asks.
                Ask::Look { number, pid } => Say::Look { number, look: here.process(pid).filter(|_| pid != reader) },
                Ask::Names { number, pid, address } => Say::Names { number, names: here.names(pid, address) },
                _ => continue,
            };
            if link.send(&answer, &[]).is_err() {
                return;
            }
        }
    };
    Builder::new().name("outflow-look".to_owned()).spawn(answer)?;
    Ok(ask)
}

/// Everything up to the order to start; `None` when the other side changed its mind.
fn request(link: &Link) -> Result<Option<Asked>, LinkError> {
    let (mut hosts, mut known) = (Vec::new(), Vec::new());
    while let Some(Received { message, .. }) = link.receive()? {
        match message {
            Ask::Hosts(more) if hosts.len() + more.len() <= HOSTS_MAX => hosts.extend(more),
            Ask::Known(library) if known.len() < KNOWN_MAX => known.push(PathBuf::from(library)),
            Ask::Start { scope, settings } => return Ok(Some(Asked { hosts, known, scope, settings })),
            Ask::Hosts(_) => return Err(LinkError::OutOfTurn("more hosts than there is room for")),
            Ask::Known(_) => return Err(LinkError::OutOfTurn("more libraries than there is room for")),
            Ask::Origin(_) | Ask::Names { .. } | Ask::Look { .. } | Ask::Stop => {
                return Err(LinkError::OutOfTurn("a question before the request"));
            }
        }
    }
    Ok(None)
}

/// Names of files are bounded by the kernel, reasons are not.
fn shortened(notice: Notice) -> Notice {
    match notice {
        Notice::Refused { why, library, pid, stack } => Notice::Refused { why: short(why), library, pid, stack },
        Notice::Coverage { why } => Notice::Coverage { why: short(why) },
        Notice::Tapped { .. } | Notice::Unseen(_) | Notice::Handshake(_) | Notice::Ended { .. } => notice,
    }
}

fn short(mut why: String) -> String {
    why.truncate(why.floor_char_boundary(WHY_MAX_BYTES));
    why
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Serves a talk without a kernel: attaching is not permitted. Gives how it ended, and what the attacher said last.
    fn served(talk: impl FnOnce(&Link)) -> (Result<(), LinkError>, Option<Say>) {
        let (here, there) = Link::pair().unwrap();
        let there = Arc::new(Link::inherited(there).unwrap());
        let serving = thread::spawn(move || {
            serve(&there, 1, |asked, mut tell| {
                let (library, why) = (asked.known.concat(), "x".repeat(100_000));
                tell(Notice::Refused { library, pid: None, stack: None, why });
                Err(TapError::Watch(io::ErrorKind::PermissionDenied.into()))
            })
        });
        talk(&here);
        let mut last = None;
        while let Ok(Some(Received { message, .. })) = here.receive() {
            last = Some(message);
        }
        (serving.join().unwrap(), last)
    }

    trait Concat {
        fn concat(&self) -> PathBuf;
    }

    impl Concat for Vec<PathBuf> {
        fn concat(&self) -> PathBuf {
            self.iter().fold(PathBuf::from("/"), |all, one| all.join(one))
        }
    }

    fn start() -> Ask {
        Ask::Start { scope: Scope::Children, settings: Settings::default() }
    }

    #[test]
    fn the_old_right_is_kept_only_where_it_is_needed() {
        let (new, old) = (privileges::ATTACH, privileges::ATTACH_BY_PERF_EVENT);
        assert_eq!(kept(true, new.and(old)), new);
        assert_eq!(kept(true, new), new);
        // It was given in place of the newer ones.
        assert_eq!(kept(true, old), new.and(old));
        assert_eq!(kept(false, new.and(old)), new.and(old));
    }

    #[test]
    fn a_refusal_comes_in_words() {
        let (ended, said) = served(|link| {
            link.send(&Ask::Hosts(vec![HostPattern::Exact("a.test".to_owned())]), &[]).unwrap();
            link.send(&Ask::Known("lib".into()), &[]).unwrap();
            link.send(&start(), &[]).unwrap();
            // News come first, cut to what a message holds.
            let Some(Received { message: Say::Notice(Notice::Refused { library, why, .. }), .. }) =
                link.receive().unwrap()
            else {
                panic!("no notice")
            };
            assert_eq!((library.as_path(), why.len()), (Path::new("/lib"), WHY_MAX_BYTES));
        });
        ended.unwrap();
        let Some(Say::Failed { why, permission: true }) = said else { panic!("{said:?}") };
        assert!(why.contains("perf_event_open"), "{why}");
    }

    #[test]
    fn a_hang_up_ends_it() {
        let (ended, said) = served(Link::hang_up);
        ended.unwrap();
        assert!(said.is_none());
        served(|link| {
            link.send(&Ask::Hosts(Vec::new()), &[]).unwrap();
            link.hang_up();
        })
        .0
        .unwrap();
    }

    #[test]
    fn what_is_out_of_turn_or_too_much_ends_it() {
        for early in [Ask::Origin(1), Ask::Look { number: 1, pid: 1 }, Ask::Stop] {
            assert!(matches!(served(|link| link.send(&early, &[]).unwrap()).0, Err(LinkError::OutOfTurn(_))));
        }
        let hosts = Ask::Hosts(vec![HostPattern::Exact("h".to_owned()); 1 << 11]);
        let (ended, _) = served(|link| (0..5).for_each(|_| link.send(&hosts, &[]).unwrap_or(())));
        assert!(matches!(ended, Err(LinkError::OutOfTurn(_))), "{ended:?}");
        let (ended, _) =
            served(|link| (0..=KNOWN_MAX).for_each(|_| link.send(&Ask::Known("x".into()), &[]).unwrap_or(())));
        assert!(matches!(ended, Err(LinkError::OutOfTurn(_))), "{ended:?}");
        let (ended, _) = served(|link| link.send(&"nonsense", &[]).unwrap());
        assert!(matches!(ended, Err(LinkError::Malformed(_))), "{ended:?}");
    }
}
