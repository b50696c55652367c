//! What a person must know before stating it: that a step has succeeded, or that nothing of a VM
//! can be asked for any more. A person here goes to the hosts and looks.

use super::Run;
use super::life::SYSTEM_STORE;
use ostler_driver_testkit::fake::FakeDomain;
use ostler_model::{HostId, Placement, Power, RelPath, StepKind, VmRecord};

impl Run {
    /// True if no host of the VM answers.
    pub(crate) fn may_forget(&self, record: &VmRecord) -> bool {
        let mut places = record.places();
        record.placement.is_some() && places.all(|place| self.life.fake.is_cut_off(place.host))
    }

    /// True if the step of the current operation, or the step that failed, has reached its goal.
    pub(crate) fn has_succeeded(&self, record: &VmRecord) -> bool {
        let active = record.operation.as_ref().and_then(ostler_model::Active::kind);
        let failed = record.failure.as_ref();
        let failed = failed.and_then(|failure| failure.plan.get(failure.at).copied());
        let Some(kind) = active.or(failed) else { return false };
        if self.life.fake.is_at_work(record.uuid) {
            return false;
        }
        let host = |place: Option<&Placement>| place.map_or(HostId::FRONT_END, |place| place.host);
        let (here, other) = (host(record.placement.as_ref()), host(record.other()));
        let domain = |host| self.life.fake.domain(host, record.uuid);
        let is_off = |domain: Option<FakeDomain>| {
            domain.is_none_or(|domain| domain.seen.power == Power::Off)
        };
        let home = if record.storage_is_shared() { "vms" } else { "home" };
        let empty = |host, top| self.file_at(record, (host, top), |_| true).is_none();
        match kind {
            StepKind::DropHost => empty(here, "vms"),
            StepKind::DropHome => empty(HostId::FRONT_END, home),
            StepKind::DropOther => empty(other, "vms"),
            StepKind::PressPower | StepKind::PowerOff => is_off(domain(here)),
            StepKind::Remove => domain(here).is_none(),
            StepKind::RemoveOther => domain(other).is_none(),
            StepKind::PrepareDisks => record.disks.iter().all(|disk| {
                let path = format!("vms/{}/{}", record.folder(), disk.file);
                let path: RelPath = path.parse().expect("a path");
                let system = SYSTEM_STORE.parse().expect("a name");
                disk.adopted.is_some() || self.life.fake.file(here, &system, &path).is_some()
            }),
            StepKind::Boot => domain(here).is_some_and(|domain| {
                let generation = domain.seen.identity.map(|identity| identity.generation);
                domain.seen.power == Power::Running && generation == Some(record.placed)
            }),
            // A person cannot see whether the other steps have succeeded.
            _ => false,
        }
    }
}
