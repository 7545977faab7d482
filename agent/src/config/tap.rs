//! `[tap]`: whose calls to LLM vendors are read. Enters: the section. Leaves: a scope that somebody wrote down; none is assumed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    amounts::{GIB, KIB, MIB, Size},
    names::{AbsolutePath, NameGlob, VendorHost},
};

/// The kernel tap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tap {
    /// Whether to tap at all. Off by default: the tap reads what other programs send, so somebody has to ask for it.
    pub enabled: bool,
    /// Whose calls are read. There is no default: a tap that is enabled needs one of them in writing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Control groups of the v2 hierarchy, for scope `"cgroup"`: everything in them and below them is tapped. None may lie
    /// inside another.
    pub cgroups: Vec<AbsolutePath>,
    /// Process ids, for scope `"processes"`: these and what they start from then on.
    pub pids: Vec<u32>,
    /// Services or programs that are looked at, of those in scope; empty means all of them. A process is meant when its service
    /// name (`OTEL_SERVICE_NAME`, else the script, else the program) or the name of its program fits one of the patterns.
    pub include: Vec<NameGlob>,
    /// Services or programs that are not looked at, even when `include` names them.
    pub exclude: Vec<NameGlob>,
    /// Further vendor hosts: gateways and private endpoints, besides those that Outflow knows. Connections to hosts that are
    /// neither are not read.
    pub hosts: Vec<VendorHost>,
    /// Of `cgroups`, those whose requests to hosts that are not listed are looked at too, at their heads alone: one that goes to a
    /// path by which LLMs are called (`*/chat/completions`) is read, so that gateways are found that nobody listed.
    pub discover: Vec<AbsolutePath>,
    /// Most that is read of a connection's first request while it is not known whether it goes to a vendor, to find its host;
    /// it is forgotten afterwards. A host that stands further behind is not found, and such a connection is not read.
    pub peek_bytes: Size<256, { 4 * KIB }>,
    /// Most that is taken of one call of the TLS library; the rest is counted as lost. One call often carries a whole prompt.
    pub call_bytes: Size<{ 16 * KIB }, GIB>,
    /// Size of the ring through which the kernel hands over bytes, a power of two. What does not fit while the agent is busy is
    /// lost and counted; memory of the kernel.
    pub ring_bytes: Size<{ 256 * KIB }, GIB>,
}

impl Default for Tap {
    fn default() -> Self {
        Self {
            enabled: false,
            scope: None,
            cgroups: Vec::new(),
            pids: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            hosts: Vec::new(),
            discover: Vec::new(),
            peek_bytes: Size::from_bytes(4 * KIB),
            call_bytes: Size::from_bytes(64 * MIB),
            ring_bytes: Size::from_bytes(16 * MIB),
        }
    }
}

/// Whose calls are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything in the control groups of `cgroups`.
    Cgroup,
    /// The processes of `pids` and what they start.
    Processes,
    /// Every process of this host. Use `include` and `exclude` to narrow it.
    Host,
}

impl Tap {
    /// Is a process of this service name and program to be looked at?
    pub fn wants(&self, service: &str, program: &str) -> bool {
        let fits = |globs: &[NameGlob]| globs.iter().any(|glob| glob.matches(service) || glob.matches(program));
        (self.include.is_empty() || fits(&self.include)) && !fits(&self.exclude)
    }
}
