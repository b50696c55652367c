//! The promises about one VM, checked each time its record has changed: what an operation waits
//! for, what a state of rest means, and where domains and files may be.

use super::Run;
use super::watch::{Violation, must, said};
use ostler_lifecycle::{Summary, why};
use ostler_model::{
    Call, DatastoreName, DiskState, EffectClass, EffectKey, HostId, NowCall, Placement, RelPath,
    State, StateKind, Verb, VmRecord,
};
use ostler_store::Reader;
use std::collections::BTreeSet;

/// The folders of VMs below the root of the system datastore, as `ostler-engine` names them.
const ON_HOST: &str = "vms";
const AT_HOME: &str = "home";

/// The files of a VM at one place.
type Folder = (HostId, &'static str);

impl Run {
    /// Checks a record that has changed.
    pub(crate) fn record_holds(&self, reader: &Reader, record: &VmRecord) -> Result<(), Violation> {
        outbox(reader, record)?;
        slot(record)?;
        explained(record)?;
        if self.aged {
            // The record does not know what was done in the lost time.
            return Ok(());
        }
        self.places(record)?;
        self.rests(record)
    }

    /// Domains and files are only where the record says that they may be.
    fn places(&self, record: &VmRecord) -> Result<(), Violation> {
        let id = record.id;
        for host in &self.life.hosts {
            let left = record.leftovers.iter().any(|left| left.place.host == *host);
            let is_place = record.places().any(|place| place.host == *host);
            let domain = self.life.fake.domain(*host, record.uuid);
            must!(
                left || is_place || domain.is_none(),
                "leak: VM {id} is {} and has a domain on host {host} that its record does not know of",
                record.state
            );
        }
        let shared = record.storage_is_shared();
        // The operator has given up the files on a host that was lost for good.
        let lost = |host: &&HostId| Some(**host) == self.lost;
        for host in self.life.hosts.iter().filter(|host| !shared && !lost(host)) {
            let at = |place: Option<&Placement>| place.is_some_and(|place| place.host == *host);
            let known = record.files.host && at(record.placement.as_ref())
                || record.files_at_other() && at(record.other())
                || record.leftovers.iter().any(|left| left.files && left.place.host == *host);
            self.may_have_files(record, (*host, ON_HOST), known)?;
        }
        let home = record.files.home;
        if shared {
            let left = record.leftovers.iter().any(|left| left.files);
            let known = home || record.files.host || left || self.lost.is_some();
            self.may_have_files(record, (HostId::FRONT_END, ON_HOST), known)
        } else {
            self.may_have_files(record, (HostId::FRONT_END, AT_HOME), home)
        }
    }

    fn may_have_files(
        &self,
        record: &VmRecord,
        folder: Folder,
        known: bool,
    ) -> Result<(), Violation> {
        let file = if known { None } else { self.file_at(record, folder, |_| true) };
        must!(
            file.is_none(),
            "leak: VM {} is {} and has {file:?} on host {} that its record does not know of",
            record.id,
            record.state,
            folder.0
        );
        Ok(())
    }

    /// A file of the VM in one of its folders.
    pub(crate) fn file_at(
        &self,
        record: &VmRecord,
        (host, top): Folder,
        is_it: impl Fn(&RelPath) -> bool,
    ) -> Option<RelPath> {
        let folder = format!("{top}/{}", record.folder()).parse().expect("a path");
        self.life.fake.file_below((host, &system(), &folder), is_it)
    }

    /// Checks the promises of a state of rest.
    fn rests(&self, record: &VmRecord) -> Result<(), Violation> {
        if record.operation.is_some() {
            return Ok(());
        }
        let id = record.id;
        let has_no_place = || {
            let has_place = record.places().next().is_some();
            must!(!has_place, "capacity: VM {id} is {}, and has a place", record.state);
            Ok(())
        };
        match record.state {
            State::Done => {
                has_no_place()?;
                let over = record.history.iter().all(|stay| stay.to.is_some());
                must!(over, "VM {id} is done, and its stay has no end");
            }
            State::Pending | State::Hold | State::Stopped | State::Undeployed => {
                has_no_place()?;
                must!(
                    !record.files.host,
                    "leak: VM {id} is {}, and has files on a host",
                    record.state
                );
                if matches!(record.state, State::Stopped | State::Undeployed) {
                    let top = if record.storage_is_shared() { ON_HOST } else { AT_HOME };
                    self.is_whole(record, (HostId::FRONT_END, top))?;
                }
                let usable = record.recovery.is_none() || record.usable_recovery().is_some();
                must!(usable, "VM {id}: memory of no use in {}", record.state);
            }
            State::Running | State::Suspended | State::Poweroff | State::Unknown => {
                let Some(place) = &record.placement else {
                    return Err(format!("capacity: VM {id} is {} without a place", record.state));
                };
                let saved = record.recovery.is_some()
                    && matches!(record.state, State::Running | State::Poweroff);
                must!(!saved, "VM {id} is {} with saved memory", record.state);
                if record.state == State::Running {
                    self.has_generation(record, place)?;
                }
                if record.moving.is_none() && self.lost != Some(place.host) {
                    self.is_whole(record, (place.host, ON_HOST))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The domain has the generation that was issued for its place. Under an older one, a call of
    /// an earlier placement could still change it.
    fn has_generation(&self, record: &VmRecord, place: &Placement) -> Result<(), Violation> {
        let domain = self.life.fake.domain(place.host, record.uuid);
        let identity = domain.and_then(|domain| domain.seen.identity);
        let stale = identity.filter(|identity| identity.generation < place.generation);
        must!(
            stale.is_none(),
            "fence: VM {} runs on host {} under an old generation: {stale:?}, issued was {}",
            record.id,
            place.host,
            place.generation
        );
        Ok(())
    }

    /// All disks, and the memory file to restore, are there, and the disks are as new as they can
    /// be.
    fn is_whole(&self, record: &VmRecord, folder: Folder) -> Result<(), Violation> {
        let (id, (host, top)) = (record.id, folder);
        let at = |file: &RelPath| -> RelPath {
            format!("{top}/{}/{file}", record.folder()).parse().expect("a path")
        };
        let own = |disk: &&DiskState| disk.adopted.is_none();
        for disk in record.disks.iter().filter(own) {
            let newest = self.life.fake.has_newest(record.uuid, (host, &system(), &at(&disk.file)));
            must!(
                newest,
                "lost: VM {id} is {}, and the newest copy of disk {} is not on host {host}",
                record.state,
                disk.name
            );
        }
        if let Some(file) = record.usable_recovery() {
            let there = self.life.fake.file(host, &system(), &at(&file.name)).is_some();
            must!(there, "lost: VM {id} is {}, and its memory is not on host {host}", record.state);
        }
        Ok(())
    }

    /// A VM that runs has no memory file.
    pub(crate) fn keeps_no_memory(&self, record: &VmRecord) -> Result<(), Violation> {
        let Some(place) = &record.placement else { return Ok(()) };
        let is_memory = |path: &RelPath| path.as_str().contains("/memory-");
        let unused = if record.state == State::Running {
            let host = if record.storage_is_shared() { HostId::FRONT_END } else { place.host };
            self.file_at(record, (host, ON_HOST), is_memory)
        } else {
            None
        };
        must!(
            unused.is_none(),
            "leak: VM {} runs, and {unused:?} is of no use to anybody",
            record.id
        );
        Ok(())
    }
}

/// The datastore of VMs' files.
fn system() -> DatastoreName {
    "system".parse().expect("a name")
}

/// The outbox holds the open calls, and at most one of them changes the domain.
fn outbox(reader: &Reader, record: &VmRecord) -> Result<(), Violation> {
    let id = record.id;
    let open: BTreeSet<EffectKey> = record.open.iter().map(|open| open.key.clone()).collect();
    must!(open.len() == record.open.len(), "outbox: VM {id} has one identity open twice");
    let rows = reader.outbox_of(id).map_err(said)?;
    let rows: BTreeSet<EffectKey> = rows.into_iter().map(|effect| effect.key).collect();
    must!(open == rows, "outbox: it does not hold the open calls of VM {id}: {rows:?}");
    let changes = record.open.iter().filter(|open| {
        open.call.class() != EffectClass::Question && open.call != Call::Now(NowCall::Destroy)
    });
    must!(changes.count() <= 1, "doubled: VM {id} has two mutating calls open");
    Ok(())
}

/// A VM has at most one operation, and an operation waits only for something that will come.
fn slot(record: &VmRecord) -> Result<(), Violation> {
    let id = record.id;
    if record.is_unreconciled() {
        // Nothing is decided about it before Ostler knows where it is.
        return Ok(());
    }
    let Some(active) = &record.operation else {
        let rests = record.state.kind() != StateKind::Transient;
        must!(rests, "stuck: VM {id} is {} without an operation", record.state);
        must!(record.open.is_empty(), "open: VM {id} rests in {} with calls open", record.state);
        must!(
            record.failure.is_some() == (record.state == State::Failed),
            "VM {id}: a failure in {}",
            record.state
        );
        return Ok(());
    };
    let runs = matches!(active.verb, Verb::Reboot | Verb::RebootHard) || active.undoing;
    must!(
        runs || record.state.kind() == StateKind::Transient,
        "VM {id} is {} with operation {}",
        record.state,
        active.verb
    );
    must!(
        !record.open.is_empty() || record.step_due().is_some(),
        "stuck: VM {id}: {:?} waits for nothing",
        active.phase
    );
    Ok(())
}

/// The engine can say what a VM waits for.
fn explained(record: &VmRecord) -> Result<(), Violation> {
    let why = why(record);
    let summed_up = matches!(why.summary, Summary::AtWork { .. }) == record.operation.is_some();
    must!(
        summed_up || record.is_unreconciled(),
        "why: VM {} is said to be {:?}",
        record.id,
        why.summary
    );
    must!(
        !why.waits_for.is_empty() || record.operation.is_none(),
        "why: VM {} works, and waits for nothing",
        record.id
    );
    must!(
        why.last_error.is_some() || record.state != State::Failed,
        "why: VM {} failed, and why is not said",
        record.id
    );
    let stuck = why.can.is_empty() && record.state != State::Done && !record.is_unreconciled();
    must!(!stuck, "why: nothing can be done about VM {} in {}", record.id, record.state);
    Ok(())
}
