//! Collects the facts for a decision: all that it may know beside the record.

use crate::bridges::interfaces;
use crate::calls;
use crate::hosts::abilities;
use crate::rules;
use crate::seen;
use crate::shared::Shared;
use ostler_lifecycle::{
    Candidate, Facts, Input, Interfaces, Shelf, image_to_be, wants_advice, wants_look,
};
use ostler_model::{
    Args, Datastore, DatastoreId, DatastoreName, DiskName, DiskSource, DriverError, DriverName,
    Image, ImageId, ImageName, Request, State, Verb, VmRecord,
};
use std::sync::Arc;
use std::time::Duration;

/// How long a look for a request may take. The VM's other messages wait meanwhile.
const LOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// Collects the facts for the decision about `input`.
pub(crate) async fn facts(shared: &Arc<Shared>, record: &VmRecord, input: &Input) -> Facts {
    let mut facts = bare(shared, record);
    let Input::Request(asked) = input else { return facts };
    let place = record.placement.as_ref();
    facts.abilities = place.and_then(|place| abilities(shared, place.host, &place.driver));
    if asked.verb == Verb::Deploy || asked.verb.is_migration() {
        if let Some(host) = asked.host {
            let interfaces = interfaces(shared, host, &record.spec.nics).await;
            facts.target = shared
                .directory()
                .candidate(record, host)
                .map(|target| Candidate { interfaces, ..target });
        }
        let driver = |target: &Candidate| abilities(shared, target.host, target.driver.as_ref()?);
        facts.target_abilities = facts.target.as_ref().and_then(driver);
    }
    if let (Args::NewNic(nic), Some(place)) = (&asked.args, place) {
        let names = interfaces(shared, place.host, std::slice::from_ref(nic)).await;
        let host = shared.directory().hosts.get(&place.host).map(|host| host.name.clone());
        facts.interfaces = host.zip(names).map(|(host, names)| Interfaces { host, names });
    }
    if wants_look(record, asked.verb) {
        let look = tokio::time::timeout(LOOK_TIMEOUT, calls::observe(shared, record)).await;
        facts.look = Some(look.unwrap_or_else(|_| {
            Err(DriverError::retry("timeout", "the host did not answer in time"))
        }));
    }
    if wants_advice(record, asked.verb) {
        facts.advice =
            rules::advise(shared, record, &asked.verb.to_string(), record.state, subject(asked))
                .await;
    }
    images(shared, record, asked, &mut facts);
    facts
}

/// The facts after a look has changed the VM's state to `state`: the snapshot rules must say what
/// becomes of its snapshots.
pub(crate) async fn after_seeing(shared: &Arc<Shared>, record: &VmRecord, state: State) -> Facts {
    let mut facts = bare(shared, record);
    facts.advice = rules::advise(shared, record, "observed", state, None).await;
    facts
}

/// The facts that every decision has.
fn bare(shared: &Shared, record: &VmRecord) -> Facts {
    let store = shared.store.id();
    Facts { elsewhere: seen::elsewhere(shared, record), ..Facts::bare(store) }
}

fn subject(asked: &Request) -> Option<&str> {
    match &asked.args {
        Args::Snapshot { name } => Some(name),
        _ => None,
    }
}

/// Looks up the image below a new disk, or prepares the image that a disk is to become.
fn images(shared: &Shared, record: &VmRecord, asked: &Request, facts: &mut Facts) {
    let found = |name: &ImageName| shared.store.read().ok()?.image_by_name(name).ok()?;
    match &asked.args {
        Args::NewDisk { source: DiskSource::Image { image, .. }, .. } => facts.image = found(image),
        Args::NewImage { disk, image, datastore } => {
            facts.new_image = new_image(shared, record, disk, image, datastore.as_ref())
        }
        _ => {}
    }
}

/// The image to be made. Its id is used up, even if the request is refused.
fn new_image(
    shared: &Shared,
    record: &VmRecord,
    disk: &DiskName,
    name: &ImageName,
    asked: Option<&DatastoreName>,
) -> Option<(Image, DriverName)> {
    let below = record.disks.iter().find(|known| known.name == *disk).and_then(|known| known.image);
    let datastore_of = |image: ImageId| -> Option<DatastoreId> {
        Some(shared.store.read().ok()?.image(image).ok()??.datastore)
    };
    let datastores: Vec<Datastore> = shared.directory().datastores.values().cloned().collect();
    let id = shared.store.next_image_id();
    let shelf = Shelf {
        datastores: &datastores,
        below: below.and_then(datastore_of),
        id,
        now: shared.now(),
    };
    image_to_be(record, disk, name, asked, &shelf)
}
