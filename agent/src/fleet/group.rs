//! `outflow fleet`: a member of a consumer group that adds up what calls used. Enters: the usage topic; the state topic, when it takes partitions
//! over. Leaves: totals and progress in the state topic. It needs no transactions: see [`super::tally`]. Members share the partitions, and each
//! partition has totals of its own, so no two write the same key.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};

use super::{
    FleetError,
    client::{Listener, PATIENCE, consumer_config, failed, make_state_topic, read_all},
    record::{Progress, StateRecord, Total},
    tally::{Counts, Oddity, Tally},
    writer::Writer,
};
use crate::{clock, config::Fleet, detectors::budget::Budget, sinks::kafka::settings, units::Timestamp};

/// How often changes are written, and how far they go.
const BEAT: Duration = Duration::from_secs(1);

/// How often all totals of windows that last are written anew.
const WRITE_ALL: Duration = Duration::from_mins(1);

/// How long it waits for a message before it looks whether it is to end.
const WAIT: Duration = Duration::from_millis(100);

/// How often it is tried to read the state before the group is left.
const TRIES: u32 = 3;

/// Something that people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupNotice {
    /// The state topic was missing, and was made.
    MadeTopic,
    /// These partitions are counted here from now on.
    Counts(Vec<i32>),
    /// A partition is not as it was.
    Odd(i32, Oddity),
    /// Nothing is written for now, or nothing read; it is tried again.
    Waits(String),
    /// It goes on.
    GoesOn,
}

type Tell = Arc<dyn Fn(GroupNotice) + Send + Sync>;

/// A member of the group.
pub struct Group {
    consumer: BaseConsumer<Context>,
    counting: Arc<Mutex<Counting>>,
    fleet: Fleet,
}

/// A partition that is counted here.
struct Part {
    tally: Tally,
    /// When everything before this offset is counted, everything that was there at that time is.
    target: Option<(u64, Timestamp)>,
    as_of: Timestamp,
    /// There is nothing to count before this offset but what is counted: the marks of transactions have offsets too, and are shown to nobody.
    empty_to: u64,
    /// The next offset that is read. What is counted may lie ahead: reading begins before it, so that repeats are known.
    read_to: u64,
    /// Where reading was at the last beat.
    beat_at: u64,
    /// The end of the partition is asked for, for the target that there is now.
    asks_for_end: bool,
}

impl Part {
    fn new(tally: Tally, as_of: Timestamp, start: u64) -> Self {
        Self { tally, target: None, as_of, empty_to: 0, read_to: start, beat_at: 0, asks_for_end: false }
    }

    fn next_offset(&self) -> u64 {
        self.tally.next_offset().max(self.empty_to)
    }

    /// Nothing was read in a whole beat, and the target is not reached.
    fn is_stuck(&mut self) -> bool {
        std::mem::replace(&mut self.beat_at, self.read_to) == self.read_to
            && self.target.is_some_and(|(offset, _)| self.next_offset() < offset)
    }

    /// The end was reached that was asked for when the target was known already.
    fn ends(&mut self) {
        if let Some((offset, _)) = self.target.filter(|_| self.asks_for_end) {
            self.empty_to = offset;
        }
    }
}

struct Counting {
    fleet: Fleet,
    budgets: Vec<Budget>,
    parts: BTreeMap<i32, Part>,
    /// Of partitions that were given up.
    before: Counts,
    writer: Writer,
    tell: Tell,
    waits: bool,
    written_all: Instant,
    /// A partition could not be taken over.
    failed: Option<FleetError>,
}

/// Hears what librdkafka says, and takes partitions over.
struct Context {
    listener: Listener,
    counting: Arc<Mutex<Counting>>,
}

impl ClientContext for Context {
    fn stats(&self, _: Statistics) {}

    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ConsumerContext for Context {
    /// On the thread that polls, so nothing is counted meanwhile.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let mut counting = lock(&self.counting);
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let taken = counting.take_over(consumer, list);
            let assigned = taken.and_then(|list| consumer.assign(&list).map_err(failed("cannot take partitions over")));
            if let Err(error) = assigned {
                counting.failed = Some(error);
            }
            return;
        }
        // Whoever has them next reads what was written; what was not, they count again.
        counting.write();
        counting.give_up();
        drop(counting);
        // An error: the consumer is closed already.
        let _ = consumer.unassign();
    }
}

fn lock(counting: &Mutex<Counting>) -> MutexGuard<'_, Counting> {
    counting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    /// Joins the group. `tell` hears what people should know.
    pub fn join(fleet: Fleet, budgets: Vec<Budget>, tell: Tell) -> Result<Self, FleetError> {
        if make_state_topic(&fleet)? {
            tell(GroupNotice::MadeTopic);
        }
        let counting = Counting {
            writer: Writer::new(fleet.clone())?,
            fleet: fleet.clone(),
            budgets,
            parts: BTreeMap::new(),
            before: Counts::default(),
            tell,
            waits: false,
            written_all: clock::instant(),
            failed: None,
        };
        let counting = Arc::new(Mutex::new(counting));
        let context = Context { listener: Listener::default(), counting: Arc::clone(&counting) };
        // Partitions change hands as a whole, as `rebalance` takes them; a topic that comes later is to be found soon.
        let more = [
            ("partition.assignment.strategy", "range"),
            ("topic.metadata.refresh.interval.ms", "5000"),
            ("enable.partition.eof", "true"),
        ];
        let consumer: BaseConsumer<Context> = consumer_config(&fleet, &more)?
            .create_with_context(context)
            .map_err(|error| FleetError::Settings(settings::refused(&error).0))?;
        let topic = fleet.usage_topic.as_str();
        consumer.subscribe(&[topic]).map_err(failed(format!("cannot read topic {topic}")))?;
        Ok(Self { consumer, counting, fleet })
    }

    /// Counts until `ending` is set. An error: it cannot go on, and another member or the next start does.
    pub fn run(&self, ending: &AtomicBool) -> Result<(), FleetError> {
        let mut beaten = clock::instant();
        while !ending.load(Relaxed) {
            match self.consumer.poll(WAIT) {
                Some(Ok(message)) => {
                    let (part, offset) = (message.partition(), u64::try_from(message.offset()).unwrap_or(0));
                    lock(&self.counting).take(part, offset, message.payload());
                }
                Some(Err(KafkaError::PartitionEOF(part))) => {
                    lock(&self.counting).parts.get_mut(&part).into_iter().for_each(Part::ends);
                }
                // Another member has our `group.instance.id`.
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(failed(format!("cannot stay in group {}", self.fleet.group))(error));
                }
                Some(Err(error)) => {
                    let why = self.consumer.context().listener.complaint().unwrap_or_else(|| error.to_string());
                    let topic = &self.fleet.usage_topic;
                    lock(&self.counting).waits(&format!("cannot read topic {topic}: {why}"));
                }
                None => {}
            }
            if let Some(error) = lock(&self.counting).failed.take() {
                return Err(error);
            }
            if beaten.elapsed() >= BEAT {
                self.beat();
                beaten = clock::instant();
            }
        }
        self.beat();
        Ok(())
    }

    /// What became of records so far.
    pub fn counts(&self) -> Counts {
        let counting = lock(&self.counting);
        counting.parts.values().map(|part| part.tally.counts()).fold(counting.before, Counts::and)
    }

    fn beat(&self) {
        let mut counting = lock(&self.counting);
        let topic = self.fleet.usage_topic.as_str();
        for (number, part) in &mut counting.parts {
            let is_stuck = part.is_stuck();
            if part.target.is_some() {
                // Read from here once more, the partition has another end, which is told. What stands before the target is marks of
                // transactions, or it comes first.
                if is_stuck && !part.asks_for_end {
                    let next = Offset::Offset(i64::try_from(part.read_to).unwrap_or(i64::MAX));
                    part.asks_for_end = self.consumer.seek(topic, *number, next, PATIENCE).is_ok();
                }
                continue;
            }
            part.asks_for_end = false;
            let asked = clock::now();
            // Brokers that do not answer: the totals grow old, and agents see it.
            let Ok((_, high)) = self.consumer.fetch_watermarks(topic, *number, PATIENCE) else { break };
            part.target = Some((u64::try_from(high).unwrap_or(0), asked));
        }
        if counting.write() {
            // For those who watch the lag of the group; nothing begins there.
            let mut list = TopicPartitionList::new();
            for (number, part) in &counting.parts {
                let next = i64::try_from(part.tally.next_offset()).unwrap_or(i64::MAX);
                let _ = list.add_partition_offset(topic, *number, Offset::Offset(next));
            }
            if list.count() > 0 {
                let _ = self.consumer.commit(&list, CommitMode::Async);
            }
        }
    }
}

impl Counting {
    fn take(&mut self, part: i32, offset: u64, payload: Option<&[u8]>) {
        if let Some(part) = self.parts.get_mut(&part) {
            part.read_to = offset.saturating_add(1);
            part.tally.take(offset, payload, &self.budgets, clock::now());
        }
    }

    /// Reads what was written of the partitions, and says where reading of each begins.
    fn take_over(
        &mut self,
        consumer: &BaseConsumer<Context>,
        list: &TopicPartitionList,
    ) -> Result<TopicPartitionList, FleetError> {
        let numbers: Vec<i32> =
            list.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition).collect();
        let mut state = State::read(&self.fleet);
        for _ in 1..TRIES {
            if state.is_err() {
                state = State::read(&self.fleet);
            }
        }
        let mut state = state?;
        let topic = self.fleet.usage_topic.as_str();
        let mut starts = TopicPartitionList::new();
        for number in &numbers {
            let what = || format!("cannot ask where partition {number} of topic {topic} begins");
            let (low, high) = consumer.fetch_watermarks(topic, *number, PATIENCE).map_err(failed(what()))?;
            let (low, high) = (u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0));
            let progress = state.progress.remove(number);
            let as_of = progress.as_ref().map_or(0, |progress| progress.as_of_ms.saturating_mul(1_000_000));
            let mut tally = Tally::restore(*number, state.of(*number), progress.as_ref());
            let (start, oddity) = tally.begin(low, high);
            if let Some(oddity) = oddity {
                (self.tell)(GroupNotice::Odd(*number, oddity));
            }
            let first = Offset::Offset(i64::try_from(start).unwrap_or(i64::MAX));
            starts.add_partition_offset(topic, *number, first).map_err(failed(what()))?;
            self.parts.insert(*number, Part::new(tally, Timestamp(as_of), start));
        }
        (self.tell)(GroupNotice::Counts(numbers));
        Ok(starts)
    }

    fn give_up(&mut self) {
        for part in std::mem::take(&mut self.parts).into_values() {
            self.before = self.before.and(part.tally.counts());
        }
    }

    /// Writes what changed, and then how far that goes. False: not all of it is written, and it is tried again.
    fn write(&mut self) -> bool {
        let now = clock::now();
        let is_time = self.written_all.elapsed() >= WRITE_ALL;
        if is_time {
            self.written_all = clock::instant();
            self.parts.values_mut().for_each(|part| part.tally.write_all(now));
        }
        let (mut changes, mut progress) = (Vec::new(), Vec::new());
        for part in self.parts.values_mut() {
            if let Some((_, at)) = part.target.filter(|(offset, _)| part.next_offset() >= *offset) {
                (part.as_of, part.target) = (at, None);
            }
            changes.push(part.tally.changes(now));
            progress.push(part.tally.progress(part.as_of));
        }
        let written = self.writer.write(&changes.concat()).and_then(|()| self.writer.write(&progress));
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.waits) {
                    (self.tell)(GroupNotice::GoesOn);
                }
                true
            }
            Err(error) => {
                for (part, changes) in self.parts.values_mut().zip(&changes) {
                    part.tally.not_written(changes);
                }
                self.waits(&error.to_string());
                false
            }
        }
    }

    fn waits(&mut self, why: &str) {
        if !std::mem::replace(&mut self.waits, true) {
            (self.tell)(GroupNotice::Waits(why.to_owned()));
        }
    }
}

/// What is in the state topic of partitions.
#[derive(Default)]
struct State {
    totals: HashMap<super::Identity, Total>,
    progress: HashMap<i32, Progress>,
}

impl State {
    fn read(fleet: &Fleet) -> Result<Self, FleetError> {
        let mut state = Self::default();
        read_all(fleet, |key, value| match StateRecord::read(key, value) {
            Ok(StateRecord::Total(total)) => {
                let known = state.totals.get(&total.identity);
                // As an agent takes it: one that was stopped for long may have written late.
                if known.is_none_or(|known| !total.is_overtaken_by(known)) {
                    state.totals.insert(total.identity.clone(), total);
                }
            }
            Ok(StateRecord::Progress(progress)) => drop(state.progress.insert(progress.part, progress)),
            Ok(StateRecord::Tombstone(super::StateKey::Total(identity))) => drop(state.totals.remove(&identity)),
            Ok(StateRecord::Tombstone(super::StateKey::Progress { progress })) => {
                drop(state.progress.remove(&progress));
            }
            // Not of this version, or not ours: nothing of it is counted on.
            Err(_) => {}
        })?;
        Ok(state)
    }

    fn of(&mut self, part: i32) -> Vec<Total> {
        self.totals.extract_if(|identity, _| identity.part == part).map(|(_, total)| total).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_stuck_when_nothing_is_read_and_not_while_what_is_counted_is_read_again() {
        let progress: Progress = serde_json::from_value(serde_json::json!({
            "schema_version": 1, "event_name": "outflow.fleet.progress", "part": 0, "as_of_ms": 0, "next_offset": 1000,
        }))
        .unwrap();
        let mut part = Part::new(Tally::restore(0, Vec::new(), Some(&progress)), Timestamp(0), 500);
        part.target = Some((1001, Timestamp(7)));
        assert!(!part.is_stuck(), "the first beat has none before it");
        part.read_to = 700;
        assert!(!part.is_stuck());
        assert!(part.is_stuck(), "a whole beat without a record");
        // It is read on from there, so nothing of what is read again is passed over.
        assert_eq!((part.read_to, part.next_offset()), (700, 1000));
        part.ends();
        assert_eq!(part.next_offset(), 1000, "nobody asked for the end");
        part.asks_for_end = true;
        part.ends();
        assert_eq!(part.next_offset(), 1001);
        assert!(!part.is_stuck(), "the target is reached");
    }
}
