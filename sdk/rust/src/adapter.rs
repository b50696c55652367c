//! Connects the traits that authors implement with the traits that `wit-bindgen` generates.

use crate::described::describe;
use crate::{bindings, *};
use std::marker::PhantomData;

/// Connects a driver with the contract. `export!` makes it; authors do not need it.
pub struct Adapter<D>(PhantomData<D>);

impl<D: Hypervisor + Described> bindings::hypervisor::exports::ostler::driver::hypervisor::Guest
    for Adapter<D>
{
    fn describe() -> Description {
        describe::<D>()
    }
    fn probe() -> Result<HostFacts, Error> {
        D::probe()
    }
    fn deploy(call: &Call, domain: DomainSpec) -> Result<Outcome, Error> {
        D::deploy(call, domain)
    }
    fn press_power(call: &Call) -> Result<Outcome, Error> {
        D::press_power(call)
    }
    fn destroy(call: &Call) -> Result<Outcome, Error> {
        D::destroy(call)
    }
    fn remove(call: &Call) -> Result<Outcome, Error> {
        D::remove(call)
    }
    fn observe(vm: String) -> Result<Observation, Error> {
        D::observe(&vm)
    }
    fn list() -> Result<bindings::hypervisor::exports::ostler::driver::hypervisor::Listed, Error> {
        let Listed { domains, unreadable } = D::list()?;
        Ok(bindings::hypervisor::exports::ostler::driver::hypervisor::Listed {
            domains,
            unreadable,
        })
    }
}

impl<D: Reboot> bindings::reboot::exports::ostler::driver::reboot::Guest for Adapter<D> {
    fn reboot(call: &Call) -> Result<Outcome, Error> {
        D::reboot(call)
    }
    fn reset(call: &Call) -> Result<Outcome, Error> {
        D::reset(call)
    }
}

impl<D: Suspend> bindings::suspend::exports::ostler::driver::suspend::Guest for Adapter<D> {
    fn save(call: &Call, file: FileRef) -> Result<Outcome, Error> {
        D::save(call, file)
    }
    fn restore(call: &Call, domain: DomainSpec, file: FileRef) -> Result<Outcome, Error> {
        D::restore(call, domain, file)
    }
    fn unpause(call: &Call) -> Result<Outcome, Error> {
        D::unpause(call)
    }
}

impl<D: Changes> bindings::changes::exports::ostler::driver::changes::Guest for Adapter<D> {
    fn changes(cursor: u64, wait_ms: u64) -> Result<Batch, Error> {
        D::changes(cursor, wait_ms)
    }
}

impl<D: Metrics> bindings::metrics::exports::ostler::driver::metrics::Guest for Adapter<D> {
    fn sample() -> Result<Vec<Sample>, Error> {
        D::sample()
    }
}

impl<D: Migrate> bindings::migrate::exports::ostler::driver::migrate::Guest for Adapter<D> {
    fn begin(call: &Call, domain: DomainSpec, to: Destination) -> Result<JobStatus, Error> {
        D::begin(call, domain, to)
    }
    fn poll(call: &Call) -> Result<JobStatus, Error> {
        D::poll(call)
    }
    fn abort(call: &Call) -> Result<(), Error> {
        D::abort(call)
    }
}

impl<D: Hotplug> bindings::hotplug::exports::ostler::driver::hotplug::Guest for Adapter<D> {
    fn attach_disk(call: &Call, disk: DomainDisk) -> Result<Outcome, Error> {
        D::attach_disk(call, disk)
    }
    fn detach_disk(call: &Call, name: String) -> Result<Outcome, Error> {
        D::detach_disk(call, &name)
    }
    fn attach_nic(call: &Call, nic: DomainNic) -> Result<Outcome, Error> {
        D::attach_nic(call, nic)
    }
    fn detach_nic(call: &Call, mac: String) -> Result<Outcome, Error> {
        D::detach_nic(call, &mac)
    }
}

impl<D: Snapshots> bindings::snapshots::exports::ostler::driver::snapshots::Guest for Adapter<D> {
    fn create(call: &Call, name: String) -> Result<Outcome, Error> {
        D::create(call, &name)
    }
    fn revert(call: &Call, name: String) -> Result<Outcome, Error> {
        D::revert(call, &name)
    }
    fn delete(call: &Call, name: String) -> Result<Outcome, Error> {
        D::delete(call, &name)
    }
    fn list(vm: String) -> Result<Vec<String>, Error> {
        D::list(&vm)
    }
}

impl<D: LiveResize> bindings::live_resize::exports::ostler::driver::live_resize::Guest
    for Adapter<D>
{
    fn resize(call: &Call, vcpus: u32, memory_mib: u64) -> Result<Outcome, Error> {
        D::resize(call, vcpus, memory_mib)
    }
}

impl<D: DiskCopy> bindings::disk_copy::exports::ostler::driver::disk_copy::Guest for Adapter<D> {
    fn begin(
        call: &Call,
        disk: String,
        target: FileRef,
        format: String,
    ) -> Result<JobStatus, Error> {
        D::begin(call, &disk, target, &format)
    }
    fn poll(call: &Call) -> Result<JobStatus, Error> {
        D::poll(call)
    }
    fn abort(call: &Call) -> Result<(), Error> {
        D::abort(call)
    }
}

impl<D: Adopt> bindings::adopt::exports::ostler::driver::adopt::Guest for Adapter<D> {
    fn inspect(vm: String) -> Result<WildDomain, Error> {
        D::inspect(&vm)
    }
    fn stamp(call: &Call, identity: Identity) -> Result<Outcome, Error> {
        D::stamp(call, identity)
    }
}

impl<D: Console> bindings::console::exports::ostler::driver::console::Guest for Adapter<D> {
    fn open(vm: String, kind: String) -> Result<Endpoint, Error> {
        D::open(&vm, &kind)
    }
}

impl<D: Fence> bindings::fence::exports::ostler::driver::fence::Guest for Adapter<D> {
    fn fence(call: &Call) -> Result<(), Error> {
        D::fence(call)
    }
}

impl<D: Transfer + Described> bindings::transfer::exports::ostler::driver::transfer::Guest
    for Adapter<D>
{
    fn describe() -> Description {
        describe::<D>()
    }
    fn begin(call: &Call, job: Job) -> Result<JobStatus, Error> {
        D::begin(call, job)
    }
    fn poll(call: &Call) -> Result<JobStatus, Error> {
        D::poll(call)
    }
    fn abort(call: &Call) -> Result<(), Error> {
        D::abort(call)
    }
}

impl<D: TransferImages> bindings::transfer_images::exports::ostler::driver::transfer_images::Guest
    for Adapter<D>
{
    fn begin_save_back(call: &Call, job: SaveBackJob) -> Result<JobStatus, Error> {
        D::begin_save_back(call, job)
    }
}

impl<D: TransferInspect>
    bindings::transfer_inspect::exports::ostler::driver::transfer_inspect::Guest for Adapter<D>
{
    fn inspect(file: FileRef) -> Result<FileLook, Error> {
        D::inspect(file)
    }
}

impl<D: TransferUsage> bindings::transfer_usage::exports::ostler::driver::transfer_usage::Guest
    for Adapter<D>
{
    fn usage(datastore: String) -> Result<Usage, Error> {
        D::usage(&datastore)
    }
}

impl<D: SnapshotRules + Described> bindings::rules::exports::ostler::driver::snapshot_rules::Guest
    for Adapter<D>
{
    fn describe() -> Description {
        describe::<D>()
    }
    fn judge(question: Question) -> Verdict {
        D::judge(question)
    }
}
