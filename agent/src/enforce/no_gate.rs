//! A build without kernel programs can stop nothing, and says so. Enters: what [`Gate`] of other builds takes. Leaves: a refusal.

use std::path::Path;

use super::{Connection, Counts, EnforceError, Network, Unreadable};
use crate::rules::vendors::HostPattern;

/// There is none.
pub enum Gate {}

impl Gate {
    /// Refuses.
    pub fn attach(_folder: &Path, _unreadable: Unreadable, _networks: &[Network]) -> Result<Self, EnforceError> {
        Err(EnforceError::NotBuilt)
    }

    /// There is none.
    pub fn list<'a>(&mut self, _hosts: impl Iterator<Item = &'a HostPattern>) -> Result<(), EnforceError> {
        match *self {}
    }

    /// There is none.
    pub fn set_open(&mut self, _is_open: bool) -> Result<(), EnforceError> {
        match *self {}
    }

    /// There is none.
    pub fn connections(&self) -> Vec<Connection> {
        match *self {}
    }

    /// There is none.
    pub fn remember(&mut self, _connections: &[Connection]) -> Result<(), EnforceError> {
        match *self {}
    }

    /// There is none.
    pub fn counts(&self) -> Result<Counts, EnforceError> {
        match *self {}
    }
}

/// Refuses.
pub fn try_load() -> Result<(), EnforceError> {
    Err(EnforceError::NotBuilt)
}
