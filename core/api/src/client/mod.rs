//! A typed client with one method per route, over TCP or a unix socket.

mod endpoint;
mod events;
mod resources;
mod vms;

pub use endpoint::{Endpoint, InvalidEndpoint, SOCKET_NAME, default_data_dir};
pub use events::{EventFilter, EventStream};
pub use vms::{ListFilter, Sent};

use crate::Problem;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The longest answer that is read. A page of 1,000 VMs has a third of a MiB, so no real answer is
/// longer.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// How long it may take to connect. The daemon is on this machine or near it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take, beyond the time that the request itself asks to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The reason why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The daemon refused the request. The problem says why.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// The daemon could not be reached.
    #[error("cannot reach ostlerd at {endpoint}")]
    Unreachable {
        /// The endpoint that was tried.
        endpoint: String,
        /// The error of the HTTP library.
        #[source]
        source: reqwest::Error,
    },
    /// No answer came in time.
    #[error(
        "ostlerd at {endpoint} did not answer in time; what was asked may or may not have been done"
    )]
    TimedOut {
        /// The endpoint of the daemon.
        endpoint: String,
    },
    /// The answer cannot be understood.
    #[error("the answer of {endpoint} is not what an ostlerd says: {detail}")]
    Garbled {
        /// The endpoint of the daemon.
        endpoint: String,
        /// The reason why it cannot be understood.
        detail: String,
    },
    /// The client could not be made.
    #[error("cannot make an HTTP client")]
    Setup(#[source] reqwest::Error),
}

/// A client of one daemon. A clone is cheap and shares the open connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    endpoint: String,
    token: Option<String>,
}

impl Client {
    /// Makes a client. It connects with its first request.
    ///
    /// # Errors
    /// The HTTP library cannot be set up.
    pub fn new(endpoint: &Endpoint, token: Option<String>) -> Result<Self, ClientError> {
        // Only http:// and unix: are spoken to, so no certificate authority is read. The library
        // wants an implementation of TLS all the same, and one that is there already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .tls_certs_only(std::iter::empty())
            .user_agent(concat!("ostler/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        let builder = match endpoint {
            Endpoint::Unix(path) => builder.unix_socket(path.as_path()),
            Endpoint::Http(_) => builder,
        };
        let http = builder.build().map_err(ClientError::Setup)?;
        Ok(Self { http, base: endpoint.base(), endpoint: endpoint.to_string(), token })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request =
            self.http.request(method, format!("{}{path}", self.base)).timeout(ANSWER_TIMEOUT);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|err| self.failed(err))?;
        if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let status = response.status();
        let body = self.body(response).await?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(self.garbled(format!("status {status} without a problem"))),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|err| self.failed(err))? {
            if body.len() + chunk.len() > ANSWER_MAX {
                return Err(self.garbled(format!("it is longer than {ANSWER_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|err| self.garbled(err.to_string()))
    }

    /// Sends a `GET` and reads the answer as JSON.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.answer(self.request(Method::GET, path)).await
    }

    /// Sends a `GET` and reads the answer as text.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let response = self.send(self.request(Method::GET, path)).await?;
        Ok(String::from_utf8_lossy(&self.body(response).await?).into_owned())
    }

    async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.answer(self.request(Method::POST, path).json(body)).await
    }

    async fn patch<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.answer(self.request(Method::PATCH, path).json(body)).await
    }

    async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, path)).await.map(|_| ())
    }

    fn failed(&self, source: reqwest::Error) -> ClientError {
        if source.is_timeout() && !source.is_connect() {
            return ClientError::TimedOut { endpoint: self.endpoint.clone() };
        }
        ClientError::Unreachable { endpoint: self.endpoint.clone(), source }
    }

    fn garbled(&self, detail: String) -> ClientError {
        ClientError::Garbled { endpoint: self.endpoint.clone(), detail }
    }
}

/// Escapes a text as one part of a path: everything except letters, digits and `.-_`.
pub(crate) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    // "." and ".." would be read as steps between directories.
    if escaped.chars().all(|c| c == '.') { escaped.replace('.', "%2E") } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_path_stays_in_one_piece() {
        assert_eq!(segment("web-1"), "web-1");
        assert_eq!(segment("a/b?c#d e"), "a%2Fb%3Fc%23d%20e");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
