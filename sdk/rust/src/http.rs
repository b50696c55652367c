//! Requests and answers of HTTP, and the errors that a driver makes of them.

use crate::Error;
use std::time::Duration;

/// The header and its value that stand for the login of the endpoint.
const LOGIN: (&str, &str) = ("authorization", "{login}");
/// How many bytes of a body an error repeats: a few lines for people.
const TOLD: usize = 512;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The name of the endpoint in the manifest.
    pub endpoint: String,
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path and the query: `/vms?state=on`. It comes after the path of the endpoint's URL.
    pub path: String,
    /// Headers by name. The host sets `host`, and the SDK sets `content-length`.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long the connection may take. The host waits at most 10 seconds.
    pub connect_within: Option<Duration>,
    /// How long the head of the answer, and then each part of its body, may take. If none, until
    /// the call's deadline.
    pub answer_within: Option<Duration>,
}

impl Request {
    /// A request with any method.
    #[must_use]
    pub fn new(method: &str, endpoint: &str, path: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            connect_within: None,
            answer_within: None,
        }
    }

    /// Asks for something.
    #[must_use]
    pub fn get(endpoint: &str, path: &str) -> Self {
        Self::new("GET", endpoint, path)
    }

    /// Has the server do something, with a body.
    #[must_use]
    pub fn post(endpoint: &str, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new("POST", endpoint, path) }
    }

    /// Puts something in a place.
    #[must_use]
    pub fn put(endpoint: &str, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new("PUT", endpoint, path) }
    }

    /// Removes something.
    #[must_use]
    pub fn delete(endpoint: &str, path: &str) -> Self {
        Self::new("DELETE", endpoint, path)
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With the login of the endpoint. The host puts it in, so the driver never sees the secret.
    #[must_use]
    pub fn login(self) -> Self {
        self.header(LOGIN.0, LOGIN.1)
    }

    /// With a body of JSON.
    #[must_use]
    pub fn json(self) -> Self {
        self.header("content-type", "application/json").header("accept", "application/json")
    }

    /// With a limit for the head of the answer, and then for each part of its body.
    #[must_use]
    pub const fn answer_within(mut self, limit: Duration) -> Self {
        self.answer_within = Some(limit);
        self
    }

    /// With a limit for the connection.
    #[must_use]
    pub const fn connect_within(mut self, limit: Duration) -> Self {
        self.connect_within = Some(limit);
        self
    }

    /// Whether the server may do something because of it (RFC 9110, section 9.2.1).
    pub(crate) fn changes(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    /// The request for people, without its query, which may hold a token.
    pub(crate) fn told(&self) -> String {
        let path = self.path.split_once('?').map_or(self.path.as_str(), |(path, _)| path);
        format!("{} {path} of endpoint {}", self.method, self.endpoint)
    }

    /// The error for a request that has no answer, by the code of the host.
    #[cfg_attr(not(target_family = "wasm"), allow(dead_code))] // only a real host fails so
    pub(crate) fn failed(&self, code: &str, detail: &str) -> Error {
        let detail = format!("{}: {detail}", self.told());
        match code {
            "cancelled" => Error::cancelled(detail),
            "interrupted" if !self.changes() => Error::cancelled(detail),
            "not-local" => Error::not_here(code, detail),
            // Nothing was sent. A socket that is not there says nothing about a domain.
            "unreachable" | "certificate" | "tls" | "no-socket" | "refused" | "busy" => {
                Error::retry(code, detail)
            }
            "denied" | "bad-argument" | "bad-endpoint" | "not-configured" | "no-secret"
            | "no-host" | "no-access" | "wrong-kind" | "forbidden-address"
            | "too-many-requests" => Error::refused(code, detail),
            _ if self.changes() => Error::unknown(code, detail),
            "too-large" => Error::refused(code, detail),
            _ => Error::retry(code, detail),
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers by name, in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
    pub(crate) asked: String,
    pub(crate) changes: bool,
}

impl Response {
    /// An answer, as a test makes it.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let (headers, body, asked) = (Vec::new(), body.into(), String::new());
        Self { status, headers, body, asked, changes: true }
    }

    /// With a header, as a test makes it.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The first header of that name, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The answer, if its status says that the server has done what was asked.
    ///
    /// # Errors
    /// With the code `http-STATUS`: `gone` for 404 and 410; `retry` for 401 (log in again), 425
    /// and 429, after which the server has done nothing; `unknown` for 408 and 5xx, or `retry` if
    /// the request changes nothing; `refused` for all others. 503 is among them: a proxy says so,
    /// too, when the server died after it took the request.
    pub fn success(self) -> Result<Self, Error> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let code = format!("http-{}", self.status);
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(TOLD)]).into_owned();
        let detail = format!("{} was answered with {}: {}", self.asked, self.status, text.trim());
        Err(match self.status {
            404 | 410 => Error::gone(code, detail),
            401 | 425 | 429 => Error::retry(code, detail),
            408 | 500.. if self.changes => Error::unknown(code, detail),
            408 | 500.. => Error::retry(code, detail),
            _ => Error::refused(code, detail),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind::{Cancelled, Gone, NotHere, Refused, Retry, Unknown};

    #[test]
    fn a_request_without_an_answer_has_the_safe_kind() {
        let (get, post) = (Request::get("api", "/a?b"), Request::post("api", "/a?b", "x"));
        for (code, of_get, of_post) in [
            ("unreachable", Retry, Retry),
            ("certificate", Retry, Retry),
            ("no-socket", Retry, Retry),
            ("lost", Retry, Unknown),
            ("timeout", Retry, Unknown),
            ("a code of a later host", Retry, Unknown),
            ("too-large", Refused, Unknown),
            ("denied", Refused, Refused),
            ("no-secret", Refused, Refused),
            ("not-local", NotHere, NotHere),
            ("cancelled", Cancelled, Cancelled),
            ("interrupted", Cancelled, Unknown),
        ] {
            assert_eq!(get.failed(code, "").kind, of_get, "{code}");
            assert_eq!(post.failed(code, "").kind, of_post, "{code}");
        }
        let told = post.failed("lost", "broken pipe").detail;
        assert_eq!(told, "POST /a of endpoint api: broken pipe", "without the query");
    }

    #[test]
    fn a_status_has_the_safe_kind() {
        let kind = |status, changes| {
            let answer = Response { changes, ..Response::new(status, "why") };
            answer.success().map(|answer| answer.status).map_err(|error| error.kind)
        };
        for status in [200, 204, 299] {
            assert_eq!(kind(status, true), Ok(status));
        }
        for (status, of_get, of_post) in [
            (301, Refused, Refused),
            (401, Retry, Retry),
            (403, Refused, Refused),
            (404, Gone, Gone),
            (409, Refused, Refused),
            (429, Retry, Retry),
            (500, Retry, Unknown),
            (502, Retry, Unknown),
            (408, Retry, Unknown),
            (503, Retry, Unknown),
            (504, Retry, Unknown),
        ] {
            assert_eq!(kind(status, false), Err(of_get), "{status}");
            assert_eq!(kind(status, true), Err(of_post), "{status}");
        }
    }
}
