//! What of a call site is watched apart: its replies, and the arguments of each tool. Enters: a call site, the name of a tool. Leaves:
//! [`Slot`], the key of a table. It holds no text.

use std::hash::Hasher as _;

use twox_hash::XxHash64;

use super::call_site::CallSite;
use crate::units::hex;

/// The replies of a call site, or what it gives to one tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    site: CallSite,
    /// Hash of the tool's name; zero: the replies.
    tool: u64,
}

impl Slot {
    /// Of a tool, or of the replies.
    pub(super) fn new(site: CallSite, tool: Option<&str>) -> Self {
        let hash = |tool: &str| {
            let mut hasher = XxHash64::with_seed(0);
            hasher.write(tool.as_bytes());
            hasher.finish().max(1)
        };
        Self { site, tool: tool.map_or(0, hash) }
    }

    /// `00d1f0c4a8b2e6f3-0000000000000000`: under which it is kept.
    pub(super) fn key(self) -> String {
        [self.site.key(), hex(&self.tool.to_be_bytes(), 16)].join("-")
    }

    /// What [`key`](Self::key) wrote.
    pub(super) fn from_key(text: &str) -> Option<Self> {
        let (site, tool) = text.split_once('-')?;
        Some(Self { site: CallSite::from_key(site)?, tool: u64::from_str_radix(tool, 16).ok()? })
    }
}
