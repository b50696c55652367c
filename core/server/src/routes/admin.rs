//! `/v1/admin` and `/v1/version`.

use crate::app::Shared;
use crate::extract::Body;
use crate::problem::{ApiError, Handled};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ostler_api::{BackupBody, BackupReply, CheckReply, Version, code};
use std::path::PathBuf;

/// Writes a consistent copy of the store while everything goes on.
#[utoipa::path(
    post, path = "/v1/admin/backup", tag = "admin", request_body = BackupBody,
    responses((status = 201, body = BackupReply), ApiError),
)]
pub(crate) async fn backup(
    State(app): State<Shared>,
    body: Body<BackupBody>,
) -> Handled<(StatusCode, Json<BackupReply>)> {
    let path = PathBuf::from(&body.value.path);
    if !path.is_absolute() {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            code::INVALID,
            "path must be absolute",
        )
        .field("path"));
    }
    let made = app.backup(path.clone()).await?;
    let bytes = tokio::fs::metadata(&path).await.map_or(0, |file| file.len());
    Ok((StatusCode::CREATED, Json(BackupReply { path: body.value.path, rows: made, bytes })))
}

/// Proves that the books add up. Reads the whole store: admins only, and requests at the same time
/// share one answer.
#[utoipa::path(
    get, path = "/v1/admin/check", tag = "admin",
    responses((status = 200, body = CheckReply), ApiError),
)]
pub(crate) async fn check(State(app): State<Shared>) -> Handled<Json<CheckReply>> {
    let findings = app.check().await?;
    Ok(Json(CheckReply { ok: findings.is_empty(), findings: findings.to_vec() }))
}

/// Who this is.
#[utoipa::path(
    get, path = "/v1/version", tag = "admin",
    responses((status = 200, body = Version), ApiError),
)]
pub(crate) async fn version(State(app): State<Shared>) -> Handled<Json<Version>> {
    let seq = app.store().read()?.seq()?.0;
    Ok(Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: app.store().id().to_string(),
        seq,
    }))
}
