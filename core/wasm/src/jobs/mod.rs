//! Command jobs: commands that go on when the call that began them ends, and when the daemon does.
//!
//! All of it is one script (`job.sh`), which the usual helper runs at the end where the job is to
//! be. Each verb of it is a short command; the job itself is begun by it in a session of its own. So
//! nothing of a job hangs on this process, its connections or their leases.
//!
//! A lock that all processes of a job inherit proves that nothing of it is at work: the kernel frees
//! it when the last of them is gone, also when the machine is started anew.

use crate::confine::Confined;
use crate::epoch::Charge;
use crate::limits::Limits;
use crate::transport::{Exit, INPUT_MAX, Job, RunError, Transports};
use crate::work::MayGoOn;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ostler_model::{CallContext, DriverName, ExecTransport, HostId, VmUuid};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The folder of all jobs on every host. It outlives a reboot, so that a job is then told as lost.
pub(crate) const FOLDER: &str = "/var/lib/ostler/jobs";

const SCRIPT: &str = include_str!("job.sh");
/// Runs the script, which comes as one argument and may have no line break there.
const RUN: &str = r#"eval "$(printf %s "$1" | base64 -d)""#;
/// The longest that a job may run, and as long as it may run unless its template says less.
const LIMIT_MOST: Duration = Duration::from_secs(24 * 3600);
/// How long a verb of the script may take: it waits 10 s for its turn, and kills for some seconds.
const VERB_MOST: Duration = Duration::from_secs(30);
/// How often a verb is tried again that met another verb in the middle of its work.
const TRIES: usize = 5;
const TRY_PAUSE: Duration = Duration::from_millis(100);
/// The output of a job that is kept.
const STDOUT_MAX: usize = 1024 * 1024;
const STDERR_MAX: usize = 64 * 1024;
/// The output of a verb: that of a job in base64, or the names of all jobs at work.
const ANSWER_MAX: usize = (STDOUT_MAX + STDERR_MAX) / 3 * 4 + 64 * 1024;
/// The most standard error of a verb that is kept, for the message.
const SAID_MAX: usize = 1024;

/// The identity of a job on its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobKey {
    owner: String,
    /// The VM, of one store.
    vm: String,
    /// The same, the operation and the step.
    effect: String,
    folder: String,
    about: String,
}

impl JobKey {
    pub(crate) fn new(
        driver: &DriverName,
        context: &CallContext,
        host: HostId,
        name: &str,
    ) -> Self {
        let key = &context.key;
        let (vm, effect) = of_effect(context);
        let own = digest(&[&host.to_string(), &key.item.to_string(), name]);
        let about = format!(
            "job {name} of driver {driver}, store {}, VM {}, operation {}, step {}, {}, host {host}",
            context.store, key.vm, key.operation, key.step, key.item
        );
        let folder = format!("{effect}.{own}");
        Self { owner: owner(driver), vm, effect, folder, about }
    }
}

/// The name of the folder of all jobs of a driver.
fn owner(driver: &DriverName) -> String {
    digest(&[driver.as_str()])
}

/// The beginnings of the names of all jobs of a VM, and of one effect of it. A VM of another store
/// is another one.
fn of_effect(context: &CallContext) -> (String, String) {
    let key = &context.key;
    let vm = format!("{}.{}", key.vm, context.store.0.simple());
    let effect = format!("{vm}.{}.{}", key.operation, key.step);
    (vm, effect)
}

/// The first 32 digits of the digest of some texts. No text of ours has a NUL.
fn digest(texts: &[&str]) -> String {
    let mut digits = crate::cache::hex(&Sha256::digest(texts.join("\0")));
    digits.truncate(32);
    digits
}

/// A command that is to be a job.
pub(crate) struct Line {
    /// The absolute program, then its arguments.
    pub(crate) argv: Vec<String>,
    pub(crate) input: Vec<u8>,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) reach: Confined,
}

/// The knowledge of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobState {
    Absent,
    Running { ran: Duration, stdout: Vec<u8>, stderr: Vec<u8> },
    Ended(Exit),
    Lost(&'static str),
}

/// Why nothing is known of a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JobError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("another call is at this job; try again")]
    Busy,
    #[error(
        "as many command jobs as may be are kept on the host: 16 of a driver at work, 64 of a step \
         of a VM, 1024 in all"
    )]
    Full,
    #[error("a process of the job cannot be killed; its host waits for a device or a storage")]
    AtWork,
    #[error(
        "the folder {0} cannot be made or written on the host; make it, for the user that commands \
         run as there, with `install -d -m 700 {0}`"
    )]
    NoFolder(String),
    #[error(
        "the host lacks a program that command jobs need: flock and setsid (util-linux), or base64, \
         mkfifo and timeout (coreutils)"
    )]
    NoTools,
    #[error("the host has said of the job what is not understood: {0:?}")]
    Odd(String),
}

impl<T> MayGoOn for Result<T, JobError> {
    /// A verb that was lost may begin a job a little later.
    fn may_go_on(&self) -> Option<Duration> {
        match self.as_ref().err()? {
            JobError::Run(error) => error.may_go_on(),
            JobError::Busy
            | JobError::Full
            | JobError::AtWork
            | JobError::NoFolder(_)
            | JobError::NoTools
            | JobError::Odd(_) => None,
        }
    }
}

/// The jobs at one host.
pub(crate) struct Jobs<'a> {
    pub(crate) transports: &'a Transports,
    pub(crate) via: &'a ExecTransport,
    pub(crate) folder: &'a str,
    /// The epoch that the host compares before a verb changes something.
    pub(crate) charge: Option<Arc<Charge>>,
    pub(crate) stop: &'a CancellationToken,
}

impl Jobs<'_> {
    /// Begins a job, or tells of the one that is there.
    pub(crate) async fn start(&self, key: &JobKey, line: &Line) -> Result<JobState, JobError> {
        if line.input.len() > INPUT_MAX {
            let told = format!("input of more than {INPUT_MAX} bytes");
            return Err(RunError::Invalid(told).into());
        }
        let limit = line.time_limit.unwrap_or(LIMIT_MOST).min(LIMIT_MOST);
        // Whole seconds: not every `timeout` knows parts of them.
        let (limit, out, err) =
            (limit.as_secs().max(1).to_string(), STDOUT_MAX.to_string(), STDERR_MAX.to_string());
        let length = STANDARD.encode(&line.input).len().to_string();
        let mut words = vec![key.folder.as_str(), &limit, &out, &err, &length];
        words.extend(line.argv.iter().map(String::as_str));
        // The input is left out: it may have secrets, and their digest would lie on the disk.
        let what: Vec<&str> = line.argv.iter().map(String::as_str).collect();
        let what = digest(&what);
        let mut reach = line.reach.clone();
        reach.reach.writes.push(format!("{}/{}/{}", self.folder, key.owner, key.folder));
        reach.reach.reads.extend(line.argv.first().cloned());
        for _ in 0..TRIES {
            let made = [key.folder.as_str(), &key.effect, &key.vm, &key.about, &what];
            let made = self.verb("prepare", &key.owner, &made, None).await?;
            if made.trim() != "ready" {
                self.state(&made, "")?;
                return Err(JobError::Odd(made));
            }
            let with = Some((line.input.clone(), line.limits, reach.clone()));
            let begun = self.verb("start", &key.owner, &words, with).await?;
            if begun.trim() == "there" {
                return self.poll(key).await;
            }
            if begun.trim() != "again" {
                return self.state(&begun, line.argv.first().map_or("", String::as_str));
            }
            tokio::time::sleep(TRY_PAUSE).await;
        }
        Err(JobError::Busy)
    }

    /// Tells of a job.
    pub(crate) async fn poll(&self, key: &JobKey) -> Result<JobState, JobError> {
        self.told("poll", key).await
    }

    /// Ends a job, and forgets it. Tells how it had ended before.
    pub(crate) async fn stop(&self, key: &JobKey) -> Result<JobState, JobError> {
        self.told("stop", key).await
    }

    /// Ends all jobs of the VM that are of another step than the call: nobody waits for them any more.
    pub(crate) async fn settle(
        &self,
        driver: &DriverName,
        context: &CallContext,
    ) -> Result<(), JobError> {
        let (vm, effect) = of_effect(context);
        if !self.may_have_any(driver) {
            return Ok(());
        }
        let told = self.verb("settle", &owner(driver), &[&effect, &vm], None).await?;
        match told.trim() {
            // Without its tools a host has no jobs.
            "settled" | "no-tools" => Ok(()),
            _ => self.state(&told, "").map(drop),
        }
    }

    /// The VMs for which jobs of the driver are at work, of all stores.
    pub(crate) async fn at_work(&self, driver: &DriverName) -> Result<BTreeSet<VmUuid>, JobError> {
        if !self.may_have_any(driver) {
            return Ok(BTreeSet::new());
        }
        let told = self.verb("list", &owner(driver), &[], None).await?;
        let vm = |name: &str| name.split_once('.')?.0.parse().ok();
        match told.lines().next() {
            Some("no-tools") => Ok(BTreeSet::new()),
            Some("listed") => Ok(told.lines().filter_map(vm).collect()),
            _ => Err(JobError::Odd(told)),
        }
    }

    /// Whether the driver has a folder of jobs. On this machine that is known at once.
    fn may_have_any(&self, driver: &DriverName) -> bool {
        let folder = format!("{}/{}", self.folder, owner(driver));
        // A look at the machine's own disk. It must not wait for a thread: each call begins with it.
        !matches!(self.via, ExecTransport::Local)
            || std::path::Path::new(&folder).try_exists().unwrap_or(true)
    }

    async fn told(&self, verb: &str, key: &JobKey) -> Result<JobState, JobError> {
        for _ in 0..TRIES {
            let told = self.verb(verb, &key.owner, &[&key.folder], None).await?;
            if told.trim() != "again" {
                return self.state(&told, "");
            }
            tokio::time::sleep(TRY_PAUSE).await;
        }
        Err(JobError::Busy)
    }

    /// Runs a verb of the script. Only the one that begins a job is confined, because the command
    /// inherits that; all others touch nothing but the folder of jobs.
    async fn verb(
        &self,
        verb: &str,
        owner: &str,
        words: &[&str],
        with: Option<(Vec<u8>, Limits, Confined)>,
    ) -> Result<String, JobError> {
        let script = STANDARD.encode(SCRIPT);
        let head = ["/bin/sh", "-c", RUN, "ostler-job", &script, verb, self.folder, owner];
        let (input, limits, reach) = with
            .map_or((Vec::new(), None, None), |(input, limits, reach)| {
                (input, Some(limits), Some(reach))
            });
        let changes = !matches!(verb, "poll" | "list");
        let job = Job {
            argv: head.iter().chain(words).map(|&word| word.to_owned()).collect(),
            input,
            stdout_max: ANSWER_MAX,
            stderr_max: SAID_MAX,
            time_limit: Some(VERB_MOST),
            limits,
            reach,
            charge: self.charge.clone().filter(|_| changes),
        };
        let exit = self.transports.run(self.via, job, self.stop).await?;
        if exit.code != Some(0) || exit.truncated || exit.stdout.is_empty() {
            let said = String::from_utf8_lossy(&exit.stderr).trim().to_owned();
            return Err(JobError::Odd(format!("{verb} ended with {:?}: {said}", exit.code)));
        }
        String::from_utf8(exit.stdout).map_err(|error| JobError::Odd(error.to_string()))
    }

    /// Reads what the script has said of a job.
    fn state(&self, told: &str, program: &str) -> Result<JobState, JobError> {
        let odd = || JobError::Odd(told.lines().next().unwrap_or_default().to_owned());
        let mut lines = told.lines();
        let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let mut bytes = || STANDARD.decode(lines.next().unwrap_or_default()).map_err(|_| odd());
        match words[..] {
            ["absent"] => Ok(JobState::Absent),
            // A clock that was put back makes it negative.
            ["running", seconds] => {
                let seconds: i64 = seconds.parse().map_err(|_| odd())?;
                let ran = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
                Ok(JobState::Running { ran, stdout: bytes()?, stderr: bytes()? })
            }
            ["ended", "over", _] => {
                Ok(JobState::Lost("it ran for longer than its time limit, and was ended"))
            }
            ["ended", code, cut] => {
                let status: i32 = code.parse().map_err(|_| odd())?;
                let (code, signal) =
                    if status > 128 { (None, Some(status - 128)) } else { (Some(status), None) };
                let (stdout, stderr) = (bytes()?, bytes()?);
                Ok(JobState::Ended(Exit { code, signal, stdout, stderr, truncated: cut != "0" }))
            }
            ["lost", "restarted"] => Ok(JobState::Lost("its host was started anew meanwhile")),
            ["lost", _] => Ok(JobState::Lost(
                "the process that waited for it was killed, and so was what was left of it",
            )),
            ["busy" | "failed" | "again"] => Err(JobError::Busy),
            ["full"] => Err(JobError::Full),
            ["stuck"] => Err(JobError::AtWork),
            ["no-folder"] => Err(JobError::NoFolder(self.folder.to_owned())),
            ["no-tools"] => Err(JobError::NoTools),
            ["no-program"] => Err(RunError::NoProgram(program.to_owned()).into()),
            _ => Err(odd()),
        }
    }
}
