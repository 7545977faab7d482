//! A build without Kafka hears of no fleet, and says so.

use super::{FleetError, View};
use crate::config::Fleet;

/// Nobody reads the topic.
pub struct Follower(std::convert::Infallible);

impl Follower {
    /// There is none.
    pub fn start(_: Fleet) -> Result<Self, FleetError> {
        Err(FleetError::NotBuilt)
    }

    /// What is known now.
    pub fn view<T>(&self, _: impl FnOnce(&mut View) -> T) -> T {
        match self.0 {}
    }

    /// Why nothing is heard.
    pub fn trouble(&self) -> Option<String> {
        match self.0 {}
    }
}
