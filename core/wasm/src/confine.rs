//! Confines the commands that drivers run on this machine: the kernel (Landlock) lets them open the
//! programs of the system, the files of its call, and the paths that the template names. A disk that
//! names another file, or a link that is made while a path is checked, leads to nothing else.
//!
//! This holds a program that is misled by a file. It does not hold code that a driver chooses: that
//! may still connect to sockets, signal processes of its user, and change the mode of its files.
//!
//! A process keeps the confinement for as long as it lives, and so does everything that it starts.
//! Commands over ssh are not confined: their machines have no program of ours.

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError,
};
use ostler_driver::Site;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use std::io;
use std::os::fd::OwnedFd;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// The oldest Landlock that confines: the first one that lets a file be moved between two folders
/// that may both be written. Linux 5.19 has it.
const LEAST: ABI = ABI::V2;
/// The newest Landlock whose rules are used where the kernel knows them: truncating files, and
/// commands to devices.
const MOST: ABI = ABI::V5;

/// Every command may read these, and run programs there: programs, their libraries, the tables of
/// names that the C library reads, and the state of the machine.
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

/// Root's rights that a command loses. They open files beside all paths: the memory and the ports
/// of the machine, the environment of other processes, the code of the kernel, device nodes. With
/// the last one a command could lift its own limits.
const LOST: [CapabilitySet; 9] = [
    CapabilitySet::BPF,
    CapabilitySet::MKNOD,
    CapabilitySet::PERFMON,
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SYS_BOOT,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_PTRACE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYS_RESOURCE,
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
    /// Whether it keeps root's right `CAP_SYS_ADMIN`, as programs need that set up loop devices or
    /// the device mapper. With it a program may look into all others.
    pub sys_admin: bool,
    /// Whether it reaches all datastores of the host, and not only the files of its call. A guest
    /// that it starts needs that if it is handed other files later.
    pub all_datastores: bool,
}

/// A file or a folder of a datastore that a command may reach. None: the whole datastore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnRoot {
    pub(crate) root: String,
    pub(crate) path: Option<String>,
    pub(crate) writes: bool,
}

/// Where one command may read and write: what its template names, and the files of its call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Confined {
    pub(crate) reach: Reach,
    pub(crate) own: Vec<OwnRoot>,
}

impl Confined {
    /// The same on a host, with all its datastores if the template says so.
    pub(crate) fn on(mut self, site: &Site) -> Self {
        if self.reach.all_datastores {
            self.reach.writes.extend(site.roots.values().cloned());
        }
        self
    }
}

impl Reach {
    /// Refuses paths that are not plain, and the root, which would lift the confinement.
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
}

/// Whether the kernel can confine processes.
#[must_use]
pub fn can_confine() -> bool {
    rules().is_ok()
}

/// The empty rules: nothing may be reached.
fn rules() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(MOST))?
        .create()
}

/// All that a command may do where it may write: everything but making device nodes, which lead to
/// the whole machine.
fn whole() -> BitFlags<AccessFs> {
    AccessFs::from_all(MOST) & !(AccessFs::MakeChar | AccessFs::MakeBlock)
}

fn open(path: &str) -> Result<(OwnedFd, FileType), Errno> {
    let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode);
    Ok((opened, kind))
}

/// Opens a file or folder of a datastore. No link leads out of the datastore. One that may be
/// written must not be a link itself: a driver can have made it.
fn open_own(own: &OwnRoot) -> Result<(OwnedFd, FileType), Errno> {
    let Some(path) = &own.path else { return open(&own.root) };
    let root = rustix::fs::open(&own.root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let last = if own.writes { OFlags::NOFOLLOW } else { OFlags::empty() };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC | last;
    let opened = rustix::fs::openat2(&root, path.as_str(), flags, Mode::empty(), resolve)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode) {
        FileType::Symlink => Err(Errno::LOOP),
        kind => Ok((opened, kind)),
    }
}

/// Adds a rule for each of these paths. A path that cannot be opened is left out: a datastore that
/// is broken must not keep commands from running that use another one.
fn allow<'a>(
    rules: RulesetCreated,
    paths: impl IntoIterator<Item = &'a str>,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SpawnError> {
    allow_opened(rules, paths.into_iter().map(|path| (path, open(path))), access)
}

fn allow_opened<'a>(
    mut rules: RulesetCreated,
    opened: impl IntoIterator<Item = (&'a str, Result<(OwnedFd, FileType), Errno>)>,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SpawnError> {
    for (path, opened) in opened {
        match opened {
            Ok((opened, FileType::Directory)) => {
                rules = rules.add_rule(PathBeneath::new(opened, access))?;
            }
            Ok((opened, _)) => {
                let access = access & AccessFs::from_file(MOST);
                rules = rules.add_rule(PathBeneath::new(opened, access))?;
            }
            // Descriptors or memory are short for a moment: the call is tried again.
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
                let problem = format!("{path} cannot be opened: {error}");
                return Err(SpawnError::Path(problem));
            }
            Err(_) => {}
        }
    }
    Ok(rules)
}

/// Confines the calling thread, and everything that it starts, for ever.
fn confine(program: &str, confined: &Confined) -> Result<(), SpawnError> {
    let Confined { reach, own } = confined;
    let reads: BitFlags<AccessFs> = AccessFs::from_read(MOST);
    let rules = rules()?;
    let rules = allow(rules, READS.iter().copied().chain([program]), reads)?;
    let rules = allow(rules, WRITES.iter().copied(), AccessFs::from_all(MOST))?;
    let rules = allow(rules, reach.reads.iter().map(String::as_str), reads)?;
    let mut rules = allow(rules, reach.writes.iter().map(String::as_str), whole())?;
    for own in own {
        let access = if own.writes { whole() } else { reads };
        let name = own.path.as_deref().unwrap_or(&own.root);
        rules = allow_opened(rules, [(name, open_own(own))], access)?;
    }
    let kept =
        |capability: &CapabilitySet| reach.sys_admin && *capability == CapabilitySet::SYS_ADMIN;
    for capability in LOST.into_iter().filter(|capability| !kept(capability)) {
        match remove_capability_from_bounding_set(capability) {
            // A user who is not root has none, and gets none from what is started here.
            Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(SpawnError::Start(error.into())),
        }
    }
    rules.restrict_self()?;
    Ok(())
}

/// Why a confined command was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    /// The kernel cannot confine it.
    #[error(transparent)]
    Confine(#[from] RulesetError),
    /// A path that it may reach cannot be opened.
    #[error("{0}")]
    Path(String),
    /// It cannot be started.
    #[error(transparent)]
    Start(#[from] io::Error),
}

/// Starts a command that is confined. `program` is the program that it ends up as. Call it on
/// tokio's runtime. The `place` is given back with the child: a thread that is held up by a storage
/// that hangs keeps it, so there are never more such threads than places.
pub(crate) async fn spawn<P: Send + 'static>(
    mut command: Command,
    (program, confined): (String, Confined),
    place: P,
) -> Result<(Child, P), SpawnError> {
    let runtime = tokio::runtime::Handle::current();
    let (tell, told) = oneshot::channel();
    // Not a thread of a pool: a thread that was confined stays so.
    std::thread::Builder::new().name("confined".to_owned()).spawn(move || {
        let _runtime = runtime.enter();
        let child = confine(&program, &confined);
        let child = child.and_then(|()| command.spawn().map_err(SpawnError::from));
        // A call that was dropped meanwhile drops the child, too, and that kills it.
        let _ = tell.send(child.map(|child| (child, place)));
    })?;
    told.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::path::Path;
    use std::process::Stdio;

    async fn cat(file: &Path, reach: Reach) -> bool {
        let mut command = Command::new("/bin/cat");
        command.arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        let confined = Confined { reach, own: Vec::new() };
        let spawned = spawn(command, ("/bin/cat".to_owned(), confined), ()).await;
        let (mut child, ()) = spawned.expect("it starts");
        child.wait().await.expect("it ends").success()
    }

    #[tokio::test]
    async fn a_confined_command_reaches_what_it_may_and_nothing_else() {
        if !can_confine() {
            let _ = io::stderr().write_all(b"SKIPPED: the kernel has no Landlock\n");
            return;
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
        let reach = || Reach { writes: vec![path(&inside)], ..Reach::default() };
        assert!(cat(&inner, reach()).await);
        assert!(cat(Path::new("/proc/meminfo"), reach()).await);
        for path in [&outer, &link, Path::new("/etc/shadow")].map(AsRef::<Path>::as_ref) {
            assert!(!cat(path, reach()).await, "{}", path.display());
        }
        // A link that leads to itself cannot be opened: a datastore that is broken.
        let broken = inside.path().join("broken");
        std::os::unix::fs::symlink("broken", &broken).expect("a link");
        let broken = vec![broken.display().to_string()];
        let more = Reach { reads: vec![path(&outside)], writes: broken, ..Reach::default() };
        assert!(cat(&outer, more).await);
        // This thread, and those of the pool, are not confined.
        let there = outer.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read(there)).await;
        assert!(read.expect("it ends").is_ok() && std::fs::read(outer).is_ok());
    }
}
