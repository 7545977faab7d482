//! When a service calls. Enters: its traffic at a moment, chance. Leaves: the moments of its calls. A Poisson process whose
//! rate follows the pattern: candidates come at the peak's rate, and as many are kept as the pattern wants.

use anyhow::Result;

use crate::{
    life::Life,
    random::Random,
    span::{DAY, HOUR, MINUTE, seconds},
    traffic::{Pattern, Traffic},
};

/// The rate is looked at anew at least so often.
const LOOK: u64 = 10 * MINUTE;
/// 1970-01-01 was a Thursday; 0 is Monday.
const EPOCH_WEEKDAY: u64 = 3;

/// The moments of a service's calls.
pub(crate) struct Arrivals {
    began: u64,
    now: u64,
    ends: u64,
    /// Calls that are left of a burst, and the time between them.
    burst: (u64, u64),
}

impl Arrivals {
    pub(crate) fn new(began: u64, ends: u64) -> Self {
        Self { began, now: began, ends, burst: (0, 0) }
    }

    /// The next one; `None`: the scenario is over.
    pub(crate) fn next(&mut self, life: &mut Life, random: &mut Random) -> Result<Option<u64>> {
        if self.burst.0 > 0 {
            self.burst.0 -= 1;
            self.now += self.burst.1;
            return Ok(Some(self.now).filter(|now| *now < self.ends));
        }
        while self.now < self.ends {
            let traffic = life.at(self.now, None)?;
            let look = (self.now + LOOK).min(life.next_change(self.now));
            let hours = self.gap_hours(&traffic, random);
            let at = if hours.is_finite() { self.now.saturating_add(seconds(hours * 3600.0)) } else { u64::MAX };
            // A timer fires when its time has come, however long that is.
            let is_timer = traffic.pattern == Pattern::Timer && at < life.next_change(self.now);
            if at >= look && !is_timer {
                self.now = look;
                continue;
            }
            self.now = at;
            if !random.chance(weight(&traffic, at)) {
                continue;
            }
            if traffic.pattern == Pattern::Bursts {
                let calls = random.size(traffic.burst_calls as f64, 0.2);
                self.burst = (calls - 1, traffic.burst_lasts.0 / calls);
            }
            return Ok(Some(at).filter(|at| *at < self.ends));
        }
        Ok(None)
    }

    fn gap_hours(&self, traffic: &Traffic, random: &mut Random) -> f64 {
        let days = (self.now - self.began) as f64 / DAY as f64;
        let rate = traffic.calls_per_hour * (1.0 + traffic.grows_per_day).powf(days);
        match traffic.pattern {
            _ if rate <= 0.0 => f64::INFINITY,
            Pattern::Timer => (0.98 + 0.04 * random.unit()) / rate,
            Pattern::Bursts => random.exponential(traffic.burst_calls as f64 / rate),
            Pattern::Steady | Pattern::Office => random.exponential(1.0 / rate),
        }
    }
}

/// Share of the peak's rate.
fn weight(traffic: &Traffic, at: u64) -> f64 {
    let (weekday, of_day) = ((at / DAY + EPOCH_WEEKDAY) % 7, at % DAY);
    if let Some(window) = &traffic.window {
        let since = of_day.checked_sub(window.from.0);
        let inside = since.is_some_and(|since| since < window.lasts.0);
        if !inside || window.weekday.is_some_and(|wanted| wanted != weekday) {
            return 0.0;
        }
    }
    match traffic.pattern {
        Pattern::Steady | Pattern::Bursts | Pattern::Timer => 1.0,
        Pattern::Office => {
            let by_hour = match of_day / HOUR {
                9..=11 | 13..=16 => 1.0,
                8 | 12 | 17 => 0.6,
                7 | 18..=20 => 0.2,
                _ => 0.05,
            };
            by_hour * if weekday < 5 { 1.0 } else { 0.15 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn count(service: &str, from_hour: u64, hours: u64) -> usize {
        let text = format!("title = ''\nlasts = '7d'\n[[service]]\nname = 'a'\n{service}");
        let scenario = Scenario::parse("test", &text).unwrap();
        let mut life = Life::new(&scenario, &scenario.service[0]);
        let (mut random, from) = (Random::new(3, "a"), scenario.start.0);
        let mut arrivals = Arrivals::new(from, from + 7 * DAY);
        let all = std::iter::from_fn(|| arrivals.next(&mut life, &mut random).unwrap());
        all.filter(|at| (at - from) / HOUR >= from_hour && (at - from) / HOUR < from_hour + hours).count()
    }

    #[test]
    fn traffic_follows_its_pattern() {
        for (service, from_hour, hours, expected) in [
            ("calls_per_hour = 60", 0, 168, 10_080),
            ("calls_per_hour = 60\npattern = 'office'", 9, 3, 180),
            ("calls_per_hour = 600\npattern = 'office'", 5 * 24 + 9, 3, 270), // Saturday
            ("calls_per_hour = 60\npattern = 'timer'", 0, 168, 10_080),
            ("calls_per_hour = 60\npattern = 'bursts'", 0, 168, 10_080),
            ("calls_per_hour = 60\nwindow = { from = '2h', lasts = '1h' }", 0, 168, 420),
            ("calls_per_hour = 600\nwindow = { weekday = 6, from = '2h', lasts = '1h' }", 6 * 24 + 2, 1, 600),
            ("calls_per_hour = 600\nwindow = { weekday = 6, from = '2h', lasts = '1h' }", 0, 6 * 24, 0),
        ] {
            let calls = count(service, from_hour, hours);
            assert!(calls.abs_diff(expected) <= expected / 8, "{service}: {calls} instead of {expected}");
        }
    }
}
