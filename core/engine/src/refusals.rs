//! Remembers for a while which proposals of the scheduler were refused. If a VM was refused at a
//! host for a reason that the scheduler does not know, it must not be proposed there again at once.
//! Otherwise it would reserve the capacity in each cycle, and no other VM would get it.

use ostler_lifecycle::Declined;
use ostler_model::{HostId, VmId};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a refusal is remembered. This is long enough for the VMs behind it to have their turn,
/// and short enough that no VM waits long when the reason is gone. A change of a host, a datastore
/// or an image ends it at once.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// How many refusals are remembered at most; they use a few megabytes. A refusal for which there is
/// no room is not remembered, and that VM is proposed again in the next regular cycle.
const KEPT_MAX: usize = 10_000;

struct Refusal {
    until: Instant,
    why: Declined,
}

/// The refusals that are remembered.
#[derive(Default)]
pub(crate) struct Refusals {
    kept: HashMap<(VmId, HostId), Refusal>,
}

impl Refusals {
    /// Remembers that the VM was refused at the host, and why. Answers whether there was room to
    /// remember it.
    pub(crate) fn keep(&mut self, vm: VmId, host: HostId, why: Declined, now: Instant) -> bool {
        if self.kept.len() >= KEPT_MAX {
            self.kept.retain(|_, refusal| refusal.until > now);
        }
        let has_room = self.kept.len() < KEPT_MAX;
        if has_room {
            self.kept.insert((vm, host), Refusal { until: now + KEPT_FOR, why });
        }
        has_room
    }

    /// Why the VM was refused at the host, if that is still remembered.
    pub(crate) fn why(&self, vm: VmId, host: HostId, now: Instant) -> Option<&Declined> {
        self.kept.get(&(vm, host)).filter(|refusal| refusal.until > now).map(|refusal| &refusal.why)
    }

    /// Forgets all refusals: something has changed, so the proposals may be accepted now.
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
        let no = || Declined::Failed("no".to_owned());
        refusals.keep(VmId(1), HostId(1), no(), now);
        assert_eq!(refusals.why(VmId(1), HostId(1), now), Some(&no()));
        assert_eq!(
            (refusals.why(VmId(1), HostId(2), now), refusals.why(VmId(2), HostId(1), now)),
            (None, None)
        );
        let later = now + KEPT_FOR;
        assert_eq!(refusals.why(VmId(1), HostId(1), later), None);
        for vm in 0..2 * KEPT_MAX as u64 {
            refusals.keep(VmId(vm), HostId(1), no(), now);
        }
        assert_eq!(refusals.kept.len(), KEPT_MAX);
        refusals.keep(VmId(u64::MAX), HostId(1), no(), later);
        assert_eq!(refusals.kept.len(), 1, "what is over makes room");
        refusals.clear();
        assert_eq!(refusals.why(VmId(u64::MAX), HostId(1), later), None);
    }
}
