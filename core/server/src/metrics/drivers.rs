//! The metrics of drivers: calls, errors by kind, and times by function; of each driver, and of each
//! driver on each host.

use ostler_engine::{DriverFigures, Figures, GROUPS_US, Recent};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;
use std::time::Duration;

/// The calls of one function of a driver.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    driver: String,
    function: String,
}

/// The same on one host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CalledAt {
    driver: String,
    host: String,
    function: String,
}

/// Errors of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    driver: String,
    function: String,
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailedAt {
    driver: String,
    host: String,
    function: String,
    kind: String,
}

/// A time of the last minutes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RecentAt {
    driver: String,
    host: String,
    function: String,
    /// `0.5`, `0.95`, `0.99`, or `1` for the largest.
    quantile: &'static str,
}

/// The figures of all drivers, as they were when Prometheus asked.
pub(super) struct OfDrivers(pub(super) Vec<(String, DriverFigures)>);

impl fmt::Debug for OfDrivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfDrivers").field("drivers", &self.0.len()).finish()
    }
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

/// The groups of the histogram, with their limits in seconds.
fn groups(figures: &Figures) -> Vec<(f64, u64)> {
    let limit = |us: &u64| if *us == u64::MAX { f64::INFINITY } else { seconds(*us) };
    GROUPS_US.iter().map(limit).zip(figures.groups).collect()
}

fn quantiles(recent: &Recent) -> [(&'static str, u64); 4] {
    [
        ("0.5", recent.p50_us),
        ("0.95", recent.p95_us),
        ("0.99", recent.p99_us),
        ("1", recent.largest_us),
    ]
}

impl OfDrivers {
    /// Each function of each driver.
    fn functions(&self) -> impl Iterator<Item = (&String, &Figures)> {
        self.0.iter().flat_map(|(driver, of)| of.functions.iter().map(move |one| (driver, one)))
    }

    /// Each function of each driver on each host, with the labels of its calls.
    fn at_hosts(&self) -> impl Iterator<Item = (CalledAt, &Figures)> {
        let at = self.0.iter().flat_map(|(driver, of)| of.hosts.iter().map(move |at| (driver, at)));
        at.flat_map(|(driver, (host, functions))| {
            functions.iter().map(move |one| {
                let (driver, host) = (driver.clone(), host.to_string());
                (CalledAt { driver, host, function: one.function.to_owned() }, one)
            })
        })
    }

    fn of_drivers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "driver_call_seconds",
            "Time of a call of a driver, from its begin to its end",
            None,
            MetricType::Histogram,
        )?;
        for (driver, one) in self.functions() {
            let labels = Called { driver: driver.clone(), function: one.function.to_owned() };
            let (sum, groups) = (seconds(one.busy_us), groups(one));
            metric
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(sum, one.calls, &groups, None)?;
        }
        let mut metric = encoder.encode_descriptor(
            "driver_call_errors",
            "Calls of drivers that ended in an error of that kind",
            None,
            MetricType::Counter,
        )?;
        for (driver, one) in self.functions() {
            for (kind, count) in &one.errors {
                let (driver, function) = (driver.clone(), one.function.to_owned());
                let labels = Failed { driver, function, kind: kind.to_string() };
                metric
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, u64, f64>(count, None)?;
            }
        }
        Ok(())
    }

    fn of_hosts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "driver_host_calls",
            "Calls of drivers on hosts",
            None,
            MetricType::Counter,
        )?;
        for (labels, one) in self.at_hosts() {
            metric
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, u64, f64>(&one.calls, None)?;
        }
        let mut metric = encoder.encode_descriptor(
            "driver_host_call_errors",
            "Calls of drivers on hosts that ended in an error of that kind",
            None,
            MetricType::Counter,
        )?;
        for (at, one) in self.at_hosts() {
            for (kind, count) in &one.errors {
                let CalledAt { driver, host, function } = at.clone();
                let labels = FailedAt { driver, host, function, kind: kind.to_string() };
                metric
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, u64, f64>(count, None)?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "driver_host_call_recent_seconds",
            "Time of a call of a driver on a host in the last five minutes; quantile 1 is the largest",
            None,
            MetricType::Gauge,
        )?;
        for (at, one) in self.at_hosts() {
            for (quantile, us) in one.recent.iter().flat_map(quantiles) {
                let CalledAt { driver, host, function } = at.clone();
                let labels = RecentAt { driver, host, function, quantile };
                metric.encode_family(&labels)?.encode_gauge(&seconds(us))?;
            }
        }
        Ok(())
    }
}

impl Collector for OfDrivers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.of_drivers(&mut encoder)?;
        self.of_hosts(&mut encoder)
    }
}
