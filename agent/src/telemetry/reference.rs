//! `docs/METRICS.md` from the code. Enters: the list of metrics. Leaves: Markdown, the same in each run.

use std::fmt::Write as _;

use super::metric::{Kind, Metric};

/// What stands above the table.
const HEAD: &str = "# Metrics

`outflow run` serves them at `/metrics` of `[admin] listen` ([CONFIG.md](CONFIG.md)), in the OpenMetrics text format, which
Prometheus and the OpenTelemetry Collector read. Counters begin at zero when the agent starts. A metric has at most 128 series;
further label values are counted together as `other`.

`/healthz` answers 200 as long as the process lives. `/readyz` answers 200 when the store and all sources work, else 503 with
the reasons, one a line: use it for readiness probes and alarms.

This page is made from the code: run the tests with `OUTFLOW_BLESS=1` to write it anew.

| metric | kind | labels | what |
| --- | --- | --- | --- |
";

/// The text of `docs/METRICS.md`.
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    for about in Metric::ALL.map(Metric::about) {
        let kind = if about.kind == Kind::Counter { "counter" } else { "gauge" };
        let labels: Vec<String> = about.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| `{}` | {kind} | {} | {} |", about.name(), labels.join(", "), about.help);
    }
    out
}
