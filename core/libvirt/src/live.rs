//! An open connection. It has one owner, so that at most one call is in flight on it.

use crate::capabilities::Capabilities;
use crate::failure::{During, driver_error};
use crate::feed::Feed;
use crate::pulse::Pulse;
use crate::raw::{self, Callbacks};
use ostler_model::{DriverError, ErrorKind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use virt::connect::Connect;
use virt::error::{Error, ErrorDomain};

/// The seconds between keepalive messages, and how many of them may stay unanswered.
const KEEPALIVE: (i32, u32) = (2, 3);

/// An open connection.
pub(crate) struct Live {
    connect: Option<Connect>,
    pulse: Arc<Pulse>,
    callbacks: Callbacks,
    /// How guests run there; set when somebody asks for the first time.
    pub(crate) capabilities: OnceLock<Capabilities>,
}

impl Live {
    /// Opens a connection. If there is a feed, the connection reports changes to it. Blocks for
    /// good if the daemon accepts and never answers.
    pub(crate) fn open(uri: &str, feed: Option<&Arc<Feed>>) -> Result<Self, DriverError> {
        raw::start_event_loop().map_err(|error| DriverError::retry("no-connection", error))?;
        let connect = Connect::open(Some(uri)).map_err(|error| open_error(&error))?;
        let pulse = Arc::new(Pulse::new(feed.cloned()));
        // A libvirt driver that runs inside the process has no network connection and refuses
        // keepalive: it needs none.
        let kept = connect.set_keep_alive(KEEPALIVE.0, KEEPALIVE.1);
        raw::watch_connection(&connect, &pulse);
        let callbacks = feed.map(|feed| raw::watch_domains(&connect, feed)).unwrap_or_default();
        tracing::info!(
            uri,
            keepalive = kept.is_ok(),
            events = callbacks.len(),
            "connected to libvirt"
        );
        Ok(Self { connect: Some(connect), pulse, callbacks, capabilities: OnceLock::new() })
    }

    /// The connection.
    pub(crate) fn connect(&self) -> &Connect {
        self.connect.as_ref().expect("taken only when dropped")
    }

    /// Whether libvirt still answers on it, as far as we were told. Sends nothing.
    pub(crate) fn is_alive(&self) -> bool {
        self.pulse.is_alive()
    }

    /// As [`Self::is_alive`], and asks the client library too: the close callback comes from
    /// another thread and may be late. Sends nothing.
    pub(crate) fn is_still_alive(&self) -> bool {
        if !self.connect().is_alive().unwrap_or(false) {
            self.pulse.is_over();
        }
        self.is_alive()
    }

    /// Translates libvirt's error into the engine's.
    pub(crate) fn error(&self, error: &Error, during: During) -> DriverError {
        let wire = matches!(
            error.domain(),
            ErrorDomain::Rpc | ErrorDomain::Remote | ErrorDomain::Ssh | ErrorDomain::Libssh
        );
        let alive = if wire { self.is_still_alive() } else { self.is_alive() };
        driver_error(error, during, alive)
    }
}

/// The error of an opening that failed. Only an error that an operator must fix is *refused*.
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
        // Closing sends a message to the daemon. If the daemon hangs, this blocks until keepalive
        // finds that out.
        let parcel = Arc::new(Mutex::new(Some(closing)));
        let theirs = Arc::clone(&parcel);
        if let Err(error) = std::thread::Builder::new()
            .name("libvirt-close".to_owned())
            .spawn(move || close(&theirs))
        {
            tracing::warn!(
                %error,
                "no thread to close a libvirt connection: it is closed by the thread that used it"
            );
            close(&parcel);
        }
    }
}

struct Closing {
    connect: Connect,
    callbacks: Callbacks,
}

fn close(parcel: &Mutex<Option<Closing>>) {
    let Some(Closing { mut connect, callbacks }) =
        parcel.lock().unwrap_or_else(PoisonError::into_inner).take()
    else {
        return;
    };
    raw::unwatch(&connect, &callbacks);
    // Dropping a `Connect` does not close it. If closing fails because the connection is broken,
    // nothing better can be done.
    if let Err(error) = connect.close() {
        tracing::debug!(error = error.message(), "closing a libvirt connection");
    }
}
