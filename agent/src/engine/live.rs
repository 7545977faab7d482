//! Rules that can be exchanged while the agent runs. Enters: rules. Leaves: to each worker a scanner of the newest ones. Rules of which no
//! scanner can be built never get in.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use super::{LoadError, Rules};
use crate::{detectors::scan::ScanDetector, findings::Policy};

/// The rules that count now.
#[derive(Debug)]
pub struct LiveRules {
    current: RwLock<Rules>,
    version: AtomicU64,
}

impl LiveRules {
    /// These count from now on.
    pub fn new(rules: Rules) -> Arc<Self> {
        Arc::new(Self { current: RwLock::new(rules), version: AtomicU64::new(1) })
    }

    /// The rules that count now.
    pub fn now(&self) -> Rules {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Exchanges them. When they do not pass the scanner's self-test the old ones stay.
    pub fn replace(&self, rules: Rules) -> Result<(), LoadError> {
        rules.scanner()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = rules;
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

/// One worker's scanner, of the newest rules.
pub struct LiveScanner {
    live: Arc<LiveRules>,
    version: u64,
    scanner: ScanDetector,
    policy: Arc<Policy>,
    /// Blocks that earlier scanners refused.
    refused: u64,
}

impl LiveScanner {
    /// A scanner of the rules that count now.
    pub fn new(live: Arc<LiveRules>) -> Result<Self, LoadError> {
        let version = live.version.load(Ordering::Acquire);
        let rules = live.now();
        let scanner = rules.scanner()?;
        Ok(Self { live, version, scanner, policy: rules.policy, refused: 0 })
    }

    /// The scanner; a new one when the rules were exchanged.
    pub fn scanner(&mut self) -> &mut ScanDetector {
        self.parts().0
    }

    /// The scanner, and what the user decided about what it finds.
    pub fn parts(&mut self) -> (&mut ScanDetector, &Policy) {
        let version = self.live.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            // They passed before they got in. Should it fail all the same, the old rules are better than none.
            let rules = self.live.now();
            if let Ok(scanner) = rules.scanner() {
                self.refused += self.scanner.failed_blocks();
                self.scanner = scanner;
                self.policy = rules.policy;
            }
        }
        (&mut self.scanner, &self.policy)
    }

    /// Blocks that were not looked at because stage 1 refused them.
    pub fn failed_blocks(&self) -> u64 {
        self.refused + self.scanner.failed_blocks()
    }
}
