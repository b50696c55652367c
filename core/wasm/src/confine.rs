//! Confines the commands that drivers run on this machine: the kernel (Landlock) lets them reach the
//! programs of the system, the datastores of the call's host, and the paths that the template
//! names. So a file that a driver writes (a disk that names another file, a configuration) cannot
//! make a program open anything else, and a link that is made while a path is checked leads nowhere.
//!
//! A process keeps the confinement for as long as it lives, and so does everything that it starts.
//! Commands over ssh are not confined: their machines have no program of ours.

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, path_beneath_rules,
};
use ostler_driver::Site;
use std::io;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// The oldest Landlock that confines: the first one that lets a file be moved between two folders
/// that may both be written. Linux 5.19 has it.
const LEAST: ABI = ABI::V2;
/// The newest Landlock whose rules are used where the kernel knows them: truncating files, and
/// commands to devices.
const MOST: ABI = ABI::V5;

/// Every command may read these, and run programs there: programs, their libraries, the tables of
/// names that the C library reads, and the state of the machine. No file with a secret is below
/// them: `/proc` tells nothing confidential of processes that are not confined in the same way.
const READS: &[&str] = &[
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr",
    "/proc",
    "/sys",
    "/etc/alternatives",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/qemu",
    "/etc/resolv.conf",
    "/etc/services",
];

/// Every command may read and write these: devices that keep nothing, and those that guests are run
/// with.
const WRITES: &[&str] = &[
    "/dev/full",
    "/dev/kvm",
    "/dev/net/tun",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/vhost-net",
    "/dev/zero",
];

/// The most paths of one command, and the longest of them in bytes: a program needs a few folders.
const PATHS_MAX: usize = 32;
const PATH_MAX: usize = 1024;

/// Whether the commands that drivers run on this machine are confined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Confine {
    /// They are not.
    Never,
    /// They are, if the kernel can.
    #[default]
    IfPossible,
    /// They are, and none is run if the kernel cannot.
    Always,
}

/// Where a confined command may read and write, beside what every command may: files, and folders
/// with all that is below them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Paths that it may read, and programs that it may run.
    pub reads: Vec<String>,
    /// Paths that it may also write.
    pub writes: Vec<String>,
}

impl Reach {
    /// Refuses paths that are not plain, and those that would lift the confinement.
    ///
    /// # Errors
    /// The text names the path, for people.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.reads.len().max(self.writes.len()) > PATHS_MAX {
            return Err(format!("at most {PATHS_MAX} paths can be read, and as many written"));
        }
        let wrong = |path: &&String| {
            !path.starts_with('/')
                || path.len() > PATH_MAX
                || path.chars().any(char::is_control)
                || path.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."))
        };
        match self.reads.iter().chain(&self.writes).find(wrong) {
            None => Ok(()),
            Some(path) => Err(format!(
                "path {path:?} must be absolute, below /, of at most {PATH_MAX} bytes, and without \
                 '.', '..', empty parts and control characters"
            )),
        }
    }

    /// The same, and the datastores of a host.
    pub(crate) fn with_datastores(mut self, site: &Site) -> Self {
        self.writes.extend(site.roots.iter().map(|(_, root)| root.clone()));
        self
    }
}

/// Whether the kernel can confine processes.
#[must_use]
pub fn can_confine() -> bool {
    rules(CompatLevel::HardRequirement).is_ok()
}

/// The empty rules: nothing may be reached.
fn rules(least: CompatLevel) -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(least)
        .handle_access(AccessFs::from_all(LEAST))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(MOST))?
        .create()
}

/// Confines the calling thread, and everything that it starts, for ever.
fn confine(reach: &Reach) -> Result<(), RulesetError> {
    let reads: BitFlags<AccessFs> = AccessFs::from_read(MOST);
    let all: BitFlags<AccessFs> = AccessFs::from_all(MOST);
    // Paths that are not there are left out.
    rules(CompatLevel::HardRequirement)?
        .add_rules(path_beneath_rules(READS, reads))?
        .add_rules(path_beneath_rules(WRITES, all))?
        .add_rules(path_beneath_rules(&reach.reads, reads))?
        .add_rules(path_beneath_rules(&reach.writes, all))?
        .restrict_self()?;
    Ok(())
}

/// Why a confined command was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    /// The kernel cannot confine it.
    #[error(transparent)]
    Confine(#[from] RulesetError),
    /// It cannot be started.
    #[error(transparent)]
    Start(#[from] io::Error),
}

/// Starts a command that is confined. Call it on tokio's runtime.
pub(crate) async fn spawn(mut command: Command, reach: Reach) -> Result<Child, SpawnError> {
    let runtime = tokio::runtime::Handle::current();
    let (tell, told) = oneshot::channel();
    // Not a thread of a pool: a thread that was confined stays so.
    std::thread::Builder::new().name("confined".to_owned()).spawn(move || {
        let _runtime = runtime.enter();
        let child = confine(&reach).map_err(SpawnError::from);
        let child = child.and_then(|()| command.spawn().map_err(SpawnError::from));
        // A call that was dropped meanwhile drops the child, too, and that kills it.
        let _ = tell.send(child);
    })?;
    told.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Stdio;

    async fn cat(file: &Path, reach: Reach) -> bool {
        let mut command = Command::new("/bin/cat");
        command.arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = spawn(command, reach).await.expect("it starts");
        child.wait().await.expect("it ends").success()
    }

    #[tokio::test]
    async fn a_confined_command_reaches_what_it_may_and_nothing_else() {
        if !can_confine() {
            return eprintln!("SKIPPED: the kernel has no Landlock");
        }
        let (inside, outside) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let file = |folder: &tempfile::TempDir| {
            let path = folder.path().join("file");
            std::fs::write(&path, "text").expect("a file");
            path
        };
        let (inner, outer) = (file(&inside), file(&outside));
        let link = inside.path().join("link");
        std::os::unix::fs::symlink(&outer, &link).expect("a link");
        let path = |folder: &tempfile::TempDir| folder.path().display().to_string();
        let reach = || Reach { reads: Vec::new(), writes: vec![path(&inside)] };
        assert!(cat(&inner, reach()).await);
        assert!(cat(Path::new("/proc/meminfo"), reach()).await);
        for path in [&outer, &link, Path::new("/etc/shadow")].map(AsRef::<Path>::as_ref) {
            assert!(!cat(path, reach()).await, "{}", path.display());
        }
        let more = Reach { reads: vec![path(&outside)], writes: Vec::new() };
        assert!(cat(&outer, more).await);
        // This thread, and those of the pool, are not confined.
        let there = outer.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read(there)).await;
        assert!(read.expect("it ends").is_ok() && std::fs::read(outer).is_ok());
    }
}
