//! A real web server on the loopback, with an authority of its own. It also answers in the clear, on
//! the same port.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The answer at a path.
#[derive(Clone)]
pub(crate) enum Page {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A redirect.
    Away(String),
    /// This status, these header lines (each with its line end), and this body.
    Answer(&'static str, String, &'static str),
    /// These pages, one for each request. The last one stays.
    Turns(Vec<Page>),
    /// A body that claims to have so many bytes. Nothing of it comes.
    Claims(u64),
    /// A body without a length and without an end.
    Endless,
    /// No answer at all.
    Silent,
}

type Pages = Arc<Mutex<BTreeMap<String, Page>>>;

/// A server. It ends when it is dropped.
pub(crate) struct Web {
    /// `https://localhost:PORT`.
    pub(crate) url: String,
    /// `127.0.0.1:PORT`, in the clear.
    pub(crate) host: String,
    /// The file with the certificate of its authority.
    pub(crate) authority: PathBuf,
    pages: Pages,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Web {
    /// A server whose authority is written into this folder.
    pub(crate) fn start(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("signed");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let own: CertificateDer<'static> =
            params.signed_by(&key, &issuer).expect("signed").der().clone();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![own], key)
            .expect("a certificate and its key");
        let authority = folder.join("authority.pem");
        std::fs::write(&authority, issuer.pem()).expect("written");
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let bound = TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(bound).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (pages, acceptor) = (Pages::default(), TlsAcceptor::from(Arc::new(config)));
        let served = Arc::clone(&pages);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, pages) = (acceptor.clone(), Arc::clone(&served));
                tokio::spawn(async move {
                    // The first byte of TLS. A client that leaves is no fault of the server.
                    let mut first = [0];
                    if !matches!(stream.peek(&mut first).await, Ok(1)) {
                        return;
                    }
                    if first != [0x16] {
                        let _ = answer(stream, pages).await;
                    } else if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = answer(stream, pages).await;
                    }
                });
            }
        });
        let url = format!("https://localhost:{port}");
        let host = format!("127.0.0.1:{port}");
        Self { url, host, authority, pages, runtime: Some(runtime) }
    }

    /// Serves a page at this path. Answers its URL.
    pub(crate) fn page(&self, path: &str, page: Page) -> String {
        self.pages.lock().expect("not poisoned").insert(path.to_owned(), page);
        format!("{}{path}", self.url)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Answers one request, and closes the connection.
async fn answer<S>(mut stream: S, pages: Pages) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    let page = {
        let mut pages = pages.lock().expect("not poisoned");
        match pages.get_mut(path) {
            Some(Page::Turns(turns)) if turns.len() > 1 => Some(turns.remove(0)),
            Some(Page::Turns(turns)) => turns.first().cloned(),
            page => page.cloned(),
        }
    };
    let close = "connection: close\r\n";
    match page {
        None => {
            let empty = format!("HTTP/1.1 404 Not Found\r\n{close}content-length: 0\r\n\r\n");
            stream.write_all(empty.as_bytes()).await?;
        }
        Some(Page::Bytes(bytes)) => {
            let head = format!("HTTP/1.1 200 OK\r\n{close}content-length: {}\r\n\r\n", bytes.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&bytes).await?;
        }
        Some(Page::Away(to)) => {
            let head =
                format!("HTTP/1.1 302 Found\r\n{close}location: {to}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
        }
        Some(Page::Answer(status, headers, body)) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\n{close}{headers}content-length: {length}\r\n");
            stream.write_all(format!("{head}\r\n{body}").as_bytes()).await?;
        }
        Some(Page::Claims(size)) => {
            let head = format!("HTTP/1.1 200 OK\r\n{close}content-length: {size}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.flush().await?;
            std::future::pending::<()>().await;
        }
        Some(Page::Endless) => {
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{close}\r\n").as_bytes()).await?;
            let part = vec![0; 1024 * 1024];
            // It ends when the client leaves.
            loop {
                stream.write_all(&part).await?;
            }
        }
        Some(Page::Silent | Page::Turns(_)) => std::future::pending().await,
    }
    stream.flush().await?;
    stream.shutdown().await
}
