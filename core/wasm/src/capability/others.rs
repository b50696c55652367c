//! The other host that an effect is about: the destination of a migration, or the host that a copy
//! comes from. Commands of the effect may run there, too.

use ostler_model::{EffectKey, HostName};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// The most effects whose other host is remembered: far more than a driver has in progress.
const EFFECTS_MAX: usize = 4096;

/// The other hosts of the effects of one driver. The call that begins a job names it; those that
/// ask for the job, or end it, do not.
#[derive(Default)]
pub(crate) struct Others(Mutex<VecDeque<(EffectKey, HostName)>>);

impl Others {
    /// From now on, commands of this effect may run on that host.
    pub(crate) fn add(&self, key: &EffectKey, host: HostName) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(known, _)| known != key);
        if all.len() == EFFECTS_MAX {
            all.pop_front();
        }
        all.push_back((key.clone(), host));
    }

    /// The other host of an effect.
    pub(super) fn of(&self, key: &EffectKey) -> Option<HostName> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(known, _)| known == key).map(|(_, host)| host.clone())
    }
}
