//! `/v1/drivers`.

use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::convert::{self, named};
use crate::extract::{Body, Key};
use crate::problem::{ApiError, Handled, Thing};
use crate::swap;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ostler_api::{BindRules, Driver, NewDriver, RulesOf, Upgrade};
use ostler_driver::LeftOut;
use ostler_model::{DriverName, Hint};
use ostler_store::{ResourceChange, RulesBinding};
use std::sync::Arc;

fn all(app: &App) -> Handled<Vec<Driver>> {
    let reader = app.store().read()?;
    let bound = reader.rules()?;
    let told = |(info, kinds): (ostler_driver::DriverInfo, Vec<&'static str>)| {
        let health = app.engine.driver_health(&info.name);
        let rules = rules_of(app, &bound, &info.name);
        let secrets = reader.secrets_of(&info.name, None)?;
        let set = secrets.into_iter().map(|secret| secret.key.name.into()).collect();
        let earlier = reader.driver(&info.name)?.map(|row| row.earlier).unwrap_or_default();
        let earlier = earlier.into_iter().map(convert::earlier_driver).collect();
        Ok(Driver { earlier, ..convert::driver(info, &kinds, rules, health, set) })
    };
    let left_out =
        |it: LeftOut| Ok(Driver { not_loaded: Some(it.why), ..told((it.info, Vec::new()))? });
    let (list, missing) = (app.registry.list(), app.registry.left_out());
    let all = list.into_iter().map(told).chain(missing.into_iter().map(left_out));
    let mut all = all.collect::<Handled<Vec<Driver>>>()?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The snapshot rules of a hypervisor driver. A binding in the store takes precedence over the
/// settings.
fn rules_of(app: &App, bound: &[RulesBinding], driver: &DriverName) -> Option<RulesOf> {
    let missing = |rules: &DriverName| app.registry.rules(rules).err().map(|err| err.to_string());
    let told = |rules: &DriverName, bound| RulesOf {
        driver: rules.to_string(),
        bound,
        missing: missing(rules),
    };
    let here = bound.iter().find(|binding| binding.hypervisor == *driver);
    here.map(|binding| told(&binding.rules, true))
        .or_else(|| app.rules.get(driver).map(|rules| told(rules, false)))
}

fn one(app: &App, name: &str) -> Handled<Driver> {
    let mut all = all(app)?;
    match all.iter().position(|driver| driver.name == name) {
        Some(at) => Ok(all.swap_remove(at)),
        None => Err(ApiError::missing(
            Thing::Driver,
            name,
            all.iter().map(|driver| driver.name.as_str()),
        )),
    }
}

/// All loaded drivers, and how they fare; and those that were found at start and are not loaded,
/// with the reason.
#[utoipa::path(
    get, path = "/v1/drivers", tag = "drivers",
    responses((status = 200, body = [Driver]), ApiError),
)]
pub(crate) async fn list(State(app): State<Shared>) -> Handled<Json<Vec<Driver>>> {
    all(&app).map(Json)
}

/// One driver, and how fast and how healthy it is.
#[utoipa::path(
    get, path = "/v1/drivers/{driver}", tag = "drivers",
    params(("driver" = String, Path, description = "Name")),
    responses((status = 200, body = Driver), ApiError)
)]
pub(crate) async fn show(
    State(app): State<Shared>,
    Path(name): Path<String>,
) -> Handled<Json<Driver>> {
    let driver = one(&app, &name)?;
    let figures = name.parse().ok().map(|name| app.engine.driver_figures(&name));
    Ok(Json(Driver { figures: figures.map(convert::driver_figures), ..driver }))
}

/// Loads a component, now and at every start. With `replace` it takes the place of the one of the
/// same name, if it is of the same kind. A repeat ends the same.
#[utoipa::path(
    post, path = "/v1/drivers", tag = "drivers", request_body = NewDriver,
    responses((status = 201, body = Driver), ApiError),
)]
pub(crate) async fn add(
    State(app): State<Shared>,
    caller: Caller,
    _key: Key,
    body: Body<NewDriver>,
) -> Handled<(StatusCode, Json<Driver>)> {
    // A task of its own, because a driver that is committed must also be loaded, even if the client
    // has gone.
    let adding = tokio::spawn(load(Arc::clone(&app), body.value, caller.name));
    let (name, upgrade) = adding.await.map_err(|err| crate::app::broken(&err))??;
    Ok((StatusCode::CREATED, Json(Driver { upgrade, ..one(&app, name.as_str())? })))
}

async fn load(app: Shared, new: NewDriver, by: String) -> Handled<(DriverName, Option<Upgrade>)> {
    let _alone = app.loader.adding.lock().await;
    let entered = swap::enter(&app, &new, &by).await;
    // Removes the file of a driver that was replaced, or that could not be loaded.
    app.loader.tidy(&app.store().read()?.drivers()?).await;
    entered
}

/// Puts the file that was the driver before back in its place, with the grants and settings that it
/// had. Operations in hand go on with it. Once more puts the other file back.
#[utoipa::path(
    post, path = "/v1/drivers/{driver}/rollback", tag = "drivers",
    params(("driver" = String, Path, description = "Name")),
    responses((status = 200, body = Driver), ApiError),
)]
pub(crate) async fn roll_back(
    State(app): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
) -> Handled<Json<Driver>> {
    let driver = loaded(&app, &name)?;
    let (task, of) = (Arc::clone(&app), driver.clone());
    // A task of its own, because a driver that is committed must also be in place, even if the
    // client has gone.
    let back = tokio::spawn(async move { swap::roll_back(&task, &of, &caller.name).await });
    back.await.map_err(|err| crate::app::broken(&err))??;
    one(&app, driver.as_str()).map(Json)
}

/// Forgets a component that no host or datastore names. It is unloaded at the next start.
#[utoipa::path(
    delete, path = "/v1/drivers/{driver}", tag = "drivers",
    params(("driver" = String, Path, description = "Name")),
    responses((status = 204, description = "It will not be loaded again"), ApiError)
)]
pub(crate) async fn remove(
    State(app): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
) -> Handled<StatusCode> {
    let missing = || ApiError::not_found(Thing::Driver, &name);
    let name: DriverName = name.parse().map_err(|_| missing())?;
    // Nobody puts a file of the driver back meanwhile.
    let _alone = app.loader.adding.lock().await;
    let (known, driver) = (Arc::clone(&app), name.clone());
    app.engine
        .change_then(ResourceChange::DriverRemove(name), &caller.name, move || {
            known.engine.driver_removed(&driver);
        })
        .await
        .map_err(|err| named::refused(&app, err))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has the snapshot rules of one driver count for a hypervisor driver, before what the daemon's
/// settings say. At once, for all its VMs.
#[utoipa::path(
    put, path = "/v1/drivers/{driver}/rules", tag = "drivers", request_body = BindRules,
    params(("driver" = String, Path, description = "Name of the hypervisor driver")),
    responses((status = 200, body = Driver), ApiError),
)]
pub(crate) async fn bind(
    State(app): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
    body: Body<BindRules>,
) -> Handled<Json<Driver>> {
    let hypervisor = loaded(&app, &name)?;
    app.registry.hypervisor(&hypervisor).map_err(|err| ApiError::unusable("driver", &err))?;
    let rules = rules_named(&app, &body.value)?;
    app.engine
        .change(ResourceChange::RulesBind(RulesBinding { hypervisor, rules }), &caller.name)
        .await
        .map_err(|err| named::refused(&app, err))?;
    one(&app, &name).map(Json)
}

/// A loaded driver that holds snapshot rules.
pub(crate) fn rules_named(app: &App, body: &BindRules) -> Handled<DriverName> {
    let rules: DriverName = convert::parse("rules", &body.rules)?;
    let held = app.registry.rules(&rules);
    held.map_err(|err| ApiError::unusable("rules", &err).advise(&Hint::ListDrivers, None))?;
    Ok(rules)
}

fn loaded(app: &App, name: &str) -> Handled<DriverName> {
    one(app, name)?.name.parse().map_err(|err| ApiError::unusable("driver", &err))
}

/// Takes a binding back: what the daemon's settings say counts again.
#[utoipa::path(
    delete, path = "/v1/drivers/{driver}/rules", tag = "drivers",
    params(("driver" = String, Path, description = "Name of the hypervisor driver")),
    responses((status = 204, description = "Nothing is bound any more"), ApiError)
)]
pub(crate) async fn unbind(
    State(app): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
) -> Handled<StatusCode> {
    let missing = || ApiError::not_found(Thing::Driver, &name);
    let name: DriverName = name.parse().map_err(|_| missing())?;
    app.engine
        .change(ResourceChange::RulesUnbind(name), &caller.name)
        .await
        .map_err(|err| named::refused(&app, err))?;
    Ok(StatusCode::NO_CONTENT)
}
