//! Metrics for Prometheus. Requests are counted as they come; everything else is read when
//! Prometheus asks.

mod drivers;

use self::drivers::OfDrivers;
use crate::problem::{ApiError, Handled};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use ostler_api::code;
use ostler_engine::Engine;
use ostler_store::{Health, Reader, Store};
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// The limits of the histogram: from a read out of the cache to a wait of 30 s.
const SECONDS: [f64; 12] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct One {
    name: String,
}

/// The parts that are asked for their numbers.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) drivers: &'a ostler_driver::Registry,
}

/// The counters of requests.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("ostler");
        let requests = Family::<RequestLabels, Counter>::default();
        let seconds = Histogram::new(SECONDS);
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_request_seconds", "Time until the answer began", seconds.clone());
        Self { registry, requests, seconds }
    }

    /// Everything as text.
    pub(crate) fn render(&self, asked: Asked<'_>, reader: &Reader) -> Handled<String> {
        let mut text = String::new();
        let defect = |err: std::fmt::Error| {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, err.to_string())
        };
        encode(&mut text, &self.registry).map_err(defect)?;
        // The two documents are joined, and only the last one may have the line that marks the end.
        let ended = text.trim_end_matches("# EOF\n").len();
        text.truncate(ended);
        encode(&mut text, &now(asked, reader)?).map_err(defect)?;
        Ok(text)
    }
}

/// The metrics that are read from the store and the engine now.
fn now(asked: Asked<'_>, reader: &Reader) -> Handled<Registry> {
    let mut registry = Registry::with_prefix("ostler");
    let vms = Family::<One, Gauge>::default();
    for (state, count) in reader.state_counts()? {
        vms.get_or_create(&One { name: state.to_string() }).set(signed(count));
    }
    registry.register("vms", "VMs in each state", vms);
    let seq = Gauge::<i64>::default();
    seq.set(signed(reader.seq()?.0));
    registry.register("event_seq", "Number of the last event", seq);
    let writable = Gauge::<i64>::default();
    writable.set(i64::from(asked.engine.store().health() == Health::Writable));
    registry.register("store_writable", "Whether the store takes commits", writable);
    written(asked.engine.store(), &mut registry);
    drivers(asked, &mut registry);
    hosts(asked.engine, reader, &mut registry)?;
    Ok(registry)
}

fn written(store: &Store, registry: &mut Registry) {
    let written = store.written();
    for (name, help, count) in [
        (
            "store_transactions",
            "Transactions of the database, each with one sync",
            written.transactions,
        ),
        ("store_commits", "Commits in them", written.commits),
        ("store_rows", "Rows of those commits, indexes left out", written.rows),
        ("store_row_bytes", "Bytes of those rows", written.bytes),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(count);
        registry.register(name, help, counter);
    }
}

fn drivers(asked: Asked<'_>, registry: &mut Registry) {
    let calls = Family::<One, Counter>::default();
    let errors = Family::<One, Counter>::default();
    let busy = Family::<One, Counter<f64, AtomicU64>>::default();
    let mut figures = Vec::new();
    for (info, _) in asked.drivers.list() {
        figures.push((info.name.to_string(), asked.engine.driver_figures(&info.name)));
        let (label, health) =
            (One { name: info.name.to_string() }, asked.engine.driver_health(&info.name));
        calls.get_or_create(&label).inc_by(health.calls);
        errors.get_or_create(&label).inc_by(health.errors);
        busy.get_or_create(&label)
            .inc_by(std::time::Duration::from_micros(health.busy_us).as_secs_f64());
    }
    registry.register("driver_calls", "Calls of drivers", calls);
    registry.register("driver_errors", "Calls of drivers that ended in an error", errors);
    registry.register_collector(Box::new(OfDrivers(figures)));
    registry.register("driver_busy_seconds", "Time spent in calls of drivers", busy);
}

fn hosts(engine: &Engine, reader: &Reader, registry: &mut Registry) -> Handled<()> {
    let reachable = Family::<One, Gauge>::default();
    let (memory, held) = (Family::<One, Gauge>::default(), Family::<One, Gauge>::default());
    for host in reader.hosts()? {
        let label = One { name: host.name.to_string() };
        memory.get_or_create(&label).set(signed(host.total.memory_mib));
        held.get_or_create(&label).set(signed(reader.usage(host.id)?.held.memory_mib));
        if let Some(health) = engine.host_health(host.id) {
            reachable.get_or_create(&label).set(i64::from(health.reachable));
        }
    }
    registry.register(
        "host_reachable",
        "Whether the host answered when it was asked last",
        reachable,
    );
    registry.register("host_memory_mib", "Memory the host offers", memory);
    registry.register("host_memory_held_mib", "Memory that VMs hold on the host", held);
    Ok(())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The label of a method. Clients may make up methods without end, and each label is kept for ever,
/// so unknown methods share one.
fn method(given: &Method) -> &'static str {
    const KNOWN: [&str; 6] = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"];
    KNOWN.into_iter().find(|known| *known == given.as_str()).unwrap_or("other")
}

/// Counts a request and its time.
pub(crate) async fn measure(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let route =
        request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = method(request.method()).to_owned();
    let response = next.run(request).await;
    metrics
        .requests
        .get_or_create(&RequestLabels { route, method, status: response.status().as_u16() })
        .inc();
    metrics.seconds.observe(began.elapsed().as_secs_f64());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_made_up_by_clients_share_one_label() {
        assert_eq!(method(&Method::DELETE), "DELETE");
        for made_up in ["BREW", "get", "X1"] {
            assert_eq!(method(&Method::from_bytes(made_up.as_bytes()).expect("a token")), "other");
        }
    }
}
