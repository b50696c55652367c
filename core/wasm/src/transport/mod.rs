//! Runs commands on a host, locally or over ssh, with one small fixed script at the far end.
//!
//! The script (`helper.sh`) is the same for both, so both behave alike. The command gets its own
//! session, an environment with only `PATH` and `LC_ALL`, and its input. When the daemon dies, the
//! call is cancelled or the connection is lost, standard input ends and the whole group is killed.
//! (A command that the caller feeds only sees the end of its input then.) Arguments travel on
//! standard input, never in a command line that a shell would read.
//!
//! A network that is cut ends no standard input: the far end of an ssh connection learns nothing of
//! it, for hours. So a command over ssh runs under a [`Lease`].

mod kept;
mod lease;
mod ssh;
mod told;

pub use lease::Lease;

use self::told::{Told, header};
use crate::HostError;
use crate::confine::{self, Confine, Confined, SpawnError};
use crate::epoch::{Charge, NotHeld, hold_here};
use crate::limits::Limits;
use crate::work::MayGoOn;
use base64::Engine as _;
use kept::{Kept, TRAILER_MAX, Trailer, take_trailer};
use ostler_model::ExecTransport;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The script at the far end.
const HELPER: &str = concat!(include_str!("epoch.sh"), include_str!("helper.sh"));
/// The most commands of one driver in progress on one host. Sshd serves 10 sessions per connection
/// unless it is configured otherwise; beyond that, ssh makes a connection of its own.
const AT_ONCE: usize = 8;
/// How long the helper may take to end a group after it was told to.
const KILL_GRACE: Duration = Duration::from_secs(2);
/// How long output may still arrive after the command ended: then only a process that left the
/// group holds the pipe.
const DRAIN_GRACE: Duration = Duration::from_millis(500);
/// The most input of a command: it fits a few pipe buffers and one line.
pub(crate) const INPUT_MAX: usize = 64 * 1024;

/// A command, ready to run.
pub(crate) struct Job {
    /// The absolute program, then its arguments.
    pub(crate) argv: Vec<String>,
    /// Its standard input.
    pub(crate) input: Vec<u8>,
    /// How many bytes of its output are kept.
    pub(crate) stdout_max: usize,
    /// How many bytes of its standard error are kept.
    pub(crate) stderr_max: usize,
    /// How long it may run, from its start. If none, until it is told to stop.
    pub(crate) time_limit: Option<Duration>,
    /// What its processes may use, if it is a command of a driver.
    pub(crate) limits: Option<Limits>,
    /// Where it may read and write, if it is a command of a driver on this machine. None: it is a
    /// command of ours.
    pub(crate) reach: Option<Confined>,
    /// What the host compares before it runs the command. None: the command changes nothing.
    pub(crate) charge: Option<Arc<Charge>>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) truncated: bool,
}

/// Why the end of a command is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RunError {
    #[error("the command was told to stop")]
    Cancelled,
    #[error("the host cannot be reached, nothing was run: {0}")]
    Unreachable(String),
    /// Nothing of the command is at work any more after `at_most`.
    #[error("whether {program} still runs on the host is not known: {why}")]
    Lost { program: String, why: String, at_most: Duration },
    #[error("{program} ran for longer than its time limit of {limit:?} and was ended")]
    TooLong { program: String, limit: Duration },
    #[error("the program {0} is not on the host, or may not be run there; nothing was run")]
    NoProgram(String),
    #[error("the host has no program `timeout` (coreutils), so nothing is run there over ssh")]
    NoTimeout,
    #[error("nothing was run, because the command could not be confined: {0}")]
    NotConfined(String),
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
    #[error("{0}")]
    Invalid(String),
}

impl MayGoOn for RunError {
    fn may_go_on(&self) -> Option<Duration> {
        match self {
            Self::Lost { at_most, .. } => Some(*at_most),
            Self::Cancelled
            | Self::Unreachable(_)
            | Self::TooLong { .. }
            | Self::NoProgram(_)
            | Self::NoTimeout
            | Self::NotConfined(_)
            | Self::NotHeld(_)
            | Self::Invalid(_) => None,
        }
    }
}

impl<T> MayGoOn for Result<T, RunError> {
    fn may_go_on(&self) -> Option<Duration> {
        self.as_ref().err()?.may_go_on()
    }
}

/// The ways to all hosts.
pub(crate) struct Transports {
    ssh: Arc<ssh::Masters>,
    lease: Lease,
    /// Whether the commands of drivers on this machine are confined. Decided once: a moment
    /// without free descriptors must not make a command run unconfined.
    confined: bool,
    lanes: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A running helper.
pub(crate) struct Running {
    child: Child,
    /// Closing it ends the command, or the input of a command that the caller feeds.
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: ChildStdout,
    stderr: ChildStderr,
    tag: String,
    program: String,
    lease: Lease,
    charge: Option<Arc<Charge>>,
    _permit: OwnedSemaphorePermit,
}

impl Transports {
    pub(crate) fn new(
        runtime_dir: Option<PathBuf>,
        lease: Lease,
        confine: Confine,
    ) -> Result<Self, HostError> {
        let ssh = Arc::new(ssh::Masters::new(runtime_dir, lease)?);
        let confined = match confine {
            Confine::Never => false,
            Confine::IfPossible => confine::can_confine(),
            Confine::Always => true,
        };
        Ok(Self { ssh, lease, confined, lanes: Mutex::default() })
    }

    /// The same connections with lanes of their own, so that the commands of one driver never wait
    /// for those of another.
    pub(crate) fn with_own_lanes(&self) -> Self {
        let (lease, confined) = (self.lease, self.confined);
        Self { ssh: Arc::clone(&self.ssh), lease, confined, lanes: Mutex::default() }
    }

    /// Runs `job` to its end.
    pub(crate) async fn run(
        &self,
        via: &ExecTransport,
        job: Job,
        stop: &CancellationToken,
    ) -> Result<Exit, RunError> {
        if job.input.len() > INPUT_MAX {
            return Err(RunError::Invalid(format!(
                "input of {} bytes; a command takes at most {INPUT_MAX}",
                job.input.len()
            )));
        }
        let input = base64::engine::general_purpose::STANDARD.encode(&job.input);
        // Standard input of a command on this machine ends when the daemon does, however that ends.
        let lease = matches!(via, ExecTransport::Ssh { .. }).then_some(self.lease);
        let told = Told { input: &input, lease, limits: job.limits, charge: None };
        let mut running = self.start(via, &job.argv, told, (job.reach, job.charge), stop).await?;
        let (mut out, mut err) =
            (Kept::new(job.stdout_max), Kept::new(job.stderr_max + TRAILER_MAX));
        let mut stdin = running.stdin.take();
        let cut = tokio::select! {
            () = running.drain(&mut out, &mut err) => None,
            () = stop.cancelled() => Some(RunError::Cancelled),
            limit = over(job.time_limit) => {
                let program = job.argv.first().cloned().unwrap_or_default();
                Some(RunError::TooLong { program, limit })
            }
            never = lease::renew(&mut stdin, lease) => match never {},
        };
        drop(stdin);
        if let Some(cut) = cut {
            return Err(running.cut(cut, &mut out, &mut err).await);
        }
        let status = running.status(&mut err, job.stderr_max)?;
        // A shell reports a signal as 128 plus its number. A command that itself ends with such a
        // code is rare, and means the same.
        let (code, signal) =
            if status > 128 { (None, Some(status - 128)) } else { (Some(status), None) };
        let truncated = out.total > out.bytes.len() || err.total > err.bytes.len();
        Ok(Exit { code, signal, stdout: out.bytes, stderr: err.bytes, truncated })
    }

    /// Starts a command that the caller feeds or reads. With `feed`, all that the caller writes to
    /// standard input is the command's input. It has no lease: it may be at work long after the
    /// network was cut, so it must change nothing that another call uses.
    pub(crate) async fn stream(
        &self,
        via: &ExecTransport,
        argv: &[String],
        feed: bool,
        charge: Option<Arc<Charge>>,
        stop: &CancellationToken,
    ) -> Result<Running, RunError> {
        let input = if feed { "-" } else { "" };
        let told = Told { input, lease: None, limits: None, charge: None };
        self.start(via, argv, told, (None, charge), stop).await
    }

    async fn start(
        &self,
        via: &ExecTransport,
        argv: &[String],
        told: Told<'_>,
        (reach, charge): (Option<Confined>, Option<Arc<Charge>>),
        stop: &CancellationToken,
    ) -> Result<Running, RunError> {
        let tag = uuid::Uuid::new_v4().simple().to_string();
        // On this machine the epoch is compared here: a confined helper cannot write its folder.
        let (here, there) = match via {
            ExecTransport::Local => (charge, None),
            ExecTransport::Ssh { .. } => (None, charge),
        };
        let head = header(&tag, argv, Told { charge: there.as_deref(), ..told })?;
        let started = async {
            let permit = self
                .lane(via)
                .acquire_owned()
                .await
                .map_err(|error| RunError::Unreachable(error.to_string()))?;
            hold_here(here).await?;
            let (command, reach) = match via {
                ExecTransport::Local => (local(), reach.filter(|_| self.confined)),
                ExecTransport::Ssh { .. } => (self.ssh.command(via, HELPER).await?, None),
            };
            let called = (tag, argv.first().cloned().unwrap_or_default());
            let reach = reach.map(|reach| (called.1.clone(), reach));
            let (child, permit) = spawn(command, reach, permit).await?;
            running(child, called, (self.lease, there), permit)
        };
        let running = tokio::select! {
            started = started => started?,
            () = stop.cancelled() => return Err(RunError::Cancelled),
        };
        running.told(head.as_bytes(), stop).await
    }

    fn lane(&self, via: &ExecTransport) -> Arc<Semaphore> {
        let key = match via {
            ExecTransport::Local => String::new(),
            ExecTransport::Ssh { destination, port, .. } => format!("{destination} {port}"),
        };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry(key).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
    }
}

/// Waits until `limit` is over, and returns it. Without a limit it waits for ever.
async fn over(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            tokio::time::sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}

fn local() -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", HELPER, "ostler-exec"]);
    command
}

/// Starts the helper. With `confined` it may only reach so much: the program that it runs, and its
/// reach.
async fn spawn(
    mut command: Command,
    confined: Option<(String, Confined)>,
    permit: OwnedSemaphorePermit,
) -> Result<(Child, OwnedSemaphorePermit), RunError> {
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let unreachable = |error: io::Error| RunError::Unreachable(error.to_string());
    match confined {
        None => Ok((command.spawn().map_err(unreachable)?, permit)),
        Some(confined) => {
            confine::spawn(command, confined, permit).await.map_err(|error| match error {
                SpawnError::Confine(error) => RunError::NotConfined(error.to_string()),
                SpawnError::Path(problem) => RunError::NotConfined(problem),
                SpawnError::Start(error) => unreachable(error),
            })
        }
    }
}

fn running(
    mut child: Child,
    (tag, program): (String, String),
    (lease, charge): (Lease, Option<Arc<Charge>>),
    permit: OwnedSemaphorePermit,
) -> Result<Running, RunError> {
    match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            let stdin = Some(stdin);
            Ok(Running {
                child,
                stdin,
                stdout,
                stderr,
                tag,
                program,
                lease,
                charge,
                _permit: permit,
            })
        }
        (_, _, _) => Err(RunError::Unreachable("no pipes to the command".to_owned())),
    }
}

impl Running {
    /// Sends the helper its command. That may be more than a pipe holds, and a far end that hangs
    /// does not read it: so this ends when the call is told to stop.
    async fn told(mut self, head: &[u8], stop: &CancellationToken) -> Result<Self, RunError> {
        let Some(stdin) = &mut self.stdin else { return Ok(self) };
        let written = tokio::select! {
            written = stdin.write_all(head) => Some(written),
            () = stop.cancelled() => None,
        };
        match written {
            Some(Ok(())) => Ok(self),
            // The helper has not read the whole command, so it has not started it.
            Some(Err(error)) => Err(RunError::Unreachable(error.to_string())),
            None => {
                self.end().await;
                Err(RunError::Cancelled)
            }
        }
    }

    /// Reads both pipes until the command ended.
    async fn drain(&mut self, out: &mut Kept, err: &mut Kept) {
        let drains = async { tokio::join!(out.read(&mut self.stdout), err.read(&mut self.stderr)) };
        tokio::pin!(drains);
        let both_ended = tokio::select! {
            biased;
            _ = &mut drains => true,
            _ = self.child.wait() => false,
        };
        if both_ended {
            let _ = timeout(KILL_GRACE, self.child.wait()).await;
        } else {
            let _ = timeout(DRAIN_GRACE, &mut drains).await;
        }
    }

    /// Ends the command, and answers `why` if the helper tells that it has ended. Otherwise the
    /// command may go on until its lease is over.
    async fn cut(&mut self, why: RunError, out: &mut Kept, err: &mut Kept) -> RunError {
        self.stdin = None;
        let _ = timeout(KILL_GRACE, self.drain(out, err)).await;
        if take_trailer(&self.tag, err, 0).is_some() {
            return why;
        }
        let _ = self.child.kill().await;
        self.lost(format!("{why}, and the host did not tell within {KILL_GRACE:?} that it ended"))
    }

    /// Nothing was run: the host has seen this epoch, or could not compare.
    fn not_held(&self, seen: Option<u64>) -> RunError {
        match (&self.charge, seen) {
            (Some(charge), Some(seen)) => charge.superseded(seen).into(),
            (Some(charge), None) => charge.busy().into(),
            (None, _) => self.lost("the helper compared an epoch that it was not given".to_owned()),
        }
    }

    fn lost(&self, why: String) -> RunError {
        RunError::Lost { program: self.program.clone(), why, at_most: self.lease.over() }
    }

    /// Ends the command: its helper kills the group at the end of standard input. If that takes too
    /// long, the helper is killed.
    pub(crate) async fn end(&mut self) {
        self.stdin = None;
        if timeout(KILL_GRACE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// For streams: waits for the end, and returns the exit code and the beginning of standard
    /// error.
    pub(crate) async fn finish(&mut self, stderr_max: usize) -> Result<(i32, String), RunError> {
        let (mut out, mut err) = (Kept::new(0), Kept::new(stderr_max + TRAILER_MAX));
        self.drain(&mut out, &mut err).await;
        let status = self.status(&mut err, stderr_max)?;
        Ok((status, String::from_utf8_lossy(&err.bytes).trim().to_owned()))
    }

    /// The exit code that the helper has told. Takes the helper's line from `err`.
    fn status(&self, err: &mut Kept, most: usize) -> Result<i32, RunError> {
        match take_trailer(&self.tag, err, most) {
            Some(Trailer::Code { code, kept }) => {
                self.charge.iter().for_each(|charge| charge.keeps(kept));
                Ok(code)
            }
            Some(Trailer::NotHeld(seen)) => Err(self.not_held(seen)),
            Some(Trailer::NoProgram) => Err(RunError::NoProgram(self.program.clone())),
            Some(Trailer::NoTimeout) => Err(RunError::NoTimeout),
            None => {
                let said = String::from_utf8_lossy(&err.bytes).trim().to_owned();
                Err(self.lost(format!("the connection was lost: {said}")))
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
