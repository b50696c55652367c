//! Several hosts at once, on one network, with a folder for images that they share or that is each one's own.

use std::ops::Deref;
use std::path::Path;
use std::thread;

use tempfile::TempDir;

use super::LibvirtHost;

/// Two and more hosts on one network: `hosts[0]`, `hosts.iter()`. Guests move between them; see
/// [`LibvirtHost::network_uri`]. Dropping this ends all of them.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<LibvirtHost>,
    store: TempDir,
}

impl Hosts {
    /// So many hosts that see the same files in [`Self::store`], as with a file server.
    ///
    /// # Panics
    ///
    /// When one of them does not start, with what it said.
    pub fn shared(count: usize) -> Self {
        Self::start(count, false)
    }

    /// So many hosts that each have files of their own in [`Self::store`]. The path is the same on all of them; this machine
    /// sees none of the files there, but at [`LibvirtHost::on_machine`].
    ///
    /// # Panics
    ///
    /// When one of them does not start, with what it said.
    pub fn private(count: usize) -> Self {
        Self::start(count, true)
    }

    fn start(count: usize, private: bool) -> Self {
        let mut store = tempfile::Builder::new().prefix("ol-store-").tempdir().expect("a temporary folder for images");
        store.disable_cleanup(super::keeps_files());
        let own = private.then_some(store.path());
        let started: Vec<_> = thread::scope(|scope| {
            let start = |number| scope.spawn(move || LibvirtHost::start(&format!("h{number}"), true, own));
            let starting: Vec<_> = (1..=count).map(start).collect();
            starting.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        let hosts = started.into_iter().map(|host| host.expect("each host starts")).collect();
        Self { hosts, store }
    }

    /// The folder for images, as each of the hosts sees it.
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
