//! `/v1/hosts`.

use super::actions::{checked, followed};
use super::drivers::rules_named;
use super::{lookup, vms};
use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::clock::now;
use crate::convert::{self, named, new_name, word};
use crate::extract::{Body, Key, Params, Tagged};
use crate::problem::{ApiError, Handled};
use crate::routes::idempotent_add::{self, Added, add_once};
use crate::settings;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ostler_api::{ActionReply, AdoptBody, BindRules, ChangeHost, Host, NewHost, PlanPreview, Span};
use ostler_engine::AdoptRequest;
use ostler_model::{DriverName, HostId, HostState, Identified};
use ostler_store::{HostEdit, Reader, ResourceChange};
use serde::Deserialize;
use utoipa::IntoParams;

fn told(app: &App, reader: &Reader, host: ostler_model::Host) -> Handled<Host> {
    let (usage, health) = (reader.usage(host.id)?, app.engine.host_health(host.id));
    let secrets = match &host.hypervisor {
        Some(hypervisor) => reader.secrets_of(&hypervisor.driver, Some(host.id))?,
        None => Vec::new(),
    };
    let names = secrets.into_iter().map(|secret| secret.key.name.into()).collect();
    Ok(convert::host(host, usage, health, names))
}

/// All hosts.
#[utoipa::path(
    get, path = "/v1/hosts", tag = "hosts",
    responses((status = 200, body = [Host]), ApiError),
)]
pub(crate) async fn list(State(app): State<Shared>) -> Handled<Json<Vec<Host>>> {
    let read = |app: &App, reader: &Reader| {
        reader.hosts()?.into_iter().map(|host| told(app, reader, host)).collect()
    };
    app.reading(read).await.map(Json)
}

/// One host.
#[utoipa::path(
    get, path = "/v1/hosts/{host}", tag = "hosts",
    params(("host" = String, Path, description = "Id or name")),
    responses((status = 200, body = Host), ApiError)
)]
pub(crate) async fn show(
    State(app): State<Shared>,
    Path(which): Path<String>,
) -> Handled<Json<Host>> {
    let reader = app.store().read()?;
    told(&app, &reader, lookup::host(&reader, &which)?).map(Json)
}

/// Adds a host. It is probed at once; `health` tells what was found.
#[utoipa::path(
    post, path = "/v1/hosts", tag = "hosts", request_body = NewHost,
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "A repeat of the same addition answers 200"),
    ),
    responses(
        (status = 201, body = Host),
        (status = 200, body = Host, description = "It was added before, just so"),
        ApiError,
    ),
)]
pub(crate) async fn add(
    State(app): State<Shared>,
    caller: Caller,
    key: Key,
    body: Body<NewHost>,
) -> Handled<Added<Host>> {
    let new = convert::new_host(&body.value, app.store().next_host_id(), now())?;
    let driver = driver_of(&new)?;
    app.registry.hypervisor(&driver).map_err(|err| ApiError::unusable("driver", &err))?;
    reads(&app, &driver, body.value.config.keys())?;
    let new = identified(&app, new).await;
    let name = new.name.clone();
    let status = add_once(&app, ResourceChange::HostPut(new.clone()), &caller, key, |reader| {
        let Some(old) = reader.host_by_name(&name)? else { return Ok(false) };
        let total = if new.total_is_fixed { new.total } else { old.total };
        let (rules, identity) = (old.rules.clone(), old.identity.clone());
        Ok(old
            == ostler_model::Host {
                id: old.id,
                added: old.added,
                total,
                rules,
                identity,
                ..new.clone()
            })
    })
    .await?;
    let reader = app.store().read()?;
    Ok((status, Json(told(&app, &reader, lookup::host(&reader, name.as_str())?)?)))
}

/// The host with its hypervisor identity, as the host itself says. If the host does not answer or
/// is `off`, the monitor asks it later.
async fn identified(app: &App, host: ostler_model::Host) -> ostler_model::Host {
    let id = if host.state == HostState::Off { None } else { app.engine.identify(&host).await };
    ostler_model::Host { identity: id.map(|id| Identified { id, since: now() }), ..host }
}

fn driver_of(host: &ostler_model::Host) -> Handled<ostler_model::DriverName> {
    let missing = || {
        ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            ostler_api::code::INVALID,
            "a host needs a driver",
        )
    };
    host.hypervisor.as_ref().map(|driver| driver.driver.clone()).ok_or_else(missing)
}

/// Refuses a setting that the host's driver never reads.
fn reads<'a>(
    app: &App,
    driver: &ostler_model::DriverName,
    given: impl Iterator<Item = &'a String>,
) -> Handled<()> {
    match app.registry.get(driver).and_then(|(info, _)| info.settings) {
        Some(read) => Ok(settings::known("config", driver, &read, given)?),
        None => Ok(()),
    }
}

/// Changes a host: what is not given stays.
#[utoipa::path(
    patch, path = "/v1/hosts/{host}", tag = "hosts", request_body = ChangeHost,
    params(("host" = String, Path, description = "Id or name")),
    responses((status = 200, body = Host), ApiError),
)]
pub(crate) async fn change(
    State(app): State<Shared>,
    caller: Caller,
    Path(which): Path<String>,
    body: Body<ChangeHost>,
) -> Handled<Json<Host>> {
    let ChangeHost { state, labels, config } = body.value;
    let state: Option<HostState> =
        state.as_deref().map(|state| word("state", state)).transpose()?;
    let host = lookup::host(&app.store().read()?, &which)?;
    let id = host.id;
    if let (Some(config), Some(driver)) = (&config, &host.hypervisor) {
        // A setting that was given before this check existed may stay.
        let new = config.keys().filter(|key| !driver.config.contains_key(*key));
        reads(&app, &driver.driver, new)?;
    }
    // With another configuration the host may be another hypervisor.
    let identity = match (&config, &host.hypervisor) {
        (Some(config), Some(driver)) if driver.config != *config => {
            let hypervisor =
                Some(ostler_model::DriverRef { config: config.clone(), ..driver.clone() });
            Some(identified(&app, ostler_model::Host { hypervisor, ..host.clone() }).await.identity)
        }
        (_, _) => None,
    };
    let edit = HostEdit { state, labels, config, identity, ..HostEdit::default() };
    idempotent_add::change(&app, ResourceChange::HostEdit { id, edit }, &caller).await?;
    let reader = app.store().read()?;
    told(&app, &reader, lookup::host(&reader, &id.to_string())?).map(Json)
}

/// How a removal is asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct RemoveParams {
    /// You state that the host is fenced and does not come back: what VMs left there is not waited
    /// for any more.
    fenced: bool,
}

/// Removes a host that no VM is on.
#[utoipa::path(
    delete, path = "/v1/hosts/{host}", tag = "hosts",
    params(("host" = String, Path, description = "Id or name"), RemoveParams),
    responses((status = 204, description = "It is gone"), ApiError)
)]
pub(crate) async fn remove(
    State(app): State<Shared>,
    caller: Caller,
    Path(which): Path<String>,
    Params(params): Params<RemoveParams>,
) -> Handled<StatusCode> {
    let id = lookup::host(&app.store().read()?, &which)?.id;
    if params.fenced {
        app.engine
            .remove_fenced(id, &caller.name)
            .await
            .map_err(|err| named::refused(&app, err))?;
    } else {
        idempotent_add::change(&app, ResourceChange::HostRemove(id), &caller).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Has the snapshot rules of one driver count on this host, before those bound to its hypervisor
/// driver. At once, for all VMs there.
#[utoipa::path(
    put, path = "/v1/hosts/{host}/rules", tag = "hosts", request_body = BindRules,
    params(("host" = String, Path, description = "Id or name")),
    responses((status = 200, body = Host), ApiError),
)]
pub(crate) async fn bind(
    State(app): State<Shared>,
    caller: Caller,
    Path(which): Path<String>,
    body: Body<BindRules>,
) -> Handled<Json<Host>> {
    let host = lookup::host(&app.store().read()?, &which)?;
    let rules = rules_named(&app, &body.value)?;
    set_rules(&app, &caller, host.id, Some(rules)).await
}

/// Takes that back: the rules bound to the host's hypervisor driver count again.
#[utoipa::path(
    delete, path = "/v1/hosts/{host}/rules", tag = "hosts",
    params(("host" = String, Path, description = "Id or name")),
    responses((status = 204, description = "Nothing is bound to the host any more"), ApiError)
)]
pub(crate) async fn unbind(
    State(app): State<Shared>,
    caller: Caller,
    Path(which): Path<String>,
) -> Handled<StatusCode> {
    let host = lookup::host(&app.store().read()?, &which)?;
    if host.rules.is_none() {
        let detail = format!("no snapshot rules are bound to host {}", host.name);
        return Err(ApiError::new(StatusCode::NOT_FOUND, ostler_api::code::NOT_FOUND, detail));
    }
    set_rules(&app, &caller, host.id, None).await.map(|_| StatusCode::NO_CONTENT)
}

async fn set_rules(
    app: &App,
    caller: &Caller,
    id: HostId,
    rules: Option<DriverName>,
) -> Handled<Json<Host>> {
    let edit = HostEdit { rules: Some(rules), ..HostEdit::default() };
    idempotent_add::change(app, ResourceChange::HostEdit { id, edit }, caller).await?;
    let reader = app.store().read()?;
    told(app, &reader, lookup::host(&reader, &id.to_string())?).map(Json)
}

/// How an adoption is asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct AdoptParams {
    /// Wait so long for the operation to end: `30s`, at most 5 minutes.
    #[param(value_type = Option<String>)]
    wait: Option<Span>,
    /// Change nothing and tell in what it would be another machine.
    dry_run: bool,
}

/// Makes a wild domain of a host a VM. It stays as it is, running or off; its disks are never
/// removed.
#[utoipa::path(
    post, path = "/v1/hosts/{host}/adopt", tag = "hosts", request_body = AdoptBody,
    params(
        ("host" = String, Path, description = "Id or name"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "The same key and body again gives the same answer"),
        AdoptParams
    ),
    responses(
        (status = 201, body = ActionReply,
            description = "The VM is there; `operation` marks the domain as its own"),
        (status = 200, body = PlanPreview,
            description = "With `dry_run`: what would change, and whether that is accepted"),
        ApiError
    )
)]
pub(crate) async fn adopt(
    State(app): State<Shared>,
    caller: Caller,
    Path(which): Path<String>,
    Params(params): Params<AdoptParams>,
    Key(key): Key,
    body: Body<AdoptBody>,
) -> Handled<Response> {
    let wait = checked(params.wait)?;
    let AdoptBody { domain, name, accept_changes } = body.value;
    let host = lookup::host(&app.store().read()?, &which)?.id;
    let name = name.as_deref().map(|name| new_name("name", name)).transpose()?;
    let once = key.map(|key| {
        vms::idempotency(&caller, format!("POST /v1/hosts/{host}/adopt"), key, body.hash)
    });
    let request = AdoptRequest { host, domain, name, accept_changes, by: caller.name };
    if params.dry_run {
        let changes =
            app.engine.adoptable(&request).await.map_err(|err| named::refused(&app, err))?;
        return Ok(Json(convert::adoption(changes, accept_changes)).into_response());
    }
    let replied = app.engine.adopt(request, once).await;
    let replied = replied.map_err(|err| named::refused(&app, err))?;
    let location = Some(format!("/v1/vms/{}", replied.answer.vm));
    let followed = followed(&app, replied, wait).await?;
    Ok(Tagged { status: StatusCode::CREATED, location, ..followed }.into_response())
}
