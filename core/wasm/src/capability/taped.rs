//! Calls to the host on a cassette: each capability makes its call through [`Env::taped`].

use super::kept::{Part, Taped, bytes};
use super::{Env, error};
use crate::bindings::ostler::driver::types::{Error, ErrorKind};
use crate::cassette::Turn;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use serde_json::{Map, Value, json};
use std::future::{Future, pending};
use std::sync::Arc;
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;
use wasmtime_wasi_http::{RequestOptions, WasiBody};

/// The largest body of a request on a cassette.
const BODY_MAX: usize = 64 * 1024 * 1024;

/// An answer of an HTTP server, and its connection if there is one.
pub(super) type Sent = Result<(Response<WasiBody>, Option<AbortOnDropJoinHandle<()>>), Error>;

impl Env {
    /// Makes a call to the host. With a cassette it is recorded, or answered by the cassette: then
    /// `work` is not done. Values of secrets are taken out of what is recorded.
    ///
    /// # Errors
    /// The cassette has another call there: the instance must end.
    pub(super) async fn taped<A: Taped>(
        &self,
        does: &str,
        with: impl FnOnce() -> Value,
        work: impl Future<Output = A>,
    ) -> wasmtime::Result<A> {
        let Some(tape) = &self.tape else { return Ok(work.await) };
        match tape.turn(does, self.clean(with())).map_err(wasmtime::Error::msg)? {
            Turn::Real(number) => {
                let answer = work.await;
                tape.answered(number, self.clean(answer.kept()));
                Ok(answer)
            }
            Turn::Kept(Some(kept)) => A::played(&kept).ok_or_else(|| {
                wasmtime::Error::msg(format!("the cassette's answer to {does} is no such answer"))
            }),
            // It was not answered before the driver was dropped.
            Turn::Kept(None) => pending().await,
        }
    }

    /// A value without the values of secrets.
    fn clean(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.handed.scrubbed(
                text.as_bytes(),
                text.len().max(1024) * 2,
                false,
            )),
            Value::Array(list) => list.into_iter().map(|value| self.clean(value)).collect(),
            Value::Object(map) => {
                let clean = |(key, value)| (key, self.clean(value));
                Value::Object(map.into_iter().map(clean).collect())
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
        }
    }

    /// Sends a request to an endpoint. On a cassette it is one call, with both bodies.
    pub(super) async fn sent(
        self: &Arc<Self>,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> wasmtime::Result<Sent> {
        if self.tape.is_none() {
            let sent = self.request(request, options).await;
            return Ok(sent.map(|(answer, connection)| (answer, Some(connection))));
        }
        let (parts, body) = request.into_parts();
        if let Err(denied) = self.endpoint(&parts.uri) {
            return Ok(Err(denied));
        }
        let body = match Limited::new(body, BODY_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(problem) => return Ok(Err(error(ErrorKind::Unknown, "lost", problem.to_string()))),
        };
        let with = told(&parts, &body);
        let work = self.kept(Request::from_parts(parts, full(body)), options);
        let kept: Result<Kept, Error> = self.taped("http.request", || with, work).await?;
        Ok(match kept {
            Ok(kept) => Ok((kept.response()?, None)),
            Err(error) => Err(error),
        })
    }

    /// Sends a request, and waits for the whole answer.
    async fn kept(
        self: &Arc<Self>,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Kept, Error> {
        // The connection works until it is dropped.
        let (answer, _connection) = self.request(request, options).await?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|problem| {
            error(ErrorKind::Unknown, "lost", format!("the answer's body: {problem:?}"))
        })?;
        let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let headers = parts.headers.iter().map(header).collect();
        Ok(Kept { status: parts.status.as_u16(), headers, body: body.to_bytes().to_vec() })
    }
}

fn full(body: Bytes) -> WasiBody {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// A request as it is recorded.
fn told(parts: &Parts, body: &Bytes) -> Value {
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes())))
    };
    let headers: Map<String, Value> = parts.headers.iter().map(header).collect();
    json!({
        "request": format!("{} {}", parts.method, parts.uri),
        "headers": headers,
        "body": bytes(body),
    })
}

/// A whole answer of an HTTP server.
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Kept {
    fn response(self) -> wasmtime::Result<Response<WasiBody>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        Ok(response.body(full(self.body.into()))?)
    }
}

impl Part for Kept {
    fn kept(&self) -> Value {
        json!({ "status": self.status, "headers": self.headers, "body": bytes(&self.body) })
    }

    fn played(value: &Value) -> Option<Self> {
        Some(Self {
            status: u16::try_from(value.get("status")?.as_u64()?).ok()?,
            headers: serde_json::from_value(value.get("headers")?.clone()).ok()?,
            body: Part::played(value.get("body")?)?,
        })
    }
}
