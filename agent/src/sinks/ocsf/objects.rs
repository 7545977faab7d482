//! The objects that an event is made of. Enters: parts of a finding. Leaves: structs that borrow from it and serialise as OCSF's objects of
//! the same name. A part that is not known is left out, never filled in.

use std::net::{IpAddr, SocketAddr};

use serde::{Serialize, Serializer};

use super::kind::{Caption, Kind};
use crate::{
    findings::{self, Destination, Finding, Location},
    sinks::Host,
};

/// OCSF's `integer_t` is signed, and lakes store it in 32 bits.
const INTEGER_MAX: u64 = i32::MAX as u64;

/// As an `integer_t`; beyond its end, its end.
pub(super) fn integer(number: u64) -> u64 {
    number.min(INTEGER_MAX)
}

#[derive(Debug, Serialize)]
pub(super) struct Product {
    pub(super) name: &'static str,
    pub(super) vendor_name: &'static str,
    pub(super) version: &'static str,
}

/// This program.
pub(super) const PRODUCT: Product =
    Product { name: "Outflow", vendor_name: "Outflow", version: env!("CARGO_PKG_VERSION") };

#[derive(Debug, Serialize)]
pub(super) struct Reporter<'a> {
    name: &'static str,
    hostname: &'a str,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(host: &'a Host) -> Self {
        Self { name: PRODUCT.name, hostname: &host.name }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Analytic<'a> {
    type_id: u8,
    r#type: &'static str,
    uid: &'a str,
    name: &'a str,
}

impl<'a> Analytic<'a> {
    pub(super) fn new(finding: &'a Finding, kind: Kind) -> Self {
        let Caption(type_id, r#type) = kind.analytic();
        Self { type_id, r#type, uid: &finding.rule.id, name: &finding.rule.title }
    }
}

/// What to do, and where that is written.
#[derive(Debug, Serialize)]
pub(super) struct Remediation<'a> {
    desc: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    references: &'a [String],
}

impl<'a> Remediation<'a> {
    pub(super) fn new(finding: &'a Finding) -> Self {
        Self { desc: &finding.remedy, references: &finding.rule.references }
    }
}

/// The host.
#[derive(Debug, Serialize)]
pub(super) struct Device<'a> {
    type_id: u8,
    r#type: &'static str,
    hostname: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Container<'a>>,
}

impl<'a> Device<'a> {
    /// With the container that it is about, when there is no process to say it of: that of a log.
    pub(super) fn new(host: &'a Host, process: &'a findings::Process) -> Self {
        let Caption(type_id, r#type) = Caption(0, "Unknown");
        // Its own `zone` is one of the network.
        let region = host.cloud.as_ref().and_then(|cloud| cloud.region.as_deref());
        let container = Container::of(process).filter(|_| process.pid == 0);
        Self { type_id, r#type, hostname: &host.name, uid: host.id.as_deref(), region, container }
    }
}

/// The cloud that the host runs in.
#[derive(Debug, Serialize)]
pub(super) struct Cloud<'a> {
    provider: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account<'a>>,
}

/// Who pays for it.
#[derive(Debug, Serialize)]
struct Account<'a> {
    type_id: u8,
    r#type: &'static str,
    uid: &'a str,
}

impl<'a> Cloud<'a> {
    pub(super) fn new(host: &'a Host) -> Option<Self> {
        let cloud = host.cloud.as_ref()?;
        Some(Self {
            provider: &cloud.provider,
            region: cloud.region.as_deref(),
            zone: cloud.zone.as_deref(),
            account: cloud.account.as_deref().map(|uid| {
                let Caption(type_id, r#type) = account(&cloud.provider);
                Account { type_id, r#type, uid }
            }),
        })
    }
}

/// What accounts are called there. Providers by the names of OpenTelemetry's `cloud.provider`.
fn account(provider: &str) -> Caption {
    match provider {
        "aws" => Caption(10, "AWS Account"),
        "gcp" => Caption(11, "GCP Project"),
        "oracle_cloud" => Caption(12, "OCI Compartment"),
        "azure" => Caption(13, "Azure Subscription"),
        _ => Caption(0, "Unknown"),
    }
}

/// Who did it: the service, and the process when there is one.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Actor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    app_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process<'a>>,
}

impl<'a> Actor<'a> {
    pub(super) fn new(finding: &'a Finding) -> Option<Self> {
        let actor = Self::of(&finding.process);
        (actor.app_name.is_some() || actor.process.is_some()).then_some(actor)
    }

    /// Who made a call: an event of one must say something.
    pub(super) fn of_call(process: &'a findings::Process) -> Self {
        match Self::of(process) {
            Self { app_name: None, process: None } => Self { app_name: Some("Unknown"), process: None },
            actor => actor,
        }
    }

    fn of(process: &'a findings::Process) -> Self {
        let app_name = Some(process.service.as_str()).filter(|name| !name.is_empty());
        Self { app_name, process: Process::of(process) }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Process<'a> {
    pid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Container<'a>>,
}

impl<'a> Process<'a> {
    /// None behind a log or a replay.
    pub(super) fn new(finding: &'a Finding) -> Option<Self> {
        Self::of(&finding.process)
    }

    pub(super) fn of(process: &'a findings::Process) -> Option<Self> {
        let container = Container::of(process);
        (process.pid != 0).then_some(Self { pid: process.pid, name: &process.name, container })
    }
}

/// Where a process runs, or who wrote a log.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Container<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orchestrator: Option<&'static str>,
}

impl<'a> Container<'a> {
    pub(super) fn of(process: &'a findings::Process) -> Option<Self> {
        let (uid, kubernetes) = (process.container.as_deref(), process.kubernetes.as_ref());
        let name = kubernetes.map(|kubernetes| kubernetes.container.as_str()).filter(|name| !name.is_empty());
        let orchestrator = kubernetes.map(|_| "Kubernetes");
        (uid.is_some() || name.is_some()).then_some(Self { uid, name, orchestrator })
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(in crate::sinks) struct Endpoint<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::sinks) hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::sinks) ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::sinks) port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    svc_name: Option<&'a str>,
}

impl<'a> Endpoint<'a> {
    /// Whom a call went to. A host may be an address, and a client may have named the port with it.
    pub(in crate::sinks) fn new(destination: &'a Destination) -> Option<Self> {
        let host = destination.host.as_str();
        let svc_name = destination.vendor.as_deref();
        let (hostname, ip, port) = if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
            (None, Some(ip), None)
        } else if let Ok(socket) = host.parse::<SocketAddr>() {
            (None, Some(socket.ip()), Some(socket.port()))
        } else if let Some((name, Ok(port))) = host.rsplit_once(':').map(|(name, port)| (name, port.parse())) {
            (Some(name), None, Some(port))
        } else {
            (Some(host), None, None)
        };
        let hostname = hostname.filter(|name| !name.is_empty());
        (hostname.is_some() || ip.is_some()).then_some(Self { hostname, ip, port, uid: None, svc_name })
    }

    /// The host itself.
    pub(super) fn of_host(host: &'a Host) -> Self {
        Self { hostname: Some(&host.name), uid: host.id.as_deref(), ..Self::default() }
    }

    /// Its name, else its address.
    pub(in crate::sinks) fn address(&self) -> Address<'a> {
        match (self.hostname, self.ip) {
            (None, Some(ip)) => Address::Ip(ip),
            (name, _) => Address::Name(name.unwrap_or_default()),
        }
    }
}

/// A host's name or address, as text.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub(in crate::sinks) enum Address<'a> {
    Name(&'a str),
    Ip(IpAddr),
}

impl std::fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// A log file.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct File<'a> {
    name: &'a str,
    pub(super) path: &'a str,
    type_id: u8,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ext: Option<&'a str>,
}

impl<'a> File<'a> {
    pub(super) fn new(location: Option<&'a Location>) -> Option<Self> {
        let path = location?.file.as_deref()?;
        let name = path.rsplit('/').next().unwrap_or(path);
        let ext = name.rsplit_once('.').filter(|(stem, ext)| !stem.is_empty() && !ext.is_empty()).map(|(_, ext)| ext);
        let Caption(type_id, r#type) = Caption(1, "Regular File");
        Some(Self { name, path, type_id, r#type, ext })
    }
}

/// Which check failed. The standard is our own: no regulation that we could name asks for it in these words.
#[derive(Debug, Serialize)]
pub(super) struct Compliance<'a> {
    standards: [&'static str; 1],
    control: &'static str,
    desc: &'a str,
    status_id: u8,
    status: &'static str,
    status_details: [&'a str; 1],
}

impl<'a> Compliance<'a> {
    pub(super) fn new(finding: &'a Finding, kind: Kind) -> Option<Self> {
        let Caption(status_id, status) = kind.check(finding.activity);
        Some(Self {
            standards: ["Outflow model rules"],
            control: kind.control()?,
            desc: &finding.rule.title,
            status_id,
            status,
            status_details: [&finding.title],
        })
    }
}

/// What stands behind a finding that is no leak.
#[derive(Debug, Serialize)]
pub(super) struct Evidence<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<Api<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_endpoint: Option<Endpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process<'a>>,
}

#[derive(Debug, Serialize)]
struct Api<'a> {
    operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Service<'a>>,
}

#[derive(Debug, Serialize)]
struct Service<'a> {
    name: &'a str,
}

impl<'a> Evidence<'a> {
    pub(super) fn new(
        finding: &'a Finding,
        dst_endpoint: Option<Endpoint<'a>>,
        file: Option<File<'a>>,
    ) -> Option<Self> {
        let api = finding.destination.as_ref().map(|destination| Api {
            operation: &destination.api,
            service: destination.vendor.as_deref().map(|name| Service { name }),
        });
        let process = Process::new(finding);
        let known = api.is_some() || dst_endpoint.is_some() || file.is_some() || process.is_some();
        known.then_some(Self { api, dst_endpoint, file, process })
    }
}

/// What a finding that is no leak is about: a model, or a service and its budget.
#[derive(Debug, Serialize)]
pub(super) struct Resource<'a> {
    name: &'a str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    role_id: u8,
    role: &'static str,
}

impl<'a> Resource<'a> {
    pub(super) fn new(finding: &'a Finding, kind: Kind) -> Option<Self> {
        if matches!(kind, Kind::Budget | Kind::BurnRate) {
            let name = Some(finding.process.service.as_str()).filter(|name| !name.is_empty())?;
            let Caption(role_id, role) = Caption(3, "Affected");
            return Some(Self { name, r#type: "service", version: None, role_id, role });
        }
        let model = finding.model.as_ref()?;
        let name = model.requested.as_deref().or(model.resolved.as_deref())?;
        let Caption(role_id, role) = Caption(1, "Target");
        Some(Self { name, r#type: "model", version: model.resolved.as_deref(), role_id, role })
    }
}

/// What an analyst may want to look for elsewhere: the host that was called, or the log.
#[derive(Debug, Serialize)]
pub(super) struct Observable<'a> {
    name: &'static str,
    type_id: u8,
    r#type: &'static str,
    value: Address<'a>,
}

impl<'a> Observable<'a> {
    /// `in_evidence` says that the objects stand in the event's evidence.
    pub(super) fn new(endpoint: Option<Endpoint<'a>>, file: Option<File<'a>>, in_evidence: bool) -> Option<Self> {
        let (names, Caption(type_id, r#type), value) = match (endpoint.map(|endpoint| endpoint.address()), file) {
            (Some(value @ Address::Name(_)), _) => {
                (["dst_endpoint.hostname", "evidences[].dst_endpoint.hostname"], Caption(1, "Hostname"), value)
            }
            (Some(value @ Address::Ip(_)), _) => {
                (["dst_endpoint.ip", "evidences[].dst_endpoint.ip"], Caption(2, "IP Address"), value)
            }
            (None, Some(file)) => {
                (["file.path", "evidences[].file.path"], Caption(45, "File Path"), Address::Name(file.path))
            }
            (None, None) => return None,
        };
        let [outside, inside] = names;
        Some(Self { name: if in_evidence { inside } else { outside }, type_id, r#type, value })
    }
}

/// `title. remedy`
#[derive(Debug)]
pub(super) struct Description<'a> {
    title: &'a str,
    remedy: &'a str,
}

impl<'a> Description<'a> {
    pub(super) fn new(finding: &'a Finding) -> Self {
        Self { title: &finding.title, remedy: &finding.remedy }
    }
}

impl Serialize for Description<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.remedy.is_empty() {
            return serializer.serialize_str(self.title);
        }
        serializer.collect_str(&format_args!("{}. {}", self.title, self.remedy))
    }
}
