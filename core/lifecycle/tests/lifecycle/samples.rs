//! A VM, a request and an operation to begin with.

use crate::rig::UUID;
use ostler_lifecycle::NewVm;
use ostler_model::{
    Args, DiskFormat, DiskSource, DiskSpec, DiskState, Graphics, Headroom, HostId, OperationId,
    OperationRecord, Patience, Request, Timestamp, Verb, VmId, VmSpec,
};
use std::collections::BTreeMap;

pub(crate) fn spec() -> VmSpec {
    VmSpec {
        name: "web".parse().unwrap(),
        cpu_milli: 1000,
        vcpus: 1,
        memory_mib: 96,
        boot: ostler_model::BootSpec::default(),
        disks: vec![],
        nics: vec![],
        graphics: Graphics::None,
        host: None,
        labels: BTreeMap::new(),
        user_data: String::new(),
        patience: Patience::default(),
        headroom: Headroom { vcpus: Some(4), memory_mib: None },
    }
}

pub(crate) fn new_vm(disks: usize, hold: bool) -> NewVm {
    let disk = |at: usize| DiskState {
        name: ["vda", "vdb"][at].parse().unwrap(),
        file: format!("disk-{at}.qcow2").parse().unwrap(),
        format: DiskFormat::Qcow2,
        image: None,
        save_as: None,
        adopted: None,
    };
    let disks: Vec<DiskState> = (0..disks).map(disk).collect();
    let asked = |disk: &DiskState| DiskSpec {
        name: disk.name.clone(),
        source: DiskSource::Blank { size_mib: 1 },
        format: disk.format,
        read_only: false,
    };
    NewVm {
        id: VmId(1),
        uuid: UUID,
        operation: OperationId(1),
        by: "operator".to_owned(),
        spec: VmSpec { disks: disks.iter().map(asked).collect(), ..spec() },
        disks,
        hold,
    }
}

/// A request of the operator's.
pub(crate) fn asked(operation: u64, verb: Verb, args: Args, host: HostId, force: bool) -> Request {
    Request {
        operation: OperationId(operation),
        verb,
        by: "operator".to_owned(),
        host: Some(host),
        enforce: false,
        force,
        if_version: None,
        args,
        schedule: None,
    }
}

pub(crate) fn began(
    vm: VmId,
    id: OperationId,
    verb: Verb,
    by: &str,
    began: Timestamp,
) -> OperationRecord {
    OperationRecord {
        id,
        vm,
        verb: Some(verb),
        by: by.to_owned(),
        began,
        ended: None,
        outcome: None,
        steps: Vec::new(),
    }
}
