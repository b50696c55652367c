//! Extractors for the body, the parameters and the headers of a request. Each value is checked. If
//! it is wrong, the client gets a problem that says what to do.

use crate::problem::{ApiError, Handled};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, body::Bytes};
use ostler_api::{BODY_MAX, code};
use ostler_model::Version;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long the whole body may take: 1 MiB over the slowest line worth serving.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest idempotency key; a UUID has 36.
const KEY_MAX: usize = 200;

/// A JSON body, and its hash. An empty body is read as `{}`.
pub(crate) struct Body<T> {
    /// The content.
    pub(crate) value: T,
    /// SHA-256 of the bytes, in hexadecimal.
    pub(crate) hash: String,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Handled<Self> {
        let declared = request.headers().get(header::CONTENT_TYPE).cloned();
        let bytes = read(request.into_body()).await?;
        if bytes.is_empty() {
            return Ok(Self {
                value: ostler_api::decode(serde_json::json!({}))?,
                hash: hex(&Sha256::digest(b"")),
            });
        }
        is_json(declared.as_ref())?;
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|err| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                code::MALFORMED,
                format!("the body is not JSON: {err}"),
            )
        })?;
        Ok(Self { value: ostler_api::decode(value)?, hash: hex(&Sha256::digest(&bytes)) })
    }
}

async fn read(body: axum::body::Body) -> Handled<Bytes> {
    let too_large = || {
        let detail = format!("the body is larger than {BODY_MAX} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, detail)
    };
    let read = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_MAX)).await;
    let read = read.map_err(|_| {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, code::TIMEOUT, "the body took too long")
    })?;
    read.map_err(|err| {
        let over = std::error::Error::source(&err)
            .is_some_and(|source| source.to_string().contains("limit exceeded"));
        if over || err.to_string().contains("limit exceeded") {
            too_large()
        } else {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                code::MALFORMED,
                format!("the body broke off: {err}"),
            )
        }
    })
}

fn is_json(declared: Option<&HeaderValue>) -> Handled<()> {
    let text = declared.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = format!("the body's content type is {text:?}");
    let error = ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code::MALFORMED, detail);
    Err(error.hint("send JSON, with Content-Type: application/json"))
}

/// Query parameters.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Handled<Self> {
        Query::<T>::try_from_uri(&parts.uri).map(|Query(value)| Self(value)).map_err(|err| {
            let text = std::error::Error::source(&err)
                .map_or_else(|| err.to_string(), ToString::to_string);
            let mut quoted = text.split('`').skip(1).step_by(2);
            let near = quoted.next().and_then(|given| ostler_api::nearest(given, quoted));
            let error = ApiError::new(
                StatusCode::BAD_REQUEST,
                code::INVALID,
                format!("the parameters are wrong: {text}"),
            );
            match near.filter(|_| text.contains("unknown field")) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None => error,
            }
        })
    }
}

/// `Idempotency-Key`, if there is one.
pub(crate) struct Key(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Handled<Self> {
        let Some(given) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let text = given.to_str().unwrap_or_default();
        if text.is_empty() || text.len() > KEY_MAX || text.contains(char::is_control) {
            let detail =
                format!("Idempotency-Key must be 1 to {KEY_MAX} printable ASCII characters");
            return Err(ApiError::invalid("Idempotency-Key", detail)
                .hint("a fresh UUID for each new request is best"));
        }
        Ok(Self(Some(text.to_owned())))
    }
}

/// `If-Match`, if there is one.
pub(crate) struct IfMatch(pub(crate) Option<Version>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Handled<Self> {
        let Some(given) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let text = given.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let number =
            text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text).parse();
        number.map(|version| Self(Some(version))).map_err(|_| {
            ApiError::invalid("If-Match", format!("{text:?} is not an ETag of ours"))
                .hint("send the ETag of GET back as it is")
        })
    }
}

/// An answer with its version as the ETag.
pub(crate) struct Tagged<T> {
    pub(crate) status: StatusCode,
    pub(crate) version: u64,
    pub(crate) location: Option<String>,
    pub(crate) body: T,
}

impl<T> Tagged<T> {
    /// `200`.
    pub(crate) const fn ok(version: u64, body: T) -> Self {
        Self { status: StatusCode::OK, version, location: None, body }
    }
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        // The tag and the location have only characters that are valid in a header.
        if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", self.version)) {
            headers.insert(header::ETAG, tag);
        }
        if let Some(location) = self.location.and_then(|path| HeaderValue::try_from(path).ok()) {
            headers.insert(header::LOCATION, location);
        }
        (self.status, headers, Json(self.body)).into_response()
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
