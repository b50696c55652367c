//! Connections to HTTP servers: resolves a name, connects, proves who answers, and sends one request.

mod target;
mod tls;

pub(crate) use target::{Server, Target};
pub(crate) use tls::Proof;

use crate::files::{SocketError, connect_fixed};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, RootCertStore};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

/// The most bytes that are read ahead of a connection, and so the longest head of an answer.
const BUFFER_MAX: usize = 64 * 1024;
/// The most lookups of names at once, of all drivers together. Files have the other threads.
const BLOCKING_MAX: usize = 8;
/// The most headers of an answer.
const HEADERS_MAX: usize = 128;

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoConnection {
    #[error("the name {host} cannot be resolved: {source}")]
    Name { host: String, source: io::Error },
    #[error(
        "the name {host} leads to {address}, which is this machine or its own link; if that is \
         meant, write the address into the URL"
    )]
    Address { host: String, address: IpAddr },
    #[error("{at} cannot be connected to: {source}")]
    Connect { at: String, source: io::Error },
    #[error(transparent)]
    Socket(SocketError),
    #[error("{at} does not prove who it is: {problem}")]
    Certificate { at: String, problem: String },
    #[error("TLS with {at} failed: {problem}")]
    Tls { at: String, problem: String },
}

/// A stream of bytes to a server.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The parts of the network that all drivers of a host share.
pub(crate) struct Network {
    /// The certificate authorities of this machine. They are read once; a daemon that is started
    /// anew reads them again.
    roots: Arc<OnceLock<Arc<RootCertStore>>>,
    /// Places for work that blocks a thread. A resolver that hangs holds a thread also when nobody
    /// waits for its answer any more.
    blocking: Arc<Semaphore>,
}

impl Default for Network {
    fn default() -> Self {
        Self { roots: Arc::default(), blocking: Arc::new(Semaphore::new(BLOCKING_MAX)) }
    }
}

impl Network {
    /// Does work that blocks. It keeps its place until it has ended.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let place = Arc::clone(&self.blocking).acquire_owned().await.map_err(io::Error::other)?;
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        work.await.map_err(io::Error::other)?
    }

    async fn roots(&self) -> io::Result<Arc<RootCertStore>> {
        if let Some(read) = self.roots.get() {
            return Ok(Arc::clone(read));
        }
        let roots = Arc::clone(&self.roots);
        let read = move || Ok(Arc::clone(roots.get_or_init(|| Arc::new(tls::system_roots()))));
        self.blocking(read).await
    }
}

/// Connects to a server, which must prove itself.
pub(crate) async fn connect(
    server: &Server,
    proof: &Proof,
    network: &Network,
) -> Result<Box<dyn Stream>, NoConnection> {
    let (host, port, tls) = match server {
        Server::Unix(path) => {
            let stream = connect_fixed(path).await.map_err(NoConnection::Socket)?;
            return Ok(Box::new(stream));
        }
        Server::Tcp { host, port, tls } => (host, *port, *tls),
    };
    let tcp = connect_tcp(host, port, network).await?;
    if !tls {
        return Ok(Box::new(tcp));
    }
    let at = format!("{host}:{port}");
    let broken = |problem: String| NoConnection::Tls { at: at.clone(), problem };
    let system = match proof {
        Proof::System => network.roots().await.map_err(|error| broken(error.to_string()))?,
        // They name their own.
        Proof::Authorities(_) | Proof::Certificates(_) => Arc::new(RootCertStore::empty()),
    };
    let config = proof.config(&system).map_err(|error| broken(error.to_string()))?;
    let name = ServerName::try_from(host.clone()).map_err(|error| broken(error.to_string()))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    let stream = connected.map_err(|error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(problem)) => NoConnection::Certificate {
                at: at.clone(),
                problem: match problem {
                    CertificateError::ApplicationVerificationFailure => {
                        "its certificate has another fingerprint".to_owned()
                    }
                    other => other.to_string(),
                },
            },
            _ => broken(error.to_string()),
        }
    })?;
    Ok(Box::new(stream))
}

async fn connect_tcp(host: &str, port: u16, network: &Network) -> Result<TcpStream, NoConnection> {
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        // No resolver is asked (RFC 6761, section 6.3): a login is sent there in the clear.
        Err(_) if host == "localhost" => {
            vec![(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()]
        }
        Err(_) => resolve(host, port, network).await?,
    };
    // One after the other: servers of hypervisors have one or two addresses.
    let connected = TcpStream::connect(addresses.as_slice()).await;
    let stream = connected
        .map_err(|source| NoConnection::Connect { at: format!("{host}:{port}"), source })?;
    // A request is written in one piece, so waiting for more would only delay it.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// The addresses of a name. One that may not be connected to makes the whole name suspect.
async fn resolve(
    host: &str,
    port: u16,
    network: &Network,
) -> Result<Vec<SocketAddr>, NoConnection> {
    let name = host.to_owned();
    let lookup = move || Ok((name.as_str(), port).to_socket_addrs()?.collect::<Vec<_>>());
    let found = network.blocking(lookup).await;
    let addresses = found.map_err(|source| NoConnection::Name { host: host.to_owned(), source })?;
    let wrong = addresses.iter().find(|address| !target::may_resolve_to(address.ip()));
    if let Some(address) = wrong {
        return Err(NoConnection::Address { host: host.to_owned(), address: address.ip() });
    }
    Ok(addresses)
}

/// The two halves of a connection: requests, and the work that must go on meanwhile.
pub(crate) type Sent<B> = (SendRequest<B>, Connection<TokioIo<Box<dyn Stream>>, B>);

/// Speaks HTTP/1.1 over a stream.
pub(crate) async fn speak<B>(stream: Box<dyn Stream>) -> Result<Sent<B>, hyper::Error>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = Builder::new();
    builder.max_buf_size(BUFFER_MAX).max_headers(HEADERS_MAX);
    builder.handshake(TokioIo::new(stream)).await
}

/// The answer of a server.
pub(crate) type Answer = hyper::Response<Incoming>;
