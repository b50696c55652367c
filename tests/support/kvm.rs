//! A daemon with real KVM hosts and the lab's guest. Tests control it with the command line, as an
//! operator would.

use crate::daemon::{self, Daemon};
use crate::lab::{self, Hosts, Lab, LibvirtHost, SerialLog};
use crate::wait::wait_until;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a boot may take. Under emulation it takes 3 s on an idle machine, and many times that
/// on a busy one.
pub const BOOT: Duration = Duration::from_secs(90);
/// How long libvirt and the guest may take for anything else.
pub const SOON: Duration = Duration::from_secs(60);

/// Whether the hosts see the same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// The hosts see the same files.
    Shared,
    /// Each host has its own files.
    Private,
}

/// A daemon, its hosts `kvm1`, `kvm2` and so on, and their files.
pub struct Kvm {
    /// The daemon.
    pub daemon: Daemon,
    /// The hosts.
    pub hosts: Hosts,
    storage: Storage,
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
}

impl Kvm {
    /// Starts so many hosts and a daemon that knows them. The guest's files are an image datastore.
    /// None if this machine cannot do that: then the test is reported as skipped, or panics on CI.
    ///
    /// # Panics
    /// When something does not start.
    #[must_use]
    pub fn up(hosts: usize, storage: Storage, more: &[&str]) -> Option<Self> {
        if !daemon::is_built() || !lab::require_libvirt() {
            return None;
        }
        let started = match storage {
            Storage::Shared => Hosts::shared(hosts),
            Storage::Private => Hosts::private(hosts),
        };
        let dir = tempfile::tempdir().expect("a folder");
        let mut arguments = vec!["--rules", "kvm=snapshots-kvm", "--log", "warn"];
        arguments.extend(more);
        let daemon = Daemon::start(dir.path(), &arguments);
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let rig = Self { daemon, hosts: started, storage, runtime, dir };
        rig.set_up();
        Some(rig)
    }

    fn set_up(&self) {
        let images = self.dir.path().join("images");
        std::fs::create_dir(&images).expect("a folder");
        let guest = Lab::guest();
        for file in [&guest.kernel, &guest.initrd, &guest.base_disk] {
            std::fs::copy(file, images.join(file_name(file))).expect("a copy");
        }
        let root = images.display().to_string();
        self.ostler(&[
            "datastore",
            "add",
            "images",
            "--kind",
            "image",
            "--driver",
            "transfer-qcow2",
            "--root",
            &root,
            "--shared",
        ]);
        let root = self.hosts.store().display().to_string();
        let mut system = vec![
            "datastore",
            "add",
            "system",
            "--kind",
            "system",
            "--driver",
            "transfer-qcow2",
            "--root",
            &root,
        ];
        if self.storage == Storage::Shared {
            system.push("--shared");
        }
        self.ostler(&system);
        self.ostler(&[
            "image",
            "add",
            "base",
            "--path",
            &format!("images:{}", file_name(&guest.base_disk)),
        ]);
        for (at, host) in self.hosts.iter().enumerate() {
            self.add_host(&format!("kvm{}", at + 1), host);
        }
    }

    fn add_host(&self, name: &str, host: &LibvirtHost) {
        let config = [("uri".to_owned(), host.network_uri())].into();
        let ssh = (self.storage == Storage::Private).then(|| host.ssh());
        let new = ostler_api::NewHost {
            name: name.to_owned(),
            driver: "kvm".to_owned(),
            config,
            ssh,
            ..Default::default()
        };
        self.run(async {
            self.daemon.client().add_host(&new).await.expect("a host is added");
            daemon::reachable(self.daemon.client(), name).await;
        });
    }

    /// Waits for a call of the typed client.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The folder of the daemon.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(daemon::binaries().join("ostler"))
            .args(arguments)
            .env("OSTLER_SERVER", format!("unix:{}", self.daemon.socket().display()))
            .output()
            .expect("ostler is built")
    }

    /// Runs `ostler` and answers its standard output.
    ///
    /// # Panics
    /// When it fails. The message has all that it printed.
    #[track_caller]
    pub fn ostler(&self, arguments: &[&str]) -> String {
        let out = self.command(arguments);
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        assert!(out.status.success(), "ostler {}: {}\n{said}", arguments.join(" "), out.status);
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Runs `ostler`, which must fail. Answers its standard error.
    ///
    /// # Panics
    /// When it succeeds.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> String {
        let out = self.command(arguments);
        assert!(!out.status.success(), "ostler {} was to be refused", arguments.join(" "));
        String::from_utf8_lossy(&out.stderr).into_owned()
    }

    /// Runs `ostler vm`, which waits for the operation.
    #[track_caller]
    pub fn vm(&self, arguments: &[&str]) -> String {
        let mut all = vec!["vm"];
        all.extend(arguments);
        self.ostler(&all)
    }

    /// Runs `ostler vm`, which waits for the operation. Answers its standard error if it fails.
    ///
    /// # Errors
    /// The standard error of `ostler`.
    pub fn try_vm(&self, arguments: &[&str]) -> Result<(), String> {
        let mut all = vec!["vm"];
        all.extend(arguments);
        let out = self.command(&all);
        if out.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&out.stderr).into_owned())
        }
    }

    /// The output of `vm show` as JSON.
    #[track_caller]
    pub fn show(&self, vm: &str) -> Value {
        serde_json::from_str(&self.ostler(&["vm", "show", vm, "-o", "json"])).expect("JSON")
    }

    /// The VM's state.
    #[track_caller]
    pub fn state(&self, vm: &str) -> String {
        self.show(vm)["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the VM rests in `state`.
    #[track_caller]
    pub fn rests(&self, vm: &str, state: &str, patience: Duration) -> Value {
        wait_until(&format!("VM {vm} to be {state}"), patience, || {
            let shown = self.show(vm);
            if shown["state"] == state && shown["operation"].is_null() {
                return Ok(shown);
            }
            Err(self.ostler(&["vm", "why", vm]))
        })
    }

    /// Creates a VM of the lab's guest with a disk on the base image, and waits until the guest is
    /// ready. Answers its id.
    #[track_caller]
    pub fn guest(&self, name: &str, flags: &[&str], more: &str) -> String {
        let vm = self.create(name, flags, more);
        self.rests(&vm, "running", BOOT);
        self.console(&vm).wait_for("GUEST-READY", BOOT);
        vm
    }

    /// Creates a VM of the lab's guest. The scheduler places it. `more` stands before the tables of
    /// the specification.
    #[track_caller]
    pub fn create(&self, name: &str, flags: &[&str], more: &str) -> String {
        self.create_as(name, flags, more, false)
    }

    /// The same, but on hold, so that the scheduler does not place it before it is released.
    #[track_caller]
    pub fn held(&self, name: &str) -> String {
        self.create_as(name, &[], "", true)
    }

    #[track_caller]
    fn create_as(&self, name: &str, flags: &[&str], more: &str, hold: bool) -> String {
        let guest = Lab::guest();
        let spec = format!(
            "name = \"{name}\"\ncpu = 0.5\nmemory = \"96MiB\"\n{more}\n\
             [boot]\nkernel = \"images:{}\"\ninitrd = \"images:{}\"\ncmdline = \"{}\"\n\
             [patience]\nboot_grace = \"1s\"\n\
             [[disks]]\nname = \"vda\"\nimage = \"base\"\n",
            file_name(&guest.kernel),
            file_name(&guest.initrd),
            guest.command_line(flags),
        );
        self.run(daemon::create(self.daemon.client(), &spec, hold))
    }

    /// The host that the VM is on, as an index into [`Self::hosts`].
    #[track_caller]
    pub fn host_of(&self, vm: &str) -> usize {
        let shown = self.show(vm);
        let name = shown["placement"]["host"]
            .as_str()
            .or_else(|| shown["placement"]["host"]["name"].as_str())
            .unwrap_or_default();
        let number: usize = name
            .trim_start_matches("kvm")
            .parse()
            .unwrap_or_else(|_| panic!("VM {vm} has no place: {shown}"));
        number - 1
    }

    /// The VM's folder on a host, by the path on this machine.
    #[track_caller]
    pub fn folder(&self, vm: &str, host: usize) -> PathBuf {
        let uuid = self.show(vm)["uuid"].as_str().unwrap_or_default().to_owned();
        self.hosts[host].on_machine(&self.hosts.store().join("vms").join(uuid))
    }

    /// The serial console of the guest on its present host.
    #[track_caller]
    pub fn console(&self, vm: &str) -> SerialLog {
        SerialLog::new(self.folder(vm, self.host_of(vm)).join("console.log"))
    }

    /// The domains of a host, by name.
    #[track_caller]
    pub fn domains(&self, host: usize) -> Vec<String> {
        let names = self.hosts[host].virsh(&["list", "--all", "--name"]).expect("libvirt answers");
        names.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// All domains on all hosts.
    #[track_caller]
    pub fn all_domains(&self) -> Vec<String> {
        (0..self.hosts.len()).flat_map(|host| self.domains(host)).collect()
    }

    /// Checks that the store is consistent.
    ///
    /// # Panics
    /// When it is not. The message has the findings.
    #[track_caller]
    pub fn books_are_right(&self) {
        let findings = self.run(self.daemon.client().check()).expect("a check").findings;
        assert!(findings.is_empty(), "{findings:#?}");
    }

    /// Deletes the VM, and checks that nothing of it is left anywhere.
    #[track_caller]
    pub fn ends_without_a_trace(&self, vm: &str) {
        let folders: Vec<PathBuf> =
            (0..self.hosts.len()).map(|host| self.folder(vm, host)).collect();
        self.vm(&["delete", vm]);
        assert_eq!(self.state(vm), "done");
        assert!(self.all_domains().is_empty(), "{:?}", self.all_domains());
        assert!(folders.iter().all(|folder| !folder.exists()), "{folders:?}");
        self.books_are_right();
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().expect("a file has a name").to_string_lossy().into_owned()
}

/// The last number that the guest has counted to.
///
/// # Panics
/// When it has not counted yet.
#[must_use]
#[track_caller]
pub fn ticks(console: &SerialLog) -> u64 {
    let text = console.contents();
    let last = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("TICK ")?.split(' ').next()?.parse().ok());
    last.expect("the guest counts")
}
