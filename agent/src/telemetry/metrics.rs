//! The values. Enters: counts, from any thread. Leaves: the page in the OpenMetrics text format, written by the crate
//! `prometheus-client`. A metric has at most [`SERIES_MAX`] series: what comes later is counted under the label value `other`,
//! so a peer that invents names cannot make the page grow.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit as OpenUnit},
};

use super::{
    Health,
    metric::{Kind, Metric, Unit},
};

/// Series that one metric has at most.
pub const SERIES_MAX: usize = 128;
/// Label value of everything that had no place of its own.
pub const OTHER: &str = "other";
/// Longest label value that is kept, in bytes.
const LABEL_BYTES_MAX: usize = 128;

/// Values by label values.
type Series = BTreeMap<Vec<String>, Arc<AtomicU64>>;

/// The registry. Label values must be names that may be shown: what a peer wrote passes `findings::shown` first.
#[derive(Clone, Debug)]
pub struct Metrics {
    series: Arc<[Mutex<Series>; Metric::ALL.len()]>,
}

impl Metrics {
    /// All unlabelled metrics at zero, so that a missing series never means "nothing happened".
    pub fn new() -> Self {
        let metrics = Self { series: Arc::new(Metric::ALL.map(|_| Mutex::new(Series::new()))) };
        for metric in Metric::ALL.into_iter().filter(|metric| metric.about().labels.is_empty()) {
            metrics.add(metric, &[], 0);
        }
        for result in ["ok", "failed"] {
            metrics.add(Metric::ConfigReloads, &[result], 0);
        }
        metrics.set(Metric::BuildInfo, &[env!("CARGO_PKG_VERSION")], 1);
        metrics
    }

    /// Adds to a counter.
    pub fn add(&self, metric: Metric, labels: &[&str], value: u64) {
        self.cell(metric, labels).fetch_add(value, Ordering::Relaxed);
    }

    /// Sets a gauge, or a counter whose total is kept elsewhere; a counter never goes down. Money is given in nano-USD, a span in nanoseconds.
    pub fn set(&self, metric: Metric, labels: &[&str], value: u64) {
        let cell = self.cell(metric, labels);
        match metric.about().kind {
            Kind::Gauge => cell.store(value, Ordering::Relaxed),
            Kind::Counter => {
                cell.fetch_max(value, Ordering::Relaxed);
            }
        }
    }

    /// The value, if it was ever touched.
    pub fn get(&self, metric: Metric, labels: &[&str]) -> Option<u64> {
        let key: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        self.lock(metric).get(&key).map(|cell| cell.load(Ordering::Relaxed))
    }

    /// All series of a metric, by their label values in the order of [`About::labels`](super::About::labels).
    pub fn series(&self, metric: Metric) -> Vec<(Vec<String>, u64)> {
        self.lock(metric).iter().map(|(labels, cell)| (labels.clone(), cell.load(Ordering::Relaxed))).collect()
    }

    /// Takes over which parts are ready.
    pub fn ready(&self, health: &Health) {
        let mut series = self.lock(Metric::Ready);
        series.clear();
        for (component, reason) in health.states() {
            series.insert(vec![component.to_owned()], Arc::new(u64::from(reason.is_none()).into()));
        }
    }

    /// Forgets all series of a metric: for gauges whose labels come and go.
    pub fn clear(&self, metric: Metric) {
        self.lock(metric).clear();
    }

    /// The counter itself, for those who count often. Labels that are missing are `other`, and those too many do not count.
    pub fn cell(&self, metric: Metric, labels: &[&str]) -> Arc<AtomicU64> {
        let key: Vec<String> = (0..metric.about().labels.len())
            .map(|index| labels.get(index).copied().unwrap_or(OTHER))
            .map(|label| label.get(..label.floor_char_boundary(LABEL_BYTES_MAX)).unwrap_or(OTHER).to_owned())
            .collect();
        let mut series = self.lock(metric);
        if let Some(cell) = series.get(&key) {
            return Arc::clone(cell);
        }
        let key = if series.len() + 1 < SERIES_MAX { key } else { key.iter().map(|_| OTHER.to_owned()).collect() };
        Arc::clone(series.entry(key).or_default())
    }

    /// The page: all metrics, and of `health` which parts are ready.
    pub fn page(&self, health: &Health) -> String {
        self.ready(health);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut page, &registry);
        page
    }

    fn lock(&self, metric: Metric) -> MutexGuard<'_, Series> {
        // The index is that of ALL, and there is a mutex for each. A count of a thread that panicked is still a count.
        self.series[metric.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in Metric::ALL {
            let about = metric.about();
            let series = self.lock(metric).clone();
            if series.is_empty() {
                continue;
            }
            let unit = match about.unit {
                Unit::None => None,
                Unit::Bytes => Some(OpenUnit::Bytes),
                Unit::Seconds | Unit::Span => Some(OpenUnit::Seconds),
                Unit::Usd => Some(OpenUnit::Other("usd".to_owned())),
            };
            let kind = match about.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut encoder = encoder.encode_descriptor(about.stem, about.help, unit.as_ref(), kind)?;
            for (values, cell) in series {
                let value = cell.load(Ordering::Relaxed);
                if values.is_empty() {
                    one(&mut encoder, metric, value)?;
                } else {
                    let labels: Vec<(&str, &str)> =
                        about.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
                    one(&mut encoder.encode_family(&labels)?, metric, value)?;
                }
            }
        }
        Ok(())
    }
}

fn one(encoder: &mut MetricEncoder<'_>, metric: Metric, value: u64) -> fmt::Result {
    let about = metric.about();
    match (about.kind, about.unit) {
        (Kind::Counter, _) => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        (Kind::Gauge, Unit::Usd | Unit::Span) => encoder.encode_gauge(&(value as f64 / 1e9)),
        (Kind::Gauge, _) => encoder.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(metrics: &Metrics) -> String {
        metrics.page(&Health::new(&[]))
    }

    #[test]
    fn the_page_is_open_metrics() {
        let metrics = Metrics::new();
        metrics.add(Metric::Findings, &["high", "pii"], 2);
        metrics.add(Metric::Findings, &["high", "pii"], 1);
        metrics.set(Metric::LogLag, &["/a.log"], 7);
        metrics.set(Metric::LogLag, &["/a.log"], 5);
        metrics.set(Metric::TapBytes, &[], 100);
        metrics.set(Metric::TapBytes, &[], 90);
        metrics.set(Metric::BudgetSpend, &["daily", "a\"b\\c\nd"], 12_340_000_000);
        let page = page(&metrics);
        for line in [
            "# TYPE outflow_findings counter",
            "outflow_findings_total{severity=\"high\",category=\"pii\"} 3",
            "# UNIT outflow_log_lag_bytes bytes",
            "outflow_log_lag_bytes{file=\"/a.log\"} 5",
            "outflow_tap_bytes_total 100",
            "outflow_budget_spend_usd{budget=\"daily\",owner=\"a\\\"b\\\\c\\nd\"} 12.34",
            "outflow_config_reloads_total{result=\"failed\"} 0",
            "outflow_log_read_bytes_total 0",
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }

    #[test]
    fn every_metric_stands_on_the_page_under_its_documented_name() {
        let metrics = Metrics::new();
        for metric in Metric::ALL {
            metrics.add(metric, &vec!["x"; metric.about().labels.len()], 1);
        }
        let health = Health::new(&["store"]);
        let page = metrics.page(&health);
        for metric in Metric::ALL {
            let name = metric.about().name();
            let stands = page
                .lines()
                .any(|line| line.starts_with(&format!("{name} ")) || line.starts_with(&format!("{name}{{")));
            assert!(stands, "{name}\n{page}");
        }
    }

    #[test]
    fn label_values_are_bounded() {
        let metrics = Metrics::new();
        for number in 0..10_000 {
            metrics.add(Metric::Exchanges, &[&number.to_string()], 1);
        }
        metrics.add(Metric::Exchanges, &[&"ä".repeat(1000)], 1);
        let page = page(&metrics);
        let series: Vec<&str> = page.lines().filter(|line| line.starts_with("outflow_exchanges_total{")).collect();
        assert_eq!(series.len(), SERIES_MAX);
        let sum: u64 = series.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(sum, 10_001, "none is lost");
        assert_eq!(metrics.get(Metric::Exchanges, &[OTHER]), Some(10_001 - (SERIES_MAX as u64 - 1)));
        assert!(page.lines().all(|line| line.len() < 300));
    }
}
