//! The options for opening a store.

use crate::event::EVENTS_KEPT;
use crate::log::Followers;
use crate::operation::OPERATIONS_KEPT;
use crate::sabotage::Sabotage;
use ostler_model::StoreId;

/// How much memory the database may use for its pages. The whole daemon must stay below 200 MiB
/// with 10,000 VMs.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The options for opening a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much memory the database may use for its pages.
    pub cache_bytes: usize,
    /// How many events are kept, at least. See [`EVENTS_KEPT`].
    pub events_kept: u64,
    /// How many ended operations are kept for each VM. See [`OPERATIONS_KEPT`].
    pub operations_kept: usize,
    /// The id of a new store. If none, it is chosen at random. A simulation gives one, because it
    /// must be repeatable.
    pub store_id: Option<StoreId>,
    /// Whoever follows from the opening on. See [`crate::Store::follow`].
    pub followers: Followers,
    #[doc(hidden)]
    pub sabotage: Sabotage,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES,
            events_kept: EVENTS_KEPT,
            operations_kept: OPERATIONS_KEPT,
            store_id: None,
            followers: Followers::default(),
            sabotage: Sabotage::None,
        }
    }
}
