//! A bounded mailbox a VM, and a runner behind it while there is something in it.

use crate::handle::{ActionRequest, EngineError, Idempotency, Preview, Replied};
use crate::runner;
use crate::shared::{Shared, locked};
use ostler_lifecycle::Input;
use ostler_model::VmId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, oneshot};

/// Most that waits for one VM. A VM has at most two open calls, a tick, a look of the monitor and a wake-up; the rest are
/// requests of people, and a queue of more than this for one VM helps nobody.
pub(crate) const MAILBOX_MAX: usize = 64;
/// Of those, how many may be requests: what drivers answer must always find a place.
const REQUESTS_MAX: usize = 48;

/// What a runner is told.
pub(crate) enum Message {
    /// Something happened.
    Input(Input),
    /// Somebody asks.
    Request(ActionRequest, Option<Idempotency>, oneshot::Sender<Result<Replied, EngineError>>),
    /// Somebody asks what would happen.
    Preview(ActionRequest, oneshot::Sender<Result<Preview, EngineError>>),
    /// Look whether there is something to go on with: after a start.
    Wake,
}

/// The mailboxes of VMs that have a runner.
#[derive(Default)]
pub(crate) struct Mailboxes {
    open: Mutex<HashMap<VmId, mpsc::Sender<Message>>>,
}

impl Mailboxes {
    fn of(&self, shared: &Arc<Shared>, vm: VmId) -> mpsc::Sender<Message> {
        let mut open = locked(&self.open);
        if let Some(sender) = open.get(&vm).filter(|sender| !sender.is_closed()) {
            return sender.clone();
        }
        let (sender, receiver) = mpsc::channel(MAILBOX_MAX);
        open.insert(vm, sender.clone());
        shared.tasks.spawn(runner::run(Arc::clone(shared), vm, receiver));
        sender
    }

    /// Puts `message` into the mailbox, waiting for a place. Given up only when the daemon ends.
    pub(crate) async fn deliver(&self, shared: &Arc<Shared>, vm: VmId, message: Message) {
        let mut message = message;
        loop {
            if shared.stop.is_cancelled() {
                return;
            }
            match self.of(shared, vm).send(message).await {
                Ok(()) => return,
                // The runner ended between our finding it and our sending: the next one takes it.
                Err(mpsc::error::SendError(back)) => message = back,
            }
        }
    }

    /// Puts a request into the mailbox, or refuses it when too many wait.
    pub(crate) fn ask(&self, shared: &Arc<Shared>, vm: VmId, message: Message) -> Result<(), EngineError> {
        let mut message = message;
        loop {
            if shared.stop.is_cancelled() {
                return Err(EngineError::ShuttingDown);
            }
            let sender = self.of(shared, vm);
            if MAILBOX_MAX - sender.capacity() >= REQUESTS_MAX {
                return Err(EngineError::Overloaded { vm, waiting: REQUESTS_MAX });
            }
            match sender.try_send(message) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => return Err(EngineError::Overloaded { vm, waiting: MAILBOX_MAX }),
                Err(mpsc::error::TrySendError::Closed(back)) => message = back,
            }
        }
    }

    /// Ends a runner's mailbox if nothing is in it. Under the lock, so that nothing can come in between.
    pub(crate) fn close_if_empty(&self, vm: VmId, receiver: &mut mpsc::Receiver<Message>) -> bool {
        let mut open = locked(&self.open);
        if !receiver.is_empty() {
            return false;
        }
        receiver.close();
        // Something may have been sent by a clone taken earlier, after the look and before the close.
        if receiver.is_empty() {
            open.remove(&vm);
            return true;
        }
        false
    }
}
