//! The other end of the talk with the attaching process. Enters: what to watch. Leaves: the maps, notices, who a process is. It
//! takes the attacher's word for what is attached, but no length and no order of messages.

use std::{
    net::IpAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    KernelError, LinkError, Notice, Scope, Settings, TapError,
    coverage::world::Facts,
    link::{Ask, Link, Received, Say},
    maps::Maps,
    process,
    reader::WhoIs,
    thread,
};
use crate::{
    child,
    rules::vendors::HostPattern,
    sources::{Origin, coverage::Look},
};

/// Hosts in one message: a name has at most 253 bytes.
const HOSTS_A_MESSAGE: usize = 128;
/// How long the reader waits to hear who a process is. The attacher does nothing else meanwhile and needs some 100 µs.
const ORIGIN_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a look at a process may take: it may look through files of hundreds of megabytes.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long probes may take to come off: some tens of milliseconds for all, by perf events a tenth of a second for each.
const DETACH_TIMEOUT: Duration = Duration::from_secs(30);

/// The attaching process before it was told what to attach to. Started while this process still has its rights, used after it
/// has given them up. Dropped, it ends.
#[derive(Debug)]
pub struct Attacher {
    link: Arc<Link>,
    child: Option<Child>,
}

/// The attaching process at work.
pub(super) struct Connection {
    link: Arc<Link>,
    state: Arc<State>,
    detached: Receiver<()>,
    listener: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    dead: AtomicBool,
    stopping: AtomicBool,
}

impl Attacher {
    /// Starts this very program as `outflow attacher`. Starts no thread.
    pub fn spawn() -> Result<Self, TapError> {
        Self::spawn_program(Path::new("/proc/self/exe"))
    }

    /// Starts `program` as `outflow attacher`; for tests, which are not that program themselves.
    pub fn spawn_program(program: &Path) -> Result<Self, TapError> {
        let (link, theirs) = Link::pair().map_err(TapError::Spawn)?;
        let mut command = Command::new(program);
        // Its end of the socket is its standard input: so no other descriptor of ours is inherited.
        command.arg0("outflow").arg("attacher").env_clear().stdin(theirs).stdout(Stdio::null());
        let child = command.spawn().map_err(TapError::Spawn)?;
        Ok(Self { link: Arc::new(link), child: Some(child) })
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Tells it what to attach to, and waits until that is done.
    pub(super) fn attach<'a>(
        mut self,
        scope: &Scope,
        known: &[PathBuf],
        settings: Settings,
        hosts: impl Iterator<Item = &'a HostPattern>,
        mut notice: impl FnMut(Notice) + Send + 'static,
    ) -> Result<(Maps, Connection, WhoIs, There), TapError> {
        let hosts: Vec<HostPattern> = hosts.cloned().collect();
        let request = hosts
            .chunks(HOSTS_A_MESSAGE)
            .map(|some| Ask::Hosts(some.to_vec()))
            .chain(known.iter().map(|library| Ask::Known(library.clone().into_os_string())))
            .chain([Ask::Start { scope: scope.clone(), settings }]);
        for message in request {
            self.link.send(&message, &[])?;
        }
        let maps = loop {
            let Received { message, descriptors } = self.link.receive()?.ok_or(LinkError::HungUp)?;
            match message {
                Say::Notice(news) => notice(news),
                Say::Ready => {
                    let descriptors =
                        descriptors.try_into().map_err(|_| LinkError::OutOfTurn("too few descriptors"))?;
                    break Maps::from_descriptors(descriptors).map_err(KernelError::from)?;
                }
                Say::Failed { why, permission } => return Err(TapError::Attacher { why, permission }),
                Say::Origin(_) | Say::Names { .. } | Say::Look { .. } | Say::Detached => {
                    return Err(LinkError::OutOfTurn("an answer without a question").into());
                }
            }
        };
        let state = Arc::new(State::default());
        // One question is under way at a time; an answer that came too late may lie before the one that is waited for.
        let (answer, answers) = bounded(4);
        let (look, looks) = bounded(4);
        let (off, detached) = bounded(1);
        let listener = Listener { link: Arc::clone(&self.link), state: Arc::clone(&state), answer, look, off };
        let child = self.child.take();
        let listener = thread("outflow-attached", move || listener.run(child, notice))?;
        let who_is = who_is(Arc::clone(&self.link), answers);
        let there = There { link: Arc::clone(&self.link), looks, number: 0 };
        Ok((maps, Connection { link: Arc::clone(&self.link), state, detached, listener }, who_is, there))
    }
}

impl Drop for Attacher {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        self.link.hang_up();
        end(&mut child);
    }
}

impl Connection {
    /// Whether the attaching process is still there.
    pub(super) fn is_alive(&self) -> bool {
        !self.state.dead.load(Ordering::Acquire)
    }

    /// Has the probes taken off. On return they are, or the attaching process is gone, which takes them off too, or both took too long.
    pub(super) fn detach(&self) {
        self.state.stopping.store(true, Ordering::Release);
        if self.link.send_now(&Ask::Stop).is_ok() && self.detached.recv_timeout(DETACH_TIMEOUT).is_ok() {
            return;
        }
        self.link.hang_up();
        // Until the listener has seen the process end, and with it lets its side of this channel go.
        let _ = self.detached.recv_timeout(DETACH_TIMEOUT);
    }

    /// Lets the attaching process go, and waits for its end.
    pub(super) fn close(self) {
        self.link.hang_up();
        drop(self.listener.join());
    }
}

/// Takes in what the attaching process says, for as long as it lives.
struct Listener {
    link: Arc<Link>,
    state: Arc<State>,
    answer: Sender<Origin>,
    look: Sender<Say>,
    off: Sender<()>,
}

impl Listener {
    fn run(self, child: Option<Child>, mut notice: impl FnMut(Notice)) {
        let why = match self.listen(&mut notice) {
            Ok(()) => "the attaching process is gone".to_owned(),
            Err(error) => error.to_string(),
        };
        self.state.dead.store(true, Ordering::Release);
        self.link.hang_up();
        let Self { state, answer, look, off, .. } = self;
        // Whoever waits for an answer waits no longer.
        drop((answer, look));
        if !state.stopping.load(Ordering::Acquire) {
            notice(Notice::Ended { why });
        }
        if let Some(mut child) = child {
            end(&mut child);
        }
        drop(off);
    }

    fn listen(&self, notice: &mut impl FnMut(Notice)) -> Result<(), LinkError> {
        while let Some(Received { message, .. }) = self.link.receive()? {
            match message {
                Say::Notice(news) => notice(news),
                // An answer for which there is no room is one that nobody waits for.
                Say::Origin(origin) => drop(self.answer.try_send(origin)),
                answer @ (Say::Names { .. } | Say::Look { .. }) => drop(self.look.try_send(answer)),
                Say::Detached => drop(self.off.try_send(())),
                Say::Ready | Say::Failed { .. } => return Err(LinkError::OutOfTurn("Ready or Failed")),
            }
        }
        Ok(())
    }
}

/// Its socket is closed, so it takes the probes off and ends by itself; one that stands still does not. To kill it at once would leave
/// breakpoints behind: [`super::attach::Attached`].
fn end(child: &mut Child) {
    // Fails only for a child that was waited for already.
    let _ = child::end(child, DETACH_TIMEOUT);
}

/// Asks the attaching process about coverage; one question is under way at a time.
pub(super) struct There {
    link: Arc<Link>,
    looks: Receiver<Say>,
    number: u64,
}

/// When nobody answers, nothing is known.
impl Facts for There {
    fn names(&mut self, pid: u32, address: IpAddr) -> Vec<String> {
        match self.ask(|number| Ask::Names { number, pid, address }) {
            Some(Say::Names { names, .. }) => names,
            _ => Vec::new(),
        }
    }

    fn process(&mut self, pid: u32) -> Option<Look> {
        match self.ask(|number| Ask::Look { number, pid }) {
            Some(Say::Look { look, .. }) => look,
            _ => None,
        }
    }
}

impl There {
    fn ask(&mut self, question: impl FnOnce(u64) -> Ask) -> Option<Say> {
        self.number += 1;
        self.link.send_now(&question(self.number)).ok()?;
        // An answer that came too late may lie before the one that is waited for.
        loop {
            let answer = self.looks.recv_timeout(LOOK_TIMEOUT).ok()?;
            if matches!(&answer, Say::Names { number, .. } | Say::Look { number, .. } if *number == self.number) {
                return Some(answer);
            }
        }
    }
}

/// Asks the attaching process, which may look at other users' processes.
fn who_is(link: Arc<Link>, answers: Receiver<Origin>) -> WhoIs {
    Box::new(move |pid| {
        while answers.try_recv().is_ok() {}
        if link.send_now(&Ask::Origin(pid)).is_err() {
            return process::gone(pid);
        }
        while let Ok(origin) = answers.recv_timeout(ORIGIN_TIMEOUT) {
            if origin.pid == pid {
                return origin;
            }
        }
        process::gone(pid)
    })
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd as _};

    use super::*;

    /// An attacher that says what it is told to, once it was asked to start.
    fn scripted(said: impl FnOnce(&Link) + Send + 'static) -> (Attacher, JoinHandle<()>) {
        let (here, there) = Link::pair().unwrap();
        let there = Link::inherited(there).unwrap();
        let script = std::thread::spawn(move || {
            while let Ok(Some(Received { message, .. })) = there.receive() {
                if matches!(message, Ask::Start { .. }) {
                    return said(&there);
                }
            }
        });
        (Attacher { link: Arc::new(here), child: None }, script)
    }

    fn attached(said: impl FnOnce(&Link) + Send + 'static) -> TapError {
        let hosts: Vec<_> = (0..300).map(|number| HostPattern::Exact(format!("{number}.test"))).collect();
        let (attacher, script) = scripted(said);
        let result = attacher.attach(&Scope::Children, &["lib".into()], Settings::default(), hosts.iter(), |_| {});
        script.join().unwrap();
        result.err().expect("nothing was attached")
    }

    #[test]
    fn an_attacher_that_says_nonsense_is_an_error() {
        let null = || File::open("/dev/null").unwrap();
        assert!(matches!(attached(|_| {}), TapError::Link(LinkError::HungUp)));
        assert!(matches!(
            attached(|link| link.send(&Say::Ready, &[]).unwrap()),
            TapError::Link(LinkError::OutOfTurn(_))
        ));
        let no_maps = attached(move |link| link.send(&Say::Ready, &[null().as_fd(); 5]).unwrap());
        assert!(matches!(no_maps, TapError::Kernel(KernelError::Map(_))), "{no_maps:?}");
        assert!(matches!(
            attached(|link| link.send(&Say::Detached, &[]).unwrap()),
            TapError::Link(LinkError::OutOfTurn(_))
        ));
        assert!(matches!(attached(|link| link.send(&"what", &[]).unwrap()), TapError::Link(LinkError::Malformed(_))));
    }

    #[test]
    fn a_refusal_keeps_its_words() {
        let failed = Say::Failed { why: "no rights".to_owned(), permission: true };
        let refused = attached(move |link| link.send(&failed, &[]).unwrap());
        assert!(refused.is_permission());
        assert_eq!(refused.to_string(), "no rights");
    }

    #[test]
    fn an_answer_about_another_process_is_not_taken() {
        let (here, there) = Link::pair().unwrap();
        let there = Link::inherited(there).unwrap();
        let (answer, answers) = bounded(4);
        let mut who_is = who_is(Arc::new(here), answers);
        let answering = std::thread::spawn(move || {
            let asked = there.receive::<Ask>().unwrap().unwrap().message;
            assert!(matches!(asked, Ask::Origin(7)));
            for pid in [6, 7] {
                answer.send(Origin { pid, process: format!("p{pid}"), ..Origin::default() }).unwrap();
            }
        });
        assert_eq!(who_is(7).process, "p7");
        answering.join().unwrap();
        // Nobody answers any more: the process is named by its number alone, and nobody waits.
        assert_eq!(who_is(8), process::gone(8));
    }

    #[test]
    fn an_answer_to_another_question_is_not_taken() {
        let (here, there) = Link::pair().unwrap();
        let there = Link::inherited(there).unwrap();
        let (look, looks) = bounded(4);
        let mut asking = There { link: Arc::new(here), looks, number: 0 };
        let address = IpAddr::from([192, 0, 2, 1]);
        let answering = std::thread::spawn(move || {
            let Ask::Names { number, pid: 7, .. } = there.receive().unwrap().unwrap().message else {
                panic!("no question")
            };
            for (number, name) in [(number + 1, "wrong"), (number, "api.example")] {
                look.send(Say::Names { number, names: vec![name.to_owned()] }).unwrap();
            }
        });
        assert_eq!(asking.names(7, address), ["api.example"]);
        answering.join().unwrap();
        // Nobody answers any more, and nobody waits.
        assert_eq!(asking.names(8, address), [""; 0]);
        assert!(asking.process(8).is_none());
    }

    #[test]
    fn the_end_of_an_attacher_is_news_unless_it_was_ordered() {
        for ordered in [false, true] {
            let (here, there) = Link::pair().unwrap();
            let (link, state) = (Arc::new(here), Arc::new(State::default()));
            state.stopping.store(ordered, Ordering::Release);
            let ((answer, answers), (look, looks), (off, detached)) = (bounded(4), bounded(4), bounded(1));
            let listener = Listener { link: Arc::clone(&link), state: Arc::clone(&state), answer, look, off };
            drop(there);
            let mut news = Vec::new();
            listener.run(None, |notice| news.push(notice));
            assert_eq!(news.len(), usize::from(!ordered), "{news:?}");
            assert!(state.dead.load(Ordering::Acquire));
            assert!(
                answers.recv().is_err() && looks.recv().is_err() && detached.recv().is_err(),
                "whoever waits is let go"
            );
        }
    }
}
