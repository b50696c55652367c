//! Connects the traits that authors implement with the traits that `wit-bindgen` generates.

use crate::bindings::imports::ostler::driver::{call_context, types};
use crate::bindings::{
    adopt::exports::ostler::driver::adopt, changes::exports::ostler::driver::changes,
    console::exports::ostler::driver::console, disk_copy::exports::ostler::driver::disk_copy,
    fence::exports::ostler::driver::fence, hotplug::exports::ostler::driver::hotplug,
    hypervisor::exports::ostler::driver::hypervisor,
    live_resize::exports::ostler::driver::live_resize, metrics::exports::ostler::driver::metrics,
    migrate::exports::ostler::driver::migrate, reboot::exports::ostler::driver::reboot,
    rules::exports::ostler::driver::snapshot_rules, snapshots::exports::ostler::driver::snapshots,
    suspend::exports::ostler::driver::suspend, transfer::exports::ostler::driver::transfer,
    transfer_images::exports::ostler::driver::transfer_images,
    transfer_inspect::exports::ostler::driver::transfer_inspect,
    transfer_larger::exports::ostler::driver::transfer_larger,
    transfer_usage::exports::ostler::driver::transfer_usage,
};
use crate::described::describe;
use crate::wire::{FromWire, IntoWire};
use crate::*;
use std::marker::PhantomData;

type Wired<T> = Result<T, types::Error>;

/// Connects a driver with the contract. `export!` makes it; authors do not need it.
pub struct Adapter<D>(PhantomData<D>);

impl<D: Hypervisor + Described> hypervisor::Guest for Adapter<D> {
    fn describe() -> types::Description {
        describe::<D>()
    }
    fn probe() -> Wired<types::HostFacts> {
        D::probe().into_wire()
    }
    fn deploy(call: &call_context::Call, domain: types::DomainSpec) -> Wired<types::Outcome> {
        D::deploy(Call::of(call), FromWire::from_wire(domain)).into_wire()
    }
    fn press_power(call: &call_context::Call) -> Wired<types::Outcome> {
        D::press_power(Call::of(call)).into_wire()
    }
    fn destroy(call: &call_context::Call) -> Wired<types::Outcome> {
        D::destroy(Call::of(call)).into_wire()
    }
    fn remove(call: &call_context::Call) -> Wired<types::Outcome> {
        D::remove(Call::of(call)).into_wire()
    }
    fn observe(vm: String) -> Wired<types::Observation> {
        D::observe(&vm).into_wire()
    }
    fn list() -> Wired<hypervisor::Listed> {
        D::list().into_wire()
    }
}

impl<D: Reboot> reboot::Guest for Adapter<D> {
    fn reboot(call: &call_context::Call) -> Wired<types::Outcome> {
        D::reboot(Call::of(call)).into_wire()
    }
    fn reset(call: &call_context::Call) -> Wired<types::Outcome> {
        D::reset(Call::of(call)).into_wire()
    }
}

impl<D: Suspend> suspend::Guest for Adapter<D> {
    fn save(call: &call_context::Call, file: types::FileRef) -> Wired<types::Outcome> {
        D::save(Call::of(call), FromWire::from_wire(file)).into_wire()
    }
    fn restore(
        call: &call_context::Call,
        domain: types::DomainSpec,
        file: types::FileRef,
    ) -> Wired<types::Outcome> {
        D::restore(Call::of(call), FromWire::from_wire(domain), FromWire::from_wire(file))
            .into_wire()
    }
    fn unpause(call: &call_context::Call) -> Wired<types::Outcome> {
        D::unpause(Call::of(call)).into_wire()
    }
}

impl<D: Changes> changes::Guest for Adapter<D> {
    fn changes(cursor: u64, wait_ms: u64) -> Wired<changes::Batch> {
        D::changes(cursor, wait_ms).into_wire()
    }
}

impl<D: Metrics> metrics::Guest for Adapter<D> {
    fn sample() -> Wired<Vec<metrics::Counters>> {
        D::sample().into_wire()
    }
}

impl<D: Migrate> migrate::Guest for Adapter<D> {
    fn begin(
        call: &call_context::Call,
        domain: types::DomainSpec,
        to: migrate::Destination,
    ) -> Wired<types::JobStatus> {
        D::begin(Call::of(call), FromWire::from_wire(domain), FromWire::from_wire(to)).into_wire()
    }
    fn poll(call: &call_context::Call) -> Wired<types::JobStatus> {
        D::poll(Call::of(call)).into_wire()
    }
    fn abort(call: &call_context::Call) -> Wired<()> {
        D::abort(Call::of(call)).into_wire()
    }
}

impl<D: Hotplug> hotplug::Guest for Adapter<D> {
    fn attach_disk(call: &call_context::Call, disk: types::DomainDisk) -> Wired<types::Outcome> {
        D::attach_disk(Call::of(call), FromWire::from_wire(disk)).into_wire()
    }
    fn detach_disk(call: &call_context::Call, name: String) -> Wired<types::Outcome> {
        D::detach_disk(Call::of(call), &name).into_wire()
    }
    fn attach_nic(call: &call_context::Call, nic: types::DomainNic) -> Wired<types::Outcome> {
        D::attach_nic(Call::of(call), FromWire::from_wire(nic)).into_wire()
    }
    fn detach_nic(call: &call_context::Call, mac: String) -> Wired<types::Outcome> {
        D::detach_nic(Call::of(call), &mac).into_wire()
    }
}

impl<D: Snapshots> snapshots::Guest for Adapter<D> {
    fn create(call: &call_context::Call, name: String) -> Wired<types::Outcome> {
        D::create(Call::of(call), &name).into_wire()
    }
    fn revert(call: &call_context::Call, name: String) -> Wired<types::Outcome> {
        D::revert(Call::of(call), &name).into_wire()
    }
    fn delete(call: &call_context::Call, name: String) -> Wired<types::Outcome> {
        D::delete(Call::of(call), &name).into_wire()
    }
    fn list(vm: String) -> Wired<Vec<String>> {
        D::list(&vm).into_wire()
    }
}

impl<D: LiveResize> live_resize::Guest for Adapter<D> {
    fn resize(call: &call_context::Call, vcpus: u32, memory_mib: u64) -> Wired<types::Outcome> {
        D::resize(Call::of(call), vcpus, memory_mib).into_wire()
    }
}

impl<D: DiskCopy> disk_copy::Guest for Adapter<D> {
    fn begin(
        call: &call_context::Call,
        disk: String,
        target: types::FileRef,
        format: String,
    ) -> Wired<types::JobStatus> {
        D::begin(Call::of(call), &disk, FromWire::from_wire(target), FromWire::from_wire(format))
            .into_wire()
    }
    fn poll(call: &call_context::Call) -> Wired<types::JobStatus> {
        D::poll(Call::of(call)).into_wire()
    }
    fn abort(call: &call_context::Call) -> Wired<()> {
        D::abort(Call::of(call)).into_wire()
    }
}

impl<D: Adopt> adopt::Guest for Adapter<D> {
    fn inspect(vm: String) -> Wired<adopt::WildDomain> {
        D::inspect(&vm).into_wire()
    }
    fn stamp(call: &call_context::Call, identity: types::Identity) -> Wired<types::Outcome> {
        D::stamp(Call::of(call), FromWire::from_wire(identity)).into_wire()
    }
}

impl<D: Console> console::Guest for Adapter<D> {
    fn open(vm: String, kind: String) -> Wired<console::Endpoint> {
        D::open(&vm, FromWire::from_wire(kind)).into_wire()
    }
}

impl<D: Fence> fence::Guest for Adapter<D> {
    fn fence(call: &call_context::Call) -> Wired<()> {
        D::fence(Call::of(call)).into_wire()
    }
}

impl<D: Transfer + Described> transfer::Guest for Adapter<D> {
    fn describe() -> types::Description {
        describe::<D>()
    }
    fn begin(call: &call_context::Call, job: transfer::Job) -> Wired<types::JobStatus> {
        D::begin(Call::of(call), FromWire::from_wire(job)).into_wire()
    }
    fn poll(call: &call_context::Call) -> Wired<types::JobStatus> {
        D::poll(Call::of(call)).into_wire()
    }
    fn abort(call: &call_context::Call) -> Wired<()> {
        D::abort(Call::of(call)).into_wire()
    }
}

impl<D: TransferImages> transfer_images::Guest for Adapter<D> {
    fn begin_save_back(
        call: &call_context::Call,
        job: transfer_images::SaveBackJob,
    ) -> Wired<types::JobStatus> {
        D::begin_save_back(Call::of(call), FromWire::from_wire(job)).into_wire()
    }
}

impl<D: TransferLarger> transfer_larger::Guest for Adapter<D> {
    fn begin_larger(
        call: &call_context::Call,
        job: transfer_larger::LargerJob,
    ) -> Wired<types::JobStatus> {
        D::begin_larger(Call::of(call), FromWire::from_wire(job)).into_wire()
    }
}

impl<D: TransferInspect> transfer_inspect::Guest for Adapter<D> {
    fn inspect(file: types::FileRef) -> Wired<transfer_inspect::FileLook> {
        D::inspect(FromWire::from_wire(file)).into_wire()
    }
}

impl<D: TransferUsage> transfer_usage::Guest for Adapter<D> {
    fn usage(datastore: String) -> Wired<transfer_usage::Space> {
        D::usage(&datastore).into_wire()
    }
}

impl<D: SnapshotRules + Described> snapshot_rules::Guest for Adapter<D> {
    fn describe() -> types::Description {
        describe::<D>()
    }
    fn judge(question: snapshot_rules::Question) -> snapshot_rules::Verdict {
        D::judge(FromWire::from_wire(question)).into_wire()
    }
}
