//! The checks of hotplug, of resizing and of adoption: a domain's hardware, and its identity.

use super::stage::{Stage, broken, skip};
use super::{Check, Trouble, Verdict, check};
use ostler_driver::{CallControl, DomainDisk, DomainNic, DomainSpec};
use ostler_model::{ErrorKind, Identity, VmUuid, WildDomain};

/// All of them.
pub(super) fn checks() -> Vec<Check<Stage>> {
    vec![
        check!(
            "attach-disk-twice",
            "attach-disk is level: the domain has the disk, and a repeat answers success",
            attach_disk_twice
        ),
        check!(
            "detach-disk-twice",
            "detach-disk is level: a disk that is not there is success",
            detach_disk_twice
        ),
        check!(
            "attach-nic-twice",
            "attach-nic is level: the domain has the card, and a repeat answers success",
            attach_nic_twice
        ),
        check!(
            "detach-nic-twice",
            "detach-nic is level: a card that is not there is success",
            detach_nic_twice
        ),
        check!(
            "hotplug-fences",
            "attach and detach answer stale, and change nothing, if a higher generation is there",
            hotplug_fences
        ),
        check!(
            "hotplug-needs-domain",
            "what is attached to a domain that is not there is gone",
            hotplug_needs_domain
        ),
        check!(
            "resize-twice",
            "resize is level: the domain has what was asked for, runs on, and a repeat answers \
             success",
            resize_twice
        ),
        check!(
            "resize-fences",
            "resize answers stale, and changes nothing, if a higher generation is there",
            resize_fences
        ),
        check!(
            "inspect-tells",
            "inspect tells what the domain is made of, and of no domain that it is gone",
            inspect_tells
        ),
        check!(
            "stamp-twice",
            "stamp is level: the domain carries the identity, and runs on",
            stamp_twice
        ),
        check!(
            "stamp-fences",
            "stamp answers stale, and changes nothing, if a higher generation is there",
            stamp_fences
        ),
        check!(
            "stamp-leaves-foreign",
            "a domain that another store stamped is refused, and keeps its stamp",
            stamp_leaves_foreign
        ),
    ]
}

/// The domain's hardware, if the driver can tell it.
pub(super) async fn hardware(stage: &Stage, vm: VmUuid) -> Result<Option<WildDomain>, Trouble> {
    let Some(adopts) = stage.driver.adopt() else { return Ok(None) };
    match stage.asked("inspect", || adopts.inspect(&stage.site, vm)).await? {
        Ok(wild) => Ok(Some(wild)),
        Err(error) => broken(format!("inspect answered: {error}")),
    }
}

async fn has_disk(
    stage: &Stage,
    when: &str,
    vm: VmUuid,
    disk: &DomainDisk,
    wanted: bool,
) -> Verdict {
    let Some(found) = hardware(stage, vm).await? else { return Ok(()) };
    let count = found
        .disks
        .iter()
        .filter(|(name, file, ..)| *name == disk.name && *file == disk.file.absolute)
        .count();
    if count == usize::from(wanted) {
        Ok(())
    } else {
        broken(format!("{when}, the domain has the disk {count} times"))
    }
}

async fn has_nic(stage: &Stage, when: &str, vm: VmUuid, nic: &DomainNic, wanted: bool) -> Verdict {
    let Some(found) = hardware(stage, vm).await? else { return Ok(()) };
    let count = found.nics.iter().filter(|(mac, _)| *mac == nic.mac).count();
    if count == usize::from(wanted) {
        Ok(())
    } else {
        broken(format!("{when}, the domain has the card {count} times"))
    }
}

/// A running domain, and a disk that can be plugged into it.
pub(super) async fn spare_disk(
    stage: &Stage,
    generation: u64,
) -> Result<(VmUuid, DomainDisk), Trouble> {
    stage.plugs()?;
    let vm = stage.vm();
    let Some(disk) = stage.bench.spare_disk(vm).await else {
        return skip("the bench has no disk to plug in");
    };
    stage.deploy(vm, generation).await?;
    stage.bench.guest_ready(vm).await;
    Ok((vm, disk))
}

pub(super) async fn spare_nic(
    stage: &Stage,
    generation: u64,
) -> Result<(VmUuid, DomainNic), Trouble> {
    stage.plugs()?;
    let Some(nic) = stage.bench.spare_nic() else {
        return skip(
            "no bridge is named to plug a network card into (`ostler plugin test --bridge NAME`)",
        );
    };
    let vm = stage.vm();
    stage.deploy(vm, generation).await?;
    stage.bench.guest_ready(vm).await;
    Ok((vm, nic))
}

async fn attach_disk_twice(stage: &Stage) -> Verdict {
    let plugs = stage.plugs()?;
    let (vm, disk) = spare_disk(stage, 1).await?;
    for call in stage.thrice(vm, 1) {
        stage.done("attach-disk", || plugs.attach_disk(&stage.site, &call, &disk)).await?;
        has_disk(stage, "after attach-disk", vm, &disk, true).await?;
    }
    stage.untouched("after attach-disk", stage.identity(vm, 1)).await
}

async fn detach_disk_twice(stage: &Stage) -> Verdict {
    let plugs = stage.plugs()?;
    let (vm, disk) = spare_disk(stage, 1).await?;
    let attach = stage.call(vm, 1);
    stage.done("attach-disk", || plugs.attach_disk(&stage.site, &attach, &disk)).await?;
    for call in stage.thrice(vm, 1) {
        stage.done("detach-disk", || plugs.detach_disk(&stage.site, &call, &disk.name)).await?;
        has_disk(stage, "after detach-disk", vm, &disk, false).await?;
    }
    stage.untouched("after detach-disk", stage.identity(vm, 1)).await
}

async fn attach_nic_twice(stage: &Stage) -> Verdict {
    let plugs = stage.plugs()?;
    let (vm, nic) = spare_nic(stage, 1).await?;
    for call in stage.thrice(vm, 1) {
        stage.done("attach-nic", || plugs.attach_nic(&stage.site, &call, &nic)).await?;
        has_nic(stage, "after attach-nic", vm, &nic, true).await?;
    }
    stage.untouched("after attach-nic", stage.identity(vm, 1)).await
}

async fn detach_nic_twice(stage: &Stage) -> Verdict {
    let plugs = stage.plugs()?;
    let (vm, nic) = spare_nic(stage, 1).await?;
    let attach = stage.call(vm, 1);
    stage.done("attach-nic", || plugs.attach_nic(&stage.site, &attach, &nic)).await?;
    for call in stage.thrice(vm, 1) {
        stage.done("detach-nic", || plugs.detach_nic(&stage.site, &call, &nic.mac)).await?;
        has_nic(stage, "after detach-nic", vm, &nic, false).await?;
    }
    stage.untouched("after detach-nic", stage.identity(vm, 1)).await
}

async fn hotplug_fences(stage: &Stage) -> Verdict {
    let (vm, disk) = spare_disk(stage, 5).await?;
    let (driver, site, call) = (stage.plugs()?, &stage.site, stage.call(vm, 4));
    stage
        .fails("attach-disk with a lower generation", ErrorKind::Stale, || {
            driver.attach_disk(site, &call, &disk)
        })
        .await?;
    stage
        .fails("detach-disk with a lower generation", ErrorKind::Stale, || {
            driver.detach_disk(site, &call, &disk.name)
        })
        .await?;
    if let Some(nic) = stage.bench.spare_nic() {
        stage
            .fails("attach-nic with a lower generation", ErrorKind::Stale, || {
                driver.attach_nic(site, &call, &nic)
            })
            .await?;
        stage
            .fails("detach-nic with a lower generation", ErrorKind::Stale, || {
                driver.detach_nic(site, &call, &nic.mac)
            })
            .await?;
    }
    has_disk(stage, "after a stale attach-disk", vm, &disk, false).await?;
    stage.untouched("after stale hotplug", stage.identity(vm, 5)).await
}

async fn hotplug_needs_domain(stage: &Stage) -> Verdict {
    let plugs = stage.plugs()?;
    let vm = stage.vm();
    let Some(disk) = stage.bench.spare_disk(vm).await else {
        return skip("the bench has no disk to plug in");
    };
    let call = stage.call(vm, 1);
    stage
        .fails("attach-disk of no domain", ErrorKind::Gone, || {
            plugs.attach_disk(&stage.site, &call, &disk)
        })
        .await?;
    stage.absent(vm, "after attach-disk of no domain").await
}

/// A running domain that can be given more CPUs or memory.
pub(super) async fn growing(stage: &Stage, generation: u64) -> Result<DomainSpec, Trouble> {
    stage.resizes()?;
    let vm = stage.vm();
    let (call, spec) = (stage.call(vm, generation), stage.domain(vm, generation).await);
    if (spec.vcpus, spec.memory_mib) == (spec.vcpus_most, spec.memory_most_mib) {
        return skip("the bench's domain can be given nothing more");
    }
    stage.done("deploy", || stage.driver.deploy(&stage.site, &call, &spec)).await?;
    stage.bench.guest_ready(vm).await;
    Ok(spec)
}

/// Resizes the domain to the most that it can be given, and checks the result if the driver can
/// tell it.
pub(super) async fn grown(stage: &Stage, call: &CallControl, spec: &DomainSpec) -> Verdict {
    let resizes = stage.resizes()?;
    let (vcpus, memory) = (spec.vcpus_most, spec.memory_most_mib);
    stage.done("resize", || resizes.resize(&stage.site, call, vcpus, memory)).await?;
    has_size(stage, "resize", spec.identity.vm, (vcpus, memory)).await
}

pub(super) async fn has_size(stage: &Stage, what: &str, vm: VmUuid, wanted: (u32, u64)) -> Verdict {
    match hardware(stage, vm).await? {
        Some(found) if (found.vcpus, found.memory_mib) != wanted => broken(format!(
            "after {what}, the domain has {} CPUs and {} MiB, not {wanted:?}",
            found.vcpus, found.memory_mib
        )),
        Some(_) | None => Ok(()),
    }
}

async fn resize_twice(stage: &Stage) -> Verdict {
    let spec = growing(stage, 1).await?;
    let vm = spec.identity.vm;
    for call in stage.thrice(vm, 1) {
        grown(stage, &call, &spec).await?;
    }
    stage.untouched("after resize", spec.identity).await
}

async fn resize_fences(stage: &Stage) -> Verdict {
    let resizes = stage.resizes()?;
    let spec = growing(stage, 5).await?;
    let (vm, most) = (spec.identity.vm, (spec.vcpus_most, spec.memory_most_mib));
    let call = stage.call(vm, 4);
    let resize = || resizes.resize(&stage.site, &call, most.0, most.1);
    stage.fails("resize with a lower generation", ErrorKind::Stale, resize).await?;
    has_size(stage, "a stale resize", vm, (spec.vcpus, spec.memory_mib)).await?;
    stage.untouched("after a stale resize", spec.identity).await
}

async fn inspect_tells(stage: &Stage) -> Verdict {
    let adopts = stage.adopts()?;
    let vm = stage.vm();
    let asked = stage.asked("inspect", || adopts.inspect(&stage.site, vm)).await?;
    if asked.as_ref().err().is_none_or(|error| error.kind != ErrorKind::Gone) {
        return broken(format!("inspect of no domain answered {asked:?}; gone was to be expected"));
    }
    let (call, mut spec) = (stage.call(vm, 1), stage.domain(vm, 1).await);
    spec.disks.extend(stage.bench.spare_disk(vm).await);
    stage.done("deploy", || stage.driver.deploy(&stage.site, &call, &spec)).await?;
    let Some(found) = hardware(stage, vm).await? else { return Ok(()) };
    let disk = |disk: &DomainDisk| {
        (disk.name.clone(), disk.file.absolute.clone(), disk.format, disk.read_only)
    };
    let (mut wanted, mut disks): (Vec<_>, _) = (spec.disks.iter().map(disk).collect(), found.disks);
    wanted.sort_by(|one, other| one.0.cmp(&other.0));
    disks.sort_by(|one, other| one.0.cmp(&other.0));
    if (found.vcpus, found.memory_mib) != (spec.vcpus, spec.memory_mib) {
        return broken(format!(
            "inspect tells of {} CPUs and {} MiB",
            found.vcpus, found.memory_mib
        ));
    }
    if disks != wanted {
        return broken(format!("inspect tells of the disks {disks:?}, not {wanted:?}"));
    }
    match spec.nics.iter().find(|nic| !found.nics.contains(&(nic.mac.clone(), nic.bridge.clone())))
    {
        Some(missing) => {
            broken(format!("inspect tells of the cards {:?}, and not of {missing:?}", found.nics))
        }
        None => Ok(()),
    }
}

/// A running domain to adopt: a wild one if the bench can make it, else one of an earlier
/// placement.
async fn wild(stage: &Stage) -> Result<Identity, Trouble> {
    stage.adopts()?;
    let vm = stage.vm();
    if !stage.bench.make_wild(vm).await {
        stage.deploy(vm, 1).await?;
    }
    Ok(stage.identity(vm, 2))
}

async fn stamp_twice(stage: &Stage) -> Verdict {
    let adopts = stage.adopts()?;
    let identity = wild(stage).await?;
    let vm = identity.vm;
    let before = hardware(stage, vm).await?;
    for call in stage.thrice(vm, 2) {
        stage.done("stamp", || adopts.stamp(&stage.site, &call, &identity)).await?;
        stage.untouched("after stamp", identity).await?;
    }
    let after = hardware(stage, vm).await?;
    if before == after { Ok(()) } else { broken(format!("stamp made {after:?} of {before:?}")) }
}

async fn stamp_fences(stage: &Stage) -> Verdict {
    let adopts = stage.adopts()?;
    let vm = stage.vm();
    stage.deploy(vm, 5).await?;
    let (call, identity) = (stage.call(vm, 4), stage.identity(vm, 4));
    stage
        .fails("stamp with a lower generation", ErrorKind::Stale, || {
            adopts.stamp(&stage.site, &call, &identity)
        })
        .await?;
    stage.untouched("after a stale stamp", stage.identity(vm, 5)).await
}

async fn stamp_leaves_foreign(stage: &Stage) -> Verdict {
    let adopts = stage.adopts()?;
    let (theirs, vm) = (stage.of_another_store(), stage.vm());
    theirs.deploy(vm, 1).await?;
    let (call, ours) = (stage.call(vm, 2), stage.identity(vm, 2));
    stage
        .fails("stamp of another store's", ErrorKind::Refused, || {
            adopts.stamp(&stage.site, &call, &ours)
        })
        .await?;
    theirs.untouched("after stamp of another store's", theirs.identity(vm, 1)).await
}
