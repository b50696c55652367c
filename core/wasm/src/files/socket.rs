//! Connections to Unix sockets on this machine.

use super::{FileError, Place, Way};
use rustix::fd::AsRawFd;
use std::io::{Error, ErrorKind};
use tokio::net::UnixStream;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error(transparent)]
    File(FileError),
    #[error("there is no socket {0}")]
    Absent(String),
    #[error("nobody listens at {0}: {1}")]
    Refused(String, Error),
    #[error("too many others wait to be served at {0}")]
    Busy(String),
    #[error("{0} may not be connected to by the user this host is reached as")]
    NoAccess(String),
    #[error("{0} is no socket for streams")]
    NoSocket(String),
}

/// Connects to an absolute path.
pub(crate) async fn connect_fixed(path: &str) -> Result<UnixStream, SocketError> {
    UnixStream::connect(path).await.map_err(|problem| explain(path, problem))
}

/// Connects to a file of a datastore. The file is opened below the datastore's root and connected
/// to by that descriptor, so no symbolic link and no race leads out.
pub(crate) async fn connect_file(place: Place, rel: Way) -> Result<UnixStream, SocketError> {
    let file = place.open_socket(rel.clone()).await.map_err(|problem| match problem {
        FileError::Absent(what) => SocketError::Absent(what),
        FileError::WrongKind(what) => SocketError::NoSocket(what),
        other => SocketError::File(other),
    })?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let connected = UnixStream::connect(&path).await;
    drop(file);
    connected.map_err(|problem| explain(&rel.to_string(), problem))
}

fn explain(what: &str, problem: Error) -> SocketError {
    let what = what.to_owned();
    match problem.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => SocketError::Absent(what),
        ErrorKind::WouldBlock => SocketError::Busy(what),
        ErrorKind::PermissionDenied => SocketError::NoAccess(what),
        ErrorKind::InvalidInput => SocketError::NoSocket(what),
        _ if problem.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
            SocketError::NoSocket(what)
        }
        _ => SocketError::Refused(what, problem),
    }
}
