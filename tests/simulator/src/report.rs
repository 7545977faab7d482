//! Tables of many scenarios. Enters: [`Scored`]s. Leaves: Markdown for `docs/BENCHMARKS.md`, and a list of what went wrong for a
//! terminal.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Result, ensure};

use crate::score::{Label, Scored};

/// Where the tables stand in a document.
const BEGIN: &str = "<!-- scenarios: made by `cargo xtask bench scenarios -- --write` -->";
/// Where they end.
const END: &str = "<!-- end of scenarios -->";

/// Names of detectors, and the beginnings of their rules.
const DETECTORS: [(&str, &[&str]); 11] = [
    ("pinning", &["model.unpin", "model.retir"]),
    (
        "silent updates",
        &["model.resolved", "model.substituted", "model.flapping", "model.fallback", "model.unverifiable"],
    ),
    ("structure drift", &["model.structure", "output.schema"]),
    ("untracked cost", &["cost.untracked"]),
    ("budgets and limits", &["cost.budget", "cost.burn_rate", "cost.no_limit", "cost.request_limit"]),
    ("cost anomalies", &["cost."]),
    ("agent loops", &["agent."]),
    ("tools and MCP", &["tool."]),
    ("retrieval", &["retrieval."]),
    ("vendors", &["vendor."]),
    ("output quality", &["output."]),
];

/// The detector of a rule.
fn detector(rule: &str) -> &'static str {
    let mut all = DETECTORS.iter();
    all.find(|(_, begins)| begins.iter().any(|begin| rule.starts_with(begin)))
        .map_or("leaks and others", |(name, _)| name)
}

/// Figures of a detector, or of all.
#[derive(Clone, Debug, Default)]
struct Figures {
    labels: usize,
    in_time: usize,
    late: usize,
    negatives: usize,
    quiet: usize,
    false_alarms: usize,
    /// Seconds until found.
    after: Vec<f64>,
}

impl Figures {
    fn label(&mut self, label: &Label) {
        self.labels += 1;
        self.in_time += usize::from(label.in_time);
        self.late += usize::from(label.after_ns.is_some() && !label.in_time);
        self.after.extend(label.after_ns.map(|ns| ns as f64 / 1e9));
    }

    fn recall(&self) -> Option<f64> {
        ratio(self.in_time, self.labels)
    }

    fn precision(&self) -> Option<f64> {
        let right = self.in_time + self.late;
        ratio(right, right + self.false_alarms)
    }

    fn row(&mut self, name: &str) -> String {
        self.after.sort_by(f64::total_cmp);
        let figure = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
        let time = |at: usize| self.after.get(at).map_or_else(String::new, |seconds| length(*seconds));
        let (median, most) = (time(self.after.len() / 2), time(self.after.len().wrapping_sub(1)));
        format!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} of {} | {median} | {most} |\n",
            self.labels,
            self.in_time,
            self.late,
            figure(self.recall()),
            self.false_alarms,
            figure(self.precision()),
            self.quiet,
            self.negatives,
        )
    }
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// `45 s`, `12 min`, `5.3 h`, `2.1 d`.
fn length(seconds: f64) -> String {
    match seconds {
        _ if seconds < 120.0 => format!("{seconds:.0} s"),
        _ if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        _ if seconds < 172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} d", seconds / 86_400.0),
    }
}

/// Service-weeks of traffic in which nothing happens, and the false alarms in it.
pub fn calm(scored: &[Scored]) -> (f64, usize) {
    let normal = || scored.iter().filter(|it| it.normal);
    (normal().map(|it| it.service_weeks).sum(), normal().map(|it| it.false_alarms.len()).sum())
}

/// The tables, as Markdown.
pub fn markdown(scored: &[Scored]) -> String {
    let mut detectors: BTreeMap<&str, Figures> = BTreeMap::new();
    let mut all = Figures::default();
    for scored in scored {
        for label in &scored.labels {
            detectors.entry(detector(&label.rule)).or_default().label(label);
            all.label(label);
        }
        for (rule, is_quiet) in &scored.negatives {
            for figures in [detectors.entry(detector(rule)).or_default(), &mut all] {
                figures.negatives += 1;
                figures.quiet += usize::from(*is_quiet);
            }
        }
        for alarm in &scored.false_alarms {
            detectors.entry(detector(&alarm.rule)).or_default().false_alarms += 1;
            all.false_alarms += 1;
        }
    }
    let mut text = String::from(
        "| detector | labels | in time | late | recall | false alarms | precision | tempting negatives kept quiet | time to detect, median | longest |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let order = DETECTORS.iter().map(|(name, _)| *name).chain(["leaks and others"]);
    for name in order {
        if let Some(mut figures) = detectors.remove(name) {
            text.push_str(&figures.row(name));
        }
    }
    text.push_str(&all.row("**all**"));
    let (weeks, alarms) = calm(scored);
    let calls: u64 = scored.iter().map(|it| it.calls).sum();
    let _ = writeln!(text, "\n{} scenarios, {calls} calls.", scored.len());
    if weeks > 0.0 {
        let per_week = alarms as f64 / weeks;
        let _ = writeln!(
            text,
            "Normal traffic: {alarms} false alarms in {weeks:.1} service-weeks, {per_week:.2} a service-week."
        );
    }
    runaways(scored, &mut text);
    text
}

/// Spend that runs away: when it was found, and after how much money.
fn runaways(scored: &[Scored], text: &mut String) {
    let runaways: Vec<(&Scored, &Label)> = scored
        .iter()
        .flat_map(|it| it.labels.iter().map(move |label| (it, label)))
        .filter(|(_, it)| it.runaway)
        .collect();
    if runaways.is_empty() {
        return;
    }
    text.push_str(
        "\n| spend that runs away | found by | after | spent by then | in time |\n| --- | --- | --- | --- | --- |\n",
    );
    for (scored, label) in runaways {
        let (after, spent) = match label.after_ns {
            Some(ns) => (length(ns as f64 / 1e9), format!("${:.2}", label.spent_nano_usd as f64 / 1e9)),
            None => ("never".to_owned(), String::new()),
        };
        let in_time = if label.in_time { "yes" } else { "no" };
        let _ = writeln!(text, "| `{}` | `{}` | {after} | {spent} | {in_time} |", scored.name, label.rule);
    }
}

/// What went wrong, a line each.
pub fn wrongs(scored: &[Scored]) -> String {
    let mut text = String::new();
    for scored in scored {
        for label in scored.labels.iter().filter(|label| !label.in_time) {
            let when =
                label.after_ns.map_or("missed".to_owned(), |ns| format!("late, after {}", length(ns as f64 / 1e9)));
            let service = label.service.as_deref().unwrap_or("any");
            let _ = writeln!(text, "{}: {when}: {} of {service}", scored.name, label.rules.join(" or "));
        }
        for alarm in &scored.false_alarms {
            let after = length(alarm.after_ns as f64 / 1e9);
            let _ = writeln!(
                text,
                "{}: false alarm: {} of {} after {after}: {}",
                scored.name, alarm.rule, alarm.service, alarm.title
            );
        }
    }
    text
}

/// The document with these tables in the place of the old ones.
pub fn replaced(document: &str, tables: &str) -> Result<String> {
    let (before, rest) = document.split_once(BEGIN).unwrap_or((document, ""));
    ensure!(!rest.is_empty(), "the line {BEGIN:?} is missing");
    let after = rest.split_once(END).map(|(_, after)| after);
    ensure!(after.is_some(), "the line {END:?} is missing");
    Ok(format!("{before}{BEGIN}\n\n{tables}\n{END}{}", after.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::FalseAlarm;

    fn label(rule: &str, seconds: Option<u64>, in_time: bool) -> Label {
        let after_ns = seconds.map(|seconds| seconds * 1_000_000_000);
        let (rule, rules) = (rule.to_owned(), vec![rule.to_owned()]);
        Label { rule, rules, service: None, after_ns, spent_nano_usd: 2_500_000_000, in_time, runaway: true }
    }

    fn scored() -> Scored {
        let alarm = FalseAlarm {
            rule: "agent.loop".to_owned(),
            service: "bot".to_owned(),
            title: "a title".to_owned(),
            after_ns: 3_600_000_000_000,
        };
        Scored {
            name: "a-scenario".to_owned(),
            normal: false,
            service_weeks: 1.0,
            calls: 10,
            labels: vec![
                label("agent.loop", Some(30), true),
                label("agent.cycle", Some(600), false),
                label("tool.slow", None, false),
            ],
            negatives: vec![("agent.loop".to_owned(), true), ("agent.*".to_owned(), false)],
            false_alarms: vec![alarm],
        }
    }

    #[test]
    fn figures_are_by_detector() {
        let text = markdown(&[scored()]);
        assert!(text.contains("| agent loops | 2 | 1 | 1 | 0.50 | 1 | 0.67 | 1 of 2 | 10 min | 10 min |\n"), "{text}");
        assert!(text.contains("| tools and MCP | 1 | 0 | 0 | 0.00 | 0 |  | 0 of 0 |  |  |\n"), "{text}");
        assert!(text.contains("| `a-scenario` | `agent.loop` | 30 s | $2.50 | yes |\n"), "{text}");
    }

    #[test]
    fn what_went_wrong_is_listed() {
        let expected = "a-scenario: late, after 10 min: agent.cycle of any\n\
                        a-scenario: missed: tool.slow of any\n\
                        a-scenario: false alarm: agent.loop of bot after 60 min: a title\n";
        assert_eq!(wrongs(&[scored()]), expected);
    }

    #[test]
    fn tables_go_between_their_marks() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nbehind\n");
        let made = replaced(&document, "new").unwrap();
        assert_eq!(made, format!("before\n{BEGIN}\n\nnew\n{END}\nbehind\n"));
        assert!(replaced("no marks", "new").is_err());
    }
}
