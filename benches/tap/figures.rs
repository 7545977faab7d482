//! Figures of several rounds. Enters: runs. Leaves: tables of medians, the ratio to the yardstick, PASS or FAIL.

use std::collections::BTreeMap;

use crate::{
    load::Line,
    way::{Run, Watcher, Way},
};

/// Every round of every way.
#[derive(Default)]
pub(crate) struct Figures {
    lines: BTreeMap<(Way, usize), Vec<Line>>,
    watchers: BTreeMap<Way, Vec<Watcher>>,
}

impl Figures {
    pub(crate) fn take(&mut self, way: Way, run: Run) {
        for line in run.lines {
            self.lines.entry((way, line.size)).or_default().push(line);
        }
        self.watchers.entry(way).or_default().extend(run.watcher);
    }

    fn of(&self, way: Way, size: usize, pick: fn(&Line) -> f64) -> Vec<f64> {
        self.lines.get(&(way, size)).into_iter().flatten().map(pick).collect()
    }

    pub(crate) fn print_calls(&self, ways: &[Way], sizes: &[usize], gate: f64) {
        let header = row(ways, |way| way.name().to_owned());
        println!("{:>7}{header}{}", "bytes", if ways.contains(&Way::Yardstick) { "   tap / C" } else { "" });
        let mut worst: f64 = 0.0;
        for &size in sizes {
            let p50 = |line: &Line| line.p50_ns;
            let base = median(self.of(Way::Plain, size, p50));
            let cells = row(ways, |way| {
                let here = median(self.of(way, size, p50));
                format!("{here:.0} (+{:.0})", here - base)
            });
            let ratio = ways.contains(&Way::Yardstick).then(|| {
                // Within a round both met the same machine.
                let (ours, theirs) = (self.of(Way::Tap, size, p50), self.of(Way::Yardstick, size, p50));
                median(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect())
            });
            worst = worst.max(ratio.unwrap_or(0.0));
            println!("{size:>7}{cells}{}", ratio.map_or(String::new(), |ratio| format!("   {ratio:>7.2}")));
            let cells = row(ways, |way| format!("{:.0}", median(self.of(way, size, |line| line.p99_ns))));
            println!("{:>7}{cells}   p99", "");
        }
        for way in ways {
            let Some(watchers) = self.watchers.get(way).filter(|watchers| !watchers.is_empty()) else { continue };
            let sum = |pick: fn(&Watcher) -> u64| watchers.iter().map(pick).sum::<u64>();
            println!(
                "{}: lost {} of {}, RSS {} MiB; CPU-seconds per GB by size: {}",
                way.name(),
                sum(|watcher| watcher.lost),
                sum(|watcher| watcher.seen),
                middle(watchers.iter().map(|watcher| watcher.rss_kib)) >> 10,
                sizes.iter().map(|&size| format!("{:.1}", self.cpu_per_gb(*way, size))).collect::<Vec<_>>().join(" / "),
            );
        }
        if worst > 0.0 {
            let verdict = if worst <= gate { "PASS" } else { "FAIL" };
            println!("gate: {verdict}, {worst:.2} times the C capture at the worst size, {gate} allowed");
        }
    }

    fn cpu_per_gb(&self, way: Way, size: usize) -> f64 {
        median(self.of(way, size, |line| line.watcher_cpu_seconds / ((line.pairs * line.size * 2) as f64 / 1e9)))
    }
}

/// A cell for each way.
fn row(ways: &[Way], cell: impl Fn(Way) -> String) -> String {
    ways.iter().fold(String::new(), |row, way| format!("{row} {:>22}", cell(*way)))
}

pub(crate) fn middle(values: impl IntoIterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.into_iter().collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
