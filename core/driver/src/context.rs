//! The context that a driver call gets beside its arguments.

use crate::FileRef;
use ostler_model::{
    CallContext, DatastoreName, ExecTransport, HostId, HostName, OpaqueState, Progress,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The host of a call, with the data that its driver needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: HostName,
    /// The driver's settings for this host (`uri` for `kvm`).
    pub config: BTreeMap<String, String>,
    /// How commands and files are reached. Only host capabilities use it; components never see it.
    pub transport: ExecTransport,
    /// The absolute paths of the datastores' folders on this host. Only host capabilities use it.
    pub roots: BTreeMap<DatastoreName, String>,
}

/// The controls of one call: its identity, deadline, cancellation, progress, and the driver's own
/// state.
#[derive(Debug, Clone)]
pub struct CallControl {
    /// Effect key, generation and deadline. The deadline here is on the wall clock, for the driver.
    pub context: CallContext,
    /// The same deadline on the monotonic clock, for the code that waits for the answer.
    pub until: Instant,
    /// Asks the call to stop. The driver then answers `cancelled` as soon as that is safe.
    pub cancel: CancellationToken,
    /// The driver reports its progress here; the last report counts.
    pub progress: watch::Sender<Option<Progress>>,
    /// The state that the driver keeps about this VM.
    pub state: Option<OpaqueState>,
    /// The subjects of the call beside its arguments.
    pub related: Related,
}

/// The files and the host that a call may need and that its arguments do not name. Only host
/// capabilities use it: a component reaches no other file.
#[derive(Debug, Clone, Default)]
pub struct Related {
    /// Files that it may read: those below the disks of the VM.
    pub read: Vec<FileRef>,
    /// Files that it may also write: disks that lie outside of the VM's folder.
    pub written: Vec<FileRef>,
    /// Files that a long job makes, under temporary names beside them at first.
    pub made: Vec<FileRef>,
    /// Whether more files may be below the disks, which nobody knows.
    pub unknown_below: bool,
    /// The other host of a migration.
    pub other: Option<Arc<Site>>,
}

impl CallControl {
    /// A call whose progress nobody watches: for tests, probes and the conformance suite.
    #[must_use]
    pub fn detached(context: CallContext, until: Instant) -> Self {
        Self {
            context,
            until,
            cancel: CancellationToken::new(),
            progress: watch::Sender::new(None),
            state: None,
            related: Related::default(),
        }
    }
}
