//! What a finding is in OCSF's words. Enters: category, rule id, activity, severity, confidence. Leaves: class, kind of analytic, status of a
//! check, and the numbers with the captions that the schema gives them. Ids and captions: schema.ocsf.io/1.8.0.

use crate::{
    findings::{Activity, Category, FLEET_STALE, Finding, LOG_GAP, STORE_DAMAGED, STORE_FULL, UNKNOWN_TLS_STACK},
    units::Severity,
};

/// A number of the schema and its caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caption(pub(super) u8, pub(super) &'static str);

/// Kinds of findings that are told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Leak,
    Unpinned,
    Retiring,
    Retired,
    Substituted,
    ResolvedChanged,
    Flapping,
    /// Answers do not name their model.
    Unverifiable,
    UntrackedSpend,
    Budget,
    BurnRate,
    /// What a single call may take, or takes without a bound.
    CallLimit,
    /// Spend that is compared with what was usual.
    SpendShift,
    LogGap,
    /// The agent's own store lost something.
    StoreLoss,
    /// What the fleet spent is not known.
    FleetStale,
    UnknownTls,
    /// What agents, tools, stores of vectors, vendors and answers do, compared with what they did before.
    Behaviour,
    /// A rule that another version knows: the outbox outlives the program.
    Other,
}

/// Classes of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    DataSecurity,
    Compliance,
    Detection,
}

impl Kind {
    /// The kind of a finding. A category that is new must be placed here before it compiles.
    pub(super) fn of(finding: &Finding) -> Self {
        let rule = finding.rule.id.as_str();
        match finding.category {
            Category::Leak => Self::Leak,
            Category::Model => match rule {
                "model.unpinned" | "model.unpinnable" => Self::Unpinned,
                "model.retiring" => Self::Retiring,
                "model.retired" => Self::Retired,
                "model.substituted" | "model.fallback" => Self::Substituted,
                "model.resolved_changed" => Self::ResolvedChanged,
                "model.flapping" => Self::Flapping,
                "model.unverifiable" => Self::Unverifiable,
                "model.structure_changed" => Self::Behaviour,
                _ => Self::Other,
            },
            Category::Cost => match rule {
                "cost.untracked" => Self::UntrackedSpend,
                "cost.budget" => Self::Budget,
                "cost.burn_rate" => Self::BurnRate,
                "cost.no_limit" | "cost.request_limit" => Self::CallLimit,
                "cost.creep" | "cost.rate_shift" | "cost.request_outlier" => Self::SpendShift,
                _ => Self::Other,
            },
            Category::Agent | Category::Tool | Category::Retrieval | Category::Vendor | Category::Output => {
                Self::Behaviour
            }
            Category::Coverage => match rule {
                LOG_GAP => Self::LogGap,
                STORE_FULL | STORE_DAMAGED => Self::StoreLoss,
                FLEET_STALE => Self::FleetStale,
                UNKNOWN_TLS_STACK => Self::UnknownTls,
                _ => Self::Other,
            },
        }
    }

    pub(super) fn class(self) -> Class {
        match self {
            Self::Leak => Class::DataSecurity,
            Self::Unpinned | Self::Retiring | Self::Retired => Class::Compliance,
            Self::Substituted
            | Self::ResolvedChanged
            | Self::Flapping
            | Self::Unverifiable
            | Self::UntrackedSpend
            | Self::Budget
            | Self::BurnRate
            | Self::CallLimit
            | Self::SpendShift
            | Self::LogGap
            | Self::StoreLoss
            | Self::FleetStale
            | Self::UnknownTls
            | Self::Behaviour
            | Self::Other => Class::Detection,
        }
    }

    /// How it was found.
    pub(super) fn analytic(self) -> Caption {
        match self {
            Self::Leak => Caption(8, "Regular Expressions"),
            // These compare a call with those before it.
            Self::ResolvedChanged | Self::Flapping | Self::Behaviour => Caption(2, "Behavioral"),
            Self::BurnRate | Self::SpendShift => Caption(3, "Statistical"),
            Self::Unpinned
            | Self::Retiring
            | Self::Retired
            | Self::Substituted
            | Self::Unverifiable
            | Self::UntrackedSpend
            | Self::Budget
            | Self::CallLimit
            | Self::LogGap
            | Self::StoreLoss
            | Self::FleetStale
            | Self::UnknownTls
            | Self::Other => Caption(1, "Rule"),
        }
    }

    /// Where it was found.
    pub(super) fn data_source(self, finding: &Finding) -> &'static str {
        match self {
            Self::UnknownTls => "TCP connection",
            Self::FleetStale => "topic of the fleet",
            Self::StoreLoss => "store of outflow",
            _ if finding.destination.is_some() => "LLM call",
            _ => "log file",
        }
    }

    /// What a call must do not to be told, for the kinds that are checks.
    pub(super) fn control(self) -> Option<&'static str> {
        match self {
            Self::Unpinned => Some("Calls name a model that cannot change"),
            Self::Retiring | Self::Retired => Some("Calls name a model that its vendor goes on serving"),
            _ => None,
        }
    }

    /// How the check ended.
    pub(super) fn check(self, activity: Activity) -> Caption {
        match (self, activity) {
            (_, Activity::Close) => Caption(1, "Pass"),
            (Self::Retiring, _) => Caption(2, "Warning"),
            _ => Caption(3, "Fail"),
        }
    }
}

impl Class {
    pub(super) fn uid(self) -> u32 {
        match self {
            Self::DataSecurity => 2006,
            Self::Compliance => 2003,
            Self::Detection => 2004,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::DataSecurity => "Data Security Finding",
            Self::Compliance => "Compliance Finding",
            Self::Detection => "Detection Finding",
        }
    }

    pub(super) fn type_name(self, activity: Activity) -> &'static str {
        match (self, activity) {
            (Self::DataSecurity, Activity::Create) => "Data Security Finding: Create",
            (Self::DataSecurity, Activity::Update) => "Data Security Finding: Update",
            (Self::DataSecurity, Activity::Close) => "Data Security Finding: Close",
            (Self::Compliance, Activity::Create) => "Compliance Finding: Create",
            (Self::Compliance, Activity::Update) => "Compliance Finding: Update",
            (Self::Compliance, Activity::Close) => "Compliance Finding: Close",
            (Self::Detection, Activity::Create) => "Detection Finding: Create",
            (Self::Detection, Activity::Update) => "Detection Finding: Update",
            (Self::Detection, Activity::Close) => "Detection Finding: Close",
        }
    }

    /// The profiles that an event of this class uses.
    pub(super) fn profiles(self, container: bool, cloud: bool) -> Vec<&'static str> {
        let of_data = self == Self::DataSecurity;
        profiles([("cloud", cloud), ("container", container), ("data_classification", of_data), ("host", true)])
    }
}

/// Those that are used.
pub(super) fn profiles<const N: usize>(all: [(&'static str, bool); N]) -> Vec<&'static str> {
    all.into_iter().filter_map(|(name, is_used)| is_used.then_some(name)).collect()
}

pub(super) fn activity(activity: Activity) -> Caption {
    match activity {
        Activity::Create => Caption(1, "Create"),
        Activity::Update => Caption(2, "Update"),
        Activity::Close => Caption(3, "Close"),
    }
}

pub(super) fn severity(severity: Severity) -> Caption {
    match severity {
        Severity::Info => Caption(1, "Informational"),
        Severity::Low => Caption(2, "Low"),
        Severity::Medium => Caption(3, "Medium"),
        Severity::High => Caption(4, "High"),
        Severity::Critical => Caption(5, "Critical"),
    }
}

/// OCSF names three steps and no bounds; the score itself stands beside them.
pub(super) fn confidence(percent: u8) -> Caption {
    match percent {
        0..50 => Caption(1, "Low"),
        50..80 => Caption(2, "Medium"),
        80.. => Caption(3, "High"),
    }
}

/// What sort of data leaked. Rules name themselves `pii.…` or `secret.…`; those of others may not.
pub(super) fn data_category(finding: &Finding) -> Caption {
    let entity = finding.entity.as_deref().unwrap_or_default();
    match finding.rule.id.split_once('.').map(|(family, _)| family) {
        Some("secret") => Caption(6, "Security"),
        Some("pii") if matches!(entity, "CREDIT_CARD" | "IBAN_CODE" | "US_BANK_ROUTING") => Caption(3, "Financial"),
        Some("pii") => Caption(1, "Personal"),
        _ => Caption(0, "Unknown"),
    }
}
