//! Finds things by name or id: a text that is all digits is an id, anything else is a name.

use crate::convert::Names;
use crate::problem::{ApiError, Handled, Thing};
use crate::words;
use ostler_api::Candidate;
use ostler_model::{Datastore, Host, Image, ScheduleState, VmId, VmName, VmRecord};
use ostler_store::{Reader, VmFilter};
use std::str::FromStr;

/// Most candidates in the answer for an ambiguous name.
const CANDIDATES_MAX: usize = 20;

/// If no VM has a name, at most this many VMs are searched for a similar name.
const NEARBY_MAX: usize = 1000;

/// True if the text is an id, not a name.
pub(crate) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn as_id<T: FromStr>(what: Thing, text: &str) -> Handled<T> {
    text.parse().map_err(|_| ApiError::not_found(what, text))
}

/// A VM by id or name. If several VMs have the name, those that are done count only if all are
/// done.
pub(crate) fn vm(reader: &Reader, which: &str) -> Handled<VmRecord> {
    let missing = || ApiError::not_found(Thing::Vm, which);
    reader.vm(vm_id(reader, which)?)?.ok_or_else(missing)
}

/// The id of a VM. Digits are the id, without a look into the store.
pub(crate) fn vm_id(reader: &Reader, which: &str) -> Handled<VmId> {
    if is_id(which) {
        return as_id(Thing::Vm, which);
    }
    let missing = || ApiError::not_found(Thing::Vm, which);
    let name: VmName = which.parse().map_err(|_| missing())?;
    let ids = reader.vms_by_name(&name)?;
    let mut found = Vec::new();
    for id in &ids {
        found.extend(reader.vm_summary(*id)?);
    }
    let live: Vec<_> =
        found.iter().filter(|vm| vm.state.kind() != ostler_model::StateKind::End).collect();
    match (live.as_slice(), found.as_slice()) {
        ([one], _) => Ok(one.id),
        ([], [one]) => Ok(one.id),
        ([], []) => {
            let some = reader.vm_page(&VmFilter::default(), None, NEARBY_MAX)?;
            Err(ApiError::missing(Thing::Vm, which, some.items.iter().map(|vm| vm.name.as_str())))
        }
        ([], many) => Err(too_many(which, many.iter())),
        (many, _) => Err(too_many(which, many.iter().copied())),
    }
}

fn too_many<'a>(name: &str, vms: impl Iterator<Item = &'a ostler_store::VmSummary>) -> ApiError {
    let candidate = |vm: &ostler_store::VmSummary| Candidate {
        id: vm.id.0,
        name: vm.name.to_string(),
        about: format!("{}, owner {}", vm.state, vm.owner),
    };
    ApiError::ambiguous(Thing::Vm, name, vms.take(CANDIDATES_MAX).map(candidate).collect())
}

/// A host by id or name.
pub(crate) fn host(reader: &Reader, which: &str) -> Handled<Host> {
    let found = if is_id(which) {
        reader.host(as_id(Thing::Host, which)?)?
    } else {
        which.parse().ok().map(|name| reader.host_by_name(&name)).transpose()?.flatten()
    };
    match found {
        Some(host) => Ok(host),
        None => Err(ApiError::missing(
            Thing::Host,
            which,
            reader.hosts()?.iter().map(|host| host.name.as_str()),
        )),
    }
}

/// A datastore by id or name.
pub(crate) fn datastore(reader: &Reader, which: &str) -> Handled<Datastore> {
    let found = if is_id(which) {
        reader.datastore(as_id(Thing::Datastore, which)?)?
    } else {
        which.parse().ok().map(|name| reader.datastore_by_name(&name)).transpose()?.flatten()
    };
    match found {
        Some(datastore) => Ok(datastore),
        None => Err(ApiError::missing(
            Thing::Datastore,
            which,
            reader.datastores()?.iter().map(|store| store.name.as_str()),
        )),
    }
}

/// An image by id or name.
pub(crate) fn image(reader: &Reader, which: &str) -> Handled<Image> {
    let found = if is_id(which) {
        reader.image(as_id(Thing::Image, which)?)?
    } else {
        which.parse().ok().map(|name| reader.image_by_name(&name)).transpose()?.flatten()
    };
    match found {
        Some(image) => Ok(image),
        None => Err(ApiError::missing(
            Thing::Image,
            which,
            reader.images()?.iter().map(|image| image.name.as_str()),
        )),
    }
}

/// The names of these hosts.
pub(crate) fn names_of_hosts(
    reader: &Reader,
    hosts: impl Iterator<Item = ostler_model::HostId>,
) -> Handled<Names> {
    let mut names = Names::default();
    for id in hosts {
        add_host(&mut names, reader, id)?;
    }
    Ok(names)
}

/// The names for the ids in one record.
pub(crate) fn names_of(reader: &Reader, record: &VmRecord) -> Handled<Names> {
    let mut names = Names::default();
    let here = record.placement.as_ref().map(|place| place.host);
    let planned = record.schedules.iter().filter_map(|planned| planned.host);
    let hosts = record
        .history
        .iter()
        .map(|entry| entry.host)
        .chain(here)
        .chain(record.also_on())
        .chain(planned);
    for id in hosts {
        add_host(&mut names, reader, id)?;
    }
    for id in record.disks.iter().filter_map(|disk| disk.save_as.as_ref()).map(|new| new.image) {
        names.images.extend(reader.image(id)?.map(|image| (id, image.name.into())));
    }
    for planned in &record.schedules {
        if let ScheduleState::Failed { why, .. } = &planned.schedule.state {
            names.not_done.insert(planned.id(), words::not_done(reader, why));
        }
    }
    if let Some(storage) = &record.storage
        && let Some(datastore) = reader.datastore(storage.datastore)?
    {
        names.datastores.insert(storage.datastore, datastore.name.into());
    }
    Ok(names)
}

/// Adds the name of a host, if it is not known yet.
pub(crate) fn add_host(
    names: &mut Names,
    reader: &Reader,
    id: ostler_model::HostId,
) -> Handled<()> {
    if let std::collections::hash_map::Entry::Vacant(place) = names.hosts.entry(id) {
        place.insert(reader.host(id)?.map_or_else(|| id.to_string(), |host| host.name.into()));
    }
    Ok(())
}
