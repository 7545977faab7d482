//! What librdkafka counts of itself. Enters: its statistics, every few seconds, of one client after the other. Leaves: figures of the sink that
//! never go back to zero, although each client begins there.

use std::sync::{Mutex, PoisonError};

use rdkafka::Statistics;

use crate::sinks::stats::{ClientFigures, SinkStats};

/// What one client has counted.
#[derive(Debug)]
pub(super) struct Counted {
    /// The one that all records go through; another one is for single messages and has no queue to speak of.
    is_main: bool,
    last: Mutex<Totals>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    errors: u64,
    retries: u64,
    timeouts: u64,
}

impl Counted {
    pub(super) fn new(is_main: bool) -> Self {
        Self { is_main, last: Mutex::default() }
    }

    /// Takes the statistics of a moment in.
    pub(super) fn take(&self, statistics: &Statistics, stats: &SinkStats) {
        let mut now = Totals::default();
        let mut round_trip_ns = 0;
        for broker in statistics.brokers.values() {
            now.errors = now.errors.saturating_add(broker.txerrs);
            now.retries = now.retries.saturating_add(broker.txretries);
            now.timeouts = now.timeouts.saturating_add(broker.req_timeouts);
            // Microseconds.
            let mean = broker.rtt.as_ref().map_or(0, |rtt| u64::try_from(rtt.avg).unwrap_or(0));
            round_trip_ns = round_trip_ns.max(mean.saturating_mul(1000));
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let more = ClientFigures {
            errors: now.errors.saturating_sub(last.errors),
            retries: now.retries.saturating_sub(last.retries),
            timeouts: now.timeouts.saturating_sub(last.timeouts),
            queued_records: statistics.msg_cnt,
            queued_bytes: statistics.msg_size,
            round_trip_ns,
        };
        *last = now;
        drop(last);
        stats.client(more, self.is_main);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::{Broker, Window};

    use super::*;

    fn statistics(records: u64, brokers: &[(u64, u64, u64, i64)]) -> Statistics {
        let broker = |(index, (errors, retries, timeouts, micros)): (usize, &(u64, u64, u64, i64))| {
            let rtt = Some(Window { avg: *micros, ..Window::default() });
            let (txerrs, txretries, req_timeouts) = (*errors, *retries, *timeouts);
            (index.to_string(), Broker { txerrs, txretries, req_timeouts, rtt, ..Broker::default() })
        };
        let brokers = brokers.iter().enumerate().map(broker).collect();
        Statistics { msg_cnt: records, msg_size: records * 100, brokers, ..Statistics::default() }
    }

    #[test]
    fn counts_go_on_when_a_producer_is_replaced_and_states_are_those_of_the_main_one() {
        let stats = SinkStats::new(tokio::sync::watch::channel(0).1);
        assert_eq!(stats.client_figures(), None);
        let first = Counted::new(true);
        first.take(&statistics(7, &[(1, 2, 3, 400), (10, 20, 30, 900)]), &stats);
        first.take(&statistics(5, &[(1, 2, 4, 0), (10, 20, 30, 0)]), &stats);
        let seen = ClientFigures {
            queued_records: 5,
            queued_bytes: 500,
            round_trip_ns: 900_000,
            errors: 11,
            retries: 22,
            timeouts: 34,
        };
        assert_eq!(stats.client_figures(), Some(seen), "the last answer counts");
        Counted::new(false).take(&statistics(1, &[(1, 0, 0, 5)]), &stats);
        Counted::new(true).take(&statistics(0, &[(0, 1, 0, 300)]), &stats);
        let seen = ClientFigures {
            queued_records: 0,
            queued_bytes: 0,
            round_trip_ns: 300_000,
            errors: 12,
            retries: 23,
            timeouts: 34,
        };
        assert_eq!(stats.client_figures(), Some(seen));
    }
}
