//! Errors of the engine as problems, with names in the place of ids.

use crate::app::App;
use crate::problem::ApiError;
use crate::words::NoNames;
use ostler_engine::EngineError;

/// The problem for an error of the engine. If the store cannot be read, it has ids in the place of
/// names.
pub(crate) fn refused(app: &App, error: EngineError) -> ApiError {
    match app.store().read() {
        Ok(reader) => ApiError::engine(&reader, error),
        Err(_) => ApiError::engine(&NoNames, error),
    }
}
