//! How one tool of one server behaves. Enters: its calls, in the order in which they ended. Leaves: what stands out against how it
//! was before. Pure.
//!
//! State: the newest [`MAX_RECENT`] calls, at most [`WINDOW_NS`] old, and of all before them a histogram of latencies, how many ran
//! side by side, and how many failed: under 2 KB. Only what is learned survives a restart. While something stands out nothing
//! is learned.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::units::Timestamp;

/// Calls that are compared with what was before.
pub(super) const MAX_RECENT: usize = 48;
/// And how old they may be.
pub(super) const WINDOW_NS: u64 = 60 * 60 * 1_000_000_000;
/// Calls in the window without which no rate is told.
pub(super) const MIN_CALLS: usize = 20;
/// Calls before it without which there is nothing to compare with.
const MIN_LEARNED: u64 = 50;
/// Buckets of the histogram, four to a doubling, from a millisecond to a day.
const BUCKETS: usize = 108;
/// From so many on all counts are halved: what a tool was last month matters less.
const HALVE_AT: u64 = 4000;
/// How much slower the tail must be: with more calls side by side, and without.
const SLOWER: (u64, u64) = (3, 5);
/// And by how much at least: nobody waits for less.
const MIN_SLOWER_MS: u64 = 500;
/// Calls without a reply one after the other from which on the tool hangs.
const HUNG_CALLS: usize = 3;
/// Timeouts: part of the calls in percent, and how many at least.
const TIMEOUTS: (usize, usize) = (5, 3);
/// Failures, the same; and how many times the usual part.
const ERRORS: (usize, usize, u64) = (25, 8, 3);
/// The same where nothing is known of before.
const ERRORS_AT_FIRST_PERCENT: usize = 60;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Fine,
    /// The tool, its server or the protocol said that it failed.
    Failed,
    /// Somebody gave up waiting and said so.
    TimedOut,
    /// There was no reply.
    Silent,
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Timestamp,
    pub(super) ending: Ending,
}

#[derive(Clone, Copy, Debug)]
struct Recent {
    ended_at: Timestamp,
    latency_ms: u32,
    /// Calls that were under way together, this one too.
    overlap: u16,
    ending: Ending,
}

/// What is learned of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Learned {
    /// Bucket and count, the lowest first.
    latencies: Vec<(u8, u32)>,
    calls: u64,
    failures: u64,
    /// Sum of how many ran together, over all calls.
    overlaps: u64,
}

/// What stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Slow { p95_ms: u64, usual_ms: u64, overlap_tenths: u64, usual_overlap_tenths: u64, queues: bool },
    TimeOuts { count: usize, of: usize },
    Errors { count: usize, of: usize, usual_percent: Option<u64> },
    Hung { count: usize, since: Timestamp },
}

/// How a tool behaves.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// It is seen in conversations only: that nobody came back may be how it is used, as with tools that end a run.
    is_hearsay: bool,
    recent: VecDeque<Recent>,
    pub(super) learned: Learned,
    /// Calls since a signal was told; `None`: it is over.
    told: [Option<u32>; 4],
    /// Calls that were learned since the state was saved.
    pub(super) unsaved: u32,
}

impl Lane {
    /// Nothing was seen of it yet.
    pub(super) fn new(is_hearsay: bool, learned: Learned) -> Self {
        Self { is_hearsay, learned, ..Self::default() }
    }

    /// Takes a call in, and gives what is to be told: each signal when it begins, and again when all calls behind it are new.
    pub(super) fn take(&mut self, call: Call, is_measured: bool) -> SmallVec<[Trouble; 2]> {
        let overlap = 1 + self.recent.iter().filter(|other| other.ended_at > call.started_at).count();
        let latency_ms = if is_measured { call.ended_at.since_ns(call.started_at) / 1_000_000 } else { 0 };
        while let Some(oldest) = self.recent.front() {
            let is_old = call.ended_at.since_ns(oldest.ended_at) > WINDOW_NS;
            if self.recent.len() < MAX_RECENT && !is_old {
                break;
            }
            if let Some(oldest) = self.recent.pop_front()
                && self.told.iter().all(Option::is_none)
            {
                self.learn(oldest);
            }
        }
        self.recent.push_back(Recent {
            ended_at: call.ended_at,
            latency_ms: u32::try_from(latency_ms).unwrap_or(u32::MAX),
            overlap: u16::try_from(overlap).unwrap_or(u16::MAX),
            ending: call.ending,
        });
        let seen = [self.slow(), self.timeouts(), self.errors(), self.hung()];
        let mut news = SmallVec::new();
        for (told, trouble) in self.told.iter_mut().zip(seen) {
            *told = match (*told, trouble) {
                (_, None) => None,
                (Some(calls), Some(_)) if (calls as usize) < MAX_RECENT => Some(calls + 1),
                (_, Some(trouble)) => {
                    news.push(trouble);
                    Some(1)
                }
            };
        }
        news
    }

    fn learn(&mut self, call: Recent) {
        let learned = &mut self.learned;
        self.unsaved = self.unsaved.saturating_add(1);
        learned.calls += 1;
        learned.overlaps = learned.overlaps.saturating_add(call.overlap.into());
        learned.failures += u64::from(call.ending != Ending::Fine);
        if call.latency_ms > 0 && matches!(call.ending, Ending::Fine | Ending::Failed) {
            let bucket = bucket(call.latency_ms);
            match learned.latencies.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
                Ok(at) => learned.latencies.iter_mut().skip(at).take(1).for_each(|(_, count)| *count += 1),
                Err(at) => learned.latencies.insert(at, (bucket, 1)),
            }
        }
        if learned.calls >= HALVE_AT {
            learned.calls /= 2;
            learned.failures /= 2;
            learned.overlaps /= 2;
            learned.latencies.iter_mut().for_each(|(_, count)| *count /= 2);
            learned.latencies.retain(|(_, count)| *count > 0);
        }
    }

    /// The tail is several times as long as it was. When as many more calls run side by side, they wait for each other: by
    /// Little's law (L = λW, Little 1961) calls that take longer also overlap more, so the load must have grown beyond that.
    fn slow(&self) -> Option<Trouble> {
        let learned = &self.learned;
        let mut latencies: SmallVec<[u32; MAX_RECENT]> = SmallVec::new();
        let mut overlaps = 0;
        for call in self.recent.iter().filter(|call| call.latency_ms > 0 && call.ending != Ending::Silent) {
            latencies.push(call.latency_ms);
            overlaps += u64::from(call.overlap);
        }
        let calls = latencies.len();
        if calls < MIN_CALLS || learned.calls < MIN_LEARNED {
            return None;
        }
        latencies.sort_unstable();
        let at = |percent: usize| latencies.get((calls * percent / 100).min(calls - 1)).copied().map_or(0, u64::from);
        let (p95_ms, p50_ms) = (at(95), at(50));
        let (usual_ms, usual_p50_ms) = (learned.percentile(95)?, learned.percentile(50)?);
        let overlap_tenths = overlaps * 10 / calls as u64;
        let usual_overlap_tenths = learned.overlaps * 10 / learned.calls.max(1);
        let queues = overlap_tenths >= 2 * usual_overlap_tenths.max(10);
        let times = if queues { SLOWER.0 } else { SLOWER.1 };
        // One call in twenty may always be slow: the middle must have moved too.
        let is_slow = p95_ms >= times * usual_ms && p95_ms >= usual_ms + MIN_SLOWER_MS && p50_ms >= 2 * usual_p50_ms;
        is_slow.then_some(Trouble::Slow { p95_ms, usual_ms, overlap_tenths, usual_overlap_tenths, queues })
    }

    fn count(&self, is_it: impl Fn(Ending) -> bool) -> usize {
        self.recent.iter().filter(|call| is_it(call.ending)).count()
    }

    fn timeouts(&self) -> Option<Trouble> {
        if self.is_hearsay {
            return None;
        }
        let count = self.count(|ending| matches!(ending, Ending::TimedOut | Ending::Silent));
        let of = self.recent.len();
        let is_much = of >= MIN_CALLS && count >= TIMEOUTS.1 && count * 100 > of * TIMEOUTS.0;
        is_much.then_some(Trouble::TimeOuts { count, of })
    }

    fn errors(&self) -> Option<Trouble> {
        let count = self.count(|ending| ending == Ending::Failed);
        let of = self.recent.len();
        let learned = (self.learned.calls >= MIN_LEARNED).then_some(&self.learned);
        let usual_percent = learned.map(|learned| learned.failures * 100 / learned.calls.max(1));
        let percent = match usual_percent {
            Some(usual) => ERRORS.0.max(usize::try_from(usual * ERRORS.2).unwrap_or(usize::MAX)),
            None => ERRORS_AT_FIRST_PERCENT,
        };
        let is_much = of >= MIN_CALLS && count >= ERRORS.1 && count * 100 >= of.saturating_mul(percent);
        is_much.then_some(Trouble::Errors { count, of, usual_percent })
    }

    fn hung(&self) -> Option<Trouble> {
        let learned = &self.learned;
        let returns = learned.calls >= MIN_LEARNED && learned.failures.saturating_mul(10) <= learned.calls;
        if self.is_hearsay && !returns {
            return None;
        }
        let silent = self.recent.iter().rev().take_while(|call| call.ending == Ending::Silent);
        let (count, since) = silent.fold((0, None), |(count, _), call| (count + 1, Some(call.ended_at)));
        (count >= HUNG_CALLS).then_some(Trouble::Hung { count, since: since? })
    }
}

/// Four buckets to a doubling.
fn bucket(latency_ms: u32) -> u8 {
    let doublings = latency_ms.max(1).ilog2();
    let quarter = if doublings >= 2 { (latency_ms >> (doublings - 2)) & 3 } else { 0 };
    (doublings * 4 + quarter).min(BUCKETS as u32 - 1) as u8
}

/// The lower edge of a bucket.
fn edge(bucket: u8) -> u64 {
    let (doublings, quarter) = (u32::from(bucket / 4), u64::from(bucket % 4));
    let base = 1_u64 << doublings.min(40);
    base + base * quarter / 4
}

impl Learned {
    /// The latency that so many percent of the calls did not pass.
    fn percentile(&self, percent: u64) -> Option<u64> {
        let all: u64 = self.latencies.iter().map(|(_, count)| u64::from(*count)).sum();
        let mut rest = all.saturating_mul(percent) / 100;
        for (bucket, count) in &self.latencies {
            if rest < u64::from(*count) {
                return Some(edge(*bucket));
            }
            rest -= u64::from(*count);
        }
        self.latencies.last().map(|(bucket, _)| edge(*bucket))
    }

    /// What came from outside is within bounds.
    pub(super) fn is_sound(&self) -> bool {
        self.latencies.len() <= BUCKETS
            && self.latencies.is_sorted_by(|one, other| one.0 < other.0)
            && self
                .latencies
                .iter()
                .all(|(bucket, count)| usize::from(*bucket) < BUCKETS && u64::from(*count) <= HALVE_AT)
            && self.calls <= HALVE_AT
            && self.failures <= self.calls
            && self.overlaps <= self.calls * u64::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_fine_enough() {
        for latency_ms in [1, 2, 3, 4, 7, 100, 999, 60_000, 86_400_000] {
            let low = edge(bucket(latency_ms));
            assert!(low <= u64::from(latency_ms) && u64::from(latency_ms) * 4 < low * 5 + 8, "{latency_ms}: {low}");
        }
        assert_eq!(usize::from(bucket(u32::MAX)), BUCKETS - 1);
    }

    #[test]
    fn hostile_state_is_refused() {
        for text in [
            r#"{"latencies":[[200,1]],"calls":1,"failures":0,"overlaps":1}"#,
            r#"{"latencies":[[3,1],[2,1]],"calls":1,"failures":0,"overlaps":1}"#,
            r#"{"latencies":[],"calls":9999999,"failures":0,"overlaps":1}"#,
            r#"{"latencies":[],"calls":1,"failures":2,"overlaps":1}"#,
            r#"{"latencies":[],"calls":1,"failures":0,"overlaps":18446744073709551615}"#,
        ] {
            assert!(!serde_json::from_str::<Learned>(text).unwrap().is_sound(), "{text}");
        }
    }
}
