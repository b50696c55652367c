//! `/v1/images`.

use super::idempotent_add::{self, Added, add_once};
use super::lookup;
use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::clock::now;
use crate::convert::{self, parse};
use crate::extract::{Body, Key};
use crate::looks::{self, judge};
use crate::problem::{ApiError, Handled};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ostler_api::{Image, NewImage};
use ostler_model::{DatastoreKind, FilePath};
use ostler_store::{Reader, ResourceChange};

fn told(reader: &Reader, image: ostler_model::Image) -> Handled<Image> {
    let datastore = reader
        .datastore(image.datastore)?
        .map_or_else(|| image.datastore.to_string(), |found| found.name.into());
    let used_by = reader.image_holds(image.id)?;
    Ok(convert::image(image, &datastore, used_by))
}

/// All images.
#[utoipa::path(
    get, path = "/v1/images", tag = "images",
    responses((status = 200, body = [Image]), ApiError),
)]
pub(crate) async fn list(State(app): State<Shared>) -> Handled<Json<Vec<Image>>> {
    let read = |_: &App, reader: &Reader| {
        reader.images()?.into_iter().map(|image| told(reader, image)).collect()
    };
    app.reading(read).await.map(Json)
}

/// One image.
#[utoipa::path(
    get, path = "/v1/images/{image}", tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    responses((status = 200, body = Image), ApiError)
)]
pub(crate) async fn show(
    State(app): State<Shared>,
    Path(which): Path<String>,
) -> Handled<Json<Image>> {
    let reader = app.store().read()?;
    told(&reader, lookup::image(&reader, &which)?).map(Json)
}

/// Registers a file that is in an image datastore already, after it was looked at where it can be
/// seen.
#[utoipa::path(
    post, path = "/v1/images", tag = "images", request_body = NewImage,
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "A repeat of the same addition answers 200"),
    ),
    responses(
        (status = 201, body = Image),
        (status = 200, body = Image, description = "It was added before, just so"),
        ApiError,
    ),
)]
pub(crate) async fn add(
    State(app): State<Shared>,
    caller: Caller,
    key: Key,
    body: Body<NewImage>,
) -> Handled<Added<Image>> {
    let file: FilePath = parse("path", &body.value.path)?;
    let datastore = lookup::datastore(&app.store().read()?, file.datastore.as_str())?;
    if datastore.kind != DatastoreKind::Image {
        return Err(ApiError::unusable(
            "path",
            &format!("{} is a system datastore; images live in image datastores", datastore.name),
        ));
    }
    let mut new =
        convert::new_image(&body.value, &file, datastore.id, app.store().next_image_id(), now())?;
    let (name, mut notes) = (new.name.clone(), Vec::new());
    // If the name is taken, the request is refused or is a repeat. Nothing has to be looked at
    // then.
    if app.store().read()?.image_by_name(&name)?.is_none() {
        let seen =
            looks::everywhere(&app, &datastore, Some(&new.path), looks::BEFORE_ADDING).await?;
        let fit = judge::image(&file, new.format, datastore.shared, &seen)?;
        (new.virtual_size, new.stands_alone, notes) =
            (fit.virtual_size, fit.stands_alone, fit.notes);
    }
    let status = add_once(&app, ResourceChange::ImagePut(new.clone()), &caller, key, |reader| {
        let Some(old) = reader.image_by_name(&name)? else { return Ok(false) };
        let (id, added, state, virtual_size) = (old.id, old.added, old.state, old.virtual_size);
        Ok(old
            == ostler_model::Image {
                id,
                added,
                state,
                virtual_size,
                stands_alone: old.stands_alone,
                ..new
            })
    })
    .await?;
    let reader = app.store().read()?;
    let added = told(&reader, lookup::image(&reader, name.as_str())?)?;
    Ok((status, Json(Image { notes, ..added })))
}

/// Forgets an image that no disk stands on. Its file stays.
#[utoipa::path(
    delete, path = "/v1/images/{image}", tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    responses((status = 204, description = "It is gone"), ApiError)
)]
pub(crate) async fn remove(
    State(app): State<Shared>,
    caller: Caller,
    Path(which): Path<String>,
) -> Handled<StatusCode> {
    let id = lookup::image(&app.store().read()?, &which)?.id;
    idempotent_add::change(&app, ResourceChange::ImageRemove(id), &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}
