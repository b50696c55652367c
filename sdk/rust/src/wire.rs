//! Turns the types that `wit-bindgen` generates into those of this crate, and back.
//!
//! Records are turned field by field, by name: a field that is missing on one side does not
//! compile. A generated error must never meet `?`, because `?` turns every error into an `unknown`
//! one. So only this module and `sys` name generated errors.

use crate::bindings::imports::ostler::driver::{exec, files, types};
use crate::bindings::{
    adopt::exports::ostler::driver::adopt, changes::exports::ostler::driver::changes,
    console::exports::ostler::driver::console, hypervisor::exports::ostler::driver::hypervisor,
    metrics::exports::ostler::driver::metrics, migrate::exports::ostler::driver::migrate,
    rules::exports::ostler::driver::snapshot_rules, transfer::exports::ostler::driver::transfer,
    transfer_images::exports::ostler::driver::transfer_images,
    transfer_inspect::exports::ostler::driver::transfer_inspect,
    transfer_larger::exports::ostler::driver::transfer_larger,
    transfer_usage::exports::ostler::driver::transfer_usage,
};
use crate::types::{Argument, CommandLine, JobName, JobRunning};
use crate::*;

/// A type that the host sends.
pub(crate) trait FromWire<W> {
    fn from_wire(wire: W) -> Self;
}

/// A type that the driver sends.
pub(crate) trait IntoWire<W> {
    fn into_wire(self) -> W;
}

macro_rules! same {
    ($($name:ty),*) => { $(
        impl FromWire<$name> for $name {
            fn from_wire(wire: $name) -> Self { wire }
        }
        impl IntoWire<$name> for $name {
            fn into_wire(self) -> $name { self }
        }
    )* };
}
same!((), bool, u8, u32, i32, u64, String, (String, String));

impl<W, T: FromWire<W>> FromWire<Vec<W>> for Vec<T> {
    fn from_wire(wire: Vec<W>) -> Self {
        wire.into_iter().map(T::from_wire).collect()
    }
}
impl<W, T: IntoWire<W>> IntoWire<Vec<W>> for Vec<T> {
    fn into_wire(self) -> Vec<W> {
        self.into_iter().map(T::into_wire).collect()
    }
}
impl<W, T: FromWire<W>> FromWire<Option<W>> for Option<T> {
    fn from_wire(wire: Option<W>) -> Self {
        wire.map(T::from_wire)
    }
}
impl<W, T: IntoWire<W>> IntoWire<Option<W>> for Option<T> {
    fn into_wire(self) -> Option<W> {
        self.map(T::into_wire)
    }
}
impl<W, T: FromWire<W>> FromWire<Result<W, types::Error>> for Result<T, Error> {
    fn from_wire(wire: Result<W, types::Error>) -> Self {
        wire.map(T::from_wire).map_err(Error::from_wire)
    }
}
impl<W, T: IntoWire<W>> IntoWire<Result<W, types::Error>> for Result<T, Error> {
    fn into_wire(self) -> Result<W, types::Error> {
        self.map(T::into_wire).map_err(Error::into_wire)
    }
}

macro_rules! from_wire {
    ($($name:ident = $wire:path { $($field:ident),* $(,)? })*) => { $(
        impl FromWire<$wire> for $name {
            fn from_wire(wire: $wire) -> Self {
                Self { $($field: FromWire::from_wire(wire.$field)),* }
            }
        }
    )* };
}

macro_rules! into_wire {
    ($($name:ident = $wire:path { $($field:ident),* $(,)? })*) => { $(
        impl IntoWire<$wire> for $name {
            fn into_wire(self) -> $wire {
                $wire { $($field: self.$field.into_wire()),* }
            }
        }
    )* };
}

macro_rules! cases {
    ($($name:ident = $wire:path { $($case:ident),* $(,)? })*) => { $(
        impl FromWire<$wire> for $name {
            fn from_wire(wire: $wire) -> Self {
                use $wire as Wire;
                match wire { $(Wire::$case => Self::$case),* }
            }
        }
        impl IntoWire<$wire> for $name {
            fn into_wire(self) -> $wire {
                use $wire as Wire;
                match self { $(Self::$case => Wire::$case),* }
            }
        }
    )* };
}

macro_rules! words {
    ($($name:ident),*) => { $(
        impl FromWire<String> for $name {
            fn from_wire(wire: String) -> Self { Self::of(wire) }
        }
    )* };
}
words!(DiskFormat, Firmware, Graphics, ConsoleKind, MigrationMode, Item);

macro_rules! sent_words {
    ($($name:ident),*) => { $(
        impl IntoWire<String> for $name {
            fn into_wire(self) -> String { self.to_string() }
        }
    )* };
}
sent_words!(Power, PowerReason, FileKind, DiskFormat, ConsoleKind, Item);

/// A kind that a later host may send is neither a file nor a folder.
impl FromWire<String> for FileKind {
    fn from_wire(wire: String) -> Self {
        Self::parse(&wire).unwrap_or(Self::Other)
    }
}

cases! {
    ErrorKind = types::ErrorKind { Retry, Refused, NotHere, Gone, Stale, Cancelled, Unknown }
    Fate = snapshot_rules::Fate { Keep, Lose, Hide }
}

from_wire! {
    Error = types::Error { kind, code, detail }
    EffectId = types::EffectId { vm, operation, step, item }
    Identity = types::Identity { store, vm, generation }
    OpaqueState = types::OpaqueState { version, data }
    FileRef = types::FileRef { datastore, path, absolute }
    DomainDisk = types::DomainDisk { name, file, format, read_only, extra }
    DomainNic = types::DomainNic { mac, bridge, extra }
    DomainSpec = types::DomainSpec {
        identity, name, title, vcpus, cpu_milli, memory_mib, firmware, kernel, initrd, cmdline,
        disks, nics, graphics, console_log, extra,
    }
    Destination = migrate::Destination { host, mode, move_disks, extra }
    FromImage = transfer::FromImage { base, format }
    PrepareJob = transfer::PrepareJob { target, format, source }
    CopyJob = transfer::CopyJob { from_host, source, target, format, base }
    LargerJob = transfer_larger::LargerJob { target, format, base, base_format, size_mib, extra }
    SaveBackJob = transfer_images::SaveBackJob { disk, disk_format, image, format }
    Disk = snapshot_rules::Disk { name, format, read_only }
    Question = snapshot_rules::Question {
        verb, state, disks, snapshots, subject, abilities, now_ms, extra,
    }
    Exit = exec::Exit { code, signal, stdout, stderr, truncated }
    JobRunning = exec::JobRunning { ran_ms, stdout, stderr }
    Stat = files::FileStat { kind, size, allocated, modified_ms }
}

into_wire! {
    Error = types::Error { kind, code, detail }
    EffectId = types::EffectId { vm, operation, step, item }
    Identity = types::Identity { store, vm, generation }
    OpaqueState = types::OpaqueState { version, data }
    DomainSeen = types::DomainSeen { uuid, name, identity, power, reason, last_edge, extra }
    Outcome = types::Outcome { seen, state, extra }
    Progress = types::Progress { done, total, phase }
    HostFacts = types::HostFacts { cpu_milli, memory_mib, hypervisor, unable, notes, extra }
    Listed = hypervisor::Listed { domains, unreadable }
    WildDisk = adopt::WildDisk { name, file, format, read_only }
    WildNic = adopt::WildNic { mac, bridge }
    WildDomain = adopt::WildDomain { name, vcpus, memory_mib, disks, nics, extra }
    Batch = changes::Batch { cursor, vms, lost }
    Sample = metrics::Counters {
        vm, cpu_ns, memory_kib, disk_read, disk_written, net_rx, net_tx, extra,
    }
    Endpoint = console::Endpoint { kind, address, extra }
    FileLook = transfer_inspect::FileLook {
        kind, size, format, virtual_size, names, encrypted, damage, extra,
    }
    Usage = transfer_usage::Space { total_mib, used_mib }
    Verdict = snapshot_rules::Verdict { refused, fates }
    FilePath = files::Path { datastore, path }
    JobName = exec::JobName { name, host }
}

impl IntoWire<exec::Argument> for Argument {
    fn into_wire(self) -> exec::Argument {
        exec::Argument { hole: self.hole, value: self.value }
    }
}
impl IntoWire<exec::CommandLine> for CommandLine {
    fn into_wire(self) -> exec::CommandLine {
        let arguments = self.arguments.into_wire();
        exec::CommandLine { command: self.command, arguments, input: self.input }
    }
}

impl FromWire<exec::JobState> for JobState {
    fn from_wire(wire: exec::JobState) -> Self {
        match wire {
            exec::JobState::Absent => Self::Absent,
            exec::JobState::Running(running) => Self::Running(FromWire::from_wire(running)),
            exec::JobState::Ended(exit) => Self::Ended(FromWire::from_wire(exit)),
            exec::JobState::Lost(why) => Self::Lost(why),
        }
    }
}

impl IntoWire<types::Observation> for Observation {
    fn into_wire(self) -> types::Observation {
        match self {
            Self::Present(domain) => types::Observation::Present(domain.into_wire()),
            Self::Absent => types::Observation::Absent,
        }
    }
}
impl IntoWire<types::JobStatus> for JobStatus {
    fn into_wire(self) -> types::JobStatus {
        match self {
            Self::Pending(progress) => types::JobStatus::Pending(progress.into_wire()),
            Self::Done(outcome) => types::JobStatus::Done(outcome.into_wire()),
        }
    }
}
impl FromWire<transfer::Source> for Source {
    fn from_wire(wire: transfer::Source) -> Self {
        match wire {
            transfer::Source::Image(image) => Self::Image(FromWire::from_wire(image)),
            transfer::Source::Blank(size_mib) => Self::Blank(size_mib),
            transfer::Source::Swap(size_mib) => Self::Swap(size_mib),
        }
    }
}
impl FromWire<transfer::Job> for Job {
    fn from_wire(wire: transfer::Job) -> Self {
        match wire {
            transfer::Job::Prepare(job) => Self::Prepare(FromWire::from_wire(job)),
            transfer::Job::Copy(job) => Self::Copy(FromWire::from_wire(job)),
            transfer::Job::Delete(target) => Self::Delete(FromWire::from_wire(target)),
        }
    }
}
