//! Fields that OCSF recommends. Enters: events of every kind. Nothing leaves: what no event of a class has is known, with the reason.

use std::{collections::BTreeSet, path::Path};

use serde::Deserialize;

use super::ask;

/// Why nobody here can know them, and fields.
pub(super) type Unknown = (&'static str, &'static [&'static str]);

/// Of all classes: fields that OCSF recommends, with the object they are in, and that no event of some class has; and why.
const OF_ALL: &[Unknown] = &[
    (
        "a finding is about one call, process or log; its other parties are none",
        &[
            "resources",
            "src_endpoint.container",
            "src_endpoint.instance_uid",
            "src_endpoint.interface_name",
            "src_endpoint.interface_uid",
            "src_endpoint.name",
            "src_endpoint.namespace_pid",
            "src_endpoint.owner",
            "src_endpoint.svc_name",
            "src_endpoint.type_id",
        ],
    ),
    (
        "a tap on a library of TLS sees no addresses, and a vendor's name stands in `hostname`",
        &[
            "dst_endpoint.container",
            "dst_endpoint.instance_uid",
            "dst_endpoint.interface_name",
            "dst_endpoint.interface_uid",
            "dst_endpoint.name",
            "dst_endpoint.namespace_pid",
            "dst_endpoint.owner",
            "dst_endpoint.type_id",
            "dst_endpoint.uid",
            "src_endpoint.ip",
            "src_endpoint.port",
        ],
    ),
    ("it may hold secrets", &["api.request", "process.cmd_line"]),
    (
        "the agent keeps of a process, container and host what names it, and asks nobody for more",
        &[
            "account.name",
            "actor.user",
            "container.hash",
            "container.image",
            "container.size",
            "device.instance_uid",
            "device.interface_name",
            "device.interface_uid",
            "device.namespace_pid",
            "device.owner",
            "device.vendor_name",
            "process.cpid",
            "process.created_time",
            "process.file",
            "process.namespace_pid",
            "process.parent_process",
            "process.uid",
            "process.user",
            "reporter.ip",
            "reporter.uid",
            "service.uid",
            "service.version",
        ],
    ),
    (
        "it stands elsewhere in the event: the classification at the finding, the path of a log at its file, the times in UTC",
        &["metadata.log_name", "metadata.original_time", "timezone_offset"],
    ),
    ("who works on the finding sets it", &["metadata.tenant_uid", "product.uid"]),
    ("no sample has it, though findings may", &["container.name"]),
];

/// Likewise, of findings alone.
pub(super) const UNKNOWN: &[Unknown] = &[
    (
        "a finding is about one call, process or log; its other parties are none",
        &[
            "database",
            "databucket",
            "evidences.actor",
            "evidences.connection_info",
            "evidences.container",
            "evidences.database",
            "evidences.databucket",
            "evidences.device",
            "evidences.email",
            "evidences.file",
            "evidences.http_request",
            "evidences.http_response",
            "evidences.ja4_fingerprint_list",
            "evidences.job",
            "evidences.query",
            "evidences.reg_key",
            "evidences.reg_value",
            "evidences.resources",
            "evidences.script",
            "evidences.src_endpoint",
            "evidences.tls",
            "evidences.url",
            "evidences.user",
            "evidences.win_service",
            "table",
        ],
    ),
    ("it may hold secrets", &["api.response"]),
    (
        "the agent keeps of a process, container and host what names it, and asks nobody for more",
        &["file.hashes", "resources.hostname", "resources.ip", "resources.owner", "resources.uid"],
    ),
    (
        "it stands elsewhere in the event: the classification at the finding, the path of a log at its file, the times in UTC",
        &[
            "data_classifications.confidentiality_id",
            "data_classifications.status",
            "data_classifications.status_id",
            "data_security.confidentiality_id",
            "data_security.policy",
            "file.data_classifications",
            "product.data_classifications",
        ],
    ),
    ("who works on the finding sets it", &["status_code", "status_detail", "status_id"]),
    (
        "observations are numbers, each with its own words",
        &[
            "anomalies.observation_type",
            "anomalies.observed_pattern",
            "baselines.observation_type",
            "baselines.observed_pattern",
            "observations.count",
            "observations.timespan",
        ],
    ),
    ("no sample has it, though findings may", &["device.container", "dst_endpoint.ip", "dst_endpoint.port"]),
];

/// Likewise, of calls (class 6003) alone.
pub(super) const UNKNOWN_OF_CALLS: &[Unknown] = &[
    (
        "it may hold secrets, or what was said",
        &[
            "http_request.http_headers",
            "http_request.user_agent",
            "http_response.http_headers",
            "message_context.name",
            "response.error_message",
            "response.message",
            "url.query_string",
            "url.url_string",
        ],
    ),
    (
        "the agent keeps of a process, container, host and service what names it, and asks nobody for more",
        &["application.owner", "application.uid"],
    ),
    (
        "a call may be one that a log tells of, which says nothing of how it went",
        &["ai_model.uid", "http_request.version", "message_context.uid", "url.category_ids", "url.scheme"],
    ),
];

/// Recommended fields that some event has, and that some event lacks.
#[derive(Default, Deserialize)]
struct Recommended {
    holds: BTreeSet<String>,
    lacks: BTreeSet<String>,
}

/// The name of a field and of the object that it is in; without that of the class.
fn short(path: &str) -> &str {
    let ends: Vec<usize> = path.rmatch_indices('.').map(|(at, _)| at + 1).collect();
    // `class.field` is a field of the event itself.
    let from = if ends.len() > 1 { ends.get(1) } else { ends.first() };
    path.get(from.copied().unwrap_or_default()..).unwrap_or_default()
}

/// Every recommended field is in some event of each class, but for what nobody here can know. What is not known of one class is not asked of the
/// others either: their names are listed without the class.
pub(super) fn are_there(python: &Path, events: &[String], unknown: &[Unknown]) {
    let mut all = Recommended::default();
    for each in ask::<Recommended>(python, &["recommended"], events) {
        all.holds.extend(each.holds);
        all.lacks.extend(each.lacks);
    }
    assert!(all.holds.len() > 20, "{:?}", all.holds);
    let never: BTreeSet<&str> = all.lacks.difference(&all.holds).map(|path| short(path)).collect();
    let unknown: BTreeSet<&str> = OF_ALL.iter().chain(unknown).flat_map(|(_, fields)| fields.iter().copied()).collect();
    let new: Vec<_> = never.difference(&unknown).collect();
    let sent: Vec<_> = unknown.difference(&never).collect();
    assert!(
        new.is_empty() && sent.is_empty(),
        "no event has {new:?}, and some have {sent:?}, which are said to be unknown"
    );
}
