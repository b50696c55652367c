//! Whether a connection lives, as libvirt's close callback tells it.

use crate::feed::Feed;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a connection lives.
pub(crate) struct Pulse {
    alive: AtomicBool,
    feed: Option<Arc<Feed>>,
}

impl Pulse {
    /// The pulse of a connection that was just opened. `feed` is told when the connection is lost.
    pub(crate) const fn new(feed: Option<Arc<Feed>>) -> Self {
        Self { alive: AtomicBool::new(true), feed }
    }

    /// Whether the connection lives, as far as we were told.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Notes that the connection was found dead.
    pub(crate) fn is_over(&self) {
        self.alive.store(false, Ordering::Release);
    }

    /// Notes that libvirt closed the connection. Called from libvirt's event thread: must not block
    /// and must not panic.
    pub(crate) fn stop(&self, reason: c_int) {
        self.is_over();
        tracing::info!(
            reason,
            "libvirt closed a connection (0 error, 1 end of file, 2 keepalive, 3 by us)"
        );
        if let Some(feed) = &self.feed {
            feed.lost();
        }
    }
}
