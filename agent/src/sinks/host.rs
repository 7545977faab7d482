//! Which host a record comes from. Enters: the name of the config, or the system. Leaves: a [`Host`]. It is read once, when the agent
//! starts, so that a record that is sent twice has the same bytes.

use std::fs;

/// Where systemd keeps the id of an installation (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// This host as records name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Name, `node-17`.
    pub name: String,
    /// Id of the installation, 32 hexadecimal digits; a container mostly has none.
    pub id: Option<String>,
}

impl Host {
    /// Named so, or as the system calls itself.
    pub fn find(name: Option<&str>) -> Self {
        let uname = rustix::system::uname();
        let name = name.map_or_else(|| uname.nodename().to_string_lossy().into_owned(), str::to_owned);
        let id = fs::read_to_string(MACHINE_ID).ok().map(|id| id.trim().to_owned());
        Self { name, id: id.filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())) }
    }
}
