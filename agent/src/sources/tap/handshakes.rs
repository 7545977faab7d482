//! Which connections to vendors never come about. Enters: what the ring says about connections that named a listed host. Leaves:
//! [`FailedHandshake`]. A handshake itself is not seen, so a connection has failed when it ends before a byte of either side went through
//! it, or when none did for a minute, for Go's HTTP client leaves the TLS of such a connection unended: for certain when the client was
//! told that the certificate does not pass, else when it happens again and again and no other
//! connection of the service to this host gets through meanwhile.
//!
//! State: at most [`CONNECTIONS_MAX`] connections and [`ROWS_MAX`] pairs of service and host; the one that failed least recently goes
//! first. Nothing is kept over a restart.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;

use crate::{
    lru::Lru,
    sources::{Origin, handshake::FailedHandshake},
    units::Timestamp,
};

/// Connections that are watched at once.
const CONNECTIONS_MAX: usize = 65_536;
/// Pairs of service and host with failures.
const ROWS_MAX: usize = 1_024;
/// So many in a row tell, where the certificate is not known to be the reason: clients open connections that they do not use.
const FAILED_MIN: u64 = 5;
/// Failures that lie further apart are not in a row.
const APART_NS: u64 = 10 * 60 * 1_000_000_000;
/// A client that opens a connection has something to say.
const SILENT_NS: u64 = 60 * 1_000_000_000;
/// So often what goes on is told anew.
const TELL_EVERY_NS: u64 = 5 * 60 * 1_000_000_000;

/// The table.
#[derive(Debug)]
pub(super) struct Handshakes {
    connections: HashMap<u64, Connection>,
    /// In the order in which they were opened, those that may have been silent for long.
    opened: VecDeque<(Timestamp, u64)>,
    rows: Lru<(String, Arc<str>), Row>,
}

#[derive(Debug)]
struct Connection {
    host: Arc<str>,
    service: Arc<Origin>,
    refused: Option<u32>,
    /// When a byte last went through.
    talked: Option<Timestamp>,
}

#[derive(Debug)]
struct Row {
    failed: u64,
    since: Timestamp,
    last: Timestamp,
    refused: Option<u32>,
    told: Option<Timestamp>,
}

impl Handshakes {
    pub(super) fn new() -> Self {
        Self { connections: HashMap::new(), opened: VecDeque::new(), rows: Lru::new(ROWS_MAX) }
    }

    /// A connection named a listed host. Gives what is due of those that were opened long before.
    pub(super) fn opened(
        &mut self,
        connection: u64,
        host: &Arc<str>,
        origin: &Arc<Origin>,
        at: Timestamp,
    ) -> Vec<FailedHandshake> {
        let mut due = Vec::new();
        while let Some((since, old)) = self.opened.front().copied()
            && (at.since_ns(since) >= SILENT_NS || self.opened.len() >= CONNECTIONS_MAX)
        {
            self.opened.pop_front();
            let is_silent = self.connections.get(&old).is_some_and(|old| old.talked.is_none());
            if is_silent && at.since_ns(since) >= SILENT_NS {
                due.extend(self.closed(old, 0, true, at));
            }
        }
        if self.connections.len() < CONNECTIONS_MAX {
            let (host, service) = (Arc::clone(host), Arc::clone(origin));
            self.connections.insert(connection, Connection { host, service, refused: None, talked: None });
            self.opened.push_back((at, connection));
        }
        due
    }

    /// Its client was told that the certificate does not pass.
    pub(super) fn refused(&mut self, connection: u64, why: u32) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.refused = Some(why);
        }
    }

    /// Bytes went through it.
    pub(super) fn talked(&mut self, connection: u64, at: Timestamp) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.talked = Some(at);
        }
    }

    /// It is over. `bytes` went through it, both ways together; `freed` when its client ended it, and not its client's own end.
    pub(super) fn closed(
        &mut self,
        connection: u64,
        bytes: u64,
        freed: bool,
        at: Timestamp,
    ) -> Option<FailedHandshake> {
        let Connection { host, service: origin, refused, .. } = self.connections.remove(&connection)?;
        let key = (origin.service.clone(), host);
        if bytes > 0 {
            self.rows.remove(&key);
            return None;
        }
        // Whoever ends in the middle of things says nothing about the server.
        if refused.is_none() && !freed {
            return None;
        }
        let new = || Row { failed: 0, since: at, last: at, refused, told: None };
        let row = self.rows.enter(&key, || (key.clone(), new())).0?;
        if at.since_ns(row.last) > APART_NS {
            *row = new();
        }
        if refused.is_some() && row.refused != refused {
            (row.refused, row.told) = (refused, None);
        }
        row.failed += 1;
        row.last = at;
        let is_enough = row.refused.is_some() || row.failed >= FAILED_MIN;
        let is_due = row.told.is_none_or(|told| at.since_ns(told) >= TELL_EVERY_NS);
        if !is_enough || !is_due {
            return None;
        }
        // One that lives long is in use while others are opened in vain.
        let since = row.since;
        let in_use = |other: &Connection| {
            other.talked.is_some_and(|talked| talked >= since) && other.host == key.1 && other.service.service == key.0
        };
        if row.refused.is_none() && self.connections.values().any(in_use) {
            self.rows.remove(&key);
            return None;
        }
        row.told = Some(at);
        let Row { failed, since, refused, .. } = *row;
        Some(FailedHandshake { at, origin, host: key.1, refused, failed, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    /// A service that talks to one host; its connections have numbers.
    struct Service {
        table: Handshakes,
        host: Arc<str>,
        origin: Arc<Origin>,
        next: u64,
    }

    impl Service {
        fn new() -> Self {
            let origin = Arc::new(Origin { service: "cart".to_owned(), ..Origin::default() });
            Self { table: Handshakes::new(), host: "api.openai.com".into(), origin, next: 0 }
        }

        fn open(&mut self) -> u64 {
            self.open_at(0);
            self.next
        }

        fn open_at(&mut self, second: u64) -> Vec<FailedHandshake> {
            self.next += 1;
            self.table.opened(self.next, &self.host, &self.origin, Timestamp(second * SECOND_NS))
        }

        /// A connection that ends at once.
        fn ends(&mut self, refused: Option<u32>, bytes: u64, second: u64) -> Option<FailedHandshake> {
            let connection = self.open();
            if let Some(why) = refused {
                self.table.refused(connection, why);
            }
            self.table.closed(connection, bytes, true, Timestamp(second * SECOND_NS))
        }
    }

    #[test]
    fn a_certificate_that_does_not_pass_is_told_at_once_and_again_after_five_minutes() {
        let mut service = Service::new();
        let told = service.ends(Some(10), 0, 100).unwrap();
        assert_eq!((told.refused, told.failed, &*told.host), (Some(10), 1, "api.openai.com"));
        assert_eq!(service.ends(Some(10), 0, 101), None);
        // Another reason is news.
        assert_eq!(service.ends(Some(62), 0, 102).unwrap().refused, Some(62));
        assert_eq!(service.ends(Some(62), 0, 401), None);
        let told = service.ends(Some(62), 0, 402).unwrap();
        assert_eq!((told.failed, told.since), (5, Timestamp(100 * SECOND_NS)));
    }

    #[test]
    fn a_client_that_goes_on_all_the_same_has_its_connection() {
        let mut service = Service::new();
        assert_eq!(service.ends(Some(18), 700, 1), None);
    }

    #[test]
    fn without_a_reason_it_takes_five_in_a_row() {
        let mut service = Service::new();
        let silent = |service: &mut Service, second| service.ends(None, 0, second).map(|told| told.failed);
        for second in 1..5 {
            assert_eq!(silent(&mut service, second), None);
        }
        assert_eq!(silent(&mut service, 5), Some(5));
        assert_eq!(silent(&mut service, 6), None);
        // One gets through: from the start again.
        assert_eq!(service.ends(None, 10, 7), None);
        assert_eq!((8..12).find_map(|second| silent(&mut service, second)), None);
        // And so after a long time.
        assert_eq!(silent(&mut service, 3_000), None);
    }

    #[test]
    fn connections_that_are_not_used_say_nothing_while_another_is() {
        let mut service = Service::new();
        let lasting = service.open();
        for second in 1..20 {
            service.table.talked(lasting, Timestamp(second * SECOND_NS));
            assert_eq!(service.ends(None, 0, second), None, "{second}");
        }
    }

    #[test]
    fn a_connection_that_says_nothing_for_a_minute_has_failed() {
        let mut service = Service::new();
        // Every ten seconds one; the first talks, the others never do and are never ended.
        assert!(service.open_at(0).is_empty());
        service.table.talked(service.next, Timestamp(SECOND_NS));
        let told: Vec<(u64, u64)> = (1..30)
            .flat_map(|tenth| service.open_at(tenth * 10).into_iter().map(move |told| (tenth * 10, told.failed)))
            .collect();
        assert_eq!(told, [(110, 5)], "those of 10 to 50 s, and none since the first has talked");
        assert_eq!(service.table.connections.len(), 1 + 6);
    }

    #[test]
    fn a_client_that_is_killed_says_nothing_about_the_server() {
        let mut service = Service::new();
        for second in 1..20 {
            let connection = service.open();
            assert_eq!(service.table.closed(connection, 0, false, Timestamp(second)), None);
        }
        let connection = service.open();
        service.table.refused(connection, 20);
        assert!(service.table.closed(connection, 0, false, Timestamp(21)).is_some());
    }

    #[test]
    fn it_forgets_what_is_over_and_holds_no_more_than_it_says() {
        let mut service = Service::new();
        assert_eq!(service.table.closed(99, 0, true, Timestamp(1)), None, "never heard of");
        for _ in 0..CONNECTIONS_MAX + 10 {
            service.open();
        }
        assert_eq!(service.table.connections.len(), CONNECTIONS_MAX);
        for connection in 1..=service.next {
            service.table.closed(connection, 1, true, Timestamp(2));
        }
        assert!(service.table.connections.is_empty());
        for host in 0..ROWS_MAX + 10 {
            service.host = format!("{host}.example").into();
            service.ends(None, 0, 1);
        }
        assert_eq!(service.table.rows.len(), ROWS_MAX);
    }
}
