//! The threads that guests run on. A guest that computes hands its thread back every few
//! milliseconds, but a single instruction that fills memory, or a large copy between guest and
//! host, does not. The caller's threads serve the API and all other drivers, so no guest runs on
//! them.

use std::future::Future;
use std::io;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{AbortHandle, JoinError};

/// The most threads for work of the host on behalf of guests that blocks: copies and other calls of
/// the file system. A storage that hangs holds these, and none of the daemon's own.
const BLOCKING_MAX: usize = 64;

/// After so many turns of guests, new calls get theirs. A guest that computes uses its whole turn,
/// which lasts some milliseconds.
const NEW_CALLS_AFTER: u32 = 2;
/// After so many turns, calls that wait for a timer, a file or a command are looked at.
const EVENTS_AFTER: u32 = 8;

/// Runs the calls of guests on threads of their own.
pub(crate) struct GuestThreads(Option<Runtime>);

/// Ends a task when it is dropped.
struct Aborting(AbortHandle);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl GuestThreads {
    /// Starts as many threads as the machine has CPUs.
    pub(crate) fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.thread_name("ostler-guest").max_blocking_threads(BLOCKING_MAX).enable_all();
        builder.global_queue_interval(NEW_CALLS_AFTER).event_interval(EVENTS_AFTER);
        builder.build().map(|runtime| Self(Some(runtime)))
    }

    /// Runs `call` to its end. If the answer is dropped, the call is dropped soon afterwards: at
    /// the latest when the guest hands its thread back.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        let Some(runtime) = &self.0 else { return std::future::pending().await };
        let task = runtime.spawn(call);
        let _aborting = Aborting(task.abort_handle());
        task.await
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        // The last owner may be a task, where a runtime must not wait for its threads.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[tokio::test]
    async fn a_call_goes_on_while_its_caller_is_blocked() {
        let threads = GuestThreads::start().expect("threads");
        let (told, done) = mpsc::channel();
        let mut call =
            Box::pin(threads.run(async move { told.send(std::thread::current().id()).is_ok() }));
        let polled = futures::poll!(&mut call);
        // This thread runs nothing else meanwhile.
        let ran = done.recv_timeout(Duration::from_secs(60)).expect("it runs");
        assert_ne!(ran, std::thread::current().id(), "it runs elsewhere");
        let answer = match polled {
            std::task::Poll::Ready(answer) => answer,
            std::task::Poll::Pending => call.await,
        };
        assert!(answer.expect("it ends"));
    }

    #[tokio::test]
    async fn a_call_ends_with_its_caller() {
        struct Tells(mpsc::Sender<()>);
        impl Drop for Tells {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let threads = GuestThreads::start().expect("threads");
        let (told, dropped) = mpsc::channel();
        let tells = Tells(told);
        let mut call = Box::pin(threads.run(async move {
            let _tells = tells;
            std::future::pending::<()>().await;
        }));
        assert!(futures::poll!(&mut call).is_pending());
        drop(call);
        dropped.recv_timeout(Duration::from_secs(60)).expect("it is dropped");
    }
}
