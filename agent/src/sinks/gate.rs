//! What of the outbox goes to one sink. Enters: a page. Leaves: the records that are to be sent, and counts of those that are not: by the
//! sink's rules, by a silence, or because there were too many in a minute. It forgets nothing that no digest has told: those stay behind the cursor.

use std::time::{Duration, Instant};

use super::{
    digest::Digest,
    host::Host,
    outbox::Page,
    receiver::{Record, Refused},
    silences::Silences,
};
use crate::config::Flow;

/// How long a limit counts.
pub(super) const MINUTE: Duration = Duration::from_mins(1);

/// Decides on records.
pub(super) struct Gate {
    sink: String,
    host: Host,
    flow: Flow,
    silences: Silences,
    limit: Option<Limit>,
    /// What is over the limit and not told yet.
    digest: Option<Digest>,
}

/// Records that were left out on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Withheld {
    /// By `only` and `except`.
    pub(super) routed: u64,
    /// By `[[silence]]`.
    pub(super) silenced: u64,
    /// Over the limit; a digest tells of them.
    pub(super) digested: u64,
}

/// A part of a stream that is ready to be sent.
#[derive(Debug)]
pub(super) struct Sorted<T = Record> {
    pub(super) records: Vec<T>,
    pub(super) unreadable: Vec<Refused>,
    /// Its last row.
    pub(super) last: u64,
    pub(super) withheld: Withheld,
    /// The window in which it counts, when there is a limit.
    pub(super) window: u64,
}

/// What stands between the pages of a stream and its receiver.
pub(super) trait Passes<T> {
    /// Everything behind the cursor comes again.
    fn rewind(&mut self);

    /// The receiver has these.
    fn confirm(&mut self, window: u64, records: usize);

    /// What of a page is to be sent now. `None`: all of it waits for the digest.
    fn sort(&mut self, page: Page<T>, now: Instant) -> Option<Sorted<T>>;

    /// How long until the digest is due; `None` when there is none.
    fn due_in(&self, now: Instant) -> Option<Duration>;

    /// Something waits for the digest.
    fn has_digest(&self) -> bool;

    /// The digest as a batch.
    fn cut(&mut self) -> Option<Sorted<T>>;
}

/// Lets everything pass.
pub(super) struct Open;

impl<T> Passes<T> for Open {
    fn rewind(&mut self) {}

    fn confirm(&mut self, _window: u64, _records: usize) {}

    fn sort(&mut self, page: Page<T>, _now: Instant) -> Option<Sorted<T>> {
        let Page { records, unreadable, last } = page;
        Some(Sorted { records, unreadable, last: last?, withheld: Withheld::default(), window: 0 })
    }

    fn due_in(&self, _now: Instant) -> Option<Duration> {
        None
    }

    fn has_digest(&self) -> bool {
        false
    }

    fn cut(&mut self) -> Option<Sorted<T>> {
        None
    }
}

/// So many records in so much time.
struct Limit {
    most: usize,
    window: Duration,
    begun: Option<Instant>,
    /// Grows with each window.
    number: u64,
    handed_over: usize,
    /// Of these the receiver has so many: what fails and is sent again counts once.
    confirmed: usize,
}

impl Gate {
    /// For one sink; `window` is [`MINUTE`].
    pub(super) fn new(sink: &str, host: Host, flow: Flow, silences: Silences, window: Duration) -> Self {
        let limit = flow.max_per_minute.map(|most| Limit {
            most,
            window,
            begun: None,
            number: 0,
            handed_over: 0,
            confirmed: 0,
        });
        Self { sink: sink.to_owned(), host, flow, silences, limit, digest: None }
    }
}

impl Passes<Record> for Gate {
    fn rewind(&mut self) {
        self.digest = None;
        if let Some(limit) = &mut self.limit {
            limit.handed_over = limit.confirmed;
        }
    }

    fn confirm(&mut self, window: u64, records: usize) {
        if let Some(limit) = self.limit.as_mut().filter(|limit| limit.number == window) {
            limit.confirmed += records;
        }
    }

    fn sort(&mut self, page: Page, now: Instant) -> Option<Sorted> {
        let end = page.last?;
        let waits_already = self.digest.is_some();
        let (records, unreadable) = (Vec::new(), Vec::new());
        let mut sorted = Sorted { records, unreadable, last: end, withheld: Withheld::default(), window: 0 };
        if let Some(limit) = &mut self.limit {
            sorted.window = limit.window(now, !waits_already);
        }
        for record in page.records {
            let is_wanted = self.flow.takes(&record.finding);
            if !is_wanted || self.silences.hold(&record) {
                let withheld = self.digest.as_mut().map_or(&mut sorted.withheld, |digest| &mut digest.withheld);
                *if is_wanted { &mut withheld.silenced } else { &mut withheld.routed } += 1;
                continue;
            }
            let is_over = |limit: &Limit| self.digest.is_some() || !limit.has_room();
            let Some(most) = self.limit.as_ref().filter(|limit| is_over(limit)).map(|limit| limit.most) else {
                if let Some(limit) = &mut self.limit {
                    limit.handed_over += 1;
                }
                sorted.records.push(record);
                continue;
            };
            let digest = self.digest.get_or_insert_with(|| {
                // The cursor must not pass what only the digest tells.
                sorted.last = record.seq.saturating_sub(1);
                Digest::new(most)
            });
            digest.add(&record);
        }
        let Some(digest) = &mut self.digest else {
            sorted.unreadable = page.unreadable;
            return Some(sorted);
        };
        digest.last = end;
        if waits_already {
            digest.unreadable.extend(page.unreadable);
            return None;
        }
        // Rows that nothing can be made of, and that stand behind the first one that waits, wait with it.
        let (before, behind): (Vec<_>, Vec<_>) = page.unreadable.into_iter().partition(|row| row.seq <= sorted.last);
        sorted.unreadable = before;
        digest.unreadable = behind;
        Some(sorted)
    }

    fn due_in(&self, now: Instant) -> Option<Duration> {
        let limit = self.limit.as_ref().filter(|_| self.digest.is_some())?;
        let begun = limit.begun.unwrap_or(now);
        Some((begun + limit.window).saturating_duration_since(now))
    }

    fn has_digest(&self) -> bool {
        self.digest.is_some()
    }

    fn cut(&mut self) -> Option<Sorted> {
        let digest = self.digest.take()?;
        let (last, withheld, window) = (digest.last, digest.withheld, 0);
        let (record, unreadable) = digest.record(&self.sink, &self.host);
        Some(Sorted { records: vec![record], unreadable, last, withheld, window })
    }
}

impl Limit {
    /// The window that counts now. It does not end while something waits for its digest.
    fn window(&mut self, now: Instant, may_end: bool) -> u64 {
        let is_over = self.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= self.window);
        if is_over && may_end {
            self.begun = Some(now);
            self.number += 1;
            (self.handed_over, self.confirmed) = (0, 0);
        }
        self.number
    }

    fn has_room(&self) -> bool {
        self.handed_over < self.most
    }
}
