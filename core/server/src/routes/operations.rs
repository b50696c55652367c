//! `/v1/operations`.

use super::actions::checked;
use crate::app::Shared;
use crate::convert::{self, named};
use crate::extract::Params;
use crate::problem::{ApiError, Handled, Thing};
use axum::Json;
use axum::extract::{Path, State};
use ostler_api::{DriverCalls, Operation, Span};
use ostler_engine::EngineError;
use ostler_model::OperationId;
use serde::Deserialize;
use utoipa::IntoParams;

/// Whether to wait.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitParams {
    /// Wait so long for its end: `30s`, at most 5 minutes.
    #[param(value_type = Option<String>)]
    wait: Option<Span>,
}

/// One operation, with its steps.
#[utoipa::path(
    get, path = "/v1/operations/{operation}", tag = "operations",
    params(("operation" = u64, Path, description = "Id"), WaitParams),
    responses((status = 200, body = Operation), ApiError)
)]
pub(crate) async fn show(
    State(app): State<Shared>,
    Path(which): Path<String>,
    Params(params): Params<WaitParams>,
) -> Handled<Json<Operation>> {
    let id: OperationId =
        which.parse().map_err(|_| ApiError::not_found(Thing::Operation, &which))?;
    if let Some(wait) = checked(params.wait)? {
        return Ok(Json(convert::operation(
            &app.engine.wait(id, wait).await.map_err(|err| named::refused(&app, err))?.operation,
        )));
    }
    let record = app.store().read()?.operation(id)?.ok_or(EngineError::NoSuchOperation(id));
    let record = record.map_err(|err| named::refused(&app, err))?;
    Ok(Json(convert::operation(&record)))
}

/// The calls of an operation's drivers, and the calls that these made to the host: commands, files,
/// requests. Drivers that are built in are not recorded. They are kept in memory: those of operations
/// in which something failed for longer than those of others.
#[utoipa::path(
    get, path = "/v1/operations/{operation}/calls", tag = "operations",
    params(("operation" = u64, Path, description = "Id")),
    responses((status = 200, body = DriverCalls), ApiError)
)]
pub(crate) async fn calls(
    State(app): State<Shared>,
    Path(which): Path<String>,
) -> Handled<Json<DriverCalls>> {
    let id: OperationId =
        which.parse().map_err(|_| ApiError::not_found(Thing::Operation, &which))?;
    if app.store().read()?.operation(id)?.is_none() {
        return Err(named::refused(&app, EngineError::NoSuchOperation(id)));
    }
    Ok(Json(convert::calls(id, app.loader.calls_of(id))))
}
