//! A partition adds up to the same, however often and wherever it is cut.

use proptest::prelude::*;

use super::*;
use crate::{config::Config, units::NanoUsd};

const HOUR_MS: u64 = 3_600_000;

/// Half an hour past one.
const NOW: Timestamp = Timestamp((HOUR_MS + HOUR_MS / 2) * NS_IN_MS);

fn budgets() -> Vec<Budget> {
    let fleet = "fleet = true\nwindow = \"1h\"\n";
    let text = format!(
        "[fleet]\nbrokers = [\"a:1\"]\n[[sinks.kafka]]\nbrokers = [\"a:1\"]\nusage_topic = \"u\"\n\
         [[budget]]\nname = \"features\"\nfeature = \"*\"\nlimit_usd = 1\nlimit_tokens = 9\n{fleet}\
         [[budget]]\nname = \"gpt\"\nmodel = \"gpt-*\"\nservice = \"*\"\nshared = true\nlimit_usd = 1\n{fleet}\
         [[budget]]\nname = \"here\"\nservice = \"*\"\nlimit_usd = 1\n"
    );
    Config::parse("outflow.toml", &text).unwrap().budgets().of_fleet().cloned().collect()
}

fn usage(id: u64, feature: Option<&str>, nano: u64, at_ms: u64) -> UsageRecord {
    UsageRecord {
        schema_version: USAGE_SCHEMA_VERSION,
        event_name: USAGE_EVENT.to_owned(),
        usage_id: format!("00000000000000aa-{id}"),
        at: Timestamp(at_ms * NS_IN_MS).rfc3339(),
        at_ms,
        duration_ms: 1,
        host: "node".to_owned(),
        host_id: None,
        service: "shop".to_owned(),
        feature: feature.map(str::to_owned),
        vendor: None,
        server: "api.openai.com".to_owned(),
        api: "chat_completions".to_owned(),
        operation: None,
        model: Some("gpt-4o-2024-08-06".to_owned()),
        requested_model: Some("gpt-4o".to_owned()),
        status: Some(200),
        is_error: false,
        caller: None,
        cost_nano_usd: Some(NanoUsd(nano)),
        cost_source: None,
        is_unpriced: false,
        input_tokens: Some(2),
        output_tokens: None,
        cache_read_tokens: None,
        cache_write_tokens: None,
        reasoning_tokens: None,
        input_audio_tokens: None,
        output_audio_tokens: None,
    }
}

fn bytes(record: &UsageRecord) -> Vec<u8> {
    serde_json::to_vec(record).unwrap()
}

fn totals(tally: &mut Tally) -> Vec<(String, Unit, String, u64, u64, u64)> {
    let mut all: Vec<_> = tally
        .changes(NOW)
        .into_iter()
        .filter_map(|record| match record {
            StateRecord::Total(Total { identity, spent, calls, .. }) => {
                let hour = identity.period_start_ms / HOUR_MS;
                Some((identity.budget, identity.unit, identity.feature, hour, spent, calls))
            }
            _ => None,
        })
        .collect();
    all.sort();
    all
}

#[test]
fn calls_add_up_by_budget_owner_and_the_hour_in_which_they_ended() {
    let (budgets, mut tally) = (budgets(), Tally::restore(0, [], None));
    assert_eq!(budgets.len(), 3, "one for each limit of the fleet's");
    let hour = HOUR_MS;
    let records = [
        usage(1, Some("chat"), 5, hour + 1),
        usage(2, Some("search"), 7, hour + 2),
        usage(3, None, 11, hour + 3),
        // Late: of the hour before.
        usage(4, Some("chat"), 13, hour - 1),
        usage(1, Some("chat"), 5, hour + 1),
        UsageRecord { cost_nano_usd: None, ..usage(5, Some("chat"), 0, hour + 4) },
        UsageRecord { requested_model: Some("claude".into()), ..usage(6, None, 17, hour + 5) },
    ];
    for (offset, record) in (0..).zip(&records) {
        tally.take(offset, Some(&bytes(record)), &budgets, NOW);
    }
    let usd =
        |name: &str, feature: &str, hour, spent, calls| (name.into(), Unit::Usd, feature.into(), hour, spent, calls);
    let tokens =
        |feature: &str, hour, spent, calls| ("features".into(), Unit::Tokens, feature.into(), hour, spent, calls);
    let expected: [(String, Unit, String, u64, u64, u64); 8] = [
        usd("features", "chat", 0, 13, 1),
        usd("features", "chat", 1, 5, 1),
        usd("features", "search", 1, 7, 1),
        tokens("chat", 0, 2, 1),
        tokens("chat", 1, 4, 2),
        tokens("search", 1, 2, 1),
        usd("gpt", "", 0, 13, 1),
        usd("gpt", "", 1, 23, 3),
    ];
    assert_eq!(totals(&mut tally), expected);
    assert_eq!(tally.counts(), Counts { counted: 6, repeated: 1, ..Counts::default() });
    assert_eq!(totals(&mut tally), [], "nothing changed since");
    tally.write_all(NOW);
    assert_eq!(totals(&mut tally).len(), 5, "those of the hour that lasts");
}

#[test]
fn what_is_no_usage_is_counted_and_passed() {
    let (budgets, mut tally) = (budgets(), Tally::restore(0, [], None));
    let good = usage(1, Some("chat"), 5, HOUR_MS);
    let later = serde_json::to_string(&UsageRecord { schema_version: 2, ..good.clone() }).unwrap();
    let finding = serde_json::to_string(&UsageRecord { event_name: "outflow.finding".into(), ..good.clone() }).unwrap();
    let nameless = serde_json::to_string(&UsageRecord { usage_id: "x".into(), ..good.clone() }).unwrap();
    let negative = serde_json::to_string(&good).unwrap().replace("\"cost_nano_usd\":5", "\"cost_nano_usd\":-5");
    let deep = "[".repeat(20_000);
    let huge = " ".repeat(RECORD_BYTES_MAX + 1);
    let bad = ["", "\u{0}", "{}", &finding, &nameless, &negative, &deep, &huge];
    for (offset, payload) in (0..).zip(bad) {
        tally.take(offset, Some(payload.as_bytes()), &budgets, NOW);
    }
    tally.take(90, None, &budgets, NOW);
    tally.take(91, Some(later.as_bytes()), &budgets, NOW);
    let long = UsageRecord { feature: Some("x".repeat(NAME_BYTES_MAX + 1)), requested_model: Some("m".into()), ..good };
    tally.take(92, Some(&bytes(&long)), &budgets, NOW);
    tally.take(93, Some(br#"{"schema_version":1,"event_name":"outflow.beat"}"#), &budgets, NOW);
    let counts = tally.counts();
    let expected = Counts { counted: 1, unknown_version: 1, invalid: bad.len() as u64 + 1, refused: 2, ..counts };
    assert_eq!((counts, totals(&mut tally).len(), tally.next_offset()), (expected, 0, 94));
    assert_eq!(counts.repeated + counts.too_late, 0);
}

#[test]
fn windows_that_are_over_for_long_go_and_take_nothing_more() {
    let (budgets, mut tally) = (budgets(), Tally::restore(0, [], None));
    tally.take(0, Some(&bytes(&usage(1, Some("chat"), 5, HOUR_MS))), &budgets, NOW);
    assert_eq!(totals(&mut tally).len(), 3);
    let later = Timestamp((2 * HOUR_MS + KEPT_MS + 1) * NS_IN_MS);
    let gone = tally.changes(later);
    assert!(gone.iter().all(|record| matches!(record, StateRecord::Tombstone(_))) && gone.len() == 3, "{gone:?}");
    tally.not_written(&gone);
    assert_eq!(tally.changes(later).len(), 3, "told until it is written");
    tally.take(1, Some(&bytes(&usage(2, Some("chat"), 5, HOUR_MS))), &budgets, later);
    assert_eq!((tally.counts().too_late, tally.changes(later).len()), (3, 0));
}

#[test]
fn a_partition_that_is_not_as_it_was_is_told() {
    let progress = |next_offset| Progress {
        schema_version: STATE_SCHEMA_VERSION,
        event_name: PROGRESS_EVENT.to_owned(),
        part: 0,
        as_of_ms: 1,
        next_offset: Some(next_offset),
    };
    let begin = |next_offset, low, high| Tally::restore(0, [], Some(&progress(next_offset))).begin(low, high);
    assert_eq!(begin(0, 0, 0), (0, None));
    assert_eq!(begin(50, 0, 50), (0, None), "ids of before are read again");
    assert_eq!(begin(250_000, 0, 250_000), (150_000, None));
    assert_eq!(begin(50, 70, 90), (70, Some(Oddity::Removed { records: 20 })));
    assert_eq!(begin(50, 0, 20), (0, Some(Oddity::Shorter { counted_to: 50, end: 20 })));
    // Its totals count on from there.
    let budgets = budgets();
    let mut first = Tally::restore(0, [], None);
    first.take(30, Some(&bytes(&usage(1, Some("chat"), 5, HOUR_MS))), &budgets, NOW);
    let written = first.changes(NOW);
    let mut second = Tally::restore(0, of(&written), Some(&progress(31)));
    second.begin(0, 10);
    second.take(10, Some(&bytes(&usage(2, Some("chat"), 6, HOUR_MS))), &budgets, NOW);
    assert_eq!(totals(&mut second)[0].4, 11);
}

fn of(records: &[StateRecord]) -> Vec<Total> {
    let total = |record: &StateRecord| if let StateRecord::Total(total) = record { Some(total.clone()) } else { None };
    records.iter().filter_map(total).collect()
}

proptest! {
    /// Killed anywhere: in the middle of writing totals, before and after the progress. What is in the topic then, and what is read from there
    /// on, gives the totals of one who was never killed.
    #[test]
    fn a_kill_neither_loses_nor_doubles(
        calls in prop::collection::vec((0_u64..60, 0_u64..3, 1_u64..1000, 0..2 * HOUR_MS), 1..80),
        cuts in prop::collection::vec((0_usize..80, 0_usize..12, any::<bool>()), 0..6),
    ) {
        let budgets = budgets();
        // Ids repeat: a call that is sent again is the same record.
        let mut known = BTreeMap::new();
        let log: Vec<Vec<u8>> = calls
            .iter()
            .map(|(id, feature, nano, at)| {
                let record = usage(*id, [None, Some("chat"), Some("search")][*feature as usize], *nano, *at);
                known.entry(*id).or_insert_with(|| bytes(&record)).clone()
            })
            .collect();
        let mut whole = Tally::restore(0, [], None);
        for (offset, payload) in (0..).zip(&log) {
            whole.take(offset, Some(payload), &budgets, NOW);
        }
        // The topic, as its newest records are.
        let (mut topic, mut progress) = (BTreeMap::new(), None);
        let mut tally = Tally::restore(0, [], None);
        let mut offset = 0;
        for (read, written, is_killed) in cuts {
            for _ in 0..read {
                if let Some(payload) = log.get(offset as usize) {
                    tally.take(offset, Some(payload), &budgets, NOW);
                    offset += 1;
                }
            }
            let changes = tally.changes(NOW);
            let reached = if is_killed { written.min(changes.len()) } else { changes.len() };
            topic.extend(of(&changes[..reached]).into_iter().map(|total| (total.identity.clone(), total)));
            if is_killed {
                tally = Tally::restore(0, topic.values().cloned(), progress.as_ref());
                (offset, _) = tally.begin(0, log.len() as u64);
            } else if let StateRecord::Progress(next) = tally.progress(NOW) {
                progress = Some(next);
            }
        }
        while let Some(payload) = log.get(offset as usize) {
            tally.take(offset, Some(payload), &budgets, NOW);
            offset += 1;
        }
        topic.extend(of(&tally.changes(NOW)).into_iter().map(|total| (total.identity.clone(), total)));
        let whole: BTreeMap<_, _> = of(&whole.changes(NOW)).into_iter().map(|total| (total.identity.clone(), total)).collect();
        prop_assert_eq!(topic, whole);
    }
}
