//! Beside the river: how the agent itself is doing. Enters: counts from the rooms, and what the parts say of their health. Leaves:
//! a page on loopback. It never holds a value out of traffic but names of services and rules, and it sends nothing anywhere.

pub mod admin;
mod health;
mod metric;
mod metrics;
mod reference;

pub use self::{
    admin::{Admin, AdminError},
    health::{Component, Health},
    metric::{About, Kind, Metric, Unit},
    metrics::{Metrics, OTHER, SERIES_MAX},
    reference::reference,
};
