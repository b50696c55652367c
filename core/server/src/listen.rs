//! Connections: TCP and the unix socket, with limits, until the daemon ends.
//!
//! A request is read before its token is checked, so these limits hold for everybody. A client may
//! be slow to send, slow to read, or gone without closing its connection: each of these ends the
//! connection. One address cannot take all connections.

use crate::auth::OverUnixSocket;
use crate::peers::{Peer, Peers};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;

/// The bounds of one listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most connections at once; more wait to be accepted. Each costs two buffers and a task, about
    /// 20 KiB.
    connections: usize,
    /// Most connections of one address; more are closed at once.
    of_peer: usize,
    /// How long the head of a request may take. Also ends connections that are idle between
    /// requests for so long.
    head: Duration,
    /// How long a client may take nothing of an answer: it no longer reads, or it is gone. Its
    /// pipelined requests are not read meanwhile.
    stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            of_peer: 256,
            head: Duration::from_secs(30),
            stalled: Duration::from_secs(30),
        }
    }
}

/// The first: after so long without data, the kernel asks whether the other machine is still there.
/// The second: how often it asks again.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(10));
/// The largest head of a request: a token, a key and a path are well below 4 KiB.
const HEAD_MAX: usize = 32 * 1024;
/// Requests that are being served get this long to end after the daemon was told to end.
const END_GRACE: Duration = Duration::from_secs(10);
/// The name of the socket in its private folder, before it is renamed to its place.
const SOCKET: &str = "s";
/// After an accept that failed (mostly because of too many open files) the next one is tried this
/// much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A unix socket that is removed at the end.
pub(crate) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Binds the socket in a folder that only we may enter, sets its mode to 0600, and then renames
    /// it to `path`. So no other user can connect at any time, whatever the umask allows. A socket
    /// that a dead daemon left is replaced: the store is open already, so no other daemon of this
    /// data directory runs.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        let draft = private_folder(path)?;
        let listener = UnixListener::bind(draft.join(SOCKET))?;
        std::fs::set_permissions(draft.join(SOCKET), Permissions::from_mode(0o600))?;
        std::fs::rename(draft.join(SOCKET), path)?;
        std::fs::remove_dir(&draft)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until `stopping` is cancelled.
    pub(crate) async fn serve(self, router: Router, stopping: CancellationToken) {
        let router = router.layer(Extension(OverUnixSocket));
        serve(&self.listener, router, Limits::default(), stopping).await;
    }
}

/// Makes an empty folder beside `path` that nobody else may enter. A folder that a killed daemon
/// left is removed first.
fn private_folder(path: &Path) -> io::Result<PathBuf> {
    let mut folder = path.as_os_str().to_owned();
    folder.push(".new");
    let folder = PathBuf::from(folder);
    let left = [std::fs::remove_file(folder.join(SOCKET)), std::fs::remove_dir(&folder)];
    let there = |err: &io::Error| {
        !matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    };
    if let Some(err) = left.into_iter().filter_map(Result::err).find(there) {
        return Err(err);
    }
    // An older version of the daemon may have left the socket itself under this name.
    match std::fs::remove_file(&folder) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        Ok(()) | Err(_) => {}
    }
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to do.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves TCP until `stopping` is cancelled.
pub(crate) async fn serve_tcp(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stopping: CancellationToken,
) {
    serve(&listener, router, limits, stopping).await;
}

/// A listener for connections, over TCP or a unix socket.
trait Door: Sync {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and its peer.
    fn enter(
        &self,
        limits: &Limits,
    ) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn enter(&self, limits: &Limits) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = self.accept().await?;
        // Answers are written at once; waiting for more to send would only delay them.
        stream.set_nodelay(true)?;
        watch_over(&stream, limits.stalled)?;
        Ok((stream, Peer::at(address.ip())))
    }
}

/// A machine that is switched off does not close its connections. So the kernel has to find out:
/// with the first option while data is sent, with the others while a connection is quiet.
fn watch_over(stream: &TcpStream, stalled: Duration) -> io::Result<()> {
    sockopt::set_tcp_user_timeout(stream, u32::try_from(stalled.as_millis()).unwrap_or(u32::MAX))?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE.0)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE.1)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn enter(&self, _: &Limits) -> io::Result<(UnixStream, Peer)> {
        self.accept().await.map(|(stream, _)| (stream, Peer::local()))
    }
}

async fn serve<D: Door>(door: &D, router: Router, limits: Limits, stopping: CancellationToken) {
    let (places, peers) =
        (Arc::new(Semaphore::new(limits.connections)), Peers::new(limits.of_peer));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(HEAD_MAX);
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = next(&places, door, &limits) => accepted,
        };
        let (place, stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                tracing::warn!(%err, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(counted) = peers.enter(peer) else {
            tracing::debug!(
                ?peer,
                most = limits.of_peer,
                "a connection is closed: its address has too many"
            );
            continue;
        };
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(limits.stalled));
        let connection = http.serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(router.clone()),
        );
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(err) = connection.await {
                tracing::debug!(%err, "a connection ended early");
            }
            drop((place, counted));
        });
    }
    if tokio::time::timeout(END_GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time; their connections are closed");
    }
}

type Entered<D> = (OwnedSemaphorePermit, <D as Door>::Stream, Peer);

async fn next<D: Door>(
    places: &Arc<Semaphore>,
    door: &D,
    limits: &Limits,
) -> io::Result<Entered<D>> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = door.enter(limits).await?;
    Ok((place, stream, peer))
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
