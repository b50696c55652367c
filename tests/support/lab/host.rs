//! One host of the lab: its life, its network, its accidents.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use ostler_api::SshAddress;
use ostler_model::ExecTransport;
use tempfile::TempDir;

use super::{Lab, aloud, keeps_files, run_script, script, utf8};

/// A libvirt host of its own on this machine: namespaces with a private libvirtd. Dropping it ends it.
#[derive(Debug)]
pub struct LibvirtHost {
    dir: TempDir,
    uri: String,
    /// Its number on the lab's network, which it keeps also without power.
    number: Option<u8>,
    /// The folder in which it has files of its own.
    private: Option<PathBuf>,
}

impl LibvirtHost {
    /// Starts a host (1 to 2 s). It shares the machine's network. `name` shows in its folder's name.
    ///
    /// # Panics
    ///
    /// When it does not start, with what the host said.
    pub fn up(name: &str) -> Self {
        Self::start(name, false, None)
    }

    /// Starts a host with a network of its own, joined to other such hosts: what live migration needs. See [`Self::address`].
    /// [`super::Hosts`] starts several.
    ///
    /// # Panics
    ///
    /// When it does not start, with what the host said.
    pub fn up_on_network(name: &str) -> Self {
        Self::start(name, true, None)
    }

    pub(super) fn start(name: &str, network: bool, private: Option<&Path>) -> Self {
        Lab::guest();
        // Short, for libvirt's socket is in there and the path of a socket may have 107 bytes.
        let prefix = format!("ol-{}-", name.get(..16).unwrap_or(name));
        let mut dir = tempfile::Builder::new().prefix(&prefix).tempdir().expect("a temporary folder for the host");
        dir.disable_cleanup(keeps_files());
        let mut host = Self { dir, uri: String::new(), number: None, private: private.map(Path::to_path_buf) };
        host.uri = host.boot(network.then_some("auto"));
        host.number = fs::read_to_string(host.dir.path().join("net")).ok().and_then(|number| number.trim().parse().ok());
        host
    }

    /// Returns the connection URI.
    fn boot(&self, network: Option<&str>) -> String {
        static SAY_ONCE: Once = Once::new();
        let owner = std::process::id().to_string();
        let mut arguments = vec!["up", utf8(self.dir.path()), "--owner", &owner];
        if let Some(number) = network {
            arguments.extend(["--net", number]);
        }
        if let Some(folder) = &self.private {
            arguments.extend(["--private", utf8(folder)]);
        }
        let said = script("libvirtd.sh", &arguments, Duration::from_secs(120));
        SAY_ONCE.call_once(|| {
            for line in said.lines().filter(|line| line.contains("KVM")) {
                aloud(line);
            }
        });
        said.lines().last().unwrap_or_default().to_owned()
    }

    /// The connection URI, good from anywhere on this machine, over a socket in the file system: it works also while the
    /// host is [`Self::cut`] off.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The host's own folder. Disks and logs of a test may be put here; it goes with the host.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The domain type that really runs guests here: `kvm`, or `qemu` (emulation) where KVM cannot.
    pub fn domain_type(&self) -> String {
        self.command("accel", &[]).trim().to_owned()
    }

    /// The host's address on the lab's network; only after [`Self::up_on_network`].
    pub fn address(&self) -> Option<String> {
        self.number.map(|number| format!("10.77.0.{number}"))
    }

    /// The connection URI that goes over the network, for the control plane and for other hosts (peer-to-peer migration).
    ///
    /// # Panics
    ///
    /// When the host has no network of its own.
    pub fn network_uri(&self) -> String {
        format!("qemu+tcp://{}/system", self.on_network())
    }

    /// Where the memory of a guest goes when it migrates to this host. Libvirt finds out by itself if it is not told.
    ///
    /// # Panics
    ///
    /// When the host has no network of its own.
    pub fn migrate_uri(&self) -> String {
        format!("tcp://{}", self.on_network())
    }

    /// How commands are run and files are moved on this host over ssh: they see what the host sees.
    ///
    /// # Panics
    ///
    /// When the host has no network of its own.
    pub fn ssh(&self) -> SshAddress {
        let file = |name: &str| Some(utf8(&self.dir.path().join("ssh").join(name)).to_owned());
        SshAddress {
            destination: format!("root@{}", self.on_network()),
            port: Some(22),
            identity_file: file("user"),
            known_hosts: file("known_hosts"),
        }
    }

    /// The same as [`Self::ssh`], for a driver. A host without a network of its own is this machine.
    pub fn transport(&self) -> ExecTransport {
        if self.number.is_none() {
            return ExecTransport::Local;
        }
        let SshAddress { destination, port, identity_file, known_hosts } = self.ssh();
        ExecTransport::Ssh { destination, port: port.unwrap_or(22), identity_file, known_hosts }
    }

    #[track_caller]
    fn on_network(&self) -> String {
        self.address().expect("a host that was started with up_on_network, or as one of Hosts")
    }

    /// Where this machine has the file that the host sees at this path.
    pub fn on_machine(&self, path: &Path) -> PathBuf {
        match (&self.private, path.strip_prefix("/")) {
            (Some(folder), Ok(relative)) if path.starts_with(folder) => self.dir.path().join("private").join(relative),
            _ => path.to_owned(),
        }
    }

    /// Runs `virsh` with these arguments and returns what it printed, or its complaint.
    pub fn virsh(&self, arguments: &[&str]) -> Result<String, String> {
        let mut all = vec!["virsh", utf8(self.dir.path())];
        all.extend(arguments);
        run_script("libvirtd.sh", &all, Duration::from_secs(60))
    }

    /// `kill -9` of the qemu of a running domain. Returns when it is gone.
    pub fn kill_qemu(&self, domain: &str) {
        self.command("kill-qemu", &[domain]);
    }

    /// The qemu of a domain stops answering and working, until [`Self::thaw_qemu`]: a call that needs it stands still where it is.
    pub fn freeze_qemu(&self, domain: &str) {
        self.command("freeze-qemu", &[domain]);
    }

    /// The qemu of a domain goes on.
    pub fn thaw_qemu(&self, domain: &str) {
        self.command("thaw-qemu", &[domain]);
    }

    /// libvirtd goes away; guests run on.
    pub fn stop_daemon(&self) {
        self.command("stop-daemon", &[]);
    }

    /// libvirtd comes back. Returns when it answers.
    pub fn start_daemon(&self) {
        self.command("start-daemon", &[]);
    }

    /// `kill -9` of libvirtd. Returns when its successor answers.
    pub fn kill_daemon(&self) {
        self.command("kill-daemon", &[]);
    }

    /// The host loses power: libvirtd and all guests die at once. Nobody is told over the network; its address is silent.
    pub fn power_off(&self) {
        self.command("kill", &[]);
    }

    /// Boots the host again after [`Self::power_off`]; what it had defined is still defined, and its address is the same.
    pub fn power_on(&self) {
        self.boot(self.number.map(|number| number.to_string()).as_deref());
    }

    /// The network cable of the host is cut: nobody reaches it at its address, and it reaches nobody. Guests run on, on
    /// their own network.
    pub fn cut(&self) {
        self.command("cut", &[]);
    }

    /// The cable is whole again.
    pub fn mend(&self) {
        self.command("mend", &[]);
    }

    fn command(&self, command: &str, arguments: &[&str]) -> String {
        let mut all = vec![command, utf8(self.dir.path())];
        all.extend(arguments);
        script("libvirtd.sh", &all, Duration::from_secs(60))
    }
}

impl Drop for LibvirtHost {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log/libvirtd.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("last words of libvirtd:\n{}", lines[lines.len().saturating_sub(8)..].join("\n"));
        }
        if let Err(complaint) = run_script("libvirtd.sh", &["down", utf8(self.dir.path())], Duration::from_secs(60)) {
            aloud(&complaint); // never panic here: a panic while panicking would hide the test's own
        }
    }
}
