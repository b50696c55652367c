//! One bounded mailbox per VM, with a runner behind it while there is something in it.
//!
//! **Invariant:** A message is put into a mailbox, and a mailbox is removed, only under the same
//! lock. So a mailbox is empty when it is removed, no message is lost, and a VM never has two
//! runners.

use crate::handle::EngineError;
use crate::locked::locked;
use crate::message::Message;
use crate::shared::Shared;
use futures::future::BoxFuture;
use ostler_model::VmId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// How many messages may wait for one VM. A VM has at most two open calls, a tick, a look of the
/// monitor and a wake-up. The rest are requests of people, and a longer queue for one VM helps
/// nobody. Its runner holds at most as many messages again.
pub(crate) const MAILBOX_MAX: usize = 64;
/// A request is refused if this many messages wait. So there is always a place for the answers of
/// drivers.
const REQUESTS_MAX: usize = 48;

/// Boxed, because a channel allocates its places in blocks of 32 and most mailboxes hold one
/// message.
type Inbox = mpsc::Sender<Box<Message>>;

/// The other end of a mailbox, for its runner.
pub(crate) type Outlet = mpsc::Receiver<Box<Message>>;

/// Makes the runner of a VM, which takes the messages of its mailbox.
pub(crate) type StartRunner = fn(Arc<Shared>, VmId, Outlet) -> BoxFuture<'static, ()>;

/// The mailboxes of VMs that have a runner.
pub(crate) struct Mailboxes {
    open: Mutex<HashMap<VmId, Inbox>>,
    runner: StartRunner,
}

impl Mailboxes {
    pub(crate) fn new(runner: StartRunner) -> Self {
        Self { open: Mutex::default(), runner }
    }

    /// Puts `message` in, if fewer than `bound` messages wait. Otherwise gives it back, with the
    /// mailbox.
    fn put(
        &self,
        shared: &Arc<Shared>,
        vm: VmId,
        message: Box<Message>,
        bound: usize,
    ) -> Result<(), (Box<Message>, Inbox)> {
        let mut open = locked(&self.open);
        let inbox = open.entry(vm).or_insert_with(|| self.start(shared, vm));
        if inbox.is_closed() {
            // Its runner panicked, or the engine ends.
            *inbox = self.start(shared, vm);
        }
        if MAILBOX_MAX - inbox.capacity() >= bound {
            return Err((message, inbox.clone()));
        }
        inbox.try_send(message).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back) => {
                (back, inbox.clone())
            }
        })
    }

    /// Puts `message` into the mailbox, and waits for a place. Gives up only when the daemon ends.
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
            // The message takes its place under the lock, in the next round. This only waits until
            // there is a place, or the runner is gone.
            tokio::select! {
                biased;
                _ = inbox.reserve() => {}
                () = shared.stop.cancelled() => return,
            }
            // If the runtime ends and nobody has stopped the engine, each new runner is dropped at
            // once, and each new mailbox is closed. Without this yield the loop would never give
            // its thread back, and the end of the runtime would hang.
            tokio::task::yield_now().await;
        }
    }

    /// Puts `message` into the mailbox, if there is a place.
    pub(crate) fn offer(&self, shared: &Arc<Shared>, vm: VmId, message: Message) -> bool {
        self.put(shared, vm, Box::new(message), MAILBOX_MAX).is_ok()
    }

    /// Puts a request into the mailbox. Refuses it if too many messages wait.
    pub(crate) fn ask(
        &self,
        shared: &Arc<Shared>,
        vm: VmId,
        message: Message,
    ) -> Result<(), EngineError> {
        if shared.stop.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        self.put(shared, vm, Box::new(message), REQUESTS_MAX)
            .map_err(|_| EngineError::Overloaded { vm, waiting: REQUESTS_MAX })
    }

    /// Removes a mailbox if it is empty. Its runner then ends.
    pub(crate) fn close_if_empty(&self, vm: VmId, receiver: &Outlet) -> bool {
        let mut open = locked(&self.open);
        if receiver.is_empty() {
            open.remove(&vm);
        }
        receiver.is_empty()
    }

    fn start(&self, shared: &Arc<Shared>, vm: VmId) -> Inbox {
        let (sender, receiver) = mpsc::channel(MAILBOX_MAX);
        shared.spawn((self.runner)(Arc::clone(shared), vm, receiver));
        sender
    }
}
