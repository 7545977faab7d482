//! Calls of tools between the answer that asks for them and the request that hands the result back. Enters: exchanges, in order.
//! Leaves: calls with their times, as far as a conversation shows them, and those that nobody came back from.
//!
//! State: at most [`MAX_ASKED`] calls that wait.

use std::{collections::VecDeque, hash::Hasher as _};

use twox_hash::XxHash64;

use crate::{exchange::Exchange, lru::Lru, units::Timestamp};

/// Calls that wait.
pub(super) const MAX_ASKED: usize = 8192;
/// After so long nobody comes back.
const ABANDONED_NS: u64 = 15 * 60 * 1_000_000_000;
/// So many are given up at once at most, and so many that came back are passed over: the work of one call is bounded.
const MAX_GIVEN_UP: usize = 16;
const MAX_PASSED: usize = 128;

/// A call whose result came back, or did not.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) host: String,
    pub(super) service: String,
    pub(super) tool: String,
    pub(super) asked_at: Timestamp,
}

#[derive(Debug)]
struct Waiting {
    returned: Returned,
    /// It was the only call of its turn: only then the time is its own.
    is_alone: bool,
    is_over: bool,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Asked {
    waiting: Lru<u64, Waiting>,
    order: VecDeque<(Timestamp, u64)>,
}

impl Asked {
    pub(super) fn new() -> Self {
        Self { waiting: Lru::new(MAX_ASKED), order: VecDeque::new() }
    }

    /// Notes what an answer asks for.
    pub(super) fn ask(&mut self, exchange: &Exchange) {
        let is_alone = exchange.tool_calls.len() == 1;
        for call in &exchange.called {
            let key = key(exchange, &call.id);
            let returned = Returned {
                host: exchange.host.clone(),
                service: exchange.origin.service.clone(),
                tool: call.name.clone(),
                asked_at: exchange.ended_at,
            };
            self.waiting.insert(key, Waiting { returned, is_alone, is_over: false });
            if self.order.len() >= MAX_ASKED {
                self.order.pop_front();
            }
            self.order.push_back((exchange.ended_at, key));
        }
    }

    /// The call that a result answers, once; and whether the time between is its own.
    pub(super) fn answer(&mut self, exchange: &Exchange, call_id: &str) -> Option<(&Returned, bool)> {
        let waiting = self.waiting.touch(&key(exchange, call_id))?;
        if waiting.is_over {
            return None;
        }
        waiting.is_over = true;
        Some((&waiting.returned, waiting.is_alone))
    }

    /// Calls that nobody came back from.
    pub(super) fn give_up(&mut self, now: Timestamp, mut give: impl FnMut(&Returned)) {
        let mut given = 0;
        for _ in 0..MAX_PASSED {
            let Some((at, key)) = self.order.front().copied() else { return };
            if given >= MAX_GIVEN_UP || now.since_ns(at) <= ABANDONED_NS {
                return;
            }
            self.order.pop_front();
            if let Some(waiting) = self.waiting.peek(&key).filter(|waiting| !waiting.is_over) {
                give(&waiting.returned);
                given += 1;
            }
        }
    }
}

fn key(exchange: &Exchange, call_id: &str) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(exchange.origin.service.as_bytes());
    hasher.write(exchange.host.as_bytes());
    hasher.write(call_id.as_bytes());
    hasher.finish()
}
