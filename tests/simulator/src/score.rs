//! What was found against what was meant to be found. Enters: a scenario, what calls cost and what was found, as it happened.
//! Leaves: [`Scored`].
//!
//! A label is found in time when its rule fires for its service after its event and not later than it says. A finding that no label
//! wants and none allows is a false alarm, once a week; one that tells how calls are set up is one only where a scenario forbids it.

use std::collections::BTreeMap;

use anyhow::Result;
use globset::{Glob, GlobMatcher};

use crate::{
    scenario::{Expect, Scenario},
    span::DAY,
};

/// Rules that tell how calls are set up, whatever the traffic.
const STATEMENTS: [&str; 7] = [
    "model.unpinned",
    "model.unpinnable",
    "model.retiring",
    "model.retired",
    "model.unverifiable",
    "cost.no_limit",
    "cost.untracked",
];

/// One finding as it was made.
#[derive(Clone, Debug)]
pub struct Fired {
    /// Which rule.
    pub rule: String,
    /// Of which service.
    pub service: String,
    /// The same for its repeats.
    pub finding_id: String,
    /// For people.
    pub title: String,
    /// When, nanoseconds since 1970.
    pub at_ns: u64,
}

/// How a label fared.
#[derive(Clone, Debug)]
pub struct Label {
    /// The rule that fired, or the first of those that should have.
    pub rule: String,
    /// All rules that would have been right.
    pub rules: Vec<String>,
    /// Of which service.
    pub service: Option<String>,
    /// Nanoseconds since the event when it was found; `None`: never.
    pub after_ns: Option<u64>,
    /// What the service had spent since the event by then, nano-USD.
    pub spent_nano_usd: u64,
    /// It was found, and not too late.
    pub in_time: bool,
    /// It is spend that runs away.
    pub runaway: bool,
}

/// A finding that should not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FalseAlarm {
    /// Which rule.
    pub rule: String,
    /// Of which service.
    pub service: String,
    /// For people.
    pub title: String,
    /// Nanoseconds since the start.
    pub after_ns: u64,
}

/// How a scenario fared.
#[derive(Clone, Debug)]
pub struct Scored {
    /// Which.
    pub name: String,
    /// Nothing happened in it.
    pub normal: bool,
    /// Services times weeks.
    pub service_weeks: f64,
    /// Calls in it.
    pub calls: u64,
    /// What should have been found.
    pub labels: Vec<Label>,
    /// Rules that were tempted and should have kept quiet, and whether they did.
    pub negatives: Vec<(String, bool)>,
    /// What should not have been found.
    pub false_alarms: Vec<FalseAlarm>,
}

impl Scored {
    /// Every label was found in time, and nothing else.
    pub fn is_right(&self) -> bool {
        self.labels.iter().all(|label| label.in_time) && self.false_alarms.is_empty()
    }
}

/// Follows a scenario as it plays.
pub struct Scorer<'a> {
    scenario: &'a Scenario,
    wanted: Vec<Wanted<'a>>,
    allowed: Vec<(GlobMatcher, Option<&'a str>)>,
    forbidden: Vec<(GlobMatcher, Option<&'a str>, bool)>,
    /// When the first event is: before, nothing is allowed.
    eventful: u64,
    /// By finding and week.
    false_alarms: BTreeMap<(String, u64), FalseAlarm>,
    calls: u64,
}

struct Wanted<'a> {
    expect: &'a Expect,
    moment: u64,
    spent_nano_usd: u64,
    /// By which rule, how long after the event, and after how much money.
    found: Option<(String, u64, u64)>,
}

impl<'a> Scorer<'a> {
    /// Nothing found yet.
    pub fn new(scenario: &'a Scenario) -> Result<Self> {
        let wanted = scenario.expect.iter().map(|expect| {
            let moment = scenario.moment(expect.event.as_deref())?;
            Ok(Wanted { expect, moment, spent_nano_usd: 0, found: None })
        });
        let allowed = scenario.allow.iter().map(|pattern| {
            let (rule, service) =
                pattern.split_once('@').map_or((pattern.as_str(), None), |(rule, it)| (rule, Some(it)));
            Ok((matcher(rule)?, service))
        });
        let forbidden =
            scenario.forbid.iter().map(|forbid| Ok((matcher(&forbid.rule)?, forbid.service.as_deref(), true)));
        Ok(Self {
            scenario,
            wanted: wanted.collect::<Result<_>>()?,
            allowed: allowed.collect::<Result<_>>()?,
            forbidden: forbidden.collect::<Result<_>>()?,
            eventful: scenario.start.0 + scenario.event.iter().map(|event| event.at.0).min().unwrap_or_default(),
            false_alarms: BTreeMap::new(),
            calls: 0,
        })
    }

    /// A call was seen.
    pub fn called(&mut self, service: &str, at_ns: u64, cost_nano_usd: u64) {
        self.calls += 1;
        for wanted in &mut self.wanted {
            if at_ns >= wanted.moment && wanted.is_of(service) {
                wanted.spent_nano_usd += cost_nano_usd;
            }
        }
    }

    /// Something was found.
    pub fn found(&mut self, fired: &Fired) {
        let mut is_wanted = false;
        for wanted in &mut self.wanted {
            let is_rule = wanted.expect.rule.ids().contains(&fired.rule);
            if !is_rule || !wanted.is_of(&fired.service) || fired.at_ns < wanted.moment {
                continue;
            }
            is_wanted = true;
            let (after, spent) = (fired.at_ns - wanted.moment, wanted.spent_nano_usd);
            wanted.found.get_or_insert_with(|| (fired.rule.clone(), after, spent));
        }
        let fits = |pattern: &GlobMatcher, service: Option<&str>| {
            pattern.is_match(&fired.rule) && service.is_none_or(|service| service == fired.service)
        };
        let is_allowed = || self.allowed.iter().any(|(pattern, service)| fits(pattern, *service));
        if is_wanted || (fired.at_ns >= self.eventful && is_allowed()) {
            return;
        }
        let mut is_forbidden = false;
        for (pattern, service, is_quiet) in &mut self.forbidden {
            if fits(pattern, *service) {
                (is_forbidden, *is_quiet) = (true, false);
            }
        }
        if is_forbidden || !STATEMENTS.contains(&fired.rule.as_str()) {
            let after_ns = fired.at_ns.saturating_sub(self.scenario.start.0);
            let alarm = FalseAlarm {
                rule: fired.rule.clone(),
                service: fired.service.clone(),
                title: fired.title.clone(),
                after_ns,
            };
            self.false_alarms.entry((fired.finding_id.clone(), after_ns / (7 * DAY))).or_insert(alarm);
        }
    }

    /// The scenario is over.
    pub fn finish(self) -> Scored {
        let labels = self.wanted.into_iter().map(|wanted| {
            let expect = wanted.expect;
            let rules = expect.rule.ids().to_vec();
            let (rule, after_ns, spent) = match wanted.found {
                Some((rule, after, spent)) => (rule, Some(after), spent),
                None => (rules.first().cloned().unwrap_or_default(), None, 0),
            };
            let in_time =
                after_ns.is_some_and(|after| after <= expect.by.0 || (spent as f64) <= expect.or_spent_usd * 1e9);
            let service = expect.service.clone();
            Label { rule, rules, service, after_ns, spent_nano_usd: spent, in_time, runaway: expect.runaway }
        });
        let negatives = self.scenario.forbid.iter().zip(&self.forbidden);
        Scored {
            name: self.scenario.name.clone(),
            normal: self.scenario.normal,
            service_weeks: self.scenario.service_weeks(),
            calls: self.calls,
            labels: labels.collect(),
            negatives: negatives.map(|(forbid, (_, _, is_quiet))| (forbid.rule.clone(), *is_quiet)).collect(),
            false_alarms: self.false_alarms.into_values().collect(),
        }
    }
}

impl Wanted<'_> {
    fn is_of(&self, service: &str) -> bool {
        self.expect.service.as_deref().is_none_or(|wanted| wanted == service)
    }
}

fn matcher(pattern: &str) -> Result<GlobMatcher> {
    Ok(Glob::new(pattern)?.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: &str = "
        title = ''
        lasts = '3d'
        allow = ['cost.*@bot']
        [[service]]
        name = 'bot'
        [[service]]
        name = 'chat'
        [[event]]
        name = 'loop'
        at = '1d'
        services = ['bot']
        set = { behaviour = 'loops' }
        [[expect]]
        rule = ['agent.loop', 'agent.cycle']
        service = 'bot'
        event = 'loop'
        by = '10m'
        or_spent_usd = 0.5
        [[forbid]]
        rule = 'model.unpinned'
        service = 'chat'
    ";

    /// Findings as (rule, service, minutes since the event), and what the service spends a minute, cents.
    fn scored(fired: &[(&str, &str, i64)], cents_a_minute: u64) -> Scored {
        let scenario = Scenario::parse("test", SCENARIO).unwrap();
        let event = scenario.moment(Some("loop")).unwrap();
        let mut scorer = Scorer::new(&scenario).unwrap();
        let mut minute = -60;
        for (rule, service, at) in fired {
            while minute <= *at {
                let at_ns = event.checked_add_signed(minute * 60_000_000_000).unwrap();
                scorer.called("bot", at_ns, cents_a_minute * 10_000_000);
                minute += 1;
            }
            scorer.found(&Fired {
                rule: (*rule).to_owned(),
                service: (*service).to_owned(),
                finding_id: format!("{rule} {service}"),
                title: String::new(),
                at_ns: event.checked_add_signed(at * 60_000_000_000).unwrap(),
            });
        }
        scorer.finish()
    }

    #[test]
    fn labels_are_found_in_time_late_or_never() {
        for (fired, cents, after_minutes, in_time) in [
            (("agent.cycle", "bot", 5), 100, Some(5), true),
            (("agent.loop", "bot", 30), 100, Some(30), false),
            // Late by the clock, but hardly anything was spent.
            (("agent.loop", "bot", 30), 1, Some(30), true),
            (("agent.loop", "chat", 5), 100, None, false),
            (("agent.runaway", "bot", 5), 100, None, false),
            // Before anything happened.
            (("agent.loop", "bot", -5), 100, None, false),
        ] {
            let scored = scored(&[fired], cents);
            let label = &scored.labels[0];
            assert_eq!(label.after_ns, after_minutes.map(|minutes| minutes * 60_000_000_000), "{fired:?}");
            assert_eq!(label.in_time, in_time, "{fired:?}");
        }
    }

    #[test]
    fn what_nobody_wants_is_a_false_alarm() {
        let of = |rule, service, at| scored(&[(rule, service, at)], 0).false_alarms.len();
        assert_eq!(of("agent.loop", "bot", 1), 0, "wanted");
        assert_eq!(of("agent.loop", "bot", -1), 1, "too early");
        assert_eq!(of("agent.loop", "chat", 1), 1, "another service");
        assert_eq!(of("cost.creep", "bot", 1), 0, "allowed");
        assert_eq!(of("cost.creep", "bot", -1), 1, "before anything happened");
        assert_eq!(of("cost.creep", "chat", 1), 1, "allowed to another");
        assert_eq!(of("model.unpinned", "bot", 1), 0, "how the service is set up");
        assert_eq!(of("model.unpinned", "chat", 1), 1, "forbidden here");
        assert_eq!(scored(&[("model.unpinned", "chat", 1)], 0).negatives, [("model.unpinned".to_owned(), false)]);
    }

    #[test]
    fn repeats_within_a_week_are_one_false_alarm() {
        let fired = [("tool.slow", "bot", 1), ("tool.slow", "bot", 2), ("tool.slow", "chat", 3)];
        assert_eq!(scored(&fired, 0).false_alarms.len(), 2);
    }
}
