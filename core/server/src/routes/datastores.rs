//! `/v1/datastores`.

use super::idempotent_add::{self, Added, add_once};
use super::lookup;
use crate::app::Shared;
use crate::auth::Caller;
use crate::clock::now;
use crate::convert;
use crate::extract::{Body, Key};
use crate::looks::{self, judge};
use crate::problem::{ApiError, Handled};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ostler_api::{Datastore, NewDatastore};
use ostler_store::ResourceChange;

/// All datastores.
#[utoipa::path(
    get, path = "/v1/datastores", tag = "datastores",
    responses((status = 200, body = [Datastore]), ApiError),
)]
pub(crate) async fn list(State(app): State<Shared>) -> Handled<Json<Vec<Datastore>>> {
    Ok(Json(app.store().read()?.datastores()?.into_iter().map(convert::datastore).collect()))
}

/// One datastore, and which machines do not see it.
#[utoipa::path(
    get, path = "/v1/datastores/{datastore}", tag = "datastores",
    params(("datastore" = String, Path, description = "Id or name")),
    responses((status = 200, body = Datastore), ApiError),
)]
pub(crate) async fn show(
    State(app): State<Shared>,
    Path(which): Path<String>,
) -> Handled<Json<Datastore>> {
    let datastore = lookup::datastore(&app.store().read()?, &which)?;
    let notes = match looks::everywhere(&app, &datastore, None, looks::TO_SHOW).await {
        Ok(seen) => judge::root_notes(&datastore.root, &seen),
        Err(error) => vec![format!("not looked at: {}", error.0.detail)],
    };
    Ok(Json(Datastore { notes, ..convert::datastore(datastore) }))
}

/// Adds a datastore, after its directory was looked for where it can be seen.
#[utoipa::path(
    post, path = "/v1/datastores", tag = "datastores", request_body = NewDatastore,
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "A repeat of the same addition answers 200"),
    ),
    responses(
        (status = 201, body = Datastore),
        (status = 200, body = Datastore, description = "It was added before, just so"),
        ApiError,
    )
)]
pub(crate) async fn add(
    State(app): State<Shared>,
    caller: Caller,
    key: Key,
    body: Body<NewDatastore>,
) -> Handled<Added<Datastore>> {
    let new = convert::new_datastore(&body.value, app.store().next_datastore_id(), now())?;
    app.registry.transfer(&new.driver).map_err(|err| ApiError::unusable("driver", &err))?;
    let (name, mut notes) = (new.name.clone(), Vec::new());
    // If the name is taken, the request is refused or is a repeat. Nothing has to be looked at
    // then.
    if app.store().read()?.datastore_by_name(&name)?.is_none() {
        let seen = looks::everywhere(&app, &new, None, looks::BEFORE_ADDING).await?;
        notes = judge::root(&new.root, &seen)?;
    }
    let status =
        add_once(&app, ResourceChange::DatastorePut(new.clone()), &caller, key, |reader| {
            let Some(old) = reader.datastore_by_name(&name)? else { return Ok(false) };
            Ok(old == ostler_model::Datastore { id: old.id, added: old.added, ..new })
        })
        .await?;
    let added = lookup::datastore(&app.store().read()?, name.as_str())?;
    Ok((status, Json(Datastore { notes, ..convert::datastore(added) })))
}

/// Removes a datastore that nothing lives in. Its files stay.
#[utoipa::path(
    delete, path = "/v1/datastores/{datastore}", tag = "datastores",
    params(("datastore" = String, Path, description = "Id or name")),
    responses((status = 204, description = "It is gone"), ApiError)
)]
pub(crate) async fn remove(
    State(app): State<Shared>,
    caller: Caller,
    Path(which): Path<String>,
) -> Handled<StatusCode> {
    let id = lookup::datastore(&app.store().read()?, &which)?.id;
    idempotent_add::change(&app, ResourceChange::DatastoreRemove(id), &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}
