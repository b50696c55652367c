//! Additions of resources, once: names are unique, so a repeat with an idempotency key finds what it made itself.

use crate::app::App;
use crate::auth::Caller;
use crate::convert::named;
use crate::extract::Key;
use crate::problem::Answer;
use axum::Json;
use axum::http::StatusCode;
use ostler_engine::EngineError;
use ostler_model::ResourceRefused;
use ostler_store::{Reader, ResourceChange};

/// `201` with what was added, or `200` with what was there just so.
pub(crate) type Added<T> = (StatusCode, Json<T>);

/// Commits a change of a resource. What a refusal is about is called by name.
pub(crate) async fn change(app: &App, change: ResourceChange, caller: &Caller) -> Answer<()> {
    app.engine.change(change, &caller.name).await.map_err(|err| named::refused(app, err))
}

/// Commits an addition. If the name is taken, the request carries a key, and what is there is what was asked for, then this is a
/// repeat of a request that was served. No answer is kept for that: what is there tells, also after a crash.
pub(crate) async fn add_once(
    app: &App,
    change: ResourceChange,
    caller: &Caller,
    Key(key): Key,
    same: impl FnOnce(&Reader) -> Answer<bool>,
) -> Answer<StatusCode> {
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
