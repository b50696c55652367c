//! How fast and how healthy a driver is.

use ostler_api as wire;
use ostler_engine::{DriverFigures, Figures, Recent, WINDOW};

/// The figures of a driver.
pub(crate) fn driver_figures(figures: DriverFigures) -> wire::DriverFigures {
    let DriverFigures { functions, hosts, not_kept } = figures;
    let host = |(host, functions): (ostler_model::HostName, Vec<Figures>)| wire::HostFigures {
        host: host.into(),
        functions: functions.into_iter().map(function).collect(),
    };
    wire::DriverFigures {
        window_s: WINDOW.as_secs(),
        functions: functions.into_iter().map(function).collect(),
        hosts: hosts.into_iter().map(host).collect(),
        not_kept,
    }
}

fn function(figures: Figures) -> wire::FunctionFigures {
    let recent = |recent: Recent| wire::RecentCalls {
        calls: recent.calls,
        p50_us: recent.p50_us,
        p95_us: recent.p95_us,
        p99_us: recent.p99_us,
        largest_us: recent.largest_us,
    };
    wire::FunctionFigures {
        function: figures.function.to_owned(),
        calls: figures.calls,
        errors: figures.errors.iter().map(|(kind, count)| (kind.to_string(), *count)).collect(),
        recent: figures.recent.map(recent),
    }
}
