//! Where coverage looks when it wants to know more of a process. Enters: questions. Leaves: answers, from this process's own look at
//! `/proc`. What is tapped and what was refused it knows from whoever places the probes.

use std::{
    collections::HashMap,
    fs::File,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    World,
    hosts::HostsFiles,
    look::{Inode, Looker},
};
use crate::{
    rules::VendorTable,
    sources::coverage::{How, Look},
};

/// What became of files, by inode: written where probes are placed, which bounds it.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Fates(Arc<Mutex<HashMap<Inode, How>>>);

impl Fates {
    /// A file is tapped, or was refused.
    pub(in super::super) fn note(&self, inode: Inode, how: How) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(inode, how);
    }

    fn of(&self, inode: Inode) -> Option<How> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&inode).cloned()
    }
}

/// Looks itself.
pub(in super::super) struct Here {
    fates: Fates,
    hosts: HostsFiles,
    looker: Looker,
}

impl Here {
    /// Nothing looked at yet.
    pub(in super::super) fn new(fates: Fates) -> Self {
        Self { fates, hosts: HostsFiles::new(), looker: Looker::new() }
    }

    /// Names that the process's hosts file has at this address.
    pub(in super::super) fn names(&mut self, pid: u32, address: IpAddr) -> Vec<String> {
        self.hosts.names(pid, address)
    }

    /// The process.
    pub(in super::super) fn process(&mut self, pid: u32) -> Option<Look> {
        let Self { fates, looker, .. } = self;
        looker.look(pid, &mut |_: &Path, inode, _: &File| fates.of(inode))
    }
}

/// A [`World`] in which only listed hosts have names.
pub(in super::super) struct Listed<N, L> {
    /// Which hosts are listed.
    pub vendors: Arc<VendorTable>,
    /// Names at an address.
    pub names: N,
    /// Looks at a process.
    pub look: L,
}

impl<N: FnMut(u32, IpAddr) -> Vec<String>, L: FnMut(u32) -> Option<Look>> World for Listed<N, L> {
    fn hosts(&mut self, pid: u32, address: IpAddr) -> Vec<Arc<str>> {
        let mut hosts: Vec<Arc<str>> = (self.names)(pid, address)
            .iter()
            .filter(|name| self.vendors.vendor_of(name).is_some())
            .map(|name| name.as_str().into())
            .collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }

    fn look(&mut self, pid: u32) -> Option<Look> {
        (self.look)(pid)
    }
}
