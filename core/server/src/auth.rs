//! Identifies the caller of a request, and checks that the caller may do it.
//!
//! Over TCP `/metrics` and every route below `/v1` need `Authorization: Bearer`, except for
//! `/v1/openapi.json`. The store keeps only the SHA-256 of a secret, so a copy of the store gives
//! nobody access. Only the owner of the unix socket's file can connect to it, so every caller there
//! is the local admin.

use crate::app::Shared;
use crate::clock::now;
use crate::extract::hex;
use crate::problem::{ApiError, Handled};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ostler_api::code;
use ostler_model::{Hint, Timestamp};
use ostler_store::TokenRow;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Bytes of a secret: 256 bits of the system's randomness.
const SECRET_BYTES: usize = 32;
/// Each secret begins with this, so that scanners for leaked secrets recognise it.
const SECRET_PREFIX: &str = "ostler_";
/// The scope that allows everything.
pub(crate) const ADMIN: &str = "admin";
/// The scope that allows every GET, except for those of [`ADMIN_ONLY`].
pub(crate) const READ: &str = "read";
/// Below these paths [`READ`] does not allow a GET either: the list of tokens tells who has access,
/// and the check reads the whole store.
const ADMIN_ONLY: [&str; 2] = ["/v1/tokens", "/v1/admin/check"];
/// Nor does it allow the lists of secrets, whose paths end so.
const SECRETS: &str = "secrets";
/// The name of the local admin in records and events.
const LOCAL: &str = "local";

/// Marks requests that came over the unix socket. Set by the listener, never by the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverUnixSocket;

/// The caller of a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The token's name, or `local`.
    pub(crate) name: String,
    /// True if the caller may change things.
    admin: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Handled<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// A new secret.
pub(crate) fn new_secret() -> String {
    let bytes: [u8; SECRET_BYTES] = rand::random();
    format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The hash that the store keeps of a secret.
pub(crate) fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// True if a token has expired.
pub(crate) fn expired(token: &TokenRow, now: Timestamp) -> bool {
    token.expires.is_some_and(|end| end <= now)
}

/// Lets a request through if its caller may do it.
pub(crate) async fn authorise(
    State(app): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    match identify(&app, &request)
        .and_then(|caller| may(caller, request.method(), request.uri().path()))
    {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

fn identify(app: &Shared, request: &Request) -> Handled<Caller> {
    if request.extensions().get::<OverUnixSocket>().is_some() {
        return Ok(Caller { name: LOCAL.to_owned(), admin: true });
    }
    let secret = bearer(request.headers()).ok_or_else(missing)?;
    let given = hash(secret);
    let token = app.store().read()?.token_by_hash(&given)?.ok_or_else(bad)?;
    if !bool::from(token.hash_hex.as_bytes().ct_eq(given.as_bytes())) || expired(&token, now()) {
        return Err(bad());
    }
    Ok(Caller { admin: token.scopes.iter().any(|scope| scope == ADMIN), name: token.name })
}

fn may(caller: Caller, method: &Method, path: &str) -> Handled<Caller> {
    let reads = matches!(*method, Method::GET | Method::HEAD)
        && !ADMIN_ONLY.iter().any(|part| path.starts_with(part))
        && !is_list_of_secrets(path);
    if caller.admin || reads {
        return Ok(caller);
    }
    let detail = format!("token {} has the scope read: it cannot {method} {path}", caller.name);
    Err(ApiError::new(StatusCode::FORBIDDEN, code::FORBIDDEN, detail)
        .hint("use a token with the scope admin"))
}

/// `/v1/drivers/NAME/secrets` and `/v1/hosts/NAME/secrets`.
fn is_list_of_secrets(path: &str) -> bool {
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    matches!(parts[..], ["", "v1", "drivers" | "hosts", _, SECRETS])
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn missing() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, code::UNAUTHENTICATED, "this needs a token").hint(
        "send Authorization: Bearer TOKEN; the first one is in the file admin.token of the data \
         directory",
    )
}

fn bad() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        code::UNAUTHENTICATED,
        "the token is not known, or it is over",
    )
    .advise(&Hint::ListTokens, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_differ() {
        let (one, other) = (new_secret(), new_secret());
        assert_ne!(one, other);
        assert_eq!(one.len(), SECRET_PREFIX.len() + 43);
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_reader_reads_and_nothing_else() {
        let reader = || Caller { name: "r".to_owned(), admin: false };
        assert!(may(reader(), &Method::GET, "/v1/vms").is_ok());
        for (method, path) in [
            (Method::POST, "/v1/vms"),
            (Method::DELETE, "/v1/hosts/a"),
            (Method::GET, "/v1/tokens"),
            (Method::GET, "/v1/admin/check"),
            (Method::GET, "/v1/drivers/xcp/secrets"),
            (Method::HEAD, "/v1/hosts/a/secrets"),
        ] {
            assert_eq!(may(reader(), &method, path).expect_err("refused").0.status, 403);
        }
    }

    #[test]
    fn only_bearer_counts() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header"));
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(with("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(with("bearer  abc"), Some("abc".to_owned()));
        assert_eq!(with("Basic abc"), None);
        assert_eq!(with("abc"), None);
    }
}
