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

/// Files whose fate is known at most; past it they are looked through like any other.
const FATES_MAX: usize = 4_096;

/// What became of files, by inode: written where probes are placed.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Fates(Arc<Mutex<HashMap<Inode, How>>>);

impl Fates {
    /// A file is tapped, or was refused.
    pub(in super::super) fn note(&self, inode: Inode, how: How) {
        let mut fates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if fates.len() < FATES_MAX || fates.contains_key(&inode) {
            fates.insert(inode, how);
        }
    }

    /// The file is gone; its number may be another's next.
    pub(in super::super) fn forget(&self, inode: Inode) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&inode);
    }

    fn of(&self, inode: Inode) -> Option<How> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&inode).cloned()
    }
}

/// Whoever can say more about a process: this one, or the one that has the rights.
pub(in super::super) trait Facts {
    /// Names that the process's hosts file has at this address.
    fn names(&mut self, pid: u32, address: IpAddr) -> Vec<String>;
    /// The process; `None` when nothing can be known of it.
    fn process(&mut self, pid: u32) -> Option<Look>;
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
}

impl Facts for Here {
    fn names(&mut self, pid: u32, address: IpAddr) -> Vec<String> {
        self.hosts.names(pid, address)
    }

    fn process(&mut self, pid: u32) -> Option<Look> {
        let Self { fates, looker, .. } = self;
        looker.look(pid, &mut |_: &Path, inode, _: &File| fates.of(inode))
    }
}

/// A [`World`] in which only listed hosts have names.
pub(in super::super) struct Listed<F> {
    /// Who is asked.
    pub facts: F,
    /// Which hosts are listed.
    pub vendors: Arc<VendorTable>,
}

impl<F: Facts> World for Listed<F> {
    fn hosts(&mut self, pid: u32, address: IpAddr) -> Vec<Arc<str>> {
        let names = self.facts.names(pid, address);
        let listed = names.iter().filter(|name| self.vendors.vendor_of(name).is_some());
        let mut hosts: Vec<Arc<str>> = listed.map(|name| name.as_str().into()).collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }

    fn look(&mut self, pid: u32) -> Option<Look> {
        self.facts.process(pid)
    }
}
