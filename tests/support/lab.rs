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
//! [`Hosts`] are several hosts that migrate to each other. Their storage is shared, or each host
//! has its own.
//!
//! The scripts in `tests/support/lab` do the work. `guest.sh` there describes what the guest prints
//! and understands. Files that are built once are kept under `target/lab`. With `OSTLER_LAB_KEEP`
//! set, the files of hosts are kept, too.

mod console;
mod host;
mod hosts;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

pub use console::SerialLog;
pub use host::LibvirtHost;
pub use hosts::Hosts;

/// The parts that are made once and shared by all tests of this machine.
#[derive(Debug)]
pub struct Lab;

impl Lab {
    /// The folder for files that are built once: `lab` in cargo's target folder.
    pub fn dir() -> PathBuf {
        let here = env::current_exe().unwrap_or_default();
        // Cargo puts the file CACHEDIR.TAG into the root of its target folder.
        let target = here.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
        target.map_or_else(|| repository().join("target"), Path::to_path_buf).join("lab")
    }

    /// The tiny Linux guest. It is built at the first call on a machine, from Debian's packages, in
    /// about 10 s. Other test binaries that ask at the same time wait for it.
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

/// The files of the lab's guest. It needs 96 MiB of memory, and is ready in about 3 s under
/// emulation.
#[derive(Debug)]
pub struct GuestFiles {
    /// The uncompressed kernel. It boots much faster under emulation.
    pub kernel: PathBuf,
    /// The same kernel, compressed, as Debian ships it.
    pub compressed_kernel: PathBuf,
    /// The initial RAM disk, which holds the whole system of the guest.
    pub initrd: PathBuf,
    /// A data disk (qcow2, 64 MiB) with the mark `base`. A guest with a clone of it prints
    /// `DISK-MARK base`.
    pub base_disk: PathBuf,
}

impl GuestFiles {
    /// The kernel's command line with these flags for the guest, for example `vt.tick=0.2`.
    pub fn command_line(&self, flags: &[&str]) -> String {
        let mut line = String::from("console=ttyS0 quiet panic=0");
        for flag in flags {
            line.push(' ');
            line.push_str(flag);
        }
        line
    }
}

/// Whether libvirt hosts can be started here. If not, it prints why the test is skipped, and panics
/// where `CI=true`.
///
/// # Panics
///
/// When hosts cannot be started and `CI=true`.
#[track_caller]
pub fn require_libvirt() -> bool {
    let missing =
        ["libvirtd", "virsh", "qemu-system-x86_64", "qemu-img", "unshare", "nsenter", "ip", "sshd"]
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

/// Prints that this test is skipped and why. Panics where `CI=true`. The test must return
/// afterwards; [`crate::skip!`] does both.
///
/// # Panics
///
/// When `CI=true`.
#[track_caller]
pub fn skipped(reason: &str) {
    let here = thread::current();
    let test = here.name().unwrap_or("?");
    if env::var("CI").is_ok_and(|value| value == "true") {
        panic!("this test may not be skipped in CI: {reason}");
    }
    aloud(&format!("SKIPPED: {test}: {reason}"));
}

/// `skip!("reason {}", details)`: prints why the test is skipped and returns from it. Panics where
/// `CI=true`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::lab::skipped(&format!($($reason)+));
        return;
    }};
}

/// Prints a line to the real stderr, which the test harness does not capture.
fn aloud(line: &str) {
    // If stderr is closed, nothing can be done.
    let _ = writeln!(io::stderr(), "{line}");
}

fn keeps_files() -> bool {
    env::var_os("OSTLER_LAB_KEEP").is_some()
}

fn is_root() -> bool {
    // The first number after "Uid:" is the real user.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.split_whitespace().take(2).eq(["Uid:", "0"]))
}

fn is_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .any(|dir| dir.join(name).is_file())
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests' folder is inside the repository")
}

fn utf8(path: &Path) -> &str {
    path.to_str().unwrap_or_else(|| panic!("the lab needs paths in UTF-8, not {}", path.display()))
}

#[track_caller]
fn script(name: &str, arguments: &[&str], limit: Duration) -> String {
    run_script(name, arguments, limit).unwrap_or_else(|complaint| panic!("{complaint}"))
}

/// Runs a script of the lab, for at most `limit`. Returns its stdout, or an error with all that it
/// printed.
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
    Err(format!(
        "{name} {} failed ({status}):\n{}{}",
        arguments.join(" "),
        stdout,
        stderr.trim_end()
    ))
}
