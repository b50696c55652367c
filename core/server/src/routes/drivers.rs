//! `/v1/drivers`.

use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::convert;
use crate::extract::{Body, Key};
use crate::problem::{Answer, ApiError};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ostler_api::{Driver, NewDriver};
use ostler_model::DriverName;
use ostler_store::ResourceChange;

fn all(app: &App) -> Vec<Driver> {
    let told = |(info, kinds): (ostler_driver::DriverInfo, Vec<&'static str>)| {
        let health = app.engine.driver_health(&info.name);
        convert::driver(info, &kinds, health)
    };
    app.registry.list().into_iter().map(told).collect()
}

fn one(app: &App, name: &str) -> Answer<Driver> {
    all(app).into_iter().find(|driver| driver.name == name).ok_or_else(|| ApiError::not_found("driver", name))
}

/// All loaded drivers, and how they fare.
#[utoipa::path(get, path = "/v1/drivers", tag = "drivers", responses((status = 200, body = [Driver]), ApiError))]
pub(crate) async fn list(State(app): State<Shared>) -> Answer<Json<Vec<Driver>>> {
    Ok(Json(all(&app)))
}

/// One driver.
#[utoipa::path(
    get, path = "/v1/drivers/{driver}", tag = "drivers", params(("driver" = String, Path, description = "Name")),
    responses((status = 200, body = Driver), ApiError)
)]
pub(crate) async fn show(State(app): State<Shared>, Path(name): Path<String>) -> Answer<Json<Driver>> {
    one(&app, &name).map(Json)
}

/// Loads a component, now and at every start, or puts it in the place of the one of the same name. A repeat ends the same.
#[utoipa::path(
    post, path = "/v1/drivers", tag = "drivers", request_body = NewDriver, responses((status = 201, body = Driver), ApiError)
)]
pub(crate) async fn add(
    State(app): State<Shared>,
    caller: Caller,
    _key: Key,
    body: Body<NewDriver>,
) -> Answer<(StatusCode, Json<Driver>)> {
    let loaded = app.loader.load(&body.value).await?;
    let name = loaded.row.name.clone();
    app.engine.change(ResourceChange::DriverPut(loaded.row.clone()), &caller.name).await?;
    app.loader.enter(&app.registry, loaded);
    Ok((StatusCode::CREATED, Json(one(&app, name.as_str())?)))
}

/// Forgets a component that no host or datastore names. It is unloaded at the next start.
#[utoipa::path(
    delete, path = "/v1/drivers/{driver}", tag = "drivers", params(("driver" = String, Path, description = "Name")),
    responses((status = 204, description = "It will not be loaded again"), ApiError)
)]
pub(crate) async fn remove(State(app): State<Shared>, caller: Caller, Path(name): Path<String>) -> Answer<StatusCode> {
    let missing = || ApiError::not_found("driver", &name);
    let name: DriverName = name.parse().map_err(|_| missing())?;
    app.engine.change(ResourceChange::DriverRemove(name), &caller.name).await?;
    Ok(StatusCode::NO_CONTENT)
}
