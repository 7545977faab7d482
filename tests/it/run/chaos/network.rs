//! A network of a test's own, which can be cut. Enters: the name of a test. Leaves: that test, run again in network and mount namespaces of its
//! own, in which everything it starts is; they go with it, whatever it has mounted too. Nothing outside of it loses a packet. Also whether anything is on its way in it.

use std::process::Command;

use procfs::net::{TcpNetEntry, TcpState, tcp};
use testbed::Job;

/// Tells the test that it is inside.
const INSIDE: &str = "OUTFLOW_TEST_NETWORK";
/// The long form takes some minutes.
const LIMIT_S: i64 = 3600;

/// A network with one interface, over which all goes.
#[derive(Debug)]
pub(super) struct Network {
    interface: &'static str,
}

impl Network {
    /// The one that this process has for itself, if it has one.
    pub(super) fn of_this_process() -> Option<Self> {
        std::env::var_os(INSIDE)?;
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        // As it was outside: else the machine's own would be cut.
        assert_ne!(std::env::var_os(INSIDE), Some(ours.into_os_string()), "this is the network of the machine");
        let network = Self { interface: "lo" };
        network.mend();
        Some(network)
    }

    /// No packet goes through any more, and nobody is told.
    pub(super) fn cut(&self) {
        self.set("down");
    }

    /// They go through again.
    pub(super) fn mend(&self) {
        self.set("up");
    }

    fn set(&self, state: &str) {
        assert!(Command::new("ip").args(["link", "set", self.interface, state]).status().unwrap().success());
    }
}

/// Brokers of others are not in reach from inside.
pub(super) fn can_be_had() -> bool {
    testbed::missing_for_sandbox().is_none() && std::env::var_os("OUTFLOW_TEST_KAFKA").is_none()
}

/// Runs a test of this program inside.
pub(super) fn run_in_one(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, std::fs::read_link("/proc/self/ns/net").unwrap());
    let ended = Job::start(command, folder.path(), "inside").unwrap().wait(LIMIT_S).unwrap();
    // The harness counts such lines, and this test is counted outside.
    let said = |text: &str| text.lines().filter(|line| !line.starts_with("test result")).collect::<Vec<_>>().join("\n");
    println!("{}\n{}", said(&ended.stdout), said(&ended.stderr));
    assert!(ended.status.success() && ended.stdout.contains("1 passed"), "{}: see above", ended.status);
}

/// A connection to the port, also one that nobody holds any more, has bytes that were not acknowledged.
pub(super) fn is_under_way(port: u16) -> bool {
    let is_open = |entry: &TcpNetEntry| !matches!(entry.state, TcpState::SynSent | TcpState::Listen);
    tcp().unwrap().iter().any(|entry| entry.remote_address.port() == port && is_open(entry) && entry.tx_queue > 0)
}
