//! What can be set, with defaults that suit one machine.

use crate::hooks::Hooks;
use ostler_model::{DriverName, Millis};
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Hosts are looked over this often, whatever events say.
    pub poll_every: Duration,
    /// A host that cannot be asked is asked again this often.
    pub retry_every: Duration,
    /// Mutating calls at once for each driver and host, unless `lanes` says otherwise. Libvirt serves about this many well.
    pub lane_width: usize,
    /// The same for single drivers.
    pub lanes: BTreeMap<DriverName, usize>,
    /// After a call was told to stop, how long until it is dropped and its outcome counts as unknown.
    pub cancel_grace: Duration,
    /// A runner with nothing to do ends after this long.
    pub runner_idle: Duration,
    /// How often it is looked for VMs that should go on and that nobody is at. Only a defect makes one, so this is slow: a minute is soon
    /// enough for what would otherwise stand until the daemon is started again, and each round reads the record of every VM in work.
    pub watchdog_every: Duration,
    /// VMs that have been done for this long are forgotten, with their operations.
    pub keep_done: Millis,
    /// Snapshot rules for each hypervisor driver that has no binding in the store.
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
