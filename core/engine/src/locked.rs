//! The one way in which the engine locks a mutex.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose data is consistent after every statement that holds it. So a panic cannot
/// leave the data half written.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
