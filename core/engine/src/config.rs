//! The settings of the engine, with defaults that suit one machine.

use crate::hooks::Hooks;
use ostler_model::{DriverName, Millis};
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Each host is listed this often, whether it reports changes or not.
    pub poll_every: Duration,
    /// A host that could not be asked is asked again after this time.
    pub retry_every: Duration,
    /// How many mutating calls run at once for each driver and host, unless `lanes` says otherwise.
    /// Libvirt serves about this many well.
    pub lane_width: usize,
    /// The same for single drivers, by name.
    pub lanes: BTreeMap<DriverName, usize>,
    /// How long a call may go on after it was told to stop. Then it is dropped, and its outcome is
    /// unknown.
    pub cancel_grace: Duration,
    /// A runner with nothing to do ends after this long.
    pub runner_idle: Duration,
    /// How often the watchdog looks for VMs that should go on and that nobody works on. Only a
    /// defect makes such a VM, so this is slow. Without the watchdog such a VM would stand until
    /// the daemon is started again, so a minute is soon enough. Each round reads the record of
    /// every VM with an operation or an open call.
    pub watchdog_every: Duration,
    /// A VM that has been done for this long is forgotten, with its operations.
    pub keep_done: Millis,
    /// The snapshot rules of each hypervisor driver that has no binding in the store.
    pub rules: BTreeMap<DriverName, DriverName>,
    /// For tests.
    #[doc(hidden)]
    pub hooks: Hooks,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            poll_every: Duration::from_secs(10),
            retry_every: Duration::from_secs(3),
            lane_width: 8,
            lanes: BTreeMap::new(),
            cancel_grace: Duration::from_secs(5),
            runner_idle: Duration::from_secs(2),
            watchdog_every: Duration::from_secs(60),
            keep_done: Millis::secs(90 * 24 * 3600),
            rules: BTreeMap::new(),
            hooks: Hooks::default(),
        }
    }
}
