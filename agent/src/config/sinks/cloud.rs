//! `[sinks.cloud]`: where this host runs. Enters: the section. Leaves: names. It asks no cloud for them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::places::CloudName;

/// Where this host runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cloud {
    /// Who runs the cloud, in OpenTelemetry's words: `aws`, `azure`, `gcp`, `oracle_cloud`, …
    pub provider: CloudName,
    /// Its region, `eu-central-1`. Without it, it is `$OUTFLOW_CLOUD_REGION` (the Helm chart sets it where Kubernetes gives pods their node's region).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<CloudName>,
    /// The zone within the region, `eu-central-1a`. Without it, it is `$OUTFLOW_CLOUD_ZONE`, as `region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<CloudName>,
    /// Id of the account, project or subscription that pays for the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<CloudName>,
}
