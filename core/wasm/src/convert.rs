//! Converts between our types and the contract's: the answers of components here, what they are
//! asked in [`sent`]. Answers are checked: a bad value is an error of the driver and does not crash
//! us.

mod sent;

pub(crate) use self::sent::{
    comes_from, destination, disk, domain, file, identity, job, larger, nic, question, save_back,
};
use crate::bindings::exports::ostler::driver as exported;
use crate::bindings::ostler::driver::types as wit;
use crate::text::cut;
use ostler_driver::{
    ChangeBatch, ConsoleEndpoint, DomainMetrics, FileKind, FileLook, JobStatus, Listed,
    RulesVerdict, SnapshotFate, Verdict,
};
use ostler_model::{
    Ability, Capacity, DomainSeen, DriverError, EffectKey, ErrorKind, Generation, Graphics,
    HostFacts, HypervisorId, Identity, Millis, Observation, OpaqueState, OperationId, Outcome,
    Progress, StepNo, VmUuid, WildDomain,
};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// The longest text for people; longer texts are cut.
const TEXT_MAX: usize = 4096;
/// The longest name of a domain, and the longest code of an error.
const NAME_MAX: usize = 255;
/// The most domains, changes or samples of one answer: ten times the largest host known.
const ITEMS_MAX: usize = 20_000;
/// The largest opaque state, as the contract says.
const STATE_MAX: usize = 64 * 1024;
/// The most notes of a probe.
const NOTES_MAX: usize = 100;
/// The most disks, network cards or snapshots of one domain: far above what any hypervisor accepts.
const HARDWARE_MAX: usize = 1024;
/// More CPUs or memory than any host has: such an answer mistakes the units.
const CPU_MILLI_MAX: u64 = 100_000 * 1000;
const MEMORY_MIB_MAX: u64 = 1 << 40;

/// The error for an answer of a component that cannot be true.
pub(crate) fn lied(what: impl Display) -> DriverError {
    DriverError::unknown(
        "driver-lied",
        cut(&format!("the driver's answer cannot be: {what}"), TEXT_MAX),
    )
}

fn parse<T: FromStr>(what: &str, text: &str) -> Result<T, DriverError> {
    text.parse().map_err(|_| lied(format!("{what} {:?}", cut(text, NAME_MAX))))
}

fn at_most<T>(what: &str, items: Vec<T>, most: usize) -> Result<Vec<T>, DriverError> {
    if items.len() > most {
        return Err(lied(format!("{} {what}, at most {most} are allowed", items.len())));
    }
    Ok(items)
}

fn line(text: &str, most: usize) -> String {
    cut(text, most).chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

pub(crate) fn error(given: wit::Error) -> DriverError {
    let kind = match given.kind {
        wit::ErrorKind::Retry => ErrorKind::Retry,
        wit::ErrorKind::Refused => ErrorKind::Refused,
        wit::ErrorKind::NotHere => ErrorKind::NotHere,
        wit::ErrorKind::Gone => ErrorKind::Gone,
        wit::ErrorKind::Stale => ErrorKind::Stale,
        wit::ErrorKind::Cancelled => ErrorKind::Cancelled,
        wit::ErrorKind::Unknown => ErrorKind::Unknown,
    };
    let code = given.code;
    let plain = !code.is_empty()
        && code.len() <= NAME_MAX
        && code.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    // A bad code changes nothing else: an error never becomes a success, or an error of another
    // kind.
    let code = if plain { code } else { "driver-code-invalid".to_owned() };
    // Only the host itself says that another daemon is in charge: then this one stops to act.
    let code = if code == DriverError::EPOCH { format!("driver-{code}") } else { code };
    DriverError::new(kind, code, line(&given.detail, TEXT_MAX))
}

fn effect(given: &wit::EffectId) -> Result<EffectKey, DriverError> {
    Ok(EffectKey {
        vm: parse("VM", &given.vm)?,
        operation: OperationId(given.operation),
        step: StepNo(given.step),
        item: parse("item", &given.item)?,
    })
}

pub(crate) fn seen(given: wit::DomainSeen) -> Result<DomainSeen, DriverError> {
    let identity = given.identity.map(|identity| {
        Ok(Identity {
            store: parse("store", &identity.store)?,
            vm: parse("VM", &identity.vm)?,
            generation: Generation(identity.generation),
        })
    });
    Ok(DomainSeen {
        uuid: parse("domain UUID", &given.uuid)?,
        name: name("domain name", given.name)?,
        identity: identity.transpose()?,
        power: parse("power", &given.power)?,
        reason: parse("power reason", &given.reason)?,
        last_edge: given.last_edge.as_ref().map(effect).transpose()?,
    })
}

pub(crate) fn observation(
    given: wit::Observation,
    vm: Option<VmUuid>,
) -> Result<Observation, DriverError> {
    match given {
        wit::Observation::Absent => Ok(Observation::Absent),
        wit::Observation::Present(domain) => {
            let domain = seen(domain)?;
            match vm {
                Some(vm) if domain.uuid != vm => {
                    Err(lied(format!("asked for domain {vm}, answered {}", domain.uuid)))
                }
                Some(_) | None => Ok(Observation::Present(domain)),
            }
        }
    }
}

pub(crate) fn outcome(given: wit::Outcome, vm: VmUuid) -> Result<Outcome, DriverError> {
    let state = given.state.map(|state| {
        if state.data.len() > STATE_MAX {
            return Err(lied(format!(
                "{} bytes of state, at most {STATE_MAX} are allowed",
                state.data.len()
            )));
        }
        Ok(OpaqueState { version: state.version, data: state.data })
    });
    Ok(Outcome {
        seen: given.seen.map(|given| observation(given, Some(vm))).transpose()?,
        state: state.transpose()?,
    })
}

pub(crate) fn job_status(given: wit::JobStatus, vm: VmUuid) -> Result<JobStatus, DriverError> {
    match given {
        wit::JobStatus::Pending(progress) => Ok(JobStatus::Pending(Progress {
            done: progress.done,
            total: progress.total,
            phase: line(&progress.phase, NAME_MAX),
        })),
        wit::JobStatus::Done(given) => outcome(given, vm).map(JobStatus::Done),
    }
}

/// The key of the hypervisor identity in `host-facts.extra`.
const IDENTITY: &str = "identity";
/// The key of the names of the host's network interfaces there: one entry for each.
const INTERFACE: &str = "interface";
/// Most network interfaces of a host. A host that has more is not known to lack one.
const INTERFACES_MAX: usize = 4096;

pub(crate) fn facts(
    given: wit::HostFacts,
    exported: &[Ability],
    took: Duration,
) -> Result<HostFacts, DriverError> {
    if given.cpu_milli > CPU_MILLI_MAX || given.memory_mib > MEMORY_MIB_MAX {
        return Err(lied(format!(
            "a host of {} thousandths of a CPU and {} MiB",
            given.cpu_milli, given.memory_mib
        )));
    }
    // An unknown name comes from a later contract and is ignored.
    let unable: Vec<Ability> = given.unable.iter().filter_map(|name| name.parse().ok()).collect();
    let identity = given
        .extra
        .iter()
        .find(|(key, _)| key == IDENTITY)
        .map(|(_, value)| HypervisorId::new(value));
    let identity = identity.transpose().map_err(|error| lied(error.to_string()))?;
    let interfaces: BTreeSet<String> = given
        .extra
        .iter()
        .filter(|(key, _)| key == INTERFACE)
        .map(|(_, name)| line(name, NAME_MAX))
        .collect();
    Ok(HostFacts {
        identity,
        interfaces: (1..=INTERFACES_MAX).contains(&interfaces.len()).then_some(interfaces),
        total: Capacity { cpu_milli: given.cpu_milli, memory_mib: given.memory_mib },
        abilities: exported.iter().copied().filter(|ability| !unable.contains(ability)).collect(),
        hypervisor: line(&given.hypervisor, NAME_MAX),
        notes: at_most("notes", given.notes, NOTES_MAX)?
            .iter()
            .map(|note| line(note, TEXT_MAX))
            .collect(),
        took: Millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
    })
}

pub(crate) fn listed(given: exported::hypervisor::Listed) -> Result<Listed, DriverError> {
    Ok(Listed {
        domains: at_most("domains", given.domains, ITEMS_MAX)?
            .into_iter()
            .map(seen)
            .collect::<Result<_, _>>()?,
        unreadable: uuids("unreadable domains", given.unreadable)?,
    })
}

fn uuids(what: &str, given: Vec<String>) -> Result<Vec<VmUuid>, DriverError> {
    at_most(what, given, ITEMS_MAX)?.iter().map(|text| parse("domain UUID", text)).collect()
}

pub(crate) fn changes(given: exported::changes::Batch) -> Result<ChangeBatch, DriverError> {
    Ok(ChangeBatch {
        cursor: given.cursor,
        vms: uuids("changed domains", given.vms)?,
        lost: given.lost,
    })
}

pub(crate) fn metrics(
    given: Vec<exported::metrics::Counters>,
) -> Result<Vec<DomainMetrics>, DriverError> {
    let convert = |sample: exported::metrics::Counters| {
        Ok(DomainMetrics {
            vm: Some(parse("domain UUID", &sample.vm)?),
            cpu_ns: sample.cpu_ns,
            memory_kib: sample.memory_kib,
            disk_read: sample.disk_read,
            disk_written: sample.disk_written,
            net_rx: sample.net_rx,
            net_tx: sample.net_tx,
        })
    };
    at_most("samples", given, ITEMS_MAX)?.into_iter().map(convert).collect()
}

pub(crate) fn verdict(
    given: exported::snapshot_rules::Verdict,
    snapshots: usize,
) -> Result<RulesVerdict, DriverError> {
    use exported::snapshot_rules::Fate;
    if given.fates.len() != snapshots {
        return Err(lied(format!("{} fates for {snapshots} snapshots", given.fates.len())));
    }
    let fate = |fate| match fate {
        Fate::Keep => SnapshotFate::Keep,
        Fate::Lose => SnapshotFate::Lose,
        Fate::Hide => SnapshotFate::Hide,
    };
    Ok(RulesVerdict {
        verdict: given.refused.map_or(Verdict::Allowed, |reason| Verdict::Refused {
            reason: line(&reason, TEXT_MAX),
        }),
        fates: given.fates.into_iter().map(fate).collect(),
    })
}

/// Converts the place of a console. It is one of the two that the contract knows, and one line.
pub(crate) fn endpoint(given: exported::console::Endpoint) -> Result<ConsoleEndpoint, DriverError> {
    let exported::console::Endpoint { kind, address, extra: _ } = given;
    if !["vnc", "serial"].contains(&kind.as_str()) {
        return Err(lied(format!("a console of kind {:?}", cut(&kind, NAME_MAX))));
    }
    let is_place = ["tcp:", "unix:"].iter().any(|start| address.starts_with(start));
    if !is_place || address.len() > TEXT_MAX || address.chars().any(char::is_control) {
        return Err(lied(format!("a console at {:?}", cut(&address, NAME_MAX))));
    }
    Ok(ConsoleEndpoint { kind, address })
}

/// Converts the findings about a file. Its names come from the file, which may hold any text: they
/// are cut and made one line each.
pub(crate) fn file_look(
    given: exported::transfer_inspect::FileLook,
) -> Result<FileLook, DriverError> {
    let kind = match given.kind.as_str() {
        "file" => FileKind::File,
        "directory" => FileKind::Directory,
        "other" => FileKind::Other,
        kind => return Err(lied(format!("a kind of file {:?}", cut(kind, NAME_MAX)))),
    };
    let plain = given.format.len() <= NAME_MAX
        && given.format.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !plain || (kind == FileKind::File && given.format.is_empty()) {
        return Err(lied(format!("a format {:?}", cut(&given.format, NAME_MAX))));
    }
    let one_line = |text: String| line(&text, TEXT_MAX).replace('\n', " ");
    Ok(FileLook {
        kind,
        size: given.size,
        format: given.format,
        virtual_size: given.virtual_size,
        names: at_most("names", given.names, HARDWARE_MAX)?.into_iter().map(one_line).collect(),
        encrypted: given.encrypted,
        damage: given.damage.map(one_line),
    })
}

pub(crate) fn snapshot_names(given: Vec<String>) -> Result<Vec<String>, DriverError> {
    let names = at_most("snapshots", given, HARDWARE_MAX)?;
    names.into_iter().map(|text| name("snapshot name", text)).collect()
}

fn name(what: &str, text: String) -> Result<String, DriverError> {
    if text.is_empty() || text.len() > NAME_MAX || text.chars().any(char::is_control) {
        return Err(lied(format!("{what} {:?}", cut(&text, NAME_MAX))));
    }
    Ok(text)
}

/// Converts a domain that somebody else made. A disk that is no file with an absolute path cannot
/// be described.
pub(crate) fn wild(given: exported::adopt::WildDomain) -> Result<WildDomain, DriverError> {
    if u64::from(given.vcpus) > CPU_MILLI_MAX / 1000 || given.memory_mib > MEMORY_MIB_MAX {
        return Err(lied(format!("a domain of {} CPUs and {} MiB", given.vcpus, given.memory_mib)));
    }
    let disk = |disk: exported::adopt::WildDisk| {
        let plain = disk.file.starts_with('/')
            && disk.file.len() <= TEXT_MAX
            && !disk.file.chars().any(char::is_control);
        if !plain {
            return Err(lied(format!("a disk's file {:?}", cut(&disk.file, NAME_MAX))));
        }
        Ok((
            parse("disk name", &disk.name)?,
            disk.file,
            parse("disk format", &disk.format)?,
            disk.read_only,
        ))
    };
    let nic = |nic: exported::adopt::WildNic| {
        Ok((parse("hardware address", &nic.mac)?, name("bridge", nic.bridge)?))
    };
    let extra = |key: &str| {
        given.extra.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    };
    let path = |key: &str| match extra(key) {
        Some(file)
            if !file.starts_with('/')
                || file.len() > TEXT_MAX
                || file.chars().any(char::is_control) =>
        {
            Err(lied(format!("a {key} {:?}", cut(&file, NAME_MAX))))
        }
        file => Ok(file),
    };
    let (kernel, initrd) = (path("kernel")?, path("initrd")?);
    let changes = given.extra.iter().filter(|(name, _)| name == "change").take(HARDWARE_MAX);
    let changes = changes
        .map(|(_, value)| cut(value, NAME_MAX).chars().filter(|c| !c.is_control()).collect())
        .collect();
    let cmdline = cut(&extra("cmdline").unwrap_or_default(), TEXT_MAX).to_owned();
    Ok(WildDomain {
        kernel,
        initrd,
        cmdline,
        changes,
        graphics: Graphics::None,
        name: name("domain name", given.name)?,
        vcpus: given.vcpus,
        memory_mib: given.memory_mib,
        disks: at_most("disks", given.disks, HARDWARE_MAX)?
            .into_iter()
            .map(disk)
            .collect::<Result<_, DriverError>>()?,
        nics: at_most("network cards", given.nics, HARDWARE_MAX)?
            .into_iter()
            .map(nic)
            .collect::<Result<_, DriverError>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_error_keeps_its_kind_and_loses_its_tricks() {
        let given = wit::Error {
            kind: wit::ErrorKind::Stale,
            code: "a b\n".to_owned(),
            detail: "x\u{1b}[2J".repeat(9999),
        };
        let told = error(given);
        assert_eq!((told.kind, told.code.as_str()), (ErrorKind::Stale, "driver-code-invalid"));
        assert!(told.detail.len() <= TEXT_MAX && !told.detail.contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn any_domain_is_read_or_refused(
            uuid in ".*", name in ".*", power in ".*", reason in "(none|saved|.*)",
        ) {
            let (identity, last_edge, extra) = (None, None, Vec::new());
            let given = wit::DomainSeen { uuid, name, identity, power, reason, last_edge, extra };
            if let Err(problem) = seen(given) {
                prop_assert_eq!(problem.code, "driver-lied");
            }
        }
    }
}
