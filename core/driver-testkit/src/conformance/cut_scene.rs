//! The scenes of the checks that stop a hypervisor driver: a VM in the state that an effect finds.

use super::Trouble;
use super::Verdict;
use super::abilities::saved;
use super::hardware::{growing, spare_disk, spare_nic};
use super::jobs::{Copying, Journey, journey};
use super::snapshots::{name, taken};
use super::stage::Stage;
use ostler_driver::{DomainDisk, DomainNic, DomainSpec, FileRef};
use ostler_model::{Power, SnapshotName, VmUuid};

/// An effect of a hypervisor driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Deploy,
    Press,
    Destroy,
    Remove,
    Reboot,
    Reset,
    Save,
    Restore,
    Unpause,
    AttachDisk,
    DetachDisk,
    AttachNic,
    DetachNic,
    Resize,
    Stamp,
    Snapshot,
    Revert,
    DeleteSnapshot,
    Migrate,
    CopyDisk,
}

/// The thing beside the domain that the effect is about.
pub(super) enum Subject {
    Nothing,
    Spec(Box<DomainSpec>),
    Memory(FileRef),
    Disk(DomainDisk),
    Nic(DomainNic),
    Snapshot(SnapshotName),
    Journey(Box<Journey>),
    Copying(Copying),
}

/// A VM in the state that the effect finds.
pub(super) struct Scene {
    pub(super) vm: VmUuid,
    /// The generation of the effect. That of the domain before is 1.
    pub(super) generation: u64,
    pub(super) subject: Subject,
    /// The edge effects that the guest has felt before.
    pub(super) edges: u32,
}

impl Scene {
    fn new(vm: VmUuid, generation: u64, subject: Subject) -> Self {
        Self { vm, generation, subject, edges: 0 }
    }

    /// Makes the scene of an effect.
    pub(super) async fn make(stage: &Stage, effect: Effect) -> Result<Self, Trouble> {
        let alone = |vm| Scene::new(vm, 1, Subject::Nothing);
        Ok(match effect {
            Effect::Deploy => {
                let vm = stage.vm();
                let spec = stage.domain(vm, 1).await;
                Scene::new(vm, 1, Subject::Spec(Box::new(spec)))
            }
            Effect::Press | Effect::Destroy | Effect::Remove => alone(running(stage).await?),
            Effect::Reboot | Effect::Reset => {
                stage.reboots()?;
                alone(running(stage).await?)
            }
            Effect::Save => {
                stage.suspends()?;
                let vm = running(stage).await?;
                Scene::new(vm, 1, Subject::Memory(stage.bench.recovery(vm)))
            }
            Effect::Restore => {
                let (vm, file) = saved(stage).await?;
                Scene::new(vm, 2, Subject::Memory(file))
            }
            Effect::Unpause => {
                let (vm, file) = saved(stage).await?;
                restored(stage, vm, 1, &file).await?;
                alone(vm)
            }
            Effect::AttachDisk | Effect::DetachDisk | Effect::AttachNic | Effect::DetachNic => {
                Self::plugged(stage, effect).await?
            }
            Effect::Resize => {
                let spec = growing(stage, 1).await?;
                Scene::new(spec.identity.vm, 1, Subject::Spec(Box::new(spec)))
            }
            Effect::Stamp => {
                stage.adopts()?;
                Scene::new(running(stage).await?, 2, Subject::Nothing)
            }
            Effect::Snapshot => {
                stage.snaps()?;
                Scene::new(running(stage).await?, 1, Subject::Snapshot(name("one")?))
            }
            Effect::Revert | Effect::DeleteSnapshot => {
                let (vm, one) = taken(stage, 1).await?;
                Scene::new(vm, 1, Subject::Snapshot(one))
            }
            Effect::Migrate => {
                let journey = journey(stage).await?;
                Scene::new(journey.vm, 2, Subject::Journey(Box::new(journey)))
            }
            Effect::CopyDisk => {
                let copying = Copying::new(stage, 1).await?;
                Scene::new(copying.vm, 1, Subject::Copying(copying))
            }
        })
    }

    /// A domain with something to plug in or out.
    async fn plugged(stage: &Stage, effect: Effect) -> Result<Self, Trouble> {
        if matches!(effect, Effect::AttachDisk | Effect::DetachDisk) {
            let (vm, disk) = spare_disk(stage, 1).await?;
            if effect == Effect::DetachDisk {
                let (plugs, call) = (stage.plugs()?, stage.call(vm, 1));
                let attach = || plugs.attach_disk(&stage.site, &call, &disk);
                stage.done("attach-disk", attach).await?;
            }
            return Ok(Self::new(vm, 1, Subject::Disk(disk)));
        }
        let (vm, nic) = spare_nic(stage, 1).await?;
        if effect == Effect::DetachNic {
            let (plugs, call) = (stage.plugs()?, stage.call(vm, 1));
            stage.done("attach-nic", || plugs.attach_nic(&stage.site, &call, &nic)).await?;
        }
        Ok(Self::new(vm, 1, Subject::Nic(nic)))
    }
}

/// A running domain of the first generation.
async fn running(stage: &Stage) -> Result<VmUuid, Trouble> {
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    stage.bench.guest_ready(vm).await;
    Ok(vm)
}

/// Restores the memory of a VM, which must leave the domain paused.
pub(super) async fn restored(
    stage: &Stage,
    vm: VmUuid,
    generation: u64,
    file: &FileRef,
) -> Verdict {
    let suspends = stage.suspends()?;
    let (call, spec) = (stage.call(vm, generation), stage.domain(vm, generation).await);
    let restore = || suspends.restore(&stage.site, &call, &spec, file);
    stage.done("restore", restore).await?;
    stage.power(vm, "after restore", Power::Paused).await.map(drop)
}
