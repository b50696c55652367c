//! An open connection. It has one owner, so that never more than one call is in flight on it.

use crate::failure::{During, driver_error};
use crate::feed::Feed;
use crate::host::HostKind;
use crate::pulse::Pulse;
use crate::raw::{self, Callbacks};
use ostler_model::{DriverError, ErrorKind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use virt::connect::Connect;
use virt::error::{Error, ErrorDomain};

/// Seconds between keepalive messages, and how many may stay unanswered.
const KEEPALIVE: (i32, u32) = (2, 3);

/// An open connection.
pub(crate) struct Live {
    connect: Option<Connect>,
    pulse: Arc<Pulse>,
    callbacks: Callbacks,
    /// How guests run there, once somebody asked.
    pub(crate) host: OnceLock<HostKind>,
}

impl Live {
    /// Opens a connection; with a feed, one that tells it what changes. Blocks for good if the daemon accepts and never answers.
    pub(crate) fn open(uri: &str, feed: Option<&Arc<Feed>>) -> Result<Self, DriverError> {
        raw::start_event_loop().map_err(|error| DriverError::retry("no-connection", error))?;
        let connect = Connect::open(Some(uri)).map_err(|error| open_error(&error))?;
        let pulse = Arc::new(Pulse::new(feed.cloned()));
        // Drivers inside the process have no wire and refuse keepalive: nothing to be kept.
        let kept = connect.set_keep_alive(KEEPALIVE.0, KEEPALIVE.1);
        raw::watch_connection(&connect, &pulse);
        let callbacks = feed.map(|feed| raw::watch_domains(&connect, feed)).unwrap_or_default();
        tracing::info!(uri, keepalive = kept.is_ok(), events = callbacks.len(), "connected to libvirt");
        Ok(Self { connect: Some(connect), pulse, callbacks, host: OnceLock::new() })
    }

    /// The connection.
    pub(crate) fn connect(&self) -> &Connect {
        self.connect.as_ref().expect("taken only when dropped")
    }

    /// Whether libvirt still answers on it, as far as is known. Asks nobody.
    pub(crate) fn is_alive(&self) -> bool {
        self.pulse.is_alive()
    }

    /// As [`Self::is_alive`], and the library has its word: the close callback comes from another thread and may be late. Nothing
    /// is sent for it.
    pub(crate) fn is_still_alive(&self) -> bool {
        if !self.connect().is_alive().unwrap_or(false) {
            self.pulse.is_over();
        }
        self.is_alive()
    }

    /// libvirt's error as the engine's.
    pub(crate) fn error(&self, error: &Error, during: During) -> DriverError {
        let wire = matches!(error.domain(), ErrorDomain::Rpc | ErrorDomain::Remote | ErrorDomain::Ssh | ErrorDomain::Libssh);
        let alive = if wire { self.is_still_alive() } else { self.is_alive() };
        driver_error(error, during, alive)
    }
}

/// Why a connection could not be opened: only what an operator must change is refused.
fn open_error(error: &Error) -> DriverError {
    let told = driver_error(error, During::Asking, true);
    match told.kind {
        ErrorKind::Refused if told.code == "forbidden" => told,
        _ => DriverError::retry("no-connection", error.message()),
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let Some(connect) = self.connect.take() else { return };
        let closing = Closing { connect, callbacks: std::mem::take(&mut self.callbacks) };
        // Closing tells the daemon, and blocks if that hangs: for as long as keepalive takes to find that out.
        let parcel = Arc::new(Mutex::new(Some(closing)));
        let theirs = Arc::clone(&parcel);
        if let Err(error) = std::thread::Builder::new().name("libvirt-close".to_owned()).spawn(move || close(&theirs)) {
            tracing::warn!(%error, "no thread to close a libvirt connection: it is closed by the thread that used it");
            close(&parcel);
        }
    }
}

struct Closing {
    connect: Connect,
    callbacks: Callbacks,
}

fn close(parcel: &Mutex<Option<Closing>>) {
    let Some(Closing { mut connect, callbacks }) = parcel.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    raw::unwatch(&connect, &callbacks);
    // Not closed by being dropped. A connection that is broken cannot be closed any better.
    if let Err(error) = connect.close() {
        tracing::debug!(error = error.message(), "closing a libvirt connection");
    }
}
