//! Real HTTP servers on the loopback: in the clear, over TLS, and at a Unix socket.

#![allow(dead_code, reason = "each test binary uses a part")]

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, HOST, LOCATION};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The requests that a server has received: method, path, host and login.
pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

type AnyBody = BoxBody<Bytes, io::Error>;

fn text(text: impl Into<Bytes>) -> AnyBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// `bytes` zeros, 64 KiB at a time, and then nothing more, without an end.
fn zeros(bytes: usize, ends: bool) -> AnyBody {
    let pieces = futures::stream::unfold(bytes, move |left| async move {
        match left {
            0 if ends => None,
            0 => std::future::pending().await,
            left => {
                let now = left.min(64 * 1024);
                Some((Ok(Frame::data(Bytes::from(vec![b'0'; now]))), left - now))
            }
        }
    });
    StreamBody::new(pieces).map_err(|error: io::Error| error).boxed()
}

/// Answers by the first part of the path.
async fn answer(seen: Seen, request: Request<Incoming>) -> Result<Response<AnyBody>, io::Error> {
    let header = |name| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
    };
    let (host, login) = (header(HOST), header(AUTHORIZATION));
    let line = format!("{} {} {host} {login}", request.method(), request.uri());
    seen.lock().expect("not poisoned").push(line.clone());
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_start_matches('/').split('/');
    let (deed, number) = (parts.next(), parts.next().and_then(|part| part.parse().ok()));
    match (deed, number) {
        (Some("zeros"), Some(bytes)) => Ok(Response::new(zeros(bytes, true))),
        (Some("drip"), Some(bytes)) => Ok(Response::new(zeros(bytes, false))),
        (Some("away"), _) => {
            let mut answer = Response::new(text("go there"));
            *answer.status_mut() = hyper::StatusCode::FOUND;
            let there = hyper::header::HeaderValue::from_static("http://127.0.0.1:1/secret");
            answer.headers_mut().insert(LOCATION, there);
            Ok(answer)
        }
        (Some("silent"), _) => std::future::pending().await,
        (Some("hang-up"), _) => Err(io::Error::other("hung up")),
        _ => {
            let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
            let hash = format!("{:x}", Sha256::digest(&body));
            Ok(Response::new(text(format!("{line} {} {}", body.len(), &hash[..8]))))
        }
    }
}

async fn serve<S>(stream: S, seen: Seen)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(Arc::clone(&seen), request));
    // A client that leaves is no fault of the server.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// A server in the clear. Answers its port and the requests that it receives.
pub(crate) async fn plain() -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (port, seen) = (listener.local_addr().expect("bound").port(), Seen::default());
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&kept)));
        }
    });
    (port, seen)
}

/// A server at a Unix socket.
pub(crate) fn socket(path: &std::path::Path) -> Seen {
    let listener = tokio::net::UnixListener::bind(path).expect("a socket");
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&kept)));
        }
    });
    seen
}

/// A server over TLS, and what proves who it is.
pub(crate) struct Secure {
    pub(crate) port: u16,
    pub(crate) seen: Seen,
    /// The certificate of its authority, as PEM.
    pub(crate) ca: String,
    /// SHA-256 of its own certificate, as `openssl x509 -fingerprint` prints it.
    pub(crate) fingerprint: String,
}

/// A server over TLS whose certificate is for `name`.
pub(crate) async fn secure(name: &str) -> Secure {
    let mut params = CertificateParams::new(Vec::new()).expect("an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("signed");
    let own: CertificateDer<'static> = certificate.der().clone();
    let print = Sha256::digest(&own);
    let fingerprint: Vec<String> = print.iter().map(|byte| format!("{byte:02X}")).collect();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own], key)
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (port, seen) = (listener.local_addr().expect("bound").port(), Seen::default());
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen) = (acceptor.clone(), Arc::clone(&kept));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, seen).await;
                }
            });
        }
    });
    Secure { port, seen, ca: issuer.pem(), fingerprint: fingerprint.join(":") }
}

/// A port at which nobody listens.
pub(crate) async fn nobody() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("bound").port()
}
