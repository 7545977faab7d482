//! `[breaker]`: what happens when a budget with `enforce = true` is exhausted. Enters: the section. Leaves: a policy, networks and who
//! wants to hear of it. Which budgets and control groups is said with the budgets.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    leaf::{Leaf, leaf},
    names::AbsolutePath,
    sinks::Setting,
};
use crate::enforce::{Network, Targets, Unreadable};

/// What happens when a budget is exhausted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// What is done, while a budget is exhausted, with what cannot be read: handshakes that name no server or an encrypted one
    /// (Encrypted Client Hello), handshakes that a client cuts up, and UDP to port 443 (QUIC, HTTP/3), to whomever they go.
    pub unreadable: Unreadable,
    /// Networks that are reached neither while a budget is exhausted: gateways without TLS, or without a name of their own. As
    /// `"192.0.2.0/24"`, `"2001:db8::/32"` or one address. A connect(2) there fails at once with EPERM.
    pub networks: Vec<Network>,
    /// A file that gets a line, one JSON object, whenever a budget is exhausted, was reset or has recovered. It is made with mode
    /// 0600 when it is missing; the agent's user must be able to write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<AbsolutePath>,
    /// A command and its arguments that is run then, with the object on its standard input and OUTFLOW_BUDGET, OUTFLOW_CHANGE
    /// (`exhausted`, `reset`, `recovered`) and OUTFLOW_UNTIL in its environment, which holds nothing else but PATH. It runs as
    /// the agent's user, without any right, for 30 seconds at most.
    pub command: Vec<String>,
    /// An address with http or https that gets the object by POST then, tried three times. Such an address is often a secret: it may
    /// be given as { file = "/path" } or { env = "NAME" }.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Setting>,
}

impl Breaker {
    /// Who wants to hear of it.
    pub fn targets(&self) -> Targets {
        Targets {
            file: self.file.as_ref().map(|file| file.get().to_owned()),
            command: self.command.clone(),
            webhook: self.webhook.clone(),
        }
    }
}

impl Leaf for Network {
    fn form() -> String {
        "a network or an address, such as \"192.0.2.0/24\", without bits behind its prefix".to_owned()
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        text.parse().map_err(|_| None)
    }
}

leaf!(Network);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drop => "drop",
            Self::Pass => "pass",
        })
    }
}
