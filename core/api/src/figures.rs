//! How fast and how healthy a driver is.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How fast and how healthy a driver is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverFigures {
    /// The time that `recent` tells of, in seconds.
    pub window_s: u64,
    /// The functions of the driver that were called, on all hosts together.
    pub functions: Vec<FunctionFigures>,
    /// The same for each host.
    pub hosts: Vec<HostFigures>,
    /// How many calls are in no figures of a host, because more functions on hosts are in use than
    /// are kept. They are in `functions`.
    pub not_kept: u64,
}

/// The figures of a driver on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostFigures {
    /// The host's name.
    pub host: String,
    /// The functions of the driver that were called there.
    pub functions: Vec<FunctionFigures>,
}

/// The calls of one function of a driver. A job (`migrate-live`, `prepare`) is one call, from its
/// begin to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionFigures {
    /// The function: `deploy`, `list`.
    pub function: String,
    /// Calls that have ended since the daemon started.
    pub calls: u64,
    /// How many of them ended in an error, by its kind: `retry`, `refused`, `unknown`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// The calls of the last minutes. None if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent: Option<RecentCalls>,
}

/// The times of the calls of the last minutes, in microseconds. All but the largest are told up to
/// 7 % too long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecentCalls {
    /// How many calls there were.
    pub calls: u64,
    /// Half of the calls took no longer.
    pub p50_us: u64,
    /// 95 of 100 took no longer.
    pub p95_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The longest one.
    pub largest_us: u64,
}
