//! Errors of the engine, with the names of what they are about.

use crate::app::App;
use crate::problem::ApiError;
use crate::words::NoNames;
use ostler_engine::EngineError;

/// Why the engine did not do it. If the store cannot be read, ids are told: that is no reason to hide it.
pub(crate) fn refused(app: &App, error: EngineError) -> ApiError {
    match app.store().read() {
        Ok(reader) => ApiError::engine(&reader, error),
        Err(_) => ApiError::engine(&NoNames, error),
    }
}
