//! The lab: real hosts with real guests on this machine, for tests.
//!
//! ```no_run
//! use ostler_tests::lab::{self, Lab, LibvirtHost};
//!
//! if !lab::require_libvirt() {
//!     return; // said aloud; an error where CI=true
//! }
//! let guest = Lab::guest();
//! let host = LibvirtHost::up("mine");
//! println!("{} runs guests of type {}", host.uri(), host.domain_type());
//! println!("boot {} with {}", guest.kernel.display(), guest.command_line(&["vt.tick=0.2"]));
//! // dropping the host ends it and all that runs on it, also when the test panics
//! ```
//!
//! The work is done by the scripts in `tests/support/lab`; `guest.sh` there says what the guest prints and understands.
//! What is built once is kept under `target/lab`. With `OSTLER_LAB_KEEP` set, the files of hosts are kept for a look.

use std::env;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Once, OnceLock};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::wait::wait_until;

/// What is made once and shared by all tests of this machine.
#[derive(Debug)]
pub struct Lab;

impl Lab {
    /// The folder of what is built once: `lab` in cargo's target folder.
    pub fn dir() -> PathBuf {
        let here = env::current_exe().unwrap_or_default();
        // Cargo puts this file in the root of its target folder, wherever that is.
        let target = here.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
        target.map_or_else(|| repository().join("target"), Path::to_path_buf).join("lab")
    }

    /// The tiny Linux guest. Built at the first call on a machine (10 s, from Debian's packages); other test binaries that
    /// ask at the same time wait for it.
    pub fn guest() -> &'static GuestFiles {
        static GUEST: OnceLock<GuestFiles> = OnceLock::new();
        GUEST.get_or_init(|| {
            let dir = Self::dir().join("guest");
            script("guest.sh", &["build", utf8(&dir)], Duration::from_secs(900));
            GuestFiles {
                kernel: dir.join("vmlinux"),
                compressed_kernel: dir.join("vmlinuz"),
                initrd: dir.join("initrd.img"),
                base_disk: dir.join("base.qcow2"),
            }
        })
    }
}

/// The files of the lab's guest. Give it 96 MiB of memory; it is ready in about 3 s under emulation.
#[derive(Debug)]
pub struct GuestFiles {
    /// The uncompressed kernel: boots much quicker under emulation.
    pub kernel: PathBuf,
    /// The same kernel as Debian packs it.
    pub compressed_kernel: PathBuf,
    /// The initial RAM disk: all of the guest's system.
    pub initrd: PathBuf,
    /// A data disk (qcow2, 64 MiB) with the mark `base`: a guest with a clone of it prints `DISK-MARK base`.
    pub base_disk: PathBuf,
}

impl GuestFiles {
    /// The kernel's command line with these flags of the guest, for example `vt.tick=0.2`.
    pub fn command_line(&self, flags: &[&str]) -> String {
        let mut line = String::from("console=ttyS0 quiet panic=0");
        for flag in flags {
            line.push(' ');
            line.push_str(flag);
        }
        line
    }
}

/// A libvirt host of its own on this machine: namespaces with a private libvirtd. Dropping it ends it.
#[derive(Debug)]
pub struct LibvirtHost {
    dir: TempDir,
    uri: String,
    number: Option<u8>,
}

impl LibvirtHost {
    /// Starts a host (1 to 2 s). It shares the machine's network. `name` shows in its folder's name.
    ///
    /// # Panics
    ///
    /// When it does not start, with what the host said.
    pub fn up(name: &str) -> Self {
        Self::start(name, false)
    }

    /// Starts a host with a network of its own, joined to other such hosts: what live migration needs. See [`Self::address`].
    ///
    /// # Panics
    ///
    /// When it does not start, with what the host said.
    pub fn up_on_network(name: &str) -> Self {
        Self::start(name, true)
    }

    fn start(name: &str, network: bool) -> Self {
        Lab::guest();
        // Short, for libvirt's socket is in there and the path of a socket may have 107 bytes.
        let prefix = format!("ol-{}-", name.get(..16).unwrap_or(name));
        let mut dir = tempfile::Builder::new().prefix(&prefix).tempdir().expect("a temporary folder for the host");
        dir.disable_cleanup(env::var_os("OSTLER_LAB_KEEP").is_some());
        let mut host = Self { dir, uri: String::new(), number: None };
        host.boot(if network { &["--net", "auto"] } else { &[] });
        host
    }

    fn boot(&mut self, options: &[&str]) {
        static SAY_ONCE: Once = Once::new();
        let owner = std::process::id().to_string();
        let mut arguments = vec!["up", utf8(self.dir.path()), "--owner", &owner];
        arguments.extend(options);
        let said = script("libvirtd.sh", &arguments, Duration::from_secs(120));
        self.uri = said.lines().last().unwrap_or_default().to_owned();
        self.number = fs::read_to_string(self.dir.path().join("net")).ok().and_then(|number| number.trim().parse().ok());
        SAY_ONCE.call_once(|| {
            for line in said.lines().filter(|line| line.contains("KVM")) {
                aloud(line);
            }
        });
    }

    /// The connection URI, good from anywhere on this machine.
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

    /// The host loses power: libvirtd and all guests die at once.
    pub fn power_off(&self) {
        self.command("kill", &[]);
    }

    /// Boots the host again after [`Self::power_off`]; what it had defined is still defined.
    pub fn power_on(&mut self) {
        match self.number.map(|number| number.to_string()) {
            Some(number) => self.boot(&["--net", &number]),
            None => self.boot(&[]),
        }
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

/// Reads a guest's serial console from the file that its log goes to. Each wait goes on where the last one ended.
#[derive(Debug)]
pub struct SerialLog {
    path: PathBuf,
    position: u64,
}

impl SerialLog {
    /// A reader that starts at the beginning of the file, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), position: 0 }
    }

    /// Everything in the file.
    pub fn contents(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.path).unwrap_or_default()).into_owned()
    }

    /// Passes over all that is there already: the next wait is for something new.
    pub fn skip_to_end(&mut self) {
        self.position = fs::metadata(&self.path).map_or(0, |file| file.len());
    }

    /// Waits for a line that contains `pattern` and returns it; the next wait starts behind it.
    ///
    /// # Panics
    ///
    /// When `timeout` is over, with the last lines of the console.
    #[track_caller]
    pub fn wait_for(&mut self, pattern: &str, timeout: Duration) -> String {
        let what = format!("{pattern:?} on the console {}", self.path.display());
        let (line, behind) = wait_until(&what, timeout, || self.find(pattern));
        self.position = behind;
        line
    }

    /// The first whole line from the position on that contains the pattern, and the position behind it.
    fn find(&mut self, pattern: &str) -> Result<(String, u64), String> {
        let bytes = self.read_on().map_err(|error| error.to_string())?;
        let mut behind = self.position;
        for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            behind += line.len() as u64;
            let text = String::from_utf8_lossy(line);
            if text.contains(pattern) {
                return Ok((text.trim().to_owned(), behind));
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        Err(lines[lines.len().saturating_sub(5)..].join(" | "))
    }

    fn read_on(&mut self) -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(&self.path)?;
        if file.metadata()?.len() < self.position {
            self.position = 0; // a new start of the guest began the file anew
        }
        file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// True when libvirt hosts can be started here. Else it says aloud why the test is skipped, and panics where `CI=true`.
///
/// # Panics
///
/// See above: in CI a skip is an error.
#[track_caller]
pub fn require_libvirt() -> bool {
    let missing = ["libvirtd", "virsh", "qemu-system-x86_64", "qemu-img", "unshare", "nsenter", "ip"]
        .into_iter()
        .find(|program| !is_program(program));
    let reason = match missing {
        Some(program) => format!("{program} is missing: run scripts/setup as root"),
        None if !is_root() => "libvirt hosts need root: run the tests as root".to_owned(),
        None => return true,
    };
    skipped(&reason);
    false
}

/// Says aloud that this test is skipped and why; panics where `CI=true`. Return from the test behind it, or use [`crate::skip!`].
///
/// # Panics
///
/// See above: in CI a skip is an error.
#[track_caller]
pub fn skipped(reason: &str) {
    let here = thread::current();
    let test = here.name().unwrap_or("?");
    if env::var("CI").is_ok_and(|value| value == "true") {
        panic!("this test may not be skipped in CI: {reason}");
    }
    aloud(&format!("SKIPPED: {test}: {reason}"));
}

/// `skip!("reason {}", details)`: leaves the test, says aloud why, and fails where `CI=true`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::lab::skipped(&format!($($reason)+));
        return;
    }};
}

/// A line on the real stderr, past the capture of the test harness.
fn aloud(line: &str) {
    // Nothing can be done about a stderr that is closed.
    let _ = writeln!(io::stderr(), "{line}");
}

fn is_root() -> bool {
    // Field 1 of "Uid:" is the real user.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.split_whitespace().take(2).eq(["Uid:", "0"]))
}

fn is_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]).any(|dir| dir.join(name).is_file())
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' folder is inside the repository")
}

fn utf8(path: &Path) -> &str {
    path.to_str().unwrap_or_else(|| panic!("the lab needs paths in UTF-8, not {}", path.display()))
}

#[track_caller]
fn script(name: &str, arguments: &[&str], limit: Duration) -> String {
    run_script(name, arguments, limit).unwrap_or_else(|complaint| panic!("{complaint}"))
}

/// Runs a script of the lab, for `limit` at most, and returns its stdout; or one text with all it said.
fn run_script(name: &str, arguments: &[&str], limit: Duration) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/lab").join(name);
    let Output { status, stdout, stderr } = Command::new("timeout")
        .args(["--kill-after=5", &limit.as_secs().to_string()])
        .arg(&path)
        .args(arguments)
        .env("OSTLER_LAB", Lab::dir())
        .output()
        .map_err(|error| format!("{} does not start: {error}", path.display()))?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&stderr);
    Err(format!("{name} {} failed ({status}):\n{}{}", arguments.join(" "), stdout, stderr.trim_end()))
}
