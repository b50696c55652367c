//! Decides whether a host may be removed as lost, so that VMs give up what they left there.

use ostler_model::{HostState, VmId};

/// Why a host is not taken for lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotLost {
    /// It answers.
    Answers,
    /// It was not asked yet since the daemon was started.
    NotAsked,
    /// These VMs have their place there. Their guests may still run.
    HasVms(Vec<VmId>),
}

/// Checks that a host may be removed as lost. `state` is what the operator set, None if there is no
/// such host: then its removal is refused for that. `answers` says whether the host answered when
/// it was asked last, None if it was not asked yet; a host that is off is not asked. `there` are
/// the VMs that have their place on it.
///
/// # Errors
/// The reason why it does not count as lost.
pub fn is_lost(
    state: Option<HostState>,
    answers: Option<bool>,
    there: Vec<VmId>,
) -> Result<(), NotLost> {
    let asked = state.is_some_and(|state| state != HostState::Off);
    match answers {
        Some(true) if asked => Err(NotLost::Answers),
        None if asked => Err(NotLost::NotAsked),
        Some(_) | None if !there.is_empty() => Err(NotLost::HasVms(there)),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_silent_host_without_vms_is_lost() {
        let on = Some(HostState::On);
        assert_eq!(is_lost(on, Some(true), Vec::new()), Err(NotLost::Answers));
        assert_eq!(is_lost(Some(HostState::Draining), None, Vec::new()), Err(NotLost::NotAsked));
        assert_eq!(is_lost(on, Some(false), vec![VmId(1)]), Err(NotLost::HasVms(vec![VmId(1)])));
        assert_eq!(
            is_lost(Some(HostState::Off), Some(true), vec![VmId(1)]),
            Err(NotLost::HasVms(vec![VmId(1)]))
        );
        assert_eq!(is_lost(on, Some(false), Vec::new()), Ok(()));
        assert_eq!(
            is_lost(Some(HostState::Off), None, Vec::new()),
            Ok(()),
            "nobody asks a host that is off"
        );
        assert_eq!(is_lost(None, None, Vec::new()), Ok(()));
    }
}
