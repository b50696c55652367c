//! How fast and how healthy a driver is: in its own page, and for Prometheus.

use crate::daemon::Daemon;
use ostler_api::{DriverFigures, FunctionFigures, NewDriver, NewHost};
use std::path::Path;
use std::time::Duration;

/// Longer than anything here takes; a test that waits so long has failed.
const SOON: Duration = Duration::from_secs(60);

fn function<'a>(of: &'a [FunctionFigures], name: &str) -> Option<&'a FunctionFigures> {
    of.iter().find(|figures| figures.function == name)
}

/// The figures of the driver, once it was asked for the domains of both hosts.
async fn asked(daemon: &Daemon) -> DriverFigures {
    let asked = async {
        loop {
            let driver = daemon.local.driver("test-guest").await.expect("a driver");
            let figures = driver.figures.expect("its page has figures");
            let lists =
                |host: &&ostler_api::HostFigures| function(&host.functions, "list").is_some();
            if figures.hosts.iter().filter(lists).count() == 2 {
                return figures;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("the hosts are looked at")
}

#[tokio::test]
async fn calls_errors_and_times_of_a_driver_are_told_by_function_and_host() {
    let daemon = Daemon::start();
    // It reads a setting in each list, and is not granted its settings.
    let path = "../wasm/tests/kept/guest-1.wasm";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string();
    let new = NewDriver { path, grants: Some(Vec::new()), ..NewDriver::default() };
    daemon.local.add_driver(&new).await.expect("it is loaded");
    for name in ["h1", "h2"] {
        let (name, driver) = (name.to_owned(), "test-guest".to_owned());
        let host = NewHost { name, driver, ..NewHost::default() };
        daemon.local.add_host(&host).await.expect("added");
    }
    let figures = asked(&daemon).await;
    assert_eq!((figures.window_s, figures.not_kept), (300, 0));
    let list = function(&figures.functions, "list").expect("both hosts together");
    assert!(list.calls >= 2, "{list:?}");
    assert_eq!(list.errors.get("refused"), Some(&list.calls), "{list:?}");
    let recent = list.recent.clone().expect("it was just called");
    assert_eq!(recent.calls, list.calls);
    assert!(
        0 < recent.p50_us
            && recent.p50_us <= recent.p95_us
            && recent.p95_us <= recent.p99_us
            && recent.p99_us <= recent.largest_us,
        "{recent:?}"
    );
    let calls =
        |host: &ostler_api::HostFigures| function(&host.functions, "list").map(|it| it.calls);
    let at_hosts: u64 = figures.hosts.iter().filter_map(calls).sum();
    assert_eq!(at_hosts, list.calls, "each call is of one host");
    // The list of drivers does not carry them.
    assert!(daemon.local.drivers().await.expect("a list").iter().all(|it| it.figures.is_none()));

    let text = daemon.local.get_text("/metrics").await.expect("figures");
    for line in [
        r#"ostler_driver_call_seconds_bucket{le="+Inf",driver="test-guest",function="list"} "#,
        r#"ostler_driver_call_seconds_count{driver="test-guest",function="list"} "#,
        r#"ostler_driver_call_errors_total{driver="test-guest",function="list",kind="refused"} "#,
        r#"ostler_driver_host_calls_total{driver="test-guest",host="h2",function="list"} "#,
        r#"ostler_driver_host_call_errors_total{driver="test-guest",host="h1",function="list",kind="refused"} "#,
        r#"ostler_driver_host_call_recent_seconds{driver="test-guest",host="h1",function="list",quantile="0.99"} "#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert_eq!(text.matches("# EOF").count(), 1);
}
