//! One shared ssh connection per host: a master process that is our child, and sessions over its
//! control socket.
//!
//! ssh reads no configuration of the user, asks nothing, and refuses an unknown host key. The
//! master is a child of the daemon. If ssh put it into the background instead, it would keep the
//! first command's pipes open.

use super::RunError;
use super::lease::{Lease, SILENT};
use crate::HostError;
use crate::cache::{hex, private_dir};
use ostler_model::ExecTransport;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

const SSH: &str = "/usr/bin/ssh";
/// How long a connection may take. Hosts in a LAN answer in milliseconds, a dead host never.
const CONNECT: Duration = Duration::from_secs(10);
/// The pause between two checks for the control socket while connecting.
const LOOK: Duration = Duration::from_millis(20);
/// The longest path of a control socket. Linux allows 107 bytes for a Unix socket; ssh appends 17
/// of its own while it makes one.
const SOCKET_PATH_MAX: usize = 90;
/// The length of a control socket's name.
const NAME: usize = 16;
/// The master's command at the far end. It ends when its standard input ends, so a master never
/// outlives the daemon, however the daemon dies.
const STAY: &str = "exec cat >/dev/null";
/// How many bytes of ssh's error message are kept.
const COMPLAINT_MAX: u64 = 4096;

type Slot = Arc<tokio::sync::Mutex<Option<Child>>>;

pub(super) struct Masters {
    lease: Lease,
    dir: Option<PathBuf>,
    /// Made at the first use, if no directory was given.
    own: Mutex<Option<tempfile::TempDir>>,
    connections: Mutex<HashMap<String, Slot>>,
}

impl Masters {
    pub(super) fn new(dir: Option<PathBuf>, lease: Lease) -> Result<Self, HostError> {
        if let Some(dir) = &dir {
            private_dir(dir)?;
            if dir.as_os_str().len() + NAME > SOCKET_PATH_MAX {
                return Err(HostError::Directory {
                    path: dir.clone(),
                    problem: "its path is too long for a Unix socket".to_owned(),
                });
            }
        }
        Ok(Self { lease, dir, own: Mutex::default(), connections: Mutex::default() })
    }

    fn dir(&self) -> Result<PathBuf, RunError> {
        if let Some(dir) = &self.dir {
            return Ok(dir.clone());
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = &*own {
            return Ok(own.path().to_owned());
        }
        let made = tempfile::Builder::new().prefix("ostler-ssh-").tempdir();
        let made = made.map_err(|error| {
            RunError::Unreachable(format!("no directory for ssh's control sockets: {error}"))
        })?;
        Ok(own.insert(made).path().to_owned())
    }

    /// A session that runs `script` at the far end. It uses the connection that is open, or opens
    /// one.
    pub(super) async fn command(
        &self,
        via: &ExecTransport,
        script: &'static str,
    ) -> Result<Command, RunError> {
        let ExecTransport::Ssh { destination, .. } = via else {
            return Err(RunError::Invalid("not an ssh host".to_owned()));
        };
        if destination.starts_with('-') || destination.contains(char::is_whitespace) {
            return Err(RunError::Invalid(format!(
                "{destination:?} is not an ssh destination; write user@address"
            )));
        }
        let digest = hex(&Sha256::digest(format!("{via:?}")));
        let socket = self.dir()?.join(&digest[..NAME]);
        let slot = {
            let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(connections.entry(digest).or_default())
        };
        let mut master = slot.lock().await;
        let stands =
            matches!(master.as_mut().map(Child::try_wait), Some(Ok(None))) && socket.exists();
        if !stands {
            *master = None;
            *master = Some(connect(via, destination, &socket, self.lease).await?);
        }
        let mut command = base(via, &socket, self.lease);
        // The far end's login shell reads this line. The script holds no single quote.
        command
            .args(["-o", "ControlMaster=no", "--", destination])
            .arg(format!("exec /bin/sh -c '{script}' ostler-exec"));
        Ok(command)
    }
}

fn base(via: &ExecTransport, socket: &Path, lease: Lease) -> Command {
    let mut command = Command::new(SSH);
    command.args([
        "-F",
        "none",
        "-T",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "UpdateHostKeys=no",
    ]);
    command.args([
        "-o",
        "ForwardAgent=no",
        "-o",
        "ClearAllForwardings=yes",
        "-o",
        "PermitLocalCommand=no",
        "-o",
        "LogLevel=ERROR",
    ]);
    command.arg("-o").arg(format!("ServerAliveInterval={}", lease.pause().as_secs()));
    command.arg("-o").arg(format!("ServerAliveCountMax={SILENT}"));
    command.arg("-o").arg(format!("ConnectTimeout={}", CONNECT.as_secs()));
    command.arg("-o").arg(format!("ControlPath={}", socket.display()));
    if let ExecTransport::Ssh { port, identity_file, known_hosts, .. } = via {
        command.arg("-p").arg(port.to_string());
        if let Some(file) = identity_file {
            command.args(["-o", "IdentitiesOnly=yes", "-i", file]);
        }
        if let Some(file) = known_hosts {
            command
                .arg("-o")
                .arg(format!("UserKnownHostsFile=\"{file}\""))
                .args(["-o", "GlobalKnownHostsFile=/dev/null"]);
        }
    }
    command
}

async fn connect(
    via: &ExecTransport,
    destination: &str,
    socket: &Path,
    lease: Lease,
) -> Result<Child, RunError> {
    // A master that was killed may have left its socket.
    let _ = std::fs::remove_file(socket);
    let mut command = base(via, socket, lease);
    command.args(["-o", "ControlMaster=yes", "-o", "ControlPersist=no", "--", destination, STAY]);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir("/")
        .process_group(0)
        .kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child =
        command.spawn().map_err(|error| RunError::Unreachable(format!("{SSH}: {error}")))?;
    let give_up = Instant::now() + CONNECT;
    loop {
        if socket.exists() {
            return Ok(child);
        }
        let ended =
            child.try_wait().map_err(|error| RunError::Unreachable(error.to_string()))?.is_some();
        if ended || Instant::now() > give_up {
            let _ = child.start_kill();
            let mut said = String::new();
            if let Some(stderr) = child.stderr.take() {
                let _ = stderr.take(COMPLAINT_MAX).read_to_string(&mut said).await;
            }
            let said = said.trim();
            let why = if said.is_empty() { "no answer in time" } else { said };
            return Err(RunError::Unreachable(format!("ssh to {destination}: {why}")));
        }
        sleep(LOOK).await;
    }
}
