//! Proposals of the scheduler that were refused, for a while: a VM that was just refused at a host for a reason that the scheduler does
//! not know must not be proposed there again at once, or it would keep the room from all others for ever.

use ostler_model::{HostId, VmId};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a refusal is remembered. Long enough that those behind it have their turn, short enough that nobody waits long for a reason
/// that is gone; a change of a host, a datastore or an image ends it at once.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Most that are remembered: a few megabytes. One that finds no place is proposed again with the next regular cycle.
const KEPT_MAX: usize = 10_000;

struct Refusal {
    until: Instant,
    why: String,
}

/// What was refused lately.
#[derive(Default)]
pub(crate) struct Refusals {
    kept: HashMap<(VmId, HostId), Refusal>,
}

impl Refusals {
    /// The VM must not come to the host, for this reason. Answers whether that is remembered.
    pub(crate) fn keep(&mut self, vm: VmId, host: HostId, why: String, now: Instant) -> bool {
        if self.kept.len() >= KEPT_MAX {
            self.kept.retain(|_, refusal| refusal.until > now);
        }
        let has_room = self.kept.len() < KEPT_MAX;
        if has_room {
            self.kept.insert((vm, host), Refusal { until: now + KEPT_FOR, why });
        }
        has_room
    }

    /// Why the VM must not come to the host, if it was refused there lately.
    pub(crate) fn why(&self, vm: VmId, host: HostId, now: Instant) -> Option<&str> {
        self.kept.get(&(vm, host)).filter(|refusal| refusal.until > now).map(|refusal| refusal.why.as_str())
    }

    /// What was refused may be accepted now.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_for_a_while_and_not_more_than_there_is_room_for() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        refusals.keep(VmId(1), HostId(1), "no".to_owned(), now);
        assert_eq!(refusals.why(VmId(1), HostId(1), now), Some("no"));
        assert_eq!((refusals.why(VmId(1), HostId(2), now), refusals.why(VmId(2), HostId(1), now)), (None, None));
        let later = now + KEPT_FOR;
        assert_eq!(refusals.why(VmId(1), HostId(1), later), None);
        for vm in 0..2 * KEPT_MAX as u64 {
            refusals.keep(VmId(vm), HostId(1), String::new(), now);
        }
        assert_eq!(refusals.kept.len(), KEPT_MAX);
        refusals.keep(VmId(u64::MAX), HostId(1), String::new(), later);
        assert_eq!(refusals.kept.len(), 1, "what is over makes room");
        refusals.clear();
        assert_eq!(refusals.why(VmId(u64::MAX), HostId(1), later), None);
    }
}
