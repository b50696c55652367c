//! Real sockets whose other end misbehaves.

use super::*;
use axum::body::Bytes;
use axum::routing::get;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longer than anything here takes; a test that waits so long has failed.
const SOON: Duration = Duration::from_secs(20);
/// More than the buffers of a connection hold.
const LARGE: usize = 16 * 1024 * 1024;

/// A server that has one large and one small answer.
async fn served(limits: Limits) -> (std::net::SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stopping, body) = (CancellationToken::new(), Bytes::from(vec![b'x'; LARGE]));
    let router = Router::new()
        .route("/", get(move || std::future::ready(body.clone())))
        .route("/small", get(|| std::future::ready("small")));
    tokio::spawn(serve_tcp(listener, router, limits, stopping.clone()));
    (address, stopping)
}

async fn asked(address: std::net::SocketAddr, path: &str, times: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(times);
    stream.write_all(request.as_bytes()).await.expect("it is taken");
    stream
}

/// How many bytes come until the other side ends the connection.
async fn drained(stream: &mut TcpStream) -> usize {
    let (mut total, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        match tokio::time::timeout(SOON, stream.read(&mut buffer))
            .await
            .expect("it goes on or ends")
        {
            Ok(0) | Err(_) => return total,
            Ok(count) => total += count,
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection_and_its_place() {
    let limits =
        Limits { connections: 4, stalled: Duration::from_millis(500), ..Limits::default() };
    let (address, _stopping) = served(limits).await;
    // All places are taken by clients that ask for much, many times over, and read nothing.
    let mut idle = Vec::new();
    for _ in 0..limits.connections {
        idle.push(asked(address, "/", 50).await);
    }
    // As many others are served once all these places are free: each keeps the place that it has
    // got.
    let mut honest = Vec::new();
    for _ in 0..limits.connections {
        let mut stream = asked(address, "/small", 1).await;
        let mut first = [0; 15];
        tokio::time::timeout(SOON, stream.read_exact(&mut first))
            .await
            .expect("a place gets free")
            .expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        honest.push(stream);
    }
    for stream in &mut idle {
        assert!(drained(stream).await < LARGE, "an answer that nobody took was finished");
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_served() {
    let limits = Limits { stalled: Duration::from_secs(2), ..Limits::default() };
    let (address, _stopping) = served(limits).await;
    let (begun, mut stream) = (Instant::now(), asked(address, "/", 1).await);
    let (mut total, mut buffer) = (0, vec![0; 1024 * 1024]);
    while total < LARGE {
        // A part takes much less than the limit, so that a busy machine cuts nobody off.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let count = tokio::time::timeout(SOON, stream.read(&mut buffer))
            .await
            .expect("in time")
            .expect("readable");
        assert!(count > 0, "it was cut off after {total} bytes");
        total += count;
    }
    assert!(begun.elapsed() > limits.stalled, "the whole answer takes longer than the limit");
}

#[tokio::test]
async fn a_connection_that_waits_is_watched_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let _client = TcpStream::connect(address).await.expect("a connection");
    let (stream, peer) = listener.enter(&Limits::default()).await.expect("a connection");
    assert_eq!(peer, Peer::Local);
    assert!(sockopt::socket_keepalive(&stream).expect("readable"));
    assert_eq!(sockopt::tcp_user_timeout(&stream).expect("readable"), 30_000);
}

#[tokio::test]
async fn nobody_else_ever_sees_the_socket_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ostler.sock");
    // A daemon that was killed has left a folder. Further below, an older daemon has left a socket
    // under the same name.
    let left = folder.path().join("ostler.sock.new");
    std::fs::create_dir(&left).expect("a folder");
    std::fs::write(left.join(SOCKET), "").expect("a file");
    let draft = private_folder(&path).expect("a folder");
    assert_eq!(std::fs::metadata(&draft).expect("it is there").mode() & 0o777, 0o700);
    std::fs::remove_dir(&draft).expect("it is empty");
    std::fs::write(&left, "").expect("a file");
    let socket = UnixSocket::bind(&path).expect("a socket");
    assert_eq!(std::fs::metadata(&path).expect("it is there").mode() & 0o777, 0o600);
    assert!(!left.exists());
    drop(socket);
    assert!(!path.exists());
}
