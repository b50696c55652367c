//! Everything that a VM's runner can be told.

use crate::handle::{ActionRequest, EngineError, Idempotency, Preview, Replied};
use crate::in_flight::Returned;
use crate::locked::locked;
use ostler_lifecycle::{Decision, Input};
use ostler_model::{HostId, VmId};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A message to a runner.
pub(crate) enum Message {
    /// Something happened.
    Input(Input),
    /// A driver call returned.
    Returned(Returned),
    /// A request for an action.
    Request(ActionRequest, Option<Idempotency>, oneshot::Sender<Result<Replied, EngineError>>),
    /// A request for a dry run of an action.
    Preview(ActionRequest, oneshot::Sender<Result<Preview, EngineError>>),
    /// A person states that the record is right, and that a newer domain on another host is not the
    /// VM.
    Accept(String, oneshot::Sender<Result<(), EngineError>>),
    /// The VM is to be made. Its runner commits that, so that nobody else handles its first call,
    /// and the caller may go away.
    Born(Box<Birth>, oneshot::Sender<Result<Replied, EngineError>>),
    /// The operator states that a host is gone for good.
    HostGone(HostId, oneshot::Sender<Result<(), EngineError>>),
    /// The runner looks whether there is something to go on with, after a start or after a part of
    /// the engine failed. The permit bounds how many runners do so at once.
    Wake(OwnedSemaphorePermit),
    /// Something of this VM is, or may be, on a host where it should not be, and that host answers.
    Sweep(Sweeping),
}

/// A VM that is about to be made.
pub(crate) struct Birth {
    pub(crate) decision: Decision,
    pub(crate) idempotency: Option<Idempotency>,
    /// An earlier VM with the same UUID, which is done. The same commit forgets it.
    pub(crate) former: Option<VmId>,
}

impl Birth {
    /// A VM that has no earlier VM.
    pub(crate) const fn of(decision: Decision, idempotency: Option<Idempotency>) -> Self {
        Self { decision, idempotency, former: None }
    }
}

/// The sweeps that were asked for and have not ended.
pub(crate) type Sweeps = Mutex<HashSet<(VmId, HostId)>>;

/// A sweep that was asked for and has not ended: at most one per VM and host. A host is listed more
/// often than a slow removal can end there. Without this bound, the same sweeps would fill the VM's
/// mailbox, and its other messages would wait.
pub(crate) struct Sweeping {
    all: Arc<Sweeps>,
    vm: VmId,
    pub(crate) host: HostId,
}

impl Sweeping {
    /// None if this sweep was asked for already.
    pub(crate) fn begin(all: &Arc<Sweeps>, vm: VmId, host: HostId) -> Option<Self> {
        locked(all).insert((vm, host)).then(|| Self { all: Arc::clone(all), vm, host })
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        locked(&self.all).remove(&(self.vm, self.host));
    }
}
