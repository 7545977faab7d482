//! `outflow health`, hidden: asks the running agent how it is, for a kubelet's exec probes, which find no other program in the image.
//! Enters: the agent's config. Leaves: what its page says, and exit code 0 or 3. It connects to the loopback address of `[admin]`
//! and to nothing else.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;

use super::{config::refused, exit};
use crate::config::Config;

/// A probe that takes longer is one that failed.
const TIMEOUT: Duration = Duration::from_secs(2);
/// More than `/readyz` ever says.
const ANSWER_BYTES_MAX: u64 = 16 << 10;

/// Asks the running agent whether it is up; for probes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file that the agent runs with
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Whether all its parts are up, not only whether it answers
    #[arg(long)]
    ready: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => return Ok(refused(&error)),
    };
    let address = config.admin.listen.address().context("[admin] listen is \"off\", so nobody can ask")?;
    match ask(address, if args.ready { "/readyz" } else { "/healthz" }) {
        Ok((good, said)) => {
            anstream::print!("{said}");
            Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(exit::INCOMPLETE) })
        }
        Err(error) => {
            anstream::eprintln!("outflow: nobody answers on {address}: {error}");
            Ok(ExitCode::from(exit::INCOMPLETE))
        }
    }
}

/// Whether the page says yes, and in which words.
fn ask(address: SocketAddr, path: &str) -> std::io::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.starts_with("HTTP/1.1 200 "), body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Admin, Health, Metrics};

    #[test]
    fn what_the_page_says_is_told() {
        let health = Health::new(&["store"]);
        let admin = Admin::start((std::net::Ipv4Addr::LOCALHOST, 0).into(), Metrics::new(), health.clone()).unwrap();
        let address = admin.address();
        assert_eq!(ask(address, "/healthz").unwrap(), (true, "ok\n".to_owned()));
        assert_eq!(ask(address, "/readyz").unwrap(), (false, "store is starting\n".to_owned()));
        let store = health.component("store");
        store.ready();
        assert_eq!(ask(address, "/readyz").unwrap(), (true, "ready\n".to_owned()));
        drop((store, admin));
        assert!(ask(address, "/healthz").is_err());
    }
}
