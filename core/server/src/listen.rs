//! Connections: TCP and the unix socket, with limits, until the daemon ends.

use crate::auth::OverUnixSocket;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Most connections of one listener at once; more wait to be accepted. Each costs two buffers and a task, about 20 KiB.
const CONNECTIONS_MAX: usize = 1024;
/// How long the head of a request may take. Also ends connections that are idle between requests for so long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head of a request: a token, a key and a path are well below 4 KiB.
const HEAD_MAX: usize = 32 * 1024;
/// Requests in hand get this long to end after the daemon was told to.
const END_GRACE: Duration = Duration::from_secs(10);
/// After an accept that failed (too many open files, mostly) it is tried again this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A unix socket that is removed at the end.
pub(crate) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Binds the socket, with mode 0600 before anybody can connect. Takes the place of one that a dead daemon left: the store is
    /// open already, so no other daemon of this data directory lives.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        match std::fs::remove_file(&draft) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&draft)?;
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&draft, path)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until the end.
    pub(crate) async fn serve(self, router: Router, stopping: CancellationToken) {
        let router = router.layer(Extension(OverUnixSocket));
        serve(&self.listener, router, stopping).await;
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to do.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves TCP until the end.
pub(crate) async fn serve_tcp(listener: TcpListener, router: Router, stopping: CancellationToken) {
    serve(&listener, router, stopping).await;
}

/// Where connections come in.
trait Door: Sync {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    fn enter(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn enter(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // Answers are written at once; waiting for more to send would only delay them.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn enter(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

async fn serve<D: Door>(door: &D, router: Router, stopping: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_MAX);
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = next(&places, door) => accepted,
        };
        let (place, stream) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                tracing::warn!(%err, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(err) = connection.await {
                tracing::debug!(%err, "a connection ended early");
            }
            drop(place);
        });
    }
    if tokio::time::timeout(END_GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time; their connections are closed");
    }
}

async fn next<D: Door>(places: &Arc<Semaphore>, door: &D) -> io::Result<(OwnedSemaphorePermit, D::Stream)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    Ok((place, door.enter().await?))
}
