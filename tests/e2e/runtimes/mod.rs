//! Every kind of program that talks to an LLM, tapped for real. Each row of the table (`table`) is a program that fetches through TLS from
//! the local server: what it sent and what it got must come out of the tap byte for byte, requests of a kilobyte and of a
//! megabyte and a streamed answer, without a loss; or the tap must refuse its TLS with a reason. What came of it is a row of
//! docs/SUPPORT_MATRIX.md (`page`).
//!
//! Whatever may be probed is a copy that only this test maps; the test fails when a probe went anywhere else.

mod page;
mod place;
mod table;

use std::sync::{Arc, Mutex};

use outflow::{
    rules::{RuleSource, VendorTable},
    sources::{
        Input,
        tap::{Ledger, Notice, Scope, Settings, Tap},
    },
};
use serde::Serialize;
use serde_json::Value;
use testbed::{Connection, Job};

pub(crate) use self::page::{GRPCIO, record};
use self::{
    place::Place,
    table::{Client, Expected, TABLE},
};
use crate::{
    support,
    tap::{Seen, Streams, assert_no_loss, collect},
};

/// How long a client may take, in seconds: some begin with half a minute of a busy machine.
const CLIENT_TIMEOUT_S: i64 = 180;
/// What each client sends at least: one kilobyte, one megabyte, one kilobyte.
const SENT_BYTES_MIN: usize = 1 << 20;
/// What it gets at least.
const RECEIVED_BYTES_MIN: usize = 10_000;

/// What one run showed: one line of the page, and one file in `target/support-matrix`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// The program.
    pub(crate) client: String,
    /// Its version, as it says itself.
    pub(crate) version: String,
    /// Its TLS.
    pub(crate) stack: String,
    /// The version of that.
    pub(crate) stack_version: String,
    /// The file that carries it.
    pub(crate) file: String,
    /// Plain bytes that it sent, all of them recovered; none when the stack was refused.
    pub(crate) sent_bytes: usize,
    /// Plain bytes that it got.
    pub(crate) received_bytes: usize,
    /// Why its TLS is refused, if it is.
    pub(crate) refused: Option<String>,
}

/// One row: `id` as in the table.
fn check(id: &str) {
    if !support::bpf_or_skip() {
        return;
    }
    let client = TABLE.iter().find(|client| client.id == id).expect("a row of the table");
    let place = Place::new(client.id);
    if !support::allowed((client.missing)(&place)) {
        return;
    }
    let run = (client.start)(&place);
    let mut options = Vec::new();
    for (name, value) in &run.environment {
        let mut variable = std::ffi::OsString::from(format!("{name}="));
        variable.push(value);
        options.extend(["--env".into(), variable]);
    }
    options.extend(["--names".into(), run.names.join(",").into()]);
    let command = place.bench.sandboxed_with(&options, &run.command);

    let streams = Streams::default();
    let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
    let vendors = VendorTable::load(&RuleSource::Embedded).unwrap();
    let vendors = Arc::new(vendors.with_hosts(run.names.iter().copied()).unwrap());
    let (into, told) = (Arc::clone(&streams), Arc::clone(&notices));
    let deliver = move |input: Input| {
        collect(&into, &input);
        true
    };
    let notice = move |notice| told.lock().unwrap().push(notice);
    let tap = Tap::start(&Scope::Children, &run.known, Settings::default(), &vendors, deliver, notice).unwrap();
    let ended = Job::start(command, place.bench.dir(), client.id).unwrap().wait(CLIENT_TIMEOUT_S).unwrap();
    let ledger = tap.stop().unwrap();

    let stdout = ended.success().unwrap();
    let facts: Value = serde_json::from_str(stdout.lines().last().expect("a client prints one line")).unwrap();
    let seen: Vec<Seen> = streams.lock().unwrap().values().cloned().collect();
    let notices = notices.lock().unwrap().clone();
    assert_private(&place, &notices);
    let mut row = client.row(&run, &facts);
    match client.expected {
        Expected::Whole => {
            (row.sent_bytes, row.received_bytes) = assert_whole(&place, client, &seen, &ledger, &notices);
        }
        Expected::Refused(reason) => {
            assert_refused(client, reason, &seen, &notices);
            row.refused = Some(reason.to_owned());
        }
    }
    record(id, &row);
}

/// No probe sits on a file that another process could map.
fn assert_private(place: &Place, notices: &[Notice]) {
    for notice in notices {
        if let Notice::Tapped { library, .. } = notice {
            assert!(library.starts_with(place.bench.dir()), "a probe on a file of others: {notice:?}");
        }
    }
}

/// Everything that the server read and wrote is there, each connection once. Gives the bytes sent and received.
fn assert_whole(place: &Place, client: &Client, seen: &[Seen], ledger: &Ledger, notices: &[Notice]) -> (usize, usize) {
    let tapped = notices.iter().any(|notice| {
        matches!(notice, Notice::Tapped { library, stacks, .. }
            if client.is_in(library) && stacks.contains(&client.stack))
    });
    assert!(tapped, "no {} of a {} is tapped: {notices:#?}", client.stack, client.file);
    let journal = place.bench.connections().unwrap();
    let mut left: Vec<&Seen> = seen.iter().collect();
    for connection in &journal {
        let Some(at) = left.iter().position(|seen| is_whole(seen, connection)) else {
            panic!("{} is not among {:?}\n{ledger:#?}\n{notices:#?}", short(connection), told(left.iter().copied()));
        };
        left.remove(at);
    }
    assert!(
        left.iter().all(|seen| seen.sent.is_empty() && seen.received.is_empty()),
        "twice: {:?}",
        told(left.iter().copied())
    );
    assert_no_loss(ledger);
    let sent = journal.iter().map(|connection| connection.received.len()).sum();
    let received = journal.iter().map(|connection| connection.sent.len()).sum();
    assert!(sent >= SENT_BYTES_MIN && received >= RECEIVED_BYTES_MIN, "{sent} and {received} bytes prove little");
    (sent, received)
}

/// A client may hang up with the very end of an answer unread, as the vendors' clients do once they saw `[DONE]`.
fn is_whole(seen: &Seen, connection: &Connection) -> bool {
    const UNREAD_BYTES_MAX: usize = 64;
    let unread = connection.sent.len().saturating_sub(seen.received.len());
    seen.gaps == 0
        && seen.sent == connection.received
        && connection.sent.starts_with(&seen.received)
        && unread <= UNREAD_BYTES_MAX
}

/// The tap says why, and does not see a part of it.
fn assert_refused(client: &Client, reason: &str, seen: &[Seen], notices: &[Notice]) {
    let refused = notices.iter().any(|notice| {
        matches!(notice, Notice::Refused { library, stack, why, .. }
            if client.is_in(library) && *stack == Some(client.stack) && why.contains(reason))
    });
    assert!(refused, "{} of {} is not refused with {reason:?}: {notices:#?}", client.stack, client.file);
    assert!(seen.iter().all(|seen| seen.sent.is_empty() && seen.received.is_empty()), "{:?}", told(seen));
}

fn short(connection: &Connection) -> String {
    let Connection { number, server_name, received, sent } = connection;
    format!("connection {number} to {server_name} ({} bytes out, {} in)", received.len(), sent.len())
}

fn told<'a>(seen: impl IntoIterator<Item = &'a Seen>) -> Vec<(Option<&'a str>, usize, usize, usize)> {
    let one = |seen: &'a Seen| (seen.server_name.as_deref(), seen.sent.len(), seen.received.len(), seen.gaps);
    seen.into_iter().map(one).collect()
}
