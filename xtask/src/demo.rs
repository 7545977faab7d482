//! `cargo xtask demo`: the whole agent on one screen, in two acts. Enters: the workspace. Leaves: on standard output what the agent says about
//! a small support assistant that uses the vendors' own Python clients, and how its findings arrive elsewhere; progress goes to standard
//! error.
//!
//! Everything happens in places of its own: `api.openai.com` and `api.anthropic.com` lead to a local server, the TLS library that is tapped is a
//! copy that only the demo maps, the agent watches one new cgroup, broker and collector listen on ports of 127.0.0.1. All of it is gone at
//! the end, also after a failure, and after Ctrl-C; what stays is the second act's state, in `target/demo`, to look at.

mod arrived;
mod first;
mod second;
mod service;
mod signals;

use anyhow::{Context, Result, bail};
use signal_hook::low_level;
use testbed::Tools;

use self::signals::Signals;
use crate::sh;

/// Runs the demo.
pub(crate) fn run() -> Result<()> {
    if let Some(missing) = testbed::missing_for_bpf() {
        bail!("the demo taps real TLS through the kernel, and here {missing}; try it as root on a Linux host");
    }
    if let Some(missing) = testbed::missing_for_peers() {
        bail!("the demo sends to a broker and a collector of its own, and here {missing}; `cargo xtask setup` helps");
    }
    sh::build_programs()?;
    let programs = sh::target_dir().join("debug");
    let agent = programs.join("outflow");
    let tools = Tools::find(&programs, &sh::target_dir())?;
    play(|signals| {
        first::play(tools.clone(), &agent, signals)?;
        second::play(tools, &agent, &sh::target_dir().join("demo"), signals)
    })
}

/// Plays the acts. They hear of signals; one that came ends us too, when all that they made is gone. It has perhaps ended a server or a client
/// first, whose failure then says nothing.
fn play(acts: impl FnOnce(&Signals) -> Result<()>) -> Result<()> {
    let signals = Signals::catch()?;
    let played = acts(&signals);
    let came = signals.came()?;
    drop(signals);
    if let Some(signal) = came {
        low_level::emulate_default_handler(signal).context("cannot end by the signal that came")?;
    }
    played
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole way of the first act with a stand-in for the agent: the client itself, which must see the names, the library and the server.
    #[test]
    fn the_place_is_made_and_taken_down_around_any_command() {
        if let Some(reason) = testbed::missing_for_sandbox() {
            println!("skipped: {reason}");
            return;
        }
        let programs = sh::target_dir().join("debug");
        let tools = Tools::find(&programs, &sh::target_dir()).unwrap();
        let mut places = Vec::new();
        for (tail, code) in [("", 0), ("; exit 5", 5)] {
            play(|signals| {
                let status = first::run(tools.clone(), signals, |bench| {
                    places.extend([bench.dir().to_owned(), bench.cgroup.path().to_owned()]);
                    let client: Vec<_> =
                        bench.client("demo_app", &[]).iter().map(|word| word.display().to_string()).collect();
                    let script = format!(
                        "echo $$ > {}/cgroup.procs && {}{tail}",
                        bench.cgroup.path().display(),
                        client.join(" ")
                    );
                    vec!["sh".into(), "-c".into(), script.into()]
                })?;
                assert_eq!(status.code(), Some(code));
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(places.len(), 4);
        assert!(places.iter().all(|place| !place.exists()), "{places:?}");
    }
}
