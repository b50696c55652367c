//! Several hosts on one network. They share a folder for images, or each has its own.

use std::ops::Deref;
use std::path::Path;
use std::thread;

use tempfile::TempDir;

use super::LibvirtHost;

/// Two or more hosts on one network: `hosts[0]`, `hosts.iter()`. Guests can move between them; see
/// [`LibvirtHost::network_uri`]. All hosts end when this is dropped.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<LibvirtHost>,
    store: TempDir,
}

impl Hosts {
    /// Starts so many hosts that see the same files in [`Self::store`], as with a file server.
    ///
    /// # Panics
    ///
    /// When a host does not start. The message has what it printed.
    pub fn shared(count: usize) -> Self {
        Self::start(count, false)
    }

    /// Starts so many hosts that each have their own files in [`Self::store`]. The path is the same
    /// on all of them. This machine sees these files only at [`LibvirtHost::on_machine`].
    ///
    /// # Panics
    ///
    /// When a host does not start. The message has what it printed.
    pub fn private(count: usize) -> Self {
        Self::start(count, true)
    }

    fn start(count: usize, private: bool) -> Self {
        let mut store = tempfile::Builder::new()
            .prefix("ol-store-")
            .tempdir()
            .expect("a temporary folder for images");
        store.disable_cleanup(super::keeps_files());
        let own = private.then_some(store.path());
        let started: Vec<_> = thread::scope(|scope| {
            let start =
                |number| scope.spawn(move || LibvirtHost::start(&format!("h{number}"), true, own));
            let starting: Vec<_> = (1..=count).map(start).collect();
            starting.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        let hosts = started.into_iter().map(|host| host.expect("each host starts")).collect();
        Self { hosts, store }
    }

    /// The folder for images, by the path that all hosts see.
    pub fn store(&self) -> &Path {
        self.store.path()
    }
}

impl Deref for Hosts {
    type Target = [LibvirtHost];

    fn deref(&self) -> &[LibvirtHost] {
        &self.hosts
    }
}
