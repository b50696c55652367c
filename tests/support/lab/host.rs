//! One host of the lab: start and end, network, and accidents.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use ostler_api::SshAddress;
use ostler_model::ExecTransport;
use tempfile::TempDir;

use super::{Lab, aloud, keeps_files, run_script, script, utf8};

/// A libvirt host on this machine: namespaces with their own libvirtd. It ends when this is
/// dropped.
#[derive(Debug)]
pub struct LibvirtHost {
    dir: TempDir,
    uri: String,
    /// The host's number on the lab's network. It keeps the number without power, too.
    number: Option<u8>,
    /// The folder in which the host has its own files.
    private: Option<PathBuf>,
}

impl LibvirtHost {
    /// Starts a host in 1 to 2 s. It shares the machine's network. `name` becomes part of its
    /// folder's name.
    ///
    /// # Panics
    ///
    /// When it does not start. The message has all that the host printed.
    pub fn up(name: &str) -> Self {
        Self::start(name, false, None)
    }

    /// Starts a host with its own network, which is connected to other such hosts. Live migration
    /// needs this. See [`Self::address`]. [`super::Hosts`] starts several.
    ///
    /// # Panics
    ///
    /// When it does not start. The message has all that the host printed.
    pub fn up_on_network(name: &str) -> Self {
        Self::start(name, true, None)
    }

    pub(super) fn start(name: &str, network: bool, private: Option<&Path>) -> Self {
        Lab::guest();
        // The name must be short. libvirt's socket is in this folder, and the path of a socket may
        // have at most 107 bytes.
        let prefix = format!("ol-{}-", name.get(..16).unwrap_or(name));
        let mut dir = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir()
            .expect("a temporary folder for the host");
        dir.disable_cleanup(keeps_files());
        let mut host =
            Self { dir, uri: String::new(), number: None, private: private.map(Path::to_path_buf) };
        host.uri = host.boot(network.then_some("auto"));
        host.number = fs::read_to_string(host.dir.path().join("net"))
            .ok()
            .and_then(|number| number.trim().parse().ok());
        host
    }

    /// Starts the host and returns its connection URI.
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

    /// The connection URI. It works from anywhere on this machine, because it uses a socket in the
    /// file system. So it works even while the host is [`Self::cut`] off.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The folder of the host. A test may put disks and logs here. It is removed with the host.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The type of domain that runs guests here: `kvm`, or `qemu` (emulation) if KVM does not work.
    pub fn domain_type(&self) -> String {
        self.command("accel", &[]).trim().to_owned()
    }

    /// The host's address on the lab's network. Only hosts of [`Self::up_on_network`] have one.
    pub fn address(&self) -> Option<String> {
        self.number.map(|number| format!("10.77.0.{number}"))
    }

    /// The connection URI that goes over the network, for the control plane and for other hosts
    /// (peer-to-peer migration).
    ///
    /// # Panics
    ///
    /// When the host has no network of its own.
    pub fn network_uri(&self) -> String {
        format!("qemu+tcp://{}/system", self.on_network())
    }

    /// The URI that a guest's memory is sent to when it migrates to this host. libvirt finds it
    /// itself if it is not given.
    ///
    /// # Panics
    ///
    /// When the host has no network of its own.
    pub fn migrate_uri(&self) -> String {
        format!("tcp://{}", self.on_network())
    }

    /// The ssh address of this host. Commands and files see what the host sees.
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

    /// The same as [`Self::ssh`], for a driver. A host without a network of its own is this
    /// machine.
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

    /// The path on this machine of a file that the host sees at `path`.
    pub fn on_machine(&self, path: &Path) -> PathBuf {
        match (&self.private, path.strip_prefix("/")) {
            (Some(folder), Ok(relative)) if path.starts_with(folder) => {
                self.dir.path().join("private").join(relative)
            }
            _ => path.to_owned(),
        }
    }

    /// Runs `virsh` with these arguments. Returns its output, or its error message.
    pub fn virsh(&self, arguments: &[&str]) -> Result<String, String> {
        let mut all = vec!["virsh", utf8(self.dir.path())];
        all.extend(arguments);
        run_script("libvirtd.sh", &all, Duration::from_secs(60))
    }

    /// Makes a bridge on the host. It has no card.
    pub fn make_bridge(&self, name: &str) {
        self.command("exec", &["ip", "link", "add", name, "type", "bridge"]);
    }

    /// Sends `kill -9` to the qemu of a running domain. Returns when the process is gone.
    pub fn kill_qemu(&self, domain: &str) {
        self.command("kill-qemu", &[domain]);
    }

    /// Stops the qemu of a domain until [`Self::thaw_qemu`]. A call that needs it waits.
    pub fn freeze_qemu(&self, domain: &str) {
        self.command("freeze-qemu", &[domain]);
    }

    /// Lets the qemu of a domain continue.
    pub fn thaw_qemu(&self, domain: &str) {
        self.command("thaw-qemu", &[domain]);
    }

    /// Stops libvirtd. Guests keep running.
    pub fn stop_daemon(&self) {
        self.command("stop-daemon", &[]);
    }

    /// Starts libvirtd again. Returns when it answers.
    pub fn start_daemon(&self) {
        self.command("start-daemon", &[]);
    }

    /// Sends `kill -9` to libvirtd. Returns when the next libvirtd answers.
    pub fn kill_daemon(&self) {
        self.command("kill-daemon", &[]);
    }

    /// Cuts the power of the host: libvirtd and all guests die at once. The network reports
    /// nothing; the address is only silent.
    pub fn power_off(&self) {
        self.command("kill", &[]);
    }

    /// Starts the host again after [`Self::power_off`]. Its definitions and its address are the
    /// same.
    pub fn power_on(&self) {
        self.boot(self.number.map(|number| number.to_string()).as_deref());
    }

    /// Cuts the network cable of the host. Nobody reaches its address, and it reaches nobody.
    /// Guests keep running in their own network.
    pub fn cut(&self) {
        self.command("cut", &[]);
    }

    /// Repairs the network cable.
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
            let log =
                fs::read_to_string(self.dir.path().join("log/libvirtd.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "last words of libvirtd:\n{}",
                lines[lines.len().saturating_sub(8)..].join("\n")
            );
        }
        if let Err(complaint) =
            run_script("libvirtd.sh", &["down", utf8(self.dir.path())], Duration::from_secs(60))
        {
            aloud(&complaint); // never panic here: a panic while panicking would hide the one of the test
        }
    }
}
