//! Files of datastores, on this machine or over ssh. No path leads out of the datastore's root:
//! symbolic links are resolved by the kernel on this machine, and by `realpath` at the far end of
//! an ssh connection.

mod fetch;
mod local;
mod part;
mod remote;
mod socket;
mod way;

pub(crate) use socket::{SocketError, connect_file, connect_fixed};
pub(crate) use way::Way;

use crate::epoch::Charge;
use crate::services::Services;
use crate::text::told;
use crate::transport::RunError;
use crate::work::MayGoOn;
use ostler_driver::Site;
use ostler_model::{ExecTransport, RelPath};
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The largest file that is read or written through a driver, as the contract says.
const SMALL_MAX: usize = 64 * 1024;
/// The most names of one folder, as the contract says.
const NAMES_MAX: usize = 10_000;

/// Whether a name is that of an unfinished file, which no driver sees.
fn is_draft(name: &str) -> bool {
    name.starts_with(".ostler-") || (name.starts_with('.') && name.ends_with(".ostler-part"))
}

/// Opens a regular file of a datastore on this machine for reading. Neither a symbolic link nor a
/// race leads out of `root`, and the file itself must not be a symbolic link. It blocks: do not
/// call it in a task of the runtime.
///
/// # Errors
/// There is no such file, or it is something else.
pub fn open_in_datastore(root: &str, path: &RelPath) -> std::io::Result<std::fs::File> {
    local::open(root, &Way::Itself(path.clone())).map_err(std::io::Error::other)
}

/// Receives the bytes done and the bytes in all.
pub(crate) type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// A datastore on a host.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    root: String,
    via: ExecTransport,
    /// The epoch that the host compares before it changes something. None: nothing may be compared.
    charge: Option<Arc<Charge>>,
}

/// The properties of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: &'static str,
    pub(crate) size: u64,
    pub(crate) allocated: u64,
    pub(crate) modified_ms: u64,
}

/// Why a call about a file failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("the call was told to stop")]
    Cancelled,
    #[error("{0}")]
    NoDatastore(String),
    #[error(
        "{0} leads out of the folder that it must stay in through a symbolic link, or that folder is \
         a link itself"
    )]
    Outside(String),
    #[error("{0} is not there")]
    Absent(String),
    #[error("{0}")]
    TooMuch(String),
    #[error("{0} is not of the kind that is needed")]
    WrongKind(String),
    #[error("{0} is being written by another call")]
    Busy(String),
    #[error("no space left for {0}")]
    NoSpace(String),
    #[error("{0} may not be accessed by the user this host is reached as")]
    NoAccess(String),
    #[error("{0}")]
    Io(String),
}

impl<T> MayGoOn for Result<T, FileError> {
    fn may_go_on(&self) -> Option<Duration> {
        match self.as_ref().err()? {
            FileError::Run(error) => error.may_go_on(),
            FileError::Cancelled
            | FileError::NoDatastore(_)
            | FileError::Outside(_)
            | FileError::Absent(_)
            | FileError::TooMuch(_)
            | FileError::WrongKind(_)
            | FileError::Busy(_)
            | FileError::NoSpace(_)
            | FileError::NoAccess(_)
            | FileError::Io(_) => None,
        }
    }
}

/// Runs `work` where it may block. Also waits for its end if the call is told to stop: `work`
/// itself must check `stop`.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(FileError::Io(error.to_string())))
}

/// The same for work that changes something on this machine: it is not begun if the machine has
/// seen a higher epoch.
async fn changing<T: Send + 'static>(
    charge: Option<Arc<Charge>>,
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    blocking(move || {
        charge.map_or(Ok(()), |charge| charge.hold()).map_err(RunError::from)?;
        work()
    })
    .await
}

impl Place {
    /// The datastore of that name, as `site` sees it.
    pub(crate) fn find(site: &Site, datastore: &str) -> Result<Self, FileError> {
        let root = site
            .roots
            .iter()
            .find(|(name, _)| name.as_str() == datastore)
            .map(|(_, root)| root.clone());
        match root {
            Some(root) if root.starts_with('/') => {
                Ok(Self { root, via: site.transport.clone(), charge: None })
            }
            Some(_) | None => Err(FileError::NoDatastore(format!(
                "host {} has no datastore {:?}, or no absolute directory for it",
                site.name,
                told(datastore)
            ))),
        }
    }

    /// The same place, for a call that may change it.
    pub(crate) fn held_by(self, charge: Option<Arc<Charge>>) -> Self {
        Self { charge, ..self }
    }

    fn is_local(&self) -> bool {
        matches!(self.via, ExecTransport::Local)
    }

    /// The absolute path of a file, after a check that it stays below the root. The last part of
    /// the path need not exist.
    pub(crate) async fn absolute_checked(
        &self,
        services: &Services,
        rel: Way,
        stop: &CancellationToken,
    ) -> Result<String, FileError> {
        let absolute = format!("{}/{rel}", self.root.trim_end_matches('/'));
        if self.is_local() {
            let root = self.root.clone();
            blocking(move || local::check(&root, &rel)).await?;
        } else {
            remote::check(services, self, &rel, stop).await?;
        }
        Ok(absolute)
    }

    /// Opens a socket of this machine, only to connect to it. Neither a symbolic link nor a race
    /// leads out of the root.
    pub(crate) async fn open_socket(self, rel: Way) -> Result<OwnedFd, FileError> {
        blocking(move || local::open_socket(&self.root, &rel)).await
    }

    pub(crate) async fn stat(
        self,
        services: &Services,
        rel: Way,
        stop: &CancellationToken,
    ) -> Result<Option<Stat>, FileError> {
        if self.is_local() {
            blocking(move || local::stat(&self.root, &rel)).await
        } else {
            remote::stat(services, &self, &rel, stop).await
        }
    }

    pub(crate) async fn list(
        self,
        services: &Services,
        rel: Way,
        stop: &CancellationToken,
    ) -> Result<Vec<String>, FileError> {
        if self.is_local() {
            blocking(move || local::list(&self.root, &rel)).await
        } else {
            remote::list(services, &self, &rel, stop).await
        }
    }

    pub(crate) async fn read(
        self,
        services: &Services,
        rel: Way,
        stop: &CancellationToken,
    ) -> Result<Option<Vec<u8>>, FileError> {
        if self.is_local() {
            blocking(move || local::read(&self.root, &rel)).await
        } else {
            remote::read(services, &self, &rel, stop).await
        }
    }

    pub(crate) async fn write(
        self,
        services: &Services,
        rel: Way,
        data: Vec<u8>,
        stop: &CancellationToken,
    ) -> Result<(), FileError> {
        if data.len() > SMALL_MAX {
            return Err(FileError::TooMuch(format!(
                "{} bytes for {rel}; at most {SMALL_MAX} can be written at once",
                data.len()
            )));
        }
        if self.is_local() {
            changing(self.charge.clone(), move || local::write(&self.root, &rel, &data)).await
        } else {
            remote::write(services, &self, &rel, data, stop).await
        }
    }

    pub(crate) async fn make_folder(
        self,
        services: &Services,
        rel: Way,
        stop: &CancellationToken,
    ) -> Result<(), FileError> {
        if self.is_local() {
            changing(self.charge.clone(), move || local::make_folder(&self.root, &rel)).await
        } else {
            remote::make_folder(services, &self, &rel, stop).await
        }
    }

    pub(crate) async fn remove(
        self,
        services: &Services,
        rel: Way,
        stop: &CancellationToken,
    ) -> Result<(), FileError> {
        if self.is_local() {
            let stop = stop.clone();
            changing(self.charge.clone(), move || local::remove(&self.root, &rel, &stop)).await
        } else {
            remote::remove(services, &self, &rel, stop).await
        }
    }

    pub(crate) async fn rename(
        self,
        services: &Services,
        rel: Way,
        to: Way,
        stop: &CancellationToken,
    ) -> Result<(), FileError> {
        if self.is_local() {
            changing(self.charge.clone(), move || local::rename(&self.root, &rel, &to)).await
        } else {
            remote::rename(services, &self, &rel, &to, stop).await
        }
    }

    pub(crate) async fn checksum(
        self,
        services: &Services,
        rel: Way,
        stop: &CancellationToken,
    ) -> Result<String, FileError> {
        if self.is_local() {
            let stop = stop.clone();
            blocking(move || local::checksum(&self.root, &rel, &stop)).await
        } else {
            remote::checksum(services, &self, &rel, stop).await
        }
    }

    /// Copies within one host.
    pub(crate) async fn copy(
        self,
        services: &Services,
        from: Self,
        from_rel: Way,
        rel: Way,
        progress: Progress,
        stop: &CancellationToken,
    ) -> Result<u64, FileError> {
        if self.is_local() {
            let stop = stop.clone();
            changing(self.charge.clone(), move || {
                part::copy(&from.root, &from_rel, &self.root, &rel, &progress, &stop)
            })
            .await
        } else {
            remote::copy(services, &self, (&from.root, &from_rel), &rel, stop).await
        }
    }

    /// Brings a file from another host. If both places are reached in the same way, this is a copy
    /// within one host.
    pub(crate) async fn fetch(
        self,
        services: &Services,
        from: Self,
        from_rel: Way,
        rel: Way,
        progress: Progress,
        stop: &CancellationToken,
    ) -> Result<u64, FileError> {
        if self.via == from.via {
            return self.copy(services, from, from_rel, rel, progress, stop).await;
        }
        fetch::fetch(services, (&from, from_rel), (&self, rel), &progress, stop).await
    }
}
