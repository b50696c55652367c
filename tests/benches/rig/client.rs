//! A minimal HTTP/1.1 client over a unix socket: connections are kept, and an answer is read into
//! one buffer. A benchmark should measure the daemon, and both run on the same machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc};

/// The largest answer that is read. A page of 1,000 VMs has a quarter of it.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// One connection.
pub(crate) struct Connection {
    stream: UnixStream,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body, read as JSON.
    ///
    /// # Panics
    /// When the request was refused, or the body is no JSON.
    #[must_use]
    pub(crate) fn json(&self) -> serde_json::Value {
        assert!(
            self.status < 300,
            "status {}: {}",
            self.status,
            String::from_utf8_lossy(&self.body)
        );
        serde_json::from_slice(&self.body).expect("answers are JSON")
    }

    /// A number in the body. It is found without parsing the rest.
    ///
    /// # Panics
    /// When the request was refused, or there is no such number.
    #[must_use]
    pub(crate) fn number(&self, field: &str) -> u64 {
        let text = String::from_utf8_lossy(&self.body);
        assert!(self.status < 300, "status {}: {text}", self.status);
        number(&text, field).unwrap_or_else(|| panic!("no {field} in {text}"))
    }
}

/// The number after the first `"field":` in a text.
#[must_use]
pub(crate) fn number(text: &str, field: &str) -> Option<u64> {
    let at = text.find(&format!("\"{field}\":"))? + field.len() + 3;
    let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
    text[at..at + digits].parse().ok()
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub(crate) async fn open(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        Ok(Self { stream, out: Vec::with_capacity(1024), buffer: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the connection breaks, or the reply is not an HTTP answer.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> std::io::Result<Answer> {
        self.out.clear();
        self.out.extend_from_slice(format!("{method} {path} HTTP/1.1\r\nhost: o\r\n").as_bytes());
        if let Some(body) = body {
            let head =
                format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
            self.out.extend_from_slice(head.as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(body.unwrap_or_default().as_bytes());
        self.stream.write_all(&self.out).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> std::io::Result<Answer> {
        let broken = |what: &str| std::io::Error::other(what.to_owned());
        self.buffer.clear();
        let (mut head, mut length) = (None, 0);
        while head.is_none_or(|head| self.buffer.len() < head + length) {
            if self.stream.read_buf(&mut self.buffer).await? == 0 || self.buffer.len() > ANSWER_MAX
            {
                return Err(broken("the answer broke off"));
            }
            if head.is_none()
                && let Some(end) = find(&self.buffer, b"\r\n\r\n")
            {
                head = Some(end + 4);
                length = content_length(&self.buffer[..end])
                    .ok_or_else(|| broken("an answer without a length"))?;
                self.buffer.reserve(length);
            }
        }
        let head = head.unwrap_or_default();
        let status =
            std::str::from_utf8(&self.buffer[9..12]).ok().and_then(|text| text.parse().ok());
        Ok(Answer {
            status: status.ok_or_else(|| broken("an answer without a status"))?,
            body: self.buffer[head..].to_vec(),
        })
    }

    /// Sends a request whose answer never ends. Gives the stream.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn stream(mut self, path: &str) -> std::io::Result<UnixStream> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: o\r\n\r\n").as_bytes()).await?;
        Ok(self.stream)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length: ";
    let at = find(head, NAME)? + NAME.len();
    let digits = head[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&head[at..at + digits]).ok()?.parse().ok()
}

/// Connections that many tasks share. Each task takes one for a request and puts it back.
#[derive(Clone)]
pub(crate) struct Pool {
    back: mpsc::Sender<Connection>,
    free: Arc<Mutex<mpsc::Receiver<Connection>>>,
    socket: PathBuf,
}

impl Pool {
    /// Opens `size` connections.
    ///
    /// # Panics
    /// When nobody listens.
    pub(crate) async fn open(socket: &Path, size: usize) -> Self {
        let (back, free) = mpsc::channel(size);
        for _ in 0..size {
            let connection = Connection::open(socket).await.expect("the daemon listens");
            back.try_send(connection).expect("there is a place for each");
        }
        Self { back, free: Arc::new(Mutex::new(free)), socket: socket.to_owned() }
    }

    /// Sends one request. Answers how long the answer took, without the wait for a connection.
    ///
    /// # Panics
    /// When the connection breaks.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> (Answer, std::time::Duration) {
        let mut connection = self.free.lock().await.recv().await.expect("the pool is open");
        let began = std::time::Instant::now();
        let answer = connection.send(method, path, body).await.expect("the daemon answers");
        let took = began.elapsed();
        self.back.try_send(connection).expect("there is a place for each");
        (answer, took)
    }

    /// The socket that the pool connects to.
    #[must_use]
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}
