//! What a driver call is given beside its arguments.

use ostler_model::{CallContext, DatastoreName, ExecTransport, HostId, HostName, OpaqueState, Progress};
use std::collections::BTreeMap;
use std::time::Instant;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The host a call is for, as its driver needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: HostName,
    /// The driver's settings for this host (`uri` for `kvm`).
    pub config: BTreeMap<String, String>,
    /// How commands and files are reached. Only host capabilities look at it; components never see it.
    pub transport: ExecTransport,
    /// Absolute directories of the datastores on this host. Only host capabilities look at it.
    pub roots: BTreeMap<DatastoreName, String>,
}

/// A call in the making: identity, deadline, cancel, progress, and the driver's own state.
#[derive(Debug, Clone)]
pub struct CallControl {
    /// Identity, generation and deadline (wall clock, for the driver's eyes).
    pub context: CallContext,
    /// The same deadline on the monotonic clock, for whoever waits.
    pub until: Instant,
    /// Told to stop: the driver ends with `cancelled` as soon as that is safe.
    pub cancel: CancellationToken,
    /// Where progress is reported; the last report wins.
    pub progress: watch::Sender<Option<Progress>>,
    /// What the driver kept about this VM.
    pub state: Option<OpaqueState>,
}

impl CallControl {
    /// A call nobody watches: for tests, probes and the conformance suite.
    #[must_use]
    pub fn detached(context: CallContext, until: Instant) -> Self {
        Self { context, until, cancel: CancellationToken::new(), progress: watch::Sender::new(None), state: None }
    }
}
