//! Which calls were told of already: an application logs what the tap sees too, and loggers say the same twice. Enters: exchanges of
//! either kind. Leaves: whether they count. It keeps hashes of ids and names, never the ids.
//!
//! State: [`IDS_MAX`] ids, [`SERVICES_MAX`] services that the tap saw; the least recently used go first.

use std::{
    hash::Hasher as _,
    sync::{Mutex, PoisonError},
};

use twox_hash::XxHash64;

use crate::{exchange::Exchange, lru::Lru, units::Timestamp};

/// Ids of answers and requests that are remembered.
const IDS_MAX: usize = 65_536;
/// Services whose calls the tap saw.
const SERVICES_MAX: usize = 4096;
/// How long a service counts as tapped after its last call, nanoseconds.
const TAPPED_NS: u64 = 600_000_000_000;

/// Shared by the sessions of the tap and of the logs.
#[derive(Debug)]
pub struct KnownCalls(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    ids: Lru<u64, ()>,
    tapped: Lru<u64, Timestamp>,
}

impl Default for KnownCalls {
    fn default() -> Self {
        Self(Mutex::new(Inner { ids: Lru::new(IDS_MAX), tapped: Lru::new(SERVICES_MAX) }))
    }
}

impl KnownCalls {
    /// The tap saw this one. True when nobody told of it before.
    pub fn tapped(&self, exchange: &Exchange) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.tapped.insert(service(exchange), exchange.ended_at);
        inner.enter(exchange)
    }

    /// A log tells of this one. True when it is news: nobody told of its ids before; and where it has none, the tap sees nothing of its
    /// service, which would count it too.
    pub fn logged(&self, exchange: &Exchange) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_id = ids(exchange).next().is_some();
        let seen = inner.tapped.touch(&service(exchange)).copied();
        let is_tapped = seen.is_some_and(|seen| exchange.ended_at.since_ns(seen) < TAPPED_NS);
        inner.enter(exchange) && (has_id || !is_tapped)
    }
}

impl Inner {
    /// None of its ids was known.
    fn enter(&mut self, exchange: &Exchange) -> bool {
        let mut is_new = true;
        for id in ids(exchange) {
            is_new &= self.ids.touch(&id).is_none();
            self.ids.insert(id, ());
        }
        is_new
    }
}

fn ids(exchange: &Exchange) -> impl Iterator<Item = u64> {
    let answer = exchange.response_id.as_deref();
    [answer, exchange.headers.request_id.as_deref()].into_iter().flatten().filter(|id| !id.is_empty()).map(hashed)
}

fn service(exchange: &Exchange) -> u64 {
    hashed(&exchange.origin.service)
}

fn hashed(text: &str) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{exchange::sample, sources::Origin};

    fn call(service: &str, id: Option<&str>) -> Exchange {
        let mut call = sample::exchange("openai", "gpt-4o");
        call.origin = Arc::new(Origin { service: service.into(), ..Origin::default() });
        call.response_id = id.map(str::to_owned);
        call
    }

    #[test]
    fn each_call_counts_once_whoever_tells_of_it() {
        let known = KnownCalls::default();
        assert!(known.tapped(&call("shop", Some("a"))));
        assert!(!known.logged(&call("shop-log", Some("a"))), "the tap was first");
        assert!(known.logged(&call("shop", Some("b"))), "the tap did not see it");
        assert!(!known.logged(&call("shop", Some("b"))), "logged twice");
        assert!(!known.tapped(&call("shop", Some("b"))), "the log was first");
        let mut by_header = call("java", Some("c"));
        by_header.headers.request_id = Some("req_1".into());
        assert!(known.logged(&by_header));
        by_header.response_id = None;
        assert!(!known.logged(&by_header));
    }

    #[test]
    fn what_has_no_id_counts_where_the_tap_sees_nothing() {
        let known = KnownCalls::default();
        assert!(known.logged(&call("java", None)) && known.logged(&call("java", None)));
        known.tapped(&call("shop", Some("a")));
        let mut later = call("shop", None);
        assert!(!known.logged(&later));
        later.ended_at.0 += TAPPED_NS;
        assert!(known.logged(&later));
    }
}
