//! Which host a record comes from. Enters: the name of the config, or the system. Leaves: a [`Host`]. It is read once, when the agent
//! starts, so that a record that is sent twice has the same bytes.

use std::fs;

use crate::config;

/// Where systemd keeps the id of an installation (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// This host as records name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Name, `node-17`.
    pub name: String,
    /// Id of the installation, 32 hexadecimal digits; a container mostly has none.
    pub id: Option<String>,
    /// Where it runs, when somebody says so.
    pub cloud: Option<Cloud>,
}

/// Where a host runs, as its operator names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Who runs the cloud, `aws`.
    pub provider: String,
    /// `eu-central-1`.
    pub region: Option<String>,
    /// `eu-central-1a`.
    pub zone: Option<String>,
    /// Account, project or subscription that pays, by its id.
    pub account: Option<String>,
}

impl Host {
    /// Named as the config says, or as the system calls itself.
    pub fn find(sinks: &config::Sinks) -> Self {
        let uname = rustix::system::uname();
        let name = match &sinks.host_name {
            Some(name) => name.as_str().to_owned(),
            None => uname.nodename().to_string_lossy().into_owned(),
        };
        let id = fs::read_to_string(MACHINE_ID).ok().map(|id| id.trim().to_owned());
        let id = id.filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Self { name, id, cloud: sinks.cloud.as_ref().map(Cloud::new) }
    }
}

impl Cloud {
    fn new(said: &config::Cloud) -> Self {
        let text = |name: &Option<config::CloudName>| name.as_ref().map(|name| name.as_str().to_owned());
        Self {
            provider: said.provider.as_str().to_owned(),
            region: text(&said.region),
            zone: text(&said.zone),
            account: text(&said.account),
        }
    }
}
