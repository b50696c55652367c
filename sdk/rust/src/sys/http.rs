//! Requests through `wasi:http`, to their end.

use crate::Error;
use crate::http::{Request, Response};
use std::time::Duration;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method,
    OutgoingBody, OutgoingRequest, RequestOptions, Scheme, http_error_code,
};
use wasip2::io::streams::{OutputStream, StreamError};

/// How many bytes of a body are read at once.
const PIECE: u64 = 64 * 1024;

/// A code and a text of the host.
struct Failed(String, String);

impl Failed {
    fn argument(detail: impl Into<String>) -> Self {
        Self("bad-argument".to_owned(), detail.into())
    }

    fn lost(detail: impl Into<String>) -> Self {
        Self("lost".to_owned(), detail.into())
    }

    /// The code and the text that the host has made one text of.
    fn told(text: &str) -> Option<Self> {
        let (code, detail) = text.split_once(": ")?;
        Some(Self(code.to_owned(), detail.to_owned()))
    }
}

/// The host puts its code before the text. Its runtime has errors of its own beside these.
impl From<ErrorCode> for Failed {
    fn from(error: ErrorCode) -> Self {
        if let ErrorCode::InternalError(Some(text)) = &error
            && let Some(told) = Self::told(text)
        {
            return told;
        }
        Self("http-error".to_owned(), format!("{error:?}"))
    }
}

pub(crate) fn send(request: &Request) -> Result<Response, Error> {
    let answer = begin(request).and_then(|pending| finish(&pending));
    answer.map_err(|Failed(code, detail)| request.failed(&code, &detail))
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn begin(request: &Request) -> Result<FutureIncomingResponse, Failed> {
    let mut headers = request.headers.clone();
    if !request.body.is_empty() {
        headers.push(("content-length".to_owned(), request.body.len().to_string().into_bytes()));
    }
    let headers = Fields::from_list(&headers)
        .map_err(|error| Failed::argument(format!("its headers: {error:?}")))?;
    let outgoing = OutgoingRequest::new(headers);
    let set = outgoing
        .set_method(&method(&request.method))
        .and_then(|()| outgoing.set_scheme(Some(&Scheme::Http)))
        .and_then(|()| outgoing.set_authority(Some(&request.endpoint)))
        .and_then(|()| outgoing.set_path_with_query(Some(&request.path)));
    set.map_err(|()| Failed::argument("its method, endpoint or path is not one of HTTP"))?;
    let options = RequestOptions::new();
    let nanoseconds = |limit: Duration| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    let answer = request.answer_within.map(nanoseconds);
    let set = options
        .set_connect_timeout(request.connect_within.map(nanoseconds))
        .and_then(|()| options.set_first_byte_timeout(answer))
        .and_then(|()| options.set_between_bytes_timeout(answer));
    set.map_err(|()| Failed::argument("the host takes no limits of time"))?;
    if request.body.is_empty() {
        return Ok(handle(outgoing, Some(options))?);
    }
    let body = outgoing.body().map_err(|()| Failed::argument("it takes no body"))?;
    let pending = handle(outgoing, Some(options))?;
    // If the peer does not take it all, the answer says why.
    if let Ok(stream) = body.write() {
        let whole = write(&stream, &request.body).is_ok();
        drop(stream);
        if whole {
            OutgoingBody::finish(body, None)?;
        }
    }
    Ok(pending)
}

fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    let ready = stream.subscribe();
    while !bytes.is_empty() {
        ready.block();
        let taken = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX).min(bytes.len());
        let (now, later) = bytes.split_at(taken);
        stream.write(now)?;
        bytes = later;
    }
    stream.flush()?;
    ready.block();
    stream.check_write().map(drop)
}

fn finish(pending: &FutureIncomingResponse) -> Result<Response, Failed> {
    let answer = loop {
        match pending.get() {
            Some(Ok(answer)) => break answer?,
            Some(Err(())) => return Err(Failed::lost("the answer was taken twice")),
            None => pending.subscribe().block(),
        }
    };
    let (status, headers) = (answer.status(), answer.headers().entries());
    let mut whole = Response::new(status, read(&answer)?);
    whole.headers = headers;
    Ok(whole)
}

fn read(answer: &IncomingResponse) -> Result<Vec<u8>, Failed> {
    let body: IncomingBody =
        answer.consume().map_err(|()| Failed::lost("the body was taken twice"))?;
    let stream = body.stream().map_err(|()| Failed::lost("the body was taken twice"))?;
    let mut whole = Vec::new();
    loop {
        match stream.blocking_read(PIECE) {
            Ok(piece) => whole.extend(piece),
            Err(StreamError::Closed) => return Ok(whole),
            Err(StreamError::LastOperationFailed(error)) => {
                if let Some(error) = http_error_code(&error) {
                    return Err(error.into());
                }
                // Wasmtime 48 does not find the code in the error of a body, but tells it.
                let text = error.to_debug_string();
                let told = text.strip_prefix("internal error: ").and_then(Failed::told);
                return Err(told.unwrap_or_else(|| Failed::lost(text)));
            }
        }
    }
}
