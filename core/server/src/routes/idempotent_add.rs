//! Adds a resource once. Names are unique, so a repeat with an idempotency key finds what the first
//! request has added.

use crate::app::App;
use crate::auth::Caller;
use crate::convert::named;
use crate::extract::Key;
use crate::problem::Handled;
use axum::Json;
use axum::http::StatusCode;
use ostler_engine::EngineError;
use ostler_model::ResourceRefused;
use ostler_store::{Reader, ResourceChange};

/// `201` with the resource that was added, or `200` with an equal resource that was there.
pub(crate) type Added<T> = (StatusCode, Json<T>);

/// Commits a change of a resource. A refusal has names in the place of ids.
pub(crate) async fn change(app: &App, change: ResourceChange, caller: &Caller) -> Handled<()> {
    app.engine.change(change, &caller.name).await.map_err(|err| named::refused(app, err))
}

/// Commits an addition. The request is a repeat if the name is taken, the request has a key, and
/// the resource that is there is the one that was asked for. No answer is kept for repeats: the
/// resource itself shows that the request was served, also after a crash.
pub(crate) async fn add_once(
    app: &App,
    change: ResourceChange,
    caller: &Caller,
    Key(key): Key,
    same: impl FnOnce(&Reader) -> Handled<bool>,
) -> Handled<StatusCode> {
    match app.engine.change(change, &caller.name).await {
        Ok(()) => Ok(StatusCode::CREATED),
        Err(EngineError::Resource(refused @ ResourceRefused::NameTaken { .. })) => {
            if key.is_some() && same(&app.store().read()?)? {
                Ok(StatusCode::OK)
            } else {
                Err(named::refused(app, EngineError::Resource(refused)))
            }
        }
        Err(err) => Err(named::refused(app, err)),
    }
}
