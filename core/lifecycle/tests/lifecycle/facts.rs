//! What a decision may know beside the record, as this world would tell; and what becomes of
//! images.

use crate::rig::{Rig, Rules, STORE, Violation};
use crate::samples::new_vm;
use crate::world::HOSTS;
use ostler_lifecycle::{
    Advice, Candidate, Elsewhere, Facts, Fate, Found, NewVm, elsewhere, wants_advice, wants_look,
};
use ostler_model::{
    Args, DatastoreId, DiskFormat, DriverError, Generation, HostId, Image, ImageChange, ImageId,
    ImageState, Observation, Placement, Request, Storage, Verb,
};

impl Rig {
    pub(crate) fn facts(&self, asked: Option<&Request>) -> Facts {
        let Some(asked) = asked else {
            return Facts {
                advice: Some(Ok(self.advice(None))),
                elsewhere: self.elsewhere(),
                ..Facts::bare(STORE)
            };
        };
        let look = self.record.placement.as_ref().filter(|_| wants_look(&self.record, asked.verb));
        let storage = self.storage();
        let image = Image {
            id: ImageId(u32::try_from(asked.operation.0).unwrap_or(u32::MAX)),
            name: format!("image-{}", asked.operation).parse().unwrap(),
            datastore: DatastoreId(2),
            path: "image".parse().unwrap(),
            format: DiskFormat::Qcow2,
            state: ImageState::Locked,
            virtual_size: None,
            stands_alone: true,
            added: self.now,
        };
        let wants_image = matches!(asked.args, Args::NewImage { .. });
        Facts {
            store: STORE,
            target: asked.host.map(|host| Candidate {
                host,
                driver: Some("hyper".parse().unwrap()),
                storage: Some(storage),
                twin: None,
                near: vec![],
                interfaces: None,
            }),
            abilities: self.abilities.clone(),
            target_abilities: self.target_abilities.clone(),
            interfaces: None,
            look: look.map(|place| self.world.look(place.host)),
            advice: wants_advice(&self.record, asked.verb)
                .then(|| self.rules(asked.verb))
                .flatten(),
            new_image: wants_image.then(|| (image, "images".parse().unwrap())),
            image: None,
            elsewhere: self.elsewhere(),
        }
    }

    /// What the hosts that answer have listed of the VM.
    pub(crate) fn found(&self) -> Vec<Found> {
        let list = |host: &HostId| match self.world.look(*host) {
            Ok(Observation::Present(seen)) => {
                Some(Found { host: *host, driver: "hyper".parse().unwrap(), seen })
            }
            Ok(Observation::Absent) | Err(_) => None,
        };
        HOSTS.iter().filter_map(list).collect()
    }

    fn elsewhere(&self) -> Option<Elsewhere> {
        elsewhere(&self.record, STORE, &self.found(), || true)
    }

    pub(crate) fn storage(&self) -> Storage {
        Storage {
            datastore: DatastoreId(1),
            driver: "files".parse().unwrap(),
            shared: self.world.shared,
        }
    }

    fn rules(&self, verb: Verb) -> Option<Result<Advice, DriverError>> {
        match self.rules {
            Rules::None => None,
            Rules::Silent => Some(Err(DriverError::unknown("trap", "the rules crashed"))),
            _ => Some(Ok(self.advice(Some(verb)))),
        }
    }

    /// `None` for what was observed.
    fn advice(&self, verb: Option<Verb>) -> Advice {
        let leaves = |verb: Verb| {
            matches!(
                verb,
                Verb::Stop
                    | Verb::Undeploy
                    | Verb::UndeployHard
                    | Verb::Shutdown
                    | Verb::ShutdownHard
            ) || verb.is_migration()
        };
        let fate = match (self.rules, verb) {
            (Rules::Lose, _) => Fate::Lose,
            (Rules::Hide, _) => Fate::Hide,
            (_, Some(verb)) if leaves(verb) => Fate::Lose,
            (_, _) => Fate::Keep,
        };
        let refused = (self.rules == Rules::Refuse).then(|| "they do not like it".to_owned());
        Advice {
            rules: "rules".to_owned(),
            refused,
            fates: vec![fate; self.record.snapshots.len()],
        }
    }
}

/// A domain that somebody else made, with its disks in a folder of theirs.
pub(crate) fn wild(rig: &Rig) -> (NewVm, Placement, Storage) {
    let mut new = new_vm(1, false);
    for disk in &mut new.disks {
        disk.adopted = Some(format!("theirs/{}", disk.file).parse().unwrap());
    }
    let driver = "hyper".parse().unwrap();
    let place = Placement { host: HostId(1), driver, generation: Generation(1), since: rig.now };
    (new, place, rig.storage())
}

/// What a decision does to images, written down as the store does it.
pub(crate) fn book(rig: &mut Rig, change: &ImageChange) -> Result<(), Violation> {
    match change {
        ImageChange::Add(image) if image.state == ImageState::Locked => {
            rig.images.insert(image.id, ImageState::Locked);
        }
        ImageChange::Add(image) => {
            return Err(format!("image: {} is added and not locked", image.id));
        }
        ImageChange::Set { image, state } => {
            let was = rig.images.insert(*image, *state);
            if was != Some(ImageState::Locked) {
                return Err(format!("image: {image} was {was:?} and became {state:?}"));
            }
            if *state == ImageState::Ready && !rig.world.images.contains_key(image) {
                return Err(format!("image: {image} is ready and was never written"));
            }
        }
        ImageChange::Discard { image } => {
            if rig.images.remove(image) != Some(ImageState::Locked) {
                return Err(format!("image: {image} is discarded and was not locked"));
            }
        }
    }
    Ok(())
}
