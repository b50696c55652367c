//! A bounded mailbox a VM, and a runner behind it while there is something in it.
//!
//! **Invariant:** a message is put in, and a mailbox taken down, only under the one lock. So a mailbox that is taken down is empty,
//! no message is lost, and a VM never has two runners.

use crate::birth::Birth;
use crate::executor::Returned;
use crate::handle::{ActionRequest, EngineError, Idempotency, Preview, Replied};
use crate::runner;
use crate::shared::{Shared, locked};
use crate::sweep::Sweeping;
use ostler_lifecycle::Input;
use ostler_model::{HostId, VmId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Most that waits for one VM. A VM has at most two open calls, a tick, a look of the monitor and a wake-up; the rest are
/// requests of people, and a queue of more than this for one VM helps nobody. Its runner has at most as many again in hand.
pub(crate) const MAILBOX_MAX: usize = 64;
/// Of those, how many may be requests: what drivers answer must always find a place.
const REQUESTS_MAX: usize = 48;

/// What a runner is told.
pub(crate) enum Message {
    /// Something happened.
    Input(Input),
    /// A driver call returned.
    Returned(Returned),
    /// Somebody asks.
    Request(ActionRequest, Option<Idempotency>, oneshot::Sender<Result<Replied, EngineError>>),
    /// Somebody asks what would happen.
    Preview(ActionRequest, oneshot::Sender<Result<Preview, EngineError>>),
    /// A person says that the record is right, and a newer domain on another host is not the VM.
    Accept(String, oneshot::Sender<Result<(), EngineError>>),
    /// The VM comes to be. Its runner commits that, so that nobody else is at its first call, and whoever asked may go.
    Born(Box<Birth>, oneshot::Sender<Result<Replied, EngineError>>),
    /// The operator states that a host is gone for good.
    HostGone(HostId, oneshot::Sender<Result<(), EngineError>>),
    /// Look whether there is something to go on with: after a start, or after a part of the engine failed. The permit bounds how many
    /// do at once.
    Wake(OwnedSemaphorePermit),
    /// Something of this VM is, or may be, on a host where it should not be, and the host answers.
    Sweep(Sweeping),
}

/// Boxed, because a channel reserves its places in blocks of 32 and most mailboxes hold one message.
type Inbox = mpsc::Sender<Box<Message>>;

/// The mailboxes of VMs that have a runner.
#[derive(Default)]
pub(crate) struct Mailboxes {
    open: Mutex<HashMap<VmId, Inbox>>,
}

impl Mailboxes {
    /// Puts `message` in if fewer than `bound` wait; gives it back with the mailbox if not.
    fn put(&self, shared: &Arc<Shared>, vm: VmId, message: Box<Message>, bound: usize) -> Result<(), (Box<Message>, Inbox)> {
        let mut open = locked(&self.open);
        let inbox = open.entry(vm).or_insert_with(|| start(shared, vm));
        if inbox.is_closed() {
            // Its runner panicked, or the engine ends.
            *inbox = start(shared, vm);
        }
        if MAILBOX_MAX - inbox.capacity() >= bound {
            return Err((message, inbox.clone()));
        }
        inbox.try_send(message).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back) => (back, inbox.clone()),
        })
    }

    /// Puts `message` into the mailbox, waiting for a place. Given up only when the daemon ends.
    pub(crate) async fn deliver(&self, shared: &Arc<Shared>, vm: VmId, message: Message) {
        let mut message = Box::new(message);
        while !shared.stop.is_cancelled() {
            let inbox = match self.put(shared, vm, message, MAILBOX_MAX) {
                Ok(()) => return,
                Err((back, inbox)) => {
                    message = back;
                    inbox
                }
            };
            // The place itself is taken under the lock; this only waits until there is one, or until the runner is gone.
            tokio::select! {
                biased;
                _ = inbox.reserve() => {}
                () = shared.stop.cancelled() => return,
            }
        }
    }

    /// Puts `message` into the mailbox if there is a place.
    pub(crate) fn offer(&self, shared: &Arc<Shared>, vm: VmId, message: Message) -> bool {
        self.put(shared, vm, Box::new(message), MAILBOX_MAX).is_ok()
    }

    /// Puts a request into the mailbox, or refuses it when too many wait.
    pub(crate) fn ask(&self, shared: &Arc<Shared>, vm: VmId, message: Message) -> Result<(), EngineError> {
        if shared.stop.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        self.put(shared, vm, Box::new(message), REQUESTS_MAX).map_err(|_| EngineError::Overloaded { vm, waiting: REQUESTS_MAX })
    }

    /// Takes a mailbox down if nothing is in it. Its runner ends then.
    pub(crate) fn close_if_empty(&self, vm: VmId, receiver: &mpsc::Receiver<Box<Message>>) -> bool {
        let mut open = locked(&self.open);
        if receiver.is_empty() {
            open.remove(&vm);
        }
        receiver.is_empty()
    }
}

fn start(shared: &Arc<Shared>, vm: VmId) -> Inbox {
    let (sender, receiver) = mpsc::channel(MAILBOX_MAX);
    shared.spawn(runner::run(Arc::clone(shared), vm, receiver));
    sender
}
