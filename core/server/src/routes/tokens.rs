//! `/v1/tokens`.

use crate::app::Shared;
use crate::auth::{ADMIN, Caller, READ, expired, hash, new_secret};
use crate::clock::now;
use crate::convert::{Unfit, named, time};
use crate::extract::{Body, Key};
use crate::problem::{ApiError, Handled};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ostler_api::{NewToken, Token, TokenMade};
use ostler_model::{Millis, VmName};
use ostler_store::{ResourceChange, TokenRow};

/// The names that the daemon uses as a caller: for the unix socket's admin, for the scheduler, and
/// for its own changes. No token may have them, so that events name the right caller.
const RESERVED: [&str; 3] = ["local", "scheduler", "ostlerd"];

fn told(row: TokenRow) -> Token {
    let expired = expired(&row, now());
    let scope = row.scopes.join(",");
    Token {
        name: row.name,
        scope,
        created: time(row.created),
        expires: row.expires.map(time),
        expired,
    }
}

/// All tokens, without their secrets.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens",
    responses((status = 200, body = [Token]), ApiError),
)]
pub(crate) async fn list(State(app): State<Shared>) -> Handled<Json<Vec<Token>>> {
    Ok(Json(app.store().read()?.tokens()?.into_iter().map(told).collect()))
}

/// Makes a token. Its secret is told once: a repeat with the same `Idempotency-Key` is refused with
/// `exists`.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, body = TokenMade), ApiError),
)]
pub(crate) async fn add(
    State(app): State<Shared>,
    caller: Caller,
    _key: Key,
    body: Body<NewToken>,
) -> Handled<(StatusCode, Json<TokenMade>)> {
    let secret = new_secret();
    let row = row(&body.value, &secret)?;
    app.engine
        .change(ResourceChange::TokenPut(row.clone()), &caller.name)
        .await
        .map_err(|err| named::refused(&app, err))?;
    Ok((StatusCode::CREATED, Json(TokenMade { token: told(row), secret })))
}

fn row(new: &NewToken, secret: &str) -> Result<TokenRow, Unfit> {
    // The rules for names of VMs suit tokens too.
    let name: VmName = new.name.parse().map_err(|_| {
        Unfit::new(
            "name",
            "use 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit",
        )
    })?;
    if RESERVED.contains(&name.as_str()) {
        return Err(Unfit::new(
            "name",
            format!("{name} is who the daemon itself asks as: choose another"),
        ));
    }
    if ![ADMIN, READ].contains(&new.scope.as_str()) {
        return Err(Unfit::new("scope", format!("{:?} is not one of {ADMIN}, {READ}", new.scope)));
    }
    let created = now();
    let expires = new.lifetime.map(|lifetime| created.plus(Millis(lifetime.0)));
    Ok(TokenRow {
        name: name.into(),
        hash_hex: hash(secret),
        scopes: vec![new.scope.clone()],
        created,
        expires,
    })
}

/// Ends a token at once.
#[utoipa::path(
    delete, path = "/v1/tokens/{token}", tag = "tokens",
    params(("token" = String, Path, description = "Name")),
    responses((status = 204, description = "It is good for nothing now"), ApiError)
)]
pub(crate) async fn remove(
    State(app): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
) -> Handled<StatusCode> {
    app.engine
        .change(ResourceChange::TokenRemove(name), &caller.name)
        .await
        .map_err(|err| named::refused(&app, err))?;
    Ok(StatusCode::NO_CONTENT)
}
